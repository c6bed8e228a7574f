//! A root file system of the embedder's, with what a VM needs and it may lack: directories, and packages of the host.
//!
//! ```text
//!   directories   are shown where the file system has none, and made in it when something is put there
//!   packages      lie over a directory such as /root/node_modules: what they have comes first and never changes (EROFS),
//!                 what they lack is the file system's own
//! ```
//!
//! Nothing is written to the embedder's file system that no guest has written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use secure_exec_kernel::{
    Caller, DirEntry, Errno, FileType, Found, MountedFile, MountedFs, OpenHow, Stat, StatFs,
    TimeSpec, VM_OWNER, WatchSink,
};

use crate::virtual_file_system::number_of;

type Result<T> = std::result::Result<T, Errno>;

const MODE: u32 = 0o755;
/// Of a directory for everybody's files.
const SHARED_MODE: u32 = 0o1777;
const SHARED: &[u8] = b"tmp";
const BLOCK_BYTES: u64 = 4096;

/// What lies over directories of the VM, by their absolute paths.
pub type Overlays = Vec<(String, Arc<dyn MountedFs>)>;

/// Packages of the host over one directory.
struct Packages {
    path: Vec<u8>,
    fs: Arc<dyn MountedFs>,
}

/// See the module's text.
pub struct Furnished {
    base: Arc<dyn MountedFs>,
    packages: Vec<Packages>,
    /// Those that are shown. Not those that packages are over.
    directories: Mutex<BTreeSet<Vec<u8>>>,
    /// The time of directories that are only shown.
    made: OnceLock<TimeSpec>,
}

/// A place in packages.
struct InPackages<'f> {
    fs: &'f dyn MountedFs,
    path: &'f [u8],
    stat: Stat,
}

/// The path of a name's directory; `None` for the root.
fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    let cut = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    path.get(..cut)
}

/// What is behind `dir` in `path`, if `path` is there or beneath.
fn beneath<'p>(path: &'p [u8], dir: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(dir)?;
    if dir.is_empty() || rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix(b"/")
    }
}

/// A path beneath the root, as file systems get it.
fn inner(path: &str) -> Vec<u8> {
    let names: Vec<&[u8]> = path
        .as_bytes()
        .split(|b| *b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    names.join(&b'/')
}

fn is_absent<T>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Errno::ENOENT | Errno::ENOTDIR))
}

impl Furnished {
    /// `base` with these directories, and these packages by absolute paths of the VM.
    pub fn new<'p>(
        base: Arc<dyn MountedFs>,
        directories: impl Iterator<Item = &'p str>,
        packages: Overlays,
    ) -> Self {
        let packages: Vec<_> = packages
            .into_iter()
            .map(|(path, fs)| Packages {
                path: inner(&path),
                fs,
            })
            .collect();
        let mut shown = BTreeSet::new();
        let given = directories.map(inner);
        let above = packages
            .iter()
            .filter_map(|over| parent(&over.path).map(<[u8]>::to_vec));
        for path in given.chain(above) {
            let mut path = Some(path.as_slice());
            while let Some(dir) = path.filter(|dir| !dir.is_empty()) {
                shown.insert(dir.to_vec());
                path = parent(dir);
            }
        }
        Furnished {
            base,
            packages,
            directories: Mutex::new(shown),
            made: OnceLock::new(),
        }
    }

    fn directories(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_shown(&self, path: &[u8]) -> bool {
        self.directories().contains(path)
    }

    /// The packages that a path lies in, and the path in them.
    fn over<'f>(&'f self, path: &'f [u8]) -> Option<(&'f Packages, &'f [u8])> {
        self.packages
            .iter()
            .filter_map(|over| Some((over, beneath(path, &over.path)?)))
            .max_by_key(|(over, _)| over.path.len())
    }

    /// What packages have at a path.
    fn in_packages<'f>(
        &'f self,
        caller: &Caller<'_>,
        path: &'f [u8],
    ) -> Result<Option<InPackages<'f>>> {
        let Some((over, path)) = self.over(path) else {
            return Ok(None);
        };
        let fs = &*over.fs;
        match fs.lstat(caller, path) {
            Ok(stat) => Ok(Some(InPackages { fs, path, stat })),
            answer if is_absent(&answer) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A directory that is only shown.
    fn shown(&self, caller: &Caller<'_>, path: &[u8]) -> Stat {
        let time = *self.made.get_or_init(|| caller.now);
        let mode = if path == SHARED { SHARED_MODE } else { MODE };
        Stat {
            dev: 0,
            ino: number_of(path),
            mode: FileType::Directory.mode_bits() | mode,
            nlink: 2,
            uid: VM_OWNER,
            gid: VM_OWNER,
            rdev: 0,
            size: BLOCK_BYTES,
            blksize: BLOCK_BYTES,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            birthtime: time,
            file_type: FileType::Directory,
        }
    }

    /// Refuses a change of what packages have.
    fn check(&self, caller: &Caller<'_>, path: &[u8]) -> Result<()> {
        match self.in_packages(caller, path)? {
            Some(_) => Err(Errno::EROFS),
            None => Ok(()),
        }
    }

    /// Makes directories in the file system that are only shown, down to `dir`.
    fn make(&self, caller: &Caller<'_>, dir: &[u8]) -> Result<()> {
        if dir.is_empty() {
            return Ok(());
        }
        let is_over = self.packages.iter().any(|over| over.path == dir);
        if !is_over && !self.is_shown(dir) {
            // Of packages only: there is no such directory to put something into.
            let only_packages = self.in_packages(caller, dir)?.is_some()
                && is_absent(&self.base.lstat(caller, dir));
            return if only_packages {
                Err(Errno::EROFS)
            } else {
                Ok(())
            };
        }
        if !is_absent(&self.base.lstat(caller, dir)) {
            return Ok(());
        }
        self.make(caller, parent(dir).unwrap_or_default())?;
        let mode = if dir == SHARED { SHARED_MODE } else { MODE };
        match self.base.mkdir(caller, dir, mode) {
            Err(Errno::EEXIST) => Ok(()),
            answer => answer,
        }
    }

    /// Before something is put at a path.
    fn prepare(&self, caller: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.check(caller, path)?;
        self.make(caller, parent(path).unwrap_or_default())
    }

    /// Before what is at a path is changed.
    fn prepare_change(&self, caller: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.check(caller, path)?;
        if self.is_shown(path) {
            self.make(caller, path)?;
        }
        Ok(())
    }

    /// Before a directory goes away. `EBUSY` while packages lie in it.
    fn may_go(&self, caller: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.check(caller, path)?;
        let holds = |over: &Packages| beneath(&over.path, path).is_some();
        if self.packages.iter().any(holds) {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }
}

impl MountedFs for Furnished {
    fn lstat(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Stat> {
        if let Some(found) = self.in_packages(caller, path)? {
            return Ok(found.stat);
        }
        match self.base.lstat(caller, path) {
            Err(Errno::ENOENT) if self.is_shown(path) => Ok(self.shown(caller, path)),
            answer => answer,
        }
    }

    fn lookup(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Found> {
        let mut len = 0;
        loop {
            let here = path.get(..len).unwrap_or(path);
            let is_over = self.packages.iter().any(|over| over.path == here);
            if let Some((over, rest)) = self.over(path).filter(|_| is_over) {
                match over.fs.lookup(caller, rest) {
                    Ok(found) => {
                        let len = path.len() - rest.len() + found.len;
                        return Ok(Found { len, ..found });
                    }
                    answer if is_absent(&answer) => {}
                    Err(error) => return Err(error),
                }
            }
            let rest = path.get(len..).unwrap_or(&[]);
            let skip = usize::from(rest.first() == Some(&b'/'));
            let name = rest.get(skip..).unwrap_or(&[]);
            len += skip + name.iter().position(|b| *b == b'/').unwrap_or(name.len());
            let stat = self.lstat(caller, path.get(..len).unwrap_or(path))?;
            if len >= path.len() || stat.file_type == FileType::Symlink {
                return Ok(Found { len, stat });
            }
            if stat.file_type != FileType::Directory {
                return Err(Errno::ENOTDIR);
            }
        }
    }

    fn readlink(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Vec<u8>> {
        match self.in_packages(caller, path)? {
            Some(found) => found.fs.readlink(caller, found.path),
            None => self.base.readlink(caller, path),
        }
    }

    fn readdir(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Vec<DirEntry>> {
        let mut entries: BTreeMap<Arc<[u8]>, FileType> = BTreeMap::new();
        let mut is_there = self.is_shown(path);
        if let Some(found) = self.in_packages(caller, path)? {
            is_there = true;
            for entry in found.fs.readdir(caller, found.path)? {
                entries.insert(entry.name, entry.file_type);
            }
        }
        let own = self.base.readdir(caller, path);
        if !(is_there && is_absent(&own)) {
            for entry in own? {
                entries.entry(entry.name).or_insert(entry.file_type);
            }
        }
        let directories = self.directories();
        let added = directories
            .iter()
            .chain(self.packages.iter().map(|over| &over.path));
        for dir in added.filter(|dir| parent(dir) == Some(path)) {
            let name = beneath(dir, path).unwrap_or_default();
            entries
                .entry(Arc::from(name))
                .or_insert(FileType::Directory);
        }
        let entry = |(name, file_type)| DirEntry { name, file_type };
        Ok(entries.into_iter().map(entry).collect())
    }

    fn open(&self, caller: &Caller<'_>, path: &[u8], how: OpenHow) -> Result<Arc<dyn MountedFile>> {
        if let Some(found) = self.in_packages(caller, path)? {
            if how.create && how.exclusive {
                return Err(Errno::EEXIST);
            }
            if how.write || how.truncate {
                return Err(Errno::EROFS);
            }
            let how = OpenHow {
                create: false,
                ..how
            };
            return found.fs.open(caller, found.path, how);
        }
        if how.create {
            self.make(caller, parent(path).unwrap_or_default())?;
        }
        self.base.open(caller, path, how)
    }

    fn statfs(&self, caller: &Caller<'_>, path: &[u8]) -> Result<StatFs> {
        self.base.statfs(caller, path)
    }

    fn watch(
        &self,
        caller: &Caller<'_>,
        path: &[u8],
        sink: Arc<dyn WatchSink>,
    ) -> Result<Box<dyn Send + Sync>> {
        match self.in_packages(caller, path)? {
            Some(found) => found.fs.watch(caller, found.path, sink),
            None => self.base.watch(caller, path, sink),
        }
    }

    fn mkdir(&self, caller: &Caller<'_>, path: &[u8], mode: u32) -> Result<()> {
        if self.lstat(caller, path).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.prepare(caller, path)?;
        self.base.mkdir(caller, path, mode)
    }

    fn rmdir(&self, caller: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.may_go(caller, path)?;
        if self.is_shown(path) && !self.readdir(caller, path)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        match self.base.rmdir(caller, path) {
            Err(Errno::ENOENT) if self.directories().remove(path) => Ok(()),
            Ok(()) => {
                self.directories().remove(path);
                Ok(())
            }
            answer => answer,
        }
    }

    fn unlink(&self, caller: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.check(caller, path)?;
        self.base.unlink(caller, path)
    }

    fn rename(&self, caller: &Caller<'_>, from: &[u8], to: &[u8]) -> Result<()> {
        self.may_go(caller, from)?;
        self.may_go(caller, to)?;
        if self.is_shown(from) {
            self.make(caller, from)?;
        }
        self.prepare(caller, to)?;
        self.base.rename(caller, from, to)?;
        self.directories()
            .retain(|dir| beneath(dir, from).is_none());
        Ok(())
    }

    fn link(&self, caller: &Caller<'_>, existing: &[u8], new: &[u8]) -> Result<()> {
        self.check(caller, existing)?;
        self.prepare(caller, new)?;
        self.base.link(caller, existing, new)
    }

    fn symlink(&self, caller: &Caller<'_>, target: &[u8], path: &[u8]) -> Result<()> {
        self.prepare(caller, path)?;
        self.base.symlink(caller, target, path)
    }

    fn chmod(&self, caller: &Caller<'_>, path: &[u8], mode: u32) -> Result<()> {
        self.prepare_change(caller, path)?;
        self.base.chmod(caller, path, mode)
    }

    fn chown(
        &self,
        caller: &Caller<'_>,
        path: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        self.prepare_change(caller, path)?;
        self.base.chown(caller, path, uid, gid)
    }

    fn utimes(
        &self,
        caller: &Caller<'_>,
        path: &[u8],
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        self.prepare_change(caller, path)?;
        self.base.utimes(caller, path, access, modify)
    }

    fn truncate(&self, caller: &Caller<'_>, path: &[u8], len: u64) -> Result<()> {
        self.check(caller, path)?;
        self.base.truncate(caller, path, len)
    }
}
