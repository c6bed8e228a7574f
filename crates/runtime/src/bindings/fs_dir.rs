//! `internalBinding('fs_dir')`: open directories. Source: `src/node_dir.cc`.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use secure_exec_kernel::Errno;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::{Answer, Shape, deliver, failed, failed_at};
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::fs::{argument, emit_warning, machine, permitted_to_read};
use crate::env::Env;
use crate::permission_model::Scope;
use crate::text::Encoding;
use crate::throw::Throw;
use crate::tracer::FS_DIR_ASYNC;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "fs_dir",
    functions: &[
        ("opendir", function!(opendir)),
        ("opendirSync", function!(opendir_sync)),
    ],
    classes: &[Class {
        name: "DirHandle",
        parent: Some("fs.AsyncWrap"),
        methods: &[("read", function!(read)), ("close", function!(close))],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "DIRHANDLE",
    number: 1,
};
/// Entries that one read answers at most.
const MAX_ENTRIES: usize = 1 << 16;

/// Owns a directory's descriptor until it is closed.
struct DirHandle {
    fd: Cell<Option<i32>>,
    env: Weak<Env>,
}

/// A new `DirHandle` for `fd`.
pub fn create<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    fd: i32,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let object = env.new_instance(scope, "fs_dir.DirHandle")?;
    let handle = DirHandle {
        fd: Cell::new(Some(fd)),
        env: Rc::downgrade(env),
    };
    Resource::wrap(scope, env, object, PROVIDER, Rc::new(handle));
    Ok(object)
}

/// `opendir(path, encoding, request)`
fn opendir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let shape = Shape::of(scope, args, 2)?;
    machine!(scope => env, kernel, process);
    let begun = env.trace_time();
    let outcome = permitted_to_read(&env, &path)?.and_then(|()| {
        kernel
            .opendir(&process, &path)
            .map(Answer::DirHandle)
            .map_err(failed_at("opendir", &path))
    });
    env.trace_since(begun, FS_DIR_ASYNC, "opendir");
    deliver(scope, shape, outcome)
}

/// `opendirSync(path)`
fn opendir_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemRead, &path)?;
    let outcome = kernel.opendir(&process, &path).map(Answer::DirHandle);
    deliver(scope, Shape::Sync, outcome.map_err(failed("opendir")))
}

/// `read(encoding, bufferSize, request)`
fn read<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let encoding = Encoding::from_value(scope, args.get(0), Encoding::Utf8);
    let count = argument::size(args.get(1), "bufferSize")?.clamp(1, MAX_ENTRIES);
    let shape = Shape::of(scope, args, 2)?;
    let (_, handle) = Resource::this::<DirHandle>(scope, args)?;
    machine!(scope => _env, kernel, process);
    let outcome = match handle.fd.get() {
        Some(fd) => kernel
            .readdir_fd(&process, fd, count)
            .map(|entries| Answer::Listed(entries, encoding)),
        None => Err(Errno::EBADF),
    };
    deliver(scope, shape, outcome.map_err(failed("scandir")))
}

/// `close(request)`
fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let shape = Shape::of(scope, args, 0)?;
    let (_, handle) = Resource::this::<DirHandle>(scope, args)?;
    machine!(scope => _env, kernel, process);
    let outcome = match handle.fd.take() {
        Some(fd) => kernel.close(&process, fd),
        None => Err(Errno::EBADF),
    };
    deliver(
        scope,
        shape,
        outcome
            .map(|()| Answer::Undefined)
            .map_err(failed("closedir")),
    )
}

impl Drop for DirHandle {
    /// The object was collected while open: the descriptor is closed, with a warning.
    fn drop(&mut self) {
        let (Some(fd), Some(env)) = (self.fd.take(), self.env.upgrade()) else {
            return;
        };
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        // A descriptor that the guest has closed by its number is closed already.
        let _ = kernel.close(&process, fd);
        if !env.is_ending() {
            env.event_loop.complete_unref(Box::new(|scope, env| {
                emit_warning(
                    scope,
                    env,
                    &["Closing directory handle on garbage collection"],
                );
            }));
        }
    }
}
