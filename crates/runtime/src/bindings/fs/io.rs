//! Reading and writing, where the kernel may say "not yet": a synchronous call waits, an asynchronous one answers when
//! the descriptor is ready.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use secure_exec_kernel::{Errno, Interest, OpenFile};

use super::answer::{Answer, FsState, Shape, Target, deliver, failed};
use crate::array_buffer;
use crate::binding::Ret;
use crate::env::Env;
use crate::event_loop::ActiveGuard;
use crate::throw::Throw;

/// How often a thread that waits for a descriptor looks whether its process has ended.
const LOOK: Duration = Duration::from_millis(10);
/// What a waiting call costs beside its bytes.
const CALL_BYTES: usize = 512;

/// What is read into or written from.
pub enum Io<'s> {
    /// Fill these views in turn.
    Read(Vec<(v8::Local<'s, v8::ArrayBufferView>, Range<usize>)>),
    /// Write these views in turn.
    Write(Vec<(v8::Local<'s, v8::ArrayBufferView>, Range<usize>)>),
    /// Write these bytes.
    WriteBytes(Vec<u8>),
}

enum Kept {
    Read(Vec<(v8::Global<v8::ArrayBufferView>, Range<usize>)>),
    Write(Vec<(v8::Global<v8::ArrayBufferView>, Range<usize>)>),
    WriteBytes(Vec<u8>),
}

/// An asynchronous call whose descriptor is not ready.
struct Waiting {
    target: Target,
    io: Kept,
    fd: i32,
    file: Arc<OpenFile>,
    position: Option<u64>,
    bytes: usize,
    _alive: ActiveGuard,
}

#[derive(Default)]
struct Calls {
    waiting: RefCell<HashMap<u64, Waiting>>,
    next: Cell<u64>,
}

impl<'s> Io<'s> {
    fn interest(&self) -> Interest {
        if matches!(self, Self::Read(_)) {
            Interest::Readable
        } else {
            Interest::Writable
        }
    }

    fn syscall(&self) -> &'static str {
        if matches!(self, Self::Read(_)) {
            "read"
        } else {
            "write"
        }
    }

    fn keep(self, scope: &mut v8::PinScope<'s, '_>) -> Kept {
        let keep = |views: Vec<(v8::Local<'s, v8::ArrayBufferView>, Range<usize>)>| {
            views
                .into_iter()
                .map(|(view, range)| (v8::Global::new(scope, view), range))
                .collect()
        };
        match self {
            Self::Read(views) => Kept::Read(keep(views)),
            Self::Write(views) => Kept::Write(keep(views)),
            Self::WriteBytes(bytes) => Kept::WriteBytes(bytes),
        }
    }

    /// One try. A view that has become smaller is `EFAULT`, as memory that is gone.
    fn attempt(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Env,
        fd: i32,
        file: &OpenFile,
        position: Option<u64>,
    ) -> Result<usize, Errno> {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return Err(Errno::EINTR);
        };
        let mut total: usize = 0;
        match self {
            // libuv's answer to no buffers at all.
            Self::Read(views) | Self::Write(views) if views.is_empty() => {
                return Err(Errno::EINVAL);
            }
            Self::Read(views) => {
                for (view, range) in views {
                    let at = position.map(|position| position.saturating_add(total as u64));
                    let Some(bytes) = array_buffer::writable(scope, *view).get_mut(range.clone())
                    else {
                        return Err(Errno::EFAULT);
                    };
                    let step = kernel.read_from(&process, file, bytes, at);
                    match step {
                        Ok(count) => {
                            total += count;
                            if count < range.len() {
                                break;
                            }
                        }
                        Err(_) if total > 0 => break,
                        Err(errno) => return Err(errno),
                    }
                }
            }
            Self::Write(views) => {
                for (view, range) in views {
                    let at = position.map(|position| position.saturating_add(total as u64));
                    let mut contents = array_buffer::Contents::default();
                    let Some(bytes) = contents.of_range(scope, *view, range.clone()) else {
                        return Err(Errno::EFAULT);
                    };
                    match kernel.write(&process, fd, bytes, at) {
                        Ok(count) => {
                            total += count;
                            if count < range.len() {
                                break;
                            }
                        }
                        Err(_) if total > 0 => break,
                        Err(errno) => return Err(errno),
                    }
                }
            }
            Self::WriteBytes(bytes) => total = kernel.write(&process, fd, bytes, position)?,
        }
        Ok(total)
    }
}

/// Runs one read or write and answers in the call's shape.
pub fn run<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    shape: Shape<'s>,
    fd: i32,
    position: Option<u64>,
    io: Io<'s>,
) -> Ret<'s> {
    let syscall = io.syscall();
    let file = match env.process()?.file(fd) {
        Ok(file) => file,
        Err(errno) => return deliver(scope, shape, Err(failed(syscall)(errno))),
    };
    loop {
        match io.attempt(scope, env, fd, &file, position) {
            Err(Errno::EAGAIN) => {}
            outcome => return deliver(scope, shape, outcome.map(count).map_err(failed(syscall))),
        }
        match Target::new(scope, env, &shape)? {
            None => block(env, fd, io.interest())?,
            Some((target, value)) => {
                wait(scope, env, target, fd, file, position, io);
                return Ok(value);
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of bytes in memory fits a double"
)]
fn count(count: usize) -> Answer {
    Answer::Number(count as f64)
}

/// Waits until a descriptor is ready. Returns with an error when the process ends meanwhile.
pub fn block(env: &Env, fd: i32, interest: Interest) -> Result<(), Throw> {
    let signal = Arc::new((Mutex::new(false), Condvar::new()));
    let wake = signal.clone();
    let syscall = if interest == Interest::Readable {
        "read"
    } else {
        "write"
    };
    env.kernel()?
        .on_ready(
            &*env.process()?,
            fd,
            interest,
            Box::new(move || {
                *wake.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
                wake.1.notify_one();
            }),
        )
        .map_err(|errno| Throw::system(errno, syscall))?;
    let mut ready = signal.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !*ready {
        if env.is_ending() {
            return Err(Throw::Pending);
        }
        ready = signal
            .1
            .wait_timeout(ready, LOOK)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    Ok(())
}

fn wait<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    target: Target,
    fd: i32,
    file: Arc<OpenFile>,
    position: Option<u64>,
    io: Io<'s>,
) {
    let interest = io.interest();
    let syscall = io.syscall();
    let bytes = CALL_BYTES
        + match &io {
            Io::WriteBytes(bytes) => bytes.len(),
            Io::Read(views) | Io::Write(views) => views.len() * 32,
        };
    if !env.extension::<FsState>().hold(bytes) {
        return target.settle_later(env, Err(failed(syscall)(Errno::ENOMEM)));
    }
    let calls = env.extension::<Calls>();
    let id = calls.next.get();
    calls.next.set(id + 1);
    let io = io.keep(scope);
    let call = Waiting {
        target,
        io,
        fd,
        file,
        position,
        bytes,
        _alive: env.keep_alive(),
    };
    calls.waiting.borrow_mut().insert(id, call);
    arm(env, id, fd, interest);
}

/// Makes the loop look at a waiting call once its descriptor is ready.
fn arm(env: &Rc<Env>, id: u64, fd: i32, interest: Interest) {
    let inbox = env.shared().inbox.clone();
    let armed = env
        .kernel()
        .ok()
        .zip(env.process().ok())
        .is_some_and(|(kernel, process)| {
            let wake = Box::new(move || {
                inbox.send_unref(Box::new(move |scope, env| retry(scope, env, id)));
            });
            kernel.on_ready(&process, fd, interest, wake).is_ok()
        });
    if !armed {
        // The descriptor was closed: nothing more will come of it.
        let call = env.extension::<Calls>().waiting.borrow_mut().remove(&id);
        if let Some(call) = call {
            env.extension::<FsState>().release(call.bytes);
            let syscall = if interest == Interest::Readable {
                "read"
            } else {
                "write"
            };
            call.target
                .settle_later(env, Err(failed(syscall)(Errno::EBADF)));
        }
    }
}

fn retry(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, id: u64) {
    let calls = env.extension::<Calls>();
    let Some(call) = calls.waiting.borrow_mut().remove(&id) else {
        return;
    };
    let open = |views: &Vec<(v8::Global<v8::ArrayBufferView>, Range<usize>)>| {
        views
            .iter()
            .map(|(view, range)| (v8::Local::new(scope, view), range.clone()))
            .collect()
    };
    let io = match &call.io {
        Kept::Read(views) => Io::Read(open(views)),
        Kept::Write(views) => Io::Write(open(views)),
        Kept::WriteBytes(bytes) => Io::WriteBytes(bytes.clone()),
    };
    let (fd, interest, syscall) = (call.fd, io.interest(), io.syscall());
    match io.attempt(scope, env, fd, &call.file, call.position) {
        Err(Errno::EAGAIN) => {
            calls.waiting.borrow_mut().insert(id, call);
            arm(env, id, fd, interest);
        }
        outcome => {
            env.extension::<FsState>().release(call.bytes);
            call.target
                .settle(scope, env, outcome.map(count).map_err(failed(syscall)));
        }
    }
}
