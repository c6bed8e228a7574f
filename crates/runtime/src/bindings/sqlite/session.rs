//! `Session`, and `applyChangeset`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use secure_exec_sqlite::{self as sqlite, SetKind, SqlError, code};

use super::database::Database;
use super::machine::{after_call, before_call};
use super::values::{CallBack, bytes_to_js, error_object, failed, options, utf8_of, wrong};
use super::{invalid_state, invalid_type, this};
use crate::array_buffer::Contents;
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::text;
use crate::throw::Throw;

/// The Rust side of a `Session`.
pub struct Session {
    database: Rc<Database>,
    session: RefCell<Option<Rc<sqlite::Session>>>,
}

impl Session {
    /// Ends it with its database.
    pub fn end(&self) {
        let session = self.session.take();
        drop(session);
    }

    fn open(&self) -> Result<Rc<sqlite::Session>, Throw> {
        self.database.connection()?;
        self.session
            .borrow()
            .clone()
            .ok_or_else(|| invalid_state("session is not open"))
    }
}

/// `createSession([options])`
pub fn create<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    let (mut table, mut name) = (Vec::new(), b"main".to_vec());
    if args.length() > 0 {
        let options = options(args.get(0))?;
        for (key, target) in [("table", &mut table), ("db", &mut name)] {
            if let Some(value) = options.own(scope, key)? {
                *target = utf8_of(scope, value).ok_or_else(|| wrong(key, "a string"))?;
            }
        }
    }
    let connection = database.connection()?;
    let env = Env::of(scope);
    before_call(scope, &env);
    let session = connection.create_session(&name, &table);
    after_call(scope, &env);
    let session = session.map_err(|error| failed(scope, &database.pending, &error))?;
    let object = env.new_instance(scope, "sqlite.Session")?;
    let session = Rc::new(Session {
        database: database.clone(),
        session: RefCell::new(Some(session)),
    });
    database.track_session(&session);
    env.objects.wrap(scope, object, session);
    Ok(object.into())
}

fn changes<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, kind: SetKind) -> Ret<'s> {
    let session = this::<Session>(scope, args)?;
    let open = session.open()?;
    let env = Env::of(scope);
    before_call(scope, &env);
    let changes = open.changes(kind);
    after_call(scope, &env);
    let changes = changes.map_err(|error| failed(scope, &session.database.pending, &error))?;
    bytes_to_js(scope, &changes)
}

/// `changeset()`
pub fn changeset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    changes(scope, args, SetKind::Changes)
}

/// `patchset()`
pub fn patchset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    changes(scope, args, SetKind::Patches)
}

/// `close()`
pub fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let session = this::<Session>(scope, args)?;
    drop(session.open()?);
    session.session.take();
    Ok(v8::undefined(scope).into())
}

/// `applyChangeset(changeset[, options])`
pub fn apply<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const INVALID: i32 = -1;
    let database = this::<Database>(scope, args)?;
    database.connection()?;
    let view = v8::Local::<v8::Uint8Array>::try_from(args.get(0))
        .map_err(|_| invalid_type("The \"changeset\" argument must be a Uint8Array."))?;
    let (mut on_conflict, mut filter) = (None, None);
    if args.length() > 1 && !args.get(1).is_undefined() {
        let options = options(args.get(1))?;
        on_conflict = options.function(scope, "onConflict")?;
        if let Some(value) = options.own(scope, "filter")? {
            let function = v8::Local::<v8::Function>::try_from(value)
                .map_err(|_| wrong("filter", "a function"))?;
            filter = Some(function);
        }
    }
    let connection = database.connection()?;
    let mut contents = Contents::default();
    let env = Env::of(scope);
    let _charge = match env.memory_account() {
        Some(budget) => Some(
            budget
                .charge_kept(scope, view.byte_length())
                .map_err(|_| Throw::Pending)?,
        ),
        None => None,
    };
    let mut bytes = contents.of(scope, view.into()).to_vec();
    let on_conflict = on_conflict.map(|function| v8::Global::new(scope, function));
    let filter = filter.map(|function| v8::Global::new(scope, function));
    let call_back = CallBack::new(scope, &database.pending);
    before_call(scope, &env);
    let has_failed = Cell::new(false);
    let applied = connection.apply(
        &mut bytes,
        &mut |table| {
            let Some(filter) = &filter else { return true };
            if has_failed.get() {
                return false;
            }
            let wanted = call_back.enter(|scope| {
                let table = text::utf8(scope, table)?;
                let filter = v8::Local::new(scope, filter);
                let receiver = v8::null(scope).into();
                let wanted = filter
                    .call(scope, receiver, &[table])
                    .ok_or(Throw::Pending)?;
                Ok(wanted.boolean_value(scope))
            });
            wanted.unwrap_or_else(|| {
                has_failed.set(true);
                false
            })
        },
        &mut |kind| {
            let Some(on_conflict) = &on_conflict else {
                return sqlite_abort();
            };
            if has_failed.get() {
                return sqlite_abort();
            }
            let choice = call_back.enter(|scope| {
                let kind = v8::Integer::new(scope, kind).into();
                let on_conflict = v8::Local::new(scope, on_conflict);
                let receiver = v8::null(scope).into();
                let choice = on_conflict
                    .call(scope, receiver, &[kind])
                    .ok_or(Throw::Pending)?;
                if choice.is_int32() {
                    choice.int32_value(scope).ok_or(Throw::Pending)
                } else {
                    Ok(INVALID)
                }
            });
            choice.unwrap_or_else(|| {
                has_failed.set(true);
                sqlite_abort()
            })
        },
    );
    after_call(scope, &env);
    database.pending.rethrow(scope)?;
    if env.is_ending() {
        return Err(Throw::Pending);
    }
    match applied {
        code::OK => Ok(v8::Boolean::new(scope, true).into()),
        code::ABORT => Ok(v8::Boolean::new(scope, false).into()),
        failure => {
            let error = SqlError::of_code(failure);
            if let Some(error) = error_object(scope, &error, false) {
                scope.throw_exception(error.into());
            }
            Err(Throw::Pending)
        }
    }
}

/// `SQLITE_CHANGESET_ABORT`
fn sqlite_abort() -> i32 {
    2
}
