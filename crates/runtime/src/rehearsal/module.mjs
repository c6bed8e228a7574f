import { readFile } from 'node:fs/promises';
import path from 'node:path';
import library from './library.cjs';
import { typed } from './typed.ts';

const text = await readFile(path.join(import.meta.dirname, 'data.json'), 'utf8');
export const value = JSON.parse(text).value + library.value + typed;
