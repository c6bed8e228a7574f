'use strict';
const assert = require('assert');
const crypto = require('crypto');
const { subtle } = crypto.webcrypto;

// RECORDED: what Node 22.23.3 made.
const RECORDED = {
 "ciphers": {
  "aes-128-cbc": "iGspn757wGNahZnQej+40/3W98g=",
  "aes-128-ccm": "arDqRYHaU2oop8vZm6qIUwsRznw=",
  "aes-128-cfb": "3A2hMytWmifVHP8E/PMSGDJGhy4=",
  "aes-128-cfb1": "cIXwBfw9ANm1Tgiba6Xo0PRmZow=",
  "aes-128-cfb8": "J/5cNE54ZlZU4FUgsBhM9B+msIw=",
  "aes-128-ctr": "qe8aa1sL0ZTK3ayhJlai6wfIOuA=",
  "aes-128-ecb": "RxQgnt0q6zROmCuM2aJ36hje9qQ=",
  "aes-128-gcm": "Bmjdp460X8K1xbF3Sx65+aAHLFk=",
  "aes-128-ocb": "zmzfiNdBVeK85U1M5+lEdvhOlJI=",
  "aes-128-ofb": "4gtVI1w2/K/7Y41tWp6RzGjBYFY=",
  "aes-128-xts": "GocDn5FggYYDkQke5Qynbz/nbKA=",
  "aes-192-cbc": "RSTml/rG1tTGl1tpyhKos5qTKsk=",
  "aes-192-ccm": "clpDL3tJOF3QOB5HIc8o2cw86ow=",
  "aes-192-cfb": "eoWl0T/JF5Wlgz0OkVC8AwMEbxg=",
  "aes-192-cfb1": "RnV0FyiV0tNbQkhcBsGskbsUuoA=",
  "aes-192-cfb8": "ZaNXXBuPGb84BqfkNqWLxsTidOs=",
  "aes-192-ctr": "b+o4s5kjkWBdZ1xpPX/3CAN4ibs=",
  "aes-192-ecb": "hOdY+zTutuO53320/WTC8ckeHgA=",
  "aes-192-gcm": "YP2mczYOqXUcfxsgXJ6jII9TgDQ=",
  "aes-192-ocb": "qHpDXzwxp+mWhH+xtSZB3VJWZJI=",
  "aes-192-ofb": "jyM1o1q1IcLWblurZCI1ryK+e/A=",
  "aes-256-cbc": "QnZncMTfGH1Sal9FlBUINUedH9c=",
  "aes-256-ccm": "2GFd1740zWOdSpao9lFL5Mbd6co=",
  "aes-256-cfb": "9pa1yehSZcPJltZhy+PAuMKoyHE=",
  "aes-256-cfb1": "H+ngTjsTmfVxjVlxhABVUUwg+9Q=",
  "aes-256-cfb8": "rEGWD7uI+lL1+yRG7pXtEEn43Cw=",
  "aes-256-ctr": "eAotFPGm2oK3A3HBAjUeoarCi4w=",
  "aes-256-ecb": "9MCqngyFCfgcIVsOCbU/5EmpCv8=",
  "aes-256-gcm": "OhWMTedSOLzOmCi5gOOgHMwLLw4=",
  "aes-256-ocb": "rybsl2LY3ZF2bg2uN6N+szYQHt4=",
  "aes-256-ofb": "c0UxANZBqPXeEOeN5f/R7Fbi6NE=",
  "aes-256-xts": "1BjZ1Ol2OMwv3kNr8IsamPdlhek=",
  "aes128": "NauPMxPa8CMdhOnijPXENf1WRPI=",
  "aes128-wrap": "zFArnJ12oV2BFQI4CSKjSOB2jmU=",
  "aes128-wrap-pad": "zu6YAfR/qyvxVBaqUuBBmWANabI=",
  "aes192": "Mhkdfj7gPVUDerzHwc7wHAA0PuE=",
  "aes192-wrap": "ZK7KBEIB4TOaV1wyFNIuEmWriRY=",
  "aes192-wrap-pad": "CeRhB7rAmQSXIhEWl4UDKkqWRP0=",
  "aes256": "0eSQ6ICTV17idNdogGt9/5qbVTw=",
  "aes256-wrap": "sZ0/neBiVF+B1Q3c1ICmafGFoHI=",
  "aes256-wrap-pad": "CAoKvFvH1LA3cyE8VsOLfGRmGgw=",
  "aria-128-cbc": "y0s0mzPZsfX0H8RsgVCy6CHPCcU=",
  "aria-128-ccm": "yMgfGq+MtGrO2ETE45dTkm3+Qts=",
  "aria-128-cfb": "68PfY+ytYxT1Ov8vmHbpox8h4tA=",
  "aria-128-cfb1": "2pt4Df/EfMMXziLz94F37dLukds=",
  "aria-128-cfb8": "m6Fc4E426bd59uvnSVFzDBAjQhY=",
  "aria-128-ctr": "JtNjPzvgdyj+loCC+U5OfgCIsRQ=",
  "aria-128-ecb": "OaaCq4C5bJvzwSuAySk/8HDG9/Y=",
  "aria-128-gcm": "JJxXloU1WD4hFzHYrKMRwgzAVE4=",
  "aria-128-ofb": "NSsI9KlFxc1fhz0yR/8Tcw06ZAA=",
  "aria-192-cbc": "uSSiTLLdr+7zykeNGossQTF66sw=",
  "aria-192-ccm": "anGrIiejPGeKSyhmCDfBAZ9//d0=",
  "aria-192-cfb": "FsYp2R5QLyx+udOngg+EIafIyME=",
  "aria-192-cfb1": "AN7/3vsL3VnbkzHxm1PDBOnVndY=",
  "aria-192-cfb8": "cLA7AfBsfUbc31lX0mEx8HOJtI4=",
  "aria-192-ctr": "/2GZJbAwkJnNlamKfO04feUfoPw=",
  "aria-192-ecb": "pCIra7a3y3l3Fana9cIfGX38+yo=",
  "aria-192-gcm": "wZXaMQGIdG3uBA55NvxGjL9j/3A=",
  "aria-192-ofb": "Ivr9gaRHOpn/BpwUo1fjIU6djXA=",
  "aria-256-cbc": "JZkjyqW/jIBEpaTwWgnk+dCj42o=",
  "aria-256-ccm": "V9PTCXXR/IMk7OGrhdaBtyM4A6Q=",
  "aria-256-cfb": "fcb3ZxygrGu2PRAJUC6jHOjOSwE=",
  "aria-256-cfb1": "mfZGEriWej6uJ80u8c6U7Rf4NBU=",
  "aria-256-cfb8": "m9NY9pRI/E/Kgxu/s15iCjFRXvY=",
  "aria-256-ctr": "YOVs2ZgC4IHoiS2Ng6nt0+Hj8Yc=",
  "aria-256-ecb": "EmEyMZxZc/tHafQUDcFpj9XYbac=",
  "aria-256-gcm": "Hw+rB+VsCxt+EfSPEJ02jR4o/z0=",
  "aria-256-ofb": "4Y7di8ynmZHJ1j/kGJvh4m4gon4=",
  "aria128": "Xl6kjMhRMZA7KO4Qp8JfLDu+bGE=",
  "aria192": "g51uXC3dEKQDof8KEsWuwZoMYRs=",
  "aria256": "OAOpr0/KyhUlIvM1kl0huH8IYbs=",
  "camellia-128-cbc": "91thsWReSbV1nXFY/DxFXVaTK0s=",
  "camellia-128-cfb": "mXBzKBPlOoN07AF/pdZW2r+NZT4=",
  "camellia-128-cfb1": "5y4aRkAwG6dyG9zx1gy6z2b+LQY=",
  "camellia-128-cfb8": "UNDWRS0N9vanFLzjxtvAK1HWO0E=",
  "camellia-128-ctr": "t8BNVxjgdsSeIhlgQzKe6CSyeEY=",
  "camellia-128-ecb": "rBWg1HqLGY5G2Oa39kmvQ1tvt84=",
  "camellia-128-ofb": "aU+YGWQGBwKzVKu+B0e9T5XHRAk=",
  "camellia-192-cbc": "YjerOEF3Lg0T3qzlDDcuK1TXcfE=",
  "camellia-192-cfb": "Ht1Sot1vqDA3B7yOq1MCbmec8XQ=",
  "camellia-192-cfb1": "mA9M8fzA4znDXP0eldX2JaC7H3o=",
  "camellia-192-cfb8": "pRPlpqeobH+Bs5MD8c9QFSX++6g=",
  "camellia-192-ctr": "DrqhQJMk4XJ2wAyJf5vJF684/bE=",
  "camellia-192-ecb": "VHotVvULMtv/o1XEYOAlzav8hEE=",
  "camellia-192-ofb": "CkV1inf5f1Fq4ppODROTyK+PC2E=",
  "camellia-256-cbc": "5iME7eqMOTMS2hLDhVuxqxePDnY=",
  "camellia-256-cfb": "oj349lqEA5QGdmoWGcUAQMnP5FE=",
  "camellia-256-cfb1": "mK1sMQQeWwvifi9JJtaU0aw3S50=",
  "camellia-256-cfb8": "hbnvA4Lbj5oNPGEAqxp3ceZ8uSI=",
  "camellia-256-ctr": "QPtCivaVxxxkdkSRQ027DoSQBA0=",
  "camellia-256-ecb": "ciHJw6SUvHHxuO2ttcqMa7j79ns=",
  "camellia-256-ofb": "lGHr0nBheJ/pH/mwRnwsXRKoDVA=",
  "camellia128": "tCEz11vJFVwg5yEhjQ5xkwEei28=",
  "camellia192": "O7SURXv9V93OKIzOANJC4MDhgnc=",
  "camellia256": "RUMSlFJZJouZqu9TozIVQ4Fv0sc=",
  "chacha20": "A+3gpaFZivwn2G6mBr4LqIIZcbY=",
  "chacha20-poly1305": "ea7hv0wBlhkSaRSFwJWA4h16Mbc=",
  "des-ede": "zhhfRd2Dv5oL7TbzULx8Gw0b57U=",
  "des-ede-cbc": "ISVSI2D3N1UTLecKhikBlk/M6Lc=",
  "des-ede-cfb": "3qO9e0oGgH/UOHfEDOlGy30ToBY=",
  "des-ede-ecb": "08eCcyAfuGAUcdCuWxwuUfQE5Lw=",
  "des-ede-ofb": "mYLY2zFHiwR42xpJGXsjEicm+d4=",
  "des-ede3": "VhIV3OZHFRTzAkVVlRBYAVuzBjk=",
  "des-ede3-cbc": "OLre23VfE67SZhGyL9wvoleG+nk=",
  "des-ede3-cfb": "vnT73r7PJvAzHDx1vjibX0AT9cU=",
  "des-ede3-cfb1": "mwoANW3rB5CpZVF6JNcDrWMVK8E=",
  "des-ede3-cfb8": "qVIczhvD7Bo4oRSFPteGd3sx3R4=",
  "des-ede3-ecb": "ApFKUlQgcWJx2MBc7EGtSYGW1hw=",
  "des-ede3-ofb": "592laphUKyFL98F6teRRnSzTDpc=",
  "des3": "VptzVHvgW5ZG+bUNwvlU8mPXnfM=",
  "id-aes128-CCM": "arDqRYHaU2oop8vZm6qIUwsRznw=",
  "id-aes128-GCM": "Bmjdp460X8K1xbF3Sx65+aAHLFk=",
  "id-aes128-wrap": "zFArnJ12oV2BFQI4CSKjSOB2jmU=",
  "id-aes128-wrap-pad": "zu6YAfR/qyvxVBaqUuBBmWANabI=",
  "id-aes192-CCM": "clpDL3tJOF3QOB5HIc8o2cw86ow=",
  "id-aes192-GCM": "YP2mczYOqXUcfxsgXJ6jII9TgDQ=",
  "id-aes192-wrap": "ZK7KBEIB4TOaV1wyFNIuEmWriRY=",
  "id-aes192-wrap-pad": "CeRhB7rAmQSXIhEWl4UDKkqWRP0=",
  "id-aes256-CCM": "2GFd1740zWOdSpao9lFL5Mbd6co=",
  "id-aes256-GCM": "OhWMTedSOLzOmCi5gOOgHMwLLw4=",
  "id-aes256-wrap": "sZ0/neBiVF+B1Q3c1ICmafGFoHI=",
  "id-aes256-wrap-pad": "CAoKvFvH1LA3cyE8VsOLfGRmGgw=",
  "sm4": "odWa24xyeowclC8fioi1yZW+ZB8=",
  "sm4-cbc": "H5HgYWj6y435gXYScunw+R8Qcpg=",
  "sm4-cfb": "2U4SI4CBXtibuCfG0YUc4C2Shu4=",
  "sm4-ctr": "cijJKvxN2NRToVH7zzZ8Ct7pcvA=",
  "sm4-ecb": "YWF4YEx9KXVX8jvHRJdGFuEsFgk=",
  "sm4-ofb": "sAw7l5j9+ENmHABeq8Z8EhcSL7I="
 },
 "keys": {
  "rsa": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDJCIb+WGjLkm7BeR0LMWV40Gl0\n0gT6YzI4IrSuZ8UyYV+JajTBS/BZiwFDgQvjx5KZmfeWhcLJP4KQnKP6V9hag/rk\nXxgKGgg49dn+6FyopjNYqtTfnaEang7NG1EWZsN4dKPdSItergdEvF9kaepolX0E\nd0IQLGM8ZukrC9a2cwIDAQAB\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBAMkIhv5YaMuSbsF5\nHQsxZXjQaXTSBPpjMjgitK5nxTJhX4lqNMFL8FmLAUOBC+PHkpmZ95aFwsk/gpCc\no/pX2FqD+uRfGAoaCDj12f7oXKimM1iq1N+doRqeDs0bURZmw3h0o91Ii16uB0S8\nX2Rp6miVfQR3QhAsYzxm6SsL1rZzAgMBAAECgYEApPpphlvZjI7cc8xH6IKeKpqm\noKcmTLGRaf4ZVzNz4peEhsnxB1yhn2pzHAnQTxreFU4EoLOfGfcT2EekTnM+6fyk\nkHU0gQ3HuYxJRF9xSflGL6gWISFajFRJ9Je7geoGuRa4H4siOcWXrgY/mptOEaeu\nSXgx5fduekcX4Gt1UlECQQDu06cPFiSoEUcl9KmA0niLRNfbjNSJG2snNwjrtZ8o\nVEAj4hsbclJ7x6CgUF4FjGlZEcjBk8iwIICAzY/Fe3A5AkEA130rPsM4yzt04Tj+\no2CxtEeR9UyscTGQ1dMcnIz5QwxqAaHwAfl7C4K5RH7b2BJUX0kCUopdgfrcgYkt\nIAgECwJBAJ0bToJ2JpcJBqzJTdgYnIPBPd6HviiTiOG7KnskdxaolakFTJ+5jNkw\ncVIEjFVKEOMu98mf1h1GxEH29+UJVsECQHL+M76pdTxW/TdXL+PFrO8Uplot0XQS\nTEUfBIyyWi4iiMtYPHkBRl1NJEreG7mBho7Wqiub9OxxD4z8xBzsyiMCQQC8GR41\n6sJ1CkidlyedTYsUlkzENBj2Ut4iifnkg81ipUapU8yIhY505ivEDykTkSprQe1y\n++GyxWfcH9z1ZZT4\n-----END PRIVATE KEY-----\n"
  },
  "pss": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMIG1MCMGCSqGSIb3DQEBCjAWoA8wDQYJYIZIAWUDBAIBBQCiAwIBEAOBjQAwgYkC\ngYEAu4m9Vzi/k85kIyrLdu7N+CpEMDMg6Tjipom9bvj/psHbuBzNMmwp+m1JbNjB\nVetlAE4IHPSjS19ZVreYLaq5bapejai8NYdMaYOckv2dKuaQv1Rs/wNDPq82Tqqe\nnq6v2R16J9zzUqefAfI2OwoGiBF73HocIZIEy5qsa11sCUkCAwEAAQ==\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMIICjQIBADAjBgkqhkiG9w0BAQowFqAPMA0GCWCGSAFlAwQCAQUAogMCARAEggJh\nMIICXQIBAAKBgQC7ib1XOL+TzmQjKst27s34KkQwMyDpOOKmib1u+P+mwdu4HM0y\nbCn6bUls2MFV62UATggc9KNLX1lWt5gtqrltql6NqLw1h0xpg5yS/Z0q5pC/VGz/\nA0M+rzZOqp6erq/ZHXon3PNSp58B8jY7CgaIEXvcehwhkgTLmqxrXWwJSQIDAQAB\nAoGBAKrelOUjj2ncYuCn3To/2uqBmB9SdmoIqnmShkbWGBiYCNl3ZH7MjnLdoEjM\nNVtTXnMopbu8KgxCk+Ou47i4FLmGWNWcjrMIVz8vc1Yw8hn3j9iiy/vx7S0BHn4w\ngfMcydb9uS0ttVAqceLQcweG+9SqykiGvrMypQesK1+O9oABAkEA7DdBMmnbLQsh\nXxybI652mMPZqQgdECI6wU2rk/zsv9WS8uJTUogA43lCq+rPoXg9ol8SXowHp3kL\ntP3VkhukwQJBAMs+xpvBr5ZNDExX4ks3pMKCMgFkwDWgvtxMhATLzCRe2pNWngvH\ny7sVgG5Cz5WKVLHt7JtlDIjC7NKH2MSiXokCQHY/JsT81roSs07we/z9reLFT+Vc\n6WeVKwJvRi/b0gwp9tjdUUakTIWSwzxaXDwBfCEXJJPt1zsPzjt5QftVGUECQQCx\nUaaDE1s2nSfinzYN+5DiJiascpMC9qgtmRABAzCqdprpusMOchR7t0miaOWkiNhV\nl8c619E0rCNjliN3glVJAkB3eQCi8FHAc8HUnfMEeVkAQzq46JQgKTekvYZQcMjE\nRm0f3NTF95BhuWIJzK/QGoszQU2u5lmk9U+MZVgjTFls\n-----END PRIVATE KEY-----\n"
  },
  "dsa": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMIIBtjCCASsGByqGSM44BAEwggEeAoGBANApTE1qBcHFocedj0SiqteCkwZ7ChRQ\ni64RfHqcvYaz4SAG6xwZiEpq/IJlFvx1bFr6vqqRKhTREVBU7mkDsK8kvBRG9Rr4\nkQASuzh9MO2qQ1+r/KicR4jalFeG8gwT85gVCgAYyjPEX9nuvVPTb/yTRYcD/xdv\nsX9ub40fZ/qvAhUAsiMsib0szbaYiKJjSAkpAQmVnYkCgYB/nlnCssqw2Oltt3Nu\nB30INC5SWv26RB8PHuSbE0XYHhi8TZptDeqhHhpIANgtzVUmC5f6wOYxlrA4qkhH\neGNUVWMzMnMwh7fvihUrcSaDibDSqnk+M+oh2CD9FhmewdBoS98cmIbwuAJ4Kj6r\nbnhlZDNzYWScZ5vRX2g1q8S4fwOBhAACgYAgiV2YWoPYYZxc5HJoM8uT5Pm4Q7Gt\nSj6wzmd26H3svFjUd/GyErEqyz0JxcVAB967mow9Gn5VscyOIP9tArTNmQdj9Aac\nGd+w2nQ6A8Q1QQluYHyop49nxSf0Pb+LD9qIsMgkdN4snvJEgVi2neqIF9+0IFlo\nZJT/e2fYf7JGMQ==\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMIIBSgIBADCCASsGByqGSM44BAEwggEeAoGBANApTE1qBcHFocedj0SiqteCkwZ7\nChRQi64RfHqcvYaz4SAG6xwZiEpq/IJlFvx1bFr6vqqRKhTREVBU7mkDsK8kvBRG\n9Rr4kQASuzh9MO2qQ1+r/KicR4jalFeG8gwT85gVCgAYyjPEX9nuvVPTb/yTRYcD\n/xdvsX9ub40fZ/qvAhUAsiMsib0szbaYiKJjSAkpAQmVnYkCgYB/nlnCssqw2Olt\nt3NuB30INC5SWv26RB8PHuSbE0XYHhi8TZptDeqhHhpIANgtzVUmC5f6wOYxlrA4\nqkhHeGNUVWMzMnMwh7fvihUrcSaDibDSqnk+M+oh2CD9FhmewdBoS98cmIbwuAJ4\nKj6rbnhlZDNzYWScZ5vRX2g1q8S4fwQWAhRmMUFq5jh8wDsKVrci/t8eiZ1pww==\n-----END PRIVATE KEY-----\n"
  },
  "explicit": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMIIBSzCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAA\nAAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA////\n///////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSd\nNgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5\nRdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA\n//////////+85vqtpxeehPO5ysL8YyVRAgEBA0IABLLvgpKkJB3TzeYMm0O4kAZE\nWq8OVjsOtR4tu8yR8eEXNT8RQCYhZ3ybnqQ1wia8RXbsMYYQVBMmNPTSYAOIbCc=\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMIIBeQIBADCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAAB\nAAAAAAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA\n///////////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMV\nAMSdNgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg\n9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8A\nAAAA//////////+85vqtpxeehPO5ysL8YyVRAgEBBG0wawIBAQQgtKxGaJA2i6z+\nTMX5ySRO1xjtZbiNKLcnYOZp2CiEf/mhRANCAASy74KSpCQd083mDJtDuJAGRFqv\nDlY7DrUeLbvMkfHhFzU/EUAmIWd8m56kNcImvEV27DGGEFQTJjT00mADiGwn\n-----END PRIVATE KEY-----\n"
  },
  "ed448": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMEMwBQYDK2VxAzoABsN9S3eHqYt9WLUXRcKNrdEw3P4Lpn1sQRKUzMO8XqwLmchg\nln13L0Jl8OUtpccIaz1p5vMse4EA\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMEcCAQAwBQYDK2VxBDsEOfZAwC0D2kd2y/343V5omrFfUnwh7j+KncUAVSx+uuwG\npVgrcUK5QGYQMRHBuqnPGA3dXk7c/aS1Zw==\n-----END PRIVATE KEY-----\n"
  },
  "x448": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMEIwBQYDK2VvAzkA7CnQiRrBBekqanXxGXBy7H2fmj6d7vzHiDoqb0IQfIcMl/Wl\nUXwfLnbCcaIfMcbGhZ2IdxdFwBA=\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMEYCAQAwBQYDK2VvBDoEOIAu2tI9eN75+az0pK0JC23bVJl4yjuRQ7cpdHtItYhQ\nPcSDQcEVF2ekTMa/4JRRFchxXUSTsA/+\n-----END PRIVATE KEY-----\n"
  },
  "x25519": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEA71r15y5K8FvFneb942Tefdtg/0mydB7WUkpYVLkLSiA=\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIKDQYbDG0AbrnGyWcvJdGwQWLpdQCFpdBdypMw79KjBj\n-----END PRIVATE KEY-----\n"
  },
  "dh": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMIIBHzCBlQYJKoZIhvcNAQMBMIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc\n0SkCTgiKZ8x0Agu+pjsTmyJRSgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHC\nReSFtXZiXn7G9ExC6aY37WsL/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZT\ngf//////////AgECA4GEAAKBgE5G2rWaYKnDM3MhersjrplpCL1/+yEVS+iR4b8P\nD0NUZiLCxJ05I9BcvryIGxQCm9GIClQMdw4GYbLNOFDMT98njXSVp49kyw7XxqJ4\nstgDWJwrLwRoOPP2jd0QUaLKdW21iMaXMG8cB6hGr3BrOP4EjfwrAwIO1sLUYOuG\nesCN\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMIIBIQIBADCBlQYJKoZIhvcNAQMBMIGHAoGBAP//////////yQ/aoiFowjTExmKL\ngNwc0SkCTgiKZ8x0Agu+pjsTmyJRSgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVt\nbVHCReSFtXZiXn7G9ExC6aY37WsL/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR\n7OZTgf//////////AgECBIGDAoGANZWchpvHtKFOWh6NVnIPEcWLNA2R7ohxETf9\nPDJrdE96TNEJkaCG2auMnqV+sd8loyQQom+HjMDGUH1uqpq1TX5LyivTw/xkEYIz\nZ3VcStGzo1qEDXwbU5YRnQ4Nu2lMOZH1dwlS1xix4TLixvgJ5rHxm4JlDx0ekz1j\nYLg4YT0=\n-----END PRIVATE KEY-----\n"
  },
  "ec": {
   "publicKey": "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEm6/MMFEUuZoi0K95WhFGRjxYMk0fNOJQ\nTkiyTMzECx41yaQZjPN568aJb4pcS1YfjcU3hOO4M1e7RrBN23dIqSsHpoZ1AL8U\nYCas2mvLaGm1XcPqgPXPdjjjb2IEqZX1\n-----END PUBLIC KEY-----\n",
   "privateKey": "-----BEGIN PRIVATE KEY-----\nMIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBTxed8mIaftAC+E8NZ\nNsN+1h+HQMmRXSAT7107oOiMrOoBd+q6euY5zBpuHYDUllOhZANiAASbr8wwURS5\nmiLQr3laEUZGPFgyTR804lBOSLJMzMQLHjXJpBmM83nrxolvilxLVh+NxTeE47gz\nV7tGsE3bd0ipKwemhnUAvxRgJqzaa8toabVdw+qA9c92OONvYgSplfU=\n-----END PRIVATE KEY-----\n"
  }
 },
 "details": {
  "rsa": "{\"modulusLength\":1024,\"publicExponent\":\"65537\"}",
  "pss": "{\"modulusLength\":1024,\"publicExponent\":\"65537\",\"hashAlgorithm\":\"sha256\",\"mgf1HashAlgorithm\":\"sha1\",\"saltLength\":16}",
  "dsa": "{\"modulusLength\":1024,\"divisorLength\":160}",
  "explicit": "{\"namedCurve\":\"prime256v1\"}",
  "ed448": "{}",
  "x448": "{}",
  "x25519": "{}",
  "dh": "{}",
  "ec": "{\"namedCurve\":\"secp384r1\"}"
 },
 "signatures": {
  "rsa": "dcXsQpWf2v1SBhcBZVNmIqf4c7A8hP9YeYtnEqwD6fnhOool70Q/CvzTZQJ+IwLwdwY5/FGCYVCnn0KtzQ58FLoIS8Fh989TnMnMOkO/jS+4tD/4FXUK06FI8DIT5tadrdq8fOA6p2hbTN9ODC2OCGAkjSwAecJ9h96bzyfPP30=",
  "pss": "sQ/h4u6gp8niVm9xai0mrZvjKRiIsTIlJpz3wZ6GV9ipwMXB1iuNPC8jDylmwxWUoKg7NVtEV/xLDVZpgPrNIXxVm/BkZ09ds6Q7nvdg1n7K0SnDWMHlvd/AUEIG9hhFXL4r0tbcF27vYGoOfadHAk2V/oFhfkSP1o4UMXruixE=",
  "dsa": "MC0CFQCVBa2foQYilRJoEKduStGxNWOFCgIUfTczBLBVO/1o6P7tcs819dbx0qg=",
  "explicit": "MEYCIQDahheYa8rylIP1zdkZPDKPs8ATbWXAIwo3HfPo0OINXQIhAOyWqhTwhJXqXUyj9enjusr520W/OU3iMuf3ZmAwHMLd",
  "ed448": "9imZgcED8D6pdGC2oUddvoPcv8rs3ZFoS5OqhVR7muq4McKX0L/dF4Y3K0wBny3E5V9Cy2XsDpSAUGKYe9k0gbx999Q9RPWAK/dl+anIf/A7VAs1yFnmZnEr7oPLtkk2203Fa1BqLnznwiSwR9y2AwcA",
  "ec": "MGYCMQD26eRtjCpuOSwUfdGP2ovZEuYGXKYwq1t9wdAwZ01nDGOHbr9GDq6T3dvMDoeIlj8CMQD3SS77BHx0UkwZyrAKKhgBzXRMU4QkBgZzkWnLh1uyLgiB425T9+kxWR+3pvSn6cM="
 },
 "secrets": {
  "x448": [
   "-----BEGIN PUBLIC KEY-----\nMEIwBQYDK2VvAzkADGQD9+cQ3axg3lYrtJZoijBlnAzJuYYMTBcBocGzEPz7kgtX\ndftnsmT7Ax/pwIgM/lJik07Xgx4=\n-----END PUBLIC KEY-----\n",
   "GhxNxDTXsPK3U1Wui3rlxKWiR1BcI9tvKigmAdLLu6NhD4VLWZ6nF9LqLBQqNh8IlEF/nfnH4cI="
  ],
  "x25519": [
   "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEA9T47s5Hlt5l+pInw4eJy4I5aFyBmSKIaX/eMnoji4wo=\n-----END PUBLIC KEY-----\n",
   "zqgPzXDsTaYit9O4p+BuDaGTJ3JkhMFTUvKMitKbjiY="
  ],
  "dh": [
   "-----BEGIN PUBLIC KEY-----\nMIIBHzCBlQYJKoZIhvcNAQMBMIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc\n0SkCTgiKZ8x0Agu+pjsTmyJRSgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHC\nReSFtXZiXn7G9ExC6aY37WsL/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZT\ngf//////////AgECA4GEAAKBgFI7EgcWeyKSmWg0BTOKxLRUn7Eys4xiV18jPUNH\nm8IcwOGGGS5P2Dw/XPYUHr6bULieQmCo+8xaGtiaf07JqWkXl7tQYNXa49eM7srl\nPGOIY1KZlrecd4Okb26yWyibMCrgo6vGEHfuYdQBQQhvhvyCuhH+zSneWc5KdZBi\nytJz\n-----END PUBLIC KEY-----\n",
   "PhAiGyUzND/uQuHXbg5HohMA07JoTc7X40jVbVurVfx5GQIUlPQX/aNPbzlVn7AejO1H7aDBSCzEVo6z2aZ/CMJnRuCWH4FKdH3JSSRoJZOCy7dB4DPOwYot+NznWvU++B+K67IgX2ek7vNm2bt6KiH5aef+kXxpZms5B7uke8c="
  ],
  "ec": [
   "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE0lCZqc2wsxYwM1UokiAWPoavuP7Oydlh\nZZDN7jlONzlYFkjANx706bFYZ87iA9K0IZZ8f79rs4gA1L+GJ38B3kWLn+Y0NBM9\n2I0FslLBNcf4TREelCj98esgqumQWtCF\n-----END PUBLIC KEY-----\n",
   "4nWZsH5RhGby8IHOU+hWp4XLGa/I0QwWEzNIjgFWvpn+qX/E4b28ELFjLGM/1p0z"
  ]
 },
 "oaep": "qu+IFXoKr5HMTbqRQxj33lHCn8VQ66l3OokTRqCpmL/rqzyEFNmCMdkGyICeWs8r3scKfKgEhiX14wF8uD5i9KLUYxp39avI1mnSqIcd766ttA9jvK5Kzryeg7l4k4RQMY1GrVNuq0gbGv6AF5V7GUTA6onHJQ3X3UvQas503WU=",
 "pkcs1": "qkozWnuPiwIKJmojheBPc2PqSSel/AqydWv5SIR7opTDJXN4TugXSFKZlhNfBXIgKe+rdtK2MNrSzXjTZavrol760Aj0JLGQHcbej8r91l+hgkhFRkUyOe3zvb21Xzy8uXAPFHwhTACnue38n9CQspHtHs7PuR19UBekM6fFLqg=",
 "wrong": [
  [
   "qkozWnuPiwIKJmojheBPc2PqSSel/AqydWv5SIR7opTDJXN4TugXSFKZlhNfBXIgKe+rdtK2MNrSzXjTZavrol760Aj0JLGQHcbej8r91l+hgkhFRkUyOe3zvb21Xzy8uXAPFH0hTACnue38n9CQspHtHs7PuR19UBekM6fFLqg=",
   "Zc7NgRGld8X7+7WksaPhnvJb6goAVGPDEWShXIHSZHURQ8B2rEi16+jT7l9QopEW+g=="
  ],
  [
   "qkozWnuPiwIKJmojheBPc2PqSSel/AqydWv5SIR7opTDJXN4TugXSFKZlhNfBXIgKe+rdtK2MNrSzXjTZavrol760Aj0JLGQHcbej8r91l+hgkhFRkUyOe3zvb21Xzy8uXAPFH4hTACnue38n9CQspHtHs7PuR19UBekM6fFLqg=",
   "FlCqxlojmhW35I7htcjkGKV0AQPyLAqqkE25o0tJvgE/LNU="
  ],
  [
   "qkozWnuPiwIKJmojheBPc2PqSSel/AqydWv5SIR7opTDJXN4TugXSFKZlhNfBXIgKe+rdtK2MNrSzXjTZavrol760Aj0JLGQHcbej8r91l+hgkhFRkUyOe3zvb21Xzy8uXAPFH8hTACnue38n9CQspHtHs7PuR19UBekM6fFLqg=",
   "3E+6QIBnAQ8XZX5gHgBJ226r2kJpDgWadsBoyl18xjghevUrfKAyQ/dIU7bgAZ3mYfMqoI6ZopyAgeyigw3ER0D8zCFT6UurjOirHz8O0FR71I/nRPv5"
  ],
  [
   "qkozWnuPiwIKJmojheBPc2PqSSel/AqydWv5SIR7opTDJXN4TugXSFKZlhNfBXIgKe+rdtK2MNrSzXjTZavrol760Aj0JLGQHcbej8r91l+hgkhFRkUyOe3zvb21Xzy8uXAPFHghTACnue38n9CQspHtHs7PuR19UBekM6fFLqg=",
   "9VxImP414hbxOTvfTRwEQI1nP9OWJ+BG+q4rTeiEWd7X9lGUitSa4pnMvdPP/+od"
  ]
 ],
 "signed": "ktfwwwtf/WQaNgdML6PqgEUDH3t1VSDr/E3NSKg28foYrEP+u/glKs8PQbXrMeZKrCc+Wctdr/zbTDGXBmT47iYgn3ui/qHuVLH1/VSGIjiDHquu6j/BGcnmWxWW4+p0rAIFhtrf2efFAF9sauWv7g7dJr5UiaStrIT96v2MxC0=",
 "locked": [
  "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC5TBfBgkqhkiG9w0BBQ0wUjAxBgkqhkiG9w0BBQwwJAQQg0Zn71fRW5AeP7Km\nGzkUnAICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDjxWadjGhi9QuYg\niRjuIuwEggKA1QjNT/y4+C+l/ncmwNmpp0O3gO2MazoTIs4rZq94JmtM9UKrAVPj\nfKw1/GFJh4Us8Ked18eaDYgnJHBpH4SAQuq1c+OxoCbud5QzScvT0gpmhUx0tpKJ\nO8N5V8qHWsz2H9h01Titw7LdkPJ8A3+y/NZdNIiSuBeZfu9nJfBZQtLvy7NwqJXa\nUISOa1QBkpLPC1DbY1x0o1bHtwo8GBPUynk/FX0M/S1EH50jq14pYdvTDGDanU5K\nLeq997sE1Hg88YU8njoDilRbLoCMST0R7ECNLPHBkHp5cYht+hdBUw09RKhtD67y\nvYOb8avziS367ieeVVqSov8Vyz2MblXMy1pKHIdkXMXqr6qwMA4+LNfB27utpelP\n7SGOAvaeZxWLuq6GaAC9CD2wpQkOpXUJOS8DLqr3aCDMTYsDSjZkh+KzN5gbn6/k\n+//95GRE5YHjzxWNT38un2OqskNEj0fEYRn5t8PSrz0nHKbOMuUndFIY3dvWhneM\njYfgV2EVmOVAysXgo40eB63rg6FXcjEQ+dOBEKxD+sdZzKG1h6+vOC+GB3evIh8L\n49SlGfVjKPrZehSoBtt2zRonAYlC9yhDi0icJI1asuVL/ry0nuTE+w8ukcA8TsEb\nZrzcgViaM2HTD5bEVgFB94vDF71iLkPzAzXNd9qOWMdA7NX+6jmxORzsuJXcuziM\nS6Q1ZV1zi/RdVVYIJ+gW6piTrF85jFnwwk2AzZnOBDh/2+SIzpT13dQ1YUdSMNME\n2iWVv/2uiMneChUzteHx3mAny+9njYMsjcqVuE3jjAKxReCgsfQ1eiwGAEn1iFzs\n8Y/fOfPi7uNtBdB//pEONnLm7ZvtqZ+Edg==\n-----END ENCRYPTED PRIVATE KEY-----\n",
  "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,181560C1D98B42383FE62120276754E9\n\n1CG7SqLv+ffd28F54z4izwBgdlFS/m1H/YbxFpRR8NFzfXKJieVKoIWg8tMWdjoE\n18zqjgLJF30BCO9RVMiK1aYx3YesLIswcU0TZ4XsJjbIAKQW1913aC31H34FJx74\nonljUcKHejEJWniOYMijcCdwgF0TAVk3f2RH4RoIe21FFNKvNEDxNxSLeN1nJZu8\nO1Ljlo1Vc4hVFKB+Uhsh/PDG5Oyk6mVGppAXvUSAsGkQl8fthyJWK6zp7FKc9puu\nnZ/8FED5N6YLQTILRWnSq2iMhI20/2aF/WbKysF8rjCAin6CdpLI0gZKGHZlM9Eo\npMI99lfZbsJX6Jq53OkcKG1EvERQJOez5xJ8v28Ur/Lmd6Q6aULXmqLCidCIoz63\nmBRqKOs+GDn14Bb3xOi0uI3VAfrV0eVOODs4Cr0FToS//q44CCHVgH8NOsPVDrXu\nDWEz4qGywFKabhd+Gxq5kKhchsVyEK2C5uJbNzSArclSothxW41htBjY3jEOQqow\n2swCO8gbg9RkCA7mjo0BCw433OaaTa6obIcD0eOHnRHBSl++gDpoUWCWuaW6vae9\nfBqNPZHM1SX6AzXXwpP905Wk4NNrjNWR6T5sa/Anjz8mLEN1s954gQrfkVaPj86k\nangdUF5jvRWP2djEcpo9RAdhD56dgZFUa+BDORuxghr3vLiK7klm0OcmDs1vEjzw\nYJOE/mvZwC8CBLorU+6KHfSaiMvSYUcR7VBW2bBkdxgiIoX/Q3EA9Cd3fUMNkYp3\n415Cub2QlFexfnLHdxgtpklDDIBJBE0noB6EFXbljm19GWaK/jfYUMLwoz3jB2iV\n-----END RSA PRIVATE KEY-----\n",
  "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC5TBfBgkqhkiG9w0BBQ0wUjAxBgkqhkiG9w0BBQwwJAQQTXRGG5ksuiHZ/kh8\nfqnebgICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEDRnJkTAV0RZ1NtW\nN5YrziYEggKAVz5EElZns1sKVEn0+Cidun99eRq6RQLuvjMy+ZXbiOCj/FEYMZVK\nlNpPJY9MwZedS8T1+Ak7m0YdX+FruEeAu63M0y8scrbi4qKwK+bnk+jTfoy+vDu/\nq722WYaHIIKe9CkauRVju5rFnyeZ9cZo1ubHQRlUPdGbd2VmYXoiK+YAsd6j6xqP\nO+YxN9IMeCL53Toalny7e33wWj+Xc+aJFs/Hd+uwdcHSeQlho4JWkpxl6x2sY+XN\nr+ip3M/dh7HSR+lP9otrEbxUP8+xYbhxO9/NkhsFshK8rC94d5ioj7nGH1lkIn3O\nQVyG/DGwwFO/nwyxsfy8OEgaIS85T9DVAWji1MqHQBBsKN1r2HPAy/HUz/8qyKdF\nRslqduMGBPrxod/H+yr7eImUaWs+n8R/HJX25+XHE4zL7I39+1p1sR20TXZt7k7n\nE3fyJ/ZBXgR6hS/GOmcTgcMATwIop+VF6TS3cuDbmz1unoU2MRYV7Rcp1+81xxNT\nbSMba2DEzipfsxrGIH2jyzyFQ/6NO0fo8fjT5bgAH9pWKZWaTJpOSE+9NIu4JJHZ\nygD3+rHMN0ryQfEqYYLih54bY3FBmalw0K9JeOmX8gRYzlCzhKTTIYkn2OtFF8bQ\nTNLM6P4OKNosKJ8omdblyABNKhW54dIG5ewiOFDvOhJ0CyNKNgxqojQ2NQ0i4Bb3\nFKitZHzLFzDWnbC+7p4sLHKmM4sBgjGVWJJr91uBfRnfL2i37Pq9ZQh3y/0hSuS/\nkI+HynrmAwMRr6qESfrH1PoguCvJPTMO3muVNk8ayIvku6ySab/Ke6yIOAomeVey\nhCVFccZt6Camgjnig54G+bqMnCJZ4aCF8A==\n-----END ENCRYPTED PRIVATE KEY-----\n",
  "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,65B55F8F2DB903347EA156D6B65BE4D1\n\nbUrGceDgOL8qsnggn/yqAIxsjNO3BuyQnG+R7bxFPebXyOv2Rbz1GzRdXlw1SjEg\nT/3UtBeQ/q5sSKUMrTMK49P39dfwmNimv3yVlp4WfCr2ynzmVTIOT4z+GvBp7aeG\nuP2Ih6jlbOxEbScMbWIMCX5/it4340stpkJbEGOxiaOEXNzzfoAYlwHzvA5ulIf7\np4qxrZBnO9HPF/+CE6X49bAbMQiQWChfLdGPnFiZKkef6qJ3v87tNrjCpsRgMlc8\nABgIhBCEyODW9zmU50lxAnE4iAmPz4pWAXKzquVW/nzOswra2rRQI7at0LMQhIF1\nT9ywn6AdsGeYMs8vjOibxmqr7NGltKSp/hJz8EF2jp23rcSHDP0kRfZex4j9HDek\nN8bykRLaiVf/q6PDYKfkJMDAwH3j1UENfZbHsKtdKhxrGVh5awem8NhiRiO8uZWZ\nk9bfJiv1TPKaGEi1e36SFAvSnGeR3Qoj4paxZCL1rh7WRw2Zmdgaxn7IGBxf639+\nN0LcsJZFEHkXH/6x7mwCn55DIW1XLh5uDXqBZZt3v7Voto9mL9Ibqa5AJJvKqwjV\nk4HAhOvobZi26nKKTEPKs+nBpjEo7ZzuW+bNeI1vdgrAx9MrnucBUmSg8Wdtb91P\nfqff9M60btebFccHHh4gKwmvkNKSqQj51rhmSm5QhQVw6Bk/lMia4QcPMl+73uSN\nmvgCIw7GaRU/G6ovGtgRcTUxza0YOUldsDMxsPAFSk17nHhCsGxRS21YcAKbMlB6\n04UbC+f3uGcjWEmcSX0dEWw5Hn8n9/GDMfyJbw3p+83tzxA+wBGlx02NsfypE569\n-----END RSA PRIVATE KEY-----\n",
  "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC3DBWBgkqhkiG9w0BBQ0wSTAxBgkqhkiG9w0BBQwwJAQQJ6onehJwgt8tKtta\ncbYzBQICCAAwDAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIHxX6HIvzOjMEggKA\n0s0gupKx+dfKk9xAmflFV1fT3OEVIvjVr6EJZPXrSEL4JJSSCd25IazONj3sZWKh\nyFWzi0jG1jVOWlWma9lcOo6BYaXlUyHYN93sboU1okWdwOaErSE/zkk3cUA4VE4n\nOZhHQ+HjgcUqjPKDZkvv4VGDnTBdZKjIi2m+APgrrrxP7onXBv7jJ89TTSkyJF9C\nTjF4o2NTZql9cDOdak/sZNy3vDrUBkpt5Xl5imDQmUUtQEC1Hm+rKZ0kz2lV5Pr9\nasNnANeUHdZzaAC1kyVAYXLKtPYIjWfSCioq0XzxsmdgE7bJPdR+3L8hrPz99Vsn\nD1C9Pk1HgOhqNkrtwK82dLM8+rsSx5lhVeQE7C7BONgZCs8TNL+8Mj/irq5p7Woj\nMPwch3uUvj76ok5q/97gVrn2QjRSvzz4XAvAiG/R+AgzmiVpeA8WdMToG/ffPbR7\nG3857u+JscsMDnsgPgCufxSL0wY6t1OtxKImf/Tx5YbfAQdx6nHiD0cREzw68B9H\nf1ZZWczNwbPxNsU3HpcYuaBcBeaHJAeeHnOTyNe1/oRGHC2r5dTXb2UkCG0H3TVO\n+JsVpVvKbVHQYk1utaQ4ap1Vr5QBn0Evg/t0pbuGIfWS+JSMlU32lBYA0wAxUmzT\na7IRnb+WG7zXRYZtFx6I/UrblcgVLNfeWKPKE7xijDdiXwMBIKW5j/surcJ3CeKn\n5CL41IOxcNmyOv+PioaR5mcs9CPSPygNKRP8IMeO0PxbsVSeT57aC2Nf3+aCwtfj\nQM+WZh92dn88Tpwv/8OpWV/0JDKQYwVSNrcG16Mi3RloGjO84R9GIFIbrHYxLW4q\na0XVs9K0bHXXZ9YyFIYllA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
  "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,EB201A05F4CEBB73\n\nqIE1uAZ66vL/cBXXCp+hBzWI/5+wmcZnQ+3ouSOIdrGn0hO3GtPmpixZ33m0l2Tx\nnQ/gLxZe6GCkAeQqkLU3vFv4TmEb4mLIdcwHgl1Ca0d0BLzgijU9cPmSIF1cgXKF\nSWJiJqCLEiKuzgxQlpszLWDKMyOHDr7/1ciElvBbgqjgbMeXuV/nvbOYSvpWtVG8\nhZWOlegTXmVccVup3OoD6/LFWK+ELqLdAIw7ezu9FQj5/80s6ERRLR2RqRYGc1l5\npuz6ZAuaNsHwYMXcMbseWDqdfBAxivJq2Ye57mgYA8J+jZv7jYic7O/RzUmV0aAu\n32KSoSIXXHOsaeHnlQHKVJwh7Hw+LPTAeIELl++KRTNJYs6sjnt+NJOpygfY6E/z\ndpD2Sn+7RfGQ/7DVsyBOrabDZXVh3loXPXco1KXxcmcR7j5kRTNPmFgjJ4zWq9vI\nhquZa5jpydzVzhoVR1b9YxM7L9Y2WW05B08lPz60Yuxe0PpGEGMqf33yWQQQywkI\neKXPmChuwFZ0boU+lUoRZ3DesWdWHeZHYCuZGmA2oBT47gPvlU3u1lGXMOWXPdGx\nHGT4NeD/3EXhdjyJABCwlfkPCOfMfbVtCmVNe5zN/WuTXGd1e4mPC6mAfjABYJWu\nkWPhieB/v4VFyQz0howXFZkvO17FsbKivHG0iUmhJghjQJg6x/VTnKYbdcSQgywB\nibcVLxvlv+9s3DYK9EBujJfy8pGNl3bCEw8L2/cRE2/7BGCjSQ2ZwE7EfkfS6BHL\neUrJapwmR+00k21b6WIW55PkijYXMYS6lSwzhq1cGSvz7DLND3JzMA==\n-----END RSA PRIVATE KEY-----\n"
 ]
};

const bytes = (length) => Buffer.from(Array.from({ length }, (_, i) => (i * 11 + 3) & 255));
const text = (value) => Buffer.from(value);
const base64 = (value) => Buffer.from(value, 'base64');

for (const [name, digest] of Object.entries(RECORDED.ciphers)) {
  const info = crypto.getCipherInfo(name);
  const options = /ccm|ocb|poly|gcm/i.test(name) ? { authTagLength: 16 } : {};
  const iv = info.ivLength ? Buffer.alloc(info.ivLength, 0xa6) : null;
  const data = bytes(/wrap$/.test(name) ? 40 : 77).subarray(0, /ecb|cbc/.test(name) ? 45 : undefined);
  const cipher = crypto.createCipheriv(name, bytes(info.keyLength), iv, options);
  if (options.authTagLength) cipher.setAAD(text('header'), { plaintextLength: data.length });
  const output = Buffer.concat([cipher.update(data), cipher.final()]);
  const tag = options.authTagLength ? cipher.getAuthTag() : Buffer.alloc(0);
  const made = Buffer.concat([output, tag]);
  assert.strictEqual(crypto.createHash('sha1').update(made).digest('base64'), digest, name);
  const decipher = crypto.createDecipheriv(name, bytes(info.keyLength), iv, options);
  if (options.authTagLength) {
    decipher.setAAD(text('header'), { plaintextLength: data.length });
    decipher.setAuthTag(tag);
  }
  assert.deepStrictEqual(Buffer.concat([decipher.update(output), decipher.final()]), data, name);
}

for (const [name, pair] of Object.entries(RECORDED.keys)) {
  const key = crypto.createPrivateKey(pair.privateKey);
  assert.strictEqual(key.export({ type: 'pkcs8', format: 'pem' }), pair.privateKey, name);
  const own = crypto.createPublicKey(key);
  assert.strictEqual(own.export({ type: 'spki', format: 'pem' }), pair.publicKey, name);
  const details = JSON.stringify(own.asymmetricKeyDetails, (_, value) => (typeof value === 'bigint' ? String(value) : value));
  assert.strictEqual(details, RECORDED.details[name], name);
  if (RECORDED.signatures[name]) {
    const digest = name.startsWith('ed') ? null : 'sha256';
    assert(crypto.verify(digest, text('data'), own, base64(RECORDED.signatures[name])), name);
    const signature = crypto.sign(digest, text('data'), key);
    assert(crypto.verify(digest, text('data'), own, signature), name);
    assert(!crypto.verify(digest, text('other'), own, signature), name);
  }
  if (RECORDED.secrets[name]) {
    const [publicKey, secret] = RECORDED.secrets[name];
    const shared = crypto.diffieHellman({ privateKey: key, publicKey: crypto.createPublicKey(publicKey) });
    assert.strictEqual(shared.toString('base64'), secret, name);
  }
}

const { rsa } = RECORDED.keys;
const hello = text('hello');
assert.deepStrictEqual(
  crypto.privateDecrypt({ key: rsa.privateKey, oaepHash: 'sha256', oaepLabel: text('L') }, base64(RECORDED.oaep)), hello);
assert.deepStrictEqual(crypto.privateDecrypt({ key: rsa.privateKey, padding: 1 }, base64(RECORDED.pkcs1)), hello);
for (const [changed, madeUp] of RECORDED.wrong) {
  assert.strictEqual(crypto.privateDecrypt({ key: rsa.privateKey, padding: 1 }, base64(changed)).toString('base64'), madeUp);
}
assert.deepStrictEqual(crypto.publicDecrypt(rsa.publicKey, base64(RECORDED.signed)), hello);
assert.strictEqual(crypto.privateEncrypt(rsa.privateKey, hello).toString('base64'), RECORDED.signed);
assert.deepStrictEqual(crypto.privateDecrypt(rsa.privateKey, crypto.publicEncrypt(rsa.publicKey, hello)), hello);

for (const key of RECORDED.locked) {
  const opened = crypto.createPrivateKey({ key, passphrase: 'secret' });
  assert.strictEqual(opened.export({ type: 'pkcs8', format: 'pem' }), rsa.privateKey);
  assert.throws(() => crypto.createPrivateKey({ key, passphrase: 'other' }), { name: 'Error' });
  assert.throws(() => crypto.createPrivateKey(key), { code: 'ERR_OSSL_CRYPTO_INTERRUPTED_OR_CANCELLED' });
}
for (const type of ['pkcs1', 'pkcs8']) {
  const key = crypto.createPrivateKey(rsa.privateKey).export({ type, format: 'pem', cipher: 'aes-256-cbc', passphrase: 'p' });
  assert(crypto.createPrivateKey({ key, passphrase: 'p' }).equals(crypto.createPrivateKey(rsa.privateKey)));
}

const [alice, bob] = [crypto.createECDH('secp521r1'), crypto.createECDH('secp521r1')];
assert.deepStrictEqual(alice.computeSecret(bob.generateKeys(null, 'compressed') && alice.generateKeys() && bob.getPublicKey()),
                       bob.computeSecret(alice.getPublicKey()));
assert.throws(() => alice.computeSecret(Buffer.alloc(133, 4)), { code: 'ERR_CRYPTO_ECDH_INVALID_PUBLIC_KEY' });
const [one, two] = [crypto.getDiffieHellman('modp14'), crypto.getDiffieHellman('modp14')];
one.generateKeys();
assert.deepStrictEqual(one.computeSecret(two.generateKeys()), two.computeSecret(one.getPublicKey()));
assert.throws(() => one.computeSecret(Buffer.from([1])), { code: 'ERR_CRYPTO_INVALID_KEYLEN' });

assert(crypto.checkPrimeSync(crypto.generatePrimeSync(128)));
assert.strictEqual(crypto.generatePrimeSync(3, { bigint: true }), 7n);
const residue = crypto.generatePrimeSync(64, { add: 30n, rem: 29n, bigint: true });
assert.strictEqual(residue % 30n, 29n);
assert(!crypto.checkPrimeSync(3215031751n));

assert.throws(() => crypto.createDecipheriv('aes-128-cbc', bytes(16), bytes(16)).final(), {
  code: 'ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH',
  library: 'Provider routines',
  reason: 'wrong final block length',
});

// A certificate of P-256, and the key in it.
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBcDCCARWgAwIBAgIUXoulvluzAVmCHdZoH9NiVExq0JwwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjExMjAyMDE1MDhaGA8yMTI2MTAyNzIwMTUwOFow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDOSBORZ097m
9el8Y15QSFeK5XFsC5eGgqUgxo4yJKkA5uTjSQ/tKh7j9074lJlltA2sFZxf2Fhu
isEyhro9NkWjUzBRMB0GA1UdDgQWBBTFhEWBH8hXptotS8rmf18NOmqZczAfBgNV
HSMEGDAWgBTFhEWBH8hXptotS8rmf18NOmqZczAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0kAMEYCIQDgADpGy14Ylu3DU6O53ecTj1X3cSatMaz0CzmPL7ih
ogIhAJ1MQhZRrDcOJdZAgcwvPMRQ8LhQK6fcoTkMuvI+HWnv
-----END CERTIFICATE-----
`;
assert.strictEqual(
  crypto.createPublicKey(CERTIFICATE).export({ type: 'spki', format: 'der' }).toString('base64'),
  'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEM5IE5FnT3ub16XxjXlBIV4rlcWwLl4aCpSDGjjIkqQDm5ONJD+0qHuP3TviUmWW0DawVnF/YWG6KwTKGuj02RQ==');

const locked = crypto.createPrivateKey(rsa.privateKey).export({ type: 'pkcs8', format: 'der', cipher: 'aes-128-cbc', passphrase: 'a' });
assert.throws(() => crypto.createPrivateKey({ key: locked, format: 'der', type: 'pkcs8' }), {
  name: 'TypeError',
  code: 'ERR_MISSING_PASSPHRASE',
});
assert.throws(() => crypto.createHash('md4'), { code: 'ERR_OSSL_EVP_UNSUPPORTED' });
assert.strictEqual(crypto.createVerify('blake2b512').update('').verify(rsa.publicKey, bytes(128)), false);

(async () => {
  for (const [name, usages, parameters] of [
    ['AES-CBC', ['encrypt', 'decrypt'], { iv: bytes(16) }],
    ['AES-GCM', ['encrypt', 'decrypt'], { iv: bytes(12), additionalData: hello, tagLength: 96 }],
    ['AES-CTR', ['encrypt', 'decrypt'], { counter: Buffer.alloc(16, 255), length: 8 }],
  ]) {
    const key = await subtle.generateKey({ name, length: 192 }, true, usages);
    const sealed = await subtle.encrypt({ name, ...parameters }, key, bytes(1000));
    assert.deepStrictEqual(Buffer.from(await subtle.decrypt({ name, ...parameters }, key, sealed)), bytes(1000));
    await assert.rejects(subtle.decrypt({ name, ...parameters }, key, bytes(5000)), { name: 'OperationError' });
  }
  const ecdh = await subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveKey', 'deriveBits']);
  const wrapping = await subtle.deriveKey({ name: 'ECDH', public: ecdh.publicKey }, ecdh.privateKey,
                                          { name: 'AES-KW', length: 256 }, true, ['wrapKey', 'unwrapKey']);
  const hmac = await subtle.generateKey({ name: 'HMAC', hash: 'SHA-256', length: 256 }, true, ['sign']);
  const wrapped = await subtle.wrapKey('raw', hmac, wrapping, 'AES-KW');
  const back = await subtle.unwrapKey('raw', wrapped, wrapping, 'AES-KW', { name: 'HMAC', hash: 'SHA-256' }, true, ['sign']);
  assert.deepStrictEqual(await subtle.exportKey('raw', back), await subtle.exportKey('raw', hmac));
  console.log('done');
})();
