//! `internalBinding('watchdog')`.

use crate::binding::Binding;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "watchdog",
    ..Binding::DEFAULT
};
