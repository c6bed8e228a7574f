//! Character devices of `/dev`.

use crate::errno::{Errno, Result};

/// Most bytes that one read of a random device gives, as on Linux.
const RANDOM_MAX: usize = (32 << 20) - 1;

/// A device that the kernel drives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Null,
    Zero,
    Full,
    Random,
    Urandom,
    Tty,
}

impl Device {
    pub const ALL: [(&'static str, Device); 6] = [
        ("null", Device::Null),
        ("zero", Device::Zero),
        ("full", Device::Full),
        ("random", Device::Random),
        ("urandom", Device::Urandom),
        ("tty", Device::Tty),
    ];

    /// `st_rdev`, with Linux's major and minor numbers.
    pub const fn rdev(self) -> u64 {
        let (major, minor) = match self {
            Device::Null => (1, 3),
            Device::Zero => (1, 5),
            Device::Full => (1, 7),
            Device::Random => (1, 8),
            Device::Urandom => (1, 9),
            Device::Tty => (5, 0),
        };
        major << 8 | minor
    }

    /// No process has a controlling terminal.
    pub fn open(self) -> Result<()> {
        match self {
            Device::Tty => Err(Errno::ENXIO),
            _ => Ok(()),
        }
    }

    pub fn read(self, buf: &mut [u8]) -> Result<usize> {
        match self {
            Device::Null => return Ok(0),
            Device::Zero | Device::Full => buf.fill(0),
            Device::Random | Device::Urandom => {
                let n = buf.len().min(RANDOM_MAX);
                fill_random(buf.get_mut(..n).unwrap_or(&mut []))?;
                return Ok(n);
            }
            Device::Tty => return Err(Errno::ENXIO),
        }
        Ok(buf.len())
    }

    pub fn write(self, data: &[u8]) -> Result<usize> {
        match self {
            Device::Full => Err(Errno::ENOSPC),
            Device::Tty => Err(Errno::ENXIO),
            _ => Ok(data.len()),
        }
    }
}

/// Random bytes from the host's generator.
pub fn fill_random(buf: &mut [u8]) -> Result<()> {
    getrandom::fill(buf).map_err(|_| Errno::EIO)
}
