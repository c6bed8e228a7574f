const React = require('react');
const {
  renderToString,
  renderToStaticMarkup,
  renderToPipeableStream,
  renderToReadableStream,
} = require('react-dom/server');
const { Writable } = require('stream');
const e = React.createElement;
const Ctx = React.createContext('d');
function C({ n }) {
  const [s] = React.useState(() => n + 1);
  const v = React.useContext(Ctx);
  const id = React.useId();
  const m = React.useMemo(() => s * 2, [s]);
  return e('p', { className: 'x', style: { marginTop: 3 }, 'data-i': id }, s, ' ', v, m);
}
console.log(renderToString(e(Ctx.Provider, { value: '<v>' }, e(C, { n: 1 }), e(C, { n: 2 }))));
console.log(
  renderToStaticMarkup(
    e(
      'ul',
      null,
      [1, 2].map((k) => e('li', { key: k, dangerouslySetInnerHTML: { __html: '<b/>' } })),
    ),
  ),
);
const L = React.lazy(() => new Promise((r) => setTimeout(() => r({ default: () => e('i', null, 'lazy') }), 20)));
let out = '';
const { pipe } = renderToPipeableStream(e('div', null, e(React.Suspense, { fallback: 'wait' }, e(L))), {
  onAllReady() {
    pipe(
      new Writable({
        write(c, _, d) {
          out += c;
          d();
        },
        final(d) {
          console.log(out);
          d();
        },
      }),
    );
  },
  onError(x) {
    console.log(x.message);
  },
});
const render =
  require('preact-render-to-string').render ??
  require('preact-render-to-string').default ??
  require('preact-render-to-string').renderToString;
const p = require('preact');
console.log(render(p.h('div', { class: 'a' }, [p.h('b', null, 'x'), null, 5])));
(async () => {
  const st = await require('react-dom/server.edge').renderToReadableStream(e(C, { n: 5 }));
  console.log(await new Response(st).text());
})();
