//! `internalBinding('fs_event_wrap')`: `fs.watch` on the kernel's watches. Source: `src/fs_event_wrap.cc`.
//!
//! ```text
//!  a call on the tree --> sink --> Queue (bounded) --> inbox: "look" --> onchange in the loop
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use secure_exec_kernel::{Watch, WatchEvent, WatchKind};

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::{constructor_call, encode};
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::fs::{argument, machine};
use crate::env::Env;
use crate::event_loop::Inbox;
use crate::permission_model::Scope;
use crate::text::Encoding;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "fs_event_wrap",
    classes: &[Class {
        name: "FSEvent",
        parent: Some("fs.HandleWrap"),
        constructor: Some(function!(construct)),
        methods: &[("start", function!(start))],
        accessors: &[("initialized", function!(initialized), None)],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "FSEVENTWRAP",
    number: 7,
};
/// Events of a process that wait, as inotify's `max_queued_events`; later ones are lost.
const MAX_EVENTS: usize = 16_384;
/// Among how many waiting events the one before a new one is sought.
const LOOK_BACK: usize = 16;

/// Events between the threads that cause them and the loop that tells them, each with its watch.
#[derive(Default)]
struct Queue(Mutex<VecDeque<(u64, WatchEvent)>>);

/// The state of an `FSEvent`.
struct FsEvent {
    id: u64,
    watch: RefCell<Option<Watch>>,
    encoding: Cell<Encoding>,
}

/// The watches of this process.
#[derive(Default)]
struct Watches {
    next: Cell<u64>,
    active: RefCell<HashMap<u64, Rc<Resource>>>,
    queue: Arc<Queue>,
}

impl Queue {
    /// Adds an event and makes the loop look, once for all that wait. As with inotify, a change like the one before it is
    /// one with it.
    fn push(&self, inbox: &Inbox, id: u64, event: WatchEvent) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let again = event.kind == WatchKind::Change
            && events
                .iter()
                .rev()
                .take(LOOK_BACK)
                .find(|(other, _)| *other == id)
                .is_some_and(|(_, last)| *last == event);
        if events.len() >= MAX_EVENTS || again {
            return;
        }
        let first = events.is_empty();
        events.push_back((id, event));
        drop(events);
        if first {
            inbox.send_unref(Box::new(report));
        }
    }

    fn take(&self) -> VecDeque<(u64, WatchEvent)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("FSEvent"));
    }
    let env = Env::of(scope);
    let watches = env.extension::<Watches>();
    let id = watches.next.get();
    watches.next.set(id + 1);
    let event = FsEvent {
        id,
        watch: RefCell::default(),
        encoding: Cell::new(Encoding::Utf8),
    };
    Resource::wrap_handle(scope, &env, args.this(), PROVIDER, stop, Rc::new(event));
    Ok(v8::undefined(scope).into())
}

fn stop(env: &Env, resource: &Resource) {
    if let Some(event) = resource.inner::<FsEvent>() {
        let watch = event.watch.take();
        drop(watch);
        let active = env
            .extension::<Watches>()
            .active
            .borrow_mut()
            .remove(&event.id);
        drop(active);
    }
}

fn initialized<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let active = Resource::of(scope, args.this()).is_some_and(|resource| resource.is_active());
    Ok(v8::Boolean::new(scope, active).into())
}

/// `start(path, persistent, recursive, encoding)`: 0 or a negative error number.
fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = argument::path(scope, args.get(0))?;
    let persistent = !args.get(1).is_false();
    let encoding = Encoding::from_value(scope, args.get(3), Encoding::Utf8);
    let (resource, event) = Resource::this::<FsEvent>(scope, args)?;
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemRead, &path)?;
    if resource.is_active() {
        return Ok(v8::Integer::new(scope, 0).into());
    }
    event.encoding.set(encoding);
    let (queue, inbox, id) = (
        env.extension::<Watches>().queue.clone(),
        env.shared().inbox.clone(),
        event.id,
    );
    let sink = Arc::new(move |event| queue.push(&inbox, id, event));
    let status = match kernel.watch(&process, &path, sink) {
        Ok(watch) => {
            event.watch.replace(Some(watch));
            resource.set_ref(&env, persistent);
            resource.activate(scope, &env, args.this());
            env.extension::<Watches>()
                .active
                .borrow_mut()
                .insert(id, resource);
            0
        }
        Err(errno) => -errno.number(),
    };
    Ok(v8::Integer::new(scope, status).into())
}

/// Tells the events that wait.
fn report(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let watches = env.extension::<Watches>();
    for (id, WatchEvent { kind, name }) in watches.queue.take() {
        if env.is_ending() {
            return;
        }
        let Some(resource) = watches.active.borrow().get(&id).cloned() else {
            continue;
        };
        let Some(event) = resource.inner::<FsEvent>().filter(|_| resource.is_active()) else {
            continue;
        };
        v8::scope!(let scope, scope);
        let Some(object) = resource.object(scope) else {
            continue;
        };
        let kind = match kind {
            WatchKind::Rename => "rename",
            WatchKind::Change => "change",
        };
        let Some(kind) = v8::String::new(scope, kind) else {
            return;
        };
        let name =
            encode(scope, &name, event.encoding.get()).unwrap_or_else(|_| v8::null(scope).into());
        let status = v8::Integer::new(scope, 0).into();
        env.make_callback_named(
            scope,
            object,
            "onchange",
            &[status, kind.into(), name],
            resource.context(),
        );
    }
}
