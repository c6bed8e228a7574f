//! Making, listing and removing directories.

use std::sync::Arc;

use crate::device::fill_random;
use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::file::{Listing, Object, Opened};
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
        list(&fs, &cx, node)
    }

    /// `opendir`: a descriptor for [`Kernel::readdir_fd`]; closed with `close`.
    pub fn opendir(&self, p: &Process, path: &[u8]) -> Result<Fd> {
        self.open(p, path, oflag::O_RDONLY | oflag::O_DIRECTORY, 0)
    }

    /// The next up to `max` entries of a directory opened with `opendir`, as it was when the first were asked for;
    /// empty at the end.
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
        let mut listing = file.listing.lock();
        if listing.is_none() {
            let cx = p.cx();
            let entries = list(&self.shared.lock(), &cx, node)?.into_iter();
            *listing = Some(Listing { entries });
        }
        Ok(listing
            .as_mut()
            .map(|l| l.entries.by_ref().take(max).collect())
            .unwrap_or_default())
    }

    /// Removes a file, or a directory with all that is in it; links are removed, not followed. Returns how many
    /// entries went.
    pub fn remove_all(&self, p: &Process, path: &[u8]) -> Result<u64> {
        enum Step {
            Visit(Vec<u8>),
            Leave(Vec<u8>),
        }
        let mut removed = 0;
        let mut steps = vec![Step::Visit(trim_slashes(path).to_vec())];
        while let Some(step) = steps.pop() {
            match step {
                Step::Visit(path) => match self.unlink(p, &path) {
                    Ok(()) => removed += 1,
                    Err(Errno::EISDIR) => {
                        let entries = self.readdir(p, &path)?;
                        steps.push(Step::Leave(path.clone()));
                        for entry in entries {
                            let mut below = path.clone();
                            if below.last() != Some(&b'/') {
                                below.push(b'/');
                            }
                            below.extend_from_slice(&entry.name);
                            steps.push(Step::Visit(below));
                        }
                    }
                    Err(error) => return Err(error),
                },
                Step::Leave(path) => {
                    self.rmdir(p, &path)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn list(fs: &MemFs, cx: &Cx<'_>, node: Node) -> Result<Vec<DirEntry>> {
    match node {
        Node::Mem(ino) => match &fs.get(ino)?.kind {
            Kind::Dir(dir) => Ok(dir
                .entries
                .iter()
                .map(|(name, entry)| DirEntry {
                    name: Arc::clone(name),
                    file_type: entry.file_type,
                })
                .collect()),
            Kind::ProcRoot => Ok(procfs::list(cx, ProcNode::Root)),
            _ => Err(Errno::ENOTDIR),
        },
        Node::Proc(node @ (ProcNode::Process | ProcNode::FdDir)) => Ok(procfs::list(cx, node)),
        Node::ProgramDir(_) => Ok(Vec::new()),
        Node::Proc(_) | Node::Program | Node::OpenFd(_) => Err(Errno::ENOTDIR),
    }
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
