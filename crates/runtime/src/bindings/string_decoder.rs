//! `internalBinding('string_decoder')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "string_decoder", ..Binding::DEFAULT };
