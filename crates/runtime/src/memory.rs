//! What one process may hold: V8's heap, its buffers, and what bindings hold for it; and what all processes may hold.
//!
//! ```text
//! MemoryBudget of a process: heap (told by the garbage collector) + external (array_buffer_allocator.rs,
//!                            wasm_memory.rs) + native (bindings) <= limit
//! all processes:             V8's cage of 4 GB, and the resident set of this OS process
//! ```
//!
//! V8 asks for more heap at its limit. It gets that once, so that its current builtin can come to the next check of
//! the termination request, and the process is condemned. Only one process at a time holds this headroom, because all
//! isolates share the cage.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::array_buffer_allocator::{KEPT_BYTES, KeptBlocks};
use crate::budget::{LimitError, NearLimit, OnWarning};
use crate::env::Shared;
use crate::fatal;
use crate::icu_memory::IcuBytes;
use crate::latch::End;

/// The cage that all heaps share.
const CAGE_BYTES: usize = 4 << 30;
/// With this much of the cage in use no new process is started.
const CAGE_ADMISSION_BYTES: usize = 2800 << 20;
/// With this much of the cage in use the largest process is condemned.
const CAGE_HIGH_BYTES: usize = 3400 << 20;
/// What a condemned process gets on top, to come to its end: more than the largest single object of V8.
const HEADROOM_BYTES: usize = 3 << 29;
/// The same for buffers.
const EXTERNAL_HEADROOM_BYTES: usize = 64 << 20;
/// How long an out-of-memory process waits for another one to give the headroom back.
const HEADROOM_WAIT: Duration = Duration::from_millis(300);
/// A heap that a fresh process has at least.
const PROCESS_FLOOR_BYTES: usize = 4 << 20;

/// What the memory limit is called for the embedder.
pub const OPTION: &str = "memoryLimit";

static CAGE_USED: AtomicUsize = AtomicUsize::new(0);
static LIVE: Mutex<Vec<Weak<MemoryBudget>>> = Mutex::new(Vec::new());
static HEADROOM: Headroom = Headroom {
    taken: Mutex::new(None),
    freed: Condvar::new(),
};

/// The right to the headroom: the id of the thread that has it.
struct Headroom {
    taken: Mutex<Option<std::thread::ThreadId>>,
    freed: Condvar,
}

/// What a process holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// V8's heap, as of the last garbage collection.
    pub heap: usize,
    /// Buffers and WebAssembly memories.
    pub external: usize,
    /// What bindings hold.
    pub native: usize,
}

impl Usage {
    /// All of it.
    pub fn total(&self) -> usize {
        self.heap
            .saturating_add(self.external)
            .saturating_add(self.native)
    }
}

/// The memory of one process: how much it may have and has. Lives longer than its isolate.
pub struct MemoryBudget {
    limit: usize,
    heap: AtomicUsize,
    cage: AtomicUsize,
    external: AtomicUsize,
    native: AtomicUsize,
    icu: Arc<IcuBytes>,
    /// What V8 was told of ICU's memory.
    icu_told: AtomicUsize,
    peak: AtomicUsize,
    kept_blocks: KeptBlocks,
    /// Whether the isolate is gone.
    left_behind: AtomicBool,
    /// Address space that growable buffers have reserved.
    pub(crate) reserved: AtomicUsize,
    /// What a buffer was refused last; 0 once one was granted again. V8's next complaint is about it, not its heap.
    refused: AtomicUsize,
    /// Buffers refused in a row.
    refusals: AtomicUsize,
    /// By how much a WebAssembly memory was to grow in place when that was refused: V8 now asks for a copy instead.
    growth: AtomicUsize,
    /// How often V8 has asked for more heap.
    asked: AtomicUsize,
    looks_over: AtomicUsize,
    /// Whether V8 is marking its heap in steps.
    marks: AtomicBool,
    /// Whether a look at the whole is due or under way.
    looks: AtomicBool,
    shared: OnceLock<Arc<Shared>>,
    near: OnceLock<NearLimit>,
    /// The threads of its process, when there is more than one.
    family: OnceLock<Family>,
}

/// The memory of the threads of one process: their sum has the limit of one.
type Family = Arc<Mutex<Vec<Weak<MemoryBudget>>>>;

/// Limits of a heap beside that of its process, in bytes; V8 chooses what is not given.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapLimits {
    /// Of the old generation.
    pub old: Option<usize>,
    /// Of the young generation.
    pub young: Option<usize>,
}

/// With less than this, a worker could not load its library.
const LEAST_OLD_BYTES: usize = 8 << 20;

impl std::fmt::Debug for MemoryBudget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MemoryBudget")
            .field("limit", &self.limit)
            .field("used", &self.used())
            .finish()
    }
}

/// ICU may hold this many times the memory limit, or this many times a small one.
const ICU_FACTOR: usize = 4;
const ICU_FLOOR_BYTES: usize = 128 << 20;
/// V8's zones may hold twice the memory limit, or twice this.
const ZONES_FLOOR_BYTES: usize = 128 << 20;

impl MemoryBudget {
    fn new(limit: usize) -> Arc<Self> {
        let budget = Arc::new(Self {
            limit,
            heap: AtomicUsize::new(0),
            cage: AtomicUsize::new(0),
            external: AtomicUsize::new(0),
            native: AtomicUsize::new(0),
            icu: Arc::default(),
            icu_told: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            kept_blocks: KeptBlocks::default(),
            left_behind: AtomicBool::new(false),
            reserved: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            growth: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            looks_over: AtomicUsize::new(0),
            marks: AtomicBool::new(false),
            looks: AtomicBool::new(false),
            shared: OnceLock::new(),
            near: OnceLock::new(),
            family: OnceLock::new(),
        });
        budget.set_heap(0, PROCESS_FLOOR_BYTES);
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|budget| budget.strong_count() > 0);
        live.push(Arc::downgrade(&budget));
        budget
    }

    /// What the process may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Tells `on_warning` when the limit is nearly reached.
    pub fn warn(&self, on_warning: OnWarning) {
        let near = NearLimit::new(OPTION, self.limit as u64, Some(on_warning));
        let _ = self.near.set(near);
    }

    /// Makes this the memory of a thread in the process of `relative`.
    pub(crate) fn join(self: &Arc<Self>, relative: &Arc<Self>) {
        let family = relative
            .family
            .get_or_init(|| Arc::new(Mutex::new(vec![Arc::downgrade(relative)])));
        let mut members = family.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(self));
        // A thread has one process.
        let _ = self.family.set(family.clone());
    }

    /// What `count` says of all threads of the process together.
    fn sum(&self, count: impl Fn(&Self) -> usize) -> usize {
        let _section = crate::critical::section();
        // Another thread that looks just now sees to it.
        let Some(members) = self.family.get().and_then(|family| family.try_lock().ok()) else {
            return count(self);
        };
        members
            .iter()
            .filter_map(Weak::upgrade)
            .map(|member| count(&member))
            .fold(0, usize::saturating_add)
    }

    /// What all threads of the process hold.
    fn total(&self) -> usize {
        self.sum(|member| member.used().total())
    }

    fn look(&self, total: usize) {
        if let Some(near) = self.near.get() {
            // Somebody of the embedder's may hear of it, under locks of their own.
            let _section = crate::critical::section();
            near.look(total as u64);
        }
    }

    /// The isolate is gone and its heap with it. Buffers that other threads have from it keep this alive.
    pub(crate) fn forget_heap(&self) {
        let _section = crate::critical::section();
        self.left_behind.store(true, Ordering::SeqCst);
        self.heap.store(0, Ordering::Relaxed);
        self.kept_blocks.trim(0);
    }

    /// Whether nobody will make another buffer of it.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.left_behind.load(Ordering::SeqCst)
    }

    /// What it holds.
    pub fn used(&self) -> Usage {
        Usage {
            heap: self.heap.load(Ordering::Relaxed),
            external: self.external.load(Ordering::Relaxed),
            native: self.native.load(Ordering::Relaxed),
        }
    }

    /// The most it has held.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed).max(self.used().total())
    }

    /// The freed blocks that the process keeps.
    pub(crate) fn kept_blocks(&self) -> &KeptBlocks {
        &self.kept_blocks
    }

    /// How much of what this thread freed it may keep: what all threads of the process keep, those that are gone included,
    /// has to fit beside what they hold.
    pub(crate) fn keepable(&self) -> usize {
        let _section = crate::critical::section();
        let (held, others) = match self.family.get() {
            None => (self.used().total(), 0),
            Some(family) => {
                // Without a look at all of them nothing is kept.
                let Ok(members) = family.try_lock() else {
                    return 0;
                };
                let (mut held, mut kept) = (0_usize, 0_usize);
                for member in members.iter().filter_map(Weak::upgrade) {
                    held = held.saturating_add(member.used().total());
                    kept = kept.saturating_add(member.kept_blocks.bytes());
                }
                (held, kept.saturating_sub(self.kept_blocks.bytes()))
            }
        };
        KEPT_BYTES
            .min(self.limit.saturating_sub(held))
            .saturating_sub(others)
    }

    /// What ICU holds for the process.
    pub(crate) fn icu(&self) -> &Arc<IcuBytes> {
        &self.icu
    }

    /// The process's shared state, once it has an isolate.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.get()
    }

    /// Tells V8 what ICU holds, so that it collects garbage in time. A process for which ICU holds far more than its limit
    /// even after a full collection ends: V8 frees much of what is dead only between two turns of the event loop.
    pub(crate) fn note_icu(&self, isolate: &mut v8::Isolate) {
        let held = self.icu.held();
        let told = self.icu_told.swap(held, Ordering::Relaxed);
        let change = i64::try_from(held).unwrap_or(i64::MAX) - i64::try_from(told).unwrap_or(0);
        isolate.adjust_amount_of_external_allocated_memory(change);
        let limit = self.limit.max(ICU_FLOOR_BYTES).saturating_mul(ICU_FACTOR);
        if held <= limit {
            return;
        }
        isolate.memory_pressure_notification(v8::MemoryPressureLevel::Critical);
        if self.icu.held() > limit {
            self.condemn("Intl");
        }
    }

    /// Takes `bytes` for a buffer; `false` when that would be over the limit.
    ///
    /// V8 collects garbage and asks again, twice. When that did not help the process is condemned, and granted what it
    /// asks for, so that it comes to its end fast instead of to V8's last-resort collections.
    pub(crate) fn charge_external(&self, bytes: usize) -> bool {
        const REQUESTS: usize = 3;
        self.external.fetch_add(bytes, Ordering::Relaxed);
        let total = self.total();
        if total <= self.limit {
            self.granted(total);
            return true;
        }
        let growth = self.growth.load(Ordering::Relaxed);
        // One request that alone is beyond the limit is an error that the guest can handle.
        let counts = bytes <= self.limit || growth > 0;
        if counts && self.refusals.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS {
            // After the collections there is room to grow; what is copied goes as soon as it is.
            if growth > 0 && (total - bytes).saturating_add(growth) <= self.limit {
                self.granted(total);
                return true;
            }
            self.condemn("external");
            if total <= self.limit.saturating_add(EXTERNAL_HEADROOM_BYTES) {
                return true;
            }
        }
        self.external.fetch_sub(bytes, Ordering::Relaxed);
        self.refused.store(bytes.max(1), Ordering::Relaxed);
        false
    }

    /// Takes `bytes` more for a buffer that grows where it is; `false` when that would be over the limit. V8 does not
    /// collect garbage for that, but asks for a copy of a WebAssembly memory next, for which it does.
    pub(crate) fn charge_growth(&self, bytes: usize) -> bool {
        self.external.fetch_add(bytes, Ordering::Relaxed);
        let total = self.total();
        if total <= self.limit {
            self.granted(total);
            return true;
        }
        self.external.fetch_sub(bytes, Ordering::Relaxed);
        if bytes <= self.limit {
            self.growth.store(bytes, Ordering::Relaxed);
        }
        false
    }

    /// Whether a WebAssembly memory was refused to grow where it is, and V8 now makes a larger one.
    pub(crate) fn awaits_copy(&self) -> bool {
        self.growth.load(Ordering::Relaxed) > 0
    }

    fn granted(&self, total: usize) {
        self.refused.store(0, Ordering::Relaxed);
        self.refusals.store(0, Ordering::Relaxed);
        self.growth.store(0, Ordering::Relaxed);
        self.peak
            .fetch_max(total.min(self.limit), Ordering::Relaxed);
        self.look(total);
    }

    /// Notes that address space was refused: V8's next complaint is about that, and no reason to end the process.
    pub(crate) fn refuse_reservation(&self) {
        self.refused.store(usize::MAX, Ordering::Relaxed);
    }

    /// Takes `bytes` for a buffer that cannot be refused.
    pub(crate) fn charge_external_always(&self, bytes: usize) {
        self.external.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what a buffer took.
    pub(crate) fn release_external(&self, bytes: usize) {
        self.external.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes` for something that a binding holds for the guest, until the answer is dropped.
    ///
    /// # Errors
    /// [`LimitError`] when that is over the limit: the process has an end by then and the caller should return.
    pub fn charge_native(self: &Arc<Self>, bytes: usize) -> Result<NativeCharge, LimitError> {
        self.try_charge_native(bytes)
            .inspect_err(|_| self.condemn("native"))
    }

    /// The same, but the process may go on without.
    fn try_charge_native(self: &Arc<Self>, bytes: usize) -> Result<NativeCharge, LimitError> {
        self.native.fetch_add(bytes, Ordering::Relaxed);
        let total = self.total();
        if total > self.limit {
            self.native.fetch_sub(bytes, Ordering::Relaxed);
            return Err(LimitError {
                limit: "memory",
                configured: self.limit as u64,
                used: total as u64,
                option: OPTION,
            });
        }
        Ok(NativeCharge {
            budget: self.clone(),
            bytes,
        })
    }

    /// As [`Self::charge_native`], for what objects of the guest keep: garbage is collected first when there is no room.
    ///
    /// # Errors
    /// [`LimitError`]; the process has been condemned.
    pub fn charge_kept(
        self: &Arc<Self>,
        isolate: &mut v8::Isolate,
        bytes: usize,
    ) -> Result<NativeCharge, LimitError> {
        if let Ok(charge) = self.try_charge_native(bytes) {
            return Ok(charge);
        }
        if bytes <= self.limit {
            isolate.low_memory_notification();
        }
        self.charge_native(bytes)
    }

    /// As [`Self::charge_native`], to be given back with [`Self::release_native`]. Answers whether it was granted.
    pub(crate) fn take_native(&self, bytes: usize) -> bool {
        self.native.fetch_add(bytes, Ordering::Relaxed);
        if self.total() <= self.limit {
            return true;
        }
        self.native.fetch_sub(bytes, Ordering::Relaxed);
        self.condemn("native");
        false
    }

    /// As [`Self::take_native`], but the process may go on without.
    pub(crate) fn offer_native(&self, bytes: usize) -> bool {
        self.native.fetch_add(bytes, Ordering::Relaxed);
        if self.total() <= self.limit {
            return true;
        }
        self.native.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Gives back what [`Self::take_native`] or [`Self::offer_native`] granted.
    pub(crate) fn release_native(&self, bytes: usize) {
        self.native.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes what the isolate's heap holds now, for [`Self::peak`]: a short program may end before its first collection.
    pub fn sample(&self, isolate: &mut v8::Isolate) {
        let statistics = isolate.get_heap_statistics();
        let used = statistics
            .used_heap_size()
            .saturating_add(statistics.malloced_memory());
        self.set_heap(used, statistics.total_heap_size());
        self.peak.fetch_max(self.used().total(), Ordering::Relaxed);
    }

    /// Ends a garbage collection that is under way. Must come before the isolate is dropped: V8 would end it while it
    /// disposes of the isolate, when rusty_v8 has freed what the weak handles of contexts still point to.
    pub(crate) fn finish_marking(&self, isolate: &mut v8::Isolate) {
        if self.marks.load(Ordering::Relaxed) {
            isolate.low_memory_notification();
        }
    }

    /// What ICU may hold before [`Self::note_icu`] comes to look: one call is not interrupted.
    pub(crate) fn most_in_one_icu_call(&self) -> usize {
        let limit = self.limit.max(ICU_FLOOR_BYTES).saturating_mul(ICU_FACTOR);
        limit.saturating_add(limit / 4)
    }

    /// What V8's parser, compilers and regular expressions may hold while they work.
    pub(crate) fn most_in_zones(&self) -> usize {
        self.limit.max(ZONES_FLOOR_BYTES).saturating_mul(2)
    }

    /// Ends the process because of its memory.
    pub(crate) fn condemn(&self, what: &'static str) {
        if let Some(shared) = self.shared.get() {
            crate::watchdog::kill(shared, End::Memory(what));
        }
    }

    /// Ends all threads of the process: one of V8's own could not go on with what it did for this one, which may have
    /// ended long ago and left it to the others (a WebAssembly module).
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    pub(crate) fn end_all(&self, end: &End) {
        if let Some(shared) = self.shared.get() {
            crate::watchdog::kill(shared, end.clone());
        }
        let Some(family) = self.family.get() else {
            return;
        };
        let members: Vec<_> = family
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for shared in members.iter().filter_map(|member| member.shared.get()) {
            crate::watchdog::kill(shared, end.clone());
        }
    }

    /// Whether everything together has been over the limit for several looks in a row. Each new buffer is checked
    /// against the heap, but the heap can also grow under old buffers.
    fn is_over(&self) -> bool {
        const LOOKS: usize = 3;
        if self.total() <= self.limit {
            self.looks_over.store(0, Ordering::Relaxed);
            return false;
        }
        // Objects that are dead already may hold most of it.
        self.ask_for_look();
        self.looks_over.fetch_add(1, Ordering::Relaxed) + 1 >= LOOKS
    }

    /// What the heap and the bindings hold, of all threads.
    fn heap_and_native(&self) -> usize {
        self.sum(|member| {
            let used = member.used();
            used.heap.saturating_add(used.native)
        })
    }

    /// Lets the isolate's thread collect all garbage and end the process if that does not help: what a binding holds for
    /// a dead object is given back after the collection only that found it dead, sometimes much later.
    fn ask_for_look(&self) {
        let Some(shared) = self.shared.get() else {
            return;
        };
        if self.looks.swap(true, Ordering::Relaxed) {
            return;
        }
        let _section = crate::critical::section();
        shared
            .isolate
            .request_interrupt(look_at_all, std::ptr::null_mut());
        // A process that waits hears of it in its loop.
        shared
            .inbox
            .send_unref(Box::new(|scope, _| look_at_thread(scope)));
    }

    fn set_heap(&self, used: usize, committed: usize) {
        self.heap.store(used, Ordering::Relaxed);
        let before = self.cage.swap(committed, Ordering::Relaxed);
        CAGE_USED.fetch_add(committed, Ordering::Relaxed);
        CAGE_USED.fetch_sub(before, Ordering::Relaxed);
        self.look(self.used().total());
    }
}

impl Drop for MemoryBudget {
    fn drop(&mut self) {
        CAGE_USED.fetch_sub(self.cage.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Memory that a binding holds for a guest; given back when dropped.
#[derive(Debug)]
pub struct NativeCharge {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Drop for NativeCharge {
    fn drop(&mut self) {
        self.budget.native.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether a process with this memory limit may be started now.
///
/// # Errors
/// [`LimitError`] when the heaps of all processes fill V8's cage, or when `max_parked` threads are parked.
pub fn admit(limit_bytes: usize, max_parked: usize) -> Result<(), LimitError> {
    let parked = fatal::parked_threads();
    if parked >= max_parked {
        return Err(LimitError {
            limit: "parked threads",
            configured: max_parked as u64,
            used: parked as u64,
            option: fatal::PARKED_OPTION,
        });
    }
    let used = CAGE_USED.load(Ordering::Relaxed);
    if used.saturating_add(PROCESS_FLOOR_BYTES.min(limit_bytes)) > CAGE_ADMISSION_BYTES {
        return Err(LimitError {
            limit: "heap of all runtimes",
            configured: CAGE_ADMISSION_BYTES as u64,
            used: used as u64,
            option: OPTION,
        });
    }
    Ok(())
}

/// Sets the limits of an isolate that is about to be made. The budget must be dropped after the isolate.
pub fn configure(
    params: v8::CreateParams,
    limit_bytes: usize,
    heap: HeapLimits,
) -> (v8::CreateParams, Arc<MemoryBudget>) {
    let limit = limit_bytes.clamp(16 << 20, CAGE_BYTES);
    let budget = MemoryBudget::new(limit);
    let mut params = params.heap_limits(0, limit).allow_atomics_wait(false);
    if let Some(old) = heap.old {
        params = params.set_max_old_generation_size_in_bytes(old.clamp(LEAST_OLD_BYTES, limit));
    }
    if let Some(young) = heap.young {
        params = params.set_max_young_generation_size_in_bytes(young.min(limit));
    }
    #[cfg(not(windows))]
    let params = params.array_buffer_allocator(crate::array_buffer_allocator::counting(&budget));
    crate::wasm_memory::set_thread_budget(Some(budget.clone()));
    (params, budget)
}

/// Makes the isolate keep to its budget. Called once, before any guest code.
pub fn install(isolate: &mut v8::Isolate, budget: &Arc<MemoryBudget>, shared: &Arc<Shared>) {
    let _ = budget.shared.set(shared.clone());
    let data = Arc::as_ptr(budget).cast_mut().cast::<c_void>();
    isolate.add_near_heap_limit_callback(near_heap_limit, data);
    isolate.set_oom_error_handler(fatal::on_out_of_memory);
    isolate.add_gc_prologue_callback(before_marking, data, v8::GCType::kGCTypeIncrementalMarking);
    isolate.add_gc_epilogue_callback(after_gc, data, v8::GCType::kGCTypeAll);
    isolate.set_allow_atomics_wait(false);
    fatal::attach_isolate(isolate);
}

/// V8 is at its heap limit: condemns the process and lends it headroom, once.
///
/// # Safety
/// Called by V8 with the pointer given in [`install`], which outlives the isolate.
unsafe extern "C" fn near_heap_limit(data: *mut c_void, current: usize, _initial: usize) -> usize {
    // SAFETY: see above.
    let budget = unsafe { &*data.cast::<MemoryBudget>() };
    match budget.refused.swap(0, Ordering::Relaxed) {
        0 => {}
        // V8 asks because a buffer was refused; more heap would not help.
        bytes => {
            if bytes <= budget.limit {
                budget.condemn("external");
            }
            return current;
        }
    }
    budget.condemn("heap");
    let wanted = match budget.asked.fetch_add(1, Ordering::Relaxed) {
        0 if take_headroom() => current.saturating_add(HEADROOM_BYTES),
        1 if has_headroom() => CAGE_BYTES,
        _ => current,
    };
    wanted.min(CAGE_BYTES)
}

/// V8 begins to mark its heap in steps.
///
/// # Safety
/// Called by V8 with the pointer given in [`install`], which outlives the isolate.
unsafe extern "C" fn before_marking(
    _isolate: v8::UnsafeRawIsolatePtr,
    _kind: v8::GCType,
    _flags: v8::GCCallbackFlags,
    data: *mut c_void,
) {
    // SAFETY: see above.
    let budget = unsafe { &*data.cast::<MemoryBudget>() };
    budget.marks.store(true, Ordering::Relaxed);
}

/// Notes what the heap holds; condemns the process when that is too much together with what bindings hold. Buffers do
/// not count here: those that this collection found dead are freed later. See [`MemoryBudget::is_over`].
///
/// # Safety
/// Called by V8 with the pointer given in [`install`], which outlives the isolate.
unsafe extern "C" fn after_gc(
    isolate: v8::UnsafeRawIsolatePtr,
    kind: v8::GCType,
    _flags: v8::GCCallbackFlags,
    data: *mut c_void,
) {
    // SAFETY: see above.
    let budget = unsafe { &*data.cast::<MemoryBudget>() };
    // SAFETY: V8 passes the isolate that has just been collected; only its statistics are read.
    let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr_unchecked(isolate) };
    let statistics = isolate.get_heap_statistics();
    budget.set_heap(
        statistics
            .used_heap_size()
            .saturating_add(statistics.malloced_memory()),
        statistics.total_heap_size(),
    );
    if kind == v8::GCType::kGCTypeMarkSweepCompact {
        budget.marks.store(false, Ordering::Relaxed);
    }
    budget.kept_blocks.collected();
    budget.kept_blocks.trim(budget.keepable());
    let used = budget.used();
    budget
        .peak
        .fetch_max(used.total().min(budget.limit), Ordering::Relaxed);
    if kind == v8::GCType::kGCTypeMarkSweepCompact {
        if budget.sum(|member| member.used().heap) > budget.limit {
            budget.condemn("heap");
        } else if budget.heap_and_native() > budget.limit {
            budget.ask_for_look();
        }
    }
    if CAGE_USED.load(Ordering::Relaxed) > CAGE_HIGH_BYTES {
        condemn_largest("heap of all runtimes");
    }
}

/// Runs where V8 may collect garbage.
unsafe extern "C" fn look_at_all(isolate: v8::UnsafeRawIsolatePtr, _data: *mut c_void) {
    // SAFETY: V8 calls this with the isolate that was interrupted, on its thread.
    let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    look_at_thread(&mut isolate);
}

/// See [`MemoryBudget::ask_for_look`]; the second of its two requests finds nothing to do.
fn look_at_thread(isolate: &mut v8::Isolate) {
    let Some(budget) = crate::wasm_memory::thread_budget() else {
        return;
    };
    if !budget.looks.load(Ordering::Relaxed) {
        return;
    }
    // Cleared at the end: the collection here must not ask again.
    if budget.heap_and_native() > budget.limit || budget.total() > budget.limit {
        isolate.low_memory_notification();
    }
    if budget.heap_and_native() > budget.limit {
        budget.condemn("native");
    }
    budget.looks.store(false, Ordering::Relaxed);
}

/// Condemns the process that holds most.
pub(crate) fn condemn_largest(what: &'static str) {
    let _section = crate::critical::section();
    let Ok(live) = LIVE.try_lock() else { return };
    let largest = live
        .iter()
        .filter_map(Weak::upgrade)
        .filter(|budget| {
            budget
                .shared
                .get()
                .is_some_and(|shared| !shared.latch.is_set())
        })
        .max_by_key(|budget| {
            budget.cage.load(Ordering::Relaxed) + budget.used().external + budget.used().native
        });
    drop(live);
    if let Some(budget) = largest {
        budget.condemn(what);
    }
}

fn take_headroom() -> bool {
    let _section = crate::critical::section();
    let deadline = Instant::now() + HEADROOM_WAIT;
    let me = std::thread::current().id();
    let mut taken = HEADROOM
        .taken
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    while taken.is_some_and(|owner| owner != me) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        taken = HEADROOM
            .freed
            .wait_timeout(taken, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    *taken = Some(me);
    true
}

fn has_headroom() -> bool {
    let _section = crate::critical::section();
    let taken = HEADROOM
        .taken
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *taken == Some(std::thread::current().id())
}

/// Gives the headroom back when this thread has it: its isolate is gone, or the thread is about to park.
pub(crate) fn release_headroom() {
    release_headroom_of(std::thread::current().id());
}

/// The same for a thread that was parked where it stood.
pub(crate) fn release_headroom_of(thread: std::thread::ThreadId) {
    let _section = crate::critical::section();
    let mut taken = HEADROOM
        .taken
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if *taken == Some(thread) {
        *taken = None;
        HEADROOM.freed.notify_one();
    }
}

/// Looks at every process and at this OS process as a whole. Called once a second; allocates nothing while all keep to their
/// limits.
pub(crate) fn check() {
    if let Ok(live) = LIVE.try_lock() {
        for budget in live.iter().filter_map(Weak::upgrade) {
            if budget.is_over() {
                budget.condemn("heap and external");
            }
        }
    }
    let Some(resident) = resident_bytes() else {
        return;
    };
    if resident > resident_limit() {
        tracing::error!(
            resident,
            "this OS process holds too much memory; its largest guest ends"
        );
        condemn_largest("memory of all runtimes");
    }
}

/// Sets the resident set at which guests are ended, in bytes.
pub fn set_resident_limit(bytes: usize) {
    RESIDENT_LIMIT.store(bytes, Ordering::Relaxed);
}

/// Set by the embedder, or 0 for the default.
static RESIDENT_LIMIT: AtomicUsize = AtomicUsize::new(0);

/// The embedder's limit; else 80 % of what the machine or the control group has.
fn resident_limit() -> usize {
    static DEFAULT: OnceLock<usize> = OnceLock::new();
    match RESIDENT_LIMIT.load(Ordering::Relaxed) {
        0 => *DEFAULT.get_or_init(|| available_bytes() / 5 * 4),
        limit => limit,
    }
}

fn available_bytes() -> usize {
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.split_whitespace()
                .next()?
                .parse::<usize>()
                .ok()
                .map(|kilobytes| kilobytes << 10)
        });
    match (group, machine) {
        (Some(group), Some(machine)) => machine.min(group),
        (group, machine) => group.or(machine).unwrap_or(usize::MAX),
    }
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<usize> {
    let mut text = [0_u8; 128];
    // SAFETY: opens, reads into a buffer of the given length and closes; the path is a C string.
    let length = unsafe {
        let file = libc::open(
            c"/proc/self/statm".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        );
        if file < 0 {
            return None;
        }
        let length = libc::read(file, text.as_mut_ptr().cast(), text.len());
        libc::close(file);
        usize::try_from(length).ok()?
    };
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: has no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    pages.checked_mul(page)
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::MemoryBudget;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_threads_keep_is_bounded_together() {
        let first = MemoryBudget::new(64 * MIB);
        let second = MemoryBudget::new(64 * MIB);
        assert_eq!(first.keepable(), 64 * MIB);
        second.join(&first);
        second.kept_blocks().pretend(10 * MIB);
        assert_eq!(first.keepable(), 54 * MIB);
        assert_eq!(second.keepable(), 64 * MIB);
        assert!(first.charge_external(52 * MIB));
        assert_eq!(first.keepable(), 2 * MIB);
        assert_eq!(second.keepable(), 12 * MIB);
    }
}
