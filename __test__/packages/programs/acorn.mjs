import * as acorn from 'acorn';
const tree = acorn.parse('const a = async (b) => { await b?.c ?? 1n; }; export default a;', { ecmaVersion: 2024, sourceType: 'module' });
console.log(JSON.stringify(tree, (key, value) => (typeof value === 'bigint' ? `${value}n` : value)));
try { acorn.parse('let let', { ecmaVersion: 2024 }); } catch (error) { console.log(error.name, error.message, error.pos); }
