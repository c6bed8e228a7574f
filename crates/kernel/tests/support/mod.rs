//! A file system for tests to mount: a directory of another kernel, which counts how often it is asked.
#![allow(dead_code, clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use secure_exec_kernel::*;

pub struct KernelFs {
    pub kernel: Arc<Kernel>,
    pub root: Vec<u8>,
    pub asked: AtomicUsize,
}

impl KernelFs {
    pub fn new(kernel: Arc<Kernel>, root: &str) -> Arc<KernelFs> {
        // Modes come without the bits of the caller's umask.
        kernel.host().set_umask(0);
        Arc::new(KernelFs {
            kernel,
            root: root.as_bytes().to_vec(),
            asked: AtomicUsize::new(0),
        })
    }

    pub fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }

    fn full(&self, path: &[u8]) -> Vec<u8> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!path.starts_with(b"/") && !path.ends_with(b"/"));
        for name in path.split(|b| *b == b'/') {
            assert!(path.is_empty() || !matches!(name, b"" | b"." | b".."));
        }
        [&self.root[..], b"/", path].concat()
    }

    fn host(&self) -> &Process {
        self.kernel.host()
    }
}

pub struct KernelFile {
    kernel: Arc<Kernel>,
    fd: Fd,
    append: bool,
}

impl Drop for KernelFile {
    fn drop(&mut self) {
        self.kernel.close(self.kernel.host(), self.fd).unwrap();
    }
}

impl MountedFile for KernelFile {
    fn read_at(&self, _: &Caller<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.kernel
            .read(self.kernel.host(), self.fd, buf, Some(offset))
    }

    fn write_at(&self, _: &Caller<'_>, data: &[u8], offset: u64) -> Result<(usize, u64)> {
        let host = self.kernel.host();
        let n = self.kernel.write(host, self.fd, data, Some(offset))?;
        let end = if self.append {
            self.kernel.fstat(host, self.fd)?.size
        } else {
            offset + n as u64
        };
        Ok((n, end))
    }

    fn stat(&self, _: &Caller<'_>) -> Result<Stat> {
        self.kernel.fstat(self.kernel.host(), self.fd)
    }

    fn truncate(&self, _: &Caller<'_>, len: u64) -> Result<()> {
        self.kernel.ftruncate(self.kernel.host(), self.fd, len)
    }
}

impl MountedFs for KernelFs {
    fn lstat(&self, _: &Caller<'_>, path: &[u8]) -> Result<Stat> {
        self.kernel.lstat(self.host(), &self.full(path))
    }

    fn readlink(&self, _: &Caller<'_>, path: &[u8]) -> Result<Vec<u8>> {
        self.kernel.readlink(self.host(), &self.full(path))
    }

    fn readdir(&self, _: &Caller<'_>, path: &[u8]) -> Result<Vec<DirEntry>> {
        self.kernel.readdir(self.host(), &self.full(path))
    }

    fn open(&self, _: &Caller<'_>, path: &[u8], how: OpenHow) -> Result<Arc<dyn MountedFile>> {
        let mut flags = match (how.read, how.write) {
            (true, true) => oflag::O_RDWR,
            (_, true) => oflag::O_WRONLY,
            _ => oflag::O_RDONLY,
        };
        for (wanted, flag) in [
            (how.append, oflag::O_APPEND),
            (how.create, oflag::O_CREAT),
            (how.exclusive, oflag::O_EXCL),
            (how.truncate, oflag::O_TRUNC),
        ] {
            flags |= if wanted { flag } else { 0 };
        }
        let flags = flags | oflag::O_NOFOLLOW;
        let fd = self
            .kernel
            .open(self.host(), &self.full(path), flags, how.mode)?;
        Ok(Arc::new(KernelFile {
            kernel: self.kernel.clone(),
            fd,
            append: how.append,
        }))
    }

    fn mkdir(&self, _: &Caller<'_>, path: &[u8], mode: u32) -> Result<()> {
        self.kernel.mkdir(self.host(), &self.full(path), mode)
    }

    fn rmdir(&self, _: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.kernel.rmdir(self.host(), &self.full(path))
    }

    fn unlink(&self, _: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.kernel.unlink(self.host(), &self.full(path))
    }

    fn rename(&self, _: &Caller<'_>, from: &[u8], to: &[u8]) -> Result<()> {
        let (from, to) = (self.full(from), self.full(to));
        self.kernel.rename(self.host(), &from, &to)
    }

    fn link(&self, _: &Caller<'_>, existing: &[u8], new: &[u8]) -> Result<()> {
        let (existing, new) = (self.full(existing), self.full(new));
        self.kernel.link(self.host(), &existing, &new)
    }

    fn symlink(&self, _: &Caller<'_>, text: &[u8], path: &[u8]) -> Result<()> {
        self.kernel.symlink(self.host(), text, &self.full(path))
    }

    fn chmod(&self, _: &Caller<'_>, path: &[u8], mode: u32) -> Result<()> {
        self.kernel.chmod(self.host(), &self.full(path), mode)
    }

    fn utimes(
        &self,
        _: &Caller<'_>,
        path: &[u8],
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        self.kernel
            .lutimes(self.host(), &self.full(path), access, modify)
    }

    fn truncate(&self, _: &Caller<'_>, path: &[u8], len: u64) -> Result<()> {
        self.kernel.truncate(self.host(), &self.full(path), len)
    }
}
