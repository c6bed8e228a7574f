//! How much a guest may do to the host's disk through one directory.

use std::sync::atomic::{AtomicU64, Ordering};

use secure_exec_kernel::{Errno, Result, StatFs};

const BLOCK: u64 = 4096;

/// What a guest may write through one [`HostDirectory`](crate::HostDirectory) in its life. Removing pays nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Bytes written or added by extending files.
    pub bytes: u64,
    /// Files, directories and links made.
    pub entries: u64,
}

impl Default for HostLimits {
    /// 16 GiB and a million entries: room for a large build, not for a disk.
    fn default() -> HostLimits {
        HostLimits {
            bytes: 16 << 30,
            entries: 1 << 20,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Budget {
    limits: HostLimits,
    bytes: AtomicU64,
    entries: AtomicU64,
}

fn take(from: &AtomicU64, wanted: u64) -> Result<()> {
    from.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
        left.checked_sub(wanted)
    })
    .map(drop)
    .map_err(|_| Errno::ENOSPC)
}

impl Budget {
    pub fn new(limits: HostLimits) -> Budget {
        Budget {
            limits,
            bytes: AtomicU64::new(limits.bytes),
            entries: AtomicU64::new(limits.entries),
        }
    }

    pub fn take_bytes(&self, wanted: u64) -> Result<()> {
        take(&self.bytes, wanted)
    }

    /// As many of the wanted bytes as are left; `ENOSPC` when that is nothing.
    pub fn take_some_bytes(&self, wanted: usize) -> Result<usize> {
        let some = u64::try_from(wanted)
            .unwrap_or(u64::MAX)
            .min(self.bytes.load(Ordering::Acquire));
        if some == 0 && wanted > 0 {
            return Err(Errno::ENOSPC);
        }
        self.take_bytes(some)?;
        Ok(usize::try_from(some).unwrap_or(wanted))
    }

    pub fn give_back_bytes(&self, unused: usize) {
        self.bytes.fetch_add(unused as u64, Ordering::AcqRel);
    }

    /// Makes an entry, if one more may be made.
    pub fn making<T>(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        take(&self.entries, 1)?;
        let made = make();
        if made.is_err() {
            self.entries.fetch_add(1, Ordering::AcqRel);
        }
        made
    }

    /// The budget, as if it were a disk: the host's own says more than a guest should know.
    pub fn statfs(&self) -> StatFs {
        let left = self.bytes.load(Ordering::Acquire) / BLOCK;
        StatFs {
            fs_type: 0xEF53,
            bsize: BLOCK,
            blocks: self.limits.bytes / BLOCK,
            bfree: left,
            bavail: left,
            files: self.limits.entries,
            ffree: self.entries.load(Ordering::Acquire),
        }
    }
}
