//! `ChannelWrap`: questions to DNS servers, as c-ares puts them. Source: `src/cares_wrap.cc`.
//!
//! ```text
//!   query --> servers that the guest named? --yes--> a datagram socket of the kernel, with timeouts and tries
//!                                           --no---> the embedder's servers, if the policy allows the name
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};

use secure_exec_kernel::{Answered, Errno, FdHandle, Interest, Lookup, NameRecords};
use simple_dns::rdata::RData;
use simple_dns::{
    CLASS as DnsClass, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE,
};

use crate::binding::{Args, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::request::{self, Request};
use crate::env::Env;
use crate::readiness::Ready;
use crate::realm::set;
use crate::text;
use crate::throw::Throw;

use super::{any_address, number, string};

/// The class.
pub const CLASS: Class = Class {
    name: "ChannelWrap",
    parent: Some("fs.AsyncWrap"),
    constructor: Some(function!(construct)),
    methods: &[
        ("getHostByAddr", function!(get_host_by_addr)),
        ("queryA", function!(query_a)),
        ("queryAny", function!(query_any)),
        ("queryAaaa", function!(query_aaaa)),
        ("queryCaa", function!(query_caa)),
        ("queryCname", function!(query_cname)),
        ("queryMx", function!(query_mx)),
        ("queryNaptr", function!(query_naptr)),
        ("queryNs", function!(query_ns)),
        ("queryPtr", function!(query_ptr)),
        ("querySrv", function!(query_srv)),
        ("querySoa", function!(query_soa)),
        ("queryTlsa", function!(query_tlsa)),
        ("queryTxt", function!(query_txt)),
        ("getServers", function!(get_servers)),
        ("setServers", function!(set_servers)),
        ("setLocalAddress", function!(set_local_address)),
        ("cancel", function!(cancel)),
    ],
    ..Class::DEFAULT
};

/// What `setServers` answers while queries are in flight.
pub const STATUS_SERVERS_PENDING: i32 = -1000;

const CHANNEL_PROVIDER: Provider = Provider {
    name: "DNSCHANNEL",
    number: 2,
};
const QUERY_PROVIDER: Provider = Provider {
    name: "QUERYWRAP",
    number: 27,
};
const DEFAULT_TIMEOUT_MS: f64 = 2000.0;
const DNS_PORT: u16 = 53;
/// The type number of TLSA, which the parser does not know.
const TLSA: u16 = 52;
/// Questions of one channel that may be in flight.
const MAX_QUERIES: usize = 1024;
/// Servers that a channel may have.
const MAX_SERVERS: usize = 64;

/// The servers that `/etc/resolv.conf` names.
const DEFAULT_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

fn default_server() -> SocketAddr {
    SocketAddr::new(DEFAULT_SERVER.into(), DNS_PORT)
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Record(TYPE),
    Tlsa,
    Any,
    /// `getHostByAddr`: names of an address.
    Names,
}

impl Ask {
    fn kind(self) -> QTYPE {
        match self {
            Ask::Record(kind) => QTYPE::TYPE(kind),
            Ask::Tlsa => QTYPE::TYPE(TYPE::Unknown(TLSA)),
            Ask::Any => QTYPE::ANY,
            Ask::Names => QTYPE::TYPE(TYPE::PTR),
        }
    }
}

struct Channel {
    timeout: Option<f64>,
    tries: u32,
    max_timeout: Option<f64>,
    servers: RefCell<Vec<SocketAddr>>,
    /// Whether the guest named them.
    servers_named: Cell<bool>,
    queries: RefCell<HashMap<u64, Rc<Query>>>,
    next: Cell<u64>,
}

/// A question in flight.
struct Query {
    own: Weak<Query>,
    channel: Weak<Channel>,
    id: u64,
    ask: Ask,
    name: String,
    request: RefCell<Option<Request>>,
    socket: Cell<Option<FdHandle>>,
    /// Number of the datagram that is waited for.
    datagram: Cell<u16>,
    attempt: Cell<u32>,
    last_error: Cell<&'static str>,
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("ChannelWrap"));
    }
    let timeout = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let tries = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let max_timeout = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    let channel = Channel {
        timeout: (timeout >= 0).then(|| f64::from(timeout.max(1))),
        tries: u32::try_from(tries).unwrap_or(1).max(1),
        max_timeout: (max_timeout > 0).then(|| f64::from(max_timeout)),
        servers: RefCell::new(vec![default_server()]),
        servers_named: Cell::new(false),
        queries: RefCell::default(),
        next: Cell::new(0),
    };
    Resource::wrap(scope, &env, args.this(), CHANNEL_PROVIDER, Rc::new(channel));
    Ok(v8::undefined(scope).into())
}

// ---- queries -------------------------------------------------------------------------------------------------------

macro_rules! queries {
    ($($function:ident = $ask:expr;)*) => {
        $(fn $function<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
            query(scope, args, $ask)
        })*
    };
}

queries! {
    query_a = Ask::Record(TYPE::A);
    query_aaaa = Ask::Record(TYPE::AAAA);
    query_any = Ask::Any;
    query_caa = Ask::Record(TYPE::CAA);
    query_cname = Ask::Record(TYPE::CNAME);
    query_mx = Ask::Record(TYPE::MX);
    query_naptr = Ask::Record(TYPE::NAPTR);
    query_ns = Ask::Record(TYPE::NS);
    query_ptr = Ask::Record(TYPE::PTR);
    query_soa = Ask::Record(TYPE::SOA);
    query_srv = Ask::Record(TYPE::SRV);
    query_tlsa = Ask::Tlsa;
    query_txt = Ask::Record(TYPE::TXT);
}

/// `query*(req, name)`
fn query<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, ask: Ask) -> Ret<'s> {
    let object = request::unused(scope, args.get(0))?;
    let name = super::text(scope, args.get(1), "name")?;
    start(scope, args, object, ask, name)
}

/// `getHostByAddr(req, ip)`
fn get_host_by_addr<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let object = request::unused(scope, args.get(0))?;
    let ip = super::text(scope, args.get(1), "ip")?;
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return number(scope, Errno::EINVAL.uv());
    };
    let known = Env::of(scope).kernel()?.name_of_address(ip);
    let Some(known) = known else {
        return start(scope, args, object, Ask::Names, reverse_name(ip));
    };
    let (_, channel) = Resource::this::<Channel>(scope, args)?;
    let query = channel.add(scope, object, Ask::Names, String::new())?;
    Env::of(scope)
        .event_loop
        .complete(Box::new(move |scope, env| {
            if let Ok(name) = string(scope, &known) {
                let names = v8::Array::new_with_elements(scope, &[name]).into();
                query.succeed(scope, env, names, None);
            }
        }));
    number(scope, 0)
}

/// The name under which DNS keeps the names of an address.
fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let mut name = String::with_capacity(72);
            for byte in ip.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name.push_str("ip6.arpa");
            name
        }
    }
}

fn start<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    object: v8::Local<'s, v8::Object>,
    ask: Ask,
    name: String,
) -> Ret<'s> {
    let (_, channel) = Resource::this::<Channel>(scope, args)?;
    if channel.queries.borrow().len() >= MAX_QUERIES {
        return number(scope, Errno::ENOMEM.uv());
    }
    let env = Env::of(scope);
    let query = channel.add(scope, object, ask, name)?;
    if channel.asks_host() {
        query.look_up(&env)?;
    } else {
        query.send(&env);
    }
    number(scope, 0)
}

impl Channel {
    fn add<'s>(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        ask: Ask,
        name: String,
    ) -> Result<Rc<Query>, Throw> {
        let env = Env::of(scope);
        let request = Request::start(scope, &env, object, QUERY_PROVIDER, None);
        let id = self.next.get();
        self.next.set(id + 1);
        let query = Rc::new_cyclic(|own| Query {
            own: own.clone(),
            channel: Rc::downgrade(self),
            id,
            ask,
            name,
            request: RefCell::new(Some(request)),
            socket: Cell::default(),
            datagram: Cell::default(),
            attempt: Cell::new(0),
            last_error: Cell::new("ETIMEOUT"),
        });
        self.queries.borrow_mut().insert(id, query.clone());
        Ok(query)
    }

    /// Whether the guest leaves it to the embedder who answers.
    fn asks_host(&self) -> bool {
        !self.servers_named.get() || *self.servers.borrow() == [default_server()]
    }

    /// The server of an attempt and how long it has, or `None` after the last.
    fn attempt(&self, attempt: u32) -> Option<(SocketAddr, f64)> {
        let servers = self.servers.borrow();
        let count = u32::try_from(servers.len())
            .ok()
            .filter(|count| *count > 0)?;
        let round = attempt / count;
        if round >= self.tries {
            return None;
        }
        let server = servers.get(usize::try_from(attempt % count).ok()?)?;
        let timeout =
            self.timeout.unwrap_or(DEFAULT_TIMEOUT_MS) * 2_f64.powi(round.min(16).cast_signed());
        let timeout = self.max_timeout.map_or(timeout, |max| timeout.min(max));
        Some((*server, timeout))
    }
}

impl Query {
    fn later(
        &self,
        env: &Env,
        task: impl FnOnce(Rc<Query>, &mut v8::PinScope<'_, '_>, &Rc<Env>) + 'static,
    ) {
        if let Some(query) = self.own.upgrade() {
            env.event_loop
                .complete(Box::new(move |scope, env| task(query, scope, env)));
        }
    }

    fn fail_later(&self, env: &Env, code: &'static str) {
        self.later(env, move |query, scope, env| query.fail(scope, env, code));
    }

    /// Asks the kernel, and through it whoever the embedder lets answer.
    fn look_up(&self, env: &Rc<Env>) -> Result<(), Throw> {
        let (kernel, process) = (env.kernel()?, env.process()?);
        let pending = env.extension::<Outside>();
        let id = pending.next.get();
        pending.next.set(id + 1);
        let shared = env.shared().clone();
        let answer = move || -> Answered {
            Box::new(move |records| {
                shared.inbox.send(Box::new(move |scope, env| {
                    let outside = env.extension::<Outside>();
                    let query = outside.queries.borrow_mut().remove(&id);
                    if let Some(query) = query {
                        query.told(scope, env, records);
                    }
                }));
            })
        };
        if let Some(own) = self.own.upgrade() {
            pending.queries.borrow_mut().insert(id, own);
        }
        let kind = u16::from(self.ask.kind());
        let addresses = matches!(self.ask, Ask::Record(TYPE::A | TYPE::AAAA));
        let known = kernel.query_records(&process, &self.name, kind, addresses, answer);
        if known == Ok(Lookup::Asked) {
            return Ok(());
        }
        pending.queries.borrow_mut().remove(&id);
        self.later(env, move |query, scope, env| match known {
            Ok(Lookup::Known(found)) => query.found(scope, env, &found),
            Err(Errno::EAI_NONAME) => query.fail(scope, env, "ENOTFOUND"),
            // As where there is no network: a program expects that.
            Ok(Lookup::Asked) | Err(_) => query.fail(scope, env, "ECONNREFUSED"),
        });
        Ok(())
    }

    /// What the embedder's servers say.
    fn told(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        records: Result<NameRecords, Errno>,
    ) {
        match records {
            Ok(records) => self.answer(scope, env, &records.message),
            Err(Errno::ETIMEDOUT) => self.fail(scope, env, "ETIMEOUT"),
            Err(_) => self.fail(scope, env, "ECONNREFUSED"),
        }
    }

    /// Addresses that the VM itself knows.
    fn found(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, found: &[IpAddr]) {
        let v6 = self.ask == Ask::Record(TYPE::AAAA);
        let mut values = Vec::new();
        let mut ttls = Vec::new();
        for ip in found.iter().filter(|ip| ip.is_ipv6() == v6) {
            let Ok(ip) = string(scope, &ip.to_string()) else {
                return;
            };
            values.push(ip);
            ttls.push(v8::Integer::new(scope, 0).into());
        }
        if values.is_empty() {
            return self.fail(scope, env, "ENODATA");
        }
        let values = v8::Array::new_with_elements(scope, &values).into();
        let ttls = v8::Array::new_with_elements(scope, &ttls).into();
        self.succeed(scope, env, values, Some(ttls));
    }

    /// Sends the question to the next server; fails after the last.
    fn send(&self, env: &Rc<Env>) {
        self.close_socket(env);
        let Some(channel) = self.channel.upgrade() else {
            return;
        };
        let Some((server, timeout)) = channel.attempt(self.attempt.get()) else {
            return self.fail_later(env, self.last_error.get());
        };
        let attempt = self.attempt.get() + 1;
        self.attempt.set(attempt);
        let Some(question) = self.question() else {
            return self.fail_later(env, "EBADNAME");
        };
        if self.put(env, server, &question).is_err() {
            self.last_error.set("ECONNREFUSED");
            return self.later(env, |query, _, env| query.send(env));
        }
        let own = self.own.clone();
        let due = env.loop_now() + timeout;
        env.event_loop.after_unref(
            due,
            Box::new(move |_, env| {
                if let Some(query) = own.upgrade()
                    && query.attempt.get() == attempt
                    && query.request.borrow().is_some()
                {
                    query.last_error.set("ETIMEOUT");
                    query.send(env);
                }
            }),
        );
    }

    /// Opens a socket of its own, so that an answer cannot be taken for another's.
    fn put(&self, env: &Rc<Env>, server: SocketAddr, question: &[u8]) -> Result<(), Errno> {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return Err(Errno::ESRCH);
        };
        if !server.ip().to_canonical().is_loopback() {
            kernel.may_query(&process, &self.name)?;
        }
        let fd = kernel.udp_socket(&process, server.is_ipv6())?;
        self.socket.set(Some(process.fd_handle(fd)?));
        kernel.udp_bind(&process, fd, any_address(server), false, false)?;
        kernel.udp_connect(&process, fd, server)?;
        kernel.udp_send(&process, fd, question, None)?;
        let own: Weak<dyn Ready> = self.own.clone();
        env.when_ready(fd, Interest::Readable, own)
    }

    fn question(&self) -> Option<Vec<u8>> {
        let mut number = [0; 2];
        secure_exec_kernel::fill_random(&mut number).ok()?;
        let number = u16::from_ne_bytes(number);
        self.datagram.set(number);
        let mut packet = Packet::new_query(number);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let kind = self.ask.kind();
        let name = Name::new(&self.name).ok()?;
        let class = QCLASS::CLASS(DnsClass::IN);
        packet
            .questions
            .push(Question::new(name, kind, class, false));
        packet.build_bytes_vec().ok()
    }

    fn close_socket(&self, env: &Env) {
        let Some(handle) = self.socket.take() else {
            return;
        };
        if let (Ok(kernel), Ok(process)) = (env.kernel(), env.process())
            && process.file_of(handle).is_ok()
        {
            // It was open just now.
            let _ = kernel.close(&process, handle.fd);
        }
    }

    /// Takes the request, and itself from its channel.
    fn end(&self, env: &Env) -> Option<Request> {
        self.close_socket(env);
        if let Some(channel) = self.channel.upgrade() {
            channel.queries.borrow_mut().remove(&self.id);
        }
        self.request.borrow_mut().take()
    }

    /// `oncomplete(code)`
    fn fail(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, code: &str) {
        if let Some(request) = self.end(env)
            && let Ok(code) = string(scope, code)
        {
            request.complete(scope, env, &[code]);
        }
    }

    /// `oncomplete(0, result, ttls)`
    fn succeed<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        result: v8::Local<'s, v8::Value>,
        ttls: Option<v8::Local<'s, v8::Value>>,
    ) {
        if let Some(request) = self.end(env) {
            let zero = v8::Integer::new(scope, 0).into();
            let ttls = ttls.unwrap_or_else(|| v8::undefined(scope).into());
            request.complete(scope, env, &[zero, result, ttls]);
        }
    }

    fn receive(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let Some(handle) = self.socket.get() else {
            return;
        };
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        loop {
            let datagram = process
                .file_of(handle)
                .and_then(|_| kernel.udp_receive(&process, handle.fd));
            match datagram {
                Ok(datagram) if is_answer(&datagram.bytes, self.datagram.get()) => {
                    return self.answer(scope, env, &datagram.bytes);
                }
                // Not an answer to this question.
                Ok(_) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    self.last_error.set("ECONNREFUSED");
                    return self.send(env);
                }
            }
        }
        let own: Weak<dyn Ready> = self.own.clone();
        // Without it the timeout ends the wait.
        let _ = env.when_ready(handle.fd, Interest::Readable, own);
    }

    fn answer(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            return self.fail(scope, env, "EBADRESP");
        };
        let refused = match packet.rcode() {
            RCODE::NoError => None,
            RCODE::NameError => return self.fail(scope, env, "ENOTFOUND"),
            RCODE::FormatError => Some("EFORMERR"),
            RCODE::ServerFailure => Some("ESERVFAIL"),
            RCODE::NotImplemented => Some("ENOTIMP"),
            _ => Some("EREFUSED"),
        };
        if let Some(code) = refused {
            if self.socket.get().is_none() {
                // The embedder's servers were asked, all that there are.
                return self.fail(scope, env, code);
            }
            // Another server may know.
            self.last_error.set(code);
            return self.send(env);
        }
        match self.read(scope, &packet) {
            Ok(Some((result, ttls))) => self.succeed(scope, env, result, ttls),
            Ok(None) => self.fail(scope, env, "ENODATA"),
            Err(_) => {}
        }
    }

    /// The result, and the lifetimes of addresses; `None` when there is no record of the kind.
    fn read<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        packet: &Packet<'_>,
    ) -> Result<Option<Answer<'s>>, Throw> {
        let mut values: Vec<v8::Local<v8::Value>> = Vec::new();
        let mut ttls: Vec<v8::Local<v8::Value>> = Vec::new();
        let mut soa = None;
        for record in &packet.answers {
            match self.ask {
                Ask::Any => {
                    if let Some(value) = any_record(scope, &record.rdata, record.ttl)? {
                        values.push(value);
                    }
                }
                Ask::Names => {
                    if let RData::PTR(name) = &record.rdata {
                        values.push(string(scope, &name.0.to_string())?);
                    }
                }
                Ask::Tlsa => {
                    if let RData::NULL(TLSA, data) = &record.rdata
                        && let Some(value) = tlsa(scope, data.get_data())?
                    {
                        values.push(value);
                    }
                }
                Ask::Record(kind) if record.rdata.type_code() == kind => {
                    let Some(value) = one_record(scope, &record.rdata)? else {
                        continue;
                    };
                    if kind == TYPE::SOA {
                        soa = Some(value);
                    }
                    values.push(value);
                    ttls.push(v8::Number::new(scope, f64::from(record.ttl)).into());
                }
                Ask::Record(_) => {}
            }
        }
        if values.is_empty() {
            return Ok(None);
        }
        if let Some(soa) = soa {
            return Ok(Some((soa, None)));
        }
        let result = v8::Array::new_with_elements(scope, &values).into();
        let ttls = match self.ask {
            Ask::Record(TYPE::A | TYPE::AAAA) => {
                Some(v8::Array::new_with_elements(scope, &ttls).into())
            }
            _ => None,
        };
        Ok(Some((result, ttls)))
    }
}

type Answer<'s> = (v8::Local<'s, v8::Value>, Option<v8::Local<'s, v8::Value>>);

/// Queries that the embedder's egress answers.
#[derive(Default)]
struct Outside {
    next: Cell<u64>,
    queries: RefCell<HashMap<u64, Rc<Query>>>,
}

impl Ready for Query {
    fn ready(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, _: Interest) {
        if self.request.borrow().is_some() {
            self.receive(scope, env);
        }
    }
}

/// Whether a datagram says that it answers the question of this number.
fn is_answer(bytes: &[u8], number: u16) -> bool {
    const RESPONSE: u8 = 0x80;
    match bytes {
        [high, low, flags, ..] => {
            u16::from_be_bytes([*high, *low]) == number && flags & RESPONSE != 0
        }
        _ => false,
    }
}

// ---- records -------------------------------------------------------------------------------------------------------

fn object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    entries: &[(&str, v8::Local<'s, v8::Value>)],
) -> v8::Local<'s, v8::Value> {
    let object = v8::Object::new(scope);
    for (key, value) in entries {
        set(scope, object, key, *value);
    }
    object.into()
}

fn numeric<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    number: impl Into<f64>,
) -> v8::Local<'s, v8::Value> {
    v8::Number::new(scope, number.into()).into()
}

/// The strings of a TXT record.
fn entries<'s>(scope: &mut v8::PinScope<'s, '_>, txt: &simple_dns::rdata::TXT<'_>) -> Ret<'s> {
    let mut values = Vec::new();
    for (key, value) in txt.iter_raw() {
        let mut bytes = key.to_vec();
        if let Some(value) = value {
            bytes.push(b'=');
            bytes.extend_from_slice(value);
        }
        values.push(text::one_byte(scope, &bytes)?);
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

/// A record as `query*` gives it; `None` for a kind that it does not give.
fn one_record<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    rdata: &RData<'_>,
) -> Result<Option<v8::Local<'s, v8::Value>>, Throw> {
    Ok(Some(match rdata {
        RData::A(a) => string(scope, &Ipv4Addr::from(a.address).to_string())?,
        RData::AAAA(aaaa) => string(scope, &Ipv6Addr::from(aaaa.address).to_string())?,
        RData::CNAME(name) => string(scope, &name.0.to_string())?,
        RData::NS(name) => string(scope, &name.0.to_string())?,
        RData::PTR(name) => string(scope, &name.0.to_string())?,
        RData::TXT(txt) => entries(scope, txt)?,
        RData::MX(mx) => {
            let exchange = string(scope, &mx.exchange.to_string())?;
            let priority = numeric(scope, mx.preference);
            object(scope, &[("exchange", exchange), ("priority", priority)])
        }
        RData::SRV(srv) => {
            let name = string(scope, &srv.target.to_string())?;
            let port = numeric(scope, srv.port);
            let priority = numeric(scope, srv.priority);
            let weight = numeric(scope, srv.weight);
            object(
                scope,
                &[
                    ("name", name),
                    ("port", port),
                    ("priority", priority),
                    ("weight", weight),
                ],
            )
        }
        RData::SOA(soa) => {
            let nsname = string(scope, &soa.mname.to_string())?;
            let hostmaster = string(scope, &soa.rname.to_string())?;
            let serial = numeric(scope, soa.serial);
            let refresh = numeric(scope, soa.refresh);
            let retry = numeric(scope, soa.retry);
            let expire = numeric(scope, soa.expire);
            let minttl = numeric(scope, soa.minimum);
            object(
                scope,
                &[
                    ("nsname", nsname),
                    ("hostmaster", hostmaster),
                    ("serial", serial),
                    ("refresh", refresh),
                    ("retry", retry),
                    ("expire", expire),
                    ("minttl", minttl),
                ],
            )
        }
        RData::NAPTR(naptr) => {
            let flags = string(scope, &naptr.flags.to_string())?;
            let service = string(scope, &naptr.services.to_string())?;
            let regexp = string(scope, &naptr.regexp.to_string())?;
            let replacement = string(scope, &naptr.replacement.to_string())?;
            let order = numeric(scope, naptr.order);
            let preference = numeric(scope, naptr.preference);
            object(
                scope,
                &[
                    ("flags", flags),
                    ("service", service),
                    ("regexp", regexp),
                    ("replacement", replacement),
                    ("order", order),
                    ("preference", preference),
                ],
            )
        }
        RData::CAA(caa) => {
            let critical = numeric(scope, caa.flag);
            let value = text::one_byte(scope, &caa.value)?;
            object(
                scope,
                &[("critical", critical), (&caa.tag.to_string(), value)],
            )
        }
        _ => return Ok(None),
    }))
}

/// A record as `queryAny` gives it: an object with its type.
fn any_record<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    rdata: &RData<'_>,
    ttl: u32,
) -> Result<Option<v8::Local<'s, v8::Value>>, Throw> {
    let Some(value) = one_record(scope, rdata)? else {
        return Ok(None);
    };
    let (name, key) = match rdata {
        RData::A(_) => ("A", Some("address")),
        RData::AAAA(_) => ("AAAA", Some("address")),
        RData::CNAME(_) => ("CNAME", Some("value")),
        RData::NS(_) => ("NS", Some("value")),
        RData::PTR(_) => ("PTR", Some("value")),
        RData::TXT(_) => ("TXT", Some("entries")),
        RData::MX(_) => ("MX", None),
        RData::SRV(_) => ("SRV", None),
        RData::SOA(_) => ("SOA", None),
        RData::NAPTR(_) => ("NAPTR", None),
        _ => ("CAA", None),
    };
    let value = match key {
        Some(key) => object(scope, &[(key, value)]),
        None => value,
    };
    let Ok(target) = v8::Local::<v8::Object>::try_from(value) else {
        return Ok(None);
    };
    if key == Some("address") {
        let ttl = numeric(scope, ttl);
        set(scope, target, "ttl", ttl);
    }
    let name = string(scope, name)?;
    set(scope, target, "type", name);
    Ok(Some(value))
}

/// A TLSA record from its bytes.
fn tlsa<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: &[u8],
) -> Result<Option<v8::Local<'s, v8::Value>>, Throw> {
    let [usage, selector, matching, data @ ..] = bytes else {
        return Ok(None);
    };
    let usage = numeric(scope, *usage);
    let selector = numeric(scope, *selector);
    let matching = numeric(scope, *matching);
    let data = crate::array_buffer::array_buffer_of(scope, data)?.into();
    Ok(Some(object(
        scope,
        &[
            ("certUsage", usage),
            ("selector", selector),
            ("match", matching),
            ("data", data),
        ],
    )))
}

// ---- servers -------------------------------------------------------------------------------------------------------

/// `getServers()`: pairs of address and port.
fn get_servers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, channel) = Resource::this::<Channel>(scope, args)?;
    let servers = channel.servers.borrow().clone();
    let mut pairs = Vec::with_capacity(servers.len());
    for server in servers {
        let ip = string(scope, &server.ip().to_string())?;
        let port = v8::Integer::new(scope, i32::from(server.port())).into();
        pairs.push(v8::Array::new_with_elements(scope, &[ip, port]).into());
    }
    Ok(v8::Array::new_with_elements(scope, &pairs).into())
}

/// `setServers([[family, ip, port], ...])`: 0 or a status of c-ares.
fn set_servers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const BAD_STRING: i32 = 17;
    let (_, channel) = Resource::this::<Channel>(scope, args)?;
    let list = v8::Local::<v8::Array>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "servers must be an array"))?;
    let mut servers = Vec::new();
    for index in 0..list.length() {
        let entry = list.get_index(scope, index).ok_or(Throw::Pending)?;
        let Ok(entry) = v8::Local::<v8::Object>::try_from(entry) else {
            return number(scope, BAD_STRING);
        };
        let ip = entry.get_index(scope, 1).ok_or(Throw::Pending)?;
        let port = entry.get_index(scope, 2).ok_or(Throw::Pending)?;
        let ip = super::text(scope, ip, "server")?;
        let port = port.uint32_value(scope).ok_or(Throw::Pending)?;
        match (ip.parse::<IpAddr>(), u16::try_from(port)) {
            (Ok(ip), Ok(port)) if servers.len() < MAX_SERVERS => {
                servers.push(SocketAddr::new(ip, port));
            }
            _ => return number(scope, BAD_STRING),
        }
    }
    if !channel.queries.borrow().is_empty() {
        return number(scope, STATUS_SERVERS_PENDING);
    }
    channel.servers.replace(servers);
    channel.servers_named.set(true);
    number(scope, 0)
}

/// `setLocalAddress(ip, ip6)`: checked, and nothing more: a VM has one address of each family.
fn set_local_address<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let first = super::text(scope, args.get(0), "ip")?;
    let invalid = || Throw::type_error("ERR_INVALID_ARG_VALUE", "Invalid IP address.");
    let first: IpAddr = first.parse().map_err(|_| invalid())?;
    if !args.get(1).is_undefined() {
        let second = super::text(scope, args.get(1), "ip")?;
        let second: IpAddr = second.parse().map_err(|_| invalid())?;
        if first.is_ipv4() == second.is_ipv4() {
            let family = if first.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(Throw::type_error(
                "ERR_INVALID_ARG_VALUE",
                format!("Cannot specify two {family} addresses."),
            ));
        }
    }
    Ok(v8::undefined(scope).into())
}

/// `cancel()`: every question in flight ends with `ECANCELLED`.
fn cancel<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, channel) = Resource::this::<Channel>(scope, args)?;
    let env = Env::of(scope);
    let mut queries: Vec<Rc<Query>> = channel.queries.borrow().values().cloned().collect();
    queries.sort_by_key(|query| query.id);
    channel.queries.borrow_mut().clear();
    for query in queries {
        query.close_socket(&env);
        query.fail_later(&env, "ECANCELLED");
    }
    Ok(v8::undefined(scope).into())
}
