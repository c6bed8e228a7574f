//! Programs that use one binding each, as a hostile or careless guest would. A program passes when it exits with 0.

use std::sync::Once;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use secure_exec_runtime::api::{ExecOptions, Outcome, Reason, VmOptions};
use secure_exec_runtime::vm::Vm;
use secure_exec_runtime::{engine, snapshot};

fn start_engine() {
    static START: Once = Once::new();
    START.call_once(|| {
        let (sender, receiver) = channel();
        engine::spawn("snapshot".into(), 16 << 20, move || {
            sender.send(snapshot::build()).unwrap();
        })
        .unwrap();
        let blob = receiver.recv().unwrap().expect("snapshot");
        engine::set_startup_snapshot(Box::leak(blob.into_boxed_slice()));
    });
}

fn run(code: &str) -> Outcome {
    run_in(VmOptions::default(), code)
}

fn run_in(options: VmOptions, code: &str) -> Outcome {
    start_engine();
    let vm = Vm::new(options).unwrap();
    let (sender, receiver) = channel();
    let options = ExecOptions {
        code: code.to_owned(),
        capture_bytes: 1 << 16,
        ..ExecOptions::default()
    };
    vm.exec(
        options,
        Box::new(move |outcome| {
            let _ = sender.send(outcome);
        }),
    )
    .expect("starts");
    receiver.recv().expect("ends")
}

macro_rules! guests {
    ($($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                let outcome = run(include_str!(concat!("guests/", stringify!($name), ".cjs")));
                let errors = String::from_utf8_lossy(&outcome.stderr.bytes).into_owned();
                assert_eq!((outcome.reason, outcome.code), (Reason::Exit, 0), "{errors}");
            }
        )*
    };
}

guests! {
    http_parser,
    net,
    net_hostile,
    http2,
    tls_hostile,
    zlib,
    node_differences,
    crypto,
    crypto_keys,
    crypto_rest,
}

/// What another thread does for a process counts as its own CPU time, and ends with it.
#[test]
fn work_elsewhere_is_charged() {
    let mut options = VmOptions::default();
    options.limits.cpu = Some(Duration::from_millis(300));
    options.limits.wall = Some(Duration::from_mins(1));
    let code = "const data = Buffer.alloc(8 << 20, 'abcdefgh');
        (function again() { require('zlib').gzip(data, { level: 9 }, again); })()";
    let start = Instant::now();
    let outcome = run_in(options, code);
    assert_eq!(outcome.reason, Reason::Cpu);
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "took {:?}",
        start.elapsed()
    );
}

/// Memory of codecs is the process's.
#[test]
fn codecs_are_charged() {
    let mut options = VmOptions::default();
    options.limits.memory_bytes = 64 << 20;
    let code = "const zlib = require('zlib'); const kept = [];
        for (;;) { const it = zlib.createDeflate(); kept.push(it); it._handle.writeSync(0, Buffer.from('x'), 0, 1, Buffer.alloc(9), 0, 9); }";
    let outcome = run_in(options, code);
    assert_eq!(outcome.reason, Reason::Memory);
}
