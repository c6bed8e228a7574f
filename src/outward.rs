//! The host's own use of the way out, under the policy of its guests. The policy may ask a function of the host, so none
//! of it runs on Node's thread: every answer is a promise.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::{Error, Object, Result, ToNapiValue};
use napi::{Env, JsDeferred};
use napi_derive::napi;
use secure_exec_runtime::host_pool;
use secure_exec_runtime::kernel::permissions::{NetworkOp, NetworkRequest, Request};
use secure_exec_runtime::kernel::{Errno, Lookup, Outgoing};

use crate::network::{NativeConnection, NativeNetwork, Notifier, call_error};
use crate::vm::CODE_END;

/// A request as `permissions.network` looks at it.
#[napi(object, object_to_js = false)]
pub struct NativeNetworkRequest {
    /// `fetch`, `http` or `dns`.
    pub op: String,
    /// The name or address.
    pub hostname: String,
    /// The port.
    pub port: u32,
    /// The whole URL.
    pub url: Option<String>,
    /// The method, in upper case.
    pub method: Option<String>,
    /// Whether it goes to what the VM itself opened.
    pub is_internal: bool,
}

type Resolver<T> = Box<dyn FnOnce(Env) -> Result<T> + Send>;
type Deferred<T> = JsDeferred<T, Resolver<T>>;

/// A promise that `work` settles, on a thread that may wait.
fn promise<T: ToNapiValue + 'static>(
    env: &Env,
    work: impl FnOnce(Deferred<T>) + Send + 'static,
) -> Result<Object<'_>> {
    let (deferred, promise) = env.create_deferred::<T, Resolver<T>>()?;
    host_pool::run(move || work(deferred));
    Ok(promise)
}

/// Settles once the connection stands or has failed.
fn settle(
    outgoing: Arc<Outgoing>,
    deferred: Deferred<NativeConnection>,
    id: u32,
    notifier: Arc<Notifier>,
) {
    match outgoing.end() {
        Ok(end) => deferred.resolve(Box::new(move |_| {
            Ok(NativeConnection::new(id, end, notifier, None))
        })),
        Err(Errno::EAGAIN) => {
            let kept = outgoing.clone();
            outgoing.on_settled(Box::new(move || settle(kept, deferred, id, notifier)));
        }
        Err(errno) => deferred.reject(call_error(errno, "connect")),
    }
}

#[napi]
impl NativeNetwork {
    /// Whether `permissions.network` lets a request be made.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn may_request<'env>(
        &self,
        env: &'env Env,
        request: NativeNetworkRequest,
    ) -> Result<Object<'env>> {
        let vm = self.vm.clone();
        promise(env, move |deferred: Deferred<()>| {
            let asked = Request::Network(Cow::Owned(NetworkRequest {
                op: match request.op.as_str() {
                    "fetch" => NetworkOp::Fetch,
                    "dns" => NetworkOp::Dns,
                    _ => NetworkOp::Http,
                },
                address: request.hostname.parse().ok(),
                hostname: request.hostname,
                port: u16::try_from(request.port).unwrap_or_default(),
                url: request.url,
                method: request.method,
                is_internal: request.is_internal,
                is_given: false,
                is_pinned: false,
                is_asked_again: false,
            }));
            match vm.permissions().check(&asked) {
                Ok(_) => deferred.resolve(Box::new(|_| Ok(()))),
                Err(denial) => deferred.reject(Error::from_reason(format!(
                    "{}{CODE_END}{denial}",
                    Errno::EACCES.name()
                ))),
            }
        })
    }

    /// The addresses of a name, found as a guest would find them.
    #[napi(ts_return_type = "Promise<string[]>")]
    pub fn lookup<'env>(&self, env: &'env Env, name: String) -> Result<Object<'env>> {
        let vm = self.vm.clone();
        promise(env, move |deferred: Deferred<Vec<String>>| {
            // Whoever answers first takes it.
            let waiting = Arc::new(Mutex::new(Some(deferred)));
            let tell = {
                let waiting = waiting.clone();
                move |found: std::result::Result<Vec<IpAddr>, Errno>| {
                    let deferred = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    let Some(deferred) = deferred else { return };
                    match found {
                        Ok(found) => {
                            let texts = found.iter().map(IpAddr::to_string).collect();
                            deferred.resolve(Box::new(move |_| Ok(texts)));
                        }
                        Err(errno) => deferred.reject(call_error(errno, "getaddrinfo")),
                    }
                }
            };
            let later = tell.clone();
            let kernel = vm.kernel();
            match kernel.lookup(kernel.host(), &name, || Box::new(later)) {
                Ok(Lookup::Asked) => {}
                Ok(Lookup::Known(found)) => tell(Ok(found)),
                Err(errno) => tell(Err(errno)),
            }
        })
    }

    /// Which host a guest means that connected to `address`, which was found for `name` then, and asks for `host` there:
    /// `host`, when the address was found for it; the address, when that is meant and was allowed itself; or `name`. `null`:
    /// none, because the address is the VM's own or must not be gone to without a name.
    #[napi]
    pub fn meant_host(
        &self,
        address: String,
        by_address: bool,
        name: Option<String>,
        host: String,
    ) -> Option<String> {
        let Some(name) = name else {
            return by_address.then_some(address);
        };
        let ip = address.parse::<IpAddr>().ok()?;
        if name == host || self.vm.kernel().is_name_of(ip, &host) {
            Some(host)
        } else if host.parse::<IpAddr>().is_ok() {
            by_address.then_some(address)
        } else if ip.is_loopback() && host == "localhost" {
            None
        } else {
            Some(name)
        }
    }

    /// Connects as a guest would: to what the VM itself opened, or to the outside as far as `permissions.network` allows.
    /// The callback gets `(id, kind)` as for `connect`.
    #[napi(ts_return_type = "Promise<NativeConnection>")]
    pub fn dial<'env>(
        &self,
        env: &'env Env,
        id: u32,
        address: String,
        port: u32,
    ) -> Result<Object<'env>> {
        let (vm, notifier) = (self.vm.clone(), self.notifier.clone());
        promise(env, move |deferred| {
            let to = match (address.parse::<IpAddr>(), u16::try_from(port)) {
                (Ok(ip), Ok(port)) => SocketAddr::new(ip, port),
                _ => return deferred.reject(call_error(Errno::EINVAL, "connect")),
            };
            match vm.kernel().dial_as_guest(to) {
                Ok(outgoing) => settle(Arc::new(outgoing), deferred, id, notifier),
                Err(errno) => deferred.reject(call_error(errno, "connect")),
            }
        })
    }
}
