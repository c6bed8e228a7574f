//! `internalBinding('heap_utils')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "heap_utils", ..Binding::DEFAULT };
