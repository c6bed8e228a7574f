//! Processes: `env`, `which`, `kill`, `sleep`, `xargs`.

use std::time::Duration;

use secure_exec_kernel::{
    DEFAULT_PATH, Errno, FileType, MAX_ARGUMENT_BYTES, SIGTERM, X_OK, signal_name, signal_number,
};

use super::options::{Spec, options, parse};
use crate::context::describe;
use crate::input::Input;
use crate::output::Output;
use crate::{Context, Finish, Start};

/// Where the program of a name is.
pub(crate) fn locate(
    context: &Context,
    name: &str,
    search: Option<&str>,
) -> Result<Option<String>, Errno> {
    let executable = |path: &str| {
        let (kernel, process) = (context.kernel(), context.process());
        kernel
            .stat(process, path.as_bytes())
            .is_ok_and(|stat| stat.file_type == FileType::Regular && stat.mode & 0o111 != 0)
            && kernel.access(process, path.as_bytes(), X_OK).is_ok()
    };
    context.check()?;
    if name.contains('/') {
        return Ok(executable(name).then(|| name.to_owned()));
    }
    let folders = search.unwrap_or(DEFAULT_PATH).split(':');
    Ok(folders
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| executable(path)))
}

/// `which [-a] name...`
pub(super) fn which(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "a",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let search = context.process().env("PATH");
    let mut code = 0;
    for name in &options.operands {
        match locate(context, name, search.as_deref())? {
            Some(path) => context.write(1, format!("{path}\n").as_bytes())?,
            None => code = 1,
        }
    }
    Ok(code)
}

/// Runs a program as a child with this process's descriptors; answers its status.
fn run_program(
    context: &Context,
    name: &str,
    words: &[String],
    env: Vec<(String, String)>,
) -> Result<i32, Errno> {
    let Some(file) = words.first() else {
        return Ok(0);
    };
    let found =
        context
            .kernel()
            .find_program_in(context.process(), file, words.to_vec(), &env, None);
    let started = found.and_then(|executable| {
        let start = Start {
            parent: context.process().clone(),
            env,
            cwd: None,
            files: context.files(),
            new_group: false,
        };
        context.host().start(executable, start)
    });
    match started {
        Ok(child) => Ok(context.wait(child.pid())?.shell_code()),
        Err(error) => {
            context.complain(name, format!("'{file}': {}", describe(error)))?;
            Ok(if error == Errno::ENOENT { 127 } else { 126 })
        }
    }
}

/// `env [-i] [-u name] [name=value...] [program [argument...]]`; becomes the program.
pub(crate) fn env(context: &Context, words: &[String]) -> Result<Finish, Errno> {
    const SPEC: Spec = Spec {
        flags: "i0",
        values: "uS",
        long: &[
            ("ignore-environment", 'i'),
            ("unset", 'u'),
            ("split-string", 'S'),
        ],
        mixed: false,
    };
    let Ok(options) = parse(context, words, &SPEC)? else {
        // A failure of env itself, not of its program.
        return Ok(Finish::code(125));
    };
    let process = context.process();
    let mut variables = if options.has('i') {
        Vec::new()
    } else {
        process.env_all()
    };
    variables.retain(|(name, _)| !options.values('u').contains(&name.as_str()));
    // `#!/usr/bin/env -S node --flag` hands over one string.
    let split = options.value('S').map(str::split_whitespace);
    let mut rest = split
        .into_iter()
        .flatten()
        .chain(options.operands.iter().copied())
        .peekable();
    while let Some((name, value)) = rest.peek().and_then(|word| word.split_once('=')) {
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value.to_owned()));
        rest.next();
    }
    let program: Vec<String> = rest.map(str::to_owned).collect();
    let Some(file) = program.first() else {
        let mut output = Output::new(context);
        for (name, value) in variables {
            output.put(format!("{name}={value}"))?;
            output.put(if options.has('0') { "\0" } else { "\n" })?;
        }
        return output.finish(0).map(Finish::code);
    };
    let found = context
        .kernel()
        .find_program_in(process, file, program.clone(), &variables, None);
    match found.and_then(|executable| context.replace_env(variables).map(|()| executable)) {
        Ok(executable) => Ok(Finish::Exec(executable)),
        Err(error) => {
            context.complain("env", format!("'{file}': {}", describe(error)))?;
            Ok(Finish::code(if error == Errno::ENOENT { 127 } else { 126 }))
        }
    }
}

/// `printenv [name...]`
pub(super) fn printenv(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let mut output = Output::new(context);
    let mut code = 0;
    if words.len() < 2 {
        for (name, value) in context.process().env_all() {
            output.line(format!("{name}={value}"))?;
        }
    }
    for name in words.iter().skip(1) {
        match context.process().env(name) {
            Some(value) => output.line(value)?,
            None => code = 1,
        }
    }
    output.finish(code)
}

/// `kill [-signal | -s signal] pid...`, `kill -l`
pub(super) fn kill(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let mut rest = words.get(1..).unwrap_or_default();
    let mut signal = SIGTERM;
    let named = match rest {
        [option, name, others @ ..] if option == "-s" || option == "-n" => {
            rest = others;
            Some(name.as_str())
        }
        [option, others @ ..] if option == "-l" => {
            let mut output = Output::new(context);
            for number in 1..32 {
                if others.is_empty()
                    || others
                        .iter()
                        .any(|word| signal_number(word) == Some(number))
                {
                    output.line(signal_name(number).unwrap_or_default())?;
                }
            }
            return output.finish(0);
        }
        [option, others @ ..] if option != "--" && option.starts_with('-') => {
            rest = others;
            option.get(1..)
        }
        _ => None,
    };
    if let Some(name) = named {
        if let Some(number) = signal_number(name) {
            signal = number;
        } else {
            context.complain("kill", format!("{name}: invalid signal specification"))?;
            return Ok(1);
        }
    }
    let pids: Vec<&String> = rest.iter().filter(|word| *word != "--").collect();
    if pids.is_empty() {
        context.complain("kill", "usage: kill [-s signal | -signal] pid...")?;
        return Ok(2);
    }
    let mut code = 0;
    for word in pids {
        let sent = match word.parse::<i32>() {
            Ok(pid) => context.kernel().kill(context.process(), pid, signal),
            Err(_) => Err(Errno::EINVAL),
        };
        if let Err(error) = sent {
            let text = match error {
                Errno::ESRCH => "No such process".to_owned(),
                Errno::EINVAL => "arguments must be process or job IDs".to_owned(),
                _ => describe(error),
            };
            context.complain("kill", format!("({word}) - {text}"))?;
            code = 1;
        }
    }
    Ok(code)
}

/// `sleep number[smhd]...`
pub(super) fn sleep(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let mut total = Duration::ZERO;
    for word in words.iter().skip(1) {
        let (number, unit) = match word.strip_suffix(['s', 'm', 'h', 'd']) {
            Some(number) => (number, word.get(number.len()..).unwrap_or_default()),
            None => (word.as_str(), "s"),
        };
        let factor = match unit {
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => 1.0,
        };
        let seconds = number.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds * factor).ok());
        match time.and_then(|time| total.checked_add(time)) {
            Some(sum) => total = sum,
            None if number == "infinity" => total = Duration::MAX,
            None => {
                context.complain("sleep", format!("invalid time interval '{word}'"))?;
                return Ok(1);
            }
        }
    }
    if words.len() < 2 {
        context.complain("sleep", "missing operand")?;
        return Ok(1);
    }
    context.sleep(total)?;
    Ok(0)
}

/// `xargs [-0] [-n max] [-I mark] [-r] [program [argument...]]`
pub(super) fn xargs(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "0rt",
        values: "nILdP",
        long: &[("null", '0'), ("no-run-if-empty", 'r'), ("max-args", 'n')],
        mixed: false,
    };
    let options = options!(context, words, SPEC);
    let mut base: Vec<String> = options
        .operands
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    if base.is_empty() {
        base.push("echo".to_owned());
    }
    let text = Input::of(context, 0).all()?;
    let mark = options.value('I');
    let text = String::from_utf8_lossy(&text);
    let items: Vec<String> = if options.has('0') {
        text.split('\0')
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    } else if mark.is_some() {
        let lines = text.lines().map(str::trim_start);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    } else {
        unquote(&text)
    };
    let per_call = match (mark, options.value('n').or(options.value('L'))) {
        (Some(_), _) => 1,
        (None, None) => usize::MAX,
        (None, Some(number)) => match number.parse() {
            Ok(number) if number > 0 => number,
            _ => {
                context.complain(
                    "xargs",
                    format!("invalid number \"{number}\" for -n option"),
                )?;
                return Ok(1);
            }
        },
    };
    let mut code = 0;
    let mut items = items.into_iter().peekable();
    let mut first = !options.has('r') && mark.is_none();
    while first || items.peek().is_some() {
        context.check()?;
        first = false;
        let mut call = base.clone();
        let mut bytes: usize = call.iter().map(|word| word.len() + 1).sum();
        let mut count = 0;
        while count < per_call {
            let Some(item) =
                items.next_if(|item| count == 0 || bytes + item.len() < MAX_ARGUMENT_BYTES / 2)
            else {
                break;
            };
            bytes += item.len() + 1;
            count += 1;
            match mark {
                Some(mark) => call = call.iter().map(|word| word.replace(mark, &item)).collect(),
                None => call.push(item),
            }
        }
        match run_program(context, "xargs", &call, context.process().env_all())? {
            0 => {}
            status @ (126 | 127) => return Ok(status),
            255 => return Ok(124),
            _ => code = 123,
        }
    }
    Ok(code)
}

/// The words of a text, with quotes and backslashes taken off.
fn unquote(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => item.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                item.get_or_insert_default();
            }
            (None, '\\') => item.get_or_insert_default().extend(characters.next()),
            (None, c) if c.is_whitespace() => items.extend(item.take()),
            (None, c) => item.get_or_insert_default().push(c),
        }
    }
    items.extend(item);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_xargs() {
        assert_eq!(
            unquote("a 'b c'\n\"d\"e \\ f ''"),
            ["a", "b c", "de", " f", ""]
        );
    }
}
