//! `internalBinding('crypto')`: random bytes, hashes, MACs, derived keys, ciphers, keys with their signatures, their
//! encryption and their agreements. What stands in the recorded surface and not here throws that it is unavailable.
//! Sources: `src/crypto/*.cc`.
//!
//! Algorithms come from RustCrypto's crates; random bytes from the kernel, which has them from the operating system.

mod aes_job;
mod algorithm;
mod argument;
mod asymmetric;
mod cfrg;
mod cipher;
mod curve;
mod curve_parameters;
mod dh;
mod dh_groups;
mod dsa;
mod ecdh;
mod encoding;
mod hash;
mod job;
mod jwk;
mod kdf;
mod keygen;
pub mod keys;
mod modular;
mod openssl;
mod pbe;
mod pkcs12;
mod prime;
mod random;
mod rsa_cipher;
mod rsa_padding;
pub mod secure_context;
mod sign;
mod spkac;
pub mod tls_error;
pub mod x509;

use crate::binding::{Args, Binding, Class, Function, Ret, function};
use crate::env::Env;
use crate::throw::Throw;

const RUN: &[Function] = &[("run", function!(job::run))];

/// A class of jobs.
macro_rules! job {
    ($name:literal, $constructor:path) => {
        Class {
            name: $name,
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!($constructor)),
            methods: RUN,
            ..Class::DEFAULT
        }
    };
}

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "crypto",
    functions: &[
        ("ECDHConvertKey", function!(ecdh::convert_key)),
        ("certExportChallenge", function!(spkac::export_challenge)),
        ("certExportPublicKey", function!(spkac::export_public_key)),
        ("certVerifySpkac", function!(spkac::verify)),
        (
            "createNativeKeyObjectClass",
            function!(create_native_key_object_class),
        ),
        ("getCachedAliases", function!(empty_object)),
        ("getCipherInfo", function!(cipher::get_cipher_info)),
        ("getCiphers", function!(cipher::get_ciphers)),
        ("getCurves", function!(get_curves)),
        ("getFipsCrypto", function!(zero)),
        ("getHashes", function!(hash::get_hashes)),
        ("getOpenSSLSecLevelCrypto", function!(security_level)),
        (
            "getBundledRootCertificates",
            function!(secure_context::bundled_roots),
        ),
        (
            "getExtraCACertificates",
            function!(secure_context::extra_roots),
        ),
        (
            "getSystemCACertificates",
            function!(secure_context::system_roots),
        ),
        (
            "getUserRootCertificates",
            function!(secure_context::user_roots),
        ),
        ("resetRootCertStore", function!(secure_context::reset_roots)),
        ("getSSLCiphers", function!(secure_context::ssl_ciphers)),
        ("parseX509", function!(x509::parse)),
        ("oneShotDigest", function!(hash::one_shot)),
        (
            "privateDecrypt",
            function!(rsa_cipher::private_decrypt_call),
        ),
        (
            "privateEncrypt",
            function!(rsa_cipher::private_encrypt_call),
        ),
        ("publicDecrypt", function!(rsa_cipher::public_decrypt_call)),
        ("publicEncrypt", function!(rsa_cipher::public_encrypt_call)),
        ("secureBuffer", function!(random::secure_buffer)),
        ("secureHeapUsed", function!(nothing)),
        ("setEngine", function!(no)),
        ("setFipsCrypto", function!(set_fips)),
        ("statelessDH", function!(dh::stateless)),
        ("startLoadingCertificatesOffThread", function!(nothing)),
        ("testFipsCrypto", function!(no)),
        ("timingSafeEqual", function!(hash::timing_safe_equal)),
    ],
    classes: &[
        Class {
            name: "NativeKeyObject",
            constructor: Some(function!(keys::new_native)),
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "CipherBase",
            constructor: Some(function!(cipher::construct)),
            methods: &[
                ("initiv", function!(cipher::init_iv)),
                ("update", function!(cipher::update)),
                ("final", function!(cipher::finish)),
                ("setAutoPadding", function!(cipher::set_auto_padding)),
                ("getAuthTag", function!(cipher::get_auth_tag)),
                ("setAuthTag", function!(cipher::set_auth_tag)),
                ("setAAD", function!(cipher::set_aad)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "DiffieHellman",
            constructor: Some(function!(dh::construct)),
            methods: &[
                ("generateKeys", function!(dh::generate_keys)),
                ("computeSecret", function!(dh::compute_secret)),
                ("getPrime", function!(dh::get_prime)),
                ("getGenerator", function!(dh::get_generator)),
                ("getPublicKey", function!(dh::get_public_key)),
                ("getPrivateKey", function!(dh::get_private_key)),
                ("setPublicKey", function!(dh::set_public_key)),
                ("setPrivateKey", function!(dh::set_private_key)),
            ],
            accessors: &[("verifyError", function!(dh::verify_error), None)],
            ..Class::DEFAULT
        },
        Class {
            name: "DiffieHellmanGroup",
            constructor: Some(function!(dh::construct_group)),
            methods: &[
                ("generateKeys", function!(dh::generate_keys)),
                ("computeSecret", function!(dh::compute_secret)),
                ("getPrime", function!(dh::get_prime)),
                ("getGenerator", function!(dh::get_generator)),
                ("getPublicKey", function!(dh::get_public_key)),
                ("getPrivateKey", function!(dh::get_private_key)),
                ("setPublicKey", function!(dh::set_public_key)),
                ("setPrivateKey", function!(dh::set_private_key)),
            ],
            accessors: &[("verifyError", function!(dh::verify_error), None)],
            ..Class::DEFAULT
        },
        Class {
            name: "ECDH",
            constructor: Some(function!(ecdh::construct)),
            methods: &[
                ("generateKeys", function!(ecdh::generate_keys)),
                ("computeSecret", function!(ecdh::compute_secret)),
                ("getPublicKey", function!(ecdh::get_public_key)),
                ("getPrivateKey", function!(ecdh::get_private_key)),
                ("setPublicKey", function!(ecdh::set_public_key)),
                ("setPrivateKey", function!(ecdh::set_private_key)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "Hash",
            constructor: Some(function!(hash::new_hash)),
            methods: &[
                ("update", function!(hash::update_hash)),
                ("digest", function!(hash::digest_hash)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "Hmac",
            constructor: Some(function!(hash::new_hmac)),
            methods: &[
                ("init", function!(hash::init_hmac)),
                ("update", function!(hash::update_hmac)),
                ("digest", function!(hash::digest_hmac)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "KeyObjectHandle",
            constructor: Some(function!(keys::new_handle)),
            methods: &[
                ("init", function!(keys::init)),
                ("getSymmetricKeySize", function!(keys::symmetric_size)),
                ("export", function!(keys::export)),
                ("exportJwk", function!(keys::export_jwk)),
                ("equals", function!(keys::equals)),
                ("keyDetail", function!(keys::key_detail)),
                ("getAsymmetricKeyType", function!(keys::asymmetric_type)),
                ("checkEcKeyData", function!(keys::check_ec)),
                ("initECRaw", function!(keys::init_ec_raw)),
                ("initEDRaw", function!(keys::init_ed_raw)),
                ("initJwk", function!(keys::init_jwk)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "SecureContext",
            constructor: Some(function!(secure_context::construct)),
            methods: secure_context::METHODS,
            accessors: &secure_context::ACCESSORS,
            ..Class::DEFAULT
        },
        Class {
            name: "X509Certificate",
            methods: x509::METHODS,
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "Sign",
            constructor: Some(function!(sign::construct)),
            methods: &[
                ("init", function!(sign::init)),
                ("update", function!(sign::update)),
                ("sign", function!(sign::sign)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "Verify",
            constructor: Some(function!(sign::construct)),
            methods: &[
                ("init", function!(sign::init)),
                ("update", function!(sign::update)),
                ("verify", function!(sign::verify)),
            ],
            ..Class::DEFAULT
        },
        job!("AESCipherJob", aes_job::new_job),
        job!("CheckPrimeJob", prime::new_check_prime_job),
        job!("DHBitsJob", dh::new_bits_job),
        job!("DHKeyExportJob", keys::new_export_job),
        job!("DhKeyPairGenJob", keygen::new_dh_job),
        job!("DsaKeyPairGenJob", keygen::new_dsa_job),
        job!("ECDHBitsJob", dh::new_bits_job),
        job!("ECKeyExportJob", keys::new_export_job),
        job!("EcKeyPairGenJob", keygen::new_ec_job),
        job!("HashJob", hash::new_hash_job),
        job!("HmacJob", hash::new_hmac_job),
        job!("HKDFJob", kdf::new_hkdf_job),
        job!("NidKeyPairGenJob", keygen::new_nid_job),
        job!("PBKDF2Job", kdf::new_pbkdf2_job),
        job!("RandomBytesJob", random::new_random_bytes_job),
        job!("RandomPrimeJob", prime::new_random_prime_job),
        job!("RSACipherJob", rsa_cipher::new_cipher_job),
        job!("RSAKeyExportJob", keys::new_export_job),
        job!("RsaKeyPairGenJob", keygen::new_rsa_job),
        job!("ScryptJob", kdf::new_scrypt_job),
        job!("SecretKeyGenJob", keys::new_secret_key_job),
        job!("SignJob", sign::new_sign_job),
    ],
    ..Binding::DEFAULT
};

/// Hands the native base class to the library, which answers its `KeyObject`.
fn create_native_key_object_class<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let callback = v8::Local::<v8::Function>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"callback\" argument must be of type function",
        )
    })?;
    let class = Env::of(scope)
        .function(scope, "crypto.NativeKeyObject")
        .ok_or(Throw::Pending)?;
    let undefined = v8::undefined(scope).into();
    callback
        .call(scope, undefined, &[class.into()])
        .ok_or(Throw::Pending)
}

/// An array of names.
fn names<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    names: impl Iterator<Item = &'static str>,
) -> Ret<'s> {
    let names: Vec<v8::Local<v8::Value>> = names
        .filter_map(|name| v8::String::new(scope, name))
        .map(Into::into)
        .collect();
    Ok(v8::Array::new_with_elements(scope, &names).into())
}

fn get_curves<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    names(scope, curve::Curve::names())
}

fn zero<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Integer::new(scope, 0).into())
}

fn no<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}

/// `setFipsCrypto(enabled)`: there is no such provider, so it stays off.
fn set_fips<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if args.get(0).boolean_value(scope) {
        return Err(openssl::failure(openssl::EVP_UNSUPPORTED));
    }
    Ok(v8::undefined(scope).into())
}

/// OpenSSL's default.
fn security_level<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Integer::new(scope, 1).into())
}

/// Aliases of hash algorithms whose numbers the library may cache: none.
fn empty_object<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Object::new(scope).into())
}

/// There is no secure heap, and certificates are loaded when they are needed.
fn nothing<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}
