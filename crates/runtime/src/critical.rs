//! Knows when a thread may not be stopped for ever: while it holds a lock or stands in the allocator, which it shares
//! with every other thread of this OS process.
//!
//! The linker sends V8's calls of its mutexes, of `pthread_mutex_lock` and of the allocator through here (see `link_wrap.rs`); Rust
//! code of ours that does the like takes a [`section`]. What is made once for all threads counts as a lock: V8, ICU and C++
//! let every other thread that wants it wait for the one that makes it.

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
    use crate::inspector::{giving_back, taking};
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

    wrap!("__cxa_guard_acquire" => guard_acquire, fn real_guard_acquire(guard: Pointer) -> c_int);
    wrap!("__cxa_guard_release" => guard_release, fn real_guard_release(guard: Pointer));
    wrap!("__cxa_guard_abort" => guard_abort, fn real_guard_abort(guard: Pointer));

    // Of C++'s local statics. From a true answer of `acquire` on, this thread makes the value.
    unsafe extern "C" fn guard_acquire(guard: Pointer) -> c_int {
        enter();
        // SAFETY: the compiler's own call, passed on.
        let makes = unsafe { real_guard_acquire(guard) };
        if makes == 0 {
            leave();
        }
        makes
    }

    unsafe extern "C" fn guard_release(guard: Pointer) {
        // SAFETY: the compiler's own call, passed on.
        unsafe { real_guard_release(guard) };
        leave();
    }

    unsafe extern "C" fn guard_abort(guard: Pointer) {
        // SAFETY: the compiler's own call, passed on.
        unsafe { real_guard_abort(guard) };
        leave();
    }

    wrap!("_ZN6icu_7820umtx_initImplPreInitERNS_9UInitOnceE" => icu_once_begins, fn real_icu_once_begins(once: Pointer) -> u8);
    wrap!("_ZN6icu_7821umtx_initImplPostInitERNS_9UInitOnceE" => icu_once_ends, fn real_icu_once_ends(once: Pointer));

    // ICU's `UInitOnce`, in the same way.
    unsafe extern "C" fn icu_once_begins(once: Pointer) -> u8 {
        enter();
        // SAFETY: ICU's own call, passed on.
        let makes = unsafe { real_icu_once_begins(once) };
        if makes == 0 {
            leave();
        }
        makes
    }

    unsafe extern "C" fn icu_once_ends(once: Pointer) {
        // SAFETY: ICU's own call, passed on.
        unsafe { real_icu_once_ends(once) };
        leave();
    }

    wrap!(
        "_ZNK6icu_7812UnifiedCache4_getERKNS_12CacheKeyBaseERPKNS_12SharedObjectEPKvR10UErrorCode" => icu_cache_get,
        fn real_icu_cache_get(cache: Pointer, key: Pointer, value: Pointer, context: Pointer, status: Pointer)
    );

    // Makes what is not in ICU's cache; other threads that ask for the same wait meanwhile.
    unsafe extern "C" fn icu_cache_get(
        cache: Pointer,
        key: Pointer,
        value: Pointer,
        context: Pointer,
        status: Pointer,
    ) {
        let _section = section();
        // SAFETY: ICU's own call, passed on.
        unsafe { real_icu_cache_get(cache, key, value, context, status) }
    }

    wrap!(
        "_ZN2v84base12CallOnceImplEPNSt4__Cr6atomicIhEENS1_8functionIFvvEEE" => call_once,
        fn real_call_once(once: Pointer, function: Pointer)
    );
    wrap!(
        "_ZNSt4__Cr11__call_onceERVmPvPFvS2_E" => std_call_once,
        fn real_std_call_once(flag: Pointer, argument: Pointer, function: Pointer)
    );

    unsafe extern "C" fn call_once(once: Pointer, function: Pointer) {
        let _section = section();
        // SAFETY: V8's own call, passed on; the ABI passes a `std::function` by its address.
        unsafe { real_call_once(once, function) }
    }

    unsafe extern "C" fn std_call_once(flag: Pointer, argument: Pointer, function: Pointer) {
        let _section = section();
        // SAFETY: the library's own call, passed on.
        unsafe { real_std_call_once(flag, argument, function) }
    }

    /// What `AllocAtLeastWithRetry` answers: a block and its size, in two registers.
    #[repr(C)]
    struct Block(Pointer, usize);

    wrap!("_ZN2v88internal21AllocAtLeastWithRetryEm" => zone_segment, fn real_zone_segment(size: usize) -> Block);

    // Memory of V8's parser, compilers and regular expressions, in small pieces.
    unsafe extern "C" fn zone_segment(size: usize) -> Block {
        #[cfg(target_arch = "x86_64")]
        crate::v8_workers::prepare();
        if crate::native_stack::is_out() {
            crate::fatal::out_of_stack();
        }
        crate::large_blocks::judge_zones(size);
        // SAFETY: V8's own call, passed on.
        unsafe { real_zone_segment(size) }
    }

    /// One function of the allocator: counted, judged by its size if it has one, then passed on.
    macro_rules! allocator_function {
        ($symbol:literal, $name:ident, $real:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $(, $size:expr)? $(; $note:expr)?) => {
            wrap!($symbol => $name, fn $real($($argument: $type),*) $(-> $result)?);
            unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                $(crate::large_blocks::judge($size);)?
                $($note;)?
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
    wrap!(
        "posix_memalign" => posix_memalign,
        fn real_posix_memalign(result: *mut Pointer, alignment: usize, size: usize) -> c_int
    );
    unsafe extern "C" fn posix_memalign(
        result: *mut Pointer,
        alignment: usize,
        size: usize,
    ) -> c_int {
        let _section = section();
        // SAFETY: the caller's own call of the allocator, passed on.
        let failure = unsafe { real_posix_memalign(result, alignment, size) };
        #[cfg(target_arch = "x86_64")]
        if failure == 0 {
            // SAFETY: the allocator has written the block that it made.
            unsafe { crate::empty_pages::give_back_tail(*result, alignment, size) };
        }
        failure
    }
    allocator_function!("aligned_alloc", aligned_alloc, real_aligned_alloc(alignment: usize, size: usize) -> Pointer, size);
    wrap!("_Znwm" => new, fn real_new(size: usize) -> Pointer);
    unsafe extern "C" fn new(size: usize) -> Pointer {
        crate::large_blocks::judge(size);
        taking(size);
        let _section = section();
        // SAFETY: the caller's own call of the allocator, passed on.
        let block = unsafe { real_new(size) };
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the allocator has just made the block.
        unsafe {
            crate::empty_pages::note_block(block, size);
        }
        block
    }
    allocator_function!("_Znam", new_array, real_new_array(size: usize) -> Pointer, size; taking(size));
    allocator_function!("_ZnwmRKSt9nothrow_t", new_nothrow, real_new_nothrow(size: usize, tag: Pointer) -> Pointer, size; taking(size));
    allocator_function!(
        "_ZnamRKSt9nothrow_t",
        new_array_nothrow,
        real_new_array_nothrow(size: usize, tag: Pointer) -> Pointer,
        size;
        taking(size)
    );
    allocator_function!("_ZnwmSt11align_val_t", new_aligned, real_new_aligned(size: usize, alignment: usize) -> Pointer, size; taking(size));
    allocator_function!(
        "_ZnamSt11align_val_t",
        new_array_aligned,
        real_new_array_aligned(size: usize, alignment: usize) -> Pointer
    );
    allocator_function!("_ZdlPv", delete, real_delete(block: Pointer); giving_back(block));
    allocator_function!("_ZdaPv", delete_array, real_delete_array(block: Pointer); giving_back(block));
    allocator_function!("_ZdlPvm", delete_sized, real_delete_sized(block: Pointer, size: usize); giving_back(block));
    allocator_function!("_ZdaPvm", delete_array_sized, real_delete_array_sized(block: Pointer, size: usize); giving_back(block));
    allocator_function!(
        "_ZdlPvmSt11align_val_t",
        delete_sized_aligned,
        real_delete_sized_aligned(block: Pointer, size: usize, alignment: usize);
        giving_back(block)
    );
    allocator_function!(
        "_ZdaPvSt11align_val_t",
        delete_array_aligned,
        real_delete_array_aligned(block: Pointer, alignment: usize);
        giving_back(block)
    );
}
