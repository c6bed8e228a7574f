// WebAssembly modules of a thread that has ended: what V8's compiler asks for in another thread's name ends the process all the same.
// @outcome memory
// @only linux-x64
// @options {"memoryLimit": 64, "cpuTimeLimitMs": 8000}
const number = (value) => {
  const bytes = [];
  do {
    const low = value & 127;
    value >>>= 7;
    bytes.push(value ? low | 128 : low);
  } while (value);
  return bytes;
};
const section = (id, bytes) => [id, ...number(bytes.length), ...bytes];
/** A module with a memory and `f(i32) -> i32`, which has so many locals. */
function moduleOf (locals, body) {
  const declared = [1, ...number(locals), 0x7f];
  const size = declared.length + body.length + 1;
  const code = [1, ...number(size), ...declared];
  const head = [
    0, 97, 115, 109, 1, 0, 0, 0, ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7f]), ...section(3, [1, 0]), ...section(5, [1, 0, 1]),
    ...section(7, [1, 1, 102, 0, 0]), 10, ...number(code.length + body.length + 1), ...code,
  ];
  const bytes = new Uint8Array(head.length + body.length + 1);
  bytes.set(head);
  bytes.set(body, head.length);
  bytes[bytes.length - 1] = 0x0b;
  return bytes;
}
function times (count, bytesOf) {
  const parts = [];
  for (let i = 0; i < count; i++) for (const byte of bytesOf(i)) parts.push(byte);
  return parts;
}
/** A block or a loop with so many branches to it. */
function meetings (opcode, count) {
  const branch = (i) => [0x20, 0, 0x41, i & 63, 0x73, 0x21, 1, 0x20, 0, 0x41, ...number(i & 0xffff | 0x100000), 0x46, 0x0d, 0];
  return [opcode, 0x40].concat(times(count, branch), [0x0b, 0x20, 1]);
}
const { Worker } = require('worker_threads');
const maker = `const { parentPort } = require('worker_threads');
parentPort.once('message', (bytes) => { for (let i = 0; i < 4; i++) parentPort.postMessage(new WebAssembly.Module(bytes)); });`;
const worker = new Worker(maker, { eval: true });
const modules = [];
worker.on('message', (module) => modules.push(module));
worker.on('exit', () => {
  const { f } = new WebAssembly.Instance(modules[0]).exports;
  for (;;) f(0);
});
worker.postMessage(moduleOf(2, meetings(0x02, 70000)));
