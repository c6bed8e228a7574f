//! What happens when V8 or an uninterruptible builtin leaves no way back: the thread is parked for ever.
//!
//! V8 ends the OS process when an allocation fails for good or an internal size overflows, and some of its builtins
//! loop without ever looking at a termination request (reference/security.md F1, F2). Both would take the host along.
//! So the guest's thread stops here instead: it reports how its process ended and sleeps until the host exits. Its
//! memory stays; such threads are counted, and new work is refused when there are too many.
//!
//! ```text
//! V8's fatal paths --(handlers, wrapped printers)--> V8Failure --> report, sleep
//! watchdog --signal--> handler: condemned? no lock held? in V8 code called from JavaScript, or in SQLite's? --> sleep
//! ```

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::env::Shared;
use crate::latch::End;

/// Stack of a guest's thread: V8 uses up to `--stack-size`, the rest is for its parser, its regular expressions and us.
pub const STACK_BYTES: usize = 8 << 20;
/// With this many parked threads no new process is started, unless the embedder says otherwise.
///
/// A parked thread costs its stack and what its isolate held; the heaps of all are bounded by V8's cage beside.
pub const MAX_PARKED: u32 = 32;
/// What the embedder calls it.
pub const PARKED_OPTION: &str = "resourceBudgets.maxParkedThreads";
/// Size of the stack on which a guest thread handles signals.
const SIGNAL_STACK_BYTES: usize = 64 << 10;

/// Threads that will never run again.
static PARKED: AtomicUsize = AtomicUsize::new(0);
/// The signal that parks; 0 when there is none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// Where V8's own builtins lie, once known: start and length.
static EMBEDDED_CODE: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));

/// The isolates of guests.
static ISOLATES: Mutex<Vec<(usize, Weak<ThreadState>)>> = Mutex::new(Vec::new());

thread_local! {
    /// The guest thread that this is; null elsewhere.
    static CURRENT: Cell<*const ThreadState> = const { Cell::new(ptr::null()) };
    /// Whose work a thread without an isolate does.
    static WORKS_FOR: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Does `work` for a guest on a thread without an isolate: memory that cannot be had ends that guest and parks the
/// thread, instead of the OS process.
pub(crate) fn work_for<T>(guest: &Arc<Shared>, work: impl FnOnce() -> T) -> T {
    /// Also when the work panics: the thread's next work is another guest's.
    struct Until(Option<Arc<Shared>>);
    impl Drop for Until {
        fn drop(&mut self) {
            WORKS_FOR.set(self.0.take());
        }
    }
    let _until = Until(WORKS_FOR.replace(Some(guest.clone())));
    work()
}

/// Memory is out on this thread, which does work for a guest; returns when it does not.
fn park_if_it_works() {
    let guest = WORKS_FOR.try_with(|guest| guest.try_borrow_mut().ok()?.take());
    let Ok(Some(guest)) = guest else { return };
    PARKED.fetch_add(1, Ordering::Relaxed);
    tracing::error!("memory is out in work for a guest; its thread is parked");
    crate::watchdog::kill(&guest, End::Memory("native"));
    sleep_for_ever();
}

/// Called when a thread will never come back, with how its process ended.
pub type OnParked = Box<dyn FnOnce(End) + Send>;

/// What the watchdog and the signal handler know of a guest thread.
pub struct ThreadState {
    thread: usize,
    id: std::thread::ThreadId,
    shared: OnceLock<Arc<Shared>>,
    isolate: AtomicPtr<c_void>,
    budget: OnceLock<Weak<crate::memory::MemoryBudget>>,
    code: (AtomicUsize, AtomicUsize),
    on_parked: Mutex<Option<OnParked>>,
    parked: AtomicBool,
    /// Signals sent so far.
    attempts: AtomicUsize,
}

impl ThreadState {
    /// Whether the thread sleeps for ever.
    pub fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire)
    }

    /// The thread that this is.
    pub(crate) fn id(&self) -> std::thread::ThreadId {
        self.id
    }

    /// Reports that the thread will not come back; only the first call does anything.
    pub(crate) fn report(&self, end: End) {
        let report = self
            .on_parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(report) = report {
            let end = self
                .shared
                .get()
                .and_then(|shared| shared.latch.get().cloned())
                .unwrap_or(end);
            report(end);
        }
    }

    /// Asks the thread to park, by a signal. It does so only where it holds nothing that others need.
    ///
    /// The thread must still exist: the caller keeps its registration locked.
    pub(crate) fn signal(&self) {
        let signal = SIGNAL.load(Ordering::Relaxed);
        if signal != 0 && !self.is_parked() {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the thread is registered with the watchdog, which it leaves before it ends.
            #[cfg(target_os = "linux")]
            unsafe {
                libc::pthread_kill(self.thread as libc::pthread_t, signal);
            }
        }
    }

    /// CPU time that the thread has used; `None` when the system cannot tell.
    #[cfg(unix)]
    pub(crate) fn cpu_time(&self) -> Option<std::time::Duration> {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: the thread is registered with the watchdog, which it leaves before it ends.
            unsafe { cpu_time_of(self.thread as libc::pthread_t) }
        }
        #[cfg(target_os = "macos")]
        {
            // SAFETY: asks the kernel for the times of a live thread; the structure is plain data on this stack.
            unsafe {
                let port = libc::pthread_mach_thread_np(self.thread as libc::pthread_t);
                let mut info: libc::thread_basic_info = std::mem::zeroed();
                let mut count = libc::THREAD_BASIC_INFO_COUNT;
                let flavor = libc::THREAD_BASIC_INFO as libc::thread_flavor_t;
                if libc::thread_info(port, flavor, (&raw mut info).cast(), &mut count)
                    != libc::KERN_SUCCESS
                {
                    return None;
                }
                let micros = |time: libc::time_value_t| {
                    time.seconds as u64 * 1_000_000 + time.microseconds as u64
                };
                Some(std::time::Duration::from_micros(
                    micros(info.user_time) + micros(info.system_time),
                ))
            }
        }
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        None
    }

    /// CPU time that the thread has used; `None` when the system cannot tell.
    #[cfg(not(unix))]
    pub(crate) fn cpu_time(&self) -> Option<std::time::Duration> {
        None
    }
}

/// CPU time that a thread has used; `None` when the system cannot tell.
///
/// # Safety
/// The thread must not have ended.
#[cfg(target_os = "linux")]
pub(crate) unsafe fn cpu_time_of(thread: libc::pthread_t) -> Option<std::time::Duration> {
    let mut clock = 0;
    // SAFETY: the caller's promise; the result goes into a local.
    if unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes into `time`, which lives on this stack.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(std::time::Duration::new(
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    ))
}

/// Marks its thread as one that runs a guest, from before the isolate is made until after it is gone.
pub struct GuestThread {
    state: Arc<ThreadState>,
    #[cfg(target_os = "linux")]
    signal_stack: Option<SignalStack>,
    not_send: PhantomData<*const ()>,
}

/// Declares that this thread runs a guest. `on_parked` is called at most once, on any thread, when this one will never
/// come back; it must not touch the isolate.
pub fn enter_guest_thread(on_parked: OnParked) -> GuestThread {
    let state = Arc::new(ThreadState {
        #[cfg(unix)]
        // SAFETY: has no preconditions.
        thread: unsafe { libc::pthread_self() } as usize,
        #[cfg(not(unix))]
        thread: 0,
        id: std::thread::current().id(),
        shared: OnceLock::new(),
        isolate: AtomicPtr::new(ptr::null_mut()),
        budget: OnceLock::new(),
        code: (AtomicUsize::new(0), AtomicUsize::new(0)),
        on_parked: Mutex::new(Some(on_parked)),
        parked: AtomicBool::new(false),
        attempts: AtomicUsize::new(0),
    });
    CURRENT.set(Arc::as_ptr(&state));
    // Makes the thread-local storage that the signal handler reads exist.
    let _ = crate::critical::is_inside();
    GuestThread {
        state,
        #[cfg(target_os = "linux")]
        signal_stack: SignalStack::install(),
        not_send: PhantomData,
    }
}

impl GuestThread {
    /// Says whose guest runs here. From now on fatal errors set its latch.
    pub fn attach(&self, shared: &Arc<Shared>) {
        let _ = self.state.shared.set(shared.clone());
    }

    pub(crate) fn state(&self) -> &Arc<ThreadState> {
        &self.state
    }
}

impl Drop for GuestThread {
    fn drop(&mut self) {
        debug_assert!(
            !crate::critical::is_inside(),
            "a lock was taken here and given back elsewhere"
        );
        CURRENT.set(ptr::null());
        let isolate = self.state.isolate.load(Ordering::Acquire) as usize;
        ISOLATES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(known, _)| *known != isolate);
        crate::memory::release_headroom();
        crate::wasm_memory::set_thread_budget(None);
        #[cfg(target_os = "linux")]
        self.signal_stack.take();
    }
}

/// How many threads sleep for ever.
pub fn parked_threads() -> usize {
    PARKED.load(Ordering::Relaxed)
}

/// Whether the calling thread runs a guest.
pub fn is_guest_thread() -> bool {
    !CURRENT.get().is_null()
}

/// What V8's zones hold for the isolate of this thread.
pub(crate) fn zone_bytes() -> Option<usize> {
    // SAFETY: see `park_with`.
    let state = unsafe { CURRENT.get().as_ref() }?;
    let isolate = state.isolate.load(Ordering::Acquire);
    if isolate.is_null() {
        return None;
    }
    // SAFETY: a live isolate on its own thread, whose address `attach_isolate` took out of the same type; only counters
    // are read.
    let statistics = unsafe {
        let isolate = std::mem::transmute::<*mut c_void, v8::UnsafeRawIsolatePtr>(isolate);
        v8::Isolate::from_raw_isolate_ptr_unchecked(isolate).get_heap_statistics()
    };
    Some(statistics.malloced_memory())
}

/// Says which isolate runs on this thread, so that a signal can find out what it is doing.
pub(crate) fn attach_isolate(isolate: &v8::Isolate) {
    // SAFETY: see `park_with`.
    let Some(state) = (unsafe { CURRENT.get().as_ref() }) else {
        return;
    };
    // SAFETY: only the address is taken.
    let isolate = unsafe { isolate.as_raw_isolate_ptr() };
    // SAFETY: the type is a transparent wrapper around the pointer.
    let isolate: *mut c_void = unsafe { std::mem::transmute(isolate) };
    state.isolate.store(isolate, Ordering::Release);
    if let Some(budget) = crate::wasm_memory::thread_budget() {
        let _ = state.budget.set(Arc::downgrade(&budget));
    }
    // SAFETY: `CURRENT` points into an `Arc` that its `GuestThread` holds; the count is raised for the clone.
    let state_handle = unsafe {
        Arc::increment_strong_count(ptr::from_ref(state));
        Arc::from_raw(ptr::from_ref(state))
    };
    let mut isolates = ISOLATES.lock().unwrap_or_else(PoisonError::into_inner);
    isolates.push((isolate as usize, Arc::downgrade(&state_handle)));
    drop(isolates);
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    handler::learn_code(state, isolate);
}

/// Installs everything here. Called once, when V8 is initialised.
pub(crate) fn install() {
    v8::V8::set_fatal_error_handler(on_v8_fatal);
    // SAFETY: V8 keeps the pointer and calls it with no arguments; the function lives for ever.
    #[cfg(not(windows))]
    unsafe {
        set_print_stack_trace(Some(on_stack_trace));
    }
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    handler::install();
    // Without the wrapped lock functions nobody knows what C++ code holds.
    #[cfg(target_os = "linux")]
    if crate::link_wrap::is_linked() {
        crate::stack_overflow::install();
    }
}

#[cfg(not(windows))]
unsafe extern "C" {
    /// `v8::base::SetPrintStackTrace`: replaces what V8 does last before it aborts.
    #[link_name = "_ZN2v84base18SetPrintStackTraceEPFvvE"]
    fn set_print_stack_trace(function: Option<extern "C" fn()>);
}

/// `FATAL` and `CHECK` of V8: called before anything is printed.
fn on_v8_fatal(_file: &str, _line: i32, message: &str) {
    // V8's texts for sizes that no heap can hold ("Fatal JavaScript invalid size error 169220804").
    let end = if message.contains("invalid")
        && (message.contains("size") || message.contains("length"))
    {
        End::Memory("size")
    } else if message.contains("out of memory") || message.contains("OOM") {
        End::Memory("heap")
    } else {
        // A failed check may hold a lock that other isolates wait for. Then there is no safe way on.
        if crate::critical::is_inside() {
            return;
        }
        End::Crash(message.to_owned())
    };
    park_with(end.clone());
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    park_thread_of_v8(end);
}

/// What V8 calls last before it aborts.
#[cfg(not(windows))]
extern "C" fn on_stack_trace() {
    if crate::critical::is_inside() {
        return;
    }
    let end = End::Crash("fatal error in V8".to_owned());
    park_with(end.clone());
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    park_thread_of_v8(end);
}

/// V8's handler for an isolate that is out of memory; it must not return.
pub(crate) unsafe extern "C" fn on_out_of_memory(
    _location: *const c_char,
    _details: &v8::OomDetails,
) {
    park_with(End::Memory("heap"));
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod printers {
    use super::{End, c_char, c_int, c_void, park_if_it_works, park_with, park_worker_of};
    use crate::link_wrap::wrap;

    wrap!(
        "_ZN2v84base21FatalNoSecurityImpactEPKcz" => fatal_no_security_impact,
        fn real_fatal_no_security_impact(format: *const c_char)
    );
    wrap!(
        "_ZN2v84base8FatalOOMENS0_7OOMTypeEPKc" => fatal_oom,
        fn real_fatal_oom(kind: c_int, message: *const c_char)
    );

    wrap!(
        "_ZN15partition_alloc8internal10OnNoMemoryEm" => allocator_failed,
        fn real_allocator_failed(size: usize)
    );

    wrap!(
        "_ZN2v88internal2V823FatalProcessOutOfMemoryEPNS0_7IsolateEPKcRKNS_10OOMDetailsE" => out_of_memory,
        fn real_out_of_memory(isolate: *mut c_void, location: *const c_char, details: *const c_void)
    );

    /// V8's end for an allocation that failed for good. The original prints what the collector did, then calls the
    /// isolate's handler.
    unsafe extern "C" fn out_of_memory(
        isolate: *mut c_void,
        location: *const c_char,
        details: *const c_void,
    ) {
        park_with(End::Memory("heap"));
        park_worker_of(isolate);
        #[cfg(target_arch = "x86_64")]
        super::end_thread_of_v8(End::Memory("native"));
        // SAFETY: V8's own call, passed on.
        unsafe { real_out_of_memory(isolate, location, details) };
    }

    /// V8's end for sizes that overflow. The original prints and aborts; its further arguments are not needed.
    unsafe extern "C" fn fatal_no_security_impact(format: *const c_char) {
        park_with(End::Memory("size"));
        #[cfg(target_arch = "x86_64")]
        super::end_thread_of_v8(End::Memory("size"));
        let _ = format;
        // SAFETY: the original takes a format and its arguments; this format names none.
        unsafe { real_fatal_no_security_impact(c"a size that no heap can hold".as_ptr()) };
    }

    /// The end of the allocator that V8 brings, which Rust and all C libraries here use too: for a block that the system
    /// has no memory for, and for every block of 2 GiB. It holds none of its locks here.
    unsafe extern "C" fn allocator_failed(size: usize) {
        park_with(End::Memory("native"));
        park_if_it_works();
        #[cfg(target_arch = "x86_64")]
        super::end_thread_of_v8(End::Memory("native"));
        // SAFETY: the allocator's own call, passed on.
        unsafe { real_allocator_failed(size) };
    }

    /// V8's end for memory that is out in the whole OS process, or in an isolate without a handler.
    unsafe extern "C" fn fatal_oom(kind: c_int, message: *const c_char) {
        park_with(End::Memory("heap"));
        #[cfg(target_arch = "x86_64")]
        super::end_thread_of_v8(End::Memory("native"));
        // SAFETY: V8's own call, passed on.
        unsafe { real_fatal_oom(kind, message) };
    }
}

/// The native stack of this thread is as good as used up: ends the guest that it works for and gives the thread up.
/// Returns when there is none, or when the thread holds a lock.
pub(crate) fn out_of_stack() {
    if crate::critical::is_inside() {
        return;
    }
    park_with(End::Memory("native"));
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        park_worker_of(heap_of_thread());
        park_thread_of_v8(End::Memory("native"));
    }
}

/// V8's `Heap`, a part of its isolate, of the isolate that this thread runs or works for; null when there is none.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn heap_of_thread() -> *mut c_void {
    unsafe extern "C" {
        /// `v8::internal::LocalHeap::TryGetCurrent`.
        #[link_name = "_ZN2v88internal9LocalHeap13TryGetCurrentEv"]
        fn try_get_current() -> *const *mut c_void;
    }
    // SAFETY: reads a variable of this thread.
    let local_heap = unsafe { try_get_current() };
    // SAFETY: null or this thread's `LocalHeap`, whose first member is the address of the isolate's heap, a part of it.
    unsafe { local_heap.as_ref() }
        .copied()
        .unwrap_or(ptr::null_mut())
}

/// The guest thread whose isolate is at or shortly before this address.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn guest_thread_at(within: *mut c_void) -> Option<Arc<ThreadState>> {
    /// More than an isolate takes.
    const ISOLATE_BYTES: usize = 256 << 10;

    let _section = crate::critical::section();
    ISOLATES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .filter(|(start, _)| {
            (within as usize)
                .checked_sub(*start)
                .is_some_and(|offset| offset < ISOLATE_BYTES)
        })
        .max_by_key(|(start, _)| *start)
        .and_then(|(_, state)| state.upgrade())
}

/// The memory of the guest for whose isolate this thread of V8's works.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn budget_of_local_heap() -> Option<Arc<crate::memory::MemoryBudget>> {
    guest_thread_at(heap_of_thread())?.budget.get()?.upgrade()
}

/// A thread of V8's own ran out of memory while it worked for the isolate at or shortly before this address: ends that
/// guest and gives the thread up. Returns when the isolate is not a guest's.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn park_worker_of(within: *mut c_void) {
    let state = guest_thread_at(within);
    if let Some(shared) = state.as_ref().and_then(|state| state.shared.get()) {
        give_thread_up(&End::Memory("heap"), |end| {
            crate::watchdog::kill(shared, end.clone());
        });
    }
}

/// A thread of V8's own is not to go on with what it does for a guest: ends that guest and gives the thread up. Returns
/// when it does nothing for a guest, or holds a lock.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn park_thread_of_v8(end: End) {
    if !crate::critical::is_inside() {
        end_thread_of_v8(end);
    }
}

/// The same where the host would end else: with a lock of V8's held, some of its other threads may wait for ever.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn end_thread_of_v8(end: End) {
    if is_guest_thread() {
        return;
    }
    if let Some(budget) = crate::v8_jobs::budget() {
        give_thread_up(&end, |end| budget.end_all(end));
    }
}

/// Ends a guest and parks this thread of V8's, which worked for it.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn give_thread_up(end: &End, end_guest: impl FnOnce(&End)) -> ! {
    {
        let _section = crate::critical::section();
        tracing::error!(?end, "a thread of V8's own cannot go on; it is parked");
        PARKED.fetch_add(1, Ordering::Relaxed);
        end_guest(end);
        #[cfg(target_arch = "x86_64")]
        {
            crate::v8_jobs::note_parked();
            crate::v8_workers::succeed();
        }
    }
    sleep_for_ever();
}

/// The signal that parks; 0 when there is none.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn parking_signal() -> c_int {
    SIGNAL.load(Ordering::Relaxed)
}

/// Ends the guest of this thread, which must hold no lock, because of memory that it may not have; returns elsewhere.
pub(crate) fn out_of_memory(what: &'static str) {
    park_with(End::Memory(what));
}

/// Reports `end` and sleeps for ever when the calling thread runs a guest; returns when it does not.
fn park_with(end: End) {
    // SAFETY: the state lives as long as its thread's `GuestThread`, which clears the pointer when it goes.
    let Some(state) = (unsafe { CURRENT.get().as_ref() }) else {
        return;
    };
    if let Some(shared) = state.shared.get() {
        shared.latch.set(end.clone());
    }
    crate::memory::release_headroom();
    tracing::error!(?end, "V8 cannot go on; its thread is parked");
    if !state.parked.swap(true, Ordering::AcqRel) {
        PARKED.fetch_add(1, Ordering::Relaxed);
    }
    // A panic in the report would unwind into V8.
    let report = std::panic::AssertUnwindSafe(|| state.report(end));
    let _ = std::panic::catch_unwind(report);
    sleep_for_ever();
}

fn sleep_for_ever() -> ! {
    #[cfg(unix)]
    // SAFETY: both are async-signal-safe, and `all` lives on this stack.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut());
        loop {
            libc::pause();
        }
    }
    #[cfg(not(unix))]
    loop {
        std::thread::park();
    }
}

/// The stack on which a guest thread handles signals: the guest may have used up the thread's own.
#[cfg(target_os = "linux")]
pub(crate) struct SignalStack {
    memory: *mut c_void,
    previous: libc::stack_t,
}

#[cfg(target_os = "linux")]
impl SignalStack {
    pub(crate) fn install() -> Option<Self> {
        // SAFETY: maps fresh memory and hands it to the kernel as this thread's signal stack; `drop` takes it back
        // before it is unmapped.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let memory = libc::mmap(
                ptr::null_mut(),
                SIGNAL_STACK_BYTES,
                protection,
                flags,
                -1,
                0,
            );
            if memory == libc::MAP_FAILED {
                return None;
            }
            let stack = libc::stack_t {
                ss_sp: memory,
                ss_flags: 0,
                ss_size: SIGNAL_STACK_BYTES,
            };
            let mut previous: libc::stack_t = std::mem::zeroed();
            if libc::sigaltstack(&raw const stack, &raw mut previous) != 0 {
                libc::munmap(memory, SIGNAL_STACK_BYTES);
                return None;
            }
            Some(Self { memory, previous })
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for SignalStack {
    fn drop(&mut self) {
        // SAFETY: gives the previous signal stack back, then unmaps what `install` mapped.
        unsafe {
            libc::sigaltstack(&raw const self.previous, ptr::null_mut());
            libc::munmap(self.memory, SIGNAL_STACK_BYTES);
        }
    }
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod handler {
    use super::{
        AtomicUsize, CURRENT, EMBEDDED_CODE, Ordering, PARKED, SIGNAL, ThreadState, c_int, c_void,
        ptr, sleep_for_ever,
    };

    /// `v8::StateTag`.
    mod vm_state {
        pub const JS: u16 = 0;
        pub const GC: u16 = 1;
        pub const EXTERNAL: u16 = 6;
        pub const IDLE: u16 = 8;
        pub const IDLE_EXTERNAL: u16 = 10;
    }

    /// `v8::RegisterState`.
    #[repr(C)]
    struct RegisterState {
        pc: *mut c_void,
        sp: *mut c_void,
        fp: *mut c_void,
        lr: *mut c_void,
        callee_saved: *mut c_void,
    }

    /// `v8::SampleInfo`.
    #[repr(C)]
    struct SampleInfo {
        frames_count: usize,
        external_callback_entry: *mut c_void,
        context: *mut c_void,
        embedder_context: *mut c_void,
        vm_state: u16,
        embedder_state: u8,
    }

    unsafe extern "C" {
        /// `v8::Isolate::GetStackSample`, made for signal handlers on the isolate's thread.
        #[link_name = "_ZN2v87Isolate14GetStackSampleERKNS_13RegisterStateEPPvmPNS_10SampleInfoE"]
        fn get_stack_sample(
            isolate: *mut c_void,
            registers: *const RegisterState,
            frames: *mut *mut c_void,
            limit: usize,
            info: *mut SampleInfo,
        );
        /// `v8::Isolate::GetCodeRange`.
        #[link_name = "_ZN2v87Isolate12GetCodeRangeEPPvPm"]
        fn get_code_range(isolate: *mut c_void, start: *mut *mut c_void, length: *mut usize);
        /// `v8::Isolate::GetEmbeddedCodeRange`.
        #[link_name = "_ZN2v87Isolate20GetEmbeddedCodeRangeEPPKvPm"]
        fn get_embedded_code_range(
            isolate: *mut c_void,
            start: *mut *const c_void,
            length: *mut usize,
        );
    }

    /// Notes where this isolate's machine code lies.
    pub fn learn_code(state: &ThreadState, isolate: *mut c_void) {
        let (mut start, mut length) = (ptr::null_mut(), 0);
        let (mut embedded, mut embedded_length) = (ptr::null(), 0);
        // SAFETY: a live isolate on its own thread; both functions write into these locals.
        unsafe {
            get_code_range(isolate, &raw mut start, &raw mut length);
            get_embedded_code_range(isolate, &raw mut embedded, &raw mut embedded_length);
        }
        state.code.0.store(start as usize, Ordering::Relaxed);
        state.code.1.store(length, Ordering::Relaxed);
        EMBEDDED_CODE.0.store(embedded as usize, Ordering::Relaxed);
        EMBEDDED_CODE.1.store(embedded_length, Ordering::Relaxed);
    }

    /// Takes the first real-time signal from `SIGRTMIN + 5` on that nobody else handles.
    pub fn install() {
        for signal in libc::SIGRTMIN() + 5..libc::SIGRTMAX() {
            // SAFETY: reads, then sets the disposition of one signal; the handler is async-signal-safe.
            unsafe {
                let mut current: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(signal, ptr::null(), &raw mut current) != 0
                    || current.sa_sigaction != libc::SIG_DFL
                {
                    continue;
                }
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
                libc::sigfillset(&raw mut action.sa_mask);
                if libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 {
                    SIGNAL.store(signal, Ordering::Relaxed);
                    return;
                }
            }
        }
        tracing::warn!(
            "no free real-time signal: builtins that cannot be interrupted will keep their thread busy"
        );
    }

    fn is_within(range: &(AtomicUsize, AtomicUsize), address: usize) -> bool {
        let (start, length) = (
            range.0.load(Ordering::Relaxed),
            range.1.load(Ordering::Relaxed),
        );
        address.wrapping_sub(start) < length
    }

    /// Program counter, stack pointer and frame pointer of the interrupted code.
    fn registers(context: *const libc::ucontext_t) -> [usize; 3] {
        // SAFETY: the kernel passes a valid context to a handler with SA_SIGINFO.
        let machine = unsafe { &(*context).uc_mcontext };
        #[cfg(target_arch = "x86_64")]
        {
            let register = |index: c_int| {
                machine
                    .gregs
                    .get(usize::try_from(index).unwrap_or(0))
                    .map_or(0, |value| *value as usize)
            };
            [
                register(libc::REG_RIP),
                register(libc::REG_RSP),
                register(libc::REG_RBP),
            ]
        }
        #[cfg(target_arch = "aarch64")]
        {
            let frame = machine.regs.get(29).copied().unwrap_or(0);
            [machine.pc as usize, machine.sp as usize, frame as usize]
        }
    }

    /// Sleeps for ever when this thread's guest is condemned and the thread holds nothing that others need.
    extern "C" fn on_signal(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: see `park_with`; nothing here allocates or locks.
        let Some(state) = (unsafe { CURRENT.get().as_ref() }) else {
            #[cfg(target_arch = "x86_64")]
            if crate::v8_jobs::must_park() {
                PARKED.fetch_add(1, Ordering::Relaxed);
                sleep_for_ever();
            }
            return;
        };
        let condemned = state
            .shared
            .get()
            .is_some_and(|shared| shared.latch.is_set());
        let isolate = state.isolate.load(Ordering::Acquire);
        if !condemned || isolate.is_null() {
            return;
        }
        if crate::critical::is_inside() {
            return;
        }
        let [pc, sp, fp] = registers(context.cast());
        let in_generated_code = is_within(&EMBEDDED_CODE, pc) || is_within(&state.code, pc);
        if !in_generated_code && !secure_exec_sqlite::is_parkable() {
            // Without the wrapped lock functions nobody knows what C++ code holds.
            if !crate::link_wrap::is_linked() {
                return;
            }
            let registers = RegisterState {
                pc: pc as *mut c_void,
                sp: sp as *mut c_void,
                fp: fp as *mut c_void,
                lr: ptr::null_mut(),
                callee_saved: ptr::null_mut(),
            };
            let mut frame = ptr::null_mut();
            // SAFETY: plain data, for which zeros are valid.
            let mut info: SampleInfo = unsafe { std::mem::zeroed() };
            // SAFETY: runs on the isolate's own thread, which is stopped in this handler; V8 made it for this.
            unsafe {
                get_stack_sample(
                    isolate,
                    &raw const registers,
                    &raw mut frame,
                    1,
                    &raw mut info,
                );
            };
            let attempts = state.attempts.load(Ordering::Relaxed);
            let safe = match info.vm_state {
                vm_state::JS => true,
                // Host code ends by itself; so does the garbage collector.
                vm_state::EXTERNAL | vm_state::IDLE | vm_state::IDLE_EXTERNAL | vm_state::GC => {
                    false
                }
                // Parser, compiler and the rest of V8 look at the request soon. If not, they are stuck.
                _ => attempts > 50,
            };
            if !safe {
                return;
            }
        }
        state.parked.store(true, Ordering::Release);
        PARKED.fetch_add(1, Ordering::Relaxed);
        sleep_for_ever();
    }
}
