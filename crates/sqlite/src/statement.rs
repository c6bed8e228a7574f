//! A prepared statement.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::{null_mut, slice_from_raw_parts};
use std::rc::Rc;

use libsqlite3_sys as ffi;

use crate::connection::{Connection, SqlError, c_text};

/// A value, which lies in SQLite's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value<'v> {
    Null,
    Integer(i64),
    Real(f64),
    /// UTF-8, as SQLite believes.
    Text(&'v [u8]),
    Blob(&'v [u8]),
    /// There was no memory for it.
    Refused,
}

impl Value<'_> {
    /// A text that SQLite has converted; null when it could not.
    ///
    /// # Safety
    /// As [`bytes`].
    pub(crate) unsafe fn text(address: *const u8, length: c_int) -> Self {
        if address.is_null() {
            return Self::Refused;
        }
        // SAFETY: as above.
        Self::Text(unsafe { bytes(address, length) })
    }
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A row.
    Row,
    /// The end.
    Done,
}

/// A prepared statement. Finalized when nobody has it any more.
pub struct Statement {
    raw: *mut ffi::sqlite3_stmt,
    connection: Rc<Connection>,
    /// Whether it is stepping or its row is being read: then it must be left alone.
    is_busy: Cell<bool>,
}

/// Bytes that SQLite has.
///
/// # Safety
/// `address` is null or leads to `length` bytes, which stay for `'v`.
pub(crate) unsafe fn bytes<'v>(address: *const u8, length: c_int) -> &'v [u8] {
    let length = usize::try_from(length).unwrap_or(0);
    if address.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: as above.
    unsafe { &*slice_from_raw_parts(address, length) }
}

impl Connection {
    /// Prepares the first statement of a text; `None` when there is none.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn prepare(self: &Rc<Self>, sql: &[u8]) -> Result<Option<Rc<Statement>>, SqlError> {
        let sql = c_text(sql);
        let mut raw = null_mut();
        let prepared = self.call(|connection| {
            // SAFETY: an open connection, a C string and the address of a local.
            unsafe {
                ffi::sqlite3_prepare_v2(connection, sql.as_ptr(), -1, &raw mut raw, null_mut())
            }
        });
        self.check(prepared)?;
        Ok((!raw.is_null()).then(|| {
            Rc::new(Statement {
                raw,
                connection: self.clone(),
                is_busy: Cell::new(false),
            })
        }))
    }
}

impl Statement {
    /// Its connection.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Whether it is running, so that a function that it calls must not touch it.
    pub fn is_busy(&self) -> bool {
        self.is_busy.get()
    }

    fn call<T>(&self, body: impl FnOnce(*mut ffi::sqlite3_stmt) -> T) -> T {
        self.connection.call(|_| body(self.raw))
    }

    /// As [`Self::call`], for what must not meet a running statement.
    fn alone(&self, body: impl FnOnce(*mut ffi::sqlite3_stmt) -> c_int) -> c_int {
        if self.is_busy.get() {
            return ffi::SQLITE_MISUSE;
        }
        self.call(body)
    }

    fn check(&self, code: c_int) -> Result<(), SqlError> {
        if code == ffi::SQLITE_MISUSE {
            return Err(SqlError::of_code(code));
        }
        self.connection.check(code)
    }

    /// Begins again. Answers what the last run ended with.
    ///
    /// # Errors
    /// That of the last run.
    pub fn reset(&self) -> Result<(), SqlError> {
        // SAFETY: a statement that does not run.
        let code = self.alone(|raw| unsafe { ffi::sqlite3_reset(raw) });
        self.check(code)
    }

    /// Makes all parameters null.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn clear_bindings(&self) -> Result<(), SqlError> {
        // SAFETY: a statement that does not run.
        let code = self.alone(|raw| unsafe { ffi::sqlite3_clear_bindings(raw) });
        self.check(code)
    }

    /// Sets a parameter, counted from 1.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn bind(&self, index: i32, value: Value<'_>) -> Result<(), SqlError> {
        // SAFETY: a statement that does not run; texts and blobs are copied.
        let code = self.alone(|raw| unsafe {
            match value {
                Value::Refused => ffi::SQLITE_NOMEM,
                Value::Null => ffi::sqlite3_bind_null(raw, index),
                Value::Integer(number) => ffi::sqlite3_bind_int64(raw, index, number),
                Value::Real(number) => ffi::sqlite3_bind_double(raw, index, number),
                Value::Text(text) => ffi::sqlite3_bind_text64(
                    raw,
                    index,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                    ffi::SQLITE_UTF8 as u8,
                ),
                Value::Blob(bytes) => ffi::sqlite3_bind_blob64(
                    raw,
                    index,
                    bytes.as_ptr().cast(),
                    bytes.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                ),
            }
        });
        self.check(code)
    }

    /// How many parameters there are.
    pub fn parameter_count(&self) -> i32 {
        // SAFETY: a statement.
        self.call(|raw| unsafe { ffi::sqlite3_bind_parameter_count(raw) })
    }

    /// The name of a parameter, if it has one.
    pub fn parameter_name(&self, index: i32) -> Option<Vec<u8>> {
        // SAFETY: a statement; the answer is null or a C string, copied at once.
        self.call(|raw| unsafe { copied(ffi::sqlite3_bind_parameter_name(raw, index)) })
    }

    /// The parameter with a name.
    pub fn parameter_index(&self, name: &[u8]) -> Option<i32> {
        let name = c_text(name);
        // SAFETY: a statement and a C string.
        let index =
            self.call(|raw| unsafe { ffi::sqlite3_bind_parameter_index(raw, name.as_ptr()) });
        (index > 0).then_some(index)
    }

    /// Goes on to the next row.
    ///
    /// # Errors
    /// Those of SQLite, and misuse by a function that the statement calls.
    pub fn step(&self) -> Result<Step, SqlError> {
        if self.is_busy.replace(true) {
            return Err(SqlError::of_code(ffi::SQLITE_MISUSE));
        }
        let _free = Free(&self.is_busy);
        // SAFETY: a statement that does not run.
        match self.call(|raw| unsafe { ffi::sqlite3_step(raw) }) {
            ffi::SQLITE_ROW => Ok(Step::Row),
            ffi::SQLITE_DONE => Ok(Step::Done),
            ffi::SQLITE_MISUSE => Err(SqlError::of_code(ffi::SQLITE_MISUSE)),
            _ => Err(self.connection.error()),
        }
    }

    /// How many columns its rows have.
    pub fn column_count(&self) -> i32 {
        // SAFETY: a statement.
        self.call(|raw| unsafe { ffi::sqlite3_column_count(raw) })
    }

    /// Shows a column of the row. The statement stays at the row meanwhile.
    pub fn column<T>(&self, index: i32, show: impl FnOnce(Value<'_>) -> T) -> T {
        if self.is_busy.replace(true) {
            return show(Value::Null);
        }
        let _free = Free(&self.is_busy);
        let value = self.call(|raw| {
            // SAFETY: a statement that does not run; any index is allowed. What the addresses lead to stays until the
            // statement is stepped, reset or finalized, which `is_busy` and the borrow prevent until this returns.
            unsafe {
                match ffi::sqlite3_column_type(raw, index) {
                    ffi::SQLITE_INTEGER => Value::Integer(ffi::sqlite3_column_int64(raw, index)),
                    ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_column_double(raw, index)),
                    ffi::SQLITE_TEXT => {
                        let address = ffi::sqlite3_column_text(raw, index);
                        Value::text(address, ffi::sqlite3_column_bytes(raw, index))
                    }
                    ffi::SQLITE_BLOB => {
                        let address = ffi::sqlite3_column_blob(raw, index);
                        let length = ffi::sqlite3_column_bytes(raw, index);
                        Value::Blob(bytes(address.cast(), length))
                    }
                    _ => Value::Null,
                }
            }
        });
        show(value)
    }

    /// A column's name.
    pub fn column_name(&self, index: i32) -> Option<Vec<u8>> {
        // SAFETY: a statement; the answer is null or a C string, copied at once.
        self.call(|raw| unsafe { copied(ffi::sqlite3_column_name(raw, index)) })
    }

    /// The column, database and table that a column of the result comes from, and its declared type.
    pub fn column_origin(&self, index: i32) -> [Option<Vec<u8>>; 4] {
        // SAFETY: a statement; the answers are null or C strings, copied at once.
        self.call(|raw| unsafe {
            [
                copied(ffi::sqlite3_column_origin_name(raw, index)),
                copied(ffi::sqlite3_column_database_name(raw, index)),
                copied(ffi::sqlite3_column_table_name(raw, index)),
                copied(ffi::sqlite3_column_decltype(raw, index)),
            ]
        })
    }

    /// Its text.
    pub fn sql(&self) -> Vec<u8> {
        // SAFETY: a statement; the answer is null or a C string, copied at once.
        self.call(|raw| unsafe { copied(ffi::sqlite3_sql(raw)) })
            .unwrap_or_default()
    }

    /// Its text with its parameters' values; `None` when that would be too long.
    pub fn expanded_sql(&self) -> Option<Vec<u8>> {
        self.call(|raw| {
            // SAFETY: a statement; the answer is null or a C string of ours, copied and freed at once.
            unsafe {
                let expanded = ffi::sqlite3_expanded_sql(raw);
                let text = copied(expanded);
                ffi::sqlite3_free(expanded.cast());
                text
            }
        })
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        let raw = self.raw;
        // SAFETY: finalized once; whoever steps it holds it.
        self.connection
            .call(|_| unsafe { ffi::sqlite3_finalize(raw) });
    }
}

/// Marks a statement as not running any more.
struct Free<'s>(&'s Cell<bool>);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A copy of a C string.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn copied(text: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: as above.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}
