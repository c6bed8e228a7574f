//! The tree in memory: inodes and the operations on them, without paths, descriptors or processes.
//!
//! ```text
//!   get(ino):  own inodes (changed or made by this VM)  -- else -->  image (shared, read only)
//!   get_mut:   copies the image's inode into the own ones first; contents and names stay shared
//! ```
//!
//! An operation that starts from a path takes a [`CheckedPath`]: the proof that policy has seen it.
//! An inode lives while an entry names it (`nlink`) or something holds it open (`opens`).
//! Reading does not move access times (as under `noatime`), so that reading copies nothing out of the image.

use std::collections::HashMap;
use std::sync::Arc;

use crate::changes::ChangeLog;
use crate::clock::TimeSpec;
use crate::content::{Content, MAX_FILE_SIZE};
use crate::errno::{Errno, Result};
use crate::image::Image;
use crate::inode::{
    BuildInoHasher, Directory, Entry, IMAGE_OWNER, Ino, Inode, Kind, Lower, Name, ROOT, Times,
    beside, in_tree, local, tree_of,
};
use crate::mount::{MountId, Mounts, Place, Point, device_number};
use crate::path::is_ancestor;
use crate::policy::CheckedPath;
use crate::process::Cx;
use crate::quota::{Ledger, Limit, LimitError, OnNearLimit};
use crate::resolve::Node;
use crate::stat::{DirEntry, FileType, Stat, StatFs};
use crate::watch::{WatchKind, Watchers};

pub(crate) const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;
const TMPFS_MAGIC: u64 = 0x0102_1994;
const HARD_LINKS_MAX: u32 = 65_000;
/// Above the inode numbers of real file systems, and exact as a JavaScript number.
const COPIED_UP: u64 = 1 << 52;

/// Permission to read.
pub(crate) const MAY_READ: u32 = 4;
/// Permission to write.
pub(crate) const MAY_WRITE: u32 = 2;
/// Permission to execute, or to search a directory.
pub(crate) const MAY_EXEC: u32 = 1;

/// Whether permission bits stop anyone but root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PermissionBits {
    /// As on Linux.
    #[default]
    Enforced,
    /// Kept and shown, never a reason to refuse.
    DataOnly,
}

pub(crate) struct MemFs {
    image: Arc<Image>,
    inodes: HashMap<Ino, Inode, BuildInoHasher>,
    opens: HashMap<Ino, u32, BuildInoHasher>,
    next: Ino,
    owner: (u32, u32),
    boot: TimeSpec,
    bits: PermissionBits,
    proc_root: Option<Ino>,
    pub mounts: Mounts,
    pub changes: ChangeLog,
    pub ledger: Ledger,
    /// Hears of limits that are nearly reached, without the lock.
    pub on_near_limit: Option<OnNearLimit>,
    pub watchers: Watchers,
    /// Memory of a file that was cut to nothing, for the next one.
    spare: Option<Vec<u8>>,
}

impl MemFs {
    pub fn new(
        image: Arc<Image>,
        owner: (u32, u32),
        boot: TimeSpec,
        bits: PermissionBits,
    ) -> MemFs {
        let next = image.next_ino();
        let mut fs = MemFs {
            image,
            inodes: HashMap::default(),
            opens: HashMap::default(),
            next,
            owner,
            boot,
            bits,
            proc_root: None,
            mounts: Mounts::default(),
            changes: ChangeLog::default(),
            ledger: Ledger::new(),
            on_near_limit: None,
            watchers: Watchers::default(),
            spare: None,
        };
        fs.proc_root = fs
            .lookup(ROOT, b"proc")
            .ok()
            .flatten()
            .map(|(_, entry)| entry.ino);
        fs
    }

    /// The directory that `procfs.rs` fills.
    pub fn proc_root(&self) -> Ino {
        self.proc_root.unwrap_or(ROOT)
    }

    pub fn get(&self, ino: Ino) -> Result<&Inode> {
        match self.inodes.get(&ino) {
            Some(inode) => Ok(inode),
            None => self.image_node(ino),
        }
    }

    /// Everything that was made and mounted, for the caller to drop without the lock. What is asked for afterwards is not
    /// there, and what it counted stays counted.
    pub fn take_all(&mut self) -> impl Send + use<> {
        (
            std::mem::take(&mut self.inodes),
            std::mem::take(&mut self.mounts),
            self.spare.take(),
        )
    }

    /// An inode as the image of its tree has it; `EIO` once the tree is unmounted.
    fn image_node(&self, ino: Ino) -> Result<&Inode> {
        let image = match tree_of(ino) {
            0 => Some(&self.image),
            tree => self.mounts.get(tree).ok_or(Errno::EIO)?.image.as_ref(),
        };
        image
            .and_then(|image| image.node(local(ino)))
            .ok_or(Errno::ENOENT)
    }

    /// Whether an inode is one that this VM made.
    fn is_own(&self, ino: Ino) -> bool {
        match tree_of(ino) {
            0 => ino >= self.image.next_ino(),
            tree => self
                .mounts
                .get(tree)
                .and_then(|mount| mount.image.as_ref())
                .is_none_or(|image| local(ino) >= image.next_ino()),
        }
    }

    pub fn get_mut(&mut self, ino: Ino) -> Result<&mut Inode> {
        if !self.inodes.contains_key(&ino) {
            let copy = self.image_node(ino)?.clone();
            self.inodes.insert(ino, copy);
        }
        let generation = self.changes.generation;
        let inode = self.inodes.get_mut(&ino).ok_or(Errno::ENOENT)?;
        inode.changed = generation;
        Ok(inode)
    }

    pub fn dir(&self, ino: Ino) -> Result<&Directory> {
        match &self.get(ino)?.kind {
            Kind::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> Result<&mut Directory> {
        match &mut self.get_mut(ino)?.kind {
            Kind::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The entry of a directory and the shared form of its name.
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Option<(Name, Entry)>> {
        Ok(self
            .dir(dir)?
            .entries
            .get_key_value(name)
            .map(|(name, entry)| {
                let ino = beside(dir, entry.ino);
                (name.clone(), Entry { ino, ..*entry })
            }))
    }

    /// Within the tree: the root's parent is itself.
    pub fn parent_of(&self, ino: Ino) -> Result<Ino> {
        match &self.get(ino)?.kind {
            Kind::Dir(dir) => Ok(beside(ino, dir.parent)),
            Kind::ProcRoot => Ok(ROOT),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The absolute path of a directory; `ENOENT` once it is removed.
    pub fn path_of(&self, dir: Ino) -> Result<Vec<u8>> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = dir;
        let mut path = Vec::new();
        while at != ROOT {
            if local(at) == ROOT {
                match &self.mounts.get(tree_of(at)).ok_or(Errno::ENOENT)?.point {
                    Point::Inode(covered) => at = *covered,
                    Point::Place(covered) => {
                        path = self.path_of_place(covered)?;
                        break;
                    }
                }
                continue;
            }
            let inode = self.get(at)?;
            if inode.nlink == 0 {
                return Err(Errno::ENOENT);
            }
            match &inode.kind {
                Kind::Dir(dir) => {
                    names.push(&dir.name);
                    at = beside(at, dir.parent);
                }
                Kind::ProcRoot => {
                    names.push(b"proc");
                    at = ROOT;
                }
                _ => return Err(Errno::ENOTDIR),
            }
        }
        path.reserve(names.iter().map(|n| n.len() + 1).sum::<usize>().max(1));
        if path == b"/" {
            path.clear();
        }
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    /// The absolute path of a place in a foreign file system.
    pub fn path_of_place(&self, place: &Place) -> Result<Vec<u8>> {
        let mut path = match (place.anchor, self.covered_by(place.mount.id)?) {
            (Some(anchor), _) => self.path_of(anchor.dir)?,
            (None, Node::Mem(covered)) => self.path_of(covered)?,
            (None, Node::Foreign(covered)) => self.path_of_place(&covered)?,
            (None, _) => return Err(Errno::ENOENT),
        };
        let suffix = place.suffix();
        if !suffix.is_empty() {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(suffix);
        }
        Ok(path)
    }

    /// The absolute path of a directory.
    pub fn path_of_node(&self, node: &Node) -> Result<Vec<u8>> {
        match node {
            Node::Mem(ino) => self.path_of(*ino),
            Node::Foreign(place) => self.path_of_place(place),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The directory that a mount covers.
    pub fn covered_by(&self, id: MountId) -> Result<Node> {
        Ok(match &self.mounts.get(id).ok_or(Errno::ENOENT)?.point {
            Point::Inode(ino) => Node::Mem(*ino),
            Point::Place(place) => Node::Foreign(place.clone()),
        })
    }

    /// `EROFS` in a tree that is mounted read only.
    pub fn may_change(&self, ino: Ino) -> Result<()> {
        match tree_of(ino) {
            0 => Ok(()),
            tree if self.mounts.get(tree).is_some_and(|m| m.read_only) => Err(Errno::EROFS),
            _ => Ok(()),
        }
    }

    /// Whether a node is in a file system that the embedder gave.
    pub fn is_foreign(&self, node: &Node) -> bool {
        match node {
            Node::Foreign(_) => true,
            Node::Mem(ino) if tree_of(*ino) != 0 => self
                .mounts
                .get(tree_of(*ino))
                .is_some_and(|mount| mount.foreign.is_some()),
            _ => false,
        }
    }

    /// The latest mount that covers the directory of a normalized path.
    pub fn mount_at(&self, path: &[u8]) -> Option<MountId> {
        let is_here = |id: &MountId| {
            self.covered_by(*id)
                .and_then(|covered| self.path_of_node(&covered))
                .is_ok_and(|at| at == path)
        };
        self.mounts.iter().map(|(id, _)| id).filter(is_here).last()
    }

    /// Whether the innermost mount around a normalized path is one that the embedder gave.
    pub fn leads_to_foreign(&self, path: &[u8]) -> bool {
        let mut best: Option<(usize, bool)> = None;
        for (id, mount) in self.mounts.iter() {
            let at = self
                .covered_by(id)
                .and_then(|covered| self.path_of_node(&covered));
            if let Ok(at) = at
                && (at == path || is_ancestor(&at, path))
                && best.is_none_or(|(len, _)| at.len() >= len)
            {
                best = Some((at.len(), mount.foreign.is_some()));
            }
        }
        best.is_some_and(|(_, foreign)| foreign)
    }

    // ---- mounts ----------------------------------------------------------------------------------------------------

    /// Makes the root of a new tree and says its number.
    pub fn add_tree(
        &mut self,
        id: MountId,
        image: Option<&Image>,
        lower: Option<Lower>,
        now: TimeSpec,
    ) -> Ino {
        let root = in_tree(id, ROOT);
        match image {
            // New inodes get numbers that no image has.
            Some(image) => self.next = self.next.max(image.next_ino()),
            None => {
                let mut dir = Directory::new(ROOT, Name::default());
                dir.lower = lower.map(Box::new);
                let inode = Inode {
                    kind: Kind::Dir(dir),
                    mode: 0o755,
                    uid: IMAGE_OWNER,
                    gid: IMAGE_OWNER,
                    nlink: 1,
                    times: Times::all(now),
                    changed: 0,
                };
                self.inodes.insert(root, inode);
            }
        }
        root
    }

    /// Adds a directory to a tree's root, not on the VM's account.
    pub fn add_directory(&mut self, root: &Node, name: &[u8], now: TimeSpec) -> Result<Ino> {
        let Node::Mem(dir) = root else {
            return Err(Errno::ENOTDIR);
        };
        if let Some((_, entry)) = self.lookup(*dir, name)? {
            return Ok(entry.ino);
        }
        let name: Name = Arc::from(name);
        let ino = in_tree(tree_of(*dir), self.next);
        self.next += 1;
        let inode = Inode {
            kind: Kind::Dir(Directory::new(*dir, name.clone())),
            mode: 0o755,
            uid: IMAGE_OWNER,
            gid: IMAGE_OWNER,
            nlink: 1,
            times: Times::all(now),
            changed: 0,
        };
        self.inodes.insert(ino, inode);
        let file_type = FileType::Directory;
        self.add_entry(*dir, name, Entry { ino, file_type }, now)?;
        Ok(ino)
    }

    /// Makes an inode look as a file that it stands for.
    pub fn take_attributes(&mut self, ino: Ino, stat: &Stat) -> Result<()> {
        let inode = self.get_mut(ino)?;
        inode.mode = stat.permissions();
        inode.uid = stat.uid;
        inode.gid = stat.gid;
        inode.times = Times {
            access: stat.atime,
            modify: stat.mtime,
            change: stat.ctime,
            birth: stat.birthtime,
        };
        Ok(())
    }

    /// Keeps a name from showing through.
    fn hide(&mut self, dir: Ino, name: &[u8]) -> Result<()> {
        match &self.dir(dir)?.lower {
            Some(lower) if !lower.whiteouts.contains(name) => {}
            _ => return Ok(()),
        }
        self.ledger.charge_inode()?;
        self.note_removal(dir, name);
        if let Some(lower) = &mut self.dir_mut(dir)?.lower {
            lower.whiteouts.insert(Arc::from(name));
        }
        Ok(())
    }

    /// Takes into memory what shows through at a name, unless someone else was faster.
    pub fn adopt(&mut self, dir: Ino, name: Name, kind: Kind, stat: &Stat) -> Result<()> {
        let shows = match self.dir(dir)? {
            Directory {
                entries,
                lower: Some(lower),
                ..
            } => !entries.contains_key(&name) && !lower.whiteouts.contains(&name),
            _ => false,
        };
        if !shows {
            return Ok(());
        }
        let bytes = match &kind {
            Kind::File(content) => content.charge(),
            Kind::Symlink(text) => text.len() as u64,
            _ => 0,
        };
        self.ledger.charge_inode()?;
        let mut paid = self.ledger.recharge_bytes(0, bytes);
        if paid.is_ok() {
            paid = self.hide(dir, &name);
            if paid.is_err() {
                self.ledger.recharge_bytes(bytes, 0)?;
            }
        }
        if let Err(error) = paid {
            self.ledger.refund_inode();
            return Err(error);
        }
        let ino = in_tree(tree_of(dir), self.next);
        self.next += 1;
        let file_type = kind.file_type();
        let inode = Inode {
            kind,
            mode: 0,
            uid: IMAGE_OWNER,
            gid: IMAGE_OWNER,
            nlink: 1,
            times: Times::all(stat.mtime),
            changed: 0,
        };
        self.inodes.insert(ino, inode);
        self.take_attributes(ino, stat)?;
        // The directory looks as before, so its times stay.
        let directory = self.dir_mut(dir)?;
        Arc::make_mut(&mut directory.entries).insert(name, Entry { ino, file_type });
        if file_type == FileType::Directory {
            directory.subdirs += 1;
        }
        Ok(())
    }

    /// Cuts a directory off from what is underneath when nothing of that shows through.
    pub fn close_if_hidden(&mut self, dir: Ino, listed: &[DirEntry]) -> Result<()> {
        let all_hidden = match &self.dir(dir)?.lower {
            Some(lower) => listed.iter().all(|e| lower.whiteouts.contains(&e.name)),
            None => return Ok(()),
        };
        if all_hidden && let Some(lower) = self.dir_mut(dir)?.lower.take() {
            for _ in lower.whiteouts {
                self.ledger.refund_inode();
            }
        }
        Ok(())
    }

    /// Takes a tree's inodes away and pays back what the VM was charged for them.
    pub fn drop_tree(&mut self, id: MountId) {
        let mine: Vec<Ino> = self
            .inodes
            .keys()
            .copied()
            .filter(|ino| tree_of(*ino) == id)
            .collect();
        for ino in mine {
            let own = self.is_own(ino) && local(ino) != ROOT;
            let Some(inode) = self.inodes.remove(&ino) else {
                continue;
            };
            let paid_elsewhere = u32::from(!own);
            for _ in paid_elsewhere..inode.nlink {
                self.ledger.refund_inode();
            }
            let bytes = match &inode.kind {
                Kind::File(content) => content.charge(),
                Kind::Symlink(text) if own => text.len() as u64,
                Kind::Dir(Directory {
                    lower: Some(lower), ..
                }) => {
                    for _ in &lower.whiteouts {
                        self.ledger.refund_inode();
                    }
                    0
                }
                _ => 0,
            };
            // Shrinking never fails.
            let _ = self.ledger.recharge_bytes(bytes, 0);
        }
    }

    /// Owner and group, with the image's stand-in replaced.
    pub fn owner_of(&self, inode: &Inode) -> (u32, u32) {
        (
            if inode.uid == IMAGE_OWNER {
                self.owner.0
            } else {
                inode.uid
            },
            if inode.gid == IMAGE_OWNER {
                self.owner.1
            } else {
                inode.gid
            },
        )
    }

    fn time_of(&self, time: TimeSpec) -> TimeSpec {
        if time == TimeSpec::BOOT {
            self.boot
        } else {
            time
        }
    }

    /// Whether the caller has all of the wanted permissions.
    pub fn may(&self, ino: Ino, cx: &Cx<'_>, want: u32) -> Result<()> {
        self.may_inode(self.get(ino)?, cx, want)
    }

    /// As `may`, of an inode that is at hand.
    pub fn may_inode(&self, inode: &Inode, cx: &Cx<'_>, want: u32) -> Result<()> {
        let is_dir = inode.kind.file_type() == FileType::Directory;
        self.permits(inode.mode, is_dir, self.owner_of(inode), cx, want)
    }

    /// As `may`, of a file that has no inode here.
    pub fn may_as(&self, stat: &Stat, cx: &Cx<'_>, want: u32) -> Result<()> {
        self.permits(stat.mode, stat.is_dir(), (stat.uid, stat.gid), cx, want)
    }

    fn permits(
        &self,
        mode: u32,
        is_dir: bool,
        (uid, gid): (u32, u32),
        cx: &Cx<'_>,
        want: u32,
    ) -> Result<()> {
        let granted = if cx.uid == 0 || self.bits == PermissionBits::DataOnly {
            want & MAY_EXEC == 0 || is_dir || mode & 0o111 != 0
        } else {
            let bits = if uid == cx.uid {
                mode >> 6
            } else if gid == cx.gid {
                mode >> 3
            } else {
                mode
            };
            bits & want == want
        };
        if granted { Ok(()) } else { Err(Errno::EACCES) }
    }

    fn must_own(&self, ino: Ino, cx: &Cx<'_>) -> Result<()> {
        self.may_change(ino)?;
        let owns = cx.uid == 0
            || self.bits == PermissionBits::DataOnly
            || self.owner_of(self.get(ino)?).0 == cx.uid;
        if owns { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// The directory in which a path's last name stands, if the caller may change it.
    fn writable_parent(&self, at: &CheckedPath, cx: &Cx<'_>) -> Result<Ino> {
        match at.location().parent {
            Some(Node::Mem(dir)) => {
                match self.get(dir)?.kind {
                    Kind::Dir(_) => {}
                    Kind::ProcRoot => return Err(Errno::EACCES),
                    _ => return Err(Errno::ENOTDIR),
                }
                self.may_change(dir)?;
                self.may(dir, cx, MAY_WRITE | MAY_EXEC)?;
                Ok(dir)
            }
            _ => Err(Errno::EACCES),
        }
    }

    /// In a directory with the sticky bit only the owner of an entry, or of the directory, may take it away.
    fn may_take(&self, dir: Ino, entry_owner: u32, cx: &Cx<'_>) -> Result<()> {
        const STICKY: u32 = 0o1000;
        let inode = self.get(dir)?;
        let free = inode.mode & STICKY == 0
            || cx.uid == 0
            || self.bits == PermissionBits::DataOnly
            || entry_owner == cx.uid
            || self.owner_of(inode).0 == cx.uid;
        if free { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// The owner of what stands at a path's last name.
    fn owner_at(&self, node: &Node, cx: &Cx<'_>) -> Result<u32> {
        match node {
            Node::Mem(ino) => Ok(self.owner_of(self.get(*ino)?).0),
            Node::Foreign(place) => {
                let stat = place.stat.ok_or(Errno::ENOENT)?;
                Ok(place.mount.shown(cx, stat).uid)
            }
            _ => Err(Errno::EPERM),
        }
    }

    // ---- making and removing entries -------------------------------------------------------------------------------

    /// Adds a new inode at a path whose last name is free.
    pub fn create(&mut self, at: &CheckedPath, kind: Kind, mode: u32, cx: &Cx<'_>) -> Result<Ino> {
        let dir = self.creatable_parent(at, cx)?;
        if matches!(kind, Kind::Dir(_)) {
            self.may_nest(dir, 1)?;
        }
        let charge = match &kind {
            Kind::Symlink(text) => text.len() as u64,
            _ => 0,
        };
        self.ledger.charge_inode()?;
        if let Err(error) = self.ledger.recharge_bytes(0, charge) {
            self.ledger.refund_inode();
            return Err(error);
        }
        let ino = in_tree(tree_of(dir), self.next);
        self.next += 1;
        let kind = match kind {
            Kind::Dir(_) => Kind::Dir(Directory::new(dir, at.location().name.clone())),
            other => other,
        };
        let file_type = kind.file_type();
        let inode = Inode {
            kind,
            mode: mode & 0o7777,
            uid: cx.uid,
            gid: cx.gid,
            nlink: 1,
            times: Times::all(cx.now),
            changed: self.changes.generation,
        };
        self.inodes.insert(ino, inode);
        self.add_entry(
            dir,
            at.location().name.clone(),
            Entry { ino, file_type },
            cx.now,
        )?;
        self.watchers
            .entry(dir, &at.location().name, WatchKind::Rename);
        Ok(ino)
    }

    fn creatable_parent(&self, at: &CheckedPath, cx: &Cx<'_>) -> Result<Ino> {
        if let Some(Node::Mem(dir)) = at.location().parent
            && self.get(dir)?.nlink == 0
        {
            return Err(Errno::ENOENT);
        }
        self.writable_parent(at, cx)
    }

    fn add_entry(&mut self, dir: Ino, name: Name, entry: Entry, now: TimeSpec) -> Result<()> {
        let directory = self.dir_mut(dir)?;
        if entry.file_type == FileType::Directory {
            directory.subdirs += 1;
        }
        Arc::make_mut(&mut directory.entries).insert(name, entry);
        self.touch(dir, now)
    }

    fn remove_entry(&mut self, dir: Ino, name: &[u8], now: TimeSpec) -> Result<()> {
        self.note_removal(dir, name);
        let directory = self.dir_mut(dir)?;
        if let Some(entry) = Arc::make_mut(&mut directory.entries).remove(name)
            && entry.file_type == FileType::Directory
        {
            directory.subdirs = directory.subdirs.saturating_sub(1);
        }
        self.touch(dir, now)
    }

    /// For those who ask what changed.
    fn note_removal(&mut self, dir: Ino, name: &[u8]) {
        if self.changes.is_tracking()
            && let Ok(mut path) = self.path_of(dir)
        {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            self.changes.removed(path);
        }
    }

    /// Contents of an inode changed.
    fn touch(&mut self, ino: Ino, now: TimeSpec) -> Result<()> {
        let times = &mut self.get_mut(ino)?.times;
        times.modify = now;
        times.change = now;
        Ok(())
    }

    /// Adds another name for an inode.
    pub fn link(&mut self, ino: Ino, at: &CheckedPath, cx: &Cx<'_>) -> Result<()> {
        let dir = self.creatable_parent(at, cx)?;
        let inode = self.get(ino)?;
        let file_type = inode.kind.file_type();
        if file_type == FileType::Directory {
            return Err(Errno::EPERM);
        }
        if inode.nlink == 0 {
            return Err(Errno::ENOENT);
        }
        if inode.nlink >= HARD_LINKS_MAX {
            return Err(Errno::EMLINK);
        }
        self.ledger.charge_inode()?;
        let inode = self.get_mut(ino)?;
        inode.nlink += 1;
        inode.times.change = cx.now;
        self.add_entry(
            dir,
            at.location().name.clone(),
            Entry { ino, file_type },
            cx.now,
        )?;
        self.watchers.inode(ino, WatchKind::Change);
        self.watchers
            .entry(dir, &at.location().name, WatchKind::Rename);
        Ok(())
    }

    /// Takes back what `create` has just made.
    pub fn discard(&mut self, at: &CheckedPath, ino: Ino, now: TimeSpec) -> Result<()> {
        if let Some(Node::Mem(dir)) = at.location().parent {
            self.remove_entry(dir, &at.location().name, now)?;
            self.drop_link(ino, now)?;
        }
        Ok(())
    }

    /// Removes the name of anything but a directory.
    pub fn unlink(&mut self, at: &CheckedPath, cx: &Cx<'_>) -> Result<()> {
        let location = at.location();
        location.name_fits()?;
        let target = location.existing()?;
        if location.crosses() {
            return Err(Errno::EBUSY);
        }
        if let Node::Foreign(place) = &target {
            let dir = self.writable_parent(at, cx)?;
            self.may_take(dir, self.owner_at(&target, cx)?, cx)?;
            if place.file_type() == FileType::Directory {
                return Err(Errno::EISDIR);
            }
            if location.slash {
                return Err(Errno::ENOTDIR);
            }
            self.hide(dir, &location.name)?;
            self.touch(dir, cx.now)?;
            self.watchers.entry(dir, &location.name, WatchKind::Rename);
            return Ok(());
        }
        let Node::Mem(ino) = target else {
            return Err(target.refuse_change());
        };
        let is_dir = self.get(ino)?.kind.file_type() == FileType::Directory;
        if location.slash && !is_dir {
            return Err(Errno::ENOTDIR);
        }
        if location.slash {
            return Err(Errno::EISDIR);
        }
        let dir = self.writable_parent(at, cx)?;
        self.may_take(dir, self.owner_at(&target, cx)?, cx)?;
        if is_dir {
            return Err(Errno::EISDIR);
        }
        self.remove_entry(dir, &location.name, cx.now)?;
        self.drop_link(ino, cx.now)?;
        self.watchers.entry(dir, &location.name, WatchKind::Rename);
        Ok(())
    }

    /// Removes an empty directory.
    pub fn rmdir(&mut self, at: &CheckedPath, cx: &Cx<'_>) -> Result<()> {
        let location = at.location();
        location.name_fits()?;
        let target = location.existing()?;
        if location.crosses() {
            return Err(Errno::EBUSY);
        }
        if let Node::Foreign(place) = &target
            && place.file_type() != FileType::Directory
        {
            self.writable_parent(at, cx)?;
            return Err(Errno::ENOTDIR);
        }
        let Node::Mem(ino) = target else {
            return Err(target.refuse_change());
        };
        let dir = self.writable_parent(at, cx)?;
        self.may_take(dir, self.owner_at(&target, cx)?, cx)?;
        match &self.get(ino)?.kind {
            Kind::Dir(victim) if victim.is_empty() => {}
            Kind::Dir(_) => return Err(Errno::ENOTEMPTY),
            Kind::ProcRoot => return Err(Errno::EBUSY),
            _ => return Err(Errno::ENOTDIR),
        }
        self.remove_entry(dir, &location.name, cx.now)?;
        self.drop_link(ino, cx.now)?;
        self.watchers.entry(dir, &location.name, WatchKind::Rename);
        Ok(())
    }

    /// One name less; the inode goes when it was the last and nothing holds it.
    fn drop_link(&mut self, ino: Ino, now: TimeSpec) -> Result<()> {
        let own_entry = self.is_own(ino);
        let inode = self.get_mut(ino)?;
        // A hard link to an image's file was charged when it was made, so its first removal pays it back.
        let charged = own_entry || inode.nlink > 1;
        inode.nlink = inode.nlink.saturating_sub(1);
        inode.times.change = now;
        let gone = inode.nlink == 0;
        if charged {
            self.ledger.refund_inode();
        }
        if gone {
            self.watchers.inode(ino, WatchKind::Rename);
            self.reap(ino);
        } else {
            self.watchers.inode(ino, WatchKind::Change);
        }
        Ok(())
    }

    fn reap(&mut self, ino: Ino) {
        if self.opens.contains_key(&ino) || self.inodes.get(&ino).is_none_or(|i| i.nlink > 0) {
            return;
        }
        let own = self.is_own(ino);
        if let Some(inode) = self.inodes.remove(&ino) {
            let charge = match &inode.kind {
                Kind::File(content) => content.charge(),
                Kind::Symlink(text) if own => text.len() as u64,
                _ => 0,
            };
            // Shrinking never fails.
            let _ = self.ledger.recharge_bytes(charge, 0);
        }
    }

    /// Moves an entry, replacing what is at the new name if POSIX allows.
    pub fn rename(&mut self, from: &CheckedPath, to: &CheckedPath, cx: &Cx<'_>) -> Result<()> {
        let (old, new) = (from.location(), to.location());
        old.name_fits()?;
        let source = old.existing()?;
        new.name_fits()?;
        if old.crosses() || new.crosses() {
            return Err(Errno::EBUSY);
        }
        let Node::Mem(ino) = source else {
            return Err(source.refuse_change());
        };
        let victim = match &new.target {
            None => None,
            Some(Node::Mem(victim)) => Some(*victim),
            // Hidden below; a directory would have been brought into memory.
            Some(Node::Foreign(place)) if place.anchor.is_some() => None,
            Some(other) => return Err(other.refuse_change()),
        };
        let inode = self.get(ino)?;
        let is_dir = inode.kind.file_type() == FileType::Directory;
        if matches!(inode.kind, Kind::ProcRoot) {
            return Err(Errno::EBUSY);
        }
        if !is_dir && (old.slash || new.slash) {
            return Err(Errno::ENOTDIR);
        }
        if let (true, Some(Node::Mem(dir))) = (is_dir, &new.parent)
            && self.is_within(*dir, ino)?
        {
            return Err(Errno::EINVAL);
        }
        if let (Some(victim), Some(Node::Mem(dir))) = (victim, &old.parent)
            && victim != ino
            && self.is_within(*dir, victim)?
        {
            return Err(Errno::ENOTEMPTY);
        }
        if victim == Some(ino) {
            return Ok(());
        }
        let old_dir = self.writable_parent(from, cx)?;
        let new_dir = self.creatable_parent(to, cx)?;
        self.may_take(old_dir, self.owner_at(&source, cx)?, cx)?;
        if let Some(target) = &new.target {
            self.may_take(new_dir, self.owner_at(target, cx)?, cx)?;
        }
        if is_dir && old_dir != new_dir {
            self.may_nest(new_dir, self.height(ino)?)?;
        }
        if let Some(victim) = victim {
            match (&self.get(victim)?.kind, is_dir) {
                (Kind::ProcRoot, _) => return Err(Errno::EBUSY),
                (Kind::Dir(_), false) => return Err(Errno::EISDIR),
                (Kind::Dir(dir), true) if !dir.is_empty() => return Err(Errno::ENOTEMPTY),
                (Kind::Dir(_), true) | (_, false) => {}
                (_, true) => return Err(Errno::ENOTDIR),
            }
            self.remove_entry(new_dir, &new.name, cx.now)?;
            self.drop_link(victim, cx.now)?;
        }
        if let Some(Node::Foreign(place)) = &new.target {
            match (place.file_type(), is_dir) {
                (FileType::Directory, _) => return Err(Errno::EBUSY),
                (_, true) => return Err(Errno::ENOTDIR),
                (_, false) => self.hide(new_dir, &new.name)?,
            }
        }
        let entry = Entry {
            ino,
            file_type: self.get(ino)?.kind.file_type(),
        };
        self.remove_entry(old_dir, &old.name, cx.now)?;
        self.add_entry(new_dir, new.name.clone(), entry, cx.now)?;
        let generation = self.changes.generation;
        let inode = self.get_mut(ino)?;
        inode.times.change = cx.now;
        if let Kind::Dir(dir) = &mut inode.kind {
            dir.moved = generation;
            dir.parent = new_dir;
            dir.name = new.name.clone();
        }
        self.watchers.entry(old_dir, &old.name, WatchKind::Rename);
        self.watchers.entry(new_dir, &new.name, WatchKind::Rename);
        self.watchers.inode(ino, WatchKind::Rename);
        Ok(())
    }

    /// Whether `height` directories may be put one below the other into `dir`.
    fn may_nest(&mut self, dir: Ino, height: u32) -> Result<()> {
        let max = self.ledger.quotas().max_directory_depth;
        let mut depth = height;
        let mut at = dir;
        while local(at) != ROOT {
            depth += 1;
            at = self.parent_of(at)?;
        }
        if depth > max {
            let error = LimitError::new(Limit::DirectoryDepth, max.into(), depth.into());
            return Err(self.ledger.report(error));
        }
        Ok(())
    }

    /// How many directories are one below the other in `top`, itself counted.
    fn height(&self, top: Ino) -> Result<u32> {
        let mut level = vec![top];
        let mut height = 0;
        while !level.is_empty() {
            height += 1;
            let mut next = Vec::new();
            for ino in level {
                let dir = self.dir(ino)?;
                if dir.subdirs > 0 {
                    let is_dir = |entry: &&Entry| entry.file_type == FileType::Directory;
                    let below = dir.entries.values().filter(is_dir);
                    next.extend(below.map(|entry| beside(ino, entry.ino)));
                }
            }
            level = next;
        }
        Ok(height)
    }

    /// Whether directory `dir` is `top` or below it.
    fn is_within(&self, dir: Ino, top: Ino) -> Result<bool> {
        let mut at = dir;
        loop {
            if at == top {
                return Ok(true);
            }
            if local(at) == ROOT {
                return Ok(false);
            }
            at = self.parent_of(at)?;
        }
    }

    // ---- contents --------------------------------------------------------------------------------------------------

    pub fn content(&self, ino: Ino) -> Result<&Content> {
        match &self.get(ino)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Dir(_) | Kind::ProcRoot => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub fn read(&self, ino: Ino, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(self.content(ino)?.read(offset, buf))
    }

    /// Writes as much as the quotas allow; `ENOSPC` or `EFBIG` when that is nothing.
    pub fn write(&mut self, ino: Ino, offset: u64, data: &[u8], cx_now: TimeSpec) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        if offset >= MAX_FILE_SIZE {
            return Err(Errno::EFBIG);
        }
        let room = usize::try_from(MAX_FILE_SIZE - offset).unwrap_or(usize::MAX);
        let data = data.get(..data.len().min(room)).unwrap_or(data);
        let content = self.content(ino)?;
        let old = content.charge();
        let limit = old.saturating_add(self.ledger.bytes_left());
        let (fits, charge) = content.fit(offset, data.len(), limit);
        if fits == 0 {
            return Err(self.ledger.no_bytes());
        }
        self.ledger.recharge_bytes(old, charge)?;
        let data = data.get(..fits).unwrap_or(data);
        let mut spare = self.spare.take();
        let inode = self.get_mut(ino)?;
        if let Kind::File(content) = &mut inode.kind {
            content.give_memory(&mut spare, data.len());
            content.write(offset, data);
        }
        inode.times.modify = cx_now;
        inode.times.change = cx_now;
        self.spare = spare;
        Ok(data.len())
    }

    pub fn truncate(&mut self, ino: Ino, len: u64, now: TimeSpec) -> Result<()> {
        if len > MAX_FILE_SIZE {
            return Err(Errno::EFBIG);
        }
        self.may_change(ino)?;
        let content = self.content(ino)?;
        let (old, new) = (content.charge(), content.charge_of_truncate(len));
        self.ledger.recharge_bytes(old, new)?;
        let mut spare = None;
        let inode = self.get_mut(ino)?;
        if let Kind::File(content) = &mut inode.kind {
            if len == 0 {
                spare = content.take_memory();
            }
            content.truncate(len);
        }
        inode.times.modify = now;
        inode.times.change = now;
        self.spare = spare.or_else(|| self.spare.take());
        self.watchers.inode(ino, WatchKind::Change);
        Ok(())
    }

    /// Tells the watches of a file, and of the directory through which it was opened, that it changed.
    pub fn changed(&mut self, ino: Ino, opened_as: Option<(Ino, &Name)>) {
        self.watchers.inode(ino, WatchKind::Change);
        if let Some((dir, name)) = opened_as {
            self.watchers.entry(dir, name, WatchKind::Change);
        }
    }

    // ---- attributes ------------------------------------------------------------------------------------------------

    pub fn stat(&self, ino: Ino) -> Result<Stat> {
        let inode = self.get(ino)?;
        let file_type = inode.kind.file_type();
        let (uid, gid) = self.owner_of(inode);
        let (size, allocated, rdev) = match &inode.kind {
            Kind::File(content) => (content.len(), content.allocated(), 0),
            Kind::Dir(_) => (BLOCK, BLOCK, 0),
            Kind::Symlink(text) => (text.len() as u64, 0, 0),
            Kind::Device(device) => (0, 0, device.rdev()),
            Kind::ProcRoot | Kind::Socket => (0, 0, 0),
        };
        let nlink = match &inode.kind {
            Kind::Dir(_) if inode.nlink == 0 => 0,
            // As overlayfs: nobody has counted what is underneath.
            Kind::Dir(Directory { lower: Some(_), .. }) => 1,
            Kind::Dir(dir) => 2 + u64::from(dir.subdirs),
            Kind::ProcRoot => 2,
            _ => u64::from(inode.nlink),
        };
        Ok(Stat {
            dev: device_number(tree_of(ino)),
            ino: match self.mounts.get(tree_of(ino)) {
                // Beside the numbers of the file system underneath.
                Some(mount) if mount.foreign.is_some() => COPIED_UP | local(ino),
                _ => local(ino),
            },
            mode: file_type.mode_bits() | inode.mode,
            nlink,
            uid,
            gid,
            rdev,
            size,
            blksize: BLOCK,
            blocks: allocated.div_ceil(BLOCK) * (BLOCK / SECTOR),
            atime: self.time_of(inode.times.access),
            mtime: self.time_of(inode.times.modify),
            ctime: self.time_of(inode.times.change),
            birthtime: self.time_of(inode.times.birth),
            file_type,
        })
    }

    pub fn statfs(&self) -> StatFs {
        let (quotas, usage) = (self.ledger.quotas(), self.ledger.usage());
        let free = self.ledger.bytes_left() / BLOCK;
        StatFs {
            fs_type: TMPFS_MAGIC,
            bsize: BLOCK,
            blocks: quotas.max_filesystem_bytes / BLOCK,
            bfree: free,
            bavail: free,
            files: quotas.max_inodes,
            ffree: quotas.max_inodes.saturating_sub(usage.inodes),
        }
    }

    pub fn chmod(&mut self, ino: Ino, mode: u32, cx: &Cx<'_>) -> Result<()> {
        self.must_own(ino, cx)?;
        let inode = self.get_mut(ino)?;
        inode.mode = mode & 0o7777;
        inode.times.change = cx.now;
        Ok(())
    }

    /// `None` leaves that part as it is.
    pub fn chown(
        &mut self,
        ino: Ino,
        uid: Option<u32>,
        gid: Option<u32>,
        cx: &Cx<'_>,
    ) -> Result<()> {
        self.may_change(ino)?;
        let (old_uid, old_gid) = self.owner_of(self.get(ino)?);
        let (uid, gid) = (uid.unwrap_or(old_uid), gid.unwrap_or(old_gid));
        if cx.uid != 0 && self.bits == PermissionBits::Enforced {
            let own = old_uid == cx.uid && uid == old_uid && (gid == old_gid || gid == cx.gid);
            if !own {
                return Err(Errno::EPERM);
            }
        }
        let inode = self.get_mut(ino)?;
        inode.uid = uid;
        inode.gid = gid;
        inode.times.change = cx.now;
        Ok(())
    }

    pub fn set_times(
        &mut self,
        ino: Ino,
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
        cx: &Cx<'_>,
    ) -> Result<()> {
        self.must_own(ino, cx)?;
        let times = &mut self.get_mut(ino)?.times;
        if let Some(time) = access {
            times.access = TimeSpec {
                nanos: time.nanos.min(999_999_999),
                ..time
            };
        }
        if let Some(time) = modify {
            times.modify = TimeSpec {
                nanos: time.nanos.min(999_999_999),
                ..time
            };
        }
        times.change = cx.now;
        Ok(())
    }

    // ---- holds -----------------------------------------------------------------------------------------------------

    /// Keeps an inode alive without a name; `InodeHold` pairs it with `release`.
    pub fn acquire(&mut self, ino: Ino) {
        *self.opens.entry(ino).or_insert(0) += 1;
    }

    pub fn release(&mut self, ino: Ino) {
        if let Some(count) = self.opens.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                self.opens.remove(&ino);
                self.reap(ino);
            }
        }
    }
}
