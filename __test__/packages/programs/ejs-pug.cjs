const ejs = require('ejs'),
  pug = require('pug');
console.log(ejs.render('<% for (const x of xs) { %><li><%= x %></li><%- x %><% } %>', { xs: ['<a>', 2] }));
try {
  ejs.render('<%= nope %>', {});
} catch (e) {
  console.log(e.message);
}
console.log(
  pug.render(
    "doctype html\nhtml\n  body(class=c)\n    each x in xs\n      p= x\n    if ok\n      | yes\n    mixin m(a)\n      b= a\n    +m('z')",
    { c: 'k', xs: [1, '<'], ok: true, pretty: true },
  ),
);
try {
  pug.render('p(');
} catch (e) {
  console.log(e.code, e.line);
}
console.log(pug.compileClient('p= a').length > 100);
(async () => console.log(await ejs.render('<%= await p %>', { p: Promise.resolve(5) }, { async: true })))();
