//! `test` and `[`.

use secure_exec_kernel::{Errno, FileType, R_OK, Stat, W_OK, X_OK};

use crate::Context;

/// `test expression`, `[ expression ]`: 0 for true, 1 for false, 2 for an error.
pub(super) fn test(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let mut rest = words.get(1..).unwrap_or_default();
    if words.first().is_some_and(|name| name == "[") {
        match rest {
            [inner @ .., last] if last == "]" => rest = inner,
            _ => {
                context.complain("[", "missing ]")?;
                return Ok(2);
            }
        }
    }
    let mut expression = Expression {
        context,
        words: rest,
        depth: 0,
    };
    let value = if rest.is_empty() {
        Ok(false)
    } else {
        expression.any()
    };
    match value {
        Ok(value) if expression.words.is_empty() => Ok(i32::from(!value)),
        Ok(_) => {
            let extra = expression.words.first().cloned().unwrap_or_default();
            context.complain("test", format!("{extra}: unexpected operator"))?;
            Ok(2)
        }
        Err(text) => {
            context.complain("test", text)?;
            Ok(2)
        }
    }
}

struct Expression<'a> {
    context: &'a Context,
    words: &'a [String],
    depth: u32,
}

impl<'a> Expression<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.words.first().is_some_and(|first| first == word);
        if found {
            self.next();
        }
        found
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut value = self.all()?;
        while self.eat("-o") {
            value |= self.all()?;
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut value = self.not()?;
        while self.eat("-a") {
            value &= self.not()?;
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<bool, String> {
        let mut negated = false;
        // `! = x` compares.
        while self.words.len() > 1 && !self.is_binary() && self.eat("!") {
            negated = !negated;
        }
        Ok(self.primary()? != negated)
    }

    fn is_binary(&self) -> bool {
        const OPERATORS: [&str; 14] = [
            "=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef", "<",
            ">",
        ];
        self.words.len() > 2
            && self
                .words
                .get(1)
                .is_some_and(|word| OPERATORS.contains(&word.as_str()))
    }

    fn primary(&mut self) -> Result<bool, String> {
        if self.is_binary() {
            let (left, operator, right) = (self.next(), self.next(), self.next());
            return self.binary(
                left.unwrap_or_default(),
                operator.unwrap_or_default(),
                right.unwrap_or_default(),
            );
        }
        let word = self.next().ok_or("argument expected")?;
        if word == "(" && !self.words.is_empty() {
            self.depth += 1;
            if self.depth > 64 {
                return Err("nested too deeply".to_owned());
            }
            let value = self.any()?;
            self.depth -= 1;
            return if self.eat(")") {
                Ok(value)
            } else {
                Err("closing paren expected".to_owned())
            };
        }
        let is_unary = word.len() == 2 && word.starts_with('-');
        if is_unary && let Some(operand) = self.words.first() {
            let letter = word.chars().nth(1).unwrap_or_default();
            if "bcdefghLknprstuwxzS".contains(letter) {
                self.next();
                return self.unary(letter, operand);
            }
        }
        Ok(!word.is_empty())
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        self.context
            .kernel()
            .stat(self.context.process(), path.as_bytes())
            .ok()
    }

    fn unary(&self, letter: char, operand: &str) -> Result<bool, String> {
        let (kernel, process) = (self.context.kernel(), self.context.process());
        let is_type = |wanted: FileType| {
            self.stat(operand)
                .is_some_and(|stat| stat.file_type == wanted)
        };
        let may = |mode: i32| kernel.access(process, operand.as_bytes(), mode).is_ok();
        Ok(match letter {
            'n' => !operand.is_empty(),
            'z' => operand.is_empty(),
            'e' => self.stat(operand).is_some(),
            'f' => is_type(FileType::Regular),
            'd' => is_type(FileType::Directory),
            'p' => is_type(FileType::Fifo),
            'c' => is_type(FileType::CharDevice),
            's' => self.stat(operand).is_some_and(|stat| stat.size > 0),
            'r' => may(R_OK),
            'w' => may(W_OK),
            'x' => may(X_OK),
            'h' | 'L' => kernel
                .lstat(process, operand.as_bytes())
                .is_ok_and(|stat| stat.file_type == FileType::Symlink),
            // No descriptor of this machine is a terminal.
            't' => false,
            'u' => self
                .stat(operand)
                .is_some_and(|stat| stat.mode & 0o4000 != 0),
            'g' => self
                .stat(operand)
                .is_some_and(|stat| stat.mode & 0o2000 != 0),
            'k' => self
                .stat(operand)
                .is_some_and(|stat| stat.mode & 0o1000 != 0),
            _ => false,
        })
    }

    fn binary(&self, left: &str, operator: &str, right: &str) -> Result<bool, String> {
        let number = |text: &str| {
            text.trim()
                .parse::<i64>()
                .map_err(|_| format!("Illegal number: {text}"))
        };
        let time = |path: &str| {
            self.stat(path)
                .map(|stat| (stat.mtime.seconds, stat.mtime.nanos))
        };
        Ok(match operator {
            "=" | "==" => left == right,
            "!=" => left != right,
            "<" => left < right,
            ">" => left > right,
            "-eq" => number(left)? == number(right)?,
            "-ne" => number(left)? != number(right)?,
            "-lt" => number(left)? < number(right)?,
            "-le" => number(left)? <= number(right)?,
            "-gt" => number(left)? > number(right)?,
            "-ge" => number(left)? >= number(right)?,
            "-nt" => time(left) > time(right),
            "-ot" => time(left) < time(right),
            _ => match (self.stat(left), self.stat(right)) {
                (Some(left), Some(right)) => (left.dev, left.ino) == (right.dev, right.ino),
                _ => false,
            },
        })
    }
}
