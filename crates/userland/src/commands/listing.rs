//! `ls`.

use secure_exec_kernel::{Errno, FileType, Stat};

use super::identity::user_name;
use super::options::{Options, Spec, options};
use super::print::Calendar;
use crate::Context;
use crate::context::describe;
use crate::output::Output;

/// How deep `-R` goes.
const MAX_DEPTH: u32 = 128;

/// `ls [-1aAdFhilrRStp] [path...]`, one name a line: no output is a terminal.
pub(super) fn ls(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "1aACdFhilnrRSstpgxo",
        long: &[
            ("all", 'a'),
            ("almost-all", 'A'),
            ("recursive", 'R'),
            ("reverse", 'r'),
            ("human-readable", 'h'),
        ],
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let mut listing = Listing {
        context,
        options: &options,
        output: Output::new(context),
        code: 0,
        first: true,
    };
    let paths = if options.operands.is_empty() {
        vec!["."]
    } else {
        options.operands.clone()
    };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for path in paths {
        let (kernel, process) = (context.kernel(), context.process());
        let stat = if options.has('l') || options.has('d') {
            kernel.lstat(process, path.as_bytes())
        } else {
            kernel
                .stat(process, path.as_bytes())
                .or_else(|_| kernel.lstat(process, path.as_bytes()))
        };
        match stat {
            Ok(stat) if stat.file_type == FileType::Directory && !options.has('d') => {
                folders.push(path);
            }
            Ok(stat) => files.push((path.to_owned(), path.to_owned(), stat)),
            Err(error) => {
                context.complain("ls", format!("cannot access '{path}': {}", describe(error)))?;
                listing.code = 2;
            }
        }
    }
    listing.entries(files.clone())?;
    listing.first = files.is_empty();
    let headed = folders.len() > 1 || !files.is_empty() || options.has('R');
    for path in folders {
        listing.folder(path, headed, 0)?;
    }
    let code = listing.code;
    listing.output.finish(code)
}

struct Listing<'c, 'o> {
    context: &'c Context,
    options: &'o Options<'o>,
    output: Output<'c>,
    code: i32,
    first: bool,
}

/// A name, the path it stands for, and what is there.
type Entry = (String, String, Stat);

impl Listing<'_, '_> {
    fn folder(&mut self, path: &str, headed: bool, depth: u32) -> Result<(), Errno> {
        self.context.check()?;
        let (kernel, process) = (self.context.kernel(), self.context.process());
        if headed {
            let gap = if self.first { "" } else { "\n" };
            self.output.line(format!("{gap}{path}:"))?;
        }
        self.first = false;
        let listed = match kernel.readdir(process, path.as_bytes()) {
            Ok(listed) => listed,
            Err(error) => {
                self.output.flush()?;
                self.context.complain(
                    "ls",
                    format!("cannot open directory '{path}': {}", describe(error)),
                )?;
                self.code = 2;
                return Ok(());
            }
        };
        let all = self.options.has('a');
        let names = listed
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned());
        let names = names.filter(|name| all || self.options.has('A') || !name.starts_with('.'));
        let extra = [".", ".."].into_iter().filter(|_| all).map(str::to_owned);
        let base = path.trim_end_matches('/');
        let mut entries = Vec::new();
        for name in extra.chain(names) {
            let full = format!("{base}/{name}");
            if let Ok(stat) = kernel.lstat(process, full.as_bytes()) {
                entries.push((name, full, stat));
            }
        }
        if self.options.has('l') {
            let blocks: u64 = entries
                .iter()
                .map(|(_, _, stat)| stat.size.div_ceil(4096) * 4)
                .sum();
            self.output.line(format!("total {blocks}"))?;
        }
        let folders: Vec<String> = entries
            .iter()
            .filter(|(name, _, stat)| {
                stat.file_type == FileType::Directory && name != "." && name != ".."
            })
            .map(|(_, full, _)| full.clone())
            .collect();
        self.entries(entries)?;
        if self.options.has('R') && depth < MAX_DEPTH {
            for folder in folders {
                self.folder(&folder, true, depth + 1)?;
            }
        }
        Ok(())
    }

    fn entries(&mut self, mut entries: Vec<Entry>) -> Result<(), Errno> {
        let options = self.options;
        entries.sort_by(|(a, _, a_stat), (b, _, b_stat)| {
            let order = if options.has('t') {
                (b_stat.mtime.seconds, b_stat.mtime.nanos)
                    .cmp(&(a_stat.mtime.seconds, a_stat.mtime.nanos))
            } else if options.has('S') {
                b_stat.size.cmp(&a_stat.size)
            } else {
                std::cmp::Ordering::Equal
            };
            order.then_with(|| a.cmp(b))
        });
        if options.has('r') {
            entries.reverse();
        }
        for (name, path, stat) in entries {
            let mut line = String::new();
            if options.has('i') {
                line.push_str(&format!("{} ", stat.ino));
            }
            if options.has('l') || options.has('n') || options.has('g') || options.has('o') {
                line.push_str(&self.details(&stat));
            }
            line.push_str(&name);
            line.push_str(match stat.file_type {
                FileType::Directory if options.has('F') || options.has('p') => "/",
                FileType::Symlink if options.has('F') && !options.has('l') => "@",
                FileType::Regular if options.has('F') && stat.mode & 0o111 != 0 => "*",
                _ => "",
            });
            if options.has('l')
                && stat.file_type == FileType::Symlink
                && let Ok(target) = self
                    .context
                    .kernel()
                    .readlink(self.context.process(), path.as_bytes())
            {
                line.push_str(&format!(" -> {}", String::from_utf8_lossy(&target)));
            }
            self.output.line(line)?;
        }
        Ok(())
    }

    fn details(&self, stat: &Stat) -> String {
        let size = if self.options.has('h') {
            human(stat.size)
        } else {
            stat.size.to_string()
        };
        let (user, group) = if self.options.has('n') {
            (stat.uid.to_string(), stat.gid.to_string())
        } else {
            (
                user_name(self.context, stat.uid),
                user_name(self.context, stat.gid),
            )
        };
        let time = Calendar::new(stat.mtime.seconds, stat.mtime.nanos).format("%b %e %H:%M");
        format!(
            "{} {:>2} {user} {group} {size:>8} {time} ",
            mode_text(stat),
            stat.nlink
        )
    }
}

fn human(size: u64) -> String {
    let mut value = size as f64;
    for unit in ["", "K", "M", "G"] {
        if value < 1024.0 {
            return if unit.is_empty() || value >= 10.0 {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}

/// `drwxr-xr-x`
fn mode_text(stat: &Stat) -> String {
    let kind = match stat.file_type {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::CharDevice => 'c',
        _ => '-',
    };
    let mut text = String::from(kind);
    for shift in [6, 3, 0] {
        let bits = stat.mode >> shift;
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if bits & bit != 0 { letter } else { '-' });
        }
    }
    if stat.mode & 0o1000 != 0 {
        text.pop();
        text.push('t');
    }
    text
}
