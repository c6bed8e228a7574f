//! `StatWatcher`: looks at a file again and again for `fs.watchFile`. Source: `src/node_stat_watcher.cc`, libuv's
//! `fs-poll.c`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use secure_exec_kernel::{Errno, Stat};

use super::answer::{STAT_FIELDS, constructor_call, fill_two, stat_fields};
use super::argument;
use super::resource::{Provider, Resource};
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::permission_model::Scope;

const PROVIDER: Provider = Provider {
    name: "STATWATCHER",
    number: 36,
};
const NOTHING: [i64; STAT_FIELDS] = [0; STAT_FIELDS];

/// See the module's text.
pub struct StatWatcher {
    bigint: bool,
    path: RefCell<Vec<u8>>,
    interval: Cell<f64>,
    last: Cell<[i64; STAT_FIELDS]>,
    /// The error of the last look.
    error: Cell<Option<Errno>>,
}

/// `new StatWatcher(bigint)`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("StatWatcher"));
    }
    let env = Env::of(scope);
    let watcher = StatWatcher {
        bigint: args.get(0).is_true(),
        path: RefCell::default(),
        interval: Cell::default(),
        last: Cell::new(NOTHING),
        error: Cell::default(),
    };
    Resource::wrap_handle(
        scope,
        &env,
        args.this(),
        PROVIDER,
        |_, _| {},
        Rc::new(watcher),
    );
    Ok(v8::undefined(scope).into())
}

/// `start(path, interval)`: 0 or a negative error number.
pub fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let interval = argument::uint(scope, args.get(1), "interval")?;
    let (resource, watcher) = Resource::this::<StatWatcher>(scope, args)?;
    let env = Env::of(scope);
    env.require_permission(Scope::FileSystemRead, &path)?;
    if !resource.is_active() {
        watcher.path.replace(path.to_vec());
        watcher.interval.set(f64::from(interval));
        resource.activate(scope, &env, args.this());
        match watcher.look(&env) {
            Ok(stat) => watcher.last.set(stat_fields(&stat)),
            // As an unfinished first look of libuv's, this is told in a later turn.
            Err(errno) => {
                watcher.error.set(Some(errno));
                let resource = resource.clone();
                env.event_loop.complete_unref(Box::new(move |scope, env| {
                    if let Some(watcher) = resource
                        .inner::<StatWatcher>()
                        .filter(|_| resource.is_active())
                    {
                        watcher.report(scope, env, &resource, -errno.number(), &NOTHING, &NOTHING);
                    }
                }));
            }
        }
        schedule(&env, resource, &watcher);
    }
    Ok(v8::Integer::new(scope, 0).into())
}

fn schedule(env: &Rc<Env>, resource: Rc<Resource>, watcher: &StatWatcher) {
    let due = env.loop_now() + watcher.interval.get().max(1.0);
    env.event_loop.after_unref(
        due,
        Box::new(move |scope, env| {
            let Some(watcher) = resource
                .inner::<StatWatcher>()
                .filter(|_| resource.is_active())
            else {
                return;
            };
            watcher.poll(scope, env, &resource);
            if resource.is_active() {
                schedule(env, resource, &watcher);
            }
        }),
    );
}

impl StatWatcher {
    fn look(&self, env: &Env) -> Result<Stat, Errno> {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return Err(Errno::EINTR);
        };
        kernel.stat(&process, &self.path.borrow())
    }

    fn poll(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, resource: &Resource) {
        let old = self.last.get();
        match self.look(env) {
            Ok(stat) => {
                let new = stat_fields(&stat);
                self.last.set(new);
                if self.error.take().is_some() || differs(&new, &old) {
                    self.report(scope, env, resource, 0, &new, &old);
                }
            }
            Err(errno) if self.error.get() != Some(errno) => {
                self.error.set(Some(errno));
                self.last.set(NOTHING);
                self.report(scope, env, resource, -errno.number(), &NOTHING, &old);
            }
            Err(_) => {}
        }
    }

    fn report(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        resource: &Resource,
        status: i32,
        new: &[i64; STAT_FIELDS],
        old: &[i64; STAT_FIELDS],
    ) {
        v8::scope!(let scope, scope);
        let Some(object) = resource.object(scope) else {
            return;
        };
        let Ok(stats) = fill_two(scope, env, new, old, self.bigint) else {
            return;
        };
        let status = v8::Integer::new(scope, status).into();
        env.make_callback_named(
            scope,
            object,
            "onchange",
            &[status, stats],
            resource.context(),
        );
    }
}

/// Whether anything but the time of access and the number of links is different.
fn differs(new: &[i64; STAT_FIELDS], old: &[i64; STAT_FIELDS]) -> bool {
    const NLINK: usize = 2;
    const ACCESS_SECONDS: usize = 10;
    const ACCESS_NANOS: usize = 11;
    let ignored = [NLINK, ACCESS_SECONDS, ACCESS_NANOS];
    (0..STAT_FIELDS).any(|index| !ignored.contains(&index) && new.get(index) != old.get(index))
}
