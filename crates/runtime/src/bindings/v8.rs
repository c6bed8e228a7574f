//! `internalBinding('v8')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "v8", ..Binding::DEFAULT };
