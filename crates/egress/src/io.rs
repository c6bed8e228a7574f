//! The threads that wait for the host's network, shared by all VMs of the process and started by the first use.

use std::cell::RefCell;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// What is done there is short: bytes are moved, nothing is computed.
const THREADS: usize = 2;
/// Lookups by the host's resolver, which block.
const MAX_BLOCKING_THREADS: usize = 32;
const STACK_BYTES: usize = 1 << 20;
/// Bytes that are moved at once.
const CHUNK: usize = 64 << 10;

static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();

/// The way to those threads; `None` where the host has none to give.
pub(crate) fn handle() -> Option<&'static Handle> {
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_name("secure-exec net")
            .thread_stack_size(STACK_BYTES)
            .enable_io()
            .enable_time()
            .build()
            .ok()
    });
    runtime.as_ref().map(Runtime::handle)
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Lends this thread's buffer: connections that are idle hold none.
pub(crate) fn with_buffer<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => use_it(&mut buffer),
        // Nobody nests; a buffer of its own would do as well.
        Err(_) => use_it(&mut vec![0; CHUNK]),
    })
}
