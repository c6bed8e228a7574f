//! SQLite's memory: each block is charged to the account of the machine that SQLite works for, and SQLite bears a refusal.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use libsqlite3_sys as ffi;

use crate::machine::{Account, account, callback};

/// In front of each block; keeps what follows as aligned as `malloc` does.
#[repr(C, align(16))]
struct Header {
    size: usize,
    /// `Arc::into_raw` of the account that the block is charged to; null for what SQLite holds for all.
    account: *const Account,
}

const HEADER: usize = size_of::<Header>();
/// No block is larger. SQLite's own bound is twice that.
const MOST: usize = 1 << 30;

pub(crate) const METHODS: ffi::sqlite3_mem_methods = ffi::sqlite3_mem_methods {
    xMalloc: Some(allocate),
    xFree: Some(free),
    xRealloc: Some(reallocate),
    xSize: Some(size),
    xRoundup: Some(round_up),
    xInit: Some(start),
    xShutdown: Some(stop),
    pAppData: std::ptr::null_mut(),
};

fn wanted(size: c_int) -> Option<usize> {
    usize::try_from(size).ok().filter(|size| *size <= MOST)
}

unsafe extern "C" fn allocate(size: c_int) -> *mut c_void {
    callback(std::ptr::null_mut(), || {
        let Some(size) = wanted(size) else {
            return std::ptr::null_mut();
        };
        let account = account();
        // SAFETY: `account` is null or leads to the account of the machine that `in_c` holds.
        if let Some(account) = unsafe { account.as_ref() }
            && !account.take(size + HEADER)
        {
            return std::ptr::null_mut();
        }
        // SAFETY: plain `malloc`.
        let block = unsafe { libc::malloc(size + HEADER) }.cast::<Header>();
        if block.is_null() {
            // SAFETY: see above.
            if let Some(account) = unsafe { account.as_ref() } {
                account.release(size + HEADER);
            }
            return std::ptr::null_mut();
        }
        // SAFETY: `account` is null or points into a living `Arc`; the block has room for the header, `malloc` aligns it,
        // and what follows is within the block.
        unsafe {
            if !account.is_null() {
                Arc::increment_strong_count(account);
            }
            block.write(Header { size, account });
            block.add(1).cast()
        }
    })
}

unsafe extern "C" fn free(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    callback((), || {
        // SAFETY: SQLite gives back what `allocate` or `reallocate` gave it, once; a block holds its account.
        unsafe {
            let block = memory.cast::<Header>().sub(1);
            let Header { size, account } = block.read();
            libc::free(block.cast());
            if !account.is_null() {
                Arc::from_raw(account).release(size + HEADER);
            }
        }
    });
}

unsafe extern "C" fn reallocate(memory: *mut c_void, size: c_int) -> *mut c_void {
    if memory.is_null() {
        // SAFETY: as SQLite would call it.
        return unsafe { allocate(size) };
    }
    callback(std::ptr::null_mut(), || {
        let Some(size) = wanted(size) else {
            return std::ptr::null_mut();
        };
        // SAFETY: SQLite gives back what `allocate` or this function gave it, so a header is in front.
        let block = unsafe { memory.cast::<Header>().sub(1) };
        // SAFETY: see above; a block holds its account.
        let (before, account) = unsafe { ((*block).size, (*block).account.as_ref()) };
        let grows = size.saturating_sub(before);
        if let Some(account) = account
            && grows > 0
            && !account.take(grows)
        {
            return std::ptr::null_mut();
        }
        // SAFETY: the block is `malloc`'s.
        let block = unsafe { libc::realloc(block.cast(), size + HEADER) }.cast::<Header>();
        if block.is_null() {
            if let Some(account) = account {
                account.release(grows);
            }
            return std::ptr::null_mut();
        }
        if let Some(account) = account {
            account.release(before.saturating_sub(size));
        }
        // SAFETY: the header was moved with the block, and what follows is within it.
        unsafe {
            (*block).size = size;
            block.add(1).cast()
        }
    })
}

unsafe extern "C" fn size(memory: *mut c_void) -> c_int {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: SQLite asks of blocks that it has from `allocate` or `reallocate`.
    let size = unsafe { (*memory.cast::<Header>().sub(1)).size };
    c_int::try_from(size).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn round_up(size: c_int) -> c_int {
    size.saturating_add(7) & !7
}

unsafe extern "C" fn start(_data: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn stop(_data: *mut c_void) {}
