//! Counts of what a guest may have many of: one interface for all of them.
//!
//! Memory and time have ways of their own (`memory.rs`, `watchdog.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Share of a limit, in percent, at which the embedder is warned.
const WARNING_PERCENT: u64 = 80;

/// A limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} limit exceeded: {used} of {configured} (option {option})")]
pub struct LimitError {
    /// What is limited, in words.
    pub limit: &'static str,
    /// Its value.
    pub configured: u64,
    /// What was in use, together with what was asked for.
    pub used: u64,
    /// The option that sets it.
    pub option: &'static str,
}

impl LimitError {
    /// The code for the embedder and the guest.
    pub fn code(&self) -> &'static str {
        "ERR_RESOURCE_BUDGET_EXCEEDED"
    }

    /// The error for the guest.
    pub fn into_throw(self) -> crate::throw::Throw {
        crate::throw::Throw::error(self.code(), self.to_string())
    }
}

/// A limit that is nearly reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitWarning {
    /// The option that sets it.
    pub option: &'static str,
    /// What is in use.
    pub used: u64,
    /// Its value.
    pub max: u64,
}

macro_rules! budgets {
    ($($(#[$text:meta])* $field:ident: $limit:literal, $option:literal, $default:expr;)*) => {
        /// The limits. Each field's default is the public API's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct BudgetLimits {
            $($(#[$text])* pub $field: u64,)*
        }

        impl Default for BudgetLimits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl BudgetLimits {
            /// Name of each option with its value.
            pub fn options(&self) -> Vec<(&'static str, u64)> {
                vec![$(($option, self.$field),)*]
            }

            /// Sets the limit of an option; `false` when there is no such option.
            pub fn set(&mut self, option: &str, value: u64) -> bool {
                match option {
                    $($option => self.$field = value,)*
                    _ => return false,
                }
                true
            }
        }

        /// The counts of one process or one virtual machine. Cheap to share: every count is an atomic.
        #[derive(Debug)]
        pub struct Budgets {
            $($(#[$text])* pub $field: Budget,)*
        }

        impl Budgets {
            /// Counts at zero, with `limits`. `on_warning` hears once of each that is nearly used up.
            pub fn new(limits: BudgetLimits, on_warning: Option<OnWarning>) -> Self {
                Self { $($field: Budget::new($limit, $option, limits.$field, on_warning.clone()),)* }
            }
        }
    };
}

/// Hears of limits that are nearly reached; called on the thread that gets there.
pub type OnWarning = Arc<dyn Fn(LimitWarning) + Send + Sync>;

budgets! {
    /// Bytes written to standard output and standard error together.
    output_bytes: "output", "maxOutputBytes", 256 << 20;
    /// Calls from the guest to functions of the embedder.
    bridge_calls: "bridge call", "maxBridgeCalls", 1_000_000;
    /// Active timers and immediates.
    timers: "timer", "maxTimers", 10_000;
    /// Open handles of the event loop.
    handles: "handle", "maxHandles", 10_000;
    /// Processes that the guest started and that live.
    child_processes: "child process", "maxChildProcesses", 64;
    /// Open file descriptors.
    open_fds: "file descriptor", "maxOpenFds", 1024;
    /// Bytes in the file system.
    filesystem_bytes: "file system", "maxFilesystemBytes", 512 << 20;
    /// Files and directories.
    inodes: "inode", "maxInodes", 262_144;
    /// Sockets.
    sockets: "socket", "maxSockets", 1024;
    /// Connections.
    connections: "connection", "maxConnections", 1024;
    /// Bytes of one HTTP body on its way through the host.
    http_body_bytes: "HTTP body", "maxHttpBodyBytes", 64 << 20;
    /// Contexts of `node:vm`.
    contexts: "context", "maxContexts", 64;
    /// Bytes of source text of one script or module.
    source_bytes: "source text", "maxSourceBytes", 16 << 20;
}

/// Tells once that a limit is nearly reached.
pub struct NearLimit {
    option: &'static str,
    max: u64,
    warned: AtomicBool,
    on_warning: Option<OnWarning>,
}

impl NearLimit {
    /// Tells `on_warning` when `option`, whose value is `max`, is nearly used up.
    pub fn new(option: &'static str, max: u64, on_warning: Option<OnWarning>) -> Self {
        Self {
            option,
            max,
            warned: AtomicBool::new(false),
            on_warning,
        }
    }

    /// What is in use when it tells; `None` when it has told, or when nobody listens.
    pub fn threshold(&self) -> Option<u64> {
        let listens = self.on_warning.is_some() && !self.warned.load(Ordering::Relaxed);
        listens.then(|| self.max.saturating_mul(WARNING_PERCENT).div_ceil(100))
    }

    /// Notes what is in use.
    pub fn look(&self, used: u64) {
        let Some(on_warning) = &self.on_warning else {
            return;
        };
        let near = used.saturating_mul(100) >= self.max.saturating_mul(WARNING_PERCENT);
        if near && !self.warned.swap(true, Ordering::Relaxed) {
            on_warning(LimitWarning {
                option: self.option,
                used,
                max: self.max,
            });
        }
    }
}

/// One count with its limit.
pub struct Budget {
    limit: &'static str,
    max: u64,
    used: AtomicU64,
    near: NearLimit,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}: {} of {}",
            self.near.option,
            self.used(),
            self.max
        )
    }
}

impl Budget {
    fn new(
        limit: &'static str,
        option: &'static str,
        max: u64,
        on_warning: Option<OnWarning>,
    ) -> Self {
        Self {
            limit,
            max,
            used: AtomicU64::new(0),
            near: NearLimit::new(option, max, on_warning),
        }
    }

    /// The limit.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// What is in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The option that sets the limit.
    pub fn option(&self) -> &'static str {
        self.near.option
    }

    /// Takes `amount`.
    ///
    /// # Errors
    /// [`LimitError`] when that is over the limit; nothing is taken then.
    pub fn charge(&self, amount: u64) -> Result<(), LimitError> {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let used = before.saturating_add(amount);
        if used > self.max {
            self.used.fetch_sub(amount, Ordering::Relaxed);
            return Err(self.error(used));
        }
        self.near.look(used);
        Ok(())
    }

    /// Gives `amount` back.
    pub fn release(&self, amount: u64) {
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(used.saturating_sub(amount))
            });
    }

    /// Takes `amount` until the answer is dropped.
    ///
    /// # Errors
    /// As [`Self::charge`].
    pub fn hold(&self, amount: u64) -> Result<Held<'_>, LimitError> {
        self.charge(amount)?;
        Ok(Held {
            budget: self,
            amount,
        })
    }

    /// Notes that `used` are in use, counted elsewhere.
    ///
    /// # Errors
    /// [`LimitError`] when that is over the limit.
    pub fn observe(&self, used: u64) -> Result<(), LimitError> {
        self.used.store(used, Ordering::Relaxed);
        if used > self.max {
            return Err(self.error(used));
        }
        self.near.look(used);
        Ok(())
    }

    fn error(&self, used: u64) -> LimitError {
        LimitError {
            limit: self.limit,
            configured: self.max,
            used,
            option: self.near.option,
        }
    }
}

/// A part of a budget; given back when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    budget: &'a Budget,
    amount: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.release(self.amount);
    }
}

/// The budgets of the process on this isolate; without limits until the process has its own.
pub struct Installed(std::cell::RefCell<std::rc::Rc<Budgets>>);

impl Default for Installed {
    fn default() -> Self {
        let unlimited = BudgetLimits::default().options().into_iter().fold(
            BudgetLimits::default(),
            |mut limits, (option, _)| {
                limits.set(option, u64::MAX);
                limits
            },
        );
        Self(std::cell::RefCell::new(std::rc::Rc::new(Budgets::new(
            unlimited, None,
        ))))
    }
}

impl Installed {
    /// Gives the process its budgets.
    pub fn install(&self, budgets: Budgets) {
        self.0.replace(std::rc::Rc::new(budgets));
    }

    /// The budgets.
    pub fn get(&self) -> std::rc::Rc<Budgets> {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_up_to_the_limit_and_names_the_option() {
        let budgets = Budgets::new(
            BudgetLimits {
                timers: 10,
                ..BudgetLimits::default()
            },
            None,
        );
        assert!(budgets.timers.charge(10).is_ok());
        let error = budgets.timers.charge(1).unwrap_err();
        assert_eq!(
            (error.configured, error.used, error.option),
            (10, 11, "maxTimers")
        );
        assert_eq!(
            error.to_string(),
            "timer limit exceeded: 11 of 10 (option maxTimers)"
        );
        budgets.timers.release(3);
        {
            let _held = budgets.timers.hold(3).unwrap();
            assert_eq!(budgets.timers.used(), 10);
        }
        assert_eq!(budgets.timers.used(), 7);
    }

    #[test]
    fn warns_once_at_eighty_percent() {
        let warnings = Arc::new(AtomicU64::new(0));
        let count = warnings.clone();
        let on_warning: OnWarning = Arc::new(move |warning| {
            assert_eq!(warning.option, "maxHandles");
            count.fetch_add(1, Ordering::Relaxed);
        });
        let budgets = Budgets::new(
            BudgetLimits {
                handles: 10,
                ..BudgetLimits::default()
            },
            Some(on_warning),
        );
        for _ in 0..10 {
            assert!(budgets.handles.charge(1).is_ok());
        }
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn knows_every_option() {
        let mut limits = BudgetLimits::default();
        for (option, _) in limits.options() {
            assert!(limits.set(option, 1));
        }
        assert!(!limits.set("maxUnknown", 1));
        assert!(limits.options().iter().all(|(_, value)| *value == 1));
    }
}
