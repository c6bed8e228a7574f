//! A file system that the host wrote in JavaScript, as the kernel mounts it.
//!
//! Its methods are asynchronous; guests use it synchronously, so each call here waits for an answer (see `host.rs`). A
//! file is read and written whole unless the host has `pread` and `pwrite`: then it must fit what may cross at once. Not
//! covered: two writers of one file at the same time; the last whole write wins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secure_exec_kernel::{
    Caller, DirEntry, Errno, FileType, MountedFile, MountedFs, OpenHow, Stat, TimeSpec, VM_OWNER,
    WatchSink,
};

use crate::host::{Host, HostCall, NoAnswer, Target, ask, tell};
use crate::host_watches::{Listeners, Listening};
use crate::plain::Plain;

/// How long one method may take.
const LIMIT: Duration = Duration::from_secs(30);
const BLOCK_BYTES: u64 = 4096;
/// `st_blocks` counts these.
const SECTOR_BYTES: u64 = 512;
/// The mode that a new file has unless it is set.
const NEW_FILE_MODE: u32 = 0o644;
const NANOS_PER_MILLI: f64 = 1e6;

/// What only some have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Optional {
    /// `pread(path, offset, length)`
    pub pread: bool,
    /// `pwrite(path, offset, data)`
    pub pwrite: bool,
    /// `watch(path, listener)`
    pub watch: bool,
}

/// See the module's text.
pub struct VirtualFileSystem(Arc<Inner>);

struct Inner {
    host: Arc<dyn Host>,
    number: u32,
    optional: Optional,
    /// Bytes that may cross at once.
    max_bytes: usize,
    listeners: Arc<Listeners>,
}

impl VirtualFileSystem {
    /// The host's file system `number`.
    pub fn new(
        host: Arc<dyn Host>,
        number: u32,
        optional: Optional,
        max_bytes: usize,
        listeners: Arc<Listeners>,
    ) -> Self {
        Self(Arc::new(Inner {
            host,
            number,
            optional,
            max_bytes,
            listeners,
        }))
    }
}

/// A watch that the host's file system keeps.
struct HostWatch {
    inner: Arc<Inner>,
    listening: Listening,
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        let Inner { host, number, .. } = &*self.inner;
        let fields = [
            ("op".to_owned(), "unwatch".into()),
            ("number".to_owned(), self.listening.number.into()),
        ];
        let call = HostCall {
            target: Target::FileSystem(*number),
            payload: Plain::Record(fields.into()).encode(),
        };
        tell(&**host, call);
    }
}

/// The path as the host knows it: absolute, from its own root.
fn text(path: &[u8]) -> Result<Plain, Errno> {
    let path = std::str::from_utf8(path).map_err(|_| Errno::EILSEQ)?;
    Ok(Plain::Text(format!("/{path}")))
}

/// The errno that an error of the host's means.
fn errno(error: NoAnswer) -> Errno {
    match error {
        NoAnswer::Ended => Errno::EINTR,
        NoAnswer::TimedOut => Errno::ETIMEDOUT,
        NoAnswer::Failed(error) => match error.code.as_deref() {
            Some("ERR_SANDBOX_PAYLOAD_TOO_LARGE") => Errno::EFBIG,
            code => Errno::ALL
                .iter()
                .copied()
                .find(|errno| code == Some(errno.name()))
                .unwrap_or(Errno::EIO),
        },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, as wanted for what the host says"
)]
fn whole(value: Option<&Plain>) -> Option<u64> {
    value.and_then(Plain::as_number).map(|number| number as u64)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates, as wanted for what the host says"
)]
fn time(value: Option<&Plain>) -> TimeSpec {
    let millis = value.and_then(Plain::as_number).unwrap_or_default();
    TimeSpec::from_nanos((millis * NANOS_PER_MILLI) as i64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of files stay far below 2^53"
)]
fn number(value: u64) -> Plain {
    Plain::Number(value as f64)
}

/// A number for a path whose file has none: the same for the same path.
pub(crate) fn number_of(path: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    // Within the integers that JavaScript's numbers hold, and not 0.
    path.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    }) >> 12
        | 1
}

impl Inner {
    fn ask<const N: usize>(&self, op: &str, fields: [(&str, Plain); N]) -> Result<Plain, Errno> {
        let mut record = vec![("op".to_owned(), op.into())];
        record.extend(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let call = HostCall {
            target: Target::FileSystem(self.number),
            payload: Plain::Record(record).encode(),
        };
        let answer = ask(&*self.host, call, LIMIT).map_err(errno)?;
        Plain::decode(&answer).map_err(|_| Errno::EIO)
    }

    fn change<const N: usize>(&self, op: &str, fields: [(&str, Plain); N]) -> Result<(), Errno> {
        self.ask(op, fields).map(drop)
    }

    fn lstat(&self, path: &[u8]) -> Result<Stat, Errno> {
        let answer = self.ask("lstat", [("path", text(path)?)])?;
        let get = |name| answer.get(name);
        let file_type = match get("type").and_then(Plain::as_text) {
            Some("directory") => FileType::Directory,
            Some("symlink") => FileType::Symlink,
            Some("file") => FileType::Regular,
            _ => return Err(Errno::EIO),
        };
        let size = whole(get("size")).unwrap_or_default();
        let id = |name| {
            whole(get(name))
                .and_then(|id| u32::try_from(id).ok())
                .unwrap_or(VM_OWNER)
        };
        let permissions = whole(get("mode")).unwrap_or_default() & 0o7777;
        Ok(Stat {
            dev: 0,
            ino: whole(get("ino"))
                .filter(|ino| *ino != 0)
                .unwrap_or_else(|| number_of(path)),
            mode: file_type.mode_bits() | u32::try_from(permissions).unwrap_or_default(),
            nlink: whole(get("nlink")).unwrap_or(1),
            uid: id("uid"),
            gid: id("gid"),
            rdev: 0,
            size,
            blksize: BLOCK_BYTES,
            blocks: size.div_ceil(SECTOR_BYTES),
            atime: time(get("atimeMs")),
            mtime: time(get("mtimeMs")),
            ctime: time(get("ctimeMs")),
            birthtime: time(get("birthtimeMs")),
            file_type,
        })
    }

    fn read_whole(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        match self.ask("readFile", [("path", text(path)?)])? {
            Plain::Bytes(bytes) => Ok(bytes),
            _ => Err(Errno::EIO),
        }
    }

    fn write_whole(&self, path: &[u8], bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > self.max_bytes {
            return Err(Errno::EFBIG);
        }
        let data = Plain::Bytes(bytes.to_vec());
        self.change("writeFile", [("path", text(path)?), ("data", data)])
    }

    fn truncate(&self, path: &[u8], len: u64) -> Result<(), Errno> {
        self.change("truncate", [("path", text(path)?), ("length", number(len))])
    }

    fn chmod(&self, path: &[u8], mode: u32) -> Result<(), Errno> {
        self.change("chmod", [("path", text(path)?), ("mode", mode.into())])
    }

    fn chown(&self, path: &[u8], uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let stat = self.lstat(path)?;
        let uid = uid.unwrap_or(stat.uid);
        let gid = gid.unwrap_or(stat.gid);
        self.change(
            "chown",
            [
                ("path", text(path)?),
                ("uid", uid.into()),
                ("gid", gid.into()),
            ],
        )
    }

    fn utimes(
        &self,
        path: &[u8],
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<(), Errno> {
        let stat = self.lstat(path)?;
        let seconds = |time: TimeSpec| Plain::Number(time.as_millis_f64() / 1000.0);
        self.change(
            "utimes",
            [
                ("path", text(path)?),
                ("atime", seconds(access.unwrap_or(stat.atime))),
                ("mtime", seconds(modify.unwrap_or(stat.mtime))),
            ],
        )
    }
}

impl MountedFs for VirtualFileSystem {
    fn watch(
        &self,
        _caller: &Caller<'_>,
        path: &[u8],
        sink: Arc<dyn WatchSink>,
    ) -> Result<Box<dyn Send + Sync>, Errno> {
        if !self.0.optional.watch {
            return Err(Errno::ENOSYS);
        }
        let number = self.0.listeners.add(sink);
        let listening = Listening {
            listeners: Arc::downgrade(&self.0.listeners),
            number,
        };
        let path = text(path)?;
        self.0
            .ask("watch", [("path", path), ("number", number.into())])?;
        Ok(Box::new(HostWatch {
            inner: self.0.clone(),
            listening,
        }))
    }

    fn lstat(&self, _caller: &Caller<'_>, path: &[u8]) -> Result<Stat, Errno> {
        self.0.lstat(path)
    }

    fn readlink(&self, _caller: &Caller<'_>, path: &[u8]) -> Result<Vec<u8>, Errno> {
        match self.0.ask("readlink", [("path", text(path)?)])? {
            Plain::Text(target) => Ok(target.into_bytes()),
            _ => Err(Errno::EIO),
        }
    }

    fn readdir(&self, _caller: &Caller<'_>, path: &[u8]) -> Result<Vec<DirEntry>, Errno> {
        let answer = self.0.ask("readdir", [("path", text(path)?)])?;
        let entries = answer.as_list().ok_or(Errno::EIO)?;
        let entry = |entry: &Plain| {
            let name = entry.get("name").and_then(Plain::as_text)?;
            // A name that is none would lead elsewhere.
            if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
                return None;
            }
            Some(DirEntry {
                name: Arc::from(name.as_bytes()),
                file_type: match entry.get("type").and_then(Plain::as_text) {
                    Some("directory") => FileType::Directory,
                    Some("symlink") => FileType::Symlink,
                    _ => FileType::Regular,
                },
            })
        };
        Ok(entries.iter().filter_map(entry).collect())
    }

    fn open(
        &self,
        _caller: &Caller<'_>,
        path: &[u8],
        how: OpenHow,
    ) -> Result<Arc<dyn MountedFile>, Errno> {
        let fs = &self.0;
        let mut content = None;
        match fs.lstat(path) {
            Ok(_) if how.create && how.exclusive => return Err(Errno::EEXIST),
            Ok(stat) => match stat.file_type {
                FileType::Directory => return Err(Errno::EISDIR),
                FileType::Symlink => return Err(Errno::ELOOP),
                _ if how.truncate => {
                    fs.truncate(path, 0)?;
                    content = Some(Vec::new());
                }
                _ => {}
            },
            Err(Errno::ENOENT) if how.create => {
                fs.write_whole(path, &[])?;
                if how.mode != NEW_FILE_MODE {
                    fs.chmod(path, how.mode)?;
                }
                content = Some(Vec::new());
            }
            Err(error) => return Err(error),
        }
        Ok(Arc::new(File {
            fs: fs.clone(),
            path: path.to_vec(),
            append: how.append,
            content: Mutex::new(content),
        }))
    }

    fn mkdir(&self, _caller: &Caller<'_>, path: &[u8], _mode: u32) -> Result<(), Errno> {
        if self.0.lstat(path).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.0.change("createDir", [("path", text(path)?)])
    }

    fn rmdir(&self, _caller: &Caller<'_>, path: &[u8]) -> Result<(), Errno> {
        self.0.change("removeDir", [("path", text(path)?)])
    }

    fn unlink(&self, _caller: &Caller<'_>, path: &[u8]) -> Result<(), Errno> {
        self.0.change("removeFile", [("path", text(path)?)])
    }

    fn rename(&self, _caller: &Caller<'_>, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        self.0
            .change("rename", [("path", text(from)?), ("to", text(to)?)])
    }

    fn link(&self, _caller: &Caller<'_>, existing: &[u8], new: &[u8]) -> Result<(), Errno> {
        self.0
            .change("link", [("path", text(existing)?), ("to", text(new)?)])
    }

    fn symlink(&self, _caller: &Caller<'_>, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        let target = std::str::from_utf8(target).map_err(|_| Errno::EILSEQ)?;
        self.0.change(
            "symlink",
            [("target", target.into()), ("path", text(path)?)],
        )
    }

    fn chmod(&self, _caller: &Caller<'_>, path: &[u8], mode: u32) -> Result<(), Errno> {
        self.0.chmod(path, mode)
    }

    fn chown(
        &self,
        _caller: &Caller<'_>,
        path: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Errno> {
        self.0.chown(path, uid, gid)
    }

    fn utimes(
        &self,
        _caller: &Caller<'_>,
        path: &[u8],
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<(), Errno> {
        self.0.utimes(path, access, modify)
    }

    fn truncate(&self, _caller: &Caller<'_>, path: &[u8], len: u64) -> Result<(), Errno> {
        self.0.truncate(path, len)
    }
}

/// An open file. The host knows no descriptors: a file that is renamed meanwhile is not followed.
struct File {
    fs: Arc<Inner>,
    path: Vec<u8>,
    append: bool,
    /// All of it, as of the last read from its start or write.
    content: Mutex<Option<Vec<u8>>>,
}

impl File {
    /// Does something with the whole content, which is read when it is not known or `afresh`.
    fn with_content<T>(
        &self,
        afresh: bool,
        work: impl FnOnce(&mut Vec<u8>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let known = self
            .content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Not under the lock: the host takes its time.
        let mut content = match known.filter(|_| !afresh) {
            Some(content) => content,
            None => self.fs.read_whole(&self.path)?,
        };
        let result = work(&mut content);
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = Some(content);
        result
    }

    fn forget(&self) {
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn position(offset: u64) -> Result<usize, Errno> {
    usize::try_from(offset).map_err(|_| Errno::EFBIG)
}

impl MountedFile for File {
    fn read_at(&self, _caller: &Caller<'_>, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let copy = |bytes: &[u8], buf: &mut [u8]| {
            let length = bytes.len().min(buf.len());
            let (head, _) = buf.split_at_mut(length);
            head.copy_from_slice(bytes.get(..length).unwrap_or(&[]));
            length
        };
        if self.fs.optional.pread {
            let length = buf.len().min(self.fs.max_bytes) as u64;
            let fields = [
                ("path", text(&self.path)?),
                ("offset", number(offset)),
                ("length", number(length)),
            ];
            return match self.fs.ask("pread", fields)? {
                Plain::Bytes(bytes) => Ok(copy(&bytes, buf)),
                _ => Err(Errno::EIO),
            };
        }
        let start = position(offset)?;
        self.with_content(offset == 0, |content| {
            Ok(copy(content.get(start..).unwrap_or(&[]), buf))
        })
    }

    fn write_at(
        &self,
        _caller: &Caller<'_>,
        data: &[u8],
        offset: u64,
    ) -> Result<(usize, u64), Errno> {
        if self.fs.optional.pwrite {
            let offset = if self.append {
                self.fs.lstat(&self.path)?.size
            } else {
                offset
            };
            let data = data
                .get(..data.len().min(self.fs.max_bytes))
                .unwrap_or(data);
            self.fs.change(
                "pwrite",
                [
                    ("path", text(&self.path)?),
                    ("offset", number(offset)),
                    ("data", Plain::Bytes(data.to_vec())),
                ],
            )?;
            self.forget();
            return Ok((data.len(), offset.saturating_add(data.len() as u64)));
        }
        // What is appended goes behind what others wrote.
        self.with_content(self.append, |content| {
            let start = if self.append {
                content.len()
            } else {
                position(offset)?
            };
            let end = start.checked_add(data.len()).ok_or(Errno::EFBIG)?;
            if end > self.fs.max_bytes {
                return Err(Errno::EFBIG);
            }
            let mut changed = content.clone();
            if changed.len() < end {
                changed.resize(end, 0);
            }
            if let Some(target) = changed.get_mut(start..end) {
                target.copy_from_slice(data);
            }
            self.fs.write_whole(&self.path, &changed)?;
            *content = changed;
            Ok((data.len(), end as u64))
        })
    }

    fn stat(&self, _caller: &Caller<'_>) -> Result<Stat, Errno> {
        self.fs.lstat(&self.path)
    }

    fn truncate(&self, _caller: &Caller<'_>, len: u64) -> Result<(), Errno> {
        self.forget();
        self.fs.truncate(&self.path, len)
    }

    fn chmod(&self, _caller: &Caller<'_>, mode: u32) -> Result<(), Errno> {
        self.fs.chmod(&self.path, mode)
    }

    fn chown(&self, _caller: &Caller<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        self.fs.chown(&self.path, uid, gid)
    }

    fn utimes(
        &self,
        _caller: &Caller<'_>,
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<(), Errno> {
        self.fs.utimes(&self.path, access, modify)
    }
}
