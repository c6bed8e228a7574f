//! `internalBinding('process_wrap')`: child processes. Source: `src/process_wrap.cc`; what libuv does between it and the
//! kernel: `src/unix/process.c`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use secure_exec_kernel::{Errno, OpenFile};

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::spawn_options::{self, SpawnOptions, get, signal_text};
use crate::bindings::stream_wrap::KernelStream;
use crate::env::Env;
use crate::permission_model::Scope;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "process_wrap",
    classes: &[Class {
        name: "Process",
        parent: Some("fs.HandleWrap"),
        constructor: Some(function!(construct)),
        methods: &[("spawn", function!(spawn)), ("kill", function!(kill))],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "PROCESSWRAP",
    number: 25,
};

/// The state of a `Process`.
#[derive(Default)]
struct Child {
    /// 0 before it was started and after its end was told.
    pid: Cell<u32>,
}

/// The children of this process that have not ended, by pid.
#[derive(Default)]
struct Children(RefCell<HashMap<u32, Rc<Resource>>>);

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Process"));
    }
    let env = Env::of(scope);
    Resource::wrap_handle(
        scope,
        &env,
        args.this(),
        PROVIDER,
        stop,
        Rc::new(Child::default()),
    );
    Ok(v8::undefined(scope).into())
}

/// A handle that is closed hears nothing more of its child, which goes on.
fn stop(env: &Env, resource: &Resource) {
    let Some(child) = resource.inner::<Child>() else {
        return;
    };
    let pid = child.pid.replace(0);
    env.extension::<Children>().0.borrow_mut().remove(&pid);
}

/// One descriptor of a child.
enum Stdio {
    Ignore,
    /// One end of a pair of sockets; the stream gets the other.
    Pipe(Rc<KernelStream>),
    /// The descriptor of a stream of this process.
    Stream(Rc<KernelStream>),
    Fd(i32),
}

fn read_stdio<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Object>,
) -> Result<Vec<Stdio>, Throw> {
    spawn_options::read_stdio(scope, options, |scope, item, kind| {
        let stream = |scope: &mut v8::PinScope<'s, '_>| {
            let handle = spawn_options::object(get(scope, item, "handle")?)?;
            KernelStream::of(scope, handle)
                .map(|(_, stream)| stream)
                .ok_or_else(|| {
                    Throw::type_error("ERR_INVALID_HANDLE_TYPE", "This handle type cannot be sent")
                })
        };
        Ok(match kind {
            "ignore" => Stdio::Ignore,
            "pipe" | "overlapped" => Stdio::Pipe(stream(scope)?),
            "wrap" => Stdio::Stream(stream(scope)?),
            _ => Stdio::Fd(spawn_options::fd_of_entry(scope, item)?),
        })
    })
}

/// The child's files. Pipes are connected here already, so that their readers see an end when the child cannot start.
fn open(env: &Env, entries: &[Stdio]) -> Result<Vec<Option<Arc<OpenFile>>>, Errno> {
    let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
        return Err(Errno::ESRCH);
    };
    let mut files = Vec::with_capacity(entries.len().max(3));
    for entry in entries {
        files.push(match entry {
            // Further descriptors than the standard ones need not exist.
            Stdio::Ignore if files.len() > 2 => None,
            Stdio::Ignore => Some(OpenFile::null()),
            Stdio::Pipe(stream) => {
                if stream.has_fd() {
                    return Err(Errno::EINVAL);
                }
                let [own, other] = kernel.socketpair_files(&process)?;
                let fd = kernel.adopt(&process, own)?;
                stream.set_fd(env, fd)?;
                Some(other)
            }
            Stdio::Stream(stream) => Some(process.file(stream.open_fd(env)?)?),
            Stdio::Fd(fd) => Some(process.file(*fd)?),
        });
    }
    while files.len() < 3 {
        files.push(Some(OpenFile::null()));
    }
    Ok(files)
}

/// `spawn(options)`; answers libuv's error number or 0, and sets `pid`.
fn spawn<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, child) = Resource::this::<Child>(scope, args)?;
    Env::of(scope).require_permission(Scope::ChildProcess, b"")?;
    let options = spawn_options::object(args.get(0))?;
    let program = SpawnOptions::read(scope, options)?;
    let entries = read_stdio(scope, options)?;
    let env = Env::of(scope);
    if resource.is_closing() || child.pid.get() != 0 {
        return Ok(v8::Integer::new(scope, Errno::EINVAL.uv()).into());
    }
    let started = open(&env, &entries).and_then(|files| program.start(&env, files));
    let process = match started {
        Ok(process) => process,
        Err(errno) => return Ok(v8::Integer::new(scope, errno.uv()).into()),
    };
    let pid = process.pid();
    child.pid.set(pid);
    let number = v8::Integer::new_from_unsigned(scope, pid).into();
    set(scope, args.this(), "pid", number);
    env.extension::<Children>()
        .0
        .borrow_mut()
        .insert(pid, resource.clone());
    resource.activate(scope, &env, args.this());
    let inbox = env.shared().inbox.clone();
    let wake = Box::new(move || {
        inbox.send_unref(Box::new(move |scope, env| tell_end(scope, env, pid)));
    });
    env.kernel()?.on_exit(pid, wake);
    Ok(v8::Integer::new(scope, 0).into())
}

/// `onexit(code, signal)`
fn tell_end(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, pid: u32) {
    let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
        return;
    };
    // Somebody must wait for it, whether anyone listens or not.
    let Ok(Some(status)) = kernel.try_wait(&process, pid) else {
        return;
    };
    let resource = env.extension::<Children>().0.borrow_mut().remove(&pid);
    let Some(resource) = resource else {
        return;
    };
    if let Some(child) = resource.inner::<Child>() {
        child.pid.set(0);
    }
    let object = resource.object(scope);
    resource.set_active(env, false);
    let (Some(object), Some(signal)) =
        (object, v8::String::new(scope, &signal_text(status.signal)))
    else {
        return;
    };
    let code = v8::Number::new(scope, status.code.into()).into();
    env.make_callback_named(
        scope,
        object,
        "onexit",
        &[code, signal.into()],
        resource.context(),
    );
}

/// `kill(signal)`; answers libuv's error number or 0.
fn kill<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, child) = Resource::this::<Child>(scope, args)?;
    let signal = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    let pid = i32::try_from(child.pid.get()).unwrap_or_default();
    let sent = if pid == 0 {
        Err(Errno::ESRCH)
    } else {
        env.kernel()?.kill(&*env.process()?, pid, signal)
    };
    Ok(v8::Integer::new(scope, sent.map_or_else(Errno::uv, |()| 0)).into())
}
