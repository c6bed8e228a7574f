//! A connection: two ends, a bounded buffer in each direction.
//!
//! ```text
//!   end 0 --write--> [ direction 0 ] --read--> end 1
//!   end 0 <--read--- [ direction 1 ] <--write-- end 1
//! ```
//! One lock for both directions; it is never held while a wake is called. An end closes when it is dropped: with bytes
//! unread its peer is reset, else its peer reads to the end. Nothing blocks: an operation that would is `EAGAIN`.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::file::OpenFile;
use crate::net::account::Slot;
use crate::net::in_flight::InFlight;
use crate::net::wakes::Wakes;
use crate::pipe::Wake;

/// An empty buffer that once grew beyond this gives its memory back.
const KEPT_CAPACITY: usize = 16 << 10;

/// How an end answers a write after its peer has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// The first write is lost and brings back a reset; the next fails with `EPIPE`.
    Tcp,
    /// Every write fails with `EPIPE`.
    Local,
}

#[derive(Default)]
struct Direction {
    buffer: VecDeque<u8>,
    /// The writing end writes no more.
    finished: bool,
    /// Bytes that were ever written, and taken.
    written: u64,
    taken: u64,
    /// Descriptors, each with the byte that it goes with.
    carried: VecDeque<(u64, InFlight)>,
    on_readable: Wakes,
    on_writable: Wakes,
}

#[derive(Default)]
struct EndState {
    /// The next operation of this end fails with it.
    error: Option<Errno>,
    closed: bool,
    /// Who wants to know when the peer has closed.
    on_peer_closed: Wakes,
}

#[derive(Default)]
struct State {
    directions: [Direction; 2],
    ends: [EndState; 2],
    tls: Tls,
}

/// Whether the far end takes the bytes inside of TLS as they are.
#[derive(Default)]
enum Tls {
    /// TLS is a matter of the two ends.
    #[default]
    Own,
    /// The far end would take them so.
    Offered,
    /// The near end sends them so, to the server of this name.
    Plain(String),
}

struct Channel {
    state: Mutex<State>,
    manners: Manners,
    slot: Slot,
}

/// Which end; the index of the direction that it writes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

/// One end of a connection. Closed when it is dropped.
pub struct StreamEnd {
    channel: Arc<Channel>,
    side: Side,
}

impl State {
    /// What `side` writes to, what it reads from, and its own state and its peer's.
    fn of(&mut self, side: Side) -> View<'_> {
        let [first, second] = &mut self.directions;
        let [one, two] = &mut self.ends;
        match side {
            Side::First => View {
                out: first,
                into: second,
                own: one,
                peer: two,
            },
            Side::Second => View {
                out: second,
                into: first,
                own: two,
                peer: one,
            },
        }
    }
}

struct View<'a> {
    out: &'a mut Direction,
    into: &'a mut Direction,
    own: &'a mut EndState,
    peer: &'a mut EndState,
}

/// A new connection: both of its ends.
pub(crate) fn connection(slot: Slot, manners: Manners) -> (StreamEnd, StreamEnd) {
    let channel = Arc::new(Channel {
        state: Mutex::default(),
        manners,
        slot,
    });
    (
        StreamEnd {
            channel: channel.clone(),
            side: Side::First,
        },
        StreamEnd {
            channel,
            side: Side::Second,
        },
    )
}

/// Moves bytes from the front of `from` into `to`.
fn take_front(from: &mut VecDeque<u8>, to: &mut [u8]) -> usize {
    let (front, back) = from.as_slices();
    let first = front.len().min(to.len());
    let (head, rest) = to.split_at_mut(first);
    head.copy_from_slice(front.get(..first).unwrap_or_default());
    let second = back.len().min(rest.len());
    if let (Some(rest), Some(back)) = (rest.get_mut(..second), back.get(..second)) {
        rest.copy_from_slice(back);
    }
    let n = first + second;
    if n == from.len() {
        from.clear();
        if from.capacity() > KEPT_CAPACITY {
            *from = VecDeque::new();
        }
    } else {
        from.drain(..n);
    }
    n
}

impl StreamEnd {
    /// The other end may leave out TLS: who reads here is told of it by [`Self::plain_tls`] and knows what to do.
    pub(crate) fn offer_plain_tls(&self) {
        self.channel.state.lock().tls = Tls::Offered;
    }

    /// Whether the other end takes what would be inside of TLS as it is.
    pub(crate) fn takes_plain_tls(&self) -> bool {
        matches!(self.channel.state.lock().tls, Tls::Offered)
    }

    /// What this end sends from now on would be inside of TLS, to the server of this name. `EPROTO` once bytes were
    /// sent, or where the other end does not take it.
    pub(crate) fn leave_out_tls(&self, server_name: &str) -> Result<()> {
        /// The longest name that a client hello has room for.
        const MAX_NAME: usize = 255;
        if server_name.len() > MAX_NAME {
            return Err(Errno::EINVAL);
        }
        let mut state = self.channel.state.lock();
        let is_fresh = state.of(self.side).out.written == 0;
        if !is_fresh || !matches!(state.tls, Tls::Offered) {
            return Err(Errno::EPROTO);
        }
        state.tls = Tls::Plain(server_name.to_owned());
        Ok(())
    }

    /// The name of the server that the other end would speak TLS to; `None` when it speaks none.
    #[must_use]
    pub fn plain_tls(&self) -> Option<String> {
        match &self.channel.state.lock().tls {
            Tls::Plain(name) => Some(name.clone()),
            Tls::Own | Tls::Offered => None,
        }
    }

    /// Takes what is there; 0 at the end, `EAGAIN` when more may come, `ECONNRESET` once after a reset. A descriptor
    /// that goes with these bytes is closed.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        let (n, file) = self.receive(buf)?;
        drop(file);
        Ok(n)
    }

    /// As [`Self::read`], with the descriptor that goes with these bytes. It stops before bytes with another one.
    pub(crate) fn receive(&self, buf: &mut [u8]) -> Result<(usize, Option<Arc<OpenFile>>)> {
        if buf.is_empty() {
            return Ok((0, None));
        }
        let account = self.channel.slot.account();
        let (n, wakes, carried) = {
            let mut state = self.channel.state.lock();
            let View { into, own, .. } = state.of(self.side);
            if into.buffer.is_empty() {
                return match own.error.take() {
                    Some(errno) if !into.finished || errno != Errno::EPIPE => Err(errno),
                    error => {
                        own.error = error;
                        if into.finished || own.closed {
                            Ok((0, None))
                        } else {
                            Err(Errno::EAGAIN)
                        }
                    }
                };
            }
            let here = into
                .carried
                .front()
                .is_some_and(|(at, _)| *at == into.taken);
            let carried = if here { into.carried.pop_front() } else { None };
            let room = into.carried.front().map_or(buf.len(), |(at, _)| {
                usize::try_from(at - into.taken).map_or(buf.len(), |room| room.min(buf.len()))
            });
            let n = take_front(&mut into.buffer, buf.get_mut(..room).unwrap_or_default());
            into.taken += n as u64;
            // A writer that waits is woken for a good part of the buffer, not for each byte.
            let wakes = if into.buffer.len() <= account.capacity() / 2 {
                into.on_writable.take()
            } else {
                Wakes::default()
            };
            (n, wakes, carried)
        };
        account.remove(n);
        wakes.call();
        Ok((n, carried.and_then(|(_, file)| file.arrive())))
    }

    /// Puts in what fits; `EAGAIN` when nothing does, `EPIPE` after [`Self::shutdown`] or when nobody reads.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        self.send(data, None)
    }

    /// As [`Self::write`]; `carried` goes with the first byte.
    pub(crate) fn send(&self, data: &[u8], carried: Option<InFlight>) -> Result<usize> {
        let account = self.channel.slot.account();
        let (n, wakes) = {
            let mut state = self.channel.state.lock();
            let View { out, own, peer, .. } = state.of(self.side);
            if let Some(errno) = own.error.take() {
                out.finished = true;
                return Err(errno);
            }
            if out.finished || own.closed {
                return Err(Errno::EPIPE);
            }
            if data.is_empty() {
                return Ok(0);
            }
            if peer.closed {
                if self.channel.manners == Manners::Local {
                    return Err(Errno::EPIPE);
                }
                own.error = Some(Errno::EPIPE);
                return Ok(data.len().min(account.capacity()));
            }
            let n = data
                .len()
                .min(account.capacity().saturating_sub(out.buffer.len()));
            if n == 0 {
                return Err(Errno::EAGAIN);
            }
            out.buffer.extend(data.get(..n).unwrap_or_default());
            if let Some(carried) = carried {
                out.carried.push_back((out.written, carried));
            }
            out.written += n as u64;
            (n, out.on_readable.take())
        };
        account.add(n);
        wakes.call();
        Ok(n)
    }

    /// Writes no more: the peer reads to the end of what was written.
    pub fn shutdown(&self) -> Result<()> {
        let wakes = {
            let mut state = self.channel.state.lock();
            let View { out, into, own, .. } = state.of(self.side);
            // Once both sides have ended there is no connection any more.
            let over = self.channel.manners == Manners::Tcp && out.finished && into.finished;
            if own.closed || over {
                return Err(Errno::ENOTCONN);
            }
            out.finished = true;
            out.on_readable.take()
        };
        wakes.call();
        Ok(())
    }

    /// Ends the connection at once: the peer's next operation fails with `ECONNRESET`.
    pub fn reset(&self) {
        self.close_with(Some(Errno::ECONNRESET));
    }

    /// Ends the connection at once, as the network did: the peer's next operation fails with `errno`.
    pub fn fail(&self, errno: Errno) {
        self.close_with(Some(errno));
    }

    fn close_with(&self, error: Option<Errno>) {
        let (unread, carried, wakes) = {
            let mut state = self.channel.state.lock();
            let View {
                out,
                into,
                own,
                peer,
            } = state.of(self.side);
            if own.closed {
                return;
            }
            own.closed = true;
            let unread = std::mem::take(&mut into.buffer).len();
            let carried = std::mem::take(&mut into.carried);
            let error = error.or((unread > 0).then_some(Errno::ECONNRESET));
            if !peer.closed && error.is_some() {
                peer.error = error;
            }
            out.finished = true;
            let mut wakes = out.on_readable.take();
            for more in [
                peer.on_peer_closed.take(),
                out.on_writable.take(),
                into.on_readable.take(),
                into.on_writable.take(),
            ] {
                wakes.extend(more);
            }
            (unread, carried, wakes)
        };
        drop(carried);
        self.channel.slot.account().remove(unread);
        wakes.call();
    }

    /// Whether `read` would not say `EAGAIN`.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let mut state = self.channel.state.lock();
        let View { into, own, .. } = state.of(self.side);
        Self::can_read(into, own)
    }

    fn can_read(into: &Direction, own: &EndState) -> bool {
        !into.buffer.is_empty() || into.finished || own.closed || own.error.is_some()
    }

    fn can_write(&self, out: &Direction, own: &EndState, peer: &EndState) -> bool {
        out.finished
            || own.closed
            || peer.closed
            || own.error.is_some()
            || out.buffer.len() < self.channel.slot.account().capacity()
    }

    /// Bytes that are there to be read.
    #[must_use]
    pub fn available(&self) -> usize {
        self.channel.state.lock().of(self.side).into.buffer.len()
    }

    /// Calls back once when `read` would not say `EAGAIN`; at once if that is so now.
    pub fn on_readable(&self, wake: Wake) {
        let mut state = self.channel.state.lock();
        let View { into, own, .. } = state.of(self.side);
        if Self::can_read(into, own) {
            drop(state);
            wake();
        } else {
            into.on_readable.push(wake);
        }
    }

    /// Calls back once when the peer has closed both ways; at once if it has.
    pub fn on_peer_closed(&self, wake: Wake) {
        let mut state = self.channel.state.lock();
        let View { own, peer, .. } = state.of(self.side);
        if peer.closed {
            drop(state);
            wake();
        } else {
            own.on_peer_closed.push(wake);
        }
    }

    /// Calls back once when `write` would not say `EAGAIN`; at once if that is so now.
    pub fn on_writable(&self, wake: Wake) {
        let mut state = self.channel.state.lock();
        let View { out, own, peer, .. } = state.of(self.side);
        if self.can_write(out, own, peer) {
            drop(state);
            wake();
        } else {
            out.on_writable.push(wake);
        }
    }
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        self.close_with(None);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let left: usize = self
            .state
            .get_mut()
            .directions
            .iter()
            .map(|direction| direction.buffer.len())
            .sum();
        self.slot.account().remove(left);
    }
}

impl std::fmt::Debug for StreamEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamEnd")
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::net::account::{Account, BUFFER, Counted, LEAST_BUFFER, NetLimits};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn pair(manners: Manners) -> (StreamEnd, StreamEnd, Arc<Account>) {
        let account = Account::new(NetLimits::default());
        let slot = account.take(Counted::Connection).unwrap();
        let (one, two) = connection(slot, manners);
        (one, two, account)
    }

    #[test]
    fn bytes_go_both_ways_and_halves_close_alone() {
        let (one, two, account) = pair(Manners::Tcp);
        assert_eq!(one.write(b"ping"), Ok(4));
        assert_eq!(two.write(b"pong!"), Ok(5));
        assert_eq!(account.used().2, 9);
        let mut buf = [0; 16];
        assert_eq!(two.read(&mut buf), Ok(4));
        one.shutdown().unwrap();
        assert_eq!(two.read(&mut buf), Ok(0));
        assert_eq!(one.write(b"x"), Err(Errno::EPIPE));
        assert_eq!(two.write(b"more"), Ok(4));
        assert_eq!(one.read(&mut buf), Ok(9));
        assert_eq!(&buf[..9], b"pong!more");
        assert_eq!(one.read(&mut buf), Err(Errno::EAGAIN));
        assert_eq!(account.used().2, 0);
    }

    #[test]
    fn a_peer_that_leaves_with_bytes_unread_resets() {
        let (one, two, account) = pair(Manners::Tcp);
        assert_eq!(one.write(b"unread"), Ok(6));
        drop(two);
        assert_eq!(account.used().2, 0);
        assert_eq!(one.read(&mut [0; 4]), Err(Errno::ECONNRESET));
        assert_eq!(one.read(&mut [0; 4]), Ok(0));
    }

    #[test]
    fn writing_to_one_who_left() {
        let (one, two, _) = pair(Manners::Tcp);
        drop(two);
        assert_eq!(one.write(b"lost"), Ok(4));
        assert_eq!(one.read(&mut [0; 4]), Ok(0));
        assert_eq!(one.write(b"x"), Err(Errno::EPIPE));
        let (one, two, _) = pair(Manners::Local);
        drop(two);
        assert_eq!(one.write(b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn a_writer_waits_for_room() {
        let (one, two, _) = pair(Manners::Tcp);
        assert_eq!(one.write(&vec![7; BUFFER + 1]), Ok(BUFFER));
        assert_eq!(one.write(b"x"), Err(Errno::EAGAIN));
        let woken = Arc::new(AtomicU32::new(0));
        let count = woken.clone();
        one.on_writable(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        assert_eq!(two.read(&mut vec![0; 1024]), Ok(1024));
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        assert_eq!(two.read(&mut vec![0; BUFFER]), Ok(BUFFER - 1024));
        assert_eq!(woken.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_full_vm_leaves_each_connection_a_little() {
        let limits = NetLimits {
            max_buffered_bytes: 100,
            ..NetLimits::default()
        };
        let account = Account::new(limits);
        let (one, _two) = connection(account.take(Counted::Connection).unwrap(), Manners::Tcp);
        assert_eq!(one.write(&[0; 100]), Ok(100));
        let (three, four) = connection(account.take(Counted::Connection).unwrap(), Manners::Tcp);
        assert_eq!(three.write(&vec![0; BUFFER]), Ok(LEAST_BUFFER));
        drop((three, four));
        assert_eq!(account.used(), (0, 1, 100));
    }

    #[test]
    fn a_peer_that_closes_is_noticed_after_both_halves_ended() {
        let (one, two, _) = pair(Manners::Tcp);
        let woken = Arc::new(AtomicU32::new(0));
        let count = woken.clone();
        one.on_peer_closed(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        two.shutdown().unwrap();
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        drop(two);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn tls_is_left_out_only_where_that_is_offered_and_before_anything_is_sent() {
        let (one, two, _) = pair(Manners::Tcp);
        assert_eq!(one.leave_out_tls("a.test"), Err(Errno::EPROTO));
        two.offer_plain_tls();
        assert!(one.takes_plain_tls());
        assert_eq!(two.plain_tls(), None);
        assert_eq!(one.leave_out_tls(&"a".repeat(256)), Err(Errno::EINVAL));
        one.leave_out_tls("a.test").unwrap();
        assert_eq!(two.plain_tls().as_deref(), Some("a.test"));
        assert_eq!(one.leave_out_tls("b.test"), Err(Errno::EPROTO));
        let (one, two, _) = pair(Manners::Tcp);
        two.offer_plain_tls();
        one.write(b"STARTTLS").unwrap();
        assert_eq!(one.leave_out_tls("a.test"), Err(Errno::EPROTO));
    }

    #[test]
    fn what_the_network_said_reaches_the_peer() {
        let (one, two, _) = pair(Manners::Tcp);
        two.fail(Errno::ETIMEDOUT);
        assert_eq!(one.read(&mut [0; 4]), Err(Errno::ETIMEDOUT));
        assert_eq!(one.read(&mut [0; 4]), Ok(0));
    }

    #[test]
    fn a_reset_reaches_reader_and_writer() {
        let (one, two, _) = pair(Manners::Tcp);
        let woken = Arc::new(AtomicU32::new(0));
        let count = woken.clone();
        one.on_readable(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        two.reset();
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert_eq!(one.write(b"x"), Err(Errno::ECONNRESET));
        assert_eq!(two.write(b"x"), Err(Errno::EPIPE));
    }
}
