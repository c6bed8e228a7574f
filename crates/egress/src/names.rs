//! Finds out about names: by the host's own resolver, or by DNS servers that the embedder gave.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupErrorKind, getaddrinfo};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};
use secure_exec_kernel::{Errno, NameRecords};
use tokio::sync::Semaphore;

/// Questions of one VM that are asked at a time; others wait.
const MAX_AT_ONCE: usize = 16;
/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who is asked.
pub(crate) struct Names {
    servers: Vec<SocketAddr>,
    /// For those servers, or the host's: made by the first question. It keeps no answers, so that no VM learns from it
    /// what another has asked.
    resolver: OnceLock<Option<TokioResolver>>,
    at_once: Semaphore,
}

/// A callback that answers in any case: with what it was made with, if nobody else does.
pub(crate) struct Answer<T> {
    callback: Option<Box<dyn FnOnce(T) + Send>>,
    otherwise: Option<T>,
}

impl<T> Answer<T> {
    pub fn new(callback: Box<dyn FnOnce(T) + Send>, otherwise: T) -> Answer<T> {
        Answer {
            callback: Some(callback),
            otherwise: Some(otherwise),
        }
    }

    pub fn give(&mut self, value: T) {
        if let Some(callback) = self.callback.take() {
            callback(value);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(otherwise) = self.otherwise.take() {
            self.give(otherwise);
        }
    }
}

impl Names {
    pub fn new(servers: Vec<SocketAddr>) -> Names {
        Names {
            servers,
            resolver: OnceLock::new(),
            at_once: Semaphore::new(MAX_AT_ONCE),
        }
    }

    /// The addresses of a name.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Errno> {
        let Ok(_turn) = self.at_once.acquire().await else {
            return Err(Errno::EAI_AGAIN);
        };
        let mut found = if self.servers.is_empty() {
            by_host(name.to_owned()).await?
        } else {
            self.by_servers(name).await?
        };
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }

    async fn by_servers(&self, name: &str) -> Result<Vec<IpAddr>, Errno> {
        let resolver = self.resolver().ok_or(Errno::EAI_AGAIN)?;
        match resolver.lookup_ip(absolute(name)).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(_)) | NetError::Proto(_)) => {
                Err(Errno::EAI_NONAME)
            }
            Err(_) => Err(Errno::EAI_AGAIN),
        }
    }

    /// The records of a name that have this type's number.
    pub async fn query(&self, name: &str, kind: u16) -> Result<NameRecords, Errno> {
        let Ok(_turn) = self.at_once.acquire().await else {
            return Err(Errno::ECONNREFUSED);
        };
        let resolver = self.resolver().ok_or(Errno::ECONNREFUSED)?;
        let found = resolver
            .lookup(absolute(name), RecordType::from(kind))
            .await;
        let message = match found {
            Ok(found) => found.message().clone(),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                Message::error_msg(0, OpCode::Query, none.response_code)
            }
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                Message::error_msg(0, OpCode::Query, code)
            }
            Err(NetError::Proto(_)) => Message::error_msg(0, OpCode::Query, ResponseCode::FormErr),
            Err(NetError::Timeout) => return Err(Errno::ETIMEDOUT),
            Err(_) => return Err(Errno::ECONNREFUSED),
        };
        let addresses = message
            .answers
            .iter()
            .filter_map(|record| match record.data {
                RData::A(ip) => Some(IpAddr::V4(ip.0)),
                RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
                _ => None,
            });
        Ok(NameRecords {
            addresses: addresses.take(MAX_ADDRESSES).collect(),
            message: message.to_vec().map_err(|_| Errno::ECONNREFUSED)?,
        })
    }

    fn resolver(&self) -> Option<&TokioResolver> {
        let resolver = self.resolver.get_or_init(|| {
            let provider = TokioRuntimeProvider::default();
            let mut builder = if self.servers.is_empty() {
                TokioResolver::builder(provider).ok()?
            } else {
                let servers = self.servers.iter().map(|server| name_server(*server));
                let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
                TokioResolver::builder_with_config(config, provider)
            };
            let options: &mut ResolverOpts = builder.options_mut();
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            options.timeout = TIMEOUT;
            options.case_randomization = false;
            builder.build().ok()
        });
        resolver.as_ref()
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    NameServerConfig::new(
        server.ip(),
        true,
        vec![
            at_port(ConnectionConfig::udp()),
            at_port(ConnectionConfig::tcp()),
        ],
    )
}

/// The name with its root: no search list of the host's is tried.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

/// As the host's programs would find it, off the threads that wait for sockets.
async fn by_host(name: String) -> Result<Vec<IpAddr>, Errno> {
    let asked = tokio::task::spawn_blocking(move || {
        let hints = AddrInfoHints {
            // SOCK_STREAM: each address once.
            socktype: 1,
            ..AddrInfoHints::default()
        };
        let found =
            getaddrinfo(Some(&name), None, Some(hints)).map_err(|error| match error.kind() {
                LookupErrorKind::Again => Errno::EAI_AGAIN,
                _ => Errno::EAI_NONAME,
            })?;
        let mut addresses = Vec::new();
        for info in found.take(MAX_ADDRESSES).flatten() {
            let ip = info.sockaddr.ip();
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        Ok(addresses)
    });
    asked.await.unwrap_or(Err(Errno::EAI_AGAIN))
}
