//! `StatementSync` and its iterator.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use secure_exec_sqlite::{self as sqlite, SqlError, Step};

use super::database::{Database, set_all};
use super::machine::{after_call, before_call};
use super::values::{failed, to_js, with_sqlite};
use super::{invalid_state, invalid_type, this};
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::text;
use crate::throw::Throw;

/// The Rust side of a `StatementSync`.
pub struct Statement {
    database: Rc<Database>,
    /// `None` once it is finalized, or when its text had no statement.
    prepared: RefCell<Option<Rc<sqlite::Statement>>>,
    read_big_ints: Cell<bool>,
    return_arrays: Cell<bool>,
    allow_bare: Cell<bool>,
    allow_unknown: Cell<bool>,
    /// Full names of parameters by their names without the first character.
    bare_names: RefCell<Option<HashMap<Vec<u8>, Vec<u8>>>>,
}

/// The Rust side of an iterator.
struct Iteration {
    statement: Rc<Statement>,
    is_done: Cell<bool>,
}

impl Statement {
    pub fn new(database: Rc<Database>, prepared: Option<Rc<sqlite::Statement>>) -> Self {
        let defaults = database.defaults;
        Self {
            database,
            prepared: RefCell::new(prepared),
            read_big_ints: Cell::new(defaults.read_big_ints),
            return_arrays: Cell::new(defaults.return_arrays),
            allow_bare: Cell::new(defaults.allow_bare),
            allow_unknown: Cell::new(defaults.allow_unknown),
            bare_names: RefCell::default(),
        }
    }

    /// Ends it for JavaScript.
    pub fn finalize(&self) {
        let prepared = self.prepared.take();
        drop(prepared);
    }

    fn prepared(&self) -> Result<Rc<sqlite::Statement>, Throw> {
        self.prepared
            .borrow()
            .clone()
            .ok_or_else(|| invalid_state("statement has been finalized"))
    }

    /// The same, ready to be run.
    fn ready(&self) -> Result<Rc<sqlite::Statement>, Throw> {
        let prepared = self.prepared()?;
        if prepared.is_busy() {
            return Err(invalid_state("statement is running"));
        }
        Ok(prepared)
    }

    fn failed(&self, scope: &mut v8::PinScope<'_, '_>, error: &SqlError) -> Throw {
        failed(scope, &self.database.pending, error)
    }

    /// Resets the statement and binds its parameters.
    fn begin<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        args: &Args<'s>,
    ) -> Result<Rc<sqlite::Statement>, Throw> {
        let prepared = self.ready()?;
        prepared
            .reset()
            .and_then(|()| prepared.clear_bindings())
            .map_err(|error| self.failed(scope, &error))?;
        self.bind_all(scope, &prepared, args)?;
        // A getter of the parameters' may have closed the database, or run the statement.
        self.ready()
    }

    fn bind_all<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        prepared: &sqlite::Statement,
        args: &Args<'s>,
    ) -> Result<(), Throw> {
        let mut first = 0;
        let named = v8::Local::<v8::Object>::try_from(args.get(0)).ok();
        if let Some(named) = named.filter(|_| args.length() > 0)
            && !named.is_array_buffer_view()
        {
            first = 1;
            self.bind_named(scope, prepared, named)?;
        }
        let mut index = 1;
        for argument in first..args.length() {
            // Those with a number instead of a name are set in order, too.
            while prepared
                .parameter_name(index)
                .is_some_and(|name| name.first() != Some(&b'?'))
            {
                index += 1;
            }
            self.bind(scope, prepared, index, args.get(argument))?;
            index += 1;
        }
        Ok(())
    }

    fn bind_named<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        prepared: &sqlite::Statement,
        named: v8::Local<'s, v8::Object>,
    ) -> Result<(), Throw> {
        let keys = named
            .get_own_property_names(scope, v8::GetPropertyNamesArgs::default())
            .ok_or(Throw::Pending)?;
        if self.allow_bare.get() {
            self.learn_bare_names(prepared)?;
        }
        for at in 0..keys.length() {
            let key = keys.get_index(scope, at).ok_or(Throw::Pending)?;
            let name = key.to_string(scope).ok_or(Throw::Pending)?;
            let name = text::encode(scope, name, text::Encoding::Utf8);
            let index = prepared.parameter_index(&name).or_else(|| {
                let names = self.bare_names.borrow();
                let full = names.as_ref().filter(|_| self.allow_bare.get())?;
                prepared.parameter_index(full.get(&name)?)
            });
            let Some(index) = index else {
                if self.allow_unknown.get() {
                    continue;
                }
                return Err(invalid_state(&format!(
                    "Unknown named parameter '{}'",
                    String::from_utf8_lossy(&name)
                )));
            };
            let value = named.get(scope, key).ok_or(Throw::Pending)?;
            self.bind(scope, prepared, index, value)?;
        }
        Ok(())
    }

    fn learn_bare_names(&self, prepared: &sqlite::Statement) -> Result<(), Throw> {
        if self.bare_names.borrow().is_some() {
            return Ok(());
        }
        let mut names = HashMap::<Vec<u8>, Vec<u8>>::new();
        for index in 1..=prepared.parameter_count() {
            let Some(full) = prepared.parameter_name(index) else {
                continue;
            };
            let bare = full.get(1..).unwrap_or_default().to_vec();
            if let Some(known) = names.get(&bare)
                && *known != full
            {
                // Node does not look a second time.
                let error = format!(
                    "Cannot create bare named parameter '{}' because of conflicting names '{}' and '{}'.",
                    String::from_utf8_lossy(&bare),
                    String::from_utf8_lossy(known),
                    String::from_utf8_lossy(&full)
                );
                self.bare_names.replace(Some(names));
                return Err(invalid_state(&error));
            }
            names.insert(bare, full);
        }
        self.bare_names.replace(Some(names));
        Ok(())
    }

    fn bind<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        prepared: &sqlite::Statement,
        index: i32,
        value: v8::Local<'s, v8::Value>,
    ) -> Result<(), Throw> {
        let too_large = || {
            Throw::type_error(
                "ERR_INVALID_ARG_VALUE",
                "BigInt value is too large to bind.",
            )
        };
        let bound = with_sqlite(scope, value, too_large, |value| prepared.bind(index, value))?;
        match bound {
            Some(bound) => bound.map_err(|error| self.failed(scope, &error)),
            None => Err(invalid_type(&format!(
                "Provided value cannot be bound to SQLite parameter {index}."
            ))),
        }
    }

    fn step(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        prepared: &sqlite::Statement,
    ) -> Result<Step, Throw> {
        let env = Env::of(scope);
        let step = prepared.step();
        after_call(scope, &env);
        if env.is_ending() {
            return Err(Throw::Pending);
        }
        let step = step.map_err(|error| self.failed(scope, &error))?;
        self.database.pending.rethrow(scope)?;
        // What it called may have closed the database.
        self.prepared()?;
        Ok(step)
    }

    fn names<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        prepared: &sqlite::Statement,
    ) -> Result<Vec<v8::Local<'s, v8::Name>>, Throw> {
        (0..prepared.column_count())
            .map(|index| {
                let name = prepared
                    .column_name(index)
                    .ok_or_else(|| invalid_state(&format!("Cannot get name of column {index}")))?;
                let name = v8::String::new_from_utf8(scope, &name, v8::NewStringType::Internalized);
                Ok(name.ok_or(Throw::Pending)?.into())
            })
            .collect()
    }

    /// The row that the statement stands at.
    fn row<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        prepared: &sqlite::Statement,
        names: Option<&[v8::Local<'s, v8::Name>]>,
    ) -> Ret<'s> {
        let values = (0..prepared.column_count())
            .map(|index| {
                let big = self.read_big_ints.get();
                prepared.column(index, |value| to_js(scope, value, big))
            })
            .collect::<Result<Vec<_>, Throw>>()?;
        Ok(match names {
            Some(names) if names.len() == values.len() => {
                let null = v8::null(scope).into();
                v8::Object::with_prototype_and_properties(scope, null, names, &values).into()
            }
            _ => v8::Array::new_with_elements(scope, &values).into(),
        })
    }

    /// The names of the columns, when rows are objects.
    fn row_names<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        prepared: &sqlite::Statement,
    ) -> Result<Option<Vec<v8::Local<'s, v8::Name>>>, Throw> {
        if self.return_arrays.get() {
            return Ok(None);
        }
        self.names(scope, prepared).map(Some)
    }
}

/// Resets a statement when a call is over.
struct Reset(Rc<sqlite::Statement>);

impl Drop for Reset {
    fn drop(&mut self) {
        // Its answer is the error that the step has told.
        let _ = self.0.reset();
    }
}

/// `all([namedParameters][, ...anonymousParameters])`
pub fn all<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let statement = this::<Statement>(scope, args)?;
    let env = Env::of(scope);
    before_call(scope, &env);
    let prepared = statement.begin(scope, args)?;
    let _reset = Reset(prepared.clone());
    let mut rows = Vec::new();
    let mut names = None;
    while statement.step(scope, &prepared)? == Step::Row {
        if names.is_none() {
            names = Some(statement.row_names(scope, &prepared)?);
        }
        let names = names.as_ref().and_then(Option::as_deref);
        rows.push(statement.row(scope, &prepared, names)?);
    }
    Ok(v8::Array::new_with_elements(scope, &rows).into())
}

/// `get([namedParameters][, ...anonymousParameters])`
pub fn get<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let statement = this::<Statement>(scope, args)?;
    let env = Env::of(scope);
    before_call(scope, &env);
    let prepared = statement.begin(scope, args)?;
    let _reset = Reset(prepared.clone());
    let step = statement.step(scope, &prepared)?;
    if step == Step::Done || prepared.column_count() == 0 {
        return Ok(v8::undefined(scope).into());
    }
    let names = statement.row_names(scope, &prepared)?;
    statement.row(scope, &prepared, names.as_deref())
}

/// `run([namedParameters][, ...anonymousParameters])`
pub fn run<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let statement = this::<Statement>(scope, args)?;
    let env = Env::of(scope);
    before_call(scope, &env);
    let prepared = statement.begin(scope, args)?;
    {
        let _reset = Reset(prepared.clone());
        statement.step(scope, &prepared)?;
    }
    let (row, changes) = prepared.connection().changes();
    let number = |scope: &mut v8::PinScope<'s, '_>, number: i64| -> v8::Local<'s, v8::Value> {
        if statement.read_big_ints.get() {
            v8::BigInt::new_from_i64(scope, number).into()
        } else {
            v8::Number::new(scope, number as f64).into()
        }
    };
    let (row, changes) = (number(scope, row), number(scope, changes));
    let result = v8::Object::new(scope);
    set_all(
        scope,
        result,
        &[("lastInsertRowid", row), ("changes", changes)],
    );
    Ok(result.into())
}

/// `columns()`
pub fn columns<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let statement = this::<Statement>(scope, args)?;
    let prepared = statement.prepared()?;
    let names = statement.names(scope, &prepared)?;
    let keys = ["column", "database", "name", "table", "type"]
        .iter()
        .map(|key| v8::String::new(scope, key).map(Into::into))
        .collect::<Option<Vec<v8::Local<v8::Name>>>>()
        .ok_or(Throw::Pending)?;
    let mut columns = Vec::new();
    for (index, name) in (0..).zip(names) {
        let [column, database, table, kind] = prepared.column_origin(index);
        let text = |scope: &mut v8::PinScope<'s, '_>, text: Option<Vec<u8>>| match text {
            Some(text) => text::utf8(scope, &text),
            None => Ok(v8::null(scope).into()),
        };
        let values = [
            text(scope, column)?,
            text(scope, database)?,
            name.into(),
            text(scope, table)?,
            text(scope, kind)?,
        ];
        let null = v8::null(scope).into();
        columns.push(v8::Object::with_prototype_and_properties(scope, null, &keys, &values).into());
    }
    Ok(v8::Array::new_with_elements(scope, &columns).into())
}

/// `sourceSQL`
pub fn source_sql<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let sql = this::<Statement>(scope, args)?.prepared()?.sql();
    text::utf8(scope, &sql)
}

/// `expandedSQL`
pub fn expanded_sql<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let expanded = this::<Statement>(scope, args)?.prepared()?.expanded_sql();
    match expanded {
        Some(sql) => text::utf8(scope, &sql),
        None => Err(Throw::error(
            "ERR_SQLITE_ERROR",
            "Expanded SQL text would exceed configured limits",
        )),
    }
}

fn set_flag<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    name: &str,
    flag: impl FnOnce(&Statement) -> &Cell<bool>,
) -> Ret<'s> {
    let statement = this::<Statement>(scope, args)?;
    statement.prepared()?;
    if !args.get(0).is_boolean() {
        return Err(invalid_type(&format!(
            "The \"{name}\" argument must be a boolean."
        )));
    }
    flag(&statement).set(args.get(0).is_true());
    Ok(v8::undefined(scope).into())
}

/// `setAllowBareNamedParameters(enabled)`
pub fn set_allow_bare<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_flag(scope, args, "allowBareNamedParameters", |statement| {
        &statement.allow_bare
    })
}

/// `setAllowUnknownNamedParameters(enabled)`
pub fn set_allow_unknown<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_flag(scope, args, "enabled", |statement| &statement.allow_unknown)
}

/// `setReadBigInts(enabled)`
pub fn set_read_big_ints<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_flag(scope, args, "readBigInts", |statement| {
        &statement.read_big_ints
    })
}

/// `setReturnArrays(enabled)`
pub fn set_return_arrays<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_flag(scope, args, "returnArrays", |statement| {
        &statement.return_arrays
    })
}

/// `iterate([namedParameters][, ...anonymousParameters])`
pub fn iterate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let statement = this::<Statement>(scope, args)?;
    let env = Env::of(scope);
    before_call(scope, &env);
    statement.begin(scope, args)?;
    let object = env.new_instance(scope, "sqlite.StatementSyncIterator")?;
    // Iterators of the library inherit from the realm's, which a guest may have replaced.
    let global = env.context(scope).ok_or(Throw::Pending)?.global(scope);
    let mut iterator: v8::Local<v8::Value> = global.into();
    for key in ["Iterator", "prototype"] {
        let key = v8::String::new(scope, key).ok_or(Throw::Pending)?;
        iterator = match v8::Local::<v8::Object>::try_from(iterator) {
            Ok(holder) => holder.get(scope, key.into()).ok_or(Throw::Pending)?,
            Err(_) => v8::undefined(scope).into(),
        };
    }
    let own = object.get_prototype(scope);
    if let Some(own) = own.and_then(|own| v8::Local::<v8::Object>::try_from(own).ok())
        && iterator.is_object()
    {
        own.set_prototype(scope, iterator);
    }
    let iteration = Rc::new(Iteration {
        statement,
        is_done: Cell::new(false),
    });
    env.objects.wrap(scope, object, iteration);
    Ok(object.into())
}

fn iterator_result<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    row: Option<v8::Local<'s, v8::Value>>,
) -> Ret<'s> {
    let keys = ["done", "value"]
        .iter()
        .map(|key| v8::String::new(scope, key).map(Into::into))
        .collect::<Option<Vec<v8::Local<v8::Name>>>>()
        .ok_or(Throw::Pending)?;
    let null: v8::Local<v8::Value> = v8::null(scope).into();
    let values = [
        v8::Boolean::new(scope, row.is_none()).into(),
        row.unwrap_or(null),
    ];
    Ok(v8::Object::with_prototype_and_properties(scope, null, &keys, &values).into())
}

/// `next()`
pub fn next<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let iteration = this::<Iteration>(scope, args)?;
    let statement = &iteration.statement;
    let prepared = statement.ready()?;
    if iteration.is_done.get() {
        return iterator_result(scope, None);
    }
    let env = Env::of(scope);
    before_call(scope, &env);
    if statement.step(scope, &prepared)? == Step::Done {
        drop(Reset(prepared));
        return iterator_result(scope, None);
    }
    let names = statement.row_names(scope, &prepared)?;
    let row = statement.row(scope, &prepared, names.as_deref())?;
    iterator_result(scope, Some(row))
}

/// `return()`
pub fn end_iteration<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let iteration = this::<Iteration>(scope, args)?;
    drop(Reset(iteration.statement.ready()?));
    iteration.is_done.set(true);
    iterator_result(scope, None)
}
