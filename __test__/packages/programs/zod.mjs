import { z } from 'zod';
const User = z.object({ name: z.string().min(2), age: z.coerce.number().int().optional(), tags: z.array(z.enum(['a', 'b'])).default([]) });
console.log(User.parse({ name: 'xy', age: '4' }));
const bad = User.safeParse({ name: 'x', tags: ['c'] });
console.log(bad.success, bad.error.issues.map(({ path, message }) => [path, message]));
console.log(z.toJSONSchema(User));
