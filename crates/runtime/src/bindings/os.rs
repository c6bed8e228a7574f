//! `internalBinding('os')`: what the virtual machine says of itself, never the host's values. Source: `src/node_os.cc`.

use std::cell::Cell;

use secure_exec_kernel::Errno;

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "os",
    functions: &[
        ("getHostname", function!(get_hostname)),
        ("getLoadAvg", function!(get_load_avg)),
        ("getUptime", function!(get_uptime)),
        ("getTotalMem", function!(get_total_mem)),
        ("getFreeMem", function!(get_free_mem)),
        ("getCPUs", function!(get_cpus)),
        ("getInterfaceAddresses", function!(get_interface_addresses)),
        ("getHomeDirectory", function!(get_home_directory)),
        ("getUserInfo", function!(get_user_info)),
        ("setPriority", function!(set_priority)),
        ("getPriority", function!(get_priority)),
        ("getAvailableParallelism", function!(get_available_parallelism)),
        ("getOSInformation", function!(get_os_information)),
    ],
    ..Binding::DEFAULT
};

/// Clock rate that every declared processor shows, in MHz.
const CPU_MHZ: f64 = 2000.0;

/// The nice value of this process: data only.
#[derive(Default)]
struct Priority(Cell<i32>);

fn text<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> Ret<'s> {
    Ok(v8::String::new(scope, text).ok_or(Throw::Pending)?.into())
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, number: f64) -> v8::Local<'s, v8::Value> {
    v8::Number::new(scope, number).into()
}

fn get_hostname<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let kernel = Env::of(scope).kernel()?;
    text(scope, &kernel.machine().os.hostname)
}

/// Fills the caller's array with zeros: load is not the guest's to know.
fn get_load_avg<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Ok(array) = v8::Local::<v8::Float64Array>::try_from(args.get(0)) {
        let zero = number(scope, 0.0);
        for index in 0..3 {
            array.set_index(scope, index, zero);
        }
    }
    Ok(v8::undefined(scope).into())
}

fn get_uptime<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let seconds = Env::of(scope).clock().monotonic().as_secs_f64();
    Ok(number(scope, seconds))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit a double")]
fn get_total_mem<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let kernel = Env::of(scope).kernel()?;
    Ok(number(scope, kernel.machine().os.total_memory as f64))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit a double")]
fn get_free_mem<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let kernel = Env::of(scope).kernel()?;
    Ok(number(scope, kernel.machine().os.free_memory as f64))
}

/// Seven values a processor: model, MHz, and five times that stand at zero.
fn get_cpus<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let kernel = Env::of(scope).kernel()?;
    let os = &kernel.machine().os;
    let mut values = Vec::new();
    for _ in 0..os.cpu_count {
        values.push(text(scope, &os.cpu_model)?);
        values.push(number(scope, CPU_MHZ));
        for _ in 0..5 {
            values.push(number(scope, 0.0));
        }
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

/// The loopback interface, in both families.
fn get_interface_addresses<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    const MAC: &str = "00:00:00:00:00:00";
    let mut values = Vec::new();
    for (address, mask, family, scope_id) in [
        ("127.0.0.1", "255.0.0.0", "IPv4", -1),
        ("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "IPv6", 0),
    ] {
        for item in ["lo", address, mask, family, MAC] {
            values.push(text(scope, item)?);
        }
        values.push(v8::Boolean::new(scope, true).into());
        values.push(v8::Integer::new(scope, scope_id).into());
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

fn get_home_directory<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let home = match env.variables.get("HOME").filter(|home| !home.is_empty()) {
        Some(home) => home,
        None => env.kernel()?.machine().user.home.clone(),
    };
    text(scope, &home)
}

fn get_user_info<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let as_buffer = match v8::Local::<v8::Object>::try_from(args.get(0)) {
        Ok(options) => {
            let key = v8::String::new(scope, "encoding").ok_or(Throw::Pending)?;
            let encoding = options.get(scope, key.into()).ok_or(Throw::Pending)?;
            encoding.is_string() && encoding.to_rust_string_lossy(scope) == "buffer"
        }
        Err(_) => false,
    };
    let env = Env::of(scope);
    let kernel = env.kernel()?;
    let user = &kernel.machine().user;
    let null = v8::null(scope).into();
    let info = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    for (key, id) in [("uid", user.uid), ("gid", user.gid)] {
        let id = v8::Integer::new_from_unsigned(scope, id).into();
        set(scope, info, key, id);
    }
    for (key, value) in [("username", &user.name), ("homedir", &user.home), ("shell", &user.shell)] {
        let value = if as_buffer {
            crate::array_buffer::buffer_of(scope, value.as_bytes())?.into()
        } else {
            text(scope, value)?
        };
        set(scope, info, key, value);
    }
    Ok(info.into())
}

/// Reports a failed call in the caller's context object; the library throws from it.
fn fail<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: v8::Local<'s, v8::Value>,
    errno: Errno,
    syscall: &str,
) -> Result<(), Throw> {
    let Ok(context) = v8::Local::<v8::Object>::try_from(context) else { return Ok(()) };
    let errno_value = v8::Integer::new(scope, -errno.number()).into();
    set(scope, context, "errno", errno_value);
    for (key, value) in [("code", errno.name()), ("message", errno.message()), ("syscall", syscall)] {
        let value = text(scope, value)?;
        set(scope, context, key, value);
    }
    Ok(())
}

/// Whether `pid` names this process.
fn is_self(env: &Env, pid: i32) -> bool {
    pid == 0 || env.process().is_ok_and(|process| i32::try_from(process.pid()) == Ok(pid))
}

fn set_priority<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let pid = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let priority = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let errno = if !is_self(&env, pid) {
        Some(Errno::ESRCH)
    } else if priority < env.extension::<Priority>().0.get() {
        Some(Errno::EACCES)
    } else {
        env.extension::<Priority>().0.set(priority.min(19));
        None
    };
    if let Some(errno) = errno {
        fail(scope, args.get(2), errno, "uv_os_setpriority")?;
    }
    Ok(v8::Integer::new(scope, errno.map_or(0, |errno| -errno.number())).into())
}

fn get_priority<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let pid = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    if !is_self(&env, pid) {
        fail(scope, args.get(1), Errno::ESRCH, "uv_os_getpriority")?;
        return Ok(v8::undefined(scope).into());
    }
    Ok(v8::Integer::new(scope, env.extension::<Priority>().0.get()).into())
}

fn get_available_parallelism<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let count = Env::of(scope).kernel()?.machine().os.cpu_count;
    Ok(v8::Integer::new_from_unsigned(scope, count).into())
}

/// `[type, version, release, machine]`.
fn get_os_information<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let kernel = Env::of(scope).kernel()?;
    let os = &kernel.machine().os;
    let mut values = Vec::with_capacity(4);
    for item in [&os.kind, &os.version, &os.release, &os.machine] {
        values.push(text(scope, item)?);
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}
