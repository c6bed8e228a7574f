//! The process table: trees, groups, signals, zombies, limits, and which program a name stands for.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use secure_exec_kernel::{
    Errno, ExitStatus, Kernel, KernelOptions, Process, ProcessOptions, ProcessPolicy,
    ProcessRequest, Quotas, SIGKILL, SIGTERM, SignalSet, Supervisor, oflag,
};

/// Notes what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<(&'static str, i32)>>);

impl Supervisor for Notes {
    fn deliver(&self, signal: i32) {
        self.0.lock().unwrap().push(("deliver", signal));
    }

    fn terminate(&self, signal: i32) {
        self.0.lock().unwrap().push(("terminate", signal));
    }
}

impl Notes {
    fn take(&self) -> Vec<(&'static str, i32)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn spawn(kernel: &Kernel, ppid: u32, new_group: bool) -> (Arc<Process>, Arc<Notes>) {
    let notes = Arc::<Notes>::default();
    let options = ProcessOptions {
        ppid,
        new_group,
        supervisor: Some(notes.clone()),
        ..ProcessOptions::default()
    };
    (kernel.spawn(options).unwrap(), notes)
}

fn kernel() -> Arc<Kernel> {
    Kernel::new(KernelOptions::default()).unwrap()
}

#[test]
fn children_become_zombies_until_they_are_waited_for() {
    let kernel = kernel();
    let (root, notes) = spawn(&kernel, 1, false);
    let (child, _) = spawn(&kernel, root.pid(), false);
    assert_eq!(kernel.group(&child), root.pid());
    assert_eq!(kernel.try_wait(&root, child.pid()), Ok(None));
    let woken = Arc::new(AtomicU32::new(0));
    let count = woken.clone();
    kernel.on_exit(
        child.pid(),
        Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    );
    root.set_caught(17, true).unwrap();
    kernel.exit(&child, ExitStatus::exited(-1));
    kernel.exit(&child, ExitStatus::exited(7));
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(notes.take(), [("deliver", 17)]);
    // A zombie can be named.
    assert_eq!(
        kernel.kill(&root, i32::try_from(child.pid()).unwrap(), 0),
        Ok(())
    );
    assert_eq!(kernel.try_wait(&child, child.pid()), Err(Errno::ESRCH));
    assert_eq!(
        kernel.try_wait(&root, child.pid()),
        Ok(Some(ExitStatus::exited(255)))
    );
    assert_eq!(kernel.try_wait(&root, child.pid()), Err(Errno::ESRCH));
    assert_eq!(
        kernel.kill(&root, i32::try_from(child.pid()).unwrap(), 0),
        Err(Errno::ESRCH)
    );
}

#[test]
fn orphans_stay_until_their_tree_ends() {
    let kernel = kernel();
    let (root, _) = spawn(&kernel, 1, false);
    let (child, _) = spawn(&kernel, root.pid(), false);
    let (grandchild, notes) = spawn(&kernel, child.pid(), true);
    kernel.exit(&child, ExitStatus::default());
    assert_eq!(grandchild.ppid(), 1);
    assert!(notes.take().is_empty());
    kernel.exit(&root, ExitStatus::default());
    assert_eq!(notes.take(), [("terminate", SIGKILL)]);
    let late = kernel.spawn(ProcessOptions {
        ppid: grandchild.pid(),
        ..ProcessOptions::default()
    });
    assert_eq!(late.err(), Some(Errno::EAGAIN));
    kernel.exit(&grandchild, ExitStatus::signalled(SIGKILL));
    assert!(kernel.processes().is_empty());
}

#[test]
fn signals_reach_processes_and_groups() {
    let kernel = kernel();
    let (root, root_notes) = spawn(&kernel, 1, false);
    let (inside, inside_notes) = spawn(&kernel, root.pid(), false);
    let (leader, leader_notes) = spawn(&kernel, root.pid(), true);
    let pid = |process: &Process| i32::try_from(process.pid()).unwrap();
    inside.set_caught(SIGTERM, true).unwrap();
    assert_eq!(kernel.kill(&root, 0, SIGTERM), Ok(()));
    assert_eq!(root_notes.take(), [("terminate", SIGTERM)]);
    assert_eq!(inside_notes.take(), [("deliver", SIGTERM)]);
    assert!(leader_notes.take().is_empty());
    assert_eq!(kernel.kill(&root, -pid(&leader), SIGTERM), Ok(()));
    assert_eq!(leader_notes.take(), [("terminate", SIGTERM)]);
    // SIGKILL cannot be caught, SIGCHLD does nothing by default.
    assert_eq!(inside.set_caught(SIGKILL, true), Err(Errno::EINVAL));
    assert_eq!(kernel.kill(&root, pid(&inside), SIGKILL), Ok(()));
    assert_eq!(inside_notes.take(), [("terminate", SIGKILL)]);
    assert_eq!(kernel.kill(&root, pid(&leader), 17), Ok(()));
    assert!(leader_notes.take().is_empty());
    for (pid, signal, error) in [
        (1, 0, Errno::EPERM),
        (9999, 0, Errno::ESRCH),
        (pid(&root), 65, Errno::EINVAL),
        (-9999, 1, Errno::ESRCH),
        (i32::MIN, 1, Errno::ESRCH),
    ] {
        assert_eq!(kernel.kill(&root, pid, signal), Err(error));
    }
}

#[test]
fn another_users_process_is_left_alone() {
    let kernel = kernel();
    let (root, _) = spawn(&kernel, 1, false);
    let other = kernel
        .spawn(ProcessOptions {
            uid: Some(0),
            ignored_signals: SignalSet::of(&[SIGTERM]),
            ..ProcessOptions::default()
        })
        .unwrap();
    let pid = i32::try_from(other.pid()).unwrap();
    assert_eq!(kernel.kill(&root, pid, SIGTERM), Err(Errno::EPERM));
    assert_eq!(kernel.kill(&other, pid, SIGTERM), Ok(()));
}

#[test]
fn the_number_of_children_is_limited() {
    let quotas = Quotas {
        max_child_processes: 2,
        ..Quotas::default()
    };
    let kernel = Kernel::new(KernelOptions {
        quotas,
        ..KernelOptions::default()
    })
    .unwrap();
    let (root, _) = spawn(&kernel, 1, false);
    let (child, _) = spawn(&kernel, root.pid(), false);
    let (_grandchild, _) = spawn(&kernel, child.pid(), false);
    let one_more = || {
        kernel.spawn(ProcessOptions {
            ppid: root.pid(),
            ..ProcessOptions::default()
        })
    };
    assert_eq!(one_more().err(), Some(Errno::EAGAIN));
    assert_eq!(
        kernel.take_limit_error().unwrap().option,
        "resourceBudgets.maxChildProcesses"
    );
    // Roots are the host's and do not count, zombies do.
    let (_other, _) = spawn(&kernel, 1, false);
    kernel.exit(&child, ExitStatus::default());
    assert_eq!(one_more().err(), Some(Errno::EAGAIN));
    kernel.try_wait(&root, child.pid()).unwrap();
    assert!(one_more().is_ok());
}

fn write(kernel: &Kernel, path: &str, text: &str, mode: u32) {
    let flags = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;
    kernel
        .write_file(kernel.host(), path.as_bytes(), text.as_bytes(), flags, mode)
        .unwrap();
    kernel.chmod(kernel.host(), path.as_bytes(), mode).unwrap();
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn programs_are_found_as_execvp_finds_them() {
    let kernel = kernel();
    let (p, _) = spawn(&kernel, 1, false);
    let find = |file: &str, search: Option<&str>| {
        let found = kernel.find_program(&p, file, argv(&[file, "x"]), search, Some(b"/tmp"));
        found.map(|found| (found.name().to_owned(), found.argv().to_vec()))
    };
    assert_eq!(
        find("node", None),
        Ok(("node".to_owned(), argv(&["node", "x"])))
    );
    assert_eq!(
        find("ls", Some("/nowhere:/usr/bin")),
        Ok(("ls".to_owned(), argv(&["ls", "x"])))
    );
    assert_eq!(find("ls", Some("/nowhere")), Err(Errno::ENOENT));
    assert_eq!(find("", None), Err(Errno::ENOENT));
    assert_eq!(find("/tmp", None), Err(Errno::EACCES));
    write(
        &kernel,
        "/tmp/script",
        "#!/usr/bin/env  node --flag \nbody",
        0o755,
    );
    assert_eq!(
        find("./script", None),
        Ok((
            "env".to_owned(),
            argv(&["/usr/bin/env", "node --flag", "./script", "x"])
        ))
    );
    write(&kernel, "/tmp/plain", "echo hello\n", 0o755);
    assert_eq!(
        find("./plain", None),
        Ok(("sh".to_owned(), argv(&["/bin/sh", "./plain", "x"])))
    );
    write(&kernel, "/tmp/data", "echo hello\n", 0o644);
    assert_eq!(find("./data", None), Err(Errno::EACCES));
    assert_eq!(find("data", Some("/tmp:/bin")), Err(Errno::EACCES));
    write(&kernel, "/tmp/loop", "#!/tmp/loop\n", 0o755);
    assert_eq!(find("./loop", None), Err(Errno::ELOOP));
    write(&kernel, "/tmp/native", "\x7fELF", 0o755);
    assert_eq!(find("./native", None), Err(Errno::ENOEXEC));
    let long = "x".repeat(3 << 20);
    assert_eq!(
        kernel
            .find_program(&p, "ls", vec![long], None, Some(b"/"))
            .err(),
        Some(Errno::E2BIG)
    );
}

#[test]
fn a_policy_is_asked_about_programs() {
    struct Policy(Mutex<Vec<ProcessRequest>>);
    impl ProcessPolicy for Policy {
        fn check(&self, request: &ProcessRequest) -> Result<(), Errno> {
            self.0.lock().unwrap().push(request.clone());
            if request.command == "ls" {
                Ok(())
            } else {
                Err(Errno::EACCES)
            }
        }
    }
    let policy = Arc::new(Policy(Mutex::default()));
    let kernel = Kernel::new(KernelOptions {
        process_policy: Some(policy.clone()),
        ..KernelOptions::default()
    })
    .unwrap();
    let (p, _) = spawn(&kernel, 1, false);
    assert!(
        kernel
            .find_program(&p, "ls", argv(&["ls", "-l"]), None, None)
            .is_ok()
    );
    assert_eq!(
        kernel
            .find_program(&p, "cat", argv(&["cat"]), None, None)
            .err(),
        Some(Errno::EACCES)
    );
    let asked = policy.0.lock().unwrap();
    assert_eq!(asked[0].args, ["-l"]);
    assert_eq!((asked[1].command.as_str(), asked[1].pid), ("cat", p.pid()));
}
