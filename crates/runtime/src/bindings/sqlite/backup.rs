//! `backup()`: copies some pages in each turn of the event loop.

use std::rc::Rc;

use secure_exec_sqlite::{Backup, Connection, SqlError, code};

use super::database::{Database, set_all};
use super::invalid_type;
use super::machine::{after_call, before_call, machine};
use super::values::{error_object, options, utf8_of, wrong};
use crate::binding::{Args, Ret};
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::event_loop::ActiveGuard;
use crate::throw::Throw;

/// Pages in a step.
const RATE: i32 = 100;
/// When a database that somebody has locked is tried again (ms).
const RETRY_MS: f64 = 5.0;

struct Job {
    backup: Backup,
    rate: i32,
    progress: Option<v8::Global<v8::Function>>,
    resolver: v8::Global<v8::PromiseResolver>,
    _alive: ActiveGuard,
}

/// `backup(sourceDb, destination[, options])`
pub fn backup<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let refused = || invalid_type("The \"sourceDb\" argument must be an object.");
    let object = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| refused())?;
    let database = env.objects.unwrap::<Database>(scope, object);
    let database = database.ok_or_else(refused)?;
    database.connection()?;
    let destination = utf8_of(scope, args.get(1))
        .ok_or_else(|| invalid_type("The \"destination\" argument must be a string."))?;
    let (mut rate, mut progress) = (RATE, None);
    let (mut source_name, mut target_name) = (b"main".to_vec(), b"main".to_vec());
    if args.length() > 2 {
        let options = options(args.get(2))?;
        rate = options.int(scope, "rate", RATE)?;
        for (key, target) in [("source", &mut source_name), ("target", &mut target_name)] {
            if let Some(value) = options.get(scope, key)? {
                *target = utf8_of(scope, value).ok_or_else(|| wrong(key, "a string"))?;
            }
        }
        progress = options.function(scope, "progress")?;
    }
    let source = database.connection()?;
    let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
    let promise = resolver.get_promise(scope);
    before_call(scope, &env);
    let mut how = database.open_options();
    how.read_only = false;
    how.uri = false;
    how.timeout = 0;
    let begun = Connection::open(machine(&env)?, &destination, &how)
        .and_then(|target| Backup::new(source, &source_name, target, &target_name));
    after_call(scope, &env);
    match begun {
        Ok(backup) => {
            let job = Job {
                backup,
                rate,
                progress: progress.map(|progress| v8::Global::new(scope, progress)),
                resolver: v8::Global::new(scope, resolver),
                _alive: env.keep_alive(),
            };
            let step = Box::new(|scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>| {
                step(scope, env, job);
            });
            env.event_loop.complete(step);
        }
        Err(error) => reject(scope, resolver, &error),
    }
    Ok(promise.into())
}

fn reject<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    resolver: v8::Local<'s, v8::PromiseResolver>,
    error: &SqlError,
) {
    if let Some(error) = error_object(scope, error, true) {
        // Fails only when the process is ending.
        let _ = resolver.reject(scope, error.into());
    }
}

/// One step; the next one comes in another turn.
fn step(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, job: Job) {
    before_call(scope, env);
    let outcome = job.backup.step(job.rate);
    after_call(scope, env);
    let Some(process) = env.process_object(scope) else {
        return;
    };
    env.in_callback_scope(scope, process, AsyncContext::default(), |scope| {
        let undefined = v8::undefined(scope).into();
        let resolver = v8::Local::new(scope, &job.resolver);
        let waits = matches!(outcome, code::BUSY | code::LOCKED);
        if !waits && outcome != code::OK && outcome != code::DONE {
            reject(scope, resolver, &SqlError::of_code(outcome));
            return Some(undefined);
        }
        let (total, left) = job.backup.pages();
        if outcome == code::DONE {
            drop(job);
            let total = v8::Integer::new(scope, total).into();
            resolver.resolve(scope, total);
            return Some(undefined);
        }
        if let Some(progress) = &job.progress
            && left != 0
        {
            let progress = v8::Local::new(scope, progress);
            v8::tc_scope!(catch, scope);
            let info = v8::Object::new(catch);
            let total = v8::Integer::new(catch, total).into();
            let left = v8::Integer::new(catch, left).into();
            set_all(
                catch,
                info,
                &[("totalPages", total), ("remainingPages", left)],
            );
            let receiver = v8::null(catch).into();
            if progress.call(catch, receiver, &[info.into()]).is_none() {
                let exception = catch.exception().filter(|_| !catch.has_terminated());
                catch.reset();
                if let Some(exception) = exception {
                    resolver.reject(catch, exception);
                }
                return Some(undefined);
            }
        }
        let again = Box::new(|scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>| {
            step(scope, env, job);
        });
        if waits {
            env.event_loop.after_unref(env.loop_now() + RETRY_MS, again);
        } else {
            env.event_loop.complete(again);
        }
        Some(undefined)
    });
}
