//! What the host says of a file, as the guest gets to see it.

use std::os::fd::AsFd;

use rustix::fs::AtFlags;
use secure_exec_kernel::{FileType, Result, Stat, TimeSpec, VM_OWNER};

use crate::errno;

/// A stat, and the file system of the host that it is from.
pub(crate) struct HostStat {
    pub stat: Stat,
    pub device: u64,
}

pub(crate) fn file_type(raw: rustix::fs::FileType) -> FileType {
    use rustix::fs::FileType as Raw;
    match raw {
        Raw::Directory => FileType::Directory,
        Raw::Symlink => FileType::Symlink,
        Raw::Fifo => FileType::Fifo,
        Raw::Socket => FileType::Socket,
        Raw::CharacterDevice => FileType::CharDevice,
        Raw::BlockDevice => FileType::BlockDevice,
        Raw::RegularFile | Raw::Unknown => FileType::Regular,
    }
}

/// Of an open file.
pub(crate) fn of_fd(fd: impl AsFd) -> Result<HostStat> {
    at(fd, "", AtFlags::EMPTY_PATH)
}

/// Of a name in a directory; a link is not followed.
pub(crate) fn of_name(dir: impl AsFd, name: &[u8]) -> Result<HostStat> {
    at(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(target_os = "linux")]
fn at(dir: impl AsFd, name: impl rustix::path::Arg, flags: AtFlags) -> Result<HostStat> {
    use rustix::fs::{RawMode, StatxFlags, StatxTimestamp};
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let raw = rustix::fs::statx(dir, name, flags | AtFlags::NO_AUTOMOUNT, wanted).map_err(errno)?;
    let mode = RawMode::from(raw.stx_mode);
    let file_type = file_type(rustix::fs::FileType::from_raw_mode(mode));
    let time = |time: StatxTimestamp| TimeSpec {
        seconds: time.tv_sec,
        nanos: time.tv_nsec,
    };
    let has_birth = raw.stx_mask & StatxFlags::BTIME.bits() != 0;
    let device = u64::from(raw.stx_dev_major) << 32 | u64::from(raw.stx_dev_minor);
    Ok(HostStat {
        device,
        stat: Stat {
            dev: 0,
            ino: raw.stx_ino,
            mode: file_type.mode_bits() | mode & 0o7777,
            nlink: u64::from(raw.stx_nlink),
            uid: VM_OWNER,
            gid: VM_OWNER,
            rdev: 0,
            size: raw.stx_size,
            blksize: u64::from(raw.stx_blksize),
            blocks: raw.stx_blocks,
            atime: time(raw.stx_atime),
            mtime: time(raw.stx_mtime),
            ctime: time(raw.stx_ctime),
            birthtime: time(if has_birth {
                raw.stx_btime
            } else {
                raw.stx_ctime
            }),
            file_type,
        },
    })
}

#[cfg(not(target_os = "linux"))]
fn at(dir: impl AsFd, name: impl rustix::path::Arg, flags: AtFlags) -> Result<HostStat> {
    // Elsewhere there is no empty path for what is open.
    let raw = if flags.contains(AtFlags::SYMLINK_NOFOLLOW) {
        rustix::fs::statat(dir, name, flags)
    } else {
        rustix::fs::fstat(dir)
    };
    let raw = raw.map_err(errno)?;
    let file_type = file_type(rustix::fs::FileType::from_raw_mode(raw.st_mode));
    let time = |seconds: i64, nanos: i64| TimeSpec {
        seconds,
        nanos: nanos.clamp(0, 999_999_999) as u32,
    };
    let change = time(raw.st_ctime as i64, raw.st_ctime_nsec as i64);
    Ok(HostStat {
        device: raw.st_dev as u64,
        stat: Stat {
            dev: 0,
            ino: raw.st_ino as u64,
            mode: file_type.mode_bits() | u32::from(raw.st_mode) & 0o7777,
            nlink: raw.st_nlink as u64,
            uid: VM_OWNER,
            gid: VM_OWNER,
            rdev: 0,
            size: raw.st_size as u64,
            blksize: raw.st_blksize as u64,
            blocks: raw.st_blocks as u64,
            atime: time(raw.st_atime as i64, raw.st_atime_nsec as i64),
            mtime: time(raw.st_mtime as i64, raw.st_mtime_nsec as i64),
            ctime: change,
            birthtime: change,
            file_type,
        },
    })
}
