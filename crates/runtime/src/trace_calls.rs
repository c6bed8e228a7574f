//! What `--trace-exit` and `--trace-sync-io` write: who called, with the stack. Sources: `src/env.cc`, `src/node_errors.cc`.

use std::cell::Cell;

use crate::bindings::options;
use crate::env::Env;
use crate::fatal_exception::frames;
use crate::threads::Thread;

/// Frames of `--trace-sync-io`.
const SYNC_FRAMES: usize = 10;
/// Frames that a stack can have at most here, whatever `--stack-trace-limit` says.
const MAX_FRAMES: i64 = 200;

/// Whether synchronous calls are told of: the program's first turn may make them.
#[derive(Default)]
pub struct SyncTrace(Cell<bool>);

impl Env {
    /// Tells that the process exits with `code`, and where from.
    pub fn trace_exit(&self, scope: &mut v8::PinScope<'_, '_>, code: i32) {
        let thread = self.extension::<Thread>();
        let pid = self.options().pid;
        let who = match thread.worker() {
            Some(worker) => format!("(node:{pid}, thread:{})", worker.id),
            None => format!("(node:{pid})"),
        };
        let limit = options::number(self, "--stack-trace-limit").unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, reason = "clamped right away")]
        let limit = (limit as i64).clamp(0, MAX_FRAMES);
        let text = format!("{who} WARNING: Exited the environment with code {code}\n");
        self.write_with_stack(scope, text, usize::try_from(limit).unwrap_or(0));
    }

    /// From now on, or no longer, `--trace-sync-io` tells of synchronous calls.
    pub fn set_sync_trace(&self, active: bool) {
        let active = active && options::flag(self, "--trace-sync-io");
        self.extension::<SyncTrace>().0.set(active);
    }

    /// Tells of a synchronous call that is made now.
    pub fn trace_sync_call(&self, scope: &mut v8::PinScope<'_, '_>) {
        if self.extension::<SyncTrace>().0.get() {
            let pid = self.options().pid;
            let text = format!("(node:{pid}) WARNING: Detected use of sync API\n");
            self.write_with_stack(scope, text, SYNC_FRAMES);
        }
    }

    /// Writes a text and the JavaScript stack to standard error.
    pub(crate) fn write_with_stack(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        mut text: String,
        most: usize,
    ) {
        v8::scope!(let scope, scope);
        if let Some(stack) = v8::StackTrace::current_stack_trace(scope, most) {
            for frame in frames(scope, stack, most) {
                text.push_str(&frame);
                text.push('\n');
            }
        }
        self.write_stderr(&text);
    }
}
