const dotenv = require('dotenv');
const { writeFileSync, mkdtempSync } = require('node:fs');
const { join } = require('node:path');
const { tmpdir } = require('node:os');
const file = join(mkdtempSync(join(tmpdir(), 'dotenv-')), '.env');
writeFileSync(file, 'A=1\nB="two\\nlines"\n# comment\nexport C=\'x # y\'\nD=`q`\n');
console.log(dotenv.config({ path: file, quiet: true }).parsed, process.env.B);
