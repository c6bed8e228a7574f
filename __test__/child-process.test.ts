import { describe, expect, test } from "vitest";
import { make } from "./support.js";

/** A guest program with `cp` and a way to print how a child ends. */
const program = (body: string): string => `
  const cp = require('node:child_process');
  const fs = require('node:fs');
  const ends = (child) => child.on('close', (code, signal) => console.log(code, signal));
  ${body}`;

describe("child processes", () => {
  test("exec, execFile, spawn and the synchronous forms", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      console.log(cp.execSync('echo one | tr a-z A-Z').toString().trim());
      console.log(cp.execFileSync('node', ['-p', '6 * 7']).toString().trim());
      cp.exec('cat missing; exit 3', (error, stdout, stderr) => console.log(error.code, stderr.trim()));`));
    expect(result).toMatchObject({
      code: 0,
      stdout: "ONE\n42\n3 cat: missing: No such file or directory\n",
    });
  });

  test("standard input streams, and signals reach a child's handlers", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      fs.writeFileSync('/tmp/c.js', "process.stdin.pipe(process.stdout); process.on('SIGTERM', () => process.exit(9))");
      const child = cp.spawn(process.execPath, ['/tmp/c.js']);
      ends(child);
      child.stdout.once('data', (data) => { console.log(String(data)); child.kill(); });
      child.stdin.write('ping');`));
    expect(result).toMatchObject({ code: 0, stdout: "ping\n9 null\n" });
  });

  test("fork has a channel", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      fs.writeFileSync('/tmp/f.js', "process.on('message', (m) => { process.send(m * 2); process.disconnect(); })");
      const child = cp.fork('/tmp/f.js');
      child.on('message', (m) => console.log('got', m));
      ends(child);
      child.send(21);`));
    expect(result).toMatchObject({ code: 0, stdout: "got 42\n0 null\n" });
  });

  test("servers, connections and datagram sockets go over the channel", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const net = require('node:net');
      const dgram = require('node:dgram');
      fs.writeFileSync('/tmp/h.js', \`process.on('message', (name, handle) => {
        if (name === 'server') handle.on('connection', (socket) => { socket.end('by the child'); handle.close(); });
        if (name === 'socket') handle.end('taken over');
        if (name === 'udp') handle.send('datagram', 0, 8, handle.address().port, '127.0.0.1', () => handle.close());
        process.send(name);
      })\`);
      const child = cp.fork('/tmp/h.js', { serialization: 'advanced' });
      const say = async (name, handle, options) => {
        child.send(name, handle, options);
        await new Promise((resolve) => child.once('message', resolve));
      };
      const read = async (port) => {
        let text = '';
        for await (const data of net.connect(port, '127.0.0.1')) text += data;
        return text;
      };
      (async () => {
        const server = net.createServer().listen(0);
        await require('node:events').once(server, 'listening');
        const { port } = server.address();
        await say('server', server);
        server.close();
        console.log(await read(port));
        const other = net.createServer((socket) => say('socket', socket)).listen(0);
        await require('node:events').once(other, 'listening');
        console.log(await read(other.address().port));
        other.close();
        const udp = dgram.createSocket('udp4');
        const message = require('node:events').once(udp, 'message');
        udp.bind(0, () => say('udp', udp));
        console.log(String((await message)[0]));
        udp.close();
        child.disconnect();
      })();`));
    expect(result).toMatchObject({ code: 0, stdout: "by the child\ntaken over\ndatagram\n" });
  });

  test("cluster shares a port", async () => {
    const runtime = await make({ files: { "/workspace/main.js": `
      const cluster = require('node:cluster');
      const http = require('node:http');
      if (cluster.isPrimary) {
        let ready = 0;
        const seen = new Set();
        for (let i = 0; i < 2; i++) cluster.fork();
        cluster.on('listening', async () => {
          if (++ready < 2) return;
          for (let i = 0; i < 6; i++) {
            const response = await fetch('http://127.0.0.1:8080/', { headers: { connection: 'close' } });
            seen.add(await response.text());
          }
          console.log(seen.size);
          cluster.disconnect();
        });
      } else {
        http.createServer((request, response) => response.end(String(cluster.worker.id))).listen(8080);
      }` } });
    const result = await runtime.exec("require('child_process').spawn('node', ['main.js'], { stdio: 'inherit' })");
    expect(result).toMatchObject({ code: 0, stdout: "2\n" });
  });

  test("channels that carry each other are bounded and no leak", async () => {
    const runtime = await make({ resourceBudgets: { maxSockets: 64 } });
    const result = await runtime.exec(program(`
      const net = require('node:net');
      // It never reads its channel: what is sent stays there.
      fs.writeFileSync('/tmp/s.js', "require('fs').readSync(0, Buffer.alloc(1))");
      const child = cp.fork('/tmp/s.js', { silent: true });
      const channel = child[Object.getOwnPropertySymbols(child).find((s) => String(s) === 'Symbol(kChannelHandle)')];
      child.on('error', () => {});
      for (let i = 0; i < 200; i++) {
        child._handleQueue = null;
        child.send('x', channel, () => {});
      }
      setTimeout(() => { console.log('alive'); child.kill(); process.exit(0); }, 100);`));
    expect(result).toMatchObject({ code: 0, stdout: "alive\n" });
    // What the killed child held goes with its thread, a moment after the program's own end.
    const listens = "require('net').createServer().listen(0, function () { console.log('listens'); this.close(); })";
    while ((await runtime.exec(listens)).code !== 0) await new Promise((resolve) => setTimeout(resolve, 20));
  });

  test("a hanging child is killed, and spawnSync times out", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const { signal, error } = cp.spawnSync('node', ['-e', 'while (1);'], { timeout: 300 });
      console.log(signal, error.code);
      const child = cp.spawn('sh', ['-c', 'while :; do :; done']);
      ends(child);
      setTimeout(() => child.kill('SIGKILL'), 50);`));
    expect(result).toMatchObject({ code: 0, stdout: "SIGTERM ETIMEDOUT\nnull SIGKILL\n" });
  });

  test("the CPU limit holds for the tree", async () => {
    const runtime = await make({ cpuTimeLimitMs: 500 });
    const result = await runtime.exec(program("cp.spawn('node', ['-e', 'while (1);']); setInterval(() => {}, 1000);"));
    expect(result).toMatchObject({ code: 124, reason: "cpu" });
    expect(await runtime.exec("console.log('usable')")).toMatchObject({ code: 0, stdout: "usable\n" });
  });

  test("a fork bomb is bounded and another runtime answers", async () => {
    const runtime = await make({ cpuTimeLimitMs: 2000, resourceBudgets: { maxChildProcesses: 6 } });
    const other = await make();
    const bomb = runtime.exec(program(`
      fs.writeFileSync('/tmp/b.js', "const cp = require('child_process');" +
        "setInterval(() => cp.spawn('node', ['/tmp/b.js']).on('error', () => {}), 1)");
      require('/tmp/b.js');`));
    expect(await other.exec("console.log(1 + 1)")).toMatchObject({ code: 0, stdout: "2\n" });
    expect(await bomb).toMatchObject({ code: 124, reason: "cpu" });
    expect(await runtime.exec(program("console.log(cp.execSync('echo alive').toString())"))).toMatchObject({ code: 0 });
  });

  test("one process too many is EAGAIN", async () => {
    const runtime = await make({ resourceBudgets: { maxChildProcesses: 1 } });
    const result = await runtime.exec(program(`
      const child = cp.spawn('sleep', ['100']);
      cp.spawn('sleep', ['100']).on('error', (error) => { console.log(error.code); child.kill(); });`));
    expect(result).toMatchObject({ code: 0, stdout: "EAGAIN\n" });
  });
});
