// Memory that V8's compiler of WebAssembly takes on threads of V8's own: a function of half a megabyte asks for gigabytes.
// And values that come together from more places than the compiler can count, which it answers by the end of the host.
// @outcome memory
// @only linux-x64
// @options {"memoryLimit": 64, "cpuTimeLimitMs": 8000}
// @grows 600
// @each [20000, branches(20000)]
// @each [4, ifs(250000)]
// @each [2, loads(300000)]
// @each [2, meetings(0x02, 70000)]
// @each [2, meetings(0x03, 70000)]
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
/** Each branch brings a value of each local to the end of the block. */
function branches (count) {
  const set = times(count, (i) => [0x20, 0, 0x41, ...number(i & 63), 0x6a, 0x21, ...number(i)]);
  const out = times(count, (i) => [0x20, ...number(i), 0x21, ...number((i * 7 + 1) % count), 0x20, 0, 0x0d, 0]);
  const use = times(count, (i) => [0x20, ...number(i), 0x73]);
  return set.concat([0x02, 0x40], out, [0x0b, 0x20, 0], use);
}
function ifs (count) {
  return times(count, (i) => [0x20, i & 3, 0x04, 0x40, 0x20, 1, 0x21, i % 3, 0x0b]).concat([0x20, 0]);
}
function loads (count) {
  return times(count, (i) => [0x20, 0, 0x28, 0, i & 127, 0x21, 0]).concat([0x20, 0]);
}
/** A block or a loop with so many branches to it. */
function meetings (opcode, count) {
  const branch = (i) => [0x20, 0, 0x41, i & 63, 0x73, 0x21, 1, 0x20, 0, 0x41, ...number(i & 0xffff | 0x100000), 0x46, 0x0d, 0];
  return [opcode, 0x40].concat(times(count, branch), [0x0b, 0x20, 1]);
}
const { f } = new WebAssembly.Instance(new WebAssembly.Module(moduleOf(...EACH))).exports;
// Until it is compiled anew, and while that goes on.
for (;;) f(0);
