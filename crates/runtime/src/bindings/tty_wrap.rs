//! `internalBinding('tty_wrap')`: terminals. Source: `src/tty_wrap.cc`.

use std::cell::RefCell;
use std::sync::Arc;

use secure_exec_kernel::{Errno, HandleKind, Terminal};

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::argument;
use crate::bindings::fs::resource::Provider;
use crate::bindings::stream_base::EXTRA_FIELDS;
use crate::bindings::stream_wrap::{KernelStream, Kind};
use crate::bindings::tcp_wrap::{Call, call, status};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "tty_wrap",
    functions: &[("isTTY", function!(is_tty))],
    classes: &[Class {
        name: "TTY",
        parent: Some("stream_wrap.LibuvStreamWrap"),
        constructor: Some(function!(construct)),
        methods: &[
            ("getWindowSize", function!(get_window_size)),
            ("setRawMode", function!(set_raw_mode)),
        ],
        extra_fields: EXTRA_FIELDS,
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "TTYWRAP",
    number: 41,
};

fn kind_of(env: &Env, fd: i32) -> Result<HandleKind, Errno> {
    let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
        return Err(Errno::EBADF);
    };
    kernel.handle_kind(&process, fd)
}

/// `isTTY(fd)`
fn is_tty<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let is_tty = kind_of(&Env::of(scope), fd) == Ok(HandleKind::Tty);
    Ok(v8::Boolean::new(scope, is_tty).into())
}

/// `new TTY(fd, context)`; what fails is told in `context`.
fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("TTY"));
    }
    let fd = argument::fd(scope, args.get(0))?;
    let kind = Kind::Tty;
    KernelStream::wrap(scope, args.this(), kind, PROVIDER, "tty_wrap.TTY");
    let env = Env::of(scope);
    let opened = match kind_of(&env, fd) {
        Ok(HandleKind::Tty) => KernelStream::of(scope, args.this())
            .ok_or(Errno::EBADF)
            .and_then(|(_, stream)| stream.set_fd(&env, fd)),
        Ok(_) => Err(Errno::EINVAL),
        Err(errno) => Err(errno),
    };
    if let (Err(errno), Ok(context)) = (opened, v8::Local::<v8::Object>::try_from(args.get(1))) {
        let number = v8::Integer::new(scope, errno.uv()).into();
        set(scope, context, "errno", number);
        for (key, text) in [
            ("code", errno.name()),
            ("message", errno.message()),
            ("syscall", "uv_tty_init"),
        ] {
            let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
            set(scope, context, key, text.into());
        }
    }
    Ok(v8::undefined(scope).into())
}

impl Call {
    fn terminal(&self) -> Result<std::sync::Arc<secure_exec_kernel::Terminal>, Errno> {
        let fd = self.stream.open_fd(&self.env)?;
        let file = self.process.file(fd)?;
        file.terminal().cloned().ok_or(Errno::ENOTTY)
    }
}

/// `getWindowSize([columns, rows])`
fn get_window_size<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target =
        v8::Local::<v8::Array>::try_from(args.get(0)).map_err(|_| argument::invalid("size"))?;
    let size = call(scope, args)?.and_then(|call| Ok(call.terminal()?.size()));
    if let Ok(size) = size {
        for (index, number) in (0..).zip([size.columns, size.rows]) {
            let number = v8::Integer::new(scope, number.into()).into();
            target.set_index(scope, index, number);
        }
    }
    status(scope, size.map(|_| ()))
}

/// The terminal that this process made raw.
#[derive(Default)]
struct RawTerminal(RefCell<Option<Arc<Terminal>>>);

/// Gives the terminal back as it was, at the end of the process.
pub fn reset(env: &Env) {
    if let Some(terminal) = env.extension::<RawTerminal>().0.take() {
        terminal.set_raw(false);
    }
}

/// `setRawMode(raw)`
fn set_raw_mode<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let raw = args.get(0).is_true();
    let result = call(scope, args)?.and_then(|call| {
        let terminal = call.terminal()?;
        terminal.set_raw(raw);
        call.env
            .extension::<RawTerminal>()
            .0
            .replace(raw.then_some(terminal));
        Ok(())
    });
    status(scope, result)
}
