//! Errors of the host as guests see them.

use std::io::{Error, ErrorKind};

use secure_exec_kernel::Errno;

/// The errno of an operation on a connection.
pub(crate) fn errno(error: &Error) -> Errno {
    match error.kind() {
        ErrorKind::ConnectionRefused => Errno::ECONNREFUSED,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Errno::ECONNRESET
        }
        ErrorKind::TimedOut => Errno::ETIMEDOUT,
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => Errno::ENETUNREACH,
        ErrorKind::HostUnreachable => Errno::EHOSTUNREACH,
        ErrorKind::AddrNotAvailable => Errno::EADDRNOTAVAIL,
        ErrorKind::PermissionDenied => Errno::EACCES,
        // Whatever else the host lacks, sockets and memory among it.
        _ => Errno::ENOBUFS,
    }
}
