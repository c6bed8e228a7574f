//! Open-file descriptions: what descriptors point to, shared by `dup` and by `/proc/self/fd`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::device::Device;
use crate::errno::{Errno, Result};
use crate::flags::{OpenFlags, oflag};
use crate::flock::LockHold;
use crate::inode::{Ino, Name};
use crate::kernel::Shared;
use crate::memfs::MemFs;
use crate::mount::Place;
use crate::mounted_fs::MountedFile;
use crate::net::{Socket, UdpSocket};
use crate::pipe::{PipeReader, PipeWriter};
use crate::resolve::Node;
use crate::stat::DirEntry;
use crate::stdio::{OutputChannel, OutputLook, OutputSink};
use crate::terminal::Terminal;

/// Keeps an inode alive. Dropping it is safe anywhere: the release is done by whoever next has the kernel's lock.
pub(crate) struct InodeHold {
    shared: Arc<Shared>,
    ino: Ino,
}

impl InodeHold {
    pub fn new(shared: &Arc<Shared>, fs: &mut MemFs, ino: Ino) -> InodeHold {
        fs.acquire(ino);
        InodeHold {
            shared: shared.clone(),
            ino,
        }
    }

    pub fn ino(&self) -> Ino {
        self.ino
    }
}

impl Drop for InodeHold {
    fn drop(&mut self) {
        self.shared.release_later(self.ino);
    }
}

/// What an inode was when it was opened; an inode never changes its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    Regular,
    Directory,
    Device(Device),
}

pub(crate) enum Object {
    /// An inode of the tree, with the entry through which it was opened.
    Inode {
        hold: InodeHold,
        opened: Opened,
        entry: Option<(Ino, Name)>,
    },
    /// Bytes that do not change: the program, a file of `/proc`, stdin given up front.
    Bytes {
        bytes: Arc<[u8]>,
        node: Option<Node>,
    },
    /// A directory without an inode: of `/proc`, above the program, or in a foreign file system.
    Directory {
        node: Node,
    },
    /// A file of a foreign file system.
    Foreign {
        file: Arc<dyn MountedFile>,
        place: Arc<Place>,
    },
    /// `/dev/null` where the tree need not have it.
    Null,
    Reader(PipeReader),
    Writer(PipeWriter),
    Socket(Arc<Socket>),
    Udp(Arc<UdpSocket>),
    Terminal(Arc<Terminal>),
    Output {
        channel: OutputChannel,
        sink: Arc<dyn OutputSink>,
        look: OutputLook,
    },
}

/// An open-file description.
pub struct OpenFile {
    pub(crate) object: Object,
    pub(crate) flags: OpenFlags,
    /// Whether each write goes to the end: at first what `flags` says.
    appends: AtomicBool,
    /// Taken before the kernel's lock.
    pub(crate) position: Mutex<u64>,
    pub(crate) listing: Mutex<Listing>,
    /// Its advisory lock. Taken before the kernel's lock.
    pub(crate) lock: Mutex<Option<LockHold>>,
}

/// How far a directory has been listed.
#[derive(Default)]
pub(crate) struct Listing {
    /// The last name that `readdir_fd` gave.
    pub last: Option<Name>,
    /// What comes next, where asking again is dear.
    pub ahead: VecDeque<DirEntry>,
}

impl OpenFile {
    pub(crate) fn new(object: Object, flags: OpenFlags) -> Arc<OpenFile> {
        Arc::new(OpenFile {
            object,
            flags,
            appends: AtomicBool::new(flags.has(oflag::O_APPEND)),
            position: Mutex::new(0),
            listing: Mutex::default(),
            lock: Mutex::default(),
        })
    }

    /// The end of a pipe to read from, for a process that is to be started.
    #[must_use]
    pub fn of_reader(end: PipeReader) -> Arc<OpenFile> {
        OpenFile::new(Object::Reader(end), OpenFlags::READ_ONLY)
    }

    /// The end of a pipe to write to, for a process that is to be started.
    #[must_use]
    pub fn of_writer(end: PipeWriter) -> Arc<OpenFile> {
        OpenFile::new(Object::Writer(end), OpenFlags::WRITE_ONLY)
    }

    /// Bytes that do not change; looks like a regular file.
    #[must_use]
    pub fn of_bytes(bytes: Arc<[u8]>) -> Arc<OpenFile> {
        OpenFile::new(Object::Bytes { bytes, node: None }, OpenFlags::READ_ONLY)
    }

    /// `/dev/null`, whether the tree has one or not.
    #[must_use]
    pub fn null() -> Arc<OpenFile> {
        OpenFile::new(Object::Null, OpenFlags::READ_WRITE)
    }

    /// Flags of the `open` that made it, with `O_APPEND` as it is now.
    #[must_use]
    pub fn flags(&self) -> i32 {
        let append = if self.appends() { oflag::O_APPEND } else { 0 };
        self.flags.raw & !oflag::O_APPEND | append
    }

    /// Lets each write go to the end from now on, or to the position. A file of a foreign file system keeps what it was
    /// opened with (`ENOTSUP`).
    pub fn set_appends(&self, appends: bool) -> Result<()> {
        if appends != self.appends() && matches!(self.object, Object::Foreign { .. }) {
            return Err(Errno::ENOTSUP);
        }
        self.appends.store(appends, Ordering::Relaxed);
        Ok(())
    }

    /// The terminal that it is.
    #[must_use]
    pub fn terminal(&self) -> Option<&Arc<Terminal>> {
        match &self.object {
            Object::Terminal(terminal) => Some(terminal),
            _ => None,
        }
    }

    pub(crate) fn appends(&self) -> bool {
        self.appends.load(Ordering::Relaxed)
    }

    pub(crate) fn readable(&self) -> Result<()> {
        if self.flags.read {
            Ok(())
        } else {
            Err(Errno::EBADF)
        }
    }

    pub(crate) fn writable(&self) -> Result<()> {
        if self.flags.write {
            Ok(())
        } else {
            Err(Errno::EBADF)
        }
    }

    /// The inode and the entry through which it was opened.
    pub(crate) fn inode(&self) -> Option<(Ino, Option<(Ino, &Name)>)> {
        match &self.object {
            Object::Inode { hold, entry, .. } => {
                Some((hold.ino(), entry.as_ref().map(|(dir, name)| (*dir, name))))
            }
            _ => None,
        }
    }

    /// Where it is in a foreign file system.
    pub(crate) fn place(&self) -> Option<&Arc<Place>> {
        match &self.object {
            Object::Foreign { place, .. } => Some(place),
            Object::Directory {
                node: Node::Foreign(place),
            } => Some(place),
            _ => None,
        }
    }

    pub(crate) fn is_regular(&self) -> bool {
        let object = &self.object;
        matches!(object, Object::Foreign { .. })
            || matches!(object, Object::Inode { opened, .. } if *opened == Opened::Regular)
    }

    /// Whether both are of the same file of a foreign file system.
    pub(crate) fn is_same_place(&self, other: &OpenFile) -> bool {
        self.place().is_some() && self.place() == other.place()
    }

    /// What `/proc/self/fd/n` reads as.
    pub(crate) fn describe(&self, fs: &MemFs) -> Result<Vec<u8>> {
        match &self.object {
            Object::Inode {
                hold,
                opened: Opened::Directory,
                ..
            } => fs.path_of(hold.ino()),
            Object::Inode {
                hold,
                entry: Some((dir, name)),
                ..
            } => {
                let mut path = fs.path_of(*dir)?;
                if path.last() != Some(&b'/') {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                let here = fs
                    .lookup(*dir, name)?
                    .is_some_and(|(_, e)| e.ino == hold.ino());
                if !here {
                    path.extend_from_slice(b" (deleted)");
                }
                Ok(path)
            }
            Object::Foreign { place, .. }
            | Object::Directory {
                node: Node::Foreign(place),
            } => fs.path_of_place(place),
            Object::Reader(end) => Ok(format!("pipe:[{}]", end.id()).into_bytes()),
            Object::Writer(end) => Ok(format!("pipe:[{}]", end.id()).into_bytes()),
            Object::Socket(_) | Object::Udp(_) => Ok(b"socket:[0]".to_vec()),
            Object::Terminal(_) => Ok(b"/dev/pts/0".to_vec()),
            Object::Null => Ok(b"/dev/null".to_vec()),
            Object::Output { channel, .. } => Ok(match channel {
                OutputChannel::Stdout => b"stdout".to_vec(),
                OutputChannel::Stderr => b"stderr".to_vec(),
            }),
            Object::Inode { .. } | Object::Bytes { .. } | Object::Directory { .. } => {
                Ok(b"anon_inode:[file]".to_vec())
            }
        }
    }
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile")
            .field("flags", &self.flags.raw)
            .finish_non_exhaustive()
    }
}
