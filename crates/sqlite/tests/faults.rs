//! Every refusal of memory and every failure of a file, one after the other, in a machine of memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use secure_exec_sqlite::{
    Account, Aggregate, Answer, Arguments, Backup, Charge, Connection, Fault, File, FileId, Limits,
    LockTable, Machine, OpenHow, OpenOptions, Scalar, SetKind, SqlError, Step, Traits, Value,
};

#[derive(Default)]
struct Purse {
    /// Requests until one is refused; negative for never.
    left: AtomicI64,
    held: AtomicUsize,
}

struct Shared(Arc<Purse>);

impl Charge for Shared {
    fn take(&self, bytes: usize) -> bool {
        if self.0.left.load(Ordering::Relaxed) >= 0
            && self.0.left.fetch_sub(1, Ordering::Relaxed) == 0
        {
            return false;
        }
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    fn release(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

type Bytes = Rc<RefCell<Vec<u8>>>;

struct Memory {
    account: Arc<Account>,
    purse: Arc<Purse>,
    locks: Arc<LockTable>,
    files: RefCell<HashMap<Vec<u8>, Bytes>>,
    /// Calls of files until one fails; negative for never.
    calls: Rc<Cell<i64>>,
    is_ending: Cell<bool>,
}

impl Memory {
    fn new() -> Rc<Self> {
        let purse = Arc::new(Purse::default());
        purse.left.store(-1, Ordering::Relaxed);
        Rc::new(Self {
            account: Account::new(Box::new(Shared(purse.clone()))),
            purse,
            locks: Arc::default(),
            files: RefCell::default(),
            calls: Rc::new(Cell::new(-1)),
            is_ending: Cell::new(false),
        })
    }
}

fn fails(calls: &Cell<i64>) -> Result<(), Fault> {
    let left = calls.get();
    if left >= 0 {
        calls.set(left - 1);
    }
    if left == 0 { Err(Fault::Full) } else { Ok(()) }
}

impl Machine for Memory {
    fn account(&self) -> &Arc<Account> {
        &self.account
    }

    fn locks(&self) -> &Arc<LockTable> {
        &self.locks
    }

    fn open(&self, path: &[u8], how: OpenHow) -> Result<Box<dyn File>, Fault> {
        fails(&self.calls)?;
        let mut files = self.files.borrow_mut();
        if !how.create && !files.contains_key(path) {
            return Err(Fault::NotFound);
        }
        let bytes = files.entry(path.to_vec()).or_default().clone();
        Ok(Box::new(Open {
            id: FileId::Inode(1, Rc::as_ptr(&bytes) as u64),
            bytes,
            calls: self.calls.clone(),
        }))
    }

    fn delete(&self, path: &[u8]) -> Result<(), Fault> {
        let removed = self.files.borrow_mut().remove(path);
        removed.map(drop).ok_or(Fault::NotFound)
    }

    fn exists(&self, path: &[u8]) -> bool {
        let files = self.files.borrow();
        files
            .get(path)
            .is_some_and(|file| !file.borrow().is_empty())
    }

    fn is_writable(&self, path: &[u8]) -> bool {
        self.exists(path)
    }

    fn full_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        Some(path.to_vec())
    }

    fn now_ms(&self) -> i64 {
        0
    }

    fn utc_offset(&self, _seconds: i64) -> i32 {
        -3600
    }

    fn sleep(&self, _time: Duration) {}

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }

    fn is_ending(&self) -> bool {
        self.is_ending.get()
    }
}

struct Open {
    bytes: Bytes,
    id: FileId,
    calls: Rc<Cell<i64>>,
}

impl File for Open {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        fails(&self.calls)?;
        let bytes = self.bytes.borrow();
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, Fault> {
        fails(&self.calls)?;
        let mut bytes = self.bytes.borrow_mut();
        let start = usize::try_from(offset).unwrap();
        let end = start + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(data);
        Ok(data.len())
    }

    fn truncate(&self, length: u64) -> Result<(), Fault> {
        fails(&self.calls)?;
        self.bytes
            .borrow_mut()
            .resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        fails(&self.calls)
    }

    fn size(&self) -> Result<u64, Fault> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn id(&self) -> Option<FileId> {
        Some(self.id.clone())
    }
}

fn options() -> OpenOptions {
    OpenOptions {
        read_only: false,
        foreign_keys: true,
        double_quoted_strings: false,
        timeout: 0,
        uri: true,
        limits: Limits {
            length: 1_000_000,
            like_pattern: 1000,
            vdbe_ops: 1_000_000,
        },
    }
}

struct Twice;

impl Scalar for Twice {
    fn call(&self, mut arguments: Arguments<'_>) -> Answer {
        match arguments.get(0) {
            Value::Integer(number) => Answer::Integer(number * 2),
            Value::Text(text) => Answer::Text([text, text].concat()),
            _ => Answer::Error("neither".to_owned()),
        }
    }
}

struct Sum;

impl Aggregate for Sum {
    fn start(&self) -> Option<Box<dyn std::any::Any>> {
        Some(Box::new(0_i64))
    }

    fn step(
        &self,
        state: &mut Box<dyn std::any::Any>,
        mut arguments: Arguments<'_>,
        inverse: bool,
    ) -> bool {
        let sum = state.downcast_mut::<i64>().unwrap();
        if let Value::Integer(number) = arguments.get(0) {
            *sum += if inverse { -number } else { number };
        }
        true
    }

    fn result(&self, state: &dyn std::any::Any) -> Answer {
        Answer::Integer(*state.downcast_ref::<i64>().unwrap())
    }
}

fn number(connection: &Rc<Connection>, sql: &str) -> Result<i64, SqlError> {
    let statement = connection.prepare(sql.as_bytes())?.unwrap();
    assert_eq!(statement.step()?, Step::Row);
    Ok(statement.column(0, |value| match value {
        Value::Integer(number) => number,
        other => panic!("{other:?}"),
    }))
}

/// A bit of everything.
fn work(machine: &Rc<Memory>, journal: &str) -> Result<i64, SqlError> {
    let open = |path: &str| Connection::open(machine.clone(), path.as_bytes(), &options());
    let connection = open("/a.db")?;
    connection.exec(format!("pragma journal_mode = {journal}").as_bytes())?;
    connection.exec(b"create table t(a integer primary key, b); create index i on t(b)")?;
    let scalar = Traits {
        arguments: 1,
        ..Traits::default()
    };
    connection.create_function(b"twice", scalar, Box::new(Twice))?;
    connection.create_aggregate(b"own", scalar, true, Box::new(Sum))?;
    let session = connection.create_session(b"main", b"")?;
    let insert = connection
        .prepare(b"insert into t(b) values(twice(?))")?
        .unwrap();
    for index in 0..20 {
        insert.reset()?;
        insert.bind(
            1,
            Value::Text(format!("text {index}").repeat(20).as_bytes()),
        )?;
        insert.step()?;
    }
    insert.reset()?;
    connection
        .exec(b"begin; update t set b = b || a where a > 3; delete from t where a = 2; commit")?;
    connection.exec(b"create virtual table f using fts5(x); insert into f select b from t")?;
    let mut changes = session.changes(SetKind::Changes)?;
    let other = open(":memory:")?;
    other.exec(b"create table t(a integer primary key, b)")?;
    let applied = other.apply(&mut changes, &mut |_| true, &mut |_| 0);
    if applied != 0 {
        return Err(SqlError::of_code(applied));
    }
    let backup = Backup::new(connection.clone(), b"main", open("/b.db")?, b"main")?;
    loop {
        match backup.step(3) {
            0 => {}
            101 => break,
            failure => return Err(SqlError::of_code(failure)),
        }
    }
    drop(backup);
    let rows = connection
        .prepare(b"select own(a) over (order by a rows 2 preceding), b from t order by b desc")?
        .unwrap();
    while rows.step()? == Step::Row {
        rows.column(1, |_| ());
    }
    number(&open("/b.db")?, "select count(*) from t")
}

/// Nothing was lost, whatever went wrong before.
fn is_whole(machine: &Rc<Memory>) {
    let connection = Connection::open(machine.clone(), b"/a.db", &options()).unwrap();
    let check = connection
        .prepare(b"pragma integrity_check")
        .unwrap()
        .unwrap();
    assert_eq!(check.step().unwrap(), Step::Row);
    check.column(0, |value| assert_eq!(value, Value::Text(b"ok")));
}

#[test]
fn every_refusal_of_memory_is_borne() {
    for journal in ["delete", "wal"] {
        let mut refusals = 0;
        loop {
            let machine = Memory::new();
            machine.purse.left.store(refusals, Ordering::Relaxed);
            let outcome = work(&machine, journal);
            let was_refused = machine.purse.left.swap(-1, Ordering::Relaxed) < 0;
            is_whole(&machine);
            assert_eq!(
                machine.account.held(),
                machine.purse.held.load(Ordering::Relaxed)
            );
            assert_eq!(machine.account.held(), 0, "after {refusals}");
            if !was_refused {
                assert_eq!(outcome.unwrap(), 19);
                break;
            }
            refusals += if refusals < 400 { 1 } else { 17 };
        }
        assert!(refusals > 400);
    }
}

#[test]
fn every_failure_of_a_file_is_borne() {
    for journal in ["delete", "wal", "persist"] {
        let mut calls = 0;
        loop {
            let machine = Memory::new();
            machine.calls.set(calls);
            let outcome = work(&machine, journal);
            let has_failed = machine.calls.replace(-1) < 0;
            is_whole(&machine);
            if !has_failed {
                assert_eq!(outcome.unwrap(), 19);
                break;
            }
            calls += 1;
        }
        assert!(calls > 50);
    }
}

#[test]
fn an_ending_process_gets_no_answer() {
    let machine = Memory::new();
    let connection = Connection::open(machine.clone(), b":memory:", &options()).unwrap();
    machine.is_ending.set(true);
    let endless =
        b"with recursive c(x) as (values(1) union all select x + 1 from c) select max(x) from c";
    assert_eq!(connection.exec(endless).unwrap_err().message, "interrupted");
}

#[test]
fn local_time_is_the_machine_s() {
    let machine = Memory::new();
    let connection = Connection::open(machine, b":memory:", &options()).unwrap();
    for (time, local) in [
        ("0", "1969-12-31 23:00:00"),
        ("951782400", "2000-02-28 23:00:00"),
        ("951868799", "2000-02-29 22:59:59"),
        ("1735689599", "2024-12-31 22:59:59"),
    ] {
        let sql = format!("select datetime({time}, 'unixepoch', 'localtime')");
        let statement = connection.prepare(sql.as_bytes()).unwrap().unwrap();
        statement.step().unwrap();
        statement.column(0, |value| assert_eq!(value, Value::Text(local.as_bytes())));
    }
}

#[test]
fn a_panic_in_a_function_goes_through_sqlite() {
    struct Panics;
    impl Scalar for Panics {
        fn call(&self, _arguments: Arguments<'_>) -> Answer {
            std::panic::panic_any("mine")
        }
    }
    let machine = Memory::new();
    let connection = Connection::open(machine.clone(), b":memory:", &options()).unwrap();
    let traits = Traits::default();
    connection
        .create_function(b"f", traits, Box::new(Panics))
        .unwrap();
    let call = std::panic::AssertUnwindSafe(|| connection.exec(b"select f()"));
    let panic = std::panic::catch_unwind(call).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"mine"));
    assert_eq!(number(&connection, "select 1").unwrap(), 1);
}
