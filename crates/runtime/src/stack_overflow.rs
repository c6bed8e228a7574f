//! The last rung for C++ code that recurses off its stack: its guest ends, its thread is parked, the host goes on.
//!
//! V8's compilers follow what a guest wrote by recursion in places, without looking at the stack. The guard page below it
//! stops them. The handler here takes only such faults, on threads that run guests or work for V8, and only where no lock
//! is held; every other fault goes to whoever handled the signal before.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;

/// So far below a stack a fault is taken for its overflow: a function's variables may be larger than the guard page.
const GUARD_BYTES: usize = 64 << 10;

static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler. Called once, when V8 is initialised.
pub(crate) fn install() {
    // SAFETY: reads a disposition into a local, for which zeros are valid.
    let previous = unsafe {
        let mut previous: libc::sigaction = mem::zeroed();
        if libc::sigaction(libc::SIGSEGV, ptr::null(), &raw mut previous) != 0 {
            return;
        }
        previous
    };
    if PREVIOUS.set(previous).is_err() {
        return;
    }
    // SAFETY: zeros are valid; the handler keeps to what a handler of a synchronous fault may do.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags =
            libc::SA_SIGINFO | libc::SA_ONSTACK | (previous.sa_flags & libc::SA_NODEFER);
        action.sa_mask = previous.sa_mask;
        libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut());
    }
}

/// Lets the handler be called on this thread, which one in a handler has started: it inherited that one's mask.
pub(crate) fn unblock() {
    // SAFETY: fills and reads a local, for which zeros are valid.
    unsafe {
        let mut signals: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGSEGV);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, ptr::null_mut());
    }
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes valid information to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    let below = crate::native_stack::known_lowest().and_then(|lowest| lowest.checked_sub(address));
    if below.is_some_and(|below| below <= GUARD_BYTES) {
        // Returns when nothing can be done.
        crate::fatal::out_of_stack();
    }
    let previous = PREVIOUS.get();
    match previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction) {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: sets the default disposition; the instruction faults again when this returns.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        handler if previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0) => {
            // SAFETY: the flag says that the handler has this signature.
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                unsafe { mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag the handler has this signature.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use crate::latch::End;

    #[allow(unconditional_recursion, reason = "that is what is tested")]
    #[inline(never)]
    fn descend(depth: usize) -> usize {
        let block = std::hint::black_box([depth; 64]);
        std::hint::black_box(descend(depth + 1)) + block[0]
    }

    #[test]
    fn a_guest_that_runs_off_its_stack_is_parked() {
        if !crate::link_wrap::is_linked() {
            return;
        }
        let (sender, parked) = channel();
        let run = move || {
            let _guest = crate::fatal::enter_guest_thread(Box::new(move |end| {
                let _ = sender.send(end);
            }));
            assert!(!crate::native_stack::is_out());
            descend(0);
        };
        crate::engine::spawn("guest".to_owned(), 1 << 20, run).unwrap();
        let end = parked.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(matches!(end, End::Memory("native")), "{end:?}");
    }
}
