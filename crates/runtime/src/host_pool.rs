//! Threads for work of the host that may wait: for its disk, or for its own JavaScript. Never Node's thread pool, which
//! the JavaScript that is waited for may need itself.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Threads at most; more work waits.
const MAX_THREADS: usize = 16;
/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 1 << 20;

type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    threads: usize,
    idle: usize,
}

static STATE: Mutex<State> = Mutex::new(State {
    tasks: VecDeque::new(),
    threads: 0,
    idle: 0,
});
static CHANGED: Condvar = Condvar::new();

/// Runs `task` soon. Where no thread can be started, on this one.
pub fn run(task: impl FnOnce() + Send + 'static) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.tasks.push_back(Box::new(task));
    if state.idle >= state.tasks.len() || state.threads >= MAX_THREADS {
        CHANGED.notify_one();
        return;
    }
    state.threads += 1;
    drop(state);
    let thread = std::thread::Builder::new()
        .name("secure-exec files".to_owned())
        .stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "no thread for the host's files");
        let task = {
            let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
            state.threads -= 1;
            // Others will come to it.
            if state.threads > 0 {
                return;
            }
            state.tasks.pop_front()
        };
        if let Some(task) = task {
            task();
        }
    }
}

fn work() {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(task) = state.tasks.pop_front() {
            drop(state);
            // A task answers by being dropped, too: its panic is not this thread's end.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
            state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        state.idle += 1;
        let (after, waited) = CHANGED
            .wait_timeout(state, IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        state = after;
        state.idle -= 1;
        if waited.timed_out() && state.tasks.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    #[test]
    fn all_work_is_done_and_a_panic_takes_nothing_with_it() {
        let (sender, done) = channel();
        for number in 0..100 {
            let sender = sender.clone();
            super::run(move || {
                assert_ne!(number, 50, "on purpose");
                let _ = sender.send(number);
            });
        }
        drop(sender);
        let mut all: Vec<i32> = done.iter().collect();
        all.sort_unstable();
        assert_eq!(all.len(), 99);
        assert!(!all.contains(&50));
    }
}
