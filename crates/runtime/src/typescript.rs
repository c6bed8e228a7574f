//! TypeScript and JSX to JavaScript, and what kind of program a text without a file name is.
//!
//! Types are erased in place: every erased character becomes a space, so each line and column of
//! the output is the line and column of the source, and stack traces need no source map. Enums
//! with constant members, parameter properties, `import x = …` and `export = …` are rewritten in
//! place too, on the lines they stand on. Only namespaces, JSX and the rare forms that cannot be
//! rewritten in place go through the full transform, which prints the program anew and can give a
//! source map.
//!
//! Imports without the word `type` stay, as in Node. Decorators and auto-accessors are refused.
//!
//! The source is hostile. Its size is capped, the parser runs on a stack of its own and is stopped
//! when it has used its share of it or has read far more tokens than the source can need, and
//! every later pass runs only over trees whose depth is known to fit.

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use oxc_allocator::{Allocator, ArenaVec};
use oxc_ast::AstKind;
use oxc_ast::ast::{
    AccessorProperty, ArrowFunctionExpression, AwaitExpression, BinaryExpression, BindingPattern,
    BlockStatement, Class, ClassElement, Declaration, Decorator, ExportDeclaration,
    ExportDefaultDeclarationKind, ExportSpecifier, Expression, ForOfStatement, FormalParameter,
    Function, ImportMeta, ImportSpecifier, JSXChild, JSXElement, JSXFragment,
    JSXMemberExpressionObject, MethodDefinition, Program, PropertyDefinition, Statement,
    StaticBlock, SwitchStatement, TSAsExpression, TSClassImplements, TSEnumDeclaration,
    TSEnumMemberName, TSExportAssignment, TSImportEqualsDeclaration, TSImportTypeQualifier,
    TSInterfaceDeclaration, TSModuleReference, TSNamespaceDeclaration, TSNamespaceDeclarationBody,
    TSNonNullExpression, TSSatisfiesExpression, TSThisParameter, TSType, TSTypeAnnotation,
    TSTypeAssertion, TSTypeName, TSTypeParameterDeclaration, TSTypeParameterInstantiation,
    VariableDeclaration, VariableDeclarator,
};
use oxc_ast_visit::{Visit, walk};
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_diagnostics::{OxcDiagnostic, Severity};
use oxc_parser::Parser;
use oxc_parser::config::{LexerConfig, NoTokensLexerConfig, ParserConfig};
use oxc_parser::lexer::{Kind, Lexer};
use oxc_semantic::SemanticBuilder;
use oxc_span::{GetSpan, SourceType, Span};
use oxc_syntax::operator::{BinaryOperator, UnaryOperator};
use oxc_syntax::scope::ScopeFlags;
use oxc_transformer::{EnvOptions, JsxOptions, JsxRuntime as OxcJsxRuntime, Module};
use oxc_transformer::{TransformOptions, Transformer, TypeScriptOptions};

/// The largest source that is read, in bytes.
pub const MAX_SOURCE_BYTES: usize = 4 * 1024 * 1024;

/// Stack of the thread that does the work. Address space, not memory: only what is touched counts.
const STACK_BYTES: usize = 256 * 1024 * 1024;
/// How much of it the parser, or the walk over the tree, may use before it is stopped.
const PASS_STACK_BYTES: usize = 48 * 1024 * 1024;
/// JavaScript up to this size is read on the caller's thread, with this much of its stack. Guests' threads have 8 MiB.
const SHORT_SOURCE_BYTES: usize = 64 * 1024;
const SHORT_SOURCE_STACK_BYTES: usize = 1024 * 1024;
/// The deepest tree that the full transform takes, in nodes.
const MAX_TRANSFORM_DEPTH: u32 = 4_000;
/// Tokens that the parser may read: this many, and so many for each byte of the source.
const TOKEN_ALLOWANCE: u64 = 4_000_000;
const TOKENS_PER_BYTE: u64 = 32;
/// How much text the rewriting of enums, namespaces and JSX may make, in bytes.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024 * 1024;
/// How much text the members of one enum may have together to be evaluated here, in bytes.
const MAX_CONSTANT_TEXT: usize = 1024 * 1024;
/// How many of the parser's complaints a failure carries.
const MAX_ISSUES: usize = 32;
/// How much of a complaint is kept, in characters: it can quote names of the source.
const MESSAGE_LENGTH: usize = 500;
/// How much of a line a code frame shows, in characters.
const FRAME_WIDTH: usize = 160;

/// What a source is, as its file name or its caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// JavaScript, CommonJS or a module as its syntax tells.
    JavaScript,
    /// JavaScript as a CommonJS module: the body of a function.
    Script,
    /// JavaScript as an ECMAScript module.
    Module,
    /// TypeScript, CommonJS or a module as its syntax tells.
    TypeScript,
    /// TypeScript as a CommonJS module (`.cts`).
    TypeScriptCommonJs,
    /// TypeScript as an ECMAScript module (`.mts`).
    TypeScriptModule,
    /// TypeScript with JSX.
    Tsx,
    /// JavaScript with JSX.
    Jsx,
}

impl SourceKind {
    /// The kind that a file's name tells; JavaScript where it tells nothing.
    pub fn from_path(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("ts") => Self::TypeScript,
            Some("cts") => Self::TypeScriptCommonJs,
            Some("mts") => Self::TypeScriptModule,
            Some("tsx") => Self::Tsx,
            Some("jsx") => Self::Jsx,
            Some("mjs") => Self::Module,
            Some("cjs") => Self::Script,
            _ => Self::JavaScript,
        }
    }

    /// Whether the source is rewritten before it can run.
    pub fn needs_transpile(self) -> bool {
        !matches!(self, Self::JavaScript | Self::Script | Self::Module)
    }

    fn is_typescript(self) -> bool {
        matches!(
            self,
            Self::TypeScript | Self::TypeScriptCommonJs | Self::TypeScriptModule | Self::Tsx
        )
    }

    fn goal(self) -> Option<Goal> {
        match self {
            Self::Script | Self::TypeScriptCommonJs => Some(Goal::CommonJs),
            Self::Module | Self::TypeScriptModule => Some(Goal::Module),
            Self::JavaScript | Self::TypeScript | Self::Tsx | Self::Jsx => None,
        }
    }

    fn source_type(self, goal: Goal) -> SourceType {
        let base = match goal {
            Goal::CommonJs => SourceType::cjs(),
            Goal::Module => SourceType::mjs(),
        };
        base.with_typescript(self.is_typescript())
            .with_jsx(matches!(self, Self::Tsx | Self::Jsx))
    }
}

/// What JSX becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsxRuntime {
    /// Calls of `jsx` and `jsxs`, imported from `react/jsx-runtime`.
    #[default]
    Automatic,
    /// Calls of `React.createElement`.
    Classic,
}

/// How a source is transpiled.
#[derive(Clone, Copy, Debug)]
pub struct TranspileOptions<'a> {
    /// The name of the file, for the source map.
    pub path: &'a str,
    /// What the source is.
    pub kind: SourceKind,
    /// Whether the source is a module; `None` asks its kind, then its syntax.
    pub module: Option<bool>,
    /// What JSX becomes, where a pragma in the source does not say.
    pub jsx: JsxRuntime,
    /// Whether to make a source map where lines had to move.
    pub source_map: bool,
}

impl<'a> TranspileOptions<'a> {
    /// The options for a file of this name.
    pub fn for_path(path: &'a str) -> Self {
        Self {
            path,
            kind: SourceKind::from_path(path),
            module: None,
            jsx: JsxRuntime::default(),
            source_map: true,
        }
    }
}

/// JavaScript that runs, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpiled {
    /// The JavaScript, without a byte order mark.
    pub code: String,
    /// A source map (version 3, JSON). `None` where lines kept their places, or none was asked for.
    pub map: Option<String>,
    /// Whether the JavaScript is a module: it has an import, an export, `import.meta` or an
    /// `await` at the top, or the options say so.
    pub is_module: bool,
    /// Whether nothing is left to run: the source had only types, or nothing.
    pub erased_to_nothing: bool,
}

/// Why a source was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The source is not of its language.
    Syntax,
    /// TypeScript that has no JavaScript here: decorators, auto-accessors, `export =` in a module.
    Unsupported,
    /// The source is larger than [`MAX_SOURCE_BYTES`].
    TooLarge,
    /// The source nests deeper than the stack allows.
    TooDeep,
    /// The source makes the parser try far more readings than its length allows.
    TooComplex,
    /// The machine, not the source: no thread could be started, or the transform failed.
    Internal,
}

/// One complaint about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxIssue {
    /// What is wrong.
    pub message: String,
    /// What could be done about it.
    pub help: Option<String>,
    /// The line, from 1.
    pub line: u32,
    /// The column in UTF-16 units, from 1.
    pub column: u32,
}

/// A source that was refused: its first complaint, and all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxFailure {
    /// Why.
    pub kind: FailureKind,
    /// What is wrong, as the first complaint says.
    pub message: String,
    /// The line of the first complaint, from 1.
    pub line: u32,
    /// The column of the first complaint in UTF-16 units, from 1.
    pub column: u32,
    /// The line itself and, under it, a mark at the column.
    pub code_frame: String,
    /// All complaints in the order of the source, the first ones where there are many.
    pub all: Vec<SyntaxIssue>,
    /// Byte offset of the first complaint: how far the source could be read.
    offset: u32,
}

impl fmt::Display for SyntaxFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.message, self.line, self.column)
    }
}

impl std::error::Error for SyntaxFailure {}

/// What a text without a file name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classification {
    /// JavaScript that runs as the body of a CommonJS module.
    JavaScriptScript,
    /// JavaScript that runs only as a module.
    JavaScriptModule,
    /// Not JavaScript, but TypeScript.
    TypeScript,
    /// Neither.
    Invalid(SyntaxFailure),
}

/// Turns a source into JavaScript.
///
/// # Errors
///
/// A source that is not of its language, is not supported or is too much for the limits of this
/// module is refused; it is never passed on as it is.
pub fn transpile(
    source: &str,
    options: &TranspileOptions<'_>,
) -> Result<Transpiled, SyntaxFailure> {
    let source = without_mark(source);
    check_size(source)?;
    on_own_stack(|| transpile_here(source, options)).and_then(|result| result)
}

/// Says what a text without a file name is: JavaScript where it can be read as such, first as a
/// script (with a `return` at the top allowed), then as a module, and else TypeScript.
pub fn classify(source: &str) -> Classification {
    let source = without_mark(source);
    if source.len() <= SHORT_SOURCE_BYTES
        && let Some(Ok(goal)) = with_stack(SHORT_SOURCE_STACK_BYTES, || {
            read_javascript(source, SourceKind::JavaScript)
        })
    {
        return goal.into();
    }
    let result = check_size(source).and_then(|()| on_own_stack(|| classify_here(source)));
    match result {
        Ok(classification) => classification,
        Err(failure) => Classification::Invalid(failure),
    }
}

/// Whether a text can be read as TypeScript and not as JavaScript.
pub fn looks_like_typescript(source: &str) -> bool {
    classify(source) == Classification::TypeScript
}

// ---------------------------------------------------------------------------------------------
// The two jobs, on their own thread
// ---------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    CommonJs,
    Module,
}

impl From<Goal> for Classification {
    fn from(goal: Goal) -> Self {
        match goal {
            Goal::CommonJs => Self::JavaScriptScript,
            Goal::Module => Self::JavaScriptModule,
        }
    }
}

fn without_mark(source: &str) -> &str {
    source.strip_prefix('\u{feff}').unwrap_or(source)
}

fn check_size(source: &str) -> Result<(), SyntaxFailure> {
    if source.len() <= MAX_SOURCE_BYTES {
        return Ok(());
    }
    let message = format!(
        "The source has {} bytes, more than the {MAX_SOURCE_BYTES} that can be parsed",
        source.len()
    );
    Err(failure_at("", FailureKind::TooLarge, message, 0))
}

/// Runs a job on this thread, with passes that keep to `bytes` of its stack.
/// `None` when it panics: that must not unwind the guest's thread.
fn with_stack<T>(bytes: usize, job: impl FnOnce() -> T) -> Option<T> {
    PASS_STACK.set(bytes);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    PASS_STACK.set(PASS_STACK_BYTES);
    result.ok()
}

/// Runs a job on a thread whose stack is large enough for it. Its CPU time is charged to the guest whose thread this is.
fn on_own_stack<T: Send>(job: impl FnOnce() -> T + Send) -> Result<T, SyntaxFailure> {
    let internal = |message: String| failure_at("", FailureKind::Internal, message, 0);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("transpile".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                let result = job();
                (result, crate::watchdog::thread_cpu_time())
            })
            .map_err(|error| internal(format!("The parser could not be started: {error}")))?
            .join()
            .map(|(result, cpu)| {
                crate::watchdog::charge_guest_of_thread(cpu);
                result
            })
            .map_err(|panic| internal(format!("The parser failed: {}", panic_text(&*panic))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown reason")
}

fn classify_here(source: &str) -> Classification {
    let javascript = match read_javascript(source, SourceKind::JavaScript) {
        Ok(goal) => return goal.into(),
        Err(failure) if failure.kind != FailureKind::Syntax => {
            return Classification::Invalid(failure);
        }
        Err(failure) => failure,
    };
    let options = TranspileOptions {
        path: "",
        kind: SourceKind::TypeScript,
        module: None,
        jsx: JsxRuntime::default(),
        source_map: false,
    };
    match transpile_here(source, &options) {
        Ok(_) => Classification::TypeScript,
        // TypeScript that is refused for what it uses was read to its end: it is TypeScript.
        Err(typescript) if typescript.kind != FailureKind::Syntax => {
            Classification::Invalid(typescript)
        }
        Err(typescript) => Classification::Invalid(further(javascript, typescript)),
    }
}

/// The failure of the reading that got further; the first where both stopped at one place.
fn further(first: SyntaxFailure, second: SyntaxFailure) -> SyntaxFailure {
    if second.kind != FailureKind::Syntax || second.offset <= first.offset {
        first
    } else {
        second
    }
}

/// Reads JavaScript as a CommonJS module, then as an ECMAScript module.
fn read_javascript(source: &str, kind: SourceKind) -> Result<Goal, SyntaxFailure> {
    let read = |goal| {
        let allocator = Allocator::default();
        let parsed = parse(&allocator, source, kind.source_type(goal))?;
        match TypedClass::find(&parsed.program, source) {
            None => Ok(parsed.has_module_syntax),
            Some(offset) => {
                let message = "Unexpected modifier of a class".to_owned();
                Err(failure_at(source, FailureKind::Syntax, message, offset))
            }
        }
    };
    match read(Goal::CommonJs) {
        Ok(false) => Ok(Goal::CommonJs),
        Ok(true) => read(Goal::Module).map(|_| Goal::Module),
        Err(script) if script.kind != FailureKind::Syntax => Err(script),
        Err(script) => match read(Goal::Module) {
            Ok(_) => Ok(Goal::Module),
            Err(module) => Err(further(script, module)),
        },
    }
}

fn transpile_here(
    source: &str,
    options: &TranspileOptions<'_>,
) -> Result<Transpiled, SyntaxFailure> {
    let asked = options
        .module
        .map(|module| if module { Goal::Module } else { Goal::CommonJs })
        .or(options.kind.goal());
    if let Some(goal) = asked {
        return transpile_as(source, options, goal);
    }
    match transpile_as(source, options, Goal::CommonJs) {
        Ok(script) if !script.is_module => Ok(script),
        Ok(_) => transpile_as(source, options, Goal::Module),
        Err(script) if script.kind != FailureKind::Syntax => Err(script),
        Err(script) => match transpile_as(source, options, Goal::Module) {
            Ok(module) => Ok(module),
            Err(module) => Err(further(script, module)),
        },
    }
}

fn transpile_as(
    source: &str,
    options: &TranspileOptions<'_>,
    goal: Goal,
) -> Result<Transpiled, SyntaxFailure> {
    let allocator = Allocator::default();
    let source_type = options.kind.source_type(goal);
    let parsed = parse(&allocator, source, source_type)?;
    if !options.kind.needs_transpile() {
        return Ok(Transpiled {
            code: source.to_owned(),
            map: None,
            is_module: goal == Goal::Module || parsed.has_module_syntax,
            erased_to_nothing: parsed.is_empty(),
        });
    }

    let mut eraser = Eraser::new(source);
    eraser.visit_program(&parsed.program);
    if eraser.too_deep {
        return Err(too_deep(source, 0));
    }
    if eraser.written > MAX_OUTPUT_BYTES {
        return Err(overgrown(source));
    }
    let is_module = goal == Goal::Module || eraser.is_module;
    if is_module && options.kind.is_typescript() {
        eraser.refused.extend(eraser.commonjs_only.iter().copied());
    }
    if !eraser.refused.is_empty() {
        return Err(refusal(source, &eraser.refused));
    }
    let erased_to_nothing = !eraser.kept_code;
    if !eraser.needs_transform {
        return Ok(Transpiled {
            code: eraser.finish(),
            map: None,
            is_module,
            erased_to_nothing,
        });
    }
    drop(eraser);
    let (code, map) = transform(&allocator, parsed.program, source, options, goal)?;
    Ok(Transpiled {
        code,
        map,
        is_module,
        erased_to_nothing,
    })
}

/// The full transform: prints the program anew.
fn transform<'a>(
    allocator: &'a Allocator,
    mut program: Program<'a>,
    source: &'a str,
    options: &TranspileOptions<'_>,
    goal: Goal,
) -> Result<(String, Option<String>), SyntaxFailure> {
    let survey = Survey::of(&program);
    if survey.too_deep {
        return Err(too_deep(source, 0));
    }
    if survey.is_overgrown() {
        return Err(overgrown(source));
    }
    let analysed = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .with_enum_eval(true)
        .build(&program);
    fail_on_errors(source, analysed.diagnostics.into_vec(), FailureKind::Syntax)?;

    let runtime = match options.jsx {
        JsxRuntime::Automatic => OxcJsxRuntime::Automatic,
        JsxRuntime::Classic => OxcJsxRuntime::Classic,
    };
    let transforms = TransformOptions {
        typescript: TypeScriptOptions {
            only_remove_type_imports: true,
            ..TypeScriptOptions::default()
        },
        jsx: JsxOptions {
            display_name_plugin: false,
            runtime,
            ..JsxOptions::default()
        },
        env: EnvOptions {
            module: match goal {
                Goal::Module => Module::Esm,
                Goal::CommonJs => Module::Preserve,
            },
            ..EnvOptions::default()
        },
        ..TransformOptions::default()
    };
    let transformed = Transformer::new(allocator, Path::new(options.path), &transforms)
        .build_with_scoping(analysed.semantic.into_scoping(), &mut program);
    fail_on_errors(
        source,
        transformed.diagnostics.into_vec(),
        FailureKind::Unsupported,
    )?;

    let printed = Codegen::new()
        .with_options(CodegenOptions {
            // Indentation would multiply a deeply nested source.
            indent_width: 0,
            source_map_path: options.source_map.then(|| PathBuf::from(options.path)),
            ..CodegenOptions::default()
        })
        .with_scoping(Some(transformed.scoping))
        .build(&program);
    let map = printed.map.map(|map| map.to_json_string());
    Ok((printed.code, map))
}

// ---------------------------------------------------------------------------------------------
// The parser, within limits
// ---------------------------------------------------------------------------------------------

struct Parsed<'a> {
    program: Program<'a>,
    has_module_syntax: bool,
}

impl Parsed<'_> {
    fn is_empty(&self) -> bool {
        self.program.body.is_empty() && self.program.directives.is_empty()
    }
}

fn parse<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    source_type: SourceType,
) -> Result<Parsed<'a>, SyntaxFailure> {
    let tokens = TOKEN_ALLOWANCE + TOKENS_PER_BYTE.saturating_mul(source.len() as u64);
    GUARD.with(|guard| guard.arm(tokens));
    let parsed = Parser::new(allocator, source, source_type)
        .with_config(GuardedParser)
        .parse();
    let verdict = GUARD.with(|guard| guard.verdict.get());

    let diagnostics = parsed.diagnostics.into_vec();
    match verdict {
        Verdict::WithinLimits => {}
        Verdict::OutOfStack => return Err(too_deep(source, first_offset(&diagnostics))),
        Verdict::OutOfTokens => {
            let message = "The source is ambiguous in too many places to be parsed".to_owned();
            let offset = first_offset(&diagnostics);
            return Err(failure_at(source, FailureKind::TooComplex, message, offset));
        }
    }
    fail_on_errors(source, diagnostics, FailureKind::Syntax)?;
    if parsed.panicked {
        let message = "The source could not be parsed".to_owned();
        return Err(failure_at(source, FailureKind::Syntax, message, 0));
    }
    Ok(Parsed {
        program: parsed.program,
        has_module_syntax: parsed.module_record.has_module_syntax,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    WithinLimits,
    OutOfStack,
    OutOfTokens,
}

/// The limits of the parse that runs on this thread. The parser recurses without a limit of its
/// own, but it asks its lexer for a token at every level, and the lexer asks here.
struct Guard {
    floor: Cell<usize>,
    tokens: Cell<u64>,
    verdict: Cell<Verdict>,
}

thread_local! {
    /// How much of this thread's stack a pass may use.
    static PASS_STACK: Cell<usize> = const { Cell::new(PASS_STACK_BYTES) };

    static GUARD: Guard = const {
        Guard {
            floor: Cell::new(0),
            tokens: Cell::new(0),
            verdict: Cell::new(Verdict::WithinLimits),
        }
    };
}

impl Guard {
    fn arm(&self, tokens: u64) {
        self.floor.set(stack_floor());
        self.tokens.set(tokens);
        self.verdict.set(Verdict::WithinLimits);
    }

    /// Whether one more token may be read. Once refused, always refused.
    #[inline]
    fn allows(&self) -> bool {
        if self.verdict.get() != Verdict::WithinLimits {
            return false;
        }
        if stack_position() < self.floor.get() {
            self.verdict.set(Verdict::OutOfStack);
            return false;
        }
        let Some(tokens) = self.tokens.get().checked_sub(1) else {
            self.verdict.set(Verdict::OutOfTokens);
            return false;
        };
        self.tokens.set(tokens);
        true
    }
}

/// Where the stack is now: stacks grow downwards on every platform that V8 runs on.
#[inline]
fn stack_position() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

fn stack_floor() -> usize {
    stack_position().saturating_sub(PASS_STACK.get())
}

/// The parser's configuration: no tokens kept, and a lexer that keeps to the limits.
#[derive(Clone, Copy, Default)]
struct GuardedParser;

impl ParserConfig for GuardedParser {
    type LexerConfig = GuardedLexer;

    fn lexer_config(&self) -> GuardedLexer {
        GuardedLexer
    }
}

/// A lexer that answers "end of source" from the moment a limit is passed, so that the parser
/// unwinds as from any unfinished source.
#[derive(Clone, Copy, Default)]
struct GuardedLexer;

type ByteHandler<C> = unsafe fn(&mut Lexer<'_, C>) -> Kind;
type ByteHandlers<C> = [ByteHandler<C>; 256];

static AT_LIMIT: ByteHandlers<GuardedLexer> = [end_of_source; 256];

fn end_of_source(_: &mut Lexer<'_, GuardedLexer>) -> Kind {
    Kind::Eof
}

// The two lexers differ in nothing but a configuration without size or alignment.
const _: () = {
    type Plain = Lexer<'static, NoTokensLexerConfig>;
    type Guarded = Lexer<'static, GuardedLexer>;
    assert!(size_of::<GuardedLexer>() == 0 && size_of::<NoTokensLexerConfig>() == 0);
    assert!(align_of::<GuardedLexer>() == 1 && align_of::<NoTokensLexerConfig>() == 1);
    assert!(size_of::<Plain>() == size_of::<Guarded>());
    assert!(align_of::<Plain>() == align_of::<Guarded>());
};

impl LexerConfig for GuardedLexer {
    type ByteHandlers = ByteHandlers<Self>;

    const TOKENS_METHOD_IS_STATIC: bool = true;

    #[inline]
    fn tokens(&self) -> bool {
        false
    }

    #[inline]
    fn byte_handlers(&self) -> &ByteHandlers<Self> {
        if !GUARD.with(Guard::allows) {
            return &AT_LIMIT;
        }
        static PLAIN: NoTokensLexerConfig = NoTokensLexerConfig;
        let plain = PLAIN.byte_handlers();
        // SAFETY: both types are arrays of 256 pointers to functions of one signature, whose only
        // argument is a reference to `Lexer<C>`. `C` is the type of one field, has no size and
        // alignment 1 in both, and appears nowhere else in the lexer's data, so both lexers are
        // laid out alike (asserted above as far as it can be; the parser's version is pinned). The
        // handlers use `C` only through `tokens()`, false in both, and `byte_handlers()`.
        unsafe { &*std::ptr::from_ref(plain).cast::<ByteHandlers<Self>>() }
    }
}

// ---------------------------------------------------------------------------------------------
// Failures
// ---------------------------------------------------------------------------------------------

fn too_deep(source: &str, offset: u32) -> SyntaxFailure {
    let message = "The source is nested too deeply to be parsed".to_owned();
    failure_at(source, FailureKind::TooDeep, message, offset)
}

fn overgrown(source: &str) -> SyntaxFailure {
    let message = "The source becomes too large when it is transformed".to_owned();
    failure_at(source, FailureKind::TooComplex, message, 0)
}

fn refusal(source: &str, refused: &[(u32, &'static str)]) -> SyntaxFailure {
    let complaints = refused
        .iter()
        .map(|&(offset, message)| (offset, message.to_owned(), None))
        .collect();
    failure(source, FailureKind::Unsupported, complaints)
}

fn failure_at(source: &str, kind: FailureKind, message: String, offset: u32) -> SyntaxFailure {
    failure(source, kind, vec![(offset, message, None)])
}

fn first_offset(diagnostics: &[OxcDiagnostic]) -> u32 {
    diagnostics.iter().map(offset_of).min().unwrap_or(0)
}

fn offset_of(diagnostic: &OxcDiagnostic) -> u32 {
    let labels = &diagnostic.labels;
    labels
        .iter()
        .find(|label| label.primary())
        .or_else(|| labels.first())
        .map_or(0, oxc_span::LabeledSpan::offset)
}

fn fail_on_errors(
    source: &str,
    diagnostics: Vec<OxcDiagnostic>,
    kind: FailureKind,
) -> Result<(), SyntaxFailure> {
    let complaints: Vec<_> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| {
            let help = diagnostic.help.as_deref().map(shortened);
            (offset_of(diagnostic), shortened(&diagnostic.message), help)
        })
        .collect();
    if complaints.is_empty() {
        return Ok(());
    }
    Err(failure(source, kind, complaints))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_LENGTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Builds a failure from complaints: byte offset, message, help.
fn failure(
    source: &str,
    kind: FailureKind,
    mut complaints: Vec<(u32, String, Option<String>)>,
) -> SyntaxFailure {
    complaints.sort_by_key(|&(offset, ..)| offset);
    complaints.truncate(MAX_ISSUES);
    let mut places = Places::new(source);
    let mut all = Vec::with_capacity(complaints.len());
    let mut code_frame = String::new();
    let mut first_offset = 0;
    for (index, (offset, message, help)) in complaints.into_iter().enumerate() {
        let (line, column) = places.advance_to(offset as usize);
        if index == 0 {
            first_offset = offset;
            code_frame = places.frame();
        }
        all.push(SyntaxIssue {
            message,
            help,
            line,
            column,
        });
    }
    let (message, line, column) = all.first().map_or_else(
        || ("The source could not be parsed".to_owned(), 1, 1),
        |issue| (issue.message.clone(), issue.line, issue.column),
    );
    SyntaxFailure {
        kind,
        message,
        line,
        column,
        code_frame,
        all,
        offset: first_offset,
    }
}

/// Turns ascending byte offsets into lines and columns, in one pass over the source.
struct Places<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'s> Places<'s> {
    fn new(source: &'s str) -> Self {
        Self {
            source,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    fn advance_to(&mut self, offset: usize) -> (u32, u32) {
        let mut target = offset.min(self.source.len());
        while !self.source.is_char_boundary(target) {
            target -= 1;
        }
        let passed = self.source.get(self.at..target).unwrap_or_default();
        let after = self.source.get(target..).unwrap_or_default();
        let mut chars = passed.char_indices().peekable();
        while let Some((index, c)) = chars.next() {
            let next = chars.peek().map(|&(_, next)| next);
            let next = next.or_else(|| after.chars().next());
            if is_line_terminator(c) && !(c == '\r' && next == Some('\n')) {
                self.line = self.line.saturating_add(1);
                self.line_start = self.at + index + c.len_utf8();
            }
        }
        self.at = self.at.max(target);
        let before = self.source.get(self.line_start..self.at);
        let units = before
            .unwrap_or_default()
            .chars()
            .map(char::len_utf16)
            .sum::<usize>();
        (self.line, u32::try_from(units + 1).unwrap_or(u32::MAX))
    }

    /// The line of the last place and a mark under it, cut to what fits.
    fn frame(&self) -> String {
        let before = self
            .source
            .get(self.line_start..self.at)
            .unwrap_or_default();
        let after = self.source.get(self.at..).unwrap_or_default();
        let shown: Vec<char> = {
            let mut tail: Vec<char> = before.chars().rev().take(FRAME_WIDTH / 2).collect();
            tail.reverse();
            tail
        };
        let mut frame: String = shown.iter().collect();
        frame.extend(
            after
                .chars()
                .take_while(|&c| !is_line_terminator(c))
                .take(FRAME_WIDTH / 2),
        );
        frame.push('\n');
        frame.extend(shown.iter().map(|&c| if c == '\t' { '\t' } else { ' ' }));
        frame.push('^');
        frame
    }
}

fn is_line_terminator(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

// ---------------------------------------------------------------------------------------------
// TypeScript that the parser lets pass in JavaScript
// ---------------------------------------------------------------------------------------------

/// Looks for class members and default exports that only TypeScript has: the parser takes them in
/// JavaScript too.
struct TypedClass {
    floor: usize,
    found: Option<u32>,
}

impl TypedClass {
    fn find(program: &Program<'_>, source: &str) -> Option<u32> {
        if !source.contains("class") && !source.contains("interface") {
            return None;
        }
        let mut search = Self {
            floor: stack_floor(),
            found: None,
        };
        search.visit_program(program);
        search.found
    }

    /// Goes one level deeper, if there is something to find and the stack allows. Where it does
    /// not, V8 finds what is not JavaScript.
    fn deeper(&mut self, walk: impl FnOnce(&mut Self)) {
        if self.found.is_none() && stack_position() >= self.floor {
            walk(self);
        }
    }
}

impl<'a> Visit<'a> for TypedClass {
    fn visit_expression(&mut self, it: &Expression<'a>) {
        self.deeper(|this| walk::walk_expression(this, it));
    }

    fn visit_statement(&mut self, it: &Statement<'a>) {
        self.deeper(|this| walk::walk_statement(this, it));
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        if it.r#abstract {
            self.found.get_or_insert(it.span.start);
        }
        self.deeper(|this| walk::walk_class(this, it));
    }

    fn visit_class_element(&mut self, it: &ClassElement<'a>) {
        let typed = match it {
            ClassElement::MethodDefinition(it) => {
                it.r#override || it.optional || it.accessibility.is_some()
            }
            ClassElement::PropertyDefinition(it) => {
                let modified = it.declare || it.r#override || it.readonly;
                modified || it.optional || it.definite || it.accessibility.is_some()
            }
            ClassElement::AccessorProperty(it) => {
                it.r#override || it.definite || it.accessibility.is_some()
            }
            ClassElement::TSIndexSignature(_) => true,
            ClassElement::StaticBlock(_) => false,
        };
        if typed {
            self.found.get_or_insert(it.span().start);
        }
        self.deeper(|this| walk::walk_class_element(this, it));
    }

    fn visit_ts_interface_declaration(&mut self, it: &TSInterfaceDeclaration<'a>) {
        self.found.get_or_insert(it.span.start);
    }
}

// ---------------------------------------------------------------------------------------------
// What the full transform would have to do
// ---------------------------------------------------------------------------------------------

/// Measures a tree before the full transform: how deep it is, and how much the transform could
/// make of it. Left-leaning trees (`a.b.c…`, `1 + 1 + …`, `T[][]…`) are built without recursion, so
/// the parser's limit does not hold for them.
#[derive(Default)]
struct Survey {
    depth: u32,
    too_deep: bool,
    nodes: u64,
    /// Length of the longest name that the transform repeats at every use.
    longest_name: u64,
    /// Lengths of the texts that enum members can have, by the member's name.
    texts: HashMap<String, u64>,
    /// Length of all such texts together: `B = A + A, C = B + B, …` doubles with every member.
    text: u64,
}

impl Survey {
    fn of(program: &Program<'_>) -> Self {
        let mut survey = Self::default();
        for comment in &program.comments {
            let text = comment.span.source_text(program.source_text);
            if text.contains("@jsx") {
                survey.repeats(text);
            }
        }
        survey.visit_program(program);
        survey
    }

    fn is_overgrown(&self) -> bool {
        self.text > MAX_OUTPUT_BYTES
            || self.nodes.saturating_mul(self.longest_name) > MAX_OUTPUT_BYTES
    }

    fn repeats(&mut self, name: &str) {
        self.longest_name = self.longest_name.max(name.len() as u64);
    }

    fn deeper(&mut self, walk: impl FnOnce(&mut Self)) {
        if !self.too_deep {
            walk(self);
        }
    }

    /// The most text that an initializer can evaluate to.
    fn text_of(&self, expression: &Expression<'_>) -> u64 {
        const NUMBER: u64 = 32;
        let named = |name: &str| self.texts.get(name).copied().unwrap_or(NUMBER);
        match expression {
            Expression::StringLiteral(it) => it.value.len() as u64,
            Expression::TemplateLiteral(it) => {
                let parts = it.expressions.iter().map(|part| self.text_of(part));
                parts.fold(u64::from(it.span.size()), u64::saturating_add)
            }
            Expression::BinaryExpression(it) => self
                .text_of(&it.left)
                .saturating_add(self.text_of(&it.right)),
            Expression::ParenthesizedExpression(it) => self.text_of(&it.expression),
            Expression::Identifier(it) => named(&it.name),
            Expression::StaticMemberExpression(it) => named(&it.property.name),
            Expression::ComputedMemberExpression(it) => match &it.expression {
                Expression::StringLiteral(key) => named(&key.value),
                _ => NUMBER,
            },
            _ => NUMBER,
        }
    }
}

impl<'a> Visit<'a> for Survey {
    fn enter_node(&mut self, _: AstKind<'a>) {
        self.depth += 1;
        self.nodes += 1;
        self.too_deep |= self.depth > MAX_TRANSFORM_DEPTH;
    }

    fn leave_node(&mut self, _: AstKind<'a>) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn visit_expression(&mut self, it: &Expression<'a>) {
        self.deeper(|this| walk::walk_expression(this, it));
    }

    fn visit_statement(&mut self, it: &Statement<'a>) {
        self.deeper(|this| walk::walk_statement(this, it));
    }

    fn visit_binding_pattern(&mut self, it: &BindingPattern<'a>) {
        self.deeper(|this| walk::walk_binding_pattern(this, it));
    }

    fn visit_ts_type(&mut self, it: &TSType<'a>) {
        self.deeper(|this| walk::walk_ts_type(this, it));
    }

    fn visit_ts_type_name(&mut self, it: &TSTypeName<'a>) {
        self.deeper(|this| walk::walk_ts_type_name(this, it));
    }

    fn visit_ts_import_type_qualifier(&mut self, it: &TSImportTypeQualifier<'a>) {
        self.deeper(|this| walk::walk_ts_import_type_qualifier(this, it));
    }

    fn visit_ts_namespace_declaration_body(&mut self, it: &TSNamespaceDeclarationBody<'a>) {
        self.deeper(|this| walk::walk_ts_namespace_declaration_body(this, it));
    }

    fn visit_ts_namespace_declaration(&mut self, it: &TSNamespaceDeclaration<'a>) {
        self.repeats(&it.id.name);
        walk::walk_ts_namespace_declaration(self, it);
    }

    fn visit_ts_enum_declaration(&mut self, it: &TSEnumDeclaration<'a>) {
        self.repeats(&it.id.name);
        walk::walk_ts_enum_declaration(self, it);
        if self.too_deep {
            return;
        }
        for member in &it.body.members {
            let text = member.initializer.as_ref().map_or(0, |it| self.text_of(it));
            self.text = self.text.saturating_add(text);
            let known = self
                .texts
                .entry(member.id.static_name().to_string())
                .or_default();
            *known = text.max(*known);
        }
    }

    fn visit_jsx_member_expression_object(&mut self, it: &JSXMemberExpressionObject<'a>) {
        self.deeper(|this| walk::walk_jsx_member_expression_object(this, it));
    }

    fn visit_jsx_child(&mut self, it: &JSXChild<'a>) {
        self.deeper(|this| walk::walk_jsx_child(this, it));
    }
}

// ---------------------------------------------------------------------------------------------
// Erasing in place
// ---------------------------------------------------------------------------------------------

/// Text that stands at an offset in place of so many bytes of the source.
#[derive(Default)]
struct Put {
    skips: usize,
    text: String,
}

/// Walks a program and notes what is erased, and what is written in its place.
struct Eraser<'s> {
    source: &'s str,
    /// For every byte of the source, whether it is erased.
    erased: Vec<bool>,
    puts: BTreeMap<usize, Put>,
    floor: usize,
    too_deep: bool,
    /// How many functions are open; 0 at the top of the program.
    functions: u32,
    /// How many blocks are open in the innermost function.
    blocks: u32,
    enums: HashSet<String>,
    types_only: TypesOnly,
    /// Where the statement ended that was last looked at for a semicolon.
    ended: u32,
    /// Something that cannot be rewritten in place was met.
    needs_transform: bool,
    /// How much text was written for enums, in bytes.
    written: u64,
    /// Something that runs was met.
    kept_code: bool,
    is_module: bool,
    refused: Vec<(u32, &'static str)>,
    commonjs_only: Vec<(u32, &'static str)>,
}

impl<'s> Eraser<'s> {
    fn new(source: &'s str) -> Self {
        Self {
            source,
            erased: vec![false; source.len()],
            puts: BTreeMap::new(),
            floor: stack_floor(),
            too_deep: false,
            functions: 0,
            blocks: 0,
            enums: HashSet::new(),
            types_only: TypesOnly::default(),
            ended: 0,
            needs_transform: false,
            written: 0,
            kept_code: false,
            is_module: false,
            refused: Vec::new(),
            commonjs_only: Vec::new(),
        }
    }

    /// The source with everything noted done to it.
    fn finish(self) -> String {
        let mut code = String::with_capacity(self.source.len());
        let mut puts = self.puts.into_iter().peekable();
        let mut at = 0;
        while at < self.source.len() {
            if let Some((_, put)) = puts.next_if(|&(offset, _)| offset <= at) {
                code.push_str(&put.text);
                at += put.skips;
                continue;
            }
            let erased = self.erased.get(at).copied().unwrap_or(false);
            let end = puts.peek().map_or(self.source.len(), |&(offset, _)| offset);
            let run = self.erased.get(at..end).unwrap_or_default();
            let length = run
                .iter()
                .take_while(|&&byte| byte == erased)
                .count()
                .max(1);
            let text = self.source.get(at..at + length).unwrap_or_default();
            if erased {
                for c in text.chars() {
                    if is_line_terminator(c) {
                        code.push(c);
                    } else {
                        code.extend(std::iter::repeat_n(' ', c.len_utf16()));
                    }
                }
            } else {
                code.push_str(text);
            }
            at += length;
        }
        for (_, put) in puts {
            code.push_str(&put.text);
        }
        code
    }

    // Notes ------------------------------------------------------------------------------------

    fn erase(&mut self, start: usize, end: usize) {
        if let Some(bytes) = self.erased.get_mut(start..end) {
            bytes.fill(true);
        }
    }

    fn erase_span(&mut self, span: Span) {
        self.erase(span.start as usize, span.end as usize);
    }

    /// Adds text before what stands at an offset.
    fn insert(&mut self, at: usize, text: &str) {
        self.puts.entry(at).or_default().text.push_str(text);
    }

    /// Writes one character over another.
    fn overwrite(&mut self, at: usize, text: &str) {
        let Some(c) = self.rest(at).chars().next() else {
            return;
        };
        let put = self.puts.entry(at).or_default();
        if put.skips == 0 {
            put.skips = c.len_utf8();
            put.text.push_str(text);
        }
    }

    /// Writes text over a span, and erases what is left of it, so that its lines stay.
    fn replace(&mut self, start: usize, end: usize, text: &str) {
        self.erase(start, end);
        let old = self.source.get(start..end).unwrap_or_default().bytes();
        let skips = old
            .take(text.len())
            .take_while(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r'))
            .count();
        let put = self.puts.entry(start).or_default();
        put.text.push_str(text);
        put.skips = put.skips.max(skips);
    }

    fn refuse(&mut self, span: Span, message: &'static str) {
        self.refused.push((span.start, message));
    }

    /// Ends a statement or a field with a semicolon where its last characters were erased: what
    /// follows must not become a part of it.
    fn end_in_semicolon(&mut self, span: Span) {
        if self.ended == span.end {
            // `if (a) b as T`: the inner statement ended here.
            return;
        }
        self.ended = span.end;
        let mut start = span.end as usize;
        while start > span.start as usize && self.is_erased(start - 1) {
            start -= 1;
        }
        if start < span.end as usize {
            self.overwrite(start, ";");
        }
    }

    fn is_erased(&self, at: usize) -> bool {
        self.erased.get(at).copied().unwrap_or(false)
    }

    // The source -------------------------------------------------------------------------------

    fn rest(&self, at: usize) -> &'s str {
        self.source.get(at..).unwrap_or_default()
    }

    /// The first offset from here on that is no white space and no comment.
    fn skip_trivia(&self, mut at: usize) -> usize {
        loop {
            let rest = self.rest(at);
            let space = rest.len() - rest.trim_start_matches(is_js_space).len();
            let rest = self.rest(at + space);
            let comment = if rest.starts_with("//") {
                rest.find(is_line_terminator).unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                0
            };
            at += space + comment;
            if comment == 0 {
                return at;
            }
        }
    }

    /// Erases a character, if it is the next after white space and comments.
    fn erase_next(&mut self, at: usize, expected: char) {
        let at = self.skip_trivia(at);
        if self.rest(at).starts_with(expected) {
            self.erase(at, at + expected.len_utf8());
        }
    }

    /// The word that starts at an offset.
    fn word(&self, at: usize) -> &'s str {
        let rest = self.rest(at);
        let end = rest.find(|c: char| !is_js_word(c)).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    fn has_line_break(&self, start: usize, end: usize) -> bool {
        let text = self.source.get(start..end).unwrap_or_default();
        text.contains(is_line_terminator)
    }

    // Parts ------------------------------------------------------------------------------------

    /// Goes one level deeper, if the stack allows.
    fn deeper(&mut self, walk: impl FnOnce(&mut Self)) {
        self.too_deep |= stack_position() < self.floor;
        if !self.too_deep {
            walk(self);
        }
    }

    fn in_block(&mut self, walk: impl FnOnce(&mut Self)) {
        self.blocks += 1;
        walk(self);
        self.blocks -= 1;
    }

    fn in_function(&mut self, walk: impl FnOnce(&mut Self)) {
        let blocks = std::mem::take(&mut self.blocks);
        self.functions += 1;
        walk(self);
        self.functions -= 1;
        self.blocks = blocks;
    }

    /// Erases a statement that has no code. Its place takes a semicolon, so that the statement
    /// before it does not run into the one after it.
    fn erase_statement(&mut self, span: Span) {
        self.erase_span(span);
        if self.kept_code {
            self.overwrite(span.start as usize, ";");
        }
    }

    fn erase_element(&mut self, span: Span) {
        self.erase_span(span);
        self.overwrite(span.start as usize, ";");
    }

    /// Erases the modifiers of a class element or a parameter that only TypeScript has.
    fn erase_modifiers(&mut self, start: u32, key: u32) {
        let first = self.skip_trivia(start as usize);
        let mut at = first;
        let mut kept = false;
        while at < key as usize {
            let word = self.word(at);
            let end = at + word.len();
            match word {
                "public" | "private" | "protected" | "readonly" | "override" | "abstract"
                | "declare" => self.erase(at, end),
                "static" | "async" | "get" | "set" | "accessor" => kept = true,
                _ => break,
            }
            at = self.skip_trivia(end);
        }
        if kept || at == first {
            return;
        }
        let next = self.word(at);
        if next.is_empty() || matches!(next, "in" | "instanceof") {
            // `x = 1`, then `public [y]` or `public *y`: the lines must not join.
            self.overwrite(first, ";");
        }
    }

    /// Erases the `?` or `!` after the key of a class element.
    fn erase_mark_after_key(&mut self, key: Span, computed: bool, mark: char) {
        let mut at = key.end as usize;
        if computed {
            at = self.skip_trivia(at);
            if self.rest(at).starts_with(']') {
                at += 1;
            }
        }
        self.erase_next(at, mark);
    }

    /// Erases ` as T` or ` satisfies T`.
    fn erase_cast(&mut self, expression: Span, cast: Span) {
        let keyword = self.skip_trivia(expression.end as usize);
        self.erase(keyword, cast.end as usize);
    }

    fn erase_specifier(&mut self, span: Span) {
        self.erase_span(span);
        self.erase_next(span.end as usize, ',');
    }

    // Parameter properties ---------------------------------------------------------------------

    /// Gives a constructor's parameter properties their fields and assignments.
    fn rewrite_parameter_properties(&mut self, method: &MethodDefinition<'_>, derived: bool) {
        let Some(body) = &method.value.body else {
            return;
        };
        let names: Option<Vec<&str>> = method
            .value
            .params
            .items
            .iter()
            .filter(|parameter| is_parameter_property(parameter))
            .map(|parameter| match &parameter.pattern {
                BindingPattern::BindingIdentifier(name) => Some(name.name.as_str()),
                _ => None,
            })
            .collect();
        let Some(names) = names else {
            self.needs_transform = true;
            return;
        };
        if names.is_empty() {
            return;
        }
        let at = if derived {
            body.statements
                .iter()
                .find(|statement| is_super_call(statement))
                .map(|statement| statement.span().end)
        } else {
            let directive = body.directives.last();
            Some(directive.map_or(body.span.start + 1, |directive| directive.span.end))
        };
        let Some(at) = at else {
            let message = "A constructor with parameter properties must call `super()` \
                           in a statement of its own";
            self.refuse(method.span, message);
            return;
        };
        let mut fields = String::new();
        let mut assignments = String::from(";");
        for name in names {
            let _ = write!(fields, "{name}; ");
            let _ = write!(assignments, " this.{name} = {name};");
        }
        self.insert(method.span.start as usize, &fields);
        self.insert(at as usize, &assignments);
    }

    // Enums ------------------------------------------------------------------------------------

    fn rewrite_enum(&mut self, it: &TSEnumDeclaration<'_>, exported: bool) {
        let name = it.id.name.as_str();
        let again = !self.enums.insert(name.to_owned());
        let values = constant_members(it);
        let (Some(values), false) = (values, again && (exported || self.blocks > 0)) else {
            self.needs_transform = true;
            return;
        };
        let keyword = if self.blocks > 0 { "let" } else { "var" };
        let body = it.body.span;
        let open = format!("{keyword} {name}; (function ({name}) {{");
        self.replace(it.span.start as usize, body.start as usize + 1, &open);
        for (member, (key, value)) in it.body.members.iter().zip(values) {
            if self.written > MAX_OUTPUT_BYTES {
                return;
            }
            let key = js_string(&key);
            let assignment = match value {
                EnumValue::Number(number) => {
                    format!("{name}[{name}[{key}] = {number}] = {key};")
                }
                EnumValue::Text(text) => format!("{name}[{key}] = {};", js_string(&text)),
            };
            self.written += assignment.len() as u64;
            let (start, end) = (member.span.start as usize, member.span.end as usize);
            self.replace(start, end, &assignment);
            self.erase_next(end, ',');
        }
        let close = format!("}})({name} || ({name} = {{}}));");
        self.replace(
            (body.end as usize).saturating_sub(1),
            body.end as usize,
            &close,
        );
    }

    // `import x = …` and `export = …` ----------------------------------------------------------

    fn rewrite_import_equals(&mut self, it: &TSImportEqualsDeclaration<'_>) {
        let keyword = if let TSModuleReference::ExternalModuleReference(_) = it.module_reference {
            let message = "`import x = require()` cannot be used in an ECMAScript module";
            self.commonjs_only.push((it.span.start, message));
            "const"
        } else {
            "var"
        };
        let start = it.span.start as usize;
        if self.word(start) == "import" {
            self.replace(start, start + "import".len(), keyword);
        } else {
            self.needs_transform = true;
        }
    }
}

fn is_js_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

fn is_js_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '\\' | '\u{200c}' | '\u{200d}')
}

fn is_parameter_property(parameter: &FormalParameter<'_>) -> bool {
    parameter.accessibility.is_some() || parameter.readonly || parameter.r#override
}

fn is_super_call(statement: &Statement<'_>) -> bool {
    let Statement::ExpressionStatement(statement) = statement else {
        return false;
    };
    matches!(&statement.expression, Expression::CallExpression(call)
        if matches!(call.callee, Expression::Super(_)))
}

/// Tells which statements have no code, only types. Namespaces nest, so their answers are kept.
#[derive(Default)]
struct TypesOnly {
    namespaces: HashMap<u32, bool>,
}

impl TypesOnly {
    fn statement(&mut self, statement: &Statement<'_>) -> bool {
        match statement {
            Statement::ImportDeclaration(it) => it.import_kind.is_type(),
            Statement::ExportAllDeclaration(it) => it.export_kind.is_type(),
            Statement::ExportNamedDeclaration(it) => it.export_kind.is_type(),
            Statement::ExportFromDeclaration(it) => it.export_kind.is_type(),
            Statement::ExportDeclaration(it) => self.declaration(&it.declaration),
            Statement::ExportDefaultDeclaration(it) => match &it.declaration {
                ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => true,
                ExportDefaultDeclarationKind::FunctionDeclaration(it) => it.body.is_none(),
                _ => false,
            },
            Statement::TSNamespaceExportDeclaration(_) => true,
            _ => statement
                .as_declaration()
                .is_some_and(|it| self.declaration(it)),
        }
    }

    fn declaration(&mut self, declaration: &Declaration<'_>) -> bool {
        match declaration {
            Declaration::VariableDeclaration(it) => it.declare,
            Declaration::FunctionDeclaration(it) => it.declare || it.body.is_none(),
            Declaration::ClassDeclaration(it) => it.declare,
            Declaration::TSEnumDeclaration(it) => it.declare,
            Declaration::TSImportEqualsDeclaration(it) => it.import_kind.is_type(),
            Declaration::TSNamespaceDeclaration(it) => it.declare || self.namespace(it),
            Declaration::TSTypeAliasDeclaration(_)
            | Declaration::TSInterfaceDeclaration(_)
            | Declaration::TSExternalModuleDeclaration(_)
            | Declaration::TSGlobalDeclaration(_) => true,
        }
    }

    fn namespace(&mut self, namespace: &TSNamespaceDeclaration<'_>) -> bool {
        let key = namespace.span.start;
        if let Some(&known) = self.namespaces.get(&key) {
            return known;
        }
        let mut body = &namespace.body;
        let block = loop {
            match body {
                TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => body = &inner.body,
                TSNamespaceDeclarationBody::TSModuleBlock(block) => break block,
            }
        };
        let answer = block.directives.is_empty() && block.body.iter().all(|it| self.statement(it));
        self.namespaces.insert(key, answer);
        answer
    }
}

impl<'a> Visit<'a> for Eraser<'_> {
    // Where recursion is unbounded ----------------------------------------------------------------

    fn visit_expression(&mut self, it: &Expression<'a>) {
        self.deeper(|this| walk::walk_expression(this, it));
    }

    fn visit_binding_pattern(&mut self, it: &BindingPattern<'a>) {
        self.deeper(|this| walk::walk_binding_pattern(this, it));
    }

    fn visit_ts_namespace_declaration_body(&mut self, it: &TSNamespaceDeclarationBody<'a>) {
        self.deeper(|this| walk::walk_ts_namespace_declaration_body(this, it));
    }

    fn visit_jsx_member_expression_object(&mut self, it: &JSXMemberExpressionObject<'a>) {
        self.deeper(|this| walk::walk_jsx_member_expression_object(this, it));
    }

    fn visit_ts_type(&mut self, _: &TSType<'a>) {
        // Erased with what holds it.
    }

    fn visit_ts_type_name(&mut self, _: &TSTypeName<'a>) {
        // Erased with what holds it.
    }

    // Statements ----------------------------------------------------------------------------------

    fn visit_program(&mut self, it: &Program<'a>) {
        self.kept_code = !it.directives.is_empty();
        self.is_module = it.body.iter().any(|statement| {
            statement.is_module_declaration()
                && !matches!(statement, Statement::TSExportAssignment(_))
                && !self.types_only.statement(statement)
        });
        walk::walk_program(self, it);
    }

    fn visit_statement(&mut self, it: &Statement<'a>) {
        if self.types_only.statement(it) {
            self.erase_statement(it.span());
            return;
        }
        self.kept_code = true;
        self.deeper(|this| walk::walk_statement(this, it));
        self.end_in_semicolon(it.span());
    }

    fn visit_block_statement(&mut self, it: &BlockStatement<'a>) {
        self.in_block(|this| walk::walk_block_statement(this, it));
    }

    fn visit_switch_statement(&mut self, it: &SwitchStatement<'a>) {
        self.in_block(|this| walk::walk_switch_statement(this, it));
    }

    fn visit_for_of_statement(&mut self, it: &ForOfStatement<'a>) {
        self.is_module |= it.r#await && self.functions == 0;
        walk::walk_for_of_statement(self, it);
    }

    fn visit_variable_declaration(&mut self, it: &VariableDeclaration<'a>) {
        self.is_module |= it.kind.is_await() && self.functions == 0;
        walk::walk_variable_declaration(self, it);
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        if it.definite {
            self.erase_next(it.id.span().end as usize, '!');
        }
        walk::walk_variable_declarator(self, it);
    }

    fn visit_import_specifier(&mut self, it: &ImportSpecifier<'a>) {
        if it.import_kind.is_type() {
            self.erase_specifier(it.span);
        }
    }

    fn visit_export_specifier(&mut self, it: &ExportSpecifier<'a>) {
        if it.export_kind.is_type() {
            self.erase_specifier(it.span);
        }
    }

    fn visit_export_declaration(&mut self, it: &ExportDeclaration<'a>) {
        if let Declaration::TSEnumDeclaration(declaration) = &it.declaration {
            self.rewrite_enum(declaration, true);
        } else {
            walk::walk_export_declaration(self, it);
        }
    }

    fn visit_ts_enum_declaration(&mut self, it: &TSEnumDeclaration<'a>) {
        self.rewrite_enum(it, false);
    }

    fn visit_ts_namespace_declaration(&mut self, it: &TSNamespaceDeclaration<'a>) {
        self.needs_transform = true;
        self.in_function(|this| walk::walk_ts_namespace_declaration(this, it));
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &TSImportEqualsDeclaration<'a>) {
        self.rewrite_import_equals(it);
    }

    fn visit_ts_export_assignment(&mut self, it: &TSExportAssignment<'a>) {
        let message = "`export =` cannot be used in an ECMAScript module";
        self.commonjs_only.push((it.span.start, message));
        let start = it.span.start as usize;
        self.replace(start, start + "export".len(), "module.exports");
        walk::walk_ts_export_assignment(self, it);
    }

    // Functions -----------------------------------------------------------------------------------

    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        self.in_function(|this| walk::walk_function(this, it, flags));
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        let open = it.params.span.start as usize;
        let close = (it.params.span.end as usize).saturating_sub(1);
        self.in_function(|this| walk::walk_arrow_function_expression(this, it));
        if let Some(types) = &it.type_parameters {
            let start = types.span.start as usize;
            if self.has_line_break(start, open) {
                // No line may end between `async` or `return` and the parenthesis.
                self.erase(start, open + 1);
                self.overwrite(start, "(");
            }
        }
        if let Some(result) = &it.return_type {
            let end = result.span.end as usize;
            if self.has_line_break(close, end) {
                // No line may end between the parenthesis and the arrow.
                self.erase(close, end);
                let text = self.source.get(..end).unwrap_or_default();
                let last = text.chars().next_back().map_or(1, char::len_utf8);
                self.overwrite(end - last, ")");
            }
        }
    }

    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        let pattern = it.pattern.span();
        self.erase_modifiers(it.span.start, pattern.start);
        if it.optional {
            self.erase_next(pattern.end as usize, '?');
        }
        walk::walk_formal_parameter(self, it);
    }

    fn visit_ts_this_parameter(&mut self, it: &TSThisParameter<'a>) {
        let annotation = it.type_annotation.as_ref().map_or(0, |it| it.span.end);
        let span = Span::new(it.span.start, it.span.end.max(annotation));
        self.erase_specifier(span);
    }

    fn visit_await_expression(&mut self, it: &AwaitExpression<'a>) {
        self.is_module |= self.functions == 0;
        walk::walk_await_expression(self, it);
    }

    fn visit_import_meta(&mut self, _: &ImportMeta) {
        self.is_module = true;
    }

    // Classes -------------------------------------------------------------------------------------

    fn visit_class(&mut self, it: &Class<'a>) {
        let start = it.decorators.last().map_or(it.span.start, |it| it.span.end);
        let mut at = self.skip_trivia(start as usize);
        if it.r#abstract && self.word(at) == "abstract" {
            self.erase(at, at + "abstract".len());
            at = self.skip_trivia(at + "abstract".len());
        }
        if let (Some(first), Some(last)) = (it.implements.first(), it.implements.last()) {
            let heritage = it.heritage.as_ref().map(|heritage| {
                let types = heritage.type_arguments.as_ref().map(|types| types.span.end);
                types.unwrap_or(heritage.expression.span().end)
            });
            let before = heritage
                .or(it.type_parameters.as_ref().map(|types| types.span.end))
                .or(it.id.as_ref().map(|id| id.span.end))
                .map_or(at + "class".len(), |end| end as usize);
            let keyword = self.skip_trivia(before).min(first.span.start as usize);
            let end = last
                .type_arguments
                .as_ref()
                .map_or(last.span.end, |types| types.span.end.max(last.span.end));
            self.erase(keyword, end as usize);
        }
        for element in &it.body.body {
            if let ClassElement::MethodDefinition(method) = element
                && method.kind.is_constructor()
            {
                self.rewrite_parameter_properties(method, it.heritage.is_some());
            }
        }
        walk::walk_class(self, it);
    }

    fn visit_ts_class_implements_list(&mut self, _: &ArenaVec<'a, TSClassImplements<'a>>) {
        // Erased with the class.
    }

    fn visit_class_element(&mut self, it: &ClassElement<'a>) {
        let only_types = match it {
            ClassElement::MethodDefinition(it) => it.value.body.is_none(),
            ClassElement::PropertyDefinition(it) => it.declare || it.r#type.is_abstract(),
            ClassElement::AccessorProperty(it) => it.r#type.is_abstract(),
            ClassElement::TSIndexSignature(_) => true,
            ClassElement::StaticBlock(_) => false,
        };
        if only_types {
            self.erase_element(it.span());
        } else {
            self.deeper(|this| walk::walk_class_element(this, it));
        }
    }

    fn visit_static_block(&mut self, it: &StaticBlock<'a>) {
        self.in_function(|this| walk::walk_static_block(this, it));
    }

    fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
        self.erase_modifiers(it.span.start, it.key.span().start);
        if it.optional {
            self.erase_mark_after_key(it.key.span(), it.computed, '?');
        }
        walk::walk_method_definition(self, it);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        self.erase_modifiers(it.span.start, it.key.span().start);
        if it.optional {
            self.erase_mark_after_key(it.key.span(), it.computed, '?');
        }
        if it.definite {
            self.erase_mark_after_key(it.key.span(), it.computed, '!');
        }
        walk::walk_property_definition(self, it);
        self.end_in_semicolon(it.span);
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        self.refuse(it.span, "Auto-accessors are not supported");
    }

    fn visit_decorator(&mut self, it: &Decorator<'a>) {
        self.refuse(it.span, "Decorators are not supported");
    }

    // Expressions ---------------------------------------------------------------------------------

    fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
        self.visit_expression(&it.expression);
        self.erase_cast(it.expression.span(), it.span);
    }

    fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
        self.visit_expression(&it.expression);
        self.erase_cast(it.expression.span(), it.span);
    }

    fn visit_binary_expression(&mut self, it: &BinaryExpression<'a>) {
        walk::walk_binary_expression(self, it);
        let inner = match &it.left {
            Expression::TSAsExpression(cast) => cast.expression.span(),
            Expression::TSSatisfiesExpression(cast) => cast.expression.span(),
            _ => return,
        };
        let tighter = matches!(
            it.operator,
            BinaryOperator::Addition
                | BinaryOperator::Subtraction
                | BinaryOperator::Multiplication
                | BinaryOperator::Division
                | BinaryOperator::Remainder
                | BinaryOperator::Exponential
                | BinaryOperator::ShiftLeft
                | BinaryOperator::ShiftRight
                | BinaryOperator::ShiftRightZeroFill
        );
        if tighter {
            // `a + b as T * c` is `(a + b) * c`.
            self.insert(inner.start as usize, "(");
            let keyword = self.skip_trivia(inner.end as usize);
            self.overwrite(keyword, ")");
        }
    }

    fn visit_ts_type_assertion(&mut self, it: &TSTypeAssertion<'a>) {
        self.visit_expression(&it.expression);
        let start = it.span.start as usize;
        let inner = it.expression.span();
        self.erase(start, inner.start as usize);
        let word = self.word(inner.start as usize);
        let ambiguous = self.rest(inner.start as usize).starts_with('{')
            || matches!(word, "function" | "class" | "async" | "let");
        if ambiguous || self.has_line_break(start, inner.start as usize) {
            // `() => <T>{}` must not become a block, nor may `return <T>` before a line end
            // lose its value.
            self.overwrite(start, "(");
            self.insert(inner.end as usize, ")");
        }
    }

    fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
        self.visit_expression(&it.expression);
        self.erase_next(it.expression.span().end as usize, '!');
    }

    fn visit_jsx_element(&mut self, it: &JSXElement<'a>) {
        self.needs_transform = true;
        self.deeper(|this| walk::walk_jsx_element(this, it));
    }

    fn visit_jsx_fragment(&mut self, it: &JSXFragment<'a>) {
        self.needs_transform = true;
        self.deeper(|this| walk::walk_jsx_fragment(this, it));
    }

    // Types ---------------------------------------------------------------------------------------

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.erase_span(it.span);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.erase_span(it.span);
    }

    fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
        self.erase_span(it.span);
    }
}

// ---------------------------------------------------------------------------------------------
// Constant enums
// ---------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
enum EnumValue {
    Number(f64),
    Text(String),
}

/// How deep an initializer may nest to be evaluated here.
const MAX_CONSTANT_DEPTH: u32 = 64;

/// The names and values of an enum's members, if all are constant.
fn constant_members(it: &TSEnumDeclaration<'_>) -> Option<Vec<(String, EnumValue)>> {
    let mut known: HashMap<String, EnumValue> = HashMap::new();
    let mut members = Vec::with_capacity(it.body.members.len());
    let mut next = Some(0.0);
    let mut text = 0_usize;
    for member in &it.body.members {
        let key = match &member.id {
            TSEnumMemberName::Identifier(name) => name.name.as_str(),
            TSEnumMemberName::String(name) | TSEnumMemberName::ComputedString(name) => {
                if name.lone_surrogates {
                    return None;
                }
                name.value.as_str()
            }
            TSEnumMemberName::ComputedTemplateString(_) => return None,
        };
        let value = match &member.initializer {
            Some(initializer) => constant(initializer, it.id.name.as_str(), &known, 0)?,
            None => EnumValue::Number(next?),
        };
        next = match &value {
            EnumValue::Number(number) => Some(number + 1.0),
            EnumValue::Text(value) => {
                text += value.len();
                None
            }
        };
        if text > MAX_CONSTANT_TEXT {
            return None;
        }
        known.insert(key.to_owned(), value.clone());
        members.push((key.to_owned(), value));
    }
    Some(members)
}

/// The value of a constant initializer.
fn constant(
    expression: &Expression<'_>,
    name: &str,
    known: &HashMap<String, EnumValue>,
    depth: u32,
) -> Option<EnumValue> {
    if depth > MAX_CONSTANT_DEPTH {
        return None;
    }
    let inner = |expression| constant(expression, name, known, depth + 1);
    let is_self = |object: &Expression<'_>| object.is_specific_id(name);
    let value = match expression {
        Expression::NumericLiteral(literal) => EnumValue::Number(literal.value),
        Expression::StringLiteral(literal) if !literal.lone_surrogates => {
            EnumValue::Text(literal.value.as_str().to_owned())
        }
        Expression::TemplateLiteral(template) if template.expressions.is_empty() => {
            let quasi = template
                .quasis
                .first()
                .filter(|quasi| !quasi.lone_surrogates)?;
            EnumValue::Text(quasi.value.cooked?.as_str().to_owned())
        }
        Expression::ParenthesizedExpression(it) => inner(&it.expression)?,
        Expression::Identifier(it) => known.get(it.name.as_str())?.clone(),
        Expression::StaticMemberExpression(it) if is_self(&it.object) => {
            known.get(it.property.name.as_str())?.clone()
        }
        Expression::ComputedMemberExpression(it) if is_self(&it.object) => match &it.expression {
            Expression::StringLiteral(key) => known.get(key.value.as_str())?.clone(),
            _ => return None,
        },
        Expression::UnaryExpression(it) => match (it.operator, inner(&it.argument)?) {
            (UnaryOperator::UnaryNegation, EnumValue::Number(number)) => EnumValue::Number(-number),
            (UnaryOperator::UnaryPlus, number @ EnumValue::Number(_)) => number,
            (UnaryOperator::BitwiseNot, EnumValue::Number(number)) => {
                EnumValue::Number(f64::from(!to_int32(number)?))
            }
            _ => return None,
        },
        Expression::BinaryExpression(it) => match (inner(&it.left)?, inner(&it.right)?) {
            (EnumValue::Number(left), EnumValue::Number(right)) => {
                EnumValue::Number(arithmetic(it.operator, left, right)?)
            }
            (EnumValue::Text(left), EnumValue::Text(right))
                if it.operator == BinaryOperator::Addition =>
            {
                EnumValue::Text(left + &right)
            }
            _ => return None,
        },
        _ => return None,
    };
    match &value {
        EnumValue::Number(number) if !number.is_finite() => None,
        EnumValue::Text(text) if text.len() > MAX_CONSTANT_TEXT => None,
        _ => Some(value),
    }
}

fn arithmetic(operator: BinaryOperator, left: f64, right: f64) -> Option<f64> {
    // A shift counts by the low five bits.
    let by = |number| to_int32(number).map(|count| count.cast_unsigned() & 31);
    Some(match operator {
        BinaryOperator::Addition => left + right,
        BinaryOperator::Subtraction => left - right,
        BinaryOperator::Multiplication => left * right,
        BinaryOperator::Division => left / right,
        BinaryOperator::Remainder => left % right,
        BinaryOperator::BitwiseOR => f64::from(to_int32(left)? | to_int32(right)?),
        BinaryOperator::BitwiseAnd => f64::from(to_int32(left)? & to_int32(right)?),
        BinaryOperator::BitwiseXOR => f64::from(to_int32(left)? ^ to_int32(right)?),
        BinaryOperator::ShiftLeft => f64::from(to_int32(left)? << by(right)?),
        BinaryOperator::ShiftRight => f64::from(to_int32(left)? >> by(right)?),
        BinaryOperator::ShiftRightZeroFill => {
            f64::from(to_int32(left)?.cast_unsigned() >> by(right)?)
        }
        _ => return None,
    })
}

/// A number as 32 bits, where it is a whole one that a double holds exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked first"
)]
fn to_int32(number: f64) -> Option<i32> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some((number as i64) as i32)
}

/// A string literal of JavaScript.
fn js_string(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                literal.push('\\');
                literal.push(c);
            }
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\0'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(literal, "\\u{:04x}", u32::from(c));
            }
            _ => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(path: &str, source: &str) -> Transpiled {
        match transpile(source, &TranspileOptions::for_path(path)) {
            Ok(transpiled) => transpiled,
            Err(failure) => panic!("{source:?}: {failure}\n{}", failure.code_frame),
        }
    }

    fn refused(path: &str, source: &str) -> SyntaxFailure {
        match transpile(source, &TranspileOptions::for_path(path)) {
            Ok(transpiled) => panic!("{source:?} became {:?}", transpiled.code),
            Err(failure) => failure,
        }
    }

    fn ts(source: &str) -> String {
        run("a.ts", source).code
    }

    /// Erases in place and checks that every line and column stayed.
    #[track_caller]
    fn erases(source: &str, expected: &str) {
        let code = ts(source);
        let shape = |text: &str| -> Vec<usize> {
            text.split(is_line_terminator)
                .map(|line| line.encode_utf16().count())
                .collect()
        };
        assert_eq!(squeeze(&code), squeeze(expected), "from {source:?}");
        assert_eq!(shape(&code), shape(source), "{code:?} from {source:?}");
    }

    /// One space where there were several, and none at the ends of lines.
    fn squeeze(text: &str) -> String {
        let lines = text.split_inclusive(is_line_terminator).map(|line| {
            let text = line.trim_end_matches(is_line_terminator);
            let end = line.get(text.len()..).unwrap_or_default();
            let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
            words.join(" ") + end
        });
        lines.collect()
    }

    #[test]
    fn annotations_become_spaces() {
        assert_eq!(ts("let x: number = 1"), "let x         = 1");
        erases("let x!: number, y: string;", "let x , y ;");
        erases(
            "function f<T>(this: Q, a?: T, ...r: T[]): a is T { return a! }",
            "function f ( a , ...r ) { return a; }",
        );
        erases("function f(this: Q) {}", "function f( ) {}");
        erases("try {} catch (e: unknown) {}", "try {} catch (e ) {}");
        erases("const { a }: { a: 1 } = o", "const { a } = o");
        erases(
            "const o = { m<T>(x: T): T { return x }, get v(): 1 { return 1 } }",
            "const o = { m (x ) { return x }, get v() { return 1 } }",
        );
        erases("(x: number): string => y", "(x ) => y");
    }

    #[test]
    fn casts_and_assertions_are_erased() {
        erases(
            "f(a as any as T, b satisfies U, c as const)",
            "f(a , b , c )",
        );
        erases("x = a!.b!.c?.d![0]!", "x = a .b .c?.d [0];");
        erases("(a as any) = 1", "(a ) = 1");
        erases("f(<T>x, `${x as T}`)", "f( x, `${x }`)");
        assert_eq!(ts("f = () => <T>{ a: 1 }"), "f = () => (  { a: 1 })");
        assert_eq!(ts("return <\nT>x"), "return (\n  x)");
        assert_eq!(ts("x = 1 + 2 as any + 3"), "x = (1 + 2 )      + 3");
    }

    #[test]
    fn generics_are_erased() {
        erases(
            "f<T>(x); new Map<K, V>(); tag<T>`x`; a?.b<T>(c)",
            "f (x); new Map (); tag `x`; a?.b (c)",
        );
        erases("const f = <T,>(x: T) => x", "const f = (x ) => x");
        erases(
            "const g = async <T extends {}>(x: T): Promise<T> => x",
            "const g = async (x ) => x",
        );
        erases(
            "class A<T> extends B<T> implements C<T>, D {}",
            "class A extends B {}",
        );
        assert_eq!(ts("f = async <\nT>(x) => x"), "f = async (\n   x) => x");
        assert_eq!(ts("f = (x): {\na: 1\n} => x"), "f = (x    \n    \n) => x");
    }

    #[test]
    fn javascript_that_looks_generic_stays() {
        erases("x = a < b, c > d", "x = a < b, c > d");
        erases(
            "type = 1\ndeclare\nabstract\nx",
            "type = 1\ndeclare\nabstract\nx",
        );
        erases("var a = b ? (c) : d => e", "var a = b ? (c) : d => e");
    }

    #[test]
    fn classes_lose_what_is_only_typed() {
        erases(
            "abstract class A { abstract f(): void; declare x: 1; [k: string]: any; g(a: 1): void\n g() {} }",
            "class A { ; ; ; ;\n g() {} }",
        );
        erases(
            "class A { private readonly x: number = 1; static override y?: 1; z!: 1; ['q']?: 2 }",
            "class A { x = 1; static y ; z ; ['q']; }",
        );
        erases(
            "class A { public get v(): 1 { return 1 } protected async *g() {} }",
            "class A { get v() { return 1 } async *g() {} }",
        );
        erases(
            "export default abstract class A {}",
            "export default class A {}",
        );
        erases(
            "class A { f?(): void; constructor(x: 1); constructor(x?: any) {} }",
            "class A { ; ; constructor(x ) {} }",
        );
    }

    #[test]
    fn statements_of_types_are_erased() {
        for source in [
            "interface A { a: 1 }",
            "type A = { [K in keyof B]: B[K] }\ninterface C<T> extends D {}",
            "import type A from 'a'",
            "import type { A } from 'a'; export type { A }; export type * from 'b'",
            "declare const x: number; declare function f(): void; declare class C {}",
            "declare global { var x: 1 }\ndeclare module 'm' { }\ndeclare enum E { a }",
            "namespace N { export type A = 1; namespace M { interface B {} } }",
            "export default interface A {}",
            "export declare const x: 1; export type T = 1",
            "import type x = require('x')",
            "function f(a: 1): void",
            "",
            "// only a comment",
        ] {
            let transpiled = run("a.ts", source);
            assert!(transpiled.erased_to_nothing, "{source:?}");
            assert!(!transpiled.is_module, "{source:?}");
            let code = transpiled.code;
            assert_eq!(code.lines().count(), source.lines().count());
            assert!(code.trim().is_empty() || code.starts_with("//"), "{code:?}");
        }
        assert!(!run("a.ts", "import 'x'").erased_to_nothing);
        assert!(!run("a.ts", "'use strict'").erased_to_nothing);
    }

    #[test]
    fn imports_without_type_stay() {
        let transpiled = run("a.ts", "import A, { type B, C } from 'a'; let x: A");
        assert_eq!(
            squeeze(&transpiled.code),
            "import A, { C } from 'a'; let x;"
        );
        assert!(transpiled.is_module);
        erases("import { type A } from 'a'", "import { } from 'a'");
        erases("export { type A, b as c }", "export { b as c }");
    }

    #[test]
    fn erasing_does_not_join_statements() {
        erases("let a = b as any\n(c)", "let a = b ; \n(c)");
        erases("let a: T\n[c].d", "let a; \n[c].d");
        erases("a\ntype T = 1\n(c)", "a\n; \n(c)");
        erases("type X = 1\n/x/.test(y)", " \n/x/.test(y)");
        erases("if (a) b as any\nelse c", "if (a) b ; \nelse c");
        erases("if (a) interface_\nelse c", "if (a) interface_\nelse c");
        erases("class A { get: T\nf() {} }", "class A { get; \nf() {} }");
        erases(
            "class A { x = 1\npublic ['y'] = 2 }",
            "class A { x = 1\n; ['y'] = 2 }",
        );
        erases(
            "class A { x = 1\nprivate *y() {} }",
            "class A { x = 1\n; *y() {} }",
        );
        erases(
            "for (let i = 0 as any; ;) break",
            "for (let i = 0 ; ;) break",
        );
        erases("do x as any; while (y as any)", "do x ; while (y )");
    }

    #[test]
    fn enums_are_rewritten_in_place() {
        assert_eq!(
            ts("enum A {\n  X,\n  Y = 5, // y\n  Z\n}\nx"),
            concat!(
                "var A; (function (A) {\n",
                "  A[A[\"X\"] = 0] = \"X\"; \n",
                "  A[A[\"Y\"] = 5] = \"Y\";  // y\n",
                "  A[A[\"Z\"] = 6] = \"Z\";\n",
                "})(A || (A = {}));\nx"
            )
        );
        let code = ts(
            "export const enum E { a = 1 << 3, b = a | 1, c = ~E.b, s = 'x' + \"\\n\", t = `q` }",
        );
        for part in [
            "export var E; (function (E) {",
            "E[E[\"a\"] = 8] = \"a\";",
            "E[E[\"b\"] = 9] = \"b\";",
            "E[E[\"c\"] = -10] = \"c\";",
            "E[\"s\"] = \"x\\n\";",
            "E[\"t\"] = \"q\";",
        ] {
            assert!(code.contains(part), "{part} in {code}");
        }
        assert!(ts("{ enum L { a } }").starts_with("{ let L;"));
        assert!(ts("enum A { '\u{2028}\"' }").contains("\"\\u2028\\\"\""));
    }

    #[test]
    fn enums_with_computed_members_are_transformed() {
        let transpiled = run("a.ts", "enum A { x = f(), y = 'a'.length }");
        assert!(
            transpiled.code.contains("A[A[\"x\"] = f()] = \"x\""),
            "{}",
            transpiled.code
        );
        assert!(
            transpiled
                .map
                .is_some_and(|map| map.contains("\"mappings\""))
        );
    }

    #[test]
    fn namespaces_are_transformed() {
        let transpiled = run(
            "a.ts",
            "namespace N { export const x: number = 1; export namespace M { export let y = x } }",
        );
        assert!(
            transpiled.code.contains("const x = _N.x = 1"),
            "{}",
            transpiled.code
        );
        assert!(transpiled.code.contains("N || (N = {})"));
        assert!(!transpiled.is_module);
        let options = TranspileOptions {
            source_map: false,
            ..TranspileOptions::for_path("a.ts")
        };
        let without = transpile("namespace N { f() }", &options).expect("valid");
        assert_eq!(without.map, None);
    }

    #[test]
    fn parameter_properties_are_rewritten_in_place() {
        let code =
            ts("class A { constructor(private x: number, public readonly y = 2, z?: 1) { f() } }");
        assert_eq!(
            squeeze(&code),
            "class A { x; y; constructor( x , y = 2, z ) {; this.x = x; this.y = y; f() } }"
        );
        let code =
            ts("class A extends B {\nconstructor(override x) {\n'use strict'\nsuper(x)\ng()\n} }");
        assert_eq!(
            squeeze(&code),
            "class A extends B {\nx; constructor( x) {\n'use strict'\nsuper(x); this.x = x;\ng()\n} }"
        );
        let failure = refused(
            "a.ts",
            "class A extends B { constructor(private x) { if (x) super() } }",
        );
        assert_eq!(failure.kind, FailureKind::Unsupported);
    }

    #[test]
    fn import_equals_and_export_equals_are_commonjs() {
        let transpiled = run(
            "a.ts",
            "import fs = require('fs');\nimport p = fs.promises;\nexport = p as any",
        );
        assert_eq!(
            squeeze(&transpiled.code),
            "const fs = require('fs');\nvar p = fs.promises;\nmodule.exports = p ;"
        );
        assert!(!transpiled.is_module);
        for source in ["import fs = require('fs')", "export = 1"] {
            let failure = refused("a.mts", source);
            assert_eq!(
                (failure.kind, failure.line, failure.column),
                (FailureKind::Unsupported, 1, 1)
            );
        }
    }

    #[test]
    fn decorators_and_accessors_are_refused() {
        let failure = refused("a.ts", "\n @dec class A {}");
        assert_eq!(
            (failure.kind, failure.line, failure.column),
            (FailureKind::Unsupported, 2, 2)
        );
        assert_eq!(failure.message, "Decorators are not supported");
        let failure = refused("a.ts", "class A { accessor x = 1 }");
        assert_eq!(
            (failure.kind, failure.column),
            (FailureKind::Unsupported, 11)
        );
    }

    #[test]
    fn the_goal_follows_the_syntax() {
        for (source, module) in [
            ("const x: 1 = require('x')", false),
            ("return 1 as number", false),
            ("import x from 'x'", true),
            ("export {}", true),
            ("const x: string = await y", true),
            ("for await (const x of y as any);", true),
            ("f(import.meta.url as string)", true),
            ("async () => { await x as any }", false),
            ("import('x') as any", false),
        ] {
            assert_eq!(run("a.ts", source).is_module, module, "{source:?}");
            assert_eq!(run("a.js", &ts(source)).is_module, module, "{source:?}");
        }
        assert!(run("a.mts", "let x: 1").is_module);
        assert!(refused("a.mts", "return 1").message.contains("return"));
        assert!(refused("a.cts", "await x").line == 1);
        let forced = TranspileOptions {
            module: Some(true),
            ..TranspileOptions::for_path("a.ts")
        };
        assert!(transpile("let x: 1", &forced).is_ok_and(|it| it.is_module));
    }

    #[test]
    fn javascript_passes_as_it_is() {
        let source = "#!/usr/bin/env node\nwith (a) { b }\n";
        assert_eq!(run("a.js", source).code, source);
        assert_eq!(refused("a.js", "let x: number = 1").column, 6);
    }

    #[test]
    fn jsx_is_transformed() {
        let module = run("a.tsx", "export const a = <div b={c as any}>x</div>");
        assert!(
            module.code.contains("from \"react/jsx-runtime\""),
            "{}",
            module.code
        );
        let script = run("a.jsx", "const a = <><b/></>");
        assert!(
            script.code.contains("require(\"react/jsx-runtime\")"),
            "{}",
            script.code
        );
        assert!(!script.is_module);
        let classic = TranspileOptions {
            jsx: JsxRuntime::Classic,
            ..TranspileOptions::for_path("a.jsx")
        };
        let classic = transpile("f(<a/>)", &classic).expect("valid");
        assert!(
            classic.code.contains("React.createElement(\"a\", null)"),
            "{}",
            classic.code
        );
        erases("f = <T,>(x: T) => x", "f = (x ) => x");
        assert_eq!(squeeze(&run("a.tsx", "let x: 1 = 2").code), "let x = 2");
    }

    #[test]
    fn syntax_errors_have_places() {
        let failure = refused("a.ts", "let a = 1\nlet x: = 1\n");
        assert_eq!(
            (failure.kind, failure.line, failure.column),
            (FailureKind::Syntax, 2, 8)
        );
        assert_eq!(failure.code_frame, "let x: = 1\n       ^");
        assert_eq!(failure.all.len(), 1);
        let crlf = refused("a.ts", "a\r\nb\r\n  )");
        assert_eq!((crlf.line, crlf.column), (3, 3));
        let wide = refused("a.ts", "x = 'é𝒳' + )");
        assert_eq!((wide.line, wide.column), (1, 13));
        let mark = refused("a.ts", "\u{feff} )");
        assert_eq!((mark.line, mark.column), (1, 2));
        let end = refused("a.ts", "interface A {");
        assert_eq!((end.line, end.column), (1, 14));
        let separator = refused("a.ts", "a\u{2028} )");
        assert_eq!((separator.line, separator.column), (2, 2));
        let long = refused("a.ts", &format!("{}( )", "x = 1;".repeat(100_000)));
        assert!(long.code_frame.len() < 4 * FRAME_WIDTH);
        assert_eq!(long.line, 1);
    }

    #[test]
    fn line_ends_marks_and_hashbangs_are_kept() {
        erases(
            "let a: 1\r\nlet b: 2\rc",
            "let a; \r\nlet b; \rc"
                .replace("; ", " ; ")
                .replace(" ;", ";")
                .as_str(),
        );
        assert_eq!(ts("\u{feff}#!x\nlet a: 1"), "#!x\nlet a;  ");
        erases(
            "type é𝒳 = {\n é: 1\n}\nlet x: é𝒳 = 'é𝒳' as é𝒳",
            " \n \n \nlet x = 'é𝒳' ; ",
        );
    }

    #[test]
    fn text_is_classified() {
        for source in [
            "x = 1",
            "return await_",
            "a<b>(c)",
            "with (a) b",
            "await (x)",
            "",
            "{}",
            "enum_",
        ] {
            assert_eq!(
                classify(source),
                Classification::JavaScriptScript,
                "{source:?}"
            );
        }
        for source in [
            "import 'x'",
            "export {}",
            "await x",
            "import.meta",
            "for await (a of b);",
        ] {
            assert_eq!(
                classify(source),
                Classification::JavaScriptModule,
                "{source:?}"
            );
        }
        for source in [
            "let x: number",
            "interface A {}",
            "enum A { b }",
            "x as T",
            "import type A from 'a'",
            "const x: 1 = await y",
            "function f(a?: 1) {}",
            "class A { private x = 1 }",
        ] {
            assert_eq!(classify(source), Classification::TypeScript, "{source:?}");
            assert!(looks_like_typescript(source));
        }
        let Classification::Invalid(failure) = classify("let x = 1\nlet y = )") else {
            panic!("valid");
        };
        assert_eq!((failure.line, failure.column), (2, 9));
        // TypeScript gets further here, so the failure is its own.
        let Classification::Invalid(failure) = classify("let x: number = 1\nlet y: = 2") else {
            panic!("valid");
        };
        assert_eq!((failure.line, failure.column), (2, 8));
    }

    #[test]
    fn deep_sources_are_refused_or_read_but_never_overflow() {
        const DEEP: usize = 100_000;
        for (before, level) in [
            ("x = ", "("),
            ("x = ", "["),
            ("x = ", "{a:"),
            ("x = ", "`${"),
            ("x = ", "a ? ("),
            ("", "{"),
            ("", "function f() {"),
            ("x = ", "class { a = "),
            ("x = ", "new "),
            ("type A = ", "["),
            ("type A = ", "("),
            ("type A = ", "B<"),
            ("type A = ", "{ a: "),
            ("type A = ", "`${"),
            ("let ", "["),
            ("x = ", "a<"),
            ("x = ", "(a = "),
            ("x = ", "<T,>(a: "),
            ("", "namespace a {"),
            ("enum A { a = ", "("),
            ("@", "("),
        ] {
            let source = format!("{before}{}", level.repeat(DEEP));
            // How deep the stack reaches hangs on the build: read to its unfinished end, or refused before.
            let kind = refused("a.ts", &source).kind;
            assert!(
                matches!(kind, FailureKind::TooDeep | FailureKind::Syntax),
                "{level:?}: {kind:?}"
            );
            let Classification::Invalid(_) = classify(&source) else {
                panic!("{level:?} was read");
            };
        }
        let kind = refused("a.tsx", &format!("x = {}", "<a>".repeat(DEEP))).kind;
        assert!(
            matches!(kind, FailureKind::TooDeep | FailureKind::Syntax),
            "{kind:?}"
        );
        for (before, level, after) in [
            ("x = ", "!", "a"),
            ("x = ", "a => ", "a"),
            ("x = a", ".b", ""),
            ("x = a", "()", ""),
            ("x = 1", " + 1", ""),
            ("x = a", "!", ""),
            ("x = a", " as T", ""),
            ("type A = B", "[]", ""),
            ("type A = B", ".C", ""),
            ("type A = ", "keyof ", "B"),
            ("", "if (a) ", "b as T"),
            ("namespace N { x = 1", " + 1", "}"),
            ("namespace N { let x: A", "[]", "}"),
            ("", "a = ", "1"),
            ("x = 1", " ** 1", ""),
            ("namespace A", ".b", "{ x }"),
        ] {
            let source = format!("{before}{}{after}", level.repeat(DEEP));
            if let Err(failure) = transpile(&source, &TranspileOptions::for_path("a.ts")) {
                assert_eq!(failure.kind, FailureKind::TooDeep, "{level:?}");
            }
        }
    }

    #[test]
    fn ordinary_depth_is_fine() {
        let nested = format!("x = {}1{} as T", "(".repeat(1_000), ")".repeat(1_000));
        assert!(ts(&nested).ends_with(" ;   "), "{nested}");
        let chain = format!("x = 1{} as T", " + 1".repeat(5_000));
        assert_eq!(ts(&chain).len(), chain.len());
        let transformed = format!("namespace N {{ x = 1{} }}", " + 1".repeat(1_000));
        assert!(ts(&transformed).contains("1 + 1"));
    }

    #[test]
    fn amplification_is_refused() {
        let mut doubling = String::from("enum E { z = f(), a0 = 'x'");
        for index in 1..60 {
            let last = index - 1;
            let _ = write!(doubling, ", a{index} = a{last} + a{last}");
        }
        doubling.push('}');
        assert_eq!(refused("a.ts", &doubling).kind, FailureKind::TooComplex);
        let doubling = doubling.replace("z = f(), ", "");
        assert_eq!(refused("a.ts", &doubling).kind, FailureKind::TooComplex);
        let members: Vec<_> = (0..2_000).map(|index| format!("a{index}")).collect();
        let named = format!("enum {} {{ {} }}", "E".repeat(50_000), members.join(","));
        assert_eq!(refused("a.ts", &named).kind, FailureKind::TooComplex);
    }

    #[test]
    fn large_sources_are_refused() {
        let source = " ".repeat(MAX_SOURCE_BYTES + 1);
        assert_eq!(refused("a.ts", &source).kind, FailureKind::TooLarge);
        assert!(
            matches!(classify(&source), Classification::Invalid(it) if it.kind == FailureKind::TooLarge)
        );
        let long = format!("x {}", "(".repeat(3));
        let message = refused("a.ts", &format!("{long}{}", "é".repeat(100_000))).message;
        assert!(message.chars().count() <= MESSAGE_LENGTH + 1);
    }

    #[test]
    fn ambiguity_is_bounded() {
        // Every level is read twice, once as parameters and once as an expression.
        let source = format!("x = {}1{}", "(a = ".repeat(1_500), ")".repeat(1_500));
        match transpile(&source, &TranspileOptions::for_path("a.ts")) {
            Ok(transpiled) => assert_eq!(transpiled.code, source),
            Err(failure) => assert_eq!(failure.kind, FailureKind::TooComplex),
        }
    }

    #[test]
    fn kinds_follow_names() {
        for (path, kind) in [
            ("/a.b/c.ts", SourceKind::TypeScript),
            ("c.mts", SourceKind::TypeScriptModule),
            ("c.cts", SourceKind::TypeScriptCommonJs),
            ("c.tsx", SourceKind::Tsx),
            ("c.jsx", SourceKind::Jsx),
            ("c.mjs", SourceKind::Module),
            ("c.cjs", SourceKind::Script),
            ("c.js", SourceKind::JavaScript),
            ("/a.ts/c", SourceKind::JavaScript),
        ] {
            assert_eq!(SourceKind::from_path(path), kind, "{path}");
        }
        assert!(!SourceKind::Script.needs_transpile());
        assert!(SourceKind::Jsx.needs_transpile());
    }
}
