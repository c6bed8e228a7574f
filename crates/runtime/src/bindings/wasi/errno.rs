//! The error numbers of WASI preview 1.

use secure_exec_kernel::Errno as KernelErrno;

use crate::throw::Throw;

/// An error number; 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

macro_rules! errnos {
    ($($name:ident = $number:literal,)*) => {
        #[allow(missing_docs, reason = "the names of WASI")]
        impl Errno {
            $(pub const $name: Self = Self($number);)*
        }

        impl From<KernelErrno> for Errno {
            /// As libuv's errors are translated: what WASI has no number for is `ENOSYS`.
            fn from(errno: KernelErrno) -> Self {
                // A refused path's reason is for the exception that names it; here there is only a number.
                let _ = crate::throw::denial_reason(errno);
                match errno {
                    $(KernelErrno::$name => Self::$name,)*
                    _ => Self::ENOSYS,
                }
            }
        }
    };
}

errnos! {
    E2BIG = 1,
    EACCES = 2,
    EADDRINUSE = 3,
    EADDRNOTAVAIL = 4,
    EAFNOSUPPORT = 5,
    EAGAIN = 6,
    EALREADY = 7,
    EBADF = 8,
    EBUSY = 10,
    ECANCELED = 11,
    ECONNABORTED = 13,
    ECONNREFUSED = 14,
    ECONNRESET = 15,
    EDESTADDRREQ = 17,
    EEXIST = 20,
    EFAULT = 21,
    EFBIG = 22,
    EHOSTUNREACH = 23,
    EILSEQ = 25,
    EINTR = 27,
    EINVAL = 28,
    EIO = 29,
    EISCONN = 30,
    EISDIR = 31,
    ELOOP = 32,
    EMFILE = 33,
    EMLINK = 34,
    EMSGSIZE = 35,
    ENAMETOOLONG = 37,
    ENETDOWN = 38,
    ENETUNREACH = 40,
    ENFILE = 41,
    ENOBUFS = 42,
    ENODEV = 43,
    ENOENT = 44,
    ENOMEM = 48,
    ENOPROTOOPT = 50,
    ENOSPC = 51,
    ENOSYS = 52,
    ENOTCONN = 53,
    ENOTDIR = 54,
    ENOTEMPTY = 55,
    ENOTSOCK = 57,
    ENOTSUP = 58,
    ENOTTY = 59,
    ENXIO = 60,
    EOVERFLOW = 61,
    EPERM = 63,
    EPIPE = 64,
    EPROTO = 65,
    EPROTONOSUPPORT = 66,
    EPROTOTYPE = 67,
    ERANGE = 68,
    EROFS = 69,
    ESPIPE = 70,
    ESRCH = 71,
    ETIMEDOUT = 73,
    ETXTBSY = 74,
    EXDEV = 75,
}

#[allow(missing_docs, reason = "the names of WASI")]
impl Errno {
    pub const SUCCESS: Self = Self(0);
    /// The descriptor lacks a right, or a path leads out of its directory.
    pub const ENOTCAPABLE: Self = Self(76);
}

/// Why a call did not succeed.
pub enum Failure {
    /// The program gets this number.
    Errno(Errno),
    /// An exception, or the end of the process.
    Throw(Throw),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<KernelErrno> for Failure {
    fn from(errno: KernelErrno) -> Self {
        Self::Errno(errno.into())
    }
}

impl From<Throw> for Failure {
    fn from(throw: Throw) -> Self {
        Self::Throw(throw)
    }
}

/// What a call of WASI answers.
pub type Outcome<T = ()> = Result<T, Failure>;
