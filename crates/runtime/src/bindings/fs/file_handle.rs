//! `FileHandle`: owns a descriptor until it is closed, released or transferred.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use secure_exec_kernel::{Errno, OpenFile};

use super::answer::{Answer, Target, constructor_call, failed};
use super::argument;
use super::resource::{Provider, Resource};
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::message::TransferData;
use crate::throw::Throw;

const PROVIDER: Provider = Provider {
    name: "FILEHANDLE",
    number: 4,
};
const CLOSE_PROVIDER: Provider = Provider {
    name: "FILEHANDLECLOSEREQ",
    number: 5,
};

/// See the module's text.
pub struct FileHandle {
    fd: Cell<Option<i32>>,
    closing: RefCell<Option<v8::Global<v8::Promise>>>,
    env: Weak<Env>,
}

/// A new object for `fd`.
pub fn create<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    fd: i32,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let constructor = env.function(scope, "fs.FileHandle").ok_or(Throw::Pending)?;
    let fd = v8::Integer::new(scope, fd).into();
    constructor.new_instance(scope, &[fd]).ok_or(Throw::Pending)
}

/// `new FileHandle(fd)`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("FileHandle"));
    }
    let fd = argument::fd(scope, args.get(0))?;
    let env = Env::of(scope);
    let handle = FileHandle {
        fd: Cell::new(Some(fd)),
        closing: RefCell::default(),
        env: Rc::downgrade(&env),
    };
    Resource::wrap(scope, &env, args.this(), PROVIDER, Rc::new(handle));
    Ok(v8::undefined(scope).into())
}

/// `fileHandle.fd`
pub fn fd<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, handle) = Resource::this::<FileHandle>(scope, args)?;
    Ok(v8::Integer::new(scope, handle.fd.get().unwrap_or(-1)).into())
}

/// `fileHandle.close()`
pub fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, handle) = Resource::this::<FileHandle>(scope, args)?;
    if let Some(promise) = &*handle.closing.borrow() {
        return Ok(v8::Local::new(scope, promise).into());
    }
    let env = Env::of(scope);
    let outcome = match handle.fd.take() {
        Some(fd) => env.kernel()?.close(&*env.process()?, fd),
        None => Err(Errno::EBADF),
    };
    let (target, promise) = Target::promise(scope, &env, CLOSE_PROVIDER, "fs.FileHandleCloseReq")?;
    if let Ok(promise) = v8::Local::<v8::Promise>::try_from(promise) {
        handle
            .closing
            .replace(Some(v8::Global::new(scope, promise)));
    }
    target.settle_later(
        &env,
        outcome.map(|()| Answer::Undefined).map_err(failed("close")),
    );
    Ok(promise)
}

/// `fileHandle.releaseFD()`
pub fn release_fd<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, handle) = Resource::this::<FileHandle>(scope, args)?;
    let fd = handle.fd.take().unwrap_or(-1);
    Ok(v8::Integer::new(scope, fd).into())
}

/// Counts of a stream; a handle is not read as one.
pub fn no_bytes<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Resource::this::<FileHandle>(scope, args)?;
    Ok(v8::Integer::new(scope, 0).into())
}

/// Methods of a stream: the library reads and writes handles by their descriptor.
pub fn no_stream<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Resource::this::<FileHandle>(scope, args)?;
    Ok(v8::Integer::new(scope, -Errno::ENOSYS.number()).into())
}

impl FileHandle {
    /// Whether it owns a descriptor that can move to another process.
    pub fn is_open(&self) -> bool {
        self.fd.get().is_some()
    }

    /// Takes the open file for a message.
    pub fn detach(&self) -> Option<Transfer> {
        let env = self.env.upgrade()?;
        let (kernel, process) = (env.kernel().ok()?, env.process().ok()?);
        let fd = self.fd.take()?;
        let file = process.file(fd).ok()?;
        kernel.close(&process, fd).ok()?;
        Some(Transfer(file))
    }
}

impl Drop for FileHandle {
    /// The object was collected while open: the descriptor is closed, with a warning.
    fn drop(&mut self) {
        let (Some(fd), Some(env)) = (self.fd.take(), self.env.upgrade()) else {
            return;
        };
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        let closed = kernel.close(&process, fd);
        if env.is_ending() {
            return;
        }
        env.event_loop
            .complete_unref(Box::new(move |scope, env| warn(scope, env, fd, closed)));
    }
}

fn warn(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, fd: i32, closed: Result<(), Errno>) {
    #[derive(Default)]
    struct Deprecated(Cell<bool>);
    const TEXT: &str = "Closing a FileHandle object on garbage collection is deprecated. Please close FileHandle \
                        objects explicitly using FileHandle.prototype.close(). In the future, an error will be \
                        thrown if a file descriptor is closed during garbage collection.";
    if let Err(errno) = closed {
        let text = format!("Closing file descriptor {fd} on garbage collection failed");
        let error = crate::throw::SystemError {
            errno,
            syscall: "close",
            path: None,
            dest: None,
            message: Some(text),
        };
        let error = error.into_value(scope);
        env.trigger_uncaught_exception(scope, error, None, false);
        return;
    }
    super::emit_warning(
        scope,
        env,
        &[&format!(
            "Closing file descriptor {fd} on garbage collection"
        )],
    );
    if !env.extension::<Deprecated>().0.replace(true) {
        super::emit_warning(scope, env, &[TEXT, "DeprecationWarning", "DEP0137"]);
    }
}

/// An open file on its way to another object; closed if it never arrives.
pub struct Transfer(Arc<OpenFile>);

impl TransferData for Transfer {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let created = receive(scope, env, self.0);
        created.map_err(|throw| throw.throw(scope)).ok()
    }
}

fn receive<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    file: Arc<OpenFile>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let fd = env
        .kernel()?
        .adopt(&*env.process()?, file)
        .map_err(|errno| Throw::system(errno, "open"))?;
    create(scope, env, fd)
}
