//! Commands that must run in the shell's own process, and small ones for which a process would be a waste.

use secure_exec_kernel::Errno;

use super::interpreter::{Flow, Shell, Variable};
use super::parser::is_name;
use crate::Context;
use crate::commands;
use crate::context::describe;
use crate::input::{Input, chomp};
use crate::output::Output;

/// Runs in the shell; answers its status. The first word is its name.
pub(crate) type Builtin = fn(&mut Shell, &Context, &[String]) -> Result<i32, Flow>;

/// The builtin of a name.
pub(crate) fn find(name: &str) -> Option<Builtin> {
    Some(match name {
        ":" | "true" => |_, _, _| Ok(0),
        "false" => |_, _, _| Ok(1),
        "." | "source" => source,
        "[" | "echo" | "kill" | "printf" | "pwd" | "test" => command,
        "break" => |shell, _, words| leave(shell, words, Flow::Break),
        "cd" => cd,
        "command" => run_command,
        "continue" => |shell, _, words| leave(shell, words, Flow::Continue),
        "eval" => eval,
        "exec" => exec,
        "exit" => |shell, _, words| Err(Flow::Exit(code(shell, words)?)),
        "export" => {
            |shell, context, words| mark(shell, context, words, |variable| variable.exported = true)
        }
        "local" => local,
        "read" => read,
        "readonly" => |shell, context, words| {
            mark(shell, context, words, |variable| variable.read_only = true)
        },
        "return" => |shell, _, words| Err(Flow::Return(code(shell, words)?)),
        "set" => set,
        "shift" => shift,
        "type" => describe_command,
        // The machine's limits are the host's to set.
        "ulimit" => |_, _, _| Ok(0),
        "umask" => umask,
        "unset" => unset,
        "wait" => wait,
        _ => return None,
    })
}

/// A core command, run here.
fn command(_: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    match words.first().and_then(|name| commands::find(name)) {
        Some(command) => Ok(command(context, words)?),
        None => Ok(1),
    }
}

fn code(shell: &Shell, words: &[String]) -> Result<i32, Flow> {
    match words.get(1) {
        None => Ok(shell.status),
        Some(word) => word
            .parse()
            .map_err(|_| Flow::Message(format!("Illegal number: {word}"))),
    }
}

fn leave(shell: &Shell, words: &[String], flow: fn(u32) -> Flow) -> Result<i32, Flow> {
    let levels = match words.get(1) {
        None => 1,
        Some(word) => word
            .parse()
            .map_err(|_| Flow::Message(format!("Illegal number: {word}")))?,
    };
    if shell.in_loop() {
        Err(flow(levels))
    } else {
        Ok(0)
    }
}

fn cd(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    let words: Vec<&String> = words
        .iter()
        .skip(1)
        .filter(|word| !matches!(word.as_str(), "--" | "-L" | "-P"))
        .collect();
    let back = words.first().is_some_and(|word| *word == "-");
    let target = match words.first() {
        None => shell.variable("HOME").unwrap_or_default(),
        Some(_) if back => shell.variable("OLDPWD").unwrap_or_default(),
        Some(word) => (*word).clone(),
    };
    let old = shell.variable("PWD").unwrap_or_default();
    if target.is_empty() {
        return Ok(0);
    }
    if let Err(error) = context.kernel().chdir(context.process(), target.as_bytes()) {
        context.complain(
            &shell.name,
            format!("1: cd: can't cd to {target}: {}", describe(error)),
        )?;
        return Ok(2);
    }
    let cwd = String::from_utf8_lossy(&context.cwd()?).into_owned();
    if back {
        context.write(1, format!("{cwd}\n").as_bytes())?;
    }
    shell.assign("OLDPWD", old)?;
    shell.assign("PWD", cwd)?;
    Ok(0)
}

/// `command [-v] name [argument...]`
fn run_command(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    match words.get(1).map(String::as_str) {
        Some("-v" | "-V") => {
            let mut status = 0;
            for name in words.iter().skip(2) {
                match location(shell, context, name)? {
                    Some(text) => context.write(1, format!("{text}\n").as_bytes())?,
                    None => status = 127,
                }
            }
            Ok(status)
        }
        Some(name) => {
            let rest = words.get(1..).unwrap_or_default();
            if let Some(builtin) = find(name) {
                return builtin(shell, context, rest);
            }
            let quoted = rest
                .iter()
                .map(|word| format!("'{}'", word.replace('\'', "'\\''")));
            let outer = shell.functions.remove(name);
            let ran = shell.evaluate(context, &quoted.collect::<Vec<_>>().join(" "));
            if let Some(outer) = outer {
                shell.functions.insert(name.to_owned(), outer);
            }
            ran?;
            Ok(shell.status)
        }
        None => Ok(0),
    }
}

/// What a name stands for, as `command -v` says it.
fn location(shell: &Shell, context: &Context, name: &str) -> Result<Option<String>, Flow> {
    if shell.functions.contains_key(name) || find(name).is_some() {
        return Ok(Some(name.to_owned()));
    }
    Ok(commands::locate(
        context,
        name,
        shell.variable("PATH").as_deref(),
    )?)
}

fn describe_command(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    let mut status = 0;
    for name in words.iter().skip(1) {
        let text = if shell.functions.contains_key(name) {
            format!("{name} is a shell function\n")
        } else if find(name).is_some() {
            format!("{name} is a shell builtin\n")
        } else if let Some(path) =
            commands::locate(context, name, shell.variable("PATH").as_deref())?
        {
            format!("{name} is {path}\n")
        } else {
            status = 127;
            format!("{name}: not found\n")
        };
        context.write(1, text.as_bytes())?;
    }
    Ok(status)
}

fn eval(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    let text = words.get(1..).unwrap_or_default().join(" ");
    shell.status = 0;
    shell.evaluate(context, &text)?;
    Ok(shell.status)
}

fn source(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    let Some(path) = words.get(1) else {
        return Ok(2);
    };
    let text = Input::open(context, path).and_then(|mut input| input.all());
    let text = text
        .map_err(|error| Flow::Message(format!("1: .: cannot open {path}: {}", describe(error))))?;
    match shell.evaluate(context, &String::from_utf8_lossy(&text)) {
        Ok(()) => Ok(shell.status),
        Err(Flow::Return(status)) => Ok(status),
        Err(flow) => Err(flow),
    }
}

fn exec(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    match words.get(1..) {
        Some(fields) if !fields.is_empty() => shell.exec(context, fields),
        _ => Ok(0),
    }
}

fn split_assignment(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }
}

/// `export` and `readonly`.
fn mark(
    shell: &mut Shell,
    context: &Context,
    words: &[String],
    mark: fn(&mut Variable),
) -> Result<i32, Flow> {
    let names: Vec<&String> = words.iter().skip(1).filter(|word| *word != "-p").collect();
    if names.is_empty() {
        let mut output = Output::new(context);
        let verb = words.first().map_or("export", String::as_str);
        for (name, variable) in shell.variables.iter().filter(|(_, v)| {
            if verb == "export" {
                v.exported
            } else {
                v.read_only
            }
        }) {
            let value = variable
                .value
                .clone()
                .unwrap_or_default()
                .replace('\'', "'\\''");
            output.line(format!("{verb} {name}='{value}'"))?;
        }
        return Ok(output.finish(0)?);
    }
    for word in names {
        let (name, value) = split_assignment(word);
        if !is_name(name) {
            return Err(Flow::Message(format!("1: {word}: bad variable name")));
        }
        if let Some(value) = value {
            shell.assign(name, value.to_owned())?;
        }
        mark(shell.variables.entry(name.to_owned()).or_default());
    }
    Ok(0)
}

fn local(shell: &mut Shell, _: &Context, words: &[String]) -> Result<i32, Flow> {
    for word in words.iter().skip(1) {
        let (name, value) = split_assignment(word);
        let old = shell.variables.get(name).cloned();
        match shell.locals.last_mut() {
            Some(locals) => locals.push((name.to_owned(), old)),
            None => return Err(Flow::Message("local: not in a function".to_owned())),
        }
        if let Some(value) = value {
            shell.assign(name, value.to_owned())?;
        }
    }
    Ok(0)
}

fn read(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    let raw = words.iter().any(|word| word == "-r");
    let names: Vec<&String> = words
        .iter()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    // Byte by byte: what follows the line is for others.
    let mut line = Vec::new();
    let mut status = 1;
    loop {
        let mut byte = [0];
        if context.read(0, &mut byte)? == 0 {
            break;
        }
        let [byte] = byte;
        if byte == b'\n' {
            if !raw && line.last() == Some(&b'\\') {
                line.pop();
                continue;
            }
            status = 0;
            break;
        }
        line.push(byte);
        if line.len() > crate::MAX_TEXT {
            return Err(Flow::Failed(Errno::EFBIG));
        }
    }
    let text = String::from_utf8_lossy(chomp(&line)).into_owned();
    let separators = shell.variable("IFS").unwrap_or_else(|| " \t\n".to_owned());
    let mut rest = text.trim_matches(|c: char| separators.contains(c) && c.is_whitespace());
    for (index, name) in names.iter().enumerate() {
        if index + 1 == names.len() {
            shell.assign(name, rest.to_owned())?;
            break;
        }
        let (field, after) = rest
            .split_once(|c: char| separators.contains(c))
            .unwrap_or((rest, ""));
        shell.assign(name, field.to_owned())?;
        rest = after.trim_start_matches(|c: char| separators.contains(c) && c.is_whitespace());
    }
    if names.is_empty() {
        shell.assign("REPLY", text)?;
    }
    Ok(status)
}

fn set(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    let mut words = words.iter().skip(1);
    let mut first = true;
    while let Some(word) = words.next() {
        first = false;
        let on = word.starts_with('-');
        if word == "--" {
            shell.set_positional(words.cloned().collect());
            return Ok(0);
        }
        if word.len() < 2 || !(on || word.starts_with('+')) {
            shell.set_positional(std::iter::once(word).chain(words).cloned().collect());
            return Ok(0);
        }
        for letter in word.chars().skip(1) {
            if letter == 'o' {
                let known = match words.next().map(String::as_str) {
                    Some("errexit") => shell.options.set('e', on),
                    Some("nounset") => shell.options.set('u', on),
                    Some("xtrace") => shell.options.set('x', on),
                    Some("noglob") => shell.options.set('f', on),
                    // Not in a POSIX shell; scripts that want it also check the parts of a pipeline by themselves.
                    _ => false,
                };
                if !known {
                    return Err(Flow::Message("1: set: Illegal option -o".to_owned()));
                }
            } else if !shell.options.set(letter, on) {
                return Err(Flow::Message(format!("1: set: Illegal option -{letter}")));
            }
        }
    }
    if first {
        let mut output = Output::new(context);
        for (name, variable) in &shell.variables {
            let value = variable
                .value
                .clone()
                .unwrap_or_default()
                .replace('\'', "'\\''");
            output.line(format!("{name}='{value}'"))?;
        }
        return Ok(output.finish(0)?);
    }
    Ok(0)
}

fn shift(shell: &mut Shell, _: &Context, words: &[String]) -> Result<i32, Flow> {
    let count = match words.get(1) {
        None => 1,
        Some(word) => word
            .parse::<usize>()
            .map_err(|_| Flow::Message(format!("1: shift: Illegal number: {word}")))?,
    };
    if count > shell.positional().len() {
        return Err(Flow::Message("1: shift: can't shift that many".to_owned()));
    }
    let rest = shell.positional().iter().skip(count).cloned().collect();
    shell.set_positional(rest);
    Ok(0)
}

fn umask(_: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    match words.get(1) {
        None => {
            context.write(1, format!("{:04o}\n", context.process().umask()).as_bytes())?;
            Ok(0)
        }
        Some(word) => {
            let mask = u32::from_str_radix(word, 8)
                .map_err(|_| Flow::Message(format!("1: umask: Illegal number: {word}")))?;
            context.process().set_umask(mask);
            Ok(0)
        }
    }
}

fn unset(shell: &mut Shell, _: &Context, words: &[String]) -> Result<i32, Flow> {
    let functions = words.get(1).is_some_and(|word| word == "-f");
    for name in words.iter().skip(1).filter(|word| !word.starts_with('-')) {
        if functions {
            shell.functions.remove(name);
        } else {
            shell.unset(name)?;
        }
    }
    Ok(0)
}

fn wait(shell: &mut Shell, context: &Context, words: &[String]) -> Result<i32, Flow> {
    let named: Vec<u32> = words
        .iter()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let pids = if words.len() > 1 {
        named
    } else {
        shell.jobs.clone()
    };
    let mut status = if words.len() > 1 { 127 } else { 0 };
    for pid in pids {
        let ended = shell.wait_job(context, pid)?;
        if let (Some(ended), true) = (ended, words.len() > 1) {
            status = ended;
        }
    }
    Ok(status)
}
