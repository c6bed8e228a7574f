//! The tree of a script.

use std::sync::Arc;

/// Commands in order.
pub(crate) type List = Vec<Item>;

/// One entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub chain: Chain,
    /// Ended by `&`.
    pub background: bool,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub first: Pipeline,
    pub rest: Vec<(Join, Pipeline)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    And,
    Or,
}

/// Commands joined by `|`.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub negated: bool,
    pub commands: Vec<Arc<Command>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub kind: Kind,
    pub redirects: Vec<Redirect>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
    },
    Group(List),
    Subshell(List),
    If {
        /// Conditions with what follows each.
        arms: Vec<(List, List)>,
        otherwise: List,
    },
    While {
        until: bool,
        condition: List,
        body: List,
    },
    For {
        name: String,
        /// `None`: the positional parameters.
        words: Option<Vec<Word>>,
        body: List,
    },
    Case {
        subject: Word,
        arms: Vec<(Vec<Word>, List)>,
    },
    Function {
        name: String,
        body: Arc<Command>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub fd: Option<i32>,
    pub operator: Operator,
    pub target: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Read,
    Write,
    Append,
    ReadWrite,
    /// `<&` and `>&`
    Duplicate,
    /// `&>`: both outputs.
    WriteBoth,
    /// `&>>`
    AppendBoth,
    /// `<<` and `<<<`: the target is the text.
    Here,
}

/// A word before expansion.
pub(crate) type Word = Vec<Part>;

#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// As written, without quotes.
    Text(String),
    /// Quoted by `'...'`, `\` or, inside of `"..."`, plain.
    Quoted(String),
    /// `"..."`
    Double(Word),
    Parameter(Box<Parameter>),
    /// `$(...)` and backquotes.
    Command(Arc<List>),
    /// `$((...))`
    Arithmetic(Word),
}

#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub name: String,
    pub action: Action,
}

/// What `${name...}` does beside giving the value.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Value,
    /// `${#name}`
    Length,
    /// `:-` `-` `:=` `=` `:?` `?` `:+` `+`: the flag says whether empty counts as unset.
    Default(Word, bool),
    Assign(Word, bool),
    Fail(Word, bool),
    Alternative(Word, bool),
    /// `%` `%%` `#` `##`: the flag says whether the longest match goes.
    TrimEnd(Word, bool),
    TrimStart(Word, bool),
}
