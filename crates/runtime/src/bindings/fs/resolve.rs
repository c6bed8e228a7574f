//! `legacyMainResolve`: which file is a package's entry for `import`, by CommonJS's old rules.

use secure_exec_kernel::{Kernel, Process, normalize};

use super::machine;
use crate::binding::{Args, Ret};
use crate::throw::Throw;

/// Tried on the `main` of the package, in this order; the answer is the index.
const MAIN: [&str; 7] = [
    "",
    ".js",
    ".json",
    ".node",
    "/index.js",
    "/index.json",
    "/index.node",
];
/// Tried then, on `index`.
const INDEX: [&str; 3] = [".js", ".json", ".node"];

/// `legacyMainResolve(packagePath, main, base)`
pub fn legacy_main<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let package = super::argument::path(scope, args.get(0))?;
    let main = if args.get(1).is_string() {
        Some(super::argument::path(scope, args.get(1))?)
    } else {
        None
    };
    machine!(scope => _env, kernel, process);
    let cwd = kernel.getcwd(&process).unwrap_or_else(|_| b"/".to_vec());
    let package = normalize(&cwd, &package);
    let mut first = None;
    let index = normalize(&package, b"./index");
    if let Some(main) = main {
        let main = normalize(&package, &main);
        if let Some(found) = MAIN
            .iter()
            .position(|end| is_file(&kernel, &process, &main, end))
        {
            return answer(scope, found);
        }
        first = Some(main);
    }
    if let Some(found) = INDEX
        .iter()
        .position(|end| is_file(&kernel, &process, &index, end))
    {
        return answer(scope, MAIN.len() + found);
    }
    let first = first.unwrap_or_else(|| [index.as_slice(), b".js"].concat());
    if !args.get(2).is_string() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"base\" argument must be of type string or an instance of URL.",
        ));
    }
    let base = args.get(2).to_rust_string_lossy(scope);
    let base = file_path(&base)?;
    let package = String::from_utf8_lossy(&first).into_owned();
    Err(Throw::error(
        "ERR_MODULE_NOT_FOUND",
        format!("Cannot find package '{package}' imported from {base}"),
    ))
}

fn answer<'s>(scope: &mut v8::PinScope<'s, '_>, index: usize) -> Ret<'s> {
    Ok(v8::Integer::new(scope, i32::try_from(index).unwrap_or(0)).into())
}

fn is_file(kernel: &Kernel, process: &Process, path: &[u8], end: &str) -> bool {
    let path = [path, end.as_bytes()].concat();
    kernel.stat(process, &path).is_ok_and(|stat| !stat.is_dir())
}

/// The path of a `file:` URL.
fn file_path(url: &str) -> Result<String, Throw> {
    let url = ada_url::Url::parse(url, None)
        .map_err(|_| Throw::type_error("ERR_INVALID_URL", "Invalid URL"))?;
    if url.protocol() != "file:" {
        return Err(Throw::type_error(
            "ERR_INVALID_URL_SCHEME",
            "The URL must be of scheme file",
        ));
    }
    if !url.hostname().is_empty() {
        return Err(Throw::type_error(
            "ERR_INVALID_FILE_URL_HOST",
            "File URL host must be \"localhost\" or empty on linux",
        ));
    }
    let mut bytes = Vec::new();
    let mut rest = url.pathname().as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|_| *byte == b'%')
        {
            Some(b'/') => {
                return Err(Throw::type_error(
                    "ERR_INVALID_FILE_URL_PATH",
                    "File URL path must not include encoded / characters",
                ));
            }
            Some(value) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or(&[]);
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
