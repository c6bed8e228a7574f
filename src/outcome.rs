//! A process's outcome as a JavaScript object. Exports cross in their encoded form; `lib/values.ts` builds them.

use std::time::Duration;

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use secure_exec_runtime::api::Outcome;

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
    /// Captured standard output.
    pub stdout: Buffer,
    /// Bytes of it that were not kept.
    pub stdout_dropped: f64,
    /// Captured standard error.
    pub stderr: Buffer,
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
            stdout: outcome.stdout.bytes.into(),
            stdout_dropped: number(outcome.stdout.dropped),
            stderr: outcome.stderr.bytes.into(),
            stderr_dropped: number(outcome.stderr.dropped),
            cpu_ms: millis(outcome.usage.cpu),
            wall_ms: millis(outcome.usage.wall),
            peak_heap_bytes: number(outcome.usage.peak_heap_bytes as u64),
            exports,
            exports_error,
        }
    }
}
