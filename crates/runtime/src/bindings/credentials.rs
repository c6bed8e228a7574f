//! `internalBinding('credentials')`: the process's user and its environment variables. Source: `src/node_credentials.cc`.

use secure_exec_kernel::{Errno, Process};

use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::os::machine;
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "credentials",
    functions: &[
        ("safeGetenv", function!(safe_getenv)),
        ("getTempDir", function!(get_temp_dir)),
        ("getuid", function!(get_uid)),
        ("geteuid", function!(get_euid)),
        ("getgid", function!(get_gid)),
        ("getegid", function!(get_egid)),
        ("getgroups", function!(get_groups)),
        ("setuid", function!(set_uid)),
        ("seteuid", function!(set_euid)),
        ("setgid", function!(set_gid)),
        ("setegid", function!(set_egid)),
        ("setgroups", function!(set_groups)),
        ("initgroups", function!(init_groups)),
    ],
    init: Some(init),
    ..Binding::DEFAULT
};

fn init(scope: &mut v8::PinScope<'_, '_>, _env: &Env, target: v8::Local<v8::Object>) {
    let yes = v8::Boolean::new(scope, true).into();
    set(scope, target, "implementsPosixCredentials", yes);
}

/// Users and groups that exist beside the machine's own user.
const USERS: &[(&str, u32)] = &[("root", 0), ("nobody", NOBODY)];
const GROUPS: &[(&str, u32)] = &[("root", 0), ("nogroup", NOBODY)];
const NOBODY: u32 = 65_534;
/// What the library reads as "no such user" or "no such group".
const UNKNOWN_FIRST: i32 = 1;
const UNKNOWN_SECOND: i32 = 2;

fn unsigned<'s>(scope: &mut v8::PinScope<'s, '_>, number: u32) -> v8::Local<'s, v8::Value> {
    v8::Integer::new_from_unsigned(scope, number).into()
}

fn get_uid<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let uid = Env::of(scope).process()?.uid();
    Ok(unsigned(scope, uid))
}

fn get_euid<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    get_uid(scope, args)
}

fn get_gid<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let gid = Env::of(scope).process()?.gid();
    Ok(unsigned(scope, gid))
}

fn get_egid<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    get_gid(scope, args)
}

fn get_groups<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let gid = get_gid(scope, args)?;
    Ok(v8::Array::new_with_elements(scope, &[gid]).into())
}

/// A numeric id, or the id of a name that exists.
fn id_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    known: &[(&str, u32)],
    own: (String, u32),
) -> Option<u32> {
    if value.is_uint32() {
        return value.uint32_value(scope);
    }
    let name = v8::Local::<v8::String>::try_from(value)
        .ok()?
        .to_rust_string_lossy(scope);
    if name == own.0 {
        return Some(own.1);
    }
    known
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, id)| *id)
}

fn user_id<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>) -> Option<u32> {
    let user = machine(&Env::of(scope)).user.clone();
    id_of(scope, value, USERS, (user.name, user.uid))
}

fn group_id<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>) -> Option<u32> {
    let user = machine(&Env::of(scope)).user.clone();
    id_of(scope, value, GROUPS, (user.name, user.gid))
}

/// The error that Node makes of `errno`, in the C library's words: `EPERM, Operation not permitted`.
pub fn errno_exception(
    scope: &mut v8::PinScope<'_, '_>,
    errno: Errno,
    words: &str,
    syscall: &str,
) -> Throw {
    let text = format!("{}, {words}", errno.name());
    let error = v8::String::new(scope, &text).map(|text| v8::Exception::error(scope, text));
    let Some(error) = error.and_then(|error| v8::Local::<v8::Object>::try_from(error).ok()) else {
        return Throw::Pending;
    };
    let number = v8::Integer::new(scope, errno.number()).into();
    set(scope, error, "errno", number);
    for (key, text) in [("code", errno.name()), ("syscall", syscall)] {
        if let Some(text) = v8::String::new(scope, text) {
            set(scope, error, key, text.into());
        }
    }
    scope.throw_exception(error.into());
    Throw::Pending
}

fn not_permitted(scope: &mut v8::PinScope<'_, '_>, syscall: &str) -> Throw {
    errno_exception(scope, Errno::EPERM, "Operation not permitted", syscall)
}

fn outcome<'s>(scope: &mut v8::PinScope<'s, '_>, number: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, number).into())
}

fn change<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    id: Option<u32>,
    syscall: &str,
    change: impl FnOnce(&Process, u32) -> secure_exec_kernel::Result<()>,
) -> Ret<'s> {
    let Some(id) = id else {
        return outcome(scope, UNKNOWN_FIRST);
    };
    let process = Env::of(scope).process()?;
    match change(&process, id) {
        Ok(()) => outcome(scope, 0),
        Err(_) => Err(not_permitted(scope, syscall)),
    }
}

fn set_uid<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = user_id(scope, args.get(0));
    change(scope, id, "setuid", Process::set_uid)
}

fn set_euid<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = user_id(scope, args.get(0));
    change(scope, id, "seteuid", Process::set_uid)
}

fn set_gid<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = group_id(scope, args.get(0));
    change(scope, id, "setgid", Process::set_gid)
}

fn set_egid<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = group_id(scope, args.get(0));
    change(scope, id, "setegid", Process::set_gid)
}

/// The only group is the process's own: root may set others, which changes nothing.
fn set_groups<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let groups = v8::Local::<v8::Array>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"groups\" argument must be an instance of Array",
        )
    })?;
    for index in 0..groups.length() {
        let group = groups.get_index(scope, index).ok_or(Throw::Pending)?;
        if group_id(scope, group).is_none() {
            // The library names the group by its place, counted from one.
            return outcome(scope, i32::try_from(index).unwrap_or(i32::MAX - 1) + 1);
        }
    }
    if Env::of(scope).process()?.uid() != 0 {
        return Err(not_permitted(scope, "setgroups"));
    }
    outcome(scope, 0)
}

fn init_groups<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if user_id(scope, args.get(0)).is_none() {
        return outcome(scope, UNKNOWN_FIRST);
    }
    if group_id(scope, args.get(1)).is_none() {
        return outcome(scope, UNKNOWN_SECOND);
    }
    if Env::of(scope).process()?.uid() != 0 {
        return Err(not_permitted(scope, "initgroups"));
    }
    outcome(scope, 0)
}

fn safe_getenv<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = args.get(0).to_rust_string_lossy(scope);
    let env = Env::of(scope);
    env.trace_variable(scope, "get", Some(&name));
    Ok(match env.variables.get(&name) {
        Some(value) => v8::String::new(scope, &value).ok_or(Throw::Pending)?.into(),
        None => v8::undefined(scope).into(),
    })
}

fn get_temp_dir<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let variables = &Env::of(scope).variables;
    let named = ["TMPDIR", "TMP", "TEMP"]
        .iter()
        .filter_map(|name| variables.get(name))
        .find(|path| !path.is_empty());
    let mut path = named.unwrap_or_else(|| "/tmp".to_owned());
    if path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    Ok(v8::String::new(scope, &path).ok_or(Throw::Pending)?.into())
}
