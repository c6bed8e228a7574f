//! `ConnectionsList`: the parsers of a server's connections, by the time of their current message.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::env::Env;
use crate::throw::Throw;

/// When a parser's message began, in nanoseconds, or 0 between messages; and the parser's number.
type Key = (u64, u64);

/// A connection as its list knows it.
#[derive(Clone)]
struct Member {
    object: Rc<v8::Weak<v8::Object>>,
    headers_completed: bool,
}

/// See the module's text.
#[derive(Default)]
pub struct Connections {
    all: RefCell<BTreeMap<Key, Member>>,
    /// Those in the middle of a message, and those that have not sent any.
    active: RefCell<BTreeMap<Key, Member>>,
    next: Cell<u64>,
}

impl Connections {
    /// The list behind a `ConnectionsList`.
    pub fn of<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
    ) -> Option<Rc<Self>> {
        let object = v8::Local::<v8::Object>::try_from(value).ok()?;
        Env::of(scope).objects.unwrap(scope, object)
    }

    fn remove(&self, key: Key) {
        self.all.borrow_mut().remove(&key);
        self.active.borrow_mut().remove(&key);
    }
}

/// A parser's place in a list.
pub struct Membership {
    object: Rc<v8::Weak<v8::Object>>,
    list: RefCell<Option<Rc<Connections>>>,
    key: Cell<Key>,
}

impl Membership {
    /// In no list.
    pub fn new(scope: &mut v8::PinScope<'_, '_>, object: v8::Local<v8::Object>) -> Self {
        Self {
            object: Rc::new(v8::Weak::new(scope, object)),
            list: RefCell::default(),
            key: Cell::default(),
        }
    }

    fn put(&self, started: u64, active: bool) {
        let list = self.list.borrow();
        let Some(list) = list.as_ref() else { return };
        list.remove(self.key.get());
        let key = (started, self.key.get().1);
        self.key.set(key);
        let member = Member {
            object: self.object.clone(),
            headers_completed: false,
        };
        if active {
            list.active.borrow_mut().insert(key, member.clone());
        }
        list.all.borrow_mut().insert(key, member);
    }

    /// Enters `list` instead of the one before. A client that sends nothing counts as active from now on.
    pub fn join(&self, env: &Env, list: Option<Rc<Connections>>) {
        self.leave();
        if let Some(list) = &list {
            let number = list.next.replace(list.next.get() + 1);
            self.key.set((0, number));
        }
        self.list.replace(list);
        self.put(now(env), true);
    }

    /// A message begins.
    pub fn begin_message(&self, env: &Env) {
        self.put(now(env), true);
    }

    /// The headers of the message are complete: only the request's own timeout counts now.
    pub fn complete_headers(&self) {
        if let Some(list) = self.list.borrow().as_ref()
            && let Some(member) = list.active.borrow_mut().get_mut(&self.key.get())
        {
            member.headers_completed = true;
        }
    }

    /// The message is complete.
    pub fn complete_message(&self) {
        self.put(0, false);
    }

    /// Leaves the list. A parser that is still in use enters it again with its next message.
    pub fn leave(&self) {
        if let Some(list) = self.list.borrow().as_ref() {
            list.remove(self.key.get());
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}

fn now(env: &Env) -> u64 {
    u64::try_from(env.clock().monotonic().as_nanos()).unwrap_or(u64::MAX)
}

/// `new ConnectionsList()`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("ConnectionsList"));
    }
    let list = Rc::new(Connections::default());
    Env::of(scope).objects.wrap(scope, args.this(), list);
    Ok(v8::undefined(scope).into())
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Connections>, Throw> {
    Connections::of(scope, args.this().into()).ok_or_else(|| {
        Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
    })
}

fn objects<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    members: impl Iterator<Item = Member>,
) -> v8::Local<'s, v8::Value> {
    let objects: Vec<v8::Local<v8::Value>> = members
        .filter_map(|member| member.object.to_local(scope))
        .map(Into::into)
        .collect();
    v8::Array::new_with_elements(scope, &objects).into()
}

/// `all()`
pub fn all<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let list = this(scope, args)?;
    let members = list.all.borrow();
    Ok(objects(scope, members.values().cloned()))
}

/// `idle()`: those between two messages.
pub fn idle<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let list = this(scope, args)?;
    let members = list.all.borrow();
    let idle = members.range((0, 0)..(1, 0));
    Ok(objects(scope, idle.map(|(_, member)| member.clone())))
}

/// `active()`
pub fn active<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let list = this(scope, args)?;
    let members = list.active.borrow();
    Ok(objects(scope, members.values().cloned()))
}

/// `expired(headersTimeout, requestTimeout)`, in milliseconds, 0 for none. What it answers is active no more.
pub fn expired<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const NANOSECONDS: u64 = 1_000_000;
    let headers = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let request = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let list = this(scope, args)?;
    let (headers, request) = match (headers, request) {
        (0, 0) => return Ok(v8::Array::new(scope, 0).into()),
        (headers, request) if request > 0 && headers > request => (request, headers),
        both => both,
    };
    let now = now(&Env::of(scope));
    // The time before which a message must have begun to be late; 0 when none can be.
    let deadline = |timeout: u32| match timeout {
        0 => 0,
        timeout => now.saturating_sub(u64::from(timeout) * NANOSECONDS),
    };
    let (headers, request) = (deadline(headers), deadline(request));
    let late = |key: &Key, member: &Member| {
        (!member.headers_completed && key.0 < headers) || key.0 < request
    };
    let mut expired = Vec::new();
    list.active.borrow_mut().retain(|key, member| {
        let late = late(key, member);
        if late {
            expired.push(member.clone());
        }
        !late
    });
    Ok(objects(scope, expired.into_iter()))
}
