//! An open regular file of the host.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT};
use secure_exec_kernel::{Caller, Errno, MountedFile, Result, Stat, TimeSpec};

use crate::budget::Budget;
use crate::errno;
use crate::stat::of_fd;

/// The last offset that the host's calls take.
const OFFSET_MAX: u64 = i64::MAX as u64;

pub(crate) struct HostFile {
    pub fd: OwnedFd,
    pub append: bool,
    pub budget: Arc<Budget>,
}

/// Times for the host's call; `None` leaves one as it is.
pub(crate) fn timestamps(access: Option<TimeSpec>, modify: Option<TimeSpec>) -> Timestamps {
    let time = |time: Option<TimeSpec>| match time {
        Some(time) => Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanos.min(999_999_999).into(),
        },
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
    };
    Timestamps {
        last_access: time(access),
        last_modification: time(modify),
    }
}

/// The permission bits that a guest may give to a file of the host: none that change who runs it.
pub(crate) fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate((mode & 0o777) as rustix::fs::RawMode)
}

/// As the guest's user, who owns all files, a file keeps its owner; no other can be given.
pub(crate) fn chown(caller: &Caller<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let keeps = uid.is_none_or(|uid| uid == caller.uid) && gid.is_none_or(|gid| gid == caller.gid);
    if keeps { Ok(()) } else { Err(Errno::EPERM) }
}

impl HostFile {
    pub fn resize(&self, len: u64) -> Result<()> {
        if len > OFFSET_MAX {
            return Err(Errno::EFBIG);
        }
        let size = of_fd(&self.fd)?.stat.size;
        self.budget.take_bytes(len.saturating_sub(size))?;
        rustix::fs::ftruncate(&self.fd, len).map_err(errno)
    }
}

impl MountedFile for HostFile {
    fn read_at(&self, _: &Caller<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
        if offset > OFFSET_MAX {
            return Err(Errno::EINVAL);
        }
        loop {
            match rustix::io::pread(&self.fd, &mut *buf, offset) {
                Err(rustix::io::Errno::INTR) => {}
                answer => return answer.map_err(errno),
            }
        }
    }

    fn write_at(&self, _: &Caller<'_>, data: &[u8], offset: u64) -> Result<(usize, u64)> {
        if offset > OFFSET_MAX {
            return Err(Errno::EFBIG);
        }
        let size = of_fd(&self.fd)?.stat.size;
        // A hole is charged as if it were written: the host's disk may have to hold it one day.
        let hole = if self.append {
            0
        } else {
            offset.saturating_sub(size)
        };
        self.budget.take_bytes(hole)?;
        let some = self.budget.take_some_bytes(data.len())?;
        let data = data.get(..some).unwrap_or(data);
        let written = loop {
            match rustix::io::pwrite(&self.fd, data, offset) {
                Err(rustix::io::Errno::INTR) => {}
                answer => break answer.map_err(errno),
            }
        };
        self.budget
            .give_back_bytes(some - written.unwrap_or(0).min(some));
        let written = written?;
        let end = if self.append {
            of_fd(&self.fd)?.stat.size
        } else {
            offset.saturating_add(written as u64)
        };
        Ok((written, end))
    }

    fn stat(&self, _: &Caller<'_>) -> Result<Stat> {
        Ok(of_fd(&self.fd)?.stat)
    }

    fn truncate(&self, _: &Caller<'_>, len: u64) -> Result<()> {
        self.resize(len)
    }

    fn sync(&self, _: &Caller<'_>) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(errno)
    }

    fn chmod(&self, _: &Caller<'_>, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.fd, permissions(mode)).map_err(errno)
    }

    fn chown(&self, caller: &Caller<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        chown(caller, uid, gid)
    }

    fn utimes(
        &self,
        _: &Caller<'_>,
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        rustix::fs::futimens(&self.fd, &timestamps(access, modify)).map_err(errno)
    }
}
