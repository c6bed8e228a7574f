//! `internalBinding('report')`: diagnostic reports of the virtual machine. Source: `src/node_report_module.cc`,
//! `src/node_report.cc`.
//!
//! A report holds declared values and what the guest knows already; its files are the guest's.

use std::cell::{Cell, RefCell};

use secure_exec_kernel::oflag::{O_CREAT, O_TRUNC, O_WRONLY};
use serde_json::{Value as Json, json};

use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::options;
use crate::bindings::os::{HARDWARE_ADDRESS, INTERFACES, machine};
use crate::bindings::process_methods::{HEADERS_URL, SOURCE_URL, VERSIONS};
use crate::env::Env;
use crate::permission_model::Scope;
use crate::realm::NODE_VERSION;
use crate::threads::Thread;
use crate::throw::Throw;
use crate::usage::Memory;

/// Settings of `process.report`; what was not set is as the options of the process say.
#[derive(Default)]
struct Settings {
    compact: Cell<Option<bool>>,
    exclude_env: Cell<Option<bool>>,
    exclude_network: Cell<Option<bool>>,
    on_fatal_error: Cell<Option<bool>>,
    on_signal: Cell<Option<bool>>,
    on_uncaught_exception: Cell<Option<bool>>,
    directory: RefCell<Option<String>>,
    filename: RefCell<Option<String>>,
    signal: RefCell<Option<String>>,
    /// Files that were written.
    written: Cell<u32>,
}

/// Version of the report's format.
const REPORT_VERSION: u32 = 5;
/// Frames of a stack in a report.
const MAX_FRAMES: usize = 200;
/// Bytes of a setting's text.
const MAX_TEXT: usize = 4096;

macro_rules! settings {
    (flags: $(($get:literal, $getter:ident, $set:literal, $setter:ident, $flag:ident, $option:literal),)+
     texts: $(($get_text:literal, $text_getter:ident, $set_text:literal, $text_setter:ident, $text:ident,
        $text_option:literal),)+) => {
        impl Settings {
            $(
                fn $flag(&self, env: &Env) -> bool {
                    self.$flag.get().unwrap_or_else(|| options::flag(env, $option))
                }
            )+
            $(
                fn $text(&self, env: &Env) -> String {
                    let set = self.$text.borrow().clone();
                    set.or_else(|| options::text(env, $text_option)).unwrap_or_default()
                }
            )+
        }
        $(
            fn $getter<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
                let env = Env::of(scope);
                let value = env.extension::<Settings>().$flag(&env);
                Ok(v8::Boolean::new(scope, value).into())
            }
            fn $setter<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
                Env::of(scope).extension::<Settings>().$flag.set(Some(args.get(0).is_true()));
                Ok(v8::undefined(scope).into())
            }
        )+
        $(
            fn $text_getter<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
                let env = Env::of(scope);
                let value = env.extension::<Settings>().$text(&env);
                Ok(v8::String::new(scope, &value).ok_or(Throw::Pending)?.into())
            }
            fn $text_setter<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
                let text = args.get(0).to_string(scope).ok_or(Throw::Pending)?.to_rust_string_lossy(scope);
                if text.len() <= MAX_TEXT {
                    Env::of(scope).extension::<Settings>().$text.replace(Some(text));
                }
                Ok(v8::undefined(scope).into())
            }
        )+
        /// See the module's text.
        pub static BINDING: Binding = Binding {
            name: "report",
            functions: &[
                $(($get, function!($getter)), ($set, function!($setter)),)+
                $(($get_text, function!($text_getter)), ($set_text, function!($text_setter)),)+
                ("getReport", function!(get_report)),
                ("writeReport", function!(write_report)),
            ],
            ..Binding::DEFAULT
        };
    };
}

settings! {
    flags:
    ("getCompact", get_compact, "setCompact", set_compact, compact, "--report-compact"),
    ("getExcludeEnv", get_exclude_env, "setExcludeEnv", set_exclude_env, exclude_env, "--report-exclude-env"),
    ("getExcludeNetwork", get_exclude_network, "setExcludeNetwork", set_exclude_network, exclude_network, "--report-exclude-network"),
    ("shouldReportOnFatalError", on_fatal_error, "setReportOnFatalError", set_on_fatal_error, on_fatal_error, "--report-on-fatalerror"),
    ("shouldReportOnSignal", on_signal, "setReportOnSignal", set_on_signal, on_signal, "--report-on-signal"),
    ("shouldReportOnUncaughtException", on_uncaught_exception, "setReportOnUncaughtException",
        set_on_uncaught_exception, on_uncaught_exception, "--report-uncaught-exception"),
    texts:
    ("getDirectory", get_directory, "setDirectory", set_directory, directory, "--report-dir"),
    ("getFilename", get_filename, "setFilename", set_filename, filename, "--report-filename"),
    ("getSignal", get_signal, "setSignal", set_signal, signal, "--report-signal"),
}

/// What a report says of itself.
struct Cause<'a> {
    event: &'a str,
    trigger: &'a str,
    filename: Option<&'a str>,
}

fn text_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<String, Throw> {
    let text = value.to_string(scope).ok_or(Throw::Pending)?;
    Ok(text.to_rust_string_lossy(scope))
}

/// `writeReport(event, trigger, filename, error)`
fn write_report<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let event = text_of(scope, args.get(0))?;
    let trigger = text_of(scope, args.get(1))?;
    let filename = if args.get(2).is_string() {
        text_of(scope, args.get(2))?
    } else {
        String::new()
    };
    let env = Env::of(scope);
    let filename = write(scope, &env, (&event, &trigger), filename, args.get(3))?;
    Ok(v8::String::new(scope, &filename)
        .ok_or(Throw::Pending)?
        .into())
}

/// Writes the report of an exception that ends the process, if the process is to have one.
pub fn of_uncaught_exception<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    exception: v8::Local<'s, v8::Value>,
) {
    let settings = env.extension::<Settings>();
    if settings.on_uncaught_exception(env) {
        v8::tc_scope!(let catch, scope);
        // The process ends as it would without a report.
        let _ = write(
            catch,
            env,
            ("Exception", "Exception"),
            String::new(),
            exception,
        );
    }
}

/// Writes a report for an event and a trigger; answers the file's name, empty where it could not be opened.
fn write<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    (event, trigger): (&str, &str),
    mut filename: String,
    error: v8::Local<'s, v8::Value>,
) -> Result<String, Throw> {
    let settings = env.extension::<Settings>();
    if filename.is_empty() {
        filename = settings.filename(env);
    }
    if filename.is_empty() {
        filename = default_name(env, &settings);
    }
    let cause = Cause {
        event,
        trigger,
        filename: Some(&filename),
    };
    let report = report(scope, &cause, error)?;
    let descriptor = match filename.as_str() {
        "stdout" => Some(1),
        "stderr" => Some(2),
        _ => None,
    };
    if let Some(descriptor) = descriptor {
        env.print(descriptor, &format!("{report}\n"));
    } else {
        let directory = settings.directory(env);
        let path = if directory.is_empty() {
            filename.clone()
        } else {
            format!("{directory}/{filename}")
        };
        env.require_permission(Scope::FileSystemWrite, path.as_bytes())?;
        let flags = O_WRONLY | O_CREAT | O_TRUNC;
        let (kernel, process) = (env.kernel()?, env.process()?);
        let bytes = format!("{report}\n");
        if let Err(errno) =
            kernel.write_file(&process, path.as_bytes(), bytes.as_bytes(), flags, 0o666)
        {
            let place = if directory.is_empty() {
                String::new()
            } else {
                format!(" directory: {directory}")
            };
            env.write_stderr(&format!(
                "\nFailed to open Node.js report file: {filename}{place} (errno: {})\n",
                -errno.uv()
            ));
            return Ok(String::new());
        }
        env.write_stderr(&format!(
            "\nWriting Node.js report to file: {filename}\nNode.js report completed\n"
        ));
    }
    Ok(filename)
}

/// The wall time as the names of Node's diagnostic files have it.
pub(crate) fn compact_time(env: &Env) -> String {
    let time = iso_seconds(env.clock().wall().as_secs()).replace(['-', ':', 'Z'], "");
    time.replace('T', ".")
}

/// `report.<date>.<time>.<pid>.<thread>.<number>.json`
fn default_name(env: &Env, settings: &Settings) -> String {
    let number = settings.written.get().saturating_add(1);
    settings.written.set(number);
    let time = compact_time(env);
    let thread = thread_id(env);
    let pid = env.options().pid;
    format!("report.{time}.{pid}.{thread}.{number:03}.json")
}

/// `threadId` of this thread: the main thread's is 0.
fn thread_id(env: &Env) -> u64 {
    env.extension::<Thread>()
        .worker()
        .map_or(0, |worker| worker.id)
}

/// `getReport(error)`: the report as JSON.
fn get_report<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let cause = Cause {
        event: "JavaScript API",
        trigger: "GetReport",
        filename: None,
    };
    let text = report(scope, &cause, args.get(0))?;
    Ok(v8::String::new(scope, &text).ok_or(Throw::Pending)?.into())
}

fn report<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cause: &Cause<'_>,
    error: v8::Local<'s, v8::Value>,
) -> Result<String, Throw> {
    let env = Env::of(scope);
    let settings = env.extension::<Settings>();
    let memory = env.memory_with_spaces(scope);
    let stack = javascript_stack(scope, error)?;
    let mut report = json!({
        "header": header(&env, &settings, cause),
        "javascriptStack": stack,
        "javascriptHeap": javascript_heap(&memory),
        "nativeStack": [],
        "resourceUsage": resource_usage(&env, &memory),
        "uvthreadResourceUsage": { "userCpuSeconds": 0, "kernelCpuSeconds": 0, "cpuConsumptionPercent": 0,
            "userCpuConsumptionPercent": 0, "kernelCpuConsumptionPercent": 0, "fsActivity": { "reads": 0, "writes": 0 } },
        "libuv": [],
        "workers": [],
        "userLimits": {},
        "sharedObjects": [],
    });
    if !settings.exclude_env(&env)
        && let Some(report) = report.as_object_mut()
    {
        report.insert("environmentVariables".to_owned(), environment(&env));
    }
    let text = if settings.compact(&env) {
        serde_json::to_string(&report)
    } else {
        serde_json::to_string_pretty(&report)
    };
    text.map_err(|error| Throw::error("ERR_INTERNAL_ASSERTION", error.to_string()))
}

fn header(env: &Env, settings: &Settings, cause: &Cause<'_>) -> Json {
    let os = machine(env).os.clone();
    let process = env.process().ok();
    let cwd = env
        .kernel()
        .ok()
        .zip(process.clone())
        .and_then(|(kernel, process)| kernel.getcwd(&process).ok());
    let wall = env.clock().wall();
    let versions: serde_json::Map<_, _> = VERSIONS
        .iter()
        .map(|(name, version)| ((*name).to_owned(), Json::from(*version)))
        .collect();
    let cpus: Vec<_> = (0..os.cpu_count)
        .map(|_| json!({ "model": os.cpu_model, "speed": 0, "user": 0, "nice": 0, "sys": 0, "idle": 0, "irq": 0 }))
        .collect();
    let mut header = json!({
        "reportVersion": REPORT_VERSION,
        "event": cause.event,
        "trigger": cause.trigger,
        "filename": cause.filename,
        "dumpEventTime": iso_seconds(wall.as_secs()),
        "dumpEventTimeStamp": wall.as_millis().to_string(),
        "processId": env.options().pid,
        "threadId": thread_id(env),
        "cwd": cwd.map(|cwd| String::from_utf8_lossy(&cwd).into_owned()),
        "commandLine": process.map(|process| process.argv().to_vec()).unwrap_or_default(),
        "nodejsVersion": format!("v{NODE_VERSION}"),
        "wordSize": 64,
        "arch": "x64",
        "platform": os.platform,
        "componentVersions": versions,
        "release": {
            "name": "node",
            "lts": "Jod",
            "headersUrl": HEADERS_URL,
            "sourceUrl": SOURCE_URL,
        },
        "osName": os.kind,
        "osRelease": os.release,
        "osVersion": os.version,
        "osMachine": os.machine,
        "cpus": cpus,
    });
    if let Some(header) = header.as_object_mut() {
        if !settings.exclude_network(env) {
            let interfaces: Vec<_> = INTERFACES
                .iter()
                .map(|(name, address, netmask, family, _)| {
                    json!({ "name": name, "internal": true, "mac": HARDWARE_ADDRESS, "address": address,
                        "netmask": netmask, "family": family })
                })
                .collect();
            header.insert("networkInterfaces".to_owned(), interfaces.into());
        }
        header.insert("host".to_owned(), os.hostname.into());
    }
    header
}

/// The error's first line, its frames and its own string properties.
fn javascript_stack<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
) -> Result<Json, Throw> {
    if !error.is_null_or_undefined() && !error.is_object() {
        let message = error.to_rust_string_lossy(scope);
        return Ok(json!({ "message": message, "errorProperties": {} }));
    }
    let Ok(error) = v8::Local::<v8::Object>::try_from(error) else {
        return Ok(json!({ "message": "No stack.", "stack": ["Unavailable."] }));
    };
    let key = v8::String::new(scope, "stack").ok_or(Throw::Pending)?;
    let stack = error.get(scope, key.into()).ok_or(Throw::Pending)?;
    let stack = if stack.is_string() {
        stack.to_rust_string_lossy(scope)
    } else {
        String::new()
    };
    let mut lines = stack.lines();
    let message = lines.next().unwrap_or("No stack.").to_owned();
    let frames: Vec<_> = lines
        .take(MAX_FRAMES)
        .map(|line| line.trim().to_owned())
        .collect();
    let mut properties = serde_json::Map::new();
    let names = error
        .get_own_property_names(scope, v8::GetPropertyNamesArgs::default())
        .ok_or(Throw::Pending)?;
    for index in 0..names.length() {
        let name = names.get_index(scope, index).ok_or(Throw::Pending)?;
        let value = error.get(scope, name).ok_or(Throw::Pending)?;
        let name = name.to_rust_string_lossy(scope);
        if name == "stack"
            || name == "message"
            || !(value.is_string() || value.is_number() || value.is_boolean())
        {
            continue;
        }
        properties.insert(name, value.to_rust_string_lossy(scope).into());
    }
    Ok(json!({ "message": message, "stack": frames, "errorProperties": properties }))
}

fn javascript_heap(memory: &Memory) -> Json {
    let spaces: serde_json::Map<_, _> = memory
        .spaces
        .iter()
        .map(|space| {
            let [size, used, available, physical] = space.sizes;
            let sizes = json!({ "memorySize": size, "committedMemory": physical, "capacity": used + available,
                "used": used, "available": available });
            (space.name.clone(), sizes)
        })
        .collect();
    let [
        total,
        executable,
        physical,
        available,
        used,
        limit,
        malloced,
        peak,
        zap,
        contexts,
        detached,
        global,
        used_global,
        external,
    ] = memory.heap;
    json!({
        "totalMemory": total,
        "executableMemory": executable,
        "totalCommittedMemory": physical,
        "availableMemory": available,
        "totalGlobalHandlesMemory": global,
        "usedGlobalHandlesMemory": used_global,
        "usedMemory": used,
        "memoryLimit": limit,
        "mallocedMemory": malloced,
        "externalMemory": external,
        "peakMallocedMemory": peak,
        "nativeContextCount": contexts,
        "detachedContextCount": detached,
        "doesZapGarbage": zap,
        "heapSpaces": spaces,
    })
}

fn resource_usage(env: &Env, memory: &Memory) -> Json {
    let os = machine(env).os.clone();
    let (user, system) = env.cpu_micros();
    json!({
        "free_memory": os.free_memory,
        "total_memory": os.total_memory,
        "rss": memory.rss(),
        "constrained_memory": os.total_memory,
        "available_memory": os.free_memory,
        "userCpuSeconds": user / 1e6,
        "kernelCpuSeconds": system / 1e6,
        "cpuConsumptionPercent": 0,
        "userCpuConsumptionPercent": 0,
        "kernelCpuConsumptionPercent": 0,
        "maxRss": memory.rss(),
        "pageFaults": { "IORequired": 0, "IONotRequired": 0 },
        "fsActivity": { "reads": 0, "writes": 0 },
    })
}

fn environment(env: &Env) -> Json {
    let variables = env
        .variables
        .all()
        .into_iter()
        .map(|(name, value)| (name, Json::from(value)));
    Json::Object(variables.collect())
}

/// `YYYY-MM-DDTHH:MM:SSZ` of seconds since the epoch.
fn iso_seconds(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    let (days, rest) = (seconds / DAY, seconds % DAY);
    // Civil date from days: years of 365.2425 days that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hours, minutes) = (rest / 3600, rest / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{:02}Z",
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::iso_seconds;

    #[test]
    fn writes_dates() {
        assert_eq!(iso_seconds(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso_seconds(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso_seconds(1_795_180_058), "2026-11-20T13:07:38Z");
    }
}
