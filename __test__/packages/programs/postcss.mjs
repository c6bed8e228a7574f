import postcss from 'postcss';

const upper = {
  postcssPlugin: 'prefix',
  Rule(rule) {
    rule.selectors = rule.selectors.map((selector) => (selector.startsWith('.app ') ? selector : `.app ${selector}`));
  },
  Declaration: { color: (node) => void (node.value = node.value.replace('red', 'rebeccapurple')) },
};
const css = '@media (min-width: 1px) { a, b:hover { color: red } }\n/* é */ p { margin: 0 }';
const result = await postcss([upper]).process(css, { from: 'in.css', to: 'out.css', map: { inline: false } });
console.log(result.css);
console.log(result.map.toString());
try {
  postcss.parse('a { color: ');
} catch (error) {
  console.log(error.name, error.reason, error.line, error.column, error.showSourceCode(false));
}
