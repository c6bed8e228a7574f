//! Commands that the VM does not have, run by the embedder's executor (`commandExecutor`).
//!
//! ```text
//!   guest: spawn("git") --ENOENT in the VM--> begin: "spawn" --> executor.spawn()
//!        descriptor 0 --"write", "end"--> writeStdin, closeStdin
//!        descriptors 1, 2 <--"read"------ onStdout, onStderr, wait()
//!        signal --"kill"---------------->  kill
//! ```
//! In the VM it is a process like any other: it has a pid, descriptors and a place in the tree. One question of each
//! kind is under way at a time, so a side that does not read makes the other wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secure_exec_kernel::{Errno, ExitStatus, Interest, SIGKILL, SIGPIPE};
use secure_exec_userland::{Context, Finish};

use crate::host::{Answer, Host, HostCall, NoAnswer, Reply, Target, ask};
use crate::plain::Plain;

/// Bytes of standard input that go over at once.
const CHUNK: usize = 64 << 10;
/// How long the executor may take to start a command.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A command of the host that was started.
pub struct HostCommand {
    host: Arc<dyn Host>,
    id: u64,
    /// Whether it needs no more end.
    is_over: bool,
}

impl Drop for HostCommand {
    fn drop(&mut self) {
        if !self.is_over {
            self.kill(SIGKILL);
        }
    }
}

/// What came back.
enum Event {
    Read(Answer),
    Written(Answer),
}

#[derive(Default)]
struct Mail(Mutex<VecDeque<Event>>);

impl Mail {
    fn take(&self) -> Option<Event> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

/// Where the command's standard input stands.
#[derive(PartialEq)]
enum Input {
    /// It takes more.
    Open,
    /// It has not taken the last piece yet.
    Busy,
    Over,
}

fn call(op: &str, id: u64, more: Vec<(&str, Plain)>) -> HostCall {
    #[expect(clippy::cast_precision_loss, reason = "nobody starts so many commands")]
    let mut fields = vec![
        ("op".to_owned(), op.into()),
        ("id".to_owned(), Plain::Number(id as f64)),
    ];
    fields.extend(
        more.into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    HostCall {
        target: Target::Command,
        payload: Plain::Record(fields).encode(),
    }
}

impl HostCommand {
    /// Asks the executor to start a command, and waits for its word.
    ///
    /// # Errors
    /// The executor's own error, by its code; `EIO` for any other.
    pub fn begin(
        host: Arc<dyn Host>,
        argv: &[String],
        cwd: &[u8],
        env: &[(String, String)],
    ) -> Result<Self, Errno> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (command, args) = argv.split_first().ok_or(Errno::ENOENT)?;
        let args = args.iter().map(|arg| arg.as_str().into()).collect();
        let env = env
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let question = call(
            "spawn",
            id,
            vec![
                ("command", command.as_str().into()),
                ("args", Plain::List(args)),
                ("cwd", String::from_utf8_lossy(cwd).into_owned().into()),
                ("env", Plain::Record(env)),
            ],
        );
        match ask(&*host, question, START_LIMIT) {
            Ok(_) => Ok(Self {
                host,
                id,
                is_over: false,
            }),
            Err(NoAnswer::Failed(error)) => {
                let code = error.code.unwrap_or_default();
                let known = Errno::ALL.iter().find(|errno| errno.name() == code);
                Err(known.copied().unwrap_or(Errno::EIO))
            }
            Err(NoAnswer::TimedOut | NoAnswer::Ended) => {
                let late = Self {
                    host,
                    id,
                    is_over: false,
                };
                drop(late);
                Err(Errno::ETIMEDOUT)
            }
        }
    }

    /// Tells the executor something, without waiting.
    fn tell(&self, question: HostCall) {
        self.host.call(question, Reply::new(drop));
    }

    fn kill(&self, signal: i32) {
        let signal = Plain::Number(signal.into());
        self.tell(call("kill", self.id, vec![("signal", signal)]));
    }

    fn post(
        &self,
        context: &Context,
        mail: &Arc<Mail>,
        question: HostCall,
        wrap: fn(Answer) -> Event,
    ) {
        let (mail, waker) = (mail.clone(), context.waker().clone());
        let reply = Reply::new(move |answer| {
            mail.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(wrap(answer));
            waker.wake();
        });
        self.host.call(question, reply);
    }

    /// Is the command's process until it ends; `ending` is the signal that is to end it.
    pub fn run(mut self, context: &Context, ending: impl Fn() -> Option<i32>) -> Finish {
        let outcome = self.converse(context);
        self.is_over = true;
        let status = match outcome {
            Ok(status) => status,
            Err(errno) => {
                let signal = match (ending(), errno) {
                    (Some(signal), _) => signal,
                    (None, Errno::EPIPE) => SIGPIPE,
                    (None, _) => SIGKILL,
                };
                self.kill(signal);
                ExitStatus::signalled(signal)
            }
        };
        Finish::Exit(status)
    }

    fn converse(&self, context: &Context) -> Result<ExitStatus, Errno> {
        let mail = Arc::<Mail>::default();
        let armed = Arc::new(AtomicBool::new(false));
        let mut input = Input::Open;
        let read = || call("read", self.id, Vec::new());
        self.post(context, &mail, read(), Event::Read);
        loop {
            context.check()?;
            while let Some(event) = mail.take() {
                match event {
                    Event::Written(Ok(_)) => input = Input::Open,
                    // A command that does not read its input is none of our business.
                    Event::Written(Err(_)) => input = Input::Over,
                    Event::Read(Ok(answer)) => {
                        let answer = Plain::decode(&answer).map_err(|_| Errno::EIO)?;
                        if let Some(status) = Self::take_output(context, &answer)? {
                            return Ok(status);
                        }
                        self.post(context, &mail, read(), Event::Read);
                    }
                    Event::Read(Err(error)) => {
                        let text = format!("{}\n", error.message);
                        context.write(2, text.as_bytes())?;
                        return Ok(ExitStatus::exited(1));
                    }
                }
            }
            if input == Input::Open {
                input = self.feed(context, &mail, &armed);
            }
            context.waker().wait(None);
        }
    }

    /// Hands on what the executor heard; the command's end, if it has ended.
    fn take_output(context: &Context, answer: &Plain) -> Result<Option<ExitStatus>, Errno> {
        for piece in answer
            .get("output")
            .and_then(Plain::as_list)
            .unwrap_or_default()
        {
            let fd = match piece.get("channel").and_then(Plain::as_text) {
                Some("stdout") => 1,
                _ => 2,
            };
            if let Some(Plain::Bytes(bytes)) = piece.get("data") {
                match context.write(fd, bytes) {
                    // A descriptor that is closed loses the text.
                    Ok(()) | Err(Errno::EBADF) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        let code = answer.get("code").and_then(Plain::as_number);
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        Ok(code.map(|code| ExitStatus::exited(code as i32 & 0xff)))
    }

    /// Reads standard input and hands it over.
    fn feed(&self, context: &Context, mail: &Arc<Mail>, armed: &Arc<AtomicBool>) -> Input {
        let (kernel, process) = (context.kernel(), context.process());
        let mut bytes = vec![0; CHUNK];
        match kernel.read(process, 0, &mut bytes, None) {
            Ok(count) if count > 0 => {
                bytes.truncate(count);
                let question = call("write", self.id, vec![("data", Plain::Bytes(bytes))]);
                self.post(context, mail, question, Event::Written);
                Input::Busy
            }
            Err(Errno::EAGAIN) => {
                if !armed.swap(true, Ordering::AcqRel) {
                    let (armed, waker) = (armed.clone(), context.waker().clone());
                    let wake = Box::new(move || {
                        armed.store(false, Ordering::Release);
                        waker.wake();
                    });
                    if kernel
                        .on_ready(process, 0, Interest::Readable, wake)
                        .is_err()
                    {
                        return Input::Over;
                    }
                }
                Input::Open
            }
            Ok(_) | Err(_) => {
                self.tell(call("end", self.id, Vec::new()));
                Input::Over
            }
        }
    }
}
