//! Carries bytes between the kernel's end of a connection and the host's socket.
//!
//! ```text
//!   guest --> [256 KiB] --> outbound --> host's socket --> peer
//!   guest <-- [256 KiB] <-- inbound  <-- host's socket <-- peer
//! ```
//! Neither way takes bytes that the other side has no room for, but for what is left of one chunk: a peer that does not
//! read makes the guest wait, a guest that does not read makes the peer wait.

use std::net::Shutdown;
use std::time::Duration;

use secure_exec_kernel::{Errno, StreamEnd};
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::bell::Bell;
use crate::errors::errno;
use crate::io::with_buffer;

/// How long what a guest wrote may take to leave after the guest has closed.
const LINGER: Duration = Duration::from_secs(30);

/// The host's socket; closed with a reset unless both ways ended well.
struct HostEnd {
    stream: TcpStream,
    ended_well: bool,
}

impl Drop for HostEnd {
    fn drop(&mut self) {
        if !self.ended_well {
            // Without it the close is an orderly one, which tells the peer something that is not so.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Until both ways have ended, or one of them has failed.
pub(crate) async fn relay(stream: TcpStream, end: StreamEnd) {
    let mut host = HostEnd {
        stream,
        ended_well: false,
    };
    match carry(&host.stream, &end).await {
        Ok(()) => host.ended_well = true,
        Err(errno) => end.fail(errno),
    }
}

async fn carry(stream: &TcpStream, end: &StreamEnd) -> Result<(), Errno> {
    let closed = Bell::default();
    end.on_peer_closed(closed.wake());
    let outbound = outbound(stream, end);
    let inbound = inbound(stream, end);
    tokio::pin!(outbound, inbound);
    let (mut out_ended, mut in_ended) = (false, false);
    loop {
        tokio::select! {
            done = &mut outbound, if !out_ended => {
                done?;
                out_ended = true;
            }
            done = &mut inbound, if !in_ended => {
                done?;
                in_ended = true;
            }
            () = closed.rung() => {
                // Nobody reads any more; what was written still goes out.
                if out_ended {
                    return Ok(());
                }
                return tokio::time::timeout(LINGER, outbound).await.unwrap_or(Err(Errno::ETIMEDOUT));
            }
        }
        if out_ended && in_ended {
            return Ok(());
        }
    }
}

/// What became of a chunk.
enum Step {
    Moved,
    /// Bytes that the receiver has no room for.
    Left(Vec<u8>),
    /// There is nothing to move now.
    Wait,
    End,
}

async fn outbound(stream: &TcpStream, end: &StreamEnd) -> Result<(), Errno> {
    let bell = Bell::default();
    let mut left = Vec::new();
    loop {
        if left.is_empty() {
            end.on_readable(bell.wake());
            bell.rung().await;
        }
        stream.writable().await.map_err(|error| errno(&error))?;
        let step = if left.is_empty() {
            with_buffer(|buffer| match end.read(buffer) {
                Ok(0) => Ok(Step::End),
                Ok(read) => send(stream, buffer.get(..read).unwrap_or_default()),
                Err(Errno::EAGAIN) => Ok(Step::Wait),
                Err(errno) => Err(errno),
            })
        } else {
            send(stream, &left)
        };
        match step? {
            Step::Moved => left = Vec::new(),
            Step::Left(bytes) => left = bytes,
            Step::Wait => {}
            Step::End => {
                // The peer may have gone already; it has all that there is.
                let _ = SockRef::from(stream).shutdown(Shutdown::Write);
                return Ok(());
            }
        }
        tokio::task::consume_budget().await;
    }
}

fn send(stream: &TcpStream, bytes: &[u8]) -> Result<Step, Errno> {
    let sent = match stream.try_write(bytes) {
        Ok(sent) => sent,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(errno(&error)),
    };
    Ok(rest(bytes, sent))
}

fn rest(bytes: &[u8], done: usize) -> Step {
    match bytes.get(done..) {
        Some(left) if !left.is_empty() => Step::Left(left.to_vec()),
        _ => Step::Moved,
    }
}

async fn inbound(stream: &TcpStream, end: &StreamEnd) -> Result<(), Errno> {
    let bell = Bell::default();
    let mut left = Vec::new();
    loop {
        end.on_writable(bell.wake());
        bell.rung().await;
        let step = if left.is_empty() {
            stream.readable().await.map_err(|error| errno(&error))?;
            with_buffer(|buffer| match stream.try_read(buffer) {
                Ok(0) => Ok(Step::End),
                Ok(read) => Ok(deliver(end, buffer.get(..read).unwrap_or_default())),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(Step::Wait),
                Err(error) => Err(errno(&error)),
            })
        } else {
            Ok(deliver(end, &left))
        };
        match step? {
            Step::Moved => left = Vec::new(),
            Step::Left(bytes) => left = bytes,
            Step::Wait => {}
            Step::End => {
                // The guest may have gone.
                let _ = end.shutdown();
                return Ok(());
            }
        }
        tokio::task::consume_budget().await;
    }
}

/// Bytes for a guest that has gone are moved nowhere.
fn deliver(end: &StreamEnd, bytes: &[u8]) -> Step {
    match end.write(bytes) {
        Ok(written) => rest(bytes, written),
        Err(Errno::EAGAIN) => rest(bytes, 0),
        Err(_) => Step::Moved,
    }
}
