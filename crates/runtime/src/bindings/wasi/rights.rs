//! What may be done with a descriptor: the rights of WASI, and which a file gets for its type.

use secure_exec_kernel::{FileType, HandleKind};

pub const FD_DATASYNC: u64 = 1 << 0;
pub const FD_READ: u64 = 1 << 1;
pub const FD_SEEK: u64 = 1 << 2;
pub const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
pub const FD_SYNC: u64 = 1 << 4;
pub const FD_TELL: u64 = 1 << 5;
pub const FD_WRITE: u64 = 1 << 6;
pub const FD_ADVISE: u64 = 1 << 7;
pub const FD_ALLOCATE: u64 = 1 << 8;
pub const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
pub const PATH_CREATE_FILE: u64 = 1 << 10;
pub const PATH_LINK_SOURCE: u64 = 1 << 11;
pub const PATH_LINK_TARGET: u64 = 1 << 12;
pub const PATH_OPEN: u64 = 1 << 13;
pub const FD_READDIR: u64 = 1 << 14;
pub const PATH_READLINK: u64 = 1 << 15;
pub const PATH_RENAME_SOURCE: u64 = 1 << 16;
pub const PATH_RENAME_TARGET: u64 = 1 << 17;
pub const PATH_FILESTAT_GET: u64 = 1 << 18;
pub const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
pub const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
pub const FD_FILESTAT_GET: u64 = 1 << 21;
pub const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
pub const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
pub const PATH_SYMLINK: u64 = 1 << 24;
pub const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
pub const PATH_UNLINK_FILE: u64 = 1 << 26;
pub const POLL_FD_READWRITE: u64 = 1 << 27;
pub const SOCK_SHUTDOWN: u64 = 1 << 28;
pub const SOCK_ACCEPT: u64 = 1 << 29;

const ALL: u64 = (1 << 30) - 1;
const REGULAR: u64 = FD_DATASYNC
    | FD_READ
    | FD_SEEK
    | FD_FDSTAT_SET_FLAGS
    | FD_SYNC
    | FD_TELL
    | FD_WRITE
    | FD_ADVISE
    | FD_ALLOCATE
    | FD_FILESTAT_GET
    | FD_FILESTAT_SET_SIZE
    | FD_FILESTAT_SET_TIMES
    | POLL_FD_READWRITE;
const DIRECTORY: u64 = FD_FDSTAT_SET_FLAGS
    | FD_SYNC
    | FD_ADVISE
    | PATH_CREATE_DIRECTORY
    | PATH_CREATE_FILE
    | PATH_LINK_SOURCE
    | PATH_LINK_TARGET
    | PATH_OPEN
    | FD_READDIR
    | PATH_READLINK
    | PATH_RENAME_SOURCE
    | PATH_RENAME_TARGET
    | PATH_FILESTAT_GET
    | PATH_FILESTAT_SET_SIZE
    | PATH_FILESTAT_SET_TIMES
    | FD_FILESTAT_GET
    | FD_FILESTAT_SET_TIMES
    | PATH_SYMLINK
    | PATH_UNLINK_FILE
    | PATH_REMOVE_DIRECTORY
    | POLL_FD_READWRITE;
const TERMINAL: u64 =
    FD_READ | FD_FDSTAT_SET_FLAGS | FD_WRITE | FD_FILESTAT_GET | POLL_FD_READWRITE;
const SOCKET: u64 = TERMINAL | SOCK_SHUTDOWN | SOCK_ACCEPT;

/// The number that WASI gives a type of file. It has none for pipes, which are sockets to it.
pub fn file_type_number(file_type: FileType, kind: HandleKind) -> u8 {
    match file_type {
        FileType::BlockDevice => 1,
        FileType::CharDevice => 2,
        FileType::Directory => 3,
        FileType::Regular => 4,
        FileType::Socket if kind == HandleKind::Udp => 5,
        FileType::Socket | FileType::Fifo => 6,
        FileType::Symlink => 7,
    }
}

/// The most that a descriptor of such a file can do, and what can be opened through it.
pub fn of(file_type: FileType, kind: HandleKind, read: bool, write: bool) -> (u64, u64) {
    let (base, inheriting) = match file_type {
        FileType::Regular => (REGULAR, 0),
        FileType::Directory => (DIRECTORY, DIRECTORY | REGULAR),
        FileType::Socket | FileType::Fifo => (SOCKET, ALL),
        FileType::CharDevice if kind == HandleKind::Tty => (TERMINAL, 0),
        FileType::CharDevice | FileType::BlockDevice => (ALL, ALL),
        FileType::Symlink => (0, 0),
    };
    let lacks = if read { 0 } else { FD_READ } | if write { 0 } else { FD_WRITE };
    (base & !lacks, inheriting)
}
