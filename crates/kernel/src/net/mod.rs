//! The network of one VM: a loopback interface, TCP, UDP, local sockets, and a guarded way out.
//!
//! ```text
//!   calls/net.rs   one method per system call, on descriptors
//!        |
//!   socket.rs  listener.rs  udp.rs        what a descriptor of a socket points to
//!        |            |        |
//!   table.rs   ports and local names; who listens, who waits for a listener
//!   stream.rs  a connection: two ends with bounded buffers     egress.rs  policy and the way out
//!   in_flight.rs  descriptors that local sockets carry
//!   account.rs what all of it may hold                          address.rs which addresses are the VM's own
//! ```
//! Two VMs share nothing: both can own port 3000. The host reaches a guest's server through
//! [`Kernel::connect_from_host`](crate::Kernel::connect_from_host), which needs no port of the host's.

mod account;
mod address;
mod egress;
mod in_flight;
mod listener;
mod socket;
mod stream;
mod table;
mod udp;
mod wakes;

pub use account::NetLimits;
pub use address::SocketName;
pub use egress::{
    Answered, CheckedAddr, CheckedName, Datagrams, Dial, Egress, Inbox, NameRecords, NetOp,
    NetPolicy, NetRequest, Resolved,
};
pub use socket::{Connect, Domain};
pub use stream::StreamEnd;
pub use table::{HostPorts, ListenerInfo, ListenerQuery, ListenerWait};
pub use udp::{Datagram, Membership, UdpOption};

pub(crate) use account::{Account, Counted};
pub(crate) use address::destination;
pub(crate) use egress::Gate;
pub(crate) use listener::Incoming;
pub(crate) use socket::Socket;
pub(crate) use stream::{Manners, connection};
pub(crate) use table::{BindOptions, LocalKey, Net};
pub(crate) use udp::UdpSocket;
