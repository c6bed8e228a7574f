/** `NodeRuntime`: one virtual machine. */

import { AdapterOutside } from "./adapter-outside.js";
import { Checkpoint, Persistence, archiveRequest, archiveStream, loadArchive } from "./archive.js";
import { makeNetworksBy } from "./default-adapter.js";
import { disposedError, fromNative, valueError } from "./errors.js";
import { Context } from "./context.js";
import { expose } from "./expose.js";
import { describe } from "./first-generation/driver.js";
import type { Described, NodeRuntimeOptions } from "./first-generation/driver.js";
import { GuestHttp } from "./guest-http.js";
import { GuestNetwork } from "./guest-network.js";
import { GuestProcess } from "./guest-process.js";
import type { GuestResponse } from "./guest-response.js";
import type { HostFileSystem } from "./file-system.js";
import { HostInbox } from "./host.js";
import { launch } from "./launch.js";
import { FALLBACK_PATH, OVERLAY_PATHS } from "./module-access.js";
import { readMount } from "./mounts.js";
import type { MountSettings } from "./mounts.js";
import { makeVm, native } from "./native.js";
import type { NativeFile, NativeHost, NativeOutcome, NativeVm } from "./native.js";
import { GuardedAdapter, OutwardHttp } from "./outward-http.js";
import {
  readContextOptions,
  readCreateOptions,
  readExecOptions,
  readExposeOptions,
  readListenerQuery,
  readPort,
  readRequest,
  readSnapshotOptions,
  readSpawnOptions,
  readWaitOptions,
} from "./options.js";
import type { ExecSettings, RuntimeSettings } from "./options.js";
import { abortedOutcome, execResult, notStarted, runResult } from "./outcome.js";
import { Programs } from "./programs.js";
import type { Kind } from "./programs.js";
import { RuntimeFiles } from "./runtime-files.js";
import type { Duplex } from "node:stream";
import type {
  ContextOptions,
  ExecOptions,
  ExecResult,
  ExposeOptions,
  Exposed,
  GuestRequest,
  Listener,
  ListenerQuery,
  HostDirectoryMount,
  HostFunctions,
  Mount,
  NodeRuntimeCreateOptions,
  RunOptions,
  RunResult,
  RuntimeNetwork,
  RuntimeStats,
  SnapshotOptions,
  SpawnOptions,
  WaitOptions,
} from "./types.js";

const FIRST_GENERATION_TIMEOUT = "CPU time limit exceeded, as wall time (option cpuTimeLimitMs)";
/** Shows the constructor that `create` calls it. */
const CREATE = Symbol("create");

// Node 18.18 and 20.4 brought the symbol; older type targets look it up by this name.
(Symbol as { asyncDispose?: symbol }).asyncDispose ??= Symbol.for("Symbol.asyncDispose");

/**
 * A virtual machine that runs untrusted programs as Node 22 would.
 *
 * Each program gets a fresh isolate: its globals and modules are its own. Files are the VM's and stay.
 */
export class NodeRuntime {
  readonly #settings: RuntimeSettings;
  readonly #vm: NativeVm;
  readonly #pending = new Set<Promise<NativeOutcome>>();
  readonly #totals = { completed: 0, cpuMs: 0, wallMs: 0, peakHeapBytes: 0, outputBytes: 0, droppedOutputBytes: 0 };
  readonly #contexts = new Set<Context>();
  readonly #programs = new Programs();
  readonly #exposed = new Set<Exposed>();
  #networkInUse: GuestNetwork | undefined;
  #httpInUse: GuestHttp | undefined;
  #outwardInUse: RuntimeNetwork | undefined;
  #filesInUse: RuntimeFiles | undefined;
  #inboxInUse: HostInbox | undefined;
  #persistence: Persistence | undefined;
  #ending: Promise<void> | undefined;
  readonly #firstGeneration: Described | undefined;
  /** Set while what the constructor described is being set up. */
  #starting: Promise<void> | undefined;
  #terminations = 0;
  #defaultContext: Context | undefined;
  #disposed = false;
  readonly #onSignal = (): void => {
    this.#vm.terminate();
    // Who disposes of it later hears what went wrong.
    this.dispose().catch(() => {});
  };

  /** Makes a runtime. Options that cannot be meant are a `TypeError` or a `RangeError` at once. */
  static async create(options?: NodeRuntimeCreateOptions): Promise<NodeRuntime> {
    native().getReady();
    const settings = readCreateOptions(options);
    settings.signal?.throwIfAborted();
    const { persistence } = settings;
    const loaded = persistence === undefined ? undefined : await loadArchive(persistence);
    if (loaded !== undefined) settings.vm.snapshot = [Buffer.from(loaded.buffer, loaded.byteOffset, loaded.byteLength)];
    settings.signal?.throwIfAborted();
    const runtime = new NodeRuntime(CREATE, settings);
    // The VM has them now.
    settings.vm.snapshot = [];
    try {
      await runtime.#furnish(settings, loaded !== undefined);
    } catch (error) {
      await runtime.dispose();
      throw error;
    }
    return runtime;
  }

  /**
   * The first generation's constructor: a VM as `createNodeDriver` describes it, whose output reaches only `onStdio`.
   * It starts on its own; programs wait for that.
   */
  constructor(options: NodeRuntimeOptions);
  /** @internal */
  constructor(token: symbol, settings: RuntimeSettings);
  constructor(first: unknown, given?: RuntimeSettings) {
    const described = first === CREATE && given !== undefined ? undefined : describe(first);
    const settings = described === undefined ? (given as RuntimeSettings) : readCreateOptions(described.create);
    this.#settings = settings;
    this.#firstGeneration = described;
    try {
      this.#vm = makeVm(settings.vm, undefined, NodeRuntime.#listener(new WeakRef(this)));
    } catch (error) {
      throw fromNative(error);
    }
    const { networkAdapter, maxHttpBodyBytes } = settings;
    if (networkAdapter !== undefined) {
      const network = this.#network();
      network.serveGuests(new AdapterOutside(network, networkAdapter, maxHttpBodyBytes));
    }
    settings.signal?.addEventListener("abort", this.#onSignal, { once: true });
    if (described === undefined) return;
    this.#starting = this.#furnish(settings).then(() => {
      if (described.opensHostPorts && !this.#disposed) this.#network().openHostPorts();
      this.#starting = undefined;
    });
    // Whoever waits for it hears of a failure.
    this.#starting.catch(() => {});
  }

  /** The VM's files from the host's side. */
  get fs(): HostFileSystem {
    return this.#files.fs;
  }

  get #files(): RuntimeFiles {
    return (this.#filesInUse ??= new RuntimeFiles(this.#vm, () => this.#disposed, this.#settings.host.limits));
  }

  get #inbox(): HostInbox {
    return (this.#inboxInUse ??= new HostInbox(this.#settings.host, this.#files, this.#vm));
  }

  /** Runs a program to its end. Never rejects for what the guest did. */
  async exec(code: string, options?: ExecOptions): Promise<ExecResult> {
    const settings = this.#firstGenerationOf(readExecOptions(code, this.#known(options), this.#settings, "exec"));
    if (settings.context) {
      this.#defaultContext ??= this.#newContext();
      return this.#defaultContext.executeWith(settings);
    }
    return execResult(this.#wordOf(await this.#start(settings)), settings.native.captureBytes > 0);
  }

  /** Runs a module and brings its exports back. A string as second argument is its path. */
  async run<T = unknown>(code: string, options?: string | RunOptions): Promise<RunResult<T>> {
    const given = typeof options === "string" ? { filePath: options } : options;
    const settings = this.#firstGenerationOf(readExecOptions(code, this.#known(given), this.#settings, "run"));
    return runResult<T>(this.#wordOf(await this.#start(settings)), settings.native.captureBytes > 0);
  }

  /** Makes a context: JavaScript state that lives from call to call, in a process of its own. */
  async createContext(options?: ContextOptions): Promise<Context> {
    await this.#started();
    return this.#newContext(options);
  }

  /** Starts a program that is used while it runs, such as a server. Resolves once it has started. */
  async spawn(code: string, options?: SpawnOptions): Promise<GuestProcess> {
    const settings = readSpawnOptions(code, options, this.#settings);
    await this.#started();
    settings.signal?.throwIfAborted();
    const begin = this.#vm.spawn.bind(this.#vm);
    const { process, started, outcome } = GuestProcess.start(settings, begin);
    void this.#track(outcome, "server");
    await started;
    return process;
  }

  /**
   * Sends an HTTP request to a server of a guest. It takes the VM's own socket table: no port of the host's and no
   * permission is involved.
   */
  async fetch(port: number, request?: GuestRequest | Request): Promise<GuestResponse> {
    const number = readPort(port);
    const settings = readRequest(request);
    this.#httpInUse ??= new GuestHttp(this.#network(), this.#settings.maxHttpBodyBytes);
    return this.#httpInUse.fetch(number, settings);
  }

  /**
   * HTTP and names as guests reach them, from the host's side: what the VM itself listens on, and the outside as far as
   * `permissions.network` goes. By the option `networkAdapter` if that was given.
   */
  get network(): RuntimeNetwork {
    const { networkAdapter, maxHttpBodyBytes } = this.#settings;
    this.#outwardInUse ??=
      networkAdapter === undefined
        ? new OutwardHttp(this.#network(), maxHttpBodyBytes)
        : new GuardedAdapter(this.#network(), networkAdapter);
    return this.#outwardInUse;
  }

  /** A stream to a port of a guest, for whatever is spoken there: WebSocket, a database's protocol. */
  async connect(port: number): Promise<Duplex> {
    return this.#network().connect(readPort(port));
  }

  /** A listener that the query means, if there is one now. */
  async findListener(query: ListenerQuery): Promise<Listener | null> {
    return this.#network().find(readListenerQuery(query));
  }

  /**
   * The same, as soon as there is one. Rejects with `ERR_LISTENER_TIMEOUT`, and with `ERR_LISTENER_EXITED` and the
   * guest's error as its cause when no program is left that could listen.
   */
  async waitForListener(query: ListenerQuery, options?: WaitOptions): Promise<Listener> {
    return this.#network().wait(readWaitOptions(query, options));
  }

  /** Opens a port of the host's that leads to a port of a guest, until it is closed or the runtime is disposed of. */
  async expose(port: number, options?: ExposeOptions): Promise<Exposed> {
    const forget = (closed: Exposed): void => void this.#exposed.delete(closed);
    const exposed = await expose(this.#network(), readPort(port), readExposeOptions(options), forget);
    if (this.#disposed) {
      await exposed.close();
      throw disposedError("the runtime");
    }
    this.#exposed.add(exposed);
    return exposed;
  }

  /** Gives programs that start from now on these functions, too. */
  registerHostFunctions(functions: HostFunctions): void {
    if (this.#disposed) throw disposedError("the runtime");
    const { functions: table } = this.#settings.host;
    table.add(functions, "functions");
    this.#vm.addHostFunctions(table.names);
  }

  /** Puts something over a directory, for guests that run too. */
  async mount(spec: Mount | HostDirectoryMount): Promise<void> {
    await this.#started();
    await this.#files.mounts.add(readMount(spec, "mount"));
  }

  /** Takes away what is mounted at a path. What guests have open there fails with `EIO`. */
  async unmount(guestPath: string): Promise<void> {
    await this.#files.mounts.remove(guestPath);
  }

  /**
   * The VM's files as a tar archive: of its own memory, not of what is mounted from the host. `create({ snapshot })`
   * starts from it.
   */
  async snapshot(options?: SnapshotOptions): Promise<Uint8Array> {
    const settings = readSnapshotOptions(options);
    return (await this.#files.calls.ask("snapshot", archiveRequest(this.#files.calls, settings))) as Uint8Array;
  }

  /** The same, written while it is read. */
  snapshotStream(options?: SnapshotOptions): ReadableStream<Uint8Array> {
    const settings = readSnapshotOptions(options);
    if (this.#disposed) throw disposedError("the runtime");
    return archiveStream(this.#files.calls, settings);
  }

  /**
   * A moment: `snapshot({ since })` holds what changed after it. Take it before a whole snapshot, and the snapshot and
   * what changed since make the files of now: `create({ snapshot: [whole, ...changes] })`.
   */
  async checkpoint(): Promise<Checkpoint> {
    return Checkpoint.take(this.#files.calls);
  }

  /** Saves the files through the adapter of `persistence`, unless nothing changed since they were loaded or saved. */
  async persist(): Promise<void> {
    if (this.#disposed) throw disposedError("the runtime");
    if (this.#persistence === undefined) throw valueError("persistence", "must be given to create()", undefined);
    await this.#persistence.save();
  }

  /** `fs.readFile`, and so the next ones. */
  async readFile(path: string): Promise<Uint8Array> {
    return this.fs.readFile(path);
  }

  async writeFile(path: string, data: string | Uint8Array): Promise<void> {
    await this.fs.writeFile(path, data);
  }

  async readDir(path: string): Promise<string[]> {
    return this.fs.readdir(path);
  }

  /** What is mounted, in the order of mounting. */
  listMounts(): Mount[] {
    return this.#files.mounts.list();
  }

  /** Counters. They can be read after `dispose` too. */
  async stats(): Promise<RuntimeStats> {
    const { processes, filesystemBytes, inodes, heapBytes, externalBytes, sockets, connections, codeCache } = this.#vm.stats();
    const now = { heapBytes, externalBytes, sockets: { open: sockets, connections } };
    return { processes, ...this.#totals, ...now, files: { bytes: filesystemBytes, inodes }, codeCache };
  }

  /** Ends what runs, with reason `"aborted"`; the runtime stays usable. Resolves when everything has ended. */
  async terminate(): Promise<void> {
    this.#terminations += 1;
    this.#vm.terminate();
    await Promise.allSettled(this.#pending);
    this.#networkInUse?.refreshHostPorts();
  }

  /**
   * Ends what runs, with reason `"disposed"`, and refuses more. Resolves when everything has ended and is saved; rejects
   * with `ERR_PERSISTENCE_FAILED` when it could not be saved. Idempotent.
   */
  dispose(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    this.#disposed = true;
    this.#settings.signal?.removeEventListener("abort", this.#onSignal);
    this.#vm.dispose();
    for (const context of this.#contexts) void context.dispose();
    const network = this.#networkInUse?.close();
    this.#httpInUse?.close();
    this.#settings.host.commands?.dispose();
    const exposed = [...this.#exposed].map((open) => open.close());
    const watches = this.#filesInUse?.watches.close();
    await Promise.allSettled([network, watches, this.#filesInUse?.calls.settled(), ...this.#pending, ...exposed]);
    try {
      await this.#persistence?.save();
    } finally {
      this.#vm.forgetFiles();
    }
  }

  /** The same as {@link NodeRuntime.dispose}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #network(): GuestNetwork {
    if (this.#disposed) throw disposedError("the runtime");
    return (this.#networkInUse ??= new GuestNetwork(this.#vm, this.#programs));
  }

  /**
   * What the addon calls, and so keeps. It must not keep the runtime: one that nobody holds is collected. In a function of
   * its own, because closures of one function keep what any of them needs.
   */
  static #listener(weak: WeakRef<NodeRuntime>): NativeHost {
    return (id, kind, target, payload) => {
      const runtime = weak.deref();
      if (runtime !== undefined) runtime.#inbox.receive(id, kind, target, payload);
    };
  }

  /** Mounts, and what is put into them. */
  async #furnish({ mounts, cwd, lateFiles, hasModuleFallback, persistence }: RuntimeSettings, isLoaded = false): Promise<void> {
    const keeper = persistence && new Persistence(persistence, this.#files.lateCalls);
    if (isLoaded) await keeper?.markSaved();
    await this.#put(mounts, cwd, lateFiles, hasModuleFallback);
    // Only what was made whole is saved.
    this.#persistence = keeper;
  }

  async #put(
    mounts: MountSettings[],
    cwd: string,
    lateFiles: NativeFile[],
    hasModuleFallback: boolean,
  ): Promise<void> {
    if (mounts.length === 0 && lateFiles.length === 0) return;
    for (const mount of mounts) await this.#files.mounts.add(mount);
    if (hasModuleFallback) await this.#files.calls.ask("symlink", { target: OVERLAY_PATHS[0], path: FALLBACK_PATH });
    await this.#files.calls.ask("mkdir", { path: cwd, recursive: true });
    for (const { path, data } of lateFiles) await this.#files.calls.ask("writeFile", { path, data });
  }

  #newContext(options?: ContextOptions): Context {
    const { native, defaults } = readContextOptions(options, this.#settings);
    if (this.#disposed) throw disposedError("the runtime");
    const context = new Context({
      make: () => this.#vm.createContext(native),
      defaults,
      track: (outcome) => this.#track(outcome),
      forget: (ended) => {
        this.#contexts.delete(ended);
        if (this.#defaultContext === ended) this.#defaultContext = undefined;
      },
    });
    this.#contexts.add(context);
    return context;
  }

  /** The first generation's options of a program, without those that mean nothing. */
  #known<T extends object>(options: T | undefined): T | undefined {
    if (this.#firstGeneration === undefined || typeof options !== "object" || options === null) return options;
    const { mode: _, ...rest } = options as T & { mode?: unknown };
    return rest as T;
  }

  /**
   * A program of the first generation: what it was promised to be stopped by is wall time, and a server has as much of
   * that as it likes.
   */
  #firstGenerationOf(settings: ExecSettings): ExecSettings {
    if (this.#firstGeneration === undefined) return settings;
    const { native } = settings;
    if (native.cpuTimeLimitMs !== undefined) native.wallTimeLimitMs ??= native.cpuTimeLimitMs;
    native.wallSparesListeners = true;
    native.waitsForAwait = true;
    const { stdin } = this.#firstGeneration;
    if (stdin !== undefined) native.stdin ??= Buffer.from(stdin);
    return settings;
  }

  /** Waits for what the constructor described. */
  async #started(): Promise<void> {
    try {
      await this.#starting;
    } catch (error) {
      throw this.#disposed ? disposedError("the runtime") : error;
    }
    if (this.#disposed) throw disposedError("the runtime");
  }

  /** The first generation has one time limit, whose name its users look for. */
  #wordOf(outcome: NativeOutcome): NativeOutcome {
    if (this.#firstGeneration === undefined || outcome.reason !== "wall") return outcome;
    return { ...outcome, errorMessage: FIRST_GENERATION_TIMEOUT };
  }

  async #start(settings: ExecSettings): Promise<NativeOutcome> {
    if (this.#starting !== undefined && !this.#disposed) {
      const terminations = this.#terminations;
      const failure = await this.#starting.then(
        () => undefined,
        (error: Error) => error,
      );
      // Whoever dropped the promise must not find it rejected: it ends as a program does that had begun.
      if (this.#disposed) return notStarted("disposed", "the runtime was disposed of");
      if (failure !== undefined) return notStarted("error", String(failure));
      if (this.#terminations !== terminations) return abortedOutcome();
    }
    if (this.#disposed) return Promise.reject(disposedError("the runtime"));
    return this.#track(launch(settings, (options, listener) => this.#vm.exec(options, listener)));
  }

  /** Counts a program and lets `terminate` and `dispose` wait for it. */
  #track(outcome: Promise<NativeOutcome>, kind: Kind = "task"): Promise<NativeOutcome> {
    this.#pending.add(outcome);
    this.#programs.begin();
    return outcome.then(
      (ended) => {
        this.#pending.delete(outcome);
        this.#programs.end(kind, ended);
        this.#count(ended);
        return ended;
      },
      (error: unknown) => {
        this.#pending.delete(outcome);
        this.#programs.end(kind);
        throw error;
      },
    );
  }

  #count(ended: NativeOutcome): void {
    const totals = this.#totals;
    totals.completed += 1;
    totals.cpuMs += ended.cpuMs;
    totals.wallMs += ended.wallMs;
    totals.peakHeapBytes = Math.max(totals.peakHeapBytes, ended.peakHeapBytes);
    const dropped = ended.stdoutDropped + ended.stderrDropped;
    totals.outputBytes += ended.stdout.length + ended.stderr.length + dropped;
    totals.droppedOutputBytes += dropped;
  }
}

makeNetworksBy(async (exemptPorts) => {
  const runtime = await NodeRuntime.create({ permissions: { network: "allow" }, loopbackExemptPorts: [...exemptPorts] });
  // The runtime is held by what uses it: one that nobody holds ends.
  return {
    fetch: (url, init) => runtime.network.fetch(url, init),
    httpRequest: (url, init) => runtime.network.httpRequest(url, init),
    dnsLookup: (hostname) => runtime.network.dnsLookup(hostname),
  };
});
