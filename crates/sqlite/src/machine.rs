//! What SQLite runs on, and the way into SQLite and back.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::locks::{FileId, LockTable};

/// Says whether memory may be had.
pub trait Charge: Send + Sync {
    /// Takes bytes; `false` when they may not be had.
    fn take(&self, bytes: usize) -> bool;
    /// Gives back what was taken.
    fn release(&self, bytes: usize);
}

/// What SQLite holds for one process.
pub struct Account {
    charge: Box<dyn Charge>,
    held: AtomicUsize,
    refused: AtomicBool,
}

impl Account {
    /// An account that holds nothing.
    pub fn new(charge: Box<dyn Charge>) -> Arc<Self> {
        Arc::new(Self {
            charge,
            held: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
        })
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether memory was refused since this was asked last.
    pub fn take_refused(&self) -> bool {
        self.refused.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn take(&self, bytes: usize) -> bool {
        if !self.charge.take(bytes) {
            self.refused.store(true, Ordering::Relaxed);
            return false;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.charge.release(bytes);
    }
}

/// Why a file could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such file.
    NotFound,
    /// It may be read only, if at all.
    Denied,
    /// A quota is used up.
    Full,
    /// Memory is out.
    NoMemory,
    /// Anything else.
    Other,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct OpenHow {
    pub write: bool,
    pub create: bool,
    pub exclusive: bool,
}

/// An open file.
pub trait File {
    /// Reads some bytes at an offset; none at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault>;
    /// Writes some bytes at an offset.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, Fault>;
    /// Makes it so long.
    fn truncate(&self, length: u64) -> Result<(), Fault>;
    /// Makes what was written last.
    fn sync(&self) -> Result<(), Fault>;
    /// Its length.
    fn size(&self) -> Result<u64, Fault>;
    /// Which file it is, whatever its names.
    fn id(&self) -> Option<FileId>;
}

/// A machine with files, a clock and memory.
pub trait Machine {
    /// Who pays for memory.
    fn account(&self) -> &Arc<Account>;
    /// Locks of the machine's files.
    fn locks(&self) -> &Arc<LockTable>;
    /// Opens a file by its absolute path.
    fn open(&self, path: &[u8], how: OpenHow) -> Result<Box<dyn File>, Fault>;
    /// Removes a file.
    fn delete(&self, path: &[u8]) -> Result<(), Fault>;
    /// Whether there is something at `path` that is no empty file.
    fn exists(&self, path: &[u8]) -> bool;
    /// Whether a file may be read and written.
    fn is_writable(&self, path: &[u8]) -> bool;
    /// The absolute path of what `path` names.
    fn full_path(&self, path: &[u8]) -> Option<Vec<u8>>;
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
    /// Seconds that local time is ahead of UTC at a time in seconds since 1970.
    fn utc_offset(&self, seconds: i64) -> i32;
    /// Waits, but not for a process that is ending.
    fn sleep(&self, time: Duration);
    /// Fills with chance.
    fn random(&self, buffer: &mut [u8]);
    /// Whether the process has an end, so that nothing may take long any more.
    fn is_ending(&self) -> bool;
}

thread_local! {
    static MACHINE: RefCell<Option<Rc<dyn Machine>>> = const { RefCell::new(None) };
    static ACCOUNT: Cell<*const Account> = const { Cell::new(std::ptr::null()) };
    /// Whether this thread runs SQLite's own code.
    static IN_C: Cell<bool> = const { Cell::new(false) };
    /// Mutexes of SQLite's that this thread holds.
    static LOCKS: Cell<u32> = const { Cell::new(0) };
    static PANIC: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}

/// Whether this thread runs SQLite's own code and holds no mutex of SQLite's: stopped there for ever, it keeps nobody
/// waiting but those who want a lock of a file in the same machine. For signal handlers.
pub fn is_parkable() -> bool {
    IN_C.get() && LOCKS.get() == 0
}

pub(crate) fn count_lock(change: i32) {
    LOCKS.set(LOCKS.get().wrapping_add_signed(change));
}

/// The account of the machine that SQLite works for on this thread; null when it works for none.
pub(crate) fn account() -> *const Account {
    ACCOUNT.get()
}

/// The machine that SQLite works for on this thread.
pub(crate) fn machine() -> Option<Rc<dyn Machine>> {
    MACHINE.with_borrow(Clone::clone)
}

/// Calls SQLite for a machine. A panic that one of its callbacks caught goes on here.
pub(crate) fn in_c<T>(machine: &Rc<dyn Machine>, call: impl FnOnce() -> T) -> T {
    /// Also when a panic goes on.
    struct Before(Option<Rc<dyn Machine>>, *const Account, bool);
    impl Drop for Before {
        fn drop(&mut self) {
            IN_C.set(self.2);
            ACCOUNT.set(self.1);
            let ended = MACHINE.replace(self.0.take());
            drop(ended);
        }
    }
    let _before = Before(
        MACHINE.replace(Some(machine.clone())),
        // Valid as long as the machine, which `MACHINE` holds until `ACCOUNT` is set back.
        ACCOUNT.replace(Arc::as_ptr(machine.account())),
        IN_C.get(),
    );
    IN_C.set(true);
    let result = call();
    IN_C.set(false);
    if let Some(panic) = PANIC.take() {
        resume_unwind(panic);
    }
    result
}

/// Runs what SQLite calls. A panic becomes `fallback` and goes on when SQLite returns.
pub(crate) fn callback<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    let before = IN_C.replace(false);
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        PANIC.set(Some(panic));
        fallback
    });
    IN_C.set(before);
    result
}
