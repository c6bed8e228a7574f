//! How calls answer: at once, through an `FSReqCallback`, or through a promise.
//!
//! The kernel works at once in all three shapes; an asynchronous answer waits for the loop's completion phase.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use secure_exec_kernel::{DirEntry, Errno, Stat, StatFs};

use super::resource::{self, Provider, Resource};
use crate::aliased_buffer::AliasedBuffer;
use crate::array_buffer;
use crate::binding::{Args, Ret};
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::permission_model::Scope;
use crate::text::{self, Encoding};
use crate::throw::{AccessDenied, SystemError, Throw, denial_reason};

/// Bytes that answers of one process may hold until they are delivered.
const MAX_WAITING: usize = 64 << 20;
/// What an answer costs beside its contents.
const ANSWER_BYTES: usize = 512;
/// Fields of a `stat` in the library's arrays.
pub const STAT_FIELDS: usize = 18;

const REQUEST: Provider = Provider {
    name: "FSREQCALLBACK",
    number: 8,
};
const PROMISE: Provider = Provider {
    name: "FSREQPROMISE",
    number: 9,
};

/// State of these bindings in one process.
#[derive(Default)]
pub struct FsState {
    stats: OnceCell<Shared>,
    bigint_stats: OnceCell<Shared>,
    statfs: OnceCell<Shared>,
    bigint_statfs: OnceCell<Shared>,
    use_promises: OnceCell<v8::Global<v8::Value>>,
    waiting: Cell<usize>,
    longest_text: Cell<u64>,
    /// Whether the call that was made last answers later; for traces.
    pub is_async: Cell<bool>,
    traced: Cell<u64>,
}

/// A typed array that the library reads.
struct Shared {
    array: v8::Global<v8::Value>,
    numbers: AliasedBuffer,
}

impl FsState {
    fn shared(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Env,
        which: Fields,
    ) -> Option<&Shared> {
        let (cell, key) = match which {
            Fields::Stat(false) => (&self.stats, "fs.statValues"),
            Fields::Stat(true) => (&self.bigint_stats, "fs.bigintStatValues"),
            Fields::StatFs(false) => (&self.statfs, "fs.statFsValues"),
            Fields::StatFs(true) => (&self.bigint_statfs, "fs.bigintStatFsValues"),
        };
        if let Some(known) = cell.get() {
            return Some(known);
        }
        let value = env.registered(scope, key)?;
        let array = v8::Global::new(scope, value);
        let numbers = env.buffer(scope, key)?;
        Some(cell.get_or_init(|| Shared { array, numbers }))
    }

    /// Bytes of the longest file that can become one string: a guest's heap must hold it.
    pub fn longest_text(&self, scope: &mut v8::PinScope<'_, '_>) -> u64 {
        if self.longest_text.get() == 0 {
            let limit = scope.get_heap_statistics().heap_size_limit();
            self.longest_text
                .set(limit.clamp(1, v8::String::MAX_LENGTH) as u64);
        }
        self.longest_text.get()
    }

    /// An id that no other call has in traces.
    pub fn next_trace(&self) -> u64 {
        self.traced.set(self.traced.get() + 1);
        self.traced.get()
    }

    /// Takes room for an answer that waits.
    pub fn hold(&self, bytes: usize) -> bool {
        let held = self.waiting.get().saturating_add(bytes);
        let fits = held <= MAX_WAITING;
        if fits {
            self.waiting.set(held);
        }
        fits
    }

    /// Gives back what [`Self::hold`] took.
    pub fn release(&self, bytes: usize) {
        self.waiting.set(self.waiting.get().saturating_sub(bytes));
    }
}

#[derive(Clone, Copy)]
enum Fields {
    Stat(bool),
    StatFs(bool),
}

/// What a call of the kernel answered, as plain data.
pub enum Answer {
    /// Nothing.
    Undefined,
    /// A count or a descriptor.
    Number(f64),
    /// A name or a path.
    Text(Vec<u8>, Encoding),
    /// The first directory that was made, if one was.
    MaybeText(Option<Vec<u8>>),
    /// `stat`; whether in BigInts.
    Stat(Stat, bool),
    /// `statfs`; whether in BigInts.
    StatFs(StatFs, bool),
    /// A directory; whether with types.
    Entries(Vec<DirEntry>, Encoding, bool),
    /// The next entries of an open directory: names and types in turn, or `null` at the end.
    Listed(Vec<DirEntry>, Encoding),
    /// A descriptor that becomes a `FileHandle`.
    FileHandle(i32),
    /// A descriptor that becomes a `DirHandle`.
    DirHandle(i32),
}

/// A failed call.
pub enum Failure {
    /// The kernel's error, with the paths for the message.
    Call {
        /// What went wrong.
        errno: Errno,
        /// The call's name.
        syscall: &'static str,
        /// The path.
        path: Option<Vec<u8>>,
        /// The second path.
        dest: Option<Vec<u8>>,
        /// Why a policy refused.
        reason: Option<String>,
    },
    /// The permission model's no.
    Denied(Box<AccessDenied>),
}

/// What came of a call.
pub type Outcome = Result<Answer, Failure>;

impl Failure {
    /// As an error that can be thrown.
    pub fn throw(self) -> Throw {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match self {
            Self::Call {
                errno,
                syscall,
                path,
                dest,
                reason,
            } => Throw::System(Box::new(SystemError {
                errno,
                syscall,
                path: path.map(text),
                dest: dest.map(text),
                message: None,
                reason,
            })),
            Self::Denied(denied) => Throw::Denied(denied),
        }
    }

    fn into_value<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Value> {
        self.throw()
            .into_value(scope)
            .unwrap_or_else(|| v8::undefined(scope).into())
    }

    fn cost(&self) -> usize {
        match self {
            Self::Call { path, dest, .. } => [path, dest].into_iter().flatten().map(Vec::len).sum(),
            Self::Denied(denied) => denied.resource.len(),
        }
    }
}

/// How a call tells that it is not permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// As it tells its other errors.
    Answered,
    /// By throwing, whatever its shape.
    Thrown,
}

/// Asks the permission model for each of these scopes and paths in turn.
pub fn permitted(
    env: &Env,
    denial: Denial,
    asked: &[(Scope, &[u8])],
) -> Result<Result<(), Failure>, Throw> {
    for (scope, path) in asked {
        if let Some(denied) = env.denied(*scope, path)? {
            let denied = Failure::Denied(Box::new(denied));
            return match denial {
                Denial::Answered => Ok(Err(denied)),
                Denial::Thrown => Err(denied.throw()),
            };
        }
    }
    Ok(Ok(()))
}

/// Names a failed call that has no path.
pub fn failed(syscall: &'static str) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::Call {
        errno,
        syscall,
        path: None,
        dest: None,
        reason: denial_reason(errno),
    }
}

/// Names a failed call on a path.
pub fn failed_at(syscall: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::Call {
        errno,
        syscall,
        path: Some(path.to_vec()),
        dest: None,
        reason: denial_reason(errno),
    }
}

/// Names a failed call on two paths.
pub fn failed_between(
    syscall: &'static str,
    path: &[u8],
    dest: &[u8],
) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::Call {
        errno,
        syscall,
        path: Some(path.to_vec()),
        dest: Some(dest.to_vec()),
        reason: denial_reason(errno),
    }
}

/// A name or path in `encoding`.
pub fn encode<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8], encoding: Encoding) -> Ret<'s> {
    match encoding {
        Encoding::Buffer => Ok(array_buffer::buffer_of(scope, bytes)?.into()),
        _ => text::decode(scope, bytes, encoding),
    }
}

impl Answer {
    fn cost(&self) -> usize {
        match self {
            Self::Entries(entries, ..) | Self::Listed(entries, _) => {
                entries.iter().map(|entry| 64 + entry.name.len()).sum()
            }
            Self::Text(text, _) | Self::MaybeText(Some(text)) => text.len(),
            _ => 0,
        }
    }

    /// The value for the guest. `shared` says whether a `stat` goes into the array that the library shares with us.
    fn into_value<'s>(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        shared: bool,
    ) -> Ret<'s> {
        Ok(match self {
            Self::Undefined | Self::MaybeText(None) => v8::undefined(scope).into(),
            Self::Number(number) => v8::Number::new(scope, number).into(),
            Self::Text(bytes, encoding) => encode(scope, &bytes, encoding)?,
            Self::MaybeText(Some(bytes)) => encode(scope, &bytes, Encoding::Utf8)?,
            Self::Stat(stat, bigint) if shared => {
                fill(scope, env, Fields::Stat(bigint), &stat_fields(&stat), 0)?
            }
            Self::Stat(stat, bigint) => new_fields(scope, &stat_fields(&stat), bigint)?,
            Self::StatFs(stat, bigint) if shared => {
                fill(scope, env, Fields::StatFs(bigint), &statfs_fields(&stat), 0)?
            }
            Self::StatFs(stat, bigint) => new_fields(scope, &statfs_fields(&stat), bigint)?,
            Self::Entries(entries, encoding, with_types) => {
                let mut names = Vec::with_capacity(entries.len());
                let mut types: Vec<v8::Local<v8::Value>> = Vec::new();
                for entry in &entries {
                    names.push(encode(scope, &entry.name, encoding)?);
                    if with_types {
                        types.push(v8::Integer::new(scope, entry.file_type.dirent_number()).into());
                    }
                }
                let names = v8::Array::new_with_elements(scope, &names).into();
                if !with_types {
                    return Ok(names);
                }
                let types = v8::Array::new_with_elements(scope, &types).into();
                v8::Array::new_with_elements(scope, &[names, types]).into()
            }
            Self::Listed(entries, _) if entries.is_empty() => v8::null(scope).into(),
            Self::Listed(entries, encoding) => {
                let mut elements = Vec::with_capacity(entries.len() * 2);
                for entry in &entries {
                    elements.push(encode(scope, &entry.name, encoding)?);
                    elements.push(v8::Integer::new(scope, entry.file_type.dirent_number()).into());
                }
                v8::Array::new_with_elements(scope, &elements).into()
            }
            Self::FileHandle(fd) => super::file_handle::create(scope, env, fd)?.into(),
            Self::DirHandle(fd) => crate::bindings::fs_dir::create(scope, env, fd)?.into(),
        })
    }
}

fn field(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The fields in the order of `FsStatsOffset`.
pub fn stat_fields(stat: &Stat) -> [i64; STAT_FIELDS] {
    [
        field(stat.dev),
        i64::from(stat.mode),
        field(stat.nlink),
        i64::from(stat.uid),
        i64::from(stat.gid),
        field(stat.rdev),
        field(stat.blksize),
        field(stat.ino),
        field(stat.size),
        field(stat.blocks),
        stat.atime.seconds,
        i64::from(stat.atime.nanos),
        stat.mtime.seconds,
        i64::from(stat.mtime.nanos),
        stat.ctime.seconds,
        i64::from(stat.ctime.nanos),
        stat.birthtime.seconds,
        i64::from(stat.birthtime.nanos),
    ]
}

fn statfs_fields(stat: &StatFs) -> [i64; 7] {
    [
        stat.fs_type,
        stat.bsize,
        stat.blocks,
        stat.bfree,
        stat.bavail,
        stat.files,
        stat.ffree,
    ]
    .map(field)
}

fn put(numbers: &AliasedBuffer, offset: usize, values: &[i64], bigint: bool) {
    for (index, value) in values.iter().enumerate() {
        if bigint {
            numbers.set(offset + index, *value);
        } else {
            #[expect(clippy::cast_precision_loss, reason = "Node's numbers are doubles too")]
            numbers.set(offset + index, *value as f64);
        }
    }
}

fn fill<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    which: Fields,
    values: &[i64],
    offset: usize,
) -> Ret<'s> {
    let state = env.extension::<FsState>();
    let shared = state.shared(scope, env, which).ok_or(Throw::Pending)?;
    let bigint = matches!(which, Fields::Stat(true) | Fields::StatFs(true));
    put(&shared.numbers, offset, values, bigint);
    Ok(v8::Local::new(scope, &shared.array))
}

/// The shared array with two stats in turn, for `watchFile`.
pub fn fill_two<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    new: &[i64; STAT_FIELDS],
    old: &[i64; STAT_FIELDS],
    bigint: bool,
) -> Ret<'s> {
    fill(scope, env, Fields::Stat(bigint), new, 0)?;
    fill(scope, env, Fields::Stat(bigint), old, STAT_FIELDS)
}

fn new_fields<'s>(scope: &mut v8::PinScope<'s, '_>, values: &[i64], bigint: bool) -> Ret<'s> {
    let buffer = array_buffer::new_array_buffer(scope, values.len() * 8)?;
    let array: v8::Local<v8::TypedArray> = if bigint {
        v8::BigInt64Array::new(scope, buffer, 0, values.len())
            .ok_or(Throw::Pending)?
            .into()
    } else {
        v8::Float64Array::new(scope, buffer, 0, values.len())
            .ok_or(Throw::Pending)?
            .into()
    };
    let numbers = AliasedBuffer::new(scope, array).ok_or(Throw::Pending)?;
    put(&numbers, 0, values, bigint);
    Ok(array.into())
}

/// How a call answers.
pub enum Shape<'s> {
    /// With a value or an exception.
    Sync,
    /// With a value, or a negative number with the error in this object.
    Context(v8::Local<'s, v8::Object>),
    /// By calling `oncomplete` of this `FSReqCallback`.
    Callback(v8::Local<'s, v8::Object>, Rc<Resource>),
    /// With a promise.
    Promise,
}

impl<'s> Shape<'s> {
    /// Told by the argument at `index`, and for synchronous calls by the one after it.
    pub fn of(
        scope: &mut v8::PinScope<'s, '_>,
        args: &Args<'s>,
        index: i32,
    ) -> Result<Self, Throw> {
        let request = args.get(index);
        if request.is_undefined() {
            Env::of(scope).trace_sync_call(scope);
            return Ok(v8::Local::<v8::Object>::try_from(args.get(index + 1))
                .map_or(Self::Sync, Self::Context));
        }
        let env = Env::of(scope);
        let state = env.extension::<FsState>();
        state.is_async.set(true);
        if request.is_symbol() {
            if state.use_promises.get().is_none()
                && let Some(symbol) = env.registered(scope, "symbol fs_use_promises_symbol")
            {
                // A value that is there already is the same.
                let _ = state.use_promises.set(v8::Global::new(scope, symbol));
            }
            if state
                .use_promises
                .get()
                .is_some_and(|symbol| v8::Local::new(scope, symbol).strict_equals(request))
            {
                return Ok(Self::Promise);
            }
        }
        let request = v8::Local::<v8::Object>::try_from(request)
            .map_err(|_| super::argument::invalid("req"))?;
        let resource =
            Resource::of(scope, request).filter(|resource| resource.inner::<Request>().is_some());
        resource
            .map(|resource| Self::Callback(request, resource))
            .ok_or_else(|| super::argument::invalid("req"))
    }

    /// Whether the call answers before it returns.
    pub fn is_sync(&self) -> bool {
        matches!(self, Self::Sync | Self::Context(_))
    }

    /// Whether the answer's numbers are BigInts, given what the call's own argument says.
    pub fn bigint(&self, argument: bool) -> bool {
        match self {
            Self::Callback(_, resource) => resource
                .inner::<Request>()
                .map_or(argument, |request| request.bigint),
            _ => argument,
        }
    }
}

/// The state of an `FSReqCallback`.
pub struct Request {
    bigint: bool,
}

/// `new FSReqCallback(bigint)`
pub fn new_request<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("FSReqCallback"));
    }
    let env = Env::of(scope);
    let request = Request {
        bigint: args.get(0).is_true(),
    };
    Resource::wrap(scope, &env, args.this(), REQUEST, Rc::new(request));
    Ok(v8::undefined(scope).into())
}

/// The error for a class that is called without `new`.
pub fn constructor_call(class: &str) -> Throw {
    Throw::type_error(
        "ERR_CONSTRUCT_CALL_REQUIRED",
        format!("Class constructor {class} cannot be invoked without `new`"),
    )
}

/// Where an asynchronous answer goes.
pub enum Target {
    /// An `FSReqCallback`.
    Callback(v8::Global<v8::Object>, Rc<Resource>),
    /// A promise, and the resource for its hooks.
    Promise(
        v8::Global<v8::PromiseResolver>,
        v8::Global<v8::Object>,
        AsyncContext,
    ),
}

impl Target {
    /// The target of an asynchronous call and what the call returns; `None` for a synchronous one.
    pub fn new<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        shape: &Shape<'s>,
    ) -> Result<Option<(Self, v8::Local<'s, v8::Value>)>, Throw> {
        Ok(Some(match shape {
            Shape::Sync | Shape::Context(_) => return Ok(None),
            Shape::Callback(request, resource) => (
                Self::Callback(v8::Global::new(scope, request), resource.clone()),
                v8::undefined(scope).into(),
            ),
            Shape::Promise => Self::promise(scope, env, PROMISE, "fs.FSReqPromise")?,
        }))
    }

    /// A promise with a resource of its own.
    pub fn promise<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        provider: Provider,
        class: &'static str,
    ) -> Result<(Self, v8::Local<'s, v8::Value>), Throw> {
        let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
        let promise = resolver.get_promise(scope);
        let object = env.new_instance(scope, class)?;
        let context = env.new_async_context(scope);
        env.emit_async_init(scope, provider.name, context, object);
        let target = Self::Promise(
            v8::Global::new(scope, resolver),
            v8::Global::new(scope, object),
            context,
        );
        Ok((target, promise.into()))
    }

    /// Delivers an outcome, in the loop.
    pub fn settle(self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, outcome: Outcome) {
        if env.is_ending() {
            return;
        }
        let shared = matches!(self, Self::Callback(..));
        let answered = match outcome {
            Ok(Answer::Undefined | Answer::MaybeText(None)) => Ok(None),
            Ok(answer) => guard(scope, |scope| answer.into_value(scope, env, shared)).map(Some),
            Err(failure) => Err(failure.into_value(scope)),
        };
        match self {
            Self::Callback(request, resource) => {
                let request = v8::Local::new(scope, request);
                let null = v8::null(scope).into();
                match answered {
                    Ok(None) => env.make_callback_named(
                        scope,
                        request,
                        "oncomplete",
                        &[null],
                        resource.context(),
                    ),
                    Ok(Some(value)) => env.make_callback_named(
                        scope,
                        request,
                        "oncomplete",
                        &[null, value],
                        resource.context(),
                    ),
                    Err(error) => env.make_callback_named(
                        scope,
                        request,
                        "oncomplete",
                        &[error],
                        resource.context(),
                    ),
                };
                resource.destroy(scope, env);
            }
            Self::Promise(resolver, object, context) => {
                let (resolver, object) = (
                    v8::Local::new(scope, resolver),
                    v8::Local::new(scope, object),
                );
                env.in_callback_scope(scope, object, context, |scope| {
                    match answered {
                        Ok(value) => {
                            let value = value.unwrap_or_else(|| v8::undefined(scope).into());
                            resolver.resolve(scope, value)
                        }
                        Err(error) => resolver.reject(scope, error),
                    };
                    Some(v8::undefined(scope).into())
                });
                resource::destroy(scope, env, context);
            }
        }
    }

    /// Delivers an outcome in the loop's next turn.
    pub fn settle_later(self, env: &Rc<Env>, outcome: Outcome) {
        let mut cost = ANSWER_BYTES;
        cost += match &outcome {
            Ok(answer) => answer.cost(),
            Err(failure) => failure.cost(),
        };
        let state = env.extension::<FsState>();
        let (outcome, cost) = if state.hold(cost) {
            (outcome, cost)
        } else {
            let syscall = match &outcome {
                Err(Failure::Call { syscall, .. }) => syscall,
                _ => "fs",
            };
            (Err(failed(syscall)(Errno::ENOMEM)), 0)
        };
        env.event_loop.complete(Box::new(move |scope, env| {
            env.extension::<FsState>().release(cost);
            self.settle(scope, env, outcome);
        }));
    }
}

/// Runs `body`; an exception becomes the error.
fn guard<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    body: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Ret<'s>,
) -> Result<v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>> {
    let (result, caught) = {
        v8::tc_scope!(catch, scope);
        let result = body(catch);
        (
            result,
            catch
                .exception()
                .map(|exception| v8::Global::new(catch, exception)),
        )
    };
    result.map_err(|throw| match caught {
        Some(caught) => v8::Local::new(scope, caught),
        None => throw
            .into_value(scope)
            .unwrap_or_else(|| v8::undefined(scope).into()),
    })
}

/// Delivers an outcome in the call's shape.
pub fn deliver<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    shape: Shape<'s>,
    outcome: Outcome,
) -> Ret<'s> {
    let env = Env::of(scope);
    if let Some((target, value)) = Target::new(scope, &env, &shape)? {
        target.settle_later(&env, outcome);
        return Ok(value);
    }
    match (outcome, shape) {
        (Ok(answer), _) => answer.into_value(scope, &env, true),
        (Err(Failure::Call { errno, syscall, .. }), Shape::Context(context)) => {
            let errno = v8::Integer::new(scope, -errno.number()).into();
            crate::realm::set(scope, context, "errno", errno);
            let syscall = v8::String::new(scope, syscall).ok_or(Throw::Pending)?;
            crate::realm::set(scope, context, "syscall", syscall.into());
            Ok(errno)
        }
        (Err(failure), _) => Err(failure.throw()),
    }
}
