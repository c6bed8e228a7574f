import inquirer from 'inquirer';
import ora from 'ora';
import yargs from 'yargs';
import { PassThrough } from 'node:stream';
console.log(
  await yargs(['build', '--out', 'd', '-v', '-v', '--no-c'])
    .command('build', 'b', (y) => y.option('out', { type: 'string' }).count('v').boolean('c'))
    .parse(),
);
console.log(
  await yargs([]).scriptName('t').usage('$0 <x>').option('a', { alias: 'b', describe: 'desc', default: 3 }).getHelp(),
);
await yargs(['--n', 'x'])
  .option('n', { type: 'number', demandOption: true })
  .check((a) => {
    if (Number.isNaN(a.n)) throw new Error('NaN!');
    return true;
  })
  .exitProcess(false)
  .fail((m) => console.log('fail', m))
  .parse();
const s = ora({ text: 'load', stream: process.stdout, isEnabled: false }).start();
s.succeed('done');
s.stop();
const input = new PassThrough();
const output = new PassThrough();
let o = '';
output.on('data', (d) => (o += d));
const prompt = inquirer.createPromptModule({ input, output });
setTimeout(() => input.write('Ann\n'), 50);
setTimeout(() => input.write('y\n'), 150);
console.log(
  await prompt([
    { type: 'input', name: 'n', message: 'Name?' },
    { type: 'confirm', name: 'c', message: 'Sure?' },
  ]),
);
console.log(o.includes('Name?'));
await inquirer.prompt([{ type: 'input', name: 'pre', message: 'x' }], { pre: 'given' }).then(console.log);
process.exit(0);
