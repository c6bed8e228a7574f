//! Which program a name stands for: the search path, permissions, and `#!` lines.
//!
//! Two kinds of programs exist: node, and the machine's own (a shell, core commands), which the runtime has. Both stand
//! in the tree as files whose first line is `#!secure-exec <name>`, so that programs find them where they expect them.

use crate::errno::{Errno, Result};
use crate::kernel::Kernel;
use crate::path::normalize;
use crate::process::{EXEC_PATH, Process};
use crate::stat::FileType;

/// Where programs are looked for when `PATH` is not set.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Begins the first line of a program of the machine itself.
pub(crate) const MACHINE_PROGRAM: &str = "#!secure-exec ";
/// Bytes of a file that are looked at for its first line.
const HEAD_BYTES: usize = 256;
/// How often a `#!` line may name a file with a `#!` line.
const MAX_INTERPRETERS: u32 = 5;
/// Bytes of arguments and environment together, as on Linux with its usual stack.
pub const MAX_ARGUMENT_BYTES: usize = 2 << 20;
/// Who runs a file that has no `#!` line, as `execvp` does it.
const SHELL: &str = "/bin/sh";

/// What is asked of a [`ProcessPolicy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRequest {
    /// The program as it was named.
    pub command: String,
    /// Its arguments, without the program.
    pub args: Vec<String>,
    /// Where it would start.
    pub cwd: Vec<u8>,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// The process that asks.
    pub pid: u32,
}

/// Decides about programs that a process wants to start. Called without any lock held, on the calling process's thread;
/// it may take its time.
pub trait ProcessPolicy: Send + Sync {
    /// `Err` refuses; the guest sees that errno.
    fn check(&self, request: &ProcessRequest) -> Result<()>;
}

/// A program that was found, may be executed and was granted. Only [`Kernel::find_program`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    name: String,
    path: String,
    argv: Vec<String>,
    of_host: bool,
}

impl Executable {
    /// The machine's program that runs it: `node`, `sh`, `ls`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where that program's file is, without links.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the tree has no such program, so that the embedder is to run it.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        self.of_host
    }

    /// The arguments that the program gets, its own name first.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }
}

/// A first line, taken apart.
enum Head {
    Machine(String),
    Script {
        interpreter: String,
        argument: Option<String>,
    },
    /// Neither; text or something else.
    Other,
}

fn parse_head(head: &[u8]) -> Head {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    if let Some(name) = line.strip_prefix(MACHINE_PROGRAM) {
        return Head::Machine(name.trim().to_owned());
    }
    let Some(rest) = line.strip_prefix("#!") else {
        return Head::Other;
    };
    // All that follows the interpreter is one argument.
    let rest = rest.trim();
    let (interpreter, argument) = match rest.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim().to_owned())),
        None => (rest, None),
    };
    Head::Script {
        interpreter: interpreter.to_owned(),
        argument,
    }
}

impl Kernel {
    /// Finds the program that `argv` is for, as `execvp` does: `file` with a slash is a path, seen from `cwd` (`None`: from
    /// where the process is); else the folders of `search` are looked through. `argv[0]` is what the caller says, which need not be `file`.
    pub fn find_program(
        &self,
        p: &Process,
        file: &str,
        argv: Vec<String>,
        search: Option<&str>,
        cwd: Option<&[u8]>,
    ) -> Result<Executable> {
        self.find_permitted(p, file, argv, search, || p.env_all(), cwd)
    }

    /// The same for a program that gets these variables, `PATH` among them.
    pub fn find_program_in(
        &self,
        p: &Process,
        file: &str,
        argv: Vec<String>,
        env: &[(String, String)],
        cwd: Option<&[u8]>,
    ) -> Result<Executable> {
        let search = env.iter().find(|(name, _)| name == "PATH");
        let search = search.map(|(_, value)| value.as_str());
        self.find_permitted(p, file, argv, search, || env.to_vec(), cwd)
    }

    fn find_permitted(
        &self,
        p: &Process,
        file: &str,
        argv: Vec<String>,
        search: Option<&str>,
        env: impl FnOnce() -> Vec<(String, String)>,
        cwd: Option<&[u8]>,
    ) -> Result<Executable> {
        if file.is_empty() {
            return Err(Errno::ENOENT);
        }
        if argv.iter().map(|word| word.len() + 1).sum::<usize>() > MAX_ARGUMENT_BYTES {
            return Err(Errno::E2BIG);
        }
        if let Some(policy) = &self.process_policy {
            policy.check(&ProcessRequest {
                command: file.to_owned(),
                args: argv.iter().skip(1).cloned().collect(),
                cwd: match cwd {
                    Some(cwd) => cwd.to_vec(),
                    None => self.getcwd(p).unwrap_or_default(),
                },
                env: env(),
                pid: p.pid(),
            })?;
        }
        match self.find_in_tree(p, file, &argv, search, cwd) {
            Err(Errno::ENOENT | Errno::ENOEXEC) if self.host_commands => Ok(Executable {
                name: file.to_owned(),
                path: file.to_owned(),
                argv,
                of_host: true,
            }),
            found => found,
        }
    }

    fn find_in_tree(
        &self,
        p: &Process,
        file: &str,
        argv: &[String],
        search: Option<&str>,
        cwd: Option<&[u8]>,
    ) -> Result<Executable> {
        if file.contains('/') {
            return self.load(p, file.to_owned(), argv.to_vec(), cwd);
        }
        let mut refused = Errno::ENOENT;
        for folder in search.unwrap_or(DEFAULT_PATH).split(':') {
            let folder = if folder.is_empty() { "." } else { folder };
            match self.load(p, format!("{folder}/{file}"), argv.to_vec(), cwd) {
                Ok(found) => return Ok(found),
                Err(Errno::EACCES) => refused = Errno::EACCES,
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Follows `#!` lines from `path` to a program of the machine.
    fn load(
        &self,
        p: &Process,
        mut path: String,
        mut argv: Vec<String>,
        cwd: Option<&[u8]>,
    ) -> Result<Executable> {
        for _ in 0..MAX_INTERPRETERS {
            let head = match self.executable_head(p, &path, cwd) {
                Ok(head) => head,
                Err(error) => {
                    let (name, path) = self.covered_program(&path, cwd).ok_or(error)?;
                    return Ok(Executable {
                        name,
                        path,
                        argv,
                        of_host: false,
                    });
                }
            };
            match parse_head(&head) {
                Head::Machine(name) => {
                    let path = self.realpath(p, &seen_from(cwd, &path))?;
                    let path = String::from_utf8_lossy(&path).into_owned();
                    return Ok(Executable {
                        name,
                        path,
                        argv,
                        of_host: false,
                    });
                }
                Head::Script {
                    interpreter,
                    argument,
                } => {
                    if interpreter.is_empty() {
                        return Err(Errno::ENOEXEC);
                    }
                    let rest = argv.into_iter().skip(1);
                    argv = [Some(interpreter.clone()), argument, Some(path)]
                        .into_iter()
                        .flatten()
                        .chain(rest)
                        .collect();
                    path = interpreter;
                }
                Head::Other => {
                    let rest = argv.into_iter().skip(1);
                    argv = [SHELL.to_owned(), path].into_iter().chain(rest).collect();
                    path = String::from(SHELL);
                }
            }
        }
        Err(Errno::ELOOP)
    }

    /// The machine's program that would stand at `path` if nothing were mounted over the root, and that path: a tree of
    /// the host's has none of them, and what it may have there is for another machine.
    fn covered_program(&self, path: &str, cwd: Option<&[u8]>) -> Option<(String, String)> {
        if !path.starts_with('/') || self.mounts().iter().all(|mount| mount.path != b"/") {
            return None;
        }
        let path = String::from_utf8(normalize(b"/", &seen_from(cwd, path))).ok()?;
        let (folder, name) = path.rsplit_once('/')?;
        let is_known = name == "node" || MACHINE_PROGRAMS.contains(&name);
        let is_searched = DEFAULT_PATH.split(':').any(|known| known == folder);
        (is_known && is_searched).then(|| (name.to_owned(), path.clone()))
    }

    /// The first bytes of a file that may be executed.
    fn executable_head(&self, p: &Process, path: &str, cwd: Option<&[u8]>) -> Result<Vec<u8>> {
        const ANY_EXECUTE_BIT: u32 = 0o111;
        let path = seen_from(cwd, path);
        let stat = self.stat(p, &path)?;
        if stat.file_type != FileType::Regular || stat.mode & ANY_EXECUTE_BIT == 0 {
            return Err(Errno::EACCES);
        }
        self.access(p, &path, crate::flags::X_OK)?;
        let file = self.open_file(p, &path, crate::flags::oflag::O_RDONLY, 0)?;
        let mut head = vec![0; HEAD_BYTES];
        let length = self.read_from(p, &file, &mut head, Some(0))?;
        head.truncate(length);
        if head.starts_with(b"\x7fELF") {
            return Err(Errno::ENOEXEC);
        }
        Ok(head)
    }
}

/// The path of a file, when it is relative to `cwd`.
fn seen_from(cwd: Option<&[u8]>, path: &str) -> Vec<u8> {
    match cwd {
        Some(cwd) if !path.starts_with('/') => [cwd, b"/", path.as_bytes()].concat(),
        _ => path.as_bytes().to_vec(),
    }
}

/// The text of a machine program's file.
pub(crate) fn placeholder(name: &str) -> Vec<u8> {
    format!("{MACHINE_PROGRAM}{name}\n").into_bytes()
}

/// Programs of the machine beside node: in `/bin`, and linked from `/usr/bin`.
pub const MACHINE_PROGRAMS: &[&str] = &[
    "[", "basename", "cat", "chmod", "cp", "cut", "date", "dirname", "echo", "env", "false",
    "find", "grep", "head", "hostname", "id", "kill", "killall", "ln", "ls", "mkdir", "mktemp",
    "mv", "pgrep", "pkill", "printenv", "printf", "ps", "pwd", "readlink", "realpath", "rm",
    "rmdir", "sed", "seq", "sh", "sleep", "sort", "stty", "tail", "tee", "test", "touch", "tr",
    "true", "uname", "uniq", "wc", "which", "whoami", "xargs",
];

/// Every file and link that a bare machine has for its programs: path, and contents or the link's target.
pub(crate) fn program_files() -> impl Iterator<Item = (String, ProgramFile)> {
    let files = MACHINE_PROGRAMS
        .iter()
        .map(|name| (format!("/bin/{name}"), ProgramFile::Text(placeholder(name))));
    let links = MACHINE_PROGRAMS.iter().map(|name| {
        (
            format!("/usr/bin/{name}"),
            ProgramFile::Link(format!("/bin/{name}")),
        )
    });
    let node = (EXEC_PATH.to_owned(), ProgramFile::Text(placeholder("node")));
    files.chain(links).chain([node])
}

/// What stands for a program in the tree.
pub(crate) enum ProgramFile {
    Text(Vec<u8>),
    Link(String),
}
