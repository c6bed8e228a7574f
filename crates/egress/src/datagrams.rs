//! A guest's datagrams: one socket of the host's for one of the guest's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use secure_exec_kernel::{CheckedAddr, Datagrams, Inbox};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::io::with_buffer;

/// Datagrams and bytes that wait to be sent; what is beyond is lost.
const MAX_QUEUED: usize = 256;
const MAX_QUEUED_BYTES: usize = 208 << 10;

struct Outgoing {
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// The guest's side of it; when it is dropped the socket closes.
pub(crate) struct Way {
    queue: Sender<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
}

impl Datagrams for Way {
    fn send(&self, to: CheckedAddr, data: &[u8]) {
        let taken = self
            .queued_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
                let queued = queued.saturating_add(data.len());
                (queued <= MAX_QUEUED_BYTES).then_some(queued)
            });
        if taken.is_err() {
            return;
        }
        let outgoing = Outgoing {
            to: to.get(),
            bytes: data.to_vec(),
        };
        if self.queue.try_send(outgoing).is_err() {
            self.queued_bytes.fetch_sub(data.len(), Ordering::AcqRel);
        }
    }
}

/// A way for datagrams, and the task that carries them.
pub(crate) fn open(v6: bool, inbox: Inbox) -> (Way, impl Future<Output = ()> + Send + 'static) {
    let (queue, outgoing) = channel(MAX_QUEUED);
    let queued_bytes = Arc::<AtomicUsize>::default();
    let way = Way {
        queue,
        queued_bytes: queued_bytes.clone(),
    };
    (way, carry(v6, inbox, outgoing, queued_bytes))
}

async fn carry(
    v6: bool,
    inbox: Inbox,
    mut outgoing: Receiver<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
) {
    let any = if v6 {
        SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)
    } else {
        SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)
    };
    let Ok(socket) = UdpSocket::bind(any).await else {
        // Datagrams may be lost: these are.
        return;
    };
    loop {
        tokio::select! {
            next = outgoing.recv() => {
                let Some(Outgoing { to, bytes }) = next else {
                    return;
                };
                queued_bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
                // Whether it arrives is not known either way.
                let _ = socket.send_to(&bytes, to).await;
            }
            ready = socket.readable() => {
                if ready.is_err() {
                    return;
                }
                with_buffer(|buffer| {
                    // An error tells of an earlier datagram.
                    if let Ok((length, from)) = socket.try_recv_from(buffer) {
                        inbox.deliver(from, buffer.get(..length).unwrap_or_default());
                    }
                });
                tokio::task::consume_budget().await;
            }
        }
    }
}
