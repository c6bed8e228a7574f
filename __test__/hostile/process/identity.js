// What a process knows of itself and of others: the VM's, never the host's.
// @outcome ok
// @options {"cpuTimeLimitMs": 2000, "env": {"MINE": "1"}}
const os = require('os'), assert = require('assert'), cp = require('child_process');
assert.equal(process.env.MINE, '1');
for (const list of [Object.keys(process.env), Reflect.ownKeys(process.env), Object.keys({ ...process.env })]) assert.ok(!list.includes('HOSTILE_CANARY'));
assert.ok(!('HOSTILE_CANARY' in process.env) && !Object.hasOwn(process.env, 'HOSTILE_CANARY'));
process.env.__proto__ = { HOSTILE_CANARY: 'x' };
process.env.constructor = 'x';
delete process.env.MINE;
assert.notEqual(process.pid, HOST_PID);
assert.notEqual(process.ppid, HOST_PID);
for (const pid of [HOST_PID, -HOST_PID, 2 ** 31 - 1, process.pid + 100000]) assert.throws(() => process.kill(pid, 0), /ESRCH|EPERM|EINVAL/);
assert.equal(process.execPath, '/usr/local/bin/node');
assert.ok(!process.argv.join().includes('hostile'));
assert.ok(!JSON.stringify([os.hostname(), os.userInfo(), os.homedir(), os.tmpdir(), os.networkInterfaces(), process.versions, process.config, process.title, process.cwd()]).includes('SECRET_FOLDER'));
for (const use of [() => process.setuid(12345), () => process.initgroups('x', 'y'), () => process.dlopen({}, '/x'), () => process.chroot?.('/')]) { try { use() } catch {} }
process.umask(0o777); process.title = 'x'.repeat(1e6);
const child = cp.spawnSync(process.execPath, ['-e', 'console.log(JSON.stringify([process.pid, process.ppid, process.env, process.cwd()]))'], { env: { LD_PRELOAD: '/x.so', NODE_OPTIONS: '--require /etc/passwd', PATH: 'SECRET_FOLDER' }, argv0: 'x', uid: 0, detached: true });
assert.ok(!String(child.stdout).includes('canary-'));
assert.ok(!cp.execSync('env; set; id; ps 2>/dev/null; cat /proc/*/cmdline /proc/*/environ 2>/dev/null; ls /proc; true').toString().includes('canary-'));
const orphan = cp.spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { detached: true, stdio: 'ignore' });
orphan.unref();
console.log('ok');
