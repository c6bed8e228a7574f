//! `internalBinding('contextify')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "contextify", ..Binding::DEFAULT };
