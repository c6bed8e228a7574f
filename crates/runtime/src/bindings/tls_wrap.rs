//! `internalBinding('tls_wrap')`: TLS over any stream. Source: `src/crypto/crypto_tls.cc`.
//!
//! ```text
//!   JavaScript --write*--> TLSWrap --Session encrypts--> stream below
//!   JavaScript <--onread-- TLSWrap <--Session decrypts-- stream below, whose listener the TLSWrap is
//! ```
//! Whether a peer's certificate is good is told by `verifyError`; the library decides what follows from it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use secure_exec_kernel::Errno;
use secure_exec_tls::certificate::{Certificate, Purpose};
use secure_exec_tls::clock::TimeProvider;
use secure_exec_tls::session::Event;
use secure_exec_tls::{Session, TlsError, chain};

use crate::array_buffer::{Contents, buffer_of};
use crate::binding::{Args, Binding, Callback, Class, Function, Ret, function};
use crate::bindings::crypto::secure_context::{SecureContext, TlsState};
use crate::bindings::crypto::{tls_error, x509};
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::stream_base::{
    self, Chunk, MAX_QUEUED_WRITES, Pending, Requester, Stream, StreamBase, StreamHandle,
    StreamListener, Write,
};
use crate::bindings::stream_wrap::KernelStream;
use crate::env::Env;
use crate::realm::set;
use crate::text;
use crate::throw::{ErrorClass, Throw};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "tls_wrap",
    functions: &[("wrap", function!(wrap))],
    classes: &[Class {
        name: "TLSWrap",
        parent: Some("fs.AsyncWrap"),
        methods: &METHODS,
        accessors: &ACCESSORS,
        extra_fields: stream_base::EXTRA_FIELDS,
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

static METHODS: [Function; 50] = {
    let [a, b, c, d, e, f, g, h, i, j] = stream_base::METHODS;
    [
        ("certCbDone", function!(cert_cb_done)),
        ("destroySSL", function!(destroy_ssl)),
        ("enableCertCb", function!(enable_cert_cb)),
        ("enableALPNCb", function!(enable_alpn_cb)),
        ("endParser", function!(nothing)),
        ("enableKeylogCallback", function!(enable_keylog)),
        ("enableSessionCallbacks", function!(enable_sessions)),
        ("enableTrace", NOTHING[0]),
        ("getServername", function!(get_servername)),
        ("loadSession", NOTHING[1]),
        ("newSessionDone", NOTHING[2]),
        ("receive", function!(receive)),
        ("renegotiate", function!(renegotiate)),
        ("requestOCSP", function!(request_ocsp)),
        ("setALPNProtocols", function!(set_alpn_protocols)),
        ("setKeyCert", function!(set_key_cert)),
        ("setOCSPResponse", function!(set_ocsp_response)),
        ("setServername", function!(set_servername)),
        ("setSession", function!(set_session)),
        ("setVerifyMode", function!(set_verify_mode)),
        ("start", function!(start)),
        (
            "writesIssuedByPrevListenerDone",
            function!(previous_writes_done),
        ),
        ("exportKeyingMaterial", function!(export_keying_material)),
        ("isSessionReused", function!(is_session_reused)),
        ("getALPNNegotiatedProtocol", function!(get_alpn_protocol)),
        ("getCertificate", function!(get_certificate)),
        ("getX509Certificate", function!(get_x509_certificate)),
        ("getCipher", function!(get_cipher)),
        ("getEphemeralKeyInfo", function!(get_ephemeral_key_info)),
        ("getFinished", NOTHING[3]),
        ("getPeerCertificate", function!(get_peer_certificate)),
        (
            "getPeerX509Certificate",
            function!(get_peer_x509_certificate),
        ),
        ("getPeerFinished", NOTHING[4]),
        ("getProtocol", function!(get_protocol)),
        ("getSession", function!(get_session)),
        ("getSharedSigalgs", function!(get_shared_sigalgs)),
        ("getTLSTicket", NOTHING[5]),
        ("verifyError", function!(verify_error)),
        ("setMaxSendFragment", function!(set_max_send_fragment)),
        ("enablePskCallback", function!(no_psk)),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
    ]
};

/// What there is nothing to do or to tell for; each entry is one of its own.
const NOTHING: [Callback; 6] = [
    function!(nothing),
    function!(nothing),
    function!(nothing),
    function!(nothing),
    function!(nothing),
    function!(nothing),
];

static ACCESSORS: [(&str, Callback, Option<Callback>); 7] = {
    let [a, b, c, d, e, f] = stream_base::ACCESSORS;
    let queue = ("writeQueueSize", function!(write_queue_size), None);
    [queue, a, b, c, d, e, f]
};

const PROVIDER: Provider = Provider {
    name: "TLSWRAP",
    number: 64,
};

/// Bytes that are encrypted before the stream below has taken those before them.
const PIECE: usize = 64 << 10;
/// The longest list of protocols that the wire has room for.
const MAX_PROTOCOLS: usize = u16::MAX as usize;
/// Bytes of the longest secret that is derived.
const MAX_KEYING_MATERIAL: u32 = 1 << 16;
/// What OpenSSL takes for `setMaxSendFragment`.
const FRAGMENTS: std::ops::RangeInclusive<u32> = 512..=16_384;

/// A write that is not encrypted as a whole.
struct Queued {
    request: Pending,
    chunks: VecDeque<Chunk>,
    offset: usize,
}

/// What JavaScript wants to be called for.
#[derive(Default)]
struct Wanted {
    certificate: Cell<bool>,
    protocol: Cell<bool>,
    sessions: Cell<bool>,
}

/// See the module's text.
struct TlsStream {
    base: StreamBase,
    own: Weak<TlsStream>,
    below: Rc<dyn Stream>,
    listener: RefCell<Option<Rc<dyn StreamListener>>>,
    context: RefCell<Rc<SecureContext>>,
    /// Gone once it is destroyed.
    session: RefCell<Option<Session>>,
    wanted: Wanted,
    started: Cell<bool>,
    /// Others' writes to the stream below come first.
    waits_for_others: Cell<bool>,
    cycling: Cell<bool>,
    again: Cell<bool>,
    ended: Cell<bool>,
    /// Bytes are on their way through the stream below.
    writing: Cell<bool>,
    writes: RefCell<VecDeque<Queued>>,
    /// Writes that are done when those bytes are through.
    encrypted: RefCell<Vec<Pending>>,
    shutdown: RefCell<Option<Pending>>,
}

/// `wrap(stream, context, isServer, hasActiveWriteIssuedByPrevListener)`
fn wrap<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let invalid = |name: &str| Throw::type_error("ERR_INVALID_ARG_TYPE", format!("Invalid {name}"));
    let object = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("stream"))?;
    let (_, below) = stream_base::stream_of(scope, object).ok_or_else(|| invalid("stream"))?;
    let context = SecureContext::of(scope, args.get(1)).ok_or_else(|| invalid("context"))?;
    let is_server = args.get(2).is_true();
    let env = Env::of(scope);
    let state = env.extension::<TlsState>();
    state.set_clock(&env);
    let clock: Arc<dyn TimeProvider> = state.clock.clone();
    let object = env.new_instance(scope, "tls_wrap.TLSWrap")?;
    let stream = Rc::new_cyclic(|own| TlsStream {
        base: StreamBase::default(),
        own: own.clone(),
        below: below.clone(),
        listener: RefCell::default(),
        context: RefCell::new(context),
        session: RefCell::new(Some(Session::new(is_server, clock))),
        wanted: Wanted::default(),
        started: Cell::default(),
        waits_for_others: Cell::new(args.get(3).is_true()),
        cycling: Cell::default(),
        again: Cell::default(),
        ended: Cell::default(),
        writing: Cell::default(),
        writes: RefCell::default(),
        encrypted: RefCell::default(),
        shutdown: RefCell::default(),
    });
    let handle = Rc::new(StreamHandle(stream.clone()));
    let resource = Resource::wrap(scope, &env, object, PROVIDER, handle);
    stream.base.attach_weak(scope, &resource, object);
    let listener: Rc<dyn StreamListener> = Rc::new(Listener(stream.own.clone()));
    stream.listener.replace(Some(listener.clone()));
    below.base().push_listener(listener);
    Ok(object.into())
}

/// Listens to the stream below as long as the stream above is there.
struct Listener(Weak<TlsStream>);

impl StreamListener for Listener {
    fn on_read(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        _stream: &Rc<dyn Stream>,
        data: Result<Rc<[u8]>, Errno>,
    ) {
        let Some(tls) = self.0.upgrade() else { return };
        match data {
            Ok(bytes) => tls.take(scope, env, &bytes),
            Err(errno) => {
                tls.cycle(scope, env);
                let was_told = errno == Errno::EOF && tls.ended.replace(true);
                if !was_told && !env.is_ending() {
                    let stream: Rc<dyn Stream> = tls.clone();
                    tls.base.emit_error(scope, env, &stream, errno);
                }
            }
        }
    }
}

impl TlsStream {
    fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Self>, Throw> {
        stream_base::stream_of(scope, args.this())
            .and_then(|(_, stream)| stream.as_any().downcast().ok())
            .ok_or_else(|| {
                Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
            })
    }

    fn with<T>(&self, body: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.session.borrow_mut().as_mut().map(body)
    }

    fn has(&self, body: impl FnOnce(&mut Session) -> bool) -> bool {
        self.with(body).unwrap_or(false)
    }

    fn context(&self) -> Rc<SecureContext> {
        self.context.borrow().clone()
    }

    /// Calls a method that the library gave the object.
    fn call<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        name: &str,
        args: &[v8::Local<'s, v8::Value>],
    ) -> Option<v8::Local<'s, v8::Value>> {
        if env.is_ending() {
            return None;
        }
        let context = self.base.resource()?.context();
        let object = self.base.object(scope)?;
        env.make_callback_named(scope, object, name, args, context)
    }

    /// Starts a client's handshake, unless it has begun.
    fn connect(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let state = env.extension::<TlsState>();
        state.set_clock(env);
        let context = self.context();
        let network_ends_it = self.network_ends_tls(env);
        let connected = self.with(|session| {
            if !session.is_new() {
                Ok(())
            } else if network_ends_it {
                session.connect_plain();
                Ok(())
            } else {
                context.with(|context| session.connect(context, &state.sessions))
            }
        });
        match connected {
            Some(Err(error)) => self.fail(scope, env, error),
            _ => self.cycle(scope, env),
        }
    }

    /// Whether the stream below leads to something of the embedder's that ends TLS itself, and has been told that it is
    /// spoken.
    fn network_ends_tls(&self, env: &Env) -> bool {
        let wanted = self.with(|session| {
            let name = session.settings.server_name.clone();
            session.is_new().then(|| name.unwrap_or_default())
        });
        let (Some(Some(name)), Ok(kernel), Ok(process)) = (wanted, env.kernel(), env.process())
        else {
            return false;
        };
        let is_socket = self
            .below
            .clone()
            .as_any()
            .downcast::<KernelStream>()
            .is_ok();
        let fd = self.below.fd();
        is_socket
            && kernel.takes_plain_tls(&process, fd)
            && kernel.leave_out_tls(&process, fd, &name).is_ok()
    }

    /// Takes bytes of the network.
    fn take(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, bytes: &[u8]) {
        match self.with(|session| session.feed(bytes)) {
            Some(Err(error)) => self.fail(scope, env, error),
            Some(Ok(())) => self.cycle(scope, env),
            None => {}
        }
    }

    /// Goes on as far as it can. JavaScript that runs meanwhile may call for more.
    fn cycle(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if self.cycling.replace(true) {
            self.again.set(true);
            return;
        }
        env.extension::<TlsState>().set_clock(env);
        loop {
            self.again.set(false);
            while !env.is_ending() {
                v8::scope!(let scope, scope);
                if !self.step(scope, env) {
                    break;
                }
            }
            if !env.is_ending() {
                self.pump(scope, env);
            }
            if !self.again.get() || env.is_ending() {
                break;
            }
        }
        self.cycling.set(false);
    }

    /// One event; whether there may be another.
    fn step(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> bool {
        let Some(advanced) = self.with(Session::advance) else {
            return false;
        };
        self.tell_news(scope, env);
        let event = match advanced {
            Ok(event) => event,
            Err(error) => {
                self.hand_on_plaintext(scope, env);
                self.fail(scope, env, error);
                return false;
            }
        };
        match event {
            Some(Event::Hello) => self.tell_hello(scope, env),
            Some(Event::HandshakeDone) => {
                if let Some(status) = self.with(Session::take_status).flatten() {
                    let status = match buffer_of(scope, &status) {
                        Ok(buffer) if !status.is_empty() => buffer.into(),
                        _ => v8::null(scope).into(),
                    };
                    self.call(scope, env, "onocspresponse", &[status]);
                }
                // As in Node, before the last of the handshake goes out: a peer that is refused now never learns that
                // it was done.
                self.call(scope, env, "onhandshakedone", &[]);
            }
            Some(Event::Closed) | None => {}
        }
        let handed_on = self.hand_on_plaintext(scope, env);
        if event == Some(Event::Closed) && !self.ended.replace(true) && !env.is_ending() {
            let stream: Rc<dyn Stream> = self.clone();
            self.base.emit_error(scope, env, &stream, Errno::EOF);
        }
        handed_on || event.is_some()
    }

    fn hand_on_plaintext(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> bool {
        let plaintext = self.with(Session::take_plaintext).unwrap_or_default();
        if plaintext.is_empty() || env.is_ending() {
            return false;
        }
        let stream: Rc<dyn Stream> = self.clone();
        self.base.emit_bytes(scope, env, &stream, &plaintext);
        true
    }

    /// Tells of sessions and secrets that came up.
    fn tell_news(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        while let Some(line) = self
            .with(|session| {
                let wanted = session.settings.keylog;
                if wanted {
                    session.next_key_line()
                } else {
                    None
                }
            })
            .flatten()
        {
            if let Ok(line) = buffer_of(scope, &line) {
                self.call(scope, env, "onkeylog", &[line.into()]);
            }
        }
        while let Some(token) = self.with(Session::next_session).flatten() {
            if !self.wanted.sessions.get() {
                continue;
            }
            if let (Ok(id), Ok(session)) = (buffer_of(scope, &token), buffer_of(scope, &token)) {
                self.call(scope, env, "onnewsession", &[id.into(), session.into()]);
            }
        }
    }

    fn fail(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, error: TlsError) {
        v8::scope!(let scope, scope);
        // The peer hears why, as far as that is said in TLS.
        self.pump(scope, env);
        if let Some(error) = tls_error::value(scope, error) {
            self.call(scope, env, "onerror", &[error]);
        }
    }

    /// A client said hello: JavaScript may choose what to answer with.
    fn tell_hello(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if !self.wanted.certificate.get() {
            return self.accept(scope, env);
        }
        let info = v8::Object::new(scope);
        let name = self
            .with(|session| session.server_name().map(str::to_owned))
            .flatten()
            .unwrap_or_default();
        if let Ok(name) = text::utf8(scope, name.as_bytes()) {
            set(scope, info, "servername", name);
        }
        let wants_status = v8::Boolean::new(scope, true).into();
        set(scope, info, "OCSPRequest", wants_status);
        self.call(scope, env, "oncertcb", &[info.into()]);
    }

    /// Answers the hello.
    fn accept(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if self.wanted.protocol.get() {
            self.choose_protocol(scope, env);
        }
        let context = self.context();
        let accepted = self.with(|session| context.with(|context| session.accept(context)));
        match accepted {
            Some(Err(error)) => self.fail(scope, env, error),
            Some(Ok(())) => self.cycle(scope, env),
            None => {}
        }
    }

    /// Asks JavaScript for one of the client's protocols.
    fn choose_protocol(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        /// What no client offers: the handshake fails as it does when none is in common.
        const NONE: &[u8] = b"\0";
        let Some(offered) = self.with(|session| session.offered_protocols()).flatten() else {
            return;
        };
        let chosen = buffer_of(scope, &offered)
            .ok()
            .and_then(|buffer| self.call(scope, env, "ALPNCallback", &[buffer.into()]))
            .filter(|chosen| chosen.is_number())
            .and_then(|chosen| chosen.uint32_value(scope));
        let protocol = chosen.and_then(|offset| {
            let (length, rest) = offered.get(offset as usize..)?.split_first()?;
            rest.get(..usize::from(*length))
        });
        let protocols = vec![protocol.unwrap_or(NONE).to_vec()];
        self.with(|session| session.settings.protocols = protocols);
    }

    // ---- writing ---------------------------------------------------------------------------------------------------

    /// Encrypts what waits, a piece at a time, and hands it to the stream below.
    fn pump(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        self.pump_output(scope, env);
        if !env.is_ending() {
            self.end_if_asked(scope, env);
        }
    }

    fn pump_output(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        while !self.writing.get() && !self.waits_for_others.get() && !env.is_ending() {
            v8::scope!(let scope, scope);
            self.encrypt(scope);
            let output = self.with(Session::take_output).unwrap_or_default();
            if output.is_empty() {
                if self.encrypted.borrow().is_empty() {
                    break;
                }
                self.complete_soon(env, 0);
                continue;
            }
            self.writing.set(true);
            let tls = self.clone();
            let on_done = Box::new(
                move |scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, status: i32| {
                    tls.writing.set(false);
                    let done = tls.encrypted.take();
                    tls.complete(scope, env, done, status);
                    if status == 0 {
                        tls.cycle(scope, env);
                    } else {
                        tls.give_up(env, status);
                    }
                },
            );
            match stream_base::write_bytes(scope, env, &self.below, output, on_done) {
                Ok(true) => {
                    self.writing.set(false);
                    self.complete_soon(env, 0);
                }
                Ok(false) => return,
                Err(errno) => {
                    self.writing.set(false);
                    self.complete_soon(env, errno.uv());
                    return self.give_up(env, errno.uv());
                }
            }
        }
    }

    /// Encrypts a piece of what waits.
    fn encrypt(&self, scope: &mut v8::PinScope<'_, '_>) {
        if !self.has(|session| session.can_write()) {
            return;
        }
        let mut taken = 0;
        let mut writes = self.writes.borrow_mut();
        while let Some(front) = writes.front_mut() {
            while let Some(chunk) = front.chunks.front() {
                if taken >= PIECE {
                    return;
                }
                let mut contents = Contents::default();
                let bytes = match chunk {
                    Chunk::Bytes(bytes) => bytes.as_slice(),
                    Chunk::View(view) => {
                        let view = v8::Local::new(scope, view);
                        contents.of(scope, view)
                    }
                };
                let rest = bytes.get(front.offset..).unwrap_or_default();
                let piece = rest.get(..PIECE.min(rest.len())).unwrap_or_default();
                self.with(|session| session.write(piece));
                taken += piece.len();
                if piece.len() == rest.len() {
                    front.chunks.pop_front();
                    front.offset = 0;
                } else {
                    front.offset += piece.len();
                }
            }
            if let Some(done) = writes.pop_front() {
                self.encrypted.borrow_mut().push(done.request);
            }
        }
    }

    fn complete(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        done: Vec<Pending>,
        status: i32,
    ) {
        for request in done {
            if env.is_ending() {
                return;
            }
            v8::scope!(let scope, scope);
            request.complete(scope, env, &self.base, status);
        }
    }

    /// Completes what was encrypted, once the call that it was asked for with is over.
    fn complete_soon(self: &Rc<Self>, env: &Rc<Env>, status: i32) {
        let done = self.encrypted.take();
        self.complete_later(env, done, status);
    }

    fn complete_later(self: &Rc<Self>, env: &Rc<Env>, done: Vec<Pending>, status: i32) {
        if done.is_empty() {
            return;
        }
        let tls = self.clone();
        env.event_loop.complete(Box::new(move |scope, env| {
            tls.complete(scope, env, done, status);
        }));
    }

    /// All that waits fails.
    fn give_up(self: &Rc<Self>, env: &Rc<Env>, status: i32) {
        let writes = self.writes.take();
        let mut done: Vec<Pending> = writes.into_iter().map(|write| write.request).collect();
        done.extend(self.shutdown.take());
        self.complete_later(env, done, status);
    }

    /// Ends the stream below when that was asked for and nothing waits to be written.
    fn end_if_asked(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if self.writing.get() || self.waits_for_others.get() || !self.writes.borrow().is_empty() {
            return;
        }
        let Some(request) = self.shutdown.take() else {
            return;
        };
        let request = Rc::new(Cell::new(Some(request)));
        let tls = self.clone();
        let ending = request.clone();
        let on_done = Box::new(
            move |scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, status: i32| {
                let done = ending.take().into_iter().collect();
                tls.complete(scope, env, done, status);
            },
        );
        if let Err(errno) = stream_base::end(scope, env, &self.below, on_done) {
            let done = request.take().into_iter().collect();
            self.complete_later(env, done, errno.uv());
        }
    }

    fn destroy(self: &Rc<Self>, env: &Rc<Env>) {
        let session = self.session.take();
        drop(session);
        if let Some(listener) = self.listener.take() {
            self.below.base().remove_listener(&listener);
        }
        self.give_up(env, Errno::ECANCELED.uv());
    }
}

impl Stream for TlsStream {
    fn base(&self) -> &StreamBase {
        &self.base
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn read_start(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        self.below.clone().read_start(scope, env)
    }

    fn read_stop(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        self.below.clone().read_stop(scope, env)
    }

    /// What is written is encrypted first.
    fn try_write(&self, _env: &Env, _data: &[u8]) -> Result<usize, Errno> {
        Err(Errno::EAGAIN)
    }

    fn write(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        write: Write<'_>,
    ) -> i32 {
        if self.with(|session| session.has_failed()).unwrap_or(true) {
            return Errno::EPROTO.uv();
        }
        if self.writes.borrow().len() >= MAX_QUEUED_WRITES {
            return Errno::ENOBUFS.uv();
        }
        v8::scope!(let scope, scope);
        let mut request = match self
            .base
            .start_write(scope, env, write.request, &write.chunks)
        {
            Ok(request) => request,
            Err(errno) => return errno.uv(),
        };
        // What keeps the process is the stream below.
        request.unref();
        let mut chunks: VecDeque<Chunk> = write.chunks.into();
        chunks.retain(|chunk| match chunk {
            Chunk::Bytes(bytes) => !bytes.is_empty(),
            Chunk::View(view) => v8::Local::new(scope, view).byte_length() > 0,
        });
        self.writes.borrow_mut().push_back(Queued {
            request,
            chunks,
            offset: write.offset,
        });
        // As OpenSSL has it, a write starts the handshake too.
        self.connect(scope, env);
        0
    }

    fn shutdown<'s>(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        request: Requester<'s>,
    ) -> i32 {
        if self.shutdown.borrow().is_some() {
            return Errno::ENOTCONN.uv();
        }
        let mut request = match self.base.start_shutdown(scope, env, request) {
            Ok(request) => request,
            Err(errno) => return errno.uv(),
        };
        request.unref();
        self.shutdown.replace(Some(request));
        self.with(|session| {
            if session.can_write() {
                session.close();
            }
        });
        self.cycle(scope, env);
        0
    }

    fn fd(&self) -> i32 {
        self.below.fd()
    }
}

// ---- methods -------------------------------------------------------------------------------------------------------

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn boolean<'s>(scope: &mut v8::PinScope<'s, '_>, value: bool) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, value).into())
}

fn nothing<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    undefined(scope)
}

fn invalid(name: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("The \"{name}\" argument is not valid"),
    )
}

fn bytes_argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    at: i32,
    name: &str,
) -> Result<Vec<u8>, Throw> {
    let mut contents = Contents::default();
    contents
        .of_value(scope, args.get(at))
        .map(<[u8]>::to_vec)
        .ok_or_else(|| invalid(name))
}

fn write_queue_size<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let waiting = tls.writes.borrow().len() + tls.encrypted.borrow().len();
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    Ok(v8::Integer::new_from_unsigned(scope, waiting).into())
}

/// `certCbDone()`
fn cert_cb_done<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    if !tls.has(|session| session.is_held()) {
        return undefined(scope);
    }
    let env = Env::of(scope);
    let key = v8::String::new(scope, "sni_context").ok_or(Throw::Pending)?;
    let chosen = args.this().get(scope, key.into()).ok_or(Throw::Pending)?;
    if let Some(context) = SecureContext::of(scope, chosen) {
        tls.context.replace(context);
    } else if chosen.is_object() {
        let error = Throw::Plain(ErrorClass::Type, "Invalid SNI context".to_owned());
        if let Some(error) = error.into_value(scope) {
            tls.call(scope, &env, "onerror", &[error]);
        }
        return undefined(scope);
    }
    tls.accept(scope, &env);
    undefined(scope)
}

fn destroy_ssl<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    tls.destroy(&Env::of(scope));
    undefined(scope)
}

fn enable_cert_cb<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    TlsStream::this(scope, args)?.wanted.certificate.set(true);
    undefined(scope)
}

fn enable_alpn_cb<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    TlsStream::this(scope, args)?.wanted.protocol.set(true);
    undefined(scope)
}

fn enable_keylog<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    tls.with(|session| session.settings.keylog = true);
    undefined(scope)
}

fn enable_sessions<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    TlsStream::this(scope, args)?.wanted.sessions.set(true);
    undefined(scope)
}

/// `start()`
fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    if tls.started.replace(true) {
        return Err(Throw::Plain(
            ErrorClass::Error,
            "Already started.".to_owned(),
        ));
    }
    tls.connect(scope, &Env::of(scope));
    undefined(scope)
}

/// `receive(buffer)`: bytes that were read before the stream was wrapped.
fn receive<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let bytes = bytes_argument(scope, args, 0, "buffer")?;
    let env = Env::of(scope);
    for piece in bytes.chunks(PIECE) {
        tls.take(scope, &env, piece);
    }
    undefined(scope)
}

/// `writesIssuedByPrevListenerDone()`
fn previous_writes_done<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    tls.waits_for_others.set(false);
    tls.cycle(scope, &Env::of(scope));
    undefined(scope)
}

/// `renegotiate()`: TLS 1.3 has no such thing, and our TLS 1.2 refuses it.
fn renegotiate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    TlsStream::this(scope, args)?;
    Err(tls_error::throw(scope, TlsError::WRONG_SSL_VERSION))
}

fn request_ocsp<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    tls.with(|session| session.settings.wants_status = true);
    undefined(scope)
}

/// `setOCSPResponse(buffer)`
fn set_ocsp_response<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    if !args.get(0).is_array_buffer_view() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "OCSP response must be a buffer",
        ));
    }
    let status = bytes_argument(scope, args, 0, "response")?;
    tls.with(|session| session.settings.status = Some(status));
    undefined(scope)
}

/// `setALPNProtocols(buffer)`: names, each behind its length.
fn set_alpn_protocols<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    if !args.get(0).is_array_buffer_view() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "Must give a Buffer as first argument",
        ));
    }
    let wire = bytes_argument(scope, args, 0, "protocols")?;
    if wire.len() > MAX_PROTOCOLS {
        return Err(invalid("protocols"));
    }
    let mut protocols = Vec::new();
    let mut rest = wire.as_slice();
    while let Some((length, after)) = rest.split_first() {
        let Some((protocol, after)) = after.split_at_checked(usize::from(*length)) else {
            break;
        };
        if !protocol.is_empty() {
            protocols.push(protocol.to_vec());
        }
        rest = after;
    }
    tls.with(|session| session.settings.protocols = protocols);
    undefined(scope)
}

/// `setKeyCert(context)`
fn set_key_cert<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let context = SecureContext::of(scope, args.get(0)).ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "Must give a SecureContext as first argument",
        )
    })?;
    tls.context.replace(context);
    undefined(scope)
}

/// `setServername(name)`
fn set_servername<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let name = v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| invalid("name"))?;
    let name = name.to_rust_string_lossy(scope);
    tls.with(|session| session.settings.server_name = Some(name));
    undefined(scope)
}

fn get_servername<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let name = tls.with(|session| session.server_name().map(str::to_owned));
    match name.flatten() {
        Some(name) => text::utf8(scope, name.as_bytes()),
        None => boolean(scope, false),
    }
}

/// `setSession(session)`: what is none of ours is not resumed.
fn set_session<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    if args.get(0).is_undefined() {
        return Err(Throw::type_error(
            "ERR_MISSING_ARGS",
            "Session argument is mandatory",
        ));
    }
    let session = bytes_argument(scope, args, 0, "session")?;
    let token = session.as_slice().try_into().ok();
    tls.with(|session| session.settings.session = token);
    undefined(scope)
}

fn get_session<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    match tls.with(Session::current_session).flatten() {
        Some(token) => Ok(buffer_of(scope, &token)?.into()),
        None => undefined(scope),
    }
}

fn is_session_reused<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let resumed = tls.has(|session| session.is_resumed());
    boolean(scope, resumed)
}

/// `setVerifyMode(requestCert, rejectUnauthorized)`
fn set_verify_mode<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let (request, require) = (args.get(0).is_true(), args.get(1).is_true());
    tls.with(|session| {
        session.settings.request_certificate = request;
        session.settings.require_certificate = request && require;
    });
    undefined(scope)
}

/// `setMaxSendFragment(size)`: 1 if that is possible.
fn set_max_send_fragment<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let size = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let possible = FRAGMENTS.contains(&size);
    if possible {
        tls.with(|session| session.settings.fragment = Some(size as usize));
    }
    Ok(v8::Integer::new(scope, i32::from(possible)).into())
}

fn no_psk<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    TlsStream::this(scope, args)?;
    let _ = scope;
    Err(Throw::unavailable("TLS with pre-shared keys"))
}

/// `exportKeyingMaterial(length, label[, context])`
fn export_keying_material<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let length = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let label = v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid("label"))?;
    let label = label.to_rust_string_lossy(scope);
    let context = if args.get(2).is_undefined() {
        None
    } else {
        Some(bytes_argument(scope, args, 2, "context")?)
    };
    let length = if length > MAX_KEYING_MATERIAL {
        return Err(invalid("length"));
    } else {
        length as usize
    };
    let secret = tls.with(|session| {
        session.export_keying_material(label.as_bytes(), context.as_deref(), length)
    });
    match secret.flatten() {
        Some(secret) => Ok(buffer_of(scope, &secret)?.into()),
        None => Err(Throw::error(
            "ERR_CRYPTO_OPERATION_FAILED",
            "Exporting keying material failed",
        )),
    }
}

fn get_alpn_protocol<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let protocol = tls.with(|session| session.protocol().map(<[u8]>::to_vec));
    match protocol.flatten() {
        Some(protocol) => text::one_byte(scope, &protocol),
        None => boolean(scope, false),
    }
}

fn get_certificate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    match own_certificate(&tls) {
        Some(certificate) => Ok(x509::legacy(scope, &certificate)?.into()),
        None => undefined(scope),
    }
}

/// What this side shows, or would show.
fn own_certificate(tls: &TlsStream) -> Option<Certificate> {
    let shown = tls.with(|session| session.own_certificate())?;
    shown.or_else(|| tls.context().with(|context| context.certificate().cloned()))
}

fn get_x509_certificate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    match own_certificate(&tls) {
        Some(certificate) => x509::wrap(scope, certificate, Vec::new()),
        None => undefined(scope),
    }
}

/// The peer's certificate and those above it, as far as they are known.
fn peer_chain(tls: &TlsStream) -> Vec<Certificate> {
    let sent = tls
        .with(|session| session.peer_certificates())
        .unwrap_or_default();
    let Some((first, others)) = sent.split_first() else {
        return Vec::new();
    };
    let mut chain = vec![first.clone()];
    while let Some(last) = chain.last().filter(|last| !last.is_self_signed()) {
        let next = others
            .iter()
            .find(|candidate| last.is_issued_by(candidate) && !chain.contains(candidate));
        match next {
            Some(next) => chain.push(next.clone()),
            None => break,
        }
    }
    tls.context().with(|context| context.trust.complete(chain))
}

/// `getPeerCertificate(detailed)`
fn get_peer_certificate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let chain = peer_chain(&tls);
    let Some((first, above)) = chain.split_first() else {
        return undefined(scope);
    };
    let result = x509::legacy(scope, first)?;
    if !args.get(0).is_true() {
        return Ok(result.into());
    }
    let mut last = result;
    for certificate in above {
        let issuer = x509::legacy(scope, certificate)?;
        set(scope, last, "issuerCertificate", issuer.into());
        last = issuer;
    }
    if chain.last().is_some_and(Certificate::is_self_signed) {
        set(scope, last, "issuerCertificate", last.into());
    }
    Ok(result.into())
}

fn get_peer_x509_certificate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let chain = peer_chain(&tls);
    match chain.split_first() {
        Some((first, above)) => x509::wrap(scope, first.clone(), above.to_vec()),
        None => undefined(scope),
    }
}

fn get_cipher<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let Some((name, standard, version)) = tls.with(|session| session.cipher()).flatten() else {
        return undefined(scope);
    };
    let cipher = v8::Object::new(scope);
    for (key, value) in [
        ("name", name),
        ("standardName", &standard),
        ("version", version),
    ] {
        let value = text::one_byte(scope, value.as_bytes())?;
        set(scope, cipher, key, value);
    }
    Ok(cipher.into())
}

/// `getEphemeralKeyInfo()`: `null` for servers.
fn get_ephemeral_key_info<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    if tls.has(|session| session.is_server()) {
        return Ok(v8::null(scope).into());
    }
    let info = v8::Object::new(scope);
    if let Some((name, bits)) = tls.with(|session| session.key_exchange()).flatten() {
        let kind = text::one_byte(scope, b"ECDH")?;
        set(scope, info, "type", kind);
        let name = text::one_byte(scope, name.as_bytes())?;
        set(scope, info, "name", name);
        let bits = v8::Integer::new(scope, bits).into();
        set(scope, info, "size", bits);
    }
    Ok(info.into())
}

fn get_protocol<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    match tls.with(|session| session.version()) {
        Some(Some(version)) => text::one_byte(scope, version.as_bytes()),
        Some(None) => text::one_byte(scope, b"TLSv1.3"),
        None => Ok(v8::null(scope).into()),
    }
}

/// `getSharedSigalgs()`
fn get_shared_sigalgs<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let schemes = tls
        .with(|session| session.offered_scheme_names())
        .unwrap_or_default();
    let mut names = Vec::with_capacity(schemes.len());
    for name in schemes {
        names.push(text::one_byte(scope, name.as_bytes())?);
    }
    Ok(v8::Array::new_with_elements(scope, &names).into())
}

/// `verifyError()`: what is wrong with the peer's certificate, or `null`.
fn verify_error<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tls = TlsStream::this(scope, args)?;
    let env = Env::of(scope);
    let now = env.extension::<TlsState>().set_clock(&env);
    let purpose = if tls.has(|session| session.is_server()) {
        Purpose::Client
    } else {
        Purpose::Server
    };
    let sent = tls
        .with(|session| session.peer_certificates())
        .unwrap_or_default();
    if tls.has(|session| session.is_plain()) {
        return Ok(v8::null(scope).into());
    }
    let verdict = tls
        .context()
        .with(|context| chain::verify(&sent, &context.trust, purpose, now));
    match verdict {
        Ok(()) => Ok(v8::null(scope).into()),
        Err(verdict) => Throw::error(verdict.code, verdict.reason)
            .into_value(scope)
            .ok_or(Throw::Pending),
    }
}
