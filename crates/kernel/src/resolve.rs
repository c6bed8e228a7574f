//! From a path to a place in the tree.
//!
//! The walk goes name by name over inodes, never over text, so `..`, links and renames mean what they mean on Linux.
//! Links are counted over the whole walk. A process's program is found at its own path before the tree is asked; if the
//! program's directories do not exist, they appear as empty directories to this process.
//!
//! A walk is done under the kernel's lock, so it cannot ask a foreign file system. Where it has to, it stops with a
//! [`Query`]; the gate asks without the lock, keeps the answer in [`Known`] and walks again.

use std::borrow::Cow;
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::flags::Follow;
use crate::inode::{Ino, Kind, Name, ROOT, beside, local, tree_of};
use crate::memfs::{MAY_EXEC, MemFs};
use crate::mount::{Anchor, Foreign, Place, join};
use crate::mounted_fs::{Caller, Found, MountedFs};
use crate::path::{GuestPath, LINK_DEPTH_MAX, NAME_MAX, PATH_MAX, is_ancestor, normalize};
use crate::process::Cx;
use crate::procfs::{self, ProcNode};
use crate::stat::FileType;

/// What a path can lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// An inode of the tree.
    Mem(Ino),
    /// A place in a file system that is not the kernel's.
    Foreign(Arc<Place>),
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
    pub fn refuse_change(&self) -> Errno {
        match self {
            Node::Program | Node::ProgramDir(_) => Errno::EROFS,
            // A place of a copy-on-write mount that was not brought into memory.
            Node::Foreign(_) => Errno::EROFS,
            Node::Mem(_) | Node::Proc(_) | Node::OpenFd(_) => Errno::EPERM,
        }
    }

    /// The mount or tree that it is in.
    pub fn tree(&self) -> u64 {
        match self {
            Node::Mem(ino) => tree_of(*ino),
            Node::Foreign(place) => place.mount.id,
            _ => 0,
        }
    }

    /// Whether it is what a mount covers a directory with.
    pub fn is_mount_root(&self) -> bool {
        match self {
            Node::Mem(ino) => *ino != ROOT && local(*ino) == ROOT,
            Node::Foreign(place) => place.is_root(),
            _ => false,
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
        self.target.clone().ok_or(Errno::ENOENT)
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

    /// The entry, when a foreign file system has to change it; `EBUSY` where something is mounted.
    pub fn foreign_entry(&self, fs: &MemFs) -> Result<Option<ForeignEntry>> {
        let Some(Node::Foreign(dir)) = &self.parent else {
            return Ok(None);
        };
        self.name_fits()?;
        if self.crosses()
            || self
                .target
                .as_ref()
                .is_some_and(|t| fs.mounts.over(t).is_some())
        {
            return Err(Errno::EBUSY);
        }
        Ok(Some(ForeignEntry {
            path: dir.child(&self.name),
            mount: dir.mount.clone(),
        }))
    }

    /// Whether the last name is where something is mounted.
    pub fn crosses(&self) -> bool {
        match (&self.parent, &self.target) {
            (Some(parent), Some(target @ (Node::Mem(_) | Node::Foreign(_)))) => {
                parent.tree() != target.tree()
            }
            _ => false,
        }
    }

    fn at(node: Node, last: Last) -> Location {
        Location {
            parent: Some(node.clone()),
            name: Name::default(),
            last,
            target: Some(node),
            slash: false,
        }
    }
}

/// A name in a directory of a foreign file system.
pub(crate) struct ForeignEntry {
    mount: Arc<Foreign>,
    pub path: Vec<u8>,
}

impl ForeignEntry {
    pub fn changeable(&self) -> Result<&dyn MountedFs> {
        self.mount.changeable()
    }
}

/// How to walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub follow: Follow,
    /// For `O_CREAT`: a trailing slash is `EISDIR` wherever it leads.
    pub creates: bool,
    /// What is there is not touched.
    pub exclusive: bool,
    /// What is there loses its contents, if it is a regular file that may be written.
    pub truncates: bool,
}

impl From<Follow> for Walk {
    fn from(follow: Follow) -> Walk {
        Walk {
            follow,
            creates: false,
            exclusive: false,
            truncates: false,
        }
    }
}

/// Why a walk did not come to its end.
#[derive(Debug)]
pub(crate) enum Halt {
    Failed(Errno),
    Ask(Query),
}

impl From<Errno> for Halt {
    fn from(errno: Errno) -> Halt {
        Halt::Failed(errno)
    }
}

/// A question to a foreign file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub place: Arc<Place>,
    wants: Wants,
    /// Whether it is about the last name of the walk's path.
    pub is_last: bool,
}

impl Query {
    /// Whether it is only about where a link leads that the file system has already been asked for.
    pub fn follows_link(&self) -> bool {
        self.wants == Wants::Text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Stat,
    Text,
}

#[derive(Clone, Debug)]
enum Answer {
    Found(Result<Found>),
    Text(Result<Vec<u8>>),
}

/// What foreign file systems have answered during one call.
#[derive(Default)]
pub(crate) struct Known {
    answers: Vec<(Query, Answer)>,
    /// How often something was brought into memory.
    copied_up: usize,
    /// Directories of copy-on-write mounts of which it was found out whether anything shows through.
    settled: Vec<Ino>,
}

impl Known {
    /// Asks. Must be called without the kernel's lock.
    pub fn ask(&mut self, cx: &Cx<'_>, query: Query) -> Result<()> {
        if self.answers.len() >= LOOKUPS_MAX {
            return Err(Errno::ELOOP);
        }
        cx.process.go_on()?;
        let caller = Caller::new(cx);
        let fs = query.place.mount.fs()?;
        let path = &query.place.path;
        let answer = match query.wants {
            Wants::Stat => Answer::Found(fs.lookup(&caller, path)),
            Wants::Text => Answer::Text(fs.readlink(&caller, path)),
        };
        self.answers.push((query, answer));
        Ok(())
    }

    /// Something is brought into memory, and places are others then. `EBUSY` when there is no end to it.
    pub fn copies_up(&mut self) -> Result<()> {
        self.answers.clear();
        self.copied_up += 1;
        if self.copied_up > PATH_MAX {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    pub fn settle(&mut self, dir: Ino) {
        self.settled.push(dir);
    }

    pub fn is_settled(&self, dir: Ino) -> bool {
        self.settled.contains(&dir)
    }

    fn get(&self, place: &Place, wants: Wants) -> Option<&Answer> {
        self.answers
            .iter()
            .find(|(query, _)| query.wants == wants && *query.place == *place)
            .map(|(_, answer)| answer)
    }

    fn found(&self, place: &Arc<Place>, is_last: bool) -> Result<Result<Found>, Halt> {
        match self.get(place, Wants::Stat) {
            Some(Answer::Found(found)) => Ok(*found),
            _ => Err(Halt::Ask(Query {
                place: place.clone(),
                wants: Wants::Stat,
                is_last,
            })),
        }
    }

    fn text(&self, place: &Arc<Place>) -> Result<Vec<u8>, Halt> {
        match self.get(place, Wants::Text) {
            Some(Answer::Text(text)) => {
                let text = text.clone()?;
                GuestPath::new(&text)?;
                Ok(text)
            }
            _ => Err(Halt::Ask(Query {
                place: place.clone(),
                wants: Wants::Text,
                is_last: false,
            })),
        }
    }
}

/// Resolves a path for a process.
pub(crate) fn resolve(
    fs: &MemFs,
    cx: &Cx<'_>,
    path: GuestPath<'_>,
    walk: Walk,
    known: &Known,
) -> Result<Location, Halt> {
    let found = Walker {
        fs,
        cx,
        known,
        with_program: true,
    }
    .walk(path, walk);
    let missing = match &found {
        Ok(location) => location.target.is_none(),
        Err(Halt::Failed(errno)) => matches!(errno, Errno::ENOENT | Errno::ENOTDIR),
        Err(Halt::Ask(_)) => false,
    };
    if missing
        && walk.follow != Follow::Entry
        && !walk.creates
        && let Some(location) = beside_the_tree(fs, cx, path)
    {
        return location.map_err(Halt::Failed);
    }
    found
}

/// The program, or a directory above it, when the tree does not have the directories.
pub(crate) fn beside_the_tree(
    fs: &MemFs,
    cx: &Cx<'_>,
    path: GuestPath<'_>,
) -> Option<Result<Location>> {
    let program = cx.process.program()?;
    let base = if path.is_absolute() {
        b"/".to_vec()
    } else {
        fs.path_of_node(&cx.cwd).ok()?
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

/// Most questions that one call puts to foreign file systems before it works on what it found.
const LOOKUPS_MAX: usize = 256;

/// The next name of a path after `from`, and where it ends.
fn next_name(path: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = path.get(from..)?;
    let start = rest.iter().position(|b| *b != b'/')?;
    let rest = rest.get(start..)?;
    let len = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    Some((rest.get(..len)?, from + start + len))
}

struct Walker<'w> {
    fs: &'w MemFs,
    cx: &'w Cx<'w>,
    known: &'w Known,
    with_program: bool,
}

/// One step of a walk: over a name, or over several of a foreign file system at once.
struct Step {
    /// Where the last of the names stands.
    parent: Node,
    /// There if it may be the walk's last.
    name: Option<Name>,
    target: Option<Node>,
    /// Of the target.
    file_type: FileType,
    /// Bytes of the path that it went over.
    used: usize,
}

/// What following a link leads to.
enum Jump {
    Text(Vec<u8>),
    To(Location),
}

impl Walker<'_> {
    fn walk(&self, path: GuestPath<'_>, walk: Walk) -> Result<Location, Halt> {
        let mut rest: Cow<'_, [u8]> = Cow::Borrowed(path.as_bytes());
        let mut pos = 0;
        let mut links = 0;
        let mut here = if path.is_absolute() {
            self.root()
        } else {
            self.cx.cwd.clone()
        };
        // Where the path ends if it has no more names; `None` is `here`, come to by `kind`.
        let mut last: Option<Location> = None;
        let mut kind = if path.is_absolute() {
            Last::Root
        } else {
            Last::Dot
        };
        loop {
            let tail = rest.get(pos..).unwrap_or(&[]);
            let start = tail.iter().position(|b| *b != b'/').unwrap_or(tail.len());
            let tail = tail.get(start..).unwrap_or(&[]);
            if tail.is_empty() {
                return self.known_type(last.unwrap_or_else(|| Location::at(here, kind)));
            }
            let len = tail.iter().position(|b| *b == b'/').unwrap_or(tail.len());
            let (name, after) = tail.split_at(len);
            let is_last = after.iter().all(|b| *b == b'/');
            let slash = is_last && !after.is_empty();

            self.search(&here)?;
            if name == b"." || name == b".." {
                if name == b"." {
                    kind = Last::Dot;
                } else {
                    kind = Last::DotDot;
                    here = self.parent(&here)?;
                }
                last = None;
                pos += start + len;
                continue;
            }
            if slash && walk.creates {
                return Err(Errno::EISDIR.into());
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
                return Err(Errno::ENAMETOOLONG.into());
            }
            let step = self.lookup(here, tail, name, is_last, walk)?;
            here = step.parent;
            pos += start + step.used;
            let after = tail.get(step.used..).unwrap_or(&[]);
            let is_last = after.iter().all(|b| *b == b'/');
            let slash = is_last && !after.is_empty();
            if slash && walk.creates {
                return Err(Errno::EISDIR.into());
            }
            let Some(target) = step.target else {
                if is_last {
                    return Ok(Location {
                        parent: Some(here),
                        name: step.name.unwrap_or_default(),
                        last: Last::Name,
                        target: None,
                        slash,
                    });
                }
                return Err(Errno::ENOENT.into());
            };
            let file_type = step.file_type;
            let through = match walk.follow {
                _ if !is_last => true,
                Follow::Final => true,
                Follow::Link => slash,
                Follow::Entry => false,
            };
            if file_type == FileType::Symlink && through {
                links += 1;
                if links > LINK_DEPTH_MAX {
                    return Err(Errno::ELOOP.into());
                }
                match self.jump(&target)? {
                    Jump::Text(mut text) => {
                        if text.first() == Some(&b'/') {
                            here = self.root();
                            (last, kind) = (None, Last::Root);
                        }
                        text.extend_from_slice(after);
                        rest = Cow::Owned(text);
                        pos = 0;
                        continue;
                    }
                    Jump::To(location) => {
                        here = location.existing()?;
                        if slash && self.file_type(&here) != FileType::Directory {
                            return Err(Errno::ENOTDIR.into());
                        }
                        last = Some(Location { slash, ..location });
                        continue;
                    }
                }
            }
            if slash && file_type != FileType::Directory && walk.follow != Follow::Entry {
                return Err(Errno::ENOTDIR.into());
            }
            if is_last {
                return self.known_type(Location {
                    parent: Some(here),
                    name: step.name.unwrap_or_default(),
                    last: Last::Name,
                    target: Some(target),
                    slash,
                });
            }
            here = target;
        }
    }

    /// Where absolute paths start.
    fn root(&self) -> Node {
        self.cross(Node::Mem(ROOT))
    }

    /// What covers a directory, or the directory.
    #[inline]
    fn cross(&self, node: Node) -> Node {
        if self.fs.mounts.is_empty() {
            node
        } else {
            self.cross_mounts(node)
        }
    }

    fn cross_mounts(&self, mut node: Node) -> Node {
        while let Some(root) = self.fs.mounts.over(&node) {
            node = root.clone();
        }
        node
    }

    /// A walk passes through foreign directories without asking what they are, but it must not end so.
    fn known_type(&self, location: Location) -> Result<Location, Halt> {
        let Some(Node::Foreign(place)) = &location.target else {
            return Ok(location);
        };
        if place.stat.is_some() {
            return Ok(location);
        }
        let found = self.known.found(place, true)??;
        if found.len != place.path.len() {
            return Err(Errno::ENOENT.into());
        }
        let target = Node::Foreign(Arc::new(Place {
            stat: Some(found.stat),
            ..Place::clone(place)
        }));
        let parent = if location.last == Last::Name {
            location.parent
        } else {
            Some(target.clone())
        };
        Ok(Location {
            parent,
            target: Some(target),
            ..location
        })
    }

    /// The place must be a directory that the caller may search.
    fn search(&self, here: &Node) -> Result<()> {
        match here {
            Node::Mem(ino) => match self.fs.get(*ino) {
                Ok(inode) if inode.kind.file_type() == FileType::Directory => {
                    self.fs.may_inode(inode, self.cx, MAY_EXEC)
                }
                Err(Errno::EIO) => Err(Errno::EIO),
                Ok(_) | Err(_) => Err(Errno::ENOTDIR),
            },
            other if self.file_type(other) == FileType::Directory => Ok(()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn type_of(&self, target: Option<&Node>) -> FileType {
        target.map_or(FileType::Regular, |node| self.file_type(node))
    }

    fn file_type(&self, node: &Node) -> FileType {
        match node {
            Node::Mem(ino) => self
                .fs
                .get(*ino)
                .map_or(FileType::Regular, |inode| inode.kind.file_type()),
            Node::Foreign(place) => place.file_type(),
            Node::Proc(node) => procfs::file_type(*node),
            Node::Program => FileType::Regular,
            Node::ProgramDir(_) => FileType::Directory,
            Node::OpenFd(_) => FileType::Fifo,
        }
    }

    fn parent(&self, here: &Node) -> Result<Node> {
        let above = match here {
            Node::Mem(ino) if here.is_mount_root() => self.above_mount(tree_of(*ino))?,
            Node::Mem(ino) => Node::Mem(self.fs.parent_of(*ino)?),
            Node::Foreign(place) => match place.parent() {
                Some(above) => above,
                None => self.above_mount(place.mount.id)?,
            },
            Node::Proc(node) => {
                procfs::parent(*node).map_or(Node::Mem(self.fs.proc_root()), Node::Proc)
            }
            _ => return Err(Errno::ENOTDIR),
        };
        Ok(self.cross(above))
    }

    /// The directory above the one that a mount covers.
    fn above_mount(&self, id: u64) -> Result<Node> {
        self.parent(&self.fs.covered_by(id)?)
    }

    fn lookup(
        &self,
        here: Node,
        tail: &[u8],
        name: &[u8],
        is_last: bool,
        walk: Walk,
    ) -> Result<Step, Halt> {
        let named = |target: Option<Node>| (is_last.then(|| Arc::from(name)), target);
        let (shared_name, target) = match &here {
            Node::Mem(ino) => {
                if is_last && self.is_program(*ino, name) {
                    named(Some(Node::Program))
                } else {
                    match &self.fs.get(*ino)?.kind {
                        Kind::Dir(dir) => match dir.entries.get_key_value(name) {
                            Some((name, entry)) => {
                                let target = Node::Mem(beside(*ino, entry.ino));
                                return Ok(Step {
                                    parent: here,
                                    name: is_last.then(|| name.clone()),
                                    target: Some(self.cross(target)),
                                    // Only directories are covered, and by directories.
                                    file_type: entry.file_type,
                                    used: name.len(),
                                });
                            }
                            None => match &dir.lower {
                                Some(lower) if !lower.whiteouts.contains(name) => {
                                    let base = Place {
                                        mount: lower.mount.clone(),
                                        path: lower.path.clone(),
                                        anchor: Some(Anchor {
                                            dir: *ino,
                                            skip: lower.path.len(),
                                        }),
                                        stat: None,
                                    };
                                    return self.foreign(&base, &here, tail, walk);
                                }
                                _ => named(None),
                            },
                        },
                        Kind::ProcRoot => {
                            let node = procfs::lookup(self.cx, ProcNode::Root, name);
                            named(node.map(Node::Proc))
                        }
                        _ => return Err(Errno::ENOTDIR.into()),
                    }
                }
            }
            Node::Foreign(place) => return self.foreign(place, &here, tail, walk),
            Node::Proc(dir) => named(procfs::lookup(self.cx, *dir, name).map(Node::Proc)),
            _ => return Err(Errno::ENOTDIR.into()),
        };
        Ok(Step {
            parent: here,
            name: shared_name,
            file_type: self.type_of(target.as_ref()),
            target,
            used: name.len(),
        })
    }

    /// Goes over as many names as a foreign file system can walk by itself: up to `..`, a link or the path's end.
    fn foreign(&self, base: &Place, here: &Node, tail: &[u8], walk: Walk) -> Result<Step, Halt> {
        // Where something is mounted inside, every name can lead out again.
        let one_by_one = self.fs.mounts.any_in(base.mount.id);
        let mut path = base.path.to_vec();
        // For each name: the length of the path with it, and of the tail.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        let mut used = 0;
        while let Some((name, end)) = next_name(tail, used) {
            if matches!(name, b"." | b"..") || name.len() > NAME_MAX {
                break;
            }
            path = join(&path, name);
            used = end;
            ends.push((path.len(), end));
            if one_by_one {
                break;
            }
        }
        let all = Arc::new(base.at(&path, None));
        let is_last = next_name(tail, used).is_none();
        let step = |len: usize, used: usize, target: Option<Node>| {
            let place = base.at(path.get(..len).unwrap_or(&path), None);
            let parent = match place.parent() {
                Some(Node::Foreign(parent)) if parent.path != base.path => Node::Foreign(parent),
                _ => here.clone(),
            };
            Step {
                parent,
                name: Some(place.name()),
                file_type: self.type_of(target.as_ref()),
                target,
                used,
            }
        };
        if one_by_one && let Some(root) = self.fs.mounts.over(&Node::Foreign(all.clone())) {
            let root = self.cross(root.clone());
            return Ok(step(path.len(), used, Some(root)));
        }
        if is_last && self.is_program_at(&all) {
            return Ok(step(path.len(), used, Some(Node::Program)));
        }
        match self.known.found(&all, is_last)? {
            Ok(found) => {
                let Some(&(len, used)) = ends.iter().find(|(len, _)| *len == found.len) else {
                    return Err(Errno::EIO.into());
                };
                if len < path.len() && found.stat.file_type != FileType::Symlink {
                    return Err(Errno::EIO.into());
                }
                let place = base.at(path.get(..len).unwrap_or(&path), Some(found.stat));
                Ok(step(len, used, Some(Node::Foreign(Arc::new(place)))))
            }
            // Only who may make the name asks where it would stand.
            Err(Errno::ENOENT) if is_last && (walk.follow == Follow::Entry || walk.creates) => {
                if let [.., (parent_len, parent_used), _] = ends[..] {
                    let parent = Arc::new(base.at(path.get(..parent_len).unwrap_or(&path), None));
                    let found = self.known.found(&parent, false)??;
                    if found.len < parent_len {
                        let Some(&(len, used)) = ends.iter().find(|(len, _)| *len == found.len)
                        else {
                            return Err(Errno::EIO.into());
                        };
                        let link = base.at(path.get(..len).unwrap_or(&path), Some(found.stat));
                        return Ok(step(len, used, Some(Node::Foreign(Arc::new(link)))));
                    }
                    if found.stat.file_type != FileType::Directory {
                        let other = base.at(&parent.path, Some(found.stat));
                        return Ok(step(
                            parent_len,
                            parent_used,
                            Some(Node::Foreign(Arc::new(other))),
                        ));
                    }
                }
                Ok(step(path.len(), used, None))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a place is where the process's program is.
    fn is_program_at(&self, place: &Place) -> bool {
        self.with_program
            && self.cx.process.program().is_some_and(|program| {
                *program.name() == *place.name()
                    && self
                        .fs
                        .path_of_place(place)
                        .is_ok_and(|path| path == program.path())
            })
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
            known: &Known::default(),
            with_program: false,
        };
        walker
            .walk(parent, Follow::Final.into())
            .is_ok_and(|location| location.target == Some(Node::Mem(dir)))
    }

    fn jump(&self, link: &Node) -> Result<Jump, Halt> {
        match link {
            Node::Mem(ino) => match &self.fs.get(*ino)?.kind {
                Kind::Symlink(text) => Ok(Jump::Text(text.to_vec())),
                _ => Err(Errno::EINVAL.into()),
            },
            Node::Foreign(place) => Ok(Jump::Text(self.known.text(place)?)),
            Node::Proc(ProcNode::Cwd) => Ok(Jump::To(Location::at(self.cx.cwd.clone(), Last::Dot))),
            Node::Proc(ProcNode::RootLink) => Ok(Jump::To(Location::at(self.root(), Last::Root))),
            Node::Proc(ProcNode::Fd(fd)) => {
                let fd = *fd;
                let file = self.cx.process.file(fd).map_err(|_| Errno::ENOENT)?;
                if let Some(place) = file.place() {
                    if place.anchor.is_some() {
                        // It may be in memory by now.
                        return Ok(Jump::Text(self.fs.path_of_place(place)?));
                    }
                    return Ok(Jump::To(Location {
                        parent: place.parent(),
                        name: place.name(),
                        last: Last::Name,
                        target: Some(Node::Foreign(Arc::new(place.at(&place.path, None)))),
                        slash: false,
                    }));
                }
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
            Node::Proc(node) => Ok(Jump::Text(procfs::link_text(self.fs, self.cx, *node)?)),
            _ => Err(Errno::EINVAL.into()),
        }
    }
}

/// The absolute path, without links, of where a path led.
pub(crate) fn canonical(fs: &MemFs, cx: &Cx<'_>, location: &Location) -> Result<Vec<u8>> {
    let directory = match &location.target {
        Some(Node::Mem(ino)) if fs.get(*ino)?.kind.file_type() == FileType::Directory => {
            return fs.path_of(*ino);
        }
        Some(Node::Foreign(place)) => return fs.path_of_place(place),
        Some(Node::Proc(node)) => return Ok(procfs::path(cx.process.pid(), *node)),
        Some(Node::Program) if location.parent.is_none() => {
            return Ok(cx
                .process
                .program()
                .map(|p| p.path().to_vec())
                .unwrap_or_default());
        }
        Some(Node::ProgramDir(len)) => {
            let path = cx.process.program().map_or(&b"/"[..], |p| p.path());
            return Ok(path.get(..*len).unwrap_or(path).to_vec());
        }
        Some(Node::OpenFd(fd)) => return Ok(procfs::path(cx.process.pid(), ProcNode::Fd(*fd))),
        Some(Node::Mem(_) | Node::Program) | None => &location.parent,
    };
    let mut path = match directory {
        Some(Node::Mem(dir)) => fs.path_of(*dir)?,
        Some(Node::Foreign(dir)) => fs.path_of_place(dir)?,
        Some(Node::Proc(dir)) => procfs::path(cx.process.pid(), *dir),
        _ => return Err(Errno::ENOENT),
    };
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(&location.name);
    Ok(path)
}
