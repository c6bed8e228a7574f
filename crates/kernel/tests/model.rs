//! The tree, and every kind of mount, against a real directory: the same random calls on both, the same results, errors
//! and contents.
//!
//! Only paths that cannot lead out of the directory are made: `..` comes only after a name, and link texts have none.
//! Where file systems are free to differ, the call is left out or noted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use proptest::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags};
use secure_exec_kernel::{
    COPYFILE_EXCL, Errno, Fd, FileType, Image, Kernel, KernelOptions, MountOptions, MountSource,
    Process, ProcessOptions, oflag,
};
use support::KernelFs;

const SLOTS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Open(usize, String, i32, u32),
    Close(usize),
    Read(usize, usize, Option<u64>),
    Write(usize, usize, Option<u64>),
    Ftruncate(usize, u64),
    Fstat(usize),
    ReadDirFd(usize),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String),
    Link(String, String),
    Symlink(String, String),
    ReadLink(String),
    Stat(String),
    Lstat(String),
    ReadDir(String),
    RealPath(String),
    Chmod(String, u32),
    Access(String),
    CopyNew(String, String),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned),
        1 => Just("x".repeat(255)),
        1 => Just("y".repeat(256)),
    ]
}

/// A path without `..`.
fn down() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(name(), 1..4),
        prop::sample::select(vec!["", "", "", "", "/"]),
    )
        .prop_map(|(names, end)| names.join("/") + end)
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        16 => down(),
        2 => (name(), down()).prop_map(|(n, d)| format!("{n}/../{d}")),
        2 => down().prop_map(|d| format!("./{}", d.replace('/', "//"))),
        1 => (name(), prop::sample::select(vec![".", "..", "./"])).prop_map(|(n, l)| format!("{n}/{l}")),
        1 => Just(".".to_owned()),
        1 => Just(String::new()),
    ]
}

fn flags() -> impl Strategy<Value = i32> {
    use oflag::*;
    let access = prop::sample::select(vec![O_RDONLY, O_WRONLY, O_RDWR, O_RDWR]);
    let one = |flag: i32| prop::sample::select(vec![0, 0, flag]);
    (
        access,
        one(O_CREAT),
        one(O_EXCL),
        one(O_TRUNC),
        one(O_APPEND),
        one(O_DIRECTORY),
        one(O_NOFOLLOW),
    )
        .prop_map(|(a, c, e, t, ap, d, n)| {
            // Without O_CREAT, O_EXCL is undefined; with it, O_DIRECTORY changed meaning between kernels.
            let e = if c == 0 { 0 } else { e };
            let d = if c == 0 { d } else { 0 };
            a | c | e | t | ap | d | n
        })
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let offset = || prop_oneof![Just(0u64), 0..300u64, Just(200_000u64), Just(5u64 << 30)];
    let mode = || prop::sample::select(vec![0o700u32, 0o755, 0o777, 0o640 | 0o100]);
    prop_oneof![
        6 => (slot(), path(), flags(), mode()).prop_map(|(s, p, f, m)| Op::Open(s, p, f, m)),
        2 => slot().prop_map(Op::Close),
        4 => (slot(), 0..400usize, prop::option::of(offset())).prop_map(|(s, n, o)| Op::Read(s, n, o)),
        4 => (slot(), 0..400usize, prop::option::of(offset())).prop_map(|(s, n, o)| Op::Write(s, n, o)),
        2 => (slot(), offset()).prop_map(|(s, n)| Op::Ftruncate(s, n)),
        1 => slot().prop_map(Op::Fstat),
        1 => slot().prop_map(Op::ReadDirFd),
        8 => path().prop_map(Op::Mkdir),
        3 => path().prop_map(Op::Rmdir),
        3 => path().prop_map(Op::Unlink),
        6 => (path(), path()).prop_map(|(a, b)| Op::Rename(a, b)),
        4 => (path(), path()).prop_map(|(a, b)| Op::Link(a, b)),
        5 => (down(), path()).prop_map(|(a, b)| Op::Symlink(a, b)),
        1 => path().prop_map(Op::ReadLink),
        2 => path().prop_map(Op::Stat),
        2 => path().prop_map(Op::Lstat),
        2 => path().prop_map(Op::ReadDir),
        2 => path().prop_map(Op::RealPath),
        1 => (path(), mode()).prop_map(|(p, m)| Op::Chmod(p, m)),
        1 => path().prop_map(Op::Access),
        2 => (path(), path()).prop_map(|(a, b)| Op::CopyNew(a, b)),
    ]
}

/// What both worlds answer.
#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    Bytes(Vec<u8>),
    Count(usize),
    Names(BTreeMap<String, u32>),
    Text(Vec<u8>),
    Stat { mode: u32, nlink: u64, size: u64 },
}

type Outcome = Result<Answer, i32>;

fn data(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + n) as u8).collect()
}

// ---- ours ----------------------------------------------------------------------------------------------------------

struct Ours {
    kernel: Arc<Kernel>,
    process: Arc<Process>,
    fds: [Option<Fd>; SLOTS],
}

/// What `/model` is.
#[derive(Clone, Copy, Debug)]
enum Ground {
    OwnTree,
    Memory,
    Image,
    Foreign,
    CopyOnWrite,
}

impl Ours {
    fn new(uid: u32, gid: u32, ground: Ground) -> Ours {
        let source = match ground {
            Ground::OwnTree => None,
            Ground::Memory => Some(MountSource::Memory),
            Ground::Image => Some(MountSource::Image(Image::empty().build())),
            Ground::Foreign | Ground::CopyOnWrite => {
                let under = Ours::new(uid, gid, Ground::OwnTree).kernel;
                let fs = KernelFs::new(under, "/model");
                Some(match ground {
                    Ground::Foreign => MountSource::Foreign(fs),
                    _ => MountSource::CopyOnWrite(fs),
                })
            }
        };
        Ours::over(uid, gid, source, true)
    }

    /// The same, copied on write: what was open is closed.
    fn into_base(self, uid: u32, gid: u32) -> Ours {
        let fs = KernelFs::new(self.kernel, "/model");
        Ours::over(uid, gid, Some(MountSource::CopyOnWrite(fs)), false)
    }

    fn over(uid: u32, gid: u32, source: Option<MountSource>, fresh: bool) -> Ours {
        let kernel = Kernel::new(KernelOptions::default()).unwrap();
        let host = kernel.host();
        match source {
            None => kernel.mkdir(host, b"/model", 0o755).unwrap(),
            Some(source) => kernel
                .mount(b"/model", source, MountOptions::default())
                .unwrap(),
        }
        if fresh {
            // A file system of the embedder's says by itself who owns it.
            let _ = kernel.chmod(host, b"/model", 0o755);
            let _ = kernel.chown(host, b"/model", Some(uid), Some(gid));
        }
        let process = kernel
            .spawn(ProcessOptions {
                cwd: b"/model".to_vec(),
                uid: Some(uid),
                gid: Some(gid),
                umask: 0,
                ..ProcessOptions::default()
            })
            .unwrap();
        Ours {
            kernel,
            process,
            fds: [None; SLOTS],
        }
    }

    fn stat(stat: secure_exec_kernel::Stat) -> Answer {
        let is_dir = stat.is_dir();
        Answer::Stat {
            mode: stat.mode,
            // Some file systems count a directory's links otherwise.
            nlink: if is_dir { 0 } else { stat.nlink },
            size: if is_dir { 0 } else { stat.size },
        }
    }

    fn run(&mut self, op: &Op) -> Outcome {
        self.answer(op).map_err(Errno::number)
    }

    fn answer(&mut self, op: &Op) -> Result<Answer, Errno> {
        let (k, p) = (&self.kernel, &*self.process);
        let fd = |slot: usize| self.fds[slot].unwrap_or(999);
        let names = |entries: Vec<secure_exec_kernel::DirEntry>| {
            let kind = |t: FileType| t.mode_bits() >> 12;
            Answer::Names(
                entries
                    .into_iter()
                    .map(|e| {
                        (
                            String::from_utf8(e.name.to_vec()).unwrap(),
                            kind(e.file_type),
                        )
                    })
                    .collect(),
            )
        };
        Ok(match op {
            Op::Open(slot, path, flags, mode) => {
                let new = k.open(p, path.as_bytes(), *flags, *mode)?;
                if let Some(old) = self.fds[*slot].replace(new) {
                    k.close(p, old)?;
                }
                Answer::Done
            }
            Op::Close(slot) => {
                let fd = fd(*slot);
                self.fds[*slot] = None;
                k.close(p, fd)?;
                Answer::Done
            }
            Op::Read(slot, n, offset) => {
                let mut buf = vec![0; *n];
                let n = k.read(p, fd(*slot), &mut buf, *offset)?;
                buf.truncate(n);
                Answer::Bytes(buf)
            }
            Op::Write(slot, n, offset) => {
                Answer::Count(k.write(p, fd(*slot), &data(*n), *offset)?)
            }
            Op::Ftruncate(slot, n) => {
                k.ftruncate(p, fd(*slot), *n)?;
                Answer::Done
            }
            Op::Fstat(slot) => Ours::stat(k.fstat(p, fd(*slot))?),
            Op::ReadDirFd(slot) => {
                let fd = k.dup(p, fd(*slot))?;
                let is_dir = k.fstat(p, fd)?.is_dir();
                k.close(p, fd)?;
                if !is_dir {
                    return Err(Errno::ENOTDIR);
                }
                Answer::Done
            }
            Op::Mkdir(path) => {
                k.mkdir(p, path.as_bytes(), 0o755)?;
                Answer::Done
            }
            Op::Rmdir(path) => {
                k.rmdir(p, path.as_bytes())?;
                Answer::Done
            }
            Op::Unlink(path) => {
                k.unlink(p, path.as_bytes())?;
                Answer::Done
            }
            Op::Rename(a, b) => {
                k.rename(p, a.as_bytes(), b.as_bytes())?;
                Answer::Done
            }
            Op::Link(a, b) => {
                k.link(p, a.as_bytes(), b.as_bytes())?;
                Answer::Done
            }
            Op::Symlink(a, b) => {
                k.symlink(p, a.as_bytes(), b.as_bytes())?;
                Answer::Done
            }
            Op::ReadLink(path) => Answer::Text(k.readlink(p, path.as_bytes())?),
            Op::Stat(path) => Ours::stat(k.stat(p, path.as_bytes())?),
            Op::Lstat(path) => Ours::stat(k.lstat(p, path.as_bytes())?),
            Op::ReadDir(path) => names(k.readdir(p, path.as_bytes())?),
            Op::RealPath(path) => {
                let real = k.realpath(p, path.as_bytes())?;
                Answer::Text(real.strip_prefix(b"/model").unwrap().to_vec())
            }
            Op::Chmod(path, mode) => {
                k.chmod(p, path.as_bytes(), *mode)?;
                Answer::Done
            }
            Op::Access(path) => {
                k.access(p, path.as_bytes(), 0)?;
                Answer::Done
            }
            Op::CopyNew(a, b) => {
                k.copy_file(p, a.as_bytes(), b.as_bytes(), COPYFILE_EXCL)?;
                Answer::Done
            }
        })
    }
}

// ---- theirs --------------------------------------------------------------------------------------------------------

struct Theirs {
    _dir: tempfile::TempDir,
    prefix: Vec<u8>,
    root: OwnedFd,
    fds: [Option<OwnedFd>; SLOTS],
}

fn opened(root: &OwnedFd, path: &str, flags: i32, mode: u32) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::from_bits_retain(flags as u32) | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat(root, path, flags, Mode::from_raw_mode(mode))
}

impl Theirs {
    fn new() -> Theirs {
        let dir = tempfile::tempdir().unwrap();
        let prefix = std::fs::canonicalize(dir.path()).unwrap();
        let root =
            rustix::fs::open(&prefix, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).unwrap();
        Theirs {
            prefix: prefix.into_os_string().into_encoded_bytes(),
            _dir: dir,
            root,
            fds: [const { None }; SLOTS],
        }
    }

    fn stat(stat: rustix::fs::Stat) -> Answer {
        let is_dir = stat.st_mode & 0o170_000 == 0o040_000;
        Answer::Stat {
            mode: stat.st_mode,
            nlink: if is_dir { 0 } else { stat.st_nlink },
            size: if is_dir { 0 } else { stat.st_size as u64 },
        }
    }

    fn names(fd: impl AsFd) -> rustix::io::Result<Answer> {
        let mut names = BTreeMap::new();
        for entry in rustix::fs::Dir::read_from(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_str().unwrap().to_owned();
            if name != "." && name != ".." {
                names.insert(name, entry.file_type().as_raw_mode() >> 12);
            }
        }
        Ok(Answer::Names(names))
    }

    fn run(&mut self, op: &Op) -> Outcome {
        self.answer(op).map_err(rustix::io::Errno::raw_os_error)
    }

    fn answer(&mut self, op: &Op) -> rustix::io::Result<Answer> {
        let bad = rustix::io::Errno::BADF;
        let root = &self.root;
        let fd = |slot: usize| self.fds[slot].as_ref().ok_or(bad);
        Ok(match op {
            Op::Open(slot, path, flags, mode) => {
                self.fds[*slot] = Some(opened(root, path, *flags, *mode)?);
                Answer::Done
            }
            Op::Close(slot) => {
                self.fds[*slot].take().ok_or(bad)?;
                Answer::Done
            }
            Op::Read(slot, n, offset) => {
                let mut buf = vec![0; *n];
                let n = match offset {
                    Some(offset) => rustix::io::pread(fd(*slot)?, &mut buf[..], *offset)?,
                    None => rustix::io::read(fd(*slot)?, &mut buf[..])?,
                };
                buf.truncate(n);
                Answer::Bytes(buf)
            }
            Op::Write(slot, n, offset) => Answer::Count(match offset {
                Some(offset) => rustix::io::pwrite(fd(*slot)?, &data(*n), *offset)?,
                None => rustix::io::write(fd(*slot)?, &data(*n))?,
            }),
            Op::Ftruncate(slot, n) => {
                rustix::fs::ftruncate(fd(*slot)?, *n)?;
                Answer::Done
            }
            Op::Fstat(slot) => Theirs::stat(rustix::fs::fstat(fd(*slot)?)?),
            Op::ReadDirFd(slot) => {
                Theirs::names(fd(*slot)?)?;
                Answer::Done
            }
            Op::Mkdir(path) => {
                rustix::fs::mkdirat(root, path.as_str(), Mode::from_raw_mode(0o755))?;
                Answer::Done
            }
            Op::Rmdir(path) => {
                rustix::fs::unlinkat(root, path.as_str(), AtFlags::REMOVEDIR)?;
                Answer::Done
            }
            Op::Unlink(path) => {
                rustix::fs::unlinkat(root, path.as_str(), AtFlags::empty())?;
                Answer::Done
            }
            Op::Rename(a, b) => {
                rustix::fs::renameat(root, a.as_str(), root, b.as_str())?;
                Answer::Done
            }
            Op::Link(a, b) => {
                rustix::fs::linkat(root, a.as_str(), root, b.as_str(), AtFlags::empty())?;
                Answer::Done
            }
            Op::Symlink(a, b) => {
                rustix::fs::symlinkat(a.as_str(), root, b.as_str())?;
                Answer::Done
            }
            Op::ReadLink(path) => {
                let text = rustix::fs::readlinkat(root, path.as_str(), Vec::new())?;
                Answer::Text(text.into_bytes())
            }
            Op::Stat(path) => {
                Theirs::stat(rustix::fs::statat(root, path.as_str(), AtFlags::empty())?)
            }
            Op::Lstat(path) => Theirs::stat(rustix::fs::statat(
                root,
                path.as_str(),
                AtFlags::SYMLINK_NOFOLLOW,
            )?),
            Op::ReadDir(path) => Theirs::names(opened(root, path, oflag::O_DIRECTORY, 0)?)?,
            Op::RealPath(path) => {
                // What the C library does: the kernel's name for what was opened.
                let fd = opened(root, path, oflag::O_PATH, 0)?;
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
                let text = rustix::fs::readlink(link, Vec::new())?.into_bytes();
                Answer::Text(text.strip_prefix(&self.prefix[..]).unwrap().to_vec())
            }
            Op::Chmod(path, mode) => {
                rustix::fs::chmodat(
                    root,
                    path.as_str(),
                    Mode::from_raw_mode(*mode),
                    AtFlags::empty(),
                )?;
                Answer::Done
            }
            Op::Access(path) => {
                rustix::fs::accessat(
                    root,
                    path.as_str(),
                    rustix::fs::Access::EXISTS,
                    AtFlags::empty(),
                )?;
                Answer::Done
            }
            Op::CopyNew(a, b) => {
                let from = opened(root, a, oflag::O_RDONLY, 0)?;
                let stat = rustix::fs::fstat(&from)?;
                if stat.st_mode & 0o170_000 == 0o040_000 {
                    // As libuv: the target is opened before the first read fails. Ours looks at both first.
                    opened(root, b, oflag::O_PATH | oflag::O_NOFOLLOW, 0)
                        .map(drop)
                        .or(Ok(()))?;
                    return Err(rustix::io::Errno::ISDIR);
                }
                let flags = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_EXCL;
                let to = opened(root, b, flags, stat.st_mode & 0o777)?;
                rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o777))?;
                rustix::fs::ftruncate(&to, stat.st_size as u64)?;
                let mut buf = vec![0; 1 << 20];
                let n = rustix::io::pread(&from, &mut buf[..], 0)?;
                rustix::io::pwrite(&to, &buf[..n], 0)?;
                Answer::Done
            }
        })
    }
}

fn ground() -> impl Strategy<Value = Ground> {
    prop_oneof![
        2 => Just(Ground::OwnTree),
        1 => Just(Ground::Memory),
        1 => Just(Ground::Image),
        2 => Just(Ground::Foreign),
        4 => Just(Ground::CopyOnWrite),
    ]
}

/// What a copy-on-write mount does as overlayfs does, and not as one file system would: a file that is open for reading
/// stays what it was when another name or descriptor changes it, and so do other names of it.
fn on_a_base(op: &Op) -> Op {
    match op {
        Op::Open(slot, path, flags, mode) => {
            Op::Open(*slot, path.clone(), flags & !3 | oflag::O_RDWR, *mode)
        }
        other => other.clone(),
    }
}

fn compare(ops: &[Op], ground: Ground, base: usize) -> Result<(), TestCaseError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let mut theirs = Theirs::new();
    let copies = matches!(ground, Ground::CopyOnWrite);
    let mut ours = if copies {
        Ours::new(uid, gid, Ground::OwnTree)
    } else {
        Ours::new(uid, gid, ground)
    };
    for (n, op) in ops.iter().enumerate() {
        if copies && n == base.min(ops.len() - 1) {
            ours = ours.into_base(uid, gid);
            theirs.fds = [const { None }; SLOTS];
        }
        if copies && n < base && matches!(op, Op::Link(..)) {
            continue;
        }
        let op = &if copies { on_a_base(op) } else { op.clone() };
        if let Op::CopyNew(a, _) = op {
            // Both answers to a missing target directory for a directory as source are right.
            let is_dir = ours
                .kernel
                .stat(&ours.process, a.as_bytes())
                .is_ok_and(|s| s.is_dir() || s.size > 1 << 20);
            if is_dir {
                continue;
            }
        }
        let one = ours.run(op);
        let two = theirs.run(op);
        prop_assert_eq!(one, two, "step {} of {:?}", n, ops);
    }
    for path in [".", "a", "b", "c", "d", "a/a", "a/b", "b/a", "b/b", "a/a/a"] {
        for op in [
            Op::ReadDir(path.to_owned()),
            Op::Lstat(path.to_owned()),
            Op::RealPath(path.to_owned()),
        ] {
            prop_assert_eq!(ours.run(&op), theirs.run(&op), "after {:?}: {:?}", ops, op);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tree_does_what_a_real_directory_does(
        ops in prop::collection::vec(op(), 1..60),
        ground in ground(),
        base in 0..40usize,
    ) {
        rustix::process::umask(Mode::empty());
        compare(&ops, ground, base)?;
    }
}
