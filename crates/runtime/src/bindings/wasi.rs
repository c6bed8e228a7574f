//! `internalBinding('wasi')`: WASI preview 1 for WebAssembly programs. Sources: `src/node_wasi.cc`, uvwasi.
//!
//! ```text
//!  program (wasm) --numbers--> the call, here --> paths.rs: beneath a directory that was given --> Kernel
//!        ^                        |
//!        |                        +--> table.rs: its descriptors and their rights
//!        +------ memory.rs -------+
//! ```
//!
//! What a program gets is what its process has: its files through the kernel's own checks, its descriptors 0, 1 and 2,
//! its clock. The directories and rights of WASI only take away.

mod errno;
mod files;
mod memory;
mod names;
mod paths;
mod poll;
mod process;
mod rights;
mod table;

use std::rc::{Rc, Weak};
use std::sync::Arc;

use secure_exec_kernel::{Errno as KernelErrno, Kernel, MAX_ARGUMENT_BYTES, Process, oflag};

use errno::{Errno, Failure, Outcome};
use memory::Memory;
use paths::Directory;
use table::{Behind, DESCRIPTOR_BYTES, Descriptor, Table};

use crate::binding::{Args, Binding, Class, Function, Ret, function};
use crate::bindings::fs::{answer::constructor_call, machine};
use crate::bindings::messaging::memory_budget;
use crate::env::Env;
use crate::permission_model::Scope;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "wasi",
    classes: &[Class {
        name: "WASI",
        constructor: Some(function!(construct)),
        methods: &CALLS,
        own_methods: &[("_setMemory", function!(set_memory))],
        extra_fields: 1,
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

/// The internal field with the program's `WebAssembly.Memory`.
const MEMORY: usize = 1;

/// Texts as programs in C read them: one after the other, each with a zero at its end.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

/// The Rust side of a `WASI`.
struct Wasi {
    args: Strings,
    environment: Strings,
    table: Table,
    env: Weak<Env>,
}

/// One call of a program.
struct Call<'s> {
    env: Rc<Env>,
    kernel: Arc<Kernel>,
    process: Arc<Process>,
    wasi: Rc<Wasi>,
    memory: v8::Local<'s, v8::WasmMemoryObject>,
}

impl<'s> Call<'s> {
    fn of(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Self, Throw> {
        machine!(scope => env, kernel, process);
        let wasi = wasi_of(scope, &env, args)?;
        let memory = args.this().get_internal_field(scope, MEMORY);
        let memory = memory
            .and_then(|memory| v8::Local::<v8::WasmMemoryObject>::try_from(memory).ok())
            .ok_or_else(|| {
                Throw::error("ERR_WASI_NOT_STARTED", "wasi.start() has not been called")
            })?;
        Ok(Self {
            env,
            kernel,
            process,
            wasi,
            memory,
        })
    }

    /// The program's memory as it is now.
    fn memory(&self) -> Memory<'s> {
        Memory::of(self.memory)
    }

    /// An error once the process has an end: for loops whose length the program chooses.
    fn go_on(&self) -> Outcome {
        if self.env.is_ending() {
            return Err(Failure::Throw(Throw::Pending));
        }
        Ok(())
    }
}

fn wasi_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    args: &Args<'s>,
) -> Result<Rc<Wasi>, Throw> {
    env.objects.unwrap(scope, args.this()).ok_or_else(|| {
        Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" must be of type WASI")
    })
}

/// A number that a program passes.
trait Argument: Sized {
    /// `None` for any other value.
    fn take(value: v8::Local<v8::Value>) -> Option<Self>;
}

impl Argument for u32 {
    /// WebAssembly passes the upper half as negative numbers.
    fn take(value: v8::Local<v8::Value>) -> Option<Self> {
        let number = v8::Local::<v8::Number>::try_from(value).ok()?.value();
        let is_whole = number.fract() == 0.0;
        let fits = number >= f64::from(i32::MIN) && number <= f64::from(u32::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to fit; negative numbers wrap as in WebAssembly"
        )]
        (is_whole && fits).then_some(number as i64 as u32)
    }
}

impl Argument for u64 {
    fn take(value: v8::Local<v8::Value>) -> Option<Self> {
        let number = v8::Local::<v8::BigInt>::try_from(value).ok()?;
        Some(number.u64_value().0)
    }
}

impl Argument for i64 {
    fn take(value: v8::Local<v8::Value>) -> Option<Self> {
        let number = v8::Local::<v8::BigInt>::try_from(value).ok()?;
        Some(number.i64_value().0)
    }
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, errno: Errno) -> Ret<'s> {
    Ok(v8::Integer::new(scope, errno.0.into()).into())
}

fn answer<'s>(scope: &mut v8::PinScope<'s, '_>, outcome: Outcome) -> Ret<'s> {
    match outcome {
        Ok(()) => number(scope, Errno::SUCCESS),
        Err(Failure::Errno(errno)) => number(scope, errno),
        Err(Failure::Throw(throw)) => Err(throw),
    }
}

/// The functions of WASI: each takes exactly these numbers, else it is `EINVAL`.
macro_rules! calls {
    ($count:literal: $($module:ident::$name:ident($($argument:ident: $type:ty),*);)*) => {
        mod entries {
            use super::*;
            $(
                pub fn $name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
                    const NAMES: &[&str] = &[$(stringify!($argument)),*];
                    if usize::try_from(args.length()) != Ok(NAMES.len()) {
                        return number(scope, Errno::EINVAL);
                    }
                    let mut _values = (0..args.length()).map(|index| args.get(index));
                    $(
                        let Some($argument) = _values.next().and_then(<$type>::take) else {
                            return number(scope, Errno::EINVAL);
                        };
                    )*
                    let call = Call::of(scope, args)?;
                    let outcome = $module::$name(scope, &call $(, $argument)*);
                    answer(scope, outcome)
                }
            )*
        }
        static CALLS: [Function; $count] = [
            $((stringify!($name), function!(entries::$name)),)*
        ];
    };
}

calls! { 46:
    process::args_get(list: u32, texts: u32);
    process::args_sizes_get(count: u32, bytes: u32);
    process::clock_res_get(clock: u32, at: u32);
    process::clock_time_get(clock: u32, precision: u64, at: u32);
    process::environ_get(list: u32, texts: u32);
    process::environ_sizes_get(count: u32, bytes: u32);
    files::fd_advise(fd: u32, offset: u64, length: u64, advice: u32);
    files::fd_allocate(fd: u32, offset: u64, length: u64);
    files::fd_close(fd: u32);
    files::fd_datasync(fd: u32);
    files::fd_fdstat_get(fd: u32, at: u32);
    files::fd_fdstat_set_flags(fd: u32, flags: u32);
    files::fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
    files::fd_filestat_get(fd: u32, at: u32);
    files::fd_filestat_set_size(fd: u32, size: u64);
    files::fd_filestat_set_times(fd: u32, access: u64, modify: u64, flags: u32);
    files::fd_pread(fd: u32, list: u32, count: u32, offset: u64, told_at: u32);
    files::fd_prestat_get(fd: u32, at: u32);
    files::fd_prestat_dir_name(fd: u32, at: u32, room: u32);
    files::fd_pwrite(fd: u32, list: u32, count: u32, offset: u64, told_at: u32);
    files::fd_read(fd: u32, list: u32, count: u32, told_at: u32);
    files::fd_readdir(fd: u32, at: u32, room: u32, cookie: u64, told_at: u32);
    files::fd_renumber(from: u32, to: u32);
    files::fd_seek(fd: u32, offset: i64, whence: u32, told_at: u32);
    files::fd_sync(fd: u32);
    files::fd_tell(fd: u32, told_at: u32);
    files::fd_write(fd: u32, list: u32, count: u32, told_at: u32);
    names::path_create_directory(fd: u32, path: u32, length: u32);
    names::path_filestat_get(fd: u32, lookup: u32, path: u32, length: u32, at: u32);
    names::path_filestat_set_times(
        fd: u32, lookup: u32, path: u32, length: u32, access: u64, modify: u64, flags: u32
    );
    names::path_link(
        old_fd: u32, lookup: u32, old: u32, old_length: u32, new_fd: u32, new: u32, new_length: u32
    );
    names::path_open(
        fd: u32, lookup: u32, path: u32, length: u32, open: u32, base: u64, inheriting: u64, flags: u32, told_at: u32
    );
    names::path_readlink(fd: u32, path: u32, length: u32, at: u32, room: u32, told_at: u32);
    names::path_remove_directory(fd: u32, path: u32, length: u32);
    names::path_rename(old_fd: u32, old: u32, old_length: u32, new_fd: u32, new: u32, new_length: u32);
    names::path_symlink(target: u32, target_length: u32, fd: u32, path: u32, length: u32);
    names::path_unlink_file(fd: u32, path: u32, length: u32);
    poll::poll_oneoff(subscriptions: u32, events: u32, count: u32, told_at: u32);
    process::proc_exit(code: u32);
    process::proc_raise(number: u32);
    process::random_get(at: u32, length: u32);
    process::sched_yield();
    files::sock_accept(fd: u32, flags: u32, told_at: u32);
    files::sock_recv(fd: u32, list: u32, count: u32, flags: u32, told_at: u32, flags_at: u32);
    files::sock_send(fd: u32, list: u32, count: u32, flags: u32, told_at: u32);
    files::sock_shutdown(fd: u32, how: u32);
}

/// `_setMemory(memory)`
fn set_memory<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    wasi_of(scope, &env, args)?;
    if !args.get(0).is_wasm_memory_object() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "\"instance.exports.memory\" property must be a WebAssembly.Memory object",
        ));
    }
    args.this().set_internal_field(MEMORY, args.get(0).into());
    Ok(v8::undefined(scope).into())
}

/// Why a `WASI` cannot be made.
enum Refused {
    Kernel(KernelErrno),
    Throw(Throw),
}

impl From<KernelErrno> for Refused {
    fn from(errno: KernelErrno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Throw> for Refused {
    fn from(throw: Throw) -> Self {
        Self::Throw(throw)
    }
}

/// `new WASI(args, env, preopens, stdio)`
fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("WASI"));
    }
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::Wasi, b"")?;
    match wasi(scope, &env, &kernel, &process, args) {
        Ok(wasi) => {
            let held = wasi.args.cost() + wasi.environment.cost();
            env.objects
                .wrap_with(scope, args.this(), Rc::new(wasi), held);
            Ok(v8::undefined(scope).into())
        }
        Err(Refused::Throw(throw)) => Err(throw),
        Err(Refused::Kernel(errno)) => Err(init_failed(scope, errno)),
    }
}

/// Throws as Node does when uvwasi cannot begin.
fn init_failed(scope: &mut v8::PinScope<'_, '_>, errno: KernelErrno) -> Throw {
    const SYSCALL: &str = "uvwasi_init";
    let reason = crate::throw::denial_reason(errno).map_or_else(String::new, |r| format!(": {r}"));
    let code = format!("UVWASI_{}", errno.name());
    let (Some(message), Some(code), Some(syscall)) = (
        v8::String::new(scope, &format!("{code}, {SYSCALL}{reason}")),
        v8::String::new(scope, &code),
        v8::String::new(scope, SYSCALL),
    ) else {
        return Throw::Pending;
    };
    let error = v8::Exception::error(scope, message);
    let number: v8::Local<v8::Value> = v8::Integer::new(scope, Errno::from(errno).0.into()).into();
    if let Ok(object) = v8::Local::<v8::Object>::try_from(error) {
        for (key, value) in [
            ("errno", number),
            ("code", code.into()),
            ("syscall", syscall.into()),
        ] {
            if let Some(key) = v8::String::new(scope, key) {
                // A failure leaves an exception pending, as does what follows.
                let _ = object.create_data_property(scope, key.into(), value);
            }
        }
    }
    scope.throw_exception(error);
    Throw::Pending
}

fn array<'s>(args: &Args<'s>, index: i32) -> Result<v8::Local<'s, v8::Array>, Throw> {
    v8::Local::try_from(args.get(index)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The argument must be an instance of Array",
        )
    })
}

/// The texts of an array. All of them together may be as long as the arguments of a process.
fn texts<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    array: v8::Local<'s, v8::Array>,
) -> Result<Vec<Vec<u8>>, Refused> {
    let mut texts = Vec::new();
    let mut left = MAX_ARGUMENT_BYTES;
    for index in 0..array.length() {
        let text = array.get_index(scope, index).ok_or(Throw::Pending)?;
        let text = v8::Local::<v8::String>::try_from(text).map_err(|_| {
            Throw::type_error(
                "ERR_INVALID_ARG_TYPE",
                "The argument must be of type string",
            )
        })?;
        let length = crate::text::utf8_length(scope, text) + 1;
        left = left.checked_sub(length).ok_or(KernelErrno::E2BIG)?;
        texts.push(text.to_rust_string_lossy(scope).into_bytes());
    }
    Ok(texts)
}

impl Strings {
    /// A text ends at its first zero, as in C.
    fn new(texts: Vec<Vec<u8>>) -> Self {
        let mut strings = Self::default();
        for text in texts {
            let start = u32::try_from(strings.bytes.len()).unwrap_or(u32::MAX);
            strings.starts.push(start);
            let end = text.iter().position(|byte| *byte == 0);
            let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
            strings.bytes.extend_from_slice(text);
            strings.bytes.push(0);
        }
        strings
    }

    fn cost(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<u32>()
    }
}

fn wasi<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    kernel: &Kernel,
    process: &Process,
    args: &Args<'s>,
) -> Result<Wasi, Refused> {
    let (argv, variables) = (array(args, 0)?, array(args, 1)?);
    let (preopens, stdio) = (array(args, 2)?, array(args, 3)?);
    let mut fds = [0; 3];
    for (index, fd) in (0..).zip(&mut fds) {
        let value = stdio.get_index(scope, index).ok_or(Throw::Pending)?;
        *fd = value.int32_value(scope).ok_or(Throw::Pending)?;
    }
    let wasi = Wasi {
        args: Strings::new(texts(scope, argv)?),
        environment: Strings::new(texts(scope, variables)?),
        table: Table::default(),
        env: Rc::downgrade(env),
    };
    let preopens = texts(scope, preopens)?;
    let full = |_| KernelErrno::ENFILE;
    for fd in fds {
        let descriptor = Descriptor::standard(kernel, process, fd)?;
        wasi.table.insert(descriptor).map_err(full)?;
    }
    for pair in preopens.chunks_exact(2) {
        let [mapped, path] = pair else { continue };
        let real = kernel.realpath(process, path)?;
        let cost = DESCRIPTOR_BYTES + mapped.len() + real.len();
        let charge = memory_budget(env)
            .charge(scope, cost)
            .ok_or(KernelErrno::ENOMEM)?;
        let flags = oflag::O_RDONLY | oflag::O_DIRECTORY;
        let fd = kernel.open(process, &real, flags, 0)?;
        let mut descriptor = match Descriptor::new(kernel, process, fd) {
            Ok(descriptor) => descriptor,
            Err(errno) => {
                // Nobody else has it yet.
                let _ = kernel.close(process, fd);
                return Err(errno.into());
            }
        };
        descriptor.preopen = Some(mapped.clone());
        descriptor.directory = Some(Directory::new(mapped, real));
        wasi.table
            .insert(descriptor.with_charge(charge))
            .map_err(full)?;
    }
    Ok(wasi)
}

impl Drop for Wasi {
    /// What the program left open is closed; standard input, output and error are the process's.
    fn drop(&mut self) {
        let left = self.table.take_all();
        let Some(env) = self.env.upgrade() else {
            return;
        };
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        for descriptor in left {
            if matches!(descriptor.behind, Behind::Own(_)) {
                // It may be closed by its number already.
                let _ = descriptor.close(&kernel, &process);
            }
        }
    }
}
