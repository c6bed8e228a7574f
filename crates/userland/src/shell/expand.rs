//! Words to fields: parameters, substitutions, splitting, file names.

use std::sync::Arc;

use secure_exec_kernel::{Errno, FileType};

use super::arithmetic;
use super::interpreter::{Flow, Shell};
use super::pattern::{Symbol, is_special, matches};
use super::syntax::{Action, Parameter, Part, Word};
use crate::{Context, MAX_TEXT};

/// Words that one command may expand to.
const MAX_FIELDS: usize = 65_536;

/// A piece of an expanded word.
enum Piece {
    /// Text; the flags: was quoted, is the result of an expansion and so may be split.
    Text(String, bool, bool),
    /// The border between two values of `"$@"`.
    Border,
}

#[derive(Default)]
struct Pieces {
    list: Vec<Piece>,
    bytes: usize,
}

impl Pieces {
    fn text(&mut self, text: String, quoted: bool, split: bool) -> Result<(), Flow> {
        self.bytes += text.len();
        if self.bytes > MAX_TEXT || self.list.len() > MAX_FIELDS {
            return Err(Flow::Failed(Errno::E2BIG));
        }
        self.list.push(Piece::Text(text, quoted, split));
        Ok(())
    }
}

impl Shell {
    /// The fields that words expand to.
    pub fn fields(&mut self, context: &Context, words: &[Word]) -> Result<Vec<String>, Flow> {
        let mut fields = Vec::new();
        for word in words {
            let mut pieces = Pieces::default();
            self.expand(context, word, false, true, &mut pieces)?;
            for field in self.split(pieces) {
                let names = if is_special(&field) {
                    self.file_names(context, &field)?
                } else {
                    Vec::new()
                };
                if names.is_empty() {
                    fields.push(field.iter().map(|(c, _)| *c).collect());
                } else {
                    fields.extend(names);
                }
                if fields.len() > MAX_FIELDS {
                    return Err(Flow::Failed(Errno::E2BIG));
                }
            }
        }
        Ok(fields)
    }

    /// The one text that a word expands to: for assignments, redirections and `case`.
    pub fn text(&mut self, context: &Context, word: &Word) -> Result<String, Flow> {
        let symbols = self.symbols(context, word)?;
        Ok(symbols.into_iter().map(|(c, _)| c).collect())
    }

    /// As `text`, with what was quoted, for patterns.
    pub fn symbols(&mut self, context: &Context, word: &Word) -> Result<Vec<Symbol>, Flow> {
        let mut pieces = Pieces::default();
        self.expand(context, word, false, true, &mut pieces)?;
        let mut symbols = Vec::new();
        for piece in pieces.list {
            match piece {
                Piece::Text(text, quoted, _) => symbols.extend(text.chars().map(|c| (c, quoted))),
                Piece::Border => symbols.push((' ', true)),
            }
        }
        Ok(symbols)
    }

    fn expand(
        &mut self,
        context: &Context,
        word: &Word,
        quoted: bool,
        tilde: bool,
        pieces: &mut Pieces,
    ) -> Result<(), Flow> {
        for (index, part) in word.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    let home = (index == 0 && tilde && !quoted)
                        .then(|| self.tilde(text))
                        .flatten();
                    match home {
                        Some((home, rest)) => {
                            pieces.text(home, true, false)?;
                            pieces.text(rest, false, false)?;
                        }
                        None => pieces.text(text.clone(), quoted, false)?,
                    }
                }
                Part::Quoted(text) => pieces.text(text.clone(), true, false)?,
                Part::Double(inner) => {
                    // Empty quotes make an empty field, but "$@" without values makes none.
                    let values_only = matches!(inner.as_slice(), [Part::Parameter(parameter)]
                        if parameter.name == "@" && matches!(parameter.action, Action::Value));
                    if !values_only || !self.positional().is_empty() {
                        pieces.text(String::new(), true, false)?;
                    }
                    self.expand(context, inner, true, false, pieces)?;
                }
                Part::Parameter(parameter) => self.parameter(context, parameter, quoted, pieces)?,
                Part::Command(list) => {
                    let output = self.substitute(context, Arc::clone(list))?;
                    pieces.text(output, quoted, !quoted)?;
                }
                Part::Arithmetic(inner) => {
                    let text = self.text(context, inner)?;
                    let value = arithmetic::evaluate(&text, self).map_err(Flow::Message)?;
                    pieces.text(value.to_string(), quoted, !quoted)?;
                }
            }
        }
        Ok(())
    }

    /// The folder that a leading `~` stands for, and what follows it.
    fn tilde(&self, text: &str) -> Option<(String, String)> {
        let rest = text.strip_prefix('~')?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Some((self.variable("HOME")?, rest.to_owned()))
    }

    fn parameter(
        &mut self,
        context: &Context,
        parameter: &Parameter,
        quoted: bool,
        pieces: &mut Pieces,
    ) -> Result<(), Flow> {
        let name = parameter.name.as_str();
        if name == "@" && matches!(parameter.action, Action::Value) {
            for (index, value) in self.positional().to_vec().into_iter().enumerate() {
                if index > 0 {
                    pieces.list.push(Piece::Border);
                }
                pieces.text(value, quoted, !quoted)?;
            }
            return Ok(());
        }
        let value = self.value(context, name);
        let usable = |empty_too: bool| {
            value
                .clone()
                .filter(|value| !empty_too || !value.is_empty())
        };
        let text = match &parameter.action {
            Action::Value => match value {
                Some(value) => value,
                None if self.options.nounset && !matches!(name, "@" | "*") => {
                    return Err(Flow::Message(format!("{name}: parameter not set")));
                }
                None => return Ok(()),
            },
            Action::Length => match name {
                "@" | "*" => self.positional().len().to_string(),
                _ => value.unwrap_or_default().chars().count().to_string(),
            },
            Action::Default(word, empty_too) => match usable(*empty_too) {
                Some(value) => value,
                None => return self.expand(context, word, quoted, true, pieces),
            },
            Action::Assign(word, empty_too) => {
                if let Some(value) = usable(*empty_too) {
                    value
                } else {
                    let value = self.text(context, word)?;
                    self.assign(name, value.clone())?;
                    value
                }
            }
            Action::Fail(word, empty_too) => {
                if let Some(value) = usable(*empty_too) {
                    value
                } else {
                    let text = self.text(context, word)?;
                    let text = if text.is_empty() {
                        "parameter not set".to_owned()
                    } else {
                        text
                    };
                    return Err(Flow::Message(format!("{name}: {text}")));
                }
            }
            Action::Alternative(word, empty_too) => match usable(*empty_too) {
                Some(_) => return self.expand(context, word, quoted, true, pieces),
                None => return Ok(()),
            },
            Action::TrimEnd(word, longest) => {
                let pattern = self.symbols(context, word)?;
                trim(
                    context,
                    &pattern,
                    &value.unwrap_or_default(),
                    true,
                    *longest,
                )?
            }
            Action::TrimStart(word, longest) => {
                let pattern = self.symbols(context, word)?;
                trim(
                    context,
                    &pattern,
                    &value.unwrap_or_default(),
                    false,
                    *longest,
                )?
            }
        };
        pieces.text(text, quoted, !quoted)
    }

    /// Cuts pieces to fields where expansions have separators in them.
    fn split(&self, pieces: Pieces) -> Vec<Vec<Symbol>> {
        let separators = self.variable("IFS").unwrap_or_else(|| " \t\n".to_owned());
        let mut fields = Vec::new();
        let mut field: Vec<Symbol> = Vec::new();
        let mut has_field = false;
        // A separator that is no blank has been seen since the last field.
        let mut delimited = false;
        for piece in pieces.list {
            let (text, quoted, split) = match piece {
                Piece::Border => {
                    if has_field || delimited {
                        fields.push(std::mem::take(&mut field));
                    }
                    (has_field, delimited) = (false, true);
                    continue;
                }
                Piece::Text(text, quoted, split) => (text, quoted, split),
            };
            if !split {
                has_field |= quoted || !text.is_empty();
                field.extend(text.chars().map(|c| (c, quoted)));
                continue;
            }
            for c in text.chars() {
                if !separators.contains(c) {
                    field.push((c, false));
                    has_field = true;
                } else if has_field {
                    fields.push(std::mem::take(&mut field));
                    (has_field, delimited) = (false, !c.is_whitespace());
                } else if !c.is_whitespace() {
                    if !delimited && !fields.is_empty() {
                        delimited = true;
                    } else {
                        fields.push(Vec::new());
                    }
                }
            }
        }
        if has_field {
            fields.push(field);
        }
        fields
    }

    /// The files that match a pattern, sorted; none when nothing does.
    fn file_names(&self, context: &Context, pattern: &[Symbol]) -> Result<Vec<String>, Flow> {
        let absolute = pattern.first().is_some_and(|(c, _)| *c == '/');
        let mut found = vec![if absolute {
            "/".to_owned()
        } else {
            String::new()
        }];
        let components: Vec<&[Symbol]> = pattern
            .split(|(c, _)| *c == '/')
            .filter(|component| !component.is_empty())
            .collect();
        let only_folders = pattern.last().is_some_and(|(c, _)| *c == '/');
        for (index, component) in components.iter().enumerate() {
            let is_last = index + 1 == components.len();
            let mut next = Vec::new();
            for folder in found {
                context.check()?;
                if !is_special(component) {
                    let name: String = component.iter().map(|(c, _)| *c).collect();
                    let path = format!("{folder}{name}");
                    if context
                        .kernel()
                        .lstat(context.process(), path.as_bytes())
                        .is_ok()
                    {
                        next.push(if is_last { path } else { format!("{path}/") });
                    }
                    continue;
                }
                let place = if folder.is_empty() { "." } else { &folder };
                let entries = context
                    .kernel()
                    .readdir(context.process(), place.as_bytes());
                for entry in entries.unwrap_or_default() {
                    let name = String::from_utf8_lossy(&entry.name).into_owned();
                    let characters: Vec<char> = name.chars().collect();
                    let hidden =
                        name.starts_with('.') && component.first().is_none_or(|(c, _)| *c != '.');
                    if hidden || !matches(component, &characters) {
                        continue;
                    }
                    let path = format!("{folder}{name}");
                    if is_last && !only_folders {
                        next.push(path);
                    } else if is_folder(context, &path, entry.file_type) {
                        next.push(format!("{path}/"));
                    }
                    if next.len() > MAX_FIELDS {
                        return Err(Flow::Failed(Errno::E2BIG));
                    }
                }
            }
            found = next;
        }
        found.sort();
        Ok(found)
    }
}

fn is_folder(context: &Context, path: &str, file_type: FileType) -> bool {
    file_type == FileType::Directory
        || (file_type == FileType::Symlink
            && context
                .kernel()
                .stat(context.process(), path.as_bytes())
                .is_ok_and(|stat| stat.file_type == FileType::Directory))
}

/// Takes what matches off one end of `value`: the shortest, or the longest.
fn trim(
    context: &Context,
    pattern: &[Symbol],
    value: &str,
    at_end: bool,
    longest: bool,
) -> Result<String, Flow> {
    let characters: Vec<char> = value.chars().collect();
    let count = characters.len();
    for step in 0..=count {
        // Each try takes time by the length of the value.
        context.check()?;
        let length = if longest { count - step } else { step };
        let cut = if at_end { count - length } else { length };
        let (start, end) = characters.split_at(cut);
        let (taken, kept) = if at_end { (end, start) } else { (start, end) };
        if matches(pattern, taken) {
            return Ok(kept.iter().collect());
        }
    }
    Ok(value.to_owned())
}
