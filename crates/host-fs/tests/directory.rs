//! A host directory in a machine: what a guest can do in it, and that nothing leads out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use secure_exec_host_fs::{Access, HostDirectory, HostLimits, HostOptions};
use secure_exec_kernel::*;

const WRITE: i32 = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;

const READ_WRITE: HostOptions = HostOptions {
    access: Access::ReadWrite,
    enter_mounts: false,
    limits: HostLimits {
        bytes: 1 << 30,
        entries: 1000,
    },
};

fn both_walks(path: &Path, options: HostOptions) -> [HostDirectory; 2] {
    [
        HostDirectory::open(path, options).unwrap(),
        HostDirectory::open(path, options)
            .unwrap()
            .walking_by_name(),
    ]
}

fn mounted(directory: HostDirectory) -> (Arc<Kernel>, Arc<Process>) {
    let kernel = Kernel::new(KernelOptions::default()).unwrap();
    let source = MountSource::Foreign(Arc::new(directory));
    kernel
        .mount(b"/mnt", source, MountOptions::default())
        .unwrap();
    let process = kernel.spawn(ProcessOptions::default()).unwrap();
    (kernel, process)
}

fn read(k: &Kernel, p: &Process, path: &str) -> Result<String> {
    let bytes = k.read_file(p, path.as_bytes(), 1 << 20)?;
    Ok(String::from_utf8(bytes.into_vec()).unwrap())
}

#[test]
fn what_a_guest_sees_and_changes() {
    for n in 0..2 {
        let host = tempfile::tempdir().unwrap();
        let [a, b] = both_walks(host.path(), READ_WRITE);
        let (k, p) = mounted(if n == 0 { a } else { b });
        std::fs::create_dir(host.path().join("dir")).unwrap();
        std::fs::write(host.path().join("dir/file"), "host").unwrap();
        assert_eq!(read(&k, &p, "/mnt/dir/file").unwrap(), "host");
        let stat = k.stat(&p, b"/mnt/dir/file").unwrap();
        assert_eq!((stat.uid, stat.gid, stat.size), (1000, 1000, 4));
        k.write_file(&p, b"/mnt/dir/new", b"guest", WRITE, 0o6755)
            .unwrap();
        let made = std::fs::metadata(host.path().join("dir/new")).unwrap();
        assert_eq!(made.permissions().mode() & 0o7000, 0);
        assert_eq!(
            std::fs::read(host.path().join("dir/new")).unwrap(),
            b"guest"
        );
        k.mkdir(&p, b"/mnt/dir/sub", 0o755).unwrap();
        k.rename(&p, b"/mnt/dir/new", b"/mnt/dir/sub/moved")
            .unwrap();
        k.symlink(&p, b"../dir/sub", b"/mnt/dir/link").unwrap();
        assert_eq!(read(&k, &p, "/mnt/dir/link/moved").unwrap(), "guest");
        k.link(&p, b"/mnt/dir/link/moved", b"/mnt/hard").unwrap();
        assert_eq!(k.stat(&p, b"/mnt/hard").unwrap().nlink, 2);
        k.chmod(&p, b"/mnt/hard", 0o4600).unwrap();
        assert_eq!(k.stat(&p, b"/mnt/hard").unwrap().permissions(), 0o600);
        let at = TimeSpec::from_nanos(1_500_000_000_000_000_000);
        k.utimes(&p, b"/mnt/hard", None, Some(at)).unwrap();
        assert_eq!(k.stat(&p, b"/mnt/hard").unwrap().mtime, at);
        k.truncate(&p, b"/mnt/hard", 2).unwrap();
        let append = oflag::O_RDWR | oflag::O_APPEND;
        let fd = k.open(&p, b"/mnt/hard", append, 0).unwrap();
        assert_eq!(k.write(&p, fd, b"!", None), Ok(1));
        let mut buf = [0; 8];
        assert_eq!(k.read(&p, fd, &mut buf, Some(0)), Ok(3));
        assert_eq!(&buf[..3], b"gu!");
        assert_eq!(k.chown(&p, b"/mnt/hard", Some(1000), None), Ok(()));
        assert_eq!(k.chown(&p, b"/mnt/hard", Some(0), None), Err(Errno::EPERM));
        assert_eq!(k.rmdir(&p, b"/mnt/dir"), Err(Errno::ENOTEMPTY));
        assert_eq!(k.unlink(&p, b"/mnt/dir"), Err(Errno::EISDIR));
        k.remove_all(&p, b"/mnt/dir").unwrap();
        assert_eq!(k.readdir(&p, b"/mnt").unwrap().len(), 1);
        assert!(k.statfs(&p, b"/mnt").unwrap().bfree <= (1 << 30) / 4096);
    }
}

#[test]
fn nothing_leads_out() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "SECRET").unwrap();
    let host = tempfile::tempdir().unwrap();
    let root = host.path();
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    symlink(outside.path(), root.join("out")).unwrap();
    symlink(outside.path().join("secret"), root.join("a/file")).unwrap();
    symlink("../../../../../../../../../..", root.join("a/b/up")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let fifo = root.join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let secret = format!("{}/secret", outside.path().display());
    for directory in both_walks(root, READ_WRITE) {
        let (k, p) = mounted(directory);
        for path in [
            "/mnt/out/secret".to_owned(),
            "/mnt/a/file".to_owned(),
            format!("/mnt/a/b/up{secret}"),
            format!("/mnt/magic{secret}"),
            format!("/mnt/a/b/../../../../../../../..{secret}"),
            secret.clone(),
        ] {
            assert!(read(&k, &p, &path).is_err(), "{path}");
            assert!(k.stat(&p, path.as_bytes()).is_err());
            assert!(
                k.write_file(&p, path.as_bytes(), b"x", WRITE, 0o644)
                    .is_err()
            );
            assert!(k.readdir(&p, path.as_bytes()).is_err());
        }
        // In the guest these lead into its own tree.
        assert_eq!(k.realpath(&p, b"/mnt/a/b/up").unwrap(), b"/");
        assert!(
            read(&k, &p, "/mnt/a/b/up/etc/passwd")
                .unwrap()
                .contains("sandbox")
        );
        assert_eq!(read(&k, &p, "/mnt/loop"), Err(Errno::ELOOP));
        for special in [&b"/mnt/fifo"[..], b"/mnt/socket"] {
            let open = k.open(&p, special, oflag::O_RDONLY, 0);
            assert_eq!(open, Err(Errno::ENXIO));
            assert_eq!(
                k.write_file(&p, special, b"x", WRITE, 0).err(),
                Some(Errno::ENXIO)
            );
        }
        assert_eq!(k.stat(&p, b"/mnt/fifo").unwrap().file_type, FileType::Fifo);
        assert_eq!(
            k.stat(&p, b"/mnt/socket").unwrap().file_type,
            FileType::Socket
        );
        // Links that would lead the host's own programs out are not made.
        for text in [&b"/etc/passwd"[..], b"..", b"../../x", b"a/../../x"] {
            assert_eq!(k.symlink(&p, text, b"/mnt/new"), Err(Errno::EPERM));
        }
        k.unlink(&p, b"/mnt/out").unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
    }
    assert_eq!(
        std::fs::read(outside.path().join("secret")).unwrap(),
        b"SECRET"
    );
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn the_driver_refuses_by_itself() {
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("f"), "f").unwrap();
    symlink("f", host.path().join("link")).unwrap();
    let machine = Kernel::new(KernelOptions::default()).unwrap();
    struct Direct(HostDirectory);
    // The kernel alone can make a caller, so the questions are put through a mount.
    impl MountedFs for Direct {
        fn lstat(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Stat> {
            for bad in [
                &b".."[..],
                b"../x",
                b"a/../../x",
                b"/etc",
                b"a//b",
                b"./x",
                b"x/",
                b"a\0b",
            ] {
                assert_eq!(self.0.lstat(caller, bad).err(), Some(Errno::EINVAL));
                assert_eq!(self.0.readdir(caller, bad).err(), Some(Errno::EINVAL));
                assert_eq!(self.0.unlink(caller, bad).err(), Some(Errno::EINVAL));
            }
            let read = OpenHow {
                read: true,
                ..OpenHow::default()
            };
            assert_eq!(self.0.open(caller, b"link", read).err(), Some(Errno::ELOOP));
            assert_eq!(self.0.open(caller, b"", read).err(), Some(Errno::EISDIR));
            assert_eq!(
                self.0.truncate(caller, b"link", 0).err(),
                Some(Errno::ELOOP)
            );
            assert_eq!(
                self.0.chmod(caller, b"link", 0o777).err(),
                Some(Errno::ELOOP)
            );
            self.0.lstat(caller, path)
        }
        fn readdir(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Vec<DirEntry>> {
            self.0.readdir(caller, path)
        }
        fn open(&self, _: &Caller<'_>, _: &[u8], _: OpenHow) -> Result<Arc<dyn MountedFile>> {
            Err(Errno::ENOSYS)
        }
    }
    for (n, directory) in both_walks(host.path(), READ_WRITE).into_iter().enumerate() {
        let at = format!("/m{n}");
        let source = MountSource::Foreign(Arc::new(Direct(directory)));
        machine
            .mount(at.as_bytes(), source, MountOptions::default())
            .unwrap();
        assert_eq!(
            machine
                .readdir(machine.host(), at.as_bytes())
                .unwrap()
                .len(),
            2
        );
    }
}

#[test]
fn read_only_and_limits() {
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("f"), "f").unwrap();
    let (k, p) = mounted(HostDirectory::open(host.path(), HostOptions::default()).unwrap());
    assert_eq!(
        k.write_file(&p, b"/mnt/f", b"x", WRITE, 0),
        Err(Errno::EROFS)
    );
    assert_eq!(
        k.write_file(&p, b"/mnt/g", b"x", WRITE, 0),
        Err(Errno::EROFS)
    );
    assert_eq!(k.unlink(&p, b"/mnt/f"), Err(Errno::EROFS));
    assert_eq!(read(&k, &p, "/mnt/f").unwrap(), "f");

    let limits = HostLimits {
        bytes: 1000,
        entries: 2,
    };
    let options = HostOptions {
        limits,
        ..READ_WRITE
    };
    let (k, p) = mounted(HostDirectory::open(host.path(), options).unwrap());
    let full = Err(Errno::ENOSPC);
    assert_eq!(k.truncate(&p, b"/mnt/f", 1 << 50), full);
    assert_eq!(k.truncate(&p, b"/mnt/f", 600), Ok(()));
    assert_eq!(
        k.write_file(&p, b"/mnt/f", &[b'x'; 600], oflag::O_WRONLY, 0),
        full
    );
    assert_eq!(std::fs::metadata(host.path().join("f")).unwrap().len(), 600);
    let fd = k.open(&p, b"/mnt/f", oflag::O_RDWR, 0).unwrap();
    assert_eq!(k.write(&p, fd, b"x", Some(1 << 40)), Err(Errno::ENOSPC));
    assert_eq!(k.write(&p, fd, b"x", Some(u64::MAX)), Err(Errno::EFBIG));
    assert_eq!(k.mkdir(&p, b"/mnt/d", 0o755), Ok(()));
    assert_eq!(k.mkdir(&p, b"/mnt/d", 0o755), Err(Errno::EEXIST));
    assert_eq!(k.symlink(&p, b"f", b"/mnt/l"), Ok(()));
    assert_eq!(k.mkdir(&p, b"/mnt/e", 0o755), full);
}

/// Someone who may write in the directory swaps files and directories for links that lead out, as fast as they can, while
/// paths through them are read and written. Scaled by `ESCAPE_LOOKUPS`.
#[test]
fn no_race_leads_out() {
    let lookups: usize = std::env::var("ESCAPE_LOOKUPS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20_000);
    let top = tempfile::tempdir().unwrap();
    let (inside, outside) = (top.path().join("inside"), top.path().join("outside"));
    std::fs::create_dir_all(inside.join("d/e")).unwrap();
    std::fs::create_dir_all(outside.join("e")).unwrap();
    for dir in ["", "e/"] {
        std::fs::write(inside.join(format!("d/{dir}f")), "inside").unwrap();
        std::fs::write(outside.join(format!("{dir}f")), "SECRET").unwrap();
        std::fs::write(outside.join(format!("{dir}only")), "SECRET").unwrap();
    }
    symlink(&outside, inside.join("to-dir")).unwrap();
    symlink("../../outside", inside.join("to-dir2")).unwrap();
    symlink(outside.join("f"), inside.join("to-file")).unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let attacker = std::thread::spawn({
        let (done, inside) = (done.clone(), inside.clone());
        move || {
            let root =
                rustix::fs::open(&inside, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
                    .unwrap();
            let swap = |a: &str, b: &str| {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(&root, a, &root, b, flags);
            };
            let mut swaps = 0_u64;
            while !done.load(Ordering::Relaxed) {
                for (a, b) in [
                    ("d", "to-dir"),
                    ("d/e", "to-dir2"),
                    ("d/f", "to-file"),
                    ("d/e", "to-dir"),
                ] {
                    swap(a, b);
                    swap(a, b);
                    swaps += 2;
                    // Now and then everything stands long enough to be reached.
                    for _ in 0..swaps % 64 * 100 {
                        std::hint::spin_loop();
                    }
                }
                let _ = rustix::fs::renameat(&root, "d", &root, "../outside/d");
                let _ = rustix::fs::renameat(&root, "../outside/d", &root, "d");
            }
            swaps
        }
    });
    let mut reached = 0;
    let mut tried = 0;
    for directory in both_walks(&inside, READ_WRITE) {
        let (k, p) = mounted(directory);
        for n in 0..lookups / 2 {
            tried += 1;
            let path = [
                "/mnt/d/f",
                "/mnt/d/e/f",
                "/mnt/d/only",
                "/mnt/d/e/only",
                "/mnt/d/e/../f",
            ][n % 5];
            if let Ok(text) = read(&k, &p, path) {
                assert_ne!(text, "SECRET", "{path}");
                reached += 1;
            }
            if n % 4 == 0 {
                let new = ["/mnt/d/new", "/mnt/d/e/new"][n / 4 % 2].as_bytes();
                let _ = k.write_file(&p, new, b"guest", WRITE, 0o644);
                let _ = k.unlink(&p, new);
                let _ = k.readdir(&p, b"/mnt/d/e").map(|entries| {
                    assert!(entries.iter().all(|e| &*e.name != b"only"));
                });
            }
        }
    }
    done.store(true, Ordering::Relaxed);
    let swaps = attacker.join().unwrap();
    println!("{tried} lookups against {swaps} swaps: {reached} inside, 0 outside");
    assert!(reached > 0 && swaps > 0);
    for left in ["", "e/"] {
        assert_eq!(
            std::fs::read(outside.join(format!("{left}f"))).unwrap(),
            b"SECRET"
        );
        assert!(!outside.join(format!("{left}new")).exists());
    }
}

/// The events of a watch, in the order in which they come.
fn watched(k: &Kernel, p: &Process, path: &[u8]) -> (Watch, std::sync::mpsc::Receiver<WatchEvent>) {
    let (sender, events) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let sink = move |event: WatchEvent| {
        let _ = sender.lock().unwrap().send(event);
    };
    (k.watch(p, path, Arc::new(sink)).unwrap(), events)
}

/// Waits for an event, however many others come first.
fn comes(events: &std::sync::mpsc::Receiver<WatchEvent>, kind: WatchKind, name: &str) {
    loop {
        let event = events
            .recv_timeout(std::time::Duration::from_secs(20))
            .unwrap();
        if event.kind == kind && *event.name == *name.as_bytes() {
            return;
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn watches_tell_what_the_host_and_the_guest_do() {
    let host = tempfile::tempdir().unwrap();
    let dir = host.path().join("dir");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("file"), "1").unwrap();
    let [a, b] = both_walks(host.path(), READ_WRITE);
    for directory in [a, b] {
        let (k, p) = mounted(directory);
        let (in_dir, events) = watched(&k, &p, b"/mnt/dir");
        let (of_file, file_events) = watched(&k, &p, b"/mnt/dir/file");
        let (twice, more_events) = watched(&k, &p, b"/mnt/dir");
        std::fs::write(dir.join("by-host"), "x").unwrap();
        comes(&events, WatchKind::Rename, "by-host");
        comes(&more_events, WatchKind::Rename, "by-host");
        drop(twice);
        k.write_file(&p, b"/mnt/dir/file", b"by guest", WRITE, 0o644)
            .unwrap();
        comes(&events, WatchKind::Change, "file");
        comes(&file_events, WatchKind::Change, "file");
        std::fs::remove_file(dir.join("by-host")).unwrap();
        comes(&events, WatchKind::Rename, "by-host");
        drop((in_dir, of_file));
        // The thread ended with the last watch, or will; a new watch works all the same.
        let (_again, events) = watched(&k, &p, b"/mnt/dir");
        std::fs::write(dir.join("later"), "x").unwrap();
        comes(&events, WatchKind::Rename, "later");
        std::fs::remove_file(dir.join("later")).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn watches_stay_inside() {
    let host = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("file"), "").unwrap();
    symlink(outside.path(), host.path().join("out")).unwrap();
    for directory in both_walks(host.path(), READ_WRITE) {
        let (k, p) = mounted(directory);
        let sink = Arc::new(|_: WatchEvent| panic!("nothing is watched"));
        for (path, errno) in [
            (&b"/mnt/out"[..], Errno::ENOENT),
            (b"/mnt/none", Errno::ENOENT),
            (b"/mnt/file/x", Errno::ENOTDIR),
        ] {
            assert_eq!(k.watch(&p, path, sink.clone()).map(drop), Err(errno));
        }
        std::fs::write(outside.path().join("x"), "").unwrap();
    }
}

#[test]
fn a_copied_on_write_directory_is_watched_in_memory() {
    let host = tempfile::tempdir().unwrap();
    std::fs::create_dir(host.path().join("dir")).unwrap();
    std::fs::write(host.path().join("dir/file"), "base").unwrap();
    let directory = HostDirectory::open(host.path(), HostOptions::default()).unwrap();
    let kernel = Kernel::new(KernelOptions::default()).unwrap();
    let source = MountSource::CopyOnWrite(Arc::new(directory));
    kernel
        .mount(b"/mnt", source, MountOptions::default())
        .unwrap();
    let (k, p) = (&kernel, kernel.spawn(ProcessOptions::default()).unwrap());
    let (_dir, events) = watched(k, &p, b"/mnt/dir");
    let (_file, file_events) = watched(k, &p, b"/mnt/dir/file");
    k.write_file(&p, b"/mnt/dir/new", b"x", WRITE, 0o644)
        .unwrap();
    comes(&events, WatchKind::Rename, "new");
    k.write_file(&p, b"/mnt/dir/file", b"changed", WRITE, 0o644)
        .unwrap();
    comes(&file_events, WatchKind::Change, "file");
    assert_eq!(
        std::fs::read(host.path().join("dir/file")).unwrap(),
        b"base"
    );
}
