//! Trace events of calls of `fs`: the kernel answers at once, so an asynchronous call ends where it began.

use super::answer::FsState;
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::tracer::{Event, FS_ASYNC, FS_SYNC};

type Call = for<'s, 'i> fn(&mut v8::PinScope<'s, 'i>, &Args<'s>) -> Ret<'s>;

/// Makes a call; `sync` and `async_name` are what it is called in traces.
fn call<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    sync: &[&str],
    async_name: &str,
    function: Call,
) -> Ret<'s> {
    let env = Env::of(scope);
    let Some(begun) = env.trace_time() else {
        return function(scope, args);
    };
    let state = env.extension::<FsState>();
    state.is_async.set(false);
    let result = function(scope, args);
    let (categories, names, phases) = if state.is_async.get() {
        (FS_ASYNC, &[async_name][..], ['b', 'e'])
    } else {
        (FS_SYNC, sync, ['B', 'E'])
    };
    let id = state.is_async.get().then(|| state.next_trace());
    for name in names {
        for (phase, at) in phases.into_iter().zip([begun, env.clock().elapsed()]) {
            let event = Event {
                at,
                id,
                ..Event::now(&env, phase, categories, name)
            };
            env.trace(&event);
        }
    }
    result
}

macro_rules! traced {
    ($($name:ident: [$($sync:literal),*], $async_name:literal;)*) => {
        $(pub fn $name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
            call(scope, args, &[$($sync),*], $async_name, super::$name)
        })*
    };
}

traced! {
    access: ["fs.sync.access"], "access";
    close: ["fs.sync.close"], "close";
    open: ["fs.sync.open"], "open";
    open_file_handle: ["fs.sync.open"], "open";
    exists_sync: ["fs.sync.access"], "access";
    read: ["fs.sync.read"], "read";
    read_buffers: ["fs.sync.read"], "read";
    read_file_utf8: ["fs.sync.open", "fs.sync.read", "fs.sync.close"], "read";
    write_buffer: ["fs.sync.write"], "write";
    write_buffers: ["fs.sync.write"], "write";
    write_string: ["fs.sync.write"], "write";
    write_file_utf8: ["fs.sync.open", "fs.sync.write", "fs.sync.close"], "write";
    rename: ["fs.sync.rename"], "rename";
    ftruncate: ["fs.sync.ftruncate"], "ftruncate";
    rmdir: ["fs.sync.rmdir"], "rmdir";
    mkdir: ["fs.sync.mkdir"], "mkdir";
    mkdtemp: ["fs.sync.mkdtemp"], "mkdtemp";
    readdir: ["fs.sync.readdir"], "scandir";
    stat: ["fs.sync.stat"], "stat";
    lstat: ["fs.sync.lstat"], "lstat";
    fstat: ["fs.sync.fstat"], "fstat";
    statfs: ["fs.sync.statfs"], "statfs";
    link: ["fs.sync.link"], "link";
    symlink: ["fs.sync.symlink"], "symlink";
    readlink: ["fs.sync.readlink"], "readlink";
    unlink: ["fs.sync.unlink"], "unlink";
    realpath: ["fs.sync.realpath"], "realpath";
    copy_file: ["fs.sync.copyfile"], "copyfile";
    chmod: ["fs.sync.chmod"], "chmod";
    fchmod: ["fs.sync.fchmod"], "fchmod";
    chown: ["fs.sync.chown"], "chown";
    fchown: ["fs.sync.fchown"], "fchown";
    lchown: ["fs.sync.lchown"], "lchown";
    utimes: ["fs.sync.utimes"], "utime";
    futimes: ["fs.sync.futimes"], "futime";
    lutimes: ["fs.sync.lutimes"], "lutime";
    fsync: ["fs.sync.fsync"], "fsync";
    fdatasync: ["fs.sync.fdatasync"], "fdatasync";
}
