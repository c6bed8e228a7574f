// The guest: untrusted as far as the host is concerned. It sees its own file system and nothing else.
import { readFile, writeFile } from 'node:fs/promises';
import { marked } from 'marked';

interface Heading {
  depth: number;
  text: string;
}

const [, , input = '', output = ''] = process.argv;
const markdown: string = await readFile(input, 'utf8');
const headings: Heading[] = marked
  .lexer(markdown)
  .filter((token) => token.type === 'heading')
  .map(({ depth, text }: Heading) => ({ depth, text }));
await writeFile(output, await marked.parse(markdown));

console.log(`rendered ${markdown.length} characters with marked on Node ${process.version}`);
for (const { depth, text } of headings) console.log(`${'  '.repeat(depth - 1)}- ${text}`);

export const html = await readFile(output, 'utf8');
export const counts = new Map([['headings', headings.length], ['bytes', Buffer.byteLength(html)]]);
