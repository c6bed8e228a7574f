// A VM with an app in its memory and the app's dependencies mounted from the host.
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { NodeRuntime } from '../../dist/index.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const APP = path.join(here, 'app');
const VITE = '/workspace/node_modules/vite/bin/vite.js';

/** The app's files, at their paths in the VM. */
async function appFiles() {
  const entries = await readdir(APP, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
  const files = paths.map(async (file) => {
    const guestPath = `/workspace/${path.relative(APP, file).split(path.sep).join('/')}`;
    return [guestPath, await readFile(file)];
  });
  return Object.fromEntries(await Promise.all(files));
}

/**
 * Makes the VM. Vite keeps caches beside its dependencies: the VM keeps what it changes there to itself, the host's
 * directory stays as it is.
 */
export async function createVm() {
  return NodeRuntime.create({
    permissions: { fs: 'allow', childProcess: 'allow' },
    files: await appFiles(),
    mounts: [
      { path: '/workspace/node_modules', source: 'host', hostPath: path.join(here, 'node_modules'), mode: 'cow' },
    ],
    memoryLimit: 1024,
    // Vite measures and shows how long things take.
    timingMitigation: 'off',
  });
}

/** Starts `vite` with these arguments. */
export async function vite(runtime, args, hooks) {
  return runtime.spawn(`import ${JSON.stringify(VITE)};`, { filePath: '/workspace/vite.mjs', argv: args, ...hooks });
}
