//! `find`.

use secure_exec_kernel::{Errno, FileType, Stat};

use crate::context::describe;
use crate::output::Output;
use crate::shell::pattern::{matches, unquoted};
use crate::{Context, Start};

/// How deep it goes, in folders and in parentheses.
const MAX_DEPTH: usize = 256;

enum Test {
    Not(Box<Test>),
    And(Vec<Test>),
    Or(Vec<Test>),
    Name(String, bool),
    Path(String),
    Type(char),
    Empty,
    Size(std::cmp::Ordering, u64, u64),
    NewerThan(i64, u32),
    Print(&'static str),
    Prune,
    Delete,
    Exec(Vec<String>),
    True,
}

#[derive(Default)]
struct Settings {
    min_depth: usize,
    max_depth: Option<usize>,
    depth_first: bool,
    acts: bool,
}

struct Parser<'a> {
    context: &'a Context,
    words: std::iter::Peekable<std::slice::Iter<'a, String>>,
    settings: Settings,
    depth: usize,
}

impl Parser<'_> {
    fn argument(&mut self, name: &str) -> Result<String, String> {
        self.words
            .next()
            .cloned()
            .ok_or_else(|| format!("missing argument to `{name}'"))
    }

    fn any(&mut self) -> Result<Test, String> {
        let mut list = vec![self.all()?];
        while self
            .words
            .next_if(|word| matches!(word.as_str(), "-o" | "-or"))
            .is_some()
        {
            list.push(self.all()?);
        }
        Ok(Test::Or(list))
    }

    fn all(&mut self) -> Result<Test, String> {
        let mut list = Vec::new();
        loop {
            match self.words.peek().map(|word| word.as_str()) {
                None | Some(")" | "-o" | "-or") => return Ok(Test::And(list)),
                Some("-a" | "-and") => {
                    self.words.next();
                }
                Some(_) => list.push(self.one()?),
            }
        }
    }

    fn one(&mut self) -> Result<Test, String> {
        let word = self.words.next().cloned().unwrap_or_default();
        let name = word.as_str();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("expression too long".to_owned());
        }
        Ok(match name {
            "!" | "-not" => Test::Not(Box::new(self.one()?)),
            "(" => {
                let inner = self.any()?;
                self.words
                    .next_if(|word| *word == ")")
                    .ok_or("expected `)'")?;
                inner
            }
            "-name" => Test::Name(self.argument(name)?, false),
            "-iname" => Test::Name(self.argument(name)?.to_lowercase(), true),
            "-path" | "-wholename" => Test::Path(self.argument(name)?),
            "-type" => Test::Type(self.argument(name)?.chars().next().unwrap_or('f')),
            "-empty" => Test::Empty,
            "-size" => size(&self.argument(name)?)?,
            "-newer" => {
                let path = self.argument(name)?;
                let stat = self
                    .context
                    .kernel()
                    .stat(self.context.process(), path.as_bytes());
                let time = stat
                    .map_err(|error| format!("'{path}': {}", describe(error)))?
                    .mtime;
                Test::NewerThan(time.seconds, time.nanos)
            }
            "-print" => self.acting(Test::Print("\n")),
            "-print0" => self.acting(Test::Print("\0")),
            "-prune" => Test::Prune,
            "-true" => Test::True,
            "-delete" => {
                self.settings.depth_first = true;
                self.acting(Test::Delete)
            }
            "-exec" => {
                let mut command = Vec::new();
                loop {
                    match self.argument(name)?.as_str() {
                        ";" => break,
                        // Called for each file as well: the same outcome, with more calls.
                        "+" if command.last().is_some_and(|last| last == "{}") => break,
                        word => command.push(word.to_owned()),
                    }
                }
                self.acting(Test::Exec(command))
            }
            "-maxdepth" | "-mindepth" => {
                let text = self.argument(name)?;
                let depth = text
                    .parse()
                    .map_err(|_| format!("Expected a positive number but got `{text}'"))?;
                if name == "-maxdepth" {
                    self.settings.max_depth = Some(depth);
                } else {
                    self.settings.min_depth = depth;
                }
                Test::True
            }
            "-depth" => {
                self.settings.depth_first = true;
                Test::True
            }
            "-xdev" | "-mount" | "-noleaf" => Test::True,
            _ => return Err(format!("unknown predicate `{name}'")),
        })
    }

    fn acting(&mut self, test: Test) -> Test {
        self.settings.acts = true;
        test
    }
}

fn size(text: &str) -> Result<Test, String> {
    use std::cmp::Ordering;
    let (order, rest) = match text.strip_prefix('+') {
        Some(rest) => (Ordering::Greater, rest),
        None => match text.strip_prefix('-') {
            Some(rest) => (Ordering::Less, rest),
            None => (Ordering::Equal, text),
        },
    };
    let (digits, unit) = match rest.strip_suffix(['c', 'k', 'M', 'G', 'b']) {
        Some(digits) => (digits, rest.chars().last().unwrap_or('b')),
        None => (rest, 'b'),
    };
    let unit = match unit {
        'c' => 1,
        'k' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        _ => 512,
    };
    let number = digits
        .parse()
        .map_err(|_| format!("invalid argument `{text}' to `-size'"))?;
    Ok(Test::Size(order, number, unit))
}

struct Walk<'c> {
    context: &'c Context,
    settings: Settings,
    test: Test,
    output: Output<'c>,
    pruned: bool,
    code: i32,
}

/// `find [path...] [expression]`
pub(super) fn find(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let rest = words.get(1..).unwrap_or_default();
    let begins = |word: &String| word.starts_with('-') || matches!(word.as_str(), "!" | "(");
    let split = rest.iter().position(begins).unwrap_or(rest.len());
    let (paths, expression) = rest.split_at(split);
    let mut parser = Parser {
        context,
        words: expression.iter().peekable(),
        settings: Settings::default(),
        depth: 0,
    };
    let parsed = parser.any().and_then(|test| match parser.words.next() {
        None => Ok(test),
        Some(word) => Err(format!("unexpected `{word}'")),
    });
    let test = match parsed {
        Ok(test) => test,
        Err(text) => {
            context.complain("find", text)?;
            return Ok(1);
        }
    };
    let mut walk = Walk {
        context,
        settings: parser.settings,
        test,
        output: Output::new(context),
        pruned: false,
        code: 0,
    };
    let here = [".".to_owned()];
    for path in if paths.is_empty() {
        here.as_slice()
    } else {
        paths
    } {
        walk.visit(path, 0)?;
    }
    let code = walk.code;
    walk.output.finish(code)
}

impl Walk<'_> {
    fn refuse(&mut self, path: &str, error: Errno) -> Result<(), Errno> {
        self.output.flush()?;
        self.code = self.context.refuse("find", &format!("'{path}'"), error)?;
        Ok(())
    }

    fn visit(&mut self, path: &str, depth: usize) -> Result<(), Errno> {
        self.context.check()?;
        let (kernel, process) = (self.context.kernel(), self.context.process());
        let stat = match kernel.lstat(process, path.as_bytes()) {
            Ok(stat) => stat,
            Err(error) => return self.refuse(path, error),
        };
        let applies = depth >= self.settings.min_depth;
        self.pruned = false;
        if applies && !self.settings.depth_first {
            self.evaluate(path, &stat)?;
        }
        let pruned = std::mem::take(&mut self.pruned);
        let deeper = self.settings.max_depth.is_none_or(|max| depth < max) && depth < MAX_DEPTH;
        if stat.file_type == FileType::Directory && deeper && !pruned {
            match kernel.readdir(process, path.as_bytes()) {
                Ok(entries) => {
                    for entry in entries {
                        let name = String::from_utf8_lossy(&entry.name);
                        self.visit(&format!("{}/{name}", path.trim_end_matches('/')), depth + 1)?;
                    }
                }
                Err(error) => self.refuse(path, error)?,
            }
        }
        if applies && self.settings.depth_first {
            self.evaluate(path, &stat)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, path: &str, stat: &Stat) -> Result<(), Errno> {
        let test = std::mem::replace(&mut self.test, Test::True);
        let passed = self.passes(&test, path, stat);
        self.test = test;
        if passed? && !self.settings.acts {
            self.output.line(path)?;
        }
        Ok(())
    }

    fn passes(&mut self, test: &Test, path: &str, stat: &Stat) -> Result<bool, Errno> {
        let glob = |pattern: &str, text: &str| {
            matches(&unquoted(pattern), &text.chars().collect::<Vec<_>>())
        };
        let name = path
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or(path);
        let (kernel, process) = (self.context.kernel(), self.context.process());
        Ok(match test {
            Test::True => true,
            Test::Not(inner) => !self.passes(inner, path, stat)?,
            Test::And(list) => {
                for test in list {
                    if !self.passes(test, path, stat)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Or(list) => {
                for test in list {
                    if self.passes(test, path, stat)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::Name(pattern, false) => glob(pattern, name),
            Test::Name(pattern, true) => glob(pattern, &name.to_lowercase()),
            Test::Path(pattern) => glob(pattern, path),
            Test::Type(letter) => matches!(
                (letter, stat.file_type),
                ('f', FileType::Regular)
                    | ('d', FileType::Directory)
                    | ('l', FileType::Symlink)
                    | ('p', FileType::Fifo)
                    | ('c', FileType::CharDevice)
            ),
            Test::Empty => match stat.file_type {
                FileType::Regular => stat.size == 0,
                FileType::Directory => kernel
                    .readdir(process, path.as_bytes())
                    .is_ok_and(|entries| entries.is_empty()),
                _ => false,
            },
            Test::Size(order, number, unit) => stat.size.div_ceil(*unit).cmp(number) == *order,
            Test::NewerThan(secs, nanos) => {
                (stat.mtime.seconds, stat.mtime.nanos) > (*secs, *nanos)
            }
            Test::Print(end) => {
                self.output.put(path)?;
                self.output.put(end)?;
                true
            }
            Test::Prune => {
                self.pruned = true;
                true
            }
            Test::Delete => {
                let removed = if stat.file_type == FileType::Directory {
                    kernel.rmdir(process, path.as_bytes())
                } else {
                    kernel.unlink(process, path.as_bytes())
                };
                match removed {
                    Ok(()) => true,
                    Err(error) => {
                        self.refuse(path, error)?;
                        false
                    }
                }
            }
            Test::Exec(command) => {
                self.output.flush()?;
                let words: Vec<String> = command
                    .iter()
                    .map(|word| word.replace("{}", path))
                    .collect();
                self.run(&words)?
            }
        })
    }

    fn run(&mut self, words: &[String]) -> Result<bool, Errno> {
        let (context, process) = (self.context, self.context.process());
        let Some(file) = words.first() else {
            return Ok(false);
        };
        let search = process.env("PATH");
        let found =
            context
                .kernel()
                .find_program(process, file, words.to_vec(), search.as_deref(), None);
        let started = found.and_then(|executable| {
            let start = Start {
                parent: process.clone(),
                env: process.env_all(),
                cwd: None,
                files: context.files(),
                new_group: false,
            };
            context.host().start(executable, start)
        });
        match started {
            Ok(child) => Ok(context.wait(child.pid())?.shell_code() == 0),
            Err(error) => {
                self.refuse(file, error)?;
                Ok(false)
            }
        }
    }
}
