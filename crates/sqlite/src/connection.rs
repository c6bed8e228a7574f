//! A connection to a database.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::rc::Rc;

use libsqlite3_sys as ffi;

use crate::machine::{Machine, callback, in_c};
use crate::setup;

unsafe extern "C" {
    // Left out of the bindings.
    fn sqlite3_close_v2(connection: *mut ffi::sqlite3) -> c_int;
}

/// An error of SQLite's.
#[derive(Clone, Debug)]
pub struct SqlError {
    /// The extended code.
    pub code: i32,
    /// What the code means.
    pub meaning: String,
    /// What went wrong.
    pub message: String,
}

impl SqlError {
    /// An error of which there is a code only.
    pub fn of_code(code: i32) -> Self {
        // SAFETY: answers a static C string for any number.
        let meaning = unsafe { text(ffi::sqlite3_errstr(code)) };
        Self {
            code,
            message: meaning.clone(),
            meaning,
        }
    }
}

/// A C string of SQLite's; an empty one for null.
///
/// # Safety
/// `address` is null or a C string.
pub(crate) unsafe fn text(address: *const c_char) -> String {
    if address.is_null() {
        return String::new();
    }
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(address) };
    text.to_string_lossy().into_owned()
}

/// As much of a text as a C string can hold: up to its first zero.
pub(crate) fn c_text(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|byte| *byte == 0);
    let kept = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    CString::new(kept).unwrap_or_default()
}

/// What a database may have at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a text, a blob or a row.
    pub length: i32,
    /// Bytes of a pattern of `LIKE` and `GLOB`.
    pub like_pattern: i32,
    /// Instructions of a statement.
    pub vdbe_ops: i32,
}

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct OpenOptions {
    pub read_only: bool,
    pub foreign_keys: bool,
    pub double_quoted_strings: bool,
    /// Milliseconds to wait for a lock.
    pub timeout: i32,
    /// Whether `file:` begins a URI.
    pub uri: bool,
    pub limits: Limits,
}

/// A connection to a database. Closed when nobody has it any more.
pub struct Connection {
    raw: *mut ffi::sqlite3,
    machine: Rc<dyn Machine>,
    /// While a change set is made, which must not meet changes.
    pub(crate) refuses_functions: Cell<bool>,
}

/// Instructions between two looks whether the process has an end.
const OPS_BETWEEN_LOOKS: c_int = 1000;
/// Pragmas whose values all connections of the OS process share.
const SHARED_PRAGMAS: &[&[u8]] = &[
    b"temp_store_directory",
    b"data_store_directory",
    b"hard_heap_limit",
    b"soft_heap_limit",
];
/// Functions that take or give addresses, or that load code.
const FORBIDDEN_FUNCTIONS: &[(&CStr, c_int)] = &[
    (c"fts3_tokenizer", 1),
    (c"fts3_tokenizer", 2),
    (c"load_extension", 1),
    (c"load_extension", 2),
];

impl Connection {
    /// Opens a database: a path, a URI, `:memory:`, or nothing for a temporary one.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn open(
        machine: Rc<dyn Machine>,
        location: &[u8],
        options: &OpenOptions,
    ) -> Result<Rc<Self>, SqlError> {
        if !setup::is_ready() {
            return Err(SqlError::of_code(ffi::SQLITE_MISUSE));
        }
        let location = c_text(location);
        let mut flags = if options.read_only {
            ffi::SQLITE_OPEN_READONLY
        } else {
            ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE
        };
        flags |= ffi::SQLITE_OPEN_NOMUTEX;
        if options.uri {
            flags |= ffi::SQLITE_OPEN_URI;
        }
        let mut raw = null_mut();
        let opened = in_c(&machine, || {
            // SAFETY: a C string and the address of a local; no file system by name.
            unsafe { ffi::sqlite3_open_v2(location.as_ptr(), &raw mut raw, flags, null()) }
        });
        if raw.is_null() {
            return Err(SqlError::of_code(opened));
        }
        // From here on closed when dropped.
        let connection = Rc::new(Self {
            raw,
            machine,
            refuses_functions: Cell::new(false),
        });
        connection.check(opened)?;
        connection.secure(options)?;
        Ok(connection)
    }

    fn secure(&self, options: &OpenOptions) -> Result<(), SqlError> {
        let limits = &options.limits;
        for (limit, value) in [
            (ffi::SQLITE_LIMIT_LENGTH, limits.length),
            (ffi::SQLITE_LIMIT_SQL_LENGTH, limits.length),
            (ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.like_pattern),
            (ffi::SQLITE_LIMIT_VDBE_OP, limits.vdbe_ops),
            (ffi::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            // SAFETY: an open connection and numbers.
            self.call(|raw| unsafe { ffi::sqlite3_limit(raw, limit, value) });
        }
        for (name, count) in FORBIDDEN_FUNCTIONS {
            // SAFETY: a C string, and a function that needs nothing.
            let made = self.call(|raw| unsafe {
                ffi::sqlite3_create_function_v2(
                    raw,
                    name.as_ptr(),
                    *count,
                    ffi::SQLITE_UTF8 | ffi::SQLITE_DIRECTONLY,
                    null_mut(),
                    Some(forbidden),
                    None,
                    None,
                    None,
                )
            });
            self.check(made)?;
        }
        for (option, value) in [
            (ffi::SQLITE_DBCONFIG_DEFENSIVE, true),
            (ffi::SQLITE_DBCONFIG_DQS_DML, options.double_quoted_strings),
            (ffi::SQLITE_DBCONFIG_DQS_DDL, options.double_quoted_strings),
            (ffi::SQLITE_DBCONFIG_ENABLE_FKEY, options.foreign_keys),
        ] {
            // SAFETY: an open connection; these options take a number and an address, which may be null.
            let set = self.call(|raw| unsafe {
                ffi::sqlite3_db_config(raw, option, c_int::from(value), null_mut::<c_int>())
            });
            self.check(set)?;
        }
        let this = std::ptr::from_ref(&self.machine).cast_mut().cast();
        self.call(|raw| {
            // SAFETY: an open connection. The machine's place in this connection stays, since connections are made in an
            // `Rc` and never moved out, and SQLite calls neither function after it was closed.
            unsafe {
                ffi::sqlite3_progress_handler(raw, OPS_BETWEEN_LOOKS, Some(look), this);
                ffi::sqlite3_set_authorizer(raw, Some(authorize), null_mut());
                ffi::sqlite3_busy_timeout(raw, options.timeout);
            }
        });
        Ok(())
    }

    /// Calls SQLite with this connection.
    pub(crate) fn call<T>(&self, body: impl FnOnce(*mut ffi::sqlite3) -> T) -> T {
        in_c(&self.machine, || body(self.raw))
    }

    /// An error for any code but 0.
    pub(crate) fn check(&self, code: c_int) -> Result<(), SqlError> {
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    /// What went wrong last.
    pub fn error(&self) -> SqlError {
        self.call(|raw| {
            // SAFETY: an open connection; the texts are copied before SQLite is called again.
            unsafe {
                let code = ffi::sqlite3_extended_errcode(raw);
                SqlError {
                    code,
                    message: text(ffi::sqlite3_errmsg(raw)),
                    meaning: text(ffi::sqlite3_errstr(code)),
                }
            }
        })
    }

    /// Runs statements without their results.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn exec(&self, sql: &[u8]) -> Result<(), SqlError> {
        let sql = c_text(sql);
        let done = self.call(|raw| {
            // SAFETY: an open connection and a C string; no callback and no text of an error is asked for.
            unsafe { ffi::sqlite3_exec(raw, sql.as_ptr(), None, null_mut(), null_mut()) }
        });
        self.check(done)
    }

    /// Whether a transaction is open.
    pub fn is_transaction(&self) -> bool {
        // SAFETY: an open connection.
        self.call(|raw| unsafe { ffi::sqlite3_get_autocommit(raw) == 0 })
    }

    /// The path of a database's file; `None` for one without.
    pub fn location(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = c_text(name);
        self.call(|raw| {
            // SAFETY: an open connection and a C string; the answer is null or a C string, copied at once.
            unsafe {
                let path = ffi::sqlite3_db_filename(raw, name.as_ptr());
                let path = (!path.is_null()).then(|| CStr::from_ptr(path).to_bytes().to_vec());
                path.filter(|path| !path.is_empty())
            }
        })
    }

    /// The row that was inserted last, and how many rows the last statement changed.
    pub fn changes(&self) -> (i64, i64) {
        // SAFETY: an open connection.
        self.call(|raw| unsafe {
            (
                ffi::sqlite3_last_insert_rowid(raw),
                ffi::sqlite3_changes64(raw),
            )
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let raw = self.raw;
        // SAFETY: closed once. Statements, sessions and backups keep their connection, so none is left.
        in_c(&self.machine, || unsafe { sqlite3_close_v2(raw) });
    }
}

/// Whether a statement is to be given up.
unsafe extern "C" fn look(machine: *mut c_void) -> c_int {
    callback(1, || {
        // SAFETY: `secure` has passed the place of a machine that lives as long as the connection.
        let machine = unsafe { &*machine.cast::<Rc<dyn Machine>>() };
        c_int::from(machine.is_ending())
    })
}

unsafe extern "C" fn authorize(
    _data: *mut c_void,
    action: c_int,
    first: *const c_char,
    _second: *const c_char,
    _database: *const c_char,
    _trigger: *const c_char,
) -> c_int {
    if action != ffi::SQLITE_PRAGMA || first.is_null() {
        return ffi::SQLITE_OK;
    }
    // SAFETY: SQLite passes a pragma's name as a C string.
    let name = unsafe { CStr::from_ptr(first) }.to_bytes();
    if SHARED_PRAGMAS
        .iter()
        .any(|shared| shared.eq_ignore_ascii_case(name))
    {
        ffi::SQLITE_DENY
    } else {
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn forbidden(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    _values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: the context of the running call, and a C string that is copied.
    unsafe { ffi::sqlite3_result_error(context, c"not authorized".as_ptr(), -1) };
}
