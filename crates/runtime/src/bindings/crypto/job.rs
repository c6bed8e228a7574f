//! Jobs: work that runs on the spot or on another thread. Source: `src/crypto/crypto_util.h`.
//!
//! ```text
//! new Job(mode, ...)  parses the arguments, and throws for those that are wrong
//! job.run()           sync: [error, result]     async: job.ondone(error, result), later
//! ```

use std::cell::RefCell;
use std::rc::Rc;

use crate::array_buffer::array_buffer_of;
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::env::Env;
use crate::throw::Throw;
use crate::work::Meter;

/// `kCryptoJobSync`
const SYNC: i32 = 1;

type Run = Box<
    dyn for<'s, 'i> FnOnce(
        &mut v8::PinScope<'s, 'i>,
        &Rc<Resource>,
        v8::Local<'s, v8::Object>,
    ) -> Ret<'s>,
>;

/// The Rust side of a job, until it runs.
struct Job(RefCell<Option<Run>>);

/// What most jobs come to.
pub enum Outcome {
    /// An `ArrayBuffer`.
    Bytes(Vec<u8>),
    /// A boolean.
    Bool(bool),
    /// An error.
    Failed(Throw),
}

/// The value of an [`Outcome`].
pub fn outcome<'s>(scope: &mut v8::PinScope<'s, '_>, outcome: Outcome) -> Ret<'s> {
    match outcome {
        Outcome::Bytes(bytes) => Ok(array_buffer_of(scope, &bytes)?.into()),
        Outcome::Bool(value) => Ok(v8::Boolean::new(scope, value).into()),
        Outcome::Failed(throw) => Err(throw),
    }
}

/// `[error, result]`
fn pair<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    result: Ret<'s>,
) -> Result<[v8::Local<'s, v8::Value>; 2], Throw> {
    let undefined = v8::undefined(scope).into();
    match result {
        Ok(value) => Ok([undefined, value]),
        Err(throw) => {
            let error = throw.into_value(scope).ok_or(Throw::Pending)?;
            Ok([error, undefined])
        }
    }
}

/// The constructor of a job: its mode is the first argument. `work` runs anywhere, `finish` on the isolate's thread. What it
/// holds, its arguments and what it makes of them, are `held` bytes: they count until the work is done.
pub fn construct<'s, T: Send + 'static>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    provider: Provider,
    held: usize,
    work: impl FnOnce(&mut Meter) -> T + Send + 'static,
    finish: impl for<'t, 'i> FnOnce(&mut v8::PinScope<'t, 'i>, T) -> Ret<'t> + 'static,
) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Job"));
    }
    let charge = super::random::charge(scope, held)?;
    let work = move |meter: &mut Meter| {
        let _charge = charge;
        work(meter)
    };
    let sync = args.get(0).int32_value(scope) == Some(SYNC);
    let run: Run = Box::new(move |scope, resource, object| {
        let env = Env::of(scope);
        if sync {
            let result = work(&mut Meter::on_own_thread(&env));
            if env.is_ending() {
                return Err(Throw::Pending);
            }
            let result = finish(scope, result);
            let pair = pair(scope, result)?;
            return Ok(v8::Array::new_with_elements(scope, &pair).into());
        }
        let object = v8::Global::new(scope, object);
        let context = resource.context();
        env.queue_work("crypto", work, move |scope, env, result| {
            let object = v8::Local::new(scope, object);
            let result = finish(scope, result);
            if let Ok(pair) = pair(scope, result) {
                env.make_callback_named(scope, object, "ondone", &pair, context);
            }
            crate::bindings::fs::resource::destroy(scope, env, context);
        });
        Ok(v8::undefined(scope).into())
    });
    Resource::wrap(
        scope,
        &Env::of(scope),
        args.this(),
        provider,
        Rc::new(Job(RefCell::new(Some(run)))),
    );
    Ok(v8::undefined(scope).into())
}

/// `job.run()`; a job runs once.
pub fn run<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, job) = Resource::this::<Job>(scope, args)?;
    let run = job.0.take();
    let run = run.ok_or_else(|| {
        Throw::error(
            "ERR_INVALID_STATE",
            "Invalid state: the job has run already",
        )
    })?;
    run(scope, &resource, args.this())
}
