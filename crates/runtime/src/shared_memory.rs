//! `SharedArrayBuffer`, shared WebAssembly memories and `Atomics.wait`, for guests whose clocks are real.
//!
//! Memory that two threads see is a clock: with frozen clocks a guest has none by any road. The snapshot's contexts are
//! made without it, and this gives it to those of a process with `timingMitigation: "off"`. Its bytes are charged like
//! those of other buffers. `Atomics.waitAsync` stays away: V8 would post its timeouts to a platform that runs none.

use crate::clock::Mitigation;
use crate::env::Env;
use crate::throw::Throw;

/// Whether threads of the process may share memory.
pub fn is_allowed(env: &Env) -> bool {
    env.clock().mitigation() == Mitigation::Off
}

/// Gives `global`, whose context must be entered and has run no code of a guest, what it may have.
///
/// # Errors
/// Whatever V8 throws, such as in a process that is being ended.
pub fn install(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    global: v8::Local<v8::Object>,
) -> Result<(), Throw> {
    if !is_allowed(env) {
        return Ok(());
    }
    // A waiting thread is woken by the request to terminate it, as by every interrupt of V8's.
    scope.set_allow_atomics_wait(true);
    crate::wasm_memory::set_thread_shares(true);
    let constructor = v8::String::new(scope, "constructor").ok_or(Throw::Pending)?;
    let name = v8::String::new(scope, "SharedArrayBuffer").ok_or(Throw::Pending)?;
    // Only the name on the global object is missing.
    let class = v8::SharedArrayBuffer::new(scope, 0)
        .and_then(|buffer| v8::Local::<v8::Object>::from(buffer).get(scope, constructor.into()))
        .ok_or(Throw::Pending)?;
    global
        .define_own_property(scope, name.into(), class, v8::PropertyAttribute::DONT_ENUM)
        .ok_or(Throw::Pending)?;
    Ok(())
}
