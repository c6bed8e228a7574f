//! Lets a task wait for one of the kernel's callbacks.

use std::sync::Arc;

use secure_exec_kernel::Wake;
use tokio::sync::Notify;

/// Rung by callbacks; remembers one ring that nobody waited for.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    /// A callback that rings.
    pub fn wake(&self) -> Wake {
        let bell = self.0.clone();
        Box::new(move || bell.notify_one())
    }

    /// Until it rings.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}
