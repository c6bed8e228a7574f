//! Sessions, which record changes; applying what they recorded; and backups.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::rc::Rc;

use libsqlite3_sys as ffi;

use crate::connection::{Connection, SqlError, c_text};
use crate::function::or_null;
use crate::machine::callback;
use crate::statement::bytes;

/// What a session makes of its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SetKind {
    Changes,
    Patches,
}

/// Records changes of tables. Ends when nobody has it any more.
pub struct Session {
    raw: *mut ffi::sqlite3_session,
    connection: Rc<Connection>,
}

impl Connection {
    /// Begins to record changes of a table, or of all tables when it has no name.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn create_session(
        self: &Rc<Self>,
        database: &[u8],
        table: &[u8],
    ) -> Result<Rc<Session>, SqlError> {
        let (database, table) = (c_text(database), c_text(table));
        let mut raw = null_mut();
        let code = self.call(|connection| {
            // SAFETY: an open connection, a C string and the address of a local.
            unsafe { ffi::sqlite3session_create(connection, database.as_ptr(), &raw mut raw) }
        });
        if code != ffi::SQLITE_OK || raw.is_null() {
            return Err(SqlError::of_code(code));
        }
        let session = Rc::new(Session {
            raw,
            connection: self.clone(),
        });
        // SAFETY: a session, and null or a C string.
        let code = self.call(|_| unsafe { ffi::sqlite3session_attach(raw, or_null(&table)) });
        self.check(code)?;
        Ok(session)
    }

    /// Applies changes. `filter` says whether those of a table count, `conflict` what to do about one that does not fit.
    pub fn apply(
        &self,
        changes: &mut [u8],
        filter: &mut dyn FnMut(&[u8]) -> bool,
        conflict: &mut dyn FnMut(i32) -> i32,
    ) -> i32 {
        let Ok(length) = c_int::try_from(changes.len()) else {
            return ffi::SQLITE_TOOBIG;
        };
        let mut asked = Asked { filter, conflict };
        let asked = (&raw mut asked).cast();
        let changes = changes.as_mut_ptr();
        self.call(|raw| {
            // SAFETY: an open connection and that many bytes, which nobody else has meanwhile. `asked` lives until this
            // returns, and SQLite calls with it only before.
            unsafe {
                ffi::sqlite3changeset_apply(
                    raw,
                    length,
                    changes.cast(),
                    Some(on_filter),
                    Some(on_conflict),
                    asked,
                )
            }
        })
    }
}

struct Asked<'a> {
    filter: &'a mut dyn FnMut(&[u8]) -> bool,
    conflict: &'a mut dyn FnMut(i32) -> i32,
}

unsafe extern "C" fn on_filter(asked: *mut c_void, table: *const c_char) -> c_int {
    callback(0, || {
        // SAFETY: what `apply` passed, which lives; SQLite does not call it within another call of it.
        let asked = unsafe { &mut *asked.cast::<Asked<'_>>() };
        // SAFETY: a C string.
        let table = unsafe { CStr::from_ptr(table) }.to_bytes().to_vec();
        c_int::from((asked.filter)(&table))
    })
}

unsafe extern "C" fn on_conflict(
    asked: *mut c_void,
    kind: c_int,
    _change: *mut ffi::sqlite3_changeset_iter,
) -> c_int {
    callback(ffi::SQLITE_CHANGESET_ABORT, || {
        // SAFETY: as in `on_filter`.
        let asked = unsafe { &mut *asked.cast::<Asked<'_>>() };
        (asked.conflict)(kind)
    })
}

impl Session {
    /// The changes so far. No function is called meanwhile: it could change what is being read.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn changes(&self, kind: SetKind) -> Result<Vec<u8>, SqlError> {
        struct Until<'c>(&'c Cell<bool>);
        impl Drop for Until<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        if self.connection.refuses_functions.replace(true) {
            return Err(SqlError::of_code(ffi::SQLITE_MISUSE));
        }
        let _until = Until(&self.connection.refuses_functions);
        let (mut length, mut start) = (0, null_mut());
        let raw = self.raw;
        let code = self.connection.call(|_| {
            // SAFETY: a session and the addresses of two locals.
            unsafe {
                match kind {
                    SetKind::Changes => {
                        ffi::sqlite3session_changeset(raw, &raw mut length, &raw mut start)
                    }
                    SetKind::Patches => {
                        ffi::sqlite3session_patchset(raw, &raw mut length, &raw mut start)
                    }
                }
            }
        });
        if code != ffi::SQLITE_OK {
            return Err(match self.connection.error() {
                error if error.code == ffi::SQLITE_OK => SqlError::of_code(code),
                error => error,
            });
        }
        // SAFETY: SQLite answers null or so many bytes, which are ours to free.
        let changes = unsafe { bytes(start.cast_const().cast::<u8>(), length) }.to_vec();
        // SAFETY: see above; freed once.
        self.connection
            .call(|_| unsafe { ffi::sqlite3_free(start) });
        Ok(changes)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let raw = self.raw;
        // SAFETY: deleted once, before its connection; nobody works with it, since whoever does holds it.
        self.connection
            .call(|_| unsafe { ffi::sqlite3session_delete(raw) });
    }
}

/// A copy of a database under way. Given up when it is dropped.
pub struct Backup {
    raw: *mut ffi::sqlite3_backup,
    _source: Rc<Connection>,
    target: Rc<Connection>,
}

impl Backup {
    /// Begins to copy a database of `source` into one of `target`, which nobody else uses.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn new(
        source: Rc<Connection>,
        source_name: &[u8],
        target: Rc<Connection>,
        target_name: &[u8],
    ) -> Result<Self, SqlError> {
        let (source_name, target_name) = (c_text(source_name), c_text(target_name));
        let from = source.call(|raw| raw);
        let raw = target.call(|raw| {
            // SAFETY: two open connections of this thread, which the backup keeps, and two C strings.
            unsafe {
                ffi::sqlite3_backup_init(raw, target_name.as_ptr(), from, source_name.as_ptr())
            }
        });
        if raw.is_null() {
            return Err(target.error());
        }
        Ok(Self {
            raw,
            _source: source,
            target,
        })
    }

    /// Copies so many pages, or all when negative. Answers SQLite's code.
    pub fn step(&self, pages: i32) -> i32 {
        // SAFETY: a backup under way.
        self.target
            .call(|_| unsafe { ffi::sqlite3_backup_step(self.raw, pages) })
    }

    /// Pages in all, and pages left.
    pub fn pages(&self) -> (i32, i32) {
        // SAFETY: a backup under way.
        self.target.call(|_| unsafe {
            (
                ffi::sqlite3_backup_pagecount(self.raw),
                ffi::sqlite3_backup_remaining(self.raw),
            )
        })
    }

    /// What went wrong last.
    pub fn error(&self) -> SqlError {
        self.target.error()
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        let raw = self.raw;
        // SAFETY: finished once, before its connections are closed.
        self.target
            .call(|_| unsafe { ffi::sqlite3_backup_finish(raw) });
    }
}
