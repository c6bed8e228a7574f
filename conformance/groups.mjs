// Groups of Node's own tests, by the first words of their names, and the stage of this project that serves each group.
// Stage 1 is the engine: boot, console, process, timers, Buffer, util, events, URL, streams, modules, fs, vm.
// Stage 2 is the network. Stage 3 is everything that needs more processes, threads, keys or tools.

const STAGE_2 = new Set(`client compression dgram dns double eventsource fetch h2 http http2 https listen max net
  outgoing pipe quic socket sockets tls websocket zlib`.split(/\s+/));

const STAGE_3 = new Set(`abort child cli cluster code compile coverage cppheap cpu crypto debug debugger dsa eval
  experimental freeze gc heap heapdump heapsnapshot icu-env inspect inspector internal-inspector memory node npm openssl pending permission
  preload priority profile readline release repl report runner security shadow sigint signal single snapshot spawn
  sqlite startup stdin stdio stdout sync tracing trace tty ttywrap v8 vfs watch webcrypto webstorage worker`.split(/\s+/));

/** The group of a test, for example `fs` of `parallel/test-fs-stat.js`; the folder where that is not `parallel`. */
export function groupOf(file) {
  const [folder, name] = file.split('/').slice(-2);
  if (folder !== 'parallel' && folder !== 'sequential') return folder;
  return /^test-([a-z0-9]+)/.exec(name)?.[1] ?? 'other';
}

/** 1, 2 or 3. */
export function stageOf(group) {
  if (STAGE_2.has(group)) return 2;
  if (STAGE_3.has(group) || group === 'pseudo-tty') return 3;
  return 1;
}
