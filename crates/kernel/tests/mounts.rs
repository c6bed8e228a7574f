//! Mounts: what is seen through them, where they end, what they refuse.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::sync::{Arc, Mutex};

use secure_exec_kernel::*;
use support::KernelFs;

const WRITE: i32 = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;
const BIG: u64 = 1 << 30;
const READ_ONLY: MountOptions = MountOptions { read_only: true };

fn machine() -> (Arc<Kernel>, Arc<Process>) {
    let kernel = Kernel::new(KernelOptions::default()).unwrap();
    let process = kernel.spawn(ProcessOptions::default()).unwrap();
    (kernel, process)
}

fn put(k: &Kernel, p: &Process, path: &str, text: &str) -> Result<()> {
    k.write_file(p, path.as_bytes(), text.as_bytes(), WRITE, 0o666)
}

fn text(k: &Kernel, p: &Process, path: &str) -> Result<String> {
    let bytes = k.read_file(p, path.as_bytes(), BIG)?;
    Ok(String::from_utf8(bytes.into_vec()).unwrap())
}

fn names(k: &Kernel, p: &Process, path: &str) -> Vec<String> {
    let entries = k.readdir(p, path.as_bytes()).unwrap();
    let name = |e: DirEntry| String::from_utf8(e.name.to_vec()).unwrap();
    entries.into_iter().map(name).collect()
}

/// A file system with `dir/a`, `dir/b`, `out -> /etc/hosts`, `in -> dir`, `abs -> /mnt/dir/a`.
fn given() -> Arc<KernelFs> {
    let (k, _) = machine();
    let h = k.host();
    k.mkdir(h, b"/given", 0o777).unwrap();
    k.chmod(h, b"/given", 0o777).unwrap();
    k.mkdir(h, b"/given/dir", 0o777).unwrap();
    k.chmod(h, b"/given/dir", 0o777).unwrap();
    put(&k, h, "/given/dir/a", "given a").unwrap();
    put(&k, h, "/given/dir/b", "given b").unwrap();
    k.chmod(h, b"/given/dir/a", 0o666).unwrap();
    k.chmod(h, b"/given/dir/b", 0o666).unwrap();
    k.symlink(h, b"/etc/hosts", b"/given/out").unwrap();
    k.symlink(h, b"dir", b"/given/in").unwrap();
    k.symlink(h, b"/mnt/dir/a", b"/given/abs").unwrap();
    KernelFs::new(k, "/given")
}

/// Every kind of source with the same tree, mounted at `/mnt` of its own machine.
fn writable() -> Vec<(&'static str, Arc<Kernel>, Arc<Process>)> {
    let mut builder = Image::empty();
    builder.file("/dir/a", b"given a".to_vec(), 0o666).unwrap();
    builder.file("/dir/b", b"given b".to_vec(), 0o666).unwrap();
    builder.dir("/dir", 0o777).unwrap();
    builder.dir("/", 0o777).unwrap();
    builder.symlink("/out", "/etc/hosts").unwrap();
    builder.symlink("/in", "dir").unwrap();
    builder.symlink("/abs", "/mnt/dir/a").unwrap();
    let sources = [
        ("image", MountSource::Image(builder.build())),
        ("foreign", MountSource::Foreign(given())),
        ("cow", MountSource::CopyOnWrite(given())),
    ];
    sources
        .into_iter()
        .map(|(name, source)| {
            let (k, p) = machine();
            k.mount(b"/mnt", source, MountOptions::default()).unwrap();
            (name, k, p)
        })
        .collect()
}

#[test]
fn links_and_dots_mean_what_they_mean_in_the_guests_tree() {
    for (source, k, p) in writable() {
        assert_eq!(text(&k, &p, "/mnt/dir/a").unwrap(), "given a", "{source}");
        assert_eq!(text(&k, &p, "/mnt/in/a").unwrap(), "given a");
        assert_eq!(text(&k, &p, "/mnt/abs").unwrap(), "given a");
        assert!(text(&k, &p, "/mnt/out").unwrap().contains("localhost"));
        assert!(
            text(&k, &p, "/mnt/dir/../../etc/hosts")
                .unwrap()
                .contains("localhost")
        );
        assert!(
            text(&k, &p, "/mnt/in/../out")
                .unwrap()
                .contains("localhost")
        );
        assert_eq!(k.realpath(&p, b"/mnt/in/a").unwrap(), b"/mnt/dir/a");
        assert_eq!(k.realpath(&p, b"/mnt/abs").unwrap(), b"/mnt/dir/a");
        assert_eq!(k.realpath(&p, b"/mnt/dir/..").unwrap(), b"/mnt");
        assert_eq!(k.realpath(&p, b"/mnt/../mnt/.").unwrap(), b"/mnt");
        assert_eq!(k.readlink(&p, b"/mnt/out").unwrap(), b"/etc/hosts");
        assert_eq!(text(&k, &p, "/mnt/nothing"), Err(Errno::ENOENT));
        assert_eq!(text(&k, &p, "/mnt/nothing/x"), Err(Errno::ENOENT));
        assert_eq!(text(&k, &p, "/mnt/dir/a/x"), Err(Errno::ENOTDIR));
        assert_eq!(text(&k, &p, "/mnt/dir/a/"), Err(Errno::ENOTDIR));
        assert_eq!(text(&k, &p, "/mnt/nothing/../dir/a"), Err(Errno::ENOENT));
        assert_eq!(names(&k, &p, "/mnt"), ["abs", "dir", "in", "out"]);
        assert_eq!(names(&k, &p, "/mnt/in"), ["a", "b"]);
        k.symlink(&p, b"/mnt/in", b"/tmp/to-mount").unwrap();
        assert_eq!(text(&k, &p, "/tmp/to-mount/b").unwrap(), "given b");
    }
}

#[test]
fn working_directory_inside() {
    for (source, k, p) in writable() {
        k.chdir(&p, b"/mnt/in").unwrap();
        assert_eq!(k.getcwd(&p).unwrap(), b"/mnt/dir", "{source}");
        assert_eq!(text(&k, &p, "a").unwrap(), "given a");
        assert_eq!(text(&k, &p, "../dir/b").unwrap(), "given b");
        assert_eq!(k.readlink(&p, b"/proc/self/cwd").unwrap(), b"/mnt/dir");
        assert_eq!(text(&k, &p, "/proc/self/cwd/b").unwrap(), "given b");
        assert!(text(&k, &p, "../../etc/hosts").is_ok());
        k.chdir(&p, b"..").unwrap();
        assert_eq!(k.getcwd(&p).unwrap(), b"/mnt");
        k.chdir(&p, b"..").unwrap();
        assert_eq!(k.getcwd(&p).unwrap(), b"/");
        assert_eq!(k.chdir(&p, b"/mnt/dir/a"), Err(Errno::ENOTDIR));
    }
}

#[test]
fn changes() {
    for (source, k, p) in writable() {
        put(&k, &p, "/mnt/dir/new", "1").unwrap();
        assert_eq!(text(&k, &p, "/mnt/in/new").unwrap(), "1", "{source}");
        put(&k, &p, "/mnt/abs", "through a link").unwrap();
        assert_eq!(text(&k, &p, "/mnt/dir/a").unwrap(), "through a link");
        k.mkdir_recursive(&p, b"/mnt/x/y/z", 0o755).unwrap();
        k.rename(&p, b"/mnt/dir/new", b"/mnt/x/y/z/moved").unwrap();
        assert_eq!(text(&k, &p, "/mnt/x/y/z/moved").unwrap(), "1");
        k.link(&p, b"/mnt/x/y/z/moved", b"/mnt/hard").unwrap();
        assert_eq!(k.stat(&p, b"/mnt/hard").unwrap().nlink, 2);
        k.truncate(&p, b"/mnt/hard", 3).unwrap();
        assert_eq!(text(&k, &p, "/mnt/x/y/z/moved").unwrap(), "1\0\0");
        k.symlink(&p, b"../dir", b"/mnt/x/up").unwrap();
        assert_eq!(text(&k, &p, "/mnt/x/up/b").unwrap(), "given b");
        k.chmod(&p, b"/mnt/hard", 0o600).unwrap();
        assert_eq!(k.stat(&p, b"/mnt/hard").unwrap().permissions(), 0o600);
        let at = TimeSpec::from_nanos(1_000_000_001);
        k.utimes(&p, b"/mnt/hard", Some(at), Some(at)).unwrap();
        assert_eq!(k.stat(&p, b"/mnt/hard").unwrap().mtime, at);
        assert_eq!(k.rmdir(&p, b"/mnt/x"), Err(Errno::ENOTEMPTY));
        assert_eq!(k.unlink(&p, b"/mnt/x"), Err(Errno::EISDIR));
        assert_eq!(k.rmdir(&p, b"/mnt/hard"), Err(Errno::ENOTDIR));
        assert_eq!(k.mkdir(&p, b"/mnt/hard", 0o755), Err(Errno::EEXIST));
        assert_eq!(k.rename(&p, b"/mnt/x", b"/mnt/x/y/w"), Err(Errno::EINVAL));
        k.remove_all(&p, b"/mnt/x").unwrap();
        k.unlink(&p, b"/mnt/hard").unwrap();
        assert_eq!(names(&k, &p, "/mnt"), ["abs", "dir", "in", "out"]);
        let dir = k.mkdtemp(&p, b"/mnt/dir/t-").unwrap();
        k.rmdir(&p, &dir).unwrap();
        k.copy_file(&p, b"/etc/hosts", b"/mnt/hosts", 0).unwrap();
        k.copy_file(&p, b"/mnt/hosts", b"/tmp/hosts", 0).unwrap();
        assert_eq!(text(&k, &p, "/tmp/hosts"), text(&k, &p, "/etc/hosts"));
        assert_eq!(
            k.copy_file(&p, b"/mnt/hosts", b"/mnt/dir/b", COPYFILE_EXCL),
            Err(Errno::EEXIST)
        );
        k.copy_file(&p, b"/mnt/hosts", b"/mnt/hosts", 0).unwrap();
        assert_eq!(text(&k, &p, "/mnt/hosts"), text(&k, &p, "/etc/hosts"));
    }
}

#[test]
fn descriptors() {
    for (source, k, p) in writable() {
        let rw = oflag::O_RDWR | oflag::O_CREAT;
        let fd = k.open(&p, b"/mnt/dir/f", rw, 0o644).unwrap();
        assert_eq!(k.write(&p, fd, b"hello", None), Ok(5), "{source}");
        assert_eq!(k.write(&p, fd, b"J", Some(0)), Ok(1));
        assert_eq!(k.write(&p, fd, b" you", None), Ok(4));
        let mut buf = [0; 16];
        assert_eq!(k.read(&p, fd, &mut buf, Some(0)), Ok(9));
        assert_eq!(&buf[..9], b"Jello you");
        assert_eq!(k.read(&p, fd, &mut buf, None), Ok(0));
        k.ftruncate(&p, fd, 5).unwrap();
        assert_eq!(k.fstat(&p, fd).unwrap().size, 5);
        k.fsync(&p, fd).unwrap();
        assert_eq!(k.handle_kind(&p, fd), Ok(HandleKind::File));
        assert_eq!(
            k.readlink(&p, format!("/proc/self/fd/{fd}").as_bytes())
                .unwrap(),
            b"/mnt/dir/f"
        );
        let again = k
            .open(&p, format!("/dev/fd/{fd}").as_bytes(), oflag::O_RDONLY, 0)
            .unwrap();
        assert_eq!(k.read(&p, again, &mut buf, None), Ok(5));

        let append = oflag::O_WRONLY | oflag::O_APPEND;
        let end = k.open(&p, b"/mnt/dir/f", append, 0).unwrap();
        assert_eq!(k.write(&p, end, b"!", None), Ok(1));
        assert_eq!(k.write(&p, end, b"?", Some(0)), Ok(1));
        assert_eq!(text(&k, &p, "/mnt/dir/f").unwrap(), "Jello!?");
        assert_eq!(k.read(&p, end, &mut buf, None), Err(Errno::EBADF));
        let excl = k.open(&p, b"/mnt/dir/f", rw | oflag::O_EXCL, 0o644);
        assert_eq!(excl, Err(Errno::EEXIST));
        let link = k.open(&p, b"/mnt/out", oflag::O_NOFOLLOW, 0);
        assert_eq!(link, Err(Errno::ELOOP));
        assert_eq!(k.open(&p, b"/mnt/dir", rw, 0), Err(Errno::EISDIR));

        for n in 0..50 {
            put(&k, &p, &format!("/mnt/dir/n{n:02}"), "").unwrap();
        }
        let dir = k.opendir(&p, b"/mnt/dir").unwrap();
        let mut seen = Vec::new();
        loop {
            let some = k.readdir_fd(&p, dir, 7).unwrap();
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= 7);
            seen.extend(some.into_iter().map(|e| e.name));
        }
        assert_eq!(seen.len(), 53);
        assert!(seen.is_sorted());
    }
}

#[test]
fn borders() {
    for (source, k, p) in writable() {
        put(&k, &p, "/tmp/f", "").unwrap();
        let exdev = Err(Errno::EXDEV);
        assert_eq!(k.rename(&p, b"/tmp/f", b"/mnt/f"), exdev, "{source}");
        assert_eq!(k.rename(&p, b"/mnt/dir/a", b"/tmp/a"), exdev);
        assert_eq!(k.link(&p, b"/tmp/f", b"/mnt/f"), exdev);
        assert_eq!(k.link(&p, b"/mnt/dir/a", b"/tmp/a"), exdev);
        let busy = Err(Errno::EBUSY);
        assert_eq!(k.rmdir(&p, b"/mnt"), busy);
        assert_eq!(k.rename(&p, b"/mnt", b"/other"), busy);
        k.mkdir(k.host(), b"/other", 0o777).unwrap();
        assert_eq!(k.rename(k.host(), b"/other", b"/mnt"), busy);
        assert!(names(&k, &p, "/").contains(&"mnt".to_owned()));
        let (own, mounted) = (k.stat(&p, b"/tmp").unwrap(), k.stat(&p, b"/mnt").unwrap());
        assert_ne!(own.dev, mounted.dev);
        assert_eq!(mounted.dev, k.stat(&p, b"/mnt/dir/a").unwrap().dev);
        assert_eq!(mounted.dev, k.mounts()[0].dev);
        k.mount(
            b"/mnt/dir/inner",
            MountSource::Memory,
            MountOptions::default(),
        )
        .unwrap();
        assert_ne!(k.stat(&p, b"/mnt/dir/inner").unwrap().dev, mounted.dev);
        assert_eq!(names(&k, &p, "/mnt/dir"), ["a", "b", "inner"]);
        assert_eq!(k.getcwd(&p).unwrap(), b"/workspace");
        put(&k, k.host(), "/mnt/in/inner/x", "inside").unwrap();
        assert_eq!(text(&k, &p, "/mnt/dir/inner/../inner/x").unwrap(), "inside");
        assert_eq!(
            k.realpath(&p, b"/mnt/in/inner/x").unwrap(),
            b"/mnt/dir/inner/x"
        );
        assert_eq!(k.rmdir(&p, b"/mnt/dir/inner"), busy);
        if source == "foreign" {
            assert_eq!(k.rename(&p, b"/mnt/dir", b"/mnt/dir2"), busy);
        }
        assert_eq!(k.unmount(b"/mnt"), busy);
        assert_eq!(
            k.mount(b"/mnt", MountSource::Memory, MountOptions::default()),
            busy
        );
        k.unmount(b"/mnt/dir/inner").unwrap();
        assert_eq!(text(&k, &p, "/mnt/dir/inner/x"), Err(Errno::ENOENT));
        assert_eq!(k.unmount(b"/tmp"), Err(Errno::EINVAL));
    }
}

#[test]
fn unmounting_under_open_files() {
    for (source, k, p) in writable() {
        let before = k.usage();
        put(&k, &p, "/mnt/dir/big", &"x".repeat(1000)).unwrap();
        let fd = k.open(&p, b"/mnt/dir/big", oflag::O_RDWR, 0).unwrap();
        let dir = k.opendir(&p, b"/mnt/dir").unwrap();
        k.chdir(&p, b"/mnt/dir").unwrap();
        k.unmount(b"/mnt").unwrap();
        assert_eq!(k.usage(), before, "{source}");
        let mut buf = [0; 4];
        assert_eq!(k.read(&p, fd, &mut buf, None), Err(Errno::EIO));
        assert_eq!(k.write(&p, fd, &buf, None), Err(Errno::EIO));
        assert_eq!(k.fstat(&p, fd), Err(Errno::EIO));
        assert_eq!(k.ftruncate(&p, fd, 0), Err(Errno::EIO));
        assert_eq!(k.readdir_fd(&p, dir, 9), Err(Errno::EIO));
        assert!(matches!(text(&k, &p, "a"), Err(Errno::EIO | Errno::ENOENT)));
        assert!(k.getcwd(&p).is_err());
        k.close(&p, fd).unwrap();
        k.close(&p, dir).unwrap();
        k.chdir(&p, b"/").unwrap();
        assert_eq!(names(&k, &p, "/mnt"), Vec::<String>::new());
        assert_eq!(k.mounts(), []);
        k.mount(b"/mnt", MountSource::Memory, MountOptions::default())
            .unwrap();
        assert_eq!(names(&k, &p, "/mnt"), Vec::<String>::new());
    }
}

#[test]
fn read_only_mounts() {
    let mut builder = Image::empty();
    builder.file("/f", b"f".to_vec(), 0o666).unwrap();
    builder.dir("/", 0o777).unwrap();
    let foreign = given();
    put(&foreign.kernel, foreign.kernel.host(), "/given/f", "f").unwrap();
    for source in [
        MountSource::Image(builder.build()),
        MountSource::Foreign(foreign),
    ] {
        let (k, p) = machine();
        let kind = format!("{source:?}");
        k.mount(b"/mnt", source, READ_ONLY).unwrap();
        let erofs = Err(Errno::EROFS);
        for who in [&*p, k.host()] {
            assert_eq!(put(&k, who, "/mnt/f", ""), erofs, "{kind}");
            assert_eq!(put(&k, who, "/mnt/new", ""), erofs);
            assert_eq!(k.mkdir(who, b"/mnt/d", 0o755), erofs);
            assert_eq!(k.mkdir(who, b"/mnt/f", 0o755), Err(Errno::EEXIST));
            assert_eq!(k.unlink(who, b"/mnt/f"), erofs);
            assert_eq!(k.rename(who, b"/mnt/f", b"/mnt/g"), erofs);
            assert_eq!(k.link(who, b"/mnt/f", b"/mnt/g"), erofs);
            assert_eq!(k.symlink(who, b"f", b"/mnt/g"), erofs);
            assert_eq!(k.truncate(who, b"/mnt/f", 0), erofs);
            assert_eq!(k.chmod(who, b"/mnt/f", 0o777), erofs);
            assert_eq!(k.utimes(who, b"/mnt/f", None, None), erofs);
            assert_eq!(k.chown(k.host(), b"/mnt/f", Some(1), None), erofs);
            assert_eq!(k.access(who, b"/mnt/f", W_OK), erofs);
            assert_eq!(k.access(who, b"/mnt/f", R_OK), Ok(()));
            assert_eq!(k.copy_file(who, b"/etc/hosts", b"/mnt/f", 0), erofs);
            assert_eq!(text(&k, who, "/mnt/f").unwrap(), "f");
        }
        assert!(k.mounts()[0].read_only);
    }
}

#[test]
fn memory_mounts_are_on_the_vms_account() {
    let kernel = Kernel::new(KernelOptions {
        quotas: Quotas {
            max_filesystem_bytes: 1000,
            max_inodes: 10,
            ..Quotas::default()
        },
        ..KernelOptions::default()
    })
    .unwrap();
    let p = kernel.spawn(ProcessOptions::default()).unwrap();
    kernel
        .mount(b"/tmp/m", MountSource::Memory, MountOptions::default())
        .unwrap();
    let before = kernel.usage();
    put(&kernel, &p, "/tmp/m/f", &"x".repeat(600)).unwrap();
    assert_eq!(kernel.usage().filesystem_bytes, 600);
    assert_eq!(
        put(&kernel, &p, "/tmp/f", &"x".repeat(600)),
        Err(Errno::ENOSPC)
    );
    kernel.unlink(&p, b"/tmp/f").unwrap();
    kernel.link(&p, b"/tmp/m/f", b"/tmp/m/g").unwrap();
    kernel.symlink(&p, b"xyz", b"/tmp/m/l").unwrap();
    kernel.mkdir(&p, b"/tmp/m/d", 0o755).unwrap();
    assert_eq!(kernel.usage().inodes, before.inodes + 4);
    kernel.unmount(b"/tmp/m").unwrap();
    assert_eq!(kernel.usage(), before);
}

#[derive(Default)]
struct Recorded {
    deny: Vec<Vec<u8>>,
    asked: Mutex<Vec<(FsOp, String, bool)>>,
}

impl FsPolicy for Recorded {
    fn check(&self, request: &FsRequest) -> Result<()> {
        let path = String::from_utf8(request.path.clone()).unwrap();
        self.asked
            .lock()
            .unwrap()
            .push((request.op, path, request.foreign));
        if self.deny.contains(&request.path) {
            Err(Errno::EACCES)
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_refused_call_does_not_reach_the_foreign_file_system() {
    let policy = Arc::new(Recorded {
        deny: vec![
            b"/mnt/dir/a".to_vec(),
            b"/mnt/secret".to_vec(),
            b"/mnt/dir".to_vec(),
        ],
        asked: Mutex::default(),
    });
    let k = Kernel::new(KernelOptions {
        policy: Some(policy.clone()),
        ..KernelOptions::default()
    })
    .unwrap();
    let given = given();
    k.mount(
        b"/mnt",
        MountSource::Foreign(given.clone()),
        MountOptions::default(),
    )
    .unwrap();
    let p = k.spawn(ProcessOptions::default()).unwrap();
    given.asked();
    let eacces = Errno::EACCES;
    for path in [
        &b"/mnt/dir/a"[..],
        b"/mnt/secret",
        b"/mnt/./secret",
        b"/mnt//dir/../secret",
        b"/mnt/dir/../other",
    ] {
        assert_eq!(k.read_file(&p, path, BIG).map(drop), Err(eacces));
        assert_eq!(k.stat(&p, path).map(drop), Err(eacces));
        assert_eq!(k.lstat(&p, path).map(drop), Err(eacces));
        assert_eq!(k.readlink(&p, path).map(drop), Err(eacces));
        assert_eq!(k.realpath(&p, path).map(drop), Err(eacces));
        assert_eq!(k.readdir(&p, path).map(drop), Err(eacces));
        assert_eq!(k.opendir(&p, path).map(drop), Err(eacces));
        assert_eq!(k.access(&p, path, F_OK), Err(eacces));
        assert_eq!(k.statfs(&p, path).map(drop), Err(eacces));
        assert_eq!(k.module_stat(&p, path), ModuleStat::Missing);
        assert_eq!(k.write_file(&p, path, b"", WRITE, 0o644), Err(eacces));
        assert_eq!(k.mkdir(&p, path, 0o755), Err(eacces));
        assert_eq!(k.unlink(&p, path), Err(eacces));
        assert_eq!(k.rmdir(&p, path), Err(eacces));
        assert_eq!(k.rename(&p, path, b"/mnt/x"), Err(eacces));
        assert_eq!(k.rename(&p, b"/tmp", path), Err(eacces));
        assert_eq!(k.link(&p, path, b"/mnt/x"), Err(eacces));
        assert_eq!(k.symlink(&p, b"x", path), Err(eacces));
        assert_eq!(k.chmod(&p, path, 0), Err(eacces));
        assert_eq!(k.chown(&p, path, None, None), Err(eacces));
        assert_eq!(k.utimes(&p, path, None, None), Err(eacces));
        assert_eq!(k.truncate(&p, path, 0), Err(eacces));
        assert_eq!(k.copy_file(&p, path, b"/tmp/x", 0), Err(eacces));
        assert_eq!(k.copy_file(&p, b"/etc/hosts", path, 0), Err(eacces));
        assert_eq!(k.chdir(&p, path), Err(eacces));
    }
    assert_eq!(given.asked(), 0);

    // A link may be looked at, but not followed to where the policy says no.
    policy.asked.lock().unwrap().clear();
    assert_eq!(k.read_file(&p, b"/mnt/abs", BIG).map(drop), Err(eacces));
    let asked = std::mem::take(&mut *policy.asked.lock().unwrap());
    assert_eq!(
        asked,
        [
            (FsOp::Read, "/mnt/abs".to_owned(), true),
            (FsOp::Read, "/mnt/dir/a".to_owned(), true)
        ]
    );
    assert!(k.read_file(&p, b"/mnt/out", BIG).is_ok());
    let asked = std::mem::take(&mut *policy.asked.lock().unwrap());
    assert_eq!(
        asked.last().unwrap(),
        &(FsOp::Read, "/etc/hosts".to_owned(), false)
    );
    assert!(k.read_file(&p, b"/mnt/dir/b", BIG).is_ok());
    let asked = std::mem::take(&mut *policy.asked.lock().unwrap());
    assert_eq!(asked, [(FsOp::Read, "/mnt/dir/b".to_owned(), true)]);
}

#[test]
fn a_file_system_at_the_root() {
    let (k, p) = machine();
    let given = given();
    let h = given.kernel.host();
    given.kernel.mkdir(h, b"/given/tmp", 0o777).unwrap();
    k.mount(b"/", MountSource::Foreign(given), MountOptions::default())
        .unwrap();
    assert_eq!(
        names(&k, &p, "/"),
        ["abs", "dev", "dir", "in", "out", "proc", "tmp"]
    );
    assert_eq!(text(&k, &p, "/dir/a").unwrap(), "given a");
    assert_eq!(text(&k, &p, "/etc/hosts"), Err(Errno::ENOENT));
    assert!(text(&k, &p, "/proc/version").unwrap().contains("Linux"));
    assert_eq!(text(&k, &p, "/dev/null").unwrap(), "");
    assert_eq!(text(&k, &p, "/dev/../dir/b").unwrap(), "given b");
    assert_eq!(k.realpath(&p, b"/dev/../in/a").unwrap(), b"/dir/a");
    assert_eq!(k.rmdir(&p, b"/dev"), Err(Errno::EBUSY));
    assert_eq!(k.rename(&p, b"/proc", b"/p"), Err(Errno::EBUSY));
    let q = k
        .spawn(ProcessOptions {
            cwd: b"/dir".to_vec(),
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(k.getcwd(&q).unwrap(), b"/dir");
    k.unmount(b"/").unwrap();
    assert!(text(&k, &p, "/etc/hosts").is_ok());
}

#[test]
fn the_program_stands_in_a_mount_that_does_not_have_it() {
    let (k, _) = machine();
    let given = given();
    k.mount(b"/mnt", MountSource::Foreign(given), READ_ONLY)
        .unwrap();
    let program = Program::new(b"/mnt/dir/main.js", b"source".to_vec()).unwrap();
    let p = k
        .spawn(ProcessOptions {
            cwd: b"/mnt".to_vec(),
            program: Some(program),
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(text(&k, &p, "/mnt/dir/main.js").unwrap(), "source");
    assert_eq!(text(&k, &p, "dir/../dir/main.js").unwrap(), "source");
    assert_eq!(text(&k, &p, "dir/a").unwrap(), "given a");
}

#[test]
fn a_guest_sees_no_time_after_its_own() {
    let (k, p) = machine();
    let given = given();
    let late = TimeSpec::from_nanos(4_000_000_000_000_000_000);
    let h = given.kernel.host();
    given
        .kernel
        .utimes(h, b"/given/dir/a", Some(late), Some(late))
        .unwrap();
    k.mount(b"/mnt", MountSource::Foreign(given), READ_ONLY)
        .unwrap();
    let stat = k.stat(&p, b"/mnt/dir/a").unwrap();
    assert!(stat.mtime < late && stat.mtime == k.clock().time());
    assert_eq!(k.stat(k.host(), b"/mnt/dir/a").unwrap().mtime, late);
}

#[test]
fn bad_mounts() {
    let (k, _) = machine();
    let mount = |path: &[u8]| k.mount(path, MountSource::Memory, MountOptions::default());
    assert_eq!(mount(b"relative"), Err(Errno::EINVAL));
    assert_eq!(mount(b""), Err(Errno::EINVAL));
    assert_eq!(mount(b"/etc/hosts"), Err(Errno::ENOTDIR));
    assert_eq!(mount(b"/proc/self"), Err(Errno::ENOTDIR));
    let file = KernelFs::new(machine().0, "/etc/hosts");
    assert!(
        k.mount(b"/x", MountSource::Foreign(file), READ_ONLY)
            .is_err()
    );
    assert_eq!(k.mounts(), []);
    assert_eq!(k.unmount(b"/nowhere"), Err(Errno::ENOENT));
}

/// Answers that a broken file system may give.
struct Broken;

impl MountedFs for Broken {
    fn lstat(&self, _: &Caller<'_>, path: &[u8]) -> Result<Stat> {
        let file_type = match path {
            b"" => FileType::Directory,
            b"file" => FileType::Regular,
            _ => FileType::Symlink,
        };
        let (k, _) = machine();
        let stat = k.stat(k.host(), b"/tmp")?;
        Ok(Stat { file_type, ..stat })
    }

    fn lookup(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Found> {
        let stat = self.lstat(caller, path)?;
        let len = if path == b"longer" { 99 } else { path.len() };
        Ok(Found { len, stat })
    }

    fn readlink(&self, _: &Caller<'_>, path: &[u8]) -> Result<Vec<u8>> {
        Ok(match path {
            b"empty" => Vec::new(),
            b"nul" => b"a\0b".to_vec(),
            b"long" => vec![b'x'; 5000],
            other => other.to_vec(),
        })
    }

    fn readdir(&self, _: &Caller<'_>, _: &[u8]) -> Result<Vec<DirEntry>> {
        let entry = |name: &[u8]| DirEntry {
            name: Arc::from(name),
            file_type: FileType::Regular,
        };
        Ok(["z", ".", "..", "", "a/b", "a\0", "b", "b"]
            .map(|n| entry(n.as_bytes()))
            .to_vec())
    }

    fn open(&self, caller: &Caller<'_>, _: &[u8], _: OpenHow) -> Result<Arc<dyn MountedFile>> {
        assert!(!caller.interrupted());
        Err(Errno::EIO)
    }
}

#[test]
fn broken_file_systems() {
    let (k, p) = machine();
    k.mount(
        b"/mnt",
        MountSource::Foreign(Arc::new(Broken)),
        MountOptions::default(),
    )
    .unwrap();
    assert_eq!(names(&k, &p, "/mnt"), ["b", "z"]);
    assert_eq!(text(&k, &p, "/mnt/file"), Err(Errno::EIO));
    assert_eq!(text(&k, &p, "/mnt/longer"), Err(Errno::EIO));
    assert_eq!(text(&k, &p, "/mnt/empty"), Err(Errno::ENOENT));
    assert_eq!(text(&k, &p, "/mnt/nul"), Err(Errno::EINVAL));
    assert_eq!(text(&k, &p, "/mnt/long"), Err(Errno::ENAMETOOLONG));
    assert_eq!(text(&k, &p, "/mnt/itself"), Err(Errno::ELOOP));
    let wandering = "/mnt/".to_owned() + &"a/../".repeat(700);
    assert!(k.stat(&p, wandering.as_bytes()).is_err());
    p.interrupt();
    assert_eq!(text(&k, &p, "/mnt/file"), Err(Errno::EINTR));
}

#[test]
fn interrupts_wake_who_waits() {
    struct Waits;
    impl MountedFs for Waits {
        fn lstat(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Stat> {
            let (k, _) = machine();
            if !path.is_empty() {
                let (send, wait) = std::sync::mpsc::channel();
                let _guard = caller.on_interrupt(move || send.send(()).unwrap());
                wait.recv().unwrap();
                assert!(caller.interrupted());
                return Err(Errno::EINTR);
            }
            k.stat(k.host(), b"/tmp")
        }
        fn readdir(&self, _: &Caller<'_>, _: &[u8]) -> Result<Vec<DirEntry>> {
            Ok(Vec::new())
        }
        fn open(&self, _: &Caller<'_>, _: &[u8], _: OpenHow) -> Result<Arc<dyn MountedFile>> {
            Err(Errno::EIO)
        }
    }
    let (k, p) = machine();
    k.mount(b"/mnt", MountSource::Foreign(Arc::new(Waits)), READ_ONLY)
        .unwrap();
    let (k2, p2) = (k.clone(), p.clone());
    let thread = std::thread::spawn(move || k2.stat(&p2, b"/mnt/x"));
    // The kernel goes on meanwhile.
    assert!(k.stat(k.host(), b"/tmp").is_ok());
    p.interrupt();
    assert_eq!(thread.join().unwrap(), Err(Errno::EINTR));
}

/// All of a file system: paths with types, modes and contents.
fn everything(k: &Kernel, top: &str) -> Vec<String> {
    let h = k.host();
    let mut lines = Vec::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = k.lstat(h, path.as_bytes()).unwrap();
        let what = match stat.file_type {
            FileType::Directory => {
                let entries = k.readdir(h, path.as_bytes()).unwrap();
                todo.extend(entries.iter().map(|e| {
                    let name = std::str::from_utf8(&e.name).unwrap();
                    format!("{path}/{name}")
                }));
                String::new()
            }
            FileType::Symlink => format!("{:?}", k.readlink(h, path.as_bytes()).unwrap()),
            _ => text(k, h, &path).unwrap(),
        };
        lines.push(format!("{path} {:o} {:?} {what}", stat.mode, stat.mtime));
    }
    lines.sort();
    lines
}

#[test]
fn copy_on_write_leaves_the_given_file_system_alone() {
    let lower = given();
    let before = everything(&lower.kernel, "/given");
    let (k, p) = machine();
    let source = MountSource::CopyOnWrite(lower.clone());
    k.mount(b"/mnt", source.clone(), MountOptions::default())
        .unwrap();
    k.mount(b"/mnt2", source, MountOptions::default()).unwrap();
    let base = k.usage();
    assert_eq!(text(&k, &p, "/mnt/dir/a").unwrap(), "given a");
    assert_eq!(names(&k, &p, "/mnt/dir"), ["a", "b"]);
    assert_eq!(k.usage(), base, "reading costs nothing");

    // Overwriting, appending and cutting.
    put(&k, &p, "/mnt/dir/a", "mine").unwrap();
    assert_eq!(k.usage().filesystem_bytes, 4);
    k.write_file(
        &p,
        b"/mnt/dir/b",
        b"!",
        oflag::O_WRONLY | oflag::O_APPEND,
        0,
    )
    .unwrap();
    assert_eq!(text(&k, &p, "/mnt/dir/b").unwrap(), "given b!");
    // Whiteouts, also of what was changed, and names made again.
    k.unlink(&p, b"/mnt/dir/a").unwrap();
    assert_eq!(text(&k, &p, "/mnt/dir/a"), Err(Errno::ENOENT));
    assert_eq!(names(&k, &p, "/mnt/dir"), ["b"]);
    put(&k, &p, "/mnt/dir/a", "again").unwrap();
    assert_eq!(names(&k, &p, "/mnt/dir"), ["a", "b"]);
    k.unlink(&p, b"/mnt/abs").unwrap();
    k.unlink(&p, b"/mnt/in").unwrap();
    k.symlink(&p, b"dir/b", b"/mnt/abs").unwrap();
    assert_eq!(text(&k, &p, "/mnt/abs").unwrap(), "given b!");
    // A directory that showed through moves with what is in it.
    k.rename(&p, b"/mnt2/dir", b"/mnt2/moved").unwrap();
    assert_eq!(text(&k, &p, "/mnt2/moved/a").unwrap(), "given a");
    assert_eq!(text(&k, &p, "/mnt2/dir/a"), Err(Errno::ENOENT));
    assert_eq!(k.realpath(&p, b"/mnt2/moved/a").unwrap(), b"/mnt2/moved/a");
    assert_eq!(k.rmdir(&p, b"/mnt2/moved"), Err(Errno::ENOTEMPTY));
    k.unlink(&p, b"/mnt2/moved/a").unwrap();
    k.unlink(&p, b"/mnt2/moved/b").unwrap();
    k.mkdir(&p, b"/mnt2/dir", 0o755).unwrap();
    assert_eq!(
        names(&k, &p, "/mnt2/dir"),
        Vec::<String>::new(),
        "a new one is empty"
    );
    k.rename(&p, b"/mnt2/dir", b"/mnt2/moved").unwrap();
    k.rmdir(&p, b"/mnt2/moved").unwrap();
    assert_eq!(names(&k, &p, "/mnt2"), ["abs", "in", "out"]);
    // Over a name that shows through.
    put(&k, &p, "/mnt2/new", "new").unwrap();
    k.rename(&p, b"/mnt2/new", b"/mnt2/out").unwrap();
    assert_eq!(text(&k, &p, "/mnt2/out").unwrap(), "new");
    k.unlink(&p, b"/mnt2/out").unwrap();
    assert_eq!(names(&k, &p, "/mnt2"), ["abs", "in"]);
    // Attributes and hard links.
    k.chmod(k.host(), b"/mnt/dir/b", 0o600).unwrap();
    assert_eq!(k.stat(&p, b"/mnt/dir/b").unwrap().permissions(), 0o600);
    k.link(&p, b"/mnt/dir/b", b"/mnt/hard").unwrap();
    assert_eq!(
        k.stat(&p, b"/mnt/hard").unwrap().ino,
        k.stat(&p, b"/mnt/dir/b").unwrap().ino
    );
    // A working directory stays with what is made in it.
    k.chdir(&p, b"/mnt/dir").unwrap();
    put(&k, &p, "here", "1").unwrap();
    assert_eq!(text(&k, &p, "here").unwrap(), "1");

    assert_eq!(everything(&lower.kernel, "/given"), before);
    k.chdir(&p, b"/").unwrap();
    k.unmount(b"/mnt").unwrap();
    k.unmount(b"/mnt2").unwrap();
    assert_eq!(k.usage(), base);
}

#[test]
fn copy_on_write_is_on_the_vms_account() {
    let kernel = Kernel::new(KernelOptions {
        quotas: Quotas {
            max_filesystem_bytes: 1000,
            max_inodes: 12,
            ..Quotas::default()
        },
        ..KernelOptions::default()
    })
    .unwrap();
    let p = kernel.spawn(ProcessOptions::default()).unwrap();
    let lower = given();
    let h = lower.kernel.host();
    put(&lower.kernel, h, "/given/big", &"x".repeat(2000)).unwrap();
    lower.kernel.chmod(h, b"/given/big", 0o666).unwrap();
    for n in 0..30 {
        put(&lower.kernel, h, &format!("/given/dir/{n}"), "").unwrap();
    }
    kernel
        .mount(
            b"/m",
            MountSource::CopyOnWrite(lower),
            MountOptions::default(),
        )
        .unwrap();
    let append = oflag::O_WRONLY | oflag::O_APPEND;
    assert_eq!(
        kernel.write_file(&p, b"/m/big", b"!", append, 0),
        Err(Errno::ENOSPC)
    );
    assert_eq!(
        kernel.take_limit_error().unwrap().limit,
        Limit::FilesystemBytes
    );
    assert_eq!(text(&kernel, &p, "/m/big").unwrap().len(), 2000);
    put(&kernel, &p, "/m/big", "small").unwrap();
    let removed = (0..30)
        .take_while(|n| kernel.unlink(&p, format!("/m/dir/{n}").as_bytes()).is_ok())
        .count();
    assert!((1..12).contains(&removed), "{removed}");
    assert_eq!(kernel.take_limit_error().unwrap().limit, Limit::Inodes);
    kernel.unmount(b"/m").unwrap();
    assert_eq!(kernel.usage().filesystem_bytes, 0);
    assert_eq!(kernel.usage().inodes, 1);
}

#[test]
fn copy_on_write_asks_permission_before_it_copies() {
    let lower = given();
    let h = lower.kernel.host();
    lower.kernel.chmod(h, b"/given/dir/a", 0o444).unwrap();
    let (k, p) = machine();
    k.mount(
        b"/mnt",
        MountSource::CopyOnWrite(lower),
        MountOptions::default(),
    )
    .unwrap();
    let base = k.usage();
    assert_eq!(put(&k, &p, "/mnt/dir/a", ""), Err(Errno::EACCES));
    assert_eq!(k.truncate(&p, b"/mnt/dir/a", 0), Err(Errno::EACCES));
    let new = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_EXCL;
    assert_eq!(k.open(&p, b"/mnt/dir/b", new, 0o644), Err(Errno::EEXIST));
    assert_eq!(k.mkdir(&p, b"/mnt/dir/b", 0o644), Err(Errno::EEXIST));
    assert_eq!(k.usage(), base);
    assert_eq!(text(&k, &p, "/mnt/dir/a").unwrap(), "given a");
}

#[test]
fn advisory_locks() {
    for (source, k, p) in writable() {
        let open = || k.open(&p, b"/mnt/dir/a", oflag::O_RDWR, 0).unwrap();
        let (a, b) = (open(), open());
        let same = k.dup(&p, a).unwrap();
        let busy = Err(Errno::EAGAIN);
        assert_eq!(k.flock(&p, a, FileLock::Shared), Ok(()), "{source}");
        assert_eq!(k.flock(&p, b, FileLock::Shared), Ok(()));
        assert_eq!(k.flock(&p, a, FileLock::Exclusive), busy);
        assert_eq!(k.flock(&p, b, FileLock::Unlocked), Ok(()));
        assert_eq!(k.flock(&p, same, FileLock::Exclusive), Ok(()));
        assert_eq!(k.flock(&p, a, FileLock::Exclusive), Ok(()));
        assert_eq!(k.flock(&p, b, FileLock::Shared), busy);
        k.close(&p, a).unwrap();
        assert_eq!(
            k.flock(&p, b, FileLock::Shared),
            busy,
            "a duplicate keeps it"
        );
        k.close(&p, same).unwrap();
        assert_eq!(k.flock(&p, b, FileLock::Exclusive), Ok(()));
        assert_eq!(k.flock(&p, b, FileLock::Shared), Ok(()));
        let c = open();
        assert_eq!(k.flock(&p, c, FileLock::Shared), Ok(()));
        assert_eq!(k.flock(&p, c, FileLock::Exclusive), busy);
        k.close(&p, b).unwrap();
        assert_eq!(k.flock(&p, c, FileLock::Exclusive), Ok(()));
        assert_eq!(k.flock(&p, 0, FileLock::Shared), Err(Errno::EINVAL));
        assert_eq!(k.flock(&p, 99, FileLock::Shared), Err(Errno::EBADF));
    }
}

#[test]
fn a_descriptor_of_a_base_leads_to_what_is_in_memory_now() {
    let (k, p) = machine();
    let source = MountSource::CopyOnWrite(given());
    k.mount(b"/mnt", source, MountOptions::default()).unwrap();
    let fd = k.open(&p, b"/mnt/dir/a", oflag::O_RDONLY, 0).unwrap();
    let link = format!("/proc/self/fd/{fd}");
    k.truncate(&p, link.as_bytes(), 5).unwrap();
    k.truncate(&p, link.as_bytes(), 3).unwrap();
    assert_eq!(text(&k, &p, &link).unwrap(), "giv");
    assert_eq!(text(&k, &p, "/mnt/dir/a").unwrap(), "giv");
}
