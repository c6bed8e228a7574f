//! `internalBinding('process_methods')` and the `process` object. Sources: `src/node_process_methods.cc`,
//! `src/node_process_object.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::latch::End;
use crate::realm::{NODE_VERSION, private_symbol, set};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "process_methods",
    functions: &[
        ("hrtime", function!(hrtime)),
        ("hrtimeBigInt", function!(hrtime_big_int)),
        ("cwd", function!(cwd)),
        ("chdir", function!(chdir)),
        ("umask", function!(umask)),
        ("reallyExit", function!(really_exit)),
        ("_rawDebug", function!(raw_debug)),
        ("uptime", function!(uptime)),
        ("patchProcessObject", function!(patch_process_object)),
        ("setEmitWarningSync", function!(set_emit_warning_sync)),
    ],
    references: || vec![v8::ExternalReference { function: PROCESS_CONSTRUCTOR }],
    ..Binding::DEFAULT
};

const PROCESS_CONSTRUCTOR: crate::binding::Callback = function!(process_constructor);

/// Versions that `process.versions` reports, as Node 22.23.3 does.
const VERSIONS: &[(&str, &str)] = &[
    ("node", NODE_VERSION),
    ("acorn", "8.16.0"),
    ("ada", "2.9.2"),
    ("amaro", "1.1.8"),
    ("ares", "1.34.8"),
    ("brotli", "1.1.0"),
    ("cjs_module_lexer", "2.2.0"),
    ("cldr", "48.0"),
    ("icu", "78.3"),
    ("llhttp", "9.4.3"),
    ("modules", "127"),
    ("napi", "10"),
    ("nbytes", "0.1.3"),
    ("ncrypto", "0.0.1"),
    ("nghttp2", "1.69.0"),
    ("openssl", "3.5.8"),
    ("simdjson", "4.5.0"),
    ("simdutf", "6.4.2"),
    ("sqlite", "3.51.3"),
    ("tz", "2026c"),
    ("undici", "6.28.1"),
    ("unicode", "17.0"),
    ("uv", "1.51.0"),
    ("uvwasi", "0.0.23"),
    ("v8", "12.4.254.21-node.57"),
    ("zlib", "1.3.1-e00f703"),
    ("zstd", "1.5.7"),
];

/// The `process` object before the library fills it in.
pub fn make_process_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let template = v8::FunctionTemplate::new_raw(scope, PROCESS_CONSTRUCTOR);
    template.set_class_name(v8::String::new(scope, "process").ok_or(Throw::Pending)?);
    let constructor = template.get_function(scope).ok_or(Throw::Pending)?;
    let process = constructor.new_instance(scope, &[]).ok_or(Throw::Pending)?;

    let buffer = v8::ArrayBuffer::new(scope, 12);
    let fields = v8::Int32Array::new(scope, buffer, 0, 3).ok_or(Throw::Pending)?;
    let key = private_symbol(scope, "exit_info_private_symbol");
    process.set_private(scope, key, fields.into());
    env.register(scope, "exit_info", fields.into());

    let versions = v8::Object::new(scope);
    for (name, version) in VERSIONS {
        let version = v8::String::new(scope, version).ok_or(Throw::Pending)?;
        define_read_only(scope, versions, name, version.into());
    }
    let release = v8::Object::new(scope);
    for (name, text) in [("name", "node"), ("lts", "Jod")] {
        let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
        set(scope, release, name, text.into());
    }
    for (name, text) in [("version", "v22.23.3"), ("arch", "x64"), ("platform", "linux")] {
        let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
        define_read_only(scope, process, name, text.into());
    }
    define_read_only(scope, process, "versions", versions.into());
    define_read_only(scope, process, "release", release.into());
    let environment = v8::Object::new(scope);
    set(scope, process, "env", environment.into());
    Ok(process)
}

fn define_read_only(
    scope: &mut v8::PinScope<'_, '_>,
    target: v8::Local<v8::Object>,
    name: &str,
    value: v8::Local<v8::Value>,
) {
    if let Some(name) = v8::String::new(scope, name) {
        target.define_own_property(scope, name.into(), value, v8::PropertyAttribute::READ_ONLY);
    }
}

fn process_constructor<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if args.is_construct_call() {
        return Ok(args.this().into());
    }
    Ok(v8::undefined(scope).into())
}

fn patch_process_object<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let process = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "process must be an object"))?;
    let options = env.options().clone();
    let strings = |scope: &mut v8::PinScope<'s, '_>, items: &[String]| {
        let items: Vec<v8::Local<v8::Value>> =
            items.iter().filter_map(|item| v8::String::new(scope, item)).map(Into::into).collect();
        v8::Array::new_with_elements(scope, &items)
    };
    let text = |scope: &mut v8::PinScope<'s, '_>, text: &str| v8::String::new(scope, text).ok_or(Throw::Pending);
    let title = text(scope, "node")?;
    set(scope, process, "title", title.into());
    let argv = strings(scope, &options.argv);
    set(scope, process, "argv", argv.into());
    let exec_argv = strings(scope, &options.exec_argv);
    set(scope, process, "execArgv", exec_argv.into());
    let environment = crate::environment::make_object(scope).ok_or(Throw::Pending)?;
    set(scope, process, "env", environment.into());
    let pid = v8::Integer::new_from_unsigned(scope, options.pid).into();
    define_read_only(scope, process, "pid", pid);
    let ppid = v8::Integer::new_from_unsigned(scope, options.ppid).into();
    set(scope, process, "ppid", ppid);
    let exec_path = text(scope, EXEC_PATH)?;
    set(scope, process, "execPath", exec_path.into());
    let port = v8::Integer::new(scope, 9229).into();
    set(scope, process, "debugPort", port);
    Ok(v8::undefined(scope).into())
}

/// `process.execPath` in every guest.
pub const EXEC_PATH: &str = "/usr/local/bin/node";

fn set_emit_warning_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "emitWarningSync", args.get(0));
    Ok(v8::undefined(scope).into())
}

/// Fills `hrtimeBuffer`: high and low half of the seconds, then nanoseconds.
fn hrtime<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let now = env.clock().monotonic();
    if let Some(buffer) = env.buffer(scope, "process_methods.hrtimeBuffer") {
        let seconds = now.as_secs();
        buffer.set(0, (seconds >> 32) as u32);
        buffer.set(1, (seconds & u64::from(u32::MAX)) as u32);
        buffer.set(2, now.subsec_nanos());
    }
    Ok(v8::undefined(scope).into())
}

/// Fills the first eight bytes of `hrtimeBuffer` with nanoseconds.
fn hrtime_big_int<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let now = u64::try_from(env.clock().monotonic().as_nanos()).unwrap_or(u64::MAX);
    if let Some(buffer) = env.buffer(scope, "process_methods.hrtimeBuffer") {
        buffer.set(0, (now & u64::from(u32::MAX)) as u32);
        buffer.set(1, (now >> 32) as u32);
    }
    Ok(v8::undefined(scope).into())
}

fn cwd<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let (kernel, process) = (env.kernel()?, env.process()?);
    let cwd = kernel.getcwd(&process).map_err(|errno| Throw::system(errno, "uv_cwd"))?;
    crate::text::utf8(scope, &cwd)
}

fn chdir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let (kernel, process) = (env.kernel()?, env.process()?);
    let path = args.get(0).to_rust_string_lossy(scope);
    kernel.chdir(&process, path.as_bytes()).map_err(|errno| {
        let cwd = kernel.getcwd(&process).unwrap_or_default();
        Throw::System(Box::new(crate::throw::SystemError {
            errno,
            syscall: "chdir",
            path: Some(String::from_utf8_lossy(&cwd).into_owned()),
            dest: Some(path.clone()),
            message: None,
        }))
    })?;
    Ok(v8::undefined(scope).into())
}

/// `umask(mask?)`: the mask before.
fn umask<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let process = Env::of(scope).process()?;
    let before = if args.get(0).is_undefined() {
        process.umask()
    } else {
        let mask = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
        process.set_umask(mask & 0o777)
    };
    Ok(v8::Integer::new_from_unsigned(scope, before).into())
}

fn really_exit<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = args.get(0).int32_value(scope).unwrap_or(0);
    Err(Env::of(scope).end(scope, End::Exit(code)))
}

fn raw_debug<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = args.get(0).to_rust_string_lossy(scope);
    Env::of(scope).write_stderr(&format!("{text}\n"));
    Ok(v8::undefined(scope).into())
}

fn uptime<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let seconds = Env::of(scope).clock().elapsed().as_secs_f64();
    Ok(v8::Number::new(scope, seconds).into())
}
