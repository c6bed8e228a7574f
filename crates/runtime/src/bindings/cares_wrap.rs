//! `internalBinding('cares_wrap')`: names and addresses. Source: `src/cares_wrap.cc`.
//!
//! `getaddrinfo` asks the kernel: overrides, `/etc/hosts`, `localhost`, then the embedder's egress if the policy allows.
//! A [`channel`] speaks DNS with servers, which are the VM's own.

mod channel;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use secure_exec_kernel::{Errno, Lookup};

use crate::array_buffer;
use crate::binding::{Args, Binding, Callback, Class, Ret, function};
use crate::bindings::fs::argument;
use crate::bindings::fs::resource::Provider;
use crate::bindings::request::{self, Request};
use crate::env::Env;
use crate::throw::{ErrorClass, Throw};

const REQUEST: Callback = function!(request::construct);

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "cares_wrap",
    functions: &[
        ("getaddrinfo", function!(get_addr_info)),
        ("getnameinfo", function!(get_name_info)),
        ("canonicalizeIP", function!(canonicalize_ip)),
        ("convertIpv6StringToBuffer", function!(convert_ipv6)),
        ("strerror", function!(strerror)),
    ],
    classes: &[
        Class {
            name: "GetAddrInfoReqWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
        Class {
            name: "GetNameInfoReqWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
        Class {
            name: "QueryReqWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
        channel::CLASS,
    ],
    ..Binding::DEFAULT
};

const ADDRESS_PROVIDER: Provider = Provider {
    name: "GETADDRINFOREQWRAP",
    number: 10,
};
const NAME_PROVIDER: Provider = Provider {
    name: "GETNAMEINFOREQWRAP",
    number: 11,
};
/// Lookups that one process may have in flight.
const MAX_LOOKUPS: usize = 4096;

/// Values of `hints`.
mod hint {
    pub const V4_MAPPED: i32 = 8;
    pub const ALL: i32 = 16;
}

/// Values of `order`.
mod order {
    pub const IPV4_FIRST: u32 = 1;
    pub const IPV6_FIRST: u32 = 2;
}

/// What the guest wants of the addresses.
#[derive(Clone, Copy)]
struct Wish {
    family: i32,
    hints: i32,
    order: u32,
}

/// Lookups that others answer.
#[derive(Default)]
struct Lookups {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, (Request, Wish)>>,
}

impl Wish {
    /// The addresses as the guest gets them.
    fn apply(self, found: &[IpAddr]) -> Result<Vec<IpAddr>, Errno> {
        let mut addresses: Vec<IpAddr> = match self.family {
            4 => found.iter().copied().filter(IpAddr::is_ipv4).collect(),
            6 => {
                let mut wanted: Vec<IpAddr> =
                    found.iter().copied().filter(IpAddr::is_ipv6).collect();
                let mapped = self.hints & hint::V4_MAPPED != 0;
                if mapped && (wanted.is_empty() || self.hints & hint::ALL != 0) {
                    wanted.extend(found.iter().filter_map(|ip| match ip {
                        IpAddr::V4(ip) => Some(IpAddr::from(ip.to_ipv6_mapped())),
                        IpAddr::V6(_) => None,
                    }));
                }
                wanted
            }
            _ => found.to_vec(),
        };
        match self.order {
            order::IPV4_FIRST => addresses.sort_by_key(IpAddr::is_ipv6),
            order::IPV6_FIRST => addresses.sort_by_key(IpAddr::is_ipv4),
            _ => {}
        }
        // A name may stand for one address more than once.
        let mut unique: Vec<IpAddr> = Vec::with_capacity(addresses.len());
        for ip in addresses {
            if !unique.contains(&ip) {
                unique.push(ip);
            }
        }
        if unique.is_empty() {
            Err(Errno::EAI_NONAME)
        } else {
            Ok(unique)
        }
    }
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, number: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, number).into())
}

fn string<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    text: &str,
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    Ok(v8::String::new(scope, text).ok_or(Throw::Pending)?.into())
}

/// A short string of the guest's: a host name, an address.
fn text<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    name: &str,
) -> Result<String, Throw> {
    /// Longer than any name that can be looked up.
    const LONGEST: usize = 4096;
    let string = v8::Local::<v8::String>::try_from(value).map_err(|_| argument::invalid(name))?;
    if string.length() > LONGEST {
        return Err(argument::invalid(name));
    }
    Ok(string.to_rust_string_lossy(scope))
}

/// `getaddrinfo(req, hostname, family, hints, order)`
fn get_addr_info<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let object = request::unused(scope, args.get(0))?;
    let hostname = text(scope, args.get(1), "hostname")?;
    let hostname = short_ipv4(&hostname).map_or(hostname, |ip| ip.to_string());
    let wish = Wish {
        family: args.get(2).int32_value(scope).ok_or(Throw::Pending)?,
        hints: args.get(3).int32_value(scope).ok_or(Throw::Pending)?,
        order: args.get(4).uint32_value(scope).ok_or(Throw::Pending)?,
    };
    let env = Env::of(scope);
    let (kernel, process) = (env.kernel()?, env.process()?);
    let lookups = env.extension::<Lookups>();
    if lookups.waiting.borrow().len() >= MAX_LOOKUPS {
        return number(scope, Errno::EAI_MEMORY.uv());
    }
    let id = lookups.next.get();
    lookups.next.set(id + 1);
    let shared = env.shared().clone();
    let answer = move || -> secure_exec_kernel::Resolved {
        Box::new(move |found| {
            shared
                .inbox
                .send(Box::new(move |scope, env| answered(scope, env, id, found)));
        })
    };
    let request = Request::start(scope, &env, object, ADDRESS_PROVIDER, None);
    // Waits before the question is put: the answer may come at once.
    lookups.waiting.borrow_mut().insert(id, (request, wish));
    let found = match kernel.lookup(&process, &hostname, answer) {
        Ok(Lookup::Asked) => return number(scope, 0),
        Ok(Lookup::Known(found)) => Ok(found),
        Err(errno) => Err(errno),
    };
    env.event_loop
        .complete(Box::new(move |scope, env| answered(scope, env, id, found)));
    number(scope, 0)
}

/// An address in the forms of `inet_aton` beside the usual one: fewer parts, of which the last fills the rest, in base
/// 8, 10 or 16.
fn short_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.splitn(5, '.').collect();
    let (last, bytes) = parts.split_last().filter(|(_, bytes)| bytes.len() < 4)?;
    let value = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (part, 8),
            None => (part, 10),
        };
        let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        valid.then(|| u32::from_str_radix(digits, radix).ok())?
    };
    let mut address = 0;
    for (index, byte) in bytes.iter().enumerate() {
        address |= value(byte).filter(|byte| *byte < 256)? << (24 - 8 * index);
    }
    let room = u64::from(u32::MAX) >> (8 * bytes.len());
    let rest = value(last).filter(|rest| u64::from(*rest) <= room)?;
    Some(Ipv4Addr::from(address | rest))
}

/// `oncomplete(err, addresses)`
fn answered(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    id: u64,
    found: Result<Vec<IpAddr>, Errno>,
) {
    let waiting = env.extension::<Lookups>().waiting.borrow_mut().remove(&id);
    let Some((request, wish)) = waiting else {
        return;
    };
    match found.and_then(|found| wish.apply(&found)) {
        Ok(addresses) => {
            let mut values = Vec::with_capacity(addresses.len());
            for ip in addresses {
                match string(scope, &ip.to_string()) {
                    Ok(value) => values.push(value),
                    Err(_) => return,
                }
            }
            let list = v8::Array::new_with_elements(scope, &values).into();
            let null = v8::null(scope).into();
            request.complete(scope, env, &[null, list]);
        }
        Err(errno) => {
            let errno = v8::Integer::new(scope, errno.uv()).into();
            let undefined = v8::undefined(scope).into();
            request.complete(scope, env, &[errno, undefined]);
        }
    }
}

/// Names of well-known ports, as `/etc/services` has them.
const SERVICES: &[(u16, &str)] = &[
    (7, "echo"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (53, "domain"),
    (80, "http"),
    (110, "pop3"),
    (143, "imap2"),
    (443, "https"),
];

/// `getnameinfo(req, host, port)`
fn get_name_info<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let object = request::unused(scope, args.get(0))?;
    let host = text(scope, args.get(1), "host")?;
    let port = args.get(2).uint32_value(scope).ok_or(Throw::Pending)?;
    let (Ok(ip), Ok(port)) = (host.parse::<IpAddr>(), u16::try_from(port)) else {
        return number(scope, Errno::EINVAL.uv());
    };
    let env = Env::of(scope);
    let name = env.kernel()?.name_of_address(ip);
    let request = Request::start(scope, &env, object, NAME_PROVIDER, None);
    env.event_loop.complete(Box::new(move |scope, env| {
        let undefined = v8::undefined(scope).into();
        let Some(name) = name else {
            let errno = v8::Integer::new(scope, Errno::EAI_NONAME.uv()).into();
            return request.complete(scope, env, &[errno, undefined, undefined]);
        };
        let service = SERVICES
            .iter()
            .find(|(known, _)| *known == port)
            .map_or_else(|| port.to_string(), |(_, name)| (*name).to_owned());
        let null = v8::null(scope).into();
        if let (Ok(name), Ok(service)) = (string(scope, &name), string(scope, &service)) {
            request.complete(scope, env, &[null, name, service]);
        }
    }));
    number(scope, 0)
}

/// `canonicalizeIP(ip)`: the shortest form, or `undefined`.
fn canonicalize_ip<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let ip = text(scope, args.get(0), "ip")?;
    match ip.parse::<IpAddr>() {
        Ok(ip) => string(scope, &ip.to_string()),
        Err(_) => Ok(v8::undefined(scope).into()),
    }
}

/// `convertIpv6StringToBuffer(ip)`
fn convert_ipv6<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let ip = text(scope, args.get(0), "ip")?;
    let plain = ip.split_once('%').map_or(ip.as_str(), |parts| parts.0);
    let ip: Ipv6Addr = plain
        .parse()
        .map_err(|_| Throw::Plain(ErrorClass::Error, "Invalid IPv6 address".to_owned()))?;
    Ok(array_buffer::buffer_of(scope, &ip.octets())?.into())
}

/// Texts of c-ares's statuses.
const STATUS_TEXTS: [&str; 26] = [
    "Successful completion",
    "DNS server returned answer with no data",
    "DNS server claims query was misformatted",
    "DNS server returned general failure",
    "Domain name not found",
    "DNS server does not implement requested operation",
    "DNS server refused query",
    "Misformatted DNS query",
    "Misformatted domain name",
    "Unsupported address family",
    "Misformatted DNS reply",
    "Could not contact DNS servers",
    "Timeout while contacting DNS servers",
    "End of file",
    "Error reading file",
    "Out of memory",
    "Channel is being destroyed",
    "Misformatted string",
    "Illegal flags specified",
    "Given hostname is not numeric",
    "Illegal hints flags specified",
    "c-ares library initialization not yet performed",
    "Error loading iphlpapi.dll",
    "Could not find GetNetworkParams function",
    "DNS query cancelled",
    "Invalid service name or number",
];

fn strerror<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let text = if code == channel::STATUS_SERVERS_PENDING {
        "There are pending queries."
    } else {
        usize::try_from(code)
            .ok()
            .and_then(|code| STATUS_TEXTS.get(code))
            .copied()
            .unwrap_or("unknown")
    };
    string(scope, text)
}

/// The unspecified address of the family of `to`, with any port.
fn any_address(to: SocketAddr) -> SocketAddr {
    let ip: IpAddr = if to.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    SocketAddr::new(ip, 0)
}
