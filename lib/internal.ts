/** For the conformance runner of this repository: not part of the public API and not in the package's exports. */

import { EventKind, makeVm, native } from "./native.js";
import type { NativeExecOptions, NativeImage, NativeOutcome } from "./native.js";
import { readCreateOptions, readExecOptions } from "./options.js";
import { execResult } from "./outcome.js";
import type { ExecResult, NodeRuntimeCreateOptions } from "./types.js";

/** What one file of an image is run with. */
export interface ImageRun extends NodeRuntimeCreateOptions {
  /** The file to run. */
  filePath: string;
  /** `process.execArgv`. */
  execArgv?: string[];
  /** Node's command-line options, by name. */
  nodeOptions?: [name: string, value: string | boolean][];
  /** Its standard streams are a terminal of this size. */
  tty?: { columns: number; rows: number };
}

/** A file tree that many runs share. Files without permissions of their own have 0o644. */
export function createImage(files: Iterable<[path: string, data: Buffer, mode?: number]>): NativeImage {
  const { NativeImage } = native();
  return new NativeImage(Array.from(files, ([path, data, mode = 0o644]) => ({ path, data, mode })));
}

/** Runs a file of an image in a VM of its own. */
export async function runInImage(image: NativeImage, run: ImageRun): Promise<ExecResult> {
  const { filePath, execArgv = [], nodeOptions = [], tty, ...options } = run;
  const runtime = readCreateOptions(options);
  const settings = readExecOptions("", { filePath }, runtime, "exec");
  const vm = makeVm(runtime.vm, image);
  const exec: NativeExecOptions = {
    ...settings.native,
    fromFile: true,
    execArgv,
    nodeOptions: JSON.stringify(nodeOptions),
    streamOutput: false,
  };
  if (tty !== undefined) exec.tty = tty;
  try {
    const outcome = await new Promise<NativeOutcome>((resolve) => {
      vm.exec(exec, (kind, payload) => {
        if (kind === EventKind.outcome) resolve(payload as NativeOutcome);
      });
    });
    return execResult(outcome, true);
  } finally {
    vm.dispose();
  }
}
