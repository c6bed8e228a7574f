//! `DatabaseSync`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use secure_exec_sqlite::{Connection, Limits, OpenOptions};

use super::machine::{after_call, before_call, machine};
use super::session::Session;
use super::statement::Statement;
use super::values::{Pending, failed, options, utf8_of};
use super::{invalid_state, invalid_type, this};
use crate::array_buffer::Contents;
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::realm::set;
use crate::text;
use crate::throw::Throw;

/// The longest text or blob, as in Node. One that is larger than the process's memory is refused before it is made.
const MAX_LENGTH: i32 = 1_000_000_000;
/// Node's is 50 000; each wildcard in it may take a frame of the stack.
const MAX_LIKE_PATTERN: i32 = 10_000;
const MAX_VDBE_OPS: i32 = 25_000_000;
/// What a database costs beside what SQLite charges.
const DATABASE_BYTES: usize = 1024;

/// The Rust side of a `DatabaseSync`.
pub struct Database {
    location: Vec<u8>,
    options: OpenOptions,
    allows_extensions: bool,
    extensions_enabled: Cell<bool>,
    pub defaults: Defaults,
    pub pending: Rc<Pending>,
    connection: RefCell<Option<Rc<Connection>>>,
    statements: RefCell<Vec<Weak<Statement>>>,
    sessions: RefCell<Vec<Weak<Session>>>,
}

/// How its statements begin.
#[derive(Clone, Copy)]
pub struct Defaults {
    pub read_big_ints: bool,
    pub return_arrays: bool,
    pub allow_bare: bool,
    pub allow_unknown: bool,
}

impl Database {
    /// The connection; an error unless it is open.
    pub fn connection(&self) -> Result<Rc<Connection>, Throw> {
        self.connection
            .borrow()
            .clone()
            .ok_or_else(|| invalid_state("database is not open"))
    }

    /// How it is opened.
    pub fn open_options(&self) -> OpenOptions {
        self.options
    }

    fn open(&self, scope: &mut v8::PinScope<'_, '_>) -> Result<(), Throw> {
        if self.connection.borrow().is_some() {
            return Err(invalid_state("database is already open"));
        }
        let env = Env::of(scope);
        before_call(scope, &env);
        let machine = machine(&env)?;
        let opened = Connection::open(machine, &self.location, &self.options);
        let connection = opened.map_err(|error| failed(scope, &self.pending, &error))?;
        if self.allows_extensions && env.permission_model().is_some() {
            return Err(Throw::error(
                "ERR_LOAD_SQLITE_EXTENSION",
                "Cannot load SQLite extensions when the permission model is enabled.",
            ));
        }
        // A policy may have run something of the guest's meanwhile.
        self.connection.borrow_mut().get_or_insert(connection);
        after_call(scope, &env);
        Ok(())
    }

    /// Remembers a statement, to finalize it when the database is closed.
    fn track(&self, statement: &Rc<Statement>) {
        track(&self.statements, statement);
    }

    /// Remembers a session, to end it when the database is closed.
    pub fn track_session(&self, session: &Rc<Session>) {
        track(&self.sessions, session);
    }
}

fn track<T>(list: &RefCell<Vec<Weak<T>>>, value: &Rc<T>) {
    let mut list = list.borrow_mut();
    if list.len() == list.capacity() {
        list.retain(|known| known.strong_count() > 0);
    }
    list.push(Rc::downgrade(value));
}

/// What names a database: a string, bytes, or a URL.
fn location_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Vec<u8>, Throw> {
    let refused = || {
        invalid_type(
            "The \"path\" argument must be a string, Uint8Array, or URL without null bytes.",
        )
    };
    let whole = |bytes: Vec<u8>| Some(bytes).filter(|bytes| !bytes.contains(&0));
    if let Some(path) = utf8_of(scope, value) {
        return whole(path).ok_or_else(refused);
    }
    if let Ok(bytes) = v8::Local::<v8::Uint8Array>::try_from(value) {
        let mut contents = Contents::default();
        return whole(contents.of(scope, bytes.into()).to_vec()).ok_or_else(refused);
    }
    let Ok(url) = v8::Local::<v8::Object>::try_from(value) else {
        return Err(refused());
    };
    let key = v8::String::new(scope, "href").ok_or(Throw::Pending)?;
    let href = url.get(scope, key.into()).ok_or(Throw::Pending)?;
    let href = utf8_of(scope, href).and_then(whole).ok_or_else(refused)?;
    if !std::str::from_utf8(&href).is_ok_and(|href| ada_url::Url::can_parse(href, None)) {
        return Err(refused());
    }
    if !href.starts_with(b"file:") {
        return Err(Throw::type_error(
            "ERR_INVALID_URL_SCHEME",
            "The URL must be of scheme file:",
        ));
    }
    Ok(href)
}

/// `new DatabaseSync(path[, options])`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(Throw::type_error(
            "ERR_CONSTRUCT_CALL_REQUIRED",
            "Cannot call constructor without `new`",
        ));
    }
    let location = location_of(scope, args.get(0))?;
    let env = Env::of(scope);
    let memory = env
        .memory_account()
        .map_or(usize::MAX, |budget| budget.limit());
    let mut open_options = OpenOptions {
        read_only: false,
        foreign_keys: true,
        double_quoted_strings: false,
        timeout: 0,
        uri: true,
        limits: Limits {
            length: i32::try_from(memory).unwrap_or(MAX_LENGTH).min(MAX_LENGTH),
            like_pattern: MAX_LIKE_PATTERN,
            vdbe_ops: MAX_VDBE_OPS,
        },
    };
    let mut defaults = Defaults {
        read_big_ints: false,
        return_arrays: false,
        allow_bare: true,
        allow_unknown: false,
    };
    let (mut opens, mut allows_extensions) = (true, false);
    if args.length() > 1 {
        let options = options(args.get(1))?;
        opens = options.flag(scope, "open", true)?;
        open_options.read_only = options.flag(scope, "readOnly", false)?;
        open_options.foreign_keys = options.flag(scope, "enableForeignKeyConstraints", true)?;
        open_options.double_quoted_strings =
            options.flag(scope, "enableDoubleQuotedStringLiterals", false)?;
        allows_extensions = options.flag(scope, "allowExtension", false)?;
        open_options.timeout = options.int(scope, "timeout", 0)?;
        defaults.read_big_ints = options.flag(scope, "readBigInts", false)?;
        defaults.return_arrays = options.flag(scope, "returnArrays", false)?;
        defaults.allow_bare = options.flag(scope, "allowBareNamedParameters", true)?;
        defaults.allow_unknown = options.flag(scope, "allowUnknownNamedParameters", false)?;
    }
    let held = DATABASE_BYTES + location.len();
    let database = Rc::new(Database {
        location,
        options: open_options,
        allows_extensions,
        extensions_enabled: Cell::new(allows_extensions),
        defaults,
        pending: Rc::default(),
        connection: RefCell::default(),
        statements: RefCell::default(),
        sessions: RefCell::default(),
    });
    let object = args.this();
    env.objects.wrap_with(scope, object, database.clone(), held);
    if let Some(name) = v8::String::new(scope, "sqlite-type") {
        let symbol = v8::Symbol::for_key(scope, name);
        let value = v8::String::new(scope, "node:sqlite").ok_or(Throw::Pending)?;
        object.create_data_property(scope, symbol.into(), value.into());
    }
    if opens {
        database.open(scope)?;
    }
    Ok(v8::undefined(scope).into())
}

/// `open()`
pub fn open<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    this::<Database>(scope, args)?.open(scope)?;
    Ok(v8::undefined(scope).into())
}

/// `close()`: statements and sessions end with it. What runs now ends first.
pub fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    let connection = database.connection()?;
    for statement in database.statements.take().iter().filter_map(Weak::upgrade) {
        statement.finalize();
    }
    for session in database.sessions.take().iter().filter_map(Weak::upgrade) {
        session.end();
    }
    database.connection.take();
    drop(connection);
    let env = Env::of(scope);
    after_call(scope, &env);
    Ok(v8::undefined(scope).into())
}

/// `isOpen`
pub fn is_open<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    let open = database.connection.borrow().is_some();
    Ok(v8::Boolean::new(scope, open).into())
}

/// `isTransaction`
pub fn is_transaction<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let connection = this::<Database>(scope, args)?.connection()?;
    Ok(v8::Boolean::new(scope, connection.is_transaction()).into())
}

fn sql_argument<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Vec<u8>, Throw> {
    utf8_of(scope, args.get(0))
        .ok_or_else(|| invalid_type("The \"sql\" argument must be a string."))
}

/// `prepare(sql)`
pub fn prepare<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    let connection = database.connection()?;
    let sql = sql_argument(scope, args)?;
    let env = Env::of(scope);
    before_call(scope, &env);
    let prepared = connection.prepare(&sql);
    after_call(scope, &env);
    let prepared = prepared.map_err(|error| failed(scope, &database.pending, &error))?;
    let object = env.new_instance(scope, "sqlite.StatementSync")?;
    let statement = Rc::new(Statement::new(database.clone(), prepared));
    database.track(&statement);
    env.objects.wrap(scope, object, statement);
    Ok(object.into())
}

/// `exec(sql)`
pub fn exec<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    let connection = database.connection()?;
    let sql = sql_argument(scope, args)?;
    let env = Env::of(scope);
    before_call(scope, &env);
    let done = connection.exec(&sql);
    after_call(scope, &env);
    done.map_err(|error| failed(scope, &database.pending, &error))?;
    database.pending.rethrow(scope)?;
    Ok(v8::undefined(scope).into())
}

/// `location([dbName])`
pub fn location<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let connection = this::<Database>(scope, args)?.connection()?;
    let name = match args.get(0) {
        value if value.is_undefined() => b"main".to_vec(),
        value => utf8_of(scope, value)
            .ok_or_else(|| invalid_type("The \"dbName\" argument must be a string."))?,
    };
    match connection.location(&name) {
        Some(path) => text::utf8(scope, &path),
        None => Ok(v8::null(scope).into()),
    }
}

/// `enableLoadExtension(allow)`
pub fn enable_load_extension<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    if !args.get(0).is_boolean() {
        return Err(invalid_type("The \"allow\" argument must be a boolean."));
    }
    let enable = args.get(0).is_true();
    if enable && !database.allows_extensions {
        return Err(invalid_state(
            "Cannot enable extension loading because it was disabled at database creation.",
        ));
    }
    database.extensions_enabled.set(enable);
    Ok(v8::undefined(scope).into())
}

/// `loadExtension(path[, entryPoint])`: there is no library that could be loaded.
pub fn load_extension<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    database.connection()?;
    if !database.allows_extensions || !database.extensions_enabled.get() {
        return Err(invalid_state("extension loading is not allowed"));
    }
    let path = utf8_of(scope, args.get(0))
        .ok_or_else(|| invalid_type("The \"path\" argument must be a string."))?;
    Err(Throw::error(
        "ERR_LOAD_SQLITE_EXTENSION",
        format!(
            "unable to open shared library [{}]",
            String::from_utf8_lossy(&path)
        ),
    ))
}

/// Sets both properties of a plain object in this order.
pub fn set_all<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    properties: &[(&str, v8::Local<'s, v8::Value>)],
) {
    for (key, value) in properties {
        set(scope, object, key, *value);
    }
}
