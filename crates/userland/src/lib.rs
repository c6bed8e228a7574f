//! The programs that a VM has beside node: a shell and the usual core commands.
//!
//! ```text
//!   runtime (implements Host) --Context--> run(name) --> shell/     parser -> interpreter
//!                                                   \--> commands/  ls cat grep ...
//!                             <-- Host::start, Host::fork -- processes of the same VM
//! ```
//!
//! A program runs on a thread of its own, as one process of the kernel, and knows nothing but that kernel. It may wait,
//! but it looks up between any two steps whether it was told to end ([`Context::check`]), so nothing here loops or
//! grows without asking. No unsafe, no V8, no host access.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented
)]

mod commands;
mod context;
mod input;
mod output;
mod shell;

use std::sync::Arc;

use secure_exec_kernel::{Errno, Executable, ExitStatus, OpenFile, Process, SIGPIPE};

pub use context::{Context, Waker};

/// Bytes of text that one program holds at most (a line, what `sort` sorts, what `$(...)` collects).
pub const MAX_TEXT: usize = 16 << 20;
/// Stack that a program's thread needs: the shell's nesting is limited to what fits.
pub const STACK_BYTES: usize = 4 << 20;

/// How a program's thread is done.
#[derive(Debug)]
pub enum Finish {
    /// The process ends.
    Exit(ExitStatus),
    /// The process goes on with another program, as after `execve`.
    Exec(Executable),
}

impl Finish {
    fn code(code: i32) -> Finish {
        Finish::Exit(ExitStatus::exited(code))
    }
}

/// What a process runs after [`Host::fork`].
pub type Body = Box<dyn FnOnce(&Context) -> Finish + Send>;

/// How a process is started.
pub struct Start {
    /// Its parent.
    pub parent: Arc<Process>,
    /// Its environment; nothing is added.
    pub env: Vec<(String, String)>,
    /// Where it starts; `None`: where its parent is.
    pub cwd: Option<Vec<u8>>,
    /// Its descriptors, from 0 on.
    pub files: Vec<Option<Arc<OpenFile>>>,
    /// Whether it leads a group of its own.
    pub new_group: bool,
}

/// Who runs processes.
pub trait Host: Send + Sync {
    /// Starts a program.
    fn start(&self, executable: Executable, start: Start) -> Result<Arc<Process>, Errno>;
    /// Starts a process that runs `body`, as `fork` does; `argv` is what the process table shows.
    fn fork(&self, argv: Vec<String>, start: Start, body: Body) -> Result<Arc<Process>, Errno>;
    /// Charges the CPU time that the calling thread has used, and answers whether there is any left.
    fn charge_cpu(&self) -> bool;
}

/// Runs the machine's program `name` with these arguments, its own name first.
#[must_use]
pub fn run(name: &str, context: &Context, argv: &[String]) -> Finish {
    if name == "sh" {
        return shell::main(context, argv);
    }
    if name == "env" {
        return commands::env(context, argv).unwrap_or_else(|error| finish(Err(error)));
    }
    let Some(command) = commands::find(name) else {
        return Finish::code(127);
    };
    finish(command(context, argv))
}

/// The end of a command: writing to a pipe that nobody reads ends it as its signal would.
fn finish(answer: Result<i32, Errno>) -> Finish {
    match answer {
        Ok(code) => Finish::code(code),
        Err(Errno::EPIPE) => Finish::Exit(ExitStatus::signalled(SIGPIPE)),
        Err(_) => Finish::code(1),
    }
}
