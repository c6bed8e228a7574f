/** `moduleAccess` and `nodeModules`: modules of the host's disk, read-only in the VM. */

import { statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { SecureExecError, typeError, valueError } from "./errors.js";
import type { MountSettings } from "./mounts.js";
import { readMount } from "./mounts.js";

/** Where the overlay stands. */
export const OVERLAY_PATHS = ["/app/node_modules", "/root/node_modules"] as const;
/** Where every directory finds it: Node looks here last, for `require` and `import`. */
export const FALLBACK_PATH = "/node_modules";

/** What to mount, and which links to make. */
export interface ModuleSettings {
  mounts: MountSettings[];
  /** Paths of modules in the VM. */
  roots: string[];
  /** Whether `/node_modules` leads to the overlay. */
  hasFallback: boolean;
}

function invalid(message: string): SecureExecError {
  return new SecureExecError("ERR_MODULE_ACCESS_INVALID_CONFIG", message);
}

function keys(value: unknown, option: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(`${option} must be an object`);
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw invalid(`${option}.${key} is not an option; known are ${known.join(", ")}`);
  }
  return value as Record<string, unknown>;
}

function directory(path: unknown, option: string): string {
  if (typeof path !== "string" || !isAbsolute(path) || path.includes("\0")) {
    throw invalid(`${option} must be an absolute path, got ${JSON.stringify(path) ?? "nothing"}`);
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw invalid(`${option} must be a directory, got ${JSON.stringify(path)}`);
  }
  return path;
}

/** A place in the VM that modules may take. */
function target(path: unknown, option: string): string {
  if (typeof path !== "string" || !path.startsWith("/") || path.includes("\0")) {
    throw invalid(`${option} must be an absolute path in the VM`);
  }
  const isInside = path.split("/").every((name) => name !== "..") && path.includes("/node_modules");
  if (!isInside) {
    throw new SecureExecError("ERR_MODULE_ACCESS_OUT_OF_SCOPE", `${option} must be in a node_modules directory, got ${JSON.stringify(path)}`);
  }
  return path;
}

function readOnly(path: string, hostPath: string): MountSettings {
  return readMount({ path, source: "host", hostPath, mode: "ro" }, "moduleAccess");
}

/** The same for a file system of the caller's, under which nothing is mounted: what lies over it, by its place. */
export function packagesOf({ mounts, hasFallback }: ModuleSettings): { path: string; hostPath: string }[] {
  const packages = mounts.flatMap(({ mount }) =>
    mount.source === "host" ? [{ path: mount.path, hostPath: mount.hostPath }] : [],
  );
  const overlay = packages.find(({ path }) => path === OVERLAY_PATHS[0]);
  return hasFallback && overlay !== undefined ? [...packages, { ...overlay, path: FALLBACK_PATH }] : packages;
}

/** Reads both options. */
export function readModules(access: unknown, nodeModules: unknown): ModuleSettings {
  const found: ModuleSettings = { mounts: [], roots: [], hasFallback: false };
  const add = (path: string, hostPath: string): void => {
    found.mounts.push(readOnly(path, hostPath));
    found.roots.push(path);
  };
  if (access !== undefined && access !== false) {
    const { cwd = process.cwd(), packageRoots = [] } = keys(access, "moduleAccess", ["cwd", "packageRoots"]);
    const modules = directory(join(directory(cwd, "moduleAccess.cwd"), "node_modules"), "moduleAccess.cwd's node_modules");
    for (const path of OVERLAY_PATHS) add(path, modules);
    found.hasFallback = true;
    if (!Array.isArray(packageRoots)) throw invalid("moduleAccess.packageRoots must be an array");
    (packageRoots as unknown[]).forEach((root, index) => {
      const option = `moduleAccess.packageRoots[${index}]`;
      const { hostPath, vmPath } = keys(root, option, ["hostPath", "vmPath"]);
      add(target(vmPath, `${option}.vmPath`), directory(hostPath, `${option}.hostPath`));
    });
  }
  if (nodeModules !== undefined) {
    const given = typeof nodeModules === "string" ? { hostPath: nodeModules } : nodeModules;
    if (typeof given !== "object" || given === null || Array.isArray(given)) {
      throw typeError("nodeModules", "a path or { hostPath, guestPath }", nodeModules);
    }
    const { hostPath, guestPath = FALLBACK_PATH } = given as { hostPath?: unknown; guestPath?: unknown };
    if (typeof guestPath !== "string" || !guestPath.startsWith("/")) {
      throw valueError("nodeModules.guestPath", "must be an absolute path", guestPath);
    }
    add(guestPath, directory(hostPath, "nodeModules.hostPath"));
    if (guestPath === FALLBACK_PATH) found.hasFallback = false;
  }
  return found;
}
