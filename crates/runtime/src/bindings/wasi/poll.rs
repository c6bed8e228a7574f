//! `poll_oneoff`: waits for a time or for descriptors.
//!
//! The caller's thread sleeps on its inbox; a descriptor wakes it, and so does the watchdog when the process is to end.
//! With frozen clocks, time moves by what the program waited for when it waited in vain for the rest, and by nothing
//! otherwise: it learns what it asked for, not how long that took.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use secure_exec_kernel::{Interest, OpenFile};

use super::Call;
use super::errno::{Errno, Outcome};
use super::files::Record;
use super::memory::Memory;
use super::rights;

/// Subscriptions of one call.
const MAX_SUBSCRIPTIONS: u32 = 1 << 16;
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;
const CLOCK_REALTIME: u32 = 0;
const ABSOLUTE: u16 = 1;

/// What a program waits for.
enum Wanted {
    /// So much time.
    Time(Duration),
    /// This of a descriptor.
    Descriptor(u32, Interest),
}

struct Subscription {
    user: u64,
    kind: u8,
    wanted: Wanted,
}

/// A file's wakes that are under way, so that each is asked for once however often a program polls.
#[derive(Default)]
struct Armed(RefCell<HashMap<(usize, bool), Wake>>);

struct Wake {
    file: Weak<OpenFile>,
    fired: Arc<AtomicBool>,
}

fn number<const N: usize>(record: &[u8; SUBSCRIPTION_BYTES as usize], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(record.iter().skip(at)) {
        *to = *from;
    }
    bytes
}

fn read(call: &Call<'_>, memory: &Memory<'_>, at: u32) -> Result<Subscription, Errno> {
    const CLOCK: u8 = 0;
    const READ: u8 = 1;
    const WRITE: u8 = 2;
    let record = memory.bytes::<{ SUBSCRIPTION_BYTES as usize }>(at)?;
    let [kind] = number(&record, 8);
    let id = u32::from_le_bytes(number(&record, 16));
    let wanted = match kind {
        CLOCK => {
            let timeout = Duration::from_nanos(u64::from_le_bytes(number(&record, 24)));
            let flags = u16::from_le_bytes(number(&record, 40));
            let clock = call.env.clock();
            Wanted::Time(match (flags & ABSOLUTE != 0, id) {
                (false, _) => timeout,
                (true, CLOCK_REALTIME) => timeout.saturating_sub(clock.wall()),
                (true, _) => timeout.saturating_sub(clock.monotonic()),
            })
        }
        READ => Wanted::Descriptor(id, Interest::Readable),
        WRITE => Wanted::Descriptor(id, Interest::Writable),
        _ => return Err(Errno::EINVAL),
    };
    Ok(Subscription {
        user: u64::from_le_bytes(number(&record, 0)),
        kind,
        wanted,
    })
}

/// Has the caller woken once a descriptor is ready. Answers what tells that it is.
fn arm(call: &Call<'_>, fd: u32, interest: Interest) -> Outcome<Result<Arc<AtomicBool>, Errno>> {
    let right = match interest {
        Interest::Readable => rights::FD_READ,
        Interest::Writable => rights::FD_WRITE,
    };
    let descriptor = match call
        .wasi
        .table
        .with(fd, rights::POLL_FD_READWRITE | right, 0)
    {
        Ok(descriptor) => descriptor,
        Err(Errno::EBADF) => return Ok(Err(Errno::EBADF)),
        Err(errno) => return Err(errno.into()),
    };
    let Ok((own, file)) = descriptor.file(&call.process) else {
        return Ok(Err(Errno::EBADF));
    };
    let armed = call.env.extension::<Armed>();
    let key = (Arc::as_ptr(&file) as usize, interest == Interest::Readable);
    if let Some(wake) = armed.0.borrow().get(&key) {
        return Ok(Ok(wake.fired.clone()));
    }
    let fired = Arc::new(AtomicBool::new(false));
    let wake = Wake {
        file: Arc::downgrade(&file),
        fired: fired.clone(),
    };
    armed.0.borrow_mut().insert(key, wake);
    let (inbox, tell) = (call.env.shared().inbox.clone(), fired.clone());
    let wake = Box::new(move || {
        tell.store(true, Ordering::Release);
        inbox.wake();
    });
    if call
        .kernel
        .on_ready(&call.process, own, interest, wake)
        .is_err()
    {
        // Another thread has closed it.
        armed.0.borrow_mut().remove(&key);
        return Ok(Err(Errno::EBADF));
    }
    Ok(Ok(fired))
}

/// Forgets the wakes that came, and those of files that are gone.
fn forget_fired(call: &Call<'_>) {
    let armed = call.env.extension::<Armed>();
    armed
        .0
        .borrow_mut()
        .retain(|_, wake| !wake.fired.load(Ordering::Acquire) && wake.file.strong_count() > 0);
}

fn event(subscription: &Subscription, error: Errno) -> Record<{ EVENT_BYTES as usize }> {
    let mut record = Record::default();
    record.put(0, &subscription.user.to_le_bytes());
    record.put(8, &error.0.to_le_bytes());
    record.put(10, &[subscription.kind]);
    record
}

pub fn poll_oneoff(
    _: &mut v8::PinScope<'_, '_>,
    call: &Call<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
    told_at: u32,
) -> Outcome {
    let memory = call.memory();
    memory.check(
        subscriptions,
        u64::from(count) * u64::from(SUBSCRIPTION_BYTES),
    )?;
    memory.check(events, u64::from(count) * u64::from(EVENT_BYTES))?;
    memory.check(told_at, 4)?;
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > MAX_SUBSCRIPTIONS {
        return Err(Errno::ENOMEM.into());
    }
    let mut wanted = Vec::with_capacity(count as usize);
    for index in 0..count {
        let at = u64::from(index) * u64::from(SUBSCRIPTION_BYTES) + u64::from(subscriptions);
        let at = u32::try_from(at).map_err(|_| Errno::EOVERFLOW)?;
        wanted.push(read(call, &memory, at)?);
    }
    drop(memory);
    let happened = wait(call, &wanted);
    forget_fired(call);
    let happened = happened?;

    let memory = call.memory();
    let mut at = events;
    for (index, error) in &happened {
        let Some(subscription) = wanted.get(*index) else {
            continue;
        };
        memory.write(at, &event(subscription, *error).0)?;
        at = at.saturating_add(EVENT_BYTES);
    }
    let told = u32::try_from(happened.len()).unwrap_or(u32::MAX);
    Ok(memory.write_u32(told_at, told)?)
}

/// Waits. Answers which subscriptions came to something: all the descriptors that did, or if there is none the shortest
/// time.
fn wait(call: &Call<'_>, wanted: &[Subscription]) -> Outcome<Vec<(usize, Errno)>> {
    forget_fired(call);
    let mut flags = Vec::new();
    let mut shortest: Option<Duration> = None;
    let mut has_errors = false;
    for (index, subscription) in wanted.iter().enumerate() {
        match subscription.wanted {
            Wanted::Time(time) => {
                shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
            }
            Wanted::Descriptor(fd, interest) => {
                let armed = arm(call, fd, interest)?;
                has_errors |= armed.is_err();
                flags.push((index, armed));
            }
        }
    }
    // A time that no clock reaches never comes.
    let deadline = shortest.and_then(|time| Instant::now().checked_add(time));
    loop {
        let is_ready = flags.iter().any(|(_, armed)| {
            armed
                .as_ref()
                .is_ok_and(|fired| fired.load(Ordering::Acquire))
        });
        if has_errors || is_ready {
            break;
        }
        call.go_on()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let time = shortest.unwrap_or_default();
            call.env.pass_time(time);
            let is_due = |wanted: &Wanted| matches!(wanted, Wanted::Time(other) if *other <= time);
            return Ok(wanted
                .iter()
                .enumerate()
                .filter(|(_, subscription)| is_due(&subscription.wanted))
                .map(|(index, _)| (index, Errno::SUCCESS))
                .collect());
        }
        call.env.shared().inbox.wait_for_wake(deadline);
    }
    Ok(flags
        .into_iter()
        .filter_map(|(index, armed)| match armed {
            Err(errno) => Some((index, errno)),
            Ok(fired) => fired
                .load(Ordering::Acquire)
                .then_some((index, Errno::SUCCESS)),
        })
        .collect())
}
