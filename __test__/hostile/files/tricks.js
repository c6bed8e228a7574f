// Paths, links, descriptors and flags: what POSIX says, inside the VM.
// @outcome ok
// @options {"cpuTimeLimitMs": 2500, "files": {"/workspace/in/a": "1"}}
const fs = require('fs'), path = require('path');
const outside = 'SECRET_FILE';
const secretly = (f) => { try { const r = f(); if (String(r).includes('canary-')) throw Object.assign(new Error('leaked'), { leaked: true }) } catch (e) { if (e.leaked) throw e; return e.code } };
const dressings = [outside, '/..' + outside, '/./' + outside, '//' + outside, '/tmp/../..' + outside, 'in/../../../..' + outside, outside + '/', outside + '/.', '/%2e%2e' + outside, '\\..\\' + outside, 'C:' + outside, '\\\\?\\' + outside, outside + '\0', 'file://' + outside, Buffer.from(outside), new URL('file://' + outside), new Uint8Array(Buffer.from(outside)), '/proc/self/root' + outside, '/proc/self/cwd/../..' + outside, '/dev/fd/../../..' + outside, '/proc/self/fd/0/../../../..' + outside];
const fds = (p) => { const fd = fs.openSync(p, 'r'); return fs.readFileSync(fd, 'utf8') };
for (const p of dressings) {
  for (const use of [() => fs.readFileSync(p, 'utf8'), () => fds(p), () => fs.realpathSync(p) && fs.readFileSync(fs.realpathSync.native(p)), () => { fs.symlinkSync(p, '/tmp/s' + Math.random()); }, () => { fs.copyFileSync(p, '/tmp/cp'); return fs.readFileSync('/tmp/cp') }, () => { fs.cpSync(p, '/tmp/cp2', { recursive: true }); return fs.readFileSync('/tmp/cp2') }, () => { fs.linkSync(p, '/tmp/ln'); return fs.readFileSync('/tmp/ln') }, () => { fs.renameSync(p, '/tmp/mv'); return fs.readFileSync('/tmp/mv') }, () => require(String(p)), () => process.loadEnvFile(p), () => fs.readdirSync(path.dirname(String(p))).join(), () => fs.openAsBlob(p), () => fs.writeFileSync(p, 'x'), () => fs.unlinkSync(p), () => fs.truncateSync(p), () => fs.chmodSync(p, 0o777), () => fs.globSync(String(p)).join(), () => require('child_process').execFileSync('cat', [String(p)]).toString()]) secretly(use);
}
for (const link of fs.readdirSync('/tmp').filter((name) => name.startsWith('s0'))) secretly(() => fs.readFileSync('/tmp/' + link));
fs.symlinkSync('/tmp/loop2', '/tmp/loop1'); fs.symlinkSync('/tmp/loop1', '/tmp/loop2');
const is = (code, f) => { const got = secretly(f); if (got !== code) throw new Error(`${f}: ${got}`) };
is('ELOOP', () => fs.readFileSync('/tmp/loop1'));
is('EBADF', () => fs.readSync(999, Buffer.alloc(1)));
is('EBADF', () => { const fd = fs.openSync('/tmp/x', 'w'); fs.closeSync(fd); fs.closeSync(fd) });
is('EBADF', () => { const fd = fs.openSync('/tmp/x', 'r'); fs.writeSync(fd, 'x') });
is('EISDIR', () => fs.openSync('/tmp', 'w'));
is('ENOTDIR', () => fs.readFileSync('/workspace/in/a/b'));
is('ENAMETOOLONG', () => fs.writeFileSync('/tmp/' + 'x'.repeat(256), ''));
is('ENAMETOOLONG', () => fs.writeFileSync('/tmp/' + 'x/'.repeat(5000), ''));
is('EINVAL', () => { fs.mkdirSync('/tmp/p/q', { recursive: true }); fs.renameSync('/tmp/p', '/tmp/p/q/r') });
is('ENOTEMPTY', () => fs.rmdirSync('/tmp/p'));
is('ERR_OUT_OF_RANGE', () => fs.ftruncateSync(fs.openSync('/tmp/x', 'w'), 2 ** 60));
for (let fd = 3; fd < 200; fd++) for (const f of [() => fs.readFileSync(fd), () => fs.writeSync(fd, 'canary?'), () => fs.fstatSync(fd).ino && '']) secretly(f);
for (let flags = 0; flags < 2 ** 22; flags = flags * 3 + 1) secretly(() => fs.closeSync(fs.openSync('/tmp/flags', flags)));
console.log('ok');
