import * as sass from 'sass';
import less from 'less';
console.log(
  sass.compileString(
    '$c: #336699; @mixin m($x) { width: $x * 2; } .a { color: lighten($c, 10%); .b & { @include m(3px); } @each $n in 1, 2 { &-#{$n} { z-index: $n; } } } @function f($x) { @return math.div($x, 2); }'
      .replace('$c', '$c')
      .replace(/^/, "@use 'sass:math';"),
    { silenceDeprecations: ['color-functions', 'import'], logger: sass.Logger.silent },
  ).css,
);
try {
  sass.compileString('a {');
} catch (e) {
  console.log(e.sassMessage);
}
console.log((await sass.compileStringAsync('a{b:c}', { style: 'compressed' })).css);
console.log(
  (await less.render('@c: #f00; .m(@w) { width: (@w * 2) } .a { .m(4px); color: darken(@c, 10%); &:hover { b: c } }'))
    .css,
);
await less.render('a {').catch((e) => console.log(e.type, e.message));
