//! The command line of `node`: options of Node and V8, and what is to be run. Source: `src/node_options-inl.h`,
//! `src/node_options.cc` and `StartExecution` of `src/node.cc`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::bindings::options::{self, OptionInfo};

/// What `node` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Writes a text to standard output and ends with 0.
    Print(String),
    /// Writes a text to standard error and ends with this code.
    Refuse(String, i32),
    /// Runs the program that `args` begins with.
    File,
    /// Runs one of Node's own main scripts.
    Main(&'static str),
    /// Runs a script of `package.json`.
    Run(String),
}

/// A command line, taken apart.
#[derive(Clone, Debug)]
pub struct NodeCommand {
    /// What to do.
    pub entry: Entry,
    /// Node's options as `options.getOptionValue` gives them.
    pub options: Vec<(String, Json)>,
    /// `process.execArgv`.
    pub exec_argv: Vec<String>,
    /// The program and its arguments.
    pub args: Vec<String>,
}

/// Node's exit code for options that it does not know.
const INVALID_COMMAND_LINE_ARGUMENT: i32 = 9;
/// Node's exit code for options that its start cannot apply.
const INVALID_FOR_PROCESS: i32 = 12;

/// Flags of V8 that programs pass to `node`. They are accepted: isolates of one OS process share V8's flags, so that
/// none of them changes anything here.
const V8_FLAGS: &[&str] = &[
    "--abort-on-uncaught-exception",
    "--allow-natives-syntax",
    "--always-sparkplug",
    "--concurrent-recompilation",
    "--enable-source-at-csa-bind",
    "--expose-gc",
    "--expose-externalize-string",
    "--gc-global",
    "--gc-interval",
    "--harmony",
    "--heap-snapshot-on-oom",
    "--huge-max-old-generation-size",
    "--initial-heap-size",
    "--initial-old-space-size",
    "--interpreted-frames-native-stack",
    "--jitless",
    "--lazy",
    "--max-heap-size",
    "--max-lazy",
    "--max-old-space-size",
    "--max-semi-space-size",
    "--min-semi-space-size",
    "--opt",
    "--optimize-for-size",
    "--predictable",
    "--random-seed",
    "--single-threaded",
    "--sparkplug",
    "--stack-size",
    "--stack-trace-limit",
    "--stress-compaction",
    "--trace-deopt",
    "--trace-gc",
    "--trace-opt",
    "--turbo-fast-api-calls",
    "--use-strict",
    "--verify-heap",
    "--wasm-max-mem-pages",
];

/// Whether this names a flag of V8 that is accepted, in its positive form.
pub fn is_v8_flag(name: &str) -> bool {
    name.starts_with("--harmony-")
        || name.starts_with("--experimental-wasm-")
        || V8_FLAGS.contains(&name)
}

/// Kinds of options, by their number in `options.types`.
mod kind {
    pub const NO_OP: i32 = 0;
    pub const V8_OPTION: i32 = 1;
    pub const BOOLEAN: i32 = 2;
    pub const INTEGER: i32 = 3;
    pub const UNSIGNED: i32 = 4;
    pub const HOST_PORT: i32 = 6;
    pub const STRING_LIST: i32 = 7;
}

/// Options that switch others on.
const IMPLICATIONS: &[(&str, &str)] = &[
    ("--eval", "[has_eval_string]"),
    ("--env-file", "[has_env_file_string]"),
    ("--env-file-if-exists", "[has_env_file_string]"),
    (
        "--experimental-transform-types",
        "--experimental-strip-types",
    ),
    ("--experimental-transform-types", "--enable-source-maps"),
    ("--report-signal", "--report-on-signal"),
    ("--watch-path", "--watch"),
    ("--trace-env-js-stack", "--trace-env"),
    ("--trace-env-native-stack", "--trace-env"),
];

/// Variables that switch an option on when they are 1.
const VARIABLES: &[(&str, &str)] = &[
    ("NODE_PENDING_DEPRECATION", "--pending-deprecation"),
    ("NODE_PRESERVE_SYMLINKS", "--preserve-symlinks"),
    ("NODE_PRESERVE_SYMLINKS_MAIN", "--preserve-symlinks-main"),
];

#[derive(Default)]
struct Parser {
    values: BTreeMap<String, Json>,
    exec_argv: Vec<String>,
}

impl Parser {
    /// Takes options off `words`; answers what is left, or why it is refused.
    fn parse(&mut self, given: &[String], from_environment: bool) -> Result<Vec<String>, String> {
        let mut words: Vec<String> = given.iter().rev().cloned().collect();
        while words
            .last()
            .is_some_and(|word| word.len() > 1 && word.starts_with('-'))
        {
            let Some(word) = words.pop() else { break };
            if word == "--" {
                if from_environment {
                    return Err("-- is not allowed in NODE_OPTIONS".to_owned());
                }
                break;
            }
            self.option(&word, &mut words, from_environment)?;
        }
        words.reverse();
        if !from_environment {
            let taken = given.len().saturating_sub(words.len());
            self.exec_argv = given.get(..taken).unwrap_or_default().to_vec();
            // What ends the options is none.
            self.exec_argv.pop_if(|word| word == "--");
        }
        Ok(words)
    }

    fn option(
        &mut self,
        word: &str,
        words: &mut Vec<String>,
        from_environment: bool,
    ) -> Result<(), String> {
        let (given, inline) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word, None),
        };
        let mut name = if given.starts_with("--") {
            given.replace('_', "-")
        } else {
            given.to_owned()
        };
        let mut negated = false;
        if let Some(positive) = name.strip_prefix("--no-") {
            name = format!("--{positive}");
            negated = true;
        }
        // An alias may lead to another.
        for _ in 0..4 {
            let next_is_value = words.last().is_some_and(|next| !next.starts_with('-'));
            let expansion = options::alias(&name)
                .or_else(|| {
                    inline
                        .as_ref()
                        .and_then(|_| options::alias(&format!("{name}=")))
                })
                .or_else(|| {
                    if next_is_value {
                        options::alias(&format!("{name} <arg>"))
                    } else {
                        None
                    }
                });
            let Some([first, rest @ ..]) = expansion else {
                break;
            };
            let done = *first == name;
            name.clone_from(first);
            words.extend(rest.iter().rev().cloned());
            if done {
                break;
            }
        }
        let Some(info) = options::info(&name) else {
            if is_v8_flag(&name) {
                self.values.insert(name, Json::Bool(!negated));
                return Ok(());
            }
            return Err(if from_environment {
                format!("{word} is not allowed in NODE_OPTIONS")
            } else {
                format!("bad option: {word}")
            });
        };
        if from_environment && !info.is_allowed_in_environment() {
            return Err(format!("{word} is not allowed in NODE_OPTIONS"));
        }
        if negated && info.kind != kind::BOOLEAN && info.kind != kind::V8_OPTION {
            return Err(format!(
                "{word} is an invalid negation because it is not a boolean option"
            ));
        }
        if let Some(value) = self.value(word, &name, info, inline, negated, words)? {
            self.values.insert(name.clone(), value);
        }
        if !negated {
            for (_, implied) in IMPLICATIONS.iter().filter(|(option, _)| *option == name) {
                self.values.insert((*implied).to_owned(), Json::Bool(true));
            }
        }
        Ok(())
    }

    /// The value of an option; `None` when it has none to keep.
    fn value(
        &mut self,
        word: &str,
        name: &str,
        info: &OptionInfo,
        inline: Option<String>,
        negated: bool,
        words: &mut Vec<String>,
    ) -> Result<Option<Json>, String> {
        match info.kind {
            kind::BOOLEAN | kind::V8_OPTION => return Ok(Some(Json::Bool(!negated))),
            kind::NO_OP => return Ok(None),
            _ => {}
        }
        let requires = || format!("{word} requires an argument");
        let text = match inline {
            Some(text) if text.is_empty() => {
                return Err(requires());
            }
            Some(text) => text,
            None => {
                let text = words.pop().ok_or_else(requires)?;
                if text.starts_with('-') {
                    return Err(requires());
                }
                match text.strip_prefix('\\') {
                    Some(rest) if rest.starts_with('-') => rest.to_owned(),
                    _ => text,
                }
            }
        };
        Ok(Some(match info.kind {
            kind::INTEGER => Json::from(leading_integer(&text)),
            // As `strtoull` reads it: -1 is the largest number.
            kind::UNSIGNED => Json::from(leading_integer(&text).cast_unsigned()),
            kind::STRING_LIST => {
                let mut list = match self.values.get(name) {
                    Some(Json::Array(list)) => list.clone(),
                    _ => Vec::new(),
                };
                list.push(Json::from(text));
                Json::Array(list)
            }
            // Nothing listens there, ever.
            kind::HOST_PORT => return Ok(None),
            _ => Json::from(text),
        }))
    }

    fn flag(&self, name: &str) -> bool {
        self.values
            .get(name)
            .and_then(Json::as_bool)
            .unwrap_or(false)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .and_then(Json::as_str)
            .filter(|text| !text.is_empty())
    }

    /// Whether an option has another value than Node gives it.
    fn is_changed(&self, name: &str) -> bool {
        let value = self.values.get(name);
        value.is_some() && value != options::default_of(name).ok()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name).and_then(Json::as_i64)
    }

    /// A percentage of memory that is none.
    fn wrong_percentage(&self) -> Option<String> {
        let given = self.text("--max-old-space-size-percentage")?;
        let valid = given
            .parse::<f64>()
            .is_ok_and(|percentage| percentage > 0.0 && percentage <= 100.0);
        (!valid).then(|| {
            format!(
                "--max-old-space-size-percentage must be greater than 0 and up to 100. Got: {given}"
            )
        })
    }

    /// What Node's start refuses after it has read all options, with a code of its own.
    fn invalid_for_process(&self) -> Option<String> {
        if self
            .text("--disable-proto")
            .is_some_and(|mode| !matches!(mode, "delete" | "throw"))
        {
            return Some("invalid mode passed to --disable-proto".to_owned());
        }
        let reverted = self.values.get("--security-revert")?.as_array()?;
        // No fix of this version can be reverted.
        let name = reverted.first()?.as_str()?;
        Some(format!("Error: Attempt to revert an unknown CVE [{name}]"))
    }

    /// What cannot go together.
    fn conflict(&self) -> Option<&'static str> {
        let has_eval = self.flag("[has_eval_string]");
        let checks = self.flag("--check");
        let choice = |name: &str, valid: &[&str]| {
            self.text(name).is_some_and(|value| !valid.contains(&value))
        };
        if self.flag("--use-openssl-ca") && self.flag("--use-bundled-ca") {
            return Some("either --use-openssl-ca or --use-bundled-ca can be used, not both");
        }
        if let Some(bytes) = self.number("--secure-heap").filter(|bytes| *bytes >= 2) {
            if bytes & (bytes - 1) != 0 {
                return Some("--secure-heap must be a power of 2");
            }
            let least = self.number("--secure-heap-min").unwrap_or(2);
            let least = least.min(bytes).clamp(2, i64::from(i32::MAX));
            if least & (least - 1) != 0 {
                return Some("--secure-heap-min must be a power of 2");
            }
        }
        if choice("--use-largepages", &["off", "on", "silent"]) {
            return Some("invalid value for --use-largepages");
        }
        if choice("--experimental-default-type", &["commonjs", "module"]) {
            return Some("--experimental-default-type must be \"module\" or \"commonjs\"");
        }
        if choice("--trace-require-module", &["all", "no-node-modules"]) {
            return Some("invalid value for --trace-require-module");
        }
        if choice(
            "--unhandled-rejections",
            &["warn-with-error-code", "throw", "strict", "warn", "none"],
        ) {
            return Some("invalid value for --unhandled-rejections");
        }
        if self.flag("--tls-min-v1.3") && self.flag("--tls-max-v1.2") {
            return Some("either --tls-min-v1.3 or --tls-max-v1.2 can be used, not both");
        }
        if self
            .number("--heapsnapshot-near-heap-limit")
            .is_some_and(|count| count < 0)
        {
            return Some("--heapsnapshot-near-heap-limit must not be negative");
        }
        for (profile, options) in [
            (
                "--cpu-prof",
                [
                    (
                        "--cpu-prof-name",
                        "--cpu-prof-name must be used with --cpu-prof",
                    ),
                    (
                        "--cpu-prof-dir",
                        "--cpu-prof-dir must be used with --cpu-prof",
                    ),
                    (
                        "--cpu-prof-interval",
                        "--cpu-prof-interval must be used with --cpu-prof",
                    ),
                ],
            ),
            (
                "--heap-prof",
                [
                    (
                        "--heap-prof-name",
                        "--heap-prof-name must be used with --heap-prof",
                    ),
                    (
                        "--heap-prof-dir",
                        "--heap-prof-dir must be used with --heap-prof",
                    ),
                    (
                        "--heap-prof-interval",
                        "--heap-prof-interval must be used with --heap-prof",
                    ),
                ],
            ),
        ] {
            if self.flag(profile) {
                continue;
            }
            let mut options = options.iter();
            if let Some((_, text)) = options.find(|(option, _)| self.is_changed(option)) {
                return Some(text);
            }
        }
        if checks && (has_eval || self.flag("--interactive")) {
            return Some("either --check or --eval can be used, not both");
        }
        let input_type = self.text("--input-type");
        if input_type.is_some_and(|kind| {
            !matches!(
                kind,
                "commonjs" | "module" | "commonjs-typescript" | "module-typescript"
            )
        }) {
            return Some(
                "--input-type must be \"module\",\"commonjs\", \"module-typescript\" or \"commonjs-typescript\"",
            );
        }
        if self.flag("--test") {
            if checks {
                return Some("either --test or --check can be used, not both");
            }
            if has_eval {
                return Some("either --test or --eval can be used, not both");
            }
            if self.flag("--interactive") {
                return Some("either --test or --interactive can be used, not both");
            }
        }
        if self.flag("--watch") && (checks || has_eval) {
            return Some(if checks {
                "either --watch or --check can be used, not both"
            } else {
                "either --watch or --eval can be used, not both"
            });
        }
        None
    }

    fn checked_entry(&self, args: &[String], refuse: impl Fn(&str, i32) -> Entry) -> Entry {
        if let Some(text) = self.conflict() {
            return refuse(text, INVALID_COMMAND_LINE_ARGUMENT);
        }
        if let Some(text) = self.wrong_percentage() {
            return refuse(&text, INVALID_COMMAND_LINE_ARGUMENT);
        }
        if self.flag("--watch") && !self.flag("--test") && args.is_empty() {
            return refuse(
                "--watch requires specifying a file",
                INVALID_COMMAND_LINE_ARGUMENT,
            );
        }
        match self.invalid_for_process() {
            Some(text) => refuse(&text, INVALID_FOR_PROCESS),
            None => self.entry(args),
        }
    }

    fn entry(&self, args: &[String]) -> Entry {
        if self.flag("--completion-bash") {
            return Entry::Print(bash_completion());
        }
        if self.flag("--version") {
            return Entry::Print(format!("v{}\n", crate::realm::NODE_VERSION));
        }
        if self.flag("--build-snapshot") && args.is_empty() {
            let text = "--build-snapshot must be used with an entry point script.\n\
                        Usage: node --build-snapshot /path/to/entry.js\n";
            return Entry::Refuse(text.to_owned(), INVALID_COMMAND_LINE_ARGUMENT);
        }
        if let Some(script) = self.text("--run") {
            return Entry::Run(script.to_owned());
        }
        if self.flag("--help") {
            return Entry::Main("internal/main/print_help");
        }
        if self.flag("[has_eval_string]") && !self.flag("--interactive") {
            return Entry::Main("internal/main/eval_string");
        }
        if self.flag("--check") {
            return Entry::Main("internal/main/check_syntax");
        }
        if self.flag("--test") {
            return Entry::Main("internal/main/test_runner");
        }
        if self.flag("--watch") {
            return Entry::Main("internal/main/watch_mode");
        }
        match args.first() {
            Some(file) if !file.is_empty() && file != "-" => Entry::File,
            _ if self.flag("--interactive") => Entry::Main("internal/main/repl"),
            _ => Entry::Main("internal/main/eval_stdin"),
        }
    }
}

/// What a shell evaluates to complete options.
fn bash_completion() -> String {
    let names: Vec<&str> = options::names().collect();
    format!(
        "_node_complete() {{\n  local cur_word options\n  cur_word=\"${{COMP_WORDS[COMP_CWORD]}}\"\n  \
         if [[ \"${{cur_word}}\" == -* ]] ; then\n    COMPREPLY=( $(compgen -W '{}' -- \"${{cur_word}}\") )\n    \
         return 0\n  else\n    COMPREPLY=( $(compgen -f \"${{cur_word}}\") )\n    return 0\n  fi\n}}\n\
         complete -o filenames -o nospace -o bashdefault -F _node_complete node node_g\n",
        names.join(" ")
    )
}

/// As `strtoll` reads a number: what is no number is 0.
fn leading_integer(text: &str) -> i64 {
    let digits = text.trim_start();
    let end = digits
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || (*at == 0 && matches!(c, '-' | '+'))))
        .map_or(digits.len(), |(at, _)| at);
    digits
        .get(..end)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// The words of `NODE_OPTIONS`: separated by spaces, with double quotes and backslashes in them.
fn environment_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (None::<String>, false);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' if quoted => match characters.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("invalid value for NODE_OPTIONS (invalid escape)".to_owned()),
            },
            ' ' if !quoted => words.extend(word.take()),
            '"' => quoted = !quoted,
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err("invalid value for NODE_OPTIONS (unterminated string)".to_owned());
    }
    words.extend(word);
    Ok(words)
}

impl NodeCommand {
    /// Reads a command line, `argv[0]` first, and the variables that stand for options.
    pub fn parse(argv: &[String], variable: impl Fn(&str) -> Option<String>) -> Self {
        let program = argv.first().map_or("node", String::as_str);
        let mut parser = Parser::default();
        for (name, option) in VARIABLES {
            if variable(name).is_some_and(|value| value == "1") {
                parser.values.insert((*option).to_owned(), Json::Bool(true));
            }
        }
        if let Some(path) = variable("NODE_REDIRECT_WARNINGS").filter(|path| !path.is_empty()) {
            parser
                .values
                .insert("--redirect-warnings".to_owned(), Json::from(path));
        }
        let node_options = variable("NODE_OPTIONS");
        let parsed = environment_words(node_options.as_deref().unwrap_or_default())
            .and_then(|words| parser.parse(&words, true))
            .and_then(|_| parser.parse(argv.get(1..).unwrap_or_default(), false));
        let refuse = |text: &str, code| Entry::Refuse(format!("{program}: {text}\n"), code);
        let (entry, args) = match parsed {
            Ok(args) => (parser.checked_entry(&args, refuse), args),
            Err(text) => (refuse(&text, INVALID_COMMAND_LINE_ARGUMENT), Vec::new()),
        };
        Self {
            entry,
            options: parser.values.into_iter().collect(),
            exec_argv: parser.exec_argv,
            args,
        }
    }

    /// Whether it is a program without options, which an isolate can run that was prepared before.
    pub fn is_plain(&self) -> bool {
        self.options.is_empty()
            && matches!(
                self.entry,
                Entry::File | Entry::Print(_) | Entry::Refuse(..)
            )
    }
}

/// Options that a worker cannot have of its own, because they are the whole process's.
const PER_PROCESS: &[&str] = &[
    "--build-snapshot",
    "--build-snapshot-config",
    "--completion-bash",
    "--cpu-prof-dir",
    "--debug-arraybuffer-allocations",
    "--disable-proto",
    "--disable-wasm-trap-handler",
    "--enable-fips",
    "--force-fips",
    "--help",
    "--icu-data-dir",
    "--node-snapshot",
    "--openssl-config",
    "--openssl-legacy-provider",
    "--openssl-shared-config",
    "--run",
    "--secure-heap",
    "--secure-heap-min",
    "--security-revert",
    "--snapshot-blob",
    "--ssl-openssl-cert-store",
    "--title",
    "--tls-cipher-list",
    "--trace-event-categories",
    "--trace-event-file-pattern",
    "--use-bundled-ca",
    "--use-largepages",
    "--use-openssl-ca",
    "--v8-options",
    "--v8-pool-size",
    "--version",
    "--zero-fill-buffers",
];

/// What a worker's options cannot be.
#[derive(Debug, PartialEq, Eq)]
pub enum WorkerOptionsError {
    /// `execArgv`
    ExecArgv(Vec<String>),
    /// `NODE_OPTIONS` of the worker's own environment.
    NodeOptions(Vec<String>),
}

/// The options of a worker with `execArgv` or an environment of its own. What `NODE_OPTIONS` of its parent says, it may
/// say, too.
///
/// # Errors
/// [`WorkerOptionsError`] with what is wrong.
pub fn worker_options(
    exec_argv: Option<&[String]>,
    variable: impl Fn(&str) -> Option<String>,
    parent_node_options: Option<&str>,
) -> Result<Vec<(String, Json)>, WorkerOptionsError> {
    let mut parser = Parser::default();
    for (name, option) in VARIABLES {
        if variable(name).is_some_and(|value| value == "1") {
            parser.values.insert((*option).to_owned(), Json::Bool(true));
        }
    }
    let is_of_process = |word: &String| {
        let name = word.split('=').next().unwrap_or(word).replace('_', "-");
        let name = name
            .strip_prefix("--no-")
            .map_or(name.clone(), |positive| format!("--{positive}"));
        let is_v8 = is_v8_flag(&name)
            || options::info(&name).is_some_and(|info| info.kind == kind::V8_OPTION);
        is_v8 || PER_PROCESS.contains(&name.as_str())
    };
    if let Some(text) = variable("NODE_OPTIONS").filter(|text| !text.is_empty()) {
        let words = environment_words(&text)
            .map_err(|error| WorkerOptionsError::NodeOptions(vec![error]))?;
        let inherited = parent_node_options == Some(text.as_str());
        let refused: Vec<String> = if inherited {
            Vec::new()
        } else {
            words
                .iter()
                .filter(|word| is_of_process(word))
                .cloned()
                .collect()
        };
        if !refused.is_empty() {
            let refused = refused
                .into_iter()
                .map(|word| format!("{word} is not allowed in NODE_OPTIONS"));
            return Err(WorkerOptionsError::NodeOptions(refused.collect()));
        }
        parser
            .parse(&words, true)
            .map_err(|error| WorkerOptionsError::NodeOptions(vec![error]))?;
    }
    let words = exec_argv.unwrap_or_default();
    let mut refused: Vec<String> = Vec::new();
    let mut rest = words.to_vec();
    // What is no option of a worker is told together; an option that is used wrongly is told first.
    while !rest.is_empty() {
        if let Some(word) = rest.first().filter(|word| is_of_process(word)) {
            refused.push(word.clone());
            rest.remove(0);
            continue;
        }
        let next = rest.iter().position(&is_of_process).unwrap_or(rest.len());
        let tail = rest.split_off(next);
        match parser.parse(&rest, false) {
            Ok(left) => refused.extend(left),
            Err(error) => match error.strip_prefix("bad option: ") {
                Some(word) => {
                    refused.push(word.to_owned());
                    if let Some(at) = rest.iter().position(|known| known == word) {
                        let mut after = rest.split_off(at + 1);
                        after.extend(tail);
                        rest = after;
                        continue;
                    }
                }
                None => return Err(WorkerOptionsError::ExecArgv(vec![error])),
            },
        }
        rest = tail;
    }
    if !refused.is_empty() {
        return Err(WorkerOptionsError::ExecArgv(refused));
    }
    Ok(parser.values.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_workers() {
        let options = |words: &[&str]| {
            let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
            worker_options(Some(&words), |_| None, None)
        };
        let refused = |words: &[&str]| {
            let words = words.iter().copied().map(str::to_owned).collect();
            Err(WorkerOptionsError::ExecArgv(words))
        };
        assert_eq!(
            options(&["--no-warnings"]),
            Ok(vec![("--warnings".to_owned(), Json::Bool(false))])
        );
        assert_eq!(options(&["--hello"]), refused(&["--hello"]));
        assert_eq!(
            options(&["--title=blah", "--expose-gc"]),
            refused(&["--title=blah", "--expose-gc"])
        );
        assert_eq!(
            options(&["--redirect-warnings"]),
            refused(&["--redirect-warnings requires an argument"])
        );
        let own = |parent| worker_options(None, |_| Some("--title=x".to_owned()), parent);
        assert!(matches!(own(None), Err(WorkerOptionsError::NodeOptions(_))));
        assert!(own(Some("--title=x")).is_ok());
    }

    fn parse(words: &[&str]) -> NodeCommand {
        let argv: Vec<String> = std::iter::once("node")
            .chain(words.iter().copied())
            .map(str::to_owned)
            .collect();
        NodeCommand::parse(&argv, |_| None)
    }

    #[test]
    fn programs_and_their_arguments() {
        let command = parse(&["--no-warnings", "a.js", "--x", "y"]);
        assert_eq!(command.entry, Entry::File);
        assert_eq!(command.args, ["a.js", "--x", "y"]);
        assert_eq!(command.exec_argv, ["--no-warnings"]);
        assert_eq!(
            command.options,
            [("--warnings".to_owned(), Json::Bool(false))]
        );
        assert!(parse(&["a.js"]).is_plain() && !command.is_plain());
        assert_eq!(parse(&[]).entry, Entry::Main("internal/main/eval_stdin"));
    }

    #[test]
    fn evaluation() {
        let command = parse(&["-e", "1 + 1", "x"]);
        assert_eq!(command.entry, Entry::Main("internal/main/eval_string"));
        assert_eq!(
            (command.args, command.exec_argv),
            (
                vec!["x".to_owned()],
                vec!["-e".to_owned(), "1 + 1".to_owned()]
            )
        );
        let command = parse(&["-p", "42"]);
        assert!(
            command
                .options
                .contains(&("--eval".to_owned(), Json::from("42")))
        );
        assert!(
            command
                .options
                .contains(&("--print".to_owned(), Json::Bool(true)))
        );
        let command = parse(&["-pe", "process.pid"]);
        assert_eq!(command.entry, Entry::Main("internal/main/eval_string"));
        let command = parse(&["-r", "./a", "--require=./b", "c.js"]);
        assert_eq!(
            command.options,
            [("--require".to_owned(), serde_json::json!(["./a", "./b"]))]
        );
    }

    #[test]
    fn refusals() {
        for (words, text) in [
            (&["--what"][..], "node: bad option: --what\n"),
            (&["-e"], "node: -e requires an argument\n"),
            (&["--require="], "node: --require= requires an argument\n"),
            (
                &["--no-require", "x"],
                "node: --no-require is an invalid negation because it is not a boolean option\n",
            ),
            (
                &["--use-bundled-ca", "--use-openssl-ca"],
                "node: either --use-openssl-ca or --use-bundled-ca can be used, not both\n",
            ),
            (
                &["--tls-min-v1.3", "--tls-max-v1.2"],
                "node: either --tls-min-v1.3 or --tls-max-v1.2 can be used, not both\n",
            ),
            (
                &["--trace-require-module=1"],
                "node: invalid value for --trace-require-module\n",
            ),
            (
                &["--cpu-prof-interval", "7"],
                "node: --cpu-prof-interval must be used with --cpu-prof\n",
            ),
            (
                &["--secure-heap=5"],
                "node: --secure-heap must be a power of 2\n",
            ),
            (
                &["--max-old-space-size-percentage=101"],
                "node: --max-old-space-size-percentage must be greater than 0 and up to 100. Got: 101\n",
            ),
            (&["--watch"], "node: --watch requires specifying a file\n"),
            (
                &["-c", "-e", "1"],
                "node: either --check or --eval can be used, not both\n",
            ),
        ] {
            assert_eq!(
                parse(words).entry,
                Entry::Refuse(text.to_owned(), 9),
                "{words:?}"
            );
        }
        assert_eq!(
            parse(&["--security-revert=CVE-1"]).entry,
            Entry::Refuse(
                "node: Error: Attempt to revert an unknown CVE [CVE-1]\n".to_owned(),
                12
            )
        );
        assert_eq!(parse(&["--cpu-prof-interval=1000", "x"]).entry, Entry::File);
        let command = NodeCommand::parse(&["node".to_owned()], |name| {
            (name == "NODE_OPTIONS").then(|| "--version".to_owned())
        });
        assert!(matches!(command.entry, Entry::Refuse(..)));
    }

    #[test]
    fn node_options() {
        let command = NodeCommand::parse(&["node".to_owned(), "a.js".to_owned()], |name| {
            (name == "NODE_OPTIONS").then(|| "--no-warnings  --require \"a b\"".to_owned())
        });
        assert_eq!(command.entry, Entry::File);
        assert!(command.exec_argv.is_empty());
        assert_eq!(command.options.len(), 2);
        assert!(environment_words("\"a").is_err());
    }
}
