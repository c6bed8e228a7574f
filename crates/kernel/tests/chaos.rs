//! Random calls over random mounts, among them file systems that answer anything: nothing panics, and when all is
//! unmounted and removed, nothing is left on the account.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use secure_exec_kernel::*;
use support::KernelFs;

/// Answers from a sequence of numbers, right or wrong; in the end only with errors, since its trees have none.
struct Liar(AtomicU64, AtomicU64);

const ANSWERS_MAX: u64 = 2000;

impl Liar {
    fn next(&self, below: u64) -> u64 {
        let step = |n: u64| {
            Some(
                n.wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695),
            )
        };
        let n = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .unwrap();
        (n >> 33) % below
    }

    fn maybe<T>(&self, value: T) -> Result<T> {
        match self.next(4) {
            _ if self.1.fetch_add(1, Ordering::Relaxed) > ANSWERS_MAX => Err(Errno::EIO),
            0 => Err(Errno::ALL[self.next(Errno::ALL.len() as u64) as usize]),
            _ => Ok(value),
        }
    }

    fn stat(&self) -> Stat {
        let types = [
            FileType::Regular,
            FileType::Directory,
            FileType::Directory,
            FileType::Symlink,
            FileType::CharDevice,
            FileType::Fifo,
        ];
        let file_type = types[self.next(6) as usize];
        let number = || [0, 1, 4096, u64::MAX][self.next(4) as usize];
        let time = TimeSpec {
            seconds: number() as i64,
            nanos: number() as u32,
        };
        Stat {
            dev: number(),
            ino: number(),
            mode: number() as u32,
            nlink: number(),
            uid: number() as u32,
            gid: number() as u32,
            rdev: number(),
            size: number(),
            blksize: number(),
            blocks: number(),
            atime: time,
            mtime: time,
            ctime: time,
            birthtime: time,
            file_type,
        }
    }
}

impl MountedFs for Liar {
    fn lstat(&self, _: &Caller<'_>, path: &[u8]) -> Result<Stat> {
        let mut stat = self.stat();
        if path.is_empty() {
            stat.file_type = FileType::Directory;
            return Ok(stat);
        }
        self.maybe(stat)
    }
    fn lookup(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Found> {
        let stat = self.lstat(caller, path)?;
        let len = if self.next(8) == 0 {
            self.next(20) as usize
        } else {
            path.len()
        };
        Ok(Found { len, stat })
    }
    fn readlink(&self, _: &Caller<'_>, _: &[u8]) -> Result<Vec<u8>> {
        let texts = ["", "a", "..", "/m0/b", "/m1", "\0", "a/b/../c", "/"];
        self.maybe(texts[self.next(8) as usize].as_bytes().to_vec())
    }
    fn readdir(&self, _: &Caller<'_>, _: &[u8]) -> Result<Vec<DirEntry>> {
        let names = ["", ".", "..", "a", "b", "c/d", "\0"];
        let entry = |_| DirEntry {
            name: Arc::from(names[self.next(7) as usize].as_bytes()),
            file_type: self.stat().file_type,
        };
        self.maybe((0..self.next(6)).map(entry).collect())
    }
    fn open(&self, _: &Caller<'_>, _: &[u8], _: OpenHow) -> Result<Arc<dyn MountedFile>> {
        self.maybe(Arc::new(Liar(
            AtomicU64::new(self.next(u64::MAX)),
            AtomicU64::new(0),
        )))
    }
    fn statfs(&self, _: &Caller<'_>, _: &[u8]) -> Result<StatFs> {
        Err(Errno::ENOSYS)
    }
    fn mkdir(&self, _: &Caller<'_>, _: &[u8], _: u32) -> Result<()> {
        self.maybe(())
    }
    fn rename(&self, _: &Caller<'_>, _: &[u8], _: &[u8]) -> Result<()> {
        self.maybe(())
    }
    fn unlink(&self, _: &Caller<'_>, _: &[u8]) -> Result<()> {
        self.maybe(())
    }
}

impl MountedFile for Liar {
    fn read_at(&self, _: &Caller<'_>, buf: &mut [u8], _: u64) -> Result<usize> {
        let n = [0, 1, buf.len(), buf.len().saturating_add(9), usize::MAX][self.next(5) as usize];
        self.maybe(if self.next(3) == 0 { 0 } else { n })
    }
    fn write_at(&self, _: &Caller<'_>, data: &[u8], _: u64) -> Result<(usize, u64)> {
        let n = [0, 1, data.len(), usize::MAX][self.next(4) as usize];
        self.maybe((n, [0, 5, u64::MAX][self.next(3) as usize]))
    }
    fn stat(&self, _: &Caller<'_>) -> Result<Stat> {
        self.maybe(self.stat())
    }
    fn truncate(&self, _: &Caller<'_>, _: u64) -> Result<()> {
        self.maybe(())
    }
}

#[derive(Clone, Debug)]
enum Op {
    Mount(usize, usize, u64, bool),
    Unmount(usize),
    Call(u32, String, String, u64),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "m", "..", ".", "", "proc", "dev"]);
    let top = prop::sample::select(vec![
        "/m0",
        "/m1",
        "/m1/m",
        "/w",
        "",
        "/",
        "/proc/self/fd/3",
        "/proc/self/cwd",
    ]);
    (top, prop::collection::vec(name, 0..4))
        .prop_map(|(top, names)| format!("{top}/{}", names.join("/")))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..5usize, 0..5usize, any::<u64>(), any::<bool>()).prop_map(|(p, s, n, r)| Op::Mount(p, s, n, r)),
        1 => (0..5usize).prop_map(Op::Unmount),
        30 => (0..30u32, path(), path(), any::<u64>()).prop_map(|(c, a, b, n)| Op::Call(c, a, b, n)),
    ]
}

const POINTS: [&str; 5] = ["/m0", "/m1", "/m1/m", "/m0/a", "/"];

fn source(kind: usize, number: u64) -> MountSource {
    let other = || {
        let k = Kernel::new(KernelOptions::default()).unwrap();
        k.mkdir_recursive(k.host(), b"/r/a/b", 0o777).unwrap();
        k.write_file(
            k.host(),
            b"/r/b",
            b"text",
            oflag::O_WRONLY | oflag::O_CREAT,
            0o666,
        )
        .unwrap();
        k.symlink(k.host(), b"/m1/a", b"/r/a/m").unwrap();
        KernelFs::new(k, "/r")
    };
    match kind {
        0 => MountSource::Memory,
        1 => MountSource::Foreign(other()),
        2 => MountSource::CopyOnWrite(other()),
        3 => MountSource::Foreign(Arc::new(Liar(AtomicU64::new(number), AtomicU64::new(0)))),
        _ => MountSource::CopyOnWrite(Arc::new(Liar(AtomicU64::new(number), AtomicU64::new(0)))),
    }
}

fn call(k: &Kernel, p: &Process, which: u32, a: &[u8], b: &[u8], n: u64) {
    use oflag::*;
    let flags = [
        O_RDONLY,
        O_WRONLY | O_CREAT,
        O_RDWR | O_CREAT | O_TRUNC,
        O_RDWR | O_APPEND,
        O_DIRECTORY,
    ];
    let flags = flags[(n % 5) as usize] | if n.is_multiple_of(7) { O_EXCL } else { 0 };
    let fd = (n % 9) as i32;
    let at = n.is_multiple_of(3).then_some(n % 1000);
    let mut buf = [0; 64];
    let data = [1; 64];
    match which {
        0 => drop(k.open(p, a, flags, 0o777)),
        1 => drop(k.close(p, 3 + fd)),
        2 => drop(k.read(p, fd, &mut buf, at)),
        3 => drop(k.write(p, fd, &data, at)),
        4 => drop(k.stat(p, a)),
        5 => drop(k.lstat(p, a)),
        6 => drop(k.readdir(p, a)),
        7 => drop(k.readdir_fd(p, fd, 3)),
        8 => drop(k.mkdir_recursive(p, a, 0o777)),
        9 => drop(k.rmdir(p, a)),
        10 => drop(k.unlink(p, a)),
        11 => drop(k.rename(p, a, b)),
        12 => drop(k.link(p, a, b)),
        13 => drop(k.symlink(p, a, b)),
        14 => drop(k.readlink(p, a)),
        15 => drop(k.realpath(p, a)),
        16 => drop(k.chmod(p, a, n as u32)),
        17 => drop(k.truncate(p, a, n % 100_000)),
        18 => drop(k.copy_file(p, a, b, (n % 2) as i32)),
        19 => drop(k.read_file(p, a, 1 << 16)),
        20 => drop(k.write_file(p, a, &data, O_WRONLY | O_CREAT | O_TRUNC, 0o666)),
        21 => drop(k.chdir(p, a)),
        22 => drop(k.remove_all(p, a)),
        23 => drop(k.access(p, a, (n % 8) as i32)),
        24 => drop(k.fstat(p, fd)),
        25 => drop(k.ftruncate(p, fd, n % 100_000)),
        26 => drop(k.statfs(p, a)),
        27 => drop(k.utimes(
            p,
            a,
            None,
            Some(TimeSpec {
                seconds: n as i64,
                nanos: n as u32,
            }),
        )),
        28 => drop(k.changes_since(k.mark())),
        _ => {
            let limits = TarLimits {
                bytes: 1 << 16,
                entries: 1000,
            };
            let options = ExportOptions {
                limits,
                ..ExportOptions::default()
            };
            drop(k.export_tar(a, options, &mut Vec::new()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("CHAOS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_panics_and_nothing_is_left(ops in prop::collection::vec(op(), 1..120)) {
        let k = Kernel::new(KernelOptions {
            quotas: Quotas {
                max_filesystem_bytes: 1 << 20,
                max_inodes: 500,
                ..Quotas::default()
            },
            ..KernelOptions::default()
        })
        .unwrap();
        let p = k.spawn(ProcessOptions { uid: Some(0), gid: Some(0), ..ProcessOptions::default() }).unwrap();
        k.mkdir(k.host(), b"/w", 0o777).unwrap();
        for op in &ops {
            match op {
                Op::Mount(at, kind, n, read_only) => {
                    let options = MountOptions { read_only: *read_only };
                    let _ = k.mount(POINTS[*at].as_bytes(), source(*kind, *n), options);
                }
                Op::Unmount(at) => drop(k.unmount(POINTS[*at].as_bytes())),
                Op::Call(which, a, b, n) => call(&k, &p, *which, a.as_bytes(), b.as_bytes(), *n),
            }
        }
        p.end();
        for _ in 0..2 {
            for mount in k.mounts().into_iter().rev() {
                let _ = k.unmount(&mount.path);
            }
        }
        prop_assert_eq!(k.mounts(), []);
        for entry in k.readdir(k.host(), b"/").unwrap() {
            let _ = k.remove_all(k.host(), &[b"/", &*entry.name].concat());
        }
        prop_assert_eq!(k.usage(), Usage::default());
    }
}
