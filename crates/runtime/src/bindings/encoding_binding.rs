//! `internalBinding('encoding_binding')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "encoding_binding", ..Binding::DEFAULT };
