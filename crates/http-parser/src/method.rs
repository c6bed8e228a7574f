//! Methods of HTTP and of the protocols that look like it. A method is its place in [`ALL_METHODS`].

/// Every method, in the order of Node's `allMethods`.
pub const ALL_METHODS: &[&str] = &[
    "DELETE",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "SEARCH",
    "UNLOCK",
    "BIND",
    "REBIND",
    "UNBIND",
    "ACL",
    "REPORT",
    "MKACTIVITY",
    "CHECKOUT",
    "MERGE",
    "M-SEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PATCH",
    "PURGE",
    "MKCALENDAR",
    "LINK",
    "UNLINK",
    "SOURCE",
    "PRI",
    "DESCRIBE",
    "ANNOUNCE",
    "SETUP",
    "PLAY",
    "PAUSE",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
    "REDIRECT",
    "RECORD",
    "FLUSH",
    "QUERY",
];

/// The methods of HTTP itself, in the order of Node's `methods`.
pub const HTTP_METHODS: &[&str] = &[
    "DELETE",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "SEARCH",
    "UNLOCK",
    "BIND",
    "REBIND",
    "UNBIND",
    "ACL",
    "REPORT",
    "MKACTIVITY",
    "CHECKOUT",
    "MERGE",
    "M-SEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PATCH",
    "PURGE",
    "MKCALENDAR",
    "LINK",
    "UNLINK",
    "SOURCE",
    "QUERY",
];

/// Ends HTTP and starts another protocol.
pub const CONNECT: u8 = 5;
/// How an HTTP/2 connection starts.
pub const PRI: u8 = 34;

/// A protocol whose messages look like HTTP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Rtsp,
    Icecast,
}

/// The names of [`Protocol`]s, in its order.
pub const PROTOCOLS: &[&str] = &["HTTP", "RTSP", "ICE"];

impl Protocol {
    /// The protocol at `index` of [`PROTOCOLS`].
    pub fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Http,
            1 => Self::Rtsp,
            _ => Self::Icecast,
        }
    }

    /// Whether requests of this protocol may have `method`.
    pub fn allows(self, method: u8) -> bool {
        const RTSP: &[&str] = &[
            "OPTIONS",
            "DESCRIBE",
            "ANNOUNCE",
            "SETUP",
            "PLAY",
            "PAUSE",
            "TEARDOWN",
            "GET_PARAMETER",
            "SET_PARAMETER",
            "REDIRECT",
            "RECORD",
            "FLUSH",
            "GET",
            "POST",
        ];
        let Some(name) = ALL_METHODS.get(usize::from(method)) else {
            return false;
        };
        match self {
            Self::Http => method == PRI || HTTP_METHODS.contains(name),
            Self::Rtsp => RTSP.contains(name),
            Self::Icecast => *name == "SOURCE",
        }
    }

    /// What is wrong with a method that it does not allow.
    pub fn refusal(self) -> &'static str {
        match self {
            Self::Http => "Invalid method for HTTP/x.x request",
            Self::Rtsp => "Invalid method for RTSP/x.x request",
            Self::Icecast => "Expected SOURCE method for ICE/x.x request",
        }
    }
}
