/** `NodeExecutionDriver`: the first generation's lower layer, which some programs use instead of `NodeRuntime`. */

import { NodeRuntime } from "../runtime.js";
import type { ExecOptions, ExecResult, RunOptions, RunResult } from "../types.js";
import type { NodeRuntimeOptions, SystemDriver } from "./driver.js";

/** What {@link NodeExecutionDriver} takes: as `new NodeRuntime`, with the VM under the name `system`. */
export interface NodeExecutionDriverOptions extends Omit<NodeRuntimeOptions, "systemDriver" | "runtimeDriverFactory"> {
  system: SystemDriver;
  /** `system.runtime`; it is taken from there. */
  runtime?: SystemDriver["runtime"];
}

/** Runs programs in the VM of a {@link SystemDriver}. */
export class NodeExecutionDriver {
  readonly #runtime: NodeRuntime;

  constructor(options: NodeExecutionDriverOptions) {
    const { system, runtime: _, ...rest } = options;
    this.#runtime = new NodeRuntime({ ...rest, systemDriver: system });
  }

  /** See `NodeRuntime.exec`. */
  exec(code: string, options?: ExecOptions): Promise<ExecResult> {
    return this.#runtime.exec(code, options);
  }

  /** See `NodeRuntime.run`. */
  run<T = unknown>(code: string, options?: string | RunOptions): Promise<RunResult<T>> {
    return this.#runtime.run<T>(code, options);
  }

  /** See `NodeRuntime.terminate`. */
  terminate(): Promise<void> {
    return this.#runtime.terminate();
  }

  /** See `NodeRuntime.dispose`. */
  dispose(): Promise<void> {
    return this.#runtime.dispose();
  }
}
