//! Mounting and unmounting: for the host only.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::flags::Follow;
use crate::inode::{Lower, ROOT, tree_of};
use crate::kernel::{Ask, Kernel};
use crate::mount::{
    Foreign, Mount, MountInfo, MountOptions, MountSource, Place, Point, device_number,
};
use crate::mounted_fs::Caller;
use crate::policy::FsOp;
use crate::resolve::{Node, Walk};
use crate::stat::FileType;

/// What stays where it is when something is mounted at `/`.
const KEPT_AT_ROOT: [&[u8]; 2] = [b"dev", b"proc"];

impl Kernel {
    /// Mounts at an absolute path, for all processes at once. A missing directory is made. `EBUSY` where something is
    /// mounted already. What is mounted at `/` keeps the VM's own `/dev` and `/proc`.
    pub fn mount(&self, path: &[u8], source: MountSource, options: MountOptions) -> Result<()> {
        let host = self.host();
        if path.first() != Some(&b'/') {
            return Err(Errno::EINVAL);
        }
        let path = crate::path::normalize(b"/", path);
        match self.mkdir_recursive(host, &path, 0o755) {
            // A name in a file system that cannot have it is covered all the same.
            Ok(_) | Err(Errno::EROFS | Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let cx = host.cx();
        let top = match &source {
            MountSource::Foreign(fs) | MountSource::CopyOnWrite(fs) => {
                let stat = fs.lstat(&Caller::new(&cx), b"")?;
                if stat.file_type != FileType::Directory {
                    return Err(Errno::ENOTDIR);
                }
                Some(stat)
            }
            MountSource::Memory | MountSource::Image(_) => None,
        };
        let walk = Walk {
            creates: true,
            ..Walk::from(Follow::Final)
        };
        let ask = Ask {
            op: FsOp::Stat,
            path: &path,
            walk,
        };
        let (mut fs, at) = self.check(&cx, ask)?;
        let location = at.location();
        let point = match (&location.target, &location.parent) {
            (Some(node), _) if node.is_mount_root() || location.crosses() => {
                return Err(Errno::EBUSY);
            }
            (Some(Node::Mem(ino)), _) => {
                fs.dir(*ino)?;
                Point::Inode(*ino)
            }
            (Some(Node::Foreign(place)), _) if place.file_type() == FileType::Directory => {
                Point::Place(place.clone())
            }
            (Some(_), _) => return Err(Errno::ENOTDIR),
            (None, Some(Node::Foreign(dir))) => {
                Point::Place(Arc::new(dir.at(&dir.child(&location.name), None)))
            }
            (None, _) => return Err(Errno::ENOENT),
        };
        if matches!(point, Point::Inode(ROOT)) && fs.mounts.is_covered(ROOT) {
            return Err(Errno::EBUSY);
        }
        let id = fs.mounts.next_id()?;
        let kind = source.kind();
        let mut mount = Mount {
            point,
            root: Node::Mem(ROOT),
            kind,
            read_only: options.read_only,
            image: None,
            foreign: None,
        };
        match source {
            MountSource::Memory => {
                mount.root = Node::Mem(fs.add_tree(id, None, None, cx.now));
            }
            MountSource::Image(image) => {
                mount.root = Node::Mem(fs.add_tree(id, Some(&image), None, cx.now));
                mount.image = Some(image);
            }
            MountSource::Foreign(given) => {
                let foreign = Foreign::new(id, given, options.read_only);
                mount.root = Node::Foreign(Arc::new(Place::root(&foreign)));
                mount.foreign = Some(foreign);
            }
            MountSource::CopyOnWrite(given) => {
                let foreign = Foreign::new(id, given, true);
                let lower = Lower {
                    mount: foreign.clone(),
                    path: Arc::default(),
                    whiteouts: BTreeSet::new(),
                };
                let root = fs.add_tree(id, None, Some(lower), cx.now);
                if let Some(stat) = top {
                    fs.take_attributes(root, &foreign.shown(&cx, stat))?;
                }
                mount.root = Node::Mem(root);
                mount.foreign = Some(foreign);
            }
        }
        let at_root = matches!(mount.point, Point::Inode(ROOT));
        let root = mount.root.clone();
        fs.mounts.add(id, mount);
        if at_root {
            for name in KEPT_AT_ROOT {
                let Some((_, kept)) = fs.lookup(ROOT, name)? else {
                    continue;
                };
                let point = match &root {
                    Node::Foreign(place) => Point::Place(Arc::new(place.at(name, None))),
                    _ => Point::Inode(fs.add_directory(&root, name, cx.now)?),
                };
                fs.mounts.cover(&point, Node::Mem(kept.ino));
            }
        }
        Ok(())
    }

    /// Takes away what is mounted at a path. What is open in it stays open and fails with `EIO`. `EINVAL` where nothing is
    /// mounted, `EBUSY` while something else is mounted inside.
    pub fn unmount(&self, path: &[u8]) -> Result<()> {
        let cx = self.host().cx();
        let text = crate::path::normalize(b"/", path);
        // By the table first: a file system above that fails must not keep it.
        let listed = self.shared.lock().mount_at(&text);
        let (mut fs, id) = if let Some(id) = listed {
            (self.shared.lock(), id)
        } else {
            let (fs, at) = self.check(&cx, Ask::new(FsOp::Stat, path, Follow::Final))?;
            let root = at.location().existing()?;
            if !root.is_mount_root() {
                return Err(Errno::EINVAL);
            }
            (fs, root.tree())
        };
        let inside = |point: &Point| match point {
            Point::Inode(ino) => tree_of(*ino) == id,
            Point::Place(place) => place.mount.id == id,
        };
        if fs.mounts.iter().any(|(_, mount)| inside(&mount.point)) {
            return Err(Errno::EBUSY);
        }
        fs.drop_tree(id);
        let gone = fs.mounts.remove(id).ok_or(Errno::EINVAL)?;
        // What the embedder gave may be dropped with it, and must not be under the lock.
        drop(fs);
        drop(gone);
        Ok(())
    }

    /// What is mounted, oldest first.
    #[must_use]
    pub fn mounts(&self) -> Vec<MountInfo> {
        let fs = self.shared.lock();
        fs.mounts
            .iter()
            .filter_map(|(id, mount)| {
                let covered = fs.covered_by(id).ok()?;
                Some(MountInfo {
                    path: fs.path_of_node(&covered).ok()?,
                    kind: mount.kind,
                    read_only: mount.read_only,
                    dev: device_number(id),
                })
            })
            .collect()
    }

    /// Whether a path, taken as it is written, lies in a mount that never changes through the VM. No file system is
    /// asked, so that nothing is learnt of what is there.
    pub fn is_in_read_only_mount(&self, path: &[u8]) -> bool {
        let path = crate::path::normalize(b"/", path);
        let contains = |mount: &MountInfo| {
            let rest = path.strip_prefix(&mount.path[..]);
            rest.is_some_and(|rest| rest.starts_with(b"/") || mount.path.ends_with(b"/"))
        };
        let innermost = self
            .mounts()
            .into_iter()
            .filter(contains)
            .max_by_key(|mount| mount.path.len());
        innermost.is_some_and(|mount| mount.read_only)
    }
}
