import { ESLint } from 'eslint';

const eslint = new ESLint({
  overrideConfigFile: true,
  fix: false,
  overrideConfig: [{ rules: { 'no-unused-vars': 'error', semi: ['error', 'always'], 'prefer-const': 'warn' } }],
});
const results = await eslint.lintText('let x = 1\nfunction f(a) { return `${x}` }\nexport {};', { filePath: 'lint.js' });
for (const { messages, errorCount, warningCount } of results) {
  console.log(errorCount, warningCount);
  for (const { ruleId, line, column, message } of messages) console.log(ruleId, line, column, message);
}
const fixing = new ESLint({ overrideConfigFile: true, fix: true, overrideConfig: [{ rules: { semi: 'error' } }] });
console.log((await fixing.lintText('let y = 1\n'))[0].output);
