//! Programs that use one binding each, as a hostile or careless guest would. A program passes when it exits with 0.

use std::sync::Once;
use std::sync::mpsc::channel;

use secure_exec_runtime::api::{ExecOptions, Outcome, Reason, VmOptions};
use secure_exec_runtime::vm::Vm;
use secure_exec_runtime::{engine, snapshot};

fn start_engine() {
    static START: Once = Once::new();
    START.call_once(|| {
        let (sender, receiver) = channel();
        engine::spawn("snapshot".into(), 16 << 20, move || {
            sender.send(snapshot::build()).unwrap()
        })
        .unwrap();
        let blob = receiver.recv().unwrap().expect("snapshot");
        engine::set_startup_snapshot(Box::leak(blob.into_boxed_slice()));
    });
}

fn run(code: &str) -> Outcome {
    start_engine();
    let vm = Vm::new(VmOptions::default()).unwrap();
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
}
