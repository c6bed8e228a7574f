//! The host's own use of a VM's files and mounts: one call as plain data, on a thread that may wait.
//!
//! The host acts as root and is not asked for permission; what it makes belongs to the VM's user.

use std::sync::Arc;

use secure_exec_kernel::{
    Changes, DirEntry, Errno, ExportOptions, Fd, FileType, Image, Kernel, Mark, MountOptions,
    MountSource, MountedFs, Process, Stat, TarError, TarLimits, TimeSpec, X_OK, oflag,
};

use crate::archive_stream::Contents;
use crate::furnished_fs::{Furnished, Overlays};
use crate::plain::Plain;
use crate::virtual_file_system::{Optional, VirtualFileSystem};
use crate::vm::{Vm, VmError};

/// `O_WRONLY | O_CREAT | O_APPEND` of Linux.
const O_WRONLY_CREAT_APPEND: i32 = 0o2101;

/// Why a call failed.
enum Failure {
    /// The kernel refused: the call's name, the path and the second path.
    System(Errno, &'static str, String, Option<String>),
    /// What would cross is too large: bytes of it.
    TooLarge(u64),
    /// The call has no form that is known.
    Malformed,
    /// An archive that cannot be read or written.
    Archive(TarError),
}

type Outcome = Result<Plain, Failure>;

/// Does what `request` says. Answers a record with `value`, or with `error`: `code`, `errno`, `syscall`, `path`, `dest`
/// and `message`.
pub fn perform(vm: &Vm, request: &Plain) -> Plain {
    let call = Call {
        vm,
        kernel: vm.kernel(),
        host: vm.kernel().host(),
        request,
    };
    match call.run() {
        Ok(value) => Plain::record([("value", value)]),
        Err(failure) => Plain::record([("error", failure.describe())]),
    }
}

impl Failure {
    fn describe(self) -> Plain {
        match self {
            Self::System(errno, syscall, path, dest) => {
                let mut message =
                    format!("{}: {}, {syscall} '{path}'", errno.name(), errno.message());
                if let Some(dest) = &dest {
                    message.push_str(&format!(" -> '{dest}'"));
                }
                Plain::record([
                    ("code", errno.name().into()),
                    ("errno", Plain::Number(errno.uv().into())),
                    ("syscall", syscall.into()),
                    ("path", path.into()),
                    ("dest", dest.into()),
                    ("message", message.into()),
                ])
            }
            Self::TooLarge(size) => Plain::record([
                ("code", "ERR_SANDBOX_PAYLOAD_TOO_LARGE".into()),
                ("used", number(size)),
            ]),
            Self::Archive(error) => Plain::record([
                ("code", "ERR_INVALID_ARG_VALUE".into()),
                ("message", error.to_string().into()),
            ]),
            Self::Malformed => Plain::record([
                ("code", "ERR_INVALID_ARG_VALUE".into()),
                ("message", "the call is not known".into()),
            ]),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of files stay far below 2^53"
)]
fn number(value: u64) -> Plain {
    Plain::Number(value as f64)
}

fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice | FileType::BlockDevice => "device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

fn stat_record(stat: Stat) -> Plain {
    let millis = |time: TimeSpec| Plain::Number(time.as_millis_f64());
    Plain::record([
        ("type", type_name(stat.file_type).into()),
        ("mode", stat.mode.into()),
        ("size", number(stat.size)),
        ("ino", number(stat.ino)),
        ("nlink", number(stat.nlink)),
        ("uid", stat.uid.into()),
        ("gid", stat.gid.into()),
        ("atimeMs", millis(stat.atime)),
        ("mtimeMs", millis(stat.mtime)),
        ("ctimeMs", millis(stat.ctime)),
        ("birthtimeMs", millis(stat.birthtime)),
    ])
}

struct Call<'c> {
    vm: &'c Vm,
    kernel: &'c Kernel,
    host: &'c Process,
    request: &'c Plain,
}

impl Call<'_> {
    fn text(&self, name: &str) -> Result<&str, Failure> {
        self.request
            .get(name)
            .and_then(Plain::as_text)
            .ok_or(Failure::Malformed)
    }

    fn data(&self) -> Result<&[u8], Failure> {
        match self.request.get("data") {
            Some(Plain::Bytes(bytes)) => Ok(bytes),
            _ => Err(Failure::Malformed),
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.request.get(name).and_then(Plain::as_bool) == Some(true)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.request.get(name).and_then(Plain::as_number)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; TypeScript checked the range"
    )]
    fn whole(&self, name: &str) -> Result<u64, Failure> {
        self.number(name)
            .map(|number| number as u64)
            .ok_or(Failure::Malformed)
    }

    fn id(&self, name: &str) -> Result<u32, Failure> {
        u32::try_from(self.whole(name)?).map_err(|_| Failure::Malformed)
    }

    fn seconds(&self, name: &str) -> Option<TimeSpec> {
        self.number(name).map(TimeSpec::from_seconds_f64)
    }

    /// Names a failed call on the request's path, or its two.
    fn at(&self, syscall: &'static str) -> impl FnOnce(Errno) -> Failure + use<> {
        let path = self.text("path").unwrap_or_default().to_owned();
        let dest = self.text("to").ok().map(str::to_owned);
        move |errno| Failure::System(errno, syscall, path, dest)
    }

    /// Names a failed call of the VM's.
    fn by_vm(&self, syscall: &'static str) -> impl FnOnce(VmError) -> Failure + use<> {
        let at = self.at(syscall);
        move |error| match error {
            VmError::Kernel { errno, .. } => at(errno),
            _ => at(Errno::EIO),
        }
    }

    fn run(&self) -> Outcome {
        let (kernel, host) = (self.kernel, self.host);
        let path_text = self.text("path")?;
        let path = path_text.as_bytes();
        let done = |()| Plain::Nothing;
        match self.text("op")? {
            "readFile" => self.read_file(path),
            "writeFile" => self
                .vm
                .write_file(path_text, self.data()?)
                .map(done)
                .map_err(self.by_vm("open")),
            "appendFile" => {
                if !kernel.exists(host, path) {
                    let made = self.vm.write_file(path_text, &[]);
                    made.map_err(self.by_vm("open"))?;
                }
                kernel
                    .write_file(host, path, self.data()?, O_WRONLY_CREAT_APPEND, 0o666)
                    .map(done)
                    .map_err(self.at("open"))
            }
            "readdir" => {
                let entries = kernel.readdir(host, path).map_err(self.at("scandir"))?;
                self.entries(&entries)
            }
            "stat" => kernel
                .stat(host, path)
                .map(stat_record)
                .map_err(self.at("stat")),
            "lstat" => kernel
                .lstat(host, path)
                .map(stat_record)
                .map_err(self.at("lstat")),
            "exists" => Ok(kernel.exists(host, path).into()),
            "mkdir" if self.flag("recursive") => self
                .vm
                .make_directory(path_text)
                .and_then(|()| {
                    // A file in the way is found only now.
                    let search = kernel.access(host, &[path, b"/."].concat(), X_OK);
                    search.map_err(|errno| VmError::Kernel {
                        errno: if errno == Errno::ENOTDIR {
                            Errno::EEXIST
                        } else {
                            errno
                        },
                        what: String::new(),
                    })
                })
                .map(done)
                .map_err(self.by_vm("mkdir")),
            "mkdir" => {
                kernel.mkdir(host, path, 0o777).map_err(self.at("mkdir"))?;
                self.give_to_user(path).map(done).map_err(self.at("chown"))
            }
            "rm" => self.rm(path),
            "unlink" => kernel
                .unlink(host, path)
                .map(done)
                .map_err(self.at("unlink")),
            "rmdir" => kernel.rmdir(host, path).map(done).map_err(self.at("rmdir")),
            "pread" => self.pread(path),
            "pwrite" => self.pwrite(path).map(done),
            "rename" => kernel
                .rename(host, path, self.text("to")?.as_bytes())
                .map(done)
                .map_err(self.at("rename")),
            "copyFile" => {
                let to = self.text("to")?.as_bytes();
                kernel
                    .copy_file(host, path, to, 0)
                    .and_then(|()| self.give_to_user(to))
                    .map(done)
                    .map_err(self.at("copyfile"))
            }
            "link" => kernel
                .link(host, path, self.text("to")?.as_bytes())
                .map(done)
                .map_err(self.at("link")),
            "symlink" => {
                let target = self.text("target")?;
                kernel
                    .symlink(host, target.as_bytes(), path)
                    .and_then(|()| {
                        let user = &self.vm.options().user;
                        kernel.lchown(host, path, Some(user.uid), Some(user.gid))
                    })
                    .map(done)
                    .map_err(self.at("symlink"))
            }
            "readlink" => kernel
                .readlink(host, path)
                .map(|text| Plain::Text(String::from_utf8_lossy(&text).into_owned()))
                .map_err(self.at("readlink")),
            "realpath" => kernel
                .realpath(host, path)
                .map(|text| Plain::Text(String::from_utf8_lossy(&text).into_owned()))
                .map_err(self.at("realpath")),
            "chmod" => kernel
                .chmod(host, path, self.id("mode")?)
                .map(done)
                .map_err(self.at("chmod")),
            "chown" => kernel
                .chown(host, path, Some(self.id("uid")?), Some(self.id("gid")?))
                .map(done)
                .map_err(self.at("chown")),
            "utimes" => kernel
                .utimes(host, path, self.seconds("atime"), self.seconds("mtime"))
                .map(done)
                .map_err(self.at("utime")),
            "truncate" => kernel
                .truncate(host, path, self.whole("length")?)
                .map(done)
                .map_err(self.at("truncate")),
            "snapshot" => {
                let (contents, options) = self.archive(path)?;
                let mut archive = Vec::new();
                contents
                    .write(kernel, options, &mut archive)
                    .map_err(Failure::Archive)?;
                Ok(Plain::Bytes(archive))
            }
            "archiveOpen" => {
                let (contents, options) = self.archive(path)?;
                let streams = self.vm.archives();
                let opened = streams.open(self.vm.kernel().clone(), contents, options);
                opened
                    .map(Plain::from)
                    .map_err(|error| Failure::Archive(TarError::Io(error)))
            }
            "archiveRead" => {
                let piece = self.vm.archives().read(self.id("number")?);
                let piece = piece.map_err(Failure::Archive)?;
                Ok(piece.map_or(Plain::Nothing, Plain::Bytes))
            }
            "archiveClose" => {
                self.vm.archives().close(self.id("number")?);
                Ok(Plain::Nothing)
            }
            "watch" => {
                let host = self.vm.options().host.clone().ok_or(Failure::Malformed)?;
                let number = self.id("number")?;
                let sink = Arc::new(move |event| host.watch_event(number, event));
                let watch = kernel.watch(self.host, path, sink);
                self.vm
                    .watches()
                    .add(number, watch.map_err(self.at("watch"))?);
                Ok(Plain::Nothing)
            }
            "unwatch" => {
                self.vm.watches().remove(self.id("number")?);
                Ok(Plain::Nothing)
            }
            "mark" => Ok(number(kernel.mark().number())),
            "hasChanged" => {
                let mark = Mark::from_number(self.whole("since")?);
                Ok((kernel.changes_since(mark) != Changes::default()).into())
            }
            "mount" => self.mount(path),
            "unmount" => kernel.unmount(path).map(done).map_err(self.at("umount")),
            _ => Err(Failure::Malformed),
        }
    }

    /// What an archive is to hold, and how.
    fn archive(&self, path: &[u8]) -> Result<(Contents, ExportOptions), Failure> {
        let contents = match self.number("since") {
            Some(_) => Contents::Changes(Mark::from_number(self.whole("since")?)),
            None => Contents::Tree(path.to_vec()),
        };
        let options = ExportOptions {
            times: self.flag("times"),
            limits: TarLimits {
                bytes: self.whole("limit")?,
                ..TarLimits::default()
            },
        };
        Ok((contents, options))
    }

    fn give_to_user(&self, path: &[u8]) -> Result<(), Errno> {
        let user = &self.vm.options().user;
        self.kernel
            .chown(self.host, path, Some(user.uid), Some(user.gid))
    }

    fn read_file(&self, path: &[u8]) -> Outcome {
        let max = self.whole("limit")?;
        match self.kernel.read_file(self.host, path, max) {
            Ok(bytes) => Ok(Plain::Bytes(bytes.into_vec())),
            Err(Errno::EFBIG) => {
                let stat = self.kernel.stat(self.host, path);
                Err(Failure::TooLarge(stat.map_or(max, |stat| stat.size)))
            }
            Err(errno) => Err(self.at("open")(errno)),
        }
    }

    /// What `work` does with a file that is open for it.
    fn with_open<T>(
        &self,
        path: &[u8],
        flags: i32,
        work: impl FnOnce(Fd) -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        let fd = self
            .kernel
            .open(self.host, path, flags, 0)
            .map_err(self.at("open"))?;
        let result = work(fd);
        let closed = self.kernel.close(self.host, fd);
        let result = result.map_err(self.at("read"))?;
        closed.map_err(self.at("close"))?;
        Ok(result)
    }

    fn pread(&self, path: &[u8]) -> Outcome {
        let (offset, length) = (self.whole("offset")?, self.whole("length")?);
        self.with_open(path, oflag::O_RDONLY, |fd| {
            let size = self.kernel.fstat(self.host, fd)?.size;
            let wanted = length.min(size.saturating_sub(offset));
            let mut bytes = vec![0; usize::try_from(wanted).map_err(|_| Errno::EFBIG)?];
            let mut read = 0;
            while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
                let at = offset + read as u64;
                match self.kernel.read(self.host, fd, rest, Some(at))? {
                    0 => break,
                    n => read += n,
                }
            }
            bytes.truncate(read);
            Ok(Plain::Bytes(bytes))
        })
    }

    fn pwrite(&self, path: &[u8]) -> Result<(), Failure> {
        let (offset, data) = (self.whole("offset")?, self.data()?);
        self.with_open(path, oflag::O_WRONLY, |fd| {
            let mut written = 0;
            while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
                let at = offset.checked_add(written as u64).ok_or(Errno::EFBIG)?;
                written += self.kernel.write(self.host, fd, rest, Some(at))?;
            }
            Ok(())
        })
    }

    /// Names and types, as long as all together may cross.
    fn entries(&self, entries: &[DirEntry]) -> Outcome {
        /// What one entry costs beside its name.
        const ENTRY_BYTES: u64 = 64;
        let size = entries
            .iter()
            .map(|entry| ENTRY_BYTES + entry.name.len() as u64)
            .sum();
        if size > self.whole("limit")? {
            return Err(Failure::TooLarge(size));
        }
        let record = |entry: &DirEntry| {
            Plain::record([
                (
                    "name",
                    String::from_utf8_lossy(&entry.name).into_owned().into(),
                ),
                ("type", type_name(entry.file_type).into()),
            ])
        };
        Ok(Plain::List(entries.iter().map(record).collect()))
    }

    fn rm(&self, path: &[u8]) -> Outcome {
        let (kernel, host) = (self.kernel, self.host);
        let removed = match kernel.lstat(host, path) {
            Err(Errno::ENOENT) if self.flag("force") => return Ok(Plain::Nothing),
            Err(errno) => Err(errno),
            Ok(_) if self.flag("recursive") => kernel.remove_all(host, path).map(drop),
            Ok(stat) if stat.is_dir() => kernel.rmdir(host, path),
            Ok(_) => kernel.unlink(host, path),
        };
        removed.map(|()| Plain::Nothing).map_err(self.at("rm"))
    }

    fn mount(&self, path: &[u8]) -> Outcome {
        let source = match self.text("source")? {
            "memory" => MountSource::Memory,
            "virtual" => {
                let host = self.vm.options().host.clone().ok_or(Failure::Malformed)?;
                let optional = Optional {
                    pread: self.flag("pread"),
                    pwrite: self.flag("pwrite"),
                    watch: self.flag("watch"),
                };
                let limit = self.vm.options().limits.base64_transfer_bytes;
                let fs: Arc<dyn MountedFs> = Arc::new(VirtualFileSystem::new(
                    host,
                    self.id("number")?,
                    optional,
                    limit,
                    self.vm.listeners().clone(),
                ));
                MountSource::Foreign(match self.request.get("directories") {
                    Some(directories) => {
                        let paths = directories.as_list().ok_or(Failure::Malformed)?;
                        let directories = paths.iter().filter_map(Plain::as_text);
                        Arc::new(Furnished::new(fs, directories, self.packages()?))
                    }
                    None => fs,
                })
            }
            "host" => self.host_directory()?,
            "tar" => {
                let mut image = Image::empty();
                image
                    .tar(self.data()?, TarLimits::default())
                    .map_err(Failure::Archive)?;
                MountSource::Image(image.build())
            }
            _ => return Err(Failure::Malformed),
        };
        let options = MountOptions {
            read_only: self.flag("readOnly"),
        };
        self.kernel
            .mount(path, source, options)
            .map(|()| Plain::Nothing)
            .map_err(self.at("mount"))
    }

    /// Directories of the host's disk that lie over some of the VM's, read-only.
    #[cfg(unix)]
    fn packages(&self) -> Result<Overlays, Failure> {
        use secure_exec_host_fs::{Access, HostDirectory, HostOptions};
        let given = self.request.get("packages").and_then(Plain::as_list);
        let mut packages = Overlays::new();
        for package in given.unwrap_or_default() {
            let field = |name| package.get(name).and_then(Plain::as_text);
            let (Some(path), Some(host_path)) = (field("path"), field("hostPath")) else {
                return Err(Failure::Malformed);
            };
            let options = HostOptions {
                access: Access::ReadOnly,
                ..HostOptions::default()
            };
            let directory = HostDirectory::open(host_path, options)
                .map_err(|errno| Failure::System(errno, "mount", host_path.to_owned(), None))?;
            packages.push((path.to_owned(), Arc::new(directory)));
        }
        Ok(packages)
    }

    #[cfg(not(unix))]
    fn packages(&self) -> Result<Overlays, Failure> {
        match self.request.get("packages").and_then(Plain::as_list) {
            Some([_, ..]) => Err(self.at("mount")(Errno::ENOSYS)),
            _ => Ok(Vec::new()),
        }
    }

    /// A directory of the host's disk, by the request's `mode`: `ro`, `rw` or `cow`.
    #[cfg(unix)]
    fn host_directory(&self) -> Result<MountSource, Failure> {
        use secure_exec_host_fs::{Access, HostDirectory, HostLimits, HostOptions};
        let path = self.text("hostPath")?;
        let mode = self.text("mode")?;
        let mut limits = HostLimits::default();
        if self.number("maxBytes").is_some() {
            limits.bytes = self.whole("maxBytes")?;
        }
        if self.number("maxEntries").is_some() {
            limits.entries = self.whole("maxEntries")?;
        }
        let options = HostOptions {
            limits,
            access: if mode == "rw" {
                Access::ReadWrite
            } else {
                Access::ReadOnly
            },
            ..HostOptions::default()
        };
        let directory = HostDirectory::open(path, options)
            .map_err(|errno| Failure::System(errno, "mount", path.to_owned(), None))?;
        let directory = Arc::new(directory);
        Ok(if mode == "cow" {
            MountSource::CopyOnWrite(directory)
        } else {
            MountSource::Foreign(directory)
        })
    }

    #[cfg(not(unix))]
    fn host_directory(&self) -> Result<MountSource, Failure> {
        Err(self.at("mount")(Errno::ENOSYS))
    }
}
