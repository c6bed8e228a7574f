import { describe, expect, test } from "vitest";
import { make } from "./support.js";

/** A guest program with `node(...words)`, which starts one and answers `{ status, signal, stdout, stderr }`. */
const program = (body: string): string => `
  const { spawnSync } = require('node:child_process');
  const fs = require('node:fs');
  process.chdir('/tmp');
  const node = (...words) => spawnSync('node', words, { encoding: 'utf8' });
  const nodeWith = (env, ...words) => spawnSync('node', words, { encoding: 'utf8', env: { ...process.env, ...env } });
  ${body}`;

async function lines(body: string): Promise<string[]> {
  const runtime = await make();
  const result = await runtime.exec(program(body));
  expect(result).toMatchObject({ code: 0, stderr: "" });
  return (result.stdout ?? "").trim().split("\n");
}

describe("node, the command", () => {
  test("options that contradict each other are refused with Node's codes and texts", async () => {
    expect(await lines(`
      for (const words of [
        ['--use-bundled-ca', '--use-openssl-ca', '-p', '1'],
        ['--trace-require-module=1', 'x.js'],
        ['--security-revert=CVE-1', 'x.js'],
        ['--max-old-space-size-percentage=0', 'x.js'],
      ]) {
        const { status, stderr } = node(...words);
        console.log(status, stderr.trim());
      }`)).toEqual([
      "9 node: either --use-openssl-ca or --use-bundled-ca can be used, not both",
      "9 node: invalid value for --trace-require-module",
      "12 node: Error: Attempt to revert an unknown CVE [CVE-1]",
      "9 node: --max-old-space-size-percentage must be greater than 0 and up to 100. Got: 0",
    ]);
  });

  test("an option and its --no- form are one", async () => {
    expect(await lines(`
      console.log(node('--no-experimental-global-webcrypto', '-p', 'typeof CryptoKey').stdout.trim());
      console.log(node('--experimental-global-webcrypto', '-p', 'typeof CryptoKey').stdout.trim());`))
      .toEqual(["undefined", "function"]);
  });

  test("--abort-on-uncaught-exception ends a process by SIGABRT, unless somebody captures the exception", async () => {
    expect(await lines(`
      const aborted = node('--abort-on-uncaught-exception', '-e', 'function thrower() { throw new Error("x") } thrower()');
      console.log(aborted.signal, /^Uncaught Error: x\\n\\nFROM\\n {4}at thrower/m.test(aborted.stderr));
      const rejected = node('--abort-on-uncaught-exception', '-e', 'Promise.reject(new Error("y"))');
      console.log(rejected.signal, rejected.stderr.includes('Error: y'));
      const captured = node('--abort-on-uncaught-exception', '-e',
        'process.setUncaughtExceptionCaptureCallback(() => console.log("captured")); throw 1');
      console.log(captured.status, captured.stdout.trim());`)).toEqual(["SIGABRT true", "SIGABRT true", "0 captured"]);
  });

  test("--trace-exit and --trace-sync-io tell where from", async () => {
    expect(await lines(`
      const exit = node('--trace-exit', '-e', 'function leave() { process.exit(0) } leave()');
      console.log(/^\\(node:\\d+\\) WARNING: Exited the environment with code 0\\n[^]* at leave /.test(exit.stderr));
      const late = node('--trace-sync-io', '-e', 'fs.statSync("."); setImmediate(() => fs.statSync("."))');
      console.log(late.stderr.match(/WARNING: Detected use of sync API/g).length);`)).toEqual(["true", "1"]);
  });

  test("trace events go to a file", async () => {
    expect(await lines(`
      const { status } = node('--trace-event-categories', 'node.fs.sync,custom,node.async_hooks',
        '--trace-event-file-pattern', 'trace-\${rotation}.log', '--no-warnings', '--expose-internals', '-e', \`
          const { trace } = require('internal/test/binding').internalBinding('trace_events');
          trace('b'.charCodeAt(0), 'custom', 'mine "quoted"', 10, { value: 20 });
          trace('b'.charCodeAt(0), 'other', 'not enabled', 10);
          fs.statSync('.');
          setTimeout(() => {}, 1);\`);
      const { traceEvents } = JSON.parse(fs.readFileSync('trace-1.log', 'utf8'));
      const find = (name) => traceEvents.find((event) => event.name === name);
      const { ph, cat, id, args } = find('mine "quoted"');
      console.log(status, ph, cat, id, JSON.stringify(args));
      console.log(find('not enabled'), find('fs.sync.stat').cat, find('Timeout').cat, find('version').args.node);`))
      .toEqual([
        '0 b custom 0xa {"data":{"value":20}}',
        "undefined node,node.fs,node.fs.sync node,node.async_hooks 22.23.3",
      ]);
  });

  test("trace_events.createTracing traces while it is enabled", async () => {
    expect(await lines(`
      node('-e', \`
        const tracing = require('trace_events').createTracing({ categories: ['node.console'] });
        console.time('before');
        tracing.enable();
        console.count('during');
        tracing.disable();
        console.count('after');\`);
      const { traceEvents } = JSON.parse(fs.readFileSync('node_trace.1.log', 'utf8'));
      console.log(traceEvents.filter(({ cat }) => cat === 'node,node.console').map(({ name }) => name).join());`))
      .toEqual(["count::during"]);
  });

  test("the compile cache knows what was compiled before, and believes nothing else in its folder", async () => {
    expect(await lines(`
      fs.writeFileSync('m.mjs', 'export const value = 1;');
      fs.writeFileSync('a.js', 'console.log(require("module").getCompileCacheDir()); import("./m.mjs").then((m) => console.log(m.value));');
      const run = () => nodeWith({ NODE_COMPILE_CACHE: 'cache', NODE_DEBUG_NATIVE: 'COMPILE_CACHE' }, 'a.js');
      const first = run();
      console.log(first.stdout.trim().replace('\\n', ' '), first.stderr.match(/writing cache for .*success/g).length);
      const second = run();
      console.log(second.stderr.match(/was accepted, keeping/g).length, second.stderr.match(/because cache was the same/g).length);
      const folder = 'cache/' + fs.readdirSync('cache')[0];
      for (const name of fs.readdirSync(folder)) {
        const bytes = fs.readFileSync(folder + '/' + name);
        bytes[bytes.length - 1] ^= 1;
        fs.writeFileSync(folder + '/' + name, bytes);
      }
      const third = run();
      console.log(third.status, third.stderr.match(/cache hash mismatch/g).length, third.stderr.includes('accepted'));
      fs.writeFileSync('m.mjs', 'export const value = 2;');
      console.log(run().stdout.trim().split('\\n')[1]);`)).toEqual([
      "/tmp/cache 1 2",
      "2 2",
      "0 2 false",
      "2",
    ]);
  });

  test("module.enableCompileCache tells its state", async () => {
    expect(await lines(`
      const script = \`const { enableCompileCache, flushCompileCache } = require('module');
        console.log(JSON.stringify([enableCompileCache('c'), enableCompileCache('d')]));
        flushCompileCache();\`;
      console.log(node('-e', script).stdout.trim());
      console.log(nodeWith({ NODE_DISABLE_COMPILE_CACHE: '1' }, '-e', script).stdout.trim());
      console.log(JSON.parse(node('--permission', '-e', script).stdout)[0].status);`)).toEqual([
      '[{"status":1,"directory":"/tmp/c"},{"status":2,"directory":"/tmp/c"}]',
      '[{"status":3,"message":"Disabled by NODE_DISABLE_COMPILE_CACHE"},{"status":3,"message":"Disabled by NODE_DISABLE_COMPILE_CACHE"}]',
      "0",
    ]);
  });

  test("SIGINT ends a call that asks for it, and --trace-sigint tells what it ended", async () => {
    expect(await lines(`
      const script = \`const vm = require('vm');
        try { vm.runInThisContext('process.kill(process.pid, "SIGINT"); for (;;);', { breakOnSigint: true }); }
        catch (error) { console.log(error.code); }
        process.on('SIGINT', () => console.log('listener'));
        try { vm.runInThisContext('process.kill(process.pid, "SIGINT"); for (;;);', { breakOnSigint: true }); }
        catch (error) { console.log(error.code); }
        process.kill(process.pid, 'SIGINT');
        setTimeout(() => {}, 10);\`;
      console.log(node('-e', script).stdout.trim().replaceAll('\\n', ' '));
      const traced = node('--trace-sigint', '-e', 'function busy() { process.kill(process.pid, "SIGINT"); for (;;); } busy()');
      console.log(traced.signal, /^KEYBOARD_INTERRUPT: .*\\n[^]* at busy /.test(traced.stderr));`)).toEqual([
      "ERR_SCRIPT_EXECUTION_INTERRUPTED ERR_SCRIPT_EXECUTION_INTERRUPTED listener",
      "SIGINT true",
    ]);
  });

  test("the permission model turns addons off, and lets preloaded modules be read", async () => {
    expect(await lines(`
      fs.mkdirSync('node_modules/dual', { recursive: true });
      fs.writeFileSync('node_modules/dual/package.json', JSON.stringify({ exports: { 'node-addons': './addon.js', default: './plain.js' } }));
      fs.writeFileSync('node_modules/dual/addon.js', 'module.exports = "addon"');
      fs.writeFileSync('node_modules/dual/plain.js', 'module.exports = "plain"');
      fs.writeFileSync('p.js', 'console.log(require("dual"))');
      fs.writeFileSync('pre.js', 'console.log(require("fs").readFileSync(__filename).length > 0)');
      console.log(node('p.js').stdout.trim());
      console.log(node('--permission', '--allow-fs-read=*', 'p.js').stdout.trim());
      fs.writeFileSync('q.js', '');
      console.log(node('-r', '/tmp/pre.js', '--permission', 'q.js').stdout.trim());`)).toEqual(["addon", "plain", "true"]);
  });

  test("node --run starts the script in its package's directory", async () => {
    expect(await lines(`
      fs.mkdirSync('package/deep', { recursive: true });
      fs.writeFileSync('package/package.json', JSON.stringify({ scripts: { where: 'pwd' } }));
      console.log(spawnSync('node', ['--run', 'where'], { cwd: 'package/deep', encoding: 'utf8' }).stdout.trim());`))
      .toEqual(["/tmp/package"]);
  });

  test("options that the module loader reads early hold for it, too", async () => {
    expect(await lines(`
      fs.mkdirSync('real');
      fs.writeFileSync('real/dependency.mjs', 'export const { url } = import.meta;');
      fs.symlinkSync('real/dependency.mjs', 'dependency.mjs');
      fs.writeFileSync('s.mjs', 'import { url } from "./dependency.mjs"; console.log(url);');
      console.log(node('s.mjs').stdout.trim(), node('--preserve-symlinks', 's.mjs').stdout.trim());
      fs.writeFileSync('t.mts', 'export const value: number = 1;');
      console.log(node('--no-experimental-strip-types', '-e', 'import("./t.mts").catch((e) => console.log(e.code))').stdout.trim());`))
      .toEqual([
        "file:///tmp/real/dependency.mjs file:///tmp/dependency.mjs",
        "ERR_UNKNOWN_FILE_EXTENSION",
      ]);
  });

  test("process.execve replaces the program and keeps the process", async () => {
    expect(await lines(`
      fs.writeFileSync('after.js', 'console.log(process.argv.slice(2).join(), process.pid === +process.env.PID, Object.keys(process.env).join()); process.exitCode = 7;');
      fs.writeFileSync('before.js', \`
        process.on('exit', () => console.log('never'));
        const server = require('net').createServer().listen(3000, () => {
          process.execve(process.execPath, ['node', '/tmp/after.js', 'a', 'b'], { PID: String(process.pid) });
        });\`);
      const replaced = node('--no-warnings', 'before.js');
      console.log(replaced.status, replaced.stdout.trim());
      console.log(node('--no-warnings', '-e', 'process.execve("/bin/echo", ["echo", "by echo"])').stdout.trim());
      const killed = node('--no-warnings', '-e', 'process.execve(process.execPath, ["node", "-e", "process.kill(process.pid); setTimeout(() => {}, 1e6)"])');
      console.log(killed.signal);
      const missing = node('--no-warnings', '-e', 'process.execve("/missing")');
      console.log(missing.signal, missing.stderr.trim());`)).toEqual([
      "7 a,b true PID",
      "by echo",
      "SIGTERM",
      "SIGABRT process.execve failed with error code ENOENT",
    ]);
  });

  test("a program of the host that is replaced ends as its successor does", async () => {
    const runtime = await make();
    const result = await runtime.exec(`
      console.log('before');
      process.execve(process.execPath, ['node', '-e', 'console.log("after"); process.exit(3)']);`);
    expect(result).toMatchObject({ code: 3, stdout: "before\nafter\n" });
    const endless = await runtime.exec(`
      process.execve(process.execPath, ['node', '-e', 'setInterval(() => {}, 1e6)']);`, { wallTimeLimitMs: 500 });
    expect(endless.reason).toBe("wall");
  });

  test("keys and certificates travel between threads, and no further than their context", async () => {
    expect(await lines(`
      const { MessageChannel, moveMessagePortToContext, receiveMessageOnPort } = require('worker_threads');
      const { X509Certificate, createSecretKey } = require('crypto');
      const pem = require('tls').rootCertificates[0];
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(new X509Certificate(pem));
      console.log(receiveMessageOnPort(port2).message.fingerprint256 === new X509Certificate(pem).fingerprint256);
      const moved = moveMessagePortToContext(port2, require('vm').createContext());
      moved.onmessageerror = ({ data }) => { console.log(data.code); port1.close(); };
      moved.start();
      port1.postMessage(createSecretKey(Buffer.alloc(16)));`)).toEqual([
      "true",
      "ERR_MESSAGE_TARGET_CONTEXT_UNAVAILABLE",
    ]);
  });

  test("modules of WebAssembly can be imported", async () => {
    expect(await lines(`
      fs.writeFileSync('add.wasm', Buffer.from('AGFzbQEAAAABBwFgAn9/AX8DAgEABwcBA2FkZAAACgkBBwAgACABags=', 'base64'));
      fs.writeFileSync('w.mjs', 'import { add } from "./add.wasm"; console.log(add(2, 3));');
      console.log(node('--no-warnings', '--experimental-wasm-modules', 'w.mjs').stdout.trim());`)).toEqual(["5"]);
  });
});
