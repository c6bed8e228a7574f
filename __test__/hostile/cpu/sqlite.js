// Statements that never end, and C functions that look at nothing.
// @outcome cpu
// @options {"cpuTimeLimitMs": 150, "memoryLimit": 64}
// @within 5000
// @each db.prepare('select max(x) from (' + FOREVER + ')').get()
// @each db.exec('select max(x) from (' + FOREVER + ')')
// @each for (const row of db.prepare('select 1 from (' + FOREVER + ') where x < 0').iterate());
// @each db.function('f', () => { for (;;); }); db.prepare('select f()').get()
// @each db.function('f', () => Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)); db.prepare('select f()').get()
// @each db.function('f', () => { try { for (;;); } finally { for (;;); } }); db.prepare('select f() from (' + FOREVER + ')').all()
// @each db.prepare("select instr(zeroblob(20000000), cast(zeroblob(10000000) || x'01' as blob))").get()
// @each db.prepare("select 'x' like ? from (" + FOREVER + ") where x < 0").get('%x'.repeat(4000)); for (;;);
// @each db.exec('create table t(a); create table u(a); insert into t select x from (' + FOREVER + ' limit 3000); insert into u select a from t'); db.prepare('select count(*) from t, u, t v, u w where t.a + u.a + v.a + w.a = -1').get()
// @each db.exec("create table t(a); insert into t values(1)"); const b = db.prepare('update t set a = a + 1 returning a'); for (;;) b.get()
const { DatabaseSync } = require("node:sqlite");
const FOREVER = "with recursive c(x) as (values(1) union all select x + 1 from c) select x from c";
const db = new DatabaseSync(":memory:");
EACH;
console.log("ended");
