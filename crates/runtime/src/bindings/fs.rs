//! `internalBinding('fs')`: every call of `node:fs` on the kernel's file system. Source: `src/node_file.cc`.
//!
//! A call has one of three shapes, told by its request argument: none (it throws), an `FSReqCallback` (its `oncomplete`
//! is called in the loop's completion phase), or `kUsePromises` (it answers a promise). The kernel works at once in all
//! three; only the delivery differs. Arguments are copied out before, results made after: no slice of a guest's buffer
//! is held across a call into JavaScript.
//!
//! ```text
//!  argument.rs --> the call, here --> Kernel --> answer.rs: Outcome --> value | oncomplete | promise
//!                       |  EAGAIN                                          ^
//!                       +------> io.rs: waits for the descriptor ----------+
//! ```

pub mod answer;
pub mod argument;
mod copy;
pub mod file_handle;
pub(crate) mod io;
mod resolve;
pub mod resource;
mod stat_watcher;
mod traced;
pub mod unmanaged;

use std::rc::Rc;

use secure_exec_kernel::{Errno, Interest, Kernel, ModuleStat, Process, oflag};

use answer::{
    Answer, Denial, Failure, FsState, Shape, deliver, failed, failed_at, failed_between, permitted,
};
use argument::PathBytes;
use io::Io;

use crate::array_buffer;
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::stream_base;
use crate::env::Env;
use crate::permission_model::Scope;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "fs",
    functions: &[
        ("access", function!(traced::access)),
        ("close", function!(traced::close)),
        ("open", function!(traced::open)),
        ("openFileHandle", function!(traced::open_file_handle)),
        ("existsSync", function!(traced::exists_sync)),
        ("read", function!(traced::read)),
        ("readBuffers", function!(traced::read_buffers)),
        ("readFileUtf8", function!(traced::read_file_utf8)),
        ("writeBuffer", function!(traced::write_buffer)),
        ("writeBuffers", function!(traced::write_buffers)),
        ("writeString", function!(traced::write_string)),
        ("writeFileUtf8", function!(traced::write_file_utf8)),
        ("rename", function!(traced::rename)),
        ("ftruncate", function!(traced::ftruncate)),
        ("rmdir", function!(traced::rmdir)),
        ("mkdir", function!(traced::mkdir)),
        ("mkdtemp", function!(traced::mkdtemp)),
        ("readdir", function!(traced::readdir)),
        ("internalModuleStat", function!(internal_module_stat)),
        (
            "getFormatOfExtensionlessFile",
            function!(format_of_extensionless_file),
        ),
        ("legacyMainResolve", function!(resolve::legacy_main)),
        ("stat", function!(traced::stat)),
        ("lstat", function!(traced::lstat)),
        ("fstat", function!(traced::fstat)),
        ("statfs", function!(traced::statfs)),
        ("link", function!(traced::link)),
        ("symlink", function!(traced::symlink)),
        ("readlink", function!(traced::readlink)),
        ("unlink", function!(traced::unlink)),
        ("realpath", function!(traced::realpath)),
        ("copyFile", function!(traced::copy_file)),
        ("cpSyncCheckPaths", function!(copy::check_paths)),
        ("cpSyncOverrideFile", function!(copy::override_file)),
        ("cpSyncCopyDir", function!(copy::copy_dir)),
        ("chmod", function!(traced::chmod)),
        ("fchmod", function!(traced::fchmod)),
        ("chown", function!(traced::chown)),
        ("fchown", function!(traced::fchown)),
        ("lchown", function!(traced::lchown)),
        ("utimes", function!(traced::utimes)),
        ("futimes", function!(traced::futimes)),
        ("lutimes", function!(traced::lutimes)),
        ("fsync", function!(traced::fsync)),
        ("fdatasync", function!(traced::fdatasync)),
    ],
    classes: &[
        Class {
            name: "AsyncWrap",
            methods: &[
                ("getAsyncId", function!(resource::get_async_id)),
                ("asyncReset", function!(resource::async_reset)),
                ("getProviderType", function!(resource::get_provider_type)),
            ],
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "HandleWrap",
            parent: Some("fs.AsyncWrap"),
            methods: &[
                ("close", function!(resource::close)),
                ("hasRef", function!(resource::has_ref)),
                ("ref", function!(resource::reference)),
                ("unref", function!(resource::unreference)),
            ],
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "FSReqCallback",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(answer::new_request)),
            ..Class::DEFAULT
        },
        Class {
            name: "FSReqPromise",
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "FileHandleCloseReq",
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "FileHandle",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(file_handle::construct)),
            methods: &file_handle::METHODS,
            accessors: &stream_base::ACCESSORS,
            extra_fields: stream_base::EXTRA_FIELDS,
            ..Class::DEFAULT
        },
        Class {
            name: "StatWatcher",
            parent: Some("fs.HandleWrap"),
            constructor: Some(function!(stat_watcher::construct)),
            methods: &[("start", function!(stat_watcher::start))],
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

/// The kernel and the process of the caller.
macro_rules! machine {
    ($scope:ident => $env:ident, $kernel:ident, $process:ident) => {
        let $env = $crate::env::Env::of($scope);
        let $kernel = $env.kernel()?;
        let $process = $env.process()?;
    };
}
pub(crate) use machine;

// ---- calls on paths

/// A call on one path that answers nothing.
macro_rules! path_call {
    (
        $name:ident, $syscall:literal, $request:literal, $denial:ident $permission:ident,
        |$kernel:ident, $process:ident, $path:ident, $scope:ident, $args:ident| $call:expr
    ) => {
        fn $name<'s>($scope: &mut v8::PinScope<'s, '_>, $args: &Args<'s>) -> Ret<'s> {
            let $path = argument::path($scope, $args.get(0))?;
            let shape = Shape::of($scope, $args, $request)?;
            machine!($scope => env, $kernel, $process);
            let outcome = match permitted(&env, Denial::$denial, &[(Scope::$permission, &$path)])? {
                Ok(()) => $call.map(|()| Answer::Undefined).map_err(failed_at($syscall, &$path)),
                Err(denied) => Err(denied),
            };
            deliver($scope, shape, outcome)
        }
    };
}

path_call!(access, "access", 2, Answered FileSystemRead, |kernel, process, path, scope, args| {
    let mode = argument::bits(args.get(1))?;
    kernel.access(&process, &path, mode)
});
path_call!(rmdir, "rmdir", 1, Thrown FileSystemWrite, |kernel, process, path, scope, args| {
    kernel.rmdir(&process, &path)
});
path_call!(unlink, "unlink", 1, Answered FileSystemWrite, |kernel, process, path, scope, args| {
    kernel.unlink(&process, &path)
});
path_call!(chmod, "chmod", 2, Thrown FileSystemWrite, |kernel, process, path, scope, args| {
    let mode = argument::uint(scope, args.get(1), "mode")?;
    kernel.chmod(&process, &path, mode)
});
path_call!(chown, "chown", 3, Answered FileSystemWrite, |kernel, process, path, scope, args| {
    let (uid, gid) = (
        argument::owner(scope, args.get(1))?,
        argument::owner(scope, args.get(2))?,
    );
    kernel.chown(&process, &path, uid, gid)
});
path_call!(lchown, "lchown", 3, Answered FileSystemWrite, |kernel, process, path, scope, args| {
    let (uid, gid) = (
        argument::owner(scope, args.get(1))?,
        argument::owner(scope, args.get(2))?,
    );
    kernel.lchown(&process, &path, uid, gid)
});
path_call!(utimes, "utime", 3, Thrown FileSystemWrite, |kernel, process, path, scope, args| {
    kernel.utimes(
        &process,
        &path,
        argument::time(args.get(1))?,
        argument::time(args.get(2))?,
    )
});
path_call!(
    lutimes,
    "lutime",
    3,
    Thrown FileSystemWrite,
    |kernel, process, path, scope, args| {
        kernel.lutimes(
            &process,
            &path,
            argument::time(args.get(1))?,
            argument::time(args.get(2))?,
        )
    }
);

/// A call on two paths that answers nothing.
macro_rules! two_path_call {
    (
        $name:ident, $syscall:literal, $request:literal, [$($permission:ident),*],
        |$kernel:ident, $process:ident, $from:ident, $to:ident, $scope:ident, $args:ident| $call:expr
    ) => {
        fn $name<'s>($scope: &mut v8::PinScope<'s, '_>, $args: &Args<'s>) -> Ret<'s> {
            let $from = argument::path($scope, $args.get(0))?;
            let $to = argument::path($scope, $args.get(1))?;
            let shape = Shape::of($scope, $args, $request)?;
            machine!($scope => env, $kernel, $process);
            let asked: &[(Scope, &[u8])] = &[
                $((Scope::$permission, &$from),)*
                (Scope::FileSystemWrite, &$to),
            ];
            let outcome = match permitted(&env, Denial::Answered, asked)? {
                Ok(()) => $call
                    .map(|()| Answer::Undefined)
                    .map_err(failed_between($syscall, &$from, &$to)),
                Err(denied) => Err(denied),
            };
            deliver($scope, shape, outcome)
        }
    };
}

two_path_call!(
    rename,
    "rename",
    2,
    [FileSystemRead, FileSystemWrite],
    |kernel, process, from, to, scope, args| kernel.rename(&process, &from, &to)
);
two_path_call!(
    link,
    "link",
    2,
    [FileSystemRead, FileSystemWrite],
    |kernel, process, from, to, scope, args| { kernel.link(&process, &from, &to) }
);
two_path_call!(
    symlink,
    "symlink",
    3,
    [FileSystemWrite],
    |kernel, process, from, to, scope, args| kernel.symlink(&process, &from, &to)
);
two_path_call!(
    copy_file,
    "copyfile",
    3,
    [FileSystemRead],
    |kernel, process, from, to, scope, args| {
        let flags = argument::bits(args.get(2))?;
        kernel.copy_file(&process, &from, &to, flags)
    }
);

fn open<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (shape, outcome) = open_with(scope, args)?;
    if let Ok(fd) = &outcome {
        let env = Env::of(scope);
        unmanaged::add(scope, &env, *fd);
    }
    let outcome = outcome.map(|fd| Answer::Number(f64::from(fd)));
    deliver(scope, shape, outcome)
}

fn open_file_handle<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (shape, outcome) = open_with(scope, args)?;
    deliver(scope, shape, outcome.map(Answer::FileHandle))
}

fn open_with<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(Shape<'s>, Result<i32, Failure>), Throw> {
    let path = argument::path(scope, args.get(0))?;
    let flags = argument::int(scope, args.get(1), "flags")?;
    let mode = argument::uint(scope, args.get(2), "mode")?;
    let shape = Shape::of(scope, args, 3)?;
    machine!(scope => env, kernel, process);
    let outcome = permitted_to_open(&env, &path, flags)?.and_then(|()| {
        kernel
            .open(&process, &path, flags, mode)
            .map_err(failed_at("open", &path))
    });
    Ok((shape, outcome))
}

/// Asks the permission model for what `open` with these flags does.
fn permitted_to_open(env: &Env, path: &[u8], flags: i32) -> Result<Result<(), Failure>, Throw> {
    const WRITES: i32 = oflag::O_APPEND | oflag::O_CREAT | oflag::O_TRUNC;
    let access = flags & (oflag::O_WRONLY | oflag::O_RDWR);
    let mut asked = Vec::with_capacity(2);
    if access != oflag::O_WRONLY {
        asked.push((Scope::FileSystemRead, path));
    }
    if access != oflag::O_RDONLY || flags & WRITES != 0 {
        asked.push((Scope::FileSystemWrite, path));
    }
    permitted(env, Denial::Answered, &asked)
}

/// Asks the permission model for reading.
pub fn permitted_to_read(env: &Env, path: &[u8]) -> Result<Result<(), Failure>, Throw> {
    permitted(env, Denial::Answered, &[(Scope::FileSystemRead, path)])
}

fn exists_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemRead, &path)?;
    Ok(v8::Boolean::new(scope, kernel.exists(&process, &path)).into())
}

/// `mkdir(path, mode, recursive, request)`
fn mkdir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let mode = argument::uint(scope, args.get(1), "mode")?;
    let recursive = args.get(2).is_true();
    let shape = Shape::of(scope, args, 3)?;
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemWrite, &path)?;
    let outcome = if recursive {
        kernel
            .mkdir_recursive(&process, &path, mode)
            .map(Answer::MaybeText)
    } else {
        kernel
            .mkdir(&process, &path, mode)
            .map(|()| Answer::Undefined)
    };
    deliver(scope, shape, outcome.map_err(failed_at("mkdir", &path)))
}

/// `mkdtemp(prefix, encoding, request)`
fn mkdtemp<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let prefix = argument::path(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let shape = Shape::of(scope, args, 2)?;
    machine!(scope => env, kernel, process);
    let shown = [&*prefix, b"XXXXXX"].concat();
    let asked = [(Scope::FileSystemWrite, &*shown)];
    let outcome = permitted(&env, Denial::Answered, &asked)?.and_then(|()| {
        kernel
            .mkdtemp(&process, &prefix)
            .map(|path| Answer::Text(path, encoding))
            .map_err(failed_at("mkdtemp", &shown))
    });
    deliver(scope, shape, outcome)
}

/// `readdir(path, encoding, withTypes, request)`
fn readdir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let with_types = args.get(2).is_true();
    let shape = Shape::of(scope, args, 3)?;
    machine!(scope => env, kernel, process);
    let outcome = permitted_to_read(&env, &path)?.and_then(|()| {
        kernel
            .readdir(&process, &path)
            .map(|entries| Answer::Entries(entries, encoding, with_types))
            .map_err(failed_at("scandir", &path))
    });
    deliver(scope, shape, outcome)
}

/// `readlink(path, encoding, request)`
fn readlink<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let shape = Shape::of(scope, args, 2)?;
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemRead, &path)?;
    let outcome = kernel
        .readlink(&process, &path)
        .map(|target| Answer::Text(target, encoding));
    deliver(scope, shape, outcome.map_err(failed_at("readlink", &path)))
}

/// `realpath(path, encoding, request)`
fn realpath<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let shape = Shape::of(scope, args, 2)?;
    machine!(scope => env, kernel, process);
    let outcome = permitted_to_read(&env, &path)?.and_then(|()| {
        kernel
            .realpath(&process, &path)
            .map(|real| Answer::Text(real, encoding))
            .map_err(failed_at("realpath", &path))
    });
    deliver(scope, shape, outcome)
}

/// `internalModuleStat(path)`: 0 for a file, 1 for a directory, negative for neither.
fn internal_module_stat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    machine!(scope => _env, kernel, process);
    let found: ModuleStat = kernel.module_stat(&process, &path);
    Ok(v8::Integer::new(scope, found.number()).into())
}

/// Tells WebAssembly from JavaScript by the file's first four bytes.
fn format_of_extensionless_file<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const JAVASCRIPT: i32 = 0;
    const WASM: i32 = 1;
    let path = argument::path(scope, args.get(0))?;
    machine!(scope => _env, kernel, process);
    let mut magic = [0; 4];
    let read = kernel
        .open_file(&process, &path, oflag::O_RDONLY, 0)
        .and_then(|file| kernel.read_from(&process, &file, &mut magic, None));
    let format = if read.is_ok() && &magic == b"\0asm" {
        WASM
    } else {
        JAVASCRIPT
    };
    Ok(v8::Integer::new(scope, format).into())
}

fn stat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    stat_with(scope, args, "stat", Kernel::stat, |errno| {
        matches!(errno, Errno::ENOENT | Errno::ENOTDIR)
    })
}

fn lstat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    stat_with(scope, args, "lstat", Kernel::lstat, |errno| {
        errno == Errno::ENOENT
    })
}

/// `stat(path, bigint, request, throwIfNoEntry)`
fn stat_with<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    syscall: &'static str,
    call: fn(&Kernel, &Process, &[u8]) -> Result<secure_exec_kernel::Stat, Errno>,
    is_no_entry: fn(Errno) -> bool,
) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let shape = Shape::of(scope, args, 2)?;
    let bigint = shape.bigint(args.get(1).is_true());
    machine!(scope => env, kernel, process);
    // The library asks the permission model itself before `lstat`.
    if syscall == "stat"
        && let Err(denied) = permitted_to_read(&env, &path)?
    {
        return deliver(scope, shape, Err(denied));
    }
    let found = call(&kernel, &process, &path);
    if shape.is_sync() && args.get(3).is_false() && found.is_err_and(is_no_entry) {
        return Ok(v8::undefined(scope).into());
    }
    let outcome = found.map(|stat| Answer::Stat(stat, bigint));
    deliver(scope, shape, outcome.map_err(failed_at(syscall, &path)))
}

/// `statfs(path, bigint, request)`
fn statfs<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let shape = Shape::of(scope, args, 2)?;
    let bigint = shape.bigint(args.get(1).is_true());
    machine!(scope => env, kernel, process);
    let outcome = permitted_to_read(&env, &path)?.and_then(|()| {
        kernel
            .statfs(&process, &path)
            .map(|stat| Answer::StatFs(stat, bigint))
            .map_err(failed_at("statfs", &path))
    });
    deliver(scope, shape, outcome)
}

// ---- calls on descriptors

/// A call on one descriptor that answers nothing.
macro_rules! fd_call {
    (
        $name:ident, $syscall:literal, $request:literal,
        |$kernel:ident, $process:ident, $fd:ident, $scope:ident, $args:ident| $call:expr
    ) => {
        fn $name<'s>($scope: &mut v8::PinScope<'s, '_>, $args: &Args<'s>) -> Ret<'s> {
            let $fd = argument::fd($scope, $args.get(0))?;
            let shape = Shape::of($scope, $args, $request)?;
            machine!($scope => _env, $kernel, $process);
            let outcome = $call.map(|()| Answer::Undefined).map_err(failed($syscall));
            deliver($scope, shape, outcome)
        }
    };
}

fd_call!(close, "close", 1, |kernel, process, fd, scope, args| {
    let env = Env::of(scope);
    unmanaged::remove(scope, &env, fd);
    kernel.close(&process, fd)
});
fd_call!(fsync, "fsync", 1, |kernel, process, fd, scope, args| kernel
    .fsync(&process, fd));
fd_call!(
    fdatasync,
    "fdatasync",
    1,
    |kernel, process, fd, scope, args| kernel.fsync(&process, fd)
);
fd_call!(fchmod, "fchmod", 2, |kernel, process, fd, scope, args| {
    let mode = argument::uint(scope, args.get(1), "mode")?;
    kernel.fchmod(&process, fd, mode)
});
fd_call!(fchown, "fchown", 3, |kernel, process, fd, scope, args| {
    let (uid, gid) = (
        argument::owner(scope, args.get(1))?,
        argument::owner(scope, args.get(2))?,
    );
    kernel.fchown(&process, fd, uid, gid)
});
fd_call!(futimes, "futime", 3, |kernel, process, fd, scope, args| {
    kernel.futimes(
        &process,
        fd,
        argument::time(args.get(1))?,
        argument::time(args.get(2))?,
    )
});
fd_call!(
    ftruncate,
    "ftruncate",
    2,
    |kernel, process, fd, scope, args| {
        kernel.ftruncate(&process, fd, argument::size(args.get(1), "len")? as u64)
    }
);

/// `fstat(fd, bigint, request)`
fn fstat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = argument::fd(scope, args.get(0))?;
    let shape = Shape::of(scope, args, 2)?;
    let bigint = shape.bigint(args.get(1).is_true());
    machine!(scope => _env, kernel, process);
    let outcome = kernel
        .fstat(&process, fd)
        .map(|stat| Answer::Stat(stat, bigint));
    deliver(scope, shape, outcome.map_err(failed("fstat")))
}

// ---- reading and writing

/// `read(fd, buffer, offset, length, position, request)`
fn read<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = argument::fd(scope, args.get(0))?;
    let view = argument::view(args.get(1))?;
    let position = argument::position(args.get(4));
    let shape = Shape::of(scope, args, 5)?;
    let range = argument::range(view, args)?;
    machine!(scope => env, kernel, process);
    if matches!(shape, Shape::Sync) {
        let bytes = array_buffer::writable(scope, view)
            .get_mut(range.clone())
            .unwrap_or_default();
        match kernel.read(&process, fd, bytes, position) {
            Ok(count) => {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a count of bytes in memory fits a double"
                )]
                return Ok(v8::Number::new(scope, count as f64).into());
            }
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(failed("read")(errno).throw()),
        }
    }
    io::run(
        scope,
        &env,
        shape,
        fd,
        position,
        Io::Read(vec![(view, range)]),
    )
}

/// `readBuffers(fd, buffers, position, request)`
fn read_buffers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = argument::fd(scope, args.get(0))?;
    let views = argument::views(scope, args.get(1))?;
    let position = argument::position(args.get(2));
    let shape = Shape::of(scope, args, 3)?;
    let env = Env::of(scope);
    let views = views
        .into_iter()
        .map(|view| (view, 0..view.byte_length()))
        .collect();
    io::run(scope, &env, shape, fd, position, Io::Read(views))
}

/// `writeBuffer(fd, buffer, offset, length, position, request, context)`
fn write_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = argument::fd(scope, args.get(0))?;
    let view = argument::view(args.get(1))?;
    let position = argument::position(args.get(4));
    let shape = Shape::of(scope, args, 5)?;
    let range = argument::range(view, args)?;
    let env = Env::of(scope);
    io::run(
        scope,
        &env,
        shape,
        fd,
        position,
        Io::Write(vec![(view, range)]),
    )
}

/// `writeBuffers(fd, buffers, position, request)`
fn write_buffers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = argument::fd(scope, args.get(0))?;
    let views = argument::views(scope, args.get(1))?;
    let position = argument::position(args.get(2));
    let shape = Shape::of(scope, args, 3)?;
    let env = Env::of(scope);
    let views = views
        .into_iter()
        .map(|view| (view, 0..view.byte_length()))
        .collect();
    io::run(scope, &env, shape, fd, position, Io::Write(views))
}

/// `writeString(fd, string, position, encoding, request, context)`
fn write_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = argument::fd(scope, args.get(0))?;
    let string =
        v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| argument::invalid("string"))?;
    let position = argument::position(args.get(2));
    let encoding = Encoding::from_value(scope, args.get(3), Encoding::Utf8);
    let shape = Shape::of(scope, args, 4)?;
    let bytes = text::encode(scope, string, encoding);
    let env = Env::of(scope);
    io::run(scope, &env, shape, fd, position, Io::WriteBytes(bytes))
}

/// `readFileUtf8(path or fd, flags)`
fn read_file_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    machine!(scope => env, kernel, process);
    let longest = env.extension::<FsState>().longest_text(scope);
    let bytes = if args.get(0).is_number() {
        let fd = argument::fd(scope, args.get(0))?;
        match kernel.read_file_fd(&process, fd, longest) {
            Ok(bytes) => return text_of(scope, &bytes),
            Err(Errno::EAGAIN) => drain(&env, &kernel, &process, fd, longest)?,
            Err(errno) => Err(errno),
        }
    } else {
        let path = argument::path(scope, args.get(0))?;
        let flags = argument::int(scope, args.get(1), "flags")?;
        permitted_to_open(&env, &path, flags)?.map_err(Failure::throw)?;
        if flags & !oflag::O_CLOEXEC == oflag::O_RDONLY {
            match kernel.read_file(&process, &path, longest) {
                Ok(bytes) => return text_of(scope, &bytes),
                // Node opens, then reads: these are errors of the second step.
                Err(errno @ (Errno::EISDIR | Errno::EFBIG)) => Err(errno),
                Err(Errno::EAGAIN) => read_opened(&env, &kernel, &process, &path, flags, longest)?,
                Err(errno) => return Err(failed_at("open", &path)(errno).throw()),
            }
        } else {
            read_opened(&env, &kernel, &process, &path, flags, longest)?
        }
    };
    match bytes {
        Ok(bytes) => text_of(scope, &bytes),
        Err(Errno::EFBIG) => Err(text::too_long()),
        Err(errno) => Err(failed("read")(errno).throw()),
    }
}

fn text_of<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8]) -> Ret<'s> {
    text::utf8(scope, bytes)
}

/// Opens with flags other than plain reading, reads to the end, closes.
fn read_opened(
    env: &Env,
    kernel: &Kernel,
    process: &Process,
    path: &PathBytes,
    flags: i32,
    longest: u64,
) -> Result<Result<Vec<u8>, Errno>, Throw> {
    let fd = kernel
        .open(process, path, flags, 0o666)
        .map_err(|errno| failed_at("open", path)(errno).throw())?;
    let bytes = match kernel.read_file_fd(process, fd, longest) {
        Err(Errno::EAGAIN) => drain(env, kernel, process, fd, longest),
        bytes => Ok(bytes.map(secure_exec_kernel::FileBytes::into_vec)),
    };
    // Nothing was written that closing could lose.
    let _ = kernel.close(process, fd);
    bytes
}

/// Reads a pipe to its end, waiting for its writers.
fn drain(
    env: &Env,
    kernel: &Kernel,
    process: &Process,
    fd: i32,
    longest: u64,
) -> Result<Result<Vec<u8>, Errno>, Throw> {
    let mut bytes = Vec::new();
    let mut step = [0; 16 << 10];
    loop {
        match kernel.read(process, fd, &mut step, None) {
            Ok(0) => return Ok(Ok(bytes)),
            Ok(count) => bytes.extend_from_slice(step.get(..count).unwrap_or_default()),
            Err(Errno::EAGAIN) => io::block(env, fd, Interest::Readable)?,
            Err(errno) => return Ok(Err(errno)),
        }
        if bytes.len() as u64 > longest {
            return Ok(Err(Errno::EFBIG));
        }
    }
}

/// `writeFileUtf8(path or fd, data, flags, mode)`
fn write_file_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let string =
        v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| argument::invalid("data"))?;
    let bytes = text::encode(scope, string, Encoding::Utf8);
    machine!(scope => env, kernel, process);
    let outcome = if args.get(0).is_number() {
        let fd = argument::fd(scope, args.get(0))?;
        write_all(&env, &kernel, &process, fd, &bytes)?
    } else {
        let path = argument::path(scope, args.get(0))?;
        let flags = argument::int(scope, args.get(2), "flag")?;
        let mode = argument::uint(scope, args.get(3), "mode")?;
        permitted_to_open(&env, &path, flags)?.map_err(Failure::throw)?;
        let fd = kernel
            .open(&process, &path, flags, mode)
            .map_err(|errno| failed_at("open", &path)(errno).throw())?;
        let written = write_all(&env, &kernel, &process, fd, &bytes);
        let closed = kernel.close(&process, fd);
        written?.and(closed)
    };
    outcome.map_err(|errno| failed("write")(errno).throw())?;
    Ok(v8::undefined(scope).into())
}

fn write_all(
    env: &Env,
    kernel: &Kernel,
    process: &Process,
    fd: i32,
    bytes: &[u8],
) -> Result<Result<(), Errno>, Throw> {
    let mut rest = bytes;
    loop {
        match kernel.write(process, fd, rest, None) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::EAGAIN) => io::block(env, fd, Interest::Writable)?,
            Err(errno) => return Ok(Err(errno)),
        }
        if rest.is_empty() {
            return Ok(Ok(()));
        }
    }
}

/// `process.emitWarning(...texts)`
pub fn emit_warning(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, texts: &[&str]) {
    v8::scope!(let scope, scope);
    let Some(process) = env.process_object(scope) else {
        return;
    };
    let mut values: Vec<v8::Local<v8::Value>> = Vec::new();
    for text in texts {
        let Some(text) = v8::String::new(scope, text) else {
            return;
        };
        values.push(text.into());
    }
    let context = crate::callback_scope::AsyncContext::default();
    env.make_callback_named(scope, process, "emitWarning", &values, context);
}
