//! The addon: converts types between Node-API and `secure_exec_runtime`, and does nothing else.
//!
//! ```text
//!   lib/ (TypeScript) --> vm.rs: NativeVm, NativeProcess --> secure_exec_runtime::vm::Vm
//!                     <-- events.rs: output and outcomes, one thread-safe function a process
//!                     <-> network.rs: connections to guests' servers, one thread-safe function a VM
//!                         host_ports.rs: ports of the host that lead to guests' servers
//!                     <-> host_calls.rs: questions of guests, one thread-safe function a VM
//! ```

mod adapter;
mod events;
mod host_calls;
mod host_ports;
mod network;
mod options;
mod outcome;
mod outward;
mod permissions;
mod vm;

use napi_derive::module_init;

// rustc exports every `#[no_mangle]` function of the crates that it links. The strictest visibility wins when the linker
// merges symbols, so naming them hidden here keeps them inside the addon. `__test__/addon.test.ts` checks the result.
#[cfg(target_os = "linux")]
std::arch::global_asm!(include_str!("hidden_symbols.s"));

/// Makes the snapshot start at an address that V8 accepts.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static STARTUP_SNAPSHOT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/startup.snapshot"
)));

#[module_init]
fn init() {
    secure_exec_runtime::engine::set_startup_snapshot(&STARTUP_SNAPSHOT.0);
}
