//! A process's outcome as a JavaScript object. Exports cross in their encoded form; `lib/values.ts` builds them.

use std::time::Duration;

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use secure_exec_runtime::api::{Captured, Outcome};

/// An uncaught error of the guest.
#[napi(object, object_from_js = false)]
pub struct NativeGuestError {
    /// Its class.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Its stack.
    pub stack: String,
    /// Its code.
    pub code: Option<String>,
}

/// Why exports did not cross.
#[napi(object, object_from_js = false)]
pub struct NativeMarshalError {
    /// The public error code.
    pub code: String,
    /// What was asked and what the limit is.
    pub message: String,
}

/// How a process ended.
#[napi(object, object_from_js = false)]
pub struct NativeOutcome {
    /// Why.
    pub reason: String,
    /// Its exit code.
    pub code: i32,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// One line on what went wrong.
    pub error_message: Option<String>,
    /// The uncaught error.
    pub error: Option<NativeGuestError>,
    /// Captured standard output, as text.
    pub stdout: String,
    /// Bytes of it that were not kept.
    pub stdout_dropped: f64,
    /// Captured standard error, as text.
    pub stderr: String,
    /// Bytes of it that were not kept.
    pub stderr_dropped: f64,
    /// CPU time in milliseconds.
    pub cpu_ms: f64,
    /// Wall time in milliseconds.
    pub wall_ms: f64,
    /// The most that its heap held, in bytes.
    pub peak_heap_bytes: f64,
    /// Its exports, encoded.
    pub exports: Option<Buffer>,
    /// Why its exports did not cross.
    pub exports_error: Option<NativeMarshalError>,
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A count as JavaScript's number; exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of bytes stay far below 2^53"
)]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// Captured bytes as text, as WHATWG's decoder reads them. A character that was cut in two is left out.
fn text(captured: Captured) -> String {
    let Captured { bytes, dropped, .. } = captured;
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return text,
        Err(error) => error.into_bytes(),
    };
    let cut = match bytes.utf8_chunks().last() {
        Some(last) if dropped > 0 && is_cut(last.invalid()) => last.invalid().len(),
        _ => 0,
    };
    let whole = bytes.len().saturating_sub(cut);
    String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default()).into_owned()
}

/// Whether more bytes could make a character of it.
fn is_cut(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

impl From<Outcome> for NativeOutcome {
    fn from(outcome: Outcome) -> Self {
        let (exports, exports_error) = match outcome.exports {
            None => (None, None),
            Some(Ok(value)) => (Some(value.into_bytes().into()), None),
            Some(Err(error)) => (
                None,
                Some(NativeMarshalError {
                    code: error.code.to_owned(),
                    message: error.message,
                }),
            ),
        };
        Self {
            reason: outcome.reason.as_str().to_owned(),
            code: outcome.code,
            signal: outcome.signal,
            error_message: outcome.error_message,
            error: outcome.error.map(|error| NativeGuestError {
                name: error.name,
                message: error.message,
                stack: error.stack,
                code: error.code,
            }),
            stdout_dropped: number(outcome.stdout.dropped),
            stdout: text(outcome.stdout),
            stderr_dropped: number(outcome.stderr.dropped),
            stderr: text(outcome.stderr),
            cpu_ms: millis(outcome.usage.cpu),
            wall_ms: millis(outcome.usage.wall),
            peak_heap_bytes: number(outcome.usage.peak_heap_bytes as u64),
            exports,
            exports_error,
        }
    }
}
