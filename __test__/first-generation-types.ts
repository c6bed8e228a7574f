/** What programs for secure-exec 0.1 and 0.2 say to the type checker: compiled by `npm run lint`, never run. */

import {
  NodeFileSystem, NodeRuntime, allowAllChildProcess, allowAllEnv, allowAllFs, allowAllNetwork, createDefaultNetworkAdapter,
  createInMemoryFileSystem, createNodeDriver, createNodeHostCommandExecutor, createNodeRuntimeDriverFactory,
} from "secure-exec";
import type {
  BindingFunction, BindingTree, CommandExecutor, DefaultNetworkAdapterOptions, DirEntry, ExecOptions, ExecResult, Kernel,
  KernelInterface, ModuleAccessOptions, NetworkAdapter, NodeRuntimeDriver, NodeRuntimeDriverFactory, NodeRuntimeDriverFactoryOptions,
  NodeRuntimeOptions, OSConfig, Permissions, ProcessConfig, ResourceBudgets, RunResult, StatInfo, StdioChannel, StdioEvent, StdioHook,
  TimingMitigation, VirtualFileSystem,
} from "secure-exec";

type FsRequest = NonNullable<Permissions["fs"]> extends (request: infer R) => unknown ? R : never;
type NetworkRequest = Parameters<NonNullable<Permissions["network"]>>[0];

export const permissions: Permissions = {
  fs: (request: FsRequest) => ({ allow: request.path.startsWith("/workspace"), reason: request.op }),
  network: (request: NetworkRequest) => ({ allow: request.hostname?.endsWith(".example.com") ?? false }),
  childProcess: ({ command, args }) => ({ allow: command === "node" && (args ?? []).length > 0 }),
  env: ({ op, key }) => ({ allow: op === "read" && key !== "TOKEN" }),
};

const options: NonNullable<Parameters<typeof createNodeDriver>[0]> = {
  filesystem: new NodeFileSystem(),
  permissions: { ...allowAllFs, ...allowAllNetwork, ...allowAllChildProcess, ...allowAllEnv },
  commandExecutor: createNodeHostCommandExecutor(),
};
options.networkAdapter = createDefaultNetworkAdapter();

export class Wrapped implements Pick<VirtualFileSystem, "readDirWithTypes" | "stat" | "mkdir" | "writeFile"> {
  readonly #inner: VirtualFileSystem = createInMemoryFileSystem();

  readDirWithTypes(path: string): Promise<Array<{ name: string; isDirectory: boolean }>> {
    return this.#inner.readDirWithTypes(path);
  }

  async stat(path: string): Promise<{ mode: number; size: number; isDirectory: boolean; atimeMs: number; mtimeMs: number; ctimeMs: number; birthtimeMs: number }> {
    return this.#inner.stat(path);
  }

  mkdir(path: string, _options?: { recursive?: boolean }): Promise<void> {
    return this.#inner.mkdir(path);
  }

  writeFile(path: string, content: string | Uint8Array): Promise<void> {
    return this.#inner.writeFile(path, content);
  }
}

export const executor: CommandExecutor = {
  spawn(command, args, { onStdout }) {
    const tell: ((data: Uint8Array) => void) | undefined = onStdout;
    tell?.(Buffer.from(command + args.join()));
    return { writeStdin(_data: Uint8Array | string) {}, closeStdin() {}, kill(_signal?: number) {}, wait: async () => 0 };
  },
};

export const adapter: NetworkAdapter = {
  fetch: async (url, { method, headers }) => ({ ok: true, status: 200, statusText: "", headers: headers ?? {}, body: String(method), url, redirected: false }),
  dnsLookup: async () => ({ address: "192.0.2.1", family: 4 }),
  httpRequest: async (url, { body }) => ({ status: 200, statusText: "", headers: {}, body: String(body), url }),
};

export async function use(hook: StdioHook): Promise<number> {
  const given: NodeRuntimeOptions = {
    systemDriver: createNodeDriver(options),
    runtimeDriverFactory: createNodeRuntimeDriverFactory(),
    timingMitigation: "off" as TimingMitigation,
    onStdio: hook,
    resourceBudgets: { maxOutputBytes: 1, maxBridgeCalls: 2, maxTimers: 3, maxChildProcesses: 4, maxHandles: 5 } satisfies ResourceBudgets,
  };
  const runtime = new NodeRuntime(given);
  const driver: NodeRuntimeDriver = runtime;
  const how: ExecOptions = { filePath: "/a", mode: "exec", onStdio: ({ channel, message }: StdioEvent) => void ({ [channel]: message } satisfies Partial<Record<StdioChannel, string>>) };
  const result: ExecResult = await driver.exec("", how);
  const run: RunResult<{ value: number }> = await runtime.run<{ value: number }>("", "/root/index.mjs");
  const network: Pick<NetworkAdapter, "fetch" | "dnsLookup" | "httpRequest"> = runtime.network;
  const found = await network.dnsLookup("a.test");
  runtime.dispose();
  await runtime.terminate();
  return result.code + (run.exports?.value ?? 0) + ("error" in found ? 0 : found.family);
}

export const bindings: BindingTree = { invokeTool: async (...args: unknown[]) => args, log: { emit: (() => 1) as BindingFunction } };
export type Named = [DefaultNetworkAdapterOptions, DirEntry, Kernel, KernelInterface, ModuleAccessOptions, NodeRuntimeDriverFactory, NodeRuntimeDriverFactoryOptions, OSConfig, ProcessConfig, StatInfo];
