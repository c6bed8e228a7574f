//! Images, quotas, watches, policies, threads.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use secure_exec_kernel::*;

const WRITE: i32 = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;

fn start(options: KernelOptions) -> (Arc<Kernel>, Arc<Process>) {
    let kernel = Kernel::new(options).unwrap();
    let process = kernel.spawn(ProcessOptions::default()).unwrap();
    (kernel, process)
}

fn quotas(quotas: Quotas) -> (Arc<Kernel>, Arc<Process>) {
    start(KernelOptions {
        quotas,
        ..KernelOptions::default()
    })
}

#[test]
fn kernels_of_one_image_do_not_see_each_other() {
    let mut builder = Image::builder();
    builder
        .file("/app/a.js", b"original".to_vec(), 0o644)
        .unwrap();
    builder.file("/app/b.js", b"other".to_vec(), 0o644).unwrap();
    builder.symlink("/app/link", "a.js").unwrap();
    builder.dir("/app/d", 0o700).unwrap();
    let image = builder.build();
    let options = || KernelOptions {
        image: Some(image.clone()),
        ..KernelOptions::default()
    };
    let ((k1, p1), (k2, p2)) = (start(options()), start(options()));

    let FileBytes::Shared(one) = k1.read_file(&p1, b"/app/a.js", 99).unwrap() else {
        panic!()
    };
    let FileBytes::Shared(two) = k2.read_file(&p2, b"/app/link", 99).unwrap() else {
        panic!()
    };
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(k1.usage(), Usage::default());

    let fd = k1.open(&p1, b"/app/a.js", oflag::O_WRONLY, 0).unwrap();
    k1.write(&p1, fd, b"X", None).unwrap();
    k1.unlink(&p1, b"/app/b.js").unwrap();
    k1.rename(&p1, b"/app/d", b"/app/e").unwrap();
    assert_eq!(&*k1.read_file(&p1, b"/app/a.js", 99).unwrap(), b"Xriginal");
    assert_eq!(k1.usage().filesystem_bytes, 8);
    assert_eq!(&*k2.read_file(&p2, b"/app/a.js", 99).unwrap(), b"original");
    assert!(k2.exists(&p2, b"/app/b.js") && !k1.exists(&p1, b"/app/b.js"));
    assert!(k2.exists(&p2, b"/app/d") && !k2.exists(&p2, b"/app/e"));
    k1.unlink(&p1, b"/app/a.js").unwrap();
    k1.close(&p1, fd).unwrap();
    assert_eq!(k1.usage(), Usage::default());
}

#[test]
fn hard_links_to_image_files_are_paid_back() {
    let (k, p) = start(KernelOptions::default());
    k.link(&p, b"/etc/hosts", b"/a").unwrap();
    k.link(&p, b"/a", b"/b").unwrap();
    assert_eq!(k.usage().inodes, 2);
    for path in ["/etc/hosts", "/b", "/a"] {
        k.unlink(&p, path.as_bytes()).unwrap();
    }
    assert_eq!(k.usage(), Usage::default());
}

#[test]
fn a_large_image_costs_a_kernel_nothing() {
    let mut builder = Image::builder();
    for n in 0..10_000 {
        builder
            .file(format!("/m/{}/{n}.js", n % 100), vec![b'x'; 100], 0o644)
            .unwrap();
    }
    let image = builder.build();
    let start = Clock::new(ClockMode::Real);
    for _ in 0..100 {
        let options = KernelOptions {
            image: Some(image.clone()),
            ..KernelOptions::default()
        };
        let k = Kernel::new(options).unwrap();
        assert_eq!(k.readdir(k.host(), b"/m/7").unwrap().len(), 100);
    }
    assert!(
        start.monotonic_ns() < 1_000_000_000,
        "100 kernels took {} ns",
        start.monotonic_ns()
    );
}

#[test]
fn byte_quota() {
    let (k, p) = quotas(Quotas {
        max_filesystem_bytes: 100,
        ..Quotas::default()
    });
    let fd = k
        .open(&p, b"f", oflag::O_RDWR | oflag::O_CREAT, 0o644)
        .unwrap();
    assert_eq!(k.write(&p, fd, &[1; 80], None), Ok(80));
    assert_eq!(k.write(&p, fd, &[1; 80], None), Ok(20));
    assert_eq!(k.write(&p, fd, &[1; 80], None), Err(Errno::ENOSPC));
    let error = k.take_limit_error().unwrap();
    assert_eq!(
        (error.limit, error.configured, error.used),
        (Limit::FilesystemBytes, 100, 100)
    );
    assert_eq!(error.option, "resourceBudgets.maxFilesystemBytes");
    assert_eq!(k.take_limit_error(), None);
    assert_eq!(k.write(&p, fd, &[2; 80], Some(0)), Ok(80));
    assert_eq!(k.copy_file(&p, b"f", b"g", 0), Err(Errno::ENOSPC));
    assert!(!k.exists(&p, b"g"));
    assert_eq!(k.symlink(&p, b"target", b"l"), Err(Errno::ENOSPC));
    assert_eq!(k.truncate(&p, b"f", 101), Err(Errno::ENOSPC));
    assert_eq!(k.truncate(&p, b"f", 10), Ok(()));
    assert_eq!(k.usage().filesystem_bytes, 10);
    assert_eq!(k.symlink(&p, b"target", b"l"), Ok(()));
    assert_eq!(k.usage().filesystem_bytes, 16);
    k.unlink(&p, b"l").unwrap();
    k.unlink(&p, b"f").unwrap();
    assert_eq!(k.usage().filesystem_bytes, 10);
    k.close(&p, fd).unwrap();
    assert_eq!(k.usage(), Usage::default());
}

#[test]
fn sparse_files_cost_what_they_hold() {
    let (k, p) = quotas(Quotas {
        max_filesystem_bytes: 1 << 20,
        ..Quotas::default()
    });
    let fd = k
        .open(&p, b"f", oflag::O_RDWR | oflag::O_CREAT, 0o644)
        .unwrap();
    k.ftruncate(&p, fd, 1 << 40).unwrap();
    assert_eq!(k.usage().filesystem_bytes, 0);
    assert_eq!(k.write(&p, fd, b"end", Some((1 << 40) - 3)), Ok(3));
    assert!(k.usage().filesystem_bytes <= 16 << 10);
    let stat = k.stat(&p, b"f").unwrap();
    assert_eq!((stat.size, stat.blocks), (1 << 40, 32));
    assert_eq!(k.read_file(&p, b"f", 1 << 30).map(drop), Err(Errno::EFBIG));
    assert_eq!(k.write(&p, fd, b"x", Some(1 << 50)), Err(Errno::EFBIG));
}

#[test]
fn inode_quota() {
    let (k, p) = quotas(Quotas {
        max_inodes: 2,
        ..Quotas::default()
    });
    k.mkdir(&p, b"a", 0o777).unwrap();
    k.write_file(&p, b"b", b"", WRITE, 0o644).unwrap();
    assert_eq!(k.mkdir(&p, b"c", 0o777), Err(Errno::ENOSPC));
    assert_eq!(k.link(&p, b"b", b"c"), Err(Errno::ENOSPC));
    assert_eq!(k.take_limit_error().unwrap().limit, Limit::Inodes);
    k.rmdir(&p, b"a").unwrap();
    assert_eq!(k.link(&p, b"b", b"c"), Ok(()));
    let stat = k.statfs(&p, b"/").unwrap();
    assert_eq!((stat.files, stat.ffree, stat.bsize), (2, 0, 4096));
    assert_eq!(k.statfs(&p, b"/nope"), Err(Errno::ENOENT));
}

#[test]
fn fd_quota() {
    let (k, p) = quotas(Quotas {
        max_open_fds: 5,
        ..Quotas::default()
    });
    assert_eq!(k.open(&p, b"/tmp", 0, 0), Ok(3));
    assert_eq!(k.pipe(&p), Err(Errno::EMFILE));
    assert_eq!(p.open_fds(), 4);
    assert_eq!(k.open(&p, b"/tmp", 0, 0), Ok(4));
    assert_eq!(k.open(&p, b"new", WRITE, 0o644), Err(Errno::EMFILE));
    assert!(!k.exists(&p, b"new"));
    assert_eq!(k.dup(&p, 0), Err(Errno::EMFILE));
    assert_eq!(p.take_limit_error().unwrap().limit, Limit::OpenFds);
    k.close(&p, 3).unwrap();
    assert_eq!(k.open(&p, b"/tmp", 0, 0), Ok(3));
}

#[test]
fn watches() {
    let (k, p) = start(KernelOptions::default());
    k.mkdir(&p, b"d", 0o777).unwrap();
    k.write_file(&p, b"d/f", b"", WRITE, 0o644).unwrap();
    let (send, events) = mpsc::channel();
    let sink = |tag: &'static str| {
        let send = send.clone();
        Arc::new(move |event: WatchEvent| {
            let name = String::from_utf8_lossy(&event.name).into_owned();
            send.send((tag, event.kind, name)).unwrap();
        })
    };
    let dir = k.watch(&p, b"d", sink("dir")).unwrap();
    let _file = k.watch(&p, b"d/f", sink("file")).unwrap();
    let seen = || events.try_iter().collect::<Vec<_>>();
    use WatchKind::{Change, Rename};

    k.write_file(&p, b"d/f", b"text", oflag::O_WRONLY, 0)
        .unwrap();
    assert_eq!(
        seen(),
        [("file", Change, "f".into()), ("dir", Change, "f".into())]
    );
    k.write_file(&p, b"d/g", b"", WRITE, 0o644).unwrap();
    assert_eq!(seen(), [("dir", Rename, "g".into())]);
    k.rename(&p, b"d/g", b"h").unwrap();
    assert_eq!(seen(), [("dir", Rename, "g".into())]);
    k.chmod(&p, b"d/f", 0o600).unwrap();
    assert_eq!(
        seen(),
        [("file", Change, "f".into()), ("dir", Change, "f".into())]
    );
    k.unlink(&p, b"d/f").unwrap();
    assert_eq!(
        seen(),
        [("file", Rename, "f".into()), ("dir", Rename, "f".into())]
    );
    drop(dir);
    k.mkdir(&p, b"d/x", 0o777).unwrap();
    assert_eq!(seen(), []);
    assert_eq!(
        k.watch(&p, b"nope", sink("none")).map(drop),
        Err(Errno::ENOENT)
    );
}

#[test]
fn a_watch_may_call_the_kernel() {
    let (k, p) = start(KernelOptions::default());
    let count = Arc::new(AtomicU32::new(0));
    let (kernel, process, counter) = (k.clone(), p.clone(), count.clone());
    let _watch = k
        .watch(
            &p,
            b"/tmp",
            Arc::new(move |_| {
                assert!(kernel.stat(&process, b"/tmp/x").is_ok());
                counter.fetch_add(1, Ordering::SeqCst);
            }),
        )
        .unwrap();
    k.mkdir(&p, b"/tmp/x", 0o777).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// Allows everything but what is below `/secret`, and keeps what it was asked.
struct NoSecrets {
    asked: parking_lot::Mutex<Vec<(FsOp, String)>>,
}

impl FsPolicy for NoSecrets {
    fn check(&self, request: &FsRequest) -> Result<()> {
        let path = String::from_utf8_lossy(&request.path).into_owned();
        let secret = path.starts_with("/secret");
        self.asked.lock().push((request.op, path));
        if secret { Err(Errno::EACCES) } else { Ok(()) }
    }
}

#[test]
fn policies_see_canonical_paths() {
    let policy = Arc::new(NoSecrets {
        asked: parking_lot::Mutex::default(),
    });
    let mut builder = Image::builder();
    builder.file("/secret/key", b"k".to_vec(), 0o644).unwrap();
    builder.symlink("/workspace/innocent", "../secret").unwrap();
    let (k, p) = start(KernelOptions {
        image: Some(builder.build()),
        policy: Some(policy.clone()),
        ..KernelOptions::default()
    });
    let denied = Err(Errno::EACCES);
    assert_eq!(k.read_file(&p, b"innocent/key", 99).map(drop), denied);
    assert_eq!(k.stat(&p, b"/tmp/../secret/key").map(drop), denied);
    assert_eq!(k.stat(&p, b"/secret/absent").map(drop), denied);
    assert_eq!(k.lstat(&p, b"/secret/a/b/c").map(drop), denied);
    assert_eq!(k.rename(&p, b"/secret/key", b"/tmp/key"), denied);
    assert_eq!(k.link(&p, b"innocent/key", b"/tmp/key"), denied);
    assert_eq!(k.copy_file(&p, b"innocent/key", b"/tmp/key", 0), denied);
    assert_eq!(k.write_file(&p, b"innocent/new", b"", WRITE, 0o644), denied);
    assert_eq!(k.chdir(&p, b"innocent"), denied);
    assert_eq!(k.readdir(&p, b"innocent").map(drop), denied);
    assert_eq!(k.module_stat(&p, b"innocent"), ModuleStat::Missing);
    policy.asked.lock().clear();
    assert_eq!(k.rename(&p, b"innocent", b"guilty"), Ok(()));
    let asked = std::mem::take(&mut *policy.asked.lock());
    let rename = |path: &str| (FsOp::Rename, path.to_owned());
    assert_eq!(
        asked,
        [rename("/workspace/innocent"), rename("/workspace/guilty")]
    );
    assert_eq!(k.stat(&p, b"nope"), Err(Errno::ENOENT));
    assert_eq!(
        policy.asked.lock().last(),
        Some(&(FsOp::Stat, "/workspace/nope".to_owned()))
    );
}

#[test]
fn threads() {
    let (k, p) = start(KernelOptions::default());
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (k, p) = (&k, &p);
            scope.spawn(move || {
                for i in 0..500 {
                    let path = format!("/tmp/{n}-{}", i % 7);
                    let fd = k.open(p, path.as_bytes(), oflag::O_RDWR | oflag::O_CREAT, 0o644);
                    let fd = fd.unwrap();
                    k.write(p, fd, path.as_bytes(), None).unwrap();
                    let to = format!("/tmp/shared-{}", i % 3);
                    let _ = k.rename(p, path.as_bytes(), to.as_bytes());
                    let _ = k.unlink(p, to.as_bytes());
                    k.close(p, fd).unwrap();
                }
            });
        }
    });
    for entry in k.readdir(&p, b"/tmp").unwrap() {
        k.unlink(&p, &[b"/tmp/", &*entry.name].concat()).unwrap();
    }
    assert_eq!(k.usage(), Usage::default());
}
