//! The way out of a VM's network: does what the kernel's gate has allowed, with the host's sockets.
//!
//! ```text
//!   guest's socket --> kernel's gate --> CheckedAddr --> HostNetwork
//!        |                                                 |  dial.rs       connects, or tells why not
//!        |                                                 |  names.rs      asks the host's resolver, or given servers
//!        |                                                 |  datagrams.rs  one host socket for one of the guest's
//!        +--- kernel's buffers <--- relay.rs ---> host's socket
//! ```
//! All of it runs on a few threads of its own ([`io`]), never on a guest's thread or Node's. Nothing here decides what may
//! be reached, and nothing dials what is not a [`CheckedAddr`]. Environment variables are not looked at.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented
)]

mod bell;
mod datagrams;
mod dial;
mod errors;
mod io;
mod names;
mod relay;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use secure_exec_kernel::{
    Answered, CheckedAddr, CheckedName, Datagrams, Dial, Egress, Errno, Inbox, Resolved,
};
use tokio_util::sync::CancellationToken;

use crate::names::Names;

/// As long as Linux tries by default.
const CONNECT_LIMIT: Duration = Duration::from_secs(127);

/// How a VM reaches the outside.
#[derive(Clone, Debug)]
pub struct HostNetworkOptions {
    /// DNS servers that are asked for names; without any it is the host's own resolver.
    pub servers: Vec<SocketAddr>,
    /// How long a connection may take to be opened.
    pub connect_limit: Duration,
}

impl Default for HostNetworkOptions {
    fn default() -> Self {
        HostNetworkOptions {
            servers: Vec::new(),
            connect_limit: CONNECT_LIMIT,
        }
    }
}

/// The host's network, as one VM uses it. Dropping it ends all that is open.
pub struct HostNetwork {
    shared: Arc<Shared>,
}

/// What tasks need to know of their VM.
struct Shared {
    /// The VM has ended.
    ended: CancellationToken,
    connect_limit: Duration,
    next_port: AtomicU16,
    names: Names,
}

impl HostNetwork {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(options: HostNetworkOptions) -> HostNetwork {
        HostNetwork {
            shared: Arc::new(Shared {
                ended: CancellationToken::new(),
                connect_limit: options.connect_limit,
                next_port: AtomicU16::new(0),
                names: Names::new(options.servers),
            }),
        }
    }

    /// Runs `task` until it ends or the VM does; `false` when there is no thread for it.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Some(io) = io::handle() else {
            return false;
        };
        let ended = self.shared.ended.clone();
        io.spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = task => {}
            }
        });
        true
    }
}

impl Shared {
    /// A port for the guest to see: those of the host's own sockets are nobody's business.
    fn shown_port(&self) -> u16 {
        const FIRST: u16 = 32_768;
        const COUNT: u16 = 28_232;
        FIRST + self.next_port.fetch_add(1, Ordering::Relaxed) % COUNT
    }
}

impl Egress for HostNetwork {
    fn connect(&self, to: CheckedAddr, dial: Dial) {
        // A dial that is dropped is refused.
        self.spawn(dial::dial(self.shared.clone(), to.get(), dial));
    }

    fn resolve(&self, name: CheckedName, resolved: Resolved) {
        let mut answer = names::Answer::new(resolved, Err(Errno::EAI_AGAIN));
        let shared = self.shared.clone();
        self.spawn(async move {
            answer.give(shared.names.resolve(name.as_str()).await);
        });
    }

    fn query(&self, name: CheckedName, kind: u16, answered: Answered) {
        let mut answer = names::Answer::new(answered, Err(Errno::ECONNREFUSED));
        let shared = self.shared.clone();
        self.spawn(async move {
            answer.give(shared.names.query(name.as_str(), kind).await);
        });
    }

    fn datagrams(&self, v6: bool, inbox: Inbox) -> Result<Box<dyn Datagrams>, Errno> {
        let (way, task) = datagrams::open(v6, inbox);
        if self.spawn(task) {
            Ok(Box::new(way))
        } else {
            Err(Errno::ENOBUFS)
        }
    }

    fn close(&self) {
        self.shared.ended.cancel();
    }
}

impl Drop for HostNetwork {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for HostNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostNetwork").finish_non_exhaustive()
    }
}
