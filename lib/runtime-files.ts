/** The files of one runtime from the host's side. Few runtimes are asked for them: they are made at first use. */

import { disposedError } from "./errors.js";
import { FileCalls, HostFileSystem } from "./file-system.js";
import type { WatchListeners } from "./file-system.js";
import type { HostAnswers } from "./host.js";
import { MountTable } from "./mounts.js";
import type { NativeVm } from "./native.js";
import type { VirtualFileSystem, WatchEvent } from "./types.js";
import type { ValueLimits } from "./values.js";
import { HostWatches } from "./virtual-file-system.js";

/** See the module's text. */
export class RuntimeFiles implements HostAnswers {
  /** Carries requests until the runtime is disposed of. */
  readonly calls: FileCalls;
  /** The same, after the end too. */
  readonly lateCalls: FileCalls;
  readonly fs: HostFileSystem;
  readonly mounts: MountTable;
  readonly watches: HostWatches;
  readonly #listeners: WatchListeners = new Map();

  constructor(vm: NativeVm, isDisposed: () => boolean, limits: ValueLimits) {
    this.lateCalls = new FileCalls((request) => vm.fileSystem(request), limits);
    this.calls = new FileCalls((request) => {
      if (isDisposed()) return Promise.reject(disposedError("the runtime"));
      return vm.fileSystem(request);
    }, limits);
    this.fs = new HostFileSystem(this.calls, this.#listeners);
    this.mounts = new MountTable(this.calls);
    this.watches = new HostWatches((number, { eventType, filename }) => {
      vm.tellWatchers(number, eventType === "rename", String(filename ?? ""));
    });
  }

  fileSystems(number: number): VirtualFileSystem | undefined {
    return this.mounts.fileSystem(number);
  }

  onWatchEvent(number: number, event: WatchEvent): void {
    this.#listeners.get(number)?.(event);
  }
}
