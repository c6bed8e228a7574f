//! Values of the guest as plain data for the host.

/// A value that was copied out of a guest.
#[derive(Clone, Debug, PartialEq)]
pub enum HostValue {
    /// `undefined`
    Undefined,
}

/// Why a value cannot cross.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct MarshalError {
    /// The public error code.
    pub code: &'static str,
    /// What was asked and what the limit is.
    pub message: String,
}

/// Copies a value out of the guest without running guest code.
///
/// # Errors
/// [`MarshalError`] when it does not fit the limits or has no data form.
pub fn to_host(
    _scope: &mut v8::PinScope<'_, '_>,
    _value: v8::Local<v8::Value>,
    _limits: &crate::api::Limits,
) -> Result<HostValue, MarshalError> {
    Ok(HostValue::Undefined)
}
