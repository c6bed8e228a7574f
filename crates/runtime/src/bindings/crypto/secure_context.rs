//! `SecureContext`: what TLS connections are made with. Source: `src/crypto/crypto_context.cc`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls_clock::{TimeProvider, UnixTime};
use secure_exec_tls::certificate::Certificate;
use secure_exec_tls::context::{TLS1_2, TLS1_3};
use secure_exec_tls::revocation::RevocationList;
use secure_exec_tls::session_store::SessionTable;
use secure_exec_tls::{Context, TlsError, cipher, clock as rustls_clock, pem, root};

use super::argument::{bytes, invalid, string, text_or_bytes};
use super::encoding::{self, Structure};
use super::pkcs12;
use super::random::charge;
use super::tls_error;
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Callback, Function, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::env::Env;
use crate::memory::NativeCharge;
use crate::text;
use crate::throw::Throw;
use crate::work::Meter;

/// Methods of `SecureContext`.
pub const METHODS: &[Function] = &[
    ("init", function!(init)),
    ("setKey", function!(set_key)),
    ("setCert", function!(set_cert)),
    ("addCACert", function!(add_ca_cert)),
    ("setAllowPartialTrustChain", function!(set_partial_trust)),
    ("addCRL", function!(add_crl)),
    ("addRootCerts", function!(add_root_certs)),
    ("setCipherSuites", function!(set_cipher_suites)),
    ("setCiphers", function!(set_ciphers)),
    ("setSigalgs", function!(set_sigalgs)),
    ("setECDHCurve", function!(set_ecdh_curve)),
    ("setDHParam", function!(set_dh_param)),
    ("setMaxProto", function!(set_max_proto)),
    ("setMinProto", function!(set_min_proto)),
    ("getMaxProto", function!(get_max_proto)),
    ("getMinProto", function!(get_min_proto)),
    ("setOptions", function!(set_options)),
    ("setSessionIdContext", function!(set_session_id_context)),
    ("setSessionTimeout", function!(set_session_timeout)),
    ("close", function!(close)),
    ("loadPKCS12", function!(load_pkcs12)),
    ("setTicketKeys", function!(set_ticket_keys)),
    (
        "enableTicketKeyCallback",
        function!(enable_ticket_key_callback),
    ),
    ("getTicketKeys", function!(get_ticket_keys)),
    ("getCertificate", function!(get_certificate)),
    ("getIssuer", function!(get_issuer)),
];

/// `SSL_OP_NO_TICKET`
const NO_TICKET: u64 = 1 << 14;
/// `SSL_OP_NO_TLSv1_2`
const NO_TLS1_2: u64 = 1 << 27;
/// `SSL_OP_NO_TLSv1_3`
const NO_TLS1_3: u64 = 1 << 29;
/// `TLS1_VERSION`
const TLS1: i32 = 0x0301;
/// `TLS1_1_VERSION`
const TLS1_1: i32 = 0x0302;
/// Bits of the shortest prime that is taken, and of the shortest that is taken without a word.
const DH_BITS: (usize, usize) = (1024, 2048);
/// The most of the file in `NODE_EXTRA_CA_CERTS` that is read.
const MAX_EXTRA_BYTES: u64 = 1 << 20;

/// The Rust side of a `SecureContext`.
pub struct SecureContext {
    context: RefCell<Context>,
    _charge: Option<NativeCharge>,
}

/// Bytes that a context takes, about.
const CONTEXT_BYTES: usize = 12 << 10;

impl SecureContext {
    /// The context behind a value.
    pub fn of<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
    ) -> Option<Rc<Self>> {
        if value.is_array_buffer_view() {
            return None;
        }
        let object = v8::Local::<v8::Object>::try_from(value).ok()?;
        Env::of(scope).objects.unwrap::<Self>(scope, object)
    }

    /// Works with it.
    pub fn with<T>(&self, body: impl FnOnce(&mut Context) -> T) -> T {
        body(&mut self.context.borrow_mut())
    }
}

/// The process's time, for threads that have no process.
#[derive(Debug, Default)]
pub struct SharedClock(AtomicU64);

impl TimeProvider for SharedClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// What all connections of a process share.
#[derive(Default)]
pub struct TlsState {
    /// Sessions that clients can resume.
    pub sessions: Arc<SessionTable>,
    /// The time.
    pub clock: Arc<SharedClock>,
    /// Who is trusted in the place of Mozilla's roots.
    user_roots: RefCell<Option<Vec<Certificate>>>,
    extra_roots: RefCell<Option<Vec<Certificate>>>,
}

impl TlsState {
    /// Sets the clock to the process's; answers the seconds.
    pub fn set_clock(&self, env: &Env) -> i64 {
        let seconds = env.clock().wall().as_secs();
        self.clock.0.store(seconds, Ordering::Relaxed);
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    /// The certificates in the file that `NODE_EXTRA_CA_CERTS` names, read once.
    fn extra(&self, env: &Env) -> Vec<Certificate> {
        let mut extra = self.extra_roots.borrow_mut();
        extra
            .get_or_insert_with(|| read_extra(env).unwrap_or_default())
            .clone()
    }
}

fn read_extra(env: &Env) -> Option<Vec<Certificate>> {
    let (kernel, process) = (env.kernel().ok()?, env.process().ok()?);
    let path = env.variables.get("NODE_EXTRA_CA_CERTS")?;
    let file = kernel
        .read_file(&process, path.as_bytes(), MAX_EXTRA_BYTES)
        .ok()?;
    pem::certificates(&file.into_vec()).ok()
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<SecureContext>, Throw> {
    SecureContext::of(scope, args.this().into()).ok_or_else(|| invalid("this"))
}

/// Accessors of the class.
pub static ACCESSORS: [(&str, Callback, Option<Callback>); 1] =
    [("_external", function!(get_external), None)];

/// What stands for the context in code of others; nothing here takes it back.
fn get_external<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    this(scope, args)?;
    let id = std::ptr::without_provenance_mut(1);
    Ok(v8::External::new(scope, id).into())
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// Answers `undefined`, or throws OpenSSL's error.
fn done<'s>(scope: &mut v8::PinScope<'s, '_>, result: Result<(), TlsError>) -> Ret<'s> {
    match result {
        Ok(()) => undefined(scope),
        Err(error) => Err(tls_error::throw(scope, error)),
    }
}

/// The bytes of a string or a view.
fn content<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    name: &str,
) -> Result<Vec<u8>, Throw> {
    let encoding = v8::undefined(scope).into();
    text_or_bytes(scope, value, encoding, name)
}

fn full() -> Throw {
    Throw::error(
        "ERR_OUT_OF_RANGE",
        "A secure context holds no more certificates than this",
    )
}

/// `new SecureContext()`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("SecureContext"));
    }
    let context = Context::new()
        .ok_or_else(|| Throw::error("ERR_OPERATION_FAILED", "Operation failed: no random bytes"))?;
    let context = SecureContext {
        context: RefCell::new(context),
        _charge: charge(scope, CONTEXT_BYTES)?,
    };
    let env = Env::of(scope);
    env.objects.wrap(scope, args.this(), Rc::new(context));
    undefined(scope)
}

/// `init(secureProtocol, minVersion, maxVersion)`
fn init<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let mut min = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let mut max = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    if args.get(0).is_string() {
        let name = string(scope, args.get(0), "secureProtocol")?;
        let refused = |text: String| Throw::type_error("ERR_TLS_INVALID_PROTOCOL_METHOD", text);
        let method = ["_server_method", "_client_method", "_method"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        (min, max) = match method {
            Some("SSLv2") => return Err(refused("SSLv2 methods disabled".to_owned())),
            Some("SSLv3") => return Err(refused("SSLv3 methods disabled".to_owned())),
            Some("SSLv23") => (0, TLS1_2),
            Some("TLS") => (0, TLS1_3),
            Some("TLSv1") => (TLS1, TLS1),
            Some("TLSv1_1") => (TLS1_1, TLS1_1),
            Some("TLSv1_2") => (TLS1_2, TLS1_2),
            _ => return Err(refused(format!("Unknown method: {name}"))),
        };
    }
    context.with(|context| {
        context.min_version = min;
        context.max_version = max;
    });
    undefined(scope)
}

/// `setKey(key, passphrase)`
fn set_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let pem = zeroize::Zeroizing::new(content(scope, args.get(0), "key")?);
    // Without one, an empty one is tried.
    let passphrase = zeroize::Zeroizing::new(if args.get(1).is_string() {
        content(scope, args.get(1), "passphrase")?
    } else {
        Vec::new()
    });
    let unlock = &mut encoding::Unlock {
        passphrase: Some(&passphrase),
        meter: &mut Meter::on_own_thread(&Env::of(scope)),
    };
    let key = encoding::private_from_pem(&pem, unlock)?;
    let spki = key
        .public()
        .and_then(|public| encoding::public_to_der(&public, Structure::Spki));
    let pkcs8 = encoding::private_to_der(&key, Structure::Pkcs8);
    let (Some(spki), Some(pkcs8)) = (spki, pkcs8) else {
        return Err(invalid("key"));
    };
    let added = context.with(|context| context.add_key(&spki, pkcs8.to_vec()));
    done(scope, added)
}

/// `setCert(cert)`
fn set_cert<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let pem = content(scope, args.get(0), "cert")?;
    if context.with(|context| context.is_full()) {
        return Err(full());
    }
    let added = pem::certificates(&pem).map(|chain| {
        context.with(|context| context.add_certificate(chain));
    });
    done(scope, added)
}

/// `addCACert(cert)`: text without certificates adds none.
fn add_ca_cert<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let pem = content(scope, args.get(0), "ca")?;
    if context.with(|context| context.is_full()) {
        return Err(full());
    }
    let certificates = pem::certificates(&pem).unwrap_or_default();
    context.with(|context| context.trust.authorities.extend(certificates));
    undefined(scope)
}

fn set_partial_trust<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    context.with(|context| context.trust.partial = true);
    undefined(scope)
}

/// `addCRL(crl)`
fn add_crl<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let pem = content(scope, args.get(0), "crl")?;
    if context.with(|context| context.is_full()) {
        return Err(full());
    }
    let list = RevocationList::from_pem(&pem)
        .map_err(|error| Throw::error("ERR_CRYPTO_OPERATION_FAILED", error.reason))?;
    context.with(|context| context.trust.revoked.push(list));
    undefined(scope)
}

/// `addRootCerts()`
fn add_root_certs<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let env = Env::of(scope);
    let state = env.extension::<TlsState>();
    let user = state.user_roots.borrow().clone();
    let bundled = user.is_none();
    let authorities = user.unwrap_or_else(|| state.extra(&env));
    context.with(|context| {
        context.trust.bundled_roots |= bundled;
        context.trust.authorities.extend(authorities);
    });
    undefined(scope)
}

/// `setCipherSuites(list)`
fn set_cipher_suites<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let list = string(scope, args.get(0), "ciphers")?;
    let set = context.with(|context| context.set_suites(&list));
    done(scope, set)
}

/// `setCiphers(list)`
fn set_ciphers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let list = string(scope, args.get(0), "ciphers")?;
    let set = context.with(|context| context.set_ciphers(&list));
    done(scope, set)
}

/// `setSigalgs(list)`: checked; what is negotiated is what the keys can do.
fn set_sigalgs<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    this(scope, args)?;
    string(scope, args.get(0), "sigalgs")?;
    undefined(scope)
}

/// `setECDHCurve(list)`
fn set_ecdh_curve<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let list = string(scope, args.get(0), "ecdhCurve")?;
    if context.with(|context| context.set_groups(&list)) {
        undefined(scope)
    } else {
        Err(Throw::error(
            "ERR_CRYPTO_OPERATION_FAILED",
            "Failed to set ECDH curve",
        ))
    }
}

/// `setDHParam(dhparam)`: its length is checked; no suite that we have uses it.
fn set_dh_param<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    this(scope, args)?;
    if args.get(0).is_true() {
        return undefined(scope);
    }
    let pem = content(scope, args.get(0), "dhparam")?;
    let (least, enough) = DH_BITS;
    match pem::dh_bits(&pem) {
        Err(error) => Err(tls_error::throw(scope, error)),
        Ok(bits) if bits < least => Err(Throw::error(
            "ERR_INVALID_ARG_VALUE",
            "DH parameter is less than 1024 bits",
        )),
        Ok(bits) if bits < enough => text::one_byte(scope, b"DH parameter is less than 2048 bits"),
        Ok(_) => undefined(scope),
    }
}

fn version<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<i32, Throw> {
    args.get(0).int32_value(scope).ok_or(Throw::Pending)
}

fn set_min_proto<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let version = version(scope, args)?;
    context.with(|context| context.min_version = version);
    undefined(scope)
}

fn set_max_proto<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let version = version(scope, args)?;
    context.with(|context| context.max_version = version);
    undefined(scope)
}

fn get_min_proto<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let version = this(scope, args)?.with(|context| context.min_version);
    Ok(v8::Integer::new(scope, version).into())
}

fn get_max_proto<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let version = this(scope, args)?.with(|context| context.max_version);
    Ok(v8::Integer::new(scope, version).into())
}

/// `setOptions(flags)`: those that there is something to do for.
fn set_options<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let options = args.get(0).integer_value(scope).ok_or(Throw::Pending)?;
    let has = |flag: u64| options.cast_unsigned() & flag != 0;
    context.with(|context| {
        if has(NO_TICKET) {
            context.tickets = false;
        }
        if has(NO_TLS1_3) && (context.max_version == 0 || context.max_version > TLS1_2) {
            context.max_version = TLS1_2;
        }
        if has(NO_TLS1_2) {
            if context.max_version == TLS1_2 {
                context.max_version = TLS1_1;
            } else if context.max_version > TLS1_2 || context.max_version == 0 {
                context.min_version = context.min_version.max(TLS1_3);
            }
        }
    });
    undefined(scope)
}

/// `setSessionIdContext(context)`: sessions are resumed only with the context that they began with.
fn set_session_id_context<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    this(scope, args)?;
    string(scope, args.get(0), "sessionIdContext")?;
    undefined(scope)
}

fn set_session_timeout<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let seconds = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    context.with(|context| context.session_timeout = seconds);
    undefined(scope)
}

/// `close()`: what it held is let go.
fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    if let Some(empty) = Context::new() {
        context.with(|context| *context = empty);
    }
    undefined(scope)
}

/// `loadPKCS12(pfx, passphrase)`: the key, its certificate, and the other certificates as its chain and as authorities.
fn load_pkcs12<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let file = bytes(scope, args.get(0), "pfx")?;
    let passphrase = if args.get(1).is_null_or_undefined() {
        zeroize::Zeroizing::default()
    } else {
        zeroize::Zeroizing::new(bytes(scope, args.get(1), "pass")?.clone())
    };
    if context.with(|context| context.is_full()) {
        return Err(full());
    }
    let failed = |text: &str| Throw::error("ERR_CRYPTO_OPERATION_FAILED", text);
    let mut meter = Meter::on_own_thread(&Env::of(scope));
    let contents =
        pkcs12::read(&file, &passphrase, &mut meter).map_err(|failure| match failure {
            pkcs12::Failure::Malformed => failed("not enough data"),
            pkcs12::Failure::Mac => failed("mac verify failure"),
            pkcs12::Failure::Unsupported => Throw::error(
                "ERR_CRYPTO_UNSUPPORTED_OPERATION",
                "Unsupported PKCS12 PFX data",
            ),
        })?;
    let no_key = || failed("Unable to load private key from PFX data");
    let unlock = &mut encoding::Unlock {
        passphrase: None,
        meter: &mut meter,
    };
    let key = contents.key.ok_or_else(no_key)?;
    let key = encoding::private_from_der(&key, Structure::Pkcs8, unlock).map_err(|_| no_key())?;
    let spki = key
        .public()
        .and_then(|public| encoding::public_to_der(&public, Structure::Spki));
    let pkcs8 = encoding::private_to_der(&key, Structure::Pkcs8);
    let (spki, pkcs8) = spki.zip(pkcs8).ok_or_else(no_key)?;
    let (mut chain, others): (Vec<_>, Vec<_>) = contents
        .certificates
        .into_iter()
        .partition(|certificate| certificate.spki() == spki.as_slice());
    if chain.is_empty() {
        return Err(failed("Unable to load certificate from PFX data"));
    }
    chain.truncate(1);
    chain.extend(others.iter().cloned());
    let added = context.with(|context| {
        context.add_certificate(chain);
        context.trust.authorities.extend(others);
        context.add_key(&spki, pkcs8.to_vec())
    });
    done(scope, added)
}

fn set_ticket_keys<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = this(scope, args)?;
    let keys = bytes(scope, args.get(0), "keys")?;
    let keys = keys.as_slice().try_into().map_err(|_| invalid("keys"))?;
    context.with(|context| context.ticket_keys = keys);
    Ok(v8::Boolean::new(scope, true).into())
}

fn get_ticket_keys<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let keys = this(scope, args)?.with(|context| context.ticket_keys);
    Ok(buffer_of(scope, &keys)?.into())
}

fn enable_ticket_key_callback<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(Throw::unavailable("callbacks for keys of tickets"))
}

fn certificate<'s>(scope: &mut v8::PinScope<'s, '_>, found: Option<Certificate>) -> Ret<'s> {
    match found {
        Some(found) => Ok(buffer_of(scope, found.der())?.into()),
        None => Ok(v8::null(scope).into()),
    }
}

fn get_certificate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let found = this(scope, args)?.with(|context| context.certificate().cloned());
    certificate(scope, found)
}

fn get_issuer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let found = this(scope, args)?.with(|context| context.issuer().cloned());
    certificate(scope, found)
}

// ---- lists of who is trusted ---------------------------------------------------------------------------------------

fn texts<'s>(scope: &mut v8::PinScope<'s, '_>, texts: impl Iterator<Item = String>) -> Ret<'s> {
    let mut values = Vec::new();
    for text in texts {
        // Node's have no line end behind them.
        values.push(text::one_byte(scope, text.trim_end().as_bytes())?);
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

/// `getBundledRootCertificates()`
pub fn bundled_roots<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    texts(scope, root::all().map(pem::certificate))
}

/// `getSystemCACertificates()`: a VM's system trusts nobody.
pub fn system_roots<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Array::new(scope, 0).into())
}

/// `getExtraCACertificates()`
pub fn extra_roots<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let extra = env.extension::<TlsState>().extra(&env);
    texts(scope, extra.iter().map(Certificate::pem))
}

/// `getUserRootCertificates()`
pub fn user_roots<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let state = Env::of(scope).extension::<TlsState>();
    let user = state.user_roots.borrow().clone().unwrap_or_default();
    texts(scope, user.iter().map(Certificate::pem))
}

/// `resetRootCertStore(certs)`
pub fn reset_roots<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const MOST: u32 = 4096;
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let list = v8::Local::<v8::Array>::try_from(args.get(0)).map_err(|_| invalid("certs"))?;
    if list.length() > MOST {
        return Err(full());
    }
    let mut roots: Vec<Certificate> = Vec::new();
    for index in 0..list.length() {
        let value = list.get_index(scope, index).ok_or(Throw::Pending)?;
        let pem = content(scope, value, "certs")?;
        match pem::certificates(&pem) {
            Ok(found) => {
                for certificate in found {
                    if !roots.contains(&certificate) {
                        roots.push(certificate);
                    }
                }
            }
            // Text without certificates counts when there is nothing else.
            Err(TlsError::NO_START_LINE) if !pem.windows(BEGIN.len()).any(|at| at == BEGIN) => {}
            Err(TlsError::NO_START_LINE) => {
                return Err(tls_error::throw(scope, TlsError::PEM_ASN1_LIB));
            }
            Err(error) => return Err(tls_error::throw(scope, error)),
        }
    }
    if roots.is_empty() && list.length() > 0 {
        return Err(Throw::error(
            "ERR_CRYPTO_OPERATION_FAILED",
            "No valid certificates found in the provided array",
        ));
    }
    let state = Env::of(scope).extension::<TlsState>();
    state.user_roots.replace(Some(roots));
    undefined(scope)
}

/// `getSSLCiphers()`
pub fn ssl_ciphers<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    texts(scope, cipher::names().map(str::to_ascii_lowercase))
}
