// SQLite's ways to files of the host, to code and to addresses.
// @outcome error
// @each open('SECRET_FILE', { readOnly: true })
// @each open('file:SECRET_FILE?vfs=unix')
// @each open('file:SECRET_FILE?vfs=unix-none&immutable=1')
// @each open('file:///SECRET_FILE?vfs=memdb')
// @each db.exec("attach 'file:SECRET_FILE?mode=ro' as s")
// @each db.exec("attach 'file:SECRET_FILE?vfs=unix' as s")
// @each db.exec("select load_extension('SECRET_FILE')")
// @each db.loadExtension('SECRET_FILE')
// @each open(':memory:', { allowExtension: true }).loadExtension('HOST_ADDON')
// @each db.exec("select readfile('SECRET_FILE')")
// @each db.exec("select writefile('SECRET_FILE', 'x')")
// @each db.exec("select edit('x')")
// @each db.exec("create virtual table c using csv(filename = 'SECRET_FILE')")
// @each db.exec("vacuum into 'file:SECRET_FILE.copy?vfs=unix'")
// @each db.prepare("select fts3_tokenizer('simple')").get()
// @each db.prepare("select fts3_tokenizer(?)").get('simple')
// @each db.prepare("select fts3_tokenizer('x', ?)").get(Buffer.alloc(8, 0x41))
// @each db.exec("select * from sqlite_dbpage")
// @each db.exec("select * from sqlite_stmt")
// @each db.exec("pragma temp_store_directory = 'SECRET_FOLDER'")
const { DatabaseSync } = require("node:sqlite");
const open = (path, options = {}) => new DatabaseSync(path, options);
const db = open(":memory:");
EACH;
console.log("got through");
