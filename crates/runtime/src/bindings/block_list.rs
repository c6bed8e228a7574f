//! `internalBinding('block_list')`: socket addresses and lists of blocked ones. Source: `src/node_sockaddr.cc`.
//!
//! Plain data: nothing here opens a socket.

use std::any::Any;
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::messaging::memory_budget;
use crate::env::Env;
use crate::message::{Charge, HostType, TransferData};
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "block_list",
    classes: &[
        Class {
            name: "BlockList",
            constructor: Some(function!(new_block_list)),
            methods: &[
                ("addAddress", function!(add_address)),
                ("addRange", function!(add_range)),
                ("addSubnet", function!(add_subnet)),
                ("check", function!(check)),
                ("getRules", function!(get_rules)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "SocketAddress",
            constructor: Some(function!(new_socket_address)),
            methods: &[
                ("detail", function!(detail)),
                ("legacyDetail", function!(legacy_detail)),
                ("flowlabel", function!(flow_label)),
            ],
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
/// What a rule costs, roughly.
const RULE_BYTES: usize = 128;

/// The Rust side of a `SocketAddress`.
#[derive(Clone, Copy)]
struct SocketAddress {
    ip: IpAddr,
    port: u16,
    flow_label: u32,
}

enum Rule {
    Address(IpAddr),
    Range(IpAddr, IpAddr),
    Subnet(IpAddr, u8),
}

struct Entry {
    rule: Rule,
    _charge: Charge,
}

/// The Rust side of a `BlockList`. Clones of the JavaScript object share it. The newest rule is the last.
#[derive(Clone, Default)]
struct BlockList(Arc<Mutex<Vec<Entry>>>);

impl BlockList {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, scope: &mut v8::PinScope<'_, '_>, rule: Rule) -> Result<(), Throw> {
        let env = Env::of(scope);
        let charge = memory_budget(&env)
            .charge(scope, RULE_BYTES)
            .ok_or_else(|| {
                Throw::error("ERR_MEMORY_ALLOCATION_FAILED", "Failed to allocate memory")
            })?;
        self.lock().push(Entry {
            rule,
            _charge: charge,
        });
        Ok(())
    }
}

/// How addresses of both families compare: IPv4 with an IPv6 address that maps one, else not at all.
fn compare(one: IpAddr, two: IpAddr) -> Option<Ordering> {
    match (one, two) {
        (IpAddr::V4(one), IpAddr::V4(two)) => Some(one.cmp(&two)),
        (IpAddr::V6(one), IpAddr::V6(two)) => Some(one.cmp(&two)),
        (IpAddr::V4(one), IpAddr::V6(two)) => Some(one.cmp(&two.to_ipv4_mapped()?)),
        (IpAddr::V6(one), IpAddr::V4(two)) => Some(one.to_ipv4_mapped()?.cmp(&two)),
    }
}

fn shares_prefix(one: u128, two: u128, width: u32, prefix: u32) -> bool {
    prefix == 0 || prefix <= width && (one ^ two) >> (width - prefix) == 0
}

fn in_network(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => shares_prefix(
            ip.to_bits().into(),
            network.to_bits().into(),
            Ipv4Addr::BITS,
            prefix,
        ),
        (IpAddr::V6(ip), IpAddr::V4(network)) => ip.to_ipv4_mapped().is_some_and(|ip| {
            shares_prefix(
                ip.to_bits().into(),
                network.to_bits().into(),
                Ipv4Addr::BITS,
                prefix,
            )
        }),
        (IpAddr::V4(ip), IpAddr::V6(network)) => shares_prefix(
            ip.to_ipv6_mapped().to_bits(),
            network.to_bits(),
            Ipv6Addr::BITS,
            prefix,
        ),
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            shares_prefix(ip.to_bits(), network.to_bits(), Ipv6Addr::BITS, prefix)
        }
    }
}

impl Rule {
    fn applies(&self, ip: IpAddr) -> bool {
        match self {
            Self::Address(address) => compare(*address, ip) == Some(Ordering::Equal),
            Self::Range(start, end) => {
                compare(ip, *start).is_some_and(Ordering::is_ge)
                    && compare(ip, *end).is_some_and(Ordering::is_le)
            }
            Self::Subnet(network, prefix) => in_network(ip, *network, *prefix),
        }
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The address as libuv writes it: an IPv6 address that embeds an IPv4 address after 96 zero bits ends in dots.
fn text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(six) => match six.segments() {
            [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
                format!(
                    "::{}",
                    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
                )
            }
            _ => six.to_string(),
        },
        IpAddr::V4(four) => four.to_string(),
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(ip) => write!(formatter, "Address: {} {}", family(*ip), text(*ip)),
            Self::Range(start, end) => write!(
                formatter,
                "Range: {} {}-{}",
                family(*start),
                text(*start),
                text(*end)
            ),
            Self::Subnet(ip, prefix) => {
                write!(formatter, "Subnet: {} {}/{prefix}", family(*ip), text(*ip))
            }
        }
    }
}

/// How both classes travel: the copy shares what is behind it.
pub static HOST_TYPE: HostType = HostType {
    clone_object: |host: &Rc<dyn Any>| {
        if let Some(address) = host.downcast_ref::<SocketAddress>() {
            return Some(Box::new(*address));
        }
        Some(Box::new(host.downcast_ref::<BlockList>()?.clone()))
    },
};

fn arrive<'s, T: 'static>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    class: &'static str,
    value: T,
) -> Option<v8::Local<'s, v8::Object>> {
    match env.new_instance(scope, class) {
        Ok(object) => {
            env.objects.wrap(scope, object, Rc::new(value));
            Some(object)
        }
        Err(throw) => {
            throw.throw(scope);
            None
        }
    }
}

impl TransferData for SocketAddress {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        arrive(scope, env, "block_list.SocketAddress", *self)
    }
}

impl TransferData for BlockList {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        arrive(scope, env, "block_list.BlockList", *self)
    }
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn invalid() -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", "Not a socket address or block list")
}

/// Whether the constructor runs for the guest; an error when it was called without `new`.
fn is_guest_construction(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<bool, Throw> {
    if Env::of(scope).constructing_from_rust.get() {
        return Ok(false);
    }
    if args.is_construct_call() {
        return Ok(true);
    }
    Err(Throw::type_error(
        "ERR_CONSTRUCT_CALL_REQUIRED",
        "Cannot call constructor without `new`",
    ))
}

fn address_of(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
) -> Result<SocketAddress, Throw> {
    let object = v8::Local::<v8::Object>::try_from(value).map_err(|_| invalid())?;
    let address = Env::of(scope)
        .objects
        .unwrap::<SocketAddress>(scope, object)
        .ok_or_else(invalid)?;
    Ok(*address)
}

fn list_of(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<BlockList, Throw> {
    let list = Env::of(scope)
        .objects
        .unwrap::<BlockList>(scope, args.this())
        .ok_or_else(invalid)?;
    Ok(BlockList::clone(&list))
}

fn new_block_list<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if is_guest_construction(scope, args)? {
        Env::of(scope)
            .objects
            .wrap(scope, args.this(), Rc::new(BlockList::default()));
    }
    undefined(scope)
}

/// `new SocketAddress(address, port, family, flowlabel)`.
fn new_socket_address<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !is_guest_construction(scope, args)? {
        return undefined(scope);
    }
    let host = v8::Local::<v8::String>::try_from(args.get(0))
        .map_err(|_| invalid())?
        .to_rust_string_lossy(scope);
    let port = args
        .get(1)
        .int32_value(scope)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(invalid)?;
    let family = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    let flow_label = args.get(3).uint32_value(scope).ok_or(Throw::Pending)?;
    let ip = match family {
        AF_INET => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        AF_INET6 => host
            .split('%')
            .next()
            .and_then(|host| host.parse::<Ipv6Addr>().ok())
            .map(IpAddr::V6),
        _ => None,
    };
    let ip = ip.ok_or_else(|| Throw::error("ERR_INVALID_ADDRESS", "Invalid socket address"))?;
    Env::of(scope).objects.wrap(
        scope,
        args.this(),
        Rc::new(SocketAddress {
            ip,
            port,
            flow_label,
        }),
    );
    undefined(scope)
}

fn detail<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid())?;
    let address = address_of(scope, args.this().into())?;
    let host = v8::String::new(scope, &text(address.ip)).ok_or(Throw::Pending)?;
    let family = if address.ip.is_ipv4() {
        AF_INET
    } else {
        AF_INET6
    };
    let values: [(&str, v8::Local<v8::Value>); 4] = [
        ("address", host.into()),
        ("port", v8::Integer::new(scope, address.port.into()).into()),
        ("family", v8::Integer::new(scope, family).into()),
        (
            "flowlabel",
            v8::Integer::new_from_unsigned(scope, address.flow_label).into(),
        ),
    ];
    for (key, value) in values {
        let key = v8::String::new(scope, key).ok_or(Throw::Pending)?;
        target.set(scope, key.into(), value).ok_or(Throw::Pending)?;
    }
    Ok(target.into())
}

fn legacy_detail<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let address = address_of(scope, args.this().into())?;
    let object = v8::Object::new(scope);
    for (key, value) in [
        ("address", text(address.ip)),
        ("family", family(address.ip).to_owned()),
    ] {
        let value = v8::String::new(scope, &value).ok_or(Throw::Pending)?;
        set(scope, object, key, value.into());
    }
    let port = v8::Integer::new(scope, address.port.into());
    set(scope, object, "port", port.into());
    Ok(object.into())
}

fn flow_label<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let address = address_of(scope, args.this().into())?;
    Ok(v8::Integer::new_from_unsigned(scope, address.flow_label).into())
}

fn add_address<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let address = address_of(scope, args.get(0))?;
    list_of(scope, args)?.add(scope, Rule::Address(address.ip))?;
    Ok(v8::Boolean::new(scope, true).into())
}

/// Answers `false` when the end comes before the start.
fn add_range<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let start = address_of(scope, args.get(0))?;
    let end = address_of(scope, args.get(1))?;
    let list = list_of(scope, args)?;
    let ordered = compare(start.ip, end.ip) != Some(Ordering::Greater);
    if ordered {
        list.add(scope, Rule::Range(start.ip, end.ip))?;
    }
    Ok(v8::Boolean::new(scope, ordered).into())
}

fn add_subnet<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let network = address_of(scope, args.get(0))?;
    let bits = if network.ip.is_ipv4() {
        Ipv4Addr::BITS
    } else {
        Ipv6Addr::BITS
    };
    let prefix = args
        .get(1)
        .int32_value(scope)
        .and_then(|prefix| u8::try_from(prefix).ok());
    let prefix = prefix
        .filter(|prefix| u32::from(*prefix) <= bits)
        .ok_or_else(invalid)?;
    list_of(scope, args)?.add(scope, Rule::Subnet(network.ip, prefix))?;
    Ok(v8::Boolean::new(scope, true).into())
}

fn check<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let address = address_of(scope, args.get(0))?;
    let blocked = list_of(scope, args)?
        .lock()
        .iter()
        .any(|entry| entry.rule.applies(address.ip));
    Ok(v8::Boolean::new(scope, blocked).into())
}

fn get_rules<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let list = list_of(scope, args)?;
    let array = v8::Array::new(scope, 0);
    let rules: Vec<String> = list
        .lock()
        .iter()
        .rev()
        .map(|entry| entry.rule.to_string())
        .collect();
    for (index, rule) in (0_u32..).zip(rules) {
        v8::scope!(let scope, scope);
        let rule = v8::String::new(scope, &rule).ok_or(Throw::Pending)?;
        array
            .set_index(scope, index, rule.into())
            .ok_or(Throw::Pending)?;
    }
    Ok(array.into())
}
