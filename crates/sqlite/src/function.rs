//! Functions that SQL calls.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{null, null_mut};
use std::rc::Rc;

use libsqlite3_sys as ffi;

use crate::connection::{Connection, SqlError, c_text};
use crate::machine::callback;
use crate::statement::{Value, bytes};

/// What a function answers.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Answer {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    /// The statement fails with this text.
    Error(String),
    /// The statement fails; whoever runs it knows why.
    Thrown,
}

/// The arguments of a call.
pub struct Arguments<'a> {
    values: *mut *mut ffi::sqlite3_value,
    count: usize,
    lifetime: PhantomData<&'a ()>,
}

impl Arguments<'_> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// One of them. It stays until the call ends.
    pub fn get(&mut self, index: usize) -> Value<'_> {
        if index >= self.count {
            return Value::Null;
        }
        // SAFETY: SQLite passes `count` values that are the call's own until it ends. A text or blob stays until the value
        // is asked for again, which needs `self` exclusively.
        unsafe {
            let value = *self.values.add(index);
            match ffi::sqlite3_value_type(value) {
                ffi::SQLITE_INTEGER => Value::Integer(ffi::sqlite3_value_int64(value)),
                ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_value_double(value)),
                ffi::SQLITE_TEXT => {
                    let address = ffi::sqlite3_value_text(value);
                    Value::text(address, ffi::sqlite3_value_bytes(value))
                }
                ffi::SQLITE_BLOB => {
                    let address = ffi::sqlite3_value_blob(value);
                    let length = ffi::sqlite3_value_bytes(value);
                    Value::Blob(bytes(address.cast(), length))
                }
                _ => Value::Null,
            }
        }
    }
}

/// A function of values.
pub trait Scalar {
    /// Calls it.
    fn call(&self, arguments: Arguments<'_>) -> Answer;
}

/// A function of rows.
pub trait Aggregate {
    /// What it begins with; `None` when that failed.
    fn start(&self) -> Option<Box<dyn Any>>;
    /// Takes a row in, or out again; `false` when that failed.
    fn step(&self, state: &mut Box<dyn Any>, arguments: Arguments<'_>, inverse: bool) -> bool;
    /// What it comes to.
    fn result(&self, state: &dyn Any) -> Answer;
}

/// What SQL may do with a function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// Arguments that it takes; negative for any number.
    pub arguments: i32,
    /// It answers the same for the same arguments.
    pub deterministic: bool,
    /// Views, triggers and the like must not call it.
    pub direct_only: bool,
}

impl Traits {
    fn flags(self) -> c_int {
        let mut flags = ffi::SQLITE_UTF8;
        if self.deterministic {
            flags |= ffi::SQLITE_DETERMINISTIC;
        }
        if self.direct_only {
            flags |= ffi::SQLITE_DIRECTONLY;
        }
        flags
    }
}

struct OwnScalar {
    function: Box<dyn Scalar>,
    /// The connection, which has this function.
    connection: *const Connection,
}

struct OwnAggregate {
    function: Box<dyn Aggregate>,
    connection: *const Connection,
}

/// The state of one run of an aggregate.
struct Run {
    state: Box<dyn Any>,
    /// Whether it was asked for values of a window: then its end asks for none.
    is_window: bool,
}

impl Connection {
    /// Defines a function.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn create_function(
        self: &Rc<Self>,
        name: &[u8],
        traits: Traits,
        function: Box<dyn Scalar>,
    ) -> Result<(), SqlError> {
        let name = c_text(name);
        let own = Box::into_raw(Box::new(OwnScalar {
            function,
            connection: Rc::as_ptr(self),
        }));
        let code = self.call(|raw| {
            // SAFETY: an open connection and a C string. SQLite owns `own` from now on and destroys it once, also when this
            // fails.
            unsafe {
                ffi::sqlite3_create_function_v2(
                    raw,
                    name.as_ptr(),
                    traits.arguments,
                    traits.flags(),
                    own.cast(),
                    Some(call_scalar),
                    None,
                    None,
                    Some(drop_scalar),
                )
            }
        });
        self.check(code)
    }

    /// Defines an aggregate, which can be asked for windows when it has an inverse.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn create_aggregate(
        self: &Rc<Self>,
        name: &[u8],
        traits: Traits,
        has_inverse: bool,
        function: Box<dyn Aggregate>,
    ) -> Result<(), SqlError> {
        let name = c_text(name);
        let own = Box::into_raw(Box::new(OwnAggregate {
            function,
            connection: Rc::as_ptr(self),
        }));
        let code = self.call(|raw| {
            // SAFETY: as in `create_function`.
            unsafe {
                ffi::sqlite3_create_window_function(
                    raw,
                    name.as_ptr(),
                    traits.arguments,
                    traits.flags(),
                    own.cast(),
                    Some(aggregate_step),
                    Some(aggregate_final),
                    if has_inverse {
                        Some(aggregate_value)
                    } else {
                        None
                    },
                    if has_inverse {
                        Some(aggregate_inverse)
                    } else {
                        None
                    },
                    Some(drop_aggregate),
                )
            }
        });
        self.check(code)
    }
}

unsafe extern "C" fn drop_scalar(own: *mut c_void) {
    callback((), || {
        // SAFETY: boxed by `create_function`, destroyed once.
        drop(unsafe { Box::from_raw(own.cast::<OwnScalar>()) });
    });
}

unsafe extern "C" fn drop_aggregate(own: *mut c_void) {
    callback((), || {
        // SAFETY: boxed by `create_aggregate`, destroyed once.
        drop(unsafe { Box::from_raw(own.cast::<OwnAggregate>()) });
    });
}

fn arguments<'a>(count: c_int, values: *mut *mut ffi::sqlite3_value) -> Arguments<'a> {
    Arguments {
        values,
        count: usize::try_from(count).unwrap_or(0),
        lifetime: PhantomData,
    }
}

/// Gives SQLite an answer.
///
/// # Safety
/// `context` is that of the running call.
unsafe fn give(context: *mut ffi::sqlite3_context, answer: Answer) {
    // SAFETY: as above; texts and blobs are copied.
    unsafe {
        match answer {
            Answer::Null => ffi::sqlite3_result_null(context),
            Answer::Integer(number) => ffi::sqlite3_result_int64(context, number),
            Answer::Real(number) => ffi::sqlite3_result_double(context, number),
            Answer::Text(text) => ffi::sqlite3_result_text64(
                context,
                text.as_ptr().cast(),
                text.len() as u64,
                ffi::SQLITE_TRANSIENT(),
                ffi::SQLITE_UTF8 as u8,
            ),
            Answer::Blob(bytes) => ffi::sqlite3_result_blob64(
                context,
                bytes.as_ptr().cast(),
                bytes.len() as u64,
                ffi::SQLITE_TRANSIENT(),
            ),
            Answer::Error(text) => {
                let length = c_int::try_from(text.len()).unwrap_or(0);
                ffi::sqlite3_result_error(context, text.as_ptr().cast(), length);
            }
            Answer::Thrown => ffi::sqlite3_result_error(context, c"".as_ptr(), 0),
        }
    }
}

/// Whether functions may be called now.
///
/// # Safety
/// `connection` lives.
unsafe fn is_allowed(connection: *const Connection) -> bool {
    // SAFETY: as above.
    unsafe { !(*connection).refuses_functions.get() }
}

fn refused() -> Answer {
    Answer::Error("functions cannot be called while a changeset is made".to_owned())
}

unsafe extern "C" fn call_scalar(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    let answer = callback(Answer::Thrown, || {
        // SAFETY: the data that `create_function` gave; SQLite keeps it while a statement that calls it runs.
        let own = unsafe { &*ffi::sqlite3_user_data(context).cast::<OwnScalar>() };
        // SAFETY: the connection runs a statement, so it lives.
        if unsafe { is_allowed(own.connection) } {
            own.function.call(arguments(count, values))
        } else {
            refused()
        }
    });
    // SAFETY: the context of this call.
    unsafe { give(context, answer) };
}

/// The place of a run's state.
///
/// # Safety
/// `context` is that of the running call of an aggregate of `create_aggregate`.
unsafe fn place(context: *mut ffi::sqlite3_context) -> Option<*mut *mut Run> {
    let size = c_int::try_from(size_of::<*mut Run>()).unwrap_or(c_int::MAX);
    // SAFETY: as above. SQLite's block is zeroed, aligned for an address, and the same for all calls of one run.
    let place = unsafe { ffi::sqlite3_aggregate_context(context, size) };
    (!place.is_null()).then(|| place.cast())
}

/// Takes the run out of its place, or begins it.
///
/// # Safety
/// As [`place`].
unsafe fn take_run(place: *mut *mut Run, function: &dyn Aggregate) -> Option<Box<Run>> {
    // SAFETY: the place holds null or a run that was boxed by `put_run`; it is taken out before anything else happens.
    let run = unsafe { std::mem::replace(&mut *place, null_mut()) };
    if !run.is_null() {
        // SAFETY: see above.
        return Some(unsafe { Box::from_raw(run) });
    }
    let state = function.start()?;
    Some(Box::new(Run {
        state,
        is_window: false,
    }))
}

fn put_run(place: *mut *mut Run, run: Box<Run>) {
    // SAFETY: the place is the run's until its final call, see `place`; it is empty, since `take_run` came before.
    unsafe { *place = Box::into_raw(run) };
}

/// One row in or out.
///
/// # Safety
/// Called by SQLite with the arguments of a step.
unsafe fn advance(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
    inverse: bool,
) {
    let failure = callback(Some(Answer::Thrown), || {
        // SAFETY: the data that `create_aggregate` gave; SQLite keeps it while a statement that calls it runs.
        let own = unsafe { &*ffi::sqlite3_user_data(context).cast::<OwnAggregate>() };
        // SAFETY: the connection runs a statement, so it lives.
        if !unsafe { is_allowed(own.connection) } {
            return Some(refused());
        }
        // SAFETY: the context of this call.
        let Some(place) = (unsafe { place(context) }) else {
            return Some(Answer::Error("out of memory".to_owned()));
        };
        // SAFETY: see above.
        let Some(mut run) = (unsafe { take_run(place, &*own.function) }) else {
            return Some(Answer::Thrown);
        };
        let went = own
            .function
            .step(&mut run.state, arguments(count, values), inverse);
        put_run(place, run);
        (!went).then_some(Answer::Thrown)
    });
    if let Some(failure) = failure {
        // SAFETY: the context of this call.
        unsafe { give(context, failure) };
    }
}

unsafe extern "C" fn aggregate_step(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite's own call.
    unsafe { advance(context, count, values, false) };
}

unsafe extern "C" fn aggregate_inverse(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite's own call.
    unsafe { advance(context, count, values, true) };
}

/// The value of a run.
///
/// # Safety
/// Called by SQLite with the context of an aggregate.
unsafe fn conclude(context: *mut ffi::sqlite3_context, is_final: bool) {
    let answer = callback(Answer::Thrown, || {
        // SAFETY: as in `advance`.
        let own = unsafe { &*ffi::sqlite3_user_data(context).cast::<OwnAggregate>() };
        // SAFETY: the context of this call.
        let Some(place) = (unsafe { place(context) }) else {
            return Answer::Error("out of memory".to_owned());
        };
        // SAFETY: the connection runs a statement, so it lives.
        if !unsafe { is_allowed(own.connection) } {
            return refused();
        }
        // SAFETY: see above.
        let Some(mut run) = (unsafe { take_run(place, &*own.function) }) else {
            return Answer::Thrown;
        };
        if is_final && run.is_window {
            return Answer::Null;
        }
        let answer = own.function.result(&*run.state);
        if !is_final {
            run.is_window = true;
            put_run(place, run);
        }
        answer
    });
    // SAFETY: the context of this call.
    unsafe { give(context, answer) };
}

unsafe extern "C" fn aggregate_value(context: *mut ffi::sqlite3_context) {
    // SAFETY: SQLite's own call.
    unsafe { conclude(context, false) };
}

unsafe extern "C" fn aggregate_final(context: *mut ffi::sqlite3_context) {
    // SAFETY: SQLite's own call.
    unsafe { conclude(context, true) };
}

/// A table's name for `sqlite3session_attach`; none for all tables.
pub(crate) fn or_null(text: &std::ffi::CStr) -> *const std::ffi::c_char {
    if text.is_empty() {
        null()
    } else {
        text.as_ptr()
    }
}
