//! The one source of time in a guest process.
//!
//! With [`Mitigation::Freeze`] every clock stands still while guest code runs and moves on between turns of the event
//! loop. V8 reads the same clock: its `OS::TimeCurrentMillis` is wrapped by the linker (see `build.rs` of the crates
//! that link, and `platform_clock.rs`).

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// `timingMitigation` of the public API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mitigation {
    /// Clocks do not move while guest code runs.
    #[default]
    Freeze,
    /// Clocks are real.
    Off,
}

/// `process.hrtime()` starts at this value, the same in every process: it tells nothing of the host.
const MONOTONIC_ORIGIN: Duration = Duration::from_secs(1_000);

thread_local! {
    /// Wall time in ms that V8 sees on this thread; 0 on threads that run no guest.
    static GUEST_WALL_MS: Cell<f64> = const { Cell::new(0.0) };
}

/// Wall time in ms for V8 on this thread, when a guest runs here with frozen clocks.
pub fn frozen_wall_ms() -> Option<f64> {
    let frozen = GUEST_WALL_MS.get();
    (frozen != 0.0).then_some(frozen)
}

/// The clock of one process; lives on its thread.
#[derive(Debug)]
pub struct Clock {
    mitigation: Cell<Mitigation>,
    start: Cell<Instant>,
    start_wall: Cell<Duration>,
    elapsed: Cell<Duration>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            mitigation: Cell::default(),
            start: Cell::new(Instant::now()),
            start_wall: Cell::new(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
            elapsed: Cell::new(Duration::ZERO),
        }
    }
}

impl Clock {
    /// Starts the process's time now.
    pub fn restart(&self, mitigation: Mitigation) {
        self.mitigation.set(mitigation);
        self.start.set(Instant::now());
        self.start_wall.set(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        );
        self.advance();
    }

    /// Lets frozen time catch up. Only the event loop calls this, between turns of guest code.
    pub fn advance(&self) {
        self.set_elapsed(self.start.get().elapsed());
    }

    fn set_elapsed(&self, elapsed: Duration) {
        self.elapsed.set(elapsed);
        let frozen = self.mitigation.get() == Mitigation::Freeze;
        let wall = (self.start_wall.get() + elapsed).as_secs_f64() * 1e3;
        GUEST_WALL_MS.set(if frozen { wall.floor() } else { 0.0 });
    }

    /// Lets frozen time move by so much: the guest has waited for it.
    pub fn pass(&self, time: Duration) {
        let reached = self.elapsed.get().saturating_add(time);
        self.set_elapsed(reached.min(self.start.get().elapsed()));
    }

    /// Time since the process started.
    pub fn elapsed(&self) -> Duration {
        match self.mitigation.get() {
            Mitigation::Freeze => self.elapsed.get(),
            Mitigation::Off => self.start.get().elapsed(),
        }
    }

    /// Wall time since the epoch.
    pub fn wall(&self) -> Duration {
        self.start_wall.get() + self.elapsed()
    }

    /// A monotonic time for `process.hrtime`, with an origin of its own.
    pub fn monotonic(&self) -> Duration {
        MONOTONIC_ORIGIN + self.elapsed()
    }

    /// Whole milliseconds since the process started, as libuv counts.
    pub fn loop_now_ms(&self) -> f64 {
        (self.elapsed().as_secs_f64() * 1e3).floor()
    }

    /// The loop's time at a real instant, in whole milliseconds.
    pub fn ms_of(&self, instant: Instant) -> f64 {
        let since = instant.saturating_duration_since(self.start.get());
        (since.as_secs_f64() * 1e3).floor()
    }

    /// [`Self::monotonic`] at a real instant, in whole milliseconds.
    pub fn monotonic_ms_of(&self, instant: Instant) -> f64 {
        MONOTONIC_ORIGIN.as_secs_f64() * 1e3 + self.ms_of(instant)
    }

    /// The real instant at which the loop's time will be `ms`.
    pub fn instant_of(&self, ms: f64) -> Instant {
        let ms = if ms.is_finite() {
            ms.clamp(0.0, f64::from(u32::MAX) * 1e3)
        } else {
            0.0
        };
        self.start.get() + Duration::from_secs_f64(ms / 1e3)
    }

    /// Whether clocks are frozen.
    pub fn mitigation(&self) -> Mitigation {
        self.mitigation.get()
    }
}
