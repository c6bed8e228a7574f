//! SQLite's mutexes. Connections have none, since each is used by one thread; these guard what all connections share, and
//! are never held while SQLite calls anything that takes long.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use libsqlite3_sys as ffi;
use parking_lot::RawMutex;
use parking_lot::lock_api::RawMutex as _;

use crate::machine::count_lock;

struct Mutex {
    raw: RawMutex,
    is_recursive: bool,
    owner: AtomicUsize,
    depth: AtomicU32,
}

impl Mutex {
    const fn new(is_recursive: bool) -> Self {
        Self {
            raw: RawMutex::INIT,
            is_recursive,
            owner: AtomicUsize::new(0),
            depth: AtomicU32::new(0),
        }
    }

    fn enter(&self, lock: impl FnOnce(&RawMutex) -> bool) -> bool {
        // Counts from before it is taken until after it is given back.
        count_lock(1);
        let me = me();
        let has = self.is_recursive && self.owner.load(Ordering::Relaxed) == me;
        if !has && !lock(&self.raw) {
            count_lock(-1);
            return false;
        }
        self.owner.store(me, Ordering::Relaxed);
        self.depth.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn leave(&self) {
        if self.depth.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.owner.store(0, Ordering::Relaxed);
            // SAFETY: SQLite leaves what it has entered on the same thread, and this was the outermost entry.
            unsafe { self.raw.unlock() };
        }
        count_lock(-1);
    }
}

/// A number of this thread, not 0.
fn me() -> usize {
    thread_local! {
        static PLACE: Cell<u8> = const { Cell::new(0) };
    }
    PLACE.with(|place| std::ptr::from_ref(place) as usize)
}

/// Kinds from here on are those of SQLite's own mutexes, one each.
const FIRST_STATIC: c_int = 2;
static STATICS: [Mutex; 16] = [const { Mutex::new(false) }; 16];

pub(crate) const METHODS: ffi::sqlite3_mutex_methods = ffi::sqlite3_mutex_methods {
    xMutexInit: Some(start),
    xMutexEnd: Some(start),
    xMutexAlloc: Some(allocate),
    xMutexFree: Some(free),
    xMutexEnter: Some(enter),
    xMutexTry: Some(try_enter),
    xMutexLeave: Some(leave),
    xMutexHeld: None,
    xMutexNotheld: None,
};

unsafe extern "C" fn start() -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn allocate(kind: c_int) -> *mut ffi::sqlite3_mutex {
    let mutex: *const Mutex = match usize::try_from(kind - FIRST_STATIC) {
        Ok(index) => match STATICS.get(index) {
            Some(mutex) => mutex,
            None => return std::ptr::null_mut(),
        },
        Err(_) => Box::into_raw(Box::new(Mutex::new(kind == ffi::SQLITE_MUTEX_RECURSIVE))),
    };
    mutex.cast_mut().cast()
}

unsafe extern "C" fn free(mutex: *mut ffi::sqlite3_mutex) {
    let mutex = mutex.cast::<Mutex>();
    let is_static = STATICS.as_ptr_range().contains(&mutex.cast_const());
    if !mutex.is_null() && !is_static {
        // SAFETY: SQLite frees once what `allocate` has boxed for it.
        drop(unsafe { Box::from_raw(mutex) });
    }
}

unsafe extern "C" fn enter(mutex: *mut ffi::sqlite3_mutex) {
    // SAFETY: SQLite passes what `allocate` gave it and it has not freed.
    if let Some(mutex) = unsafe { mutex.cast::<Mutex>().as_ref() } {
        mutex.enter(|raw| {
            raw.lock();
            true
        });
    }
}

unsafe extern "C" fn try_enter(mutex: *mut ffi::sqlite3_mutex) -> c_int {
    // SAFETY: as in `enter`.
    match unsafe { mutex.cast::<Mutex>().as_ref() } {
        Some(mutex) if !mutex.enter(RawMutex::try_lock) => ffi::SQLITE_BUSY,
        _ => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn leave(mutex: *mut ffi::sqlite3_mutex) {
    // SAFETY: as in `enter`.
    if let Some(mutex) = unsafe { mutex.cast::<Mutex>().as_ref() } {
        mutex.leave();
    }
}
