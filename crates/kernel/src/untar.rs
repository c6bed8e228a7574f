//! Reading a tar archive into an image.
//!
//! The archive is not trusted. Names are taken as text: a leading `/` means the image's root, `..` is refused, and a name
//! under something that is not a directory is refused, so nothing is ever written through a link. Links are data. Devices
//! and pipes are passed over, but for the character device 0, 0, which says that what is at its path goes. What it may hold
//! is bounded before it is read.

use std::fmt;
use std::io::{self, Read};

use tar::{Archive, EntryType, Header};

use crate::clock::TimeSpec;
use crate::errno::Errno;
use crate::image::ImageBuilder;

/// What an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TarLimits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for TarLimits {
    /// 4 GiB and a million entries.
    fn default() -> TarLimits {
        TarLimits {
            bytes: 4 << 30,
            entries: 1 << 20,
        }
    }
}

/// Why an archive was not read or written.
#[derive(Debug)]
pub enum TarError {
    /// The stream, or what is in it, is not an archive that can be read; or the sink failed.
    Io(io::Error),
    /// An entry cannot be what it says.
    Entry {
        /// Its name.
        path: Vec<u8>,
        /// Why.
        errno: Errno,
    },
    /// More than the limit's name and value allow.
    TooLarge(&'static str, u64),
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TarError::Io(error) => write!(f, "archive: {error}"),
            TarError::Entry { path, errno } => {
                write!(f, "archive: '{}': {errno}", String::from_utf8_lossy(path))
            }
            TarError::TooLarge(what, max) => write!(f, "archive: more than {max} {what}"),
        }
    }
}

impl std::error::Error for TarError {}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> TarError {
        TarError::Io(error)
    }
}

/// The absolute path of an entry; `None` for the root itself.
fn place(name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut path = Vec::with_capacity(name.len() + 1);
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Errno::EINVAL),
            part => {
                path.push(b'/');
                path.extend_from_slice(part);
            }
        }
    }
    Ok((!path.is_empty()).then_some(path))
}

/// Whether an entry says that what is at its path goes, as overlayfs has it.
fn is_whiteout(header: &Header) -> bool {
    let is_zero = |number: io::Result<Option<u32>>| matches!(number, Ok(Some(0)));
    header.entry_type() == EntryType::Char
        && is_zero(header.device_major())
        && is_zero(header.device_minor())
}

impl ImageBuilder {
    /// Adds what is in an archive: files, directories, symbolic and hard links, with modes and modification times (a time
    /// of 0 is the VM's start). All belongs to the VM's user. An archive of changes, as
    /// [`Kernel::export_changes`](crate::Kernel::export_changes) writes it, is read over what it changes. After an error the
    /// image holds what came before it.
    pub fn tar(&mut self, archive: impl Read, limits: TarLimits) -> Result<&mut Self, TarError> {
        let mut archive = Archive::new(archive);
        let mut bytes_left = limits.bytes;
        let mut entries_left = limits.entries;
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path_bytes().into_owned();
            let refused = |errno: Errno| TarError::Entry {
                path: name.clone(),
                errno,
            };
            entries_left = entries_left
                .checked_sub(1)
                .ok_or(TarError::TooLarge("entries", limits.entries))?;
            let path = place(&name).map_err(refused)?;
            let mode = entry.header().mode()?;
            let mtime = entry.header().mtime()?;
            let kind = entry.header().entry_type();
            let Some(path) = path else {
                if kind == EntryType::Directory {
                    self.dir("/", mode).map_err(refused)?;
                } else if is_whiteout(entry.header()) {
                    self.clear();
                }
                continue;
            };
            match kind {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let size = entry.size();
                    let too_large = TarError::TooLarge("bytes", limits.bytes);
                    bytes_left = bytes_left.checked_sub(size).ok_or(too_large)?;
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    self.make_way(&path).map_err(refused)?;
                    self.file(&path, bytes, mode).map_err(refused)?;
                }
                EntryType::Directory => {
                    self.dir(&path, mode).map_err(refused)?;
                }
                EntryType::Symlink => {
                    self.make_way(&path).map_err(refused)?;
                    let text = entry.link_name_bytes();
                    let text = text.ok_or_else(|| refused(Errno::EINVAL))?;
                    self.symlink(&path, text).map_err(refused)?;
                }
                EntryType::Link => {
                    let existing = entry.link_name_bytes();
                    let existing = existing
                        .and_then(|name| place(&name).transpose())
                        .ok_or_else(|| refused(Errno::EINVAL))?
                        .map_err(refused)?;
                    if path != existing {
                        self.make_way(&path).map_err(refused)?;
                    }
                    self.hard_link(&path, &existing).map_err(refused)?;
                    continue;
                }
                EntryType::Char if is_whiteout(entry.header()) => {
                    self.remove(&path).map_err(refused)?;
                    continue;
                }
                _ => continue,
            }
            if mtime != 0 {
                let time = TimeSpec {
                    seconds: i64::try_from(mtime).unwrap_or(i64::MAX / 2),
                    nanos: 0,
                };
                self.mtime(&path, time).map_err(refused)?;
            }
        }
        Ok(self)
    }
}
