//! Callbacks that wait for one event.

use crate::pipe::Wake;

/// Mostly there is one; that needs no memory of its own.
#[derive(Default)]
pub(crate) struct Wakes {
    first: Option<Wake>,
    more: Vec<Wake>,
}

impl Wakes {
    pub fn push(&mut self, wake: Wake) {
        match &self.first {
            None => self.first = Some(wake),
            Some(_) => self.more.push(wake),
        }
    }

    pub fn take(&mut self) -> Wakes {
        std::mem::take(self)
    }

    /// Adds those of `other`.
    pub fn extend(&mut self, other: Wakes) {
        for wake in other.first.into_iter().chain(other.more) {
            self.push(wake);
        }
    }

    /// Calls all. No lock may be held.
    pub fn call(self) {
        for wake in self.first.into_iter().chain(self.more) {
            wake();
        }
    }
}
