//! An immutable tree that many kernels share.
//!
//! A kernel looks at the image's inodes in place and copies one only when it changes it; contents and directory maps
//! stay shared until they are written. Starting a kernel on an image of any size costs the same.
//! Owners and times that the builder does not set are the VM's user and the moment of the VM's start.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::clock::TimeSpec;
use crate::content::Content;
use crate::device::Device;
use crate::errno::{Errno, Result};
use crate::exec::{ProgramFile, program_files};
use crate::inode::{Directory, Entry, IMAGE_OWNER, Ino, Inode, Kind, Name, ROOT, Times};
use crate::path::{GuestPath, NAME_MAX, normalize};
use crate::stat::FileType;

/// See the module's header.
#[derive(Debug)]
pub struct Image {
    nodes: Vec<Inode>,
}

impl Image {
    /// The tree of a bare machine, without further files.
    #[must_use]
    pub fn standard() -> Arc<Image> {
        static STANDARD: OnceLock<Arc<Image>> = OnceLock::new();
        STANDARD.get_or_init(|| Image::builder().build()).clone()
    }

    /// Begins an image that holds nothing but its root: for a mount.
    #[must_use]
    pub fn empty() -> ImageBuilder {
        ImageBuilder {
            nodes: vec![new_inode(
                Kind::Dir(Directory::new(ROOT, Name::default())),
                0o755,
            )],
            is_machine: false,
        }
    }

    /// Begins an image; it already holds the tree of a bare machine.
    #[must_use]
    pub fn builder() -> ImageBuilder {
        let mut builder = Image::empty();
        // The skeleton's paths are constants that cannot fail; a test holds that they are there.
        let _ = builder.skeleton();
        builder.is_machine = true;
        builder
    }

    /// Number of files, directories and links.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there is a root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn node(&self, ino: Ino) -> Option<&Inode> {
        self.nodes
            .get(usize::try_from(ino.checked_sub(ROOT)?).ok()?)
    }

    pub(crate) fn next_ino(&self) -> Ino {
        self.nodes.len() as Ino + ROOT
    }
}

/// Collects the files of an [`Image`]. Missing parents are made with mode 755; a file at a path that is there takes
/// its place, a directory there keeps its entries and takes the mode.
#[derive(Debug)]
pub struct ImageBuilder {
    nodes: Vec<Inode>,
    /// Whether it began with the tree of a bare machine.
    is_machine: bool,
}

fn new_inode(kind: Kind, mode: u32) -> Inode {
    Inode {
        kind,
        mode: mode & 0o7777,
        uid: IMAGE_OWNER,
        gid: IMAGE_OWNER,
        nlink: 1,
        times: Times::all(TimeSpec::BOOT),
        changed: 0,
    }
}

impl ImageBuilder {
    /// Adds a regular file at an absolute path.
    pub fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        bytes: impl Into<Arc<[u8]>>,
        mode: u32,
    ) -> Result<&mut Self> {
        self.put(
            path.as_ref(),
            Kind::File(Content::Shared(bytes.into())),
            mode,
        )?;
        Ok(self)
    }

    /// Adds a directory at an absolute path.
    pub fn dir(&mut self, path: impl AsRef<[u8]>, mode: u32) -> Result<&mut Self> {
        let ino = self.make_dirs(&absolute(path.as_ref())?)?;
        if let Some(node) = self.node_mut(ino) {
            node.mode = mode & 0o7777;
        }
        Ok(self)
    }

    /// Adds a symbolic link at an absolute path.
    pub fn symlink(
        &mut self,
        path: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
    ) -> Result<&mut Self> {
        let target = GuestPath::new(target.as_ref())?;
        self.put(
            path.as_ref(),
            Kind::Symlink(Arc::from(target.as_bytes())),
            0o777,
        )?;
        Ok(self)
    }

    /// Adds another name for the file or symbolic link at an absolute path.
    pub fn hard_link(
        &mut self,
        path: impl AsRef<[u8]>,
        existing: impl AsRef<[u8]>,
    ) -> Result<&mut Self> {
        let ino = self.find(&absolute(existing.as_ref())?)?;
        let path = absolute(path.as_ref())?;
        let (parent, name) = crate::path::split_last(&path);
        let parent = self.make_dirs(parent)?;
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Errno::EINVAL);
        }
        let node = self.node_mut(ino).ok_or(Errno::ENOENT)?;
        let file_type = node.kind.file_type();
        if !matches!(file_type, FileType::Regular | FileType::Symlink) {
            return Err(Errno::EPERM);
        }
        node.nlink = node.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
        let entries = Arc::make_mut(&mut self.dir_mut(parent)?.entries);
        if entries.contains_key(name) {
            // The name is taken; the link that was counted is not made.
            let node = self.node_mut(ino).ok_or(Errno::ENOENT)?;
            node.nlink -= 1;
            Err(Errno::EEXIST)
        } else {
            entries.insert(Arc::from(name), Entry { ino, file_type });
            Ok(self)
        }
    }

    /// Takes away what is at an absolute path, with all that is in it; nothing there is no error. What is the machine's
    /// own, devices and `/proc`, stays, and so do the directories that lead there.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<&mut Self> {
        let path = absolute(path.as_ref())?;
        let (parent, name) = crate::path::split_last(&path);
        if name.is_empty() {
            self.clear();
            return Ok(self);
        }
        let entry = match self.find(parent) {
            Ok(parent) => self
                .dir_mut(parent)?
                .entries
                .get_key_value(name)
                .map(|(name, entry)| (parent, name.clone(), *entry)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => None,
            Err(errno) => return Err(errno),
        };
        // All that goes, directories before what is in them; then it goes from behind.
        let mut found: Vec<(Ino, Name, Entry)> = entry.into_iter().collect();
        let mut next = 0;
        while let Some((_, _, entry)) = found.get(next) {
            let ino = entry.ino;
            next += 1;
            if entry.file_type == FileType::Directory
                && let Ok(dir) = self.dir_mut(ino)
            {
                let entries = dir.entries.iter();
                found.extend(entries.map(|(name, entry)| (ino, name.clone(), *entry)));
            }
        }
        for (parent, name, entry) in found.into_iter().rev() {
            self.unlink(parent, &name, entry)?;
        }
        Ok(self)
    }

    /// Takes a file or link out of the way of another one; whatever else is there stays.
    pub(crate) fn make_way(&mut self, path: &[u8]) -> Result<()> {
        let (parent, name) = crate::path::split_last(path);
        let Ok(parent) = self.find(parent) else {
            return Ok(());
        };
        match self.dir_mut(parent)?.entries.get(name).copied() {
            Some(entry) if matches!(entry.file_type, FileType::Regular | FileType::Symlink) => {
                self.unlink(parent, name, entry)
            }
            _ => Ok(()),
        }
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        *self = if self.is_machine {
            Image::builder()
        } else {
            Image::empty()
        };
    }

    /// Removes one name, unless it is the machine's or holds something. What has no name any more holds nothing.
    fn unlink(&mut self, parent: Ino, name: &[u8], entry: Entry) -> Result<()> {
        let node = self.node_mut(entry.ino).ok_or(Errno::ENOENT)?;
        match &node.kind {
            Kind::Dir(dir) if !dir.entries.is_empty() => return Ok(()),
            Kind::Dir(_) => {}
            Kind::File(_) | Kind::Symlink(_) => {
                node.nlink -= 1;
                if node.nlink == 0 {
                    node.kind = Kind::File(Content::Shared(Arc::default()));
                }
            }
            _ => return Ok(()),
        }
        let dir = self.dir_mut(parent)?;
        Arc::make_mut(&mut dir.entries).remove(name);
        if entry.file_type == FileType::Directory {
            dir.subdirs = dir.subdirs.saturating_sub(1);
        }
        Ok(())
    }

    /// Sets the modification time of what is at an absolute path.
    pub fn mtime(&mut self, path: impl AsRef<[u8]>, time: TimeSpec) -> Result<&mut Self> {
        let ino = self.find(&absolute(path.as_ref())?)?;
        let node = self.node_mut(ino).ok_or(Errno::ENOENT)?;
        node.times = Times::all(TimeSpec {
            nanos: time.nanos.min(999_999_999),
            ..time
        });
        Ok(self)
    }

    /// Sets the owner of what is at an absolute path.
    pub fn owner(&mut self, path: impl AsRef<[u8]>, uid: u32, gid: u32) -> Result<&mut Self> {
        let ino = self.find(&absolute(path.as_ref())?)?;
        let node = self.node_mut(ino).ok_or(Errno::ENOENT)?;
        node.uid = uid;
        node.gid = gid;
        Ok(self)
    }

    /// The image.
    #[must_use]
    pub fn build(&mut self) -> Arc<Image> {
        Arc::new(Image {
            nodes: std::mem::take(&mut self.nodes),
        })
    }

    fn node_mut(&mut self, ino: Ino) -> Option<&mut Inode> {
        self.nodes
            .get_mut(usize::try_from(ino.checked_sub(ROOT)?).ok()?)
    }

    fn dir_mut(&mut self, ino: Ino) -> Result<&mut Directory> {
        match self.node_mut(ino).map(|n| &mut n.kind) {
            Some(Kind::Dir(dir)) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn find(&mut self, path: &[u8]) -> Result<Ino> {
        let mut at = ROOT;
        for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            at = self
                .dir_mut(at)?
                .entries
                .get(name)
                .ok_or(Errno::ENOENT)?
                .ino;
        }
        Ok(at)
    }

    fn add(&mut self, parent: Ino, name: &[u8], make: impl FnOnce(Name) -> Inode) -> Result<Ino> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let ino = self.nodes.len() as Ino + ROOT;
        let name: Name = Arc::from(name);
        let node = make(name.clone());
        let file_type = node.kind.file_type();
        let dir = self.dir_mut(parent)?;
        let entries: &mut BTreeMap<Name, Entry> = Arc::make_mut(&mut dir.entries);
        entries.insert(name, Entry { ino, file_type });
        if file_type == FileType::Directory {
            dir.subdirs += 1;
        }
        self.nodes.push(node);
        Ok(ino)
    }

    fn make_dirs(&mut self, path: &[u8]) -> Result<Ino> {
        let mut at = ROOT;
        for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            at = match self.dir_mut(at)?.entries.get(name).copied() {
                Some(entry) if entry.file_type == FileType::Directory => entry.ino,
                Some(_) => return Err(Errno::ENOTDIR),
                None => self.add(at, name, |name| {
                    new_inode(Kind::Dir(Directory::new(at, name)), 0o755)
                })?,
            };
        }
        Ok(at)
    }

    fn put(&mut self, path: &[u8], kind: Kind, mode: u32) -> Result<Ino> {
        let path = absolute(path)?;
        let (parent, name) = crate::path::split_last(&path);
        if name.is_empty() {
            return Err(Errno::EISDIR);
        }
        let parent = self.make_dirs(parent)?;
        match self.dir_mut(parent)?.entries.get(name).copied() {
            Some(entry) if entry.file_type == FileType::Directory => Err(Errno::EISDIR),
            Some(entry) if entry.file_type == kind.file_type() => {
                let other_names = self.node_mut(entry.ino).filter(|node| node.nlink > 1);
                if let Some(node) = other_names {
                    node.nlink -= 1;
                    return self.add(parent, name, |_| new_inode(kind, mode));
                }
                let node = self.node_mut(entry.ino).ok_or(Errno::ENOENT)?;
                *node = new_inode(kind, mode);
                Ok(entry.ino)
            }
            Some(_) => Err(Errno::EEXIST),
            None => self.add(parent, name, |_| new_inode(kind, mode)),
        }
    }

    fn skeleton(&mut self) -> Result<()> {
        for dir in [
            "/bin",
            "/dev",
            "/etc",
            "/home",
            "/lib",
            "/opt",
            "/root",
            "/run",
            "/sbin",
            "/srv",
            "/usr/bin",
            "/usr/lib",
            "/usr/local/bin",
            "/usr/local/lib",
            "/var/log",
            "/workspace",
        ] {
            self.dir(dir, 0o755)?;
        }
        for dir in ["/tmp", "/var/tmp", "/dev/shm"] {
            self.dir(dir, 0o1777)?;
        }
        self.put(b"/proc", Kind::ProcRoot, 0o555)?;
        self.owner("/proc", 0, 0)?;
        for (name, device) in Device::ALL {
            let path = format!("/dev/{name}");
            self.put(path.as_bytes(), Kind::Device(device), 0o666)?;
            self.owner(&path, 0, 0)?;
        }
        for (path, program) in program_files() {
            match program {
                ProgramFile::Text(text) => self.file(&path, text, 0o755)?,
                ProgramFile::Link(target) => self.symlink(&path, target)?,
            };
        }
        self.symlink("/dev/fd", "/proc/self/fd")?;
        self.symlink("/dev/stdin", "/proc/self/fd/0")?;
        self.symlink("/dev/stdout", "/proc/self/fd/1")?;
        self.symlink("/dev/stderr", "/proc/self/fd/2")?;
        Ok(())
    }
}

fn absolute(path: &[u8]) -> Result<Vec<u8>> {
    let path = GuestPath::new(path)?;
    if !path.is_absolute() {
        return Err(Errno::EINVAL);
    }
    Ok(normalize(b"/", path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skeleton_is_whole() {
        let mut builder = Image::empty();
        assert_eq!(builder.skeleton(), Ok(()));
        for path in [
            "/tmp",
            "/proc",
            "/dev/null",
            "/dev/stdin",
            "/workspace",
            "/usr/bin",
        ] {
            assert!(builder.find(path.as_bytes()).is_ok(), "{path}");
        }
    }

    #[test]
    fn bad_entries() {
        let mut builder = Image::builder();
        assert_eq!(
            builder.file("relative", b"".to_vec(), 0o644).err(),
            Some(Errno::EINVAL)
        );
        assert_eq!(
            builder.file("/tmp", b"".to_vec(), 0o644).err(),
            Some(Errno::EISDIR)
        );
        assert!(builder.file("/a/b/c", b"1".to_vec(), 0o644).is_ok());
        assert_eq!(
            builder.file("/a/b/c/d", b"".to_vec(), 0o644).err(),
            Some(Errno::ENOTDIR)
        );
        assert_eq!(builder.dir("/a/b/c", 0o755).err(), Some(Errno::ENOTDIR));
        assert!(builder.file("/a/b/../b/c", b"2".to_vec(), 0o644).is_ok());
    }
}
