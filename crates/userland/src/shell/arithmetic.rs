//! `$((...))`: whole numbers of 64 bits that wrap around.

/// Who knows the variables.
pub(crate) trait Variables {
    fn get(&self, name: &str) -> Option<String>;
    fn set(&mut self, name: &str, value: String) -> Result<(), String>;
}

/// How deep parentheses and variables that name expressions may be nested.
const MAX_DEPTH: u32 = 32;

struct Evaluator<'v> {
    chars: Vec<char>,
    at: usize,
    depth: u32,
    variables: &'v mut dyn Variables,
}

/// The value of an expression.
pub(crate) fn evaluate(text: &str, variables: &mut dyn Variables) -> Result<i64, String> {
    evaluate_at(text, variables, 0)
}

fn evaluate_at(text: &str, variables: &mut dyn Variables, depth: u32) -> Result<i64, String> {
    if depth > MAX_DEPTH {
        return Err("arithmetic expression: nested too deeply".to_owned());
    }
    let mut evaluator = Evaluator {
        chars: text.chars().collect(),
        at: 0,
        depth,
        variables,
    };
    evaluator.blanks();
    if evaluator.chars.get(evaluator.at).is_none() {
        return Ok(0);
    }
    let value = evaluator.ternary()?;
    evaluator.blanks();
    match evaluator.chars.get(evaluator.at) {
        None => Ok(value),
        Some(_) => Err(format!("arithmetic expression: syntax error: \"{text}\"")),
    }
}

/// Binary operators by level, loosest first; a longer one stands before its beginnings.
const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Evaluator<'_> {
    fn blanks(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn looking_at(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(ahead, c)| self.chars.get(self.at + ahead) == Some(&c))
    }

    fn eat(&mut self, text: &str) -> bool {
        self.blanks();
        let found = self.looking_at(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn ternary(&mut self) -> Result<i64, String> {
        let condition = self.binary(0)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        self.deeper(|evaluator| {
            let yes = evaluator.ternary()?;
            if !evaluator.eat(":") {
                return Err("arithmetic expression: expecting ':'".to_owned());
            }
            let no = evaluator.ternary()?;
            Ok(if condition != 0 { yes } else { no })
        })
    }

    fn deeper(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<i64, String>,
    ) -> Result<i64, String> {
        if self.depth >= MAX_DEPTH {
            return Err("arithmetic expression: nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = body(self);
        self.depth -= 1;
        value
    }

    fn operator(&mut self, level: &[&'static str]) -> Option<&'static str> {
        self.blanks();
        for operator in level {
            if !self.looking_at(operator) {
                continue;
            }
            let next = self.chars.get(self.at + operator.len());
            // `|` is not `||`, `<` is not `<<`, `a + b` is not `a += b`.
            let doubled = next.is_some_and(|c| {
                operator.len() == 1 && operator.contains(*c) && "|&<>".contains(*c)
            });
            let assigns =
                next == Some(&'=') && !"<>=!".contains(operator.chars().next().unwrap_or(' '));
            if doubled || assigns {
                return None;
            }
            self.at += operator.len();
            return Some(operator);
        }
        None
    }

    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(operators) {
            let right = self.binary(level + 1)?;
            let truth = |value: bool| i64::from(value);
            let shift = |right: i64| (right & 63) as u32;
            left = match operator {
                "||" => truth(left != 0 || right != 0),
                "&&" => truth(left != 0 && right != 0),
                "|" => left | right,
                "^" => left ^ right,
                "&" => left & right,
                "==" => truth(left == right),
                "!=" => truth(left != right),
                "<=" => truth(left <= right),
                ">=" => truth(left >= right),
                "<" => truth(left < right),
                ">" => truth(left > right),
                "<<" => left.wrapping_shl(shift(right)),
                ">>" => left.wrapping_shr(shift(right)),
                "+" => left.wrapping_add(right),
                "-" => left.wrapping_sub(right),
                "*" => left.wrapping_mul(right),
                _ if right == 0 => return Err("arithmetic expression: division by zero".to_owned()),
                "/" => left.wrapping_div(right),
                _ => left.wrapping_rem(right),
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.blanks();
        for (operator, apply) in [
            ("-", i64::wrapping_neg as fn(i64) -> i64),
            ("+", |value| value),
            ("!", |value| i64::from(value == 0)),
            ("~", |value: i64| !value),
        ] {
            if self.looking_at(operator) {
                self.at += 1;
                return self.deeper(Self::unary).map(apply);
            }
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<i64, String> {
        if self.eat("(") {
            return self.deeper(|evaluator| {
                let value = evaluator.ternary()?;
                if evaluator.eat(")") {
                    Ok(value)
                } else {
                    Err("arithmetic expression: expecting ')'".to_owned())
                }
            });
        }
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let word: String = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
            .collect();
        self.at += word.len();
        if word.is_empty() {
            return Err("arithmetic expression: expecting primary".to_owned());
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return number(&word);
        }
        self.variable(&word)
    }

    fn value_of(&mut self, name: &str) -> Result<i64, String> {
        let text = self.variables.get(name).unwrap_or_default();
        evaluate_at(&text, self.variables, self.depth + 1)
    }

    fn variable(&mut self, name: &str) -> Result<i64, String> {
        self.blanks();
        if self.looking_at("=") && !self.looking_at("==") {
            self.at += 1;
            let value = self.deeper(Self::ternary)?;
            self.variables.set(name, value.to_string())?;
            return Ok(value);
        }
        for operator in ["+", "-", "*", "/", "%"] {
            if !self.looking_at(&format!("{operator}=")) {
                continue;
            }
            self.at += 2;
            let left = self.value_of(name)?;
            let right = self.deeper(Self::ternary)?;
            let value = evaluate_at(
                &format!("({left}) {operator} ({right})"),
                self.variables,
                self.depth + 1,
            )?;
            self.variables.set(name, value.to_string())?;
            return Ok(value);
        }
        self.value_of(name)
    }
}

fn number(word: &str) -> Result<i64, String> {
    let (digits, radix) =
        if let Some(hex) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            (hex, 16)
        } else if word.len() > 1 && word.starts_with('0') {
            (word, 8)
        } else {
            (word, 10)
        };
    i64::from_str_radix(digits, radix)
        .map_err(|_| format!("arithmetic expression: bad number: {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    impl Variables for HashMap<String, String> {
        fn get(&self, name: &str) -> Option<String> {
            HashMap::get(self, name).cloned()
        }

        fn set(&mut self, name: &str, value: String) -> Result<(), String> {
            self.insert(name.to_owned(), value);
            Ok(())
        }
    }

    #[test]
    fn expressions() {
        let mut variables = HashMap::from([("x".to_owned(), "3".to_owned())]);
        for (text, value) in [
            ("1 + 2 * 3", 7),
            ("(1+2)*3", 9),
            ("x * x", 9),
            ("7 / 2", 3),
            ("-7 % 3", -1),
            ("1 < 2 && 2 < 1", 0),
            ("1 << 4 | 1", 17),
            ("x == 3 ? 10 : 20", 10),
            ("!0", 1),
            ("0x10", 16),
            ("010", 8),
            ("y", 0),
            ("y = 5", 5),
            ("y += 2", 7),
            ("~0", -1),
            ("5 - -2", 7),
            ("", 0),
        ] {
            assert_eq!(evaluate(text, &mut variables), Ok(value), "{text}");
        }
        for text in ["1 +", "1 / 0", "(1", "1 2", "9999999999999999999", "a b"] {
            assert!(evaluate(text, &mut variables).is_err(), "{text}");
        }
        variables.insert("r".to_owned(), "r".to_owned());
        assert!(evaluate("r", &mut variables).is_err());
        assert!(evaluate(&"(".repeat(10_000), &mut variables).is_err());
        assert!(evaluate(&("-".repeat(10_000) + "1"), &mut variables).is_err());
    }
}
