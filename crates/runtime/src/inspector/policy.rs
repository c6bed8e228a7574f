//! Which messages of the protocol reach V8, and in which form.
//!
//! V8 trusts whoever speaks the protocol; here that is the guest. A message is read with a parser of ours, looked up in
//! a list, and written anew: what V8's own parser sees is never what the guest wrote. What would show host time, start
//! threads and signals, walk the whole heap or keep memory that nobody counts is refused or cut down.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// UTF-16 units of one message, at most.
pub const MAX_MESSAGE: usize = 16 << 20;
/// Bytes between two samples of the heap profiler, at least: each sample takes memory that V8 does not count.
const LEAST_SAMPLING_INTERVAL: f64 = 1024.0;
/// Levels of a value that is serialized deeply, at most: V8 goes down by recursion.
const MOST_LEVELS: i64 = 32;
/// Asynchronous causes of a stack trace, at most.
const MOST_CAUSES: i64 = 64;

/// Codes of JSON-RPC.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const SERVER_ERROR: i32 = -32000;

/// What V8 may do for a guest.
const PERMITTED: &[&str] = &[
    "Console.clearMessages",
    "Console.disable",
    "Console.enable",
    "Debugger.continueToLocation",
    "Debugger.disable",
    "Debugger.enable",
    "Debugger.evaluateOnCallFrame",
    "Debugger.getPossibleBreakpoints",
    "Debugger.getScriptSource",
    "Debugger.getStackTrace",
    "Debugger.pause",
    "Debugger.removeBreakpoint",
    "Debugger.resume",
    "Debugger.searchInContent",
    "Debugger.setAsyncCallStackDepth",
    "Debugger.setBlackboxPatterns",
    "Debugger.setBlackboxedRanges",
    "Debugger.setBreakpoint",
    "Debugger.setBreakpointByUrl",
    "Debugger.setBreakpointOnFunctionCall",
    "Debugger.setBreakpointsActive",
    "Debugger.setPauseOnExceptions",
    "Debugger.setSkipAllPauses",
    "Debugger.stepInto",
    "Debugger.stepOut",
    "Debugger.stepOver",
    "HeapProfiler.collectGarbage",
    "HeapProfiler.disable",
    "HeapProfiler.enable",
    "HeapProfiler.getSamplingProfile",
    "HeapProfiler.startSampling",
    "HeapProfiler.stopSampling",
    "Profiler.disable",
    "Profiler.enable",
    "Profiler.getBestEffortCoverage",
    "Profiler.startPreciseCoverage",
    "Profiler.stopPreciseCoverage",
    "Profiler.takePreciseCoverage",
    "Runtime.addBinding",
    "Runtime.awaitPromise",
    "Runtime.callFunctionOn",
    "Runtime.compileScript",
    "Runtime.disable",
    "Runtime.discardConsoleEntries",
    "Runtime.enable",
    "Runtime.evaluate",
    "Runtime.getExceptionDetails",
    "Runtime.getIsolateId",
    "Runtime.getProperties",
    "Runtime.globalLexicalScopeNames",
    "Runtime.releaseObject",
    "Runtime.releaseObjectGroup",
    "Runtime.removeBinding",
    "Runtime.runIfWaitingForDebugger",
    "Runtime.runScript",
    "Runtime.setAsyncCallStackDepth",
    "Schema.getDomains",
];

/// What the protocol has beside that: other languages, other threads, the heap as a whole, the machine's clock.
const REFUSED: &[&str] = &[
    "Debugger.disassembleWasmModule",
    "Debugger.getWasmBytecode",
    "Debugger.nextWasmDisassemblyChunk",
    "Debugger.pauseOnAsyncCall",
    "Debugger.restartFrame",
    "Debugger.setBlackboxExecutionContexts",
    "Debugger.setInstrumentationBreakpoint",
    "Debugger.setReturnValue",
    "Debugger.setScriptSource",
    "Debugger.setVariableValue",
    "HeapProfiler.addInspectedHeapObject",
    "HeapProfiler.getHeapObjectId",
    "HeapProfiler.getObjectByHeapObjectId",
    "HeapProfiler.startTrackingHeapObjects",
    "HeapProfiler.stopTrackingHeapObjects",
    "HeapProfiler.takeHeapSnapshot",
    "NodeTracing.getCategories",
    "NodeTracing.start",
    "NodeTracing.stop",
    "NodeWorker.detach",
    "NodeWorker.disable",
    "NodeWorker.enable",
    "NodeWorker.sendMessageToWorker",
    "Runtime.getHeapUsage",
    "Runtime.queryObjects",
    "Runtime.setCustomObjectFormatterEnabled",
    "Runtime.setMaxCallStackSizeToCapture",
    "Runtime.terminateExecution",
];

/// Answered by Node itself: nobody waits for the end of a session.
const WITHOUT_EFFECT: &[&str] = &[
    "NodeRuntime.disable",
    "NodeRuntime.enable",
    "NodeRuntime.notifyWhenWaitingForDisconnect",
];

/// What the CPU profiler is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuProfiler {
    /// `Profiler.start`
    Start,
    /// `Profiler.stop`
    Stop,
    /// `Profiler.setSamplingInterval`, in microseconds.
    Interval(u64),
}

/// What becomes of a message.
#[derive(Debug)]
pub enum Verdict {
    /// The answer is known: an error, or nothing to do.
    Answer(String),
    /// Our own profiler does it.
    Profile(i32, CpuProfiler),
    /// V8 does it.
    Forward(Request),
}

/// A message for V8.
#[derive(Debug)]
pub struct Request {
    /// Its number.
    pub id: i32,
    /// What to do; one of a fixed list.
    pub method: &'static str,
    /// The whole message.
    pub text: String,
    /// Bytes that V8 may keep of it as long as the session is there.
    pub kept_bytes: usize,
    /// The group that remote objects of the answer belong to.
    pub object_group: String,
    /// The new number of asynchronous causes.
    pub async_depth: Option<i64>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    id: Option<i32>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

type Params<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn error(id: Option<i32>, code: i32, message: &str) -> Verdict {
    Verdict::Answer(error_text(id, code, message))
}

fn error_text(id: Option<i32>, code: i32, message: &str) -> String {
    match id {
        Some(id) => json!({ "error": { "code": code, "message": message }, "id": id }),
        None => json!({ "error": { "code": code, "message": message } }),
    }
    .to_string()
}

/// The answer of something that cannot be done.
pub fn failure(id: i32, message: &str) -> String {
    error_text(Some(id), SERVER_ERROR, message)
}

/// What to do with a message.
pub fn judge(text: &str) -> Verdict {
    let Ok(incoming) = serde_json::from_str::<Incoming>(text) else {
        return error(None, PARSE_ERROR, "Message must be a valid JSON");
    };
    let Some(id) = incoming.id else {
        let message = "Message must have integer 'id' property";
        return error(None, INVALID_REQUEST, message);
    };
    let Some(method) = incoming.method else {
        let message = "Message must have string 'method' property";
        return error(Some(id), INVALID_REQUEST, message);
    };
    if WITHOUT_EFFECT.contains(&&*method) {
        return Verdict::Answer(json!({ "id": id, "result": {} }).to_string());
    }
    if REFUSED.contains(&&*method) {
        let message = format!("{method} is not available in this runtime");
        return error(Some(id), SERVER_ERROR, &message);
    }
    let params = match incoming.params.map(RawValue::get) {
        None | Some("null") => Params::new(),
        Some(params) => match serde_json::from_str::<Params>(params) {
            Ok(params) => params,
            Err(_) => return error(Some(id), INVALID_PARAMS, "Invalid parameters"),
        },
    };
    if let Some(request) = of_cpu_profiler(&method, &params) {
        return match request {
            Some(request) => Verdict::Profile(id, request),
            None => error(Some(id), INVALID_PARAMS, "Invalid parameters"),
        };
    }
    let Some(method) = PERMITTED.iter().find(|permitted| **permitted == method) else {
        let message = format!("'{method}' wasn't found");
        return error(Some(id), METHOD_NOT_FOUND, &message);
    };
    Verdict::Forward(request(id, method, params))
}

fn of_cpu_profiler(method: &str, params: &Params) -> Option<Option<CpuProfiler>> {
    match method {
        "Profiler.start" => Some(Some(CpuProfiler::Start)),
        "Profiler.stop" => Some(Some(CpuProfiler::Stop)),
        "Profiler.setSamplingInterval" => {
            let interval = number(params, "interval").filter(|interval| *interval > 0);
            Some(interval.map(|interval| CpuProfiler::Interval(interval.unsigned_abs())))
        }
        _ => None,
    }
}

fn number(params: &Params, key: &str) -> Option<i64> {
    serde_json::from_str(params.get(key)?.get()).ok()
}

fn string(params: &Params, key: &str) -> Option<String> {
    serde_json::from_str(params.get(key)?.get()).ok()
}

fn request(id: i32, method: &'static str, mut params: Params) -> Request {
    let object_group = string(&params, "objectGroup").unwrap_or_default();
    let size: usize = params.values().map(|value| value.get().len()).sum();
    let mut kept_bytes = 0;
    let mut async_depth = None;
    let mut timeout = None;
    // What is said anew in the place of what the guest said.
    let mut own = Map::new();
    match method {
        "Runtime.evaluate"
        | "Debugger.evaluateOnCallFrame"
        | "Runtime.callFunctionOn"
        | "Runtime.runScript"
        | "Runtime.awaitPromise" => {
            // V8 would start a timer on threads that all guests share, and withdraw any termination: ours is started.
            let milliseconds = params
                .remove("timeout")
                .and_then(|value| serde_json::from_str::<f64>(value.get()).ok());
            timeout = milliseconds
                .filter(|milliseconds| *milliseconds >= 0.0)
                .and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1e3).ok());
            // Has the profiler, and no `require`.
            params.remove("includeCommandLineAPI");
            if let Some(options) = params.remove("serializationOptions") {
                own.extend(serialization(options));
            }
        }
        "Debugger.resume" => params.clear(),
        "Debugger.enable" => {
            params.remove("maxScriptsCacheSize");
        }
        // The answers come when they are asked for.
        "Profiler.startPreciseCoverage" => {
            params.remove("allowTriggeredUpdates");
        }
        "HeapProfiler.startSampling" => {
            let interval = params
                .get("samplingInterval")
                .and_then(|value| serde_json::from_str::<f64>(value.get()).ok());
            params.clear();
            if let Some(interval) = interval.filter(|interval| *interval > 0.0) {
                let interval = interval.max(LEAST_SAMPLING_INTERVAL);
                own.insert("samplingInterval".to_owned(), interval.into());
            }
        }
        "Debugger.setAsyncCallStackDepth" | "Runtime.setAsyncCallStackDepth" => {
            if let Some(depth) = number(&params, "maxDepth") {
                let depth = depth.min(MOST_CAUSES);
                params.clear();
                own.insert("maxDepth".to_owned(), depth.into());
                async_depth = Some(depth.max(0));
            }
        }
        "Runtime.addBinding"
        | "Runtime.compileScript"
        | "Debugger.setBlackboxPatterns"
        | "Debugger.setBlackboxedRanges"
        | "Debugger.setBreakpoint"
        | "Debugger.setBreakpointByUrl"
        | "Debugger.setBreakpointOnFunctionCall" => {
            const COPIES: usize = 8;
            const OVERHEAD: usize = 1024;
            kept_bytes = size.saturating_mul(COPIES).saturating_add(OVERHEAD);
        }
        _ => {}
    }
    let mut text = format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{{");
    let mut is_first = true;
    let mut add = |key: &str, value: &str| {
        if !std::mem::take(&mut is_first) {
            text.push(',');
        }
        text.push_str(&Value::from(key).to_string());
        text.push(':');
        text.push_str(value);
    };
    for (key, value) in &params {
        add(key, value.get());
    }
    for (key, value) in &own {
        add(key, &value.to_string());
    }
    text.push_str("}}");
    Request {
        id,
        method,
        text,
        kept_bytes,
        object_group,
        async_depth,
        timeout,
    }
}

fn serialization(options: &RawValue) -> Option<(String, Value)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Options {
        serialization: String,
        max_depth: Option<i64>,
    }
    let options: Options = serde_json::from_str(options.get()).ok()?;
    let depth = options
        .max_depth
        .unwrap_or(MOST_LEVELS)
        .clamp(0, MOST_LEVELS);
    let value = json!({ "serialization": options.serialization, "maxDepth": depth });
    Some(("serializationOptions".to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(text: &str) -> String {
        match judge(text) {
            Verdict::Forward(request) => request.text,
            other => panic!("{other:?}"),
        }
    }

    fn answered(text: &str) -> String {
        match judge(text) {
            Verdict::Answer(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_are_sorted_and_apart() {
        assert!(PERMITTED.is_sorted() && REFUSED.is_sorted());
        assert!(PERMITTED.iter().all(|method| !REFUSED.contains(method)));
    }

    #[test]
    fn dangerous_parameters_do_not_pass() {
        assert_eq!(
            forwarded(
                r#"{"id":1,"method":"Runtime.evaluate","params":{"expression":"1","t\u0069meout":5,"includeCommandLineAPI":true}}"#
            ),
            r#"{"id":1,"method":"Runtime.evaluate","params":{"expression":"1"}}"#
        );
        assert_eq!(
            forwarded(
                r#"{"id":1,"method":"HeapProfiler.startSampling","params":{"samplingInterval":1,"stackDepth":1e9}}"#
            ),
            r#"{"id":1,"method":"HeapProfiler.startSampling","params":{"samplingInterval":1024.0}}"#
        );
        assert_eq!(
            forwarded(
                r#"{"id":1,"method":"Runtime.evaluate","params":{"serializationOptions":{"serialization":"deep"}}}"#
            ),
            r#"{"id":1,"method":"Runtime.evaluate","params":{"serializationOptions":{"serialization":"deep","maxDepth":32}}}"#
        );
        assert_eq!(
            forwarded(r#"{"id":1,"method":"Debugger.resume","params":{"terminateOnResume":true}}"#),
            r#"{"id":1,"method":"Debugger.resume","params":{}}"#
        );
    }

    #[test]
    fn what_is_not_listed_does_not_pass() {
        assert_eq!(
            answered(r#"{"id":3,"method":"Runtime.nothing"}"#),
            r#"{"error":{"code":-32601,"message":"'Runtime.nothing' wasn't found"},"id":3}"#
        );
        assert!(answered(r#"{"id":3,"method":"Runtime.terminateExecution"}"#).contains("-32000"));
        // Two parsers may take different ones of the two.
        let twice = r#"{"id":3,"method":"Runtime.enable","method":"Runtime.queryObjects"}"#;
        assert!(answered(twice).contains("-32700"));
        assert!(answered("[").contains("-32700"));
        assert!(answered(&"[".repeat(1 << 20)).contains("-32700"));
        assert!(answered(r#"{"method":"Runtime.enable"}"#).contains("-32600"));
        assert!(answered(r#"{"id":4294967297,"method":"Runtime.enable"}"#).contains("-32700"));
    }
}
