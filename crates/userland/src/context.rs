//! What a program knows: its process, its kernel, and how to wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use secure_exec_kernel::{
    Errno, ExitStatus, Fd, Interest, Kernel, OpenFile, Process, Wake, signal_name,
};

use crate::Host;

/// Wakes a program that waits.
#[derive(Clone, Default)]
pub struct Waker(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    /// Ends the present wait, or the next one.
    pub fn wake(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_one();
    }

    fn callback(&self) -> Wake {
        let waker = self.clone();
        Box::new(move || waker.wake())
    }

    /// Waits until it is woken.
    pub fn wait(&self, deadline: Option<Instant>) {
        let mut woken = self.0.0.lock();
        while !*woken {
            match deadline {
                None => self.0.1.wait(&mut woken),
                Some(deadline) => {
                    if self.0.1.wait_until(&mut woken, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        *woken = false;
    }
}

/// See the module's text.
pub struct Context {
    kernel: Arc<Kernel>,
    process: Arc<Process>,
    host: Arc<dyn Host>,
    waker: Waker,
}

impl Context {
    /// A context for the calling thread. `waker` is woken when the process is to end.
    #[must_use]
    pub fn new(
        kernel: Arc<Kernel>,
        process: Arc<Process>,
        host: Arc<dyn Host>,
        waker: Waker,
    ) -> Context {
        Context {
            kernel,
            process,
            host,
            waker,
        }
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Who runs processes.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// What ends its waits.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Fails with `EINTR` once the process is to end. Called at least once in every step of every loop.
    pub fn check(&self) -> Result<(), Errno> {
        if self.process.interrupted() || !self.host.charge_cpu() {
            return Err(Errno::EINTR);
        }
        Ok(())
    }

    /// Reads; waits until there is something, 0 at the end.
    pub fn read(&self, fd: Fd, buf: &mut [u8]) -> Result<usize, Errno> {
        loop {
            self.check()?;
            match self.kernel.read(&self.process, fd, buf, None) {
                Err(Errno::EAGAIN) => self.wait_ready(fd, Interest::Readable)?,
                answer => return answer,
            }
        }
    }

    /// Writes all; waits while there is no room.
    pub fn write(&self, fd: Fd, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            self.check()?;
            match self.kernel.write(&self.process, fd, data, None) {
                Err(Errno::EAGAIN) => self.wait_ready(fd, Interest::Writable)?,
                Err(error) => return Err(error),
                Ok(written) => data = data.get(written..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    fn wait_ready(&self, fd: Fd, interest: Interest) -> Result<(), Errno> {
        self.kernel
            .on_ready(&self.process, fd, interest, self.waker.callback())?;
        self.waker.wait(None);
        Ok(())
    }

    /// Waits for a child.
    pub fn wait(&self, pid: u32) -> Result<ExitStatus, Errno> {
        loop {
            self.check()?;
            if let Some(status) = self.kernel.try_wait(&self.process, pid)? {
                return Ok(status);
            }
            self.kernel.on_exit(pid, self.waker.callback());
            self.waker.wait(None);
        }
    }

    /// Sleeps.
    pub fn sleep(&self, time: Duration) -> Result<(), Errno> {
        let deadline = Instant::now().checked_add(time);
        while deadline.is_none_or(|deadline| Instant::now() < deadline) {
            self.check()?;
            self.waker.wait(deadline);
        }
        self.check()
    }

    /// Writes a line to standard error, as `name: text`.
    pub fn complain(&self, name: &str, text: impl std::fmt::Display) -> Result<(), Errno> {
        self.write(2, format!("{name}: {text}\n").as_bytes())
    }

    /// Complains about a path: `name: path: No such file or directory`; answers the exit code 1.
    pub fn refuse(&self, name: &str, path: &str, error: Errno) -> Result<i32, Errno> {
        if error == Errno::EINTR {
            return Err(error);
        }
        self.complain(name, format!("{path}: {}", describe(error)))?;
        Ok(1)
    }

    /// The process's descriptors, for a child that gets them all.
    #[must_use]
    pub fn files(&self) -> Vec<Option<Arc<OpenFile>>> {
        let numbers = self.process.fds();
        let count = numbers.last().map_or(0, |last| last + 1);
        (0..count).map(|fd| self.process.file(fd).ok()).collect()
    }

    /// Replaces the process's environment, for the program that it becomes.
    pub(crate) fn replace_env(&self, env: Vec<(String, String)>) -> Result<(), Errno> {
        for name in self.process.env_names() {
            self.process.remove_env(&name);
        }
        env.into_iter()
            .try_for_each(|(name, value)| self.process.set_env(&name, &value))
    }

    /// The working directory.
    pub fn cwd(&self) -> Result<Vec<u8>, Errno> {
        self.kernel.getcwd(&self.process)
    }
}

/// The text of an error as C libraries word it, capitalized.
pub(crate) fn describe(error: Errno) -> String {
    let text = match error {
        Errno::ENOENT => "No such file or directory",
        Errno::EISDIR => "Is a directory",
        Errno::ENOTEMPTY => "Directory not empty",
        Errno::EEXIST => "File exists",
        Errno::EBADF => "Bad file descriptor",
        Errno::EAGAIN => "Resource temporarily unavailable",
        Errno::E2BIG => "Argument list too long",
        Errno::EMFILE => "Too many open files",
        Errno::ELOOP => "Too many levels of symbolic links",
        Errno::EROFS => "Read-only file system",
        Errno::ENOTDIR => "Not a directory",
        _ => {
            let mut text = error.message().to_owned();
            if let Some(first) = text.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            return text;
        }
    };
    text.to_owned()
}

/// What a shell says of a signal that ended a process.
pub(crate) fn signal_text(signal: i32) -> String {
    match signal {
        secure_exec_kernel::SIGKILL => "Killed".to_owned(),
        secure_exec_kernel::SIGTERM => "Terminated".to_owned(),
        secure_exec_kernel::SIGABRT => "Aborted".to_owned(),
        _ => signal_name(signal)
            .map_or_else(|| format!("Signal {signal}"), |name| format!("SIG{name}")),
    }
}
