//! V8 isolates that run Node's own JavaScript library on bindings over the virtual kernel.
//!
//! ```text
//!  vm (commands and events, plain data)
//!   |-- process thread: isolate, event loop --> bindings/ --> secure_exec_kernel
//!   |-- watchdog: CPU, wall, memory --> latch
//!  engine: V8's platform and the root thread; snapshot: Node's library, booted at build time
//! ```

// What a guest can reach must not panic. Tests and examples may.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented,
    clippy::undocumented_unsafe_blocks,
    missing_docs
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub use secure_exec_kernel as kernel;
pub use secure_exec_node_lib as node_lib;

pub mod aliased_buffer;
pub mod allocator;
pub mod api;
pub mod archive_stream;
pub mod array_buffer;
#[cfg(not(windows))]
pub(crate) mod array_buffer_allocator;
pub mod binding;
pub mod bindings;
pub mod budget;
pub mod call_timer;
pub mod callback_scope;
pub mod child;
pub mod clock;
pub mod code_cache;
pub mod code_generation;
pub mod compile_cache;
pub mod context;
pub mod critical;
pub mod disabled_proto;
pub mod dotenv;
mod empty_pages;
pub mod encoding;
pub mod engine;
pub mod env;
pub mod environment;
pub mod event_loop;
pub mod exposed_gc;
pub mod fatal;
pub mod fatal_exception;
pub mod furnished_fs;
pub mod histogram;
pub mod host;
mod host_command;
pub mod host_fs;
pub mod host_functions;
pub mod host_pool;
pub mod host_watches;
mod icu_memory;
mod idle;
pub(crate) mod inspector;
mod large_blocks;
pub mod latch;
pub mod launch;
pub mod link_wrap;
pub mod marshal;
pub mod memory;
pub mod message;
pub mod message_port;
pub(crate) mod native_account;
mod native_heap;
mod native_stack;
pub mod node_command;
pub mod object_table;
pub mod output;
pub mod permission_model;
pub mod placement;
pub mod plain;
pub mod platform_clock;
pub mod pool;
pub mod process;
pub mod readiness;
pub mod realm;
pub mod rehearsal;
pub mod shared_memory;
pub mod sigint;
pub mod signals;
pub mod snapshot;
#[cfg(target_os = "linux")]
mod stack_overflow;
pub mod text;
pub mod threads;
pub mod throw;
mod time_zone;
pub mod trace_calls;
pub mod tracer;
pub mod tree;
pub mod typescript;
pub mod unmarshal;
pub mod usage;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod v8_jobs;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod v8_workers;
pub mod virtual_file_system;
pub mod vm;
pub(crate) mod warm_up;
pub(crate) mod wasm_memory;
pub(crate) mod wasm_types;
pub mod watchdog;
pub mod work;
pub mod worker;
