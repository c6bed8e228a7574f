//! Runs a program, or Node's own tests, without the addon. For work on bindings.
//!
//! `run [--real-time] <file.js>` runs a file of the host's, with a clock that never stands still if so asked;
//! `run --tests <suite> <glob-free list of test files relative to suite>` puts
//! the suite at /suite and runs each test in its own VM, printing PASS or FAIL and the last lines of output.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use secure_exec_kernel::Image;
use secure_exec_runtime::api::{ExecOptions, Limits, Outcome, Reason, VmOptions};
use secure_exec_runtime::vm::Vm;
use secure_exec_runtime::{engine, snapshot};

fn main() {
    let (sender, receiver) = channel();
    engine::spawn("snapshot".into(), 16 << 20, move || {
        sender.send(snapshot::build()).expect("receiver lives");
    })
    .expect("thread");
    let blob = receiver.recv().expect("snapshot thread").expect("snapshot");
    engine::set_startup_snapshot(Box::leak(blob.into_boxed_slice()));
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let real_time = args.first().is_some_and(|arg| arg == "--real-time");
    if real_time {
        args.remove(0);
    }
    if args.first().is_some_and(|arg| arg == "--tests") {
        let root = PathBuf::from(&args[1]);
        let mut builder = Image::builder();
        add_tree(&mut builder, &root, &root);
        let image = builder.build();
        let (mut passed, mut failed) = (0, 0);
        for test in &args[2..] {
            let source = std::fs::read_to_string(root.join(test)).unwrap_or_default();
            let outcome = run_test(image.clone(), test, &source);
            let ok = outcome.reason == Reason::Exit && outcome.code == 0;
            if ok {
                passed += 1;
            } else {
                failed += 1;
            }
            println!("{} {test}", if ok { "PASS" } else { "FAIL" });
            if !ok {
                let mut text = String::from_utf8_lossy(&outcome.stderr.bytes).into_owned();
                if outcome.reason == Reason::Exit {
                    // Node's test runner tells its failures on stdout.
                    text.push_str(&failures(&String::from_utf8_lossy(&outcome.stdout.bytes)));
                }
                let lines: Vec<&str> = text.lines().take(30).collect();
                println!(
                    "    {:?} {} {}\n    {}",
                    outcome.reason,
                    outcome.code,
                    outcome.error_message.unwrap_or_default(),
                    lines.join("\n    ")
                );
            }
        }
        println!("{passed} passed, {failed} failed");
        return;
    }
    let code = std::fs::read_to_string(&args[0]).expect("program");
    let vm = Vm::new(VmOptions::default()).expect("vm");
    let options = ExecOptions {
        code,
        file_path: args.get(1).cloned(),
        mitigation: real_time.then_some(secure_exec_runtime::clock::Mitigation::Off),
        on_output: Some(Arc::new(|_, bytes| {
            use std::io::Write;
            let _ = std::io::stdout().write_all(bytes);
        })),
        ..ExecOptions::default()
    };
    let outcome = wait(&vm, options);
    eprintln!(
        "{:?} code {} {:?} {:?} {:?}",
        outcome.reason, outcome.code, outcome.error_message, outcome.error, outcome.usage
    );
}

/// What a report of Node's test runner says about the tests that failed.
fn failures(report: &str) -> String {
    const LINES: usize = 14;
    let mut told = String::new();
    let mut lines = report.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("not ok") {
            told.push_str(line);
            told.push('\n');
            for line in lines.by_ref().take(LINES) {
                if !line.contains("---") && !line.contains("duration_ms") {
                    told.push_str(line);
                    told.push('\n');
                }
            }
        }
    }
    told
}

fn wait(vm: &Arc<Vm>, options: ExecOptions) -> Outcome {
    let (sender, receiver) = channel();
    vm.exec(options, Box::new(move |outcome| drop(sender.send(outcome))))
        .expect("exec");
    receiver.recv().expect("outcome")
}

fn run_test(image: Arc<Image>, test: &str, source: &str) -> Outcome {
    let limits = Limits {
        cpu: Some(Duration::from_secs(10)),
        wall: Some(Duration::from_secs(10)),
        memory_bytes: 512 << 20,
        ..Limits::default()
    };
    let vm = Vm::new(VmOptions {
        image: Some(image),
        limits,
        cwd: "/suite/test".into(),
        ..VmOptions::default()
    })
    .expect("vm");
    let mut exec_argv = Vec::new();
    let mut node_options = Vec::new();
    for line in source
        .lines()
        .filter_map(|line| line.strip_prefix("// Flags:"))
    {
        for flag in line.split_whitespace() {
            exec_argv.push(flag.to_owned());
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.replace('_', "-"), serde_json::Value::from(value)),
                None => (flag.replace('_', "-"), true.into()),
            };
            if let Some(positive) = name.strip_prefix("--no-") {
                node_options.push((format!("--{positive}"), false.into()));
            }
            node_options.push((name, value));
        }
    }
    let options = ExecOptions {
        file_path: Some(format!("/suite/{test}")),
        from_file: true,
        exec_argv,
        node_options,
        mitigation: Some(secure_exec_runtime::clock::Mitigation::Off),
        env: vec![
            ("NODE_TEST_DIR".into(), "/tmp".into()),
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("HOME".into(), "/home/sandbox".into()),
        ],
        capture_bytes: 1 << 20,
        ..ExecOptions::default()
    };
    let outcome = wait(&vm, options);
    vm.dispose();
    outcome
}

fn add_tree(builder: &mut secure_exec_kernel::ImageBuilder, root: &Path, dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("suite").flatten() {
        let path = entry.path();
        let guest = format!(
            "/suite/{}",
            path.strip_prefix(root).expect("below root").display()
        );
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_symlink() {
            let target = std::fs::read_link(&path).expect("link");
            builder
                .symlink(guest, target.to_string_lossy().as_bytes())
                .expect("symlink");
        } else if kind.is_dir() {
            builder.dir(&guest, 0o755).expect("dir");
            add_tree(builder, root, &path);
        } else if let Ok(bytes) = std::fs::read(&path) {
            builder.file(&guest, bytes, 0o644).expect("file");
        }
    }
}
