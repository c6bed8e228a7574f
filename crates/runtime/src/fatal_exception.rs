//! What an uncaught exception writes to standard error, in Node's form, and what of it the host learns.
//! Source of behaviour: `src/node_errors.cc`.
//!
//! The text for the guest's standard error is made with the guest's own code (`inspect`, `error.stack`), under the
//! limits of its process. The record for the host is made without: it reads own data properties, V8's message and its
//! structured stack trace, never a getter, a proxy or `toString`.

use crate::api::GuestError;
use crate::bindings::options;
use crate::env::Env;
use crate::realm::{NODE_VERSION, private_symbol};

/// Bytes of a message that the host gets.
const MAX_MESSAGE: usize = 8 << 10;
/// Bytes of a name or code that the host gets.
const MAX_NAME: usize = 256;
/// Bytes of one line of a stack that the host gets.
const MAX_FRAME: usize = 1 << 10;
/// Frames of a stack that the host gets.
const MAX_FRAMES: usize = 50;
/// Objects of a prototype chain that are searched for a data property.
const MAX_PROTOTYPES: usize = 32;
/// A source line with this text gets no arrow message.
const NO_LINE: &str = "node-do-not-add-exception-line";
/// Columns that the underline may have.
const MAX_UNDERLINE: usize = 1020;

/// Whether the guest's code may run to format the exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enhance {
    /// As Node's library formats fatal exceptions.
    Yes,
    /// `error.stack` as it is.
    No,
}

/// State of this file.
#[derive(Default)]
pub struct Printed(std::cell::Cell<bool>);

/// Writes the report of an uncaught exception to the guest's standard error and keeps it for the host.
pub fn report<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: Option<v8::Local<'s, v8::Message>>,
    enhance: Enhance,
) {
    let message = message.unwrap_or_else(|| v8::Exception::create_message(scope, exception));
    let mut record = record(env, scope, exception, message);
    let mut text = String::new();
    // An exception out of the guest's formatting code must not stay pending.
    {
        v8::tc_scope!(catch, scope);
        if !env.is_ending() {
            text = describe(env, catch, exception, message, enhance);
        }
    }
    env.write_stderr(&text);
    if record.stack.is_empty() {
        record.stack = formatted_stack(env, scope, exception);
    }
    if record.name.is_empty() {
        let header = record.stack.lines().next().unwrap_or("Error").to_owned();
        let (name, message) = header.split_once(": ").unwrap_or((&header, ""));
        record.name = cap(name, MAX_NAME);
        if record.message.is_empty() {
            record.message = cap(message, MAX_MESSAGE);
        }
    }
    if record.stack.is_empty() {
        record.stack = format!("{}: {}", record.name, record.message);
    }
    env.set_uncaught(record);
}

fn describe<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: v8::Local<'s, v8::Message>,
    enhance: Enhance,
) -> String {
    let mut out = append_line(env, scope, exception, message, true);
    let object = v8::Local::<v8::Object>::try_from(exception).ok();
    let mut arrow = None;
    let mut trace = None;
    if let Some(object) = object {
        let decorated =
            private(scope, object, "decorated_private_symbol").is_some_and(|value| value.is_true());
        match enhance {
            Enhance::Yes => {
                for enhancer in [
                    "errors.enhanceBeforeInspector",
                    "errors.enhanceAfterInspector",
                ] {
                    let Some(enhancer) = env.function(scope, enhancer) else {
                        continue;
                    };
                    trace = quietly(scope, |scope| {
                        let undefined = v8::undefined(scope).into();
                        enhancer.call(scope, undefined, &[object.into()])
                    })
                    .or(trace);
                }
            }
            Enhance::No => trace = get(scope, object, "stack"),
        }
        if !decorated {
            arrow = private(scope, object, "arrow_message_private_symbol")
                .and_then(|arrow| text_of(scope, arrow));
        }
    }
    let mut line = |text: &str| {
        if let Some(arrow) = &arrow {
            out.push_str(arrow);
            out.push('\n');
        }
        out.push_str(text);
        out.push('\n');
    };
    let trace = trace
        .filter(|trace| !trace.is_undefined())
        .and_then(|trace| stringify(scope, trace));
    if let Some(trace) = trace.filter(|trace| !trace.is_empty()) {
        line(&trace);
    } else {
        let mut field = |key| {
            object
                .and_then(|object| get(scope, object, key))
                .filter(|value| !value.is_undefined())
        };
        if let Some((message, name)) = field("message").zip(field("name")) {
            let name = stringify(scope, name).unwrap_or_default();
            let message = stringify(scope, message).unwrap_or_default();
            line(&format!("{name}: {message}"));
        } else {
            arrow = None;
            out.push_str(&stringify(scope, exception).unwrap_or_default());
            out.push('\n');
        }
        if !options::flag(env, "--trace-uncaught") {
            out.push_str(
                "(Use `node --trace-uncaught ...` to show where the exception was thrown)\n",
            );
        }
    }
    drop(arrow);
    if options::flag(env, "--trace-uncaught")
        && let Some(stack) = message.get_stack_trace(scope)
    {
        out.push_str("Thrown at:\n");
        for frame in frames(scope, stack, usize::MAX) {
            out.push_str(&frame);
            out.push('\n');
        }
        out.push('\n');
    }
    if options::flag(env, "--extra-info-on-fatal-exception") {
        out.push_str(&format!("\nNode.js v{NODE_VERSION}\n"));
    }
    out
}

/// Puts the source line of `exception` on it, where the library and the report find it.
///
/// Answers what must be printed at once: the line of a fatal exception that is no error object.
pub fn append_line<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: v8::Local<'s, v8::Message>,
    fatal: bool,
) -> String {
    let object = v8::Local::<v8::Object>::try_from(exception).ok();
    if let Some(object) = object
        && private(scope, object, "arrow_message_private_symbol")
            .is_none_or(|arrow| arrow.is_string())
    {
        return String::new();
    }
    let Some(source) = source_line(env, scope, message) else {
        return String::new();
    };
    let arrow = v8::String::new(scope, &source);
    match arrow.zip(object) {
        Some((arrow, object)) if !fatal || object.is_native_error() => {
            let key = private_symbol(scope, "arrow_message_private_symbol");
            object.set_private(scope, key, arrow.into());
            String::new()
        }
        _ if env.extension::<Printed>().0.replace(true) => String::new(),
        _ => format!("\n{source}"),
    }
}

/// Puts the source line before `exception.stack`, once, as Node does with errors of `vm` and of the module loader.
pub fn decorate_stack<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: v8::Local<'s, v8::Message>,
) {
    let Ok(object) = v8::Local::<v8::Object>::try_from(exception) else {
        return;
    };
    if private(scope, object, "decorated_private_symbol").is_some_and(|value| value.is_true()) {
        return;
    }
    append_line(env, scope, exception, message, false);
    let stack = get(scope, object, "stack").and_then(|stack| text_of(scope, stack));
    let arrow = private(scope, object, "arrow_message_private_symbol")
        .and_then(|arrow| text_of(scope, arrow));
    let Some((arrow, stack)) = arrow.zip(stack) else {
        return;
    };
    let (Some(key), Some(value)) = (
        v8::String::new(scope, "stack"),
        v8::String::new(scope, &format!("{arrow}\n{stack}")),
    ) else {
        return;
    };
    quietly(scope, |scope| object.set(scope, key.into(), value.into()));
    let key = private_symbol(scope, "decorated_private_symbol");
    let yes = v8::Boolean::new(scope, true).into();
    object.set_private(scope, key, yes);
}

/// `file:line`, the source line and an underline; `None` when the line asks for none.
pub(crate) fn source_line<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    message: v8::Local<'s, v8::Message>,
) -> Option<String> {
    let line = message
        .get_source_line(scope)
        .map(|line| beginning(scope, line))
        .unwrap_or_default();
    if line.contains(NO_LINE) {
        return None;
    }
    let number = message.get_line_number(scope).unwrap_or(0);
    let resource = message.get_script_resource_name(scope);
    if let Some(mapped) = mapped_source(env, scope, message, resource, number) {
        return Some(mapped);
    }
    let resource = resource.filter(|name| name.is_string()).map_or_else(
        || "<anonymous_script>".to_owned(),
        |name| name.to_rust_string_lossy(scope),
    );
    let mut out = format!("{resource}:{number}\n{line}\n");
    // Columns of a script's first line count its column offset, positions do not.
    let start_column = message.get_start_column();
    let start = usize::try_from(message.get_start_position())
        .map_or(start_column, |at| at.min(start_column));
    let end = message.get_end_column().wrapping_sub(start_column - start);
    if start > end || end > line.len() {
        return Some(out);
    }
    for unit in line.encode_utf16().take(start.min(MAX_UNDERLINE)) {
        out.push(if unit == u16::from(b'\t') { '\t' } else { ' ' });
    }
    let left = MAX_UNDERLINE.saturating_sub(start);
    out.push_str(&"^".repeat((end - start).min(left)));
    out.push('\n');
    Some(out)
}

/// The source line of the original, when the guest has switched source maps on.
fn mapped_source<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    message: v8::Local<'s, v8::Message>,
    resource: Option<v8::Local<'s, v8::Value>>,
    line: usize,
) -> Option<String> {
    if !env.registered(scope, "errors.sourceMapsEnabled")?.is_true() || env.is_ending() {
        return None;
    }
    let find = env.function(scope, "errors.getSourceMapErrorSource")?;
    let resource = resource.unwrap_or_else(|| v8::undefined(scope).into());
    let line = v8::Integer::new(scope, i32::try_from(line).unwrap_or(0)).into();
    let column = v8::Integer::new(
        scope,
        i32::try_from(message.get_start_column()).unwrap_or(0),
    )
    .into();
    let found = quietly(scope, |scope| {
        let undefined = v8::undefined(scope).into();
        find.call(scope, undefined, &[resource, line, column])
    })?;
    text_of(scope, found)
}

/// Runs `body` and drops its exception.
fn quietly<'s, T>(
    scope: &mut v8::PinScope<'s, '_>,
    body: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Option<T>,
) -> Option<T> {
    v8::tc_scope!(catch, scope);
    body(catch)
}

/// A property, through getters.
fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    key: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    let key = v8::String::new(scope, key)?;
    quietly(scope, |scope| object.get(scope, key.into()))
}

fn private<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    name: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    let key = private_symbol(scope, name);
    object.get_private(scope, key)
}

/// The text of a string; nothing for other values.
fn text_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Option<String> {
    v8::Local::<v8::String>::try_from(value)
        .ok()
        .map(|text| beginning(scope, text))
}

/// UTF-16 units of a text that are printed, at most: what is made of them takes several times their size.
const MAX_TEXT: usize = 16 << 20;

/// As much of a text as is printed.
fn beginning(scope: &mut v8::PinScope<'_, '_>, text: v8::Local<v8::String>) -> String {
    if text.length() <= MAX_TEXT {
        return text.to_rust_string_lossy(scope);
    }
    let mut units = vec![0; MAX_TEXT];
    text.write_v2(scope, 0, &mut units, v8::WriteFlags::empty());
    String::from_utf16_lossy(&units)
}

/// `String(value)`, through the guest's `toString`; nothing when that throws.
fn stringify<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Option<String> {
    let text = quietly(scope, |scope| value.to_string(scope))?;
    Some(beginning(scope, text))
}

/// The frames of a structured stack trace, as Node's C++ prints them.
pub(crate) fn frames<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    stack: v8::Local<'s, v8::StackTrace>,
    most: usize,
) -> Vec<String> {
    let mut lines = Vec::new();
    for index in 0..stack.get_frame_count().min(most) {
        let Some(frame) = stack.get_frame(scope, index) else {
            break;
        };
        let function = frame
            .get_function_name(scope)
            .map(|name| name.to_rust_string_lossy(scope))
            .unwrap_or_default();
        let script = frame
            .get_script_name(scope)
            .map(|name| name.to_rust_string_lossy(scope))
            .unwrap_or_default();
        let (line, column) = (frame.get_line_number(), frame.get_column());
        if frame.is_eval() {
            lines.push(if frame.get_script_id() == 0 {
                format!("    at [eval]:{line}:{column}")
            } else {
                format!("    at [eval] ({script}:{line}:{column})")
            });
            break;
        }
        lines.push(if function.is_empty() {
            format!("    at {script}:{line}:{column}")
        } else {
            format!("    at {function} ({script}:{line}:{column})")
        });
    }
    lines
}

/// What the host learns of `exception`, without running any of the guest's code.
fn record<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: v8::Local<'s, v8::Message>,
) -> GuestError {
    let error = v8::Local::<v8::Object>::try_from(exception)
        .ok()
        .filter(|_| exception.is_native_error());
    let Some(error) = error else {
        let text = v8_text(scope, exception, message);
        return GuestError {
            name: "Error".to_owned(),
            stack: text.clone(),
            message: text,
            code: None,
        };
    };
    let code = data_text(env, scope, error, "code").map(|code| cap(&code, MAX_NAME));
    let mut name = data_text(env, scope, error, "name");
    let mut text = data_text(env, scope, error, "message");
    // `DOMException` has accessors for both; V8's words are "Uncaught Name: message".
    if name.is_none() || text.is_none() {
        let words = v8_text(scope, exception, message);
        let (first, rest) = words.split_once(": ").unwrap_or((&words, ""));
        name.get_or_insert_with(|| first.to_owned());
        text.get_or_insert_with(|| rest.to_owned());
    }
    let (name, text) = (name.unwrap_or_default(), text.unwrap_or_default());
    let mut record = GuestError {
        name: cap(&name, MAX_NAME),
        message: cap(&text, MAX_MESSAGE),
        stack: String::new(),
        code,
    };
    let trace =
        v8::Exception::get_stack_trace(scope, exception).or_else(|| message.get_stack_trace(scope));
    if let Some(trace) = trace {
        let lines = frames(scope, trace, MAX_FRAMES);
        if !lines.is_empty() {
            record.stack = format!("{}: {}", record.name, record.message);
            for line in lines {
                record.stack.push('\n');
                record.stack.push_str(&cap(&line, MAX_FRAME));
            }
        }
    }
    record
}

/// V8's own words for a thrown value that is no error, as in "Uncaught 1".
fn v8_text<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: v8::Local<'s, v8::Message>,
) -> String {
    let text = if let Some(text) = text_of(scope, exception) {
        text
    } else {
        let text = message.get(scope);
        beginning(scope, text)
    };
    cap(text.strip_prefix("Uncaught ").unwrap_or(&text), MAX_MESSAGE)
}

/// `error.stack` when V8 has formatted it already; formatting it now would run the guest's code.
fn formatted_stack<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
) -> String {
    if !exception.is_native_error() {
        return String::new();
    }
    let Ok(error) = v8::Local::<v8::Object>::try_from(exception) else {
        return String::new();
    };
    let quiet = env.extension::<crate::bindings::errors::Formatting>();
    quiet.forbid(true);
    let text = match own_data(env, scope, error, "stack") {
        Own::Value(stack) => text_of(scope, stack),
        Own::Absent | Own::Code => None,
    };
    quiet.forbid(false);
    let text = cap(
        &text.unwrap_or_default(),
        MAX_MESSAGE + MAX_FRAMES * MAX_FRAME,
    );
    let mut frames = 0;
    let lines = text.lines().filter(|line| {
        frames += usize::from(line.starts_with("    at "));
        frames <= MAX_FRAMES
    });
    lines
        .map(|line| cap(line, MAX_MESSAGE))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The string in the data property `key` of `object` or of its prototypes; nothing when a getter or a proxy comes first.
fn data_text<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    key: &str,
) -> Option<String> {
    let mut object = object;
    for _ in 0..MAX_PROTOTYPES {
        match own_data(env, scope, object, key) {
            Own::Value(value) => return text_of(scope, value),
            Own::Code => return None,
            Own::Absent => {}
        }
        object = v8::Local::<v8::Object>::try_from(object.get_prototype(scope)?).ok()?;
    }
    None
}

/// What an own property is, as far as it can be told without running the guest's code.
enum Own<'s> {
    Absent,
    Value(v8::Local<'s, v8::Value>),
    /// A getter, or anything about an object whose properties are made by code.
    Code,
}

/// An own property that holds a value, or whose getter is V8's own one for `stack`.
fn own_data<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    key: &str,
) -> Own<'s> {
    // The traps of a proxy are the guest's code; objects of ours may have interceptors that reach it.
    if object.is_proxy() || object.internal_field_count() > 0 {
        return Own::Code;
    }
    let strings = (
        v8::String::new(scope, key),
        v8::String::new(scope, "value"),
        v8::String::new(scope, "get"),
    );
    let (Some(key), Some(value), Some(getter)) = strings else {
        return Own::Code;
    };
    let descriptor = object.get_own_property_descriptor(scope, key.into());
    let Some(descriptor) =
        descriptor.and_then(|found| v8::Local::<v8::Object>::try_from(found).ok())
    else {
        return Own::Absent;
    };
    if descriptor.has_own_property(scope, value.into()) == Some(true) {
        return descriptor
            .get(scope, value.into())
            .map_or(Own::Code, Own::Value);
    }
    let getter = descriptor.get(scope, getter.into());
    let Some((getter, own)) = getter.zip(env.function(scope, "errors.stackGetter")) else {
        return Own::Code;
    };
    if !getter.strict_equals(own.into()) {
        return Own::Code;
    }
    own.call(scope, object.into(), &[])
        .map_or(Own::Code, Own::Value)
}

/// The first `most` bytes of `text`, cut between characters.
fn cap(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::cap;

    #[test]
    fn caps_between_characters() {
        assert_eq!(cap("aäb", 2), "a");
        assert_eq!(cap("aäb", 3), "aä");
        assert_eq!(cap("ab", 9), "ab");
    }
}
