//! Parameters of curves written out (`ECParameters`, SEC 1 C.2), with what makes them.

use pkcs8::der::asn1::{AnyRef, UintRef};
use pkcs8::der::{Decode, Reader};

use super::curve::Curve;

/// Field, coefficients, base point, order and cofactor of each curve, in DER.
const PARAMETERS: [(Curve, &str); 4] = [
    (
        Curve::P256,
        "3081f7020101302c06072a8648ce3d0101022100ffffffff00000001000000000000000000000000ffffffffffffffffffff\
         ffff305b0420ffffffff00000001000000000000000000000000fffffffffffffffffffffffc04205ac635d8aa3a93e7b3eb\
         bd55769886bc651d06b0cc53b0f63bce3c3e27d2604b031500c49d360886e704936a6678e1139d26b7819f7e900441046b17\
         d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce3357\
         6b315ececbb6406837bf51f5022100ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551020101",
    ),
    (
        Curve::P384,
        "30820157020101303c06072a8648ce3d0101023100ffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
         fffffeffffffff0000000000000000ffffffff307b0430ffffffffffffffffffffffffffffffffffffffffffffffffffffff\
         fffffffffeffffffff0000000000000000fffffffc0430b3312fa7e23ee7e4988e056be3f82d19181d9c6efe814112031408\
         8f5013875ac656398d8a2ed19d2a85c8edd3ec2aef031500a335926aa319a27a1d00896a6773a4827acdac73046104aa87ca\
         22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96\
         262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f023100ffffffff\
         ffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973020101",
    ),
    (
        Curve::P521,
        "308201c3020101304d06072a8648ce3d0101024201ffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
         ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff30819f044201ffffffffffffffff\
         ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
         fffffffffffffc04420051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e93\
         7b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00031500d09e8800291cb85396cc6717393284aaa0da64ba0481\
         850400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ff\
         a8de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e\
         662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650024201ffffffffffffffffffffffffff\
         fffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e9138\
         6409020101",
    ),
    (
        Curve::Secp256k1,
        "3081e0020101302c06072a8648ce3d0101022100fffffffffffffffffffffffffffffffffffffffffffffffffffffffeffff\
         fc2f304404200000000000000000000000000000000000000000000000000000000000000000042000000000000000000000\
         0000000000000000000000000000000000000000000704410479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959\
         f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8022100ffffffffffffffff\
         fffffffffffffffebaaedce6af48a03bbfd25e8cd0364141020101",
    ),
];

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What tells one curve from the others.
#[derive(PartialEq, Eq)]
struct Facts {
    modulus: Vec<u8>,
    coefficients: [Vec<u8>; 2],
    order: Vec<u8>,
    /// The first coordinate of the base point.
    base: Vec<u8>,
}

fn facts(der: &[u8]) -> Option<Facts> {
    fn octets(any: AnyRef<'_>) -> Vec<u8> {
        super::modular::trimmed(any.value()).to_vec()
    }
    let any = AnyRef::from_der(der).ok()?;
    let facts = any.sequence(|reader| {
        let _version = UintRef::decode(reader)?;
        let field: AnyRef<'_> = reader.decode()?;
        let modulus = field.sequence(|reader| {
            let _kind: AnyRef<'_> = reader.decode()?;
            UintRef::decode(reader)
        })?;
        let curve: AnyRef<'_> = reader.decode()?;
        let coefficients = curve.sequence(|reader| {
            let pair: [AnyRef<'_>; 2] = [reader.decode()?, reader.decode()?];
            while !reader.is_finished() {
                let _seed: AnyRef<'_> = reader.decode()?;
            }
            Ok::<_, pkcs8::der::Error>(pair)
        })?;
        let base: AnyRef<'_> = reader.decode()?;
        let order = UintRef::decode(reader)?;
        while !reader.is_finished() {
            let _cofactor: AnyRef<'_> = reader.decode()?;
        }
        let length = modulus.as_bytes().len();
        Ok::<_, pkcs8::der::Error>(Facts {
            modulus: modulus.as_bytes().to_vec(),
            coefficients: coefficients.map(octets),
            order: order.as_bytes().to_vec(),
            base: base.value().get(1..=length).unwrap_or_default().to_vec(),
        })
    });
    facts.ok()
}

/// The parameters of a curve, in DER.
pub fn explicit(curve: Curve) -> Option<Vec<u8>> {
    PARAMETERS
        .iter()
        .find(|(known, _)| *known == curve)
        .map(|(_, hex)| unhex(hex))
}

/// The curve of parameters, if it is one of ours.
pub fn recognise(der: &[u8]) -> Option<Curve> {
    let facts = facts(der)?;
    PARAMETERS
        .iter()
        .find(|(_, hex)| self::facts(&unhex(hex)).as_ref() == Some(&facts))
        .map(|(curve, _)| *curve)
}
