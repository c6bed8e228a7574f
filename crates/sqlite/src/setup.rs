//! Makes SQLite work here, once for the OS process.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use libsqlite3_sys as ffi;

use crate::machine::{callback, machine};
use crate::{memory, mutex, vfs};

/// With what SQLite must have been compiled (`LIBSQLITE3_FLAGS` in `.cargo/config.toml`): without these, a guest could
/// reach the host's files or another guest's databases.
const NEEDED: &[&std::ffi::CStr] = &[
    c"THREADSAFE=2",
    c"OMIT_DESERIALIZE",
    c"OMIT_SHARED_CACHE",
    c"OMIT_LOAD_EXTENSION",
    c"MAX_WORKER_THREADS=0",
    c"DEFAULT_MEMSTATUS=0",
    c"ENABLE_SESSION",
    c"ENABLE_PREUPDATE_HOOK",
];

unsafe extern "C" {
    fn secure_exec_sqlite_os() -> c_int;
}

/// The file system, at an address that stays.
struct Vfs(Box<std::cell::UnsafeCell<ffi::sqlite3_vfs>>);

// SAFETY: nothing here uses what is inside after it was handed to SQLite, which guards it with a mutex of its own.
unsafe impl Send for Vfs {}
// SAFETY: see above.
unsafe impl Sync for Vfs {}

/// Whether SQLite can be used.
pub(crate) fn is_ready() -> bool {
    static READY: OnceLock<Option<Vfs>> = OnceLock::new();
    READY.get_or_init(start).is_some()
}

fn start() -> Option<Vfs> {
    // SAFETY: has no preconditions.
    if unsafe { secure_exec_sqlite_os() } != 1 {
        return None;
    }
    for option in NEEDED {
        // SAFETY: a C string.
        if unsafe { ffi::sqlite3_compileoption_used(option.as_ptr()) } == 0 {
            return None;
        }
    }
    let memory = memory::METHODS;
    let mutex = mutex::METHODS;
    let file_system = Vfs(Box::new(std::cell::UnsafeCell::new(vfs::make())));
    // SAFETY: SQLite was not started before, since only this function starts it; it copies both tables. The file system is
    // kept in a static, and the functions keep to SQLite's contracts.
    unsafe {
        let configured = ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const memory)
            == ffi::SQLITE_OK
            && ffi::sqlite3_config(ffi::SQLITE_CONFIG_MUTEX, &raw const mutex) == ffi::SQLITE_OK
            && ffi::sqlite3_initialize() == ffi::SQLITE_OK
            && ffi::sqlite3_vfs_register(file_system.0.get(), 1) == ffi::SQLITE_OK;
        if !configured {
            return None;
        }
        // SQLite's only way to another local time than that of the host.
        const GIVEN: c_int = 2;
        let local: unsafe extern "C" fn(*const c_void, *mut c_void) -> c_int = local_time;
        ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_LOCALTIME_FAULT, GIVEN, local);
    }
    Some(file_system)
}

/// `localtime_r` of the machine. Answers 0 when it could.
unsafe extern "C" fn local_time(time: *const c_void, result: *mut c_void) -> c_int {
    callback(1, || {
        // SAFETY: SQLite passes a `time_t` and a `struct tm`.
        let (seconds, target) = unsafe {
            (
                *time.cast::<libc::time_t>(),
                &mut *result.cast::<libc::tm>(),
            )
        };
        let Some(machine) = machine() else { return 1 };
        #[allow(clippy::useless_conversion, reason = "time_t differs")]
        let seconds = i64::from(seconds);
        let local = seconds.saturating_add(i64::from(machine.utc_offset(seconds)));
        let (day, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        // Days from 0000-03-01, in eras of 400 years.
        let shifted = day + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let number = |value: i64| c_int::try_from(value).unwrap_or(0);
        target.tm_mday = number(of_year - (153 * month + 2) / 5 + 1);
        target.tm_mon = number((month + 2) % 12);
        target.tm_year = number(year + era * 400 + i64::from(month >= 10) - 1900);
        target.tm_hour = number(second / 3600);
        target.tm_min = number(second / 60 % 60);
        target.tm_sec = number(second % 60);
        0
    })
}
