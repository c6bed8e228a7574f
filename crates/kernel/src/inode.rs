//! One file of the tree: what it is, who owns it, when it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::changes::Generation;
use crate::clock::TimeSpec;
use crate::content::Content;
use crate::device::Device;
use crate::mount::Foreign;
use crate::stat::FileType;

/// Number of an inode: its tree in the upper bits, its number within the tree below them.
pub(crate) type Ino = u64;
/// Name of an entry.
pub(crate) type Name = Arc<[u8]>;

/// The root directory of every tree.
pub(crate) const ROOT: Ino = 1;
const TREE_SHIFT: u32 = 40;
const LOCAL_MASK: Ino = (1 << TREE_SHIFT) - 1;

/// The tree of an inode; 0 is the VM's own, others are mounts.
pub(crate) const fn tree_of(ino: Ino) -> u64 {
    ino >> TREE_SHIFT
}

/// The number within the tree.
pub(crate) const fn local(ino: Ino) -> Ino {
    ino & LOCAL_MASK
}

/// An inode of a tree.
pub(crate) const fn in_tree(tree: u64, local: Ino) -> Ino {
    tree << TREE_SHIFT | local
}

/// The inode that a directory's entry or parent link names: in an image these are numbers within the tree.
pub(crate) const fn beside(dir: Ino, ino: Ino) -> Ino {
    dir & !LOCAL_MASK | ino
}
/// Stands in an image for the VM's user, as owner or group.
pub(crate) const IMAGE_OWNER: u32 = u32::MAX;

/// An entry of a directory. The type never changes, so listing needs no look at the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub ino: Ino,
    pub file_type: FileType,
}

/// Names, sorted. The map is shared with the image until the directory changes.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub entries: Arc<BTreeMap<Name, Entry>>,
    pub parent: Ino,
    pub name: Name,
    pub subdirs: u32,
    /// When it got its name; see `changes.rs`.
    pub moved: Generation,
    /// In a copy-on-write mount: the directory underneath.
    pub lower: Option<Box<Lower>>,
}

/// A foreign directory that shows through where its directory in memory has neither an entry nor a whiteout.
#[derive(Clone, Debug)]
pub(crate) struct Lower {
    pub mount: Arc<Foreign>,
    pub path: Arc<[u8]>,
    /// Names that do not show through: they were removed, or have an entry of their own.
    pub whiteouts: BTreeSet<Name>,
}

impl Directory {
    pub fn new(parent: Ino, name: Name) -> Directory {
        Directory {
            entries: Arc::default(),
            parent,
            name,
            subdirs: 0,
            moved: 0,
            lower: None,
        }
    }

    /// Whether it has no entries and is known to have none underneath.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.lower.is_none()
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(Content),
    Dir(Directory),
    Symlink(Arc<[u8]>),
    Device(Device),
    /// The name of a local socket; `net` knows what listens there.
    Socket,
    /// Where `procfs.rs` answers lookups.
    ProcRoot,
}

impl Kind {
    pub fn file_type(&self) -> FileType {
        match self {
            Kind::File(_) => FileType::Regular,
            Kind::Dir(_) | Kind::ProcRoot => FileType::Directory,
            Kind::Symlink(_) => FileType::Symlink,
            Kind::Device(_) => FileType::CharDevice,
            Kind::Socket => FileType::Socket,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub access: TimeSpec,
    pub modify: TimeSpec,
    pub change: TimeSpec,
    pub birth: TimeSpec,
}

impl Times {
    pub const fn all(time: TimeSpec) -> Times {
        Times {
            access: time,
            modify: time,
            change: time,
            birth: time,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Entries that name it; 0 once removed. For a directory 1 or 0; `stat` adds what Linux adds.
    pub nlink: u32,
    pub times: Times,
    /// When it changed last; see `changes.rs`.
    pub changed: Generation,
}

/// Inode numbers are the kernel's own, so a plain mixing step is enough.
#[derive(Default)]
pub(crate) struct InoHasher(u64);

impl Hasher for InoHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

pub(crate) type BuildInoHasher = BuildHasherDefault<InoHasher>;
