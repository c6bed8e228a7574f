//! Keys as JWK (RFC 7517, RFC 7518, RFC 8037). Source: `src/crypto/crypto_keys.cc`.

use rsa::traits::PublicKeyParts;
use zeroize::Zeroizing;

use super::argument::{invalid, string};
use super::asymmetric::{PrivateKey, PublicKey, Use};
use super::curve::Curve;
use super::keys::KeyData;
use crate::binding::Ret;
use crate::realm::set;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// The first byte of a point with both coordinates.
const UNCOMPRESSED: u8 = 4;

/// A member of a JWK.
enum Member {
    Name(&'static str),
    Bytes(Zeroizing<Vec<u8>>),
}

impl From<&'static str> for Member {
    fn from(name: &'static str) -> Self {
        Self::Name(name)
    }
}

impl From<&[u8]> for Member {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Zeroizing::new(bytes.to_vec()))
    }
}

fn unsupported_type() -> Throw {
    Throw::error(
        "ERR_CRYPTO_JWK_UNSUPPORTED_KEY_TYPE",
        "Unsupported JWK Key Type.",
    )
}

/// The members of a key, in Node's order.
fn members(key: &KeyData) -> Result<Vec<(&'static str, Member)>, Throw> {
    let mut members: Vec<(&str, Member)> = Vec::new();
    if let KeyData::Secret(key) = key {
        members.push(("kty", "oct".into()));
        members.push(("k", key.as_ref().into()));
        return Ok(members);
    }
    let private = match key {
        KeyData::Private(key) => Some(key),
        _ => None,
    };
    match key.public_half().ok_or_else(|| invalid("key"))? {
        PublicKey::Rsa(key, Use::Any) => {
            members.push(("kty", "RSA".into()));
            members.push(("n", key.n_bytes().as_ref().into()));
            members.push(("e", key.e_bytes().as_ref().into()));
            if let Some(PrivateKey::Rsa(key, _)) = private {
                let parts = PrivateKey::rsa_parts(key).ok_or_else(|| invalid("key"))?;
                let names = ["d", "p", "q", "dp", "dq", "qi"];
                for (name, part) in names.into_iter().zip(parts.parts) {
                    members.push((name, Member::Bytes(part)));
                }
            }
        }
        PublicKey::Ec(group, point) => {
            let coordinates = point.get(1..).unwrap_or_default();
            let (x, y) = coordinates
                .split_at_checked(group.curve.size())
                .unwrap_or_default();
            members.push(("kty", "EC".into()));
            members.push(("x", x.into()));
            members.push(("y", y.into()));
            members.push(("crv", group.curve.jwk_name().into()));
            if let Some(PrivateKey::Ec(_, scalar)) = private {
                members.push(("d", scalar.as_slice().into()));
            }
        }
        PublicKey::Cfrg(curve, point) => {
            members.push(("crv", curve.name().into()));
            if let Some(PrivateKey::Cfrg(_, private)) = private {
                members.push(("d", private.as_slice().into()));
            }
            members.push(("x", point.as_ref().into()));
            members.push(("kty", "OKP".into()));
        }
        PublicKey::Rsa(_, Use::Pss(_)) | PublicKey::Dsa(..) | PublicKey::Dh(..) => {
            return Err(unsupported_type());
        }
    }
    Ok(members)
}

/// The bytes of a member; `None` when it is no string.
fn member<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    jwk: v8::Local<'s, v8::Object>,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, Throw> {
    let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
    let value = jwk.get(scope, name.into()).ok_or(Throw::Pending)?;
    let text = v8::Local::<v8::String>::try_from(value).ok();
    Ok(text.map(|text| Zeroizing::new(text::encode(scope, text, Encoding::Base64Url))))
}

fn refused(text: &str) -> Throw {
    Throw::type_error("ERR_CRYPTO_INVALID_JWK", text)
}

fn rsa<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    jwk: v8::Local<'s, v8::Object>,
) -> Result<KeyData, Throw> {
    let invalid = || refused("Invalid JWK RSA key");
    let modulus = member(scope, jwk, "n")?.ok_or_else(invalid)?;
    let exponent = member(scope, jwk, "e")?.ok_or_else(invalid)?;
    let Some(private) = member(scope, jwk, "d")? else {
        let key = PublicKey::rsa(&modulus, &exponent).ok_or_else(invalid)?;
        return Ok(KeyData::Public(key));
    };
    let first = member(scope, jwk, "p")?.ok_or_else(invalid)?;
    let second = member(scope, jwk, "q")?.ok_or_else(invalid)?;
    for name in ["dp", "dq", "qi"] {
        member(scope, jwk, name)?.ok_or_else(invalid)?;
    }
    let primes = [first.as_slice(), second.as_slice()];
    let key = PrivateKey::rsa_from_parts(&modulus, &exponent, &private, primes);
    Ok(KeyData::Private(key.ok_or_else(invalid)?))
}

fn ec<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    jwk: v8::Local<'s, v8::Object>,
    curve: v8::Local<'s, v8::Value>,
) -> Result<KeyData, Throw> {
    let invalid = || refused("Invalid JWK EC key");
    let curve = string(scope, curve, "namedCurve")?;
    let curve = Curve::from_name(&curve)
        .ok_or_else(|| Throw::type_error("ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name"))?;
    let mut point = vec![UNCOMPRESSED];
    for name in ["x", "y"] {
        let coordinate = member(scope, jwk, name)?.ok_or_else(invalid)?;
        let missing = curve.size().checked_sub(coordinate.len());
        point.resize(point.len() + missing.ok_or_else(invalid)?, 0);
        point.extend_from_slice(&coordinate);
    }
    let public = PublicKey::ec(curve.into(), &point).ok_or_else(invalid)?;
    let Some(scalar) = member(scope, jwk, "d")? else {
        return Ok(KeyData::Public(public));
    };
    let private = PrivateKey::ec(curve.into(), &scalar).ok_or_else(invalid)?;
    if private.public().as_ref() != Some(&public) {
        return Err(invalid());
    }
    Ok(KeyData::Private(private))
}

impl KeyData {
    /// Sets the members of a JWK.
    ///
    /// # Errors
    /// The key has no such form.
    pub fn jwk<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        target: v8::Local<'s, v8::Object>,
    ) -> Ret<'s> {
        for (name, member) in members(self)? {
            let value = match member {
                Member::Name(name) => text::one_byte(scope, name.as_bytes())?,
                Member::Bytes(bytes) => text::decode(scope, &bytes, Encoding::Base64Url)?,
            };
            set(scope, target, name, value);
        }
        Ok(target.into())
    }

    /// The key in a JWK.
    ///
    /// # Errors
    /// There is none.
    pub fn from_jwk<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        jwk: v8::Local<'s, v8::Object>,
        curve: v8::Local<'s, v8::Value>,
    ) -> Result<Self, Throw> {
        let name = v8::String::new(scope, "kty").ok_or(Throw::Pending)?;
        let kind = jwk.get(scope, name.into()).ok_or(Throw::Pending)?;
        match string(scope, kind, "kty")?.as_str() {
            "oct" => {
                let secret = member(scope, jwk, "k")?;
                let secret = secret.ok_or_else(|| refused("Invalid JWK secret key format"))?;
                Ok(Self::Secret(secret.as_slice().into()))
            }
            "RSA" => rsa(scope, jwk),
            "EC" => ec(scope, jwk, curve),
            _ => Err(refused("Unsupported JWK asymmetric key type")),
        }
    }
}
