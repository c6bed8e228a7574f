require('sql.js')().then((SQL) => {
  const db = new SQL.Database();
  db.run(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT, b BLOB); INSERT INTO t (n,b) VALUES ('a', x'0102'), ('b', NULL);",
  );
  const st = db.prepare('SELECT * FROM t WHERE id >= :i');
  st.bind({ ':i': 1 });
  while (st.step()) console.log(st.getAsObject());
  st.free();
  console.log(JSON.stringify(db.exec("SELECT count(*), group_concat(n), json_object('a', 1) FROM t")));
  db.create_function('dbl', (x) => x * 2);
  console.log(db.exec('SELECT dbl(21)')[0].values);
  try {
    db.run('SELEC');
  } catch (e) {
    console.log(e.message);
  }
  const d = db.export();
  console.log(new SQL.Database(d).exec('SELECT n FROM t')[0].values, d.length);
});
