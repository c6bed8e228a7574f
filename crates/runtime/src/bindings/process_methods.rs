//! `internalBinding('process_methods')` and the `process` object. Sources: `src/node_process_methods.cc`,
//! `src/node_process_object.cc`.

use std::cell::{Cell, RefCell};

use secure_exec_kernel::Errno;

use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::credentials::errno_exception;
use crate::bindings::fs::resource::Resource;
use crate::bindings::options;
use crate::bindings::os::machine;
use crate::bindings::request::InFlight;
use crate::bindings::spawn_options;
use crate::env::Env;
use crate::latch::End;
use crate::launch::Launcher;
use crate::permission_model::Scope;
use crate::realm::{NODE_VERSION, private_symbol, set};
use crate::threads::Thread;
use crate::throw::{SystemError, Throw};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "process_methods",
    functions: &[
        ("hrtime", function!(hrtime)),
        ("hrtimeBigInt", function!(hrtime_big_int)),
        ("cwd", function!(cwd)),
        ("chdir", function!(chdir)),
        ("umask", function!(umask)),
        ("memoryUsage", function!(memory_usage)),
        ("rss", function!(rss)),
        ("constrainedMemory", function!(constrained_memory)),
        ("availableMemory", function!(available_memory)),
        ("cpuUsage", function!(cpu_usage)),
        ("threadCpuUsage", function!(thread_cpu_usage)),
        ("resourceUsage", function!(resource_usage)),
        ("_kill", function!(kill)),
        ("abort", function!(abort)),
        ("dlopen", function!(dlopen)),
        ("execve", function!(execve)),
        ("loadEnvFile", function!(load_env_file)),
        ("_getActiveRequests", function!(get_active_requests)),
        ("_getActiveHandles", function!(get_active_handles)),
        (
            "getActiveResourcesInfo",
            function!(get_active_resources_info),
        ),
        ("_debugProcess", function!(debug_process)),
        ("_debugEnd", function!(debug_end)),
        ("resetStdioForTesting", function!(reset_stdio_for_testing)),
        ("reallyExit", function!(really_exit)),
        ("_rawDebug", function!(raw_debug)),
        ("uptime", function!(uptime)),
        ("patchProcessObject", function!(patch_process_object)),
        ("setEmitWarningSync", function!(set_emit_warning_sync)),
    ],
    references: || {
        vec![v8::ExternalReference {
            function: PROCESS_CONSTRUCTOR,
        }]
    },
    ..Binding::DEFAULT
};

const PROCESS_CONSTRUCTOR: crate::binding::Callback = function!(process_constructor);

/// Versions that `process.versions` reports, as Node 22.23.3 does.
pub const VERSIONS: &[(&str, &str)] = &[
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

/// Where `process.release` says that the sources are.
pub const SOURCE_URL: &str = "https://nodejs.org/download/release/v22.23.3/node-v22.23.3.tar.gz";
/// Where it says that the headers are.
pub const HEADERS_URL: &str =
    "https://nodejs.org/download/release/v22.23.3/node-v22.23.3-headers.tar.gz";

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
    for (name, text) in [
        ("name", "node"),
        ("lts", "Jod"),
        ("sourceUrl", SOURCE_URL),
        ("headersUrl", HEADERS_URL),
    ] {
        let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
        set(scope, release, name, text.into());
    }
    for (name, text) in [
        ("version", "v22.23.3"),
        ("arch", "x64"),
        ("platform", "linux"),
    ] {
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
        let items: Vec<v8::Local<v8::Value>> = items
            .iter()
            .filter_map(|item| v8::String::new(scope, item))
            .map(Into::into)
            .collect();
        v8::Array::new_with_elements(scope, &items)
    };
    let text = |scope: &mut v8::PinScope<'s, '_>, text: &str| {
        v8::String::new(scope, text).ok_or(Throw::Pending)
    };
    // The library expects `env` before `title`; the one from the snapshot goes.
    if let Some(key) = v8::String::new(scope, "env") {
        process.delete(scope, key.into());
    }
    let environment = crate::environment::make_object(scope).ok_or(Throw::Pending)?;
    set(scope, process, "env", environment.into());
    let given = crate::bindings::options::text(&env, "--title").filter(|title| !title.is_empty());
    if let Some(given) = given {
        env.extension::<Title>().0.replace(given);
    }
    env.extension::<DebugPort>().0.set(DEFAULT_DEBUG_PORT);
    let title = text(scope, "title")?;
    process.set_accessor_with_setter(scope, title.into(), get_title, set_title);
    let argv = strings(scope, &options.argv);
    set(scope, process, "argv", argv.into());
    let exec_argv = strings(scope, &options.exec_argv);
    set(scope, process, "execArgv", exec_argv.into());
    let pid = v8::Integer::new_from_unsigned(scope, options.pid).into();
    define_read_only(scope, process, "pid", pid);
    let ppid = v8::Integer::new_from_unsigned(scope, options.ppid).into();
    set(scope, process, "ppid", ppid);
    let exec_path = text(scope, &options.exec_path)?;
    set(scope, process, "execPath", exec_path.into());
    let port = text(scope, "debugPort")?;
    process.set_accessor_with_setter(scope, port.into(), get_debug_port, set_debug_port);
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

/// `process.title`.
struct Title(RefCell<String>);

impl Default for Title {
    fn default() -> Self {
        Self(RefCell::new("node".to_owned()))
    }
}

/// `process.debugPort`, where nothing listens.
#[derive(Default)]
struct DebugPort(Cell<i32>);

/// Sets what `process.title` is at first: `argv[0]`.
pub fn set_first_title(env: &Env, argv0: &str) {
    env.extension::<Title>().0.replace(argv0.to_owned());
}

/// `process.title`
pub fn title(env: &Env) -> String {
    env.extension::<Title>().0.borrow().clone()
}

/// Bytes of a title that are kept.
const MAX_TITLE: usize = 4096;
const DEFAULT_DEBUG_PORT: i32 = 9229;

fn get_title<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _key: v8::Local<'s, v8::Name>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    let title = Env::of(scope).extension::<Title>().0.borrow().clone();
    if let Some(title) = v8::String::new(scope, &title) {
        result.set(title.into());
    }
}

fn set_title<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _key: v8::Local<'s, v8::Name>,
    value: v8::Local<'s, v8::Value>,
    _args: v8::PropertyCallbackArguments<'s>,
    _result: v8::ReturnValue<()>,
) {
    let Some(title) = value.to_string(scope) else {
        return;
    };
    let mut title = title.to_rust_string_lossy(scope);
    let mut end = title.len().min(MAX_TITLE);
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    title.truncate(end);
    Env::of(scope).extension::<Title>().0.replace(title);
}

fn get_debug_port<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _key: v8::Local<'s, v8::Name>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    let port = Env::of(scope).extension::<DebugPort>().0.get();
    let port = v8::Integer::new(scope, port);
    result.set(port.into());
}

fn set_debug_port<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _key: v8::Local<'s, v8::Name>,
    value: v8::Local<'s, v8::Value>,
    _args: v8::PropertyCallbackArguments<'s>,
    _result: v8::ReturnValue<()>,
) {
    let Some(port) = value.int32_value(scope) else {
        return;
    };
    if port != 0 && !(1024..=65_535).contains(&port) {
        let text = "process.debugPort must be 0 or in range 1024 to 65535";
        Throw::range_error("ERR_OUT_OF_RANGE", text).throw(scope);
        return;
    }
    Env::of(scope).extension::<DebugPort>().0.set(port);
}

/// What a path is to the kernel: the bytes of a string.
fn path_text(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
) -> Result<String, Throw> {
    let path = v8::Local::<v8::String>::try_from(value).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"path\" argument must be of type string.",
        )
    })?;
    // The kernel refuses longer ones.
    const LONGEST: usize = 16 << 10;
    let mut units = vec![0; path.length().min(LONGEST)];
    path.write_v2(scope, 0, &mut units, v8::WriteFlags::empty());
    Ok(String::from_utf16_lossy(&units))
}

fn cwd<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let (kernel, process) = (env.kernel()?, env.process()?);
    let cwd = kernel.getcwd(&process).map_err(|errno| {
        Throw::System(Box::new(SystemError {
            errno,
            syscall: "uv_cwd",
            path: None,
            dest: None,
            message: Some("process.cwd failed with error no such file or directory, the current working directory was likely removed without changing the working directory".to_owned()),
            reason: None,
        }))
    })?;
    Ok(v8::String::new(scope, &String::from_utf8_lossy(&cwd))
        .ok_or(Throw::Pending)?
        .into())
}

fn chdir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_text(scope, args.get(0))?;
    let env = Env::of(scope);
    env.require_permission(Scope::FileSystemRead, path.as_bytes())?;
    let (kernel, process) = (env.kernel()?, env.process()?);
    kernel.chdir(&process, path.as_bytes()).map_err(|errno| {
        let cwd = kernel.getcwd(&process).unwrap_or_default();
        Throw::System(Box::new(SystemError {
            errno,
            syscall: "chdir",
            path: Some(String::from_utf8_lossy(&cwd).into_owned()),
            dest: Some(path),
            message: None,
            reason: crate::throw::denial_reason(errno),
        }))
    })?;
    Ok(v8::undefined(scope).into())
}

/// `umask(mask)`, or the mask alone for `undefined`.
fn umask<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let process = Env::of(scope).process()?;
    let old = if args.get(0).is_undefined() {
        process.umask()
    } else {
        let mask = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
        process.set_umask(mask)
    };
    Ok(v8::Integer::new_from_unsigned(scope, old).into())
}

/// Writes `values` into the array that the library passes.
fn fill<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    array: v8::Local<'s, v8::Value>,
    values: &[f64],
) -> Ret<'s> {
    let array = v8::Local::<v8::Float64Array>::try_from(array).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"array\" argument must be a Float64Array",
        )
    })?;
    for (index, value) in (0_u32..).zip(values) {
        let value = v8::Number::new(scope, *value).into();
        array.set_index(scope, index, value).ok_or(Throw::Pending)?;
    }
    Ok(v8::undefined(scope).into())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
fn memory_usage<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let memory = Env::of(scope).memory(scope);
    let sizes = [
        memory.rss(),
        memory.heap_total(),
        memory.heap_used(),
        memory.external(),
        memory.array_buffers(),
    ];
    let values = sizes.map(|size| size as f64);
    fill(scope, args.get(0), &values)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
fn rss<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let memory = Env::of(scope).memory(scope);
    Ok(v8::Number::new(scope, memory.rss() as f64).into())
}

/// The limit of the process's memory.
#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
fn constrained_memory<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let total = machine(&Env::of(scope)).os.total_memory;
    Ok(v8::Number::new(scope, total as f64).into())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
fn available_memory<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let free = machine(&Env::of(scope)).os.free_memory;
    Ok(v8::Number::new(scope, free as f64).into())
}

fn cpu_usage<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (user, system) = Env::of(scope).cpu_micros();
    fill(scope, args.get(0), &[user, system])
}

fn thread_cpu_usage<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    cpu_usage(scope, args)
}

/// CPU times and the resident size; there are no page faults, swaps, messages or signals to count.
#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
fn resource_usage<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const FIELDS: usize = 16;
    const KIB: f64 = 1024.0;
    let env = Env::of(scope);
    let (user, system) = env.cpu_micros();
    let mut values = [0.0; FIELDS];
    values[0] = user;
    values[1] = system;
    values[2] = env.memory(scope).rss() as f64 / KIB;
    fill(scope, args.get(0), &values)
}

/// Sends a signal to a process or a group of this machine. Answers libuv's error number or 0.
fn kill<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let pid = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let signal = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    let own = env.options().pid.cast_signed();
    if [0, -1, own, -own].contains(&pid) && env.process()?.ends_by(signal) {
        // Its profiles would be lost.
        crate::inspector::profiles::end(scope, &env);
    }
    let sent = env.kernel()?.kill(&*env.process()?, pid, signal);
    if env.is_ending() {
        // It was for this process, too.
        return Err(env.end(scope, End::Signal(signal)));
    }
    Ok(v8::Integer::new(scope, sent.map_or_else(Errno::uv, |()| 0)).into())
}

fn abort<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    const SIGABRT: i32 = 6;
    Err(Env::of(scope).end(scope, End::Signal(SIGABRT)))
}

/// Native code never runs in a guest; Node words it so when addons are switched off.
fn dlopen<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = args.get(1).to_rust_string_lossy(scope);
    let is_given = |root: &String| {
        path.strip_prefix(root.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    };
    if Env::of(scope).options().module_roots.iter().any(is_given) {
        return Err(Throw::error(
            "ERR_MODULE_ACCESS_NATIVE_ADDON",
            format!("Native addons cannot be loaded in the sandbox: '{path}'"),
        ));
    }
    let text = "Cannot load native addon because loading addons is disabled.";
    Err(Throw::error("ERR_DLOPEN_DISABLED", text))
}

fn execve<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = path_text(scope, args.get(0))?;
    let env = Env::of(scope);
    env.require_permission(Scope::ChildProcess, path.as_bytes())?;
    if env.extension::<Thread>().is_worker() {
        return Err(Throw::error(
            "ERR_WORKER_UNSUPPORTED_OPERATION",
            "Calling process.execve is not supported in workers",
        ));
    }
    let argv = spawn_options::strings(scope, args.get(1))?.unwrap_or_default();
    let pairs = spawn_options::strings(scope, args.get(2))?.unwrap_or_default();
    let end = match become_program(&env, &path, argv, &spawn_options::variables(pairs)) {
        Ok(status) => match status.signal {
            Some(signal) => End::Signal(signal),
            None => End::Exit(status.code),
        },
        Err(errno) => {
            env.write_stderr(&format!(
                "process.execve failed with error code {}\n",
                errno.name()
            ));
            End::Signal(secure_exec_kernel::SIGABRT)
        }
    };
    Err(env.end(scope, end))
}

/// Runs a program in the place of this one and waits for its end, which is this process's.
fn become_program(
    env: &Env,
    path: &str,
    argv: Vec<String>,
    variables: &[(String, String)],
) -> Result<secure_exec_kernel::ExitStatus, Errno> {
    let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
        return Err(Errno::ESRCH);
    };
    // It is a path, which no folder is searched for.
    let file = if path.contains('/') {
        path.to_owned()
    } else {
        format!("./{path}")
    };
    let executable = kernel.find_program(&process, &file, argv, None, None)?;
    let launcher = Launcher::of(env).ok_or(Errno::ESRCH)?;
    env.shared().workers.end();
    let successor = launcher.exec(&process, &executable, variables)?;
    // Nobody else sets it: only this thread runs the process's own code.
    let _ = env.shared().successor.set(successor.supervisor());
    Ok(successor.wait(|| {
        Some(match env.shared().latch.get()? {
            End::Signal(signal) => *signal,
            _ => secure_exec_kernel::SIGKILL,
        })
    }))
}

/// `process.loadEnvFile(path)`: variables that are set already stay.
fn load_env_file<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// Bytes of a file that is read at most.
    const MAX_BYTES: u64 = 4 << 20;
    let path = if args.length() > 0 {
        path_text(scope, args.get(0))?
    } else {
        ".env".to_owned()
    };
    let env = Env::of(scope);
    env.require_permission(Scope::FileSystemRead, path.as_bytes())?;
    let (kernel, process) = (env.kernel()?, env.process()?);
    let contents = match kernel.read_file(&process, path.as_bytes(), MAX_BYTES) {
        Ok(contents) => contents.into_vec(),
        Err(Errno::EISDIR | Errno::EFBIG) => {
            let text = format!("Contents of '{path}' should be a valid string.");
            return Err(Throw::type_error("ERR_INVALID_ARG_TYPE", text));
        }
        Err(_) => return Err(Throw::system_path(Errno::ENOENT, "open", path)),
    };
    for (name, value) in crate::dotenv::parse(&String::from_utf8_lossy(&contents)) {
        if env.variables.get(&name).is_none() {
            env.variables.set(name.clone(), value)?;
            crate::time_zone::variable_changed(scope, &env, &name);
        }
    }
    Ok(v8::undefined(scope).into())
}

/// The objects of requests in flight.
fn get_active_requests<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let active: Vec<v8::Local<v8::Value>> = active(scope, is_active_request)
        .into_iter()
        .map(|(object, _)| object.into())
        .collect();
    Ok(v8::Array::new_with_elements(scope, &active).into())
}

/// The owners of handles that keep the process alive.
fn get_active_handles<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let mut owners: Vec<v8::Local<v8::Value>> = Vec::new();
    for (object, _) in active(scope, Resource::keeps_alive) {
        owners.push(owner_of(scope, object)?.into());
    }
    Ok(v8::Array::new_with_elements(scope, &owners).into())
}

fn is_active_request(resource: &Resource) -> bool {
    resource
        .inner::<InFlight>()
        .is_some_and(|in_flight| in_flight.get())
}

/// Objects of resources, with the names of their kinds.
fn active<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    which: fn(&Resource) -> bool,
) -> Vec<(v8::Local<'s, v8::Object>, &'static str)> {
    let objects = Env::of(scope).objects.wrappers::<Resource>(scope);
    let mut active = Vec::new();
    for object in objects {
        if let Some(resource) = Resource::of(scope, object).filter(|resource| which(resource)) {
            active.push((object, resource_name(resource.provider().name)));
        }
    }
    active
}

/// What a kind of resource is called where users see it.
fn resource_name(provider: &'static str) -> &'static str {
    match provider {
        "TCPWRAP" => "TCPSocketWrap",
        "TCPSERVERWRAP" => "TCPServerWrap",
        "PIPEWRAP" | "PIPESERVERWRAP" => "PipeWrap",
        "UDPWRAP" => "UDPWrap",
        "TTYWRAP" => "TTYWrap",
        "FSEVENTWRAP" => "FSEventWrap",
        "STATWATCHER" => "StatWatcher",
        "PROCESSWRAP" => "ProcessWrap",
        "TCPCONNECTWRAP" | "PIPECONNECTWRAP" => "ConnectWrap",
        "WRITEWRAP" => "WriteWrap",
        "SHUTDOWNWRAP" => "ShutdownWrap",
        "GETADDRINFOREQWRAP" => "GetAddrInfoReqWrap",
        "GETNAMEINFOREQWRAP" => "GetNameInfoReqWrap",
        "QUERYWRAP" => "QueryReqWrap",
        other => other,
    }
}

/// The object at the end of the chain of owners, such as the `Socket` of a handle.
fn owner_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    /// The library's own chains have two links.
    const LONGEST: usize = 8;
    let symbol = crate::bindings::symbols::symbol(scope, &Env::of(scope), "owner_symbol");
    let mut owner = object;
    for _ in 0..LONGEST {
        let next = owner.get(scope, symbol).ok_or(Throw::Pending)?;
        match v8::Local::<v8::Object>::try_from(next) {
            Ok(next) => owner = next,
            Err(_) => break,
        }
    }
    Ok(owner)
}

/// One name for each thing that keeps the process alive: requests, handles, timers and immediates.
fn get_active_resources_info<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    /// Names that are listed at most.
    const MOST: u32 = 1 << 20;
    const REFERENCED_IMMEDIATES: usize = 1;
    let env = Env::of(scope);
    let timeouts = env
        .buffer(scope, "timers.timeoutInfo")
        .map_or(0, |info| info.get::<i32>(0).max(0).unsigned_abs());
    let immediates = env
        .buffer(scope, "timers.immediateInfo")
        .map_or(0, |info| info.get::<u32>(REFERENCED_IMMEDIATES));
    let mut names: Vec<v8::Local<v8::Value>> = Vec::new();
    let mut resources = active(scope, is_active_request);
    resources.extend(active(scope, Resource::keeps_alive));
    for (_, name) in resources {
        names.push(v8::String::new(scope, name).ok_or(Throw::Pending)?.into());
    }
    for (name, count) in [("Timeout", timeouts), ("Immediate", immediates)] {
        let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        names.extend((0..count.min(MOST)).map(|_| v8::Local::<v8::Value>::from(name)));
    }
    Ok(v8::Array::new_with_elements(scope, &names).into())
}

/// Nothing can be told to listen for a debugger.
fn debug_process<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if args.length() < 1 {
        return Err(Throw::type_error(
            "ERR_MISSING_ARGS",
            "Invalid number of arguments.",
        ));
    }
    let pid = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    if env.kernel()?.kill(&*env.process()?, pid, 0).is_ok() {
        return Err(Throw::unavailable("process._debugProcess"));
    }
    Err(errno_exception(
        scope,
        Errno::ESRCH,
        "No such process",
        "kill",
    ))
}

fn debug_end<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn reset_stdio_for_testing<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn really_exit<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = args.get(0).int32_value(scope).unwrap_or(0);
    let env = Env::of(scope);
    if options::flag(&env, "--trace-exit") {
        env.trace_exit(scope, code);
    }
    crate::inspector::profiles::end(scope, &env);
    Err(env.end(scope, End::Exit(code)))
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
