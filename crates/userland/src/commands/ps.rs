//! The processes of the machine: `ps`, `pgrep`, `pkill`, `killall`.
//!
//! Programs read `ps` by its columns: `-o` with and without headers, `-p` and `--ppid`, `-ef`, `aux`. What no process of a
//! VM has (a terminal's name, times, sizes) is told as procps tells what it does not know.

use regex::bytes::Regex;
use secure_exec_kernel::{Errno, ProcessInfo, SIGTERM, signal_number};

use super::grep::compile;
use super::identity::user_name;
use super::options::{Spec, options};
use crate::Context;
use crate::context::describe;
use crate::output::Output;

/// One thing that `ps` tells of a process.
#[derive(Clone, Copy)]
struct Column {
    names: &'static [&'static str],
    header: &'static str,
    width: usize,
    to_the_left: bool,
    text: fn(&Context, &ProcessInfo) -> String,
}

const fn number(
    names: &'static [&'static str],
    header: &'static str,
    width: usize,
    text: fn(&Context, &ProcessInfo) -> String,
) -> Column {
    Column {
        names,
        header,
        width,
        to_the_left: false,
        text,
    }
}

const fn text(
    names: &'static [&'static str],
    header: &'static str,
    width: usize,
    text: fn(&Context, &ProcessInfo) -> String,
) -> Column {
    Column {
        names,
        header,
        width,
        to_the_left: true,
        text,
    }
}

const COLUMNS: &[Column] = &[
    number(&["pid", "tgid"], "PID", 5, |_, process| {
        process.pid.to_string()
    }),
    number(&["ppid"], "PPID", 5, |_, process| process.ppid.to_string()),
    number(&["pgid", "pgrp"], "PGID", 5, |_, process| {
        process.group.to_string()
    }),
    number(&["sid", "sess", "session"], "SID", 5, |_, process| {
        process.group.to_string()
    }),
    text(
        &["user", "uname", "euser", "ruser"],
        "USER",
        8,
        |context, _| user_name(context, context.process().uid()),
    ),
    number(&["uid", "euid", "ruid"], "UID", 5, |context, _| {
        context.process().uid().to_string()
    }),
    text(&["stat"], "STAT", 4, |_, process| state(process).to_owned()),
    text(&["s", "state"], "S", 1, |_, process| {
        state(process).to_owned()
    }),
    text(&["tty", "tt", "tname"], "TTY", 8, |_, _| "?".to_owned()),
    number(&["time", "cputime"], "TIME", 8, |_, _| {
        "00:00:00".to_owned()
    }),
    number(&["etime"], "ELAPSED", 11, |_, _| "00:00".to_owned()),
    number(&["etimes"], "ELAPSED", 7, |_, _| "0".to_owned()),
    text(&["start", "start_time", "stime"], "START", 5, |_, _| {
        "00:00".to_owned()
    }),
    number(&["%cpu", "pcpu"], "%CPU", 4, |_, _| "0.0".to_owned()),
    number(&["%mem", "pmem"], "%MEM", 4, |_, _| "0.0".to_owned()),
    number(&["c"], "C", 2, |_, _| "0".to_owned()),
    number(&["vsz", "vsize"], "VSZ", 6, |_, _| "0".to_owned()),
    number(&["rss", "rssize", "rsz"], "RSS", 5, |_, _| "0".to_owned()),
    number(&["ni", "nice"], "NI", 3, |_, _| "0".to_owned()),
    text(&["comm", "ucmd", "ucomm"], "COMMAND", 15, |_, process| {
        name(process)
    }),
    text(&["args", "cmd", "command"], "COMMAND", 27, |_, process| {
        command(process)
    }),
];

/// Longer names of programs are cut.
const NAME_BYTES: usize = 15;
const MAX_COLUMNS: usize = 256;

fn state(process: &ProcessInfo) -> &'static str {
    if process.is_zombie { "Z" } else { "S" }
}

/// What the kernel of Linux calls a process.
fn name(process: &ProcessInfo) -> String {
    let program = process.argv.first().map_or("", String::as_str);
    let base = program.rsplit('/').next().unwrap_or_default();
    let mut end = base.len().min(NAME_BYTES);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base.get(..end).unwrap_or_default().to_owned();
    if process.is_zombie {
        name.push_str(" <defunct>");
    }
    name
}

fn command(process: &ProcessInfo) -> String {
    if process.is_zombie {
        format!("[{}", name(process).replacen(" <", "] <", 1))
    } else {
        process.argv.join(" ")
    }
}

/// What `ps` is to tell, and of which processes.
#[derive(Default)]
struct Request<'a> {
    columns: Vec<(Column, &'a str)>,
    full: bool,
    by_user: bool,
    without_header: bool,
    pids: Vec<&'a str>,
    parents: Vec<&'a str>,
    names: Vec<&'a str>,
}

impl<'a> Request<'a> {
    /// `ps`'s options come with a dash, with two and, those of BSD, without.
    fn read(words: &'a [String]) -> Result<Request<'a>, String> {
        let mut request = Request::default();
        let mut rest = words.iter().skip(1).map(String::as_str);
        while let Some(word) = rest.next() {
            if let Some(long) = word.strip_prefix("--") {
                let (key, inline) = match long.split_once('=') {
                    Some((key, value)) => (key, Some(value)),
                    None => (long, None),
                };
                match key {
                    "no-headers" | "no-heading" | "no-header" | "noheaders" | "noheader"
                    | "noheading" => request.without_header = true,
                    "headers" | "forest" | "everyone" => {}
                    "pid" | "ppid" | "format" | "quick-pid" | "cols" | "columns" | "width"
                    | "sort" | "user" => {
                        let value = inline.or_else(|| rest.next());
                        request.take(key, value.ok_or("list of process IDs must follow")?)?;
                    }
                    _ => return Err("unknown gnu long option".to_owned()),
                }
                continue;
            }
            let (letters, is_bsd) = match word.strip_prefix('-') {
                Some(letters) => (letters, letters.starts_with("aux")),
                None => (word, true),
            };
            if is_bsd && letters.starts_with(|c: char| c.is_ascii_digit()) {
                request.take("pid", letters)?;
                continue;
            }
            for (at, letter) in letters.char_indices() {
                let key = match letter {
                    'o' | 'O' => "format",
                    'p' | 'q' => "pid",
                    'C' if !is_bsd => "name",
                    'U' | 'u' | 'G' | 'g' | 't' | 's' if !is_bsd => "user",
                    'f' if !is_bsd => {
                        request.full = true;
                        continue;
                    }
                    'u' => {
                        request.by_user = true;
                        continue;
                    }
                    'h' if is_bsd => {
                        request.without_header = true;
                        continue;
                    }
                    letter if letter.is_ascii_alphabetic() => continue,
                    _ => return Err("unsupported option".to_owned()),
                };
                let inline = letters
                    .get(at + letter.len_utf8()..)
                    .filter(|rest| !rest.is_empty());
                let value = inline.or_else(|| rest.next());
                request.take(key, value.ok_or("list of process IDs must follow")?)?;
                break;
            }
        }
        Ok(request)
    }

    fn take(&mut self, key: &str, value: &'a str) -> Result<(), String> {
        let listed = || value.split([',', ' ']).filter(|item| !item.is_empty());
        match key {
            "pid" | "quick-pid" => self.pids.extend(listed()),
            "ppid" => self.parents.extend(listed()),
            "name" => self.names.extend(listed()),
            "format" => {
                // `=header` takes the rest of its word.
                let (names, header) = match value.split_once('=') {
                    Some((names, header)) if !header.contains([',', '=']) || header.is_empty() => {
                        (names, Some(header))
                    }
                    _ => (value, None),
                };
                let last = names
                    .split([',', ' '])
                    .filter(|name| !name.is_empty())
                    .count();
                for (at, name) in names
                    .split([',', ' '])
                    .filter(|name| !name.is_empty())
                    .enumerate()
                {
                    let (name, own) = match name.split_once('=') {
                        Some((name, own)) => (name, Some(own)),
                        None => (name, header.filter(|_| at + 1 == last)),
                    };
                    let column = COLUMNS.iter().find(|column| column.names.contains(&name));
                    let Some(column) = column else {
                        return Err(format!(
                            "error: unknown user-defined format specifier \"{name}\""
                        ));
                    };
                    let header = own.unwrap_or(match name {
                        "cmd" => "CMD",
                        _ => column.header,
                    });
                    if self.columns.len() == MAX_COLUMNS {
                        return Err("error: too many columns".to_owned());
                    }
                    self.columns.push((*column, header));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn wants(&self, process: &ProcessInfo) -> bool {
        let has = |list: &[&str], pid: u32| list.iter().any(|item| item.parse() == Ok(pid));
        (self.pids.is_empty() && self.parents.is_empty() && self.names.is_empty())
            || has(&self.pids, process.pid)
            || has(&self.parents, process.ppid)
            || self.names.contains(&name(process).as_str())
    }

    fn set_default_columns(&mut self) {
        if !self.columns.is_empty() {
            return;
        }
        let names: &[(&str, &str)] = if self.by_user {
            &[
                ("user", "USER"),
                ("pid", "PID"),
                ("%cpu", "%CPU"),
                ("%mem", "%MEM"),
                ("vsz", "VSZ"),
                ("rss", "RSS"),
                ("tty", "TTY"),
                ("stat", "STAT"),
                ("start", "START"),
                ("time", "TIME"),
                ("args", "COMMAND"),
            ]
        } else if self.full {
            &[
                ("user", "UID"),
                ("pid", "PID"),
                ("ppid", "PPID"),
                ("c", "C"),
                ("start", "STIME"),
                ("tty", "TTY"),
                ("time", "TIME"),
                ("args", "CMD"),
            ]
        } else {
            &[
                ("pid", "PID"),
                ("tty", "TTY"),
                ("time", "TIME"),
                ("comm", "CMD"),
            ]
        };
        for (name, header) in names {
            if let Some(column) = COLUMNS.iter().find(|column| column.names.contains(name)) {
                self.columns.push((*column, header));
            }
        }
    }

    /// Writes a line, cell by cell: a program's arguments may be long.
    fn line(
        &self,
        context: &Context,
        output: &mut Output<'_>,
        cell: impl Fn(&Column, &str) -> String,
    ) -> Result<(), Errno> {
        for (at, (column, header)) in self.columns.iter().enumerate() {
            context.check()?;
            if at > 0 {
                output.put(" ")?;
            }
            let width = column.width.max(header.len());
            let cell = cell(column, header);
            output.put(match (column.to_the_left, at + 1 == self.columns.len()) {
                (true, true) => cell,
                (true, false) => format!("{cell:<width$}"),
                (false, _) => format!("{cell:>width$}"),
            })?;
        }
        output.put("\n")
    }
}

/// `ps [-eAaf] [aux] [-o columns] [-p pids] [--ppid pids] [-C names] [--no-headers]`
pub(super) fn ps(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let mut request = match Request::read(words) {
        Ok(request) => request,
        Err(text) => {
            context.complain("ps", text)?;
            return Ok(1);
        }
    };
    request.set_default_columns();
    let mut output = Output::new(context);
    if !request.without_header && request.columns.iter().any(|(_, header)| !header.is_empty()) {
        request.line(context, &mut output, |_, header| header.to_owned())?;
    }
    let mut code = 1;
    for process in context.kernel().processes() {
        if request.wants(&process) {
            request.line(context, &mut output, |column, _| {
                (column.text)(context, &process)
            })?;
            code = 0;
        }
    }
    output.finish(code)
}

/// Options of `pgrep` and `pkill`.
const SPEC: Spec = Spec {
    flags: "fxlaicnove",
    values: "PdusgGUt",
    long: &[
        ("full", 'f'),
        ("exact", 'x'),
        ("list-name", 'l'),
        ("list-full", 'a'),
        ("ignore-case", 'i'),
        ("count", 'c'),
        ("newest", 'n'),
        ("oldest", 'o'),
        ("parent", 'P'),
        ("delimiter", 'd'),
        ("signal", 's'),
    ],
    mixed: true,
};

/// The processes that `pgrep` and `pkill` are asked for; `Err` is an exit code.
fn matching(
    context: &Context,
    words: &[String],
    options: &super::options::Options<'_>,
) -> Result<Result<Vec<ProcessInfo>, i32>, Errno> {
    let program = words.first().map_or("", String::as_str);
    let parents: Vec<u32> = options
        .value('P')
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter_map(|pid| pid.parse().ok())
        .collect();
    let pattern: Option<Regex> = match options.operands.as_slice() {
        [] if options.value('P').is_some() => None,
        [pattern] => {
            let text = if options.has('x') {
                format!("^(?:{pattern})$")
            } else {
                (*pattern).to_owned()
            };
            match compile(&text, options.has('i')) {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    context.complain(program, error)?;
                    return Ok(Err(2));
                }
            }
        }
        _ => {
            context.complain(program, "exactly one pattern must be given")?;
            return Ok(Err(2));
        }
    };
    let mut found: Vec<ProcessInfo> = Vec::new();
    for process in context.kernel().processes() {
        context.check()?;
        let text = if options.has('f') {
            process.argv.join(" ")
        } else {
            name(&process)
        };
        let fits = pattern
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(text.as_bytes()))
            && (parents.is_empty() || parents.contains(&process.ppid));
        if fits != options.has('v') && process.pid != context.process().pid() {
            found.push(process);
        }
    }
    if options.has('n') {
        found.drain(..found.len().saturating_sub(1));
    } else if options.has('o') {
        found.truncate(1);
    }
    Ok(Ok(found))
}

/// `pgrep [-fxlaicnov] [-P parents] [-d delimiter] pattern`
pub(super) fn pgrep(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let options = options!(context, words, SPEC);
    let found = match matching(context, words, &options)? {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    let mut output = Output::new(context);
    if options.has('c') {
        output.line(found.len().to_string())?;
    } else {
        for (at, process) in found.iter().enumerate() {
            if at > 0 {
                output.put(options.value('d').unwrap_or("\n"))?;
            }
            output.put(process.pid.to_string())?;
            if options.has('a') {
                output.put(format!(" {}", process.argv.join(" ")))?;
            } else if options.has('l') {
                output.put(format!(" {}", name(process)))?;
            }
        }
        if !found.is_empty() {
            output.put("\n")?;
        }
    }
    output.finish(i32::from(found.is_empty()))
}

/// A signal as `-9`, `-KILL` or `-SIGKILL`, taken out of the words.
fn leading_signal(words: &[String]) -> (i32, Vec<String>) {
    let given = words
        .get(1)
        .and_then(|word| signal_number(word.strip_prefix('-')?));
    let skipped = usize::from(given.is_some());
    let rest = words.iter().skip(1 + skipped);
    let words = words.iter().take(1).chain(rest).cloned().collect();
    (given.unwrap_or(SIGTERM), words)
}

/// Sends a signal to each; answers whether one was reached.
fn send(
    context: &Context,
    program: &str,
    found: &[ProcessInfo],
    signal: i32,
) -> Result<bool, Errno> {
    let mut any = false;
    for process in found {
        let pid = i32::try_from(process.pid).unwrap_or(i32::MAX);
        match context.kernel().kill(context.process(), pid, signal) {
            Ok(()) => any = true,
            Err(error) => {
                let text = format!("killing pid {pid} failed: {}", describe(error));
                context.complain(program, text)?;
            }
        }
    }
    Ok(any)
}

/// `pkill [-signal] [-fxino] [-P parents] pattern`
pub(super) fn pkill(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let (mut signal, words) = leading_signal(words);
    let options = options!(context, &words, SPEC);
    if let Some(name) = options.value('s') {
        let Some(number) = signal_number(name) else {
            context.complain("pkill", format!("Unknown signal \"{name}\"."))?;
            return Ok(2);
        };
        signal = number;
    }
    match matching(context, &words, &options)? {
        Ok(found) => Ok(i32::from(!send(context, "pkill", &found, signal)?)),
        Err(code) => Ok(code),
    }
}

/// `killall [-signal] [-q] name...`
pub(super) fn killall(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let (signal, words) = leading_signal(words);
    const KILLALL: Spec = Spec {
        flags: "qeIvw",
        values: "s",
        long: &[("quiet", 'q'), ("signal", 's')],
        mixed: true,
    };
    let options = options!(context, &words, KILLALL);
    let signal = options.value('s').and_then(signal_number).unwrap_or(signal);
    let mut code = i32::from(options.operands.is_empty());
    for wanted in &options.operands {
        let mut found = context.kernel().processes();
        found.retain(|process| name(process) == *wanted && process.pid != context.process().pid());
        if !send(context, "killall", &found, signal)? {
            if found.is_empty() && !options.has('q') {
                context.write(2, format!("{wanted}: no process found\n").as_bytes())?;
            }
            code = 1;
        }
    }
    Ok(code)
}
