//! `internalBinding('buffer')`. Source: `src/node_buffer.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "buffer",
    functions: &[
        ("setBufferPrototype", function!(set_buffer_prototype)),
        ("utf8WriteStatic", function!(utf8_write_static)),
        ("createUnsafeArrayBuffer", function!(create_unsafe_array_buffer)),
    ],
    ..Binding::DEFAULT
};

fn set_buffer_prototype<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "buffer.prototype", args.get(0));
    Ok(v8::undefined(scope).into())
}

fn create_unsafe_array_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let size = args.get(0).integer_value(scope).and_then(|size| usize::try_from(size).ok());
    let size = size.ok_or_else(|| Throw::range_error("ERR_OUT_OF_RANGE", "size is out of range"))?;
    Ok(v8::ArrayBuffer::new(scope, size).into())
}

fn utf8_write_static<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a buffer"))?;
    let text = args.get(1).to_rust_string_lossy(scope);
    let offset = args.get(2).uint32_value(scope).unwrap_or(0) as usize;
    let store = view.get_backing_store();
    let mut written = 0;
    if let Some(store) = store {
        for (cell, byte) in store.iter().skip(view.byte_offset() + offset).zip(text.bytes()) {
            cell.set(byte);
            written += 1;
        }
    }
    Ok(v8::Integer::new(scope, written).into())
}
