//! `sed`: the commands `s y p d q = a i c n N h H g G x b t :label { }` with addresses.

use regex::bytes::{Captures, Regex};
use secure_exec_kernel::{Errno, oflag};

use super::grep::{compile, extended};
use super::options::{Spec, options};
use crate::input::{Input, chomp};

use crate::{Context, MAX_TEXT};

enum Address {
    Line(u64),
    Last,
    Match(Regex),
}

#[derive(Default)]
struct Range {
    from: Option<Address>,
    to: Option<Address>,
    negated: bool,
    /// Whether the range has begun.
    inside: bool,
}

struct Substitution {
    regex: Regex,
    replacement: Vec<Piece>,
    /// Which match is the first to be replaced, from 1.
    nth: usize,
    all: bool,
    print: bool,
}

/// A piece of a replacement.
enum Piece {
    Text(Vec<u8>),
    Group(usize),
}

enum Action {
    Substitute(Substitution),
    Translate(Vec<(char, char)>),
    Print,
    Delete,
    Quit,
    Number,
    Append(String),
    Insert(String),
    Change(String),
    Next,
    NextAppend,
    Hold(bool),
    Get(bool),
    Exchange,
    /// To a label, or to the end; the flag says only after a substitution.
    Branch(String, bool),
    Label(String),
    /// A block's start with its length.
    Block(usize),
}

struct Step {
    range: Range,
    action: Action,
}

struct Script<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    is_extended: bool,
    steps: Vec<Step>,
}

impl Script<'_> {
    fn blanks(&mut self) {
        while self
            .text
            .next_if(|c| c.is_whitespace() || *c == ';')
            .is_some()
        {}
    }

    /// Text up to an unquoted `end`; a backslash before `end` goes, others stay.
    fn delimited(&mut self, end: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.text.next().ok_or("unterminated command")? {
                c if c == end => return Ok(text),
                '\\' => match self.text.next().ok_or("unterminated command")? {
                    c if c == end => text.push(c),
                    'n' => text.push_str("\\n"),
                    c => {
                        text.push('\\');
                        text.push(c);
                    }
                },
                c => text.push(c),
            }
        }
    }

    fn regex(&self, pattern: &str, ignore_case: bool) -> Result<Regex, String> {
        let pattern = if self.is_extended {
            pattern.to_owned()
        } else {
            extended(pattern)
        };
        compile(&pattern, ignore_case)
    }

    fn number(&mut self) -> Option<u64> {
        let mut digits = String::new();
        while let Some(c) = self.text.next_if(char::is_ascii_digit) {
            digits.push(c);
        }
        digits.parse().ok()
    }

    fn address(&mut self) -> Result<Option<Address>, String> {
        Ok(match self.text.peek() {
            Some('$') => {
                self.text.next();
                Some(Address::Last)
            }
            Some('/') => {
                self.text.next();
                let pattern = self.delimited('/')?;
                let ignore_case = self.text.next_if_eq(&'I').is_some();
                Some(Address::Match(self.regex(&pattern, ignore_case)?))
            }
            Some(c) if c.is_ascii_digit() => self.number().map(Address::Line),
            _ => None,
        })
    }

    fn steps(&mut self, depth: u32) -> Result<(), String> {
        if depth > 16 {
            return Err("nested too deeply".to_owned());
        }
        loop {
            self.blanks();
            match self.text.peek() {
                None if depth == 0 => return Ok(()),
                None => return Err("unmatched {".to_owned()),
                Some('}') if depth > 0 => {
                    self.text.next();
                    return Ok(());
                }
                Some('#') => {
                    while self.text.next_if(|c| *c != '\n').is_some() {}
                    continue;
                }
                Some(_) => {}
            }
            let mut range = Range {
                from: self.address()?,
                ..Range::default()
            };
            if range.from.is_some() && self.text.next_if_eq(&',').is_some() {
                range.to = Some(self.address()?.ok_or("unexpected ','")?);
            }
            while self.text.next_if(|c| c.is_whitespace()).is_some() {}
            range.negated = self.text.next_if_eq(&'!').is_some();
            while self.text.next_if(|c| c.is_whitespace()).is_some() {}
            let command = self.text.next().ok_or("missing command")?;
            if command == '{' {
                let at = self.steps.len();
                self.steps.push(Step {
                    range,
                    action: Action::Block(0),
                });
                self.steps(depth + 1)?;
                let length = self.steps.len() - at - 1;
                if let Some(step) = self.steps.get_mut(at) {
                    step.action = Action::Block(length);
                }
                continue;
            }
            let action = self.action(command)?;
            self.steps.push(Step { range, action });
        }
    }

    /// The rest of the line as text, as `a`, `i` and `c` take it.
    fn rest_of_line(&mut self) -> String {
        while self.text.next_if(|c| *c == ' ').is_some() {}
        if self.text.next_if_eq(&'\\').is_some() {
            while self.text.next_if(|c| c.is_whitespace()).is_some() {}
        }
        let mut text = String::new();
        while let Some(c) = self.text.next_if(|c| *c != '\n') {
            text.push(c);
        }
        text
    }

    fn label(&mut self) -> String {
        while self.text.next_if(|c| *c == ' ').is_some() {}
        let mut label = String::new();
        while let Some(c) = self
            .text
            .next_if(|c| !c.is_whitespace() && *c != ';' && *c != '}')
        {
            label.push(c);
        }
        label
    }

    fn action(&mut self, command: char) -> Result<Action, String> {
        Ok(match command {
            's' => self.substitution()?,
            'y' => {
                let delimiter = self.text.next().ok_or("unterminated `y' command")?;
                let from = self.delimited(delimiter)?;
                let to = self.delimited(delimiter)?;
                if from.chars().count() != to.chars().count() {
                    return Err("strings for `y' command are different lengths".to_owned());
                }
                Action::Translate(from.chars().zip(to.chars()).collect())
            }
            'p' => Action::Print,
            'd' => Action::Delete,
            'q' => Action::Quit,
            '=' => Action::Number,
            'a' => Action::Append(self.rest_of_line()),
            'i' => Action::Insert(self.rest_of_line()),
            'c' => Action::Change(self.rest_of_line()),
            'n' => Action::Next,
            'N' => Action::NextAppend,
            'h' => Action::Hold(false),
            'H' => Action::Hold(true),
            'g' => Action::Get(false),
            'G' => Action::Get(true),
            'x' => Action::Exchange,
            'b' => Action::Branch(self.label(), false),
            't' => Action::Branch(self.label(), true),
            ':' => Action::Label(self.label()),
            other => return Err(format!("unknown command: `{other}'")),
        })
    }

    fn substitution(&mut self) -> Result<Action, String> {
        let delimiter = self.text.next().ok_or("unterminated `s' command")?;
        let pattern = self
            .delimited(delimiter)
            .map_err(|_| "unterminated `s' command")?;
        let replacement = self
            .delimited(delimiter)
            .map_err(|_| "unterminated `s' command")?;
        let (mut all, mut print, mut ignore_case, mut nth) = (false, false, false, 1);
        loop {
            match self.text.peek() {
                Some('g') => all = true,
                Some('p') => print = true,
                Some('i' | 'I') => ignore_case = true,
                Some(c) if c.is_ascii_digit() => {
                    nth = self
                        .number()
                        .and_then(|n| usize::try_from(n).ok())
                        .unwrap_or(1)
                        .max(1);
                    continue;
                }
                _ => break,
            }
            self.text.next();
        }
        Ok(Action::Substitute(Substitution {
            regex: self.regex(&pattern, ignore_case)?,
            replacement: pieces(&replacement),
            nth,
            all,
            print,
        }))
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = Vec::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        let group = match c {
            '&' => 0,
            '\\' => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => digit.to_digit(10).unwrap_or(0) as usize,
                Some('n') => {
                    plain.push(b'\n');
                    continue;
                }
                Some('t') => {
                    plain.push(b'\t');
                    continue;
                }
                Some(other) => {
                    plain.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                None => continue,
            },
            c => {
                plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Group(group));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    pieces
}

impl Substitution {
    /// Replaces in `text`; `None` when nothing matched.
    fn apply(&self, text: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let mut result = Vec::new();
        let mut copied = 0;
        let mut replaced = false;
        for (index, captures) in self.regex.captures_iter(text).enumerate() {
            if index + 1 < self.nth {
                continue;
            }
            let Some(whole) = captures.get(0) else {
                continue;
            };
            result.extend_from_slice(text.get(copied..whole.start()).unwrap_or_default());
            self.expand(&captures, &mut result);
            if result.len() > MAX_TEXT {
                return Err(Errno::EFBIG);
            }
            copied = whole.end();
            replaced = true;
            if !self.all {
                break;
            }
        }
        result.extend_from_slice(text.get(copied..).unwrap_or_default());
        Ok(replaced.then_some(result))
    }

    fn expand(&self, captures: &Captures<'_>, result: &mut Vec<u8>) {
        for piece in &self.replacement {
            match piece {
                Piece::Text(text) => result.extend_from_slice(text),
                Piece::Group(number) => {
                    if let Some(group) = captures.get(*number) {
                        result.extend_from_slice(group.as_bytes());
                    }
                }
            }
        }
    }
}

/// Lines of all inputs in order, with knowledge of which is the last.
struct Lines<'c> {
    context: &'c Context,
    paths: std::vec::IntoIter<String>,
    current: Option<Input<'c>>,
    ahead: Option<Vec<u8>>,
    code: i32,
}

impl Lines<'_> {
    fn read(&mut self) -> Result<Option<Vec<u8>>, Errno> {
        loop {
            if let Some(input) = &mut self.current
                && let Some(line) = input.line()?
            {
                return Ok(Some(line));
            }
            let Some(path) = self.paths.next() else {
                return Ok(None);
            };
            match Input::open(self.context, &path) {
                Ok(input) => self.current = Some(input),
                Err(error) => {
                    self.context.refuse("sed", &path, error)?;
                    self.code = 2;
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, Errno> {
        let line = match self.ahead.take() {
            Some(line) => Some(line),
            None => self.read()?,
        };
        self.ahead = self.read()?;
        Ok(line)
    }

    fn is_last(&self) -> bool {
        self.ahead.is_none()
    }
}

struct Machine<'c> {
    context: &'c Context,
    quiet: bool,
    number: u64,
    hold: Vec<u8>,
    output: Vec<u8>,
    /// With `-i` everything is kept for the file.
    keep: bool,
}

impl Machine<'_> {
    fn put(&mut self, text: &[u8]) -> Result<(), Errno> {
        self.output.extend_from_slice(text);
        self.output.push(b'\n');
        if !self.keep && self.output.len() > 32 << 10 {
            return self.flush();
        }
        if self.output.len() > MAX_TEXT {
            return Err(Errno::EFBIG);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.context.write(1, &std::mem::take(&mut self.output))
    }

    fn selects(&self, range: &mut Range, text: &[u8], is_last: bool) -> bool {
        let at = |address: &Address| match address {
            Address::Line(line) => *line == self.number,
            Address::Last => is_last,
            Address::Match(regex) => regex.is_match(text),
        };
        let selected = match (&range.from, &range.to) {
            (None, _) => true,
            (Some(from), None) => at(from),
            (Some(_), Some(to)) if range.inside => {
                let past = matches!(to, Address::Line(line) if *line <= self.number);
                range.inside = !(past || at(to));
                true
            }
            (Some(from), Some(to)) => {
                let begins = at(from);
                let only = matches!(to, Address::Line(line) if *line <= self.number);
                range.inside = begins && !only && !is_last;
                begins
            }
        };
        selected != range.negated
    }

    /// Runs the script on all lines; answers whether it quit.
    fn run(&mut self, steps: &mut [Step], lines: &mut Lines<'_>) -> Result<bool, Errno> {
        while let Some(line) = lines.next()? {
            self.number += 1;
            let mut text = chomp(&line).to_vec();
            let mut after: Vec<String> = Vec::new();
            let (mut at, mut substituted, mut print, mut quit) = (0, false, !self.quiet, false);
            loop {
                self.context.check()?;
                let target = steps.len();
                let Some(step) = steps.get_mut(at) else { break };
                at += 1;
                let selected = self.selects(&mut step.range, &text, lines.is_last());
                if !selected {
                    if let Action::Block(length) = step.action {
                        at += length;
                    }
                    continue;
                }
                match &step.action {
                    Action::Block(_) | Action::Label(_) => {}
                    Action::Substitute(substitution) => {
                        if let Some(changed) = substitution.apply(&text)? {
                            substituted = true;
                            text = changed;
                            if substitution.print {
                                self.put(&text)?;
                            }
                        }
                    }
                    Action::Translate(pairs) => {
                        let old = String::from_utf8_lossy(&text).into_owned();
                        let new: String = old
                            .chars()
                            .map(|c| {
                                pairs
                                    .iter()
                                    .find(|(from, _)| *from == c)
                                    .map_or(c, |(_, to)| *to)
                            })
                            .collect();
                        text = new.into_bytes();
                    }
                    Action::Print => self.put(&text)?,
                    Action::Delete => {
                        print = false;
                        break;
                    }
                    Action::Quit => {
                        quit = true;
                        break;
                    }
                    Action::Number => self.put(self.number.to_string().as_bytes())?,
                    Action::Append(line) => after.push(line.clone()),
                    Action::Insert(line) => self.put(line.as_bytes())?,
                    Action::Change(line) => {
                        if !step.range.inside {
                            self.put(line.as_bytes())?;
                        }
                        print = false;
                        break;
                    }
                    Action::Next => {
                        if print {
                            self.put(&text)?;
                        }
                        if let Some(line) = lines.next()? {
                            text = chomp(&line).to_vec();
                        } else {
                            print = false;
                            break;
                        }
                        self.number += 1;
                    }
                    Action::NextAppend => {
                        let Some(line) = lines.next()? else { break };
                        self.number += 1;
                        text.push(b'\n');
                        text.extend_from_slice(chomp(&line));
                    }
                    Action::Hold(append) => {
                        if *append {
                            self.hold.push(b'\n');
                        } else {
                            self.hold.clear();
                        }
                        self.hold.extend_from_slice(&text);
                    }
                    Action::Get(append) => {
                        if *append {
                            text.push(b'\n');
                        } else {
                            text.clear();
                        }
                        text.extend_from_slice(&self.hold);
                    }
                    Action::Exchange => std::mem::swap(&mut text, &mut self.hold),
                    Action::Branch(label, only_after) => {
                        if *only_after && !std::mem::take(&mut substituted) {
                            continue;
                        }
                        let label = label.clone();
                        let named = |step: &Step| matches!(&step.action, Action::Label(name) if *name == label);
                        at = match steps.iter().position(named) {
                            Some(index) if !label.is_empty() => index,
                            _ => target,
                        };
                    }
                }
                if text.len() > MAX_TEXT || self.hold.len() > MAX_TEXT {
                    return Err(Errno::EFBIG);
                }
            }
            if print {
                self.put(&text)?;
            }
            for line in after {
                self.put(line.as_bytes())?;
            }
            if quit {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// `sed [-nEri] [-e script]... [-f file] [script] [file...]`
pub(super) fn sed(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "nErisu",
        values: "ef",
        long: &[
            ("quiet", 'n'),
            ("silent", 'n'),
            ("expression", 'e'),
            ("regexp-extended", 'E'),
            ("in-place", 'i'),
        ],
        mixed: true,
    };
    let options = options!(context, words, SPEC);
    let mut operands: Vec<String> = options
        .operands
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    let mut texts: Vec<String> = options
        .values('e')
        .iter()
        .map(|text| (*text).to_owned())
        .collect();
    for path in options.values('f') {
        match Input::open(context, path).and_then(|mut input| input.all()) {
            Ok(text) => texts.push(String::from_utf8_lossy(&text).into_owned()),
            Err(error) => return context.refuse("sed", path, error),
        }
    }
    if texts.is_empty() {
        if operands.is_empty() {
            context.complain("sed", "usage: sed [-nEri] [-e script] [script] [file...]")?;
            return Ok(1);
        }
        texts.push(operands.remove(0));
    }
    let text = texts.join("\n");
    let mut script = Script {
        text: text.chars().peekable(),
        is_extended: options.has('E') || options.has('r'),
        steps: Vec::new(),
    };
    if let Err(error) = script.steps(0) {
        context.complain("sed", format!("-e expression #1: {error}"))?;
        return Ok(1);
    }
    let in_place = options.has('i');
    let mut machine = Machine {
        context,
        quiet: options.has('n'),
        number: 0,
        hold: Vec::new(),
        output: Vec::new(),
        keep: in_place,
    };
    let lines = |paths: Vec<String>| Lines {
        context,
        paths: paths.into_iter(),
        current: None,
        ahead: None,
        code: 0,
    };
    if !in_place {
        if operands.is_empty() {
            operands.push("-".to_owned());
        }
        let mut lines = lines(operands);
        machine.run(&mut script.steps, &mut lines)?;
        machine.flush()?;
        return Ok(lines.code);
    }
    let mut code = 0;
    for path in operands {
        machine.number = 0;
        let mut lines = lines(vec![path.clone()]);
        let quit = machine.run(&mut script.steps, &mut lines)?;
        while quit && let Some(line) = lines.next()? {
            machine.put(chomp(&line))?;
        }
        let text = std::mem::take(&mut machine.output);
        code = code.max(lines.code);
        if lines.code == 0 {
            let flags = oflag::O_WRONLY | oflag::O_TRUNC;
            if let Err(error) =
                context
                    .kernel()
                    .write_file(context.process(), path.as_bytes(), &text, flags, 0o666)
            {
                code = context.refuse("sed", &path, error)?;
            }
        }
    }
    Ok(code)
}
