import { Chalk } from 'chalk';
const chalk = new Chalk({ level: 3 });
console.log(JSON.stringify([chalk.red.bold('a'), chalk.hex('#ff8800')('b'), chalk.bgBlue.underline(`c ${chalk.green('d')}`)]));
