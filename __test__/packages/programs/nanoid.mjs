import { customAlphabet, nanoid } from 'nanoid';
console.log(nanoid().length, /^[\w-]{21}$/.test(nanoid()), customAlphabet('ab', 5)().length, new Set(Array.from({ length: 1000 }, () => nanoid())).size);
