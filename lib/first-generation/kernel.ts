/** `createKernel` and `createNodeRuntime`: a VM whose programs are started by command lines. */

import { SecureExecError, typeError } from "../errors.js";
import type { GuestProcess } from "../guest-process.js";
import { allow } from "../permissions.js";
import { NodeRuntime } from "../runtime.js";
import type {
  BindingTree,
  ModuleAccess,
  NodeRuntimeCreateOptions,
  PermissionCallback,
  PermissionOptions,
  Permissions,
  SpawnOptions,
  VirtualFileSystem,
  VirtualStat,
} from "../types.js";

/** What {@link createKernel} takes. */
export interface KernelOptions {
  filesystem: VirtualFileSystem;
  /** What a scope's function refuses is refused; a scope without one is decided by those of {@link createNodeRuntime}. */
  permissions?: Permissions;
  env?: Record<string, string>;
  /** Where commands start; `/home/user` by default. */
  cwd?: string;
  /** Processes that may run at a time. */
  maxProcesses?: number;
  mounts?: { path: string; fs: VirtualFileSystem; readOnly?: boolean }[];
}

/** What {@link createNodeRuntime} takes. */
export interface KernelNodeOptions {
  /** MB; 128 by default. */
  memoryLimit?: number;
  /** What programs may do; child processes by default. */
  permissions?: Permissions;
  /** Functions that programs call as `await SecureExec.bindings.name(...)`. */
  bindings?: BindingTree;
  /** Ports of the host's loopback that programs may reach. */
  loopbackExemptPorts?: number[];
  /** The host's directory whose `node_modules` programs see; none by default. */
  moduleAccessCwd?: string;
  packageRoots?: { hostPath: string; vmPath: string }[];
  /** Changes nothing: `npm` is not of the VM. */
  moduleAccessPaths?: string[];
}

/** What {@link Kernel.mount} takes. */
export interface KernelRuntimeDriver {
  readonly name: string;
  readonly commands: string[];
  readonly options: KernelNodeOptions;
}

/** How a command is run. */
export interface KernelExecOptions {
  env?: Record<string, string>;
  cwd?: string;
  stdin?: string | Uint8Array;
  /** Milliseconds. */
  timeout?: number;
  onStdout?: (data: Uint8Array) => void;
  onStderr?: (data: Uint8Array) => void;
}

/** How a command ended. */
export interface KernelExecResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** How a command is started. */
export interface KernelSpawnOptions extends KernelExecOptions {
  /** Changes nothing: input is passed on as it comes. */
  streamStdin?: boolean;
  /** With `inherit`, output is also the host's. */
  stdio?: "pipe" | "inherit";
}

/** A command that runs. */
export interface ManagedProcess {
  /** Its number in the kernel's list. */
  readonly pid: number;
  writeStdin(data: Uint8Array | string): void;
  closeStdin(): void;
  /** SIGTERM without a number. */
  kill(signal?: number): void;
  wait(): Promise<number>;
  readonly exitCode: number | null;
}

/** One entry of {@link Kernel.processes}. */
export interface KernelProcessInfo {
  readonly pid: number;
  readonly ppid: number;
  readonly driver: string;
  readonly command: string;
  readonly args: string[];
  readonly status: "running" | "exited";
  readonly exitCode: number | null;
}

/** A VM and what runs in it. */
export interface Kernel {
  /** Makes the commands of a driver known. There is one: what {@link createNodeRuntime} gives. */
  mount(driver: KernelRuntimeDriver): Promise<void>;
  dispose(): Promise<void>;
  /** Runs a command line by the VM's shell. */
  exec(command: string, options?: KernelExecOptions): Promise<KernelExecResult>;
  spawn(command: string, args: string[], options?: KernelSpawnOptions): ManagedProcess;
  mountFs(path: string, fs: VirtualFileSystem, options?: { readOnly?: boolean }): void;
  unmountFs(path: string): void;
  readFile(path: string): Promise<Uint8Array>;
  writeFile(path: string, content: string | Uint8Array): Promise<void>;
  mkdir(path: string): Promise<void>;
  readdir(path: string): Promise<string[]>;
  stat(path: string): Promise<VirtualStat>;
  exists(path: string): Promise<boolean>;
  removeFile(path: string): Promise<void>;
  removeDir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Commands by the name of their driver. */
  readonly commands: ReadonlyMap<string, string>;
  readonly processes: ReadonlyMap<number, KernelProcessInfo>;
}

/** The first generation's name for what drivers were given. Here they need nothing. */
export type KernelInterface = Pick<Kernel, "spawn" | "readFile" | "writeFile">;

const DEFAULT_CWD = "/home/user";
const COMMANDS = ["node"];
/** No limit: the caller of a command ends it. */
const NO_LIMIT_MS = 2 ** 31 - 1;
const TIMED_OUT = 124;
const SIGTERM = 15;
const SIGKILL = 9;
const SCOPES = ["fs", "network", "childProcess", "env"] as const satisfies (keyof Permissions)[];
/** Of processes that have ended, so many are listed. */
const MAX_ENDED = 1024;

/** Stands in the VM for a command: starts it on its own streams, passes on signals and ends as it does. */
export const COMMAND = `
const { spawn } = require("node:child_process");
const { constants } = require("node:os");
const [command, ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: "inherit" });
for (const name of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"]) process.on(name, () => child.kill(name));
child.on("error", (error) => {
  console.error(command + ": " + (error.code === "ENOENT" ? "command not found" : error.message));
  process.exit(error.code === "ENOENT" ? 127 : 126);
});
child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
`;

/** The driver of `node`. */
export function createNodeRuntime(options: KernelNodeOptions = {}): KernelRuntimeDriver {
  if (typeof options !== "object" || options === null) throw typeError("options", "an object", options);
  return Object.freeze({ name: "node", commands: [...COMMANDS], options: { ...options } });
}

/** Makes a VM. It has no commands until a driver is mounted. */
export function createKernel(options: KernelOptions): Kernel {
  if (typeof options !== "object" || options === null) throw typeError("options", "an object", options);
  return new NodeKernel(options);
}

class NodeKernel implements Kernel {
  readonly commands = new Map<string, string>();
  readonly processes = new Map<number, KernelProcessInfo>();
  readonly #options: KernelOptions;
  #runtime: NodeRuntime | undefined;
  /** Mounting and unmounting, in order. */
  #mounting: Promise<unknown> = Promise.resolve();
  #lastPid = 1;

  constructor(options: KernelOptions) {
    this.#options = { ...options };
  }

  async mount(driver: KernelRuntimeDriver): Promise<void> {
    if (this.#runtime !== undefined) throw new SecureExecError("EBUSY", "a driver is mounted already");
    if (driver?.name !== "node") throw typeError("driver", "what createNodeRuntime() gives", driver);
    const runtime = await NodeRuntime.create(read(this.#options, driver.options));
    this.#runtime = runtime;
    for (const command of driver.commands) this.commands.set(command, driver.name);
  }

  async dispose(): Promise<void> {
    await this.#runtime?.dispose();
  }

  async exec(command: string, options: KernelExecOptions = {}): Promise<KernelExecResult> {
    const chunks: { stdout: Uint8Array[]; stderr: Uint8Array[] } = { stdout: [], stderr: [] };
    const { timeout, onStdout, onStderr } = options;
    const process = this.#start("sh", ["-c", command], {
      ...options,
      onStdout: (data) => (chunks.stdout.push(data), onStdout?.(data)),
      onStderr: (data) => (chunks.stderr.push(data), onStderr?.(data)),
    });
    if (options.stdin === undefined) process.closeStdin();
    let timedOut = false;
    const timer =
      timeout === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true;
            process.kill(SIGKILL);
          }, timeout);
    const code = await process.wait();
    clearTimeout(timer);
    const text = (data: Uint8Array[]): string => Buffer.concat(data).toString("utf8");
    return { exitCode: timedOut ? TIMED_OUT : code, stdout: text(chunks.stdout), stderr: text(chunks.stderr) };
  }

  spawn(command: string, args: string[], options: KernelSpawnOptions = {}): ManagedProcess {
    return this.#start(command, args, options);
  }

  #start(command: string, args: string[], options: KernelSpawnOptions): Command {
    const runtime = this.#runtime;
    if (runtime === undefined) throw new SecureExecError("ENOENT", `command not found: ${command}`);
    const pid = ++this.#lastPid;
    const started = this.#mounting.then(() => launch(runtime, command, args, options));
    const process = new Command(pid, started, options);
    const driver = this.commands.get(command) ?? "node";
    const info: KernelProcessInfo = {
      pid,
      ppid: 1,
      driver,
      command,
      args: [...args],
      get status() {
        return process.exitCode === null ? "running" : "exited";
      },
      get exitCode() {
        return process.exitCode;
      },
    };
    this.processes.set(pid, info);
    void process.wait().then(() => this.#forget());
    return process;
  }

  /** Keeps the list of those that ended short. */
  #forget(): void {
    let over = this.processes.size - MAX_ENDED;
    for (const [pid, { status }] of this.processes) {
      if (over-- <= 0) return;
      if (status === "exited") this.processes.delete(pid);
    }
  }

  mountFs(path: string, fs: VirtualFileSystem, { readOnly = false }: { readOnly?: boolean } = {}): void {
    this.#queue((runtime) => runtime.mount({ path, source: fs, readOnly }));
  }

  unmountFs(path: string): void {
    this.#queue((runtime) => runtime.unmount(path));
  }

  #queue(action: (runtime: NodeRuntime) => Promise<void>): void {
    const runtime = this.#running();
    this.#mounting = this.#mounting.then(() => action(runtime));
    // Who uses it next hears of a failure.
    this.#mounting.catch(() => {});
  }

  #running(): NodeRuntime {
    if (this.#runtime === undefined) throw new SecureExecError("ENOENT", "no driver is mounted");
    return this.#runtime;
  }

  /** The VM's files, or what it will be made of. */
  async #files(): Promise<VirtualFileSystem | NodeRuntime["fs"]> {
    await this.#mounting;
    return this.#runtime?.fs ?? this.#options.filesystem;
  }

  async readFile(path: string): Promise<Uint8Array> {
    return (await this.#files()).readFile(path);
  }

  async writeFile(path: string, content: string | Uint8Array): Promise<void> {
    await (await this.#files()).writeFile(path, content);
  }

  async mkdir(path: string): Promise<void> {
    await (await this.#files()).mkdir(path, { recursive: true });
  }

  async readdir(path: string): Promise<string[]> {
    const files = await this.#files();
    return "readdir" in files ? files.readdir(path) : files.readDir(path);
  }

  async stat(path: string): Promise<VirtualStat> {
    return (await this.#files()).stat(path);
  }

  async exists(path: string): Promise<boolean> {
    return (await this.#files()).exists(path);
  }

  async removeFile(path: string): Promise<void> {
    const files = await this.#files();
    await ("rm" in files ? files.rm(path) : files.removeFile(path));
  }

  async removeDir(path: string): Promise<void> {
    const files = await this.#files();
    await ("rm" in files ? files.rm(path, { recursive: true }) : files.removeDir(path));
  }

  async rename(from: string, to: string): Promise<void> {
    await (await this.#files()).rename(from, to);
  }
}

/** The VM of a kernel and its driver. */
function read(kernel: KernelOptions, node: KernelNodeOptions): NodeRuntimeCreateOptions {
  const { filesystem, env = {}, cwd = DEFAULT_CWD, maxProcesses, mounts = [] } = kernel;
  const { memoryLimit, bindings, loopbackExemptPorts, moduleAccessCwd, packageRoots } = node;
  const modules: ModuleAccess | undefined = moduleAccessCwd === undefined ? undefined : { cwd: moduleAccessCwd };
  if (modules !== undefined && packageRoots !== undefined) modules.packageRoots = packageRoots;
  return {
    filesystem,
    env,
    cwd,
    capture: false,
    cpuTimeLimitMs: NO_LIMIT_MS,
    permissions: both(kernel.permissions, node.permissions ?? { childProcess: allow }),
    mounts: mounts.map(({ path, fs, readOnly = false }) => ({ path, source: fs, readOnly })),
    ...(memoryLimit === undefined ? {} : { memoryLimit }),
    ...(bindings === undefined ? {} : { bindings }),
    ...(loopbackExemptPorts === undefined ? {} : { loopbackExemptPorts }),
    ...(maxProcesses === undefined ? {} : { resourceBudgets: { maxChildProcesses: maxProcesses } }),
    ...(modules === undefined ? {} : { moduleAccess: modules }),
  };
}

/** What both allow. The driver has to allow it; the kernel may refuse it. */
function both(kernel: Permissions | undefined, node: Permissions): PermissionOptions {
  const all: PermissionOptions = {};
  for (const scope of SCOPES) {
    const first = kernel?.[scope] as PermissionCallback<unknown> | undefined;
    const second = node[scope] as PermissionCallback<unknown> | undefined;
    const decides = second === undefined ? "deny" : first === undefined || first === allow ? second : second === allow ? first : inTurn(first, second);
    Object.assign(all, { [scope]: decides });
  }
  // The VM's own memory is covered by the file system that the caller gave, to which `deny` does not speak.
  if (all.fs === "deny") all.fs = { rules: [{ mode: "deny", paths: ["/**"] }] };
  return all;
}

function inTurn(first: PermissionCallback<unknown>, second: PermissionCallback<unknown>): PermissionCallback<unknown> {
  return async (request) => {
    const decision = await first(request);
    const isAllowed = typeof decision === "object" ? decision.allow === true : decision === true;
    return isAllowed ? second(request) : decision;
  };
}

/** Starts a command. `node` with a file is that program itself, so that signals and streams are its own. */
async function launch(
  runtime: NodeRuntime,
  command: string,
  args: string[],
  { env, cwd, stdin, stdio, onStdout, onStderr }: KernelSpawnOptions,
): Promise<GuestProcess> {
  const own = (hook: typeof onStdout, host: NodeJS.WriteStream): SpawnOptions["onStdout"] =>
    stdio === "inherit" ? (data) => (hook?.(data), void host.write(data)) : hook;
  const hooks = { onStdout: own(onStdout, process.stdout), onStderr: own(onStderr, process.stderr) };
  const options: SpawnOptions = {
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(stdin === undefined ? {} : { stdin }),
    ...(hooks.onStdout === undefined ? {} : { onStdout: hooks.onStdout }),
    ...(hooks.onStderr === undefined ? {} : { onStderr: hooks.onStderr }),
  };
  const [file, ...rest] = args;
  if (command === "node" && file !== undefined && file.startsWith("/")) {
    const code = await runtime.fs.readTextFile(file).catch(() => undefined);
    if (code !== undefined) return runtime.spawn(code, { ...options, filePath: file, argv: rest });
  }
  if (command === "node" && (file === "-e" || file === "--eval") && rest[0] !== undefined) {
    return runtime.spawn(rest[0], { ...options, argv: rest.slice(1) });
  }
  return runtime.spawn(COMMAND, { ...options, filePath: COMMAND_PATH, argv: [command, ...args] });
}

export const COMMAND_PATH = "/dev/secure-exec-command.cjs";

/** A command, from the moment it is asked for. */
class Command implements ManagedProcess {
  readonly pid: number;
  exitCode: number | null = null;
  readonly #started: Promise<GuestProcess>;
  readonly #end: Promise<number>;

  constructor(pid: number, started: Promise<GuestProcess>, { onStderr }: KernelSpawnOptions) {
    this.pid = pid;
    this.#started = started;
    this.#end = started
      .then((process) => process.wait())
      .then(
        ({ exitCode }) => exitCode,
        (error: unknown) => {
          onStderr?.(Buffer.from(`${String(error)}\n`));
          return 1;
        },
      )
      .then((code) => (this.exitCode = code));
  }

  writeStdin(data: Uint8Array | string): void {
    this.#then((process) => void process.stdin.write(data));
  }

  closeStdin(): void {
    this.#then((process) => void process.stdin.end());
  }

  kill(signal = SIGTERM): void {
    this.#then((process) => void process.kill(signal));
  }

  wait(): Promise<number> {
    return this.#end;
  }

  /** What is asked of it before it has started happens then; one that did not start tells by its end. */
  #then(action: (process: GuestProcess) => void): void {
    void this.#started.then(action).catch(() => {});
  }
}
