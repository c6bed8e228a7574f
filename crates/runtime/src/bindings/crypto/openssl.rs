//! Errors as OpenSSL numbers and words them.

use crate::throw::{ErrorClass, OpenSslError, Throw};

/// A reason with its number.
pub type Reason = (u32, &'static str);

pub const BITS_TOO_SMALL: Reason = (0x0180_0076, "bits too small");
pub const BN_DIV_BY_ZERO: Reason = (0x0180_0067, "div by zero");
pub const RSA_DATA_TOO_LARGE: Reason = (0x0200_006E, "data too large for key size");
pub const RSA_DATA_TOO_LARGE_FOR_MODULUS: Reason = (0x0200_0084, "data too large for modulus");
pub const RSA_DATA_TOO_SMALL: Reason = (0x0200_007A, "data too small for key size");
pub const RSA_DATA_GREATER_THAN_MODULUS: Reason = (0x0200_006C, "data greater than mod len");
pub const RSA_INVALID_PADDING: Reason = (0x0200_008A, "invalid padding");
pub const RSA_PADDING_CHECK_FAILED: Reason = (0x0200_0072, "padding check failed");
pub const RSA_OAEP_DECODING_ERROR: Reason = (0x0200_0079, "oaep decoding error");
pub const RSA_UNKNOWN_PADDING_TYPE: Reason = (0x0200_0076, "unknown padding type");
pub const RSA_DIGEST_TOO_BIG: Reason = (0x0200_0070, "digest too big for rsa key");
pub const DIGEST_NOT_ALLOWED: Reason = (0x1C80_00AE, "digest not allowed");
pub const RSA_PUBLIC_EXPONENT: Reason = (0x0200_00B2, "pub exponent out of range");
pub const RSA_MODULUS_TOO_LARGE: Reason = (0x0200_0069, "modulus too large");
pub const DH_BAD_GENERATOR: Reason = (0x0280_0065, "bad generator");
pub const DH_MODULUS_TOO_LARGE: Reason = (0x0280_0067, "modulus too large");
pub const DH_MODULUS_TOO_SMALL: Reason = (0x0280_007E, "modulus too small");
pub const EVP_OPERATION_NOT_SUPPORTED: Reason =
    (0x0300_0096, "operation not supported for this keytype");
pub const EVP_INITIALIZATION_ERROR: Reason = (0x0300_0086, "initialization error");
pub const EVP_NOT_XOF: Reason = (0x0300_00B2, "not XOF or invalid length");
pub const ASN1_NOT_ENOUGH_DATA: Reason = (0x0680_008E, "not enough data");
pub const ASN1_WRONG_TAG: Reason = (0x0680_00A8, "wrong tag");
pub const INTERRUPTED_OR_CANCELLED: Reason = (0x0788_0109, "interrupted or cancelled");
pub const BAD_DECRYPT: Reason = (0x1C80_0064, "bad decrypt");
pub const WRONG_FINAL_BLOCK_LENGTH: Reason = (0x1C80_006B, "wrong final block length");
pub const INVALID_DIGEST: Reason = (0x1C80_007A, "invalid digest");
pub const ILLEGAL_PADDING_MODE: Reason = (0x1C80_00A5, "illegal or unsupported padding mode");
pub const PSS_SALTLEN_TOO_SMALL: Reason = (0x1C80_00AC, "pss saltlen too small");
pub const FAILED_DURING_DERIVATION: Reason = (0x1C80_00A4, "failed during derivation");
pub const PROVIDER_KEY_SIZE_TOO_SMALL: Reason = (0x1C80_00AB, "key size too small");
pub const MISMATCHING_DOMAIN_PARAMETERS: Reason = (0x1C80_00CB, "mismatching domain parameters");
pub const XTS_DUPLICATED_KEYS: Reason = (0x1C80_0095, "xts duplicated keys");
pub const EVP_UNSUPPORTED: Reason = (0x0308_010C, "unsupported");
pub const PROVIDER_OPERATION_NOT_SUPPORTED: Reason =
    (0x1C80_00B2, "operation not supported for this keytype");
pub const DSA_BAD_FFC_PARAMETERS: Reason = (0x0500_0072, "bad ffc parameters");
pub const EVP_KEYMGMT_FAILURE: Reason = (0x0300_00E9, "provider keymgmt failure");
pub const EVP_SIGNATURE_FAILURE: Reason = (0x0300_00EA, "provider signature failure");
pub const PROVIDER_RSA_LIB: Reason = (0x1C88_0004, "RSA lib");
pub const FAILED_TO_DECRYPT: Reason = (0x1C80_00A2, "failed to decrypt");
pub const INVALID_X931_DIGEST: Reason = (0x1C80_00AA, "invalid x931 digest");
pub const INVALID_DIGEST_LENGTH: Reason = (0x1C80_00A6, "invalid digest length");
pub const RSA_INVALID_LENGTH: Reason = (0x0200_00B5, "invalid length");
pub const INVALID_PADDING_MODE: Reason = (0x1C80_00A8, "invalid padding mode");
pub const INVALID_SALT_LENGTH: Reason = (0x1C80_0070, "invalid salt length");
pub const ASN1_NO_OBJECT_IDENTIFIER: Reason = (0x0680_006C, "cipher has no object identifier");
pub const PEM_UNSUPPORTED_CIPHER: Reason = (0x0480_0071, "unsupported cipher");
pub const PEM_UNSUPPORTED_ENCRYPTION: Reason = (0x0480_0072, "unsupported encryption");
pub const UNSUPPORTED: Reason = (0x1E08_010C, "unsupported");

fn error((number, reason): Reason, stack: &[Reason]) -> OpenSslError {
    OpenSslError {
        number,
        reason,
        stack: stack
            .iter()
            .map(|&reason| error(reason, &[]).text())
            .collect(),
    }
}

/// What Node throws for a failure of OpenSSL.
pub fn failure(reason: Reason) -> Throw {
    failure_after(reason, &[])
}

/// The same without `library`, `reason` and `code`, as from jobs that make keys.
pub fn plain_failure(reason: Reason) -> Throw {
    Throw::Plain(ErrorClass::Error, error(reason, &[]).text())
}

/// The same, after others.
pub fn failure_after(reason: Reason, stack: &[Reason]) -> Throw {
    Throw::OpenSsl(Box::new(error(reason, stack)))
}
