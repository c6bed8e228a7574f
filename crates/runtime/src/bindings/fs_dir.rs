//! `internalBinding('fs_dir')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "fs_dir", ..Binding::DEFAULT };
