//! Options of Node's command line that a process takes from its embedder.

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
            sender.send(snapshot::build()).unwrap();
        })
        .unwrap();
        let blob = receiver.recv().unwrap().expect("snapshot");
        engine::set_startup_snapshot(Box::leak(blob.into_boxed_slice()));
    });
}

fn run(code: &str, options: &[(&str, serde_json::Value)]) -> Outcome {
    start_engine();
    let vm = Vm::new(VmOptions::default()).expect("vm");
    let options = ExecOptions {
        code: format!("const assert = require('assert');\n{code}"),
        file_path: Some("/workspace/main.cjs".into()),
        capture_bytes: 1 << 16,
        node_options: options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        ..ExecOptions::default()
    };
    let (sender, receiver) = channel();
    vm.exec(options, Box::new(move |outcome| drop(sender.send(outcome))))
        .expect("exec");
    receiver.recv().expect("outcome")
}

/// The program's own assertions hold.
fn holds(code: &str, options: &[(&str, serde_json::Value)]) {
    let outcome = run(code, options);
    let text = String::from_utf8_lossy(&outcome.stderr.bytes).into_owned();
    assert_eq!((outcome.reason, outcome.code), (Reason::Exit, 0), "{text}");
}

#[test]
fn reads_files_of_variables() {
    holds(
        "assert.strictEqual(process.env.PRETTY_NAME, 'secure-exec');",
        &[
            ("--env-file", "/etc/os-release".into()),
            ("--env-file-if-exists", "/none".into()),
        ],
    );
    let outcome = run("", &[("--env-file", "/none".into())]);
    assert_eq!((outcome.reason, outcome.code), (Reason::Exit, 9));
    assert_eq!(outcome.stderr.bytes, b"node: /none: not found\n");
}

#[test]
fn collects_garbage_on_request() {
    const COLLECTS: &str = "
        const ref = new WeakRef({ big: new Array(1000) });
        (async () => {
            await new Promise(setImmediate);
            assert.strictEqual(gc(), undefined);
            assert.strictEqual(ref.deref(), undefined);
            assert(gc({ execution: 'async' }) instanceof Promise);
            await gc({ execution: 'async' });
            assert.strictEqual(require('vm').runInNewContext('typeof gc'), 'function');
        })();";
    holds(COLLECTS, &[("--expose-gc", true.into())]);
    holds("assert.strictEqual(typeof gc, 'undefined');", &[]);
    holds(
        "require('v8').setFlagsFromString('--expose_gc');
         require('vm').runInNewContext('gc')();
         const { setFlagsFromString } = require('v8');
         assert.strictEqual(setFlagsFromString('--stack_size=500 --no-opt --noopt'), undefined);
         for (const flags of ['--allow-natives-syntax', '--no-opt --allow-natives-syntax', '--what', 'x'.repeat(2000)]) {
             assert.throws(() => setFlagsFromString(flags), { code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM' });
         }",
        &[],
    );
}

#[test]
fn tells_which_collections_were_forced() {
    holds(
        "const { PerformanceObserver, constants } = require('perf_hooks');
         let seen = 0;
         const observer = new PerformanceObserver((list) => {
             seen = list.getEntries().filter((entry) =>
                 entry.detail.flags === constants.NODE_PERFORMANCE_GC_FLAGS_FORCED).length;
             observer.disconnect();
         });
         observer.observe({ entryTypes: ['gc'] });
         gc();
         setImmediate(() => setImmediate(() => {}));
         process.on('exit', () => assert(seen > 0));",
        &[("--expose-gc", true.into())],
    );
}

#[test]
fn permission_model_denies_what_no_option_grants() {
    const DENIES: &str = "
        const fs = require('fs');
        const denied = (permission, resource) => ({ code: 'ERR_ACCESS_DENIED', permission, resource });
        const { has } = process.permission;
        assert.strictEqual(has('fs.read', '/etc/passwd'), true);
        assert.strictEqual(has('fs.read', '/etc'), true);
        assert.strictEqual(has('fs.read', '/etcetera'), false);
        assert.strictEqual(has('fs.read', '/etc/../tmp/x'), false);
        assert.strictEqual(has('fs.read', __filename), true);
        assert.strictEqual(has('fs.read'), false);
        assert.strictEqual(has('child'), false);
        assert.strictEqual(has('no such scope'), false);
        fs.readFileSync('/etc/passwd');
        assert.throws(() => fs.readFileSync('/tmp/x'), denied('FileSystemRead', '/tmp/x'));
        assert.throws(() => fs.readFileSync('/tmp/x', 'utf8'), denied('FileSystemRead', '/tmp/x'));
        assert.throws(() => fs.writeFileSync('/etc/x', ''), denied('FileSystemWrite', '/etc/x'));
        assert.throws(() => fs.openSync('/etc/passwd', 'r+'), denied('FileSystemWrite', '/etc/passwd'));
        assert.throws(() => fs.existsSync('/tmp/x'), denied('FileSystemRead', '/tmp/x'));
        assert.throws(() => fs.renameSync('/etc/passwd', '/tmp/x'), denied('FileSystemWrite', '/etc/passwd'));
        assert.throws(() => fs.mkdir('/tmp/d', () => {}), denied('FileSystemWrite', '/tmp/d'));
        assert.throws(() => process.chdir('/tmp'), denied('FileSystemRead', '/tmp'));
        fs.stat('/tmp/x', (error) => assert.strictEqual(error.code, 'ERR_ACCESS_DENIED'));
        assert.rejects(fs.promises.unlink('/etc/passwd'), denied('FileSystemWrite', '/etc/passwd'));";
    holds(
        DENIES,
        &[
            ("--permission", true.into()),
            ("--allow-fs-read", "/etc".into()),
        ],
    );
    holds(
        "assert.strictEqual(process.permission.has('fs'), true);
         require('fs').writeFileSync('/tmp/x', 'y');",
        &[
            ("--permission", true.into()),
            ("--allow-fs-read", "*".into()),
            ("--allow-fs-write", "*".into()),
        ],
    );
}

#[test]
fn contexts_of_vm_have_the_promise_hooks() {
    holds(
        "const { createHook } = require('async_hooks');
         let promises = 0;
         createHook({ init(id, type) { if (type === 'PROMISE') promises++; } }).enable();
         const early = require('vm').createContext();
         require('vm').runInContext('Promise.resolve()', early);
         require('vm').runInNewContext('Promise.resolve()');
         assert.strictEqual(promises, 2);",
        &[],
    );
}

#[test]
fn cached_data_stands_for_its_source() {
    holds(
        "const { Script } = require('vm');
         const cachedData = new Script('1 + 1').createCachedData();
         assert.strictEqual(new Script('1 + 1', { cachedData }).cachedDataRejected, false);
         assert.strictEqual(new Script('1 + 2', { cachedData }).cachedDataRejected, true);",
        &[],
    );
}

#[test]
fn trace_categories_are_counted() {
    holds(
        "const { createTracing, getEnabledCategories } = require('trace_events');
         const one = createTracing({ categories: ['node', 'v8'] });
         const two = createTracing({ categories: ['node'] });
         assert.strictEqual(getEnabledCategories(), undefined);
         one.enable();
         two.enable();
         assert.strictEqual(getEnabledCategories(), 'node,v8');
         one.disable();
         assert.strictEqual(getEnabledCategories(), 'node');
         two.disable();
         assert.strictEqual(getEnabledCategories(), undefined);",
        &[],
    );
}

#[test]
fn memory_is_measured_for_each_context() {
    holds(
        "const vm = require('vm');
         const contexts = [vm.createContext(), vm.createContext()];
         vm.measureMemory({ mode: 'detailed', execution: 'eager' }).then((result) => {
             assert.strictEqual(result.other.length, contexts.length);
             assert(result.total.jsMemoryEstimate > 0);
             assert(result.current.jsMemoryRange[1] <= result.total.jsMemoryEstimate);
         });
         vm.measureMemory().then((result) => assert.deepStrictEqual(Object.keys(result), ['total']));",
        &[],
    );
}

#[test]
fn internals_have_file_handles_that_are_streams() {
    holds(
        "const fs = require('fs');
         const { internalBinding } = require('internal/test/binding');
         const { FileHandle } = internalBinding('fs');
         const { streamBaseState, kReadBytesOrError, ShutdownWrap } = internalBinding('stream_wrap');
         fs.writeFileSync('/tmp/f', 'a'.repeat(100_000) + 'tail');
         const read = (handle, stopAt) => new Promise((resolve) => {
             const pieces = [];
             handle.onread = (buffer) => {
                 const n = streamBaseState[kReadBytesOrError];
                 if (n > 0) pieces.push(Buffer.from(buffer, 0, n).toString());
                 if (n > 0 && pieces.length !== stopAt) return;
                 handle.readStop();
                 resolve([pieces, n]);
             };
             assert.strictEqual(handle.readStart(), 0);
         });
         const EOF = -4095;
         (async () => {
             const whole = new FileHandle(fs.openSync('/tmp/f'));
             let [pieces, n] = await read(whole);
             assert.strictEqual(n, EOF);
             assert.strictEqual(pieces.join(''), fs.readFileSync('/tmp/f', 'utf8'));
             assert.strictEqual(whole.bytesRead, 100_004);
             assert.strictEqual(whole.writeUtf8String(new (internalBinding('stream_wrap').WriteWrap)(), 'x'), -38);
             await whole.close();
             assert.strictEqual(whole.readStart(), EOF);
             const range = new FileHandle(fs.openSync('/tmp/f'), 99_998, 4);
             [pieces, n] = await read(range);
             assert.deepStrictEqual([pieces, n], [['aata'], EOF]);
             const request = new ShutdownWrap();
             request.oncomplete = (status) => assert.strictEqual(status, 0);
             assert.strictEqual(range.shutdown(request), 0);
             assert.strictEqual(range.fd, -1);
             const stopped = new FileHandle(fs.openSync('/tmp/f'));
             [pieces, n] = await read(stopped, 1);
             assert.strictEqual(pieces[0].length, 65536);
             await new Promise(setImmediate);
             assert.strictEqual(stopped.bytesRead, 65536);
             await stopped.close();
         })();",
        &[("--expose-internals", true.into())],
    );
}

#[test]
fn file_handles_that_are_forgotten_are_closed() {
    holds(
        "const fs = require('fs');
         let warned = 0;
         process.on('warning', (warning) => { if (/Closing file descriptor/.test(warning.message)) warned++; });
         (async () => {
             const fd = await (async () => (await fs.promises.open('/etc/passwd')).fd)();
             await new Promise(setImmediate);
             await gc({ execution: 'async' });
             await new Promise(setImmediate);
             assert.throws(() => fs.fstatSync(fd), { code: 'EBADF' });
             process.on('exit', () => assert.strictEqual(warned, 1));
         })();",
        &[("--expose-gc", true.into())],
    );
}
