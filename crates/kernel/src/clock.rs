//! The VM's clock, the only source of time in the guest's world.
//!
//! ```text
//!   host clock --real_now()--> advance_to() --> [ now_ns ] --> monotonic_ns(), wall_ns(), vm_now_ms()
//!                (loop turns only, when frozen)    atomic
//! ```
//!
//! A frozen clock stands still until the runtime moves it at a turn of the event loop; a real one reads the host's
//! clock each time. Wall time is the origin's wall time plus monotonic time, so that both agree and neither runs
//! backwards; corrections that the host makes to its wall clock after the VM's start are not followed.
//! No other file of this crate may read the host's clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_MILLI: f64 = 1_000_000.0;

/// How a [`Clock`] moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// Stands still while guest code runs; moves only through [`Clock::advance_to`].
    Frozen,
    /// Follows the host's monotonic clock.
    Real,
    /// Moves only through [`Clock::advance`]; for tests.
    Manual,
}

/// A moment of the host's clock, measured from one clock's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RealNow(u64);

/// Seconds and nanoseconds since the Unix epoch; `nanos` is always below 10^9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpec {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanos: u32,
}

impl TimeSpec {
    /// Stands in an image for "when the VM was started".
    pub(crate) const BOOT: TimeSpec = TimeSpec {
        seconds: 0,
        nanos: u32::MAX,
    };

    /// From nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> TimeSpec {
        TimeSpec {
            seconds: nanos.div_euclid(NANOS_PER_SECOND),
            nanos: nanos.rem_euclid(NANOS_PER_SECOND) as u32,
        }
    }

    /// From the seconds that Node passes to `utimes`: microsecond steps, as libuv rounds them.
    #[must_use]
    pub fn from_seconds_f64(seconds: f64) -> TimeSpec {
        if !seconds.is_finite() {
            return TimeSpec {
                seconds: 0,
                nanos: 0,
            };
        }
        // Float casts saturate, so a huge value stays in range.
        let micros = (seconds * 1e6) as i64;
        TimeSpec {
            seconds: micros.div_euclid(MICROS_PER_SECOND),
            nanos: micros.rem_euclid(MICROS_PER_SECOND) as u32 * 1000,
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_millis_f64(self) -> f64 {
        self.seconds as f64 * 1000.0 + f64::from(self.nanos) / NANOS_PER_MILLI
    }
}

/// See the module's header.
#[derive(Debug)]
pub struct Clock {
    mode: ClockMode,
    origin: Instant,
    origin_wall_ns: i64,
    now_ns: AtomicU64,
}

impl Clock {
    /// A clock whose origin is this moment.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the host's clocks"
    )]
    pub fn new(mode: ClockMode) -> Clock {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => nanos_i64(after),
            Err(before) => -nanos_i64(before.duration()),
        };
        Clock {
            mode,
            origin: Instant::now(),
            origin_wall_ns: wall,
            now_ns: AtomicU64::new(0),
        }
    }

    /// A clock for tests, which starts at the given wall time.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the host's clocks"
    )]
    pub fn manual(wall_ns: i64) -> Clock {
        Clock {
            mode: ClockMode::Manual,
            origin: Instant::now(),
            origin_wall_ns: wall_ns,
            now_ns: AtomicU64::new(0),
        }
    }

    /// Another clock of the same origin and mode that moves on its own: one per process, so that a process that turns
    /// its loop does not move time under a process that is running guest code.
    #[must_use]
    pub fn fork(&self) -> Clock {
        Clock {
            mode: self.mode,
            origin: self.origin,
            origin_wall_ns: self.origin_wall_ns,
            now_ns: AtomicU64::new(self.monotonic_ns()),
        }
    }

    /// How this clock moves.
    #[must_use]
    pub fn mode(&self) -> ClockMode {
        self.mode
    }

    /// The host's clock as this clock counts; does not move the clock.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the host's clocks"
    )]
    pub fn real_now(&self) -> RealNow {
        match self.mode {
            ClockMode::Manual => RealNow(self.now_ns.load(Ordering::Acquire)),
            ClockMode::Frozen | ClockMode::Real => RealNow(
                u64::try_from(
                    Instant::now()
                        .saturating_duration_since(self.origin)
                        .as_nanos(),
                )
                .unwrap_or(u64::MAX),
            ),
        }
    }

    /// Moves a frozen clock forward to a moment of the host's clock; never backwards. The runtime calls it at turns
    /// of the event loop.
    pub fn advance_to(&self, now: RealNow) {
        self.now_ns.fetch_max(now.0, Ordering::AcqRel);
    }

    /// `advance_to(real_now())`.
    pub fn catch_up(&self) {
        self.advance_to(self.real_now());
    }

    /// Moves the clock forward by so much.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns.fetch_add(by, Ordering::AcqRel);
    }

    /// Nanoseconds since the clock's origin; never goes backwards.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        match self.mode {
            ClockMode::Real => self.real_now().0,
            ClockMode::Frozen | ClockMode::Manual => self.now_ns.load(Ordering::Acquire),
        }
    }

    /// Wall time in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn wall_ns(&self) -> i64 {
        let monotonic = i64::try_from(self.monotonic_ns()).unwrap_or(i64::MAX);
        self.origin_wall_ns.saturating_add(monotonic)
    }

    /// Wall time, as `Date` counts it, in nanoseconds.
    #[must_use]
    pub fn vm_now_ns(&self) -> i64 {
        self.wall_ns()
    }

    /// Wall time in milliseconds, as `Date.now()` counts before it drops the fraction.
    #[must_use]
    pub fn vm_now_ms(&self) -> f64 {
        self.wall_ns() as f64 / NANOS_PER_MILLI
    }

    /// Wall time of the clock's origin in milliseconds, as `performance.timeOrigin`.
    #[must_use]
    pub fn origin_ms(&self) -> f64 {
        self.origin_wall_ns as f64 / NANOS_PER_MILLI
    }

    /// Wall time as file times are kept.
    #[must_use]
    pub fn time(&self) -> TimeSpec {
        TimeSpec::from_nanos(self.wall_ns())
    }
}

fn nanos_i64(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_moves_only_when_told() {
        let clock = Clock::new(ClockMode::Frozen);
        let before = clock.wall_ns();
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(clock.wall_ns(), before);
        let later = clock.real_now();
        clock.advance_to(later);
        assert!(clock.wall_ns() >= before + 3_000_000);
        let moved = clock.monotonic_ns();
        clock.advance_to(RealNow(1));
        assert_eq!(clock.monotonic_ns(), moved);
    }

    #[test]
    fn real_moves() {
        let clock = Clock::new(ClockMode::Real);
        let before = clock.monotonic_ns();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.monotonic_ns() >= before + 2_000_000);
    }

    #[test]
    fn forks_move_apart() {
        let clock = Clock::manual(5_000_000_000);
        let fork = clock.fork();
        fork.advance(Duration::from_secs(1));
        assert_eq!(clock.vm_now_ns(), 5_000_000_000);
        assert_eq!(fork.vm_now_ms(), 6000.0);
    }

    #[test]
    fn time_before_the_epoch() {
        assert_eq!(
            TimeSpec::from_nanos(-1),
            TimeSpec {
                seconds: -1,
                nanos: 999_999_999
            }
        );
        assert_eq!(
            TimeSpec::from_seconds_f64(-0.5),
            TimeSpec {
                seconds: -1,
                nanos: 500_000_000
            }
        );
        assert_eq!(
            TimeSpec::from_seconds_f64(f64::NAN),
            TimeSpec {
                seconds: 0,
                nanos: 0
            }
        );
        assert_eq!(
            TimeSpec::from_seconds_f64(1e300).seconds,
            i64::MAX / 1_000_000
        );
        assert_eq!(TimeSpec::from_seconds_f64(1.5).nanos, 500_000_000);
    }
}
