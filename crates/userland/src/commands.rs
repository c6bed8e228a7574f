//! The core commands, in their common use. Each is a function from its words to its exit code.

mod entries;
mod find;
mod grep;
mod identity;
mod listing;
mod options;
mod print;
mod processes;
mod ps;
mod sed;
mod stty;
mod test;
mod text;

use secure_exec_kernel::Errno;

pub(crate) use processes::{env, locate};

use crate::Context;

/// A command: its words, its own name first. An error that it does not tell of itself is an exit code of 1.
pub(crate) type Command = fn(&Context, &[String]) -> Result<i32, Errno>;

/// The command of a name.
pub(crate) fn find(name: &str) -> Option<Command> {
    Some(match name {
        "[" | "test" => test::test,
        "basename" => print::basename,
        "cat" => text::cat,
        "chmod" => entries::chmod,
        "cp" => entries::cp,
        "cut" => text::cut,
        "date" => print::date,
        "dirname" => print::dirname,
        "echo" => print::echo,
        "false" => |_, _| Ok(1),
        "find" => find::find,
        "grep" => grep::grep,
        "head" => text::head,
        "hostname" => identity::hostname,
        "id" => identity::id,
        "kill" => processes::kill,
        "killall" => ps::killall,
        "ln" => entries::ln,
        "ls" => listing::ls,
        "mkdir" => entries::mkdir,
        "mktemp" => entries::mktemp,
        "mv" => entries::mv,
        "pgrep" => ps::pgrep,
        "pkill" => ps::pkill,
        "printenv" => processes::printenv,
        "printf" => print::printf,
        "ps" => ps::ps,
        "pwd" => print::pwd,
        "readlink" => entries::readlink,
        "realpath" => entries::realpath,
        "rm" => entries::rm,
        "rmdir" => entries::rmdir,
        "sed" => sed::sed,
        "seq" => print::seq,
        "sleep" => processes::sleep,
        "sort" => text::sort,
        "stty" => stty::stty,
        "tail" => text::tail,
        "tee" => text::tee,
        "touch" => entries::touch,
        "tr" => text::tr,
        "true" => |_, _| Ok(0),
        "uname" => identity::uname,
        "uniq" => text::uniq,
        "wc" => text::wc,
        "which" => processes::which,
        "whoami" => identity::whoami,
        "xargs" => processes::xargs,
        _ => return None,
    })
}
