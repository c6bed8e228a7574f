//! The network scope as the kernel's sockets ask it.

use std::borrow::Cow;

use super::{Granted, NetworkOp, NetworkRequest, Permissions, REASON, Request};
use crate::errno::{Errno, Result};
use crate::net::{NetOp, NetPolicy, NetRequest};

impl NetPolicy for Permissions {
    fn check(&self, request: &NetRequest) -> Result<Granted> {
        let op = match request.op {
            NetOp::Listen => NetworkOp::Listen,
            NetOp::Connect => NetworkOp::Connect,
            NetOp::Send => NetworkOp::Send,
            NetOp::Resolve => NetworkOp::Dns,
        };
        let address = request.address.map(|address| address.ip());
        let hostname = match (&request.host, address) {
            (Some(host), _) => host.clone(),
            (None, Some(ip)) => ip.to_string(),
            (None, None) => String::new(),
        };
        let question = Request::Network(Cow::Owned(NetworkRequest {
            op,
            hostname,
            port: request.address.map_or(0, |address| address.port()),
            address,
            url: None,
            method: None,
            is_internal: request.own,
            is_given: request.given,
            is_pinned: request.pinned,
            is_asked_again: request.asked_again,
        }));
        Permissions::check(self, &question).map_err(|denial| {
            REASON.set(Some(denial.reason));
            Errno::EACCES
        })
    }
}
