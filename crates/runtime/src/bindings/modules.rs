//! `internalBinding('modules')`: package configurations, read from the guest's own files. Source:
//! `src/node_modules.cc`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use secure_exec_kernel::TimeSpec;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::binding::{Args, Binding, Ret, function};
use crate::compile_cache;
use crate::env::Env;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "modules",
    functions: &[
        ("readPackageJSON", function!(read_package_json)),
        (
            "getNearestParentPackageJSONType",
            function!(get_nearest_parent_package_json_type),
        ),
        ("getPackageScopeConfig", function!(get_package_scope_config)),
        ("getPackageType", function!(get_package_type)),
        ("enableCompileCache", function!(enable_compile_cache)),
        ("getCompileCacheDir", function!(get_compile_cache_dir)),
        ("flushCompileCache", function!(flush_compile_cache)),
        ("setLazyPathHelpers", function!(set_lazy_path_helpers)),
    ],
    ..Binding::DEFAULT
};

/// The largest `package.json` that is read.
const MAX_BYTES: u64 = 16 << 20;
/// How many configurations are kept.
const MAX_KEPT: usize = 10_000;

/// The fields of a `package.json` that the library asks for.
#[derive(Debug, Default, PartialEq)]
struct Package {
    name: Option<String>,
    main: Option<String>,
    kind: Kind,
    /// JSON text of an object or array, or the string itself.
    imports: Option<String>,
    /// As `imports`.
    exports: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Kind {
    #[default]
    None,
    CommonJs,
    Module,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::CommonJs => "commonjs",
            Self::Module => "module",
        }
    }
}

impl<'de> Deserialize<'de> for Package {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Package;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Package, A::Error> {
                use serde::de::Error;
                let mut package = Package::default();
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value::<&RawValue>()?.get();
                    let text = || serde_json::from_str::<String>(value).map_err(A::Error::custom);
                    match key.as_str() {
                        "name" => package.name = Some(text()?),
                        "main" => package.main = text().ok(),
                        "type" => match text()?.as_str() {
                            "commonjs" => package.kind = Kind::CommonJs,
                            "module" => package.kind = Kind::Module,
                            _ => {}
                        },
                        "exports" | "imports" => {
                            let field = match value.as_bytes().first() {
                                Some(b'{' | b'[') => Some(value.to_owned()),
                                Some(b'"') => Some(text()?),
                                _ => None,
                            };
                            let target = if key == "exports" {
                                &mut package.exports
                            } else {
                                &mut package.imports
                            };
                            if field.is_some() {
                                *target = field;
                            }
                        }
                        _ => {}
                    }
                }
                Ok(package)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// What tells whether a file is still the one that was read.
#[derive(Clone, Copy, PartialEq)]
struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: TimeSpec,
}

/// Configurations by path.
#[derive(Default)]
struct Cache(RefCell<HashMap<Vec<u8>, Kept>>);

type Kept = (Identity, Rc<Package>);

/// Who asked, for the error's text.
#[derive(Default)]
struct Asker {
    base: Option<String>,
    specifier: String,
}

/// The configuration at `path`; `None` when there is no such file.
fn package_at(env: &Env, path: &str, asker: &Asker) -> Result<Option<Rc<Package>>, Throw> {
    let (kernel, process) = (env.kernel()?, env.process()?);
    let Ok(stat) = kernel.stat(&process, path.as_bytes()) else {
        return Ok(None);
    };
    let identity = Identity {
        dev: stat.dev,
        ino: stat.ino,
        size: stat.size,
        mtime: stat.mtime,
    };
    let cache = env.extension::<Cache>();
    if let Some((known, package)) = cache.0.borrow().get(path.as_bytes())
        && *known == identity
    {
        return Ok(Some(package.clone()));
    }
    let Ok(bytes) = kernel.read_file(&process, path.as_bytes(), MAX_BYTES) else {
        return Ok(None);
    };
    let bytes = bytes.into_vec();
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let package = match serde_json::from_slice::<Package>(text) {
        Ok(package) => Rc::new(package),
        Err(_) => return Err(invalid_config(path, asker)),
    };
    let mut kept = cache.0.borrow_mut();
    if kept.len() >= MAX_KEPT {
        kept.clear();
    }
    kept.insert(path.as_bytes().to_vec(), (identity, package.clone()));
    Ok(Some(package))
}

fn invalid_config(path: &str, asker: &Asker) -> Throw {
    let from = asker
        .base
        .as_deref()
        .and_then(|base| path_of_file_url(base).ok());
    let message = match from {
        Some(from) => format!(
            "Invalid package config {path} while importing \"{}\" from {from}.",
            asker.specifier
        ),
        None => format!("Invalid package config {path}."),
    };
    Throw::error("ERR_INVALID_PACKAGE_CONFIG", message)
}

/// `[name, main, type, imports, exports, path]`
fn serialize<'s>(scope: &mut v8::PinScope<'s, '_>, package: &Package, path: &str) -> Ret<'s> {
    let texts = [
        package.name.as_deref(),
        package.main.as_deref(),
        Some(package.kind.name()),
        package.imports.as_deref(),
        package.exports.as_deref(),
        Some(path),
    ];
    let mut values: Vec<v8::Local<v8::Value>> = Vec::with_capacity(texts.len());
    for text in texts {
        values.push(match text {
            Some(text) => v8::String::new(scope, text).ok_or(Throw::Pending)?.into(),
            None => v8::undefined(scope).into(),
        });
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

fn text<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> Ret<'s> {
    Ok(v8::String::new(scope, text).ok_or(Throw::Pending)?.into())
}

fn string_argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    index: i32,
) -> Result<String, Throw> {
    let value = v8::Local::<v8::String>::try_from(args.get(index)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"path\" argument must be of type string",
        )
    })?;
    Ok(value.to_rust_string_lossy(scope))
}

/// `readPackageJSON(path, isESM, base, specifier)`
fn read_package_json<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = string_argument(scope, args, 0)?;
    let mut asker = Asker::default();
    if args.get(1).is_true() {
        asker.base = args
            .get(2)
            .is_string()
            .then(|| args.get(2).to_rust_string_lossy(scope));
        asker.specifier = args.get(3).to_rust_string_lossy(scope);
    }
    match package_at(&Env::of(scope), &path, &asker)? {
        Some(package) => serialize(scope, &package, &path),
        None => Ok(v8::undefined(scope).into()),
    }
}

/// The folder of a path, without its last slash.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The type of the package that a file belongs to. As in Node a `package.json` in `/` does not count here.
fn get_nearest_parent_package_json_type<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let path = string_argument(scope, args, 0)?;
    let env = Env::of(scope);
    let mut folder = parent(&path);
    while !folder.is_empty() && !folder.ends_with("/node_modules") {
        if let Some(package) =
            package_at(&env, &format!("{folder}/package.json"), &Asker::default())?
        {
            return text(scope, package.kind.name());
        }
        folder = parent(folder);
    }
    Ok(v8::undefined(scope).into())
}

/// Why a URL names no file.
enum NoPath {
    Invalid,
    Host,
    Slash,
}

impl NoPath {
    fn throw(&self) -> Throw {
        match self {
            Self::Invalid => Throw::type_error("ERR_INVALID_URL", "Invalid URL"),
            Self::Host => Throw::type_error(
                "ERR_INVALID_FILE_URL_HOST",
                "File URL host must be \"localhost\" or empty on linux",
            ),
            Self::Slash => Throw::type_error(
                "ERR_INVALID_FILE_URL_PATH",
                "File URL path must not include encoded / characters",
            ),
        }
    }
}

/// The still encoded path of a `file:` URL in its serialized form.
fn encoded_path(url: &str) -> Result<&str, NoPath> {
    let rest = url.strip_prefix("file://").ok_or(NoPath::Invalid)?;
    let (host, _) = rest.split_once('/').ok_or(NoPath::Invalid)?;
    if !host.is_empty() && host != "localhost" {
        return Err(NoPath::Host);
    }
    let path = rest.get(host.len()..).unwrap_or_default();
    Ok(path.split(['?', '#']).next().unwrap_or_default())
}

fn decode(path: &str) -> Result<String, NoPath> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped =
            hex.filter(|hex| byte == b'%' && hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(b'/') => return Err(NoPath::Slash),
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| NoPath::Invalid)
}

/// The path that a `file:` URL names.
fn path_of_file_url(url: &str) -> Result<String, NoPath> {
    decode(encoded_path(url)?)
}

/// Looks for the package of a file URL, from its folder up to `/` or a `node_modules` folder. `Err(path)` is where the
/// search ended.
fn package_of_url(env: &Env, url: &str) -> Result<Result<(Rc<Package>, String), String>, Throw> {
    let mut folder = parent(encoded_path(url).map_err(|error| error.throw())?);
    let asker = Asker {
        base: None,
        specifier: url.to_owned(),
    };
    loop {
        let path =
            decode(&format!("{folder}/package.json")).map_err(|_| NoPath::Invalid.throw())?;
        if folder.ends_with("/node_modules") {
            return Ok(Err(path));
        }
        if let Some(package) = package_at(env, &path, &asker)? {
            return Ok(Ok((package, path)));
        }
        if folder.is_empty() {
            return Ok(Err(path));
        }
        folder = parent(folder);
    }
}

fn get_package_scope_config<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let url = string_argument(scope, args, 0)?;
    match package_of_url(&Env::of(scope), &url)? {
        Ok((package, path)) => serialize(scope, &package, &path),
        Err(path) => text(scope, &path),
    }
}

fn get_package_type<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let url = string_argument(scope, args, 0)?;
    match package_of_url(&Env::of(scope), &url)? {
        Ok((package, _)) => text(scope, package.kind.name()),
        Err(_) => Ok(v8::undefined(scope).into()),
    }
}

/// `[status, message, directory]`, see `compile_cache.rs`.
fn enable_compile_cache<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.get(0).is_string() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "cacheDir should be a string",
        ));
    }
    let folder = args.get(0).to_rust_string_lossy(scope);
    let outcome = compile_cache::enable(&Env::of(scope), &folder)?;
    let status = v8::Integer::new(scope, outcome.status as i32).into();
    let message = text(scope, &outcome.message)?;
    let directory = text(scope, &outcome.directory)?;
    Ok(v8::Array::new_with_elements(scope, &[status, message, directory]).into())
}

fn get_compile_cache_dir<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let directory = compile_cache::directory(&Env::of(scope));
    text(scope, &directory.unwrap_or_default())
}

fn flush_compile_cache<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.get(0).is_boolean() && !args.get(0).is_undefined() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "keepDeserializedCache should be a boolean",
        ));
    }
    compile_cache::flush_on_request(&Env::of(scope));
    Ok(v8::undefined(scope).into())
}

/// `setLazyPathHelpers(meta, url)`: `import.meta.dirname` and `import.meta.filename`.
fn set_lazy_path_helpers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let invalid = || {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "setLazyPathHelpers needs an object and a URL",
        )
    };
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid())?;
    let url = v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid())?;
    for name in ["dirname", "filename"] {
        let key = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        target
            .set_lazy_data_property_with_data(
                scope,
                key.into(),
                lazy_path,
                url.into(),
                v8::PropertyAttribute::NONE,
                v8::SideEffectType::HasNoSideEffect,
                v8::SideEffectType::HasSideEffect,
            )
            .ok_or(Throw::Pending)?;
    }
    Ok(v8::undefined(scope).into())
}

fn lazy_path<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    let url = args.data().to_rust_string_lossy(scope);
    let path = match path_of_file_url(&url) {
        Ok(path) => path,
        Err(error) => return error.throw().throw(scope),
    };
    let name = key.to_rust_string_lossy(scope);
    let path = match (name.as_str(), parent(&path)) {
        ("dirname", "") => "/",
        ("dirname", folder) => folder,
        _ => path.as_str(),
    };
    if let Some(value) = v8::String::new(scope, path) {
        result.set(value.into());
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    fn parse(text: &str) -> Result<Package, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn keeps_the_text_of_exports_and_imports() {
        let package =
            parse(r#"{"name":"x","main":3,"type":"foo","exports":{ "a" : 1 },"imports":"str"}"#)
                .unwrap();
        assert_eq!(
            package,
            Package {
                name: Some("x".into()),
                main: None,
                kind: Kind::None,
                imports: Some("str".into()),
                exports: Some(r#"{ "a" : 1 }"#.into()),
            }
        );
    }

    #[test]
    fn refuses_what_node_refuses() {
        for text in [
            r#"{"name":3}"#,
            r#"{"type":[]}"#,
            "[]",
            "3",
            r#"{"x":[1,2,}"#,
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(r#"{"exports":null,"main":"a.js","type":"module"}"#).is_ok());
    }

    #[test]
    fn paths_of_file_urls() {
        let path = |url| path_of_file_url(url).ok();
        assert_eq!(
            path("file:///a/b%20c.js?x=1#y").as_deref(),
            Some("/a/b c.js")
        );
        assert_eq!(path("file:///a/100%.js").as_deref(), Some("/a/100%.js"));
        assert_eq!(path("file://host/a.js"), None);
        assert_eq!(path("file:///a%2Fb.js"), None);
        assert_eq!(path("data:text/javascript,1"), None);
    }
}
