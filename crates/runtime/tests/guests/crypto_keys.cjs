'use strict';
const assert = require('assert');
const crypto = require('crypto');
const { promisify } = require('util');
const { webcrypto } = crypto;
const { subtle } = webcrypto;

// RECORDED: keys, and signatures of TEXT with them, that Node 22.23.3 made.
const RECORDED = {
 "rsa": {
  "pkcs1": "-----BEGIN RSA PRIVATE KEY-----\nMIIEogIBAAKCAQEA17U+V9QLRQaKNhYGexczlfTuwq1Q2yJnQTNDSEO9q5HKx41Q\nfVvDaea/OVssbtrJj2nhj0ixCRGUX2awZaL4PEc9aN8snXjrh/2VGbSjNO1p3U5R\ng18syYFo9N50yuHAdSCqHOgk+bKl21LgFV7lDE4cRz+zOXTriyPyjbVEITW/xny7\naJyycsCkhe+O1MnuqHDYhL9OaiAepcL5hT/+y1s+fsluDwh19vQb/5aZFcvbyjWf\nZyLt3MILANBTTx9eG5NDB6IaKmTdfgkHiS5AXTcvICsYXdf7NkqMN2eGnMcx4OUQ\n5c6SRXNKbDP0YLNrL6qEekmXJwtd1LnBEw3UpwIDAQABAoIBABikPR74u4uDF77d\n/UI1KvtyeOQHEI7ipeZY3igfNPJTPABX2wi3DDfI2FzLrDkYXUuOI5T5ZN/4ViQf\n2FQurdTqU9BAeRmez/6VBWIOX1E93d4eLZ79pwwjRcN+C4bcYIlWK0NqHESPbUsE\nyKcoVATNLNsmzRPp5g6FvhZaIrz4RTN6HV17QI6ASHnNlzvSrIBZ8VK+IMWnrSck\n1aKrbV2g29aoj1sL4LuuH8THdEvfoYT2Oo3Iw+uQc9WDJ0pfXCILvBS3Ag7zYvkJ\nDFTUqdeBtdAcNyvzFVLkNW76BpcwxAkSij/OuJ4jXVGKfeUfEA677OeJHbFAe5qH\nJTyE4AECgYEA8bEWyKfTfIegB2KA7Ax1YhF6t+v+QzAkqRr1oZLM+18To7QUJyka\nkltIiBdkn4O7BjbOZWJp+juMfOkO/X/sglOszBqr6mpAkqSoKiX8VKt3ynN0LyA6\n6/8RqsQ9UkxMHsDy3kl+4w0dXMkvfB/AT10A/HrU+wqB2jCZQereeKcCgYEA5Hpc\n2LvXRkWNtIwKho7o/HXqK6bztp1nR6ApmG5scmde8XqieD4KHkE1d6G8fiFF8nYB\nQOcFCEWOY5/5P9PN1PCHA1WJIF1W+H7JOV+yK9Yw6xBPQlJ2lOpkgFIhCEa+/Od1\n5ByeugqnJYB3D+gOydUURl0UDJj5mJoMWmAlRAECgYAw1bFe1do7nUPOei7GgzXs\nnM+I/hwgA0hFCvd6sCjO2cUkHKy9xOZjkCI1rVRdjsZpWQWXIq17LDEUxBqNSh3F\nr5aInxMBiHqHptF7wrUbfpHzzCQ7qW1+ZclyEbi6OkRfKmloVL1Yrzuxlc0MbXX0\nEzyxxzfliZf3OD6fPQ+6nQKBgCRbqHzA35AKL3OkuWQSR9cs+He72Jqdz7qhLR1Z\nrR5DfuNUjZgu3zNTUyvXbARyTQw5ZRer66wWTYNjCKn0jZOuNv371Zd14womOuVL\najH5os01SjeWodIuvpGBAEqt32SlfKgxOb0HRvP7znaUig3qP5C27SLYERgMo5ya\nIjQBAoGAJeBG1ejpRBPxHepSsfOk4dYZToYEui20kmSEJabBClbuNcXp7kG0sSKB\nBkSQ1kTBoIRIjwbdn5ZL3/dE0vk37MnI34SitfmFTJDUBl9OfH/f3Ch1i8s6iGvf\neijYqmTaZEBW0R5pmsYbwbJHEELEr02lSNUlt0eCo4VvKYDRVYY=\n-----END RSA PRIVATE KEY-----\n",
  "pkcs8": "-----BEGIN PRIVATE KEY-----\nMIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDXtT5X1AtFBoo2\nFgZ7FzOV9O7CrVDbImdBM0NIQ72rkcrHjVB9W8Np5r85Wyxu2smPaeGPSLEJEZRf\nZrBlovg8Rz1o3yydeOuH/ZUZtKM07WndTlGDXyzJgWj03nTK4cB1IKoc6CT5sqXb\nUuAVXuUMThxHP7M5dOuLI/KNtUQhNb/GfLtonLJywKSF747Uye6ocNiEv05qIB6l\nwvmFP/7LWz5+yW4PCHX29Bv/lpkVy9vKNZ9nIu3cwgsA0FNPH14bk0MHohoqZN1+\nCQeJLkBdNy8gKxhd1/s2Sow3Z4acxzHg5RDlzpJFc0psM/Rgs2svqoR6SZcnC13U\nucETDdSnAgMBAAECggEAGKQ9Hvi7i4MXvt39QjUq+3J45AcQjuKl5ljeKB808lM8\nAFfbCLcMN8jYXMusORhdS44jlPlk3/hWJB/YVC6t1OpT0EB5GZ7P/pUFYg5fUT3d\n3h4tnv2nDCNFw34LhtxgiVYrQ2ocRI9tSwTIpyhUBM0s2ybNE+nmDoW+FloivPhF\nM3odXXtAjoBIec2XO9KsgFnxUr4gxaetJyTVoqttXaDb1qiPWwvgu64fxMd0S9+h\nhPY6jcjD65Bz1YMnSl9cIgu8FLcCDvNi+QkMVNSp14G10Bw3K/MVUuQ1bvoGlzDE\nCRKKP864niNdUYp95R8QDrvs54kdsUB7moclPITgAQKBgQDxsRbIp9N8h6AHYoDs\nDHViEXq36/5DMCSpGvWhksz7XxOjtBQnKRqSW0iIF2Sfg7sGNs5lYmn6O4x86Q79\nf+yCU6zMGqvqakCSpKgqJfxUq3fKc3QvIDrr/xGqxD1STEwewPLeSX7jDR1cyS98\nH8BPXQD8etT7CoHaMJlB6t54pwKBgQDkelzYu9dGRY20jAqGjuj8deorpvO2nWdH\noCmYbmxyZ17xeqJ4PgoeQTV3obx+IUXydgFA5wUIRY5jn/k/083U8IcDVYkgXVb4\nfsk5X7Ir1jDrEE9CUnaU6mSAUiEIRr7853XkHJ66CqclgHcP6A7J1RRGXRQMmPmY\nmgxaYCVEAQKBgDDVsV7V2judQ856LsaDNeycz4j+HCADSEUK93qwKM7ZxSQcrL3E\n5mOQIjWtVF2OxmlZBZcirXssMRTEGo1KHcWvloifEwGIeoem0XvCtRt+kfPMJDup\nbX5lyXIRuLo6RF8qaWhUvVivO7GVzQxtdfQTPLHHN+WJl/c4Pp89D7qdAoGAJFuo\nfMDfkAovc6S5ZBJH1yz4d7vYmp3PuqEtHVmtHkN+41SNmC7fM1NTK9dsBHJNDDll\nF6vrrBZNg2MIqfSNk642/fvVl3XjCiY65UtqMfmizTVKN5ah0i6+kYEASq3fZKV8\nqDE5vQdG8/vOdpSKDeo/kLbtItgRGAyjnJoiNAECgYAl4EbV6OlEE/Ed6lKx86Th\n1hlOhgS6LbSSZIQlpsEKVu41xenuQbSxIoEGRJDWRMGghEiPBt2flkvf90TS+Tfs\nycjfhKK1+YVMkNQGX058f9/cKHWLyzqIa996KNiqZNpkQFbRHmmaxhvBskcQQsSv\nTaVI1SW3R4KjhW8pgNFVhg==\n-----END PRIVATE KEY-----\n",
  "spki": "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA17U+V9QLRQaKNhYGexcz\nlfTuwq1Q2yJnQTNDSEO9q5HKx41QfVvDaea/OVssbtrJj2nhj0ixCRGUX2awZaL4\nPEc9aN8snXjrh/2VGbSjNO1p3U5Rg18syYFo9N50yuHAdSCqHOgk+bKl21LgFV7l\nDE4cRz+zOXTriyPyjbVEITW/xny7aJyycsCkhe+O1MnuqHDYhL9OaiAepcL5hT/+\ny1s+fsluDwh19vQb/5aZFcvbyjWfZyLt3MILANBTTx9eG5NDB6IaKmTdfgkHiS5A\nXTcvICsYXdf7NkqMN2eGnMcx4OUQ5c6SRXNKbDP0YLNrL6qEekmXJwtd1LnBEw3U\npwIDAQAB\n-----END PUBLIC KEY-----\n",
  "pkcs1Public": "-----BEGIN RSA PUBLIC KEY-----\nMIIBCgKCAQEA17U+V9QLRQaKNhYGexczlfTuwq1Q2yJnQTNDSEO9q5HKx41QfVvD\naea/OVssbtrJj2nhj0ixCRGUX2awZaL4PEc9aN8snXjrh/2VGbSjNO1p3U5Rg18s\nyYFo9N50yuHAdSCqHOgk+bKl21LgFV7lDE4cRz+zOXTriyPyjbVEITW/xny7aJyy\ncsCkhe+O1MnuqHDYhL9OaiAepcL5hT/+y1s+fsluDwh19vQb/5aZFcvbyjWfZyLt\n3MILANBTTx9eG5NDB6IaKmTdfgkHiS5AXTcvICsYXdf7NkqMN2eGnMcx4OUQ5c6S\nRXNKbDP0YLNrL6qEekmXJwtd1LnBEw3UpwIDAQAB\n-----END RSA PUBLIC KEY-----\n",
  "jwk": {
   "kty": "RSA",
   "n": "17U-V9QLRQaKNhYGexczlfTuwq1Q2yJnQTNDSEO9q5HKx41QfVvDaea_OVssbtrJj2nhj0ixCRGUX2awZaL4PEc9aN8snXjrh_2VGbSjNO1p3U5Rg18syYFo9N50yuHAdSCqHOgk-bKl21LgFV7lDE4cRz-zOXTriyPyjbVEITW_xny7aJyycsCkhe-O1MnuqHDYhL9OaiAepcL5hT_-y1s-fsluDwh19vQb_5aZFcvbyjWfZyLt3MILANBTTx9eG5NDB6IaKmTdfgkHiS5AXTcvICsYXdf7NkqMN2eGnMcx4OUQ5c6SRXNKbDP0YLNrL6qEekmXJwtd1LnBEw3Upw",
   "e": "AQAB",
   "d": "GKQ9Hvi7i4MXvt39QjUq-3J45AcQjuKl5ljeKB808lM8AFfbCLcMN8jYXMusORhdS44jlPlk3_hWJB_YVC6t1OpT0EB5GZ7P_pUFYg5fUT3d3h4tnv2nDCNFw34LhtxgiVYrQ2ocRI9tSwTIpyhUBM0s2ybNE-nmDoW-FloivPhFM3odXXtAjoBIec2XO9KsgFnxUr4gxaetJyTVoqttXaDb1qiPWwvgu64fxMd0S9-hhPY6jcjD65Bz1YMnSl9cIgu8FLcCDvNi-QkMVNSp14G10Bw3K_MVUuQ1bvoGlzDECRKKP864niNdUYp95R8QDrvs54kdsUB7moclPITgAQ",
   "p": "8bEWyKfTfIegB2KA7Ax1YhF6t-v-QzAkqRr1oZLM-18To7QUJykakltIiBdkn4O7BjbOZWJp-juMfOkO_X_sglOszBqr6mpAkqSoKiX8VKt3ynN0LyA66_8RqsQ9UkxMHsDy3kl-4w0dXMkvfB_AT10A_HrU-wqB2jCZQereeKc",
   "q": "5Hpc2LvXRkWNtIwKho7o_HXqK6bztp1nR6ApmG5scmde8XqieD4KHkE1d6G8fiFF8nYBQOcFCEWOY5_5P9PN1PCHA1WJIF1W-H7JOV-yK9Yw6xBPQlJ2lOpkgFIhCEa-_Od15ByeugqnJYB3D-gOydUURl0UDJj5mJoMWmAlRAE",
   "dp": "MNWxXtXaO51DznouxoM17JzPiP4cIANIRQr3erAoztnFJBysvcTmY5AiNa1UXY7GaVkFlyKteywxFMQajUodxa-WiJ8TAYh6h6bRe8K1G36R88wkO6ltfmXJchG4ujpEXyppaFS9WK87sZXNDG119BM8scc35YmX9zg-nz0Pup0",
   "dq": "JFuofMDfkAovc6S5ZBJH1yz4d7vYmp3PuqEtHVmtHkN-41SNmC7fM1NTK9dsBHJNDDllF6vrrBZNg2MIqfSNk642_fvVl3XjCiY65UtqMfmizTVKN5ah0i6-kYEASq3fZKV8qDE5vQdG8_vOdpSKDeo_kLbtItgRGAyjnJoiNAE",
   "qi": "JeBG1ejpRBPxHepSsfOk4dYZToYEui20kmSEJabBClbuNcXp7kG0sSKBBkSQ1kTBoIRIjwbdn5ZL3_dE0vk37MnI34SitfmFTJDUBl9OfH_f3Ch1i8s6iGvfeijYqmTaZEBW0R5pmsYbwbJHEELEr02lSNUlt0eCo4VvKYDRVYY"
  },
  "signatures": {
   "sha256": "l98CLfRaZqLIjXT8VPwkQro7ry8AsoOrIF8WUOQfJWRv+hsCCv/VrySG9rAZQuYnqYYvu55C5LW+ulgdVrGueKIbTqt2OzuwO5IA0IcEh+J1bt3IjunRv6Yn8Yk3HgZea5eMbGVBGj8gC35QEg8RCC+GNT5FSIAJc61Il7tsZJM3QdlApO3g42mbcLNzcIGF3/YfVFn8KEbF3k9XwkmF34r6gAIz5DwLRmzPqHNgWAcywxC4INqK6O7MLg3kaLqR2+NVPamMAm8mNWX1mB9rvTEUQg1AEh6XhoNv9GTX3aP6ep9EhknBuBm/r/m2Ua41gGQ+7oXbH8yE+SteC7Wusw==",
   "sha3-512": "SZPJjEX/TrHlIbfYa9qtlElhONHrwomnHLaZuEhjrU+Sct7dAp+8KUiBW+BjOxgFo9aCgGK0e4T+R1HWogaZYsqfnNmetcAjmhFlEHktZ61uwenDssE8Me4y2I5EnhBcp4OuBrGsYgbpU70uE28pI77RcyAsud3wWPfoOrkhqC3Sol0GtDQntlgeXwkgRNvOk5WIc7MmomLFs1/9mMZvozR4fukarCbO0btBctpUANS/YJNuWWO5RpiA43zA21zINByyjRvtu0LpVR1NY/fSYbTSqSwTgBDVmoe8lLLKNdYxTEwl+Fv70x/1YHg+rvmyMvpVldgIgasBy8T00Jd79w=="
  },
  "pss": {
   "digest": "CeY0IQrF7kYoQEuY7PAe04lhuHn6jKhtMfJFojT3LY4k99KJiZU+RuJ987FzG3DUejGAe6ZOiau9FzvGqlWs2UNS0729DHeLjEwOW6gHcZpPnr5/xBbFSYi8O5XlhbT168fEeEPI7V5AFeKpJ/9riy/Og9sp0ZLF+aoOH1S4Ch4nz5WyYW6eGpp5WRCCChyc86SUDd1YV7JrSoKjF9Cw3Bi9sP13+MUidfYu3TZKc6u3S+F9tt4xx92NwisKvCeRzEQbbNFrfC4q4r88OXN5hs93W1eFkw3Dz4Hd9S1NuQ3JG6oG7XOpaqf9T4HBIuPPabCpGnWrkbIxtRZfQje+Ow==",
   "max": "x53wabI6LCSlO+tYl9yH8rIsDEVkHh7CdzExAiTNZB1+d3VUCmtBdJurQBuAMzljVgjyhTAW0nazTxdHyFjmpG3TyrYEzUBagAN36YBDMdHFjVduyqf5NQvq74oc18VyWvNvoUdtbyhTtGVlUs69FpQ8if0NkVS8rGZ+K9zKAS66rXccYVWr6RW3hBzneB4EWo8hUUHSWk+GG59LnsEfodQIazvxO5HHLgMacLNKJOF1FWCoxkPoZVOWun/9MIF0ELig0MiBlwWY3py3CTemYKeNtU3/SFOKLnxYMRfMm1GCJ2FjK0Xps7Q+xLSpBdBE3kflKCFAtotmiPsI+XA9zg==",
   "ten": "i20fCWCRVcKnKYLHMpjqlk0hE+DUIcVFmL9myzXi3Vu3ZWDuKAz66eiXG3yeTXBX0MtiO1sG8wPqsVSpauLFGQVANObK5BblM8EM6X5Qwp7ku2ApRs8xKo50JI+VwugYetAtPCxTsc4hGDNuuajTuvhOjU5z1V5TldCAAo/4XuwYNDpnxgK1Z/0jcAPnM9y0j94P1vDltGwv8BWlmdXC2Z1gbF0MUSOFQ/VzTjznsZeRam7B4RQGb/Taq2DEH0o0uUcG5ZtjFJ7h2L4uhk8gK2iULqi0KHZ4OW+36sIqmP226Y+53q/UZM9QXBEV+/w9F/KiQPd7UBRG3UqXunPHvA=="
  }
 },
 "ec": {
  "prime256v1": {
   "sec1": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPoW5IrqHQ4hxULPEyLrnOFn6hgMdR4Uj7m6nl1lEqMjoAoGCCqGSM49\nAwEHoUQDQgAEPeK59GzUjJs5k39bSpzaRKVj1ZRrtdwRMYryff7BITyzac+UeB4X\nG/Hqw1pn3GYUiiwzrs5nn/ub9HkN5q7a1g==\n-----END EC PRIVATE KEY-----\n",
   "pkcs8": "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+hbkiuodDiHFQs8T\nIuuc4WfqGAx1HhSPubqeXWUSoyOhRANCAAQ94rn0bNSMmzmTf1tKnNpEpWPVlGu1\n3BExivJ9/sEhPLNpz5R4Hhcb8erDWmfcZhSKLDOuzmef+5v0eQ3mrtrW\n-----END PRIVATE KEY-----\n",
   "spki": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPeK59GzUjJs5k39bSpzaRKVj1ZRr\ntdwRMYryff7BITyzac+UeB4XG/Hqw1pn3GYUiiwzrs5nn/ub9HkN5q7a1g==\n-----END PUBLIC KEY-----\n",
   "jwk": {
    "kty": "EC",
    "x": "PeK59GzUjJs5k39bSpzaRKVj1ZRrtdwRMYryff7BITw",
    "y": "s2nPlHgeFxvx6sNaZ9xmFIosM67OZ5_7m_R5Deau2tY",
    "crv": "P-256",
    "d": "-hbkiuodDiHFQs8TIuuc4WfqGAx1HhSPubqeXWUSoyM"
   },
   "der": [
    [
     "sha1",
     "MEYCIQCcJXb16wCyt1mUakocYHp8oP+POUfMY4E1usJuGK3HGwIhALk+z+L743h3ADq0DO65nsVas1J7Awc5TiPLAB6dLiWM"
    ],
    [
     "sha256",
     "MEUCIQCO3A2r5XPWGhluNB0lgcWiI/Av+NjjNrpbHiquQJa6awIgcbWemKtRvQtK8rFLG92IGe5ACA5c9PGq91fykCIAD8Q="
    ],
    [
     "sha512",
     "MEUCIQC6FZazen2E5SpzPXMvvuQ3oOHuUiiyIz2T1Itg1fduwAIgRdux5v36fR0wsUKuwB6gwhTCQJO8+DoXNCFE/K+70Jg="
    ]
   ],
   "p1363": [
    [
     "sha1",
     "XvVs6dtBpByIoujgJ2oPWuGTXsrPMjKQhJ/PKYUOMJmcVCDoWAl+W3Uo57xwdpEHItp7/YeCpcGtj/4hcKdwIA=="
    ],
    [
     "sha256",
     "t1GUMFzkbcOuLJe0H2vSt2epgsAX6hrnZg6HhPvl5yBvjUqWt8IdoVNpuqT79q6VhlBvPfMLT1ooVH65gHH9/Q=="
    ],
    [
     "sha512",
     "9MuMMxIlm/Eb4Gx/Vb3Tq8S43xJY5IBVdzS/fYJ7osX0rlqT7emta4X7r4Y4WrNIhySaL9TTRhGrIChuZjw/gA=="
    ]
   ]
  },
  "secp384r1": {
   "sec1": "-----BEGIN EC PRIVATE KEY-----\nMIGkAgEBBDBbpIwbiXZfpuQk9bdupE4MZjIGDOTrHm92kx9PPSyd6QdBVsmuUeOe\njJf65E+Bch2gBwYFK4EEACKhZANiAARzww9XeoWLRnne6Q2hjm+WVY58UfIlFtWR\nhNZjKwQNOWRfi//Kw+q6OaLrjkCJbO2JLNoZGw3LIPbU3pjX+RVa78zutJi51jqG\n/4+pSVv0SzDQ3m502yUNoI2+kyOENYA=\n-----END EC PRIVATE KEY-----\n",
   "pkcs8": "-----BEGIN PRIVATE KEY-----\nMIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBbpIwbiXZfpuQk9bdu\npE4MZjIGDOTrHm92kx9PPSyd6QdBVsmuUeOejJf65E+Bch2hZANiAARzww9XeoWL\nRnne6Q2hjm+WVY58UfIlFtWRhNZjKwQNOWRfi//Kw+q6OaLrjkCJbO2JLNoZGw3L\nIPbU3pjX+RVa78zutJi51jqG/4+pSVv0SzDQ3m502yUNoI2+kyOENYA=\n-----END PRIVATE KEY-----\n",
   "spki": "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEc8MPV3qFi0Z53ukNoY5vllWOfFHyJRbV\nkYTWYysEDTlkX4v/ysPqujmi645AiWztiSzaGRsNyyD21N6Y1/kVWu/M7rSYudY6\nhv+PqUlb9Esw0N5udNslDaCNvpMjhDWA\n-----END PUBLIC KEY-----\n",
   "jwk": {
    "kty": "EC",
    "x": "c8MPV3qFi0Z53ukNoY5vllWOfFHyJRbVkYTWYysEDTlkX4v_ysPqujmi645AiWzt",
    "y": "iSzaGRsNyyD21N6Y1_kVWu_M7rSYudY6hv-PqUlb9Esw0N5udNslDaCNvpMjhDWA",
    "crv": "P-384",
    "d": "W6SMG4l2X6bkJPW3bqRODGYyBgzk6x5vdpMfTz0snekHQVbJrlHjnoyX-uRPgXId"
   },
   "der": [
    [
     "sha1",
     "MGUCMQCamybHpJsn+46z0XXuM5GMuvP4EsT+xVfbJ+sTvwtAM5U6sqBhDvK8zoyWAWS86ooCMHCvoHDc9JiWAcnoVialfi+BrbB6BixSGPNbxT+d3kv9bCCR18+c4cT9BgbeyPDX3w=="
    ],
    [
     "sha256",
     "MGUCMCzsqwFaYdF7jq/cdoB9LPI1ItNWF8TU/BWrxFz4A6hlZ/B9gjYdhvBOaRD+dnez6AIxAKYDi0mcfsnx69b8WJwnEihuCfuXb+eE3qzIYO4FVxc9qY12E/X7afHIHUdMLy1Ekg=="
    ],
    [
     "sha512",
     "MGQCMCM57USUz4doRGPn0FL7Jfm4JAz8RX4NUdiftPaILgiqTDk4M4IRHHZMCMMoqJq8NAIwV0VhLjGMW5ZnX33Abjl6nNJDP74vNugSDpy/Cjy6lYk+8qHbnRFD6FflPzUAEm0/"
    ]
   ],
   "p1363": [
    [
     "sha1",
     "suIRBm69DKFyDh3YrjrarTn8qaQS5HYwhQRvUL3bV9WkOuO/cPpMP27ygq+RTCsKJWANOG1Cf1VY9p07UlVG///+ARZEb63RAaqrjsyP2P0rBBAvsfHD9aYin9E1lUGM"
    ],
    [
     "sha256",
     "av43A9I0FvrwXGp7MQPNDXCPjcbcINa8/Fk95fusmrtWKA43FV/QQzXlHXJhx3/JvqKG/X9DpdtkM786x/j717IHC62DMSdOcF52qDYkU507khcSVh+tiH8k1jqISMvF"
    ],
    [
     "sha512",
     "4XLTEuXiXlvFrGHOa8KZuz9DgBlWXUqzLJ9UN2iCU1Bqwpmd0RniMoAKMkjoVLuhh9OVNae+wH9pkxyEkz8YPpYgY0GxJYh34PdEHHrFhChkzD1/8pF6DiF2i8+Y3f6+"
    ]
   ]
  },
  "secp521r1": {
   "sec1": "-----BEGIN EC PRIVATE KEY-----\nMIHcAgEBBEIAHubVi5Z42t9ftZ+mJreEPEBzy1Wo8C3rmrodKThj+EV6G00XfgDJ\nx2hGInUwi6FYC//aL3hNRpb72/f88V/CrsCgBwYFK4EEACOhgYkDgYYABACCVbwf\njH1MMK8G3zuKDQO9ESNtMT1vjQwXZGwsQsikDtkuDQNebCmx8pzctfBjGeHTTW40\n67zC2GC8T5Wrz7p7qQG9MFniwcMoMVLBKDOCeZzggxFvta0yeFBzXtXuC5IQBNST\nOn1fL1DFY/R4zc6wd5CxtAv3pdGApmyJweWH5SDQ+A==\n-----END EC PRIVATE KEY-----\n",
   "pkcs8": "-----BEGIN PRIVATE KEY-----\nMIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAHubVi5Z42t9ftZ+m\nJreEPEBzy1Wo8C3rmrodKThj+EV6G00XfgDJx2hGInUwi6FYC//aL3hNRpb72/f8\n8V/CrsChgYkDgYYABACCVbwfjH1MMK8G3zuKDQO9ESNtMT1vjQwXZGwsQsikDtku\nDQNebCmx8pzctfBjGeHTTW4067zC2GC8T5Wrz7p7qQG9MFniwcMoMVLBKDOCeZzg\ngxFvta0yeFBzXtXuC5IQBNSTOn1fL1DFY/R4zc6wd5CxtAv3pdGApmyJweWH5SDQ\n+A==\n-----END PRIVATE KEY-----\n",
   "spki": "-----BEGIN PUBLIC KEY-----\nMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAglW8H4x9TDCvBt87ig0DvREjbTE9\nb40MF2RsLELIpA7ZLg0DXmwpsfKc3LXwYxnh001uNOu8wthgvE+Vq8+6e6kBvTBZ\n4sHDKDFSwSgzgnmc4IMRb7WtMnhQc17V7guSEATUkzp9Xy9QxWP0eM3OsHeQsbQL\n96XRgKZsicHlh+Ug0Pg=\n-----END PUBLIC KEY-----\n",
   "jwk": {
    "kty": "EC",
    "x": "AIJVvB-MfUwwrwbfO4oNA70RI20xPW-NDBdkbCxCyKQO2S4NA15sKbHynNy18GMZ4dNNbjTrvMLYYLxPlavPunup",
    "y": "Ab0wWeLBwygxUsEoM4J5nOCDEW-1rTJ4UHNe1e4LkhAE1JM6fV8vUMVj9HjNzrB3kLG0C_el0YCmbInB5YflIND4",
    "crv": "P-521",
    "d": "AB7m1YuWeNrfX7Wfpia3hDxAc8tVqPAt65q6HSk4Y_hFehtNF34AycdoRiJ1MIuhWAv_2i94TUaW-9v3_PFfwq7A"
   },
   "der": [
    [
     "sha1",
     "MIGHAkIAqs+k0rBBQXOxO6F/TOZYcF69nB4RPv3SQNG68sVhl0QC3btKmrKcdPdb0diKkOztIfIiJt3LdkpXc1e6tiSvzYQCQTrFOFe2zq0rMYwqdsXyJobui/PVlICE5icvaeKrH5rw4wgYyLk7xvcYa5Hhz33IHhGSJ8bpzRNJMSGVf9Xp2XsL"
    ],
    [
     "sha256",
     "MIGGAkENSB8u/AoQ0VQ9wzhKZf2w/lbYa/9IvLsyOVIefV3L6YXjLMiQ2zPgc9wUMSi/ggUY9N/fSHqpOTBAyTXDg3ql1gJBbq76xVMK0OY+1+IFbHyP095ZE8qQbmhX33BHhT4KNe4UQB5QvgRDKCncyiIYdr8tVpXlwfUwfHU4NsVrKWJXr94="
    ],
    [
     "sha512",
     "MIGIAkIBP2XWQX5DV0Z85FdFYN56IMXxxIafZLgmzFxwgCdKXkISO0hMuSexhfffeKBTj0X3rdU+pigjxKf0jEsmZt29K78CQgDZDMNr53v9WiKcAWXBHYvvcFuSwsxFYRvMep4X8609gopWjiO3KA1AdhLaomKyzFrVS8SIldSH0R/Lf1bmr+OeEA=="
    ]
   ],
   "p1363": [
    [
     "sha1",
     "Ab+NETbbuF5+3gCNpc9QRa/eWHAg8EqlsylB0TXChAngHMgkHgnQcE1MfZlz9sczCciI6YYsCKfJir1gqFVunTDLANbNW5DTBGkkFtuKsFBFP43iSwTQoD0v5NDEEDceTXLiD2awxqTi5IHP1UqePEmLQa/2iVW6jvASzeSLOKsuXpIs"
    ],
    [
     "sha256",
     "AfiUwcopZ5yJXrlkOORBTS9BULAg3y1Ppq1s934ymtq4lrikM06VR9mEBg+7K38+c7hNPjumCdI1w/eyKcxa5rqwACIVjCzi9WYcUHT49EFd+mYiYz6lK8hr+kpY6edfgU4q4cLPGubBA+F9W1XjiOmHJHCYUO46oaMp0CNjPtqVILhd"
    ],
    [
     "sha512",
     "Aa6tfTdqZcqnRXtYUpJS8rb+tbgBqvmbASEvAGbNW0tPBOp05XWfx4u+VIjj/AsfozLjIZ9dBeYzSQWVZR88BybMAV5+0m0y1IVlDiaDuUWLBx8WpYghXH2yozrCoKgdWb7MYRlGD2Spfw9ER77SwMep36qQ3OuT+OTFoZpQe7CblW5/"
    ]
   ]
  },
  "secp256k1": {
   "sec1": "-----BEGIN EC PRIVATE KEY-----\nMHQCAQEEIF73fhgFbk0waCjvsh0/DcDXXRKmWzgd5HsXlw6X9BNIoAcGBSuBBAAK\noUQDQgAEw6ePeWFJBmFCaQ0tutTDen7hy4URS5KYLDMwVsTq6jdBwp4Gqk1Brk3r\njyzy0QeU5OlhvxeR0hvpuCRh/mmI7Q==\n-----END EC PRIVATE KEY-----\n",
   "pkcs8": "-----BEGIN PRIVATE KEY-----\nMIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgXvd+GAVuTTBoKO+yHT8N\nwNddEqZbOB3kexeXDpf0E0ihRANCAATDp495YUkGYUJpDS261MN6fuHLhRFLkpgs\nMzBWxOrqN0HCngaqTUGuTeuPLPLRB5Tk6WG/F5HSG+m4JGH+aYjt\n-----END PRIVATE KEY-----\n",
   "spki": "-----BEGIN PUBLIC KEY-----\nMFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEw6ePeWFJBmFCaQ0tutTDen7hy4URS5KY\nLDMwVsTq6jdBwp4Gqk1Brk3rjyzy0QeU5OlhvxeR0hvpuCRh/mmI7Q==\n-----END PUBLIC KEY-----\n",
   "jwk": {
    "kty": "EC",
    "x": "w6ePeWFJBmFCaQ0tutTDen7hy4URS5KYLDMwVsTq6jc",
    "y": "QcKeBqpNQa5N648s8tEHlOTpYb8XkdIb6bgkYf5piO0",
    "crv": "secp256k1",
    "d": "Xvd-GAVuTTBoKO-yHT8NwNddEqZbOB3kexeXDpf0E0g"
   },
   "der": [
    [
     "sha1",
     "MEYCIQDAEcYW0VfG5mhsIR/Hqr5FxKLU/INuGeBI0haO3N4aGgIhAJMXTJ1AJHfiKymUQeZAt0EUUzIBx3jR+VZkNyxUJwEO"
    ],
    [
     "sha256",
     "MEUCIQCwMswH3wYjdRO/HRye/NX/8AFd2IHbfDNIo6ZRiiFQPwIgBJULzZhAcn8sCslLXUxX2sfwr9h2fGaKsH1OvPXKglQ="
    ],
    [
     "sha512",
     "MEUCICjpCBjFccML4XHO5CFffBSm6/FxmmUOuUeoHW/pkdhVAiEAu0hpAqdoDkXsuUY50TcOeoochTaoHM7bHAw9++hGKhU="
    ]
   ],
   "p1363": [
    [
     "sha1",
     "f+OBAdjs1v3mKu+SRSTHdlc/jUV2D//usq7JnIQf56xO/JrXm+QEjqpLYz5BOlqnUEIdrYktrVEbkhP34cPa6Q=="
    ],
    [
     "sha256",
     "/itfozc95wD3ipmLdO6xx5V9hskuixcHM7hMaNhxVlcRn+O7KPdN3Gq9qAXGOEzt6yhy4a/P0Dn+DY7IxEd+TQ=="
    ],
    [
     "sha512",
     "gKhK8+gr2i/Wh3+CEIKRCSPQaTZBS89YbaE9J5VOOUi3xQHZu787ETtj3Y+4rxsHjtovP0AxEJGWj8Bf+I2Npg=="
    ]
   ]
  }
 },
 "ed25519": {
  "pkcs8": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEILPExeGd3bWjQ5V1a6skJK7565d6F0RfjBIRTlHWtiUR\n-----END PRIVATE KEY-----\n",
  "spki": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAeyUTv5kpNPmnKTfzUvOgPb2TteqXTpPp/mT8ZEjNgOM=\n-----END PUBLIC KEY-----\n",
  "jwk": {
   "crv": "Ed25519",
   "d": "s8TF4Z3dtaNDlXVrqyQkrvnrl3oXRF-MEhFOUda2JRE",
   "x": "eyUTv5kpNPmnKTfzUvOgPb2TteqXTpPp_mT8ZEjNgOM",
   "kty": "OKP"
  },
  "signature": "xDuWok7VT5eImxZqpvsNLB09p9iGsSKNMCuIQQ93+6godyKbNRZWAFjX+I9dN5dsPhWCA2eAOzRFU+1CdhI+AQ=="
 },
 "x25519": {
  "pkcs8": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIAjGOGmIxdqoiPa4DRvzPNx8AaAqcVRPJO8CBAYzBaVJ\n-----END PRIVATE KEY-----\n",
  "spki": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAqzU6wrQz/DoZZVxgIkDHdMzQE6afNaKzUfsv+JPzVV4=\n-----END PUBLIC KEY-----\n",
  "jwk": {
   "crv": "X25519",
   "d": "CMY4aYjF2qiI9rgNG_M83HwBoCpxVE8k7wIEBjMFpUk",
   "x": "qzU6wrQz_DoZZVxgIkDHdMzQE6afNaKzUfsv-JPzVV4",
   "kty": "OKP"
  }
 }
};
const TEXT = Buffer.from('text');
const { rsa, ec, ed25519, x25519 } = RECORDED;

// Every form of a key gives the same key, and every form back.
function forms(privates, publics, jwk, type, details) {
  const key = crypto.createPrivateKey(Object.values(privates)[0]);
  assert.strictEqual(key.type, 'private');
  assert.strictEqual(key.asymmetricKeyType, type);
  assert.deepStrictEqual(key.asymmetricKeyDetails, details);
  const own = crypto.createPublicKey(key);
  for (const [structure, text] of Object.entries(privates)) {
    const same = crypto.createPrivateKey(text);
    assert(same.equals(key), structure);
    assert.strictEqual(key.export({ format: 'pem', type: structure }), text);
    const der = key.export({ format: 'der', type: structure });
    assert(crypto.createPrivateKey({ key: der, format: 'der', type: structure }).equals(key));
    assert(crypto.createPublicKey(text).equals(own));
  }
  for (const [structure, text] of Object.entries(publics)) {
    const half = crypto.createPublicKey(text);
    assert.strictEqual(half.type, 'public');
    assert(half.equals(own), structure);
    assert(!half.equals(key));
    assert.strictEqual(half.export({ format: 'pem', type: structure }), text);
    const der = half.export({ format: 'der', type: structure });
    assert(crypto.createPublicKey({ key: der, format: 'der', type: structure }).equals(own));
  }
  assert.strictEqual(JSON.stringify(key.export({ format: 'jwk' })), JSON.stringify(jwk));
  assert(crypto.createPrivateKey({ key: jwk, format: 'jwk' }).equals(key));
  assert(crypto.createPublicKey({ key: jwk, format: 'jwk' }).equals(own));
  return { privateKey: key, publicKey: own };
}

function check(digest, { privateKey, publicKey }, signature, options = {}) {
  signature = Buffer.from(signature, 'base64');
  assert.strictEqual(crypto.verify(digest, TEXT, { key: publicKey, ...options }, signature), true);
  assert.strictEqual(crypto.verify(digest, Buffer.from('Text'), { key: publicKey, ...options }, signature), false);
  const own = crypto.sign(digest, TEXT, { key: privateKey, ...options });
  assert.strictEqual(crypto.verify(digest, TEXT, { key: publicKey, ...options }, own), true);
  if (!digest) return;
  const streamed = crypto.createSign(digest).update('te').update('xt').sign({ key: privateKey, ...options });
  assert.strictEqual(crypto.createVerify(digest).update(TEXT).verify({ key: publicKey, ...options }, streamed), true);
  streamed[streamed.length - 1] ^= 1;
  assert.strictEqual(crypto.createVerify(digest).update(TEXT).verify({ key: publicKey, ...options }, streamed), false);
}

// RSA; what PKCS#1 v1.5 signs is always the same.
const pair = forms({ pkcs8: rsa.pkcs8, pkcs1: rsa.pkcs1 }, { spki: rsa.spki, pkcs1: rsa.pkcs1Public }, rsa.jwk,
                   'rsa', { modulusLength: 2048, publicExponent: 65537n });
for (const [digest, signature] of Object.entries(rsa.signatures)) {
  check(digest, pair, signature);
  assert.strictEqual(crypto.sign(digest, TEXT, rsa.pkcs8).toString('base64'), signature);
}
const padding = crypto.constants.RSA_PKCS1_PSS_PADDING;
check('sha384', pair, rsa.pss.digest, { padding, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST });
check('sha384', pair, rsa.pss.max, { padding });
check('sha384', pair, rsa.pss.ten, { padding, saltLength: 10 });
assert.strictEqual(crypto.verify('sha384', TEXT, { key: rsa.spki, padding, saltLength: 11 }, Buffer.from(rsa.pss.ten, 'base64')), false);
assert.throws(() => crypto.sign('sha512', TEXT, { key: rsa.pkcs1, padding, saltLength: 900 }), { code: 'ERR_OSSL_RSA_DATA_TOO_LARGE_FOR_KEY_SIZE' });
assert.throws(() => crypto.sign('sha512', TEXT, { key: rsa.pkcs1, padding: 4 }), { code: 'ERR_OSSL_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE' });

// ECDSA, with digests shorter and longer than the order.
for (const [namedCurve, { sec1, pkcs8, spki, jwk, der, p1363 }] of Object.entries(ec)) {
  const keys = forms({ pkcs8, sec1 }, { spki }, jwk, 'ec', { namedCurve });
  for (const [digest, signature] of der) check(digest, keys, signature);
  for (const [digest, signature] of p1363) check(digest, keys, signature, { dsaEncoding: 'ieee-p1363' });
}

const edwards = forms({ pkcs8: ed25519.pkcs8 }, { spki: ed25519.spki }, ed25519.jwk, 'ed25519', {});
check(null, edwards, ed25519.signature);
assert.strictEqual(crypto.sign(null, TEXT, ed25519.pkcs8).toString('base64'), ed25519.signature);
assert.throws(() => crypto.sign('sha256', TEXT, ed25519.pkcs8), { code: 'ERR_OSSL_INVALID_DIGEST' });
assert.throws(() => crypto.createSign('sha256').sign(ed25519.pkcs8), { code: 'ERR_CRYPTO_UNSUPPORTED_OPERATION' });
forms({ pkcs8: x25519.pkcs8 }, { spki: x25519.spki }, x25519.jwk, 'x25519', {});

// What is no key, in Node's words.
assert.throws(() => crypto.createPublicKey('x'), { code: 'ERR_OSSL_UNSUPPORTED', message: 'error:1E08010C:DECODER routines::unsupported' });
assert.throws(() => crypto.createPrivateKey(rsa.spki), { code: 'ERR_OSSL_UNSUPPORTED' });
assert.throws(() => crypto.createPrivateKey({ key: Buffer.from('x'), format: 'der', type: 'pkcs8' }), { code: 'ERR_OSSL_ASN1_NOT_ENOUGH_DATA' });
assert.throws(() => crypto.createPublicKey({ key: Buffer.from('x'), format: 'der', type: 'spki' }), { message: 'Failed to read asymmetric key' });
assert.throws(() => crypto.createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' } }), { code: 'ERR_CRYPTO_INVALID_JWK', message: 'Invalid JWK EC key' });
assert.throws(() => crypto.createSign('nope'), { code: 'ERR_CRYPTO_INVALID_DIGEST', message: 'Invalid digest' });
assert.throws(() => crypto.sign('nope', TEXT, rsa.pkcs1), { code: 'ERR_CRYPTO_INVALID_DIGEST', message: 'Invalid digest: nope' });
// A modulus that no operation would come to an end with.
assert.throws(() => crypto.createPublicKey({ format: 'jwk', key: { kty: 'RSA', n: 'f'.repeat(20000), e: 'AQAB' } }), { code: 'ERR_CRYPTO_INVALID_JWK' });
assert.throws(() => crypto.createHmac('sha256', edwards.privateKey), { code: 'ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE' });

// New keys.
const generated = crypto.generateKeyPairSync('rsa', { modulusLength: 1025, publicExponent: 3 });
assert.deepStrictEqual(generated.publicKey.asymmetricKeyDetails, { modulusLength: 1025, publicExponent: 3n });
assert.strictEqual(crypto.verify('sha256', TEXT, generated.publicKey, crypto.sign('sha256', TEXT, generated.privateKey)), true);
assert.throws(() => crypto.generateKeyPairSync('rsa', { modulusLength: 256 }), { message: 'error:1C8000AB:Provider routines::key size too small' });
assert.throws(() => crypto.generateKeyPairSync('rsa', { modulusLength: 1 << 20 }), { message: 'error:02000069:rsa routines::modulus too large' });
assert.throws(() => crypto.generateKeyPairSync('rsa', { modulusLength: 1024, publicExponent: 2 }), { message: 'error:020000B2:rsa routines::pub exponent out of range' });
assert.throws(() => crypto.generateKeyPairSync('ec', { namedCurve: 'nope' }), { code: 'ERR_CRYPTO_INVALID_CURVE' });
for (const namedCurve of crypto.getCurves()) {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', {
    namedCurve,
    publicKeyEncoding: { format: 'pem', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'sec1' },
  });
  assert.strictEqual(crypto.verify('sha256', TEXT, publicKey,
                                   crypto.sign('sha256', TEXT, { key: privateKey, format: 'der', type: 'sec1' })), true);
}

(async () => {
  const { publicKey, privateKey } = await promisify(crypto.generateKeyPair)('ed25519', { publicKeyEncoding: { format: 'jwk' } });
  assert.strictEqual(publicKey.crv, 'Ed25519');
  const signature = await promisify(crypto.sign)(null, TEXT, privateKey);
  assert.strictEqual(await promisify(crypto.verify)(null, TEXT, { key: publicKey, format: 'jwk' }, signature), true);

  for (const [algorithm, key, format] of [
    [{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, rsa],
    [{ name: 'RSA-PSS', hash: 'SHA-256', saltLength: 20 }, rsa],
    [{ name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }, ec.prime256v1, 'raw'],
    [{ name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' }, ec.secp521r1, 'raw'],
    [{ name: 'Ed25519' }, ed25519, 'raw'],
  ]) {
    const body = (text) => Buffer.from(text.replace(/-----.*?-----|\n/g, ''), 'base64');
    const signer = await subtle.importKey('pkcs8', body(key.pkcs8), algorithm, true, ['sign']);
    const verifier = await subtle.importKey('spki', body(key.spki), algorithm, true, ['verify']);
    const signature = await subtle.sign(algorithm, signer, TEXT);
    assert.strictEqual(await subtle.verify(algorithm, verifier, signature, TEXT), true);
    assert.strictEqual(await subtle.verify(algorithm, verifier, signature, Buffer.from('Text')), false);
    assert.deepStrictEqual(Buffer.from(await subtle.exportKey('pkcs8', signer)), body(key.pkcs8));
    assert.deepStrictEqual(Buffer.from(await subtle.exportKey('spki', verifier)), body(key.spki));
    const jwk = await subtle.exportKey('jwk', signer);
    await subtle.importKey('jwk', jwk, algorithm, true, ['sign']);
    if (!format) continue;
    const raw = await subtle.importKey(format, await subtle.exportKey(format, verifier), algorithm, true, ['verify']);
    assert.strictEqual(await subtle.verify(algorithm, raw, signature, TEXT), true);
  }
  const made = await subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-384' }, true, ['sign', 'verify']);
  assert.strictEqual((await subtle.exportKey('jwk', made.privateKey)).crv, 'P-384');
  const hmac = await subtle.importKey('jwk', { kty: 'oct', k: 'SmVmZQ' }, { name: 'HMAC', hash: 'SHA-256' }, true, ['sign']);
  assert.strictEqual(Buffer.from(await subtle.exportKey('raw', hmac)).toString(), 'Jefe');
  console.log('done');
})();
