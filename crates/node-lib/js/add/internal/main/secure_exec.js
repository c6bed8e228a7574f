'use strict';

// The main script of every guest process, beside Node's own internal/main/*.
// `prepare` may run before the program is known (warm isolates); `start` runs the program as
// internal/main/run_main_module does; `exports` gives what `NodeRuntime.run` hands back.

const {
  ArrayIsArray,
  ArrayPrototypePush,
  NumberParseInt,
  ObjectDefineProperty,
  ObjectFreeze,
  ObjectGetOwnPropertyDescriptor,
  ObjectKeys,
  RegExpPrototypeExec,
  RegExpPrototypeSymbolReplace,
  StringPrototypeSlice,
  StringPrototypeSplit,
} = primordials;

const { guessHandleType } = require('internal/util');
const { isArrayBufferView, isProxy } = require('internal/util/types');
const {
  prepareMainThreadExecution,
  markBootstrapComplete,
} = require('internal/process/pre_execution');

function prepare() {
  prepareMainThreadExecution(false, true);
}

function setProcess(main, args, pid, ppid, isFinal = true) {
  const argv = [process.execPath, main];
  for (let i = 0; i < args.length; i++) ArrayPrototypePush(argv, args[i]);
  process.argv = argv;
  ObjectDefineProperty(process, 'pid', {
    __proto__: null, value: pid, writable: false, enumerable: true, configurable: true,
  });
  process.ppid = ppid;
  if (hasStdout && isFinal && guessHandleType(1) !== 'FILE') resetStdioForTesting();
  const { Module } = require('internal/modules/cjs/loader');
  // Search paths depend on HOME and NODE_PATH of this process.
  Module._initPaths();
  markBootstrapComplete();
  // Necessary to reset RegExp statics before user code runs.
  RegExpPrototypeExec(/^/, '');
  return Module;
}

// `process.stdout` is made before the program is known, as what it usually is.
const { resetStdioForTesting } = internalBinding('process_methods');
let hasStdout = false;
function warmUpStdout() {
  hasStdout = guessHandleType(1) === 'FILE' && process.stdout !== undefined;
}

function start(main, args, pid, ppid) {
  setProcess(main, args, pid, ppid).runMain(main);
}

// A child of a guest's, which may have a channel to its parent. Preparing the library takes it up where that knew of it.
function startChild(main, args, pid, ppid) {
  const { env } = process;
  const fd = env.NODE_CHANNEL_FD;
  if (fd !== undefined) {
    const serialization = env.NODE_CHANNEL_SERIALIZATION_MODE || 'json';
    // Its own children must not inherit them.
    delete env.NODE_CHANNEL_FD;
    delete env.NODE_CHANNEL_SERIALIZATION_MODE;
    require('child_process')._forkChild(NumberParseInt(fd, 10), serialization);
  }
  start(main, args, pid, ppid);
}

// A program of ours, run as `start` runs a guest's before that is known, in steps between which a job may come.
// `warmUpEnd` takes away what they left. The streams are stand-ins: what the guest's are is not known.
const SyncWriteStream = require('internal/fs/sync_write_stream');
const { async_id_fields, constants: { kAsyncIdCounter } } = internalBinding('async_wrap');
const { compileFunctionForCJSLoader } = internalBinding('contextify');
const streams = { __proto__: null, stdout: undefined, stderr: undefined };
let firstAsyncId;

function warmUpProcess(main) {
  firstAsyncId = async_id_fields[kAsyncIdCounter];
  setProcess(main, [], 0, 0, false);
}

function warmUpCompiler(main) {
  compileFunctionForCJSLoader('console.log("text " + (1 + 2))', main, false, false);
}

function warmUpStreams() {
  for (const name in streams) {
    streams[name] = ObjectGetOwnPropertyDescriptor(process, name);
    ObjectDefineProperty(process, name, {
      __proto__: null, value: new SyncWriteStream(1, { autoClose: false }), configurable: true,
    });
  }
}

function warmUpProgram(main) {
  const { Module } = require('internal/modules/cjs/loader');
  Module.runMain(main);
}

function warmUpConsole() {
  console.log('text');
}

function warmUpFormat() {
  console.log('%s', 'text', 1, true, null, { a: [1, 'b'], c() {} });
}

function warmUpEnd(main) {
  async_id_fields[kAsyncIdCounter] = firstAsyncId;
  if (streams.stdout === undefined) return;
  const { Module } = require('internal/modules/cjs/loader');
  console._stdout = undefined;
  for (const name in streams) {
    ObjectDefineProperty(process, name, { __proto__: null, ...streams[name] });
    streams[name] = undefined;
  }
  delete process.mainModule;
  delete Module._cache[main];
  Module._pathCache = { __proto__: null };
}

// Functions of the host as a frozen tree of their dotted names. `call` answers with a promise.
function installHostFunctions(names, call) {
  const tree = { __proto__: null };
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    const levels = StringPrototypeSplit(name, '.');
    let branch = tree;
    for (let j = 0; j < levels.length - 1; j++) branch = branch[levels[j]] ??= { __proto__: null };
    branch[levels[levels.length - 1]] = (...args) => call(name, args);
  }
  freezeTree(tree);
  const values = {
    __proto__: null,
    SecureExec: ObjectFreeze({ __proto__: null, bindings: tree, hostFunctions: tree }),
    callHostFunction: (name, ...args) => call(name, args),
  };
  for (const name of ['SecureExec', 'callHostFunction']) {
    ObjectDefineProperty(globalThis, name, {
      __proto__: null, value: values[name], writable: false, enumerable: false, configurable: false,
    });
  }
}

function freezeTree(branch) {
  const names = ObjectKeys(branch);
  for (let i = 0; i < names.length; i++) {
    if (typeof branch[names[i]] === 'object') freezeTree(branch[names[i]]);
    else ObjectFreeze(branch[names[i]]);
  }
  ObjectFreeze(branch);
}

// A context's code sees what code of `node --eval` sees: the globals of a CommonJS module beside the program.
let contextPath;
function startContext(main, args, pid, ppid) {
  const Module = setProcess(main, args, pid, ppid);
  process.argv.length = 1;
  contextPath = main;
  const module = new Module(main, null);
  const path = require('path');
  module.filename = main;
  module.paths = Module._nodeModulePaths(path.dirname(main));
  const { makeRequireFunction } = require('internal/modules/helpers');
  const globals = {
    __proto__: null,
    require: makeRequireFunction(module),
    module,
    exports: module.exports,
    __filename: main,
    __dirname: path.dirname(main),
  };
  for (const name of ['require', 'module', 'exports', '__filename', '__dirname']) {
    ObjectDefineProperty(globalThis, name, {
      __proto__: null, value: globals[name], writable: true, enumerable: false, configurable: true,
    });
  }
}

// Static imports as `await import()` and exports as what they declare: a module's names would be gone after the call.
// They are `var`, so that a later call may import them again. Lines keep their places.
function withoutModuleSyntax(code) {
  if (RegExpPrototypeExec(/\b(?:import|export)\b/, code) === null) return code;
  const { Parser } = require('internal/deps/acorn/acorn/dist/acorn');
  let body;
  try {
    ({ body } = Parser.parse(code, { ecmaVersion: 'latest', sourceType: 'module' }));
  } catch {
    return code;
  }
  const text = (node) => StringPrototypeSlice(code, node.start, node.end);
  // The statement before it may have ended for no other reason than that this one began.
  const blank = (from, to) => `;${RegExpPrototypeSymbolReplace(/[^\n]/g, StringPrototypeSlice(code, from + 1, to), ' ')}`;
  let imports = '';
  let rest = '';
  let at = 0;
  const take = (from, to, instead) => {
    rest += StringPrototypeSlice(code, at, from) + (instead ?? blank(from, to));
    at = to;
  };
  for (let i = 0; i < body.length; i++) {
    const node = body[i];
    const { type, start, end, declaration, source } = node;
    if (type === 'ImportDeclaration' || (source !== undefined && source !== null)) {
      imports += importOf(node, text);
      take(start, end);
    } else if (type === 'ExportNamedDeclaration') {
      take(start, declaration === null ? end : declaration.start);
    } else if (type === 'ExportDefaultDeclaration') {
      take(start, declaration.start, blank(start, declaration.start));
      const { type: kind, id } = declaration;
      if ((kind !== 'FunctionDeclaration' && kind !== 'ClassDeclaration') || id === null) {
        take(declaration.start, end, `(${text(declaration)});`);
      }
    }
  }
  return imports + rest + StringPrototypeSlice(code, at);
}

function importOf({ specifiers = [], attributes = [], source }, text) {
  let options = '';
  for (let i = 0; i < attributes.length; i++) options += `${text(attributes[i].key)}: ${text(attributes[i].value)}, `;
  const module = `await import(${text(source)}${options === '' ? '' : `, { with: { ${options}} }`})`;
  let names = '';
  let all;
  for (let i = 0; i < specifiers.length; i++) {
    const { type, imported, local } = specifiers[i];
    // Of `export ... from` nothing is declared here.
    if (type === 'ExportSpecifier') continue;
    if (type === 'ImportNamespaceSpecifier') all = text(local);
    else names += `${imported === undefined ? 'default' : text(imported)}: ${text(local)}, `;
  }
  if (all !== undefined) return `var ${all} = ${module}${names === '' ? '' : `, { ${names}} = ${all}`}; `;
  return names === '' ? `${module}; ` : `var { ${names}} = ${module}; `;
}

// Runs a script whose declarations stay; answers a promise for [value]. `await` at the top is allowed.
async function evaluate(code) {
  // An uncaught error of an earlier call has left its mark.
  process._exiting = false;
  process.exitCode = undefined;
  const { Script, constants } = require('vm');
  const options = {
    __proto__: null,
    filename: contextPath,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  };
  let script;
  let isAwait = false;
  try {
    script = new Script(code, options);
  } catch (error) {
    const { processTopLevelAwait } = require('internal/repl/await');
    const plain = withoutModuleSyntax(code);
    if (RegExpPrototypeExec(/\bawait\b/, plain) !== null) {
      const wrapped = processTopLevelAwait(plain);
      if (wrapped === null) throw error;
      script = new Script(wrapped, options);
      isAwait = true;
    } else {
      if (plain === code) throw error;
      script = new Script(plain, options);
    }
  }
  const value = script.runInThisContext({ __proto__: null, displayErrors: true });
  if (!isAwait) return [await value];
  const settled = await value;
  return [settled?.value];
}

// Compilers export CommonJS through getters. They run here, in the guest; no getter runs when values leave it.
function withoutGetters(exports) {
  if (typeof exports !== 'object' || exports === null || isProxy(exports)) return exports;
  // Each of their elements is a property.
  if (ArrayIsArray(exports) || isArrayBufferView(exports)) return exports;
  const names = ObjectKeys(exports);
  let copy;
  for (let i = 0; i < names.length; i++) {
    if (ObjectGetOwnPropertyDescriptor(exports, names[i])?.get === undefined) continue;
    copy = {};
    break;
  }
  if (copy === undefined) return exports;
  for (let i = 0; i < names.length; i++) {
    ObjectDefineProperty(copy, names[i], {
      __proto__: null, value: exports[names[i]], writable: true, enumerable: true, configurable: true,
    });
  }
  return copy;
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
  return { __proto__: null, exports: withoutGetters(Module._cache[main]?.exports) };
}

return {
  __proto__: null,
  prepare,
  warmUpStdout,
  warmUpProcess,
  warmUpCompiler,
  warmUpStreams,
  warmUpProgram,
  warmUpConsole,
  warmUpFormat,
  warmUpEnd,
  installHostFunctions,
  start,
  startChild,
  startContext,
  evaluate,
  getExports,
};
