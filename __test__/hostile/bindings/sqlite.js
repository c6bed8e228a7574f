// SQLite: memory, functions that close what runs, broken databases, settings that all connections would share.
// @outcome any
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 300, "resourceBudgets": {"maxFilesystemBytes": 33554432}}
// @grows 600
// @within 8000
// @each db.exec('create table t(a)'); for (;;) db.exec('insert into t values(zeroblob(1000000))')
// @each const f = open('/tmp/big.db'); f.exec('create table t(a)'); for (;;) f.exec('insert into t values(randomblob(1000000))')
// @each const a = []; for (;;) a.push(open())
// @each const a = []; for (;;) a.push(db.prepare('select 1'))
// @each const a = []; for (;;) a.push(db.createSession())
// @each for (let i = 0; ; i++) db.function('f' + i, () => i)
// @each for (let i = 0; ; i++) open().function('f', () => db)
// @each db.prepare(FOREVER).all()
// @each db.prepare('select group_concat(x) from (' + FOREVER + ')').get()
// @each db.prepare('select json_group_array(x) from (' + FOREVER + ')').get()
// @each db.prepare('select x from (' + FOREVER + ') order by -x').get()
// @each db.exec('pragma temp_store = file; create temp table t as ' + FOREVER)
// @each db.prepare('select length(randomblob(1000000000))').get()
// @each db.prepare("select length(printf('%.*c', 1000000000, 'x'))").get()
// @each db.prepare("select length(replace(hex(zeroblob(1000000)), '0', hex(zeroblob(100000))))").get()
// @each db.prepare('select 1').get({ get x() { db.close(); return 1 } })
// @each db.function('f', () => db.close()); db.prepare('select f() from (' + FOREVER + ')').all()
// @each db.function('f', () => { db.close(); db.open() }); for (;;) db.exec('select f()')
// @each let q; db.function('f', () => q.get()); q = db.prepare('select f()'); q.get()
// @each let q; db.function('f', () => q.iterate().next()); q = db.prepare('select f()'); q.all()
// @each let q; db.function('f', () => { q = null; for (let i = 0; i < 1e5; i++) db.prepare('select 1') }); q = db.prepare('select f() from (' + FOREVER + ')'); q.all()
// @each db.function('f', (n) => db.prepare('select f(?)').get(n + 1)); db.prepare('select f(1)').get()
// @each db.function('f', () => { throw { get message() { db.close() } } }); db.exec('select f()')
// @each db.function('f', () => process.exit(0)); db.prepare('select f() from (' + FOREVER + ')').all()
// @each db.aggregate('f', { start: () => db.close(), step: () => 1 }); db.prepare('select f()').all()
// @each db.aggregate('f', { start: 0, step: () => { throw 1 }, inverse: () => 1, result: () => { db.close(); throw 2 } }); db.prepare('select f() over (rows 1 preceding) from (' + FOREVER + ')').all()
// @each db.aggregate('f', { start: [], step: (a) => (a.push('x'.repeat(1e6)), a) }); db.prepare('select f() from (' + FOREVER + ')').all()
// @each table(db); const s = db.createSession(); db.exec('insert into t values(1, 2)'); const c = s.changeset(); const o = open(); table(o); o.exec('insert into t values(1, 3)'); o.applyChangeset(c, { onConflict() { o.close(); return 2 }, filter() { s.close(); db.close(); return true } })
// @each table(db); for (let i = 0; i < 3000; i++) try { db.applyChangeset(noise(200, i)) } catch {}
// @each table(db); const s = db.createSession(); db.exec("insert into t values(1, 'abc'), (2, 3.5)"); const c = s.changeset(); for (let i = 0; i < 3000; i++) try { const d = c.slice(); d[i % d.length] = i >> 3; open().applyChangeset(d, { onConflict: () => i % 3 }) } catch {}
// @each const f = file(); for (let i = 0; i < 300; i++) damaged(f, i, (d) => d.prepare('select * from t, sqlite_schema').all())
// @each const f = file(); for (let i = 0; i < 300; i++) damaged(f, i, (d) => d.exec("pragma integrity_check; delete from t where a % 2; insert into f(f) values('integrity-check'); vacuum; reindex"))
// @each const f = file(); for (let i = 0; i < 300; i++) damaged(f, i, (d) => d.prepare("select snippet(f, 0, '', '', '', 5) from f where f match 'b* OR (a AND c)'").all())
// @each for (let i = 0; i < 3000; i++) try { db.prepare('select jsonb(?), json_extract(?1, ?2), json_patch(?1, ?1)').get(noise(40, i), '$.a[' + i + ']') } catch {}
// @each db.prepare('select fts3_tokenizer(?, ?)').get('simple', Buffer.alloc(8, 0x41)); db.exec('create virtual table f using fts3(a, tokenize=simple)')
// @each db.exec('pragma hard_heap_limit = 1'); open().exec('create table t(a)')
// @each db.exec("pragma temp_store_directory = '/tmp'")
// @each db.exec('pragma writable_schema = on; create table t(a)'); db.exec("update sqlite_schema set sql = 'create table t(a' where name = 't'"); db.exec('vacuum')
// @each db.exec('create virtual table r using rtree(id, a, b)'); db.prepare("select * from r where a match ?").all(Buffer.alloc(100, 1))
// @each db.exec('select ' + '('.repeat(1e6) + '1')
// @each db.exec('select ' + 'abs('.repeat(900) + '1' + ')'.repeat(900) + ' from (select 1' + ' union select 1'.repeat(400) + ')')
// @each db.exec('create trigger x after insert on t begin insert into t select a + 1, b from t; end'.replace(/^/, 'create table t(a, b); pragma recursive_triggers = on; ')); db.exec('insert into t values(1, 2)')
// @each const v = ['create view v0 as select 1 a']; for (let i = 1; i < 60; i++) v.push(`create view v${i} as select a from v${i - 1} union all select a from v${i - 1}`); db.exec(v.join(';')); db.prepare('select count(*) from v59').get()
// @each const { Worker } = require('worker_threads'); open('/tmp/w.db').exec('pragma journal_mode = wal; create table t(a)'); for (let i = 0; i < 4; i++) new Worker("const d = new (require('node:sqlite').DatabaseSync)('/tmp/w.db', { timeout: 100 }); for (;;) try { d.exec('insert into t values(1)') } catch {}", { eval: true })
// @each for (let i = 0; ; i++) require('node:sqlite').backup(db, '/tmp/b' + i, { rate: 0, progress() { db.exec('create table if not exists t(a); insert into t values(1)') } })
// @each require('node:sqlite').backup(db, '/tmp/b', { rate: 1, progress() { db.close() } }); table(db)
const { DatabaseSync } = require("node:sqlite");
const fs = require("node:fs");
const FOREVER = "with recursive c(x) as (values(1) union all select x + 1 from c) select x from c";
const open = (path = ":memory:") => new DatabaseSync(path);
const db = open();
const table = (d) => d.exec("create table t(a primary key, b)");
const noise = (length, seed) => Uint8Array.from({ length }, (_, i) => (Math.imul(seed * 997 + i, 2654435761) >>> 13) & 255);
/** A small database with an index and a full-text table, as bytes. */
function file() {
  const d = open("/tmp/good.db");
  d.exec("create table t(a integer primary key, b); create index i on t(b); create virtual table f using fts5(x)");
  for (let i = 0; i < 60; i++) d.prepare("insert into t values(?, ?)").run(i, "b".repeat(i * 9));
  for (let i = 0; i < 30; i++) d.prepare("insert into f values(?)").run("a b c " + i);
  d.close();
  return fs.readFileSync("/tmp/good.db");
}
function damaged(bytes, seed, use) {
  const copy = Buffer.from(bytes);
  for (let i = 0; i < 20; i++) copy[(Math.imul(seed * 31 + i + 7, 2654435761) >>> 8) % copy.length] = (seed * 13 + i * 101) & 255;
  fs.writeFileSync("/tmp/bad.db", copy);
  try {
    const d = open("/tmp/bad.db");
    use(d);
    d.close();
  } catch {}
}
EACH;
console.log("ok");
