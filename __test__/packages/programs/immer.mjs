import { enablePatches, produceWithPatches } from 'immer';
enablePatches();
const base = { list: [{ done: false }, { done: true }], map: { a: 1 } };
const [next, patches] = produceWithPatches(base, (draft) => { draft.list[0].done = true; delete draft.map.a; draft.list.push({ done: false }); });
console.log(next, patches, next.list[1] === base.list[1], Object.isFrozen(next));
