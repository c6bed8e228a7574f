//! The flag words of the file system calls, with Linux's values.

use crate::errno::{Errno, Result};

/// Flags of `open`, as `fs.constants` names them.
pub mod oflag {
    #![allow(missing_docs, reason = "the names of fcntl.h")]
    pub const O_RDONLY: i32 = 0;
    pub const O_WRONLY: i32 = 1;
    pub const O_RDWR: i32 = 2;
    pub const O_CREAT: i32 = 0o100;
    pub const O_EXCL: i32 = 0o200;
    pub const O_NOCTTY: i32 = 0o400;
    pub const O_TRUNC: i32 = 0o1000;
    pub const O_APPEND: i32 = 0o2000;
    pub const O_NONBLOCK: i32 = 0o4000;
    pub const O_DSYNC: i32 = 0o10000;
    pub const O_DIRECT: i32 = 0o40000;
    pub const O_DIRECTORY: i32 = 0o200_000;
    pub const O_NOFOLLOW: i32 = 0o400_000;
    pub const O_NOATIME: i32 = 0o1_000_000;
    pub const O_CLOEXEC: i32 = 0o2_000_000;
    pub const O_SYNC: i32 = 0o4_010_000;
    pub const O_PATH: i32 = 0o10_000_000;
    pub const O_TMPFILE: i32 = 0o20_000_000 | O_DIRECTORY;
    pub(crate) const ACCESS_MASK: i32 = 3;
    pub(crate) const TMPFILE_BIT: i32 = 0o20_000_000;
}

/// `access`: the file exists.
pub const F_OK: i32 = 0;
/// `access`: it may be executed or searched.
pub const X_OK: i32 = 1;
/// `access`: it may be written.
pub const W_OK: i32 = 2;
/// `access`: it may be read.
pub const R_OK: i32 = 4;

/// `copy_file`: fail when the destination exists.
pub const COPYFILE_EXCL: i32 = 1;
/// `copy_file`: share blocks if possible; always a plain copy here.
pub const COPYFILE_FICLONE: i32 = 2;
/// `copy_file`: share blocks or fail; always `ENOTSUP` here.
pub const COPYFILE_FICLONE_FORCE: i32 = 4;

/// What a path operation does with a symbolic link in the last place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go through it (`stat`).
    Final,
    /// Stop at it, unless the path ends in a slash (`lstat`).
    Link,
    /// Stop at it always: the call works on the entry itself (`unlink`, `mkdir`, `rename`).
    Entry,
}

/// Flags of `open`, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFlags {
    pub raw: i32,
    pub read: bool,
    pub write: bool,
}

impl OpenFlags {
    pub const READ_ONLY: OpenFlags = OpenFlags {
        raw: oflag::O_RDONLY,
        read: true,
        write: false,
    };
    pub const WRITE_ONLY: OpenFlags = OpenFlags {
        raw: oflag::O_WRONLY,
        read: false,
        write: true,
    };
    pub const READ_WRITE: OpenFlags = OpenFlags {
        raw: oflag::O_RDWR,
        read: true,
        write: true,
    };

    pub fn parse(raw: i32) -> Result<OpenFlags> {
        let (read, write) = match raw & oflag::ACCESS_MASK {
            oflag::O_RDONLY => (true, false),
            oflag::O_WRONLY => (false, true),
            oflag::O_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let flags = OpenFlags { raw, read, write };
        if raw & oflag::TMPFILE_BIT != 0 {
            return Err(Errno::ENOTSUP);
        }
        if flags.has(oflag::O_CREAT) && flags.has(oflag::O_DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        if flags.has(oflag::O_PATH) {
            return Err(Errno::EINVAL);
        }
        Ok(flags)
    }

    pub fn has(self, flag: i32) -> bool {
        self.raw & flag == flag
    }

    pub fn follow(self) -> Follow {
        if self.has(oflag::O_NOFOLLOW) || self.has(oflag::O_CREAT | oflag::O_EXCL) {
            Follow::Link
        } else {
            Follow::Final
        }
    }
}
