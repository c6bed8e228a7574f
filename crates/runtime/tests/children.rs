//! Children of guests: `child_process` over the kernel's process table.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use secure_exec_runtime::api::{ExecOptions, Limits, Outcome, Reason, VmOptions};
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

fn vm(limits: Limits) -> Arc<Vm> {
    boot();
    Vm::new(VmOptions {
        limits,
        ..VmOptions::default()
    })
    .unwrap()
}

fn start(vm: &Arc<Vm>, code: &str) -> Receiver<Outcome> {
    let (sender, receiver) = channel();
    let options = ExecOptions {
        code: format!("const cp = require('node:child_process');\n{code}"),
        capture_bytes: 1 << 20,
        ..ExecOptions::default()
    };
    vm.exec(options, Box::new(move |outcome| drop(sender.send(outcome))))
        .unwrap();
    receiver
}

fn run(vm: &Arc<Vm>, code: &str) -> (String, Outcome) {
    let outcome = start(vm, code)
        .recv_timeout(Duration::from_mins(1))
        .unwrap();
    let text = String::from_utf8_lossy(&outcome.stdout.bytes).into_owned();
    (text, outcome)
}

/// What a program prints when all goes well.
fn prints(code: &str) -> String {
    let (text, outcome) = run(&vm(Limits::default()), code);
    let stderr = String::from_utf8_lossy(&outcome.stderr.bytes).into_owned();
    assert_eq!(
        (outcome.reason, outcome.code),
        (Reason::Exit, 0),
        "{stderr}"
    );
    text
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_child_has_its_own_arguments_streams_and_exit() {
    let text = prints(
        "require('fs').writeFileSync('/tmp/c.js', `
           process.stdin.setEncoding('utf8');
           process.stdin.on('data', (d) => process.stdout.write('<' + d + '>')).on('end', () => process.exit(3));
           console.error(process.argv.slice(2).join(), process.env.A, process.cwd(), process.ppid)`);
         const c = cp.spawn(process.execPath, ['/tmp/c.js', 'x', 'y'], { env: { A: '1' }, cwd: '/tmp' });
         c.stdout.on('data', (d) => { console.log(String(d)); if (String(d) === '<one>') c.stdin.end('two'); });
         c.stderr.on('data', (d) => console.log(String(d).trim() === `x,y 1 /tmp ${process.pid}`));
         c.on('close', (code, signal) => console.log(code, signal));
         c.stdin.write('one')",
    );
    assert!(text.contains("true\n") && text.contains("<one>"), "{text}");
    assert!(text.ends_with("<two>\n3 null\n"), "{text}");
}

#[test]
fn signals_and_failures() {
    assert_eq!(
        prints(
            "const c = cp.spawn('sleep', ['100']);
             c.on('exit', (code, signal) => {
               console.log(code, signal);
               const d = cp.spawn('node', ['-e', 'process.on(\"SIGTERM\", () => process.exit(7)); setInterval(() => {}, 1000); console.log(1)']);
               d.stdout.once('data', () => d.kill());
               d.on('exit', (code, signal) => {
                 console.log(code, signal);
                 cp.spawn('/nowhere').on('error', (e) => console.log(e.code, e.syscall, e.errno));
                 cp.exec('exit 4', (e) => console.log(e.code));
               });
             });
             process.kill(c.pid, 0); c.kill()"
        ),
        "null SIGTERM\n7 null\nENOENT spawn /nowhere -2\n4\n"
    );
}

#[test]
fn the_synchronous_forms_wait() {
    assert_eq!(
        prints(
            "console.log(cp.execSync('echo a | tr a b').toString().trim(), cp.execFileSync('cat', { input: 'in' }).toString());
             const r = cp.spawnSync('sleep', ['100'], { timeout: 100 });
             console.log(r.status, r.signal, r.error.code);
             const b = cp.spawnSync('node', ['-e', 'while (1);'], { timeout: 300, killSignal: 'SIGKILL' });
             console.log(b.status, b.signal, b.error.code);
             const m = cp.spawnSync('sh', ['-c', 'while :; do echo y; done'], { maxBuffer: 10 });
             console.log(m.stdout.length > 10 && m.stdout.length <= 65546, m.error.code);
             console.log(cp.spawnSync('nope').error.code)"
        ),
        "b in\nnull SIGTERM ETIMEDOUT\nnull SIGKILL ETIMEDOUT\ntrue ENOBUFS\nENOENT\n"
    );
}

#[test]
fn forks_talk() {
    for serialization in ["json", "advanced"] {
        let code = format!(
            "require('fs').writeFileSync('/tmp/f.js', 'process.on(\"message\", (m) => {{ process.send({{ got: m }}); process.disconnect() }})');
             const c = cp.fork('/tmp/f.js', [], {{ serialization: '{serialization}' }});
             c.on('message', (m) => console.log(JSON.stringify(m)));
             c.on('disconnect', () => console.log('disconnect'));
             c.on('exit', (code) => console.log(code));
             c.send({{ a: [1, 'x'] }})"
        );
        let text = prints(&code);
        assert!(text.starts_with("{\"got\":{\"a\":[1,\"x\"]}}\n"), "{text}");
        assert!(
            text.contains("disconnect\n") && text.contains("0\n"),
            "{text}"
        );
    }
}

#[test]
fn a_tree_ends_with_its_root() {
    let vm = vm(Limits::default());
    let (_, outcome) = run(
        &vm,
        "cp.spawn('node', ['-e', 'setInterval(() => {}, 1000)'], { detached: true, stdio: 'ignore' }).unref();
         cp.spawn('sh', ['-c', 'sleep 1000 & sleep 1000'], { stdio: 'ignore' }).unref();
         setTimeout(() => process.exit(0), 200)",
    );
    assert_eq!(outcome.reason, Reason::Exit);
    wait_until("children stay", || vm.kernel().processes().is_empty());
}

#[test]
fn cpu_time_is_that_of_the_tree() {
    let limits = Limits {
        cpu: Some(Duration::from_millis(600)),
        ..Limits::default()
    };
    for child in [
        "['node', ['-e', 'while (1);']]",
        "['sh', ['-c', 'while :; do :; done']]",
    ] {
        let vm = vm(limits.clone());
        let begun = Instant::now();
        let (_, outcome) = run(
            &vm,
            &format!("cp.spawn(...{child}); setInterval(() => {{}}, 1000)"),
        );
        assert_eq!(outcome.reason, Reason::Cpu, "{child}");
        assert!(outcome.usage.cpu >= Duration::from_millis(600));
        assert!(begun.elapsed() < Duration::from_secs(20));
        wait_until("children stay", || vm.kernel().processes().is_empty());
    }
}

#[test]
fn a_fork_bomb_is_bounded_and_the_neighbour_answers() {
    let bomb = vm(Limits {
        cpu: Some(Duration::from_secs(2)),
        max_child_processes: 8,
        ..Limits::default()
    });
    let neighbour = vm(Limits::default());
    let outcome = start(
        &bomb,
        "require('fs').writeFileSync('/tmp/b.js', `
           const cp = require('child_process');
           setInterval(() => { for (let i = 0; i < 4; i++) cp.spawn('node', ['/tmp/b.js']).on('error', () => {}) }, 1)`);
         require('/tmp/b.js')",
    );
    for _ in 0..3 {
        let begun = Instant::now();
        let (text, _) = run(&neighbour, "console.log(1 + 1)");
        assert_eq!(text, "2\n");
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(bomb.kernel().processes().len() <= 9);
    }
    let outcome = outcome.recv_timeout(Duration::from_mins(1)).unwrap();
    assert_eq!(outcome.reason, Reason::Cpu);
    wait_until("children stay", || bomb.kernel().processes().is_empty());
}

#[test]
fn scripts_with_a_first_line_run() {
    assert_eq!(
        prints(
            "const fs = require('fs');
             fs.mkdirSync('/workspace/node_modules/.bin', { recursive: true });
             fs.writeFileSync('/workspace/node_modules/.bin/tool', '#!/usr/bin/env node\\nconsole.log(process.argv.slice(1).join())', { mode: 0o755 });
             fs.writeFileSync('/workspace/package.json', '{\"scripts\":{\"go\":\"tool a && echo $NODE_RUN_SCRIPT_NAME\"}}');
             console.log(cp.execFileSync('./node_modules/.bin/tool', ['x']).toString().trim());
             console.log(cp.execFileSync('node', ['--run', 'go']).toString().trim());
             console.log(cp.execFileSync('node', ['-p', '6*7']).toString().trim(), cp.execFileSync('node', { input: 'console.log(1)' }).toString().trim());
             const bad = cp.spawnSync('node', ['--nope']);
             console.log(bad.status, bad.stderr.toString().trim())"
        ),
        "/workspace/node_modules/.bin/tool,x\n/workspace/node_modules/.bin/tool,a\ngo\n42 1\n9 node: bad option: --nope\n"
    );
}
