'use strict';

// The main script of every guest process, beside Node's own internal/main/*.
// `prepare` may run before the program is known (warm isolates); `start` runs the program as
// internal/main/run_main_module does; `exports` gives what `NodeRuntime.run` hands back.

const {
  ArrayPrototypePush,
  ObjectDefineProperty,
  RegExpPrototypeExec,
} = primordials;

const {
  prepareMainThreadExecution,
  markBootstrapComplete,
} = require('internal/process/pre_execution');

function prepare() {
  prepareMainThreadExecution(false, true);
}

function start(main, args, pid, ppid) {
  const argv = [process.execPath, main];
  for (let i = 0; i < args.length; i++) ArrayPrototypePush(argv, args[i]);
  process.argv = argv;
  ObjectDefineProperty(process, 'pid', {
    __proto__: null, value: pid, writable: false, enumerable: true, configurable: false,
  });
  process.ppid = ppid;
  const { Module } = require('internal/modules/cjs/loader');
  // Search paths depend on HOME and NODE_PATH of this process.
  Module._initPaths();
  markBootstrapComplete();
  // Necessary to reset RegExp statics before user code runs.
  RegExpPrototypeExec(/^/, '');
  Module.runMain(main);
}

// The namespace of an ECMAScript module, else `module.exports` of a CommonJS one.
function getExports(main) {
  const { Module } = require('internal/modules/cjs/loader');
  const { pathToFileURL } = require('internal/url');
  const { getOrInitializeCascadedLoader } = require('internal/modules/esm/loader');
  const loader = getOrInitializeCascadedLoader();
  const { href } = pathToFileURL(main);
  if (loader.loadCache.has(href)) {
    return { __proto__: null, module: loader.import(href, undefined, { __proto__: null }) };
  }
  return { __proto__: null, exports: Module._cache[main]?.exports };
}

return { __proto__: null, prepare, start, getExports };
