//! Asking about files and changing what is known of them.

use crate::clock::TimeSpec;
use crate::device::Device;
use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::file::{Object, OpenFile};
use crate::flags::{F_OK, Follow, R_OK, W_OK, X_OK};
use crate::inode::{Ino, Kind};
use crate::kernel::{Ask, Kernel, Locked};
use crate::memfs::{BLOCK, MemFs};
use crate::mount::Place;
use crate::mounted_fs::{Caller, MountedFile, MountedFs};
use crate::policy::{CheckedPath, FsOp};
use crate::process::{Cx, Process};
use crate::procfs;
use crate::resolve::{Node, canonical};
use crate::stat::{FileType, ModuleStat, Stat, StatFs};
use crate::stdio::OutputLook;
use crate::watch::WatchKind;

const DEV_PROC: u64 = 2;
const DEV_PROGRAM: u64 = 3;
const DEV_PIPE: u64 = 4;
/// `st_rdev` of a terminal: the first of those of `/dev/pts`.
const DEV_TERMINAL: u64 = 136 << 8;

fn made_up(cx: &Cx<'_>, dev: u64, ino: u64, file_type: FileType, mode: u32, size: u64) -> Stat {
    Stat {
        dev,
        ino,
        mode: file_type.mode_bits() | mode,
        nlink: if file_type == FileType::Directory {
            2
        } else {
            1
        },
        uid: cx.uid,
        gid: cx.gid,
        rdev: 0,
        size,
        blksize: BLOCK,
        blocks: 0,
        atime: cx.now,
        mtime: cx.now,
        ctime: cx.now,
        birthtime: cx.now,
        file_type,
    }
}

impl Kernel {
    /// `stat`.
    pub fn stat(&self, p: &Process, path: &[u8]) -> Result<Stat> {
        self.stat_path(p, path, Follow::Final)
    }

    /// `lstat`.
    pub fn lstat(&self, p: &Process, path: &[u8]) -> Result<Stat> {
        self.stat_path(p, path, Follow::Link)
    }

    fn stat_path(&self, p: &Process, path: &[u8], follow: Follow) -> Result<Stat> {
        let cx = p.cx();
        let (fs, at) = self.check(&cx, Ask::new(FsOp::Stat, path, follow))?;
        self.stat_node(&fs, &cx, &at.location().existing()?)
    }

    fn stat_node(&self, fs: &MemFs, cx: &Cx<'_>, node: &Node) -> Result<Stat> {
        match node {
            Node::Mem(ino) => fs.stat(*ino),
            Node::Foreign(place) => {
                let stat = place.stat.ok_or(Errno::ENOENT)?;
                Ok(place.mount.shown(cx, stat))
            }
            Node::Proc(node) => {
                let node = *node;
                let file_type = procfs::file_type(node);
                Ok(made_up(
                    cx,
                    DEV_PROC,
                    procfs::ino(node),
                    file_type,
                    procfs::mode(node),
                    0,
                ))
            }
            Node::Program => {
                let size = cx.process.program().map_or(0, |p| p.source().len() as u64);
                let mut stat = made_up(cx, DEV_PROGRAM, 1, FileType::Regular, 0o444, size);
                stat.blocks = size.div_ceil(BLOCK) * 8;
                self.at_start(&mut stat);
                Ok(stat)
            }
            Node::ProgramDir(len) => {
                let ino = 2 + *len as u64;
                let mut stat = made_up(cx, DEV_PROGRAM, ino, FileType::Directory, 0o555, BLOCK);
                self.at_start(&mut stat);
                Ok(stat)
            }
            Node::OpenFd(fd) => {
                let file = cx.process.file(*fd)?;
                self.stat_object(fs, cx, &file)
            }
        }
    }

    fn at_start(&self, stat: &mut Stat) {
        let start = TimeSpec::from_nanos((self.clock().origin_ms() * 1e6) as i64);
        stat.atime = start;
        stat.mtime = start;
        stat.ctime = start;
        stat.birthtime = start;
    }

    /// `fstat`.
    pub fn fstat(&self, p: &Process, fd: Fd) -> Result<Stat> {
        self.stat_file(p, &*p.file(fd)?)
    }

    /// As `fstat`, on a description.
    pub fn stat_file(&self, p: &Process, file: &OpenFile) -> Result<Stat> {
        let cx = p.cx();
        if let Some(place) = file.place() {
            let caller = Caller::new(&cx);
            let stat = match &file.object {
                Object::Foreign { file, .. } => {
                    place.mount.alive()?;
                    file.stat(&caller)?
                }
                _ => place.mount.fs()?.lstat(&caller, &place.path)?,
            };
            return Ok(place.mount.shown(&cx, stat));
        }
        let fs = self.shared.lock();
        self.stat_object(&fs, &cx, file)
    }

    fn stat_object(&self, fs: &MemFs, cx: &Cx<'_>, file: &OpenFile) -> Result<Stat> {
        let fifo = |id: u64| made_up(cx, DEV_PIPE, id, FileType::Fifo, 0o600, 0);
        match &file.object {
            Object::Inode { hold, .. } => fs.stat(hold.ino()),
            Object::Bytes { bytes, node } => {
                if let Some(node) = node {
                    self.stat_node(fs, cx, node)
                } else {
                    let size = bytes.len() as u64;
                    Ok(made_up(cx, DEV_PIPE, 0, FileType::Regular, 0o400, size))
                }
            }
            Object::Directory { node } => self.stat_node(fs, cx, node),
            Object::Foreign { place, .. } => self.stat_node(fs, cx, &Node::Foreign(place.clone())),
            Object::Null => {
                let mut stat = made_up(cx, DEV_PIPE, 0, FileType::CharDevice, 0o666, 0);
                stat.rdev = Device::Null.rdev();
                Ok(stat)
            }
            Object::Reader(end) => Ok(fifo(end.id())),
            Object::Writer(end) => Ok(fifo(end.id())),
            Object::Socket(_) | Object::Udp(_) => {
                Ok(made_up(cx, DEV_PIPE, 0, FileType::Socket, 0o777, 0))
            }
            Object::Terminal(_) => {
                let mut stat = made_up(cx, DEV_PIPE, 0, FileType::CharDevice, 0o620, 0);
                stat.rdev = DEV_TERMINAL;
                Ok(stat)
            }
            Object::Output { look, .. } => Ok(match look {
                OutputLook::Pipe => fifo(0),
                OutputLook::File => made_up(cx, DEV_PIPE, 0, FileType::Regular, 0o600, 0),
            }),
        }
    }

    /// What Node's module loader asks: a file, a directory, or nothing. Never an error.
    #[must_use]
    pub fn module_stat(&self, p: &Process, path: &[u8]) -> ModuleStat {
        let cx = p.cx();
        let found = self
            .check(&cx, Ask::new(FsOp::Stat, path, Follow::Final))
            .and_then(|(fs, at)| Ok(self.type_of(&fs, &at.location().existing()?)));
        match found {
            Ok(FileType::Directory) => ModuleStat::Directory,
            Ok(_) => ModuleStat::File,
            Err(_) => ModuleStat::Missing,
        }
    }

    /// Whether `access(path, F_OK)` succeeds.
    #[must_use]
    pub fn exists(&self, p: &Process, path: &[u8]) -> bool {
        self.access(p, path, F_OK).is_ok()
    }

    /// `access`.
    pub fn access(&self, p: &Process, path: &[u8], mode: i32) -> Result<()> {
        if mode & !(R_OK | W_OK | X_OK) != 0 {
            return Err(Errno::EINVAL);
        }
        let cx = p.cx();
        let (fs, at) = self.check(&cx, Ask::new(FsOp::Access, path, Follow::Final))?;
        let writes = mode & W_OK != 0;
        match at.location().existing()? {
            // F_OK, R_OK, W_OK and X_OK are the permission bits.
            Node::Mem(ino) => {
                if writes {
                    fs.may_change(ino)?;
                }
                fs.may(ino, &cx, mode.unsigned_abs())
            }
            Node::Foreign(place) => {
                let is_lower = place.anchor.is_some();
                let read_only = match fs.mounts.get(place.mount.id) {
                    Some(mount) if is_lower => mount.read_only,
                    _ => place.mount.is_read_only(),
                };
                if writes && read_only {
                    return Err(Errno::EROFS);
                }
                let stat = place.stat.ok_or(Errno::ENOENT)?;
                let stat = place.mount.shown(&cx, stat);
                fs.may_as(&stat, &cx, mode.unsigned_abs())
            }
            Node::Program | Node::ProgramDir(_) if writes => Err(Errno::EROFS),
            Node::Program | Node::Proc(_) if mode & X_OK != 0 => Err(Errno::EACCES),
            Node::Proc(_) if writes => Err(Errno::EACCES),
            Node::Program | Node::ProgramDir(_) | Node::Proc(_) | Node::OpenFd(_) => Ok(()),
        }
    }

    /// `statfs`.
    pub fn statfs(&self, p: &Process, path: &[u8]) -> Result<StatFs> {
        let cx = p.cx();
        let (fs, at) = self.check(&cx, Ask::new(FsOp::StatFs, path, Follow::Final))?;
        match at.location().existing()? {
            Node::Foreign(place) if place.anchor.is_none() => {
                drop(fs);
                match place.mount.fs()?.statfs(&Caller::new(&cx), &place.path) {
                    Err(Errno::ENOSYS) => Ok(StatFs::UNKNOWN),
                    answer => answer,
                }
            }
            _ => Ok(fs.statfs()),
        }
    }

    /// `readlink`.
    pub fn readlink(&self, p: &Process, path: &[u8]) -> Result<Vec<u8>> {
        let cx = p.cx();
        let (fs, at) = self.check(&cx, Ask::new(FsOp::ReadLink, path, Follow::Link))?;
        match at.location().existing()? {
            Node::Mem(ino) => match &fs.get(ino)?.kind {
                Kind::Symlink(text) => Ok(text.to_vec()),
                _ => Err(Errno::EINVAL),
            },
            Node::Foreign(place) => {
                if place.file_type() != FileType::Symlink {
                    return Err(Errno::EINVAL);
                }
                drop(fs);
                place.mount.fs()?.readlink(&Caller::new(&cx), &place.path)
            }
            Node::Proc(node) => procfs::link_text(&fs, &cx, node),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `realpath`.
    pub fn realpath(&self, p: &Process, path: &[u8]) -> Result<Vec<u8>> {
        let cx = p.cx();
        let (fs, at) = self.check(&cx, Ask::new(FsOp::RealPath, path, Follow::Final))?;
        at.location().existing()?;
        canonical(&fs, &cx, at.location())
    }

    // ---- changes ---------------------------------------------------------------------------------------------------

    /// Changes an inode in one way, a foreign file in the other.
    fn change(
        &self,
        p: &Process,
        op: FsOp,
        path: &[u8],
        follow: Follow,
        own: impl FnOnce(&mut MemFs, Ino, &Cx<'_>) -> Result<()>,
        foreign: impl FnOnce(&dyn MountedFs, &Caller<'_>, &Place) -> Result<()>,
    ) -> Result<()> {
        let cx = p.cx();
        let (mut fs, at): (Locked<'_>, CheckedPath) =
            self.check(&cx, Ask::new(op, path, follow))?;
        match at.location().existing()? {
            Node::Mem(ino) => {
                own(&mut fs, ino, &cx)?;
                fs.watchers.inode(ino, WatchKind::Change);
                if let Some(Node::Mem(dir)) = at.location().parent {
                    fs.watchers
                        .entry(dir, &at.location().name, WatchKind::Change);
                }
                Ok(())
            }
            Node::Foreign(place) => {
                drop(fs);
                foreign(place.mount.changeable()?, &Caller::new(&cx), &place)
            }
            other => Err(other.refuse_change()),
        }
    }

    fn change_fd(
        &self,
        p: &Process,
        fd: Fd,
        own: impl FnOnce(&mut MemFs, Ino, &Cx<'_>) -> Result<()>,
        foreign: impl FnOnce(&dyn MountedFile, &Caller<'_>) -> Result<()>,
    ) -> Result<()> {
        let file = p.file(fd)?;
        let cx = p.cx();
        match file.inode() {
            Some((ino, entry)) => {
                let mut fs = self.shared.lock();
                own(&mut fs, ino, &cx)?;
                fs.changed(ino, entry);
                Ok(())
            }
            // A description without an inode keeps nothing that could change.
            None => match &file.object {
                Object::Foreign { file, place } => {
                    place.mount.changeable()?;
                    foreign(&**file, &Caller::new(&cx))
                }
                Object::Bytes {
                    node: Some(node), ..
                }
                | Object::Directory { node } => Err(node.refuse_change()),
                _ => Ok(()),
            },
        }
    }

    /// `chmod`.
    pub fn chmod(&self, p: &Process, path: &[u8], mode: u32) -> Result<()> {
        self.change(
            p,
            FsOp::Chmod,
            path,
            Follow::Final,
            |fs, ino, cx| fs.chmod(ino, mode, cx),
            |fs, caller, place| fs.chmod(caller, &place.path, mode & 0o7777),
        )
    }

    /// `lchmod`: as on Linux, a symbolic link's own mode cannot be changed (`ENOTSUP`).
    pub fn lchmod(&self, p: &Process, path: &[u8], mode: u32) -> Result<()> {
        self.change(
            p,
            FsOp::Chmod,
            path,
            Follow::Link,
            |fs, ino, cx| match fs.get(ino)?.kind.file_type() {
                FileType::Symlink => Err(Errno::ENOTSUP),
                _ => fs.chmod(ino, mode, cx),
            },
            |fs, caller, place| match place.file_type() {
                FileType::Symlink => Err(Errno::ENOTSUP),
                _ => fs.chmod(caller, &place.path, mode & 0o7777),
            },
        )
    }

    /// `fchmod`.
    pub fn fchmod(&self, p: &Process, fd: Fd, mode: u32) -> Result<()> {
        self.change_fd(
            p,
            fd,
            |fs, ino, cx| fs.chmod(ino, mode, cx),
            |file, caller| file.chmod(caller, mode & 0o7777),
        )
    }

    fn chown_path(
        &self,
        p: &Process,
        path: &[u8],
        follow: Follow,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        self.change(
            p,
            FsOp::Chown,
            path,
            follow,
            |fs, ino, cx| fs.chown(ino, uid, gid, cx),
            |fs, caller, place| fs.chown(caller, &place.path, uid, gid),
        )
    }

    /// `chown`; `None` leaves a part as it is.
    pub fn chown(
        &self,
        p: &Process,
        path: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        self.chown_path(p, path, Follow::Final, uid, gid)
    }

    /// `lchown`.
    pub fn lchown(
        &self,
        p: &Process,
        path: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        self.chown_path(p, path, Follow::Link, uid, gid)
    }

    /// `fchown`.
    pub fn fchown(&self, p: &Process, fd: Fd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.change_fd(
            p,
            fd,
            |fs, ino, cx| fs.chown(ino, uid, gid, cx),
            |file, caller| file.chown(caller, uid, gid),
        )
    }

    fn utimes_path(
        &self,
        p: &Process,
        path: &[u8],
        follow: Follow,
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        self.change(
            p,
            FsOp::Utimes,
            path,
            follow,
            |fs, ino, cx| fs.set_times(ino, access, modify, cx),
            |fs, caller, place| fs.utimes(caller, &place.path, access, modify),
        )
    }

    /// `utimes`: access and modification time; `None` leaves one as it is.
    pub fn utimes(
        &self,
        p: &Process,
        path: &[u8],
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        self.utimes_path(p, path, Follow::Final, access, modify)
    }

    /// `lutimes`.
    pub fn lutimes(
        &self,
        p: &Process,
        path: &[u8],
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        self.utimes_path(p, path, Follow::Link, access, modify)
    }

    /// `futimes`.
    pub fn futimes(
        &self,
        p: &Process,
        fd: Fd,
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        self.change_fd(
            p,
            fd,
            |fs, ino, cx| fs.set_times(ino, access, modify, cx),
            |file, caller| file.utimes(caller, access, modify),
        )
    }

    /// `truncate`.
    pub fn truncate(&self, p: &Process, path: &[u8], len: u64) -> Result<()> {
        let can_be_cut = |file_type: FileType| match file_type {
            FileType::Directory => Err(Errno::EISDIR),
            FileType::Regular => Ok(()),
            _ => Err(Errno::EINVAL),
        };
        self.change(
            p,
            FsOp::Truncate,
            path,
            Follow::Final,
            |fs, ino, cx| {
                can_be_cut(fs.get(ino)?.kind.file_type())?;
                fs.may(ino, cx, crate::memfs::MAY_WRITE)?;
                fs.truncate(ino, len, cx.now)
            },
            |fs, caller, place| {
                can_be_cut(place.file_type())?;
                fs.truncate(caller, &place.path, len)
            },
        )
    }
}
