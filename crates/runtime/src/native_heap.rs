//! The allocator behind `malloc` in this library: our V8 archive brings PartitionAlloc, and Rust's code shares it.
//!
//! It keeps what is freed until it is told to give it back. V8's own embedders tell it now and then, and so does a process
//! at rest.

/// Gives the free pages of the heap back to the operating system, at most ten times a second. Takes about half a
/// millisecond.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub fn reclaim() {
    use std::ffi::c_void;
    use std::sync::{Mutex, Once};
    use std::time::{Duration, Instant};

    const PAUSE: Duration = Duration::from_millis(100);
    static REGISTERED: Once = Once::new();
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);

    // Functions of PartitionAlloc without parameters, but for the `this` of the last.
    unsafe extern "C" {
        #[link_name = "_ZN14allocator_shim35EnablePartitionAllocMemoryReclaimerEv"]
        fn register();
        #[link_name = "_ZN15partition_alloc15MemoryReclaimer8InstanceEv"]
        fn instance() -> *mut c_void;
        #[link_name = "_ZN15partition_alloc15MemoryReclaimer10ReclaimAllEv"]
        fn reclaim_all(this: *mut c_void);
    }

    let _section = crate::critical::section();
    let Ok(mut last) = LAST.try_lock() else {
        return;
    };
    if last.is_some_and(|last| last.elapsed() < PAUSE) {
        return;
    }
    // SAFETY: has no requirement but that it is called once.
    REGISTERED.call_once(|| unsafe { register() });
    // SAFETY: the instance lives as long as the OS process, and may be asked by any thread.
    unsafe { reclaim_all(instance()) };
    *last = Some(Instant::now());
}

/// Published archives of V8 leave `malloc` to the C library.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn reclaim() {}
