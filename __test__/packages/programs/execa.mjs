process.env.PATH = '/usr/local/bin:/usr/bin:/bin';
import { execa, execaSync, $ } from 'execa';
const r = await execa('node', ['-e', "console.log('out'); console.error('err'); process.exit(0)"]);
console.log(r.stdout, r.stderr, r.exitCode, r.failed);
await execa('node', ['-e', 'process.exit(3)']).catch((e) => console.log(e.exitCode, e.shortMessage, e.name));
await execa('nope-cmd-x').catch((e) => console.log(e.code, e.shortMessage));
console.log(
  (await execa('node', ['-e', 'process.stdin.pipe(process.stdout)'], { input: 'typed' })).stdout,
  execaSync('node', ['-p', '1+1']).stdout,
);
await execa('node', ['-e', 'setInterval(()=>{},1e3)'], { timeout: 200 }).catch((e) =>
  console.log(e.timedOut, e.signal),
);
const { stdout } = await $`node -e ${'console.log(process.argv[1])'} ${'a b'}`;
console.log(stdout);
for await (const line of execa('node', ['-e', 'console.log(1);console.log(2)'])) console.log('line', line);
console.log(
  (await execa('node', ['-e', 'console.log(5)']).pipe('node', ['-e', "process.stdin.on('data',d=>console.log(d*2))"]))
    .stdout,
);
const c = new AbortController();
setTimeout(() => c.abort(), 50);
await execa('node', ['-e', 'setInterval(()=>{},1e3)'], { cancelSignal: c.signal }).catch((e) =>
  console.log(e.isCanceled),
);
const lines = await execa('node', ['-e', "console.log('a\\nb')"], { lines: true });
console.log(lines.stdout);
