//! Commands that write their arguments: `echo`, `printf`, `basename`, `dirname`, `pwd`, `seq`, `date`.

use secure_exec_kernel::Errno;

use super::options::{Spec, options};
use crate::Context;
use crate::context::describe;
use crate::output::Output;

/// Resolves `\n`, `\t`, `\0nnn` and the like; the flag says that `\c` ended the output.
fn unescape(text: &str, zero_octal: bool) -> (Vec<u8>, bool) {
    let mut bytes = Vec::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(escaped) = characters.next() else {
            bytes.push(b'\\');
            break;
        };
        let byte = match escaped {
            'a' => 7,
            'b' => 8,
            'c' => return (bytes, true),
            'e' => 27,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            'x' => {
                let mut value = 0_u32;
                for _ in 0..2 {
                    let Some(digit) = characters.peek().and_then(|c| c.to_digit(16)) else {
                        break;
                    };
                    characters.next();
                    value = value * 16 + digit;
                }
                bytes.push((value & 0xff) as u8);
                continue;
            }
            '0'..='7' if !zero_octal || escaped == '0' => {
                let mut value = escaped.to_digit(8).unwrap_or_default();
                let more = if zero_octal { 3 } else { 2 };
                for _ in 0..more {
                    let Some(digit) = characters.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    characters.next();
                    value = value * 8 + digit;
                }
                bytes.push((value & 0xff) as u8);
                continue;
            }
            other => {
                bytes.push(b'\\');
                bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        bytes.push(byte);
    }
    (bytes, false)
}

/// `echo [-n] [-e] [word...]`, with escapes as the shell of Debian has them.
pub(super) fn echo(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let mut rest = words.get(1..).unwrap_or_default();
    let mut newline = true;
    while let [option, others @ ..] = rest {
        match option.as_str() {
            "-n" => newline = false,
            "-e" => {}
            "-ne" | "-en" => newline = false,
            _ => break,
        }
        rest = others;
    }
    let (mut bytes, stopped) = unescape(&rest.join(" "), true);
    if newline && !stopped {
        bytes.push(b'\n');
    }
    context.write(1, &bytes)?;
    Ok(0)
}

/// `printf format [argument...]`: the format is used again while there are arguments.
pub(super) fn printf(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let Some(format) = words.get(1) else {
        context.complain("printf", "usage: printf format [arg ...]")?;
        return Ok(2);
    };
    let mut arguments = words.iter().skip(2);
    let mut output = Output::new(context);
    let mut code = 0;
    loop {
        context.check()?;
        let before = arguments.len();
        let (stop, wrong) = format_once(format, &mut arguments, &mut output)?;
        if let Some(wrong) = wrong {
            code = 1;
            output.flush()?;
            context.complain("printf", wrong)?;
        }
        // A format that takes no arguments is used once.
        if stop || arguments.len() == 0 || arguments.len() == before {
            return output.finish(code);
        }
    }
}

type Arguments<'a> = std::iter::Skip<std::slice::Iter<'a, String>>;

fn format_once(
    format: &str,
    arguments: &mut Arguments<'_>,
    output: &mut Output<'_>,
) -> Result<(bool, Option<String>), Errno> {
    let mut wrong = None;
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let (literal, after) = rest.split_at(at);
        let (bytes, stop) = unescape(literal, false);
        output.put(bytes)?;
        if stop {
            return Ok((true, wrong));
        }
        let spec_end = after
            .char_indices()
            .skip(1)
            .find(|(_, c)| !"-+ 0#.*123456789".contains(*c));
        let Some((end, conversion)) = spec_end else {
            return Ok((true, Some("missing conversion character".to_owned())));
        };
        let flags = after.get(1..end).unwrap_or_default();
        rest = after.get(end + conversion.len_utf8()..).unwrap_or_default();
        if conversion == '%' {
            output.put("%")?;
            continue;
        }
        let mut layout = Layout::parse(flags, arguments);
        let argument = arguments.next().map_or("", String::as_str);
        let number = |wrong: &mut Option<String>| {
            if let Some(number) = parse_integer(argument) {
                number
            } else {
                *wrong = Some(format!("{argument}: expected numeric value"));
                0
            }
        };
        let text = match conversion {
            's' => layout.clip(argument),
            'b' => {
                let (bytes, stop) = unescape(argument, true);
                output.put(layout.pad(&String::from_utf8_lossy(&bytes)))?;
                if stop {
                    return Ok((true, wrong));
                }
                continue;
            }
            'c' => argument.chars().take(1).collect(),
            'd' | 'i' => layout.signed(number(&mut wrong)),
            'u' => number(&mut wrong).to_string(),
            'x' => format!("{:x}", number(&mut wrong)),
            'X' => format!("{:X}", number(&mut wrong)),
            'o' => format!("{:o}", number(&mut wrong)),
            'f' | 'F' | 'e' | 'g' => {
                let value: f64 = if argument.is_empty() {
                    0.0
                } else {
                    argument.parse().unwrap_or(0.0)
                };
                let digits = layout.precision.take().unwrap_or(6);
                match conversion {
                    'e' => format!("{value:.digits$e}"),
                    'g' => format!("{value}"),
                    _ => format!("{value:.digits$}"),
                }
            }
            other => return Ok((true, Some(format!("%{other}: invalid directive")))),
        };
        output.put(layout.pad(&text))?;
    }
    let (bytes, stop) = unescape(rest, false);
    output.put(bytes)?;
    Ok((stop, wrong))
}

fn parse_integer(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0);
    }
    // A quote before a character means its number.
    if let Some(rest) = text.strip_prefix(['\'', '"']) {
        return rest.chars().next().map(|c| i64::from(u32::from(c)));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    value
        .ok()
        .map(|value| if negative { -value } else { value })
}

/// Width, precision and flags of a conversion.
struct Layout {
    left: bool,
    zero: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

impl Layout {
    /// Widths are limited, since a format is used for every argument.
    const MAX_WIDTH: usize = 4096;

    fn parse(flags: &str, arguments: &mut Arguments<'_>) -> Layout {
        let (width, precision) = match flags.split_once('.') {
            Some((width, precision)) => (width, Some(precision)),
            None => (flags, None),
        };
        let digits = width.trim_start_matches(['-', '+', ' ', '0', '#']);
        let marks = width.get(..width.len() - digits.len()).unwrap_or_default();
        let mut size = |text: &str| -> usize {
            let size = if text == "*" {
                arguments.next().and_then(|word| word.parse().ok())
            } else {
                text.parse().ok()
            };
            size.unwrap_or(0).min(Layout::MAX_WIDTH)
        };
        Layout {
            left: marks.contains('-'),
            zero: marks.contains('0'),
            plus: marks.contains('+'),
            width: size(digits),
            precision: precision.map(size),
        }
    }

    fn clip(&self, text: &str) -> String {
        match self.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text.to_owned(),
        }
    }

    fn signed(&self, value: i64) -> String {
        if self.plus {
            format!("{value:+}")
        } else {
            value.to_string()
        }
    }

    fn pad(&self, text: &str) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            format!("{text}{}", " ".repeat(missing))
        } else if self.zero && text.parse::<f64>().is_ok() {
            match text.strip_prefix('-') {
                Some(digits) => format!("-{}{digits}", "0".repeat(missing)),
                None => format!("{}{text}", "0".repeat(missing)),
            }
        } else {
            format!("{}{text}", " ".repeat(missing))
        }
    }
}

/// `basename path [suffix]`
pub(super) fn basename(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let Some(path) = words.get(1) else {
        context.complain("basename", "missing operand")?;
        return Ok(1);
    };
    let trimmed = path.trim_end_matches('/');
    let name = match trimmed.rsplit('/').next() {
        Some("") | None if !path.is_empty() => "/",
        name => name.unwrap_or_default(),
    };
    let suffix = words.get(2).map_or("", String::as_str);
    let name = name
        .strip_suffix(suffix)
        .filter(|rest| !rest.is_empty())
        .unwrap_or(name);
    context.write(1, format!("{name}\n").as_bytes())?;
    Ok(0)
}

/// `dirname path...`
pub(super) fn dirname(context: &Context, words: &[String]) -> Result<i32, Errno> {
    if words.len() < 2 {
        context.complain("dirname", "missing operand")?;
        return Ok(1);
    }
    let mut output = Output::new(context);
    for path in words.iter().skip(1) {
        let trimmed = path.trim_end_matches('/');
        let folder = match trimmed.rsplit_once('/') {
            None if trimmed.is_empty() && !path.is_empty() => "/",
            None => ".",
            Some((folder, _)) => match folder.trim_end_matches('/') {
                "" => "/",
                folder => folder,
            },
        };
        output.line(folder)?;
    }
    output.finish(0)
}

/// `pwd`
pub(super) fn pwd(context: &Context, _: &[String]) -> Result<i32, Errno> {
    match context.cwd() {
        Ok(mut cwd) => {
            cwd.push(b'\n');
            context.write(1, &cwd)?;
            Ok(0)
        }
        Err(error) => {
            context.complain("pwd", describe(error))?;
            Ok(1)
        }
    }
}

/// `seq [first [step]] last`
pub(super) fn seq(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let numbers: Option<Vec<i64>> = words.iter().skip(1).map(|word| word.parse().ok()).collect();
    let (mut at, step, last) = match numbers.as_deref() {
        Some([last]) => (1, 1, *last),
        Some([first, last]) => (*first, 1, *last),
        Some([first, step, last]) if *step != 0 => (*first, *step, *last),
        _ => {
            context.complain("seq", "expected one to three whole numbers")?;
            return Ok(1);
        }
    };
    let mut output = Output::new(context);
    while (step > 0 && at <= last) || (step < 0 && at >= last) {
        context.check()?;
        output.line(at.to_string())?;
        at = match at.checked_add(step) {
            Some(next) => next,
            None => break,
        };
    }
    output.finish(0)
}

/// `date [-u] [-r file] [+format]`, in UTC: the machine has no other zone.
pub(super) fn date(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const NAMES: Spec = Spec {
        flags: "uI",
        values: "r",
        ..Spec::NONE
    };
    let options = options!(context, words, NAMES);
    let time = match options.value('r') {
        Some(file) => match context.kernel().stat(context.process(), file.as_bytes()) {
            Ok(stat) => stat.mtime,
            Err(errno) => {
                context.complain("date", format!("{file}: {}", describe(errno)))?;
                return Ok(1);
            }
        },
        None => {
            let clock = context.process().clock();
            clock.catch_up();
            clock.time()
        }
    };
    let format = match options.operands.first() {
        Some(operand) => {
            if let Some(format) = operand.strip_prefix('+') {
                format
            } else {
                context.complain("date", format!("invalid date '{operand}'"))?;
                return Ok(1);
            }
        }
        None if options.has('I') => "%Y-%m-%d",
        None => "%a %b %e %H:%M:%S UTC %Y",
    };
    let text = Calendar::new(time.seconds, time.nanos).format(format);
    context.write(1, format!("{text}\n").as_bytes())?;
    Ok(0)
}

/// A moment in the Gregorian calendar.
pub(super) struct Calendar {
    seconds: i64,
    nanos: u32,
    year: i64,
    month: usize,
    day: i64,
    year_day: i64,
    week_day: usize,
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Days from 1970-01-01 to a day of the Gregorian calendar; nothing when there is no such day.
pub(super) fn days_before(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(0..=9999).contains(&year) {
        return None;
    }
    // Years that begin in March, as in `Calendar::new`.
    let (year_from_march, month_from_march) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let before_year = 365 * year_from_march + year_from_march.div_euclid(4)
        - year_from_march.div_euclid(100)
        + year_from_march.div_euclid(400);
    let days = before_year + (153 * month_from_march + 2) / 5 + day - 1 - 719_468;
    let found = Calendar::new(days * 86_400, 0);
    (found.day == day && i64::try_from(found.month).is_ok_and(|month0| month0 + 1 == month))
        .then_some(days)
}

impl Calendar {
    /// The year.
    pub fn year(&self) -> i64 {
        self.year
    }

    pub fn new(seconds: i64, nanos: u32) -> Calendar {
        let days = seconds.div_euclid(86_400);
        // Years that begin in March make the leap day the last one; 719,468 days lie between 0000-03-01 and 1970.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let year_day = if month > 2 {
            of_year + 59 + i64::from(leap)
        } else {
            of_year - 306
        };
        Calendar {
            seconds,
            nanos,
            year,
            month: usize::try_from(month - 1).unwrap_or_default(),
            day: of_year - (153 * march_month + 2) / 5 + 1,
            year_day: year_day + 1,
            week_day: usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default(),
        }
    }

    pub fn format(&self, format: &str) -> String {
        let of_day = self.seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let day_name = DAYS.get(self.week_day).copied().unwrap_or_default();
        let month_name = MONTHS.get(self.month).copied().unwrap_or_default();
        let short = |name: &str| name.get(..3).unwrap_or_default().to_owned();
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(c) = characters.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let part = match characters.next() {
                Some('Y') => self.year.to_string(),
                Some('y') => format!("{:02}", self.year.rem_euclid(100)),
                Some('m') => format!("{:02}", self.month + 1),
                Some('d') => format!("{:02}", self.day),
                Some('e') => format!("{:2}", self.day),
                Some('j') => format!("{:03}", self.year_day),
                Some('H') => format!("{hour:02}"),
                Some('I') => format!("{:02}", (hour + 11) % 12 + 1),
                Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
                Some('M') => format!("{minute:02}"),
                Some('S') => format!("{second:02}"),
                Some('N') => format!("{:09}", self.nanos),
                Some('s') => self.seconds.to_string(),
                Some('F') => self.format("%Y-%m-%d"),
                Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
                Some('D') => self.format("%m/%d/%y"),
                Some('R') => format!("{hour:02}:{minute:02}"),
                Some('a') => short(day_name),
                Some('A') => day_name.to_owned(),
                Some('b' | 'h') => short(month_name),
                Some('B') => month_name.to_owned(),
                Some('u') => if self.week_day == 0 { 7 } else { self.week_day }.to_string(),
                Some('w') => self.week_day.to_string(),
                Some('Z') => "UTC".to_owned(),
                Some('z') => "+0000".to_owned(),
                Some('n') => "\n".to_owned(),
                Some('t') => "\t".to_owned(),
                Some('%') => "%".to_owned(),
                Some(other) => format!("%{other}"),
                None => "%".to_owned(),
            };
            text.push_str(&part);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 Thu 001"),
            (951_782_400, "2000-02-29 Tue 060"),
            (1_709_251_199, "2024-02-29 Thu 060"),
            (1_735_603_200, "2024-12-31 Tue 366"),
            (-86_400, "1969-12-31 Wed 365"),
        ] {
            assert_eq!(Calendar::new(seconds, 0).format("%F %a %j"), text);
        }
    }
}
