import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

const HEAD = "const { DatabaseSync, backup, constants } = require('node:sqlite'); const fs = require('node:fs');\n";

/** What a program that uses `node:sqlite` prints, line by line. */
async function lines(code: string, create: object = {}, exec: object = {}): Promise<string[]> {
  const runtime = await make(create);
  const result = await runtime.exec(HEAD + code, exec);
  expect(result).toMatchObject({ reason: "exit", code: 0 });
  return (result.stdout ?? "").trimEnd().split("\n");
}

describe("node:sqlite", () => {
  test("a database is a file of the VM", async () => {
    const runtime = await make({ files: {} });
    const made = await runtime.exec(`${HEAD}
      const db = new DatabaseSync('/tmp/x.db');
      db.exec("create table t(a integer primary key, b text)");
      console.log(db.prepare('insert into t(b) values(?)').run('one').lastInsertRowid, db.location());
    `);
    expect(made.stdout).toBe("1 /tmp/x.db\n");
    const bytes = await runtime.fs.readFile("/tmp/x.db");
    expect(Buffer.from(bytes).subarray(0, 15).toString()).toBe("SQLite format 3");
    const read = await runtime.exec(`${HEAD}
      console.log(JSON.stringify(new DatabaseSync('/tmp/x.db', { readOnly: true }).prepare('select * from t').all()));
    `);
    expect(read.stdout).toBe('[{"a":1,"b":"one"}]\n');
  });

  test("another VM has other files", async () => {
    const one = await make();
    const two = await make();
    await one.exec(`${HEAD} new DatabaseSync('/tmp/x.db').exec('create table t(a)')`);
    const result = await two.exec(`${HEAD} console.log(new DatabaseSync('/tmp/x.db').prepare('select * from sqlite_schema').all().length)`);
    expect(result.stdout).toBe("0\n");
  });

  test("the file system's quota is a full disk", async () => {
    const [line] = await lines(
      `const db = new DatabaseSync('/tmp/x.db'); db.exec('create table t(a)');
       try { for (;;) db.exec('insert into t values(zeroblob(1000000))'); } catch (e) { console.log(e.errcode, e.errstr); }`,
      { resourceBudgets: { maxFilesystemBytes: 8 << 20 } },
    );
    expect(line).toBe("13 database or disk is full");
  });

  test("memory that is refused is an error, not the end", async () => {
    const got = await lines(
      `const db = new DatabaseSync(':memory:'); db.exec('create table t(a)');
       try { for (;;) db.exec('insert into t values(zeroblob(1000000))'); } catch (e) { console.log(e.errcode, e.message); }
       db.exec('drop table t; create table u(a); insert into u values(1)');
       console.log(db.prepare('select a from u').get().a);`,
      { memoryLimit: 48 },
    );
    expect(got).toEqual(["7 out of memory", "1"]);
  });

  test("files that the permissions deny cannot be opened, read or written", async () => {
    const got = await lines(
      `const open = (path) => { try { new DatabaseSync(path).exec('create table if not exists t(a)'); console.log('open'); } catch (e) { console.log(e.message); } };
       open('/tmp/allowed.db'); open('/secret/x.db'); open('file:///secret/x.db?mode=ro');
       try { new DatabaseSync(':memory:').exec("attach '/secret/x.db' as s"); } catch (e) { console.log(e.message); }`,
      { permissions: { fs: { default: "allow", rules: [{ mode: "deny", paths: ["/secret/**"] }] } }, files: { "/secret/x.db": "" } },
    );
    expect(got).toEqual(["open", "unable to open database file", "unable to open database file", "unable to open database: /secret/x.db"]);
  });

  test("a file that may not be written is a read-only database", async () => {
    const got = await lines(
      `const db = new DatabaseSync('/tmp/x.db'); db.exec('create table t(a); insert into t values(1)'); db.close();
       fs.chmodSync('/tmp/x.db', 0o444);
       const again = new DatabaseSync('/tmp/x.db');
       console.log(again.prepare('select a from t').get().a);
       try { again.exec('insert into t values(2)'); } catch (e) { console.log(e.message); }`,
    );
    expect(got).toEqual(["1", "attempt to write a readonly database"]);
  });

  test("a database in a directory of the host", async () => {
    const hostPath = mkdtempSync(join(tmpdir(), "secure-exec-sqlite-"));
    try {
      const code = `const a = new DatabaseSync('/m/x.db'), b = new DatabaseSync('/m/x.db');
        a.exec('pragma journal_mode = wal; create table if not exists t(a); insert into t values(1)');
        b.exec('insert into t values(2)');
        console.log(a.prepare('select count(*) c from t').get().c);
        a.close(); b.close();`;
      const mount = (mode: "rw" | "cow") => ({ mounts: [{ path: "/m", source: "host" as const, hostPath, mode }] });
      expect(await lines(code, mount("rw"))).toEqual(["2"]);
      expect(existsSync(join(hostPath, "x.db"))).toBe(true);
      expect(await lines(code, mount("cow"))).toEqual(["4"]);
      expect(await lines(code, mount("rw"))).toEqual(["4"]);
    } finally {
      rmSync(hostPath, { recursive: true });
    }
  });

  test("connections of one VM lock each other, in rollback and in write-ahead mode", async () => {
    const got = await lines(`
      const a = new DatabaseSync('/tmp/x.db'), b = new DatabaseSync('/tmp/x.db');
      a.exec('create table t(a)');
      a.exec('begin immediate; insert into t values(1)');
      try { b.exec('insert into t values(2)'); } catch (e) { console.log(e.errcode); }
      console.log(b.prepare('select count(*) c from t').get().c);
      a.exec('commit');
      console.log(b.prepare('select count(*) c from t').get().c);
      console.log(a.prepare('pragma journal_mode = wal').get().journal_mode);
      const reader = b.prepare('select * from t').iterate(); reader.next();
      a.exec('insert into t values(3)');
      console.log(a.prepare('select count(*) c from t').get().c, fs.existsSync('/tmp/x.db-wal'));
      reader.return();
      console.log(b.prepare('select count(*) c from t').get().c);
      a.close(); b.close();
      console.log(fs.readdirSync('/tmp').join());
    `);
    expect(got).toEqual(["5", "0", "1", "wal", "2 true", "2", "x.db"]);
  });

  test("workers and child processes write to one database", async () => {
    const runtime = await make();
    const result = await runtime.exec(`${HEAD}
      const { Worker } = require('node:worker_threads');
      const { fork } = require('node:child_process');
      const db = new DatabaseSync('/tmp/x.db');
      db.exec('pragma journal_mode = wal; create table t(who, n)');
      fs.writeFileSync('/tmp/write.js', \`
        const { DatabaseSync } = require('node:sqlite');
        const db = new DatabaseSync('/tmp/x.db', { timeout: 20000 });
        const insert = db.prepare('insert into t values(?, ?)');
        for (let i = 0; i < 50; i++) insert.run(process.argv[2] ?? 'worker', i);
        db.close();
      \`);
      const ended = (it) => new Promise((resolve) => it.on('exit', resolve));
      Promise.all([ended(new Worker('/tmp/write.js')), ended(new Worker('/tmp/write.js')), ended(fork('/tmp/write.js', ['child']))]).then(() => {
        console.log(JSON.stringify(db.prepare('select who, count(*) c from t group by who').all()));
        console.log(db.prepare('pragma integrity_check').get().integrity_check);
      });
    `);
    expect(result.stdout).toBe('[{"who":"child","c":50},{"who":"worker","c":100}]\nok\n');
  });

  test("time is the VM's", async () => {
    const [line] = await lines(`
      const db = new DatabaseSync(':memory:');
      const a = db.prepare("select unixepoch('subsec') t").get().t;
      db.exec('with recursive c(x) as (values(1) union all select x + 1 from c limit 300000) select max(x) from c');
      const b = db.prepare("select unixepoch('subsec') t, datetime('now', 'localtime') l, datetime('now') u").get();
      console.log(a === b.t, Math.round(a * 1000) === Date.now(), b.l === b.u);
    `);
    expect(line).toBe("true true true");
  });

  test.each(["cpuTimeLimitMs", "wallTimeLimitMs"])("%s ends a statement", async (limit) => {
    const runtime = await make();
    const result = await runtime.exec(
      `${HEAD} new DatabaseSync(':memory:').exec('with recursive c(x) as (values(1) union all select x + 1 from c) select max(x) from c')`,
      { [limit]: 200 },
    );
    expect(result).toMatchObject({ reason: limit === "cpuTimeLimitMs" ? "cpu" : "wall", code: 124 });
    expect(await runtime.exec("console.log(1)")).toMatchObject({ stdout: "1\n" });
  });

  test("a wait for a lock ends with the process", async () => {
    const runtime = await make();
    const started = performance.now();
    const result = await runtime.exec(
      `${HEAD} const a = new DatabaseSync('/tmp/x.db'), b = new DatabaseSync('/tmp/x.db', { timeout: 60000 });
       a.exec('create table t(a); begin exclusive'); b.exec('insert into t values(1)')`,
      { wallTimeLimitMs: 300 },
    );
    expect(result.reason).toBe("wall");
    expect(performance.now() - started).toBeLessThan(5000);
  });

  test("functions may close, step and finalize what runs", async () => {
    const got = await lines(`
      const say = (f) => { try { console.log(f()); } catch (e) { console.log(e.code, e.message); } };
      { const db = new DatabaseSync(':memory:'); db.function('f', () => { db.close(); return 1; }); say(() => db.prepare('select f()').all()); say(() => db.isOpen); }
      { const db = new DatabaseSync(':memory:'); let q; db.function('f', () => q.get()); q = db.prepare('select f()'); say(() => q.get()); }
      { const db = new DatabaseSync(':memory:'); db.function('f', () => { throw new RangeError('mine'); }); say(() => db.prepare('select f()').get()); say(() => db.prepare('select 1 a').get().a); }
      { const db = new DatabaseSync(':memory:'); db.function('f', (n) => (n > 0 ? db.prepare('select f(?) x').get(n - 1).x + 1 : 0)); say(() => db.prepare('select f(30) x').get().x); }
    `);
    expect(got).toEqual([
      "ERR_INVALID_STATE statement has been finalized",
      "false",
      "ERR_INVALID_STATE statement is running",
      "undefined mine",
      "1",
      "30",
    ]);
  });

  test("aggregates, windows, sessions and backups", async () => {
    const got = await lines(`
      const db = new DatabaseSync(':memory:');
      db.exec('create table t(a integer primary key, b); insert into t values(1, 10), (2, 20), (3, 30)');
      db.aggregate('total', { start: () => 0, step: (sum, x) => sum + x, inverse: (sum, x) => sum - x, result: (sum) => sum * 2 });
      console.log(db.prepare('select total(b) t from t').get().t, JSON.stringify(db.prepare('select total(b) over (order by a rows 1 preceding) t from t').all().map((row) => row.t)));
      const session = db.createSession();
      db.exec('update t set b = 11 where a = 1; delete from t where a = 3');
      const other = new DatabaseSync(':memory:');
      other.exec('create table t(a integer primary key, b); insert into t values(1, 10), (2, 20), (3, 99)');
      console.log(other.applyChangeset(session.changeset(), { onConflict: () => constants.SQLITE_CHANGESET_OMIT }), JSON.stringify(other.prepare('select b from t').all()));
      backup(db, '/tmp/copy.db', { rate: 1, progress: ({ remainingPages }) => console.log('left', remainingPages) }).then((pages) => {
        console.log(pages, new DatabaseSync('/tmp/copy.db').prepare('select count(*) c from t').get().c);
      });
    `);
    expect(got).toEqual(["120 [20,60,100]", 'true [{"b":11},{"b":20},{"b":99}]', "left 1", "2 2"]);
  });

  test("nothing leads out", async () => {
    const got = await lines(`
      const say = (f) => { try { console.log(f()); } catch (e) { console.log(e.message); } };
      const db = new DatabaseSync(':memory:');
      say(() => new DatabaseSync('file:/etc/hostname?vfs=unix'));
      say(() => db.exec("select load_extension('/tmp/x.so')"));
      say(() => db.prepare('select fts3_tokenizer(?)').get('simple'));
      say(() => db.exec("pragma temp_store_directory = '/tmp'"));
      say(() => db.exec('pragma hard_heap_limit = 1000'));
      say(() => new DatabaseSync(':memory:', { allowExtension: true }).loadExtension('/tmp/x.so'));
    `);
    expect(got).toEqual([
      "no such vfs: unix",
      "not authorized",
      "not authorized",
      "not authorized",
      "not authorized",
      "unable to open shared library [/tmp/x.so]",
    ]);
  });

  test("garbage is collected before memory is refused", async () => {
    const [line] = await lines(
      `for (let i = 0; i < 200; i++) { const db = new DatabaseSync(':memory:'); db.exec('create table t(a); insert into t values(zeroblob(4000000))'); }
       console.log('ok');`,
      { memoryLimit: 48 },
    );
    expect(line).toBe("ok");
  });
});
