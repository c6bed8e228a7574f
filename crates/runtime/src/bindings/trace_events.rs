//! `internalBinding('trace_events')`: which categories are enabled. Nothing writes a trace file, so what is traced is
//! dropped. Source: `src/node_trace_events.cc`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::env::Env;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "trace_events",
    functions: &[
        (
            "getCategoryEnabledBuffer",
            function!(get_category_enabled_buffer),
        ),
        (
            "isTraceCategoryEnabled",
            function!(is_trace_category_enabled),
        ),
        ("setTraceCategoryStateUpdateHandler", function!(ignore)),
        ("trace", function!(ignore)),
        ("getEnabledCategories", function!(get_enabled_categories)),
    ],
    classes: &[Class {
        name: "CategorySet",
        constructor: Some(function!(new_category_set)),
        methods: &[
            ("enable", function!(enable)),
            ("disable", function!(disable)),
        ],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

/// Categories that all sets of a process hold together at most.
const MAX_CATEGORIES: usize = 4096;

/// How many enabled sets hold each category.
#[derive(Default)]
struct Enabled(RefCell<BTreeMap<String, usize>>);

/// The state of a `CategorySet`.
struct CategorySet {
    categories: Vec<String>,
    enabled: Cell<bool>,
}

fn get_category_enabled_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let buffer = v8::ArrayBuffer::new(scope, 1);
    Ok(v8::Uint8Array::new(scope, buffer, 0, 1)
        .ok_or(Throw::Pending)?
        .into())
}

/// The library asks before it traces: nothing is worth it.
fn is_trace_category_enabled<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}

fn ignore<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// The enabled categories, separated by commas; `undefined` when there are none.
fn get_enabled_categories<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let enabled = env.extension::<Enabled>();
    let enabled = enabled.0.borrow();
    if enabled.is_empty() {
        return Ok(v8::undefined(scope).into());
    }
    let names: Vec<&str> = enabled.keys().map(String::as_str).collect();
    let names = v8::String::new(scope, &names.join(",")).ok_or(Throw::Pending)?;
    Ok(names.into())
}

/// `new CategorySet(categories)`
fn new_category_set<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(Throw::type_error(
            "ERR_CONSTRUCT_CALL_REQUIRED",
            "Class constructor CategorySet cannot be invoked without `new`",
        ));
    }
    let list = v8::Local::<v8::Array>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error("ERR_INVALID_ARG_TYPE", "The categories must be an array")
    })?;
    if list.length() as usize > MAX_CATEGORIES {
        return Err(Throw::range_error(
            "ERR_OUT_OF_RANGE",
            "There are too many categories",
        ));
    }
    let mut categories = Vec::new();
    for index in 0..list.length() {
        let category = list.get_index(scope, index).ok_or(Throw::Pending)?;
        let category = category.to_string(scope).ok_or(Throw::Pending)?;
        categories.push(category.to_rust_string_lossy(scope));
    }
    categories.sort_unstable();
    categories.dedup();
    let set = CategorySet {
        categories,
        enabled: Cell::default(),
    };
    Env::of(scope)
        .objects
        .wrap(scope, args.this(), Rc::new(set));
    Ok(v8::undefined(scope).into())
}

fn this(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<Rc<CategorySet>, Throw> {
    let set = Env::of(scope)
        .objects
        .unwrap::<CategorySet>(scope, args.this());
    set.ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_THIS",
            "Value of \"this\" must be of type CategorySet",
        )
    })
}

fn enable<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let set = this(scope, args)?;
    let enabled = Env::of(scope).extension::<Enabled>();
    let mut enabled = enabled.0.borrow_mut();
    let fits = enabled.len() + set.categories.len() <= MAX_CATEGORIES;
    if fits && !set.enabled.replace(true) {
        for category in &set.categories {
            *enabled.entry(category.clone()).or_default() += 1;
        }
    }
    Ok(v8::undefined(scope).into())
}

fn disable<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let set = this(scope, args)?;
    if set.enabled.replace(false) {
        let enabled = Env::of(scope).extension::<Enabled>();
        let mut enabled = enabled.0.borrow_mut();
        for category in &set.categories {
            if let Some(count) = enabled.get_mut(category) {
                *count -= 1;
                if *count == 0 {
                    enabled.remove(category);
                }
            }
        }
    }
    Ok(v8::undefined(scope).into())
}
