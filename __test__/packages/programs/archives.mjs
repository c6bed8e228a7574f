import fse from 'fs-extra';
import { glob, globSync } from 'glob';
import * as tar from 'tar';
import { ZipArchive } from 'archiver';
import * as archiverNs from 'archiver';
import unzipper from 'unzipper';
import os from 'node:os';
import path from 'node:path';
import fs from 'node:fs';
const d = fs.mkdtempSync(path.join(os.tmpdir(), 'f-'));
process.chdir(d);
await fse.outputJson('a/b/c.json', { x: 1 });
await fse.copy('a', 'z');
await fse.move('z/b/c.json', 'z/m.json');
await fse.ensureDir('e/f');
await fse.outputFile('a/t.txt', 'text');
console.log(
  await fse.pathExists('z/m.json'),
  await fse.readJson('z/m.json'),
  (await glob('**/*', { nodir: true })).sort(),
  globSync('*/').sort(),
  await glob('a/**/*.{json,txt}', { ignore: '**/t.*', posix: true }),
);
await fse.ensureSymlink('a/t.txt', 'l');
console.log(fs.readlinkSync('l').includes('a/t.txt'));
await tar.c({ gzip: true, file: 'o.tgz', portable: true }, ['a']);
fs.mkdirSync('x');
await tar.x({ file: 'o.tgz', cwd: 'x' });
const names = [];
await tar.t({ file: 'o.tgz', onReadEntry: (e) => names.push(e.path + ':' + e.size) });
console.log(names.sort(), fs.readFileSync('x/a/t.txt', 'utf8'));
await new Promise((res, rej) => {
  const archiver = archiverNs.default ?? archiverNs.create;
  const z =
    typeof archiver === 'function' ? archiver('zip', { zlib: { level: 9 } }) : new ZipArchive({ zlib: { level: 9 } });
  const o = fs.createWriteStream('o.zip');
  o.on('close', res);
  z.on('error', rej);
  z.pipe(o);
  z.append('hello '.repeat(1000), { name: 'h.txt', date: new Date(0) });
  z.directory('a', 'dir');
  z.finalize();
});
const zip = await unzipper.Open.file('o.zip');
console.log(
  zip.files.map((f) => [f.path, f.uncompressedSize]).sort(),
  (await zip.files.find((f) => f.path === 'h.txt').buffer()).length,
);
await new Promise((r) =>
  fs
    .createReadStream('o.zip')
    .pipe(unzipper.Extract({ path: 'uz' }))
    .on('close', r),
);
console.log(fs.readdirSync('uz').sort(), fs.readFileSync('uz/dir/t.txt', 'utf8'));
await fse.emptyDir('a');
await fse.remove('x');
console.log(fs.readdirSync('.').sort());
process.chdir('/');
fs.rmSync(d, { recursive: true });
