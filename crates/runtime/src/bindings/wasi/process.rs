//! Arguments, environment, clocks, random bytes, and how a program ends.

use secure_exec_kernel::{Errno as KernelErrno, fill_random};

use super::errno::{Errno, Failure, Outcome};
use super::{Call, Strings};
use crate::latch::End;

type Scope<'a, 's, 'i> = &'a mut v8::PinScope<'s, 'i>;

const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
const CLOCK_PROCESS: u32 = 2;
const CLOCK_THREAD: u32 = 3;
/// Random bytes that are made at once.
const RANDOM_BYTES: usize = 64 << 10;
/// The most that libuv makes in one call.
const MAX_RANDOM_BYTES: u32 = i32::MAX as u32;

fn write_sizes(call: &Call<'_>, strings: &Strings, count_at: u32, bytes_at: u32) -> Outcome {
    let memory = call.memory();
    memory.check(count_at, 4)?;
    memory.check(bytes_at, 4)?;
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    memory.write_u32(count_at, number(strings.starts.len()))?;
    Ok(memory.write_u32(bytes_at, number(strings.bytes.len()))?)
}

/// Stores the texts one after the other, and where each begins.
fn write_strings(call: &Call<'_>, strings: &Strings, list: u32, texts: u32) -> Outcome {
    let memory = call.memory();
    memory.check(texts, strings.bytes.len() as u64)?;
    memory.check(list, strings.starts.len() as u64 * 4)?;
    let mut starts = Vec::with_capacity(strings.starts.len() * 4);
    for start in &strings.starts {
        starts.extend(texts.wrapping_add(*start).to_le_bytes());
    }
    memory.write(texts, &strings.bytes)?;
    Ok(memory.write(list, &starts)?)
}

pub fn args_get(_: Scope<'_, '_, '_>, call: &Call<'_>, list: u32, texts: u32) -> Outcome {
    write_strings(call, &call.wasi.args, list, texts)
}

pub fn args_sizes_get(_: Scope<'_, '_, '_>, call: &Call<'_>, count: u32, bytes: u32) -> Outcome {
    write_sizes(call, &call.wasi.args, count, bytes)
}

pub fn environ_get(_: Scope<'_, '_, '_>, call: &Call<'_>, list: u32, texts: u32) -> Outcome {
    write_strings(call, &call.wasi.environment, list, texts)
}

pub fn environ_sizes_get(_: Scope<'_, '_, '_>, call: &Call<'_>, count: u32, bytes: u32) -> Outcome {
    write_sizes(call, &call.wasi.environment, count, bytes)
}

pub fn clock_res_get(_: Scope<'_, '_, '_>, call: &Call<'_>, clock: u32, at: u32) -> Outcome {
    call.memory().check(at, 8)?;
    if clock > CLOCK_THREAD {
        return Err(Errno::EINVAL.into());
    }
    Ok(call.memory().write_u64(at, 1)?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds of a process's life"
)]
pub fn clock_time_get(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    clock: u32,
    _precision: u64,
    at: u32,
) -> Outcome {
    call.memory().check(at, 8)?;
    let time = match clock {
        CLOCK_REALTIME => call.env.clock().wall().as_nanos(),
        CLOCK_MONOTONIC => call.env.clock().monotonic().as_nanos(),
        CLOCK_PROCESS | CLOCK_THREAD => {
            let (user, system) = call.env.cpu_micros();
            ((user + system) as u128) * 1000
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let time = u64::try_from(time).unwrap_or(u64::MAX);
    Ok(call.memory().write_u64(at, time)?)
}

pub fn random_get(_: Scope<'_, '_, '_>, call: &Call<'_>, at: u32, length: u32) -> Outcome {
    call.memory().check(at, length.into())?;
    if length > MAX_RANDOM_BYTES {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = vec![0; RANDOM_BYTES.min(length as usize)];
    let mut done: u32 = 0;
    while done < length {
        call.go_on()?;
        let left = ((length - done) as usize).min(RANDOM_BYTES);
        let Some(part) = bytes.get_mut(..left) else {
            break;
        };
        fill_random(part)?;
        call.memory().write(at.saturating_add(done), part)?;
        done += u32::try_from(left).unwrap_or(u32::MAX);
    }
    Ok(())
}

pub fn proc_exit(scope: Scope<'_, '_, '_>, call: &Call<'_>, code: u32) -> Outcome {
    // As of any process, the lowest eight bits are told.
    let code = (code & 0xff) as i32;
    Err(Failure::Throw(call.env.end(scope, End::Exit(code))))
}

/// Linux's number of a signal of WASI.
fn signal(number: u8) -> Option<i32> {
    Some(match number {
        1..=15 => number.into(),
        16..=25 => i32::from(number) + 1,
        30 => 31,
        _ => return None,
    })
}

pub fn proc_raise(scope: Scope<'_, '_, '_>, call: &Call<'_>, number: u32) -> Outcome {
    let signal = signal(number as u8).ok_or(Errno::ENOSYS)?;
    let own = i32::try_from(call.process.pid()).map_err(|_| KernelErrno::ESRCH)?;
    let sent = call.kernel.kill(&call.process, own, signal);
    if call.env.is_ending() {
        return Err(Failure::Throw(call.env.end(scope, End::Signal(signal))));
    }
    Ok(sent?)
}

pub fn sched_yield(_: Scope<'_, '_, '_>, _: &Call<'_>) -> Outcome {
    std::thread::yield_now();
    Ok(())
}
