const { Command } = require('commander');
const program = new Command();
program.name('tool').exitOverride().option('-n, --number <value>', 'a number', Number, 3).argument('<file...>');
program.action((files, options) => console.log(files, options));
program.parse(['a', 'b', '-n', '7'], { from: 'user' });
console.log(program.helpInformation());
try { program.parse(['--what'], { from: 'user' }); } catch (error) { console.log(error.code, error.exitCode); }
