import chokidar from 'chokidar';
import { once } from 'node:events';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const root = await mkdtemp(path.join(tmpdir(), 'chokidar-'));
await mkdir(path.join(root, 'src/deep'), { recursive: true });
await writeFile(path.join(root, 'src/a.js'), '1');
const watcher = chokidar.watch('.', { cwd: root, ignored: (file) => file.endsWith('.log') });
await once(watcher, 'ready');
console.log(Object.fromEntries(Object.entries(watcher.getWatched()).filter(([name]) => name !== '..')));

async function expectEvent(name, action) {
  const event = once(watcher, name);
  await action();
  console.log(name, (await event)[0]);
}
await expectEvent('change', () => writeFile(path.join(root, 'src/a.js'), 'changed'));
await expectEvent('add', () => writeFile(path.join(root, 'src/deep/b.js'), '2'));
await expectEvent('addDir', () => mkdir(path.join(root, 'src/new')));
await writeFile(path.join(root, 'src/ignored.log'), '');
await expectEvent('add', () => rename(path.join(root, 'src/a.js'), path.join(root, 'src/c.js')));
await expectEvent('unlinkDir', () => rm(path.join(root, 'src/new'), { recursive: true }));
await watcher.close();
await rm(root, { recursive: true });
