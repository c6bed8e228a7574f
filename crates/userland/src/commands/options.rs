//! Options of commands: `-abc`, `-n 5`, `-n5`, `--long`, `--long=value`.

use secure_exec_kernel::Errno;

use crate::Context;

/// What a command was called with.
#[derive(Debug, Default)]
pub(crate) struct Options<'a> {
    flags: Vec<char>,
    values: Vec<(char, &'a str)>,
    /// What is no option.
    pub operands: Vec<&'a str>,
}

impl<'a> Options<'a> {
    /// Whether a flag was given.
    pub fn has(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }

    /// The last value of an option.
    pub fn value(&self, option: char) -> Option<&'a str> {
        self.values(option).last().copied()
    }

    /// Every value of an option.
    pub fn values(&self, option: char) -> Vec<&'a str> {
        self.values
            .iter()
            .filter(|(name, _)| *name == option)
            .map(|(_, value)| *value)
            .collect()
    }
}

/// Which options a command has.
pub(crate) struct Spec {
    /// Letters without a value.
    pub flags: &'static str,
    /// Letters with a value.
    pub values: &'static str,
    /// Long names and the letters that they stand for.
    pub long: &'static [(&'static str, char)],
    /// Whether operands may come before options.
    pub mixed: bool,
}

impl Spec {
    pub const NONE: Spec = Spec {
        flags: "",
        values: "",
        long: &[],
        mixed: true,
    };
}

/// Reads a command's words; complains and answers its exit code when they are wrong.
pub(crate) fn parse<'a>(
    context: &Context,
    words: &'a [String],
    spec: &Spec,
) -> Result<Result<Options<'a>, i32>, Errno> {
    let name = words.first().map_or("", String::as_str);
    let mut options = Options::default();
    let mut rest = words.iter().skip(1).map(String::as_str);
    while let Some(word) = rest.next() {
        if word == "--" {
            options.operands.extend(rest);
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (key, inline) = match long.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (long, None),
            };
            let Some((_, letter)) = spec.long.iter().find(|(known, _)| *known == key) else {
                context.complain(name, format!("unrecognized option '{word}'"))?;
                return Ok(Err(2));
            };
            if !spec.values.contains(*letter) {
                options.flags.push(*letter);
                continue;
            }
            let Some(value) = inline.or_else(|| rest.next()) else {
                context.complain(name, format!("option '{word}' requires an argument"))?;
                return Ok(Err(2));
            };
            options.values.push((*letter, value));
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            options.operands.push(word);
            if !spec.mixed {
                options.operands.extend(rest);
                break;
            }
            continue;
        };
        for (at, letter) in letters.char_indices() {
            if spec.flags.contains(letter) {
                options.flags.push(letter);
            } else if spec.values.contains(letter) {
                let inline = letters
                    .get(at + letter.len_utf8()..)
                    .filter(|inline| !inline.is_empty());
                let Some(value) = inline.or_else(|| rest.next()) else {
                    context.complain(name, format!("option requires an argument -- '{letter}'"))?;
                    return Ok(Err(2));
                };
                options.values.push((letter, value));
                break;
            } else {
                context.complain(name, format!("invalid option -- '{letter}'"))?;
                return Ok(Err(2));
            }
        }
    }
    Ok(Ok(options))
}

/// Options of `words`, or an early answer of the calling command.
macro_rules! options {
    ($context:expr, $words:expr, $spec:expr) => {
        match $crate::commands::options::parse($context, $words, &$spec)? {
            Ok(options) => options,
            Err(code) => return Ok(code),
        }
    };
}
pub(crate) use options;
