//! SQLite's files: those of the [`Machine`], and temporary ones in memory.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use libsqlite3_sys as ffi;

use crate::locks::{FileId, Handle, Level, REGION_BYTES};
use crate::machine::{Account, Fault, File, Machine, OpenHow, callback, machine};

/// Length of the longest path, with its end.
const MAX_PATH: c_int = 4096;
/// 1970 in milliseconds of the Julian day.
const EPOCH_MS: i64 = 210_866_760_000_000;
const DAY_MS: f64 = 86_400_000.0;
const SECTOR_BYTES: c_int = 4096;

/// What SQLite allocates for an open file.
#[repr(C)]
struct VmFile {
    base: ffi::sqlite3_file,
    /// `Box::into_raw`; not null once the file was opened and until it is closed.
    state: *mut State,
}

struct State {
    file: Box<dyn File>,
    machine: Rc<dyn Machine>,
    /// For files that others may have open too.
    locks: Option<Handle>,
    /// Removed when it is closed.
    delete: Option<Vec<u8>>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // With shared memory, without mapped files.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The only file system that SQLite knows. SQLite keeps it for ever and links it into its list.
pub(crate) fn make() -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: c_int::try_from(size_of::<VmFile>()).unwrap_or(c_int::MAX),
        mxPathname: MAX_PATH,
        pNext: std::ptr::null_mut(),
        zName: c"vm".as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_ms),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

fn code_of(fault: Fault, other: c_int) -> c_int {
    match fault {
        Fault::Full => ffi::SQLITE_FULL,
        Fault::NoMemory => ffi::SQLITE_IOERR_NOMEM,
        Fault::NotFound | Fault::Denied | Fault::Other => other,
    }
}

/// A temporary file: pieces of memory on the process's account.
struct MemoryFile {
    account: Arc<Account>,
    pieces: RefCell<(Vec<Box<[u8; PIECE]>>, u64)>,
}

const PIECE: usize = 16 << 10;

impl MemoryFile {
    fn each(
        pieces: &mut [Box<[u8; PIECE]>],
        offset: u64,
        length: usize,
        mut body: impl FnMut(&mut [u8], usize),
    ) {
        let Ok(mut at) = usize::try_from(offset) else {
            return;
        };
        let mut done = 0;
        while done < length {
            let Some(piece) = pieces.get_mut(at / PIECE) else {
                return;
            };
            let start = at % PIECE;
            let count = (PIECE - start).min(length - done);
            if let Some(part) = piece.get_mut(start..start + count) {
                body(part, done);
            }
            done += count;
            at += count;
        }
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let mut inner = self.pieces.borrow_mut();
        let left = inner.1.saturating_sub(offset);
        let length = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        Self::each(&mut inner.0, offset, length, |part, done| {
            if let Some(target) = buffer.get_mut(done..done + part.len()) {
                target.copy_from_slice(part);
            }
        });
        Ok(length)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, Fault> {
        let end = offset.checked_add(data.len() as u64).ok_or(Fault::Full)?;
        let mut inner = self.pieces.borrow_mut();
        let wanted = usize::try_from(end)
            .map_err(|_| Fault::Full)?
            .div_ceil(PIECE);
        while inner.0.len() < wanted {
            if !self.account.take(PIECE) {
                return Err(Fault::NoMemory);
            }
            inner.0.push(Box::new([0; PIECE]));
        }
        Self::each(&mut inner.0, offset, data.len(), |part, done| {
            if let Some(source) = data.get(done..done + part.len()) {
                part.copy_from_slice(source);
            }
        });
        inner.1 = inner.1.max(end);
        Ok(data.len())
    }

    fn truncate(&self, length: u64) -> Result<(), Fault> {
        let mut inner = self.pieces.borrow_mut();
        if length >= inner.1 {
            return Ok(());
        }
        let kept = usize::try_from(length).unwrap_or(0);
        let pieces = kept.div_ceil(PIECE);
        let freed = inner.0.len().saturating_sub(pieces);
        inner.0.truncate(pieces);
        self.account.release(freed * PIECE);
        if let Some(tail) = inner
            .0
            .last_mut()
            .and_then(|piece| piece.get_mut(kept % PIECE..))
            && kept % PIECE > 0
        {
            tail.fill(0);
        }
        inner.1 = length;
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn size(&self) -> Result<u64, Fault> {
        Ok(self.pieces.borrow().1)
    }

    fn id(&self) -> Option<FileId> {
        None
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.account.release(self.pieces.borrow().0.len() * PIECE);
    }
}

/// The bytes of a path that SQLite passes.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn path(name: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: as above.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes().to_vec())
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let file = file.cast::<VmFile>();
    // SAFETY: SQLite passes memory for a file of `szOsFile` bytes. Without methods, it closes nothing.
    unsafe {
        (*file).base.pMethods = std::ptr::null();
        (*file).state = std::ptr::null_mut();
    }
    // SAFETY: the name is null or a C string.
    let path = unsafe { path(name) };
    callback(ffi::SQLITE_CANTOPEN, || {
        let Some(machine) = machine() else {
            return ffi::SQLITE_CANTOPEN;
        };
        let (state, out) = match open_state(machine, path, flags) {
            Ok(opened) => opened,
            Err(code) => return code,
        };
        // SAFETY: see above; `out_flags` is null or one number of SQLite's.
        unsafe {
            (*file).state = Box::into_raw(Box::new(state));
            (*file).base.pMethods = &raw const METHODS;
            if let Some(target) = out_flags.as_mut() {
                *target = out;
            }
        }
        ffi::SQLITE_OK
    })
}

fn open_state(
    machine: Rc<dyn Machine>,
    path: Option<Vec<u8>>,
    flags: c_int,
) -> Result<(State, c_int), c_int> {
    let Some(path) = path else {
        let file = Box::new(MemoryFile {
            account: machine.account().clone(),
            pieces: RefCell::default(),
        });
        let state = State {
            file,
            machine,
            locks: None,
            delete: None,
        };
        return Ok((state, flags));
    };
    let how = OpenHow {
        write: flags & ffi::SQLITE_OPEN_READWRITE != 0,
        create: flags & ffi::SQLITE_OPEN_CREATE != 0,
        exclusive: flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0,
    };
    let mut out = flags;
    let mut opened = machine.open(&path, how);
    if matches!(opened, Err(Fault::Denied)) && how.write && !how.exclusive {
        out = flags & !(ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE)
            | ffi::SQLITE_OPEN_READONLY;
        let how = OpenHow {
            write: false,
            create: false,
            exclusive: false,
        };
        opened = machine.open(&path, how);
    }
    let file = opened.map_err(|fault| code_of(fault, ffi::SQLITE_CANTOPEN))?;
    let id = file.id().unwrap_or_else(|| FileId::Path(path.clone()));
    let locks = (flags & ffi::SQLITE_OPEN_MAIN_DB != 0).then(|| machine.locks().handle(id));
    let state = State {
        file,
        machine,
        locks,
        delete: (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then_some(path),
    };
    Ok((state, out))
}

/// Runs `body` on an open file.
///
/// # Safety
/// `file` is one that `open` opened and `close` has not closed.
unsafe fn with(
    file: *mut ffi::sqlite3_file,
    fallback: c_int,
    body: impl FnOnce(&State) -> c_int,
) -> c_int {
    // SAFETY: SQLite calls methods of open files only, whose state `open` has set.
    let state = unsafe { (*file.cast::<VmFile>()).state };
    callback(fallback, || {
        // SAFETY: the state lives until `close`, which SQLite calls on the connection's thread and not from within a method.
        let state = unsafe { state.as_ref() };
        state.map_or(fallback, body)
    })
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let file = file.cast::<VmFile>();
    // SAFETY: an open file, closed once.
    let state = unsafe { std::mem::replace(&mut (*file).state, std::ptr::null_mut()) };
    if state.is_null() {
        return ffi::SQLITE_OK;
    }
    callback(ffi::SQLITE_IOERR_CLOSE, || {
        // SAFETY: made by `Box::into_raw` in `open` and taken out above, so nobody else has it.
        let state = unsafe { Box::from_raw(state) };
        let State {
            file,
            machine,
            locks,
            delete,
        } = *state;
        drop(locks);
        drop(file);
        if let Some(path) = delete {
            // A file that is gone already is as good.
            let _ = machine.delete(&path);
        }
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    length: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(length), Ok(offset)) = (usize::try_from(length), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    if length == 0 {
        return ffi::SQLITE_OK;
    }
    // SAFETY: SQLite passes a buffer of that length, which nobody else uses during the call.
    let buffer = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    let read = |state: &State| {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match state.file.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => {
                    rest.fill(0);
                    return ffi::SQLITE_IOERR_SHORT_READ;
                }
                Ok(count) => done += count,
                Err(fault) => return code_of(fault, ffi::SQLITE_IOERR_READ),
            }
        }
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_READ, read) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(length), Ok(offset)) = (usize::try_from(length), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    if length == 0 {
        return ffi::SQLITE_OK;
    }
    // SAFETY: SQLite passes that many bytes, which nobody changes during the call.
    let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
    let write = |state: &State| {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            match state
                .file
                .write_at(rest, offset.saturating_add(done as u64))
            {
                Ok(0) => return ffi::SQLITE_FULL,
                Ok(count) => done += count,
                Err(fault) => return code_of(fault, ffi::SQLITE_IOERR_WRITE),
            }
        }
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_WRITE, write) }
}

fn answer(outcome: Result<(), Fault>, other: c_int) -> c_int {
    outcome.map_or_else(|fault| code_of(fault, other), |()| ffi::SQLITE_OK)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let size = u64::try_from(size).unwrap_or(0);
    let cut = |state: &State| answer(state.file.truncate(size), ffi::SQLITE_IOERR_TRUNCATE);
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_TRUNCATE, cut) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let sync = |state: &State| answer(state.file.sync(), ffi::SQLITE_IOERR_FSYNC);
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_FSYNC, sync) }
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    let tell = |state: &State| match state.file.size() {
        Ok(length) => {
            // SAFETY: one number of SQLite's.
            unsafe { *size = i64::try_from(length).unwrap_or(i64::MAX) };
            ffi::SQLITE_OK
        }
        Err(fault) => code_of(fault, ffi::SQLITE_IOERR_FSTAT),
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_FSTAT, tell) }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    let lock = |state: &State| match &state.locks {
        Some(locks) if locks.lock(Level::of(level)).is_err() => ffi::SQLITE_BUSY,
        _ => ffi::SQLITE_OK,
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_LOCK, lock) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    let unlock = |state: &State| {
        if let Some(locks) = &state.locks {
            locks.unlock(Level::of(level));
        }
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_UNLOCK, unlock) }
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    let check = |state: &State| {
        let reserved = state.locks.as_ref().is_some_and(Handle::is_reserved);
        // SAFETY: one number of SQLite's.
        unsafe { *result = c_int::from(reserved) };
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, check) }
}

unsafe extern "C" fn file_control(
    _file: *mut ffi::sqlite3_file,
    _operation: c_int,
    _argument: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    size: c_int,
    extend: c_int,
    result: *mut *mut c_void,
) -> c_int {
    let map = |state: &State| {
        let (Some(locks), Ok(index)) = (&state.locks, usize::try_from(index)) else {
            return ffi::SQLITE_IOERR_SHMMAP;
        };
        if usize::try_from(size) != Ok(REGION_BYTES) {
            return ffi::SQLITE_IOERR_SHMMAP;
        }
        let Some(address) = locks.map(index, extend != 0) else {
            return ffi::SQLITE_IOERR_SHMSIZE;
        };
        // SAFETY: one address of SQLite's.
        unsafe { *result = address };
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_SHMMAP, map) }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let change = |state: &State| {
        let (Some(locks), Ok(first), Ok(count)) =
            (&state.locks, usize::try_from(first), usize::try_from(count))
        else {
            return ffi::SQLITE_IOERR_SHMLOCK;
        };
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            locks.unlock_slots(first, count);
            return ffi::SQLITE_OK;
        }
        let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
        match locks.lock_slots(first, count, exclusive) {
            Ok(()) => ffi::SQLITE_OK,
            Err(_) => ffi::SQLITE_BUSY,
        }
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_IOERR_SHMLOCK, change) }
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    let unmap = |state: &State| {
        if let Some(locks) = &state.locks {
            locks.unmap();
        }
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite's open file.
    unsafe { with(file, ffi::SQLITE_OK, unmap) }
}

unsafe extern "C" fn delete(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _sync_directory: c_int,
) -> c_int {
    // SAFETY: a C string.
    let path = unsafe { path(name) };
    callback(ffi::SQLITE_IOERR_DELETE, || {
        let (Some(machine), Some(path)) = (machine(), path) else {
            return ffi::SQLITE_IOERR_DELETE;
        };
        match machine.delete(&path) {
            Ok(()) => ffi::SQLITE_OK,
            Err(Fault::NotFound) => ffi::SQLITE_IOERR_DELETE_NOENT,
            Err(_) => ffi::SQLITE_IOERR_DELETE,
        }
    })
}

unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: a C string.
    let path = unsafe { path(name) };
    callback(ffi::SQLITE_IOERR_ACCESS, || {
        let (Some(machine), Some(path)) = (machine(), path) else {
            return ffi::SQLITE_IOERR_ACCESS;
        };
        let yes = if flags == ffi::SQLITE_ACCESS_EXISTS {
            machine.exists(&path)
        } else {
            machine.is_writable(&path)
        };
        // SAFETY: one number of SQLite's.
        unsafe { *result = c_int::from(yes) };
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    result: *mut c_char,
) -> c_int {
    // SAFETY: a C string.
    let path = unsafe { path(name) };
    callback(ffi::SQLITE_CANTOPEN, || {
        let full = machine().zip(path);
        let full = full.and_then(|(machine, path)| machine.full_path(&path));
        let Some(full) = full.filter(|full| !full.contains(&0)) else {
            return ffi::SQLITE_CANTOPEN;
        };
        if usize::try_from(room).is_ok_and(|room| full.len() < room) {
            // SAFETY: SQLite passes `room` bytes; the path and its end fit.
            unsafe {
                result
                    .cast::<u8>()
                    .copy_from_nonoverlapping(full.as_ptr(), full.len());
                result.add(full.len()).write(0);
            }
            return ffi::SQLITE_OK;
        }
        ffi::SQLITE_CANTOPEN
    })
}

unsafe extern "C" fn randomness(
    _vfs: *mut ffi::sqlite3_vfs,
    length: c_int,
    result: *mut c_char,
) -> c_int {
    let Ok(count) = usize::try_from(length) else {
        return 0;
    };
    // SAFETY: SQLite passes a buffer of that length, which nobody else uses during the call.
    let buffer = unsafe {
        result.write_bytes(0, count);
        std::slice::from_raw_parts_mut(result.cast::<u8>(), count)
    };
    callback(0, || {
        machine().map_or(0, |machine| {
            machine.random(buffer);
            length
        })
    })
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    callback(0, || {
        if let Some(machine) = machine() {
            machine.sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
        }
        micros
    })
}

fn julian_ms() -> i64 {
    callback(EPOCH_MS, || {
        machine().map_or(EPOCH_MS, |machine| {
            machine.now_ms().saturating_add(EPOCH_MS)
        })
    })
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, result: *mut f64) -> c_int {
    // SAFETY: one number of SQLite's.
    unsafe { *result = julian_ms() as f64 / DAY_MS };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_ms(
    _vfs: *mut ffi::sqlite3_vfs,
    result: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: one number of SQLite's.
    unsafe { *result = julian_ms() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(
    _vfs: *mut ffi::sqlite3_vfs,
    _room: c_int,
    _text: *mut c_char,
) -> c_int {
    0
}
