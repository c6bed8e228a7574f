//! What `process_wrap` and `spawn_sync` have in common: the program, its arguments, its surroundings.

use std::sync::Arc;

use secure_exec_kernel::{Errno, OpenFile, Process};
use secure_exec_userland::Start;

use crate::env::Env;
use crate::launch::Launcher;
use crate::throw::Throw;

/// Elements of a list that are read at most; the kernel's limit on bytes is met before.
const MAX_ITEMS: u32 = 1 << 20;
/// Descriptors that a child can be given.
const MAX_STDIO: u32 = 1024;

/// See the module's text.
pub struct SpawnOptions {
    file: String,
    args: Vec<String>,
    cwd: Option<String>,
    env: Option<Vec<(String, String)>>,
    uid: Option<u32>,
    gid: Option<u32>,
    detached: bool,
}

/// A property of an options object.
pub fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    key: &str,
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    let key = v8::String::new(scope, key).ok_or(Throw::Pending)?;
    object.get(scope, key.into()).ok_or(Throw::Pending)
}

/// The options object of a call.
pub fn object(value: v8::Local<'_, v8::Value>) -> Result<v8::Local<'_, v8::Object>, Throw> {
    v8::Local::<v8::Object>::try_from(value).map_err(|_| {
        let text = "The \"options\" argument must be of type object.";
        Throw::type_error("ERR_INVALID_ARG_TYPE", text)
    })
}

/// Reads `options.stdio`: each entry with its type.
pub fn read_stdio<'s, T>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Object>,
    mut read: impl FnMut(&mut v8::PinScope<'s, '_>, v8::Local<'s, v8::Object>, &str) -> Result<T, Throw>,
) -> Result<Vec<T>, Throw> {
    let Ok(list) = v8::Local::<v8::Array>::try_from(get(scope, options, "stdio")?) else {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"options.stdio\" property must be an instance of Array.",
        ));
    };
    let mut entries = Vec::new();
    for index in 0..list.length().min(MAX_STDIO) {
        let item = list.get_index(scope, index).ok_or(Throw::Pending)?;
        let item = object(item)?;
        let kind = get(scope, item, "type")?.to_rust_string_lossy(scope);
        entries.push(read(scope, item, &kind)?);
    }
    Ok(entries)
}

/// The descriptor of an entry that names one.
pub fn fd_of_entry<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    item: v8::Local<'s, v8::Object>,
) -> Result<i32, Throw> {
    get(scope, item, "fd")?
        .int32_value(scope)
        .ok_or(Throw::Pending)
}

fn wrong(name: &str, wanted: &str) -> Throw {
    let text = format!("The \"options.{name}\" property must be of type {wanted}.");
    Throw::type_error("ERR_INVALID_ARG_TYPE", text)
}

/// The strings of an array; `None` when it is none.
pub fn strings<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Option<Vec<String>>, Throw> {
    let Ok(array) = v8::Local::<v8::Array>::try_from(value) else {
        return Ok(None);
    };
    let mut list = Vec::new();
    for index in 0..array.length().min(MAX_ITEMS) {
        let item = array.get_index(scope, index).ok_or(Throw::Pending)?;
        let text = item.to_string(scope).ok_or(Throw::Pending)?;
        list.push(text.to_rust_string_lossy(scope));
    }
    Ok(Some(list))
}

fn id<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Object>,
    name: &str,
) -> Result<Option<u32>, Throw> {
    let value = get(scope, options, name)?;
    if value.is_null_or_undefined() {
        return Ok(None);
    }
    if !value.is_int32() {
        return Err(wrong(name, "int32"));
    }
    let number = value.int32_value(scope).unwrap_or_default();
    Ok(Some(number.cast_unsigned()))
}

/// What a C program sees of a text: up to its first NUL.
fn until_nul(text: String) -> String {
    match text.split_once('\0') {
        Some((before, _)) => before.to_owned(),
        None => text,
    }
}

/// Variables from texts as "NAME=value".
pub fn variables(pairs: Vec<String>) -> Vec<(String, String)> {
    let split = |pair: String| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), until_nul(value.to_owned())))
    };
    let pairs = pairs.into_iter().filter_map(split);
    pairs
        .filter(|(name, _)| !name.is_empty() && !name.contains('\0'))
        .collect()
}

impl SpawnOptions {
    /// Copies the options out.
    pub fn read<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        options: v8::Local<'s, v8::Object>,
    ) -> Result<Self, Throw> {
        let file = v8::Local::<v8::String>::try_from(get(scope, options, "file")?)
            .map_err(|_| wrong("file", "string"))?;
        let file = file.to_rust_string_lossy(scope);
        let args = get(scope, options, "args")?;
        let args = strings(scope, args)?;
        let cwd = v8::Local::<v8::String>::try_from(get(scope, options, "cwd")?).ok();
        let cwd = cwd
            .map(|cwd| cwd.to_rust_string_lossy(scope))
            .filter(|cwd| !cwd.is_empty());
        let pairs = get(scope, options, "envPairs")?;
        let env = strings(scope, pairs)?.map(variables);
        let uid = id(scope, options, "uid")?;
        let gid = id(scope, options, "gid")?;
        let detached = get(scope, options, "detached")?.boolean_value(scope);
        Ok(Self {
            args: args
                .unwrap_or_else(|| vec![file.clone()])
                .into_iter()
                .map(until_nul)
                .collect(),
            file: until_nul(file),
            cwd,
            env,
            uid,
            gid,
            detached,
        })
    }

    /// Finds the program and starts it with these descriptors.
    pub fn start(
        self,
        env: &Env,
        files: Vec<Option<Arc<OpenFile>>>,
    ) -> Result<Arc<Process>, Errno> {
        let (Ok(kernel), Ok(parent)) = (env.kernel(), env.process()) else {
            return Err(Errno::ESRCH);
        };
        // Only root could run it as someone else, and root is not to be had here.
        let other = |wanted: Option<u32>, own: u32| wanted.is_some_and(|wanted| wanted != own);
        if other(self.uid, parent.uid()) || other(self.gid, parent.gid()) {
            return Err(Errno::EPERM);
        }
        let cwd = match self.cwd {
            Some(path) if path.starts_with('/') => Some(path.into_bytes()),
            Some(path) => {
                Some([&kernel.getcwd(&parent)?, b"/".as_slice(), path.as_bytes()].concat())
            }
            None => None,
        };
        let variables = self.env.unwrap_or_else(|| env.variables.all());
        let executable =
            kernel.find_program_in(&parent, &self.file, self.args, &variables, cwd.as_deref())?;
        let launcher = Launcher::of(env).ok_or(Errno::ESRCH)?;
        let start = Start {
            parent,
            env: variables,
            cwd,
            files,
            new_group: self.detached,
        };
        launcher.start(executable, start)
    }
}

/// The name of a signal as Node gives it; empty for none.
pub fn signal_text(signal: Option<i32>) -> String {
    let name = signal.and_then(secure_exec_kernel::signal_name);
    name.map_or_else(String::new, |name| format!("SIG{name}"))
}
