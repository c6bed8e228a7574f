//! What is mounted where: the table, and places in file systems that are not the VM's own.
//!
//! ```text
//!   Memory, Image   a tree of its own in MemFs: its number is in the upper bits of its inodes' numbers
//!   Foreign         no inodes here: a Place is a path beneath the mount's root
//!   CopyOnWrite     a tree whose directories stand over directories of a foreign file system, which never changes
//! ```
//!
//! A mount covers a directory: a walk that comes to it goes on at the mount's root, one that goes up from the root comes
//! to the covered directory's parent. The table is under the kernel's lock, so a mount is there for all processes at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::errno::{Errno, Result};
use crate::image::Image;
use crate::inode::{Ino, Name, tree_of};
use crate::mounted_fs::MountedFs;
use crate::process::Cx;
use crate::resolve::Node;
use crate::stat::{FileType, Stat};

/// Mounts of one kernel.
pub(crate) const MOUNTS_MAX: usize = 1024;
/// `st_dev` of the first mount; smaller ones are the VM's tree and what the kernel makes up.
const FIRST_DEV: u64 = 16;

/// Number of a mount; never used twice. Tree 0 is the VM's own.
pub(crate) type MountId = u64;

/// What is mounted.
#[derive(Clone)]
pub enum MountSource {
    /// An empty tree in memory, on the VM's account.
    Memory,
    /// A tree that starts as an image's, shared with all that use it; changes are the VM's own and on its account.
    Image(Arc<Image>),
    /// A file system that the embedder gives.
    Foreign(Arc<dyn MountedFs>),
    /// A file system that the embedder gives and that never changes: changes are kept in the VM's memory, on its account.
    CopyOnWrite(Arc<dyn MountedFs>),
}

/// What kind of source a mount has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in MountSource")]
pub enum MountKind {
    Memory,
    Image,
    Foreign,
    CopyOnWrite,
}

impl MountSource {
    pub(crate) fn kind(&self) -> MountKind {
        match self {
            MountSource::Memory => MountKind::Memory,
            MountSource::Image(_) => MountKind::Image,
            MountSource::Foreign(_) => MountKind::Foreign,
            MountSource::CopyOnWrite(_) => MountKind::CopyOnWrite,
        }
    }
}

impl std::fmt::Debug for MountSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind().fmt(f)
    }
}

/// How to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MountOptions {
    /// Changes are `EROFS`.
    pub read_only: bool,
}

/// One line of [`Kernel::mounts`](crate::Kernel::mounts).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Where it is.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: MountKind,
    /// Whether changes are `EROFS`.
    pub read_only: bool,
    /// `st_dev` of what is in it.
    pub dev: u64,
}

impl MountInfo {
    /// Whether what is in it is the embedder's own and stays out of archives.
    pub(crate) fn is_embedders(&self) -> bool {
        matches!(self.kind, MountKind::Foreign | MountKind::CopyOnWrite)
    }
}

/// A file system of the embedder, as one mount has it.
pub(crate) struct Foreign {
    pub id: MountId,
    fs: Arc<dyn MountedFs>,
    read_only: bool,
    gone: AtomicBool,
}

impl Foreign {
    pub fn new(id: MountId, fs: Arc<dyn MountedFs>, read_only: bool) -> Arc<Foreign> {
        Arc::new(Foreign {
            id,
            fs,
            read_only,
            gone: AtomicBool::new(false),
        })
    }

    /// To ask; `EIO` once it is unmounted.
    pub fn fs(&self) -> Result<&dyn MountedFs> {
        self.alive()?;
        Ok(&*self.fs)
    }

    /// To change.
    pub fn changeable(&self) -> Result<&dyn MountedFs> {
        if self.read_only {
            return Err(Errno::EROFS);
        }
        self.fs()
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub fn alive(&self) -> Result<()> {
        if self.gone.load(Ordering::Acquire) {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    /// What the guest is told of a file: a device number of the mount's own, and no time after the guest's, because a
    /// file that the host has just written would tell the host's.
    pub fn shown(&self, cx: &Cx<'_>, stat: Stat) -> Stat {
        let user = &cx.process.machine().user;
        let is_host = cx.process.is_host();
        let time = |time| if is_host { time } else { cx.now.min(time) };
        let owner = |id, own| if id == crate::VM_OWNER { own } else { id };
        Stat {
            dev: device_number(self.id),
            uid: owner(stat.uid, user.uid),
            gid: owner(stat.gid, user.gid),
            atime: time(stat.atime),
            mtime: time(stat.mtime),
            ctime: time(stat.ctime),
            birthtime: time(stat.birthtime),
            ..stat
        }
    }
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Foreign({})", self.id)
    }
}

/// `st_dev` of a tree or mount.
pub(crate) fn device_number(id: MountId) -> u64 {
    if id == 0 { 1 } else { FIRST_DEV + id }
}

/// A directory of the VM's memory under which places of a copy-on-write mount are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub dir: Ino,
    /// Length of the path that the directory stands over.
    pub skip: usize,
}

/// A place in a foreign file system.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub mount: Arc<Foreign>,
    /// Beneath the root of the file system.
    pub path: Arc<[u8]>,
    /// In a copy-on-write mount: what it is under in memory, which may have another name there.
    pub anchor: Option<Anchor>,
    /// What is there; a directory if it was not asked.
    pub stat: Option<Stat>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        self.mount.id == other.mount.id && self.path == other.path && self.anchor == other.anchor
    }
}

impl Eq for Place {}

impl Place {
    pub fn root(mount: &Arc<Foreign>) -> Place {
        Place {
            mount: mount.clone(),
            path: Arc::default(),
            anchor: None,
            stat: None,
        }
    }

    pub fn file_type(&self) -> FileType {
        self.stat.map_or(FileType::Directory, |stat| stat.file_type)
    }

    /// Another path of the same mount.
    pub fn at(&self, path: &[u8], stat: Option<Stat>) -> Place {
        Place {
            mount: self.mount.clone(),
            path: Arc::from(path),
            anchor: self.anchor,
            stat,
        }
    }

    pub fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// The part of the path that is under the anchor or the mount's root.
    pub fn suffix(&self) -> &[u8] {
        let skip = self.anchor.map_or(0, |anchor| anchor.skip);
        let rest = self.path.get(skip..).unwrap_or(&[]);
        rest.strip_prefix(b"/").unwrap_or(rest)
    }

    /// The directory above; `None` at the mount's root.
    pub fn parent(&self) -> Option<Node> {
        if self.suffix().is_empty() {
            return None;
        }
        let cut = self.path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let above = self.path.get(..cut).unwrap_or(&[]);
        Some(match self.anchor {
            Some(anchor) if cut <= anchor.skip => Node::Mem(anchor.dir),
            _ => Node::Foreign(Arc::new(self.at(above, None))),
        })
    }

    /// The path of a name in this directory.
    pub fn child(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path, name)
    }

    pub fn name(&self) -> Name {
        let name = self.path.rsplit(|b| *b == b'/').next();
        Arc::from(name.unwrap_or(&[]))
    }
}

/// A name beneath a path that has no slash at its ends.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1 + name.len());
    out.extend_from_slice(path);
    if !path.is_empty() && !name.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(name);
    out
}

/// What a mount covers.
#[derive(Clone, Debug)]
pub(crate) enum Point {
    Inode(Ino),
    Place(Arc<Place>),
}

pub(crate) struct Mount {
    pub point: Point,
    pub root: Node,
    pub kind: MountKind,
    pub read_only: bool,
    /// Under the inodes of a tree.
    pub image: Option<Arc<Image>>,
    pub foreign: Option<Arc<Foreign>>,
}

/// All mounts of a kernel.
#[derive(Default)]
pub(crate) struct Mounts {
    list: BTreeMap<MountId, Mount>,
    over_inode: HashMap<Ino, Node>,
    over_place: HashMap<MountId, BTreeMap<Arc<[u8]>, Node>>,
    last_id: MountId,
}

impl Mounts {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A number for the next mount.
    pub fn next_id(&mut self) -> Result<MountId> {
        if self.list.len() >= MOUNTS_MAX {
            return Err(Errno::ENFILE);
        }
        self.last_id += 1;
        Ok(self.last_id)
    }

    pub fn add(&mut self, id: MountId, mount: Mount) {
        self.cover(&mount.point, mount.root.clone());
        self.list.insert(id, mount);
    }

    /// Has a walk that comes to `point` go on at `root`.
    pub fn cover(&mut self, point: &Point, root: Node) {
        match point {
            Point::Inode(ino) => {
                self.over_inode.insert(*ino, root);
            }
            Point::Place(place) => {
                let places = self.over_place.entry(place.mount.id).or_default();
                places.insert(place.path.clone(), root);
            }
        }
    }

    pub fn remove(&mut self, id: MountId) -> Option<Mount> {
        let mount = self.list.remove(&id)?;
        match &mount.point {
            Point::Inode(ino) => {
                self.over_inode.remove(ino);
            }
            Point::Place(place) => {
                if let Some(places) = self.over_place.get_mut(&place.mount.id) {
                    places.remove(&place.path);
                }
            }
        }
        self.over_place.remove(&id);
        self.over_inode.retain(|ino, _| tree_of(*ino) != id);
        if let Some(foreign) = &mount.foreign {
            foreign.gone.store(true, Ordering::Release);
        }
        Some(mount)
    }

    pub fn get(&self, id: MountId) -> Option<&Mount> {
        self.list.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (MountId, &Mount)> {
        self.list.iter().map(|(id, mount)| (*id, mount))
    }

    /// The root of what covers a directory.
    pub fn over(&self, node: &Node) -> Option<&Node> {
        match node {
            Node::Mem(ino) => self.over_inode.get(ino),
            Node::Foreign(place) => self.over_place.get(&place.mount.id)?.get(&place.path),
            _ => None,
        }
    }

    /// The root of what covers a directory of the tree, if that is in memory too.
    pub fn root_in_memory(&self, ino: Ino) -> Option<Ino> {
        match self.over_inode.get(&ino) {
            Some(Node::Mem(root)) => Some(*root),
            _ => None,
        }
    }

    pub fn is_covered(&self, ino: Ino) -> bool {
        !self.over_inode.is_empty() && self.over_inode.contains_key(&ino)
    }

    /// Whether anything is mounted inside a foreign file system.
    pub fn any_in(&self, id: MountId) -> bool {
        self.over_place.get(&id).is_some_and(|p| !p.is_empty())
    }

    /// Names in a foreign directory that are covered.
    pub fn names_in(&self, dir: &Place) -> Vec<&[u8]> {
        self.over_place
            .get(&dir.mount.id)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter_map(|path| {
                let rest = if dir.is_root() {
                    path
                } else {
                    path.strip_prefix(&*dir.path)?.strip_prefix(b"/")?
                };
                (!rest.is_empty() && !rest.contains(&b'/')).then_some(rest)
            })
            .collect()
    }

    /// Whether a covered place is at or beneath a path of a foreign file system.
    pub fn any_beneath(&self, place: &Place) -> bool {
        self.over_place.get(&place.mount.id).is_some_and(|places| {
            places.keys().any(|path| {
                path.strip_prefix(&*place.path)
                    .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
            })
        })
    }
}
