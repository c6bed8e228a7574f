//! The CPU time of everything that one command of the host started: its limit is one for the whole tree.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Tree {
    limit: Option<Duration>,
    /// Nanoseconds that members have published.
    used: AtomicU64,
    members: AtomicU32,
    /// Isolates that wait for programs which took their place.
    replaced: AtomicU32,
}

/// An isolate that waits for the program that took its place in the process (`process.execve`).
#[derive(Debug)]
pub struct Replaced(Arc<Tree>);

impl Replaced {
    /// One more; `None` when a tree has too many.
    pub fn new(tree: &Arc<Tree>) -> Option<Self> {
        const MOST: u32 = 16;
        let count = |count: u32| (count < MOST).then_some(count + 1);
        tree.replaced
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count)
            .ok()?;
        Some(Self(tree.clone()))
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        self.0.replaced.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Tree {
    /// An account at zero.
    pub fn new(limit: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            ..Self::default()
        })
    }

    /// The limit.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// What its members have used, as far as they have published it.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// What is left; `None` without a limit.
    pub fn left(&self) -> Option<Duration> {
        Some(self.limit?.saturating_sub(self.used()))
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// How many threads may use time at once.
    pub fn members(&self) -> u32 {
        self.members.load(Ordering::Relaxed).max(1)
    }
}

/// One thread's part of a tree.
#[derive(Debug)]
pub struct Member {
    tree: Arc<Tree>,
    /// Nanoseconds of this member that are in the tree's account.
    published: AtomicU64,
}

impl Member {
    /// A thread that begins to use time.
    pub fn new(tree: Arc<Tree>) -> Arc<Self> {
        tree.members.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            tree,
            published: AtomicU64::new(0),
        })
    }

    /// The tree.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Says how much this member has used in all. From any thread.
    pub fn publish(&self, used: Duration) {
        let used = nanos(used);
        let before = self.published.fetch_max(used, Ordering::Relaxed);
        self.tree
            .used
            .fetch_add(used.saturating_sub(before), Ordering::Relaxed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tree.members.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tree of the process on this isolate; without a limit until the process has one.
#[derive(Default)]
pub struct Current(RefCell<Arc<Tree>>);

impl Current {
    /// Sets it.
    pub fn set(&self, tree: Arc<Tree>) {
        self.0.replace(tree);
    }

    /// The tree.
    pub fn get(&self) -> Arc<Tree> {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_add_up() {
        let tree = Tree::new(Some(Duration::from_millis(10)));
        let (one, two) = (Member::new(tree.clone()), Member::new(tree.clone()));
        one.publish(Duration::from_millis(4));
        one.publish(Duration::from_millis(4));
        two.publish(Duration::from_millis(5));
        assert_eq!(tree.left(), Some(Duration::from_millis(1)));
        assert_eq!(tree.members(), 2);
        drop(two);
        one.publish(Duration::from_millis(6));
        assert!(tree.is_spent());
        assert_eq!(tree.members(), 1);
    }
}
