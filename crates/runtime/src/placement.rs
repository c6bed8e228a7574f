//! Which processor a thread is woken on.
//!
//! A kernel that looks for an idle processor does not always look far: with few of them it may leave a woken thread
//! behind the one that woke it, which still has something to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_os = "linux")]
use linux::Thread;
#[cfg(not(target_os = "linux"))]
use other::Thread;

/// A thread that waits for orders, as those see it who give them.
#[derive(Default)]
pub struct Placement {
    thread: Thread,
    awake: AtomicBool,
}

/// The time in which a thread can be placed.
pub struct Entered(Arc<Placement>);

impl Placement {
    /// Makes the calling thread the one that is placed.
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.thread.enter();
        Entered(self.clone())
    }

    /// Has the thread woken on another processor than the caller's, if it may use one.
    pub fn keep_away(&self) {
        self.thread.keep_away();
    }

    /// Notes that the calling thread, which is the one that is placed, goes to sleep.
    pub fn sleeps(&self) {
        self.awake.store(false, Ordering::Relaxed);
    }

    /// Notes that it is awake, and gives it all its processors back.
    pub fn wakes(&self) {
        self.awake.store(true, Ordering::Relaxed);
        self.thread.settle();
    }

    /// Whether the thread is awake: then it has a processor already.
    pub fn is_awake(&self) -> bool {
        self.awake.load(Ordering::Relaxed)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.thread.leave();
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::{MaybeUninit, size_of};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// See [`super::Placement`].
    #[derive(Default)]
    pub struct Thread(Mutex<State>);

    #[derive(Default)]
    struct State {
        /// The kernel's id of the thread, while it lives.
        id: Option<libc::pid_t>,
        /// The processors that the thread may use, when it may not use them all just now.
        own: Option<libc::cpu_set_t>,
    }

    impl Thread {
        fn state(&self) -> MutexGuard<'_, State> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// The calling thread is the one.
        pub fn enter(&self) {
            // SAFETY: has no arguments.
            self.state().id = Some(unsafe { libc::gettid() });
        }

        /// The thread ends.
        pub fn leave(&self) {
            self.state().id = None;
        }

        /// See [`super::Placement::keep_away`].
        pub fn keep_away(&self) {
            let mut state = self.state();
            let Some(thread) = state.id.filter(|_| state.own.is_none()) else {
                return;
            };
            let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
            // SAFETY: fills the set; the thread lives, since it would have cleared its id under the lock.
            if unsafe {
                libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), set.as_mut_ptr())
            } != 0
            {
                return;
            }
            // SAFETY: all zeros is a set, and the call has filled it.
            let own = unsafe { set.assume_init() };
            let mut others = own;
            // SAFETY: has no arguments.
            let Ok(here) = usize::try_from(unsafe { libc::sched_getcpu() }) else {
                return;
            };
            if here >= 8 * size_of::<libc::cpu_set_t>() {
                return;
            }
            // SAFETY: both work on the set alone, and the processor is one that it has a bit for.
            let is_alone = unsafe {
                libc::CPU_CLR(here, &mut others);
                libc::CPU_COUNT(&others) == 0
            };
            // SAFETY: reads the set; the thread lives, as above.
            if !is_alone
                && unsafe {
                    libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const others)
                } == 0
            {
                state.own = Some(own);
            }
        }

        /// Gives the calling thread all its processors back.
        pub fn settle(&self) {
            if let Some(own) = self.state().own.take() {
                // SAFETY: reads the set; 0 is the calling thread.
                unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const own) };
            }
        }
    }
}

/// Other systems choose well, or do not let a thread choose for another.
#[cfg(not(target_os = "linux"))]
mod other {
    /// See [`super::Placement`].
    #[derive(Default)]
    pub struct Thread;

    impl Thread {
        /// Nothing to note.
        pub fn enter(&self) {}

        /// Nothing to forget.
        pub fn leave(&self) {}

        /// Nothing to do.
        pub fn keep_away(&self) {}

        /// Nothing to undo.
        pub fn settle(&self) {}
    }
}
