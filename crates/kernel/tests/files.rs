//! Files through system calls: what each call does and which errors it gives.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::sync::Arc;

use secure_exec_kernel::*;

fn machine() -> (Arc<Kernel>, Arc<Process>) {
    let kernel = Kernel::new(KernelOptions::default()).unwrap();
    let process = kernel.spawn(ProcessOptions::default()).unwrap();
    (kernel, process)
}

const WRITE: i32 = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;
const BIG: u64 = 1 << 30;

fn put(k: &Kernel, p: &Process, path: &str, text: &str) {
    k.write_file(p, path.as_bytes(), text.as_bytes(), WRITE, 0o666)
        .unwrap();
}

fn text(k: &Kernel, p: &Process, path: &str) -> String {
    String::from_utf8(k.read_file(p, path.as_bytes(), BIG).unwrap().into_vec()).unwrap()
}

#[test]
fn base_tree() {
    let (k, p) = machine();
    for dir in [
        "/bin",
        "/dev",
        "/etc",
        "/home/sandbox",
        "/root",
        "/tmp",
        "/proc",
        "/usr/bin",
        "/var/tmp",
        "/workspace",
    ] {
        assert!(k.stat(&p, dir.as_bytes()).unwrap().is_dir(), "{dir}");
    }
    assert_eq!(k.stat(&p, b"/tmp").unwrap().permissions(), 0o1777);
    assert_eq!(k.getcwd(&p).unwrap(), b"/workspace");
    assert!(
        text(&k, &p, "/etc/passwd").contains("sandbox:x:1000:1000:sandbox:/home/sandbox:/bin/sh")
    );
    assert!(text(&k, &p, "/etc/hosts").contains("127.0.0.1\tlocalhost"));
    assert_eq!(k.usage(), Usage::default());
    let root = k.stat(&p, b"/").unwrap();
    assert_eq!((root.uid, root.gid, root.mode), (1000, 1000, 0o040_755));
    assert_eq!(root.mtime, k.stat(&p, b"/tmp").unwrap().birthtime);
    assert!(root.mtime.seconds > 1_600_000_000);
}

#[test]
fn positions_move() {
    let (k, p) = machine();
    put(&k, &p, "/tmp/a", "hello");
    let fd = k.open(&p, b"/tmp/a", oflag::O_RDWR, 0).unwrap();
    assert_eq!(k.seek(&p, fd, -2, Whence::End), Ok(3));
    let mut buf = [0; 8];
    assert_eq!(k.read(&p, fd, &mut buf, None), Ok(2));
    assert_eq!(k.seek(&p, fd, 0, Whence::Current), Ok(5));
    assert_eq!(k.seek(&p, fd, -6, Whence::Current), Err(Errno::EINVAL));
    assert_eq!(k.seek(&p, fd, i64::MAX, Whence::End), Err(Errno::EINVAL));
    assert_eq!(k.seek(&p, fd, 7, Whence::Set), Ok(7));
    assert_eq!(k.write(&p, fd, b"!", None), Ok(1));
    assert_eq!(text(&k, &p, "/tmp/a"), "hello\0\0!");

    let null = k.open(&p, b"/dev/null", oflag::O_RDWR, 0).unwrap();
    assert_eq!(k.seek(&p, null, 9, Whence::Set), Ok(0));
    let dir = k.open(&p, b"/tmp", oflag::O_RDONLY, 0).unwrap();
    assert_eq!(k.seek(&p, dir, 0, Whence::Set), Err(Errno::EISDIR));
    let (reader, _) = k.pipe(&p).unwrap();
    assert_eq!(k.seek(&p, reader, 0, Whence::Set), Err(Errno::ESPIPE));
    assert_eq!(k.seek(&p, 99, 0, Whence::Set), Err(Errno::EBADF));
}

#[test]
fn appending_is_switched() {
    let (k, p) = machine();
    put(&k, &p, "/tmp/a", "one");
    let fd = k.open(&p, b"/tmp/a", oflag::O_WRONLY, 0).unwrap();
    let file = p.file(fd).unwrap();
    file.set_appends(true).unwrap();
    assert_eq!(file.flags(), oflag::O_WRONLY | oflag::O_APPEND);
    assert_eq!(k.write(&p, fd, b"two", None), Ok(3));
    file.set_appends(false).unwrap();
    assert_eq!(file.flags(), oflag::O_WRONLY);
    assert_eq!(k.seek(&p, fd, 0, Whence::Set), Ok(0));
    assert_eq!(k.write(&p, fd, b"O", None), Ok(1));
    assert_eq!(text(&k, &p, "/tmp/a"), "Onetwo");
}

#[test]
fn read_and_write() {
    let (k, p) = machine();
    let fd = k
        .open(&p, b"a", oflag::O_RDWR | oflag::O_CREAT, 0o666)
        .unwrap();
    assert_eq!(fd, 3);
    assert_eq!(k.write(&p, fd, b"hello world", None), Ok(11));
    assert_eq!(k.write(&p, fd, b"J", Some(0)), Ok(1));
    let mut buf = [0; 16];
    assert_eq!(k.read(&p, fd, &mut buf, None), Ok(0));
    assert_eq!(k.read(&p, fd, &mut buf, Some(0)), Ok(11));
    assert_eq!(&buf[..11], b"Jello world");
    assert_eq!(k.write(&p, fd, b"!", None), Ok(1));
    assert_eq!(text(&k, &p, "a"), "Jello world!");
    assert_eq!(k.writev(&p, fd, &[b"ab", b"", b"cd"], Some(0)), Ok(4));
    let (mut one, mut two) = ([0; 3], [0; 4]);
    assert_eq!(k.readv(&p, fd, &mut [&mut one, &mut two], Some(0)), Ok(7));
    assert_eq!((&one, &two), (b"abc", b"do w"));
    assert_eq!(k.ftruncate(&p, fd, 2), Ok(()));
    assert_eq!(text(&k, &p, "a"), "ab");
    assert_eq!(k.ftruncate(&p, fd, 4), Ok(()));
    assert_eq!(text(&k, &p, "a"), "ab\0\0");
    assert_eq!(k.stat(&p, b"a").unwrap().mode, 0o100_644);
    assert_eq!(k.close(&p, fd), Ok(()));
    assert_eq!(k.close(&p, fd), Err(Errno::EBADF));
    assert_eq!(k.read(&p, fd, &mut buf, None), Err(Errno::EBADF));
    assert_eq!(k.read(&p, -1, &mut buf, None), Err(Errno::EBADF));
    assert_eq!(k.fsync(&p, 99), Err(Errno::EBADF));
}

#[test]
fn append_writes_at_the_end_whatever_the_position() {
    let (k, p) = machine();
    put(&k, &p, "a", "12345");
    let fd = k
        .open(&p, b"a", oflag::O_WRONLY | oflag::O_APPEND, 0)
        .unwrap();
    assert_eq!(k.write(&p, fd, b"6", Some(0)), Ok(1));
    assert_eq!(k.write(&p, fd, b"7", None), Ok(1));
    assert_eq!(text(&k, &p, "a"), "1234567");
}

#[test]
fn open_errors() {
    let (k, p) = machine();
    put(&k, &p, "f", "x");
    k.mkdir(&p, b"d", 0o777).unwrap();
    k.symlink(&p, b"f", b"l").unwrap();
    k.symlink(&p, b"nowhere", b"dangling").unwrap();
    let open = |path: &str, flags| {
        let fd = k.open(&p, path.as_bytes(), flags, 0o644);
        if let Ok(fd) = fd {
            k.close(&p, fd).unwrap();
        }
        fd.map(drop)
    };
    use oflag::*;
    assert_eq!(open("", O_RDONLY), Err(Errno::ENOENT));
    assert_eq!(open("nope", O_RDONLY), Err(Errno::ENOENT));
    assert_eq!(open("nope/x", WRITE), Err(Errno::ENOENT));
    assert_eq!(open("f/x", O_RDONLY), Err(Errno::ENOTDIR));
    assert_eq!(open("f/", O_RDONLY), Err(Errno::ENOTDIR));
    assert_eq!(open("d", O_RDONLY), Ok(()));
    assert_eq!(open("d", O_WRONLY), Err(Errno::EISDIR));
    assert_eq!(open("d", O_RDONLY | O_CREAT), Err(Errno::EISDIR));
    assert_eq!(open("d", O_RDONLY | O_TRUNC), Err(Errno::EISDIR));
    assert_eq!(open("new/", WRITE), Err(Errno::EISDIR));
    assert_eq!(open("f", O_DIRECTORY), Err(Errno::ENOTDIR));
    assert_eq!(open("d", O_DIRECTORY), Ok(()));
    assert_eq!(open("d", O_DIRECTORY | O_CREAT), Err(Errno::EINVAL));
    assert_eq!(open("f", WRITE | O_EXCL), Err(Errno::EEXIST));
    assert_eq!(open("dangling", WRITE | O_EXCL), Err(Errno::EEXIST));
    assert_eq!(open("l", O_NOFOLLOW), Err(Errno::ELOOP));
    assert_eq!(open("l", O_NOFOLLOW | O_DIRECTORY), Err(Errno::ENOTDIR));
    assert_eq!(open("l", O_RDONLY), Ok(()));
    assert_eq!(open("d", O_TMPFILE | O_RDWR), Err(Errno::ENOTSUP));
    assert_eq!(open("f", 3), Err(Errno::EINVAL));
    assert_eq!(open("a\0b", O_RDONLY), Err(Errno::EINVAL));
    assert_eq!(open(&"a".repeat(256), WRITE), Err(Errno::ENAMETOOLONG));
    assert_eq!(open(&"a/".repeat(2048), O_RDONLY), Err(Errno::ENAMETOOLONG));
    assert_eq!(open("dangling", WRITE), Ok(()));
    assert!(k.stat(&p, b"nowhere").unwrap().is_file());
    let fd = k.open(&p, b"d", O_RDONLY, 0).unwrap();
    assert_eq!(k.read(&p, fd, &mut [0; 4], None), Err(Errno::EISDIR));
    assert_eq!(k.write(&p, fd, b"x", None), Err(Errno::EBADF));
    let fd = k.open(&p, b"f", O_WRONLY, 0).unwrap();
    assert_eq!(k.read(&p, fd, &mut [0; 4], None), Err(Errno::EBADF));
    let fd = k.open(&p, b"f", O_RDONLY, 0).unwrap();
    assert_eq!(k.write(&p, fd, b"x", None), Err(Errno::EBADF));
    assert_eq!(k.ftruncate(&p, fd, 0), Err(Errno::EINVAL));
}

#[test]
fn directories() {
    let (k, p) = machine();
    assert_eq!(k.mkdir(&p, b"d", 0o777), Ok(()));
    assert_eq!(k.mkdir(&p, b"d", 0o777), Err(Errno::EEXIST));
    assert_eq!(k.mkdir(&p, b"d/e/", 0o700), Ok(()));
    assert_eq!(k.mkdir(&p, b"x/y", 0o777), Err(Errno::ENOENT));
    assert_eq!(k.mkdir(&p, b"/", 0o777), Err(Errno::EEXIST));
    assert_eq!(k.mkdir(&p, b".", 0o777), Err(Errno::EEXIST));
    assert_eq!(k.stat(&p, b"d").unwrap().nlink, 3);
    assert_eq!(k.stat(&p, b"d").unwrap().permissions(), 0o755);
    put(&k, &p, "d/b", "");
    put(&k, &p, "d/a", "");
    k.symlink(&p, b"a", b"d/l").unwrap();
    let list: Vec<_> = k
        .readdir(&p, b"d")
        .unwrap()
        .into_iter()
        .map(|e| {
            (
                String::from_utf8(e.name.to_vec()).unwrap(),
                e.file_type.dirent_number(),
            )
        })
        .collect();
    let expected = [("a", 1), ("b", 1), ("e", 2), ("l", 3)];
    assert_eq!(list, expected.map(|(n, t)| (n.to_owned(), t)));
    assert_eq!(k.readdir(&p, b"d/a"), Err(Errno::ENOTDIR));
    assert_eq!(k.readdir(&p, b"nope"), Err(Errno::ENOENT));
    assert_eq!(k.rmdir(&p, b"d"), Err(Errno::ENOTEMPTY));
    assert_eq!(k.rmdir(&p, b"d/a"), Err(Errno::ENOTDIR));
    assert_eq!(k.rmdir(&p, b"d/."), Err(Errno::EINVAL));
    assert_eq!(k.rmdir(&p, b"d/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(k.rmdir(&p, b"/"), Err(Errno::EBUSY));
    assert_eq!(k.rmdir(&p, b"d/l"), Err(Errno::ENOTDIR));
    assert_eq!(k.rmdir(&p, b"d/e"), Ok(()));
    assert_eq!(k.unlink(&p, b"d"), Err(Errno::EISDIR));
    assert_eq!(k.unlink(&p, b"d/"), Err(Errno::EISDIR));
    assert_eq!(k.unlink(&p, b"d/a/"), Err(Errno::ENOTDIR));
    assert_eq!(k.remove_all(&p, b"d/"), Ok(4));
    assert_eq!(k.stat(&p, b"d"), Err(Errno::ENOENT));
}

#[test]
fn opendir_goes_on_after_changes() {
    let (k, p) = machine();
    k.mkdir(&p, b"d", 0o777).unwrap();
    for name in ["d/a", "d/b", "d/c"] {
        put(&k, &p, name, "");
    }
    let fd = k.opendir(&p, b"d").unwrap();
    assert_eq!(k.readdir_fd(&p, fd, 2).unwrap().len(), 2);
    k.unlink(&p, b"d/b").unwrap();
    put(&k, &p, "d/aa", "");
    let rest = k.readdir_fd(&p, fd, 32).unwrap();
    assert_eq!((rest.len(), &*rest[0].name), (1, &b"c"[..]));
    assert_eq!(k.readdir_fd(&p, fd, 32), Ok(vec![]));
    assert_eq!(k.opendir(&p, b"d/a"), Err(Errno::ENOTDIR));
}

#[test]
fn mkdir_recursive_tells_the_first() {
    let (k, p) = machine();
    assert_eq!(
        k.mkdir_recursive(&p, b"a/b/c", 0o777),
        Ok(Some(b"a".to_vec()))
    );
    assert_eq!(k.mkdir_recursive(&p, b"a/b/c", 0o777), Ok(None));
    assert_eq!(
        k.mkdir_recursive(&p, b"a/b/d/e/", 0o777),
        Ok(Some(b"a/b/d".to_vec()))
    );
    assert_eq!(
        k.mkdir_recursive(&p, b"/x/y", 0o777),
        Ok(Some(b"/x".to_vec()))
    );
    assert_eq!(k.mkdir_recursive(&p, b"/", 0o777), Ok(None));
    put(&k, &p, "f", "");
    assert_eq!(k.mkdir_recursive(&p, b"f", 0o777), Err(Errno::EEXIST));
    assert_eq!(k.mkdir_recursive(&p, b"f/x", 0o777), Err(Errno::ENOTDIR));
    assert_eq!(k.mkdir_recursive(&p, b"f/x/y", 0o777), Err(Errno::ENOTDIR));
    assert_eq!(k.mkdir_recursive(&p, b"", 0o777), Err(Errno::ENOENT));
}

#[test]
fn mkdtemp() {
    let (k, p) = machine();
    let one = k.mkdtemp(&p, b"/tmp/x-").unwrap();
    let two = k.mkdtemp(&p, b"/tmp/x-").unwrap();
    assert_ne!(one, two);
    assert_eq!(one.len(), b"/tmp/x-".len() + 6);
    assert_eq!(k.stat(&p, &one).unwrap().permissions(), 0o700);
    assert_eq!(k.mkdtemp(&p, b"/nope/x"), Err(Errno::ENOENT));
}

#[test]
fn links() {
    let (k, p) = machine();
    put(&k, &p, "f", "text");
    assert_eq!(k.link(&p, b"f", b"g"), Ok(()));
    assert_eq!(k.stat(&p, b"f").unwrap().nlink, 2);
    assert_eq!(k.stat(&p, b"f").unwrap().ino, k.stat(&p, b"g").unwrap().ino);
    assert_eq!(k.link(&p, b"f", b"g"), Err(Errno::EEXIST));
    assert_eq!(k.link(&p, b"nope", b"h"), Err(Errno::ENOENT));
    assert_eq!(k.link(&p, b"/tmp", b"h"), Err(Errno::EPERM));
    assert_eq!(k.unlink(&p, b"f"), Ok(()));
    assert_eq!(text(&k, &p, "g"), "text");
    assert_eq!(k.unlink(&p, b"f"), Err(Errno::ENOENT));

    assert_eq!(k.symlink(&p, b"g", b"s"), Ok(()));
    assert_eq!(k.symlink(&p, b"g", b"s"), Err(Errno::EEXIST));
    assert_eq!(k.symlink(&p, b"", b"t"), Err(Errno::ENOENT));
    assert_eq!(k.symlink(&p, b"g", b"t/"), Err(Errno::ENOENT));
    assert_eq!(k.readlink(&p, b"s"), Ok(b"g".to_vec()));
    assert_eq!(k.readlink(&p, b"g"), Err(Errno::EINVAL));
    assert!(k.lstat(&p, b"s").unwrap().is_symlink());
    assert_eq!(k.lstat(&p, b"s").unwrap().size, 1);
    assert_eq!(k.lstat(&p, b"s/"), Err(Errno::ENOTDIR));
    assert!(k.stat(&p, b"s").unwrap().is_file());
    assert_eq!(k.realpath(&p, b"s"), Ok(b"/workspace/g".to_vec()));
    assert_eq!(
        k.realpath(&p, b"../workspace/./s"),
        Ok(b"/workspace/g".to_vec())
    );
    assert_eq!(k.realpath(&p, b"/"), Ok(b"/".to_vec()));
    assert_eq!(k.realpath(&p, b"nope"), Err(Errno::ENOENT));
}

#[test]
fn link_loops() {
    let (k, p) = machine();
    k.symlink(&p, b"b", b"a").unwrap();
    k.symlink(&p, b"a", b"b").unwrap();
    assert_eq!(k.stat(&p, b"a"), Err(Errno::ELOOP));
    assert!(k.lstat(&p, b"a").is_ok());
    put(&k, &p, "l0", "end");
    for n in 1..=41 {
        k.symlink(
            &p,
            format!("l{}", n - 1).as_bytes(),
            format!("l{n}").as_bytes(),
        )
        .unwrap();
    }
    assert_eq!(text(&k, &p, "l40"), "end");
    assert_eq!(k.stat(&p, b"l41"), Err(Errno::ELOOP));
}

#[test]
fn rename() {
    let (k, p) = machine();
    put(&k, &p, "a", "A");
    put(&k, &p, "b", "B");
    k.mkdir_recursive(&p, b"d/e", 0o777).unwrap();
    k.mkdir(&p, b"empty", 0o777).unwrap();
    assert_eq!(k.rename(&p, b"a", b"b"), Ok(()));
    assert_eq!(text(&k, &p, "b"), "A");
    assert_eq!(k.rename(&p, b"a", b"c"), Err(Errno::ENOENT));
    assert_eq!(k.rename(&p, b"b", b"d"), Err(Errno::EISDIR));
    assert_eq!(k.rename(&p, b"d", b"b"), Err(Errno::ENOTDIR));
    assert_eq!(k.rename(&p, b"d", b"d/e/f"), Err(Errno::EINVAL));
    assert_eq!(k.rename(&p, b"d/e", b"d"), Err(Errno::ENOTEMPTY));
    assert_eq!(k.rename(&p, b"empty", b"d"), Err(Errno::ENOTEMPTY));
    assert_eq!(k.rename(&p, b"d/.", b"x"), Err(Errno::EBUSY));
    assert_eq!(k.rename(&p, b"b/", b"x"), Err(Errno::ENOTDIR));
    assert_eq!(k.rename(&p, b"d", b"empty"), Ok(()));
    assert_eq!(
        k.realpath(&p, b"empty/e"),
        Ok(b"/workspace/empty/e".to_vec())
    );
    assert_eq!(k.rename(&p, b"empty/e", b"/tmp/e/"), Ok(()));
    assert_eq!(k.realpath(&p, b"/tmp/e/.."), Ok(b"/tmp".to_vec()));
    assert_eq!(k.stat(&p, b"empty").unwrap().nlink, 2);
    k.link(&p, b"b", b"b2").unwrap();
    assert_eq!(k.rename(&p, b"b", b"b2"), Ok(()));
    assert!(k.exists(&p, b"b"));
}

#[test]
fn removed_files_stay_open() {
    let (k, p) = machine();
    put(&k, &p, "f", "still here");
    let used = k.usage().filesystem_bytes;
    let fd = k.open(&p, b"f", oflag::O_RDWR, 0).unwrap();
    k.unlink(&p, b"f").unwrap();
    let mut buf = [0; 32];
    assert_eq!(k.read(&p, fd, &mut buf, Some(0)), Ok(10));
    assert_eq!(k.fstat(&p, fd).unwrap().nlink, 0);
    assert_eq!(k.usage().filesystem_bytes, used);
    k.close(&p, fd).unwrap();
    assert_eq!(k.usage(), Usage::default());

    k.mkdir(&p, b"d", 0o777).unwrap();
    k.chdir(&p, b"d").unwrap();
    k.rmdir(&p, b"../d").unwrap();
    assert_eq!(k.getcwd(&p), Err(Errno::ENOENT));
    assert_eq!(
        k.write_file(&p, b"x", b"", WRITE, 0o666),
        Err(Errno::ENOENT)
    );
    assert_eq!(k.stat(&p, b".").unwrap().nlink, 0);
    k.chdir(&p, b"/").unwrap();
    assert_eq!(k.usage(), Usage::default());
}

#[test]
fn attributes() {
    let (k, p) = machine();
    put(&k, &p, "f", "x");
    k.symlink(&p, b"f", b"l").unwrap();
    k.chmod(&p, b"l", 0o4_640).unwrap();
    assert_eq!(k.stat(&p, b"f").unwrap().mode, 0o104_640);
    assert_eq!(k.lchmod(&p, b"l", 0o600), Err(Errno::ENOTSUP));
    assert_eq!(k.chown(&p, b"f", Some(1000), None), Ok(()));
    assert_eq!(k.chown(&p, b"f", Some(0), None), Err(Errno::EPERM));
    assert_eq!(
        k.lchown(k.host(), b"/workspace/l", Some(5), Some(6)),
        Ok(())
    );
    let link = k.lstat(&p, b"l").unwrap();
    assert_eq!(
        (link.uid, link.gid, k.stat(&p, b"l").unwrap().uid),
        (5, 6, 1000)
    );
    let (a, m) = (
        TimeSpec {
            seconds: 1,
            nanos: 2,
        },
        TimeSpec {
            seconds: -3,
            nanos: 4,
        },
    );
    k.utimes(&p, b"l", Some(a), Some(m)).unwrap();
    let stat = k.stat(&p, b"f").unwrap();
    assert_eq!((stat.atime, stat.mtime), (a, m));
    let fd = k.open(&p, b"f", oflag::O_RDONLY, 0).unwrap();
    k.futimes(&p, fd, Some(m), None).unwrap();
    k.fchmod(&p, fd, 0o600).unwrap();
    k.fchown(&p, fd, None, Some(1000)).unwrap();
    let stat = k.fstat(&p, fd).unwrap();
    assert_eq!((stat.atime, stat.mtime, stat.permissions()), (m, m, 0o600));
    assert_eq!(k.lutimes(&p, b"l", Some(a), None), Err(Errno::EPERM));
    assert_eq!(k.truncate(&p, b"l", 5), Ok(()));
    assert_eq!(k.stat(&p, b"f").unwrap().size, 5);
    assert_eq!(k.truncate(&p, b"/tmp", 5), Err(Errno::EISDIR));
    assert_eq!(k.truncate(&p, b"f", 1 << 60), Err(Errno::EFBIG));
}

#[test]
fn file_times_follow_the_clock() {
    let clock = Arc::new(Clock::manual(1_000_000_000));
    let options = KernelOptions {
        clock: Some(clock.clone()),
        ..KernelOptions::default()
    };
    let k = Kernel::new(options).unwrap();
    let p = k.spawn(ProcessOptions::default()).unwrap();
    clock.advance(std::time::Duration::from_secs(1));
    put(&k, &p, "f", "1");
    clock.advance(std::time::Duration::from_secs(1));
    k.chmod(&p, b"f", 0o600).unwrap();
    let stat = k.stat(&p, b"f").unwrap();
    let at = |seconds| TimeSpec { seconds, nanos: 0 };
    assert_eq!(
        (stat.birthtime, stat.mtime, stat.ctime),
        (at(2), at(2), at(3))
    );
    assert_eq!(k.stat(&p, b"/workspace").unwrap().mtime, at(2));
    assert_eq!(k.stat(&p, b"/tmp").unwrap().mtime, at(1));
}

#[test]
fn permission_bits() {
    let (k, p) = machine();
    put(&k, &p, "f", "x");
    k.chmod(&p, b"f", 0o444).unwrap();
    assert_eq!(k.access(&p, b"f", R_OK), Ok(()));
    assert_eq!(k.access(&p, b"f", W_OK), Err(Errno::EACCES));
    assert_eq!(k.access(&p, b"f", X_OK), Err(Errno::EACCES));
    assert_eq!(k.access(&p, b"f", 64), Err(Errno::EINVAL));
    assert_eq!(k.open(&p, b"f", oflag::O_WRONLY, 0), Err(Errno::EACCES));
    assert_eq!(k.access(k.host(), b"/workspace/f", W_OK), Ok(()));
    assert_eq!(
        k.access(k.host(), b"/workspace/f", X_OK),
        Err(Errno::EACCES)
    );
    k.mkdir(&p, b"d", 0o777).unwrap();
    put(&k, &p, "d/x", "");
    k.chmod(&p, b"d", 0o444).unwrap();
    assert_eq!(k.stat(&p, b"d/x"), Err(Errno::EACCES));
    assert!(k.readdir(&p, b"d").is_ok());
    k.chmod(&p, b"d", 0o555).unwrap();
    assert_eq!(k.unlink(&p, b"d/x"), Err(Errno::EACCES));
    assert_eq!(k.mkdir(&p, b"d/y", 0o777), Err(Errno::EACCES));
    assert_eq!(k.rename(&p, b"d/x", b"x"), Err(Errno::EACCES));
    let root = k
        .spawn(ProcessOptions {
            uid: Some(0),
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(k.unlink(&root, b"d/x"), Ok(()));

    let options = KernelOptions {
        permission_bits: PermissionBits::DataOnly,
        ..KernelOptions::default()
    };
    let k = Kernel::new(options).unwrap();
    let p = k.spawn(ProcessOptions::default()).unwrap();
    put(&k, &p, "f", "x");
    k.chmod(&p, b"f", 0).unwrap();
    assert_eq!(text(&k, &p, "f"), "x");
}

#[test]
fn umask() {
    let (k, p) = machine();
    assert_eq!(p.set_umask(0o077), 0o022);
    put(&k, &p, "f", "");
    assert_eq!(k.stat(&p, b"f").unwrap().permissions(), 0o600);
    assert_eq!(p.umask(), 0o077);
}

#[test]
fn copy_file() {
    let (k, p) = machine();
    put(&k, &p, "f", "data");
    k.chmod(&p, b"f", 0o751).unwrap();
    assert_eq!(k.copy_file(&p, b"f", b"g", 0), Ok(()));
    assert_eq!(text(&k, &p, "g"), "data");
    assert_eq!(k.stat(&p, b"g").unwrap().permissions(), 0o751);
    assert_eq!(
        k.copy_file(&p, b"f", b"g", COPYFILE_EXCL),
        Err(Errno::EEXIST)
    );
    assert_eq!(k.copy_file(&p, b"f", b"h", COPYFILE_FICLONE), Ok(()));
    assert_eq!(
        k.copy_file(&p, b"f", b"i", COPYFILE_FICLONE_FORCE),
        Err(Errno::ENOTSUP)
    );
    assert!(!k.exists(&p, b"i"));
    assert_eq!(k.copy_file(&p, b"f", b"f", 0), Ok(()));
    assert_eq!(k.copy_file(&p, b"/tmp", b"x", 0), Err(Errno::EISDIR));
    assert_eq!(k.copy_file(&p, b"f", b"/tmp", 0), Err(Errno::EISDIR));
    assert_eq!(k.copy_file(&p, b"nope", b"x", 0), Err(Errno::ENOENT));
    assert_eq!(k.copy_file(&p, b"f", b"x", 64), Err(Errno::EINVAL));
    put(&k, &p, "g", "other and longer");
    assert_eq!(text(&k, &p, "f"), "data");
    assert_eq!(k.copy_file(&p, b"f", b"g", 0), Ok(()));
    assert_eq!(text(&k, &p, "g"), "data");
    assert_eq!(k.copy_file(&p, b"/proc/version", b"v", 0), Ok(()));
    assert!(text(&k, &p, "v").starts_with("Linux version"));
}

#[test]
fn module_stat() {
    let (k, p) = machine();
    put(&k, &p, "f", "");
    assert_eq!(k.module_stat(&p, b"f"), ModuleStat::File);
    assert_eq!(k.module_stat(&p, b"/tmp"), ModuleStat::Directory);
    assert_eq!(k.module_stat(&p, b"nope"), ModuleStat::Missing);
    assert_eq!(k.module_stat(&p, b"f/x"), ModuleStat::Missing);
    assert_eq!(k.module_stat(&p, b"\0"), ModuleStat::Missing);
}

#[test]
fn devices() {
    let (k, p) = machine();
    let open = |name: &str| k.open(&p, format!("/dev/{name}").as_bytes(), oflag::O_RDWR, 0);
    let null = open("null").unwrap();
    assert_eq!(k.read(&p, null, &mut [1; 4], None), Ok(0));
    assert_eq!(k.write(&p, null, b"xyz", None), Ok(3));
    let zero = open("zero").unwrap();
    let mut buf = [7; 8];
    assert_eq!(k.read(&p, zero, &mut buf, None), Ok(8));
    assert_eq!(buf, [0; 8]);
    let full = open("full").unwrap();
    assert_eq!(k.write(&p, full, b"x", None), Err(Errno::ENOSPC));
    let random = open("urandom").unwrap();
    let (mut one, mut two) = ([0; 32], [0; 32]);
    assert_eq!(k.read(&p, random, &mut one, None), Ok(32));
    assert_eq!(k.read(&p, random, &mut two, None), Ok(32));
    assert_ne!(one, two);
    assert_eq!(open("tty"), Err(Errno::ENXIO));
    let stat = k.stat(&p, b"/dev/null").unwrap();
    assert_eq!((stat.mode, stat.rdev, stat.uid), (0o020_666, 0x103, 0));
    assert_eq!(
        k.read_file(&p, b"/dev/zero", 100_000).map(drop),
        Err(Errno::EFBIG)
    );
    assert_eq!(k.handle_kind(&p, null), Ok(HandleKind::File));
}

#[test]
fn proc_files() {
    let (k, p) = machine();
    assert_eq!(p.pid(), 2);
    assert_eq!(k.readlink(&p, b"/proc/self"), Ok(b"2".to_vec()));
    assert_eq!(
        k.realpath(&p, b"/proc/self/fd/../status"),
        Ok(b"/proc/2/status".to_vec())
    );
    assert!(text(&k, &p, "/proc/cpuinfo").contains("Virtual CPU"));
    assert_eq!(text(&k, &p, "/proc/sys/kernel/hostname"), "sandbox\n");
    assert_eq!(
        k.realpath(&p, b"/proc/sys/../sys/kernel"),
        Ok(b"/proc/sys/kernel".to_vec())
    );
    let names = k.readdir(&p, b"/proc/sys/kernel").unwrap();
    let names: Vec<_> = names.iter().map(|entry| &*entry.name).collect();
    assert_eq!(
        names,
        [&b"hostname"[..], b"osrelease", b"ostype", b"version"]
    );
    assert!(text(&k, &p, "/proc/meminfo").starts_with("MemTotal:"));
    assert!(text(&k, &p, "/proc/self/status").contains("Pid:\t2"));
    let limits = text(&k, &p, "/proc/self/limits");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<_> = files.unwrap().split_whitespace().collect();
    assert_eq!(
        words[3..],
        [
            Quotas::DEFAULT_OPEN_FDS.to_string(),
            Quotas::DEFAULT_OPEN_FDS.to_string(),
            "files".to_owned()
        ]
    );
    assert_eq!(text(&k, &p, "/proc/self/cmdline"), format!("{EXEC_PATH}\0"));
    assert_eq!(
        k.readlink(&p, b"/proc/self/cwd"),
        Ok(b"/workspace".to_vec())
    );
    put(&k, &p, "f", "via proc");
    assert_eq!(text(&k, &p, "/proc/self/cwd/f"), "via proc");
    let fd = k.open(&p, b"f", oflag::O_RDONLY, 0).unwrap();
    assert_eq!(text(&k, &p, &format!("/proc/self/fd/{fd}")), "via proc");
    assert_eq!(text(&k, &p, &format!("/dev/fd/{fd}")), "via proc");
    let link = format!("/proc/self/fd/{fd}");
    assert_eq!(
        k.readlink(&p, link.as_bytes()),
        Ok(b"/workspace/f".to_vec())
    );
    assert_eq!(k.readdir(&p, b"/proc/self/fd").unwrap().len(), 4);
    assert!(k.stat(&p, b"/proc/self/fd").unwrap().is_dir());
    for path in [
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/self/maps",
        "/proc/3",
        "/proc/1",
        "/sys",
        "/proc/02",
    ] {
        assert_eq!(k.stat(&p, path.as_bytes()), Err(Errno::ENOENT), "{path}");
    }
    assert_eq!(
        k.open(&p, b"/proc/version", oflag::O_WRONLY, 0),
        Err(Errno::EACCES)
    );
    assert_eq!(k.open(&p, b"/proc/new", WRITE, 0o666), Err(Errno::EACCES));
    assert_eq!(k.rmdir(&p, b"/proc"), Err(Errno::EBUSY));
    assert_eq!(k.rename(&p, b"/proc", b"/p"), Err(Errno::EBUSY));
    assert!(k.unlink(&p, b"/proc/version").is_err());
    assert!(k.chmod(&p, b"/proc/version", 0o777).is_err());
    assert_eq!(k.chdir(&p, b"/proc"), Ok(()));
    assert_eq!(k.realpath(&p, b".."), Ok(b"/".to_vec()));
    assert!(k.exists(&p, b"self/status"));
}

#[test]
fn the_program_is_a_file_of_its_process_only() {
    let (k, other) = machine();
    let program = Program::new(b"/gone/src/main.js", &b"code"[..]).unwrap();
    let p = k
        .spawn(ProcessOptions {
            program: Some(program),
            ..ProcessOptions::default()
        })
        .unwrap();
    let path = b"/gone/src/main.js";
    assert_eq!(text(&k, &p, "/gone/src/main.js"), "code");
    assert_eq!(text(&k, &p, "../gone/./src//main.js"), "code");
    let stat = k.stat(&p, path).unwrap();
    assert_eq!((stat.mode, stat.size), (0o100_444, 4));
    assert_eq!(k.realpath(&p, path), Ok(path.to_vec()));
    assert!(k.lstat(&p, b"/gone").unwrap().is_dir());
    assert!(k.lstat(&p, b"/gone/src/").unwrap().is_dir());
    assert_eq!(k.realpath(&p, b"/gone/src"), Ok(b"/gone/src".to_vec()));
    assert_eq!(k.readdir(&p, b"/gone/src"), Ok(vec![]));
    assert_eq!(k.module_stat(&p, path), ModuleStat::File);
    assert_eq!(k.module_stat(&p, b"/gone/src"), ModuleStat::Directory);
    assert_eq!(k.stat(&p, b"/gone/src/main.js/"), Err(Errno::ENOTDIR));
    assert_eq!(k.stat(&p, b"/gone/src/package.json"), Err(Errno::ENOENT));
    assert_eq!(k.stat(&other, path), Err(Errno::ENOENT));
    let fd = k.open(&p, path, oflag::O_RDONLY, 0).unwrap();
    assert_eq!(k.fstat(&p, fd).unwrap().size, 4);
    assert_eq!(k.read(&p, fd, &mut [0; 9], None), Ok(4));
    assert_eq!(k.open(&p, path, oflag::O_WRONLY, 0), Err(Errno::EROFS));
    assert_eq!(k.access(&p, path, W_OK), Err(Errno::EROFS));

    // The directories come into being: the program stays where it is, and hides what is there for its process.
    k.mkdir_recursive(&p, b"/gone/src", 0o777).unwrap();
    assert_eq!(text(&k, &p, "/gone/src/main.js"), "code");
    assert_eq!(k.readdir(&p, b"/gone/src"), Ok(vec![]));
    put(&k, &other, "/gone/src/main.js", "real");
    assert_eq!(text(&k, &p, "/gone/src/main.js"), "code");
    assert_eq!(k.unlink(&p, path), Err(Errno::EROFS));
    assert_eq!(k.rename(&p, path, b"/x"), Err(Errno::EROFS));
    assert_eq!(k.mkdir(&p, path, 0o777), Err(Errno::EEXIST));
    assert_eq!(k.open(&p, path, WRITE, 0o666), Err(Errno::EROFS));
}

#[test]
fn the_program_is_found_through_links() {
    let (k, host) = machine();
    k.mkdir(&host, b"/real", 0o777).unwrap();
    k.symlink(&host, b"/real", b"/alias").unwrap();
    let program = Program::new(b"/alias/m.js", &b"code"[..]).unwrap();
    let p = k
        .spawn(ProcessOptions {
            program: Some(program),
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(k.realpath(&p, b"/alias/m.js"), Ok(b"/real/m.js".to_vec()));
    assert_eq!(text(&k, &p, "/real/m.js"), "code");
    assert_eq!(text(&k, &p, "/alias/m.js"), "code");
}

#[test]
fn stdio() {
    let sink = Arc::new(CaptureSink::new(4));
    let stdio = Stdio {
        stdin: Stdin::Bytes(Arc::from(&b"input"[..])),
        output: sink.clone(),
        look: OutputLook::File,
        ..Stdio::default()
    };
    let (k, _) = machine();
    let p = k
        .spawn(ProcessOptions {
            stdio,
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(&*k.read_file_fd(&p, 0, BIG).unwrap(), b"input");
    assert_eq!(&*k.read_file_fd(&p, 0, BIG).unwrap(), b"");
    assert_eq!(text(&k, &p, "/dev/stdin"), "");
    assert_eq!(k.write(&p, 1, b"abcdef", None), Ok(6));
    assert_eq!(k.write(&p, 2, b"err", None), Ok(3));
    k.write_file(&p, b"/dev/stderr", b"!", oflag::O_WRONLY, 0)
        .unwrap();
    let out = sink.take(OutputChannel::Stdout);
    assert_eq!((out.bytes, out.dropped), (b"abcd".to_vec(), 2));
    assert_eq!(sink.take(OutputChannel::Stderr).bytes, b"err!");
    assert_eq!(k.read(&p, 1, &mut [0; 4], None), Err(Errno::EBADF));
    assert_eq!(k.write(&p, 0, b"x", None), Err(Errno::EBADF));
    assert!(k.fstat(&p, 1).unwrap().is_file());
    k.close(&p, 1).unwrap();
    assert_eq!(k.open(&p, b"/tmp", oflag::O_RDONLY, 0), Ok(1));
}

#[test]
fn stdin_that_the_host_feeds() {
    let (reader, writer) = pipe();
    let stdio = Stdio {
        stdin: Stdin::Pipe(reader),
        ..Stdio::default()
    };
    let (k, _) = machine();
    let p = k
        .spawn(ProcessOptions {
            stdio,
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(k.handle_kind(&p, 0), Ok(HandleKind::Pipe));
    assert_eq!(k.read(&p, 0, &mut [0; 4], None), Err(Errno::EAGAIN));
    let (send, receive) = std::sync::mpsc::channel();
    k.on_ready(
        &p,
        0,
        Interest::Readable,
        Box::new(move || send.send(()).unwrap()),
    )
    .unwrap();
    assert!(receive.try_recv().is_err());
    writer.write(b"hi").unwrap();
    assert!(receive.try_recv().is_ok());
    assert_eq!(k.read_file_fd(&p, 0, BIG).map(drop), Err(Errno::EAGAIN));
    let mut buf = [0; 4];
    assert_eq!(k.read(&p, 0, &mut buf, None), Ok(2));
    drop(writer);
    assert_eq!(k.read(&p, 0, &mut buf, None), Ok(0));
}

#[test]
fn pipes_and_dup() {
    let (k, p) = machine();
    let (r, w) = k.pipe(&p).unwrap();
    assert_eq!(k.read(&p, r, &mut [0; 1], Some(0)), Err(Errno::ESPIPE));
    let w2 = k.dup(&p, w).unwrap();
    k.close(&p, w).unwrap();
    assert_eq!(k.write(&p, w2, b"x", None), Ok(1));
    let mut buf = [0; 4];
    assert_eq!(k.read(&p, r, &mut buf, None), Ok(1));
    assert_eq!(k.read(&p, r, &mut buf, None), Err(Errno::EAGAIN));
    k.close(&p, w2).unwrap();
    assert_eq!(k.read(&p, r, &mut buf, None), Ok(0));
    assert_eq!(k.fstat(&p, r).unwrap().file_type, FileType::Fifo);

    put(&k, &p, "f", "abcd");
    let a = k.open(&p, b"f", oflag::O_RDONLY, 0).unwrap();
    let b = k.dup(&p, a).unwrap();
    let mut buf = [0; 2];
    assert_eq!(k.read(&p, a, &mut buf, None), Ok(2));
    assert_eq!(k.read(&p, b, &mut buf, None), Ok(2));
    assert_eq!(&buf, b"cd");
}

#[test]
fn handles_do_not_reach_the_next_file() {
    let (k, p) = machine();
    put(&k, &p, "f", "");
    let fd = k.open(&p, b"f", oflag::O_RDONLY, 0).unwrap();
    let handle = p.fd_handle(fd).unwrap();
    assert!(p.file_of(handle).is_ok());
    k.close(&p, fd).unwrap();
    assert_eq!(k.open(&p, b"/tmp", oflag::O_RDONLY, 0), Ok(fd));
    assert_eq!(p.file_of(handle).map(drop), Err(Errno::EBADF));
}

#[test]
fn ending_a_process_closes_all() {
    let (k, p) = machine();
    put(&k, &p, "f", "bytes");
    k.open(&p, b"f", oflag::O_RDONLY, 0).unwrap();
    k.unlink(&p, b"f").unwrap();
    p.end();
    assert_eq!(k.usage(), Usage::default());
    assert_eq!(p.open_fds(), 0);
    assert_eq!(k.stat(&p, b"f"), Err(Errno::ENOTDIR));
    assert_eq!(k.getcwd(&p), Err(Errno::ENOENT));
}

#[test]
fn environment() {
    let (k, _) = machine();
    let env = vec![
        ("B".to_owned(), "1".to_owned()),
        ("A".to_owned(), "2".to_owned()),
    ];
    let p = k
        .spawn(ProcessOptions {
            env,
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(p.env_names(), ["B", "A"]);
    assert_eq!(p.env("A").as_deref(), Some("2"));
    assert_eq!(p.env("HOME"), None);
    assert_eq!(p.set_env("C", "3"), Ok(()));
    assert_eq!(p.set_env("", "3"), Err(Errno::EINVAL));
    assert_eq!(p.set_env("X=Y", "3"), Err(Errno::EINVAL));
    assert!(p.remove_env("B"));
    assert!(!p.remove_env("B"));
    assert_eq!(p.env_names(), ["A", "C"]);
    assert_eq!(p.set_env("BIG", &"x".repeat(2 << 20)), Err(Errno::ENOMEM));
    assert_eq!(p.take_limit_error().unwrap().limit, Limit::EnvBytes);
}

#[test]
fn interrupted_processes_do_not_go_on() {
    let (k, p) = machine();
    k.mkdir_recursive(&p, b"a/b/c", 0o777).unwrap();
    p.interrupt();
    assert_eq!(k.remove_all(&p, b"a"), Err(Errno::EINTR));
    assert_eq!(
        k.read_file(&p, b"/dev/zero", BIG).map(drop),
        Err(Errno::EINTR)
    );
    assert_eq!(k.remove_all(k.host(), b"/workspace/a"), Ok(3));
}

#[test]
fn ids() {
    let (k, p) = machine();
    assert_eq!((p.uid(), p.gid()), (1000, 1000));
    assert_eq!(p.set_uid(0), Err(Errno::EPERM));
    assert_eq!(p.set_gid(0), Err(Errno::EPERM));
    let root = k
        .spawn(ProcessOptions {
            uid: Some(0),
            gid: Some(0),
            ..ProcessOptions::default()
        })
        .unwrap();
    assert_eq!(root.set_gid(5), Ok(()));
    assert_eq!(root.set_uid(5), Ok(()));
    assert_eq!(root.set_uid(0), Err(Errno::EPERM));
}

#[test]
fn sticky_directories() {
    let (k, p) = machine();
    let other = k
        .spawn(ProcessOptions {
            uid: Some(2000),
            gid: Some(2000),
            ..ProcessOptions::default()
        })
        .unwrap();
    let h = k.host();
    k.mkdir(h, b"/drop", 0o777).unwrap();
    k.chmod(h, b"/drop", 0o1777).unwrap();
    put(&k, &p, "/drop/mine", "");
    k.mkdir(&p, b"/drop/dir", 0o777).unwrap();
    put(&k, &other, "/drop/theirs", "");
    let eperm = Err(Errno::EPERM);
    assert_eq!(k.unlink(&other, b"/drop/mine"), eperm);
    assert_eq!(k.rmdir(&other, b"/drop/dir"), eperm);
    assert_eq!(k.rename(&other, b"/drop/mine", b"/drop/x"), eperm);
    assert_eq!(k.rename(&other, b"/drop/theirs", b"/drop/mine"), eperm);
    k.rename(&other, b"/drop/theirs", b"/drop/x").unwrap();
    k.unlink(&p, b"/drop/mine").unwrap();
    k.unlink(h, b"/drop/x").unwrap();
    k.chmod(h, b"/drop", 0o777).unwrap();
    k.rmdir(&other, b"/drop/dir").unwrap();
}

#[test]
fn directories_nest_as_deep_as_they_may() {
    let quotas = Quotas {
        max_directory_depth: 40,
        ..Quotas::default()
    };
    let kernel = Kernel::new(KernelOptions {
        quotas,
        ..KernelOptions::default()
    })
    .unwrap();
    let (k, p) = (&kernel, kernel.spawn(ProcessOptions::default()).unwrap());
    let deep = |name: &str, depth: usize| format!("/workspace{}", format!("/{name}").repeat(depth));
    k.mkdir_recursive(&p, deep("a", 39).as_bytes(), 0o755)
        .unwrap();
    assert_eq!(
        k.mkdir(&p, deep("a", 40).as_bytes(), 0o755),
        Err(Errno::ENAMETOOLONG)
    );
    let met = k.take_limit_error().unwrap();
    assert_eq!(
        (met.limit, met.configured, met.option),
        (
            Limit::DirectoryDepth,
            40,
            "resourceBudgets.maxDirectoryDepth"
        )
    );
    // Neither step by step from a working directory, nor by moving what is deep into what is deep.
    k.chdir(&p, deep("a", 39).as_bytes()).unwrap();
    assert_eq!(k.mkdir(&p, b"more", 0o755), Err(Errno::ENAMETOOLONG));
    put(k, &p, "file", "files are no directories");
    k.mkdir_recursive(&p, deep("b", 20).as_bytes(), 0o755)
        .unwrap();
    let to = format!("{}/b", deep("a", 20));
    assert_eq!(
        k.rename(&p, b"/workspace/b", to.as_bytes()),
        Err(Errno::ENAMETOOLONG)
    );
    let to = format!("{}/b", deep("a", 19));
    k.rename(&p, b"/workspace/b", to.as_bytes()).unwrap();
}

#[test]
fn limits_that_are_nearly_reached_are_told_once() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = told.clone();
    let quotas = Quotas {
        max_filesystem_bytes: 1000,
        max_inodes: 10,
        ..Quotas::default()
    };
    let kernel = Kernel::new(KernelOptions {
        quotas,
        on_near_limit: Some(Arc::new(move |near: LimitError| {
            sink.lock()
                .unwrap()
                .push((near.limit.name(), near.used, near.configured));
        })),
        ..KernelOptions::default()
    })
    .unwrap();
    let (k, p) = (&kernel, kernel.spawn(ProcessOptions::default()).unwrap());
    put(k, &p, "a", &"x".repeat(799));
    assert!(told.lock().unwrap().is_empty());
    put(k, &p, "a", &"x".repeat(900));
    put(k, &p, "b", &"x".repeat(50));
    for n in 0..8 {
        k.mkdir(&p, format!("d{n}").as_bytes(), 0o755).unwrap();
    }
    assert_eq!(k.mkdir(&p, b"full", 0o755), Err(Errno::ENOSPC));
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].0, told[0].2), ("maxFilesystemBytes", 1000));
    assert_eq!(told[1], ("maxInodes", 8, 10));
}
