//! `internalBinding('performance')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "performance", ..Binding::DEFAULT };
