//! Where an exception came from: the source line and the mark under it that Node puts before `error.stack`.
//!
//! Source: `GetErrorSource`, `AppendExceptionLine` and `DecorateErrorStack` of Node 22's `src/node_errors.cc`.

use crate::env::Env;
use crate::realm::private_symbol;

/// A line with this text is left alone: Node's library marks its own `throw` statements so.
const DO_NOT_ADD: &str = "node-do-not-add-exception-line";
/// The longest mark, in characters.
const MAX_UNDERLINE: usize = 1020;

/// `file:line`, the source line and the mark under it; `None` when there is nothing to show.
pub fn error_source(
    scope: &mut v8::PinScope<'_, '_>,
    message: v8::Local<v8::Message>,
) -> Option<String> {
    let line = message.get_source_line(scope)?.to_rust_string_lossy(scope);
    if line.contains(DO_NOT_ADD) {
        return None;
    }
    let file = message
        .get_script_resource_name(scope)?
        .to_rust_string_lossy(scope);
    let number = message.get_line_number(scope)?;
    let (start, end) = (message.get_start_column(), message.get_end_column());
    let mut text = format!("{file}:{number}\n{line}\n");
    if start > end || end > line.encode_utf16().count() {
        return Some(text);
    }
    let indent = line
        .chars()
        .take(start)
        .map(|c| if c == '\t' { '\t' } else { ' ' });
    text.extend(
        indent
            .chain(std::iter::repeat_n('^', end - start))
            .take(MAX_UNDERLINE),
    );
    text.push('\n');
    Some(text)
}

/// Keeps the source line on the error object, where the library looks for it.
pub fn append_exception_line<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: Option<v8::Local<'s, v8::Message>>,
) {
    let (Some(message), Ok(error)) = (message, v8::Local::<v8::Object>::try_from(exception)) else {
        return;
    };
    let arrow = private_symbol(scope, "arrow_message_private_symbol");
    if error
        .get_private(scope, arrow)
        .is_none_or(|known| known.is_string())
    {
        return;
    }
    let env = Env::of(scope);
    let Some(main) = env.context(scope) else {
        return;
    };
    let scope = &mut v8::ContextScope::new(scope, main);
    let Some(text) = error_source(scope, message).and_then(|text| v8::String::new(scope, &text))
    else {
        return;
    };
    error.set_private(scope, arrow, text.into());
}

/// Puts the source line before `exception.stack`, once. Call it with no exception pending.
pub fn decorate_error_stack<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    message: Option<v8::Local<'s, v8::Message>>,
) {
    let Ok(error) = v8::Local::<v8::Object>::try_from(exception) else {
        return;
    };
    append_exception_line(scope, exception, message);
    // A guest's accessor on `stack` may throw: that is not this exception's business.
    v8::tc_scope!(let scope, scope);
    let arrow = private_symbol(scope, "arrow_message_private_symbol");
    let decorated = private_symbol(scope, "decorated_private_symbol");
    let Some(arrow) = error
        .get_private(scope, arrow)
        .and_then(|arrow| v8::Local::<v8::String>::try_from(arrow).ok())
    else {
        return;
    };
    if error
        .get_private(scope, decorated)
        .is_none_or(|done| done.is_true())
    {
        return;
    }
    let Some(key) = v8::String::new(scope, "stack") else {
        return;
    };
    let Some(stack) = error
        .get(scope, key.into())
        .and_then(|stack| v8::Local::<v8::String>::try_from(stack).ok())
    else {
        return;
    };
    let text = format!(
        "{}\n{}",
        arrow.to_rust_string_lossy(scope),
        stack.to_rust_string_lossy(scope)
    );
    let Some(text) = v8::String::new(scope, &text) else {
        return;
    };
    error.set(scope, key.into(), text.into());
    let done = v8::Boolean::new(scope, true).into();
    error.set_private(scope, decorated, done);
}
