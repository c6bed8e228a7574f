//! A socket that listens: connections wait in its backlog until they are accepted.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::net::address::SocketName;
use crate::net::stream::StreamEnd;
use crate::net::wakes::Wakes;
use crate::pipe::Wake;

/// The longest backlog, as `net.core.somaxconn` has it on Linux.
pub(crate) const MAX_BACKLOG: usize = 4096;

/// A connection that waits to be accepted: the end of the listening side.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub end: StreamEnd,
    pub local: SocketName,
    pub peer: SocketName,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Incoming>,
    backlog: usize,
    closed: bool,
    on_readable: Wakes,
    on_room: Wakes,
}

#[derive(Default)]
pub(crate) struct Listener(Mutex<State>);

impl Listener {
    pub fn new(backlog: usize) -> Listener {
        let listener = Listener::default();
        listener.set_backlog(backlog);
        listener
    }

    pub fn set_backlog(&self, backlog: usize) {
        self.0.lock().backlog = backlog.clamp(1, MAX_BACKLOG);
    }

    /// Whether one more connection may wait. `ECONNREFUSED` once it is closed, `EAGAIN` while the backlog is full.
    pub fn has_room(&self) -> Result<()> {
        let state = self.0.lock();
        if state.closed {
            Err(Errno::ECONNREFUSED)
        } else if state.waiting.len() > state.backlog {
            // Linux lets one more wait than was asked for.
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        }
    }

    /// Adds a connection; one that finds no room is dropped, and so closed.
    pub fn offer(&self, incoming: Incoming) -> Result<()> {
        let refused = {
            let mut state = self.0.lock();
            if state.closed {
                Err((Errno::ECONNREFUSED, incoming))
            } else if state.waiting.len() > state.backlog {
                Err((Errno::EAGAIN, incoming))
            } else {
                state.waiting.push_back(incoming);
                Ok(state.on_readable.take())
            }
        };
        match refused {
            Ok(wakes) => {
                wakes.call();
                Ok(())
            }
            Err((errno, incoming)) => {
                drop(incoming);
                Err(errno)
            }
        }
    }

    /// The connection that has waited longest.
    pub fn accept(&self) -> Result<Incoming> {
        let (incoming, wakes) = {
            let mut state = self.0.lock();
            let incoming = state.waiting.pop_front().ok_or(Errno::EAGAIN)?;
            (incoming, state.on_room.take())
        };
        wakes.call();
        Ok(incoming)
    }

    /// Puts back a connection that could not be given a descriptor.
    pub fn put_back(&self, incoming: Incoming) {
        self.0.lock().waiting.push_front(incoming);
    }

    pub fn on_readable(&self, wake: Wake) {
        let mut state = self.0.lock();
        if state.closed || !state.waiting.is_empty() {
            drop(state);
            wake();
        } else {
            state.on_readable.push(wake);
        }
    }

    pub fn on_room(&self, wake: Wake) {
        let mut state = self.0.lock();
        if state.closed || state.waiting.len() <= state.backlog {
            drop(state);
            wake();
        } else {
            state.on_room.push(wake);
        }
    }

    /// Refuses whoever comes from now on and resets whoever waits.
    pub fn close(&self) {
        let (waiting, readable, room) = {
            let mut state = self.0.lock();
            state.closed = true;
            (
                std::mem::take(&mut state.waiting),
                state.on_readable.take(),
                state.on_room.take(),
            )
        };
        for incoming in waiting {
            incoming.end.reset();
        }
        readable.call();
        room.call();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}
