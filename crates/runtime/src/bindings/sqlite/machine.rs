//! What SQLite works on: the files of the VM through the kernel, with the process's rights, on its account and its clock.

use std::cell::{Cell, OnceCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secure_exec_kernel::{
    Errno, F_OK, FileType, Kernel, OpenFile, Process, R_OK, W_OK, fill_random, normalize, oflag,
};
use secure_exec_sqlite::{Account, Charge, Fault, File, FileId, LockTable, Machine, OpenHow};

use crate::env::{Env, Shared};
use crate::memory::MemoryBudget;
use crate::permission_model::Scope;
use crate::throw::Throw;

/// How long a thread that waits for a lock sleeps before it looks whether its process has ended.
const LOOK: Duration = Duration::from_millis(10);
/// V8 hears of SQLite's memory in steps of this size.
const STEP_BYTES: i64 = 1 << 20;
/// A new file's mode, before the mask.
const NEW_FILE_MODE: u32 = 0o644;

/// What the binding keeps for a thread.
#[derive(Default)]
pub struct State {
    machine: OnceCell<Rc<GuestMachine>>,
    /// What V8 was told of SQLite's memory.
    told: Cell<i64>,
    /// What SQLite held after the last collection, or less.
    collected: Cell<usize>,
}

/// See the module's text.
pub struct GuestMachine {
    env: Weak<Env>,
    shared: Arc<Shared>,
    kernel: Arc<Kernel>,
    process: Arc<Process>,
    account: Arc<Account>,
    locks: Arc<LockTable>,
    open_files: Rc<Cell<u32>>,
}

struct Budget(Arc<MemoryBudget>);

impl Charge for Budget {
    fn take(&self, bytes: usize) -> bool {
        self.0.offer_native(bytes)
    }

    fn release(&self, bytes: usize) {
        self.0.release_native(bytes);
    }
}

struct Unlimited;

impl Charge for Unlimited {
    fn take(&self, _bytes: usize) -> bool {
        true
    }

    fn release(&self, _bytes: usize) {}
}

/// The machine of this thread.
pub fn machine(env: &Rc<Env>) -> Result<Rc<dyn Machine>, Throw> {
    let state = env.extension::<State>();
    if let Some(known) = state.machine.get() {
        return Ok(known.clone());
    }
    let charge: Box<dyn Charge> = match env.memory_account() {
        Some(budget) => Box::new(Budget(budget)),
        None => Box::new(Unlimited),
    };
    let made = Rc::new(GuestMachine {
        env: Rc::downgrade(env),
        shared: env.shared().clone(),
        kernel: env.kernel()?,
        process: env.process()?,
        account: Account::new(charge),
        locks: env
            .vm()
            .map(|vm| vm.sqlite_locks().clone())
            .unwrap_or_default(),
        open_files: Rc::default(),
    });
    Ok(state.machine.get_or_init(|| made).clone())
}

/// Comes before each call of SQLite, which cannot wait for a collection when it wants memory: garbage is collected when
/// memory was refused, or when there is little left and SQLite has taken much since the last time.
pub fn before_call(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    let state = env.extension::<State>();
    let (Some(machine), Some(budget)) = (state.machine.get(), env.memory_account()) else {
        return;
    };
    let (limit, held) = (budget.limit(), machine.account.held());
    let is_low = budget.used().total() > limit / 4 * 3
        && held.saturating_sub(state.collected.get()) > limit / 8;
    if machine.account.take_refused() || is_low {
        scope.low_memory_notification();
        state.collected.set(machine.account.held());
    } else if held < state.collected.get() {
        state.collected.set(held);
    }
}

/// Comes after each call of SQLite: V8 hears of its memory, so that it collects databases that nobody uses.
pub fn after_call(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    let state = env.extension::<State>();
    let Some(machine) = state.machine.get() else {
        return;
    };
    let held = i64::try_from(machine.account.held()).unwrap_or(i64::MAX);
    let change = held - state.told.get();
    if change.abs() >= STEP_BYTES {
        state.told.set(held);
        scope.adjust_amount_of_external_allocated_memory(change);
    }
}

fn fault(errno: Errno) -> Fault {
    match errno {
        Errno::ENOENT => Fault::NotFound,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Fault::Denied,
        Errno::ENOSPC | Errno::EFBIG => Fault::Full,
        Errno::ENOMEM => Fault::NoMemory,
        _ => Fault::Other,
    }
}

impl GuestMachine {
    /// Node's permission model, which stands before the kernel's own gate.
    fn permits(&self, scope: Scope, path: &[u8]) -> bool {
        self.env
            .upgrade()
            .is_some_and(|env| env.is_permitted(scope, Some(path)).unwrap_or(false))
    }
}

impl Machine for GuestMachine {
    fn account(&self) -> &Arc<Account> {
        &self.account
    }

    fn locks(&self) -> &Arc<LockTable> {
        &self.locks
    }

    fn open(&self, path: &[u8], how: OpenHow) -> Result<Box<dyn File>, Fault> {
        if !self.permits(Scope::FileSystemRead, path)
            || how.write && !self.permits(Scope::FileSystemWrite, path)
        {
            return Err(Fault::Denied);
        }
        if u64::from(self.open_files.get()) >= u64::from(self.kernel.quotas().max_open_fds) {
            return Err(Fault::Other);
        }
        let mut flags = if how.write {
            oflag::O_RDWR
        } else {
            oflag::O_RDONLY
        };
        if how.create {
            flags |= oflag::O_CREAT;
        }
        if how.exclusive {
            flags |= oflag::O_EXCL;
        }
        let file = self
            .kernel
            .open_file(&self.process, path, flags, NEW_FILE_MODE)
            .map_err(fault)?;
        let stat = self.kernel.stat_file(&self.process, &file).map_err(fault)?;
        if stat.file_type != FileType::Regular {
            return Err(Fault::Other);
        }
        self.open_files.set(self.open_files.get() + 1);
        let id = file.own_inode().map(|inode| FileId::Inode(stat.dev, inode));
        Ok(Box::new(GuestFile {
            file,
            kernel: self.kernel.clone(),
            process: self.process.clone(),
            id,
            open_files: self.open_files.clone(),
        }))
    }

    fn delete(&self, path: &[u8]) -> Result<(), Fault> {
        if !self.permits(Scope::FileSystemWrite, path) {
            return Err(Fault::Denied);
        }
        self.kernel.unlink(&self.process, path).map_err(fault)
    }

    fn exists(&self, path: &[u8]) -> bool {
        self.permits(Scope::FileSystemRead, path)
            && self.kernel.access(&self.process, path, F_OK).is_ok()
            && self
                .kernel
                .stat(&self.process, path)
                .is_ok_and(|stat| stat.file_type != FileType::Regular || stat.size > 0)
    }

    fn is_writable(&self, path: &[u8]) -> bool {
        self.permits(Scope::FileSystemWrite, path)
            && self.kernel.access(&self.process, path, R_OK | W_OK).is_ok()
    }

    fn full_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let cwd = self.kernel.getcwd(&self.process).ok()?;
        let path = normalize(&cwd, path);
        // Two names of one database must lead to one journal.
        if let Ok(real) = self.kernel.realpath(&self.process, &path) {
            return Some(real);
        }
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        let (folder, name) = path.split_at_checked(slash)?;
        match self.kernel.realpath(&self.process, folder) {
            Ok(real) if real == b"/" => Some(path),
            Ok(mut real) => {
                real.extend_from_slice(name);
                Some(real)
            }
            Err(_) => Some(path),
        }
    }

    fn now_ms(&self) -> i64 {
        self.env.upgrade().map_or(0, |env| {
            i64::try_from(env.clock().wall().as_millis()).unwrap_or(i64::MAX)
        })
    }

    fn utc_offset(&self, _seconds: i64) -> i32 {
        // Guests live in UTC.
        0
    }

    fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_ending() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn random(&self, buffer: &mut [u8]) {
        // Without chance SQLite's numbers are those of its own generator.
        let _ = fill_random(buffer);
    }

    fn is_ending(&self) -> bool {
        self.shared.latch.is_set()
    }
}

struct GuestFile {
    file: Arc<OpenFile>,
    kernel: Arc<Kernel>,
    process: Arc<Process>,
    id: Option<FileId>,
    open_files: Rc<Cell<u32>>,
}

impl Drop for GuestFile {
    fn drop(&mut self) {
        self.open_files.set(self.open_files.get().saturating_sub(1));
    }
}

impl File for GuestFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        self.kernel
            .read_from(&self.process, &self.file, buffer, Some(offset))
            .map_err(fault)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, Fault> {
        self.kernel
            .write_file_to(&self.process, &self.file, data, Some(offset))
            .map_err(fault)
    }

    fn truncate(&self, length: u64) -> Result<(), Fault> {
        self.kernel
            .cut(&self.process, &self.file, length)
            .map_err(fault)
    }

    fn sync(&self) -> Result<(), Fault> {
        self.kernel.sync(&self.process, &self.file).map_err(fault)
    }

    fn size(&self) -> Result<u64, Fault> {
        self.kernel
            .stat_file(&self.process, &self.file)
            .map(|stat| stat.size)
            .map_err(fault)
    }

    fn id(&self) -> Option<FileId> {
        self.id.clone()
    }
}
