//! `internalBinding('fs_event_wrap')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding { name: "fs_event_wrap", ..Binding::DEFAULT };
