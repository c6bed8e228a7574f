//! Descriptors that go over local sockets (`SCM_RIGHTS`), from their write until they are read.
//!
//! What is on its way is held by one table of the VM, not by the connection that carries it: connections that carry each
//! other would never be dropped. The table is emptied with the VM. Each counts as a socket on the account.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::file::OpenFile;
use crate::net::account::{Account, Counted, Slot};
use crate::quota::LimitError;

#[derive(Debug, Default)]
struct Files {
    next: u64,
    files: HashMap<u64, Arc<OpenFile>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Files>);

impl Table {
    /// Closes all that is on its way.
    pub fn clear(&self) {
        let files = std::mem::take(&mut self.0.lock().files);
        drop(files);
    }
}

/// One descriptor on its way; closed if it never arrives.
#[derive(Debug)]
pub(crate) struct InFlight {
    id: u64,
    slot: Slot,
}

impl InFlight {
    pub fn new(account: &Arc<Account>, file: Arc<OpenFile>) -> Result<InFlight, LimitError> {
        let slot = account.take(Counted::Socket)?;
        let mut table = account.in_flight().0.lock();
        let id = table.next;
        table.next += 1;
        table.files.insert(id, file);
        drop(table);
        Ok(InFlight { id, slot })
    }

    /// It has arrived; `None` when the VM has ended meanwhile.
    pub fn arrive(self) -> Option<Arc<OpenFile>> {
        self.remove()
    }

    fn remove(&self) -> Option<Arc<OpenFile>> {
        let mut table = self.slot.account().in_flight().0.lock();
        table.files.remove(&self.id)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let file = self.remove();
        drop(file);
    }
}
