const picomatch = require('picomatch');

const paths = ['src/a.ts', 'src/deep/b.test.ts', '.env', 'node_modules/x/index.js', 'public/logo [1].svg', 'src/ü.ts'];
for (const glob of ['**/*.ts', '!(src)/**', '**/*.{js,svg}', '*', 'src/**/!(*.test).ts', '**/[[:alpha:]].ts', '@(a|src)/?.ts']) {
  for (const dot of [false, true]) console.log(glob, dot, paths.filter((file) => picomatch(glob, { dot })(file)));
}
console.log(picomatch.makeRe('a/**/b{1..3}.js'), picomatch.scan('!./foo/*.js'));
