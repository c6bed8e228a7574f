//! Making, listing and removing directories.

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
use crate::path::PATH_MAX;
use crate::policy::FsOp;
use crate::process::{Cx, Process};
use crate::procfs::{self, ProcNode};
use crate::resolve::{Last, Node};
use crate::stat::DirEntry;

const TEMP_LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const TEMP_LEN: usize = 6;
const TEMP_TRIES: u32 = 100;

impl Kernel {
    /// `mkdir`.
    pub fn mkdir(&self, p: &Process, path: &[u8], mode: u32) -> Result<()> {
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Mkdir, path, Follow::Entry))?;
        at.location().name_fits()?;
        if at.location().last != Last::Name || at.location().target.is_some() {
            return Err(Errno::EEXIST);
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
                    match self.stat(p, prefix) {
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
        fs.rmdir(&at, &cx)
    }

    /// Lists a directory, sorted by name, without `.` and `..`.
    pub fn readdir(&self, p: &Process, path: &[u8]) -> Result<Vec<DirEntry>> {
        let cx = p.cx();
        let (fs, at) = self.check(&cx, Ask::new(FsOp::ReadDir, path, Follow::Final))?;
        let node = at.location().existing()?;
        if let Node::Mem(ino) = node {
            fs.may(ino, &cx, MAY_READ)?;
        }
        list(&fs, &cx, node, None, usize::MAX)
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
            Object::Directory { node } => *node,
            _ => return Err(Errno::ENOTDIR),
        };
        let mut listed = file.listed.lock();
        let cx = p.cx();
        let entries = list(&self.shared.lock(), &cx, node, listed.as_deref(), max)?;
        if let Some(last) = entries.last() {
            *listed = Some(last.name.clone());
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

/// Up to `max` entries whose names come after `after`.
fn list(
    fs: &MemFs,
    cx: &Cx<'_>,
    node: Node,
    after: Option<&[u8]>,
    max: usize,
) -> Result<Vec<DirEntry>> {
    let made_up = match node {
        Node::Mem(ino) => match &fs.get(ino)?.kind {
            Kind::Dir(dir) => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                return Ok(dir
                    .entries
                    .range::<[u8], _>((from, Bound::Unbounded))
                    .take(max)
                    .map(|(name, entry)| DirEntry {
                        name: Arc::clone(name),
                        file_type: entry.file_type,
                    })
                    .collect());
            }
            Kind::ProcRoot => procfs::list(cx, ProcNode::Root),
            _ => return Err(Errno::ENOTDIR),
        },
        Node::Proc(node @ (ProcNode::Process | ProcNode::FdDir)) => procfs::list(cx, node),
        Node::ProgramDir(_) => Vec::new(),
        Node::Proc(_) | Node::Program | Node::OpenFd(_) => return Err(Errno::ENOTDIR),
    };
    let rest = made_up
        .into_iter()
        .filter(|e| after.is_none_or(|after| *e.name > *after));
    Ok(rest.take(max).collect())
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
