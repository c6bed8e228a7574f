//! Random bytes. Source: `src/crypto/crypto_random.cc`.

use super::argument::{invalid, number};
use super::job;
use crate::array_buffer::{new_array_buffer, raw_parts, writable};
use crate::binding::{Args, Ret};
use crate::bindings::fs::resource::Provider;
use crate::env::Env;
use crate::throw::Throw;

const RANDOM_BYTES_REQUEST: Provider = Provider {
    name: "RANDOMBYTESREQUEST",
    number: 60,
};
/// Random bytes are made in pieces of this size.
const PIECE: usize = 64 << 10;

/// `new RandomBytesJob(mode, buffer, offset, size)`: fills the guest's memory.
pub fn new_random_bytes_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(1);
    let offset = number(scope, args.get(2), "offset")?;
    let size = number(scope, args.get(3), "size")?;
    let length = match v8::Local::<v8::ArrayBufferView>::try_from(value) {
        Ok(view) => view.byte_length(),
        Err(_) => raw_parts(value).ok_or_else(|| invalid("buffer"))?.1,
    };
    let range = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(size).ok())
        .and_then(|(start, size)| Some(start..start.checked_add(size)?))
        .filter(|range| range.end <= length)
        .ok_or_else(|| invalid("size"))?;
    let buffer = v8::Global::new(scope, value);
    // Nothing is gained by another thread: the generator is faster than the way there and back.
    job::construct(
        scope,
        args,
        RANDOM_BYTES_REQUEST,
        0,
        |_| (),
        move |scope, ()| {
            let value = v8::Local::new(scope, buffer);
            fill(scope, value, range)?;
            Ok(v8::undefined(scope).into())
        },
    )
}

/// Fills a range of the guest's memory, as far as that is still there.
fn fill<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    range: std::ops::Range<usize>,
) -> Result<(), Throw> {
    let failed = |_| Throw::error("ERR_OPERATION_FAILED", "Operation failed: no random bytes");
    let mut piece = [0; PIECE];
    let mut at = range.start;
    while at < range.end {
        let Some(bytes) = piece.get_mut(..PIECE.min(range.end - at)) else {
            break;
        };
        secure_exec_kernel::fill_random(bytes).map_err(failed)?;
        let end = at + bytes.len();
        if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
            if let Some(target) = writable(scope, view).get_mut(at..end) {
                target.copy_from_slice(bytes);
            }
        } else if let Some((data, length)) = raw_parts(value)
            && end <= length
            && !data.is_null()
        {
            // SAFETY: the range lies in the buffer as of now, and no JavaScript runs in between.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.add(at), bytes.len()) };
        }
        at = end;
    }
    Ok(())
}

/// `secureBuffer(length)`: zeros. There is no heap that would be more secure than this one.
pub fn secure_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const MOST: u32 = 1 << 20;
    let length = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    if length > MOST {
        return Err(crate::array_buffer::allocation_failed());
    }
    let length = length as usize;
    let buffer = new_array_buffer(scope, length)?;
    let array = v8::Uint8Array::new(scope, buffer, 0, length).ok_or(Throw::Pending)?;
    Ok(array.into())
}

/// Random bytes for keys.
pub fn random_bytes(length: usize) -> Result<Vec<u8>, Throw> {
    let mut bytes = vec![0; length];
    secure_exec_kernel::fill_random(&mut bytes)
        .map_err(|_| Throw::error("ERR_OPERATION_FAILED", "Operation failed: no random bytes"))?;
    Ok(bytes)
}

/// The process's own memory budget must have room for `bytes`, which a job or an object is about to keep.
pub fn charge(
    scope: &mut v8::PinScope<'_, '_>,
    bytes: usize,
) -> Result<Option<crate::memory::NativeCharge>, Throw> {
    let budget = Env::of(scope).memory_account();
    budget
        .map(|budget| budget.charge_kept(scope, bytes))
        .transpose()
        .map_err(|_| Throw::Pending)
}
