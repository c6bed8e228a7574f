//! What one VM's network may hold, and holds.
//!
//! Counted: sockets (whatever their kind), connections (a pair of connected ends counts once), and the bytes that wait
//! in buffers. Sockets and connections over their limit are refused; bytes never are: a connection may always hold
//! [`LEAST_BUFFER`], and beyond that writers wait. Not counted: what the host's own ends keep outside of the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::net::in_flight::Table;
use crate::quota::{Limit, LimitError};

/// Bytes that wait in one direction of a connection while the VM has room.
pub(crate) const BUFFER: usize = 256 << 10;
/// Bytes that one direction may hold whatever the VM's other connections hold.
pub(crate) const LEAST_BUFFER: usize = 4 << 10;

/// Limits of one VM's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// Open sockets; `resourceBudgets.maxSockets`.
    pub max_sockets: u64,
    /// Connections, those that wait to be accepted included; `resourceBudgets.maxConnections`.
    pub max_connections: u64,
    /// Bytes in buffers, above the least that each connection has.
    pub max_buffered_bytes: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        NetLimits {
            max_sockets: 4096,
            max_connections: 4096,
            max_buffered_bytes: 64 << 20,
        }
    }
}

/// The running account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    limits: NetLimits,
    sockets: AtomicU64,
    connections: AtomicU64,
    bytes: AtomicUsize,
    in_flight: Table,
}

/// What a [`Slot`] counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    Socket,
    Connection,
}

/// One socket or connection on the account, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    account: Arc<Account>,
    counted: Counted,
}

impl Account {
    /// Sockets and connections that are open.
    pub fn open(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.sockets), read(&self.connections))
    }

    pub fn new(limits: NetLimits) -> Arc<Account> {
        Arc::new(Account {
            limits,
            ..Account::default()
        })
    }

    fn counter(&self, counted: Counted) -> (&AtomicU64, u64, Limit) {
        match counted {
            Counted::Socket => (&self.sockets, self.limits.max_sockets, Limit::Sockets),
            Counted::Connection => (
                &self.connections,
                self.limits.max_connections,
                Limit::Connections,
            ),
        }
    }

    pub fn take(self: &Arc<Self>, counted: Counted) -> Result<Slot, LimitError> {
        let (counter, max, limit) = self.counter(counted);
        let taken = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            (used < max).then_some(used + 1)
        });
        match taken {
            Ok(_) => Ok(Slot {
                account: self.clone(),
                counted,
            }),
            Err(used) => Err(LimitError::new(limit, max, used)),
        }
    }

    /// Descriptors that sockets carry.
    pub fn in_flight(&self) -> &Table {
        &self.in_flight
    }

    pub fn used(&self) -> (u64, u64, usize) {
        (
            self.sockets.load(Ordering::Relaxed),
            self.connections.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// How much one direction of a connection may hold now.
    pub fn capacity(&self) -> usize {
        if self.bytes.load(Ordering::Relaxed) < self.limits.max_buffered_bytes {
            BUFFER
        } else {
            LEAST_BUFFER
        }
    }

    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Slot {
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.account
            .counter(self.counted)
            .0
            .fetch_sub(1, Ordering::AcqRel);
    }
}
