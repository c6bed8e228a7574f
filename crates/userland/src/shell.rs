//! `sh`: the POSIX shell language, as far as `sh -c` of programs and package scripts uses it.
//!
//! ```text
//!   text --parser--> syntax (a tree) --interpreter--> expand words, redirect, run
//!                                         |-- builtins in this process
//!                                         |-- commands and programs as children, pipelines as forked shells
//! ```
//! Not there: job control, aliases, traps, history, arrays and what else only bash has.

mod arithmetic;
mod builtins;
mod expand;
mod interpreter;
mod parser;
pub(crate) mod pattern;
mod syntax;

pub(crate) use interpreter::main;
