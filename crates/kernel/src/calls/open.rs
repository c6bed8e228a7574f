//! Opening, closing and duplicating.

use std::sync::Arc;

use crate::content::Content;
use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::file::{InodeHold, Object, OpenFile, Opened};
use crate::flags::{OpenFlags, oflag};
use crate::inode::{Ino, Kind};
use crate::kernel::{Ask, Kernel};
use crate::memfs::{MAY_READ, MAY_WRITE, MemFs};
use crate::mount::Place;
use crate::mounted_fs::{Caller, OpenHow};
use crate::pipe::pipe;
use crate::policy::FsOp;
use crate::process::{Cx, Process};
use crate::procfs;
use crate::resolve::{Last, Location, Node, Walk};
use crate::stat::FileType;

impl Kernel {
    /// `open`: flags are those of [`oflag`], `mode` is for a new file.
    pub fn open(&self, p: &Process, path: &[u8], flags: i32, mode: u32) -> Result<Fd> {
        p.has_fd_room()?;
        let file = self.open_file(p, path, flags, mode)?;
        p.install(file)
    }

    /// `open` without a descriptor.
    pub fn open_file(
        &self,
        p: &Process,
        path: &[u8],
        flags: i32,
        mode: u32,
    ) -> Result<Arc<OpenFile>> {
        let flags = OpenFlags::parse(flags)?;
        let creates = flags.has(oflag::O_CREAT);
        let truncates = flags.has(oflag::O_TRUNC);
        let op = if flags.write || creates || truncates {
            FsOp::Write
        } else {
            FsOp::Read
        };
        let cx = p.cx();
        let ask = Ask {
            op,
            path,
            walk: Walk {
                follow: flags.follow(),
                creates,
                exclusive: flags.has(oflag::O_CREAT | oflag::O_EXCL),
                // Nothing after the gate refuses these.
                truncates: truncates && !flags.read && !flags.has(oflag::O_DIRECTORY),
            },
        };
        let (mut fs, at) = self.check(&cx, ask)?;
        let location = at.location();
        let Some(node) = location.target.clone() else {
            if !creates {
                return Err(Errno::ENOENT);
            }
            if let Some(Node::Foreign(dir)) = &location.parent {
                let place = dir.at(&dir.child(&location.name), None);
                drop(fs);
                return self.open_foreign(&cx, place, flags, mode & !cx.umask);
            }
            let ino = fs.create(&at, Kind::File(Content::empty()), mode & !cx.umask, &cx)?;
            return Ok(self.open_inode(&mut fs, ino, Opened::Regular, location, flags));
        };
        if flags.has(oflag::O_CREAT | oflag::O_EXCL) {
            return Err(Errno::EEXIST);
        }
        let file_type = self.type_of(&fs, &node);
        if file_type == FileType::Directory && creates {
            return Err(Errno::EISDIR);
        }
        if file_type != FileType::Directory && flags.has(oflag::O_DIRECTORY) {
            return Err(Errno::ENOTDIR);
        }
        if file_type == FileType::Symlink {
            return Err(Errno::ELOOP);
        }
        let writes = flags.write || truncates;
        if file_type == FileType::Directory && writes {
            return Err(Errno::EISDIR);
        }
        match node {
            Node::Mem(ino) => {
                let want =
                    if flags.read { MAY_READ } else { 0 } | if writes { MAY_WRITE } else { 0 };
                fs.may(ino, &cx, want)?;
                if writes && file_type == FileType::Regular {
                    fs.may_change(ino)?;
                }
                let opened = match &fs.get(ino)?.kind {
                    Kind::File(_) => Opened::Regular,
                    Kind::Device(device) => Opened::Device(*device),
                    Kind::Dir(_) | Kind::ProcRoot => Opened::Directory,
                    Kind::Symlink(_) => return Err(Errno::ELOOP),
                    Kind::Socket => return Err(Errno::ENXIO),
                };
                match opened {
                    Opened::Device(device) => device.open()?,
                    Opened::Regular if truncates => fs.truncate(ino, 0, cx.now)?,
                    Opened::Regular | Opened::Directory => {}
                }
                Ok(self.open_inode(&mut fs, ino, opened, location, flags))
            }
            Node::Foreign(_) | Node::Proc(_) | Node::ProgramDir(_)
                if file_type == FileType::Directory =>
            {
                Ok(OpenFile::new(Object::Directory { node }, flags))
            }
            Node::Foreign(place) => {
                drop(fs);
                self.open_foreign(&cx, Place::clone(&place), flags, mode & !cx.umask)
            }
            Node::Proc(_) if writes => Err(Errno::EACCES),
            Node::Program if writes => Err(Errno::EROFS),
            Node::Proc(_) | Node::Program | Node::ProgramDir(_) => {
                let object = Object::Bytes {
                    bytes: fixed_bytes(&cx, &node),
                    node: Some(node),
                };
                Ok(OpenFile::new(object, flags))
            }
            Node::OpenFd(fd) => {
                let file = p.file(fd).map_err(|_| Errno::ENOENT)?;
                let allowed =
                    (!flags.read || file.flags.read) && (!flags.write || file.flags.write);
                if allowed {
                    Ok(file)
                } else {
                    Err(Errno::EACCES)
                }
            }
        }
    }

    /// Opens or makes a regular file of a foreign file system.
    pub(super) fn open_foreign(
        &self,
        cx: &Cx<'_>,
        place: Place,
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Arc<OpenFile>> {
        match place.stat.map(|stat| stat.file_type) {
            None | Some(FileType::Regular) => {}
            Some(FileType::Directory) => return Err(Errno::EISDIR),
            Some(FileType::Symlink) => return Err(Errno::ELOOP),
            // Pipes, sockets and devices there are the embedder's.
            Some(_) => return Err(Errno::ENXIO),
        }
        let how = OpenHow {
            read: flags.read,
            write: flags.write,
            append: flags.has(oflag::O_APPEND),
            create: flags.has(oflag::O_CREAT),
            exclusive: flags.has(oflag::O_EXCL),
            truncate: flags.has(oflag::O_TRUNC),
            mode: mode & 0o7777,
        };
        let caller = Caller::new(cx);
        let changes = how.write || how.truncate || (how.create && place.stat.is_none());
        let fs = if changes {
            place.mount.changeable()?
        } else {
            place.mount.fs()?
        };
        let file = fs.open(&caller, &place.path, how)?;
        let stat = match place.stat {
            Some(stat) => stat,
            None => file.stat(&caller)?,
        };
        let place = Arc::new(Place {
            stat: Some(stat),
            ..place
        });
        Ok(OpenFile::new(Object::Foreign { file, place }, flags))
    }

    fn open_inode(
        &self,
        fs: &mut MemFs,
        ino: Ino,
        opened: Opened,
        location: &Location,
        flags: OpenFlags,
    ) -> Arc<OpenFile> {
        let entry = match &location.parent {
            Some(Node::Mem(dir)) if location.last == Last::Name => {
                Some((*dir, location.name.clone()))
            }
            _ => None,
        };
        let hold = InodeHold::new(&self.shared, fs, ino);
        OpenFile::new(
            Object::Inode {
                hold,
                opened,
                entry,
            },
            flags,
        )
    }

    pub(super) fn type_of(&self, fs: &MemFs, node: &Node) -> FileType {
        match node {
            Node::Mem(ino) => fs
                .get(*ino)
                .map_or(FileType::Regular, |i| i.kind.file_type()),
            Node::Foreign(place) => place.file_type(),
            Node::Proc(node) => procfs::file_type(*node),
            Node::Program => FileType::Regular,
            Node::ProgramDir(_) => FileType::Directory,
            Node::OpenFd(_) => FileType::Fifo,
        }
    }

    /// `close`.
    pub fn close(&self, p: &Process, fd: Fd) -> Result<()> {
        p.remove_fd(fd).map(drop)
    }

    /// A descriptor for a file that was opened by another process of this machine.
    pub fn adopt(&self, p: &Process, file: Arc<OpenFile>) -> Result<Fd> {
        p.install(file)
    }

    /// `dup`: both descriptors share position and flags.
    pub fn dup(&self, p: &Process, fd: Fd) -> Result<Fd> {
        let file = p.file(fd)?;
        p.install(file)
    }

    /// `dup2`: `fd` means `file` from now on; what it meant is closed.
    pub fn replace(&self, p: &Process, fd: Fd, file: Arc<OpenFile>) -> Result<()> {
        p.replace_fd(fd, file)
    }

    /// `pipe`: the descriptors to read from and to write to.
    pub fn pipe(&self, p: &Process) -> Result<(Fd, Fd)> {
        let (reader, writer) = pipe();
        let read = OpenFlags::parse(oflag::O_RDONLY)?;
        let write = OpenFlags::parse(oflag::O_WRONLY)?;
        let reader = p.install(OpenFile::new(Object::Reader(reader), read))?;
        match p.install(OpenFile::new(Object::Writer(writer), write)) {
            Ok(writer) => Ok((reader, writer)),
            Err(error) => {
                self.close(p, reader)?;
                Err(error)
            }
        }
    }
}

/// Contents of a file that the kernel makes up.
pub(super) fn fixed_bytes(cx: &Cx<'_>, node: &Node) -> Arc<[u8]> {
    match node {
        Node::Proc(node) => procfs::contents(cx, *node).into(),
        Node::Program => cx
            .process
            .program()
            .map(|p| p.source().clone())
            .unwrap_or_default(),
        _ => Arc::default(),
    }
}
