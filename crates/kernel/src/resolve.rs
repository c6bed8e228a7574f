//! From a path to a place in the tree.
//!
//! The walk goes name by name over inodes, never over text, so `..`, links and renames mean what they mean on Linux.
//! Links are counted over the whole walk. A process's program is found at its own path before the tree is asked; if the
//! program's directories do not exist, they appear as empty directories to this process.

use std::borrow::Cow;
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::flags::Follow;
use crate::inode::{Ino, Kind, Name, ROOT};
use crate::memfs::{MAY_EXEC, MemFs};
use crate::path::{GuestPath, LINK_DEPTH_MAX, NAME_MAX, is_ancestor, normalize};
use crate::process::Cx;
use crate::procfs::{self, ProcNode};
use crate::stat::FileType;

/// What a path can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// An inode of the tree.
    Mem(Ino),
    /// A file of `/proc`.
    Proc(ProcNode),
    /// The process's program.
    Program,
    /// A missing directory above the program; the number is the length of its path.
    ProgramDir(usize),
    /// A descriptor that has no inode, reached through `/proc/self/fd`.
    OpenFd(i32),
}

impl Node {
    /// Why what is not an ordinary inode cannot be changed.
    pub fn refuse_change(self) -> Errno {
        match self {
            Node::Program | Node::ProgramDir(_) => Errno::EROFS,
            Node::Mem(_) | Node::Proc(_) | Node::OpenFd(_) => Errno::EPERM,
        }
    }
}

/// What the last part of a path was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Name,
    Dot,
    DotDot,
    Root,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// The directory that holds the last name; `None` where there is none in the tree.
    pub parent: Option<Node>,
    pub name: Name,
    pub last: Last,
    /// `None`: the last name is free.
    pub target: Option<Node>,
    /// The path ended in a slash.
    pub slash: bool,
}

impl Location {
    pub fn existing(&self) -> Result<Node> {
        self.target.ok_or(Errno::ENOENT)
    }

    /// A call on the entry itself looks at the last name only after it has walked all its paths, so that the name's
    /// length is not an error of the walk.
    pub fn name_fits(&self) -> Result<()> {
        if self.name.len() > NAME_MAX {
            Err(Errno::ENAMETOOLONG)
        } else {
            Ok(())
        }
    }

    fn at(node: Node, last: Last) -> Location {
        Location {
            parent: Some(node),
            name: Name::default(),
            last,
            target: Some(node),
            slash: false,
        }
    }
}

/// How to walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub follow: Follow,
    /// For `O_CREAT`: a trailing slash is `EISDIR` wherever it leads.
    pub creates: bool,
}

impl From<Follow> for Walk {
    fn from(follow: Follow) -> Walk {
        Walk {
            follow,
            creates: false,
        }
    }
}

/// Resolves a path for a process.
pub(crate) fn resolve(
    fs: &MemFs,
    cx: &Cx<'_>,
    path: GuestPath<'_>,
    walk: Walk,
) -> Result<Location> {
    let found = Walker {
        fs,
        cx,
        with_program: true,
    }
    .walk(path, walk);
    let missing = match &found {
        Ok(location) => location.target.is_none(),
        Err(errno) => matches!(errno, Errno::ENOENT | Errno::ENOTDIR),
    };
    if missing
        && walk.follow != Follow::Entry
        && !walk.creates
        && let Some(location) = beside_the_tree(fs, cx, path)
    {
        return location;
    }
    found
}

/// The program, or a directory above it, when the tree does not have the directories.
fn beside_the_tree(fs: &MemFs, cx: &Cx<'_>, path: GuestPath<'_>) -> Option<Result<Location>> {
    let program = cx.process.program()?;
    let base = if path.is_absolute() {
        b"/".to_vec()
    } else {
        fs.path_of(cx.cwd).ok()?
    };
    let full = normalize(&base, path.as_bytes());
    let node = if full == program.path() {
        Node::Program
    } else if is_ancestor(&full, program.path()) {
        Node::ProgramDir(full.len())
    } else {
        return None;
    };
    let slash = path.as_bytes().ends_with(b"/");
    if slash && node == Node::Program {
        return Some(Err(Errno::ENOTDIR));
    }
    let (_, name) = crate::path::split_last(&full);
    Some(Ok(Location {
        parent: None,
        name: Arc::from(name),
        last: Last::Name,
        target: Some(node),
        slash,
    }))
}

struct Walker<'w> {
    fs: &'w MemFs,
    cx: &'w Cx<'w>,
    with_program: bool,
}

/// What following a link leads to.
enum Jump {
    Text(Vec<u8>),
    To(Location),
}

impl Walker<'_> {
    fn walk(&self, path: GuestPath<'_>, walk: Walk) -> Result<Location> {
        let mut rest: Cow<'_, [u8]> = Cow::Borrowed(path.as_bytes());
        let mut pos = 0;
        let mut links = 0;
        let mut here = if path.is_absolute() {
            Node::Mem(ROOT)
        } else {
            Node::Mem(self.cx.cwd)
        };
        let mut last = Location::at(
            here,
            if path.is_absolute() {
                Last::Root
            } else {
                Last::Dot
            },
        );
        loop {
            let tail = rest.get(pos..).unwrap_or(&[]);
            let start = tail.iter().position(|b| *b != b'/').unwrap_or(tail.len());
            let tail = tail.get(start..).unwrap_or(&[]);
            if tail.is_empty() {
                return Ok(last);
            }
            let len = tail.iter().position(|b| *b == b'/').unwrap_or(tail.len());
            let (name, after) = tail.split_at(len);
            let is_last = after.iter().all(|b| *b == b'/');
            let slash = is_last && !after.is_empty();
            pos += start + len;

            self.search(here)?;
            if name == b"." || name == b".." {
                let kind = if name == b"." {
                    Last::Dot
                } else {
                    Last::DotDot
                };
                if kind == Last::DotDot {
                    here = self.parent(here)?;
                }
                last = Location::at(here, kind);
                continue;
            }
            if slash && walk.creates {
                return Err(Errno::EISDIR);
            }
            if name.len() > NAME_MAX {
                if is_last && walk.follow == Follow::Entry {
                    let name = Arc::from(name);
                    return Ok(Location {
                        parent: Some(here),
                        name,
                        last: Last::Name,
                        target: None,
                        slash,
                    });
                }
                return Err(Errno::ENAMETOOLONG);
            }
            let (shared_name, target) = self.lookup(here, name, is_last)?;
            let Some(target) = target else {
                if is_last {
                    let name = Arc::from(name);
                    return Ok(Location {
                        parent: Some(here),
                        name,
                        last: Last::Name,
                        target: None,
                        slash,
                    });
                }
                return Err(Errno::ENOENT);
            };
            let file_type = self.file_type(target);
            let through = match walk.follow {
                _ if !is_last => true,
                Follow::Final => true,
                Follow::Link => slash,
                Follow::Entry => false,
            };
            if file_type == FileType::Symlink && through {
                links += 1;
                if links > LINK_DEPTH_MAX {
                    return Err(Errno::ELOOP);
                }
                match self.jump(target)? {
                    Jump::Text(mut text) => {
                        if text.first() == Some(&b'/') {
                            here = Node::Mem(ROOT);
                            last = Location::at(here, Last::Root);
                        }
                        text.extend_from_slice(after);
                        rest = Cow::Owned(text);
                        pos = 0;
                        continue;
                    }
                    Jump::To(location) => {
                        here = location.existing()?;
                        if slash && self.file_type(here) != FileType::Directory {
                            return Err(Errno::ENOTDIR);
                        }
                        last = Location { slash, ..location };
                        continue;
                    }
                }
            }
            if slash && file_type != FileType::Directory && walk.follow != Follow::Entry {
                return Err(Errno::ENOTDIR);
            }
            last = Location {
                parent: Some(here),
                name: shared_name,
                last: Last::Name,
                target: Some(target),
                slash,
            };
            if is_last {
                return Ok(last);
            }
            here = target;
        }
    }

    /// The place must be a directory that the caller may search.
    fn search(&self, here: Node) -> Result<()> {
        if self.file_type(here) != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        match here {
            Node::Mem(ino) => self.fs.may(ino, self.cx, MAY_EXEC),
            _ => Ok(()),
        }
    }

    fn file_type(&self, node: Node) -> FileType {
        match node {
            Node::Mem(ino) => self
                .fs
                .get(ino)
                .map_or(FileType::Regular, |inode| inode.kind.file_type()),
            Node::Proc(node) => procfs::file_type(node),
            Node::Program => FileType::Regular,
            Node::ProgramDir(_) => FileType::Directory,
            Node::OpenFd(_) => FileType::Fifo,
        }
    }

    fn parent(&self, here: Node) -> Result<Node> {
        match here {
            Node::Mem(ino) => Ok(Node::Mem(self.fs.parent_of(ino)?)),
            Node::Proc(node) => {
                Ok(procfs::parent(node).map_or(Node::Mem(self.fs.proc_root()), Node::Proc))
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn lookup(&self, here: Node, name: &[u8], is_last: bool) -> Result<(Name, Option<Node>)> {
        match here {
            Node::Mem(ino) => {
                if is_last && self.is_program(ino, name) {
                    return Ok((Arc::from(name), Some(Node::Program)));
                }
                match &self.fs.get(ino)?.kind {
                    Kind::Dir(dir) => Ok(match dir.entries.get_key_value(name) {
                        Some((name, entry)) => (name.clone(), Some(Node::Mem(entry.ino))),
                        None => (Name::default(), None),
                    }),
                    Kind::ProcRoot => {
                        let node = procfs::lookup(self.cx, ProcNode::Root, name);
                        Ok((Arc::from(name), node.map(Node::Proc)))
                    }
                    _ => Err(Errno::ENOTDIR),
                }
            }
            Node::Proc(dir) => {
                let node = procfs::lookup(self.cx, dir, name);
                Ok((Arc::from(name), node.map(Node::Proc)))
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Whether a name in a directory is the process's program, by its own path or by that path's real form.
    fn is_program(&self, dir: Ino, name: &[u8]) -> bool {
        if !self.with_program {
            return false;
        }
        let Some(program) = self.cx.process.program() else {
            return false;
        };
        if program.name() != name {
            return false;
        }
        let Ok(parent) = GuestPath::new(program.parent()) else {
            return false;
        };
        let walker = Walker {
            fs: self.fs,
            cx: self.cx,
            with_program: false,
        };
        walker
            .walk(parent, Follow::Final.into())
            .is_ok_and(|location| location.target == Some(Node::Mem(dir)))
    }

    fn jump(&self, link: Node) -> Result<Jump> {
        match link {
            Node::Mem(ino) => match &self.fs.get(ino)?.kind {
                Kind::Symlink(text) => Ok(Jump::Text(text.to_vec())),
                _ => Err(Errno::EINVAL),
            },
            Node::Proc(ProcNode::Cwd) => {
                Ok(Jump::To(Location::at(Node::Mem(self.cx.cwd), Last::Dot)))
            }
            Node::Proc(ProcNode::RootLink) => {
                Ok(Jump::To(Location::at(Node::Mem(ROOT), Last::Root)))
            }
            Node::Proc(ProcNode::Fd(fd)) => {
                let file = self.cx.process.file(fd).map_err(|_| Errno::ENOENT)?;
                let location = match file.inode() {
                    Some((ino, opened_as)) => Location {
                        parent: opened_as.map(|(dir, _)| Node::Mem(dir)),
                        name: opened_as.map(|(_, name)| name.clone()).unwrap_or_default(),
                        last: Last::Name,
                        target: Some(Node::Mem(ino)),
                        slash: false,
                    },
                    None => Location {
                        parent: None,
                        name: Name::default(),
                        last: Last::Name,
                        target: Some(Node::OpenFd(fd)),
                        slash: false,
                    },
                };
                Ok(Jump::To(location))
            }
            Node::Proc(node) => Ok(Jump::Text(procfs::link_text(self.fs, self.cx, node)?)),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// The absolute path, without links, of where a path led.
pub(crate) fn canonical(fs: &MemFs, cx: &Cx<'_>, location: &Location) -> Result<Vec<u8>> {
    let directory = match location.target {
        Some(Node::Mem(ino)) if fs.get(ino)?.kind.file_type() == FileType::Directory => {
            return fs.path_of(ino);
        }
        Some(Node::Proc(node)) => return Ok(procfs::path(cx.process.pid(), node)),
        Some(Node::Program) if location.parent.is_none() => {
            return Ok(cx
                .process
                .program()
                .map(|p| p.path().to_vec())
                .unwrap_or_default());
        }
        Some(Node::ProgramDir(len)) => {
            let path = cx.process.program().map_or(&b"/"[..], |p| p.path());
            return Ok(path.get(..len).unwrap_or(path).to_vec());
        }
        Some(Node::OpenFd(fd)) => return Ok(procfs::path(cx.process.pid(), ProcNode::Fd(fd))),
        Some(Node::Mem(_) | Node::Program) | None => location.parent,
    };
    let mut path = match directory {
        Some(Node::Mem(dir)) => fs.path_of(dir)?,
        Some(Node::Proc(dir)) => procfs::path(cx.process.pid(), dir),
        _ => return Err(Errno::ENOENT),
    };
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(&location.name);
    Ok(path)
}
