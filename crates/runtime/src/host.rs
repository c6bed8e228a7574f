//! Questions of a guest's thread to the host's JavaScript.
//!
//! ```text
//!   guest's thread: ask() -- HostCall --> Host (src/: thread-safe function) --> lib/ --> JavaScript of the host
//!        waits  <------------- Reply::send, from any thread ------------------------------'
//! ```
//!
//! A thread that waits stays killable: it looks at its process's latch, so that a limit, an abort or the end of the VM
//! ends the wait. Wall time counts, CPU time does not: the thread sleeps. A reply that is dropped is an answer too ("the
//! host gave no answer"), and one that comes too late is dropped.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secure_exec_kernel::WatchEvent;
use secure_exec_kernel::permissions::{Answer as Approval, Approver, Request};

use crate::budget::LimitWarning;
use crate::env::Shared;
use crate::marshal::HostValue;
use crate::plain::Plain;

/// How often a waiting thread looks whether its process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The function of this scope of `permissions`.
    Permission(&'static str),
    /// A file system that the host wrote, by its number.
    FileSystem(u32),
    /// A function of the host, by its dotted path.
    Function(String),
    /// The executor of commands.
    Command,
}

/// One question.
#[derive(Debug)]
pub struct HostCall {
    /// Who is asked.
    pub target: Target,
    /// What.
    pub payload: HostValue,
}

/// Why the host has no value to give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostError {
    /// The error's class.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Its code.
    pub code: Option<String>,
}

/// What comes back.
pub type Answer = Result<HostValue, HostError>;

/// Takes one answer. Dropped without one, it answers that there is none.
pub struct Reply(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Reply {
    /// A reply that calls `done`, once, on whatever thread answers.
    pub fn new(done: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    /// Answers.
    pub fn send(mut self, answer: Answer) {
        if let Some(done) = self.0.take() {
            done(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(HostError {
                name: "Error".to_owned(),
                message: "the host gave no answer".to_owned(),
                code: Some("ERR_RUNTIME_DISPOSED".to_owned()),
            }));
        }
    }
}

/// The host of one VM.
pub trait Host: Send + Sync {
    /// Passes a question on, without waiting.
    fn call(&self, call: HostCall, reply: Reply);

    /// Tells of a limit that is nearly reached.
    fn warn(&self, warning: LimitWarning);

    /// Tells what happened to something that the host watches under a number of its own.
    fn watch_event(&self, number: u32, event: WatchEvent);
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The process that asked is ending.
    Ended,
    /// The host took too long.
    TimedOut,
    /// The host's function failed.
    Failed(HostError),
}

thread_local! {
    static PROCESS: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Marks this thread as a process's as long as it exists.
pub struct OnThread(());

/// Lets waits on this thread end with the process of `shared`.
pub fn enter(shared: &Arc<Shared>) -> OnThread {
    PROCESS.set(Some(shared.clone()));
    OnThread(())
}

impl Drop for OnThread {
    fn drop(&mut self) {
        PROCESS.take();
    }
}

fn is_ending() -> bool {
    PROCESS.with_borrow(|process| {
        process
            .as_ref()
            .is_some_and(|process| process.latch.is_set())
    })
}

/// Asks and waits on this thread, `limit` at the longest.
///
/// # Errors
/// [`NoAnswer`].
pub fn ask(host: &dyn Host, call: HostCall, limit: Duration) -> Result<HostValue, NoAnswer> {
    let answered = Arc::new((Mutex::new(None), Condvar::new()));
    let other = answered.clone();
    let reply = Reply::new(move |answer| {
        *other.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        other.1.notify_one();
    });
    let started = Instant::now();
    host.call(call, reply);
    let mut answer = answered.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if is_ending() {
            return Err(NoAnswer::Ended);
        }
        if let Some(answer) = answer.take() {
            return answer.map_err(NoAnswer::Failed);
        }
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(NoAnswer::TimedOut);
        }
        answer = answered
            .1
            .wait_timeout(answer, left.min(LOOK))
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// Asks without waiting for the answer.
pub fn tell(host: &dyn Host, call: HostCall) {
    host.call(call, Reply::new(drop));
}

/// Asks the functions of `permissions`.
pub struct PermissionHost {
    host: Arc<dyn Host>,
    limit: Duration,
}

impl PermissionHost {
    /// Answers that take longer than `limit` are no.
    pub fn new(host: Arc<dyn Host>, limit: Duration) -> Self {
        Self { host, limit }
    }
}

impl Approver for PermissionHost {
    fn approve(&self, request: &Request<'_>) -> Approval {
        let call = HostCall {
            target: Target::Permission(request.scope().name()),
            payload: question(request).encode(),
        };
        let deny = |reason: &str| Approval::Deny(Some(reason.to_owned()));
        match ask(&*self.host, call, self.limit) {
            // Only an own `true` is yes.
            Ok(value) => match Plain::decode(&value) {
                Ok(Plain::Bool(true)) => Approval::Allow { private: false },
                Ok(answer) => match answer.get("allow").and_then(Plain::as_bool) {
                    Some(true) => Approval::Allow {
                        private: answer.get("private").and_then(Plain::as_bool) == Some(true),
                    },
                    _ => Approval::Deny(
                        answer
                            .get("reason")
                            .and_then(Plain::as_text)
                            .map(str::to_owned),
                    ),
                },
                Err(_) => deny("the permission callback gave no answer that can be read"),
            },
            Err(NoAnswer::TimedOut) => deny("the permission callback took too long"),
            Err(NoAnswer::Failed(_)) => deny("the permission callback failed"),
            Err(NoAnswer::Ended) => deny("the process is ending"),
        }
    }
}

/// A request with the fields that functions of the host know it by.
fn question(request: &Request<'_>) -> Plain {
    let mut fields: Vec<(&str, Plain)> = vec![("op", request.operation().into())];
    let text = |bytes: &Cow<'_, [u8]>| Plain::Text(String::from_utf8_lossy(bytes).into_owned());
    match request {
        Request::Fs { path, .. } => fields.push(("path", text(path))),
        Request::Network(request) => fields.extend([
            ("hostname", request.hostname.clone().into()),
            ("port", u32::from(request.port).into()),
            ("url", request.url.clone().into()),
            ("method", request.method.clone().into()),
            (
                "address",
                request.address.map(|address| address.to_string()).into(),
            ),
            ("internal", request.is_internal.into()),
        ]),
        Request::ChildProcess(request) => {
            let args = request.args.iter().map(|arg| arg.as_str().into()).collect();
            let env = request
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect();
            fields.extend([
                ("command", request.command.clone().into()),
                ("args", Plain::List(args)),
                ("cwd", request.cwd.clone().into()),
                ("env", Plain::Record(env)),
            ]);
        }
        Request::Process(request) => fields.extend([
            ("pid", request.pid.into()),
            (
                "signal",
                request
                    .signal
                    .map_or(Plain::Nothing, |signal| Plain::Number(signal.into())),
            ),
        ]),
        Request::Env { key, value } => fields.extend([
            ("key", key.clone().into_owned().into()),
            ("value", value.clone().into_owned().into()),
        ]),
        Request::HostFunction { name } => {
            fields.push(("name", name.clone().into_owned().into()));
        }
    }
    Plain::Record(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Answers each question with what a function makes of it, on a thread of its own; `None` drops the reply.
    struct Fake(fn(Plain) -> Option<Answer>, AtomicU32);

    impl Host for Fake {
        fn call(&self, call: HostCall, reply: Reply) {
            self.1.fetch_add(1, Ordering::Relaxed);
            let answer = self.0;
            std::thread::spawn(move || {
                if let Some(answer) = answer(Plain::decode(&call.payload).unwrap()) {
                    reply.send(answer);
                }
            });
        }

        fn warn(&self, _warning: LimitWarning) {}

        fn watch_event(&self, _number: u32, _event: WatchEvent) {}
    }

    fn approve(answer: fn(Plain) -> Option<Answer>) -> Approval {
        let host = Arc::new(Fake(answer, AtomicU32::new(0)));
        let approver = PermissionHost::new(host.clone(), Duration::from_millis(100));
        let approval = approver.approve(&Request::Fs {
            op: secure_exec_kernel::FsOp::Read,
            path: Cow::Borrowed(b"/a"),
            is_own: true,
        });
        assert_eq!(host.1.load(Ordering::Relaxed), 1);
        approval
    }

    fn reason(approval: Approval) -> String {
        match approval {
            Approval::Allow { private: false } => "allowed".to_owned(),
            Approval::Allow { private: true } => "allowed even there".to_owned(),
            Approval::Deny(reason) => reason.unwrap_or_default(),
        }
    }

    #[test]
    fn only_a_clear_yes_is_yes() {
        assert_eq!(
            approve(|_| Some(Ok(Plain::Bool(true).encode()))),
            Approval::Allow { private: false }
        );
        assert_eq!(
            approve(|asked| {
                assert_eq!(asked.get("op"), Some(&"read".into()));
                assert_eq!(asked.get("path"), Some(&"/a".into()));
                Some(Ok(Plain::record([("allow", true.into())]).encode()))
            }),
            Approval::Allow { private: false }
        );
        assert_eq!(
            approve(|_| {
                let answer = [("allow", true.into()), ("private", true.into())];
                Some(Ok(Plain::record(answer).encode()))
            }),
            Approval::Allow { private: true }
        );
        for nonsense in [
            Plain::Nothing,
            1_u32.into(),
            "true".into(),
            Plain::record([("allow", 1_u32.into())]),
        ] {
            let host = PermissionHost::new(Arc::new(Always(nonsense)), Duration::from_secs(5));
            let name = "x".into();
            assert_eq!(
                host.approve(&Request::HostFunction { name }),
                Approval::Deny(None)
            );
        }
    }

    struct Always(Plain);

    impl Host for Always {
        fn call(&self, _call: HostCall, reply: Reply) {
            reply.send(Ok(self.0.encode()));
        }

        fn warn(&self, _warning: LimitWarning) {}

        fn watch_event(&self, _number: u32, _event: WatchEvent) {}
    }

    #[test]
    fn a_host_that_fails_hangs_or_is_gone_denies() {
        assert_eq!(
            reason(approve(|_| Some(Err(HostError::default())))),
            "the permission callback failed"
        );
        assert_eq!(reason(approve(|_| None)), "the permission callback failed");
        let hangs = |_| {
            std::thread::sleep(Duration::from_millis(300));
            Some(Ok(Plain::Bool(true).encode()))
        };
        assert_eq!(
            reason(approve(hangs)),
            "the permission callback took too long"
        );
        let garbage = |_| Some(Ok(HostValue::from_bytes(vec![99])));
        assert_eq!(
            reason(approve(garbage)),
            "the permission callback gave no answer that can be read"
        );
    }
}
