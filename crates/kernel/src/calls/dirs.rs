//! Making, listing and removing directories.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::device::fill_random;
use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::file::{Object, Opened};
use crate::flags::{Follow, oflag};
use crate::inode::{Directory, Kind, Name, ROOT};
use crate::kernel::{Ask, Kernel};
use crate::memfs::{MAY_READ, MemFs};
use crate::mount::Place;
use crate::mounted_fs::Caller;
use crate::path::PATH_MAX;
use crate::policy::FsOp;
use crate::process::{Cx, Process};
use crate::procfs::{self, ProcNode};
use crate::resolve::{Last, Node};
use crate::stat::{DirEntry, FileType};

const TEMP_LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const TEMP_LEN: usize = 6;
const TEMP_TRIES: u32 = 100;
/// Entries of a foreign directory that a descriptor keeps for its next readers.
const LISTED_AHEAD: usize = 1024;

impl Kernel {
    /// `mkdir`.
    pub fn mkdir(&self, p: &Process, path: &[u8], mode: u32) -> Result<()> {
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Mkdir, path, Follow::Entry))?;
        at.location().name_fits()?;
        if at.location().last != Last::Name || at.location().target.is_some() {
            return Err(Errno::EEXIST);
        }
        if let Some(entry) = at.location().foreign_entry(&fs)? {
            drop(fs);
            let mode = mode & 0o1777 & !cx.umask;
            let mount = entry.changeable()?;
            return mount.mkdir(&Caller::new(&cx), &entry.path, mode);
        }
        let kind = Kind::Dir(Directory::new(ROOT, Name::default()));
        fs.create(&at, kind, mode & 0o1777 & !cx.umask, &cx)?;
        Ok(())
    }

    /// Makes a directory and its missing parents. Returns the first one made, as a prefix of `path`, or `None` when
    /// all were there.
    pub fn mkdir_recursive(&self, p: &Process, path: &[u8], mode: u32) -> Result<Option<Vec<u8>>> {
        let full = trim_slashes(path);
        let mut first: Option<&[u8]> = None;
        let mut todo: Vec<&[u8]> = vec![full];
        // Every round makes a level or goes up one; more rounds mean that someone removes what is made.
        let mut rounds = 4 * PATH_MAX;
        while let Some(prefix) = todo.last().copied() {
            p.go_on()?;
            rounds -= 1;
            if rounds == 0 {
                return Err(Errno::ENOENT);
            }
            match self.mkdir(p, prefix, mode) {
                Ok(()) => {
                    first.get_or_insert(prefix);
                    todo.pop();
                }
                Err(Errno::ENOENT) => match parent_text(prefix) {
                    Some(parent) => todo.push(parent),
                    None => return Err(Errno::ENOENT),
                },
                Err(error @ (Errno::EEXIST | Errno::EISDIR)) => {
                    // A slash at the end asks for a directory.
                    let found = if prefix.len() == full.len() {
                        self.stat(p, path)
                    } else {
                        self.stat(p, prefix)
                    };
                    match found {
                        Ok(stat) if stat.is_dir() => {}
                        Ok(_) | Err(Errno::ENOTDIR) if prefix.len() < full.len() => {
                            return Err(Errno::ENOTDIR);
                        }
                        Ok(_) => return Err(error),
                        Err(error) => return Err(error),
                    }
                    todo.pop();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(first.map(<[u8]>::to_vec))
    }

    /// `mkdtemp`: a new directory whose name is `prefix` and six random letters. Returns its path.
    pub fn mkdtemp(&self, p: &Process, prefix: &[u8]) -> Result<Vec<u8>> {
        for _ in 0..TEMP_TRIES {
            let mut random = [0; TEMP_LEN];
            fill_random(&mut random)?;
            let mut path = prefix.to_vec();
            path.extend(random.iter().filter_map(|byte| {
                TEMP_LETTERS
                    .get(usize::from(*byte) % TEMP_LETTERS.len())
                    .copied()
            }));
            match self.mkdir(p, &path, 0o700) {
                Ok(()) => return Ok(path),
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::EEXIST)
    }

    /// `rmdir`.
    pub fn rmdir(&self, p: &Process, path: &[u8]) -> Result<()> {
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Rmdir, path, Follow::Entry))?;
        match at.location().last {
            Last::Name => {}
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Root => return Err(Errno::EBUSY),
        }
        let Some(entry) = at.location().foreign_entry(&fs)? else {
            return fs.rmdir(&at, &cx);
        };
        match at.location().existing()? {
            Node::Foreign(place) if place.file_type() != FileType::Directory => Err(Errno::ENOTDIR),
            Node::Foreign(place) if fs.mounts.any_beneath(&place) => Err(Errno::EBUSY),
            Node::Foreign(_) => {
                drop(fs);
                entry.changeable()?.rmdir(&Caller::new(&cx), &entry.path)
            }
            other => Err(other.refuse_change()),
        }
    }

    /// Lists a directory, sorted by name, without `.` and `..`.
    pub fn readdir(&self, p: &Process, path: &[u8]) -> Result<Vec<DirEntry>> {
        let cx = p.cx();
        let (fs, at) = self.check(&cx, Ask::new(FsOp::ReadDir, path, Follow::Final))?;
        let node = at.location().existing()?;
        if let Node::Mem(ino) = node {
            fs.may(ino, &cx, MAY_READ)?;
        }
        match list(&fs, &cx, &node, None, usize::MAX)? {
            Listed::All(entries) => Ok(entries),
            Listed::Over(merge) => {
                drop(fs);
                merge.entries(&cx, None, usize::MAX)
            }
        }
    }

    /// `opendir`: a descriptor for [`Kernel::readdir_fd`]; closed with `close`.
    pub fn opendir(&self, p: &Process, path: &[u8]) -> Result<Fd> {
        self.open(p, path, oflag::O_RDONLY | oflag::O_DIRECTORY, 0)
    }

    /// The next up to `max` entries, by name, of a directory opened with `opendir`; empty at the end. An entry that comes
    /// or goes meanwhile may be seen or not; any other is seen once.
    pub fn readdir_fd(&self, p: &Process, fd: Fd, max: usize) -> Result<Vec<DirEntry>> {
        let file = p.file(fd)?;
        let node = match &file.object {
            Object::Inode {
                hold,
                opened: Opened::Directory,
                ..
            } => Node::Mem(hold.ino()),
            Object::Directory { node } => node.clone(),
            _ => return Err(Errno::ENOTDIR),
        };
        let mut listing = file.listing.lock();
        let cx = p.cx();
        if listing.ahead.is_empty() {
            let listed = list(
                &self.shared.lock(),
                &cx,
                &node,
                listing.last.as_deref(),
                max,
            )?;
            listing.ahead = match listed {
                Listed::All(entries) => entries,
                // A foreign directory is listed as a whole each time, so more than is wanted now is kept.
                Listed::Over(merge) => {
                    merge.entries(&cx, listing.last.as_deref(), max.max(LISTED_AHEAD))?
                }
            }
            .into();
        }
        let n = max.min(listing.ahead.len());
        let entries: Vec<DirEntry> = listing.ahead.drain(..n).collect();
        if let Some(last) = entries.last() {
            listing.last = Some(last.name.clone());
        }
        Ok(entries)
    }

    /// Removes a file, or a directory with all that is in it; links are removed, not followed. Returns how many
    /// entries went. `EINTR` once the process is interrupted.
    pub fn remove_all(&self, p: &Process, path: &[u8]) -> Result<u64> {
        enum Step {
            /// An entry of a directory; the path is put together only when its turn comes.
            Visit(Arc<[u8]>, Option<Name>),
            Leave(Arc<[u8]>),
        }
        let mut removed = 0;
        let mut steps = vec![Step::Visit(Arc::from(trim_slashes(path)), None)];
        while let Some(step) = steps.pop() {
            p.go_on()?;
            let (dir, name) = match step {
                Step::Visit(dir, name) => (dir, name),
                Step::Leave(dir) => {
                    self.rmdir(p, &dir)?;
                    removed += 1;
                    continue;
                }
            };
            let path = match &name {
                Some(name) => child(&dir, name),
                None => dir.to_vec(),
            };
            match self.unlink(p, &path) {
                Ok(()) => removed += 1,
                Err(Errno::EISDIR) => {
                    let entries = self.readdir(p, &path)?;
                    let dir: Arc<[u8]> = Arc::from(path);
                    steps.push(Step::Leave(dir.clone()));
                    steps.extend(
                        entries
                            .into_iter()
                            .rev()
                            .map(|e| Step::Visit(dir.clone(), Some(e.name))),
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

fn child(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Entries of a directory, or what is needed to ask a foreign file system for them.
enum Listed {
    All(Vec<DirEntry>),
    Over(Merge),
}

/// A listing that is not complete without a foreign file system's.
struct Merge {
    place: Arc<Place>,
    /// Known without asking; these win.
    own: BTreeMap<Name, FileType>,
    /// Foreign names that do not show.
    hidden: BTreeSet<Name>,
}

impl Merge {
    /// Must be called without the kernel's lock.
    fn entries(self, cx: &Cx<'_>, after: Option<&[u8]>, max: usize) -> Result<Vec<DirEntry>> {
        let Merge {
            place,
            mut own,
            hidden,
        } = self;
        let listed = place.mount.fs()?.readdir(&Caller::new(cx), &place.path)?;
        for entry in listed {
            let usable = !matches!(&*entry.name, b"" | b"." | b"..")
                && !entry.name.contains(&b'/')
                && !entry.name.contains(&0);
            if usable && !hidden.contains(&entry.name) {
                own.entry(entry.name).or_insert(entry.file_type);
            }
        }
        Ok(own
            .into_iter()
            .filter(|(name, _)| after.is_none_or(|after| **name > *after))
            .take(max)
            .map(|(name, file_type)| DirEntry { name, file_type })
            .collect())
    }
}

/// Up to `max` entries whose names come after `after`.
fn list(fs: &MemFs, cx: &Cx<'_>, node: &Node, after: Option<&[u8]>, max: usize) -> Result<Listed> {
    let made_up = match node {
        Node::Mem(ino) => match &fs.get(*ino)?.kind {
            Kind::Dir(Directory {
                entries,
                lower: Some(lower),
                ..
            }) => {
                let own = entries
                    .iter()
                    .map(|(name, entry)| (name.clone(), entry.file_type));
                let place = Place {
                    path: lower.path.clone(),
                    ..Place::root(&lower.mount)
                };
                return Ok(Listed::Over(Merge {
                    place: Arc::new(place),
                    own: own.collect(),
                    hidden: lower.whiteouts.clone(),
                }));
            }
            Kind::Dir(dir) => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                return Ok(Listed::All(
                    dir.entries
                        .range::<[u8], _>((from, Bound::Unbounded))
                        .take(max)
                        .map(|(name, entry)| DirEntry {
                            name: Arc::clone(name),
                            file_type: entry.file_type,
                        })
                        .collect(),
                ));
            }
            Kind::ProcRoot => procfs::list(cx, ProcNode::Root),
            _ => return Err(Errno::ENOTDIR),
        },
        Node::Foreign(place) if place.file_type() == FileType::Directory => {
            let covered = fs.mounts.names_in(place).into_iter();
            return Ok(Listed::Over(Merge {
                place: place.clone(),
                own: covered
                    .map(|name| (Arc::from(name), FileType::Directory))
                    .collect(),
                hidden: BTreeSet::new(),
            }));
        }
        Node::Proc(node) if procfs::file_type(*node) == FileType::Directory => {
            procfs::list(cx, *node)
        }
        Node::ProgramDir(_) => Vec::new(),
        Node::Foreign(_) | Node::Proc(_) | Node::Program | Node::OpenFd(_) => {
            return Err(Errno::ENOTDIR);
        }
    };
    let rest = made_up
        .into_iter()
        .filter(|e| after.is_none_or(|after| *e.name > *after));
    Ok(Listed::All(rest.take(max).collect()))
}

/// Without trailing slashes, but for the root.
fn trim_slashes(path: &[u8]) -> &[u8] {
    let mut path = path;
    while let [rest @ .., b'/'] = path {
        if rest.is_empty() {
            break;
        }
        path = rest;
    }
    path
}

/// The text before the last name; `None` when there is none.
fn parent_text(path: &[u8]) -> Option<&[u8]> {
    let cut = path.iter().rposition(|b| *b == b'/')?;
    let (parent, _) = path.split_at(cut);
    if parent.is_empty() {
        None
    } else {
        Some(trim_slashes(parent))
    }
}
