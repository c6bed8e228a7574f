//! `internalBinding('spawn_sync')`: a child that the caller waits for. Source: `src/spawn_sync.cc`.
//!
//! The caller's thread sleeps on its inbox until a pipe, the child's end or the time limit has something to do; the
//! watchdog wakes it the same way when its own process is to end.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use secure_exec_kernel::{
    Errno, ExitStatus, OpenFile, PipeReader, PipeWriter, Process, SIGKILL, SIGTERM, Wake, pipe,
};

use crate::array_buffer::{self, Contents};
use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::spawn_options::{self, SpawnOptions, get, signal_text};
use crate::env::Env;
use crate::event_loop::Inbox;
use crate::permission_model::Scope;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "spawn_sync",
    functions: &[("spawn", function!(spawn))],
    ..Binding::DEFAULT
};

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// One descriptor of the child, as asked for.
enum Stdio {
    Ignore,
    Fd(i32),
    Pipe {
        input: Option<Vec<u8>>,
        writable: bool,
    },
}

/// What the caller holds of one descriptor.
#[derive(Default)]
struct Channel {
    input: Option<(PipeWriter, Vec<u8>, usize)>,
    output: Option<PipeReader>,
    /// What was read, when the child writes to it.
    read: Option<Vec<u8>>,
    /// Whether a wake is under way, so that each is asked for once.
    armed: Arc<AtomicBool>,
}

struct Limits {
    timeout: Option<Duration>,
    max_buffer: usize,
    kill_signal: i32,
}

fn read_stdio<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Object>,
) -> Result<Vec<Stdio>, Throw> {
    spawn_options::read_stdio(scope, options, |scope, item, kind| {
        Ok(match kind {
            "ignore" => Stdio::Ignore,
            "pipe" => {
                let input = get(scope, item, "input")?;
                let mut contents = Contents::default();
                let readable = get(scope, item, "readable")?.boolean_value(scope);
                let bytes = (readable && input.is_array_buffer_view())
                    .then(|| contents.of_value(scope, input).map(<[u8]>::to_vec))
                    .flatten();
                let writable = get(scope, item, "writable")?.boolean_value(scope);
                Stdio::Pipe {
                    input: readable.then(|| bytes.unwrap_or_default()),
                    writable,
                }
            }
            _ => Stdio::Fd(spawn_options::fd_of_entry(scope, item)?),
        })
    })
}

fn read_limits<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Object>,
    most: usize,
) -> Result<Limits, Throw> {
    let timeout = get(scope, options, "timeout")?;
    let timeout = timeout.number_value(scope).filter(|time| *time > 0.0);
    let max_buffer = get(scope, options, "maxBuffer")?;
    let max_buffer = max_buffer
        .number_value(scope)
        .filter(|max| *max > 0.0 && *max < most as f64);
    let kill_signal = get(scope, options, "killSignal")?;
    let kill_signal = kill_signal.int32_value(scope).filter(|signal| *signal > 0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    Ok(Limits {
        timeout: timeout.and_then(|time| Duration::try_from_secs_f64(time / 1000.0).ok()),
        max_buffer: max_buffer.map_or(most, |max| max as usize),
        kill_signal: kill_signal.unwrap_or(SIGTERM),
    })
}

/// Files of a child, by descriptor.
type Files = Vec<Option<Arc<OpenFile>>>;

/// The child's files and what the caller keeps.
fn open(env: &Env, entries: Vec<Stdio>) -> Result<(Files, Vec<Channel>), Errno> {
    let process = env.process().map_err(|_| Errno::ESRCH)?;
    let (mut files, mut channels) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut channel = Channel::default();
        files.push(match entry {
            Stdio::Ignore if files.len() > 2 => None,
            Stdio::Ignore => Some(OpenFile::null()),
            Stdio::Fd(fd) => Some(process.file(fd)?),
            Stdio::Pipe {
                input,
                writable: true,
            } => {
                let (reader, writer) = pipe();
                channel.output = Some(reader);
                channel.read = Some(Vec::new());
                // A descriptor that the child reads and writes gets no input: it would read its own output.
                drop(input);
                Some(OpenFile::of_writer(writer))
            }
            Stdio::Pipe {
                input,
                writable: false,
            } => {
                let (reader, writer) = pipe();
                channel.input = Some((writer, input.unwrap_or_default(), 0));
                Some(OpenFile::of_reader(reader))
            }
        });
        channels.push(channel);
    }
    while files.len() < 3 {
        files.push(Some(OpenFile::null()));
    }
    Ok((files, channels))
}

impl Channel {
    fn is_open(&self) -> bool {
        self.input.is_some() || self.output.is_some()
    }

    fn close(&mut self) {
        self.input = None;
        self.output = None;
    }

    fn wake(&self, inbox: &Inbox) -> Option<Wake> {
        if self.armed.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (armed, inbox) = (self.armed.clone(), inbox.clone());
        Some(Box::new(move || {
            armed.store(false, Ordering::Release);
            inbox.wake();
        }))
    }

    /// Moves what can be moved now, and asks to be woken for the rest.
    ///
    /// `buffered` counts what all pipes gave. The piece that goes past the limit is kept, as Node keeps it.
    fn pump(
        &mut self,
        inbox: &Inbox,
        max_buffer: usize,
        buffered: &mut usize,
    ) -> Result<(), Errno> {
        while let Some((writer, bytes, at)) = &mut self.input {
            match bytes.get(*at..).filter(|rest| !rest.is_empty()) {
                None => self.input = None,
                Some(rest) => match writer.write(rest) {
                    Ok(written) => *at += written,
                    Err(Errno::EAGAIN) => {
                        let writer = writer.clone();
                        if let Some(wake) = self.wake(inbox) {
                            writer.on_writable(wake);
                        }
                        break;
                    }
                    // A child that does not read its input is none of our business.
                    Err(_) => self.input = None,
                },
            }
        }
        while let Some(reader) = &self.output {
            let mut chunk = vec![0; READ_BYTES];
            match reader.read(&mut chunk) {
                Ok(0) => self.output = None,
                Ok(length) => {
                    let read = self.read.get_or_insert_default();
                    read.extend_from_slice(chunk.get(..length).unwrap_or_default());
                    *buffered = buffered.saturating_add(length);
                    if *buffered > max_buffer {
                        return Err(Errno::ENOBUFS);
                    }
                }
                Err(Errno::EAGAIN) => {
                    if let Some(wake) = self.wake(inbox) {
                        reader.on_readable(wake);
                    }
                    break;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// How the child ended, and the first thing that went wrong.
struct Ending {
    status: ExitStatus,
    error: Option<Errno>,
}

/// Waits for the child and its pipes; `None` when this process itself is to end.
fn wait(
    env: &Rc<Env>,
    child: &Process,
    channels: &mut [Channel],
    limits: &Limits,
) -> Option<Ending> {
    let (kernel, own) = (env.kernel().ok()?, env.process().ok()?);
    let inbox = env.shared().inbox.clone();
    let pid = i32::try_from(child.pid()).ok()?;
    let deadline = limits
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let exit_inbox = inbox.clone();
    kernel.on_exit(child.pid(), Box::new(move || exit_inbox.wake()));
    let (mut status, mut error, mut killed) = (None, None, false);
    let mut buffered = 0;
    loop {
        if env.is_ending() {
            // It has no end of its own to tell; it ends with this process.
            let _ = kernel.kill(&own, pid, SIGKILL);
            return None;
        }
        if !killed {
            let pumped = channels
                .iter_mut()
                .try_for_each(|channel| channel.pump(&inbox, limits.max_buffer, &mut buffered));
            let failure = match pumped {
                Err(errno) => Some(errno),
                Ok(()) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    Some(Errno::ETIMEDOUT)
                }
                Ok(()) => None,
            };
            if let Some(errno) = failure {
                killed = true;
                error = Some(errno);
                channels.iter_mut().for_each(Channel::close);
                if kernel.kill(&own, pid, limits.kill_signal).is_err() {
                    // A signal that cannot be sent must not leave it running; it may have ended by itself.
                    let _ = kernel.kill(&own, pid, SIGKILL);
                }
            }
        }
        if status.is_none() {
            status = kernel.try_wait(&own, child.pid()).ok()?;
        }
        if let Some(status) = status
            && !channels.iter().any(Channel::is_open)
        {
            return Some(Ending { status, error });
        }
        inbox.wait_for_wake(deadline.filter(|_| !killed));
    }
}

/// `spawn(options)`: `{ pid, status, signal, output, error }`.
fn spawn<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    env.require_permission(Scope::ChildProcess, b"")?;
    let options = spawn_options::object(args.get(0))?;
    let most = env.vm().map_or(0, |vm| vm.options().limits.memory_bytes);
    let program = SpawnOptions::read(scope, options)?;
    let limits = read_limits(scope, options, most)?;
    let entries = read_stdio(scope, options)?;
    let started = open(&env, entries)
        .and_then(|(files, channels)| Ok((program.start(&env, files)?, channels)));
    let (child, mut channels) = match started {
        Ok(started) => started,
        Err(errno) => return result(scope, 0, None, Some(errno), &[]),
    };
    let Some(ending) = wait(&env, &child, &mut channels, &limits) else {
        return Err(Throw::Pending);
    };
    // The clock stood still meanwhile.
    env.advance_clock();
    result(
        scope,
        child.pid(),
        Some(ending.status),
        ending.error,
        &channels,
    )
}

fn result<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    pid: u32,
    status: Option<ExitStatus>,
    error: Option<Errno>,
    channels: &[Channel],
) -> Ret<'s> {
    let object = v8::Object::new(scope);
    let null: v8::Local<v8::Value> = v8::null(scope).into();
    if let Some(errno) = error {
        let errno = v8::Integer::new(scope, errno.uv()).into();
        set(scope, object, "error", errno);
    }
    let code = match status {
        Some(ExitStatus { code, signal: None }) => v8::Integer::new(scope, code).into(),
        _ => null,
    };
    set(scope, object, "status", code);
    let signal = match status.and_then(|status| status.signal) {
        Some(signal) => v8::String::new(scope, &signal_text(Some(signal)))
            .ok_or(Throw::Pending)?
            .into(),
        None => null,
    };
    set(scope, object, "signal", signal);
    let output = if status.is_some() {
        let mut items = Vec::with_capacity(channels.len());
        for channel in channels {
            items.push(match &channel.read {
                Some(bytes) => array_buffer::buffer_of(scope, bytes)?.into(),
                None => null,
            });
        }
        v8::Array::new_with_elements(scope, &items).into()
    } else {
        null
    };
    set(scope, object, "output", output);
    let pid = v8::Integer::new_from_unsigned(scope, pid).into();
    set(scope, object, "pid", pid);
    Ok(object.into())
}
