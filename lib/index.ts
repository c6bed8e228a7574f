/** Untrusted JavaScript and TypeScript as if in Node 22, inside V8 isolates over a virtual kernel. */

export { SecureExecError } from "./errors.js";
export type { LimitDetails } from "./errors.js";
export { Checkpoint } from "./archive.js";
export { Context } from "./context.js";
export { HostFileSystem } from "./file-system.js";
export { allowAll, allowAllChildProcess, allowAllEnv, allowAllFs, allowAllNetwork } from "./allow-all.js";
export { HostNodeFileSystem, InMemoryFileSystem, createInMemoryFileSystem } from "./kernel-file-system.js";
export { NodeFileSystem } from "./node-file-system.js";
export { NodeRuntime } from "./runtime.js";
export { createDefaultNetworkAdapter } from "./default-adapter.js";
export type { DefaultNetworkAdapterOptions } from "./default-adapter.js";
export { createNodeDriver, createNodeRuntimeDriverFactory } from "./first-generation/driver.js";
export { createNodeHostCommandExecutor } from "./first-generation/host-command-executor.js";
export type { HostCommandExecutor } from "./first-generation/host-command-executor.js";
export { createKernel, createNodeRuntime } from "./first-generation/kernel.js";
export type {
  Kernel,
  KernelExecOptions,
  KernelExecResult,
  KernelInterface,
  KernelNodeOptions,
  KernelOptions,
  KernelProcessInfo,
  KernelRuntimeDriver,
  KernelSpawnOptions,
  ManagedProcess,
} from "./first-generation/kernel.js";
export { NodeExecutionDriver } from "./first-generation/execution-driver.js";
export type { NodeExecutionDriverOptions } from "./first-generation/execution-driver.js";
export type {
  NodeDriverOptions,
  NodeRuntimeDriver,
  NodeRuntimeDriverFactory,
  NodeRuntimeDriverFactoryOptions,
  NodeRuntimeOptions,
  OSConfig,
  ProcessConfig,
  SystemDriver,
} from "./first-generation/driver.js";
export { createVm, evaluate, execute, executeFile, init, shutdown } from "./third-generation/vm.js";
export { createHostDirBackend, hostDirMount, hostFunction, hostFunctions, nodeModulesMount } from "./third-generation/options.js";
export type {
  CodeEvaluationResult,
  CodeExecutionResult,
  EvaluateOptions,
  ExecuteFileOptions,
  ExecuteOptions,
  ExecutionErrorData,
  ExecutionOutputOptions,
  HostFunctionCollection,
  HostFunctionCollections,
  HttpRequest,
  HttpResponse,
  JsonValue,
  MountConfig,
  OutputCapture,
  ProcessDescriptor,
  ProcessExit,
  Vm,
  VmContext,
  VmOptions,
} from "./third-generation/types.js";
export type { GuestProcess } from "./guest-process.js";
export type { GuestResponse } from "./guest-response.js";
export type {
  BindingFunction,
  BindingTree,
  Budgets,
  CallOptions,
  Capture,
  CommandExecutor,
  CommandOptions,
  CommandProcess,
  ChildProcessRequest,
  ContextOptions,
  DirEntry,
  DnsLookupResult,
  DnsOptions,
  EndReason,
  EnvRequest,
  EvaluateResult,
  ExecOptions,
  ExecResult,
  ExecUsage,
  ExposeOptions,
  Exposed,
  FileStat,
  FileType,
  FileWatch,
  FsPermissionRules,
  FsRequest,
  GuestBody,
  GuestErrorInfo,
  GuestRequest,
  HostDirEntry,
  HostDirectoryMount,
  HostFunction,
  HostFunctionDefinition,
  HostFunctionRequest,
  HostFunctions,
  LimitWarning,
  ModuleAccess,
  ModuleAccessOptions,
  Listener,
  ListenerQuery,
  Mount,
  NetworkAdapter,
  NetworkFetchResponse,
  NetworkHttpResponse,
  NetworkRequest,
  NetworkRequestInit,
  NetworkRule,
  NodeRuntimeCreateOptions,
  OsConfig,
  OutputHook,
  PayloadLimits,
  PermissionCallback,
  PermissionDecision,
  PermissionRule,
  PermissionRules,
  PermissionOptions,
  PermissionScope,
  Permissions,
  PersistedArchive,
  PersistenceAdapter,
  ProcessRequest,
  ResourceBudgets,
  RunOptions,
  RunResult,
  RuntimeNetwork,
  RuntimeStats,
  SpawnOptions,
  SnapshotOptions,
  StatInfo,
  StdioChannel,
  StdioEvent,
  StdioHook,
  TerminalSize,
  TimingMitigation,
  UserConfig,
  VirtualFileSystem,
  VirtualStat,
  WaitOptions,
  WatchEvent,
} from "./types.js";
