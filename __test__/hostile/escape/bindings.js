// Native addons, internal bindings and flags.
// @outcome ok
// @options {"cpuTimeLimitMs": 2000}
// @each process.dlopen({ exports: {} }, 'HOST_ADDON')
// @each process.dlopen({ exports: {} }, '/lib/x86_64-linux-gnu/libc.so.6')
// @each process._linkedBinding('fs')
// @each process.binding('spawn_sync').spawn({ file: '/bin/sh', args: ['sh', '-c', 'cat SECRET_FILE'], stdio: [{ type: 'inherit', fd: 0 }] }).x.y
// @each require('internal/bootstrap/realm')
// @each internalBinding('fs')
// @each require('node:internal/test/binding')
// @each require('SECRET_FILE')
// @each require('HOST_ADDON')
// @each require('fs').readFileSync('SECRET_FILE')
// @each require('fs').readFileSync('/proc/HOST_PID/environ')
// @each require('fs').readFileSync('/proc/1/environ')
// @each require('fs').readFileSync('/proc/self/environ').toString().includes('HOSTILE_CANARY') || nope
// @each require('fs').readFileSync('/proc/self/maps')
// @each require('fs').readFileSync('/proc/self/mem')
// @each require('fs').readFileSync('/proc/self/root' + 'SECRET_FILE')
// @each require('fs').readFileSync('/proc/self/cwd/' + '../'.repeat(20) + 'SECRET_FILE')
// @each require('fs').readFileSync('/proc/thread-self/root' + 'SECRET_FILE')
// @each require('fs').readFileSync('/dev/mem')
// @each require('fs').readFileSync('/dev/kmsg')
// @each require('fs').readFileSync('/dev/tcp/127.0.0.1/80')
// @each require('fs').readFileSync('/sys/kernel/hostname')
// @each process.kill(HOST_PID, 9)
// @each process.kill(-HOST_PID, 9)
// @each process.kill(HOST_PID, 0)
// @each process._debugProcess(HOST_PID)
// @each process.setuid(0), process.setgid(0), process.initgroups('root', 0), nope
// @each new (require('sqlite').DatabaseSync)('SECRET_FILE')
// @each new (require('wasi').WASI)({ version: 'preview1', preopens: { '/': '/' } }).start({})
// @each new (require('wasi').WASI)({ version: 'preview1', preopens: { '/': 'SECRET_FOLDER' } })
// @each require('crypto').setEngine('/lib/x.so')
// @each require('child_process').execFileSync('/usr/bin/env').toString().includes('HOSTILE_CANARY') || nope
// @each require('child_process').execSync('cat SECRET_FILE')
// @each require('child_process').spawnSync('/bin/sh', ['-c', 'cat SECRET_FILE'], { shell: true, uid: 0, detached: true, stdio: 'inherit' }).status === 0 || nope
// @each require('child_process').execFileSync('/usr/bin/python3', ['-c', '1'])
// @each require('child_process').execFileSync(process.execPath, ['-e', 'process.stdout.write(require("fs").readFileSync("SECRET_FILE"))'])
// @each require('child_process').fork('SECRET_FILE').x.y
// @each require('v8').writeHeapSnapshot('SECRET_FILE')
// @each require('v8').setFlagsFromString('--allow-natives-syntax'), eval('%SystemBreak()')
// @each require('v8').startupSnapshot.addSerializeCallback(() => {})
// @each require('net').connect('/var/run/docker.sock').on('error', () => {}).x.y
// @each process.report.writeReport('SECRET_FILE') || nope
// @each process.chdir('SECRET_FOLDER')
// @each process.loadEnvFile('SECRET_FILE')
// @each require('module').register('file://SECRET_FILE')
// @each require('fs').symlinkSync('SECRET_FILE', '/tmp/l') ?? require('fs').readFileSync('/tmp/l')
// @each require('fs').linkSync('SECRET_FILE', '/tmp/l')
// @each require('fs').readFileSync('//' + 'SECRET_FILE')
// @each require('fs').readFileSync('/tmp/../'.repeat(10) + 'SECRET_FILE')
// @each require('fs').readFileSync(new URL('file://SECRET_FILE'))
// @each require('fs').readFileSync(new URL('file:///%2e%2e/%2e%2eSECRET_FILE'))
// @each require('fs').readFileSync(Buffer.from('SECRET_FILE'))
// @each require('fs').realpathSync.native('SECRET_FILE')
// @each require('fs').statSync('SECRET_FILE')
// @each require('fs').accessSync('SECRET_FILE')
// @each require('fs').readdirSync('SECRET_FOLDER')
// @each require('fs').opendirSync('SECRET_FOLDER')
// @each require('fs').readlinkSync('/proc/self/exe') === 'x' || nope
// @each require('fs').cpSync('SECRET_FILE', '/tmp/c')
// @each require('fs').copyFileSync('SECRET_FILE', '/tmp/c')
// @each require('fs').globSync('SECRET_FOLDER/*')[0].x
// @each require('fs').statfsSync('SECRET_FILE')
// @each require('fs').readSync(20, Buffer.alloc(10))
// @each require('fs').fstatSync(3)
// @each require('fs').writeSync(15, 'x')
// @each new (require('tty').ReadStream)(10)
// @each new (require('net').Socket)({ fd: 12 })
// @each require('fs').watch('SECRET_FILE')
let reached;
try { reached = EACH } catch (error) { globalThis.refused = error }
if (!globalThis.refused) {
  if (reached && typeof reached === 'object' && typeof reached.then === 'function') reached.then(() => console.log('reached'), () => {});
  else throw new Error('reached ' + String(reached).slice(0, 200));
}
console.log('ok');
setTimeout(() => process.exit(0), 50);
