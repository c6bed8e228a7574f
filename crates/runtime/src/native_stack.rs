//! What is left of a thread's native stack, for C++ code that recurses without looking.
//!
//! V8's optimising compilers follow some chains of a guest's objects by recursion, on V8's own threads (a bound function
//! of a bound function, as the right side of `instanceof`). Where they pass a function that may decline, it declines when
//! the stack is short; where they only take memory, their guest ends there.

use std::cell::Cell;

/// With less than this left, a guest's thread should go no deeper.
const SHORT: usize = 1 << 20;
/// Threads of V8's begin their work on an empty stack; with more than this used they should go no deeper. What comes
/// later may recurse as deep once more.
const DEEP: usize = 256 << 10;
/// With less than this left, code that takes memory does not know how deep it is.
const OUT: usize = SHORT / 2;

/// Lowest address of a stack, and the one above its highest.
#[derive(Clone, Copy)]
struct Bounds {
    lowest: usize,
    end: usize,
}

/// Of a thread of which the system tells nothing.
const UNKNOWN: Bounds = Bounds {
    lowest: 0,
    end: usize::MAX,
};

thread_local! {
    static BOUNDS: Cell<Option<Bounds>> = const { Cell::new(None) };
}

/// Whether functions that recurse should decline to. `false` on stacks that are not the thread's own.
pub(crate) fn is_short() -> bool {
    let (left, used) = left_and_used();
    if crate::fatal::is_guest_thread() {
        left < SHORT
    } else {
        used > DEEP
    }
}

/// Whether this thread is about to run off its stack.
pub(crate) fn is_out() -> bool {
    left_and_used().0 < OUT
}

/// Lowest address of this thread's stack, if it has been looked for. May be called by a signal handler.
pub(crate) fn known_lowest() -> Option<usize> {
    let lowest = BOUNDS.get()?.lowest;
    (lowest != UNKNOWN.lowest).then_some(lowest)
}

/// Bytes of this thread's stack below the caller and above it.
fn left_and_used() -> (usize, usize) {
    let here = 0_u8;
    let here = (&raw const here).addr();
    let bounds = BOUNDS.get().unwrap_or_else(|| {
        let bounds = bounds().unwrap_or(UNKNOWN);
        BOUNDS.set(Some(bounds));
        bounds
    });
    if bounds.lowest == 0 || here < bounds.lowest || here >= bounds.end {
        return (usize::MAX, 0);
    }
    (here - bounds.lowest, bounds.end - here)
}

#[cfg(target_os = "linux")]
fn bounds() -> Option<Bounds> {
    let _section = crate::critical::section();
    // SAFETY: all zeros are a valid value of this plain type, which the next call fills.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: the calling thread exists; the attributes are a local, initialised by this call alone.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) } != 0 {
        return None;
    }
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialised; the results go into locals.
    let told = unsafe {
        let told =
            libc::pthread_attr_getstack(&raw const attributes, &raw mut lowest, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
        told
    };
    let lowest = lowest as usize;
    (told == 0).then_some(Bounds {
        lowest,
        end: lowest.saturating_add(size),
    })
}

#[cfg(not(target_os = "linux"))]
fn bounds() -> Option<Bounds> {
    None
}

/// `PropertyAccessInfo` comes back in memory whose address is the first argument only on this architecture.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod wrapped {
    use std::ffi::{c_int, c_void};
    use std::ptr;

    use crate::link_wrap::wrap;

    type Pointer = *mut c_void;

    unsafe extern "C" {
        /// `v8::internal::compiler::PropertyAccessInfo::Invalid(Zone*)`: the zone is noted for elements that are never added.
        #[link_name = "_ZN2v88internal8compiler18PropertyAccessInfo7InvalidEPNS0_4ZoneE"]
        fn invalid_access_info(result: Pointer, zone: Pointer) -> Pointer;
    }

    wrap!(
        "_ZN2v88internal8compiler12JSHeapBroker21GetPropertyAccessInfoENS1_6MapRefENS1_7NameRefENS1_10AccessModeENS1_11OptionalRefINS1_9ObjectRefEEE" =>
        property_access_info,
        fn real_property_access_info(result: Pointer, broker: Pointer, map: Pointer, name: Pointer, mode: c_int, object: Pointer) -> Pointer
    );

    // How a compiler asks where a property is: `instanceof` does so once for each bound function. "Nobody knows" is an
    // answer that it must expect; it then emits a call.
    unsafe extern "C" fn property_access_info(
        result: Pointer,
        broker: Pointer,
        map: Pointer,
        name: Pointer,
        mode: c_int,
        object: Pointer,
    ) -> Pointer {
        if super::is_short() {
            // SAFETY: `result` is memory for the value, which is made without looking at the zone.
            return unsafe { invalid_access_info(result, ptr::null_mut()) };
        }
        // SAFETY: V8's own call, passed on.
        unsafe { real_property_access_info(result, broker, map, name, mode, object) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Goes down a new stack, which may be a larger one that was used before, until `stops` says so. Answers what is left
    /// and what is used then.
    fn descend_until(stops: fn() -> bool) -> (usize, usize) {
        #[inline(never)]
        fn descend(stops: fn() -> bool) -> (usize, usize) {
            let block = std::hint::black_box([0_u8; 1024]);
            if stops() || left_and_used().0 < OUT / 2 {
                return left_and_used();
            }
            let found = descend(stops);
            std::hint::black_box(&block);
            found
        }
        let thread = std::thread::Builder::new().stack_size(4 << 20);
        thread
            .spawn(move || descend(stops))
            .unwrap()
            .join()
            .unwrap()
    }

    #[test]
    fn a_stack_is_short_long_before_it_is_out() {
        const STEP: usize = 16 << 10;
        let (_, used) = descend_until(is_short);
        assert!((DEEP..DEEP + STEP).contains(&used), "{used}");
        let (left, _) = descend_until(is_out);
        assert!((OUT - STEP..OUT).contains(&left), "{left}");
    }

    #[test]
    fn the_guard_page_lies_below() {
        assert_eq!(known_lowest(), None);
        assert!(!is_out());
        let here = 0_u8;
        assert!(known_lowest().unwrap() < (&raw const here).addr());
    }
}
