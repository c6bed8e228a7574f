//! `internalBinding('serdes')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "serdes", ..Binding::DEFAULT };
