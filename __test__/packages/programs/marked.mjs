import { marked } from 'marked';
console.log(marked.parse('# Title\n\n- a\n- **b** `c`\n\n| x | y |\n|---|---|\n| 1 | <2> |\n\n```js\nlet a = 1 < 2\n```\n'));
