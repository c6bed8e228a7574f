//! Contexts keep JavaScript state between calls.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use secure_exec_runtime::api::{ExecOptions, Outcome, Reason, VmOptions, Want};
use secure_exec_runtime::context::{Call, Context};
use secure_exec_runtime::vm::Vm;
use secure_exec_runtime::{engine, snapshot};

fn boot() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let (sender, receiver) = channel();
        engine::spawn("snapshot".into(), 16 << 20, move || {
            drop(sender.send(snapshot::build()));
        })
        .unwrap();
        engine::set_startup_snapshot(Box::leak(
            receiver.recv().unwrap().unwrap().into_boxed_slice(),
        ));
    });
}

fn call(context: &Context, code: &str) -> Outcome {
    let (sender, receiver) = channel();
    let call = Call {
        code: code.to_owned(),
        want: Want::Exit,
        cpu: Some(Duration::from_millis(500)),
        wall: None,
        capture_bytes: 1 << 16,
        on_output: None,
    };
    context
        .call(call, Box::new(move |outcome| drop(sender.send(outcome))))
        .unwrap();
    receiver.recv_timeout(Duration::from_mins(1)).unwrap()
}

fn context() -> (Arc<Vm>, Context) {
    boot();
    let vm = Vm::new(VmOptions::default()).unwrap();
    let context = vm.context(ExecOptions::default()).unwrap();
    (vm, context)
}

fn stdout(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stdout.bytes).into_owned()
}

#[test]
fn state_stays() {
    let (_vm, context) = context();
    assert_eq!(
        call(
            &context,
            "let a = 1; const f = (x) => x + a; globalThis.g = 5"
        )
        .code,
        0
    );
    let outcome = call(
        &context,
        "a += 1; console.log(f(40), g, typeof require('node:fs').readFileSync)",
    );
    assert_eq!(
        (outcome.reason, stdout(&outcome).as_str()),
        (Reason::Exit, "42 5 function\n")
    );
}

#[test]
fn awaits_and_types_are_allowed() {
    let (_vm, context) = context();
    let outcome = call(
        &context,
        "const v = await new Promise((r) => setTimeout(r, 5, 7)); console.log(v)",
    );
    assert_eq!(stdout(&outcome), "7\n", "{outcome:?}");
    let outcome = call(&context, "const n: number = v + 1; console.log(n)");
    assert_eq!(stdout(&outcome), "8\n", "{outcome:?}");
}

#[test]
fn an_error_leaves_the_state() {
    let (_vm, context) = context();
    call(&context, "var kept = 3");
    let outcome = call(&context, "throw new TypeError('boom')");
    assert_eq!((outcome.reason, outcome.code), (Reason::Error, 1));
    assert_eq!(
        outcome.error.as_ref().map(|error| error.name.as_str()),
        Some("TypeError")
    );
    let outcome = call(
        &context,
        "setTimeout(() => { throw new Error('later') }, 1)",
    );
    assert_eq!((outcome.reason, outcome.code), (Reason::Error, 1));
    let outcome = call(&context, "console.log(kept)");
    assert_eq!(
        (outcome.reason, stdout(&outcome).as_str()),
        (Reason::Exit, "3\n")
    );
}

#[test]
fn a_limit_ends_the_context_and_not_the_vm() {
    let (vm, context) = context();
    let outcome = call(&context, "for (;;);");
    assert_eq!((outcome.reason, outcome.code), (Reason::Cpu, 124));
    let fresh = vm.context(ExecOptions::default()).unwrap();
    assert_eq!(stdout(&call(&fresh, "console.log(1 + 1)")), "2\n");
}
