import { MessageChannel, Worker } from 'node:worker_threads';
import * as comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';

const file = new URL(import.meta.resolve('comlink')).pathname;
const adapter = new URL(import.meta.resolve('comlink/dist/esm/node-adapter.mjs')).pathname;
const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(`
  import { parentPort } from 'node:worker_threads';
  import * as comlink from 'file://${file}';
  import nodeEndpoint from 'file://${adapter}';
  let count = 0;
  comlink.expose({ add: (by) => (count += by), each: async (list, f) => { for (const one of list) await f(one); } },
    nodeEndpoint(parentPort));
`)}`));
globalThis.MessageChannel = MessageChannel;
const api = comlink.wrap(nodeEndpoint(worker));
console.log(await api.add(2), await api.add(40));
await api.each(['a', 'b'], comlink.proxy((one) => console.log(one)));
await worker.terminate();
