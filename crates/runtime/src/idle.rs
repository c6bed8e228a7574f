//! What a process does once it has had nothing to do for a while: it gives memory back.
//!
//! V8 collects garbage when a program allocates, so one that waits keeps what it no longer uses: a server between two
//! requests, a context between two calls. One collection a rest, and only when there may be something to find.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::memory::MemoryBudget;

/// How long a process has to wait before this counts as a rest.
pub const REST: Duration = Duration::from_secs(1);
/// By how much the heap has to have grown since the last collection at rest: by so many bytes, and by this part of what
/// lived then. A collection takes the longer the more lives, and its time is the guest's.
const GROWTH_BYTES: usize = 256 << 10;
const GROWTH_PART: usize = 4;
/// The largest heap that is collected: a collection cannot be interrupted, and grows with what lives.
const MAX_HEAP_BYTES: usize = 64 << 20;

/// How a process rests.
#[derive(Default)]
pub struct Idle {
    /// Whether it has not done anything since its last rest.
    rested: Cell<bool>,
    /// What its heap held after the last collection at rest.
    used: Cell<usize>,
}

impl Idle {
    /// When a wait that begins now becomes a rest; `None` when nothing happened since the last one.
    pub fn rest_at(&self) -> Option<Instant> {
        (!self.rested.get()).then(|| Instant::now() + REST)
    }

    /// Notes that the process has something to do.
    pub fn wake(&self) {
        self.rested.set(false);
    }

    /// Gives memory back, if there may be some to give. No JavaScript is on the stack.
    pub fn rest(&self, isolate: &mut v8::Isolate, budget: Option<&MemoryBudget>) {
        self.rested.set(true);
        if let Some(budget) = budget {
            budget.kept_blocks().trim(0);
        }
        let used = isolate.get_heap_statistics().used_heap_size();
        let lived = self.used.get();
        let growth = GROWTH_BYTES.max(lived / GROWTH_PART);
        if used > MAX_HEAP_BYTES || used < lived.saturating_add(growth) {
            return;
        }
        isolate.low_memory_notification();
        if let Some(budget) = budget {
            budget.kept_blocks().trim(0);
        }
        crate::empty_pages::give_back();
        crate::native_heap::reclaim();
        self.used
            .set(isolate.get_heap_statistics().used_heap_size());
    }
}
