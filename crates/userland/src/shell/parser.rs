//! Text to tree, in one pass from left to right.
//!
//! Linear in the length of the text; nesting is limited, since each level takes stack here and in the interpreter.

use std::sync::Arc;

use super::syntax::{
    Action, Chain, Command, Item, Join, Kind, List, Operator, Parameter, Part, Pipeline, Redirect,
    Word,
};

/// How deep commands, substitutions and quotes may be nested.
const MAX_DEPTH: u32 = 64;
/// Characters of a script.
const MAX_SCRIPT: usize = 1 << 20;

/// Why a text is no script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError(pub String);

type Parsed<T> = Result<T, SyntaxError>;

/// Words that begin or end something at the place of a command's name.
const CLOSERS: [&str; 8] = ["then", "else", "elif", "fi", "do", "done", "esac", "}"];

/// A here-document whose text comes after the line.
struct Pending {
    delimiter: String,
    quoted: bool,
    strip_tabs: bool,
    /// Which one it is, in the order of their operators.
    index: usize,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: u32,
    pending: Vec<Pending>,
    /// Texts of the here-documents, by their order.
    documents: Vec<Option<Word>>,
}

/// Parses a script.
pub(crate) fn parse(text: &str) -> Parsed<List> {
    if text.len() > MAX_SCRIPT {
        return Err(SyntaxError("script too long".to_owned()));
    }
    let mut parser = Parser {
        chars: text.chars().collect(),
        at: 0,
        depth: 0,
        pending: Vec::new(),
        documents: Vec::new(),
    };
    let mut list = parser.list()?;
    parser.blanks();
    if let Some(unexpected) = parser.peek() {
        return Err(parser.unexpected(&unexpected.to_string()));
    }
    if !parser.documents.is_empty() {
        let documents = std::mem::take(&mut parser.documents);
        fill_list(&mut list, &mut documents.into_iter());
    }
    Ok(list)
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether a text can name a variable.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(is_name_start) && text.chars().all(is_name_char)
}

fn is_meta(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')'
    )
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = text
            .chars()
            .enumerate()
            .all(|(ahead, c)| self.peek_at(ahead) == Some(c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn unexpected(&self, what: &str) -> SyntaxError {
        let what = if what == "\n" { "newline" } else { what };
        SyntaxError(format!("syntax error: unexpected \"{what}\""))
    }

    fn unterminated(what: &str) -> SyntaxError {
        SyntaxError(format!("syntax error: unterminated {what}"))
    }

    /// Runs `parse` one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(SyntaxError("syntax error: nested too deeply".to_owned()));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Skips blanks, joined lines and comments.
    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\\') if self.peek_at(1) == Some('\n') => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Skips blanks and newlines; reads here-documents where their line ends.
    fn newlines(&mut self) -> Parsed<()> {
        loop {
            self.blanks();
            if self.peek() != Some('\n') {
                return Ok(());
            }
            self.newline()?;
        }
    }

    fn newline(&mut self) -> Parsed<()> {
        self.at += 1;
        for document in std::mem::take(&mut self.pending) {
            let text = self.document_text(&document);
            let word = if document.quoted {
                vec![Part::Quoted(text)]
            } else {
                let mut inner = Parser {
                    chars: text.chars().collect(),
                    at: 0,
                    depth: self.depth,
                    pending: Vec::new(),
                    documents: Vec::new(),
                };
                vec![Part::Double(inner.deeper(|inner| inner.double(None))?)]
            };
            if let Some(slot) = self.documents.get_mut(document.index) {
                *slot = Some(word);
            }
        }
        Ok(())
    }

    fn document_text(&mut self, document: &Pending) -> String {
        let mut text = String::new();
        while self.peek().is_some() {
            let mut line = String::new();
            while let Some(c) = self.next() {
                line.push(c);
                if c == '\n' {
                    break;
                }
            }
            let line = if document.strip_tabs {
                line.trim_start_matches('\t')
            } else {
                &line
            };
            if line.trim_end_matches('\n') == document.delimiter {
                break;
            }
            text.push_str(line);
        }
        text
    }

    /// The word at the place of a command's name, without moving.
    fn peek_word(&self) -> String {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        rest.iter().take_while(|c| !is_meta(**c)).take(16).collect()
    }

    fn at_end_of_list(&self) -> bool {
        match self.peek() {
            None | Some(')') => true,
            Some(';') => self.peek_at(1) == Some(';'),
            _ => CLOSERS.contains(&self.peek_word().as_str()),
        }
    }

    fn list(&mut self) -> Parsed<List> {
        self.deeper(|parser| {
            let mut list = Vec::new();
            loop {
                parser.newlines()?;
                if parser.at_end_of_list() {
                    return Ok(list);
                }
                let chain = parser.chain()?;
                parser.blanks();
                let mut background = false;
                let mut separated = true;
                match parser.peek() {
                    Some('&') if parser.peek_at(1) != Some('&') => {
                        parser.at += 1;
                        background = true;
                    }
                    Some(';') if parser.peek_at(1) != Some(';') => parser.at += 1,
                    Some('\n') => parser.newline()?,
                    _ => separated = false,
                }
                list.push(Item { chain, background });
                if !separated {
                    if parser.at_end_of_list() && !CLOSERS.contains(&parser.peek_word().as_str()) {
                        return Ok(list);
                    }
                    let word = parser.peek_word();
                    if CLOSERS.contains(&word.as_str()) {
                        return Ok(list);
                    }
                    let what = if word.is_empty() {
                        parser.peek().map(String::from).unwrap_or_default()
                    } else {
                        word
                    };
                    return Err(parser.unexpected(&what));
                }
            }
        })
    }

    fn required_list(&mut self) -> Parsed<List> {
        let list = self.list()?;
        if list.is_empty() {
            let word = self.peek_word();
            let what = if word.is_empty() {
                self.peek().map_or("end of file".to_owned(), String::from)
            } else {
                word
            };
            return Err(self.unexpected(&what));
        }
        Ok(list)
    }

    fn chain(&mut self) -> Parsed<Chain> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let join = if self.eat("&&") {
                Join::And
            } else if self.eat("||") {
                Join::Or
            } else {
                return Ok(Chain { first, rest });
            };
            self.newlines()?;
            rest.push((join, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        self.blanks();
        let mut negated = false;
        while self.peek_word() == "!" {
            self.at += 1;
            negated = !negated;
            self.blanks();
        }
        let mut commands = vec![Arc::new(self.command()?)];
        loop {
            self.blanks();
            if self.peek() != Some('|') || self.peek_at(1) == Some('|') {
                return Ok(Pipeline { negated, commands });
            }
            self.at += 1;
            self.newlines()?;
            commands.push(Arc::new(self.command()?));
        }
    }

    fn expect_word(&mut self, word: &str) -> Parsed<()> {
        self.newlines()?;
        if self.peek_word() == word {
            self.at += word.chars().count();
            return Ok(());
        }
        let found = self.peek_word();
        Err(if found.is_empty() {
            SyntaxError(format!(
                "syntax error: unexpected end of file (expecting \"{word}\")"
            ))
        } else {
            SyntaxError(format!(
                "syntax error: unexpected \"{found}\" (expecting \"{word}\")"
            ))
        })
    }

    fn command(&mut self) -> Parsed<Command> {
        self.blanks();
        let word = self.peek_word();
        let kind = match word.as_str() {
            "if" => self.if_clause()?,
            "while" | "until" => {
                self.at += word.len();
                let condition = self.required_list()?;
                let body = self.do_group()?;
                Kind::While {
                    until: word == "until",
                    condition,
                    body,
                }
            }
            "for" => self.for_clause()?,
            "case" => self.case_clause()?,
            "{" => {
                self.at += 1;
                let list = self.required_list()?;
                self.expect_word("}")?;
                Kind::Group(list)
            }
            _ if self.peek() == Some('(') => {
                self.at += 1;
                let list = self.required_list()?;
                self.newlines()?;
                if !self.eat(")") {
                    return Err(Self::unterminated("subshell"));
                }
                Kind::Subshell(list)
            }
            _ if CLOSERS.contains(&word.as_str()) => return Err(self.unexpected(&word)),
            _ => return self.simple_or_function(),
        };
        let mut redirects = Vec::new();
        while let Some(redirect) = self.redirect()? {
            redirects.push(redirect);
        }
        Ok(Command { kind, redirects })
    }

    fn do_group(&mut self) -> Parsed<List> {
        self.expect_word("do")?;
        let body = self.required_list()?;
        self.expect_word("done")?;
        Ok(body)
    }

    fn if_clause(&mut self) -> Parsed<Kind> {
        self.at += 2;
        let mut arms = Vec::new();
        loop {
            let condition = self.required_list()?;
            self.expect_word("then")?;
            let then = self.required_list()?;
            arms.push((condition, then));
            self.newlines()?;
            match self.peek_word().as_str() {
                "elif" => self.at += 4,
                "else" => {
                    self.at += 4;
                    let otherwise = self.required_list()?;
                    self.expect_word("fi")?;
                    return Ok(Kind::If { arms, otherwise });
                }
                _ => {
                    self.expect_word("fi")?;
                    let otherwise = Vec::new();
                    return Ok(Kind::If { arms, otherwise });
                }
            }
        }
    }

    fn name(&mut self) -> Parsed<String> {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| is_name_char(*c)) {
            name.push(c);
            self.at += 1;
        }
        if is_name(&name) {
            Ok(name)
        } else {
            Err(SyntaxError("syntax error: bad variable name".to_owned()))
        }
    }

    fn for_clause(&mut self) -> Parsed<Kind> {
        self.at += 3;
        self.blanks();
        let name = self.name()?;
        self.newlines()?;
        let mut words = None;
        if self.peek_word() == "in" {
            self.at += 2;
            let mut list = Vec::new();
            loop {
                self.blanks();
                match self.word()? {
                    Some(word) => list.push(word),
                    None => break,
                }
            }
            words = Some(list);
        }
        self.blanks();
        self.eat(";");
        let body = self.do_group()?;
        Ok(Kind::For { name, words, body })
    }

    fn case_clause(&mut self) -> Parsed<Kind> {
        self.at += 4;
        self.blanks();
        let subject = self.word()?.ok_or_else(|| self.unexpected("newline"))?;
        self.expect_word("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.peek_word() == "esac" {
                self.at += 4;
                return Ok(Kind::Case { subject, arms });
            }
            self.eat("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                let pattern = self.word()?.ok_or_else(|| Self::unterminated("case"))?;
                patterns.push(pattern);
                self.blanks();
                if !self.eat("|") {
                    break;
                }
            }
            if !self.eat(")") {
                return Err(Self::unterminated("case"));
            }
            let body = self.list()?;
            self.newlines()?;
            let ended = self.eat(";;");
            arms.push((patterns, body));
            if !ended {
                self.expect_word("esac")?;
                return Ok(Kind::Case { subject, arms });
            }
        }
    }

    fn simple_or_function(&mut self) -> Parsed<Command> {
        let start = self.at;
        let word = self.peek_name();
        if !word.is_empty() {
            self.at += word.chars().count();
            self.blanks();
            if self.eat("(") {
                self.blanks();
                if !self.eat(")") {
                    return Err(self.unexpected("("));
                }
                self.newlines()?;
                let body = Arc::new(self.deeper(Parser::command)?);
                return Ok(Command {
                    kind: Kind::Function { name: word, body },
                    redirects: Vec::new(),
                });
            }
            self.at = start;
        }
        self.simple()
    }

    fn peek_name(&self) -> String {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let name: String = rest.iter().take_while(|c| is_name_char(**c)).collect();
        if is_name(&name) { name } else { String::new() }
    }

    fn simple(&mut self) -> Parsed<Command> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            if words.is_empty() {
                let name = self.peek_name();
                let length = name.chars().count();
                if !name.is_empty() && self.peek_at(length) == Some('=') {
                    self.at += length + 1;
                    let value = self.word()?.unwrap_or_default();
                    assignments.push((name, value));
                    continue;
                }
            }
            match self.word()? {
                Some(word) => words.push(word),
                None => break,
            }
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            let what = self.peek().map_or("end of file".to_owned(), String::from);
            return Err(self.unexpected(&what));
        }
        Ok(Command {
            kind: Kind::Simple { assignments, words },
            redirects,
        })
    }

    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        self.blanks();
        let start = self.at;
        let mut digits = String::new();
        while let Some(c) = self.peek().filter(char::is_ascii_digit) {
            digits.push(c);
            self.at += 1;
        }
        let operator = if digits.is_empty() && self.eat("&>>") {
            Operator::AppendBoth
        } else if digits.is_empty() && self.eat("&>") {
            Operator::WriteBoth
        } else if self.eat("<<<") {
            return self.here_string(&digits).map(Some);
        } else if self.eat("<<-") {
            return self.here_document(&digits, true).map(Some);
        } else if self.eat("<<") {
            return self.here_document(&digits, false).map(Some);
        } else if self.eat("<&") || self.eat(">&") {
            Operator::Duplicate
        } else if self.eat("<>") {
            Operator::ReadWrite
        } else if self.eat(">>") {
            Operator::Append
        } else if self.eat(">|") || self.eat(">") {
            Operator::Write
        } else if self.eat("<") {
            Operator::Read
        } else {
            self.at = start;
            return Ok(None);
        };
        let reads = matches!(self.chars.get(self.at.wrapping_sub(2)), Some('<'));
        let default =
            i32::from(!(reads || operator == Operator::Read || operator == Operator::ReadWrite));
        self.blanks();
        let target = self.word()?.ok_or_else(|| self.unexpected("newline"))?;
        let fd = if digits.is_empty() {
            Some(default)
        } else {
            Some(digits.parse().map_err(|_| self.unexpected(&digits))?)
        };
        Ok(Some(Redirect {
            fd,
            operator,
            target,
        }))
    }

    fn here_fd(&self, digits: &str) -> Parsed<Option<i32>> {
        if digits.is_empty() {
            return Ok(Some(0));
        }
        digits
            .parse()
            .map(Some)
            .map_err(|_| self.unexpected(digits))
    }

    fn here_string(&mut self, digits: &str) -> Parsed<Redirect> {
        let fd = self.here_fd(digits)?;
        self.blanks();
        let mut target = self.word()?.ok_or_else(|| self.unexpected("newline"))?;
        target.push(Part::Quoted("\n".to_owned()));
        Ok(Redirect {
            fd,
            operator: Operator::Here,
            target: vec![Part::Double(target)],
        })
    }

    fn here_document(&mut self, digits: &str, strip_tabs: bool) -> Parsed<Redirect> {
        let fd = self.here_fd(digits)?;
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.unexpected("newline"))?;
        let quoted = !word.iter().all(|part| matches!(part, Part::Text(_)));
        let delimiter = literal(&word);
        let index = self.documents.len();
        self.documents.push(None);
        self.pending.push(Pending {
            delimiter,
            quoted,
            strip_tabs,
            index,
        });
        // The text is known when the line has been read; `fill_list` puts it here.
        Ok(Redirect {
            fd,
            operator: Operator::Here,
            target: Vec::new(),
        })
    }

    /// A word; `None` when there is none here.
    fn word(&mut self) -> Parsed<Option<Word>> {
        let mut word = Vec::new();
        let mut text = String::new();
        let start = self.at;
        while let Some(c) = self.peek() {
            if is_meta(c) {
                break;
            }
            if c == '\\' && self.peek_at(1) == Some('\n') {
                self.at += 2;
                continue;
            }
            if let Some(part) = self.part(c)? {
                push_text(&mut word, &mut text);
                word.push(part);
            } else {
                self.at += 1;
                text.push(c);
            }
        }
        push_text(&mut word, &mut text);
        Ok((self.at > start).then_some(word))
    }

    /// A part that begins with a special character; `None` when `c` is a plain one.
    fn part(&mut self, c: char) -> Parsed<Option<Part>> {
        Ok(Some(match c {
            '\\' => {
                self.at += 1;
                let quoted = self.next().map_or_else(|| "\\".to_owned(), String::from);
                Part::Quoted(quoted)
            }
            '\'' => {
                self.at += 1;
                let mut text = String::new();
                loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(c) => text.push(c),
                        None => return Err(Self::unterminated("quoted string")),
                    }
                }
                Part::Quoted(text)
            }
            '"' => {
                self.at += 1;
                Part::Double(self.deeper(|parser| parser.double(Some('"')))?)
            }
            '$' => return self.dollar(),
            '`' => self.backquote()?,
            _ => return Ok(None),
        }))
    }

    /// The inside of double quotes, up to `end` or the end of the text.
    fn double(&mut self, end: Option<char>) -> Parsed<Word> {
        let mut word = Vec::new();
        let mut text = String::new();
        let push = |word: &mut Word, text: &mut String| {
            if !text.is_empty() {
                word.push(Part::Quoted(std::mem::take(text)));
            }
        };
        loop {
            let Some(c) = self.peek() else {
                if end.is_some() {
                    return Err(Self::unterminated("quoted string"));
                }
                push(&mut word, &mut text);
                return Ok(word);
            };
            match c {
                _ if Some(c) == end => {
                    self.at += 1;
                    push(&mut word, &mut text);
                    return Ok(word);
                }
                '\\' => {
                    self.at += 1;
                    match self.peek() {
                        Some('\n') => self.at += 1,
                        Some(c @ ('$' | '`' | '\\')) => {
                            text.push(c);
                            self.at += 1;
                        }
                        Some('"') if end == Some('"') => {
                            text.push('"');
                            self.at += 1;
                        }
                        Some('}') if end == Some('}') => {
                            text.push('}');
                            self.at += 1;
                        }
                        _ => text.push('\\'),
                    }
                }
                '$' => {
                    if let Some(part) = self.dollar()? {
                        push(&mut word, &mut text);
                        word.push(part);
                    } else {
                        text.push('$');
                        self.at += 1;
                    }
                }
                '`' => {
                    let part = self.backquote()?;
                    push(&mut word, &mut text);
                    word.push(part);
                }
                _ => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// What `$` begins; `None` when it is a plain character.
    fn dollar(&mut self) -> Parsed<Option<Part>> {
        let part = match self.peek_at(1) {
            Some('(') if self.peek_at(2) == Some('(') => {
                let start = self.at;
                if let Some(part) = self.arithmetic()? {
                    part
                } else {
                    self.at = start;
                    self.substitution()?
                }
            }
            Some('(') => self.substitution()?,
            Some('{') => {
                self.at += 2;
                self.deeper(Parser::braced)?
            }
            Some('\'') => {
                self.at += 2;
                self.dollar_quote()?
            }
            Some(c) if is_name_start(c) => {
                self.at += 1;
                let name = self.name()?;
                value_of(name)
            }
            Some(c @ ('0'..='9' | '?' | '$' | '!' | '#' | '@' | '*' | '-')) => {
                self.at += 2;
                value_of(c.to_string())
            }
            _ => return Ok(None),
        };
        Ok(Some(part))
    }

    fn dollar_quote(&mut self) -> Parsed<Part> {
        let mut text = String::new();
        loop {
            match self
                .next()
                .ok_or_else(|| Self::unterminated("quoted string"))?
            {
                '\'' => return Ok(Part::Quoted(text)),
                '\\' => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('0') => {}
                    Some('e') => text.push('\x1b'),
                    Some(c) => text.push(c),
                    None => return Err(Self::unterminated("quoted string")),
                },
                c => text.push(c),
            }
        }
    }

    fn substitution(&mut self) -> Parsed<Part> {
        self.at += 2;
        // Here-documents of the substitution are its own.
        let outer = std::mem::take(&mut self.documents);
        let mut list = self.list()?;
        self.newlines()?;
        if !self.eat(")") {
            return Err(Self::unterminated("command substitution"));
        }
        let documents = std::mem::replace(&mut self.documents, outer);
        fill_list(&mut list, &mut documents.into_iter());
        Ok(Part::Command(Arc::new(list)))
    }

    /// `$((...))`; `None` when it is a substitution that begins with a subshell.
    fn arithmetic(&mut self) -> Parsed<Option<Part>> {
        self.at += 3;
        let start = self.at;
        let mut open = 0_u32;
        while let Some(c) = self.next() {
            match c {
                '(' => open += 1,
                ')' if open > 0 => open -= 1,
                ')' if self.peek() == Some(')') => {
                    let text = self
                        .chars
                        .get(start..self.at - 1)
                        .unwrap_or_default()
                        .to_vec();
                    self.at += 1;
                    let mut inner = Parser {
                        chars: text,
                        at: 0,
                        depth: self.depth,
                        pending: Vec::new(),
                        documents: Vec::new(),
                    };
                    let word = inner.deeper(|inner| inner.double(None))?;
                    return Ok(Some(Part::Arithmetic(word)));
                }
                ')' => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    fn backquote(&mut self) -> Parsed<Part> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self
                .next()
                .ok_or_else(|| Self::unterminated("command substitution"))?
            {
                '`' => break,
                '\\' => match self.next() {
                    Some(c @ ('$' | '`' | '\\')) => text.push(c),
                    Some(c) => {
                        text.push('\\');
                        text.push(c);
                    }
                    None => return Err(Self::unterminated("command substitution")),
                },
                c => text.push(c),
            }
        }
        let mut inner = Parser {
            chars: text.chars().collect(),
            at: 0,
            depth: self.depth,
            pending: Vec::new(),
            documents: Vec::new(),
        };
        let list = inner.list()?;
        if let Some(unexpected) = inner.peek() {
            return Err(inner.unexpected(&unexpected.to_string()));
        }
        Ok(Part::Command(Arc::new(list)))
    }

    /// The inside of `${...}`.
    fn braced(&mut self) -> Parsed<Part> {
        let bad = || SyntaxError("Bad substitution".to_owned());
        if self.peek() == Some('#') && self.peek_at(1) != Some('}') {
            self.at += 1;
            let name = self.parameter_name().ok_or_else(bad)?;
            if !self.eat("}") {
                return Err(bad());
            }
            let action = Action::Length;
            return Ok(Part::Parameter(Box::new(Parameter { name, action })));
        }
        let name = self.parameter_name().ok_or_else(bad)?;
        let colon = self.peek() == Some(':');
        if colon {
            self.at += 1;
        }
        let action = match self.next() {
            Some('}') if !colon => Action::Value,
            Some('-') => Action::Default(self.argument()?, colon),
            Some('=') => Action::Assign(self.argument()?, colon),
            Some('?') => Action::Fail(self.argument()?, colon),
            Some('+') => Action::Alternative(self.argument()?, colon),
            Some('%') if !colon => {
                let longest = self.eat("%");
                Action::TrimEnd(self.argument()?, longest)
            }
            Some('#') if !colon => {
                let longest = self.eat("#");
                Action::TrimStart(self.argument()?, longest)
            }
            _ => return Err(bad()),
        };
        Ok(Part::Parameter(Box::new(Parameter { name, action })))
    }

    fn parameter_name(&mut self) -> Option<String> {
        let c = self.peek()?;
        if is_name_start(c) {
            return self.name().ok();
        }
        let mut name = String::new();
        while let Some(c) = self.peek().filter(char::is_ascii_digit) {
            name.push(c);
            self.at += 1;
        }
        if name.is_empty() && matches!(c, '?' | '$' | '!' | '#' | '@' | '*' | '-') {
            name.push(c);
            self.at += 1;
        }
        (!name.is_empty()).then_some(name)
    }

    /// The word inside of `${name-...}`, up to its brace.
    fn argument(&mut self) -> Parsed<Word> {
        let mut word = Vec::new();
        let mut text = String::new();
        loop {
            let c = self
                .peek()
                .ok_or_else(|| Self::unterminated("substitution"))?;
            if c == '}' {
                self.at += 1;
                push_text(&mut word, &mut text);
                return Ok(word);
            }
            if let Some(part) = self.part(c)? {
                push_text(&mut word, &mut text);
                word.push(part);
            } else {
                self.at += 1;
                text.push(c);
            }
        }
    }
}

fn value_of(name: String) -> Part {
    let action = Action::Value;
    Part::Parameter(Box::new(Parameter { name, action }))
}

fn push_text(word: &mut Word, text: &mut String) {
    if !text.is_empty() {
        word.push(Part::Text(std::mem::take(text)));
    }
}

/// The text of a word that is not expanded: a here-document's delimiter.
fn literal(word: &Word) -> String {
    word.iter()
        .map(|part| match part {
            Part::Text(text) | Part::Quoted(text) => text.clone(),
            Part::Double(inner) => literal(inner),
            _ => String::new(),
        })
        .collect()
}

type Documents = std::vec::IntoIter<Option<Word>>;

/// Puts the texts of here-documents to their redirections, which stand in the same order.
fn fill_list(list: &mut List, documents: &mut Documents) {
    for item in list {
        fill_pipeline(&mut item.chain.first, documents);
        for (_, pipeline) in &mut item.chain.rest {
            fill_pipeline(pipeline, documents);
        }
    }
}

fn fill_pipeline(pipeline: &mut Pipeline, documents: &mut Documents) {
    for command in &mut pipeline.commands {
        if let Some(command) = Arc::get_mut(command) {
            fill_command(command, documents);
        }
    }
}

fn fill_command(command: &mut Command, documents: &mut Documents) {
    match &mut command.kind {
        Kind::Simple { .. } => {}
        Kind::Group(list) | Kind::Subshell(list) => fill_list(list, documents),
        Kind::If { arms, otherwise } => {
            for (condition, then) in arms {
                fill_list(condition, documents);
                fill_list(then, documents);
            }
            fill_list(otherwise, documents);
        }
        Kind::While {
            condition, body, ..
        } => {
            fill_list(condition, documents);
            fill_list(body, documents);
        }
        Kind::For { body, .. } => fill_list(body, documents),
        Kind::Case { arms, .. } => {
            for (_, body) in arms {
                fill_list(body, documents);
            }
        }
        Kind::Function { body, .. } => {
            if let Some(body) = Arc::get_mut(body) {
                fill_command(body, documents);
            }
        }
    }
    for redirect in &mut command.redirects {
        if redirect.operator == Operator::Here
            && redirect.target.is_empty()
            && let Some(text) = documents.next()
        {
            redirect.target = text.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_script() {
        for text in [
            "(", "if", "echo $(", "echo 'a", "echo \"", "a |", "fi", "a && ", "case x", "{ a",
            "echo `a", "; a", "${",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_limited_and_quick() {
        for (open, close) in [
            ("(", ")"),
            ("{ ", ";}"),
            ("echo $(", ")"),
            ("if :; then ", "; fi"),
            ("echo \"${a-", "}\""),
            ("((", ""),
        ] {
            let text = open.repeat(5000) + ":" + &close.repeat(5000);
            assert!(parse(&text).is_err());
            let text = open.repeat(40);
            assert!(parse(&text).is_err());
        }
        assert!(parse(&("(".repeat(20) + ":" + &")".repeat(20))).is_ok());
    }

    #[test]
    fn here_documents_find_their_redirections() {
        let list = parse("cat <<A; cat <<'B'\n$x\nA\n$y\nB\necho z").unwrap_or_default();
        assert_eq!(list.len(), 3);
    }
}
