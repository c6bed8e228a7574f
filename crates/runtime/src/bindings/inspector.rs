//! `internalBinding('inspector')`: sessions of the guest with itself, and V8's console. Source: `src/inspector_js_api.cc`.
//!
//! Nothing of the host listens for a debugger, ever: `open()` is not available, and so is a worker's session with its
//! parent's thread.

use std::cell::RefCell;
use std::rc::Rc;

use crate::binding::{Args, Binding, Callback, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::env::Env;
use crate::inspector::{Agent, Listener, MAX_MESSAGE, Session, TaskEvent};
use crate::latch::End;
use crate::realm::set;
use crate::text::too_long;
use crate::throw::{ErrorClass, Throw};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "inspector",
    functions: &[
        ("consoleCall", function!(console_call)),
        (
            "setConsoleExtensionInstaller",
            function!(set_console_extension_installer),
        ),
        ("callAndPauseOnStart", function!(call_and_pause_on_start)),
        ("open", function!(open)),
        ("url", function!(url)),
        ("waitForDebugger", function!(wait_for_debugger)),
        ("isEnabled", function!(is_enabled)),
        ("asyncTaskScheduled", function!(async_task_scheduled)),
        ("asyncTaskCanceled", function!(async_task_canceled)),
        ("asyncTaskStarted", function!(async_task_started)),
        ("asyncTaskFinished", function!(async_task_finished)),
        ("registerAsyncHook", function!(register_async_hook)),
        ("setupNetworkTracking", function!(setup_network_tracking)),
        ("emitProtocolEvent", function!(emit_protocol_event)),
        ("putNetworkResource", function!(put_network_resource)),
    ],
    classes: &[
        Class {
            name: "Connection",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(connect)),
            methods: &[
                ("dispatch", function!(dispatch)),
                ("disconnect", function!(disconnect)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "MainThreadConnection",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(connect_to_main_thread)),
            ..Class::DEFAULT
        },
    ],
    references: || {
        let functions = OWN_CONSOLE.iter();
        functions
            .map(|(_, function)| v8::ExternalReference {
                function: *function,
            })
            .collect()
    },
    init: Some(init),
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "INSPECTORJSBINDING",
    number: 0,
};

/// In the place of V8's own. The first one makes consoles of V8's with all functions; the last one V8 has only when its
/// inspector is there.
const OWN_CONSOLE: &[(&str, Callback)] = &[
    ("context", function!(console_context)),
    ("profile", function!(console_profile)),
    ("profileEnd", function!(console_profile_end)),
    ("createTask", function!(console_create_task)),
];

const RUN_TASK: Callback = function!(run_task);

/// What is behind a `Connection`.
struct Connection(RefCell<Option<Rc<Session>>>);

/// V8's own console of a context, before the library puts its own in the place.
fn console_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    global: v8::Local<'s, v8::Object>,
) -> Option<v8::Local<'s, v8::Object>> {
    let key = v8::String::new(scope, "console")?;
    global.get(scope, key.into())?.try_into().ok()
}

/// Replaces those functions of a new context's console that start V8's CPU profiler, which takes signals of the host's, or
/// lead to them.
pub(crate) fn tame_console<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    global: v8::Local<'s, v8::Object>,
) {
    let Some(console) = console_of(scope, global) else {
        return;
    };
    for (name, callback) in OWN_CONSOLE {
        let template = v8::FunctionTemplate::builder_raw(*callback)
            .constructor_behavior(v8::ConstructorBehavior::Throw)
            .build(scope);
        let (Some(function), Some(key)) =
            (template.get_function(scope), v8::String::new(scope, name))
        else {
            return;
        };
        function.set_name(key);
        set(scope, console, name, function.into());
    }
}

fn init(scope: &mut v8::PinScope<'_, '_>, _env: &Env, target: v8::Local<v8::Object>) {
    v8::scope!(let scope, scope);
    let global = scope.get_current_context().global(scope);
    if let Some(console) = console_of(scope, global) {
        set(scope, target, "console", console.into());
    }
}

fn invalid(what: &str, kind: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("The \"{what}\" argument must be of type {kind}."),
    )
}

fn function_at<'s>(
    args: &Args<'s>,
    index: i32,
    what: &str,
) -> Result<v8::Local<'s, v8::Function>, Throw> {
    v8::Local::try_from(args.get(index)).map_err(|_| invalid(what, "function"))
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// There is no clock for a profile without a listener.
fn console_profile<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    undefined(scope)
}

fn console_profile_end<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    undefined(scope)
}

/// `console.createTask(name)`: what it runs is no task for an inspector that is not there.
fn console_create_task<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = v8::Local::<v8::String>::try_from(args.get(0));
    if !name.is_ok_and(|name| name.length() > 0) {
        let text = "First argument must be a non-empty string.";
        return Err(Throw::Plain(ErrorClass::Error, text.to_owned()));
    }
    let task = v8::Object::new(scope);
    let run = v8::Function::builder_raw(RUN_TASK)
        .constructor_behavior(v8::ConstructorBehavior::Throw)
        .build(scope)
        .ok_or(Throw::Pending)?;
    set(scope, task, "run", run.into());
    Ok(task.into())
}

/// `task.run(function)`
fn run_task<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Ok(function) = v8::Local::<v8::Function>::try_from(args.get(0)) else {
        let text = "First argument must be a function.";
        return Err(Throw::Plain(ErrorClass::Error, text.to_owned()));
    };
    let undefined = v8::undefined(scope).into();
    function.call(scope, undefined, &[]).ok_or(Throw::Pending)
}

fn console_context<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(Throw::unavailable("console.context"))
}

/// `consoleCall(ofV8, ofNode, ...args)`: V8's method while a session is there, and Node's.
fn console_call<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let of_node = function_at(args, 1, "nodeMethod")?;
    let rest: Vec<_> = (2..args.length()).map(|index| args.get(index)).collect();
    let env = Env::of(scope);
    if env.inspected.get() {
        let of_v8 = function_at(args, 0, "inspectorMethod")?;
        let agent = env.extension::<Agent>();
        if !agent.in_console_call.replace(true) {
            let done = of_v8.call(scope, args.this().into(), &rest);
            agent.in_console_call.set(false);
            if done.is_none() {
                return Err(Throw::Pending);
            }
        }
    }
    of_node
        .call(scope, args.this().into(), &rest)
        .ok_or(Throw::Pending)?;
    undefined(scope)
}

/// What it would extend is not in reach of a session.
fn set_console_extension_installer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    function_at(args, 0, "installer")?;
    undefined(scope)
}

/// `callAndPauseOnStart(function, receiver, ...args)`; nobody is there to go on after a pause.
fn call_and_pause_on_start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let function = function_at(args, 0, "function")?;
    let rest: Vec<_> = (2..args.length()).map(|index| args.get(index)).collect();
    function
        .call(scope, args.get(1), &rest)
        .ok_or(Throw::Pending)
}

fn open<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(Throw::unavailable("inspector.open"))
}

fn url<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    undefined(scope)
}

/// Nobody could come.
fn wait_for_debugger<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}

fn is_enabled<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let active = Env::of(scope).inspected.get();
    Ok(v8::Boolean::new(scope, active).into())
}

fn number_at(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>, index: i32) -> Result<f64, Throw> {
    if !args.get(index).is_number() {
        return Err(invalid("taskId", "number"));
    }
    args.get(index).number_value(scope).ok_or(Throw::Pending)
}

fn note_task<'s>(scope: &mut v8::PinScope<'s, '_>, event: TaskEvent<'_>) -> Ret<'s> {
    Env::of(scope).extension::<Agent>().note_task(event);
    undefined(scope)
}

/// `asyncTaskScheduled(name, id, recurring)`
fn async_task_scheduled<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// Longer names tell nobody more.
    const LONGEST: usize = 256;
    let name = v8::Local::<v8::String>::try_from(args.get(0))
        .ok()
        .filter(|name| name.length() <= LONGEST)
        .ok_or_else(|| invalid("taskName", "string"))?
        .to_rust_string_lossy(scope);
    let id = number_at(scope, args, 1)?;
    note_task(scope, TaskEvent::Scheduled(&name, id))
}

fn async_task_canceled<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = number_at(scope, args, 0)?;
    note_task(scope, TaskEvent::Canceled(id))
}

fn async_task_started<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = number_at(scope, args, 0)?;
    note_task(scope, TaskEvent::Started(id))
}

fn async_task_finished<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = number_at(scope, args, 0)?;
    note_task(scope, TaskEvent::Finished(id))
}

/// `registerAsyncHook(enable, disable)`
fn register_async_hook<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    function_at(args, 0, "enable")?;
    function_at(args, 1, "disable")?;
    let env = Env::of(scope);
    env.register(scope, "inspector.enableAsyncHook", args.get(0));
    env.register(scope, "inspector.disableAsyncHook", args.get(1));
    undefined(scope)
}

/// Without a front-end nobody switches the domain `Network` on.
fn setup_network_tracking<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    undefined(scope)
}

fn emit_protocol_event<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    undefined(scope)
}

fn put_network_resource<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    undefined(scope)
}

/// `new Connection(callback)`
fn connect<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Connection"));
    }
    let callback = function_at(args, 0, "callback")?;
    let env = Env::of(scope);
    let connection = Rc::new(Connection(RefCell::default()));
    let resource = Resource::wrap(scope, &env, args.this(), PROVIDER, connection.clone());
    let listener = Listener::Guest {
        callback: v8::Global::new(scope, callback),
        receiver: v8::Global::new(scope, args.this()),
        context: resource.context(),
    };
    let session = env.extension::<Agent>().connect(scope, &env, listener)?;
    connection.0.replace(Some(session));
    undefined(scope)
}

fn connect_to_main_thread<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(Throw::unavailable("inspector.Session.connectToMainThread"))
}

/// `dispatch(message)`
fn dispatch<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// Copies of a message while it is worked on, in bytes for each unit of UTF-16.
    const COPIES: usize = 8;
    let (_, connection) = Resource::this::<Connection>(scope, args)?;
    let text =
        v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| invalid("message", "string"))?;
    if text.length() > MAX_MESSAGE {
        return Err(too_long());
    }
    let session = connection.0.borrow().clone();
    let Some(session) = session else {
        return undefined(scope);
    };
    let env = Env::of(scope);
    let charge = env
        .memory_account()
        .map(|memory| memory.charge_native(text.length() * COPIES))
        .transpose();
    let Ok(_charge) = charge else {
        return Err(env.end(scope, End::Memory("native")));
    };
    let text = text.to_rust_string_lossy(scope);
    session.dispatch(scope, &env, &text)?;
    undefined(scope)
}

/// `disconnect()`
fn disconnect<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, connection) = Resource::this::<Connection>(scope, args)?;
    let session = connection.0.take();
    if let Some(session) = session {
        let env = Env::of(scope);
        env.extension::<Agent>().disconnect(&env, &session);
        resource.destroy(scope, &env);
    }
    undefined(scope)
}
