//! Functions of the host that a guest calls: asynchronous, by dotted path.
//!
//! The guest sees a frozen tree of functions (`SecureExec.bindings`, `callHostFunction`), made by the main script in each
//! process of a VM that has any. A call copies its arguments out, asks the host, and settles a promise when the answer
//! comes; the process stays alive meanwhile. What the answer holds is built in the guest, so nothing of the host's heap
//! is ever reachable.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use secure_exec_kernel::permissions::{Permissions, Request};

use crate::api::Limits;
use crate::binding::{Args, Callback, Ret, function};
use crate::budget::{Installed, LimitError};
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::event_loop::ActiveGuard;
use crate::host::{Answer, Host, HostCall, HostError, Reply, Target};
use crate::marshal::{HostValue, MarshalError};
use crate::throw::{ErrorClass, Throw};

/// Calls of one process that may wait for the host.
const MAX_WAITING_CALLS: usize = 1024;
/// Bytes of arguments that they may hold.
const MAX_WAITING_BYTES: usize = 64 << 20;

const CALL: Callback = function!(call);

/// Who answers the calls of one process.
#[derive(Clone)]
pub struct Link {
    /// The host.
    pub host: Arc<dyn Host>,
    /// What it allows.
    pub permissions: Arc<Permissions>,
    /// What may cross.
    pub limits: Limits,
}

struct Waiting {
    resolver: v8::Global<v8::PromiseResolver>,
    bytes: usize,
    _alive: ActiveGuard,
}

/// Calls of one process.
#[derive(Default)]
struct Calls {
    link: RefCell<Option<Link>>,
    waiting: RefCell<HashMap<u64, Waiting>>,
    bytes: Cell<usize>,
    next: Cell<u64>,
}

/// Gives the process the functions `names`.
pub(crate) fn install(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    link: Link,
    names: &[String],
) -> Result<(), Throw> {
    env.extension::<Calls>().link.replace(Some(link));
    crate::process::call_main(scope, env, "installHostFunctions", |scope| {
        let mut texts = Vec::with_capacity(names.len());
        for name in names {
            texts.push(v8::String::new(scope, name).ok_or(Throw::Pending)?.into());
        }
        let names = v8::Array::new_with_elements(scope, &texts).into();
        let call = v8::FunctionTemplate::new_raw(scope, CALL)
            .get_function(scope)
            .ok_or(Throw::Pending)?;
        Ok(vec![names, call.into()])
    })
    .map(drop)
}

/// `call(name, args)`: a promise for what the host's function gives. Every failure is a rejection.
fn call<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
    if let Err(throw) = begin(scope, args, resolver) {
        let error = throw.into_value(scope).ok_or(Throw::Pending)?;
        resolver.reject(scope, error);
    }
    Ok(resolver.get_promise(scope).into())
}

fn begin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    resolver: v8::Local<'s, v8::PromiseResolver>,
) -> Result<(), Throw> {
    let env = Env::of(scope);
    let calls = env.extension::<Calls>();
    let link = calls.link.borrow().clone();
    let (Some(link), Ok(name)) = (link, v8::Local::<v8::String>::try_from(args.get(0))) else {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"name\" argument must be of type string.",
        ));
    };
    let name = name.to_rust_string_lossy(scope);
    let budgets = env.extension::<Installed>().get();
    budgets
        .bridge_calls
        .charge(1)
        .map_err(LimitError::into_throw)?;
    let request = Request::HostFunction {
        name: name.as_str().into(),
    };
    link.permissions
        .check(&request)
        .map_err(|denial| Throw::error("EACCES", denial.to_string()))?;
    if env.is_ending() {
        return Err(Throw::Pending);
    }
    let payload =
        crate::marshal::arguments_to_host(scope, args.get(1), &link.limits).map_err(refused)?;
    let bytes = payload.as_bytes().len();
    let held = calls.bytes.get().saturating_add(bytes);
    if calls.waiting.borrow().len() >= MAX_WAITING_CALLS || held > MAX_WAITING_BYTES {
        return Err(Throw::error(
            "ERR_RESOURCE_BUDGET_EXCEEDED",
            format!(
                "too many calls of host functions wait for their answer (at most {MAX_WAITING_CALLS}, with \
                 {MAX_WAITING_BYTES} bytes of arguments)"
            ),
        ));
    }
    calls.bytes.set(held);
    let id = calls.next.get();
    calls.next.set(id + 1);
    let waiting = Waiting {
        resolver: v8::Global::new(scope, resolver),
        bytes,
        _alive: env.keep_alive(),
    };
    calls.waiting.borrow_mut().insert(id, waiting);
    let inbox = env.shared().inbox.clone();
    let reply = Reply::new(move |answer| {
        inbox.send_unref(Box::new(move |scope, env| settle(scope, env, id, answer)));
    });
    let target = Target::Function(name);
    link.host.call(HostCall { target, payload }, reply);
    Ok(())
}

fn refused(error: MarshalError) -> Throw {
    Throw::Coded(ErrorClass::Error, error.code, error.message)
}

fn settle(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, id: u64, answer: Answer) {
    let calls = env.extension::<Calls>();
    let Some(call) = calls.waiting.borrow_mut().remove(&id) else {
        return;
    };
    calls
        .bytes
        .set(calls.bytes.get().saturating_sub(call.bytes));
    let Some(process) = env.process_object(scope) else {
        return;
    };
    env.in_callback_scope(scope, process, AsyncContext::default(), |scope| {
        let resolver = v8::Local::new(scope, &call.resolver);
        let settled = match answer {
            Ok(value) => match build(scope, &value) {
                Ok(value) => resolver.resolve(scope, value),
                Err(reason) => {
                    let reason = v8::Local::new(scope, reason?);
                    resolver.reject(scope, reason)
                }
            },
            Err(error) => {
                let error = error_object(scope, &error)?;
                resolver.reject(scope, error)
            }
        };
        settled.map(|_| v8::undefined(scope).into())
    });
}

/// The value in the guest, or what was thrown instead: nothing when the process is being terminated.
fn build<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: &HostValue,
) -> Result<v8::Local<'s, v8::Value>, Option<v8::Global<v8::Value>>> {
    v8::tc_scope!(let scope, scope);
    crate::unmarshal::to_guest(scope, value).map_err(|throw| {
        let thrown = throw.into_value(scope).or_else(|| scope.exception())?;
        let thrown = v8::Global::new(scope, thrown);
        if !scope.has_terminated() {
            scope.reset();
        }
        Some(thrown)
    })
}

/// The error that a guest sees: the host's name, message and code, no stack of it.
fn error_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: &HostError,
) -> Option<v8::Local<'s, v8::Value>> {
    let object = crate::unmarshal::new_error(scope, &error.name, &error.message)?;
    if let Some(code) = &error.code {
        let key = v8::String::new(scope, "code")?.into();
        let code = v8::String::new(scope, code)?.into();
        object.create_data_property(scope, key, code)?;
    }
    Some(object.into())
}
