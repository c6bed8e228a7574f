//! `internalBinding('crypto')`: random bytes, hashes, MACs, derived keys, AES, keys and signatures of RSA, ECDSA and
//! Ed25519. What stands in the recorded surface and not here throws that it is unavailable. Sources: `src/crypto/*.cc`.
//!
//! Algorithms come from RustCrypto's crates; random bytes from the kernel, which has them from the operating system.

mod algorithm;
mod argument;
mod asymmetric;
mod cipher;
mod curve;
mod encoding;
mod hash;
mod job;
mod kdf;
mod keygen;
pub mod keys;
mod random;
mod rsa_padding;
mod sign;

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
        (
            "createNativeKeyObjectClass",
            function!(create_native_key_object_class),
        ),
        // Modules that import `node:tls` or `node:https` read the list at once.
        ("getBundledRootCertificates", function!(no_names)),
        ("getCachedAliases", function!(empty_object)),
        ("getCipherInfo", function!(cipher::get_cipher_info)),
        ("getCiphers", function!(cipher::get_ciphers)),
        ("getCurves", function!(get_curves)),
        ("getFipsCrypto", function!(zero)),
        ("getHashes", function!(hash::get_hashes)),
        ("getOpenSSLSecLevelCrypto", function!(security_level)),
        ("getSSLCiphers", function!(no_names)),
        ("oneShotDigest", function!(hash::one_shot)),
        ("secureBuffer", function!(random::secure_buffer)),
        ("secureHeapUsed", function!(nothing)),
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
        job!("ECKeyExportJob", keys::new_export_job),
        job!("EcKeyPairGenJob", keygen::new_ec_job),
        job!("HashJob", hash::new_hash_job),
        job!("HmacJob", hash::new_hmac_job),
        job!("HKDFJob", kdf::new_hkdf_job),
        job!("NidKeyPairGenJob", keygen::new_nid_job),
        job!("PBKDF2Job", kdf::new_pbkdf2_job),
        job!("RandomBytesJob", random::new_random_bytes_job),
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

fn no_names<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Array::new(scope, 0).into())
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

/// OpenSSL's default.
fn security_level<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Integer::new(scope, 1).into())
}

/// Aliases of hash algorithms whose numbers the library may cache: none.
fn empty_object<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Object::new(scope).into())
}

/// There is no secure heap and there are no certificates to load.
fn nothing<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}
