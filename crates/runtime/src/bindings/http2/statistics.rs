//! Entries of `perf_hooks` for sessions and streams that have ended.

use std::rc::Rc;
use std::time::Duration;

use super::nghttp2::Role;
use super::wire::{SessionStatistics, StreamStatistics};
use crate::bindings::performance;
use crate::env::Env;
use crate::realm::set;

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Tells of a stream, if anybody observes.
#[expect(
    clippy::cast_precision_loss,
    reason = "JavaScript's numbers are doubles"
)]
pub fn stream_ended(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, ended: StreamStatistics) {
    let since = |time: Option<Duration>| {
        time.map_or(0.0, |time| milliseconds(time.saturating_sub(ended.start)))
    };
    let details = vec![
        ("bytesRead", ended.received_bytes as f64),
        ("bytesWritten", ended.sent_bytes as f64),
        ("id", f64::from(ended.id)),
        ("timeToFirstByte", since(ended.first_byte)),
        ("timeToFirstByteSent", since(ended.first_byte_sent)),
        ("timeToFirstHeader", since(ended.first_header)),
    ];
    notify(
        scope,
        env,
        "Http2Stream",
        (ended.start, ended.end),
        details,
        None,
    );
}

/// Tells of a session, if anybody observes.
#[expect(
    clippy::cast_precision_loss,
    reason = "JavaScript's numbers are doubles"
)]
pub fn session_ended(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    role: Role,
    ended: SessionStatistics,
) {
    let details = vec![
        ("bytesWritten", ended.data_sent as f64),
        ("bytesRead", ended.data_received as f64),
        ("framesReceived", ended.frame_count as f64),
        ("framesSent", ended.frame_sent as f64),
        ("maxConcurrentStreams", ended.max_concurrent_streams as f64),
        ("pingRTT", ended.ping_rtt.as_secs_f64() * 1e9),
        ("streamAverageDuration", ended.stream_average_duration),
        ("streamCount", ended.stream_count as f64),
    ];
    let kind = match role {
        Role::Server => "server",
        Role::Client => "client",
    };
    let times = (ended.start, ended.end);
    notify(scope, env, "Http2Session", times, details, Some(kind));
}

fn notify(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    name: &'static str,
    (start, end): (Duration, Duration),
    details: Vec<(&'static str, f64)>,
    kind: Option<&'static str>,
) {
    if !performance::observes_http2(scope, env) {
        return;
    }
    env.event_loop.immediate(Box::new(move |scope, env| {
        if !performance::observes_http2(scope, env) {
            return;
        }
        let object = v8::Object::new(scope);
        for (key, value) in details {
            let value = v8::Number::new(scope, value).into();
            set(scope, object, key, value);
        }
        if let Some(kind) = kind.and_then(|kind| v8::String::new(scope, kind)) {
            set(scope, object, "type", kind.into());
        }
        let duration = milliseconds(end.saturating_sub(start));
        performance::enqueue(
            scope,
            env,
            name,
            "http2",
            (milliseconds(start), duration),
            object,
        );
    }));
}
