//! `internalBinding('v8')`: heap statistics, as coarse as [`crate::usage`] makes them. Source: `src/node_v8.cc`.

use std::cell::Cell;
use std::rc::Rc;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::surface::json_value;
use crate::env::Env;
use crate::node_command;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "v8",
    functions: &[
        (
            "updateHeapStatisticsBuffer",
            function!(update_heap_statistics_buffer),
        ),
        (
            "updateHeapSpaceStatisticsBuffer",
            function!(update_heap_space_statistics_buffer),
        ),
        (
            "updateHeapCodeStatisticsBuffer",
            function!(update_heap_code_statistics_buffer),
        ),
        ("cachedDataVersionTag", function!(cached_data_version_tag)),
        (
            "isStringOneByteRepresentation",
            function!(is_string_one_byte_representation),
        ),
        ("getCppHeapStatistics", function!(get_cpp_heap_statistics)),
        ("setFlagsFromString", function!(set_flags_from_string)),
    ],
    classes: &[Class {
        name: "GCProfiler",
        constructor: Some(function!(new_gc_profiler)),
        methods: &[
            ("start", function!(gc_profiler_start)),
            ("stop", function!(gc_profiler_stop)),
        ],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

/// The spaces that Node's V8 has, in the order of `kHeapSpaces`.
const SPACES: &[&str] = &[
    "read_only_space",
    "new_space",
    "old_space",
    "code_space",
    "shared_space",
    "trusted_space",
    "new_large_object_space",
    "large_object_space",
    "code_large_object_space",
    "shared_large_object_space",
    "trusted_large_object_space",
];

#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
fn fill(scope: &mut v8::PinScope<'_, '_>, key: &'static str, values: &[usize]) {
    if let Some(buffer) = Env::of(scope).buffer(scope, key) {
        for (index, value) in values.iter().enumerate() {
            buffer.set(index, *value as f64);
        }
    }
}

fn update_heap_statistics_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _args: &Args<'s>,
) -> Ret<'s> {
    let memory = Env::of(scope).memory(scope);
    fill(scope, "v8.heapStatisticsBuffer", &memory.heap);
    Ok(v8::undefined(scope).into())
}

fn update_heap_space_statistics_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let index = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let name = usize::try_from(index)
        .ok()
        .and_then(|index| SPACES.get(index));
    let sizes = name.map_or([0; 4], |name| Env::of(scope).memory_of_space(scope, name));
    fill(scope, "v8.heapSpaceStatisticsBuffer", &sizes);
    Ok(v8::undefined(scope).into())
}

fn update_heap_code_statistics_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _args: &Args<'s>,
) -> Ret<'s> {
    let memory = Env::of(scope).memory(scope);
    fill(scope, "v8.heapCodeStatisticsBuffer", &memory.code);
    Ok(v8::undefined(scope).into())
}

fn cached_data_version_tag<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(
        v8::Integer::new_from_unsigned(scope, v8::script_compiler::cached_data_version_tag())
            .into(),
    )
}

fn is_string_one_byte_representation<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let one_byte =
        v8::Local::<v8::String>::try_from(args.get(0)).is_ok_and(|string| string.is_onebyte());
    Ok(v8::Boolean::new(scope, one_byte).into())
}

/// There is no C++ heap.
fn get_cpp_heap_statistics<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let null = v8::null(scope).into();
    let statistics = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    for key in [
        "committed_size_bytes",
        "resident_size_bytes",
        "used_size_bytes",
    ] {
        let zero = v8::Integer::new(scope, 0).into();
        set(scope, statistics, key, zero);
    }
    for key in ["space_statistics", "type_names"] {
        let empty = v8::Array::new(scope, 0).into();
        set(scope, statistics, key, empty);
    }
    let level = if args_level(scope, args) == 0 {
        "brief"
    } else {
        "detailed"
    };
    let level = json_value(scope, &serde_json::Value::from(level))?;
    set(scope, statistics, "detail_level", level);
    Ok(statistics.into())
}

fn args_level(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> u32 {
    args.get(0).uint32_value(scope).unwrap_or(0)
}

/// `setFlagsFromString(flags)`: V8's flags are those of the whole OS process, so that one has an effect, and those that
/// `node` accepts have none. Native syntax is refused: programs ask for it to use what it does not give here.
fn set_flags_from_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// No flags that count are longer.
    const LONGEST: usize = 1024;
    let unavailable = || Throw::unavailable("v8.setFlagsFromString");
    let flags = v8::Local::<v8::String>::try_from(args.get(0))
        .ok()
        .filter(|flags| flags.length() <= LONGEST)
        .map(|flags| flags.to_rust_string_lossy(scope))
        .ok_or_else(unavailable)?;
    let mut exposed = None;
    for word in flags.split_whitespace() {
        let name = word.split('=').next().unwrap_or(word).replace('_', "-");
        match name.as_str() {
            "--expose-gc" => exposed = Some(true),
            "--no-expose-gc" | "--noexpose-gc" => exposed = Some(false),
            "--allow-natives-syntax" => return Err(unavailable()),
            name => {
                let positive = name
                    .strip_prefix("--no-")
                    .or_else(|| name.strip_prefix("--no"))
                    .map(|name| format!("--{name}"));
                let is_known = node_command::is_v8_flag(name)
                    || positive.is_some_and(|name| node_command::is_v8_flag(&name));
                if !is_known {
                    return Err(unavailable());
                }
            }
        }
    }
    if let Some(exposed) = exposed {
        crate::exposed_gc::expose(&Env::of(scope), exposed);
    }
    Ok(v8::undefined(scope).into())
}

/// A profiler that counts no collections: when they happen is not for the guest to know.
#[derive(Default)]
struct GcProfiler {
    started_ms: Cell<Option<f64>>,
}

fn new_gc_profiler<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(Throw::type_error(
            "ERR_CONSTRUCT_CALL_REQUIRED",
            "Class constructor GCProfiler cannot be invoked without `new`",
        ));
    }
    Env::of(scope)
        .objects
        .wrap(scope, args.this(), Rc::new(GcProfiler::default()));
    Ok(args.this().into())
}

fn profiler(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<Rc<GcProfiler>, Throw> {
    let profiler = Env::of(scope)
        .objects
        .unwrap::<GcProfiler>(scope, args.this());
    profiler.ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_THIS",
            "Value of \"this\" must be of type GCProfiler",
        )
    })
}

fn wall_ms(env: &Env) -> f64 {
    (env.clock().wall().as_secs_f64() * 1e3).floor()
}

fn gc_profiler_start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let profiler = profiler(scope, args)?;
    if profiler.started_ms.get().is_none() {
        profiler.started_ms.set(Some(wall_ms(&Env::of(scope))));
    }
    Ok(v8::undefined(scope).into())
}

fn gc_profiler_stop<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let profiler = profiler(scope, args)?;
    let Some(start) = profiler.started_ms.take() else {
        return Ok(v8::undefined(scope).into());
    };
    let end = wall_ms(&Env::of(scope));
    let text =
        format!("{{\"version\":1,\"startTime\":{start},\"statistics\":[],\"endTime\":{end}}}");
    Ok(v8::String::new(scope, &text).ok_or(Throw::Pending)?.into())
}
