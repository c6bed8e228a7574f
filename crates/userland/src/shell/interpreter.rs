//! Runs the tree.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use secure_exec_kernel::{Errno, Executable, ExitStatus, OpenFile, Process, oflag, pipe};

use super::builtins;
use super::parser::{is_name, parse};
use super::pattern::matches;
use super::syntax::{Chain, Command, Join, Kind, List, Operator, Pipeline, Redirect, Word};
use crate::context::{describe, signal_text};
use crate::input::Input;
use crate::{Context, Finish, MAX_TEXT, Start};

/// How deep commands may call each other: functions, `eval`, groups.
const MAX_DEPTH: u32 = 200;
/// Ended jobs whose status is kept.
const MAX_ENDED: usize = 256;
/// Exit codes of a shell that cannot run a command.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const USAGE: i32 = 2;

/// Why commands after this one do not run.
pub(crate) enum Flow {
    Break(u32),
    Continue(u32),
    Return(i32),
    Exit(i32),
    /// The process goes on as another program.
    Exec(Executable),
    /// A system call failed where the shell cannot go on.
    Failed(Errno),
    /// An error of the script; the shell ends with 2.
    Message(String),
}

impl From<Errno> for Flow {
    fn from(error: Errno) -> Flow {
        Flow::Failed(error)
    }
}

#[derive(Clone, Default)]
pub(crate) struct Variable {
    pub value: Option<String>,
    pub exported: bool,
    pub read_only: bool,
}

/// What `set` switches.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub errexit: bool,
    pub nounset: bool,
    pub xtrace: bool,
    pub noglob: bool,
}

/// The state of a shell; a subshell has a copy.
#[derive(Clone)]
pub(crate) struct Shell {
    /// `$0`
    pub name: String,
    parameters: Vec<String>,
    pub variables: BTreeMap<String, Variable>,
    pub functions: HashMap<String, Arc<Command>>,
    pub options: Options,
    /// `$?`
    pub status: i32,
    /// `$$`
    pid: u32,
    /// `$!`
    background: Option<u32>,
    /// Children that run beside.
    pub jobs: Vec<u32>,
    /// Statuses of those that have ended, for `wait`; the newest of them.
    ended: VecDeque<(u32, i32)>,
    depth: u32,
    /// How many loops surround the command.
    loops: u32,
    /// Commands here may fail although `set -e` is on.
    conditions: u32,
    /// What `local` has put away, by function call.
    pub locals: Vec<Vec<(String, Option<Variable>)>>,
    /// Bytes that variables hold.
    bytes: usize,
}

/// A descriptor and what it was before a redirection.
type Saved = Vec<(i32, Option<Arc<OpenFile>>)>;

/// `sh [-c text | file] [name] [argument...]`.
pub(crate) fn main(context: &Context, argv: &[String]) -> Finish {
    let mut shell = Shell::new(context, argv.first().map_or("sh", String::as_str));
    let mut words = argv.iter().skip(1).peekable();
    let mut inline = false;
    while let Some(option) = words.next_if(|word| word.starts_with('-') && word.len() > 1) {
        match option.as_str() {
            "--" => break,
            "-c" => inline = true,
            // A login shell has nothing to read here.
            "--login" => {}
            letters => {
                for letter in letters.chars().skip(1) {
                    match letter {
                        'c' => inline = true,
                        'l' | 's' => {}
                        _ if shell.options.set(letter, true) => {}
                        _ => {
                            let _ = context.complain("sh", format!("Illegal option -{letter}"));
                            return Finish::Exit(ExitStatus::exited(USAGE));
                        }
                    }
                }
            }
        }
    }
    let text = if inline {
        let Some(text) = words.next() else {
            let _ = context.complain("sh", "-c requires an argument");
            return Finish::Exit(ExitStatus::exited(USAGE));
        };
        if let Some(name) = words.next() {
            shell.name.clone_from(name);
        }
        Ok(text.clone())
    } else {
        let file = words.next();
        if let Some(name) = file {
            shell.name.clone_from(name);
        }
        let input = Input::open(context, file.map_or("-", String::as_str));
        let bytes = input.and_then(|mut input| input.all());
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let name = shell.name.clone();
            let _ = context.complain("sh", format!("0: cannot open {name}: {}", describe(error)));
            return Finish::Exit(ExitStatus::exited(if error == Errno::ENOENT {
                NOT_FOUND
            } else {
                NOT_EXECUTABLE
            }));
        }
    };
    shell.parameters = words.cloned().collect();
    shell.run_text(context, &text)
}

impl Options {
    /// Switches the option of a letter; `false` when there is none.
    pub fn set(&mut self, letter: char, on: bool) -> bool {
        match letter {
            'e' => self.errexit = on,
            'u' => self.nounset = on,
            'x' => self.xtrace = on,
            'f' => self.noglob = on,
            _ => return false,
        }
        true
    }
}

impl super::arithmetic::Variables for Shell {
    fn get(&self, name: &str) -> Option<String> {
        self.variable(name)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        self.assign(name, value).map_err(|flow| match flow {
            Flow::Message(text) => text,
            _ => format!("{name}: cannot set"),
        })
    }
}

impl Shell {
    fn new(context: &Context, name: &str) -> Shell {
        let mut variables = BTreeMap::new();
        let mut bytes = 0;
        for (name, value) in context.process().env_all() {
            bytes += name.len() + value.len();
            if is_name(&name) {
                let value = Some(value);
                variables.insert(
                    name,
                    Variable {
                        value,
                        exported: true,
                        read_only: false,
                    },
                );
            }
        }
        if let Ok(cwd) = context.cwd() {
            let pwd: &mut Variable = variables.entry("PWD".to_owned()).or_default();
            pwd.value = Some(String::from_utf8_lossy(&cwd).into_owned());
        }
        Shell {
            name: name.to_owned(),
            parameters: Vec::new(),
            variables,
            functions: HashMap::new(),
            options: Options::default(),
            status: 0,
            pid: context.process().pid(),
            background: None,
            jobs: Vec::new(),
            ended: VecDeque::new(),
            depth: 0,
            loops: 0,
            conditions: 0,
            locals: Vec::new(),
            bytes,
        }
    }

    // ---- variables -------------------------------------------------------------------------------------------------

    pub fn positional(&self) -> &[String] {
        &self.parameters
    }

    pub fn set_positional(&mut self, parameters: Vec<String>) {
        self.parameters = parameters;
    }

    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name)?.value.clone()
    }

    /// Sets a variable.
    pub fn assign(&mut self, name: &str, value: String) -> Result<(), Flow> {
        if !is_name(name) {
            return Err(Flow::Message(format!("{name}: bad variable name")));
        }
        let old = self.variables.get(name);
        if old.is_some_and(|old| old.read_only) {
            return Err(Flow::Message(format!("{name}: is read only")));
        }
        let freed = old
            .and_then(|old| old.value.as_ref())
            .map_or(0, |old| old.len() + name.len());
        let bytes = self.bytes.saturating_sub(freed) + value.len() + name.len();
        if bytes > MAX_TEXT {
            return Err(Flow::Failed(Errno::ENOMEM));
        }
        self.bytes = bytes;
        self.variables.entry(name.to_owned()).or_default().value = Some(value);
        Ok(())
    }

    pub fn unset(&mut self, name: &str) -> Result<(), Flow> {
        if self
            .variables
            .get(name)
            .is_some_and(|variable| variable.read_only)
        {
            return Err(Flow::Message(format!("{name}: is read only")));
        }
        self.variables.remove(name);
        Ok(())
    }

    /// The value of a parameter of any kind.
    pub fn value(&self, context: &Context, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "$" => Some(self.pid.to_string()),
            "!" => self.background.map(|pid| pid.to_string()),
            "#" => Some(self.parameters.len().to_string()),
            "@" | "*" => {
                let separator = self
                    .variable("IFS")
                    .map_or(Some(' '), |ifs| ifs.chars().next());
                let separator = separator.map(String::from).unwrap_or_default();
                Some(self.parameters.join(&separator))
            }
            "-" => Some(
                [
                    (self.options.errexit, 'e'),
                    (self.options.nounset, 'u'),
                    (self.options.xtrace, 'x'),
                ]
                .iter()
                .filter_map(|(on, letter)| on.then_some(*letter))
                .collect(),
            ),
            "0" => Some(self.name.clone()),
            "PPID" => Some(context.process().ppid().to_string()),
            _ => match name.parse::<usize>() {
                Ok(index) => self.parameters.get(index.checked_sub(1)?).cloned(),
                Err(_) => self.variable(name),
            },
        }
    }

    /// What a child gets as its environment.
    fn environment(&self) -> Vec<(String, String)> {
        let exported = self
            .variables
            .iter()
            .filter(|(_, variable)| variable.exported);
        exported
            .filter_map(|(name, variable)| Some((name.clone(), variable.value.clone()?)))
            .collect()
    }

    // ---- lists -----------------------------------------------------------------------------------------------------

    /// Runs a whole script; what is left of it is an end.
    fn run_text(&mut self, context: &Context, text: &str) -> Finish {
        let list = match parse(text) {
            Ok(list) => list,
            Err(error) => {
                let _ = context.complain(&self.name.clone(), error.0);
                return Finish::Exit(ExitStatus::exited(USAGE));
            }
        };
        let flow = self.list(context, &list, true);
        self.finish(context, flow)
    }

    /// The end of the shell's process.
    fn finish(&mut self, context: &Context, flow: Result<(), Flow>) -> Finish {
        let code = match flow {
            Ok(()) | Err(Flow::Break(_) | Flow::Continue(_)) => self.status,
            Err(Flow::Return(code) | Flow::Exit(code)) => code,
            Err(Flow::Exec(executable)) => return Finish::Exec(executable),
            Err(Flow::Failed(Errno::EPIPE)) => {
                return Finish::Exit(ExitStatus::signalled(secure_exec_kernel::SIGPIPE));
            }
            Err(Flow::Failed(error)) => {
                if error != Errno::EINTR {
                    let _ = context.complain(&self.name.clone(), describe(error));
                }
                USAGE
            }
            Err(Flow::Message(text)) => {
                let _ = context.complain(&self.name.clone(), text);
                USAGE
            }
        };
        Finish::Exit(ExitStatus::exited(code))
    }

    /// Runs a text as part of this shell: `eval` and `.`.
    pub fn evaluate(&mut self, context: &Context, text: &str) -> Result<(), Flow> {
        let list = parse(text).map_err(|error| Flow::Message(error.0))?;
        self.list(context, &list, false)
    }

    /// Runs commands in order. With `last` the process has nothing to do after them, so that the last command may take
    /// its place.
    fn list(&mut self, context: &Context, list: &List, last: bool) -> Result<(), Flow> {
        for (index, item) in list.iter().enumerate() {
            context.check()?;
            let last = last && index + 1 == list.len();
            if item.background {
                self.start_background(context, &item.chain)?;
            } else {
                self.chain(context, &item.chain, last)?;
            }
        }
        if list.is_empty() {
            self.status = 0;
        }
        Ok(())
    }

    fn chain(&mut self, context: &Context, chain: &Chain, last: bool) -> Result<(), Flow> {
        let may_fail = |shell: &mut Shell, fallible: bool| shell.conditions += u32::from(fallible);
        let mut rest = chain.rest.iter().peekable();
        may_fail(self, rest.peek().is_some());
        let ran = self.pipeline(context, &chain.first, last && rest.peek().is_none());
        self.conditions -= u32::from(rest.peek().is_some());
        ran?;
        while let Some((join, pipeline)) = rest.next() {
            if (*join == Join::And) != (self.status == 0) {
                continue;
            }
            let fallible = rest.peek().is_some();
            may_fail(self, fallible);
            let ran = self.pipeline(context, pipeline, last && !fallible);
            self.conditions -= u32::from(fallible);
            ran?;
        }
        Ok(())
    }

    /// Runs a list as a condition, which may fail.
    fn condition(&mut self, context: &Context, list: &List) -> Result<bool, Flow> {
        self.conditions += 1;
        let ran = self.list(context, list, false);
        self.conditions -= 1;
        ran?;
        Ok(self.status == 0)
    }

    fn pipeline(&mut self, context: &Context, pipeline: &Pipeline, last: bool) -> Result<(), Flow> {
        self.conditions += u32::from(pipeline.negated);
        let ran = match pipeline.commands.as_slice() {
            [command] => self.command(context, command, last && !pipeline.negated),
            commands => self.pipe(context, commands),
        };
        self.conditions -= u32::from(pipeline.negated);
        ran?;
        if pipeline.negated {
            self.status = i32::from(self.status == 0);
        } else if self.options.errexit && self.status != 0 && self.conditions == 0 {
            return Err(Flow::Exit(self.status));
        }
        Ok(())
    }

    // ---- processes -------------------------------------------------------------------------------------------------

    fn fork(
        &self,
        context: &Context,
        files: Vec<Option<Arc<OpenFile>>>,
        body: impl FnOnce(&mut Shell, &Context) -> Result<(), Flow> + Send + 'static,
    ) -> Result<Arc<Process>, Errno> {
        let mut shell = self.clone();
        // They are children of this process, not of the new one.
        shell.jobs.clear();
        let start = Start {
            parent: context.process().clone(),
            env: context.process().env_all(),
            cwd: None,
            files,
            new_group: false,
        };
        let argv = context.process().argv().to_vec();
        let body = move |context: &Context| {
            let flow = body(&mut shell, context);
            shell.finish(context, flow)
        };
        context.host().fork(argv, start, Box::new(body))
    }

    fn pipe(&mut self, context: &Context, commands: &[Arc<Command>]) -> Result<(), Flow> {
        let mut children = Vec::with_capacity(commands.len());
        let mut input: Option<Arc<OpenFile>> = None;
        for (index, command) in commands.iter().enumerate() {
            let mut files = context.files();
            files.resize(files.len().max(3), None);
            if let (Some(input), Some(slot)) = (input.take(), files.get_mut(0)) {
                *slot = Some(input);
            }
            if index + 1 < commands.len() {
                let (reader, writer) = pipe();
                input = Some(OpenFile::of_reader(reader));
                if let Some(slot) = files.get_mut(1) {
                    *slot = Some(OpenFile::of_writer(writer));
                }
            }
            let command = command.clone();
            let started = self.fork(context, files, move |shell, context| {
                shell.command(context, &command, true)
            });
            match started {
                Ok(child) => children.push(child.pid()),
                Err(error) => {
                    context.complain(&self.name, format!("Cannot fork: {}", describe(error)))?;
                    break;
                }
            }
        }
        let complete = children.len() == commands.len();
        drop(input);
        for pid in children {
            self.status = self.wait(context, pid)?;
        }
        if !complete {
            self.status = USAGE;
        }
        Ok(())
    }

    /// Waits for a child; says when a signal ended it.
    pub fn wait(&mut self, context: &Context, pid: u32) -> Result<i32, Flow> {
        let status = context.wait(pid)?;
        if let Some(signal) = status.signal
            && signal != secure_exec_kernel::SIGINT
            && signal != secure_exec_kernel::SIGPIPE
        {
            context.write(2, format!("{}\n", signal_text(signal)).as_bytes())?;
        }
        Ok(status.shell_code())
    }

    /// Waits for a job, or says how it ended; `None` when there is no such job.
    pub fn wait_job(&mut self, context: &Context, pid: u32) -> Result<Option<i32>, Flow> {
        if let Some((_, status)) = self.ended.iter().find(|(ended, _)| *ended == pid) {
            return Ok(Some(*status));
        }
        if !self.jobs.contains(&pid) {
            return Ok(None);
        }
        self.jobs.retain(|job| *job != pid);
        self.wait(context, pid).map(Some)
    }

    /// Notes which jobs have ended, so that they leave the process table.
    fn collect_jobs(&mut self, context: &Context) {
        let mut running = Vec::with_capacity(self.jobs.len());
        for pid in std::mem::take(&mut self.jobs) {
            match context.kernel().try_wait(context.process(), pid) {
                Ok(None) => running.push(pid),
                Ok(Some(status)) => self.ended.push_back((pid, status.shell_code())),
                Err(_) => {}
            }
        }
        self.jobs = running;
        while self.ended.len() > MAX_ENDED {
            self.ended.pop_front();
        }
    }

    fn start_background(&mut self, context: &Context, chain: &Chain) -> Result<(), Flow> {
        self.collect_jobs(context);
        let mut files = context.files();
        if let Some(input) = files.get_mut(0) {
            *input = Some(OpenFile::null());
        }
        let chain = chain.clone();
        match self.fork(context, files, move |shell, context| {
            shell.chain(context, &chain, true)
        }) {
            Ok(child) => {
                self.background = Some(child.pid());
                self.jobs.push(child.pid());
                self.status = 0;
            }
            Err(error) => {
                context.complain(&self.name, format!("Cannot fork: {}", describe(error)))?;
                self.status = USAGE;
            }
        }
        Ok(())
    }

    /// `$(...)`: what a list writes, without the newlines at its end.
    pub fn substitute(&mut self, context: &Context, list: Arc<List>) -> Result<String, Flow> {
        let (reader, writer) = pipe();
        let mut files = context.files();
        files.resize(files.len().max(3), None);
        if let Some(output) = files.get_mut(1) {
            *output = Some(OpenFile::of_writer(writer));
        }
        let child = self.fork(context, files, move |shell, context| {
            shell.list(context, &list, true)
        })?;
        let kernel = context.kernel();
        let fd = kernel.adopt(context.process(), OpenFile::of_reader(reader))?;
        let output = Input::of(context, fd).all();
        kernel.close(context.process(), fd)?;
        self.status = self.wait(context, child.pid())?;
        let mut output = output?;
        output.retain(|byte| *byte != 0);
        while output.last() == Some(&b'\n') {
            output.pop();
        }
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    // ---- commands --------------------------------------------------------------------------------------------------

    fn command(&mut self, context: &Context, command: &Command, last: bool) -> Result<(), Flow> {
        context.check()?;
        if self.depth >= MAX_DEPTH {
            return Err(Flow::Message("too many nested commands".to_owned()));
        }
        self.depth += 1;
        let ran = match &command.kind {
            Kind::Simple { assignments, words } => {
                self.simple(context, assignments, words, &command.redirects, last)
            }
            Kind::Function { name, body } => {
                self.functions.insert(name.clone(), body.clone());
                self.status = 0;
                Ok(())
            }
            kind => self.compound(context, kind, &command.redirects, last),
        };
        self.depth -= 1;
        ran
    }

    fn compound(
        &mut self,
        context: &Context,
        kind: &Kind,
        redirects: &[Redirect],
        last: bool,
    ) -> Result<(), Flow> {
        let Some(saved) = self.redirect(context, redirects)? else {
            return Ok(());
        };
        let ran = self.compound_body(context, kind, last && redirects.is_empty());
        restore(context, saved)?;
        ran
    }

    fn compound_body(&mut self, context: &Context, kind: &Kind, last: bool) -> Result<(), Flow> {
        match kind {
            Kind::Group(list) => self.list(context, list, last),
            Kind::Subshell(list) => {
                let list = list.clone();
                let files = context.files();
                let child = self.fork(context, files, move |shell, context| {
                    shell.list(context, &list, true)
                })?;
                self.status = self.wait(context, child.pid())?;
                Ok(())
            }
            Kind::If { arms, otherwise } => {
                for (condition, then) in arms {
                    if self.condition(context, condition)? {
                        return self.list(context, then, last);
                    }
                }
                self.list(context, otherwise, last)
            }
            Kind::While {
                until,
                condition,
                body,
            } => {
                let mut status = 0;
                loop {
                    context.check()?;
                    if self.condition(context, condition)? == *until {
                        break;
                    }
                    let go_on = self.loop_body(context, body)?;
                    status = self.status;
                    if !go_on {
                        break;
                    }
                }
                self.status = status;
                Ok(())
            }
            Kind::For { name, words, body } => {
                let values = match words {
                    Some(words) => self.fields(context, words)?,
                    None => self.parameters.clone(),
                };
                self.status = 0;
                for value in values {
                    context.check()?;
                    self.assign(name, value)?;
                    if !self.loop_body(context, body)? {
                        break;
                    }
                }
                Ok(())
            }
            Kind::Case { subject, arms } => {
                let subject: Vec<char> = self.text(context, subject)?.chars().collect();
                for (patterns, body) in arms {
                    for pattern in patterns {
                        let pattern = self.symbols(context, pattern)?;
                        if matches(&pattern, &subject) {
                            return self.list(context, body, last);
                        }
                    }
                }
                self.status = 0;
                Ok(())
            }
            Kind::Simple { .. } | Kind::Function { .. } => Ok(()),
        }
    }

    /// Runs a loop's body once; answers whether the loop goes on.
    fn loop_body(&mut self, context: &Context, body: &List) -> Result<bool, Flow> {
        self.loops += 1;
        let ran = self.list(context, body, false);
        self.loops -= 1;
        match ran {
            Ok(()) | Err(Flow::Continue(0 | 1)) => Ok(true),
            Err(Flow::Break(0 | 1)) => Ok(false),
            Err(Flow::Continue(levels)) if self.loops > 0 => Err(Flow::Continue(levels - 1)),
            Err(Flow::Break(levels)) if self.loops > 0 => Err(Flow::Break(levels - 1)),
            Err(Flow::Continue(_)) => Ok(true),
            Err(Flow::Break(_)) => Ok(false),
            Err(flow) => Err(flow),
        }
    }

    /// Whether a loop surrounds the command.
    pub fn in_loop(&self) -> bool {
        self.loops > 0
    }

    fn simple(
        &mut self,
        context: &Context,
        assignments: &[(String, Word)],
        words: &[Word],
        redirects: &[Redirect],
        last: bool,
    ) -> Result<(), Flow> {
        let fields = self.fields(context, words)?;
        let mut values = Vec::with_capacity(assignments.len());
        if fields.is_empty() {
            // The status is that of the last substitution, if there is one.
            self.status = 0;
        }
        for (name, word) in assignments {
            let value = self.text(context, word)?;
            if fields.is_empty() {
                self.assign(name, value)?;
            } else {
                values.push((name.clone(), value));
            }
        }
        if self.options.xtrace {
            let line = values
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .chain(fields.iter().cloned());
            let line = line.collect::<Vec<_>>().join(" ");
            context.write(2, format!("+ {line}\n").as_bytes())?;
        }
        let Some(name) = fields.first() else {
            let status = self.status;
            if let Some(saved) = self.redirect(context, redirects)? {
                restore(context, saved)?;
                self.status = status;
            }
            return Ok(());
        };
        if let Some(function) = self.functions.get(name).cloned() {
            return self.call(context, &function, fields, values, redirects);
        }
        if let Some(builtin) = builtins::find(name) {
            return self.builtin(context, builtin, &fields, values, redirects);
        }
        let Some(saved) = self.redirect(context, redirects)? else {
            return Ok(());
        };
        let ran = self.program(context, &fields, values, last);
        // The program that takes the shell's place keeps its redirections.
        if !matches!(ran, Err(Flow::Exec(_))) {
            restore(context, saved)?;
        }
        ran
    }

    fn builtin(
        &mut self,
        context: &Context,
        builtin: builtins::Builtin,
        fields: &[String],
        values: Vec<(String, String)>,
        redirects: &[Redirect],
    ) -> Result<(), Flow> {
        let Some(saved) = self.redirect(context, redirects)? else {
            return Ok(());
        };
        let old = self.assign_for_now(values);
        let ran = match old {
            Ok(old) => {
                let ran = builtin(self, context, fields);
                self.put_back(old);
                ran
            }
            Err(flow) => Err(flow),
        };
        // `exec` without a program keeps its redirections.
        let keeps = matches!(ran, Err(Flow::Exec(_)))
            || (fields.len() == 1 && fields.first().is_some_and(|name| name == "exec"));
        if !keeps {
            restore(context, saved)?;
        }
        self.status = match ran {
            Ok(status) => status,
            // A reader that has gone away fails the command, and ends what is no shell.
            Err(Flow::Failed(Errno::EBADF)) => 1,
            Err(flow) => return Err(flow),
        };
        Ok(())
    }

    fn assign_for_now(
        &mut self,
        values: Vec<(String, String)>,
    ) -> Result<Vec<(String, Option<Variable>)>, Flow> {
        let mut old = Vec::with_capacity(values.len());
        for (name, value) in values {
            old.push((name.clone(), self.variables.get(&name).cloned()));
            self.assign(&name, value)?;
            if let Some(variable) = self.variables.get_mut(&name) {
                variable.exported = true;
            }
        }
        Ok(old)
    }

    /// Gives variables their old values.
    pub fn put_back(&mut self, old: Vec<(String, Option<Variable>)>) {
        for (name, variable) in old.into_iter().rev() {
            match variable {
                Some(variable) => self.variables.insert(name, variable),
                None => self.variables.remove(&name),
            };
        }
    }

    fn call(
        &mut self,
        context: &Context,
        function: &Command,
        mut fields: Vec<String>,
        values: Vec<(String, String)>,
        redirects: &[Redirect],
    ) -> Result<(), Flow> {
        let Some(saved) = self.redirect(context, redirects)? else {
            return Ok(());
        };
        let old = self.assign_for_now(values)?;
        let arguments = fields.split_off(1);
        let outer = std::mem::replace(&mut self.parameters, arguments);
        let loops = std::mem::take(&mut self.loops);
        self.locals.push(Vec::new());
        let ran = self.command(context, function, false);
        let locals = self.locals.pop().unwrap_or_default();
        self.put_back(locals);
        self.loops = loops;
        self.parameters = outer;
        self.put_back(old);
        restore(context, saved)?;
        match ran {
            Err(Flow::Return(status)) => {
                self.status = status;
                Ok(())
            }
            ran => ran,
        }
    }

    /// Finds a program; complains and answers the exit code when there is none.
    pub fn find_program(
        &self,
        context: &Context,
        fields: &[String],
    ) -> Result<Result<Executable, i32>, Flow> {
        let name = fields.first().cloned().unwrap_or_default();
        let search = self.variable("PATH");
        let found = context.kernel().find_program(
            context.process(),
            &name,
            fields.to_vec(),
            search.as_deref(),
            None,
        );
        Ok(match found {
            Ok(executable) => Ok(executable),
            Err(Errno::ENOENT) => {
                let text = if name.contains('/') {
                    "No such file or directory"
                } else {
                    "not found"
                };
                context.complain(&self.name, format!("1: {name}: {text}"))?;
                Err(NOT_FOUND)
            }
            Err(error) => {
                context.complain(&self.name, format!("1: {name}: {}", describe(error)))?;
                Err(NOT_EXECUTABLE)
            }
        })
    }

    /// Runs a program as a child, or in this shell's place when it has nothing more to do.
    fn program(
        &mut self,
        context: &Context,
        fields: &[String],
        values: Vec<(String, String)>,
        last: bool,
    ) -> Result<(), Flow> {
        let executable = match self.find_program(context, fields)? {
            Ok(executable) => executable,
            Err(code) => {
                self.status = code;
                return Ok(());
            }
        };
        let mut env = self.environment();
        env.retain(|(name, _)| !values.iter().any(|(other, _)| other == name));
        env.extend(values);
        if last && self.jobs.is_empty() {
            return Err(self.become_program(context, executable, env));
        }
        let start = Start {
            parent: context.process().clone(),
            env,
            cwd: None,
            files: context.files(),
            new_group: false,
        };
        match context.host().start(executable, start) {
            Ok(child) => self.status = self.wait(context, child.pid())?,
            Err(error) => {
                context.complain(&self.name, format!("1: Cannot fork: {}", describe(error)))?;
                self.status = USAGE;
            }
        }
        Ok(())
    }

    /// Leaves this process to a program, with its environment.
    pub fn become_program(
        &self,
        context: &Context,
        executable: Executable,
        env: Vec<(String, String)>,
    ) -> Flow {
        match context.replace_env(env) {
            Ok(()) => Flow::Exec(executable),
            Err(error) => Flow::Failed(error),
        }
    }

    /// As `exec` does it.
    pub fn exec(&mut self, context: &Context, fields: &[String]) -> Result<i32, Flow> {
        match self.find_program(context, fields)? {
            Ok(executable) => Err(self.become_program(context, executable, self.environment())),
            Err(code) => Err(Flow::Exit(code)),
        }
    }

    // ---- redirections ----------------------------------------------------------------------------------------------

    /// Redirects; `None` when that failed and was complained about.
    fn redirect(
        &mut self,
        context: &Context,
        redirects: &[Redirect],
    ) -> Result<Option<Saved>, Flow> {
        let mut saved = Saved::new();
        for redirect in redirects {
            let target = self.text(context, &redirect.target)?;
            if let Err(error) = apply(context, redirect, &target, &mut saved) {
                restore(context, saved)?;
                let text = match (redirect.operator, error) {
                    (Operator::Duplicate, _) => format!("1: {target}: bad fd number"),
                    (Operator::Read, Errno::ENOENT) => {
                        format!("1: cannot open {target}: No such file")
                    }
                    (Operator::Read, _) => format!("1: cannot open {target}: {}", describe(error)),
                    (_, Errno::ENOENT) => {
                        format!("1: cannot create {target}: Directory nonexistent")
                    }
                    _ => format!("1: cannot create {target}: {}", describe(error)),
                };
                context.complain(&self.name, text)?;
                self.status = USAGE;
                return Ok(None);
            }
        }
        Ok(Some(saved))
    }
}

fn apply(
    context: &Context,
    redirect: &Redirect,
    target: &str,
    saved: &mut Saved,
) -> Result<(), Errno> {
    let (kernel, process) = (context.kernel(), context.process());
    let fd = redirect.fd.unwrap_or(1);
    let put = |fd: i32, file: Option<Arc<OpenFile>>, saved: &mut Saved| {
        saved.push((fd, process.file(fd).ok()));
        match file {
            Some(file) => kernel.replace(process, fd, file),
            None => kernel.close(process, fd).or(Ok(())),
        }
    };
    let open = |flags: i32| kernel.open_file(process, target.as_bytes(), flags, 0o666);
    let create = oflag::O_WRONLY | oflag::O_CREAT;
    let file = match redirect.operator {
        Operator::Read => open(oflag::O_RDONLY)?,
        Operator::Write | Operator::WriteBoth => open(create | oflag::O_TRUNC)?,
        Operator::Append | Operator::AppendBoth => open(create | oflag::O_APPEND)?,
        Operator::ReadWrite => open(oflag::O_RDWR | oflag::O_CREAT)?,
        Operator::Duplicate if target == "-" => return put(fd, None, saved),
        Operator::Duplicate => process.file(target.parse().map_err(|_| Errno::EBADF)?)?,
        Operator::Here => OpenFile::of_bytes(target.as_bytes().into()),
    };
    if matches!(
        redirect.operator,
        Operator::WriteBoth | Operator::AppendBoth
    ) {
        put(1, Some(file.clone()), saved)?;
        return put(2, Some(file), saved);
    }
    put(fd, Some(file), saved)
}

/// Undoes redirections, the last one first.
fn restore(context: &Context, saved: Saved) -> Result<(), Flow> {
    for (fd, file) in saved.into_iter().rev() {
        match file {
            Some(file) => context.kernel().replace(context.process(), fd, file)?,
            None => context
                .kernel()
                .close(context.process(), fd)
                .or(Ok::<(), Errno>(()))?,
        }
    }
    Ok(())
}
