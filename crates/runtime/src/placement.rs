//! Which processor a thread is woken on.
//!
//! In a virtual machine Linux takes a processor that its hypervisor has put to sleep for a busy one, so it wakes a thread
//! behind the one that wakes it, although the next processor has nothing to do. A thread that is woken early, so that it
//! works while the other one goes on, is placed by hand.

#[cfg(target_os = "linux")]
pub use linux::{Entered, Placement};
#[cfg(not(target_os = "linux"))]
pub use other::{Entered, Placement};

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// A thread that others may wake elsewhere.
    #[derive(Default)]
    pub struct Placement(Mutex<State>);

    #[derive(Default)]
    struct State {
        /// The kernel's id of the thread, while it lives.
        thread: Option<Pid>,
        /// The processors that the thread may use, when it may not use them all just now.
        own: Option<CpuSet>,
    }

    /// The time in which a thread can be placed.
    pub struct Entered(Arc<Placement>);

    impl Placement {
        fn state(&self) -> MutexGuard<'_, State> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Makes the calling thread the one that is placed.
        pub fn enter(self: &Arc<Self>) -> Entered {
            self.state().thread = Some(gettid());
            Entered(self.clone())
        }

        /// Has the thread woken on another processor than the caller's, if it may use one. It calls [`Self::settle`].
        /// A refusal, as a sandbox of the host's may have it, changes nothing.
        pub fn keep_away(&self) {
            let mut state = self.state();
            // The id is the thread's while the lock is held: it takes it back under the lock.
            let Some(thread) = state.thread.filter(|_| state.own.is_none()) else {
                return;
            };
            let Ok(own) = sched_getaffinity(Some(thread)) else {
                return;
            };
            let here = sched_getcpu();
            if here >= CpuSet::MAX_CPU {
                return;
            }
            let mut others = own;
            others.unset(here);
            if others.count() > 0 && sched_setaffinity(Some(thread), &others).is_ok() {
                state.own = Some(own);
            }
        }

        /// Lets a thread that has not begun yet take any of its processors: another one is free now, or will be first.
        pub fn release(&self) {
            let mut state = self.state();
            if let (Some(thread), Some(own)) = (state.thread, state.own.take()) {
                let _ = sched_setaffinity(Some(thread), &own);
            }
        }

        /// Gives the calling thread, which is the one that is placed, all its processors back.
        pub fn settle(&self) {
            if let Some(own) = self.state().own.take() {
                let _ = sched_setaffinity(None, &own);
            }
        }
    }

    impl Drop for Entered {
        fn drop(&mut self) {
            self.0.state().thread = None;
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::mpsc::channel;

        use super::*;

        #[test]
        fn a_thread_is_kept_away_until_it_settles() {
            let placement = Arc::<Placement>::default();
            let own = placement.clone();
            let (sender, received) = channel();
            let (go, gone) = channel::<()>();
            let thread = std::thread::spawn(move || {
                let _entered = own.enter();
                sender.send(gettid()).unwrap();
                gone.recv().unwrap();
                own.settle();
                sched_getaffinity(None).unwrap().count()
            });
            let id = received.recv().unwrap();
            let all = sched_getaffinity(Some(id)).unwrap().count();
            placement.keep_away();
            let kept = sched_getaffinity(Some(id)).unwrap().count();
            assert_eq!(kept, if all > 1 { all - 1 } else { all });
            placement.release();
            assert_eq!(sched_getaffinity(Some(id)).unwrap().count(), all);
            placement.keep_away();
            go.send(()).unwrap();
            assert_eq!(thread.join().unwrap(), all);
            // Its id may be another thread's by now.
            assert!(placement.state().thread.is_none());
        }
    }
}

/// Other systems choose well, or do not let a thread choose for another.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::sync::Arc;

    /// See the module's text.
    #[derive(Default)]
    pub struct Placement;

    /// See the module's text.
    pub struct Entered;

    impl Placement {
        /// Nothing to note.
        pub fn enter(self: &Arc<Self>) -> Entered {
            Entered
        }

        /// Nothing to do.
        pub fn keep_away(&self) {}

        /// Nothing to undo.
        pub fn release(&self) {}

        /// Nothing to undo.
        pub fn settle(&self) {}
    }
}
