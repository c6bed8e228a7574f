import { cloneDeep, debounce, sortBy, startCase, uniqWith, isEqual } from 'lodash-es';
console.log(startCase('fooBar baz'), sortBy([{ a: 2 }, { a: 1 }], 'a'), uniqWith([{ a: 1 }, { a: 1 }], isEqual), cloneDeep(new Map([[1, { a: 1 }]])));
const called = debounce(() => console.log('once'), 5);
called(); called();
