//! Text: `cat`, `head`, `tail`, `wc`, `sort`, `uniq`, `cut`, `tr`, `tee`.

use std::cmp::Ordering;
use std::collections::VecDeque;

use secure_exec_kernel::{Errno, oflag};

use super::options::{Options, Spec, options};
use crate::context::describe;
use crate::input::{Input, chomp};
use crate::output::Output;
use crate::{Context, MAX_TEXT};

/// Runs `body` on each operand, or on standard input; answers 1 when one could not be read.
fn each_input(
    context: &Context,
    name: &str,
    operands: &[&str],
    mut body: impl FnMut(&str, &mut Input<'_>) -> Result<(), Errno>,
) -> Result<i32, Errno> {
    let mut code = 0;
    let default = ["-"];
    let operands = if operands.is_empty() {
        default.as_slice()
    } else {
        operands
    };
    for path in operands {
        let done = Input::open(context, path).and_then(|mut input| body(path, &mut input));
        match done {
            Ok(()) => {}
            Err(error @ (Errno::EPIPE | Errno::EINTR)) => return Err(error),
            Err(error) => code = context.refuse(name, path, error)?,
        }
    }
    Ok(code)
}

/// `cat [-n] [file...]`
pub(super) fn cat(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "nu",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let mut number = 0_u64;
    each_input(context, "cat", &options.operands, |_, input| {
        if !options.has('n') {
            while let Some(chunk) = input.chunk()? {
                context.write(1, &chunk)?;
            }
            return Ok(());
        }
        while let Some(line) = input.line()? {
            number += 1;
            context.write(1, format!("{number:>6}\t").as_bytes())?;
            context.write(1, &line)?;
        }
        Ok(())
    })
}

/// `-n 5`, `-5`, `-c 5`: how much, and whether it counts bytes; the flag says that there was a plus sign.
fn amount(
    context: &Context,
    name: &str,
    options: &Options<'_>,
) -> Result<Result<(u64, bool, bool), i32>, Errno> {
    let (text, bytes) = match (options.value('c'), options.value('n')) {
        (Some(text), _) => (text, true),
        (None, Some(text)) => (text, false),
        (None, None) => ("10", false),
    };
    let plus = text.starts_with('+');
    if let Ok(number) = text.trim_start_matches(['+', '-']).parse() {
        Ok(Ok((number, bytes, plus)))
    } else {
        context.complain(name, format!("invalid number: '{text}'"))?;
        Ok(Err(1))
    }
}

/// `-5` as `-n 5`.
fn modern(words: &[String]) -> Vec<String> {
    words
        .iter()
        .map(|word| match word.strip_prefix('-') {
            Some(digits)
                if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                format!("-n{digits}")
            }
            _ => word.clone(),
        })
        .collect()
}

const PART: Spec = Spec {
    flags: "qvf",
    values: "nc",
    long: &[("lines", 'n'), ("bytes", 'c'), ("quiet", 'q')],
    mixed: true,
};

fn heading(
    context: &Context,
    options: &Options<'_>,
    path: &str,
    first: &mut bool,
) -> Result<(), Errno> {
    if options.operands.len() > 1 && !options.has('q') {
        let gap = if std::mem::take(first) { "" } else { "\n" };
        context.write(1, format!("{gap}==> {path} <==\n").as_bytes())?;
    }
    Ok(())
}

/// `head [-n lines | -c bytes] [file...]`
pub(super) fn head(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let words = modern(words);
    let options = options!(context, &words, PART);
    let (number, bytes, _) = match amount(context, "head", &options)? {
        Ok(amount) => amount,
        Err(code) => return Ok(code),
    };
    let mut first = true;
    each_input(context, "head", &options.operands, |path, input| {
        heading(context, &options, path, &mut first)?;
        let mut left = number;
        while left > 0 {
            if bytes {
                let Some(mut chunk) = input.chunk()? else {
                    break;
                };
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= chunk.len() as u64;
                context.write(1, &chunk)?;
            } else {
                let Some(line) = input.line()? else { break };
                left -= 1;
                context.write(1, &line)?;
            }
        }
        Ok(())
    })
}

/// `tail [-n [+]lines | -c bytes] [file...]`
pub(super) fn tail(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let words = modern(words);
    let options = options!(context, &words, PART);
    if options.has('f') {
        context.complain("tail", "following a file is not supported")?;
        return Ok(1);
    }
    let (number, bytes, plus) = match amount(context, "tail", &options)? {
        Ok(amount) => amount,
        Err(code) => return Ok(code),
    };
    let mut first = true;
    each_input(context, "tail", &options.operands, |path, input| {
        heading(context, &options, path, &mut first)?;
        if bytes {
            let all = input.all()?;
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            let start = if plus {
                number.saturating_sub(1).min(all.len())
            } else {
                all.len().saturating_sub(number)
            };
            return context.write(1, all.get(start..).unwrap_or_default());
        }
        let mut seen = 0;
        let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
        let mut size = 0;
        while let Some(line) = input.line()? {
            seen += 1;
            if plus {
                if seen >= number {
                    context.write(1, &line)?;
                }
                continue;
            }
            size += line.len();
            kept.push_back(line);
            if kept.len() as u64 > number {
                size -= kept.pop_front().map_or(0, |line| line.len());
            }
            if size > MAX_TEXT {
                return Err(Errno::EFBIG);
            }
        }
        for line in kept {
            context.write(1, &line)?;
        }
        Ok(())
    })
}

/// `wc [-lwcm] [file...]`
pub(super) fn wc(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "lwcm",
        long: &[
            ("lines", 'l'),
            ("words", 'w'),
            ("bytes", 'c'),
            ("chars", 'm'),
        ],
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let all = !"lwcm".chars().any(|flag| options.has(flag));
    let row = |counts: [u64; 4], path: &str| {
        let flags = ['l', 'w', 'm', 'c'];
        let picked: Vec<u64> = flags
            .iter()
            .zip(counts)
            .filter(|(flag, _)| options.has(**flag) || (all && **flag != 'm'))
            .map(|(_, count)| count)
            .collect();
        let width = if picked.len() == 1 && options.operands.len() < 2 {
            0
        } else {
            7
        };
        let numbers: Vec<String> = picked
            .iter()
            .map(|count| format!("{count:>width$}"))
            .collect();
        let path = if path == "-" {
            String::new()
        } else {
            format!(" {path}")
        };
        format!("{}{path}\n", numbers.join(" "))
    };
    let mut total = [0_u64; 4];
    let code = each_input(context, "wc", &options.operands, |path, input| {
        let mut counts = [0_u64; 4];
        let [lines, word_count, characters, bytes] = &mut counts;
        let mut in_word = false;
        while let Some(chunk) = input.chunk()? {
            *bytes += chunk.len() as u64;
            for byte in chunk {
                *lines += u64::from(byte == b'\n');
                *characters += u64::from(byte & 0xc0 != 0x80);
                let blank = byte.is_ascii_whitespace();
                *word_count += u64::from(!blank && !in_word);
                in_word = !blank;
            }
        }
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
        context.write(1, row(counts, path).as_bytes())
    })?;
    if options.operands.len() > 1 {
        context.write(1, row(total, "total").as_bytes())?;
    }
    Ok(code)
}

/// Every line of all operands, without newlines.
fn all_lines(
    context: &Context,
    name: &str,
    operands: &[&str],
) -> Result<(Vec<Vec<u8>>, i32), Errno> {
    let (mut lines, mut size) = (Vec::new(), 0);
    let code = each_input(context, name, operands, |_, input| {
        while let Some(line) = input.line()? {
            size += line.len() + size_of::<Vec<u8>>();
            if size > MAX_TEXT {
                return Err(Errno::EFBIG);
            }
            lines.push(chomp(&line).to_vec());
        }
        Ok(())
    })?;
    Ok((lines, code))
}

/// The number at the start of a text.
fn leading_number(text: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && *c == '-')));
    let number = text
        .get(..end.map_or(text.len(), |(at, _)| at))
        .unwrap_or_default();
    number.parse().unwrap_or(0.0)
}

/// The fields of a line from `from` to `to`, counted from 1.
fn key(line: &[u8], separator: Option<u8>, from: usize, to: Option<usize>) -> &[u8] {
    let mut starts = vec![0];
    match separator {
        Some(separator) => {
            starts.extend(
                line.iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == separator)
                    .map(|(at, _)| at + 1),
            );
        }
        None => {
            // A field begins with the blanks before it.
            for (at, pair) in line.windows(2).enumerate() {
                if let [before, after] = pair
                    && !before.is_ascii_whitespace()
                    && after.is_ascii_whitespace()
                {
                    starts.push(at + 1);
                }
            }
        }
    }
    let start = starts
        .get(from.saturating_sub(1))
        .copied()
        .unwrap_or(line.len());
    let end = match to.and_then(|to| starts.get(to)) {
        Some(next) => next - usize::from(separator.is_some()),
        None => line.len(),
    };
    line.get(start..end.max(start)).unwrap_or_default()
}

/// `sort [-rnufb] [-t separator] [-k field[,field]] [-o file] [file...]`
pub(super) fn sort(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "rnufbsVcd",
        values: "tko",
        long: &[
            ("reverse", 'r'),
            ("numeric-sort", 'n'),
            ("unique", 'u'),
            ("ignore-case", 'f'),
            ("key", 'k'),
        ],
        mixed: true,
    };
    let options = options!(context, words, SPEC);
    let separator = options.value('t').and_then(|text| text.bytes().next());
    let keys: Vec<(usize, Option<usize>, String)> = options
        .values('k')
        .iter()
        .map(|text| {
            let (from, to) = text
                .split_once(',')
                .map_or((*text, None), |(from, to)| (from, Some(to)));
            let number = |text: &str| {
                let digits = text
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(text.len());
                text.get(..digits)
                    .and_then(|digits| digits.parse().ok())
                    .unwrap_or(1)
            };
            let letters = format!("{from}{}", to.unwrap_or_default());
            (
                number(from),
                to.map(number),
                letters.chars().filter(char::is_ascii_alphabetic).collect(),
            )
        })
        .collect();
    let (mut lines, code) = all_lines(context, "sort", &options.operands)?;
    let by = |a: &[u8], b: &[u8], letters: &str| {
        let has = |flag: char| {
            if letters.is_empty() {
                options.has(flag)
            } else {
                letters.contains(flag)
            }
        };
        let order = if has('n') || has('V') {
            leading_number(a).total_cmp(&leading_number(b))
        } else if has('f') {
            a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase())
        } else {
            a.cmp(b)
        };
        if has('r') { order.reverse() } else { order }
    };
    let compare = |a: &[u8], b: &[u8]| {
        let mut order = Ordering::Equal;
        for (from, to, letters) in &keys {
            order = order.then_with(|| {
                by(
                    key(a, separator, *from, *to),
                    key(b, separator, *from, *to),
                    letters,
                )
            });
        }
        if keys.is_empty() { by(a, b, "") } else { order }
    };
    context.check()?;
    lines.sort_by(|a, b| {
        let order = compare(a, b);
        if order == Ordering::Equal && !options.has('s') && !options.has('u') {
            let order = a.cmp(b);
            return if options.has('r') {
                order.reverse()
            } else {
                order
            };
        }
        order
    });
    context.check()?;
    if options.has('u') {
        lines.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
    }
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    match options.value('o') {
        Some(path) => {
            let flags = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;
            if let Err(error) =
                context
                    .kernel()
                    .write_file(context.process(), path.as_bytes(), &text, flags, 0o666)
            {
                return context.refuse("sort", path, error);
            }
        }
        None => context.write(1, &text)?,
    }
    Ok(code)
}

/// `uniq [-cdui] [file]`
pub(super) fn uniq(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "cdui",
        long: &[("count", 'c'), ("repeated", 'd'), ("unique", 'u')],
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let mut output = Output::new(context);
    let mut emit = |line: &[u8], count: u64| {
        if (options.has('d') && count < 2) || (options.has('u') && count > 1) {
            return Ok(());
        }
        if options.has('c') {
            output.put(format!("{count:>7} "))?;
        }
        output.line(line)
    };
    let mut current: Option<(Vec<u8>, u64)> = None;
    let code = each_input(
        context,
        "uniq",
        options.operands.get(..1).unwrap_or_default(),
        |_, input| {
            while let Some(line) = input.line()? {
                let line = chomp(&line);
                match &mut current {
                    Some((last, count))
                        if last == line
                            || (options.has('i') && last.eq_ignore_ascii_case(line)) =>
                    {
                        *count += 1;
                    }
                    _ => {
                        if let Some((last, count)) = current.replace((line.to_vec(), 1)) {
                            emit(&last, count)?;
                        }
                    }
                }
            }
            Ok(())
        },
    )?;
    if let Some((last, count)) = current {
        emit(&last, count)?;
    }
    output.finish(code)
}

/// `1,3-5,7-`: pairs of first and last.
fn ranges(text: &str) -> Option<Vec<(usize, usize)>> {
    text.split(',')
        .map(|part| {
            let (from, to) = match part.split_once('-') {
                Some((from, to)) => (from, to),
                None => (part, part),
            };
            let from = if from.is_empty() {
                1
            } else {
                from.parse().ok().filter(|from| *from > 0)?
            };
            let to = if to.is_empty() {
                usize::MAX
            } else {
                to.parse().ok()?
            };
            Some((from, to))
        })
        .collect()
}

/// `cut (-f list [-d separator] [-s] | -c list | -b list) [file...]`
pub(super) fn cut(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "sn",
        values: "fdcb",
        long: &[
            ("fields", 'f'),
            ("delimiter", 'd'),
            ("characters", 'c'),
            ("bytes", 'b'),
        ],
        mixed: true,
    };
    let options = options!(context, words, SPEC);
    let fields = options.value('f');
    let Some(list) = fields
        .or(options.value('c'))
        .or(options.value('b'))
        .and_then(ranges)
    else {
        context.complain(
            "cut",
            "you must specify a list of bytes, characters, or fields",
        )?;
        return Ok(1);
    };
    let picked = |number: usize| {
        list.iter()
            .any(|(from, to)| (*from..=*to).contains(&number))
    };
    let separator = options
        .value('d')
        .and_then(|text| text.chars().next())
        .unwrap_or('\t');
    let mut output = Output::new(context);
    let code = each_input(context, "cut", &options.operands, |_, input| {
        while let Some(line) = input.line()? {
            let line = String::from_utf8_lossy(chomp(&line)).into_owned();
            if fields.is_none() {
                let kept: String = (1..)
                    .zip(line.chars())
                    .filter(|(at, _)| picked(*at))
                    .map(|(_, c)| c)
                    .collect();
                output.line(kept)?;
            } else if line.contains(separator) {
                let kept: Vec<&str> = (1..)
                    .zip(line.split(separator))
                    .filter(|(at, _)| picked(*at))
                    .map(|(_, field)| field)
                    .collect();
                output.line(kept.join(&separator.to_string()))?;
            } else if !options.has('s') {
                output.line(line)?;
            }
        }
        Ok(())
    })?;
    output.finish(code)
}

/// The bytes of a set of `tr`: ranges, classes and escapes.
fn byte_set(text: &str) -> Vec<u8> {
    for (name, test) in [
        ("[:lower:]", u8::is_ascii_lowercase as fn(&u8) -> bool),
        ("[:upper:]", u8::is_ascii_uppercase),
        ("[:digit:]", u8::is_ascii_digit),
        ("[:alpha:]", u8::is_ascii_alphabetic),
        ("[:alnum:]", u8::is_ascii_alphanumeric),
        ("[:space:]", u8::is_ascii_whitespace),
        ("[:punct:]", u8::is_ascii_punctuation),
    ] {
        if let Some((before, after)) = text.split_once(name) {
            let mut set = byte_set(before);
            set.extend((0..=255).filter(test));
            set.extend(byte_set(after));
            return set;
        }
    }
    let mut plain = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'0') => 0,
                Some(other) => other,
                None => b'\\',
            },
            byte => byte,
        });
    }
    let mut set = Vec::new();
    let mut at = 0;
    while let Some(byte) = plain.get(at) {
        match (plain.get(at + 1), plain.get(at + 2)) {
            (Some(b'-'), Some(last)) if last >= byte => {
                set.extend(*byte..=*last);
                at += 3;
            }
            _ => {
                set.push(*byte);
                at += 1;
            }
        }
    }
    set
}

/// `tr [-cds] set1 [set2]`, on bytes.
pub(super) fn tr(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "cCds",
        mixed: false,
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let (first, second) = match options.operands.as_slice() {
        [first] => (byte_set(first), None),
        [first, second] => (byte_set(first), Some(byte_set(second))),
        _ => {
            context.complain("tr", "missing operand")?;
            return Ok(1);
        }
    };
    let complement = options.has('c') || options.has('C');
    let from: Vec<u8> = if complement {
        (0..=255).filter(|byte| !first.contains(byte)).collect()
    } else {
        first
    };
    let mut table: [Option<u8>; 256] = std::array::from_fn(|byte| u8::try_from(byte).ok());
    let mut squeezed = [false; 256];
    if options.has('d') {
        for byte in &from {
            if let Some(slot) = table.get_mut(usize::from(*byte)) {
                *slot = None;
            }
        }
    } else if let Some(to) = &second {
        for (index, byte) in from.iter().enumerate() {
            if let Some(slot) = table.get_mut(usize::from(*byte)) {
                *slot = to.get(index).or(to.last()).copied();
            }
        }
    }
    if options.has('s') {
        for byte in second.as_ref().unwrap_or(&from) {
            if let Some(slot) = squeezed.get_mut(usize::from(*byte)) {
                *slot = true;
            }
        }
    }
    let mut last = None;
    let mut input = Input::of(context, 0);
    while let Some(chunk) = input.chunk()? {
        let mut changed = Vec::with_capacity(chunk.len());
        for byte in chunk {
            let Some(byte) = table.get(usize::from(byte)).copied().flatten() else {
                continue;
            };
            let repeats = last == Some(byte)
                && squeezed
                    .get(usize::from(byte))
                    .is_some_and(|squeezed| *squeezed);
            if !repeats {
                changed.push(byte);
            }
            last = Some(byte);
        }
        context.write(1, &changed)?;
    }
    Ok(0)
}

/// `tee [-a] file...`
pub(super) fn tee(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "ai",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let mode = if options.has('a') {
        oflag::O_APPEND
    } else {
        oflag::O_TRUNC
    };
    let mut files = Vec::new();
    let mut code = 0;
    for path in &options.operands {
        match context.kernel().open(
            context.process(),
            path.as_bytes(),
            oflag::O_WRONLY | oflag::O_CREAT | mode,
            0o666,
        ) {
            Ok(fd) => files.push(fd),
            Err(error) => code = context.refuse("tee", path, error)?,
        }
    }
    let mut input = Input::of(context, 0);
    while let Some(chunk) = input.chunk()? {
        context.write(1, &chunk)?;
        for fd in &files {
            if let Err(error) = context.write(*fd, &chunk) {
                context.complain("tee", describe(error))?;
                code = 1;
            }
        }
    }
    Ok(code)
}
