//! `internalBinding('fs')`: every call of `node:fs` on the kernel's file system. Source: `src/node_file.cc`.
//!
//! A call has one of three shapes, told by its request argument: none (it throws), an `FSReqCallback` (its `oncomplete`
//! is called in the loop's completion phase), or `kUsePromises` (it answers a promise). The kernel works at once in all
//! three; only the delivery differs. Arguments are copied out before, results made after: no slice of a guest's buffer
//! is held across a call into JavaScript.

use secure_exec_kernel::{DirEntry, Errno, FileType, ModuleStat, Stat, StatFs, TimeSpec};

use crate::array_buffer;
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::text::{self, Encoding};
use crate::throw::{SystemError, Throw};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "fs",
    functions: &[
        ("access", function!(access)),
        ("close", function!(close)),
        ("open", function!(open)),
        ("openFileHandle", function!(open_file_handle)),
        ("existsSync", function!(exists_sync)),
        ("read", function!(read)),
        ("readBuffers", function!(read_buffers)),
        ("readFileUtf8", function!(read_file_utf8)),
        ("writeBuffer", function!(write_buffer)),
        ("writeBuffers", function!(write_buffers)),
        ("writeString", function!(write_string)),
        ("writeFileUtf8", function!(write_file_utf8)),
        ("rename", function!(rename)),
        ("ftruncate", function!(ftruncate)),
        ("rmdir", function!(rmdir)),
        ("mkdir", function!(mkdir)),
        ("mkdtemp", function!(mkdtemp)),
        ("readdir", function!(readdir)),
        ("internalModuleStat", function!(internal_module_stat)),
        ("getFormatOfExtensionlessFile", function!(format_of_extensionless_file)),
        ("stat", function!(stat)),
        ("lstat", function!(lstat)),
        ("fstat", function!(fstat)),
        ("statfs", function!(statfs)),
        ("link", function!(link)),
        ("symlink", function!(symlink)),
        ("readlink", function!(readlink)),
        ("unlink", function!(unlink)),
        ("realpath", function!(realpath)),
        ("copyFile", function!(copy_file)),
        ("chmod", function!(chmod)),
        ("fchmod", function!(fchmod)),
        ("chown", function!(chown)),
        ("fchown", function!(fchown)),
        ("lchown", function!(lchown)),
        ("utimes", function!(utimes)),
        ("futimes", function!(futimes)),
        ("lutimes", function!(lutimes)),
        ("fsync", function!(fsync)),
        ("fdatasync", function!(fdatasync)),
    ],
    classes: &[
        Class { name: "FSReqCallback", constructor: Some(function!(new_fs_req_callback)), ..Class::DEFAULT },
        Class {
            name: "FileHandle",
            constructor: Some(function!(new_file_handle)),
            methods: &[
                ("close", function!(file_handle_close)),
                ("releaseFD", function!(file_handle_release_fd)),
                ("getAsyncId", function!(file_handle_async_id)),
            ],
            accessors: &[("fd", function!(file_handle_fd), None)],
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

/// Bytes of one file that are read at once at most: what a V8 string or buffer can hold.
const MAX_FILE_BYTES: u64 = (1 << 31) - 1;

/// How a call answers.
enum Shape<'s> {
    Sync,
    /// Sync, with an object that takes the error instead of a throw.
    Context(v8::Local<'s, v8::Object>),
    Callback(v8::Local<'s, v8::Object>),
    Promise,
}

impl<'s> Shape<'s> {
    fn of(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, index: i32) -> Self {
        let request = args.get(index);
        if let Ok(object) = v8::Local::<v8::Object>::try_from(request) {
            return Self::Callback(object);
        }
        let symbol = Env::of(scope).registered(scope, "symbol fs_use_promises_symbol");
        if symbol.is_some_and(|symbol| symbol.strict_equals(request)) {
            return Self::Promise;
        }
        match v8::Local::<v8::Object>::try_from(args.get(index + 1)) {
            Ok(context) => Self::Context(context),
            Err(_) => Self::Sync,
        }
    }
}

/// What a call of the kernel answered, as plain data.
enum Answer {
    Undefined,
    Number(f64),
    Text(Vec<u8>, Encoding),
    MaybeText(Option<Vec<u8>>),
    Stat(Box<Stat>, bool),
    StatFs(StatFs, bool),
    Entries(Vec<DirEntry>, Encoding, bool),
    FileHandle(i32),
}

/// A name or target in the encoding that was asked for.
fn encode_name<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8], encoding: Encoding) -> Ret<'s> {
    match encoding {
        Encoding::Buffer => Ok(array_buffer::buffer_of(scope, bytes)?.into()),
        other => text::decode(scope, bytes, other),
    }
}

/// A failed call: the errno and the paths for the message.
struct Failure {
    errno: Errno,
    syscall: &'static str,
    path: Option<Vec<u8>>,
    dest: Option<Vec<u8>>,
}

impl Failure {
    fn system_error(self) -> SystemError {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        SystemError {
            errno: self.errno,
            syscall: self.syscall,
            path: self.path.map(text),
            dest: self.dest.map(text),
            message: None,
        }
    }
}

type Outcome = Result<Answer, Failure>;

/// Names a failed call that has no path.
fn failed(syscall: &'static str) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure { errno, syscall, path: None, dest: None }
}

/// Names a failed call on a path.
fn failed_at(syscall: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Failure {
    let path = path.to_vec();
    move |errno| Failure { errno, syscall, path: Some(path), dest: None }
}

/// Names a failed call on two paths.
fn failed_between(syscall: &'static str, path: &[u8], dest: &[u8]) -> impl FnOnce(Errno) -> Failure {
    let (path, dest) = (path.to_vec(), dest.to_vec());
    move |errno| Failure { errno, syscall, path: Some(path), dest: Some(dest) }
}

impl Answer {
    /// The value for the guest. A synchronous `stat` fills the array that the library shares with this binding.
    fn into_value<'s>(self, scope: &mut v8::PinScope<'s, '_>, env: &Env, shared: bool) -> Ret<'s> {
        Ok(match self {
            Self::Undefined => v8::undefined(scope).into(),
            Self::Number(number) => v8::Number::new(scope, number).into(),
            Self::Text(bytes, encoding) => encode_name(scope, &bytes, encoding)?,
            Self::MaybeText(Some(bytes)) => text::utf8(scope, &bytes)?,
            Self::MaybeText(None) => v8::undefined(scope).into(),
            Self::Stat(stat, bigint) => {
                let (key, values) = (stat_key(bigint), stat_fields(&stat));
                if shared {
                    fill_shared(scope, env, key, &values, bigint)?
                } else {
                    new_fields(scope, &values, bigint)?
                }
            }
            Self::StatFs(stat, bigint) => {
                let values: Vec<i64> =
                    [stat.fs_type, stat.bsize, stat.blocks, stat.bfree, stat.bavail, stat.files, stat.ffree]
                        .into_iter()
                        .map(|value| i64::try_from(value).unwrap_or(i64::MAX))
                        .collect();
                new_fields(scope, &values, bigint)?
            }
            Self::Entries(entries, encoding, with_types) => {
                let mut names = Vec::with_capacity(entries.len());
                let mut types: Vec<v8::Local<v8::Value>> = Vec::new();
                for entry in &entries {
                    names.push(encode_name(scope, &entry.name, encoding)?);
                    if with_types {
                        types.push(v8::Integer::new(scope, entry.file_type.dirent_number()).into());
                    }
                }
                let names = v8::Array::new_with_elements(scope, &names).into();
                if !with_types {
                    return Ok(names);
                }
                let types = v8::Array::new_with_elements(scope, &types).into();
                v8::Array::new_with_elements(scope, &[names, types]).into()
            }
            Self::FileHandle(fd) => make_file_handle(scope, env, fd)?.into(),
        })
    }
}

fn stat_key(bigint: bool) -> &'static str {
    if bigint { "fs.bigintStatValues" } else { "fs.statValues" }
}

/// The fields in the order of `FsStatsOffset`.
fn stat_fields(stat: &Stat) -> Vec<i64> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut fields = vec![
        number(stat.dev),
        i64::from(stat.mode),
        number(stat.nlink),
        i64::from(stat.uid),
        i64::from(stat.gid),
        number(stat.rdev),
        number(stat.blksize),
        number(stat.ino),
        number(stat.size),
        number(stat.blocks),
    ];
    for time in [stat.atime, stat.mtime, stat.ctime, stat.birthtime] {
        fields.extend([time.seconds, i64::from(time.nanos)]);
    }
    fields
}

fn fill_shared<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    key: &'static str,
    values: &[i64],
    bigint: bool,
) -> Ret<'s> {
    let buffer = env.buffer(scope, key).ok_or(Throw::Pending)?;
    for (index, value) in values.iter().enumerate() {
        if bigint {
            buffer.set(index, *value);
        } else {
            #[expect(clippy::cast_precision_loss, reason = "Node's numbers are doubles too")]
            buffer.set(index, *value as f64);
        }
    }
    env.registered(scope, key).ok_or(Throw::Pending)
}

fn new_fields<'s>(scope: &mut v8::PinScope<'s, '_>, values: &[i64], bigint: bool) -> Ret<'s> {
    let buffer = array_buffer::new_array_buffer(scope, values.len() * 8)?;
    let array: v8::Local<v8::TypedArray> = if bigint {
        v8::BigInt64Array::new(scope, buffer, 0, values.len()).ok_or(Throw::Pending)?.into()
    } else {
        v8::Float64Array::new(scope, buffer, 0, values.len()).ok_or(Throw::Pending)?.into()
    };
    let shared = crate::aliased_buffer::AliasedBuffer::new(scope, array).ok_or(Throw::Pending)?;
    for (index, value) in values.iter().enumerate() {
        if bigint {
            shared.set(index, *value);
        } else {
            #[expect(clippy::cast_precision_loss, reason = "Node's numbers are doubles too")]
            shared.set(index, *value as f64);
        }
    }
    Ok(array.into())
}

/// Delivers an outcome in the call's shape.
fn deliver<'s>(scope: &mut v8::PinScope<'s, '_>, shape: Shape<'s>, outcome: Outcome) -> Ret<'s> {
    let env = Env::of(scope);
    match shape {
        Shape::Sync => match outcome {
            Ok(answer) => answer.into_value(scope, &env, true),
            Err(failure) => Err(Throw::System(Box::new(failure.system_error()))),
        },
        Shape::Context(context) => match outcome {
            Ok(answer) => answer.into_value(scope, &env, true),
            Err(failure) => {
                let number = v8::Integer::new(scope, -failure.errno.number()).into();
                crate::realm::set(scope, context, "errno", number);
                for (key, text) in [("code", failure.errno.name()), ("syscall", failure.syscall)] {
                    let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
                    crate::realm::set(scope, context, key, text.into());
                }
                Ok(v8::undefined(scope).into())
            }
        },
        Shape::Callback(request) => {
            let context = env.objects.unwrap::<Request>(scope, request).map(|request| request.context);
            let context = context.unwrap_or_default();
            let request = v8::Global::new(scope, request);
            env.event_loop.complete(Box::new(move |scope, env| {
                let request = v8::Local::new(scope, request);
                let args = match outcome {
                    Ok(Answer::Undefined) => vec![v8::null(scope).into()],
                    Ok(answer) => match answer.into_value(scope, env, false) {
                        Ok(value) => vec![v8::null(scope).into(), value],
                        Err(throw) => match throw.into_value(scope) {
                            Some(error) => vec![error],
                            None => return,
                        },
                    },
                    Err(failure) => vec![failure.system_error().into_value(scope)],
                };
                env.make_callback_named(scope, request, "oncomplete", &args, context);
            }));
            Ok(v8::undefined(scope).into())
        }
        Shape::Promise => {
            let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
            let promise = resolver.get_promise(scope);
            let resolver = v8::Global::new(scope, resolver);
            let context = env.new_async_context(scope);
            env.event_loop.complete(Box::new(move |scope, env| {
                let resolver = v8::Local::new(scope, resolver);
                let Some(resource) = env.process_object(scope) else { return };
                env.in_callback_scope(scope, resource, context, |scope| {
                    let settled = match outcome {
                        Ok(answer) => answer.into_value(scope, env, false),
                        Err(failure) => Err(Throw::System(Box::new(failure.system_error()))),
                    };
                    match settled {
                        Ok(value) => resolver.resolve(scope, value),
                        Err(throw) => {
                            let error = throw.into_value(scope)?;
                            resolver.reject(scope, error)
                        }
                    };
                    Some(v8::undefined(scope).into())
                });
            }));
            Ok(promise.into())
        }
    }
}

// ---- arguments

fn invalid_argument(name: &str) -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", format!("The \"{name}\" argument is invalid"))
}

/// A path: a string as UTF-8, or the bytes of a view.
fn path_argument<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>) -> Result<Vec<u8>, Throw> {
    let bytes = if let Ok(text) = v8::Local::<v8::String>::try_from(value) {
        text.to_rust_string_lossy(scope).into_bytes()
    } else if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        array_buffer::Contents::default().of(scope, view).to_vec()
    } else {
        return Err(invalid_argument("path"));
    };
    if bytes.contains(&0) {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_VALUE",
            "The argument 'path' must be a string, Uint8Array, or URL without null bytes.",
        ));
    }
    Ok(bytes)
}

fn int_argument(scope: &mut v8::PinScope<'_, '_>, value: v8::Local<v8::Value>, name: &str) -> Result<i32, Throw> {
    if !value.is_number() {
        return Err(invalid_argument(name));
    }
    value.int32_value(scope).ok_or(Throw::Pending)
}

fn u32_argument(scope: &mut v8::PinScope<'_, '_>, value: v8::Local<v8::Value>, name: &str) -> Result<u32, Throw> {
    if !value.is_number() {
        return Err(invalid_argument(name));
    }
    value.uint32_value(scope).ok_or(Throw::Pending)
}

fn usize_argument(value: v8::Local<v8::Value>, name: &str) -> Result<usize, Throw> {
    let number = v8::Local::<v8::Number>::try_from(value).map_err(|_| invalid_argument(name))?.value();
    if !(0.0..=9_007_199_254_740_991.0).contains(&number) {
        return Err(Throw::range_error("ERR_OUT_OF_RANGE", format!("The value of \"{name}\" is out of range.")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(number as usize)
}

/// A position in a file: a number or BigInt of at least zero, else "where the descriptor stands".
fn position_argument(value: v8::Local<v8::Value>) -> Option<u64> {
    if let Ok(big) = v8::Local::<v8::BigInt>::try_from(value) {
        let (position, lossless) = big.u64_value();
        return lossless.then_some(position);
    }
    let number = v8::Local::<v8::Number>::try_from(value).ok()?.value();
    if !(0.0..=9_007_199_254_740_991.0).contains(&number) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Some(number as u64)
}

/// An owner id; -1 leaves it as it is.
fn owner_argument(scope: &mut v8::PinScope<'_, '_>, value: v8::Local<v8::Value>) -> Result<Option<u32>, Throw> {
    let id = u32_argument(scope, value, "uid")?;
    Ok((id != u32::MAX).then_some(id))
}

fn time_argument(value: v8::Local<v8::Value>) -> Result<TimeSpec, Throw> {
    let number = v8::Local::<v8::Number>::try_from(value).map_err(|_| invalid_argument("time"))?;
    Ok(TimeSpec::from_seconds_f64(number.value()))
}

/// The kernel and the process of the caller.
macro_rules! machine {
    ($scope:ident => $env:ident, $kernel:ident, $process:ident) => {
        let $env = Env::of($scope);
        let $kernel = $env.kernel()?;
        let $process = $env.process()?;
    };
}

// ---- calls on paths

/// A call on one path that answers nothing.
macro_rules! path_call {
    ($name:ident, $syscall:literal, $request:literal, |$kernel:ident, $process:ident, $path:ident, $scope:ident, $args:ident| $call:expr) => {
        fn $name<'s>($scope: &mut v8::PinScope<'s, '_>, $args: &Args<'s>) -> Ret<'s> {
            let $path = path_argument($scope, $args.get(0))?;
            let shape = Shape::of($scope, $args, $request);
            machine!($scope => env, $kernel, $process);
            let _ = &env;
            let outcome = $call.map(|()| Answer::Undefined).map_err(failed_at($syscall, &$path));
            deliver($scope, shape, outcome)
        }
    };
}

path_call!(access, "access", 2, |kernel, process, path, scope, args| {
    let mode = int_argument(scope, args.get(1), "mode")?;
    kernel.access(&process, &path, mode)
});
path_call!(rmdir, "rmdir", 1, |kernel, process, path, scope, args| kernel.rmdir(&process, &path));
path_call!(unlink, "unlink", 1, |kernel, process, path, scope, args| kernel.unlink(&process, &path));
path_call!(chmod, "chmod", 2, |kernel, process, path, scope, args| {
    let mode = u32_argument(scope, args.get(1), "mode")?;
    kernel.chmod(&process, &path, mode)
});
path_call!(chown, "chown", 3, |kernel, process, path, scope, args| {
    let (uid, gid) = (owner_argument(scope, args.get(1))?, owner_argument(scope, args.get(2))?);
    kernel.chown(&process, &path, uid, gid)
});
path_call!(lchown, "lchown", 3, |kernel, process, path, scope, args| {
    let (uid, gid) = (owner_argument(scope, args.get(1))?, owner_argument(scope, args.get(2))?);
    kernel.lchown(&process, &path, uid, gid)
});
path_call!(utimes, "utime", 3, |kernel, process, path, scope, args| {
    kernel.utimes(&process, &path, Some(time_argument(args.get(1))?), Some(time_argument(args.get(2))?))
});
path_call!(lutimes, "lutime", 3, |kernel, process, path, scope, args| {
    kernel.lutimes(&process, &path, Some(time_argument(args.get(1))?), Some(time_argument(args.get(2))?))
});

/// A call on two paths that answers nothing.
macro_rules! two_path_call {
    ($name:ident, $syscall:literal, $request:literal, |$kernel:ident, $process:ident, $from:ident, $to:ident, $scope:ident, $args:ident| $call:expr) => {
        fn $name<'s>($scope: &mut v8::PinScope<'s, '_>, $args: &Args<'s>) -> Ret<'s> {
            let $from = path_argument($scope, $args.get(0))?;
            let $to = path_argument($scope, $args.get(1))?;
            let shape = Shape::of($scope, $args, $request);
            machine!($scope => env, $kernel, $process);
            let _ = &env;
            let outcome = $call.map(|()| Answer::Undefined).map_err(failed_between($syscall, &$from, &$to));
            deliver($scope, shape, outcome)
        }
    };
}

two_path_call!(rename, "rename", 2, |kernel, process, from, to, scope, args| kernel.rename(&process, &from, &to));
two_path_call!(link, "link", 2, |kernel, process, from, to, scope, args| kernel.link(&process, &from, &to));
two_path_call!(symlink, "symlink", 3, |kernel, process, from, to, scope, args| kernel.symlink(&process, &from, &to));
two_path_call!(copy_file, "copyfile", 3, |kernel, process, from, to, scope, args| {
    let flags = int_argument(scope, args.get(2), "mode")?;
    kernel.copy_file(&process, &from, &to, flags)
});

fn open<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (shape, outcome) = open_with(scope, args)?;
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
    let path = path_argument(scope, args.get(0))?;
    let flags = int_argument(scope, args.get(1), "flags")?;
    let mode = u32_argument(scope, args.get(2), "mode")?;
    let shape = Shape::of(scope, args, 3);
    machine!(scope => _env, kernel, process);
    Ok((shape, kernel.open(&process, &path, flags, mode).map_err(failed_at("open", &path))))
}

fn exists_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_argument(scope, args.get(0))?;
    machine!(scope => _env, kernel, process);
    Ok(v8::Boolean::new(scope, kernel.exists(&process, &path)).into())
}

fn mkdir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_argument(scope, args.get(0))?;
    let mode = u32_argument(scope, args.get(1), "mode")?;
    let recursive = args.get(2).is_true();
    let shape = Shape::of(scope, args, 3);
    machine!(scope => _env, kernel, process);
    let outcome = if recursive {
        kernel.mkdir_recursive(&process, &path, mode).map(Answer::MaybeText)
    } else {
        kernel.mkdir(&process, &path, mode).map(|()| Answer::Undefined)
    };
    deliver(scope, shape, outcome.map_err(failed_at("mkdir", &path)))
}

fn mkdtemp<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let prefix = path_argument(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let shape = Shape::of(scope, args, 2);
    machine!(scope => _env, kernel, process);
    let shown = [prefix.as_slice(), b"XXXXXX"].concat();
    let outcome = kernel.mkdtemp(&process, &prefix).map(|path| Answer::Text(path, encoding));
    deliver(scope, shape, outcome.map_err(failed_at("mkdtemp", &shown)))
}

fn readdir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_argument(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let with_types = args.get(2).is_true();
    let shape = Shape::of(scope, args, 3);
    machine!(scope => _env, kernel, process);
    let outcome = kernel.readdir(&process, &path).map(|entries| Answer::Entries(entries, encoding, with_types));
    deliver(scope, shape, outcome.map_err(failed_at("scandir", &path)))
}

fn readlink<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_argument(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let shape = Shape::of(scope, args, 2);
    machine!(scope => _env, kernel, process);
    let outcome = kernel.readlink(&process, &path).map(|target| Answer::Text(target, encoding));
    deliver(scope, shape, outcome.map_err(failed_at("readlink", &path)))
}

fn realpath<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_argument(scope, args.get(0))?;
    let encoding = Encoding::from_value(scope, args.get(1), Encoding::Utf8);
    let shape = Shape::of(scope, args, 2);
    machine!(scope => _env, kernel, process);
    let outcome = kernel.realpath(&process, &path).map(|real| Answer::Text(real, encoding));
    deliver(scope, shape, outcome.map_err(failed_at("realpath", &path)))
}

/// `internalModuleStat(path)`: 0 for a file, 1 for a directory, negative for neither.
fn internal_module_stat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = if args.get(0).is_string() { args.get(0) } else { args.get(1) };
    let path = path_argument(scope, path)?;
    machine!(scope => _env, kernel, process);
    let answer = match kernel.module_stat(&process, &path) {
        ModuleStat::File => 0,
        ModuleStat::Directory => 1,
        ModuleStat::Missing => -Errno::ENOENT.number(),
    };
    Ok(v8::Integer::new(scope, answer).into())
}

/// Tells WebAssembly from JavaScript by the file's first four bytes.
fn format_of_extensionless_file<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const JAVASCRIPT: i32 = 0;
    const WASM: i32 = 1;
    let path = path_argument(scope, args.get(0))?;
    machine!(scope => _env, kernel, process);
    let magic = kernel.read_file(&process, &path, MAX_FILE_BYTES).is_ok_and(|bytes| bytes.starts_with(b"\0asm"));
    Ok(v8::Integer::new(scope, if magic { WASM } else { JAVASCRIPT }).into())
}

fn stat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    stat_with(scope, args, "stat")
}

fn lstat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    stat_with(scope, args, "lstat")
}

/// `stat(path, bigint, request, throwIfNoEntry)`.
fn stat_with<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, syscall: &'static str) -> Ret<'s> {
    let path = path_argument(scope, args.get(0))?;
    let bigint = args.get(1).is_true();
    let shape = Shape::of(scope, args, 2);
    machine!(scope => _env, kernel, process);
    let found = if syscall == "stat" { kernel.stat(&process, &path) } else { kernel.lstat(&process, &path) };
    if let (Shape::Sync, true, Err(Errno::ENOENT | Errno::ENOTDIR)) = (&shape, args.get(3).is_false(), &found) {
        return Ok(v8::undefined(scope).into());
    }
    let outcome = found.map(|stat| Answer::Stat(Box::new(stat), bigint));
    deliver(scope, shape, outcome.map_err(failed_at(syscall, &path)))
}

fn statfs<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_argument(scope, args.get(0))?;
    let bigint = args.get(1).is_true();
    let shape = Shape::of(scope, args, 2);
    machine!(scope => _env, kernel, process);
    let outcome = kernel.statfs(&process, &path).map(|stat| Answer::StatFs(stat, bigint));
    deliver(scope, shape, outcome.map_err(failed_at("statfs", &path)))
}

// ---- calls on descriptors

/// A call on one descriptor that answers nothing.
macro_rules! fd_call {
    ($name:ident, $syscall:literal, $request:literal, |$kernel:ident, $process:ident, $fd:ident, $scope:ident, $args:ident| $call:expr) => {
        fn $name<'s>($scope: &mut v8::PinScope<'s, '_>, $args: &Args<'s>) -> Ret<'s> {
            let $fd = int_argument($scope, $args.get(0), "fd")?;
            let shape = Shape::of($scope, $args, $request);
            machine!($scope => env, $kernel, $process);
            let _ = &env;
            let outcome = $call.map(|()| Answer::Undefined).map_err(failed($syscall));
            deliver($scope, shape, outcome)
        }
    };
}

fd_call!(close, "close", 1, |kernel, process, fd, scope, args| kernel.close(&process, fd));
fd_call!(fsync, "fsync", 1, |kernel, process, fd, scope, args| kernel.fsync(&process, fd));
fd_call!(fdatasync, "fdatasync", 1, |kernel, process, fd, scope, args| kernel.fsync(&process, fd));
fd_call!(fchmod, "fchmod", 2, |kernel, process, fd, scope, args| {
    let mode = u32_argument(scope, args.get(1), "mode")?;
    kernel.fchmod(&process, fd, mode)
});
fd_call!(fchown, "fchown", 3, |kernel, process, fd, scope, args| {
    let (uid, gid) = (owner_argument(scope, args.get(1))?, owner_argument(scope, args.get(2))?);
    kernel.fchown(&process, fd, uid, gid)
});
fd_call!(futimes, "futime", 3, |kernel, process, fd, scope, args| {
    kernel.futimes(&process, fd, Some(time_argument(args.get(1))?), Some(time_argument(args.get(2))?))
});
fd_call!(ftruncate, "ftruncate", 2, |kernel, process, fd, scope, args| {
    kernel.ftruncate(&process, fd, usize_argument(args.get(1), "len")? as u64)
});

/// `fstat(fd, bigint, request, shouldNotThrow)`.
fn fstat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = int_argument(scope, args.get(0), "fd")?;
    let bigint = args.get(1).is_true();
    let shape = Shape::of(scope, args, 2);
    machine!(scope => _env, kernel, process);
    let found = kernel.fstat(&process, fd);
    if let (Shape::Sync, true, Err(_)) = (&shape, args.get(3).is_true(), &found) {
        return Ok(v8::undefined(scope).into());
    }
    let outcome = found.map(|stat| Answer::Stat(Box::new(stat), bigint));
    deliver(scope, shape, outcome.map_err(failed("fstat")))
}

/// A view's range that a call may touch, checked against the view as it is now.
fn range_argument<'s>(
    view: v8::Local<'s, v8::ArrayBufferView>,
    args: &Args<'s>,
) -> Result<std::ops::Range<usize>, Throw> {
    let offset = usize_argument(args.get(2), "offset")?;
    let length = usize_argument(args.get(3), "length")?;
    let end = offset.checked_add(length).filter(|end| *end <= view.byte_length());
    let end = end.ok_or_else(|| {
        Throw::range_error("ERR_OUT_OF_RANGE", "The value of \"length\" is out of range.")
    })?;
    Ok(offset..end)
}

/// `read(fd, buffer, offset, length, position, request)`.
fn read<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = int_argument(scope, args.get(0), "fd")?;
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(1)).map_err(|_| invalid_argument("buffer"))?;
    let range = range_argument(view, args)?;
    let position = position_argument(args.get(4));
    let shape = Shape::of(scope, args, 5);
    machine!(scope => _env, kernel, process);
    let outcome = match array_buffer::writable(scope, view).get_mut(range) {
        Some(bytes) => kernel.read(&process, fd, bytes, position),
        None => Err(Errno::EFAULT),
    };
    let outcome = outcome.map_err(failed("read"));
    deliver(scope, shape, outcome.map(number_answer))
}

/// `readBuffers(fd, buffers, position, request)`.
fn read_buffers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = int_argument(scope, args.get(0), "fd")?;
    let views = views_argument(scope, args.get(1))?;
    let mut position = position_argument(args.get(2));
    let shape = Shape::of(scope, args, 3);
    machine!(scope => _env, kernel, process);
    let mut total = 0;
    let mut outcome = Ok(());
    for view in views {
        let bytes = array_buffer::writable(scope, view);
        let length = bytes.len();
        match kernel.read(&process, fd, bytes, position) {
            Ok(count) => {
                total += count;
                position = position.map(|position| position.saturating_add(count as u64));
                if count < length {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(errno) => {
                outcome = Err(failed("read")(errno));
                break;
            }
        }
    }
    deliver(scope, shape, outcome.map(|()| number_answer(total)))
}

fn views_argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Vec<v8::Local<'s, v8::ArrayBufferView>>, Throw> {
    let array = v8::Local::<v8::Array>::try_from(value).map_err(|_| invalid_argument("buffers"))?;
    let mut views = Vec::new();
    for index in 0..array.length() {
        let view = array.get_index(scope, index).ok_or(Throw::Pending)?;
        views.push(v8::Local::try_from(view).map_err(|_| invalid_argument("buffers"))?);
    }
    Ok(views)
}

fn number_answer(count: usize) -> Answer {
    #[expect(clippy::cast_precision_loss, reason = "a count of bytes in memory fits a double")]
    Answer::Number(count as f64)
}

/// `writeBuffer(fd, buffer, offset, length, position, request, context)`.
fn write_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = int_argument(scope, args.get(0), "fd")?;
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(1)).map_err(|_| invalid_argument("buffer"))?;
    let range = range_argument(view, args)?;
    let position = position_argument(args.get(4));
    let shape = Shape::of(scope, args, 5);
    machine!(scope => _env, kernel, process);
    let mut contents = array_buffer::Contents::default();
    let outcome = match contents.of(scope, view).get(range) {
        Some(bytes) => kernel.write(&process, fd, bytes, position),
        None => Err(Errno::EFAULT),
    };
    let outcome = outcome.map_err(failed("write"));
    deliver(scope, shape, outcome.map(number_answer))
}

/// `writeBuffers(fd, buffers, position, request)`.
fn write_buffers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = int_argument(scope, args.get(0), "fd")?;
    let views = views_argument(scope, args.get(1))?;
    let mut position = position_argument(args.get(2));
    let shape = Shape::of(scope, args, 3);
    machine!(scope => _env, kernel, process);
    let mut total = 0;
    let mut outcome = Ok(());
    for view in views {
        let mut contents = array_buffer::Contents::default();
        match kernel.write(&process, fd, contents.of(scope, view), position) {
            Ok(count) => {
                total += count;
                position = position.map(|position| position.saturating_add(count as u64));
            }
            Err(errno) => {
                outcome = Err(failed("write")(errno));
                break;
            }
        }
    }
    deliver(scope, shape, outcome.map(|()| number_answer(total)))
}

/// `writeString(fd, string, position, encoding, request, context)`.
fn write_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = int_argument(scope, args.get(0), "fd")?;
    let string = v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid_argument("string"))?;
    let position = position_argument(args.get(2));
    let encoding = Encoding::from_value(scope, args.get(3), Encoding::Utf8);
    let bytes = text::encode(scope, string, encoding);
    let shape = Shape::of(scope, args, 4);
    machine!(scope => _env, kernel, process);
    let outcome = kernel.write(&process, fd, &bytes, position).map_err(failed("write"));
    deliver(scope, shape, outcome.map(number_answer))
}

/// `readFileUtf8(path or fd, flags)`.
fn read_file_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    machine!(scope => _env, kernel, process);
    let bytes = if args.get(0).is_number() {
        let fd = int_argument(scope, args.get(0), "fd")?;
        kernel.read_file_fd(&process, fd, MAX_FILE_BYTES).map_err(failed("read"))
    } else {
        let path = path_argument(scope, args.get(0))?;
        let flags = int_argument(scope, args.get(1), "flags")?;
        let plain = flags & !secure_exec_kernel::oflag::O_CLOEXEC == secure_exec_kernel::oflag::O_RDONLY;
        if plain {
            kernel.read_file(&process, &path, MAX_FILE_BYTES).map_err(|errno| match errno {
                // Node opens, then reads: a directory fails in the second step.
                Errno::EISDIR => failed("read")(errno),
                _ => failed_at("open", &path)(errno),
            })
        } else {
            kernel.open(&process, &path, flags, 0o666).map_err(failed_at("open", &path)).and_then(|fd| {
                let bytes = kernel.read_file_fd(&process, fd, MAX_FILE_BYTES).map_err(failed("read"));
                let closed = kernel.close(&process, fd).map_err(failed("close"));
                bytes.and_then(|bytes| closed.map(|()| bytes))
            })
        }
    };
    match bytes {
        Ok(bytes) => {
            text::utf8(scope, &bytes)
        }
        Err(failure) => Err(Throw::System(Box::new(failure.system_error()))),
    }
}

/// `writeFileUtf8(path or fd, data, flags, mode)`.
fn write_file_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid_argument("data"))?;
    let bytes = text.to_rust_string_lossy(scope).into_bytes();
    machine!(scope => _env, kernel, process);
    let outcome = if args.get(0).is_number() {
        let fd = int_argument(scope, args.get(0), "fd")?;
        kernel.write_file_fd(&process, fd, &bytes).map_err(failed("write"))
    } else {
        let path = path_argument(scope, args.get(0))?;
        let flags = int_argument(scope, args.get(2), "flag")?;
        let mode = u32_argument(scope, args.get(3), "mode")?;
        kernel.write_file(&process, &path, &bytes, flags, mode).map_err(failed_at("open", &path))
    };
    deliver(scope, Shape::Sync, outcome.map(|()| Answer::Undefined))
}

// ---- requests and handles

/// An `FSReqCallback`.
struct Request {
    context: AsyncContext,
}

fn new_fs_req_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(Throw::type_error("ERR_CONSTRUCT_CALL_REQUIRED", "Class constructor FSReqCallback cannot be invoked without `new`"));
    }
    let env = Env::of(scope);
    let context = env.new_async_context(scope);
    env.objects.wrap(scope, args.this(), std::rc::Rc::new(Request { context }));
    Ok(v8::undefined(scope).into())
}

/// A `FileHandle`: owns a descriptor until it is closed or released.
struct FileHandle {
    fd: std::cell::Cell<Option<i32>>,
    async_id: f64,
}

fn make_file_handle<'s>(scope: &mut v8::PinScope<'s, '_>, env: &Env, fd: i32) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let fd = v8::Integer::new(scope, fd).into();
    let constructor = env.function(scope, "fs.FileHandle").ok_or(Throw::Pending)?;
    constructor.new_instance(scope, &[fd]).ok_or(Throw::Pending)
}

fn new_file_handle<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(Throw::type_error("ERR_CONSTRUCT_CALL_REQUIRED", "Class constructor FileHandle cannot be invoked without `new`"));
    }
    let fd = int_argument(scope, args.get(0), "fd")?;
    let env = Env::of(scope);
    let async_id = env.new_async_id(scope);
    env.objects.wrap(scope, args.this(), std::rc::Rc::new(FileHandle { fd: std::cell::Cell::new(Some(fd)), async_id }));
    Ok(v8::undefined(scope).into())
}

fn file_handle<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<std::rc::Rc<FileHandle>, Throw> {
    Env::of(scope)
        .objects
        .unwrap::<FileHandle>(scope, args.this())
        .ok_or_else(|| Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" must be of type FileHandle"))
}

fn file_handle_fd<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = file_handle(scope, args)?.fd.get().unwrap_or(-1);
    Ok(v8::Integer::new(scope, fd).into())
}

fn file_handle_async_id<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = file_handle(scope, args)?.async_id;
    Ok(v8::Number::new(scope, id).into())
}

fn file_handle_close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = file_handle(scope, args)?;
    machine!(scope => _env, kernel, process);
    let outcome = match handle.fd.take() {
        Some(fd) => kernel.close(&process, fd),
        None => Err(Errno::EBADF),
    };
    let outcome = outcome.map(|()| Answer::Undefined).map_err(failed("close"));
    deliver(scope, Shape::Promise, outcome)
}

fn file_handle_release_fd<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = file_handle(scope, args)?.fd.take().unwrap_or(-1);
    Ok(v8::Integer::new(scope, fd).into())
}

/// Whether a path is a directory, for other bindings.
pub fn is_directory(stat: &Stat) -> bool {
    stat.file_type == FileType::Directory
}
