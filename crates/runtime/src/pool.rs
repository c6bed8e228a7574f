//! Warm isolates: restored from the snapshot and prepared before a job is known.
//!
//! They have also run a program of ours by then, see `warm_up.rs`, and do it once more while a VM is made.
//!
//! Only isolates of the default memory limit are kept, since V8 fixes the limit when it makes an isolate. Each one that
//! is taken is replaced in the background, when a job has ended or none is left. `SECURE_EXEC_POOL=0` turns the pool off
//! (benchmarks measure cold starts so).

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::Limits;
use crate::engine::{self, EngineError};
use crate::placement::Placement;
use crate::process::{IsolateSpec, Order, Work, thread_main};

/// Isolates kept warm. Each holds about 3 MB.
const DEFAULT_SIZE: usize = 2;

/// Between two orders to get ready: a host that makes many VMs at once must not keep an isolate busy with that.
const READY_FOR: Duration = Duration::from_millis(10);

/// An isolate that waits for work, its thread's place, and when it was told to get ready.
struct Warm {
    orders: Sender<Order>,
    placement: Arc<Placement>,
    told: Option<Instant>,
}

static WARM: Mutex<Vec<Warm>> = Mutex::new(Vec::new());

// The operator's switch, read once, before any guest.
static SIZE: LazyLock<usize> = LazyLock::new(|| {
    std::env::var("SECURE_EXEC_POOL")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_SIZE)
        .min(64)
});

fn start(spec: IsolateSpec) -> Result<Warm, EngineError> {
    let (sender, receiver) = channel();
    let placement = Arc::<Placement>::default();
    let own = placement.clone();
    engine::spawn(
        "secure-exec guest".to_owned(),
        crate::fatal::STACK_BYTES,
        move || {
            let _entered = own.enter();
            thread_main(spec, &own, &receiver);
        },
    )?;
    engine::later(engine::keep_shared_heap);
    Ok(Warm {
        orders: sender,
        placement,
        told: None,
    })
}

/// Fills the pool, without waiting for its isolates to be ready.
pub fn fill() {
    let spec = IsolateSpec {
        memory_bytes: Limits::default().memory_bytes,
        prepare_early: true,
        warm_up: true,
    };
    // Without a snapshot there is nothing to prepare: the build is making it.
    if engine::startup_snapshot().is_empty() {
        return;
    }
    loop {
        let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
        if warm.len() >= *SIZE {
            return;
        }
        match start(spec) {
            Ok(isolate) => warm.push(isolate),
            Err(error) => {
                tracing::warn!(%error, "the pool of warm isolates is not full");
                return;
            }
        }
    }
}

/// Tells the isolate that is next that a VM is being made: its first program usually follows.
pub fn get_ready() {
    let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(first) = warm.first_mut() else {
        return;
    };
    if first.told.is_none_or(|told| told.elapsed() > READY_FOR) {
        first.told = Some(Instant::now());
        // The caller goes on with making the VM meanwhile.
        first.placement.keep_away();
        // One that is gone is found out by the work itself.
        let _ = first.orders.send(Order::GetReady);
    }
}

/// Has the pool filled on the root thread, if something is missing.
pub fn refill() {
    let warm = WARM.lock().unwrap_or_else(PoisonError::into_inner).len();
    if warm < *SIZE {
        engine::later(fill);
    }
}

/// Whether a job may run on an isolate that was prepared without knowing it.
fn fits(work: &Work) -> bool {
    work.vm().options().limits.memory_bytes == Limits::default().memory_bytes && work.may_be_late()
}

/// Hands work to a warm isolate, or to a new one.
///
/// # Errors
/// [`EngineError`] when no thread can be started.
pub fn run(mut work: Work) -> Result<(), EngineError> {
    if *SIZE > 0 && fits(&work) {
        loop {
            let (first, is_last) = {
                let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
                if warm.is_empty() {
                    break;
                }
                (warm.remove(0), warm.is_empty())
            };
            first.placement.release();
            let Err(refused) = first.orders.send(Order::Run(Box::new(work))) else {
                // The job's first milliseconds are not shared with the making of isolates while one is left.
                if is_last {
                    engine::later(fill);
                }
                return Ok(());
            };
            let Order::Run(back) = refused.0 else {
                return Err(EngineError::RootGone);
            };
            work = *back;
        }
    }
    let prepare_early = fits(&work);
    let isolate = start(IsolateSpec {
        memory_bytes: work.vm().options().limits.memory_bytes,
        prepare_early,
        warm_up: false,
    })?;
    isolate
        .orders
        .send(Order::Run(Box::new(work)))
        .map_err(|_| EngineError::RootGone)?;
    refill();
    Ok(())
}
