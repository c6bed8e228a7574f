//! `grep`, with regular expressions that take linear time.

use regex::bytes::{Regex, RegexBuilder};
use secure_exec_kernel::{Errno, FileType};

use super::options::{Options, Spec, options};
use crate::Context;
use crate::input::{Input, chomp};
use crate::output::Output;

/// Bytes that a compiled expression may take.
const MAX_PROGRAM: usize = 1 << 20;
/// How deep `-r` goes.
const MAX_DEPTH: u32 = 128;

const SPEC: Spec = Spec {
    flags: "EFGPinvclLqorRwxhHsa",
    values: "eABCm",
    long: &[
        ("ignore-case", 'i'),
        ("invert-match", 'v'),
        ("count", 'c'),
        ("files-with-matches", 'l'),
        ("quiet", 'q'),
        ("line-number", 'n'),
        ("recursive", 'r'),
        ("word-regexp", 'w'),
        ("fixed-strings", 'F'),
        ("regexp", 'e'),
        ("extended-regexp", 'E'),
        ("only-matching", 'o'),
        ("no-filename", 'h'),
    ],
    mixed: true,
};

/// A basic expression as an extended one: `\(`, `\)`, `\{`, `\}`, `\+`, `\?` and `\|` are special there, and plain
/// without the backslash.
pub(super) fn extended(basic: &str) -> String {
    let mut text = String::with_capacity(basic.len());
    let mut characters = basic.chars().peekable();
    let mut at_start = true;
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(special @ ('(' | ')' | '{' | '}' | '+' | '?' | '|')) => {
                    text.push(special);
                    at_start = matches!(special, '(' | '|');
                    continue;
                }
                Some(other) => {
                    text.push('\\');
                    text.push(other);
                }
                None => text.push_str("\\\\"),
            },
            '(' | ')' | '{' | '}' | '+' | '?' | '|' => {
                text.push('\\');
                text.push(c);
            }
            '*' if at_start => text.push_str("\\*"),
            '[' => {
                text.push('[');
                copy_bracket(&mut characters, &mut text);
            }
            c => text.push(c),
        }
        at_start = c == '^' && at_start;
    }
    text
}

/// Copies a bracket expression; in it a backslash and an open bracket are plain.
fn copy_bracket(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &mut String) {
    let mut first = true;
    if let Some(caret) = characters.next_if_eq(&'^') {
        text.push(caret);
    }
    while let Some(c) = characters.next() {
        match c {
            ']' if first => text.push_str("\\]"),
            ']' => {
                text.push(']');
                return;
            }
            '[' if characters.peek() == Some(&':') => {
                text.push('[');
                for c in characters.by_ref() {
                    text.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' => text.push_str("\\["),
            '\\' => text.push_str("\\\\"),
            '&' | '~' => {
                text.push('\\');
                text.push(c);
            }
            c => text.push(c),
        }
        first = false;
    }
}

/// Compiles an expression in the syntax of `regex`.
pub(super) fn compile(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .unicode(true)
        .size_limit(MAX_PROGRAM)
        .dfa_size_limit(MAX_PROGRAM)
        .nest_limit(64)
        .build()
        .or_else(|_| {
            RegexBuilder::new(pattern)
                .case_insensitive(ignore_case)
                .unicode(false)
                .size_limit(MAX_PROGRAM)
                .dfa_size_limit(MAX_PROGRAM)
                .nest_limit(64)
                .build()
        })
        .map_err(|error| {
            error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned()
        })
}

fn expression(words: &[String], options: &Options<'_>, patterns: &[&str]) -> Result<Regex, String> {
    let is_egrep = words.first().is_some_and(|name| name.ends_with("egrep"));
    let parts: Vec<String> = patterns
        .iter()
        .flat_map(|pattern| pattern.split('\n'))
        .map(|pattern| {
            let pattern = if options.has('F') {
                regex::escape(pattern)
            } else if options.has('E') || options.has('P') || is_egrep {
                pattern.to_owned()
            } else {
                extended(pattern)
            };
            format!("(?:{pattern})")
        })
        .collect();
    let mut pattern = parts.join("|");
    if options.has('x') {
        pattern = format!("^(?:{pattern})$");
    } else if options.has('w') {
        pattern = format!(r"\b(?:{pattern})\b");
    }
    compile(&pattern, options.has('i'))
}

struct Search<'c, 'o> {
    context: &'c Context,
    options: &'o Options<'o>,
    regex: Regex,
    output: Output<'c>,
    names: bool,
    found: bool,
    failed: bool,
    before: usize,
    after: usize,
    max: u64,
}

/// `grep [options] pattern [file...]`; 0 when there was a match, 1 when there was none, 2 for errors.
pub(super) fn grep(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let options = options!(context, words, SPEC);
    let mut operands = options.operands.clone();
    let mut patterns = options.values('e');
    if patterns.is_empty() {
        if operands.is_empty() {
            context.complain("grep", "usage: grep [options] pattern [file...]")?;
            return Ok(2);
        }
        patterns.push(operands.remove(0));
    }
    let regex = match expression(words, &options, &patterns) {
        Ok(regex) => regex,
        Err(text) => {
            context.complain("grep", text)?;
            return Ok(2);
        }
    };
    let number = |option: char| {
        options
            .value(option)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let around = number('C').unwrap_or(0);
    let recursive = options.has('r') || options.has('R');
    let mut search = Search {
        context,
        options: &options,
        regex,
        output: Output::new(context),
        names: options.has('H') || ((operands.len() > 1 || recursive) && !options.has('h')),
        found: false,
        failed: false,
        before: number('B').unwrap_or(around).min(4096),
        after: number('A').unwrap_or(around),
        max: number('m').map_or(u64::MAX, |max| max as u64),
    };
    if operands.is_empty() {
        operands.push(if recursive { "." } else { "-" });
    }
    for path in operands {
        if recursive && path != "-" {
            search.tree(path, 0)?;
        } else {
            search.file(path)?;
        }
        if search.found && options.has('q') {
            break;
        }
    }
    search.output.flush()?;
    Ok(match (search.found, search.failed) {
        (true, false) => 0,
        (true, true) if options.has('q') => 0,
        (_, true) => 2,
        (false, false) => 1,
    })
}

impl Search<'_, '_> {
    fn refuse(&mut self, path: &str, error: Errno) -> Result<(), Errno> {
        self.failed = true;
        if self.options.has('s') {
            return Ok(());
        }
        self.output.flush()?;
        self.context.refuse("grep", path, error).map(drop)
    }

    fn tree(&mut self, path: &str, depth: u32) -> Result<(), Errno> {
        self.context.check()?;
        let stat = self
            .context
            .kernel()
            .lstat(self.context.process(), path.as_bytes());
        match stat {
            Err(error) => return self.refuse(path, error),
            Ok(stat) if stat.file_type != FileType::Directory => return self.file(path),
            Ok(_) if depth >= MAX_DEPTH => return Ok(()),
            Ok(_) => {}
        }
        let entries = match self
            .context
            .kernel()
            .readdir(self.context.process(), path.as_bytes())
        {
            Ok(entries) => entries,
            Err(error) => return self.refuse(path, error),
        };
        for entry in entries {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let path = format!("{}/{name}", path.trim_end_matches('/'));
            match entry.file_type {
                FileType::Directory => self.tree(&path, depth + 1)?,
                FileType::Regular => self.file(&path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<(), Errno> {
        let mut input = match Input::open(self.context, path) {
            Ok(input) => input,
            Err(error) => return self.refuse(path, error),
        };
        let shown = if path == "-" {
            "(standard input)"
        } else {
            path
        };
        let prefix = if self.names {
            format!("{shown}:")
        } else {
            String::new()
        };
        let aside = if self.names {
            format!("{shown}-")
        } else {
            String::new()
        };
        let (mut number, mut count, mut follow) = (0_u64, 0_u64, 0);
        let mut recent: std::collections::VecDeque<(u64, Vec<u8>)> =
            std::collections::VecDeque::new();
        loop {
            let line = match input.line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error @ (Errno::EINTR | Errno::EPIPE)) => return Err(error),
                Err(error) => return self.refuse(path, error),
            };
            number += 1;
            let text = chomp(&line);
            if self.regex.is_match(text) == self.options.has('v') {
                if follow > 0 {
                    follow -= 1;
                    self.print(&aside, number, '-', text)?;
                } else if self.before > 0 {
                    recent.push_back((number, text.to_vec()));
                    if recent.len() > self.before {
                        recent.pop_front();
                    }
                }
                continue;
            }
            self.found = true;
            count += 1;
            if self.options.has('q') || self.options.has('l') {
                break;
            }
            if !self.options.has('c') && !self.options.has('L') {
                for (number, text) in std::mem::take(&mut recent) {
                    self.print(&aside, number, '-', &text)?;
                }
                follow = self.after;
                if self.options.has('o') && !self.options.has('v') {
                    let regex = self.regex.clone();
                    for found in regex.find_iter(text).filter(|found| !found.is_empty()) {
                        self.print(&prefix, number, ':', found.as_bytes())?;
                    }
                } else {
                    self.print(&prefix, number, ':', text)?;
                }
            }
            if count >= self.max {
                break;
            }
        }
        if self.options.has('q') {
            return Ok(());
        }
        if self.options.has('c') {
            self.output.line(format!("{prefix}{count}"))?;
        }
        if (self.options.has('l') && count > 0) || (self.options.has('L') && count == 0) {
            self.output.line(shown)?;
        }
        Ok(())
    }

    fn print(&mut self, prefix: &str, number: u64, mark: char, text: &[u8]) -> Result<(), Errno> {
        self.output.put(prefix)?;
        if self.options.has('n') {
            self.output.put(format!("{number}{mark}"))?;
        }
        self.output.line(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_expressions() {
        for (basic, text) in [
            ("a+b", r"a\+b"),
            (r"a\+", "a+"),
            (r"\(a\)", "(a)"),
            ("*a", r"\*a"),
            ("[]a]", r"[\]a]"),
            ("^*", r"^\*"),
            (r"a\.b", r"a\.b"),
            ("[[:digit:]]", "[[:digit:]]"),
            (r"x\{2\}", "x{2}"),
        ] {
            assert_eq!(extended(basic), text);
        }
        assert!(compile("(a{1000}){1000}", false).is_err());
    }
}
