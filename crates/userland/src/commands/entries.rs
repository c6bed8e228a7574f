//! Entries of folders: `mkdir`, `rmdir`, `rm`, `cp`, `mv`, `ln`, `touch`, `chmod`, `mktemp`, `readlink`, `realpath`.

use secure_exec_kernel::{Errno, FileType, TimeSpec, oflag};

use super::options::{Options, Spec, options};
use super::print::{Calendar, days_before};
use crate::Context;
use crate::context::describe;
use crate::output::Output;

/// How deep trees are copied and changed.
const MAX_DEPTH: u32 = 256;

fn is_folder(context: &Context, path: &str) -> bool {
    context
        .kernel()
        .stat(context.process(), path.as_bytes())
        .is_ok_and(|stat| stat.file_type == FileType::Directory)
}

/// Says what could not be done; answers the exit code 1.
fn fail(context: &Context, name: &str, what: &str, error: Errno) -> Result<i32, Errno> {
    if error == Errno::EINTR {
        return Err(error);
    }
    context.complain(name, format!("{what}: {}", describe(error)))?;
    Ok(1)
}

/// Complains that operands are missing.
fn missing(context: &Context, name: &str) -> Result<i32, Errno> {
    context.complain(name, "missing operand")?;
    Ok(1)
}

fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

fn last_name(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

/// `mkdir [-p] [-m mode] path...`
pub(super) fn mkdir(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "pv",
        values: "m",
        long: &[("parents", 'p'), ("mode", 'm')],
        mixed: true,
    };
    let options = options!(context, words, SPEC);
    let mode = options
        .value('m')
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .unwrap_or(0o777);
    if options.operands.is_empty() {
        return missing(context, "mkdir");
    }
    let mut code = 0;
    for path in &options.operands {
        let (kernel, process) = (context.kernel(), context.process());
        let made = if options.has('p') {
            kernel
                .mkdir_recursive(process, path.as_bytes(), mode)
                .map(drop)
        } else {
            kernel.mkdir(process, path.as_bytes(), mode)
        };
        if let Err(error) = made {
            code = fail(
                context,
                "mkdir",
                &format!("cannot create directory '{path}'"),
                error,
            )?;
        }
    }
    Ok(code)
}

/// `rmdir [-p] path...`
pub(super) fn rmdir(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "p",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let mut code = 0;
    for path in &options.operands {
        let mut path = *path;
        loop {
            if let Err(error) = context.kernel().rmdir(context.process(), path.as_bytes()) {
                code = fail(
                    context,
                    "rmdir",
                    &format!("failed to remove '{path}'"),
                    error,
                )?;
                break;
            }
            match path.trim_end_matches('/').rsplit_once('/') {
                Some((parent, _)) if options.has('p') && !parent.is_empty() => path = parent,
                _ => break,
            }
        }
    }
    Ok(code)
}

/// `rm [-rf] path...`
pub(super) fn rm(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "rRfvdi",
        long: &[("recursive", 'r'), ("force", 'f')],
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    if options.operands.is_empty() && !options.has('f') {
        return missing(context, "rm");
    }
    let recursive = options.has('r') || options.has('R');
    let mut code = 0;
    for path in &options.operands {
        let (kernel, process) = (context.kernel(), context.process());
        if matches!(last_name(path), "" | "." | "..") {
            context.complain("rm", format!("refusing to remove '{path}'"))?;
            code = 1;
            continue;
        }
        let removed = match kernel.lstat(process, path.as_bytes()) {
            Ok(stat) if stat.file_type != FileType::Directory => {
                kernel.unlink(process, path.as_bytes())
            }
            Ok(_) if recursive => kernel.remove_all(process, path.as_bytes()).map(drop),
            Ok(_) if options.has('d') => kernel.rmdir(process, path.as_bytes()),
            Ok(_) => Err(Errno::EISDIR),
            Err(Errno::ENOENT) if options.has('f') => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            code = fail(context, "rm", &format!("cannot remove '{path}'"), error)?;
        }
    }
    Ok(code)
}

/// Sources, the target, and whether that is a folder.
type Destination<'a> = (Vec<&'a str>, String, bool);

/// Sources and the folder or name that they go to; complains and answers `None` when that cannot be.
fn destination<'a>(
    context: &Context,
    name: &str,
    options: &Options<'a>,
) -> Result<Option<Destination<'a>>, Errno> {
    let mut sources = options.operands.clone();
    let target = match options.value('t') {
        Some(target) => Some(target),
        None => sources.pop(),
    };
    let Some(target) = target.filter(|_| !sources.is_empty()) else {
        context.complain(name, "missing file operand")?;
        return Ok(None);
    };
    let folder = is_folder(context, target) && !options.has('T');
    if sources.len() > 1 && !folder {
        context.complain(name, format!("target '{target}' is not a directory"))?;
        return Ok(None);
    }
    Ok(Some((sources, target.to_owned(), folder)))
}

const COPY: Spec = Spec {
    flags: "rRafpvnTLPid",
    values: "t",
    long: &[
        ("recursive", 'r'),
        ("archive", 'a'),
        ("force", 'f'),
        ("target-directory", 't'),
        ("no-clobber", 'n'),
    ],
    mixed: true,
};

/// `cp [-raLPpn] source... target`
pub(super) fn cp(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let options = options!(context, words, COPY);
    let Some((sources, target, folder)) = destination(context, "cp", &options)? else {
        return Ok(1);
    };
    let mut code = 0;
    for source in sources {
        let to = if folder {
            join(&target, last_name(source))
        } else {
            target.clone()
        };
        code = code.max(copy(context, &options, source, &to, 0)?);
    }
    Ok(code)
}

fn copy(
    context: &Context,
    options: &Options<'_>,
    from: &str,
    to: &str,
    depth: u32,
) -> Result<i32, Errno> {
    context.check()?;
    let (kernel, process) = (context.kernel(), context.process());
    let recursive = options.has('r') || options.has('R') || options.has('a');
    let keeps_links = (recursive || options.has('P') || options.has('d')) && !options.has('L');
    let stat = if keeps_links {
        kernel.lstat(process, from.as_bytes())
    } else {
        kernel.stat(process, from.as_bytes())
    };
    let stat = match stat {
        Ok(stat) => stat,
        Err(error) => return fail(context, "cp", &format!("cannot stat '{from}'"), error),
    };
    let result = match stat.file_type {
        FileType::Directory if !recursive => {
            context.complain(
                "cp",
                format!("-r not specified; omitting directory '{from}'"),
            )?;
            return Ok(1);
        }
        FileType::Directory => {
            // A copy into itself would never end.
            if depth >= MAX_DEPTH || is_inside(context, from, to) {
                context.complain(
                    "cp",
                    format!("cannot copy a directory, '{from}', into itself, '{to}'"),
                )?;
                return Ok(1);
            }
            match kernel.mkdir(process, to.as_bytes(), stat.mode & 0o7777) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => {
                    return fail(
                        context,
                        "cp",
                        &format!("cannot create directory '{to}'"),
                        error,
                    );
                }
            }
            let entries = match kernel.readdir(process, from.as_bytes()) {
                Ok(entries) => entries,
                Err(error) => {
                    return fail(context, "cp", &format!("cannot access '{from}'"), error);
                }
            };
            let mut code = 0;
            for entry in entries {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                code = code.max(copy(
                    context,
                    options,
                    &join(from, &name),
                    &join(to, &name),
                    depth + 1,
                )?);
            }
            return Ok(code);
        }
        FileType::Symlink => kernel
            .readlink(process, from.as_bytes())
            .and_then(|target| {
                if options.has('f') || recursive {
                    kernel
                        .unlink(process, to.as_bytes())
                        .or(Ok::<(), Errno>(()))?;
                }
                kernel.symlink(process, &target, to.as_bytes())
            }),
        _ if options.has('n') && kernel.exists(process, to.as_bytes()) => Ok(()),
        _ => kernel.copy_file(process, from.as_bytes(), to.as_bytes(), 0),
    };
    if let Err(error) = result {
        return fail(
            context,
            "cp",
            &format!("cannot create regular file '{to}'"),
            error,
        );
    }
    if (options.has('p') || options.has('a')) && stat.file_type == FileType::Regular {
        // As far as it is allowed.
        let _ = kernel.utimes(process, to.as_bytes(), Some(stat.atime), Some(stat.mtime));
        let _ = kernel.chmod(process, to.as_bytes(), stat.mode & 0o7777);
    }
    Ok(0)
}

fn is_inside(context: &Context, from: &str, to: &str) -> bool {
    let (kernel, process) = (context.kernel(), context.process());
    let parent = match to.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => ".",
    };
    match (
        kernel.realpath(process, from.as_bytes()),
        kernel.realpath(process, parent.as_bytes()),
    ) {
        (Ok(from), Ok(mut parent)) => {
            parent.push(b'/');
            parent
                .strip_prefix(from.as_slice())
                .is_some_and(|rest| rest.first() == Some(&b'/'))
        }
        _ => false,
    }
}

/// `mv [-fn] source... target`
pub(super) fn mv(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let options = options!(context, words, COPY);
    let Some((sources, target, folder)) = destination(context, "mv", &options)? else {
        return Ok(1);
    };
    let mut code = 0;
    for source in sources {
        let to = if folder {
            join(&target, last_name(source))
        } else {
            target.clone()
        };
        let (kernel, process) = (context.kernel(), context.process());
        if options.has('n') && kernel.exists(process, to.as_bytes()) {
            continue;
        }
        match kernel.rename(process, source.as_bytes(), to.as_bytes()) {
            Ok(()) => {}
            // Another mount: copy, then remove.
            Err(Errno::EXDEV) => {
                let whole = ["mv".to_owned(), "-a".to_owned()];
                let Ok(all) = super::options::parse(context, &whole, &COPY)? else {
                    return Ok(1);
                };
                let copied = copy(context, &all, source, &to, 0)?;
                code = code.max(copied);
                if copied == 0
                    && let Err(error) = kernel.remove_all(process, source.as_bytes())
                {
                    code = fail(context, "mv", &format!("cannot remove '{source}'"), error)?;
                }
            }
            Err(Errno::ENOENT) => {
                code = fail(
                    context,
                    "mv",
                    &format!("cannot stat '{source}'"),
                    Errno::ENOENT,
                )?;
            }
            Err(error) => {
                code = fail(
                    context,
                    "mv",
                    &format!("cannot move '{source}' to '{to}'"),
                    error,
                )?;
            }
        }
    }
    Ok(code)
}

/// `ln [-sfn] target [name]`
pub(super) fn ln(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "sfnvrT",
        long: &[("symbolic", 's'), ("force", 'f')],
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let (target, name) = match options.operands.as_slice() {
        [target] => (*target, last_name(target).to_owned()),
        [target, name] if is_folder(context, name) && !options.has('n') && !options.has('T') => {
            (*target, join(name, last_name(target)))
        }
        [target, name] => (*target, (*name).to_owned()),
        _ => return missing(context, "ln"),
    };
    let (kernel, process) = (context.kernel(), context.process());
    if options.has('f') {
        // What is not there need not go.
        let _ = kernel.unlink(process, name.as_bytes());
    }
    let made = if options.has('s') {
        kernel.symlink(process, target.as_bytes(), name.as_bytes())
    } else {
        kernel.link(process, target.as_bytes(), name.as_bytes())
    };
    match made {
        Ok(()) => Ok(0),
        Err(error) => fail(
            context,
            "ln",
            &format!("failed to create link '{name}'"),
            error,
        ),
    }
}

/// `touch [-acm] [-r file | -t stamp | -d date] path...`
pub(super) fn touch(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "camf",
        values: "tdr",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let (kernel, process) = (context.kernel(), context.process());
    process.clock().catch_up();
    let now = process.clock().time();
    let mut times = (now, now);
    if let Some(file) = options.value('r') {
        match kernel.stat(process, file.as_bytes()) {
            Ok(stat) => times = (stat.atime, stat.mtime),
            Err(error) => {
                let what = format!("failed to get attributes of '{file}'");
                return fail(context, "touch", &what, error);
            }
        }
    } else if let Some(text) = options.value('t').or(options.value('d')) {
        let stamp = options.value('t').is_some();
        let Some(time) = (if stamp {
            time_of_stamp(text, now)
        } else {
            time_of_date(text)
        }) else {
            context.complain("touch", format!("invalid date format '{text}'"))?;
            return Ok(1);
        };
        times = (time, time);
    }
    // Of `-a` and `-m`, either leaves the other time alone.
    let accessed = (options.has('a') || !options.has('m')).then_some(times.0);
    let modified = (options.has('m') || !options.has('a')).then_some(times.1);
    let chosen = ['r', 't', 'd']
        .iter()
        .any(|option| options.value(*option).is_some());
    let mut code = 0;
    for path in &options.operands {
        let touched = match kernel.utimes(process, path.as_bytes(), accessed, modified) {
            Err(Errno::ENOENT) if options.has('c') => Ok(()),
            Err(Errno::ENOENT) => kernel
                .open(
                    process,
                    path.as_bytes(),
                    oflag::O_WRONLY | oflag::O_CREAT,
                    0o666,
                )
                .and_then(|fd| kernel.close(process, fd))
                .and_then(|()| {
                    if chosen {
                        kernel.utimes(process, path.as_bytes(), accessed, modified)
                    } else {
                        Ok(())
                    }
                }),
            touched => touched,
        };
        if let Err(error) = touched {
            code = fail(context, "touch", &format!("cannot touch '{path}'"), error)?;
        }
    }
    Ok(code)
}

/// The time that `touch -t` names: `[[CC]YY]MMDDhhmm[.ss]`, in UTC.
fn time_of_stamp(text: &str, now: TimeSpec) -> Option<TimeSpec> {
    let (digits, seconds) = text.split_once('.').unwrap_or((text, "00"));
    if !digits
        .bytes()
        .chain(seconds.bytes())
        .all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let number = |digits: &str| digits.parse::<i64>().ok();
    let (year, rest) = match digits.len() {
        8 => (Calendar::new(now.seconds, 0).year(), digits),
        10 => {
            let (year, rest) = digits.split_at(2);
            let year = number(year)?;
            (if year < 69 { 2000 + year } else { 1900 + year }, rest)
        }
        12 => {
            let (year, rest) = digits.split_at(4);
            (number(year)?, rest)
        }
        _ => return None,
    };
    let field = |at: usize| rest.get(at..at + 2).and_then(number);
    let time = [field(4)?, field(6)?, number(seconds)?];
    at_time(&[year, field(0)?, field(2)?], &time)
}

/// The time that `touch -d` names: `@seconds`, or `YYYY-MM-DD[{T| }hh:mm[:ss]][Z]` in UTC.
fn time_of_date(text: &str) -> Option<TimeSpec> {
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds = seconds.parse().ok()?;
        return Some(TimeSpec { seconds, nanos: 0 });
    }
    let text = text.trim_end_matches('Z');
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let numbers = |text: &str, separator: char| -> Option<Vec<i64>> {
        text.split(separator)
            .map(|word| word.parse().ok().filter(|number| *number >= 0))
            .collect()
    };
    at_time(&numbers(date, '-')?, &numbers(time, ':')?)
}

fn at_time(date: &[i64], time: &[i64]) -> Option<TimeSpec> {
    let ([year, month, day], [hour, minute, rest @ ..]) = (date, time) else {
        return None;
    };
    let second = match rest {
        [] => 0,
        [second] => *second,
        _ => return None,
    };
    if !(1..=12).contains(month)
        || !(1..=31).contains(day)
        || !(0..24).contains(hour)
        || !(0..60).contains(minute)
        || !(0..=60).contains(&second)
    {
        return None;
    }
    let days = days_before(*year, *month, *day)?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(TimeSpec { seconds, nanos: 0 })
}

/// The mode that `text` makes of `mode`: octal, or `[ugoa]*[-+=][rwxX]*` with commas.
fn change_mode(text: &str, mode: u32, folder: bool) -> Option<u32> {
    if let Ok(octal) = u32::from_str_radix(text, 8) {
        return Some(octal & 0o7777);
    }
    let mut mode = mode & 0o7777;
    for clause in text.split(',') {
        let at = clause.find(['+', '-', '='])?;
        let (who, change) = clause.split_at(at);
        let mut mask = 0;
        for letter in who.chars() {
            mask |= match letter {
                'u' => 0o700,
                'g' => 0o070,
                'o' => 0o007,
                'a' => 0o777,
                _ => return None,
            };
        }
        if who.is_empty() {
            mask = 0o777;
        }
        let mut bits = 0;
        for letter in change.chars().skip(1) {
            bits |= match letter {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if folder || mode & 0o111 != 0 => 0o111,
                'X' => 0,
                't' | 's' => 0,
                _ => return None,
            };
        }
        mode = match change.chars().next() {
            Some('+') => mode | (bits & mask),
            Some('-') => mode & !(bits & mask),
            _ => (mode & !mask) | (bits & mask),
        };
    }
    Some(mode)
}

/// `chmod [-R] mode path...`
pub(super) fn chmod(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let recursive = words.iter().skip(1).any(|word| word == "-R");
    let mut rest = words
        .iter()
        .skip(1)
        .filter(|word| !matches!(word.as_str(), "-R" | "-f" | "-v" | "--"));
    let Some(mode) = rest.next() else {
        return missing(context, "chmod");
    };
    let mut code = 0;
    for path in rest {
        code = code.max(chmod_tree(context, mode, path, recursive, 0)?);
    }
    Ok(code)
}

fn chmod_tree(
    context: &Context,
    mode: &str,
    path: &str,
    recursive: bool,
    depth: u32,
) -> Result<i32, Errno> {
    context.check()?;
    let (kernel, process) = (context.kernel(), context.process());
    let stat = match kernel.stat(process, path.as_bytes()) {
        Ok(stat) => stat,
        Err(error) => return fail(context, "chmod", &format!("cannot access '{path}'"), error),
    };
    let folder = stat.file_type == FileType::Directory;
    let Some(changed) = change_mode(mode, stat.mode, folder) else {
        context.complain("chmod", format!("invalid mode: '{mode}'"))?;
        return Ok(1);
    };
    if let Err(error) = kernel.chmod(process, path.as_bytes(), changed) {
        return fail(
            context,
            "chmod",
            &format!("changing permissions of '{path}'"),
            error,
        );
    }
    let mut code = 0;
    if recursive && folder && depth < MAX_DEPTH {
        for entry in kernel.readdir(process, path.as_bytes()).unwrap_or_default() {
            if entry.file_type != FileType::Symlink {
                let inner = join(path, &String::from_utf8_lossy(&entry.name));
                code = code.max(chmod_tree(context, mode, &inner, true, depth + 1)?);
            }
        }
    }
    Ok(code)
}

/// `mktemp [-d] [template]`
pub(super) fn mktemp(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "dqtu",
        values: "p",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let folder = options
        .value('p')
        .map(str::to_owned)
        .or_else(|| context.process().env("TMPDIR"));
    let folder = folder.unwrap_or_else(|| "/tmp".to_owned());
    let template = options.operands.first().copied().unwrap_or("tmp.XXXXXX");
    let template = if template.contains('/') {
        template.to_owned()
    } else {
        join(&folder, template)
    };
    let prefix = template.trim_end_matches('X');
    let (kernel, process) = (context.kernel(), context.process());
    let made = kernel.mkdtemp(process, prefix.as_bytes()).and_then(|path| {
        if !options.has('d') {
            // The name is free; a file takes the place of the folder.
            kernel.rmdir(process, &path)?;
            let fd = kernel.open(
                process,
                &path,
                oflag::O_WRONLY | oflag::O_CREAT | oflag::O_EXCL,
                0o600,
            )?;
            kernel.close(process, fd)?;
        }
        Ok(path)
    });
    match made {
        Ok(mut path) => {
            path.push(b'\n');
            context.write(1, &path)?;
            Ok(0)
        }
        Err(error) => fail(
            context,
            "mktemp",
            &format!("failed to create '{template}'"),
            error,
        ),
    }
}

/// `readlink [-f] path...`
pub(super) fn readlink(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "fnem",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let mut output = Output::new(context);
    let mut code = 0;
    for path in &options.operands {
        let (kernel, process) = (context.kernel(), context.process());
        let found = if options.has('f') || options.has('e') || options.has('m') {
            kernel.realpath(process, path.as_bytes())
        } else {
            kernel.readlink(process, path.as_bytes())
        };
        match found {
            Ok(target) if options.has('n') => output.put(target)?,
            Ok(target) => output.line(target)?,
            Err(_) => code = 1,
        }
    }
    output.finish(code)
}

/// `realpath path...`
pub(super) fn realpath(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "emsq",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let mut output = Output::new(context);
    let mut code = 0;
    for path in &options.operands {
        match context
            .kernel()
            .realpath(context.process(), path.as_bytes())
        {
            Ok(target) => output.line(target)?,
            Err(error) => {
                output.flush()?;
                code = context.refuse("realpath", path, error)?;
            }
        }
    }
    output.finish(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(change_mode("755", 0, false), Some(0o755));
        assert_eq!(change_mode("+x", 0o644, false), Some(0o755));
        assert_eq!(change_mode("u+x,go-r", 0o644, false), Some(0o700));
        assert_eq!(change_mode("a=rX", 0o700, true), Some(0o555));
        assert_eq!(change_mode("nonsense", 0, false), None);
    }
}
