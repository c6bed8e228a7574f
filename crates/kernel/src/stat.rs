//! What the kernel tells about a file and about the file system.

use std::sync::Arc;

use crate::clock::TimeSpec;

/// The type bits of a mode.
pub const S_IFMT: u32 = 0o170_000;

/// Type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// A path.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileType {
    /// The type bits of `st_mode`.
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            FileType::Regular => 0o100_000,
            FileType::Directory => 0o040_000,
            FileType::Symlink => 0o120_000,
            FileType::CharDevice => 0o020_000,
            FileType::BlockDevice => 0o060_000,
            FileType::Fifo => 0o010_000,
            FileType::Socket => 0o140_000,
        }
    }

    /// The number that libuv, and so `fs.Dirent`, gives the type (`UV_DIRENT_*`).
    #[must_use]
    pub const fn dirent_number(self) -> i32 {
        match self {
            FileType::Regular => 1,
            FileType::Directory => 2,
            FileType::Symlink => 3,
            FileType::Fifo => 4,
            FileType::Socket => 5,
            FileType::CharDevice => 6,
            FileType::BlockDevice => 7,
        }
    }
}

/// The answer of `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of struct stat")]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
    pub blocks: u64,
    pub atime: TimeSpec,
    pub mtime: TimeSpec,
    pub ctime: TimeSpec,
    pub birthtime: TimeSpec,
    pub file_type: FileType,
}

impl Stat {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file_type == FileType::Regular
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.file_type == FileType::Symlink
    }

    /// The permission bits with set-id and sticky.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// The answer of `statfs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of struct statfs")]
pub struct StatFs {
    pub fs_type: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
}

impl StatFs {
    /// Of a file system that does not say: no room, and nothing used.
    pub(crate) const UNKNOWN: StatFs = StatFs {
        fs_type: 0,
        bsize: 4096,
        blocks: 0,
        bfree: 0,
        bavail: 0,
        files: 0,
        ffree: 0,
    };
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Arc<[u8]>,
    /// Its type.
    pub file_type: FileType,
}

/// The answer of `module_stat`, in the terms of Node's module loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleStat {
    /// Anything but a directory.
    File,
    /// A directory.
    Directory,
    /// Nothing that can be reached.
    Missing,
}

impl ModuleStat {
    /// The number that `internalModuleStat` returns.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            ModuleStat::File => 0,
            ModuleStat::Directory => 1,
            ModuleStat::Missing => -2,
        }
    }
}
