//! `internalBinding('block_list')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "block_list", ..Binding::DEFAULT };
