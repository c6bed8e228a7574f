//! Hostile programs against the limits. Each group runs in an OS process of its own: it must survive, answer a
//! neighbour in between, and be idle in the end.

use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use secure_exec_runtime::api::{ExecOptions, Reason, VmOptions};
use secure_exec_runtime::latch::End;
use secure_exec_runtime::process::Control;
use secure_exec_runtime::vm::Vm;
use secure_exec_runtime::{engine, snapshot};

/// What became of a guest.
#[derive(Debug)]
struct Report {
    end: Reason,
    /// Standard output, and what is known of the end.
    text: String,
    cpu: Duration,
}

/// What a guest may use.
#[derive(Clone, Copy)]
struct Limits {
    cpu: Duration,
    wall: Duration,
    memory: usize,
}

const LIMITS: Limits = Limits {
    cpu: Duration::from_millis(200),
    wall: Duration::from_mins(1),
    memory: 64 << 20,
};
/// For programs that are to meet another limit first.
const LONG: Limits = Limits {
    cpu: Duration::from_secs(40),
    ..LIMITS
};
/// How late a process may end on a machine that others use too; `npm run bench` measures how late it does.
const SLACK: Duration = Duration::from_millis(250);

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

/// A guest that runs.
struct Guest {
    control: Arc<Control>,
    report: Receiver<Report>,
    _vm: Arc<Vm>,
}

impl Guest {
    fn start(code: &str, limits: Limits) -> Self {
        start_engine();
        let mut options = VmOptions::default();
        options.limits.memory_bytes = limits.memory;
        options.limits.cpu = Some(limits.cpu);
        options.limits.wall = Some(limits.wall);
        let vm = Vm::new(options).unwrap();
        let (sender, report) = channel();
        let done = Box::new(move |outcome: secure_exec_runtime::api::Outcome| {
            let mut text = String::from_utf8_lossy(&outcome.stdout.bytes)
                .trim_end()
                .to_owned();
            if let Some(message) = outcome.error_message {
                text.push_str(&message);
            }
            let usage = outcome.usage;
            let _ = sender.send(Report {
                end: outcome.reason,
                text,
                cpu: usage.cpu,
            });
        });
        let options = ExecOptions {
            code: code.to_owned(),
            capture_bytes: 1 << 16,
            ..ExecOptions::default()
        };
        let control = vm.exec(options, done).unwrap();
        Self {
            control,
            report,
            _vm: vm,
        }
    }

    fn wait(self) -> Report {
        self.report
            .recv_timeout(Duration::from_mins(2))
            .expect("the guest ends")
    }
}

fn exec(code: &str, limits: Limits) -> Report {
    Guest::start(code, limits).wait()
}

/// What `code` evaluates to, as text.
fn eval(code: &str, limits: Limits) -> Report {
    exec(
        &format!(
            "console.log(String((0, eval)({})))",
            serde_json::Value::from(code)
        ),
        limits,
    )
}

/// A neighbour answers, fast.
fn assert_neighbour() {
    let start = Instant::now();
    let report = eval("1 + 1", LIMITS);
    assert_eq!((report.end, report.text.as_str()), (Reason::Exit, "2"));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "the neighbour took {:?}",
        start.elapsed()
    );
}

/// The OS process comes to rest: a thread whose process was reported as ended may finish its builtin.
fn assert_idle() {
    let used = || {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes into a local.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        Duration::new(
            time.tv_sec.try_into().unwrap(),
            time.tv_nsec.try_into().unwrap(),
        )
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let before = used();
        std::thread::sleep(Duration::from_millis(300));
        let busy = used().checked_sub(before).unwrap();
        if busy < Duration::from_millis(30) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "still busy for {busy:?} of 300 ms"
        );
    }
}

/// Runs every program and hands its report to `check`.
fn each(programs: &[&str], limits: Limits, check: impl Fn(&str, &Report)) {
    for program in programs {
        let report = exec(program, limits);
        println!(
            "{program}\n    -> {report:?}, parked {}",
            engine::parked_threads()
        );
        check(program, &report);
        assert_neighbour();
    }
    assert_idle();
}

fn is_memory(end: &Reason) -> bool {
    *end == Reason::Memory
}

/// The groups, each of which runs in an OS process of its own.
const GROUPS: &[(&str, fn())] = &[
    ("cpu", cpu),
    ("typescript", typescript),
    ("uninterruptible", uninterruptible),
    ("fatal", fatal_errors),
    ("heap", heap),
    ("external", external),
    ("wasm", wasm),
    ("stack", stack),
    ("clock", clock),
    ("shared", shared_memory),
    ("budgets", budgets),
    ("kill", kill),
    ("many", many),
];

fn cpu() {
    let programs = [
        "for (;;);",
        "while (true) try { throw 1 } catch {}",
        "(function f() { try { f() } finally { f() } })()",
        "function* g() { try { yield 1 } finally { for (;;); } } for (const x of g()) break",
        "for (;;) try { for (;;); } finally { continue }",
        "queueMicrotask(function f() { queueMicrotask(f) })",
        "Promise.resolve().then(function f() { return Promise.resolve().then(f) })",
        "const x = {}; const p = Promise.resolve(x); x.then = p.then.bind(p); Promise.resolve(x)",
        "process.nextTick(function f() { process.nextTick(f) })",
        "setImmediate(function f() { process.nextTick(() => queueMicrotask(() => setImmediate(f))) })",
        "async function f() { for (;;) await 0 } f()",
        "setTimeout(() => { for (;;); }, 1)",
        "/(x*)*y/.test('x'.repeat(40))",
        "/(?:a|a|aa)+b/.test('a'.repeat(60))",
        "/1+1+2/.test('1'.repeat(1 << 20))",
        "new Proxy({}, { get() { for (;;); } }).x",
        "JSON.stringify((function d(n) { return n ? [d(n - 1), d(n - 1)] : [] })(3), () => { for (;;); })",
        "let d = {}; for (let i = 0; i < 40; i++) d = { a: d, b: d }; JSON.stringify(d)",
        "(1n << (1n << 24n)) ** 3n",
        "(1n << (1n << 26n)).toString().length",
        "BigInt('1'.repeat(1e7))",
        "new Array(2 ** 32 - 1).forEach.call({ length: 2 ** 53 - 1 }, () => { })",
        "Array.from({ length: 2 ** 32 - 1 }, () => 1)",
        "new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0,7,5,1,1,102,0,0,10,9,1,7,0,3,64,12,0,11,11]))).exports.f()",
    ];
    each(
        &programs,
        Limits {
            memory: 256 << 20,
            ..LIMITS
        },
        |program, report| {
            assert!(
                report.end == Reason::Cpu || is_memory(&report.end),
                "{program}: {report:?}"
            );
            if report.end == Reason::Cpu && report.cpu > Duration::ZERO {
                assert!(
                    report.cpu < LIMITS.cpu + SLACK,
                    "{program}: late, {report:?}"
                );
            }
        },
    );
    assert_eq!(
        exec(
            "setTimeout(() => {}, 1e6)",
            Limits {
                wall: Duration::from_millis(100),
                ..LIMITS
            }
        )
        .end,
        Reason::Wall
    );
}

/// The parser runs on a thread of its own; what it uses counts all the same.
fn typescript() {
    let program = "
        const { writeFileSync } = require('node:fs');
        const text = 'let a: Array<Array<number>> = f<x>(1);\\n'.repeat(2e4);
        for (let i = 0; ; i++) {
            writeFileSync(`/tmp/${i}.ts`, text + '}');
            try { require(`/tmp/${i}.ts`) } catch {}
        }";
    let limits = Limits {
        cpu: Duration::from_secs(1),
        wall: Duration::from_secs(30),
        ..LIMITS
    };
    each(&[program], limits, |program, report| {
        assert_eq!(report.end, Reason::Cpu, "{program}: {report:?}");
        assert!(report.cpu < Duration::from_secs(3), "{report:?}");
    });
}

fn uninterruptible() {
    let programs = [
        "Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)",
        "Array.prototype.includes.call({ length: 2 ** 53 - 1 }, 1)",
        "Array.prototype.lastIndexOf.call({ length: 2 ** 53 - 1 }, 1)",
        "Array.prototype.reverse.call({ length: 2 ** 53 - 1 })",
        "Array.prototype.every.call({ length: 2 ** 53 - 1 }, Boolean)",
        "Array.prototype.some.call({ length: 2 ** 53 - 1 }, Boolean)",
        "Array.prototype.map.call({ length: 2 ** 32 - 1 }, Boolean)",
        "Array.prototype.reduce.call({ length: 2 ** 53 - 1 }, Boolean)",
        "Array.prototype.findLast.call({ length: 2 ** 53 - 1 }, Boolean)",
        "Array.prototype.copyWithin.call({ length: 2 ** 53 - 1 }, 0, 1)",
        "Array.prototype.flat.call({ length: 2 ** 53 - 1 })",
        "Array.prototype.unshift.call({ length: 2 ** 53 - 3 }, 1)",
        "Array.prototype.splice.call({ length: 2 ** 53 - 3 }, 0, 0, 1)",
        "Array.prototype.join.call({ length: 2 ** 32 - 1 }, '')",
    ];
    each(
        &programs,
        Limits {
            cpu: Duration::from_millis(100),
            ..LIMITS
        },
        |program, report| {
            let ended = matches!(report.end, Reason::Cpu | Reason::Memory | Reason::Error);
            assert!(
                ended && report.cpu < Duration::from_millis(100) + SLACK,
                "{program}: {report:?}"
            );
        },
    );
    assert!(engine::parked_threads() > 0);
    assert!(engine::parked_threads() <= programs.len());
}

fn fatal_errors() {
    let programs = [
        "Array.prototype.sort.call({ length: 2 ** 53 - 1 })",
        "Array.prototype.toSorted.call({ length: 2 ** 32 - 1 })",
        "'x'.repeat(2 ** 27 + 2).split('')",
        "new Array(6e7).fill(1.5)",
        "[...'.'.repeat(1e8)]",
        "Object.entries('x'.repeat(2 ** 26))",
        "'x'.repeat(2 ** 28).match(/x/g)",
        "Array.from({ length: 2 ** 28 })",
    ];
    each(&programs, LONG, |program, report| {
        let ended = is_memory(&report.end)
            || report.text.contains("RangeError")
            || report.text.contains("TypeError");
        assert!(ended, "{program}: {report:?}");
    });
}

fn heap() {
    let programs = [
        "const a = []; for (;;) a.push({})",
        "const a = []; for (;;) a.push(new Array(1e6).fill(1.5))",
        "let s = 'x'; const a = []; for (;;) { s += s.length < 1e6 ? s : 'y'; a.push(s + a.length) ; a.at(-1).charCodeAt(0); a.push(JSON.parse(JSON.stringify(s))) }",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, { i })",
        "const a = []; for (let i = 0; ; i++) a.push(Symbol.for('s' + i))",
        "const a = []; for (let i = 0; ; i++) a.push(() => i)",
        "const a = []; for (;;) a.push('x'.repeat(1e6).split(''))",
        "a = new Array(1e8); for (let i = 0; i < 1e8; i++) a[i] = i",
        "function f(x) { return Promise.resolve(x).then(() => Promise.all([f(x), f(x)])) } f(1)",
        "JSON.parse('[' + '1,'.repeat(3e7) + '1]')",
        "const a = []; try { for (;;) a.push({}) } finally { for (;;) a.push({}) }",
        "const a = []; for (;;) try { for (;;) a.push(new Array(1e5).fill(a.length)) } catch {}",
    ];
    each(&programs, LONG, |program, report| {
        assert!(is_memory(&report.end), "{program}: {report:?}");
    });
    assert!(
        engine::parked_threads() <= 2,
        "{} threads are parked",
        engine::parked_threads()
    );
}

fn external() {
    let programs = [
        "const a = []; for (;;) a.push(new Uint8Array(1e6))",
        "const a = []; for (;;) a.push(new Float64Array(1e6).fill(1))",
        "const a = []; for (;;) a.push(new Uint8Array(1))",
        "const a = []; for (;;) a.push(new ArrayBuffer(1e6, { maxByteLength: 2e6 }))",
        "const a = []; for (;;) { const b = new ArrayBuffer(1, { maxByteLength: 5e7 }); b.resize(4e7); a.push(b) }",
        "const a = []; for (;;) a.push(new ArrayBuffer(1e3).transfer(1e6))",
        "const a = []; for (;;) try { for (;;) a.push(new ArrayBuffer(1e6)) } catch {}",
    ];
    each(&programs, LONG, |program, report| {
        assert!(is_memory(&report.end), "{program}: {report:?}");
    });
    // One request beyond the limit is an error that the program can handle.
    for program in [
        "new ArrayBuffer(2 ** 33)",
        "new Uint8Array(1e9)",
        "new ArrayBuffer(8, { maxByteLength: 1e9 })",
    ] {
        let report = exec(program, LONG);
        assert!(report.text.contains("RangeError"), "{program}: {report:?}");
    }
    // What is dropped is given back.
    let report = eval(
        "let n = 0; for (let i = 0; i < 2000; i++) n += new Uint8Array(1e6).length; n",
        LONG,
    );
    assert_eq!(report.text, "2000000000", "{report:?}");
    assert_eq!(engine::parked_threads(), 0);
}

fn wasm() {
    let programs = [
        "const a = []; for (;;) a.push(new WebAssembly.Memory({ initial: 160 }))",
        "const m = new WebAssembly.Memory({ initial: 1 }); for (;;) m.grow(1)",
        "const a = []; for (;;) { const m = new WebAssembly.Memory({ initial: 1, maximum: 65536 }); m.grow(100); a.push(m) }",
        "const a = []; for (;;) a.push(new WebAssembly.Table({ initial: 1e6, element: 'anyfunc' }))",
    ];
    each(&programs, LONG, |program, report| {
        assert!(is_memory(&report.end), "{program}: {report:?}");
    });
    // A memory keeps working next to others, and is given back.
    let report = eval(
        "let sum = 0; for (let i = 0; i < 300; i++) { const m = new WebAssembly.Memory({ initial: 16 });
         m.grow(16); const v = new Uint8Array(m.buffer); v[v.length - 1] = 7; sum += v[v.length - 1] } sum",
        LONG,
    );
    assert_eq!(report.text, "2100", "{report:?}");
    let report = exec("new WebAssembly.Memory({ initial: 65536 })", LONG);
    assert!(
        is_memory(&report.end) || report.text.contains("RangeError"),
        "{report:?}"
    );
    // A load beyond the end traps: bounds are checked without a signal handler.
    let report = eval(
        "const bytes = new Uint8Array([0,97,115,109,1,0,0,0,1,6,1,96,1,127,1,127,3,2,1,0,5,3,1,0,1,7,5,1,1,108,0,0,10,9,1,7,0,32,0,40,2,0,11]);
         const { l } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
         const out = [l(0)]; for (const at of [65533, 65536, -4, 2 ** 31]) try { out.push(l(at)) } catch (e) { out.push(e.name) } out.join()",
        LONG,
    );
    assert_eq!(
        report.text,
        "0,RuntimeError,RuntimeError,RuntimeError,RuntimeError"
    );
    assert_eq!(engine::parked_threads(), 0);
}

fn stack() {
    let programs = [
        "(function f() { f() })()",
        "const o = { get x() { return this.x } }; o.x",
        "let p = {}; for (let i = 0; i < 1e6; i++) p = new Proxy(p, {}); p.x",
        "const o = { toString() { return '' + this } }; '' + o",
        "JSON.parse('['.repeat(1e6))",
        "let a = []; for (let i = 0; i < 1e6; i++) a = [a]; JSON.stringify(a)",
        "new RegExp('('.repeat(1e5) + ')'.repeat(1e5))",
        "let f = () => 1; for (let i = 0; i < 1e5; i++) f = f.bind(null); f()",
        "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a.flat(Infinity).length",
        "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a.join()",
        "eval('('.repeat(1e6))",
        "eval('[' .repeat(1e5) + ']'.repeat(1e5))",
        "eval('1' + '+1'.repeat(1e6))",
        "let s = ''; for (let i = 0; i < 1e6; i++) s = 'a' + s + 'b'; s.length + s.indexOf('zz')",
        "structuredClone((function () { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a })())",
        "let e = new Error('x'); for (let i = 0; i < 1e5; i++) e = new Error('x', { cause: e }); '' + e.stack.length",
        "class A { constructor() { new A } } new A",
        "'x'.replace(/x/, function f() { return 'x'.replace(/x/, f) })",
        "[3, 2, 1].sort(function f() { return [3, 2, 1].sort(f) })",
        "let l = null; for (let i = 0; i < 1e6; i++) l = { l }; l = null; 'freed'",
    ];
    each(
        &programs,
        Limits {
            memory: 512 << 20,
            ..LONG
        },
        |program, report| {
            let expected = match report.end {
                Reason::Exit => true,
                Reason::Error => {
                    report.text.contains("RangeError") || report.text.contains("SyntaxError")
                }
                _ => false,
            };
            assert!(expected, "{program}: {report:?}");
        },
    );
    assert_eq!(engine::parked_threads(), 0);
}

fn clock() {
    let reads = [
        "Date.now()",
        "new Date().getTime()",
        "new (Date.prototype.constructor)().getTime()",
        "Date()",
        "+new (Object.getPrototypeOf(new Date()).constructor)()",
        "new Intl.DateTimeFormat('en', { fractionalSecondDigits: 3, second: 'numeric' }).format()",
        "JSON.stringify(new Intl.DateTimeFormat('en', { fractionalSecondDigits: 3, second: 'numeric' }).formatToParts())",
        "new Date().toLocaleTimeString('en', { fractionalSecondDigits: 3 })",
        "String(process.hrtime())",
        "String(process.hrtime.bigint())",
        "process.uptime()",
    ];
    for read in reads {
        let code = format!(
            "const a = {read}; for (let i = 0; i < 3e7; i++); const b = {read}; String(a === b || [a, b])"
        );
        let report = eval(&code, LONG);
        assert_eq!(report.text, "true", "{read}: {report:?}");
    }
    let report = eval("typeof Temporal", LIMITS);
    assert_eq!(report.text, "undefined");
    // Time moves on between turns, and the host's own clock is not frozen.
    let report = eval(
        "const t = Date.now(); setTimeout(() => { if (Date.now() - t < 30) throw new Error('frozen') }, 40); '' + t",
        LIMITS,
    );
    assert_eq!(report.end, Reason::Exit);
    let told: f64 = report.text.parse().unwrap();
    let real = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        * 1e3;
    assert!((real - told).abs() < 5e3, "{told} and {real}");
}

fn shared_memory() {
    let cases = [
        ("typeof SharedArrayBuffer", "undefined"),
        (
            "Object.getOwnPropertyNames(globalThis).includes('SharedArrayBuffer')",
            "false",
        ),
        ("typeof Atomics.waitAsync", "undefined"),
        ("typeof ShadowRealm", "undefined"),
        (
            "try { new WebAssembly.Memory({ shared: true, initial: 1, maximum: 2 }).buffer.constructor.name } catch (e) { e.name }",
            "RangeError",
        ),
        (
            "try { Atomics.wait(new Int32Array(4), 0, 0, 10) } catch (e) { e.name }",
            "TypeError",
        ),
        // A module that declares a shared memory of its own.
        (
            "try { new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0,5,4,1,3,1,2]))) ; 'made' } catch (e) { e.name }",
            "RangeError",
        ),
    ];
    for (code, expected) in cases {
        let report = eval(code, LONG);
        assert_eq!(report.text, expected, "{code}: {report:?}");
    }
}

fn budgets() {
    let report = exec(
        "for (let i = 0; ; i++) { globalThis.n = i; setTimeout(() => {}, 1e6) }",
        LONG,
    );
    assert_eq!(report.end, Reason::Error);
    assert!(report.text.contains("maxTimers"), "{report:?}");
    // The guest can handle it, and others of its timers still run.
    let report = exec(
        "let n = 0; try { for (;;) { setTimeout(() => {}, 1); n++ } } catch (e) { console.log(n, e.code) }
         setTimeout(() => console.log('later'), 0).unref(); setTimeout(() => { setTimeout(() => console.log('done'), 5) }, 20)",
        LONG,
    );
    assert!(
        report
            .text
            .starts_with("10000 ERR_RESOURCE_BUDGET_EXCEEDED"),
        "{report:?}"
    );
    let report = exec(
        "let n = 0; setInterval(() => {}, 1); const t = setTimeout(() => {}, 1e6); for (let i = 0; i < 9997; i++) setTimeout(() => n++, 1);
         setTimeout(() => { console.log(n); process.exit() }, 200).unref()",
        LONG,
    );
    assert_eq!(report.text, "9997", "{report:?}");
    let report = exec(
        "setImmediate(function f() { setImmediate(f); setImmediate(f) })",
        LONG,
    );
    assert_eq!(report.end, Reason::Error);
    assert!(report.text.contains("maxTimers"), "{report:?}");
}

fn kill() {
    let programs = [
        (0, "for (;;);"),
        (5, "for (;;);"),
        (20, "setTimeout(() => {}, 1e6)"),
        (
            20,
            "Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)",
        ),
    ];
    for (delay, code) in programs {
        let guest = Guest::start(code, LONG);
        std::thread::sleep(Duration::from_millis(delay));
        let start = Instant::now();
        guest.control.kill(End::Aborted);
        guest.control.kill(End::Disposed);
        assert_eq!(guest.wait().end, Reason::Aborted);
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{code}: {:?}",
            start.elapsed()
        );
    }
    for round in 0..100 {
        let guest = Guest::start("1", LIMITS);
        std::thread::sleep(Duration::from_micros(round * 100));
        guest.control.kill(End::Aborted);
        let end = guest.wait().end;
        assert!(matches!(end, Reason::Aborted | Reason::Exit), "{end:?}");
    }
    assert_idle();
}

fn many() {
    let guests: Vec<_> = (0..16).map(|_| Guest::start("for (;;);", LIMITS)).collect();
    let bombs: Vec<_> = (0..8)
        .map(|_| Guest::start("const a = []; for (;;) a.push({})", LONG))
        .collect();
    assert_neighbour_alive_while_busy();
    for guest in guests {
        let report = guest.wait();
        assert_eq!(report.end, Reason::Cpu);
        assert!(report.cpu < LIMITS.cpu + SLACK, "{report:?}");
    }
    for bomb in bombs {
        let report = bomb.wait();
        assert!(is_memory(&report.end), "{report:?}");
    }
    println!("parked {}", engine::parked_threads());
    assert_idle();
    assert!(is_memory(
        &exec("const a = []; for (;;) a.push(new Uint8Array(1e6))", LONG).end
    ));
    std::thread::sleep(Duration::from_millis(200));
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..20 {
        assert!(is_memory(
            &exec("const a = []; for (;;) a.push(new Uint8Array(1e6))", LONG).end
        ));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        threads() <= before,
        "{} threads, {before} before",
        threads()
    );
}

fn assert_neighbour_alive_while_busy() {
    let report = eval(
        "1 + 1",
        Limits {
            cpu: Duration::from_secs(5),
            ..LIMITS
        },
    );
    assert_eq!(report.text, "2", "{report:?}");
}

const GROUP: &str = "SECURE_EXEC_TEST_GROUP";

/// Runs one group when another test asks for it.
#[test]
fn group() {
    let Ok(name) = std::env::var(GROUP) else {
        return;
    };
    let (_, group) = GROUPS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a group");
    group();
}

fn in_child(name: &str) {
    // One at a time: they measure time, and some use all there is.
    static RUNNING: Mutex<()> = Mutex::new(());
    let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["group", "--exact", "--nocapture", "--test-threads=1"])
        .env(GROUP, name)
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name}: {}\n{stdout}\n{stderr}",
        output.status
    );
}

macro_rules! groups {
    ($($name:ident => $group:literal)*) => {
        $(#[test]
        fn $name() {
            in_child($group);
        })*
    };
}

groups! {
    loops_end_at_the_cpu_limit => "cpu"
    reading_typescript_is_charged => "typescript"
    builtins_that_ignore_termination_are_parked => "uninterruptible"
    fatal_sizes_end_one_process_only => "fatal"
    heap_bombs_end_with_reason_memory => "heap"
    buffer_bombs_end_with_reason_memory => "external"
    webassembly_memory_is_counted => "wasm"
    recursion_is_a_range_error => "stack"
    clocks_stand_still => "clock"
    there_is_no_shared_memory => "shared"
    timers_are_counted => "budgets"
    kill_ends_at_any_time => "kill"
    many_hostile_guests_at_once => "many"
}
