//! `internalBinding('sqlite')`. Source: `src/node_sqlite.cc`.
//!
//! ```text
//! DatabaseSync  --> Database  --> secure_exec_sqlite::Connection --> machine.rs: the VM's files, clock and memory
//! StatementSync --> Statement --> secure_exec_sqlite::Statement
//! Session       --> Session   --> secure_exec_sqlite::Session
//! ```
//! What SQL calls back may close or finalize anything: each call here holds what it works with, and what JavaScript closed
//! is gone for JavaScript at once, for SQLite when the call returns.

mod backup;
mod database;
mod functions;
mod machine;
mod session;
mod statement;
mod values;

use crate::binding::{Args, Binding, Callback, Class, function};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

const BACKUP: Callback = function!(backup::backup);

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "sqlite",
    classes: &[
        Class {
            name: "DatabaseSync",
            constructor: Some(function!(database::construct)),
            methods: &[
                ("open", function!(database::open)),
                ("close", function!(database::close)),
                ("prepare", function!(database::prepare)),
                ("exec", function!(database::exec)),
                ("function", function!(functions::define_function)),
                ("location", function!(database::location)),
                ("aggregate", function!(functions::define_aggregate)),
                ("createSession", function!(session::create)),
                ("applyChangeset", function!(session::apply)),
                (
                    "enableLoadExtension",
                    function!(database::enable_load_extension),
                ),
                ("loadExtension", function!(database::load_extension)),
            ],
            instance_getters: &[
                ("isOpen", function!(database::is_open)),
                ("isTransaction", function!(database::is_transaction)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "StatementSync",
            methods: &[
                ("iterate", function!(statement::iterate)),
                ("all", function!(statement::all)),
                ("get", function!(statement::get)),
                ("run", function!(statement::run)),
                ("columns", function!(statement::columns)),
                (
                    "setAllowBareNamedParameters",
                    function!(statement::set_allow_bare),
                ),
                (
                    "setAllowUnknownNamedParameters",
                    function!(statement::set_allow_unknown),
                ),
                ("setReadBigInts", function!(statement::set_read_big_ints)),
                ("setReturnArrays", function!(statement::set_return_arrays)),
            ],
            instance_getters: &[
                ("sourceSQL", function!(statement::source_sql)),
                ("expandedSQL", function!(statement::expanded_sql)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "StatementSyncIterator",
            methods: &[
                ("next", function!(statement::next)),
                ("return", function!(statement::end_iteration)),
            ],
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "Session",
            methods: &[
                ("changeset", function!(session::changeset)),
                ("patchset", function!(session::patchset)),
                ("close", function!(session::close)),
            ],
            hidden: true,
            ..Class::DEFAULT
        },
    ],
    references: || vec![v8::ExternalReference { function: BACKUP }],
    init: Some(init),
    ..Binding::DEFAULT
};

fn init<'s>(scope: &mut v8::PinScope<'s, '_>, _env: &Env, target: v8::Local<'s, v8::Object>) {
    const PARAMETERS: i32 = 2;
    let template = v8::FunctionTemplate::builder_raw(BACKUP)
        .length(PARAMETERS)
        .build(scope);
    if let (Some(name), Some(function)) = (
        v8::String::new(scope, "backup"),
        template.get_function(scope),
    ) {
        function.set_name(name);
        set(scope, target, "backup", function.into());
    }
}

/// The receiver of a method.
fn this<'s, T: 'static>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<std::rc::Rc<T>, Throw> {
    Env::of(scope)
        .objects
        .unwrap::<T>(scope, args.this())
        .ok_or_else(|| {
            Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
        })
}

fn invalid_state(message: &str) -> Throw {
    Throw::error("ERR_INVALID_STATE", message)
}

fn invalid_type(message: &str) -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", message)
}
