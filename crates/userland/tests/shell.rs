//! The shell and the core commands, run as processes of a kernel. Expectations are what dash and coreutils print.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use secure_exec_kernel::{
    Errno, Executable, ExitStatus, Kernel, KernelOptions, OpenFile, PipeReader, Process,
    ProcessOptions, SIGKILL, Supervisor, oflag, pipe,
};
use secure_exec_userland::{Body, Context, Finish, Host, STACK_BYTES, Start, Waker, run};

/// Runs every process on a thread.
#[derive(Clone)]
struct Threads(Arc<Kernel>);

/// Ends a process by waking it.
struct Ender(Waker, std::sync::Mutex<std::sync::Weak<Process>>);

impl Supervisor for Ender {
    fn deliver(&self, _signal: i32) {}

    fn terminate(&self, _signal: i32) {
        if let Some(process) = self.1.lock().unwrap().upgrade() {
            process.interrupt();
        }
        self.0.wake();
    }
}

impl Threads {
    fn begin(&self, argv: Vec<String>, start: Start, body: Body) -> Result<Arc<Process>, Errno> {
        let waker = Waker::default();
        let ender = Arc::new(Ender(waker.clone(), std::sync::Mutex::default()));
        let process = self.0.spawn(ProcessOptions {
            argv,
            env: start.env,
            cwd_of: start.cwd.is_none().then(|| start.parent.clone()),
            cwd: start.cwd.unwrap_or_default(),
            files: Some(start.files),
            ppid: start.parent.pid(),
            new_group: start.new_group,
            supervisor: Some(ender.clone()),
            ..ProcessOptions::default()
        })?;
        *ender.1.lock().unwrap() = Arc::downgrade(&process);
        let (host, own) = (self.clone(), process.clone());
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let context =
                    Context::new(host.0.clone(), own.clone(), Arc::new(host.clone()), waker);
                let mut finish = body(&context);
                let status = loop {
                    match finish {
                        Finish::Exit(status) => break status,
                        Finish::Exec(program) => {
                            finish = run(program.name(), &context, program.argv());
                        }
                    }
                };
                let status = if own.interrupted() {
                    ExitStatus::signalled(SIGKILL)
                } else {
                    status
                };
                host.0.exit(&own, status);
            })
            .unwrap();
        Ok(process)
    }
}

impl Host for Threads {
    fn start(&self, executable: Executable, start: Start) -> Result<Arc<Process>, Errno> {
        let argv = executable.argv().to_vec();
        let body: Body =
            Box::new(move |context| run(executable.name(), context, executable.argv()));
        self.begin(argv, start, body)
    }

    fn fork(&self, argv: Vec<String>, start: Start, body: Body) -> Result<Arc<Process>, Errno> {
        self.begin(argv, start, body)
    }

    fn charge_cpu(&self) -> bool {
        true
    }
}

struct Machine {
    kernel: Arc<Kernel>,
    host: Threads,
    root: Arc<Process>,
}

impl Machine {
    fn new() -> Machine {
        let kernel = Kernel::new(KernelOptions::default()).unwrap();
        let root = kernel
            .spawn(ProcessOptions {
                env: vec![
                    ("HOME".into(), "/home/sandbox".into()),
                    ("PATH".into(), "/usr/bin:/bin".into()),
                ],
                cwd: b"/tmp".to_vec(),
                ..ProcessOptions::default()
            })
            .unwrap();
        let host = Threads(kernel.clone());
        Machine { kernel, host, root }
    }

    fn file(&self, path: &str, text: &str) {
        let flags = oflag::O_WRONLY | oflag::O_CREAT;
        self.kernel
            .write_file(&self.root, path.as_bytes(), text.as_bytes(), flags, 0o644)
            .unwrap();
    }

    fn start(&self, script: &str, input: &str) -> (Arc<Process>, PipeReader) {
        let (reader, writer) = pipe();
        let argv = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let shell = self
            .kernel
            .find_program(&self.root, "sh", argv, None, None)
            .unwrap();
        let output = OpenFile::of_writer(writer);
        let start = Start {
            parent: self.root.clone(),
            env: self.root.env_all(),
            cwd: None,
            files: vec![
                Some(OpenFile::of_bytes(input.as_bytes().into())),
                Some(output.clone()),
                Some(output),
            ],
            new_group: false,
        };
        (self.host.start(shell, start).unwrap(), reader)
    }

    /// Output and exit code.
    fn sh(&self, script: &str) -> (String, i32) {
        self.sh_with(script, "")
    }

    fn sh_with(&self, script: &str, input: &str) -> (String, i32) {
        let (process, reader) = self.start(script, input);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut output = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => output.extend_from_slice(&chunk[..length]),
                Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{error:?}"),
            }
            assert!(Instant::now() < deadline, "{script} hangs");
        }
        loop {
            if let Some(status) = self.kernel.try_wait(&self.root, process.pid()).unwrap() {
                return (
                    String::from_utf8_lossy(&output).into_owned(),
                    status.shell_code(),
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn language() {
    let machine = Machine::new();
    for (script, output, code) in [
        ("echo hello", "hello\n", 0),
        ("exit 7", "", 7),
        ("false", "", 1),
        (
            "true && echo a || echo b; false && echo c || echo d",
            "a\nd\n",
            0,
        ),
        ("x=1; y=\"$x 2\"; echo $y '$x' \"${x}3\"", "1 2 $x 13\n", 0),
        (
            "echo ${u:-d} ${u-e} ${u:=f} $u ${u:+g} ${#u}",
            "d e f f g 1\n",
            0,
        ),
        (
            "p=/a/b.tar.gz; echo ${p##*/} ${p%.*} ${p%%.*} ${p#*/}",
            "b.tar.gz /a/b.tar /a/b a/b.tar.gz\n",
            0,
        ),
        (
            "echo $(echo a; echo b) \"$(printf 'x\\ny\\n')\" `echo q`",
            "a b x\ny q\n",
            0,
        ),
        ("echo $((1 + 2 * 3)) $(( (1+2)*3 ))", "7 9\n", 0),
        (
            "if [ 1 -lt 2 ]; then echo yes; else echo no; fi",
            "yes\n",
            0,
        ),
        (
            "for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done",
            "1\n3\n",
            0,
        ),
        (
            "i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i",
            "3\n",
            0,
        ),
        ("case abc in a*) echo A;; *) echo B;; esac", "A\n", 0),
        (
            "f() { echo \"$1-$#\"; return 4; }; f x y; echo $?",
            "x-2\n4\n",
            0,
        ),
        (
            "set -- a 'b c'; for x in \"$@\"; do echo [$x]; done; shift; echo $#",
            "[a]\n[b c]\n1\n",
            0,
        ),
        ("(exit 3); echo $?; { echo g; }", "3\ng\n", 0),
        ("x=1; (x=2; echo $x); echo $x", "2\n1\n", 0),
        ("echo a | cat | tr a b", "b\n", 0),
        ("! true; echo $?", "1\n", 0),
        ("cat <<E\nx $((1+1))\nE\ncat <<'E'\n$y\nE", "x 2\n$y\n", 0),
        ("nope; echo $?", "sh: 1: nope: not found\n127\n", 0),
        ("set -e; false; echo never", "", 1),
        (
            "set -e; if false; then :; fi; false || true; echo on",
            "on\n",
            0,
        ),
        ("echo a >&2 2>/dev/null; echo err 1>&2", "a\nerr\n", 0),
        ("sleep 0.01 & wait; echo done $?", "done 0\n", 0),
        ("(exit 5) & wait $!; echo $?", "5\n", 0),
        ("sh -c 'kill -TERM $$'; echo $?", "Killed\n137\n", 0),
        (
            "IFS=:; v=a:b:c; for x in $v; do echo $x; done",
            "a\nb\nc\n",
            0,
        ),
        ("export A=1; B=2 env | grep -c '^[AB]='", "2\n", 0),
        (
            "read a b <<E\none two three\nE\necho $b,$a",
            "two three,one\n",
            0,
        ),
        (
            "eval 'echo $((2*3))'; command -v ls; type cd",
            "6\n/usr/bin/ls\ncd is a shell builtin\n",
            0,
        ),
        (
            "echo 'a",
            "sh: syntax error: unterminated quoted string\n",
            2,
        ),
        ("echo \"\" '' | wc -c", "2\n", 0),
        (
            "printf '%s-%03d|%5s|%-3s|\\n' a 7 b c",
            "a-007|    b|c  |\n",
            0,
        ),
        (
            "cd /; pwd; cd - >/dev/null; pwd; cd /nowhere; echo $?",
            "/\n/tmp\nsh: 1: cd: can't cd to /nowhere: No such file or directory\n2\n",
            0,
        ),
        ("exec echo replaced; echo never", "replaced\n", 0),
        ("trap '' INT; echo x", "sh: 1: trap: not found\nx\n", 0),
        ("yes | head -n 1; echo $?", "sh: 1: yes: not found\n0\n", 0),
        ("while :; do echo y; done | head -n 2", "y\ny\n", 0),
    ] {
        assert_eq!(machine.sh(script), (output.to_owned(), code), "{script}");
    }
}

#[test]
fn commands() {
    let machine = Machine::new();
    machine.file("/tmp/t", "pear\napple\nfig\napple\n");
    for (script, output, code) in [
        (
            "sort t | uniq -c | sort -rn | head -n 1",
            "      2 apple\n",
            0,
        ),
        (
            "sort -u t; sort -r t | tail -n 1",
            "apple\nfig\npear\napple\n",
            0,
        ),
        (
            "wc -l < t; grep -n apple t; grep -c zzz t",
            "4\n2:apple\n4:apple\n0\n",
            1,
        ),
        ("grep -v apple t | tr '\\n' ,", "pear,fig,", 0),
        ("grep -E 'p+' -o t", "p\npp\npp\n", 0),
        ("sed 's/p/P/g; /fig/d' t", "Pear\naPPle\naPPle\n", 0),
        (
            "sed -n '2,3p' t; sed '$!d' t; sed -E 's/(.)(.)/\\2\\1/' t | head -n 1",
            "apple\nfig\napple\nepar\n",
            0,
        ),
        (
            "cut -c1-2 t | tail -n +3; echo a:b:c | cut -d: -f2-",
            "fi\nap\nb:c\n",
            0,
        ),
        (
            "touch -t 204001020304 later; date -r later +%Y%m%d%H%M; date -r none; echo $?",
            "204001020304\ndate: none: No such file or directory\n1\n",
            0,
        ),
        (
            "touch -d '2024-02-29 12:30:05' leap; date -r leap +%FT%T; touch -r leap same; date -r same +%F; \
             touch -m -d @86400 same; date -r same +%F; touch -t 202302291200 none; touch -d soon none; rm leap same later",
            "2024-02-29T12:30:05\n2024-02-29\n1970-01-02\n\
             touch: invalid date format '202302291200'\ntouch: invalid date format 'soon'\n",
            0,
        ),
        (
            "mkdir -p d/e; touch d/e/x.js d/y.js; ls d; find d -name '*.js' | sort",
            "e\ny.js\nd/e/x.js\nd/y.js\n",
            0,
        ),
        ("echo d/*.js d/*/*.js nope*", "d/y.js d/e/x.js nope*\n", 0),
        (
            "cp -r d c; ls c/e; mv c/y.js c/z.js; ls c; rm -r c; ls c",
            "x.js\ne\nz.js\nls: cannot access 'c': No such file or directory\n",
            2,
        ),
        ("printf 'a b\\nc' | xargs -n 1 echo -", "- a\n- b\n- c\n", 0),
        (
            "find d -type f -exec basename {} .js ';' | sort",
            "x\ny\n",
            0,
        ),
        (
            "ln -s t l; readlink l; cat l | head -n 1; test -L l && echo link",
            "t\npear\nlink\n",
            0,
        ),
        (
            "chmod 700 t; ls -l t | cut -c1-10; test -x t; echo $?",
            "-rwx------\n0\n",
            0,
        ),
        ("echo x | tee a b >/dev/null; cat a b; rm a b", "x\nx\n", 0),
        (
            "dirname /a/b/c; basename /a/b/c.js .js; seq 3 | paste",
            "/a/b\nc\nsh: 1: paste: not found\n",
            127,
        ),
        (
            "[ a = a -a ! -e /none ] && [ -d /tmp ] && echo ok",
            "ok\n",
            0,
        ),
        (
            "env -i A=1 env; env -u PATH printenv PATH; echo $?",
            "A=1\n1\n",
            0,
        ),
        ("which sh nope; echo $?", "/usr/bin/sh\n1\n", 0),
        ("uname; whoami; id -u", "Linux\nsandbox\n1000\n", 0),
        (
            "cat /none; rm /none; rm -f /none; rmdir d",
            "cat: /none: No such file or directory\nrm: cannot remove '/none': No such file or directory\nrmdir: failed to remove 'd': Directory not empty\n",
            1,
        ),
        (
            "ps -o comm= -p $$; ps -o pid= --ppid 999; echo $?; ps -o nope",
            "sh\n1\nps: error: unknown user-defined format specifier \"nope\"\n",
            1,
        ),
        (
            "[ $(ps -o pid --no-headers -p $$) = $$ ] && ps -A -o ppid=,pid= | grep -c \"^ *[0-9]* *$$\\$\"",
            "1\n",
            0,
        ),
        (
            "ps aux | head -n 1; ps -ef | head -n 1; ps -o pid,args=X -p $$ | head -n 1; ps -f --ppid $$ --no-headers | wc -l",
            "USER       PID %CPU %MEM    VSZ   RSS TTY      STAT START     TIME COMMAND\n\
             UID        PID  PPID  C STIME TTY          TIME CMD\n  PID X\n2\n",
            0,
        ),
        (
            "echo 9 | xargs sleep | { until pgrep sleep >p; do :; done; pgrep -c sleep; pgrep -lf 'eep 9$' | cut -d' ' -f2; pkill -9 -x sleep; }; pgrep sleep; echo $?",
            "1\nsleep\n1\n",
            0,
        ),
        (
            "echo 9 | xargs sleep | { until pgrep sleep >p; do :; done; killall -9 sleep; }; killall sleep; echo $?; killall -q sleep; pkill '('; echo $?",
            "sleep: no process found\n1\npkill: error: unclosed group\n2\n",
            0,
        ),
        (
            "kill -0 1; kill -l TERM",
            "kill: (1) - Operation not permitted\nTERM\n",
            0,
        ),
        (
            "grep -r pear . | head -n 1; grep '(' t; grep -E '(' t; echo $?",
            "./t:pear\ngrep: error: unclosed group\n2\n",
            0,
        ),
    ] {
        assert_eq!(machine.sh(script), (output.to_owned(), code), "{script}");
    }
    assert_eq!(
        machine.sh_with("cat; echo $?", "in\n"),
        ("in\n0\n".to_owned(), 0)
    );
}

#[test]
fn what_never_ends_can_be_killed() {
    let machine = Machine::new();
    for script in [
        "while :; do :; done",
        "sleep 1000",
        "cat < /dev/zero > /dev/null",
        "while :; do sleep 0; done",
        "f() { f; f; }; f",
        "find / -exec sleep 1000 ';'",
    ] {
        let (process, _reader) = machine.start(script, "");
        std::thread::sleep(Duration::from_millis(30));
        let pid = i32::try_from(process.pid()).unwrap();
        // Its children are of no interest here; they end when their parent's tree does.
        let _ = machine.kernel.kill(&machine.root, pid, SIGKILL);
        let deadline = Instant::now() + Duration::from_secs(5);
        while machine.kernel.try_wait(&machine.root, process.pid()) == Ok(None) {
            assert!(Instant::now() < deadline, "{script}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn hostile_scripts_end() {
    let machine = Machine::new();
    let deep = format!("{}:{}", "(".repeat(30), ")".repeat(30));
    for script in [
        "f() { f; }; f",
        ":(){ :|:& };:",
        "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done",
        "echo $(cat /dev/zero | tr '\\0' a)",
        "cat /dev/zero | sort",
        "sed ':a;s/x*/&&x/;ta' <<E\nx\nE",
        &"$(".repeat(1000),
        &deep,
    ] {
        let (output, _) = machine.sh(&format!("{script}\n"));
        assert!(output.len() < 100_000, "{script}: {}", output.len());
    }
}
