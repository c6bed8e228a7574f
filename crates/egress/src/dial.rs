//! Opens a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use secure_exec_kernel::{Dial, Errno};
use tokio::net::{TcpSocket, TcpStream};

use crate::Shared;
use crate::bell::Bell;
use crate::errors::errno;
use crate::relay::relay;

/// What guests see as their own address towards the outside: the host's is not theirs to know.
const SHOWN_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SHOWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x15);

/// Dials, and carries bytes until the connection ends.
pub(crate) async fn dial(shared: Arc<Shared>, to: SocketAddr, dial: Dial) {
    let given_up = Bell::default();
    dial.on_given_up(given_up.wake());
    let opened = tokio::select! {
        biased;
        () = given_up.rung() => return,
        opened = tokio::time::timeout(shared.connect_limit, open(to)) => opened,
    };
    let stream = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return dial.refused(errno(&error)),
        Err(_) => return dial.refused(Errno::ETIMEDOUT),
    };
    let own: IpAddr = if to.is_ipv6() {
        SHOWN_V6.into()
    } else {
        SHOWN_V4.into()
    };
    let own = SocketAddr::new(own, shared.shown_port());
    if let Some(end) = dial.established(own) {
        relay(stream, end).await;
    }
}

async fn open(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    let stream = socket.connect(to).await?;
    // What comes from the guest was gathered there.
    stream.set_nodelay(true)?;
    Ok(stream)
}
