// The bytes of WebAssembly modules, kept by whatever holds a module beside the one that was compiled.
// @outcome memory | error
// @error out of memory
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 8000}
// @grows 400
// @each for (let i = 0; i < 100; i++) kept.push(new WebAssembly.Module(bytes(i)))
// @each for (let i = 0; i < 100; i++) kept.push(await WebAssembly.compile(bytes(i)))
// @each for (let i = 0; i < 100; i++) kept.push(await WebAssembly.compileStreaming(response(i)))
// @each for (let i = 0; i < 100; i++) kept.push((await WebAssembly.instantiateStreaming(response(i))).instance)
// @each for (let i = 0; i < 100; i++) kept.push((await WebAssembly.instantiateStreaming(response(i), {})).module)
// @each for (let i = 0; i < 100; i++) kept.push(structuredClone(new WebAssembly.Module(bytes(i))))
// @each const { port1, port2 } = new MessageChannel(); kept.push(port2); for (let i = 0; i < 100; i++) port1.postMessage(new WebAssembly.Module(bytes(i)))
// @each const c = require('vm').createContext({ Response, bytes, response, kept }); for (let i = 0; i < 100; i++) await require('vm').runInContext(`WebAssembly.compileStreaming(response(${i})).then((module) => kept.push(module))`, c)
const kept = [];
globalThis.kept = kept;
const bytes = (i) => {
  const module = new Uint8Array((4 << 20) + 15);
  module.set([0, 97, 115, 109, 1, 0, 0, 0, 0, 130, 128, 128, 2, 1, 97]);
  module[module.length - 1] = i;
  return module;
};
const response = (i) => new Response(bytes(i), { headers: { 'content-type': 'application/wasm' } });
(async () => { EACH })().then(() => console.log('all kept'));
