//! `internalBinding('os')`: what the machine says of itself. Every value is declared by the embedder, none is the host's.
//! Source: `src/node_os.cc`.

use std::cell::Cell;
use std::sync::Arc;

use secure_exec_kernel::{Errno, Machine};

use crate::array_buffer::buffer_of;
use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::realm::set;
use crate::text::Encoding;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "os",
    functions: &[
        (
            "getAvailableParallelism",
            function!(get_available_parallelism),
        ),
        ("getCPUs", function!(get_cpus)),
        ("getFreeMem", function!(get_free_mem)),
        ("getTotalMem", function!(get_total_mem)),
        ("getHomeDirectory", function!(get_home_directory)),
        ("getHostname", function!(get_hostname)),
        ("getInterfaceAddresses", function!(get_interface_addresses)),
        ("getLoadAvg", function!(get_load_avg)),
        ("getOSInformation", function!(get_os_information)),
        ("getPriority", function!(get_priority)),
        ("setPriority", function!(set_priority)),
        ("getUptime", function!(get_uptime)),
        ("getUserInfo", function!(get_user_info)),
    ],
    ..Binding::DEFAULT
};

/// Names, address, mask, family, hardware address, whether internal, scope: the loopback interface is all there is.
pub const INTERFACES: &[(&str, &str, &str, &str, i32)] = &[
    ("lo", "127.0.0.1", "255.0.0.0", "IPv4", -1),
    (
        "lo",
        "::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "IPv6",
        0,
    ),
];
/// The loopback interface's hardware address.
pub const HARDWARE_ADDRESS: &str = "00:00:00:00:00:00";
const LOAD_AVERAGES: u32 = 3;

/// The process's own scheduling priority, which changes nothing.
#[derive(Default)]
struct Priority(Cell<i32>);

/// The machine; its defaults while there is no process.
pub fn machine(env: &Env) -> Arc<Machine> {
    env.process()
        .map_or_else(|_| Arc::default(), |process| process.machine().clone())
}

fn string<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> Ret<'s> {
    Ok(v8::String::new(scope, text).ok_or(Throw::Pending)?.into())
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, number: f64) -> v8::Local<'s, v8::Value> {
    v8::Number::new(scope, number).into()
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
fn bytes<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: u64) -> v8::Local<'s, v8::Value> {
    number(scope, bytes as f64)
}

fn get_available_parallelism<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let count = machine(&Env::of(scope)).os.cpu_count.max(1);
    Ok(v8::Integer::new_from_unsigned(scope, count).into())
}

/// For each processor: model, speed, and times of user, nice, sys, idle and irq, which stand still.
fn get_cpus<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    const TIMES: usize = 6;
    /// Processors that are listed at most.
    const MOST: u32 = 1024;
    let os = machine(&Env::of(scope)).os.clone();
    let mut values = Vec::new();
    for _ in 0..os.cpu_count.min(MOST) {
        values.push(string(scope, &os.cpu_model)?);
        values.extend([number(scope, 0.0); TIMES]);
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

fn get_free_mem<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let free = machine(&Env::of(scope)).os.free_memory;
    Ok(bytes(scope, free))
}

fn get_total_mem<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let total = machine(&Env::of(scope)).os.total_memory;
    Ok(bytes(scope, total))
}

/// `HOME`, else the user's home.
fn get_home_directory<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let home = env.variables.get("HOME").filter(|home| !home.is_empty());
    let home = home.unwrap_or_else(|| machine(&env).user.home.clone());
    string(scope, &home)
}

fn get_hostname<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let name = machine(&Env::of(scope)).os.hostname.clone();
    string(scope, &name)
}

/// Seven values for each address.
fn get_interface_addresses<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let mut values = Vec::new();
    for (name, address, mask, family, scope_id) in INTERFACES {
        for text in [name, address, mask, family, &HARDWARE_ADDRESS] {
            values.push(string(scope, text)?);
        }
        values.push(v8::Boolean::new(scope, true).into());
        values.push(v8::Integer::new(scope, *scope_id).into());
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

fn get_load_avg<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Ok(averages) = v8::Local::<v8::Float64Array>::try_from(args.get(0)) {
        for index in 0..LOAD_AVERAGES {
            let zero = number(scope, 0.0);
            averages.set_index(scope, index, zero);
        }
    }
    Ok(v8::undefined(scope).into())
}

fn get_os_information<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let os = machine(&Env::of(scope)).os.clone();
    let mut values = Vec::new();
    for text in [&os.kind, &os.version, &os.release, &os.machine] {
        values.push(string(scope, text)?);
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

/// Seconds since the machine started, as `/proc/uptime` shows them.
fn get_uptime<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    const NANOS_PER_CENTISECOND: u64 = 10_000_000;
    let nanos = Env::of(scope)
        .process()
        .map_or(0, |process| process.clock().monotonic_ns());
    #[expect(
        clippy::cast_precision_loss,
        reason = "hundredths of seconds fit a double"
    )]
    let hundredths = (nanos / NANOS_PER_CENTISECOND) as f64;
    Ok(number(scope, hundredths / 100.0))
}

/// Fills the context object from which the library makes its `SystemError`.
pub fn fail<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: v8::Local<'s, v8::Value>,
    errno: Errno,
    syscall: &str,
) -> Ret<'s> {
    if let Ok(context) = v8::Local::<v8::Object>::try_from(context) {
        let number = v8::Integer::new(scope, errno.uv()).into();
        set(scope, context, "errno", number);
        for (key, text) in [
            ("code", errno.name()),
            ("message", errno.message()),
            ("syscall", syscall),
        ] {
            let text = string(scope, text)?;
            set(scope, context, key, text);
        }
    }
    Ok(v8::undefined(scope).into())
}

fn is_self(env: &Env, pid: i32) -> bool {
    pid == 0 || u32::try_from(pid) == Ok(env.options().pid)
}

fn get_priority<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let pid = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    if !is_self(&env, pid) {
        return fail(scope, args.get(1), Errno::ESRCH, "uv_os_getpriority");
    }
    Ok(v8::Integer::new(scope, env.extension::<Priority>().0.get()).into())
}

/// A plain user may lower a priority, never raise it.
fn set_priority<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const SYSCALL: &str = "uv_os_setpriority";
    let pid = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let priority = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    let refused = if !is_self(&env, pid) {
        Some(Errno::ESRCH)
    } else if priority < env.extension::<Priority>().0.get()
        && env.process().is_ok_and(|process| process.uid() != 0)
    {
        Some(Errno::EACCES)
    } else {
        None
    };
    if let Some(errno) = refused {
        fail(scope, args.get(2), errno, SYSCALL)?;
        return Ok(v8::Integer::new(scope, errno.uv()).into());
    }
    env.extension::<Priority>().0.set(priority);
    Ok(v8::Integer::new(scope, 0).into())
}

fn get_user_info<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut encoding = Encoding::Utf8;
    if let Ok(options) = v8::Local::<v8::Object>::try_from(args.get(0)) {
        let key = v8::String::new(scope, "encoding").ok_or(Throw::Pending)?;
        let value = options.get(scope, key.into()).ok_or(Throw::Pending)?;
        encoding = Encoding::from_value(scope, value, Encoding::Utf8);
    }
    let env = Env::of(scope);
    let user = machine(&env).user.clone();
    let (uid, gid) = env.process().map_or((user.uid, user.gid), |process| {
        (process.uid(), process.gid())
    });
    let null = v8::null(scope).into();
    let info = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    for (key, id) in [("uid", uid), ("gid", gid)] {
        let id = v8::Integer::new_from_unsigned(scope, id).into();
        set(scope, info, key, id);
    }
    for (key, text) in [
        ("username", &user.name),
        ("homedir", &user.home),
        ("shell", &user.shell),
    ] {
        let value = if encoding == Encoding::Buffer {
            buffer_of(scope, text.as_bytes())?.into()
        } else {
            crate::text::decode(scope, text.as_bytes(), encoding)?
        };
        set(scope, info, key, value);
    }
    Ok(info.into())
}
