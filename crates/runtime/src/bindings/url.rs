//! `internalBinding('url')`. Source: `src/node_url.cc`. The parser is ada, as in Node.

use std::borrow::Cow;

use ada_url::{Idna, Url};

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::realm::set;
use crate::text;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "url",
    functions: &[
        ("canParse", function!(can_parse)),
        ("domainToASCII", function!(domain_to_ascii)),
        ("domainToUnicode", function!(domain_to_unicode)),
        ("format", function!(format_url)),
        ("getOrigin", function!(get_origin)),
        ("parse", function!(parse)),
        ("pathToFileURL", function!(path_to_file_url)),
        ("update", function!(update)),
    ],
    ..Binding::DEFAULT
};

/// The longest input, in bytes. ada counts in 32 bits, percent-encoding makes three bytes of one, and none of it is
/// the guest's own memory.
const MAX_INPUT: usize = 1 << 26;

/// The text of an argument, which must be a string. Lone surrogates become U+FFFD.
fn argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<String, Throw> {
    let string = v8::Local::<v8::String>::try_from(value)
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a string"))?;
    if string.length() > MAX_INPUT {
        return Err(text::too_long());
    }
    Ok(string.to_rust_string_lossy(scope))
}

/// As [`argument`]; `None` when the value is no string.
fn optional<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Option<String>, Throw> {
    if value.is_string() {
        argument(scope, value).map(Some)
    } else {
        Ok(None)
    }
}

fn parsed(input: &str, base: Option<&str>) -> Option<Url> {
    if input.len() + base.map_or(0, str::len) > MAX_INPUT {
        return None;
    }
    Url::parse(input, base).ok()
}

/// Throws `ERR_INVALID_URL` with `input` and `base`.
fn invalid(scope: &mut v8::PinScope<'_, '_>, input: &str, base: Option<&str>) -> Throw {
    let error = Throw::type_error("ERR_INVALID_URL", "Invalid URL").into_value(scope);
    let Some(error) = error.and_then(|error| v8::Local::<v8::Object>::try_from(error).ok()) else {
        return Throw::Pending;
    };
    for (key, value) in [("input", Some(input)), ("base", base)] {
        if let Some(value) = value.and_then(|value| v8::String::new(scope, value)) {
            set(scope, error, key, value.into());
        }
    }
    scope.throw_exception(error.into());
    Throw::Pending
}

/// Puts the components where the library reads them; answers the href.
fn publish<'s>(scope: &mut v8::PinScope<'s, '_>, url: &Url) -> Ret<'s> {
    let env = Env::of(scope);
    if let Some(fields) = env.buffer(scope, "url.urlComponents") {
        let parts = url.components();
        let values = [
            parts.protocol_end,
            parts.username_end,
            parts.host_start,
            parts.host_end,
            parts.port.unwrap_or(u32::MAX),
            parts.pathname_start.unwrap_or(u32::MAX),
            parts.search_start.unwrap_or(u32::MAX),
            parts.hash_start.unwrap_or(u32::MAX),
            url.scheme_type() as u32,
        ];
        for (index, value) in values.into_iter().enumerate() {
            fields.set(index, value);
        }
    }
    text::utf8(scope, url.href().as_bytes())
}

/// `parse(input, base, raiseException)`
fn parse<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let input = argument(scope, args.get(0))?;
    let base = optional(scope, args.get(1))?;
    match parsed(&input, base.as_deref()) {
        Some(url) => publish(scope, &url),
        None if args.get(2).is_true() => Err(invalid(scope, &input, base.as_deref())),
        None => Ok(v8::undefined(scope).into()),
    }
}

fn can_parse<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let input = argument(scope, args.get(0))?;
    let base = optional(scope, args.get(1))?;
    let fits = input.len() + base.as_ref().map_or(0, String::len) <= MAX_INPUT;
    let valid = fits && Url::can_parse(&input, base.as_deref());
    Ok(v8::Boolean::new(scope, valid).into())
}

fn get_origin<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let input = argument(scope, args.get(0))?;
    let url =
        parsed(&input, None).ok_or_else(|| Throw::type_error("ERR_INVALID_URL", "Invalid URL"))?;
    text::utf8(scope, url.origin().as_bytes())
}

/// The host that a special URL makes of `domain`; `None` when it is not valid.
fn host_of(domain: &str) -> Option<String> {
    let mut url = parsed("ws://x", None)?;
    if domain.len() > MAX_INPUT {
        return None;
    }
    url.set_hostname(Some(domain)).ok()?;
    Some(url.hostname().to_owned())
}

fn domain_to_ascii<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let domain = argument(scope, args.get(0))?;
    let host = if domain.is_empty() {
        String::new()
    } else {
        host_of(&domain).unwrap_or_default()
    };
    text::utf8(scope, host.as_bytes())
}

fn domain_to_unicode<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let domain = argument(scope, args.get(0))?;
    let host = if domain.is_empty() {
        None
    } else {
        host_of(&domain)
    };
    text::utf8(
        scope,
        host.map(|host| Idna::unicode(&host))
            .unwrap_or_default()
            .as_bytes(),
    )
}

/// `format(href, hash, unicode, search, auth)`
fn format_url<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let href = argument(scope, args.get(0))?;
    let [hash, unicode, search, auth] = [1, 2, 3, 4].map(|index| args.get(index).is_true());
    let Some(url) = parsed(&href, None) else {
        return Err(invalid(scope, &href, None));
    };
    let mut result = url.protocol().to_owned();
    if has_authority(&url) {
        result.push_str("//");
        if auth && url.has_credentials() {
            result.push_str(url.username());
            if url.has_non_empty_password() {
                result.push(':');
                result.push_str(url.password());
            }
            result.push('@');
        }
        let host = url.hostname();
        result.push_str(&if unicode {
            Cow::Owned(Idna::unicode(host))
        } else {
            Cow::Borrowed(host)
        });
        if url.has_port() {
            result.push(':');
            result.push_str(url.port());
        }
    } else if url.pathname().starts_with("//") {
        result.push_str("/.");
    }
    result.push_str(url.pathname());
    let parts = url.components();
    let href = url.href();
    let start = |at: Option<u32>| at.and_then(|at| usize::try_from(at).ok());
    let (search_at, hash_at) = (start(parts.search_start), start(parts.hash_start));
    if let (true, Some(from)) = (search, search_at) {
        result.push_str(
            href.get(from..hash_at.unwrap_or(href.len()))
                .unwrap_or_default(),
        );
    }
    if let (true, Some(from)) = (hash, hash_at) {
        result.push_str(href.get(from..).unwrap_or_default());
    }
    text::utf8(scope, result.as_bytes())
}

fn has_authority(url: &Url) -> bool {
    let protocol = usize::try_from(url.components().protocol_end).unwrap_or_default();
    url.has_hostname()
        && url
            .href()
            .get(protocol..)
            .is_some_and(|rest| rest.starts_with("//"))
}

/// `pathToFileURL(path, windows, hostname)`
fn path_to_file_url<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument(scope, args.get(0))?;
    let windows = args.get(1).is_true();
    let hostname = if windows {
        optional(scope, args.get(2))?
    } else {
        None
    };
    let mut input = String::with_capacity(path.len() + 16);
    input.push_str("file://");
    for character in path.chars() {
        match character {
            '\\' if windows => input.push('/'),
            '\0' | '\t' | '\n' | '\r' | ' ' | '"' | '#' | '%' | '?' | '[' | '\\' | ']' | '^'
            | '|' | '~' => {
                input.push_str(&format!("%{:02X}", u32::from(character)));
            }
            _ => input.push(character),
        }
    }
    let Some(mut url) = parsed(&input, None) else {
        return Err(invalid(scope, &path, None));
    };
    if let Some(hostname) = hostname
        && url.set_hostname(Some(&hostname)).is_err()
    {
        return Err(invalid(scope, &path, None));
    }
    publish(scope, &url)
}

/// `update(href, action, value)`: the new href, or `false` when the value is not valid there.
fn update<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let action = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let href = argument(scope, args.get(0))?;
    let value = argument(scope, args.get(2))?;
    let Some(mut url) = parsed(&href, None) else {
        return Err(invalid(scope, &href, None));
    };
    let fits = href.len() + value.len() <= MAX_INPUT;
    let done = fits && {
        let text = value.as_str();
        let value = Some(text);
        match action {
            0 => url.set_protocol(text).is_ok(),
            1 => url.set_host(value).is_ok(),
            2 => url.set_hostname(value).is_ok(),
            3 => url.set_port(value).is_ok(),
            4 => url.set_username(value).is_ok(),
            5 => url.set_password(value).is_ok(),
            6 => url.set_pathname(value).is_ok(),
            7 => {
                url.set_search(value);
                true
            }
            8 => {
                url.set_hash(value);
                true
            }
            9 => url.set_href(text).is_ok(),
            _ => false,
        }
    };
    if done {
        publish(scope, &url)
    } else {
        Ok(v8::Boolean::new(scope, false).into())
    }
}
