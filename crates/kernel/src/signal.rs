//! Signal numbers of Linux and what they do to a process that does not catch them.

#![allow(missing_docs, reason = "named after the signals")]

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGQUIT: i32 = 3;
pub const SIGABRT: i32 = 6;
pub const SIGKILL: i32 = 9;
pub const SIGPIPE: i32 = 13;
pub const SIGALRM: i32 = 14;
pub const SIGTERM: i32 = 15;
pub const SIGCHLD: i32 = 17;
pub const SIGCONT: i32 = 18;
pub const SIGSTOP: i32 = 19;
/// The size of the terminal has changed.
pub const SIGWINCH: i32 = 28;

/// The highest signal number.
pub const MAX_SIGNAL: i32 = 64;

/// CHLD, CONT, URG and WINCH do nothing; STOP, TSTP, TTIN and TTOU would stop a process, which no process here is.
const HARMLESS: [i32; 8] = [SIGCHLD, SIGCONT, 23, 28, SIGSTOP, 20, 21, 22];

/// Names by number, from 1, without `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// The signals of `numbers`; others than 1 to 64 are left out.
    #[must_use]
    pub fn of(numbers: &[i32]) -> SignalSet {
        let mut set = SignalSet::default();
        for number in numbers {
            set.insert(*number);
        }
        set
    }

    fn bit(signal: i32) -> u64 {
        match u32::try_from(signal) {
            Ok(number @ 1..=64) => 1 << (number - 1),
            _ => 0,
        }
    }

    /// Adds a signal.
    pub fn insert(&mut self, signal: i32) {
        self.0 |= SignalSet::bit(signal);
    }

    /// Takes a signal out.
    pub fn remove(&mut self, signal: i32) {
        self.0 &= !SignalSet::bit(signal);
    }

    /// Whether a signal is in it.
    #[must_use]
    pub fn contains(self, signal: i32) -> bool {
        self.0 & SignalSet::bit(signal) != 0
    }
}

/// Whether a process may catch or ignore a signal.
#[must_use]
pub fn can_catch(signal: i32) -> bool {
    (1..=MAX_SIGNAL).contains(&signal) && signal != SIGKILL && signal != SIGSTOP
}

/// Whether a signal ends a process that neither catches nor ignores it.
#[must_use]
pub fn ends_by_default(signal: i32) -> bool {
    (1..=MAX_SIGNAL).contains(&signal) && !HARMLESS.contains(&signal)
}

/// The name of a signal, as `KILL`.
#[must_use]
pub fn signal_name(signal: i32) -> Option<&'static str> {
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    NAMES.get(index).copied()
}

/// The number of a signal by its number or its name, with or without `SIG`, in any case; 0 is no signal but allowed.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=MAX_SIGNAL).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let index = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(index + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(signal_name(SIGTERM), Some("TERM"));
        assert_eq!(signal_name(0), None);
        assert_eq!(signal_number("sigkill"), Some(SIGKILL));
        assert_eq!(signal_number("CHLD"), Some(SIGCHLD));
        assert_eq!(signal_number("9"), Some(SIGKILL));
        assert_eq!(signal_number("65"), None);
        assert_eq!(signal_number("NOPE"), None);
    }

    #[test]
    fn default_actions() {
        assert!(ends_by_default(SIGTERM) && ends_by_default(SIGPIPE));
        assert!(!ends_by_default(SIGCHLD) && !ends_by_default(0));
        assert!(!can_catch(SIGKILL) && can_catch(SIGCHLD));
    }

    #[test]
    fn sets() {
        let mut set = SignalSet::of(&[SIGINT, 64, 65, 0, -3]);
        assert!(set.contains(SIGINT) && set.contains(64));
        assert!(!set.contains(65) && !set.contains(0));
        set.remove(SIGINT);
        assert!(!set.contains(SIGINT));
    }
}
