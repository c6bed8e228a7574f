//! V8's compiled code of modules that lie in read-only mounts, or that a guest's compile cache knows, for every VM of this
//! OS process.
//!
//! ```text
//!   guest: source --hash--> known?  yes: V8 reads the code        no: V8 compiles, and the source goes to
//!   maker: an isolate of ours that compiles it, runs nothing, and keeps V8's code under that hash
//! ```
//!
//! V8 trusts such code as it trusts its own. So it is made only here, from the text that the hash stands for, by an
//! isolate in which no code of a guest ever runs; it stays in this process's memory, and no guest sees or gives bytes of
//! it. The hash (SHA-256) covers V8's version and flags, what the text is compiled as, and the text. A guest can bring its
//! own texts in under the name of a mount's file; that is bounded for each VM, and is code for nobody else.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use v8::script_compiler::{CachedData, CompileOptions, NoCacheReason, Source};

use crate::env::{Env, Shared};

/// What the cache holds by default.
pub const DEFAULT_BYTES: usize = 64 << 20;
/// Shorter sources compile as fast as their code is read.
const MIN_SOURCE_UNITS: usize = 1 << 10;
const MAX_SOURCE_UNITS: usize = 32 << 20;
/// Characters of sources that one VM may have compiled here, in its life.
const VM_SOURCE_UNITS: u64 = 128 << 20;
/// Sources that wait to be compiled, and their characters.
const MAX_WAITING: usize = 1024;
const MAX_WAITING_UNITS: usize = 64 << 20;
/// Hashes of sources that gave no code.
const MAX_REFUSED: usize = 4096;
/// What the maker's isolate may hold.
const MAKER_BYTES: usize = 512 << 20;
/// The maker's thread ends after this time without work.
const MAKER_IDLE: Duration = Duration::from_secs(10);

/// What a source is compiled as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The body of a CommonJS module's function.
    CommonJs,
    /// An ECMAScript module.
    Module,
}

type Key = [u8; 32];

/// A source's characters.
enum Text {
    OneByte(Vec<u8>),
    TwoByte(Vec<u16>),
}

struct Request {
    key: Key,
    form: Form,
    text: Text,
}

enum Entry {
    /// Its source waits for the maker, or is with it.
    Wanted,
    /// V8 has no code for it, or did not take what it had.
    Refused,
    Ready {
        code: Arc<[u8]>,
        /// When it was asked for last; its key in `State::order`.
        used: u64,
    },
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// Ready entries, the one that was not used for the longest time first.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
    refused: usize,
    waiting: VecDeque<Request>,
    waiting_units: usize,
    has_maker: bool,
    hits: u64,
}

/// Counters of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sources whose code is kept.
    pub entries: usize,
    /// Bytes of it.
    pub bytes: usize,
    /// How often code was taken from here.
    pub hits: u64,
    /// Sources that wait for their code.
    pub waiting: usize,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
static CHANGED: Condvar = Condvar::new();
static MAX_BYTES: AtomicUsize = AtomicUsize::new(DEFAULT_BYTES);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets what the cache may hold; 0 turns it off.
pub fn set_max_bytes(max: usize) {
    MAX_BYTES.store(max, Ordering::Relaxed);
    state().shrink(max);
}

/// Counters.
pub fn usage() -> Usage {
    let state = state();
    Usage {
        entries: state.order.len(),
        bytes: state.bytes,
        hits: state.hits,
        waiting: state.entries.len() - state.order.len() - state.refused,
    }
}

/// What one VM has left of its share of the maker's work.
#[derive(Debug)]
pub struct Share(AtomicU64);

impl Default for Share {
    fn default() -> Self {
        Self(AtomicU64::new(VM_SOURCE_UNITS))
    }
}

impl Share {
    fn take(&self, units: usize) -> bool {
        let take = |left: u64| left.checked_sub(units as u64);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

impl State {
    /// The code for a key, if it is known.
    fn take(&mut self, key: &Key) -> Option<Arc<[u8]>> {
        let clock = self.clock;
        let Some(Entry::Ready { code, used }) = self.entries.get_mut(key) else {
            return None;
        };
        self.order.remove(&std::mem::replace(used, clock));
        self.order.insert(clock, *key);
        self.clock += 1;
        self.hits += 1;
        Some(code.clone())
    }

    fn shrink(&mut self, max: usize) {
        while self.bytes > max
            && let Some((_, key)) = self.order.pop_first()
        {
            if let Some(Entry::Ready { code, .. }) = self.entries.remove(&key) {
                self.bytes -= code.len();
            }
        }
    }

    fn put(&mut self, key: Key, code: Arc<[u8]>) {
        let max = MAX_BYTES.load(Ordering::Relaxed);
        if code.len() > max / 2 {
            self.refuse(key);
            return;
        }
        self.shrink(max - code.len());
        self.bytes += code.len();
        let used = self.clock;
        self.clock += 1;
        self.order.insert(used, key);
        self.entries.insert(key, Entry::Ready { code, used });
    }

    /// Keeps in mind that there is no use in asking for this one.
    fn refuse(&mut self, key: Key) {
        if self.refused >= MAX_REFUSED {
            self.entries
                .retain(|_, entry| !matches!(entry, Entry::Refused));
            self.refused = 0;
        }
        match self.entries.insert(key, Entry::Refused) {
            Some(Entry::Refused) => return,
            Some(Entry::Ready { code, used }) => {
                self.order.remove(&used);
                self.bytes -= code.len();
            }
            Some(Entry::Wanted) | None => {}
        }
        self.refused += 1;
    }

    fn wants(&self, key: &Key, units: usize) -> bool {
        !self.entries.contains_key(key)
            && self.waiting.len() < MAX_WAITING
            && self.waiting_units.saturating_add(units) <= MAX_WAITING_UNITS
    }
}

impl Text {
    fn of(scope: &mut v8::PinScope<'_, '_>, source: v8::Local<v8::String>) -> Self {
        if source.is_onebyte() {
            let mut bytes = vec![0; source.length()];
            source.write_one_byte_v2(scope, 0, &mut bytes, v8::WriteFlags::empty());
            Self::OneByte(bytes)
        } else {
            let mut units = vec![0; source.length()];
            source.write_v2(scope, 0, &mut units, v8::WriteFlags::empty());
            Self::TwoByte(units)
        }
    }

    fn units(&self) -> usize {
        match self {
            Self::OneByte(bytes) => bytes.len(),
            Self::TwoByte(units) => units.len(),
        }
    }

    fn key(&self, form: Form) -> Key {
        /// Units of two bytes that are hashed at once.
        const STEP: usize = 4096;
        let mut hash = Sha256::new();
        hash.update(v8::script_compiler::cached_data_version_tag().to_le_bytes());
        hash.update([form as u8]);
        match self {
            Self::OneByte(bytes) => {
                hash.update([1]);
                hash.update(bytes);
            }
            Self::TwoByte(units) => {
                hash.update([2]);
                let mut bytes = Vec::with_capacity(2 * STEP);
                for step in units.chunks(STEP) {
                    bytes.clear();
                    bytes.extend(step.iter().flat_map(|unit| unit.to_le_bytes()));
                    hash.update(&bytes);
                }
            }
        }
        hash.finalize().into()
    }

    fn to_v8<'s>(&self, scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::String>> {
        match self {
            Self::OneByte(bytes) => {
                v8::String::new_from_one_byte(scope, bytes, v8::NewStringType::Normal)
            }
            Self::TwoByte(units) => {
                v8::String::new_from_two_byte(scope, units, v8::NewStringType::Normal)
            }
        }
    }
}

/// What the guest's compilation goes with.
pub struct Lookup {
    found: Option<(Key, Arc<[u8]>)>,
}

impl Lookup {
    /// For a source that has no part in the cache.
    pub const NONE: Self = Self { found: None };

    /// Asks for the code of a source that stands at `path`; where there is none yet, it is made for the next one that
    /// asks. Nothing happens for a path that is in no read-only mount.
    pub fn of(
        scope: &mut v8::PinScope<'_, '_>,
        source: v8::Local<v8::String>,
        path: &str,
        form: Form,
    ) -> Self {
        let env = Env::of(scope);
        let is_mounted = |vm: &crate::vm::Vm| vm.kernel().is_in_read_only_mount(path.as_bytes());
        if env.vm().is_some_and(|vm| is_mounted(&vm)) {
            Self::find(scope, source, form)
        } else {
            Self::NONE
        }
    }

    /// Asks for the code of a source, wherever it stands.
    pub fn find(
        scope: &mut v8::PinScope<'_, '_>,
        source: v8::Local<v8::String>,
        form: Form,
    ) -> Self {
        let units = source.length();
        if !(MIN_SOURCE_UNITS..=MAX_SOURCE_UNITS).contains(&units)
            || MAX_BYTES.load(Ordering::Relaxed) == 0
        {
            return Self::NONE;
        }
        let env = Env::of(scope);
        let Some(vm) = env.vm().filter(|vm| vm.options().code_cache) else {
            return Self::NONE;
        };
        let text = Text::of(scope, source);
        let key = text.key(form);
        let mut state = state();
        if let Some(code) = state.take(&key) {
            return Self {
                found: Some((key, code)),
            };
        }
        if state.wants(&key, units) && vm.code_share().take(units) {
            state.entries.insert(key, Entry::Wanted);
            state.waiting_units += units;
            state.waiting.push_back(Request { key, form, text });
            let starts = !std::mem::replace(&mut state.has_maker, true);
            drop(state);
            CHANGED.notify_one();
            if starts && let Err(error) = start_maker() {
                tracing::warn!(%error, "no thread makes code caches");
                forget_waiting();
            }
        }
        Self::NONE
    }

    /// Compiles with what was found. `compile` gets the options to pass on.
    pub fn compile<'s, T>(
        &self,
        source: v8::Local<'s, v8::String>,
        origin: &v8::ScriptOrigin<'s>,
        compile: impl FnOnce(&mut Source, CompileOptions) -> Option<T>,
    ) -> Option<T> {
        let Some((key, code)) = &self.found else {
            let mut source = Source::new(source, Some(origin));
            return compile(&mut source, CompileOptions::NoCompileOptions);
        };
        let mut source = Source::new_with_cached_data(source, Some(origin), CachedData::new(code));
        let compiled = compile(&mut source, CompileOptions::ConsumeCodeCache);
        if source.get_cached_data().is_some_and(CachedData::rejected) {
            tracing::warn!("V8 refuses code that it made itself");
            state().refuse(*key);
        }
        compiled
    }
}

/// Without a maker nothing waits for one.
fn forget_waiting() {
    let mut state = state();
    state.has_maker = false;
    state.waiting.clear();
    state.waiting_units = 0;
    state
        .entries
        .retain(|_, entry| !matches!(entry, Entry::Wanted));
}

fn start_maker() -> Result<(), crate::engine::EngineError> {
    crate::engine::spawn(
        "secure-exec code".to_owned(),
        crate::fatal::STACK_BYTES,
        maker_main,
    )
}

/// The next source, waiting for it for a while. `None` ends the maker.
fn next_request() -> Option<Request> {
    let mut state = state();
    loop {
        if let Some(request) = state.waiting.pop_front() {
            state.waiting_units -= request.text.units();
            return Some(request);
        }
        let (after, waited) = CHANGED
            .wait_timeout(state, MAKER_IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        state = after;
        if waited.timed_out() && state.waiting.is_empty() {
            state.has_maker = false;
            return None;
        }
    }
}

/// The body of the maker's thread.
fn maker_main() {
    /// Lets the next source have another maker when this one ends before its time.
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            if std::thread::panicking() {
                forget_waiting();
            }
        }
    }
    let _ended = Ended;
    let guest = crate::fatal::enter_guest_thread(Box::new(|_| forget_waiting()));
    let params = crate::snapshot::create_params(crate::engine::startup_snapshot());
    let (params, budget) =
        crate::memory::configure(params, MAKER_BYTES, crate::memory::HeapLimits::default());
    let mut isolate = v8::Isolate::new(params);
    let shared = Shared::new(
        isolate.thread_safe_handle(),
        crate::event_loop::Inbox::default(),
    );
    guest.attach(&shared);
    crate::memory::install(&mut isolate, &budget, &shared);
    let tasks = crate::engine::TaskOwner::new(&isolate, shared.inbox.clone());
    while let Some(request) = next_request() {
        let code = make(&mut isolate, &request);
        let mut state = state();
        match code {
            Some(code) => state.put(request.key, code),
            None => state.refuse(request.key),
        }
        drop(state);
        if shared.latch.get().is_some() {
            // A source was too much for it.
            forget_waiting();
            break;
        }
    }
    drop(isolate);
    drop(tasks);
    drop(budget);
    drop(guest);
}

/// V8's code of a source: its top level, and the functions in it that V8 compiles along with it.
fn make(isolate: &mut v8::OwnedIsolate, request: &Request) -> Option<Arc<[u8]>> {
    v8::scope!(let scope, isolate);
    let context = v8::Context::new(scope, v8::ContextOptions::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    v8::tc_scope!(let scope, scope);
    let text = request.text.to_v8(scope)?;
    let name: v8::Local<v8::Value> = v8::String::empty(scope).into();
    let is_module = request.form == Form::Module;
    let origin = v8::ScriptOrigin::new(
        scope, name, 0, 0, true, -1, None, false, false, is_module, None,
    );
    let mut source = Source::new(text, Some(&origin));
    let code = match request.form {
        Form::CommonJs => {
            let names = crate::bindings::contextify::common_js_parameters(scope);
            v8::script_compiler::compile_function(
                scope,
                &mut source,
                &names,
                &[],
                CompileOptions::NoCompileOptions,
                NoCacheReason::NoReason,
            )?
            .create_code_cache()?
        }
        Form::Module => v8::script_compiler::compile_module(scope, &mut source)?
            .get_unbound_module_script(scope)
            .create_code_cache()?,
    };
    Some(Arc::from(&code[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(byte: u8, len: usize) -> (Key, Arc<[u8]>) {
        ([byte; 32], vec![byte; len].into())
    }

    #[test]
    fn what_was_not_used_goes_first() {
        let mut state = State::default();
        let max = MAX_BYTES.load(Ordering::Relaxed);
        for byte in 0..4 {
            let (key, code) = code(byte, max / 4);
            state.put(key, code);
        }
        assert!(state.take(&[0; 32]).is_some());
        let (key, more) = code(9, max / 4);
        state.put(key, more);
        assert!(state.take(&[0; 32]).is_some());
        assert!(state.take(&[1; 32]).is_none());
        assert!(state.bytes <= max);
        state.refuse([0; 32]);
        state.refuse([0; 32]);
        assert_eq!(state.refused, 1);
        assert!(state.take(&[0; 32]).is_none());
        assert!(!state.wants(&[0; 32], 1));
        let (key, huge) = code(7, max / 2 + 1);
        state.put(key, huge);
        assert!(state.take(&[7; 32]).is_none());
        state.shrink(0);
        assert_eq!((state.bytes, state.order.len()), (0, 0));
    }

    #[test]
    fn keys_tell_forms_widths_and_texts_apart() {
        let one = Text::OneByte(b"ab".to_vec());
        let two = Text::TwoByte(vec![0x6261]);
        let other = Text::OneByte(b"ac".to_vec());
        let keys = [
            one.key(Form::CommonJs),
            one.key(Form::Module),
            two.key(Form::CommonJs),
            other.key(Form::CommonJs),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key));
        }
    }

    #[test]
    fn a_share_is_used_up() {
        let share = Share::default();
        assert!(share.take(usize::try_from(VM_SOURCE_UNITS).unwrap()));
        assert!(!share.take(1));
    }
}
