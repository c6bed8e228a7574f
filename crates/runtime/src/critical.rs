//! Knows when a thread may not be stopped for ever: while it holds a lock or stands in the allocator, which it shares
//! with every other thread of this OS process.
//!
//! The linker sends V8's calls of its mutexes, of `pthread_mutex_lock` and of the allocator through here (see `link_wrap.rs`); Rust
//! code of ours that does the like takes a [`section`].

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    /// Locks held, allocator calls and sections open on this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Keeps this thread from being parked by a signal while it exists.
pub struct Section(PhantomData<*const ()>);

impl Drop for Section {
    fn drop(&mut self) {
        leave();
    }
}

/// Begins a section in which this thread must not be parked.
pub fn section() -> Section {
    enter();
    Section(PhantomData)
}

/// Whether this thread holds a lock, allocates, or is in a [`section`].
pub fn is_inside() -> bool {
    DEPTH.get() != 0
}

fn enter() {
    DEPTH.set(DEPTH.get().wrapping_add(1));
}

fn leave() {
    DEPTH.set(DEPTH.get().saturating_sub(1));
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod wrapped {
    use std::ffi::{c_int, c_void};

    use super::{enter, leave, section};
    use crate::link_wrap::wrap;

    type Pointer = *mut c_void;

    wrap!("pthread_mutex_lock" => mutex_lock, fn real_mutex_lock(mutex: Pointer) -> c_int);
    wrap!("pthread_mutex_trylock" => mutex_trylock, fn real_mutex_trylock(mutex: Pointer) -> c_int);
    wrap!("pthread_mutex_unlock" => mutex_unlock, fn real_mutex_unlock(mutex: Pointer) -> c_int);

    // A lock counts from before it is taken until after it is given back: a signal in between sees it as held.
    unsafe extern "C" fn mutex_lock(mutex: Pointer) -> c_int {
        enter();
        // SAFETY: the caller's own call of the C function, passed on.
        let failure = unsafe { real_mutex_lock(mutex) };
        if failure != 0 {
            leave();
        }
        failure
    }

    unsafe extern "C" fn mutex_trylock(mutex: Pointer) -> c_int {
        enter();
        // SAFETY: the caller's own call of the C function, passed on.
        let failure = unsafe { real_mutex_trylock(mutex) };
        if failure != 0 {
            leave();
        }
        failure
    }

    unsafe extern "C" fn mutex_unlock(mutex: Pointer) -> c_int {
        // SAFETY: the caller's own call of the C function, passed on.
        let failure = unsafe { real_mutex_unlock(mutex) };
        if failure == 0 {
            leave();
        }
        failure
    }

    wrap!("_ZN4absl5Mutex4lockEv" => absl_lock, fn real_absl_lock(mutex: Pointer));
    wrap!("_ZN4absl5Mutex8try_lockEv" => absl_try_lock, fn real_absl_try_lock(mutex: Pointer) -> bool);
    wrap!("_ZN4absl5Mutex6unlockEv" => absl_unlock, fn real_absl_unlock(mutex: Pointer));

    // V8's own mutexes are these.
    unsafe extern "C" fn absl_lock(mutex: Pointer) {
        enter();
        // SAFETY: the caller's own call, passed on.
        unsafe { real_absl_lock(mutex) }
    }

    unsafe extern "C" fn absl_try_lock(mutex: Pointer) -> bool {
        enter();
        // SAFETY: the caller's own call, passed on.
        let locked = unsafe { real_absl_try_lock(mutex) };
        if !locked {
            leave();
        }
        locked
    }

    unsafe extern "C" fn absl_unlock(mutex: Pointer) {
        // SAFETY: the caller's own call, passed on.
        unsafe { real_absl_unlock(mutex) };
        leave();
    }

    /// One function of the allocator: counted, judged by its size if it has one, then passed on.
    macro_rules! allocator_function {
        ($symbol:literal, $name:ident, $real:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $(, $size:expr)?) => {
            wrap!($symbol => $name, fn $real($($argument: $type),*) $(-> $result)?);
            unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                $(crate::large_blocks::judge($size);)?
                let _section = section();
                // SAFETY: the caller's own call of the allocator, passed on.
                unsafe { $real($($argument),*) }
            }
        };
    }

    allocator_function!("malloc", malloc, real_malloc(size: usize) -> Pointer, size);
    allocator_function!("calloc", calloc, real_calloc(count: usize, size: usize) -> Pointer, count.saturating_mul(size));
    allocator_function!("realloc", realloc, real_realloc(block: Pointer, size: usize) -> Pointer, size);
    allocator_function!("free", free, real_free(block: Pointer));
    allocator_function!(
        "posix_memalign",
        posix_memalign,
        real_posix_memalign(result: *mut Pointer, alignment: usize, size: usize) -> c_int
    );
    allocator_function!("aligned_alloc", aligned_alloc, real_aligned_alloc(alignment: usize, size: usize) -> Pointer, size);
    allocator_function!("_Znwm", new, real_new(size: usize) -> Pointer, size);
    allocator_function!("_Znam", new_array, real_new_array(size: usize) -> Pointer, size);
    allocator_function!("_ZnwmRKSt9nothrow_t", new_nothrow, real_new_nothrow(size: usize, tag: Pointer) -> Pointer, size);
    allocator_function!(
        "_ZnamRKSt9nothrow_t",
        new_array_nothrow,
        real_new_array_nothrow(size: usize, tag: Pointer) -> Pointer,
        size
    );
    allocator_function!("_ZnwmSt11align_val_t", new_aligned, real_new_aligned(size: usize, alignment: usize) -> Pointer, size);
    allocator_function!(
        "_ZnamSt11align_val_t",
        new_array_aligned,
        real_new_array_aligned(size: usize, alignment: usize) -> Pointer
    );
    allocator_function!("_ZdlPv", delete, real_delete(block: Pointer));
    allocator_function!("_ZdaPv", delete_array, real_delete_array(block: Pointer));
    allocator_function!("_ZdlPvm", delete_sized, real_delete_sized(block: Pointer, size: usize));
    allocator_function!("_ZdaPvm", delete_array_sized, real_delete_array_sized(block: Pointer, size: usize));
    allocator_function!(
        "_ZdlPvmSt11align_val_t",
        delete_sized_aligned,
        real_delete_sized_aligned(block: Pointer, size: usize, alignment: usize)
    );
    allocator_function!(
        "_ZdaPvSt11align_val_t",
        delete_array_aligned,
        real_delete_array_aligned(block: Pointer, alignment: usize)
    );
}
