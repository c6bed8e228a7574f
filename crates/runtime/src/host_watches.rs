//! What the host's JavaScript watches in a VM's tree, and what it tells of its own file systems.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use secure_exec_kernel::{Watch, WatchEvent, WatchSink};

/// Watches of the host, by the number that the host gave them.
#[derive(Default)]
pub struct HostWatches(Mutex<HashMap<u32, Watch>>);

impl HostWatches {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a watch until it is removed.
    pub fn add(&self, number: u32, watch: Watch) {
        let old = self.lock().insert(number, watch);
        drop(old);
    }

    /// Ends a watch. Idempotent.
    pub fn remove(&self, number: u32) {
        let watch = self.lock().remove(&number);
        // Not under the lock: a file system of the host's may be asked.
        drop(watch);
    }

    /// Ends all of them.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }
}

/// Who hears of what happens in file systems of the host's JavaScript.
#[derive(Default)]
pub struct Listeners(Mutex<State>);

#[derive(Default)]
struct State {
    next: u32,
    sinks: HashMap<u32, Arc<dyn WatchSink>>,
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a listener; its number.
    pub fn add(&self, sink: Arc<dyn WatchSink>) -> u32 {
        let mut state = self.lock();
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        state.sinks.insert(number, sink);
        number
    }

    /// Removes a listener.
    pub fn remove(&self, number: u32) {
        let sink = self.lock().sinks.remove(&number);
        drop(sink);
    }

    /// Passes an event on. One that nobody listens to any more is lost.
    pub fn tell(&self, number: u32, event: WatchEvent) {
        let sink = self.lock().sinks.get(&number).cloned();
        if let Some(sink) = sink {
            sink.event(event);
        }
    }
}

/// A listener until it is dropped.
pub struct Listening {
    /// Where it is.
    pub listeners: Weak<Listeners>,
    /// Its number.
    pub number: u32,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(listeners) = self.listeners.upgrade() {
            listeners.remove(self.number);
        }
    }
}
