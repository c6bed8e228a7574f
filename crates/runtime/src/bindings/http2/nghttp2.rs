//! nghttp2's sessions, without its pointers: frames, header compression, flow control.
//!
//! ```text
//!   receive(bytes), send() --> nghttp2 --callbacks--> Handler
//! ```
//! A [`Handler`] cannot reach the session that calls it, so nghttp2 is never entered from one of its own callbacks. Input
//! goes in at most one frame at a time, and a piece of a DATA frame ends the call: the caller may do anything between two
//! events of the peer's.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::rc::Rc;

use libnghttp2_sys as ffi;

use super::messaging::Method;
use crate::native_account::Account;

/// An error of the library, one of `NGHTTP2_ERR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibError(pub i32);

/// Numbers of the library's errors that mean something here.
pub mod lib_error {
    pub const PROTO: i32 = -505;
    pub const STREAM_CLOSED: i32 = -510;
    pub const STREAM_CLOSING: i32 = -511;
    pub const FRAME_SIZE: i32 = -522;
    pub const HEADER_COMP: i32 = -523;
    pub const FLOW_CONTROL: i32 = -524;
    pub const SESSION_CLOSING: i32 = -530;
    pub const HTTP_HEADER: i32 = -531;
    pub const HTTP_MESSAGING: i32 = -532;
    pub const REFUSED_STREAM: i32 = -533;
    pub const SETTINGS_EXPECTED: i32 = -536;
    /// Errors from here on end a session.
    pub const FATAL: i32 = -900;
}

/// Codes of errors that go over the wire.
pub mod error_code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Flags of frames.
pub mod frame_flag {
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
}

/// Types of frames.
pub mod frame_type {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const ALTSVC: u8 = 10;
    pub const ORIGIN: u8 = 12;
}

/// Which end of a connection a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers requests.
    Server,
    /// Makes requests.
    Client,
}

/// How a session is set up. `None` leaves the library's default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub max_deflate_dynamic_table_size: Option<usize>,
    pub max_reserved_remote_streams: Option<u32>,
    pub max_send_header_block_length: Option<usize>,
    pub peer_max_concurrent_streams: Option<u32>,
    pub max_settings: Option<usize>,
    pub stream_reset_limit: Option<(u64, u64)>,
    /// Whether the handler chooses the padding of frames.
    pub pads: bool,
}

/// Name, value and flags of header fields that are sent.
#[derive(Debug, Default)]
pub struct HeaderBlock {
    /// Names and values one after the other.
    pub bytes: Vec<u8>,
    /// Lengths of name and value, and flags.
    pub fields: Vec<(usize, usize, u8)>,
}

impl HeaderBlock {
    /// The method of a request.
    pub fn method(&self) -> Method {
        let mut rest = self.bytes.as_slice();
        for (name, value, _) in &self.fields {
            let field = rest
                .split_at_checked(*name)
                .and_then(|(name, rest)| Some((name, rest.split_at_checked(*value)?)));
            match field {
                Some((b":method", (value, _))) => return Method::new(value),
                Some((_, (_, after))) => rest = after,
                None => break,
            }
        }
        Method::Other
    }
}

/// A frame that arrived whole.
#[derive(Debug)]
pub enum Frame<'f> {
    Data {
        stream: i32,
        flags: u8,
        length: usize,
    },
    /// HEADERS, or PUSH_PROMISE with the promised stream.
    Headers {
        stream: i32,
        flags: u8,
        is_promise: bool,
    },
    Priority {
        stream: i32,
        parent: i32,
        weight: i32,
        exclusive: bool,
    },
    Settings {
        ack: bool,
        entries: Vec<(i32, u32)>,
    },
    Ping {
        ack: bool,
        payload: [u8; 8],
    },
    Goaway {
        code: u32,
        last_stream: i32,
        data: &'f [u8],
    },
    AltSvc {
        stream: i32,
        origin: &'f [u8],
        value: &'f [u8],
    },
    Origin(Vec<&'f [u8]>),
    Other,
}

/// What the library does after a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on.
    Accept,
    /// Resets the stream with this code.
    Reset(u32),
    /// Gives the session up.
    Fail,
}

/// What there is to send of a stream's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing now; [`Session::resume_data`] says when.
    Deferred,
    /// So many bytes were copied and more may come.
    More(usize),
    /// So many bytes were copied, the last ones.
    End(usize),
    /// So many bytes were copied, the last ones before the trailers.
    EndBeforeTrailers(usize),
}

/// Limits that this end has told its peer and the peer knows.
#[derive(Clone, Copy, Debug)]
pub struct LocalLimits {
    pub max_concurrent_streams: u32,
    pub max_header_list_size: u32,
}

/// Hears what happens in a session. Nothing here may take long or run JavaScript.
pub trait Handler {
    /// A header block of a stream begins; `category` is one of `NGHTTP2_HCAT_*`.
    fn begin_headers(&mut self, stream: i32, category: u32, limits: LocalLimits) -> Verdict;
    /// A field of the block.
    fn header(&mut self, stream: i32, name: &[u8], value: &[u8], flags: u8) -> Verdict;
    /// A frame is complete.
    fn frame_received(&mut self, frame: Frame<'_>) -> Verdict;
    /// A frame cannot be accepted.
    fn invalid_frame(&mut self, error: LibError) -> Verdict;
    /// A piece of a stream's body arrived.
    fn data(&mut self, stream: i32, bytes: &[u8]) -> Verdict;
    /// A stream has ended.
    fn stream_closed(&mut self, stream: i32, code: u32);
    /// A frame was handed out to be sent.
    fn frame_sent(&mut self, kind: u8);
    /// A frame cannot be sent.
    fn frame_not_sent(&mut self, stream: i32, kind: u8, error: LibError);
    /// What the library wants to say about an error.
    fn error(&mut self, error: LibError);
    /// Fills `target` from a stream's body.
    fn body(&mut self, stream: i32, target: &mut [u8]) -> Body;
    /// The length of a frame's payload with its padding, at most `max`.
    fn padded_length(&mut self, length: usize, max: usize) -> usize;
}

/// The library's memory: charged to the process, and counted for the session.
struct Memory {
    account: Account,
    used: Rc<Cell<usize>>,
}

/// What the library's callbacks reach.
struct Shared<H> {
    handler: UnsafeCell<H>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// Bytes of bodies since the last call, for the connection's window.
    arrived: Cell<usize>,
}

/// A session. See the module's text.
pub struct Session<H: Handler> {
    raw: NonNull<ffi::nghttp2_session>,
    shared: Box<Shared<H>>,
    _memory: Box<Memory>,
    framer: Framer,
    _handler: PhantomData<H>,
}

impl<H: Handler> Drop for Session<H> {
    fn drop(&mut self) {
        // SAFETY: the session came from nghttp2 and is deleted once; handler and memory are dropped after it.
        unsafe { ffi::nghttp2_session_del(self.raw.as_ptr()) };
    }
}

/// Frees nghttp2's options and callbacks.
struct Setup {
    options: *mut ffi::nghttp2_option,
    callbacks: *mut ffi::nghttp2_session_callbacks,
}

impl Drop for Setup {
    fn drop(&mut self) {
        // SAFETY: both are null or came from nghttp2, and are freed once; it ignores null.
        unsafe {
            ffi::nghttp2_option_del(self.options);
            ffi::nghttp2_session_callbacks_del(self.callbacks);
        }
    }
}

impl<H: Handler> Session<H> {
    /// A session whose memory is charged to `account` and counted in `used`; nothing when there is no memory.
    pub fn new(
        role: Role,
        options: &Options,
        handler: H,
        account: Account,
        used: Rc<Cell<usize>>,
    ) -> Option<Self> {
        let shared = Box::new(Shared {
            handler: UnsafeCell::new(handler),
            panic: Cell::new(None),
            arrived: Cell::new(0),
        });
        let memory = Box::new(Memory { account, used });
        let setup = Self::set_up(role, options)?;
        let mut allocator = ffi::nghttp2_mem {
            mem_user_data: std::ptr::from_ref(&*memory).cast_mut().cast(),
            malloc: Some(malloc),
            free: Some(free),
            calloc: Some(calloc),
            realloc: Some(realloc),
        };
        let create = match role {
            Role::Server => ffi::nghttp2_session_server_new3,
            Role::Client => ffi::nghttp2_session_client_new3,
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: callbacks and options are nghttp2's own; it copies them and the allocator. What the user data point
        // to lies in boxes that live as long as the session.
        let result = unsafe {
            create(
                &raw mut raw,
                setup.callbacks,
                std::ptr::from_ref(&*shared).cast_mut().cast(),
                setup.options,
                &raw mut allocator,
            )
        };
        let raw = NonNull::new(raw).filter(|_| result == 0)?;
        Some(Self {
            raw,
            shared,
            _memory: memory,
            framer: Framer::new(role),
            _handler: PhantomData,
        })
    }

    fn set_up(role: Role, options: &Options) -> Option<Setup> {
        let mut setup = Setup {
            options: std::ptr::null_mut(),
            callbacks: std::ptr::null_mut(),
        };
        // SAFETY: both calls write a new object to the address that they are given; `Setup` frees what was made.
        let made = unsafe {
            ffi::nghttp2_option_new(&raw mut setup.options) == 0
                && ffi::nghttp2_session_callbacks_new(&raw mut setup.callbacks) == 0
        };
        if !made {
            return None;
        }
        Self::set_options(&setup, role, options);
        Self::set_callbacks(&setup, options);
        Some(setup)
    }

    fn set_options(setup: &Setup, role: Role, options: &Options) {
        let target = setup.options;
        // SAFETY: `target` is nghttp2's own object; these functions store a number in it.
        unsafe {
            // Closed streams take no memory; windows open as the guest consumes.
            ffi::nghttp2_option_set_no_closed_streams(target, 1);
            ffi::nghttp2_option_set_no_auto_window_update(target, 1);
            if role == Role::Client {
                for kind in [frame_type::ALTSVC, frame_type::ORIGIN] {
                    ffi::nghttp2_option_set_builtin_recv_extension_type(target, kind);
                }
            }
            if let Some(size) = options.max_deflate_dynamic_table_size {
                ffi::nghttp2_option_set_max_deflate_dynamic_table_size(target, size);
            }
            if let Some(count) = options.max_reserved_remote_streams {
                ffi::nghttp2_option_set_max_reserved_remote_streams(target, count);
            }
            if let Some(length) = options.max_send_header_block_length {
                ffi::nghttp2_option_set_max_send_header_block_length(target, length);
            }
            let count = options
                .peer_max_concurrent_streams
                .unwrap_or(DEFAULT_PEER_MAX_CONCURRENT_STREAMS);
            ffi::nghttp2_option_set_peer_max_concurrent_streams(target, count);
            // Messages are checked by the handler, see `messaging.rs`.
            ffi::nghttp2_option_set_no_http_messaging(target, 1);
            if let Some(count) = options.max_settings {
                ffi::nghttp2_option_set_max_settings(target, count);
            }
            if let Some((burst, rate)) = options.stream_reset_limit {
                ffi::nghttp2_option_set_stream_reset_rate_limit(target, burst, rate);
            }
        }
    }

    fn set_callbacks(setup: &Setup, options: &Options) {
        let target = setup.callbacks;
        // SAFETY: `target` is nghttp2's own object; these functions store a function in it. Each function gets the user
        // data of the session that it is called for, which is a `Shared<H>`.
        unsafe {
            ffi::nghttp2_session_callbacks_set_on_begin_headers_callback(
                target,
                Some(on_begin_headers::<H>),
            );
            ffi::nghttp2_session_callbacks_set_on_header_callback(target, Some(on_header::<H>));
            ffi::nghttp2_session_callbacks_set_on_frame_recv_callback(
                target,
                Some(on_frame_received::<H>),
            );
            ffi::nghttp2_session_callbacks_set_on_stream_close_callback(
                target,
                Some(on_stream_closed::<H>),
            );
            ffi::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
                target,
                Some(on_data::<H>),
            );
            ffi::nghttp2_session_callbacks_set_on_frame_not_send_callback(
                target,
                Some(on_frame_not_sent::<H>),
            );
            ffi::nghttp2_session_callbacks_set_error_callback2(target, Some(on_error::<H>));
            ffi::nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
                target,
                Some(on_invalid_frame::<H>),
            );
            ffi::nghttp2_session_callbacks_set_on_frame_send_callback(
                target,
                Some(on_frame_sent::<H>),
            );
            if options.pads {
                ffi::nghttp2_session_callbacks_set_select_padding_callback2(
                    target,
                    Some(select_padding::<H>),
                );
            }
        }
    }

    /// The handler, while the library does nothing.
    pub fn handler(&mut self) -> &mut H {
        self.shared.handler.get_mut()
    }

    /// Calls into the library, and passes on a panic of the handler's.
    fn call<R>(&mut self, call: impl FnOnce(*mut ffi::nghttp2_session) -> R) -> R {
        let result = call(self.raw.as_ptr());
        if let Some(panic) = self.shared.panic.take() {
            resume_unwind(panic);
        }
        result
    }

    /// As [`Self::call`], for functions that answer 0, an id, or an error.
    fn number(
        &mut self,
        call: impl FnOnce(*mut ffi::nghttp2_session) -> c_int,
    ) -> Result<i32, LibError> {
        match self.call(call) {
            error if error < 0 => Err(LibError(error)),
            number => Ok(number),
        }
    }

    // ---- bytes -----------------------------------------------------------------------------------------------------

    /// Takes from `input` up to the end of a frame, or of a piece of a body. Call it again while some is left, or while
    /// it takes nothing of what is left and [`Received::more`] says that an event waits.
    pub fn receive(&mut self, input: &[u8]) -> Result<Received, LibError> {
        let length = self.framer.room(input);
        let piece = input.get(..length).unwrap_or_default();
        let before = self.shared.arrived.get();
        // SAFETY: the slice is readable for its length; nghttp2 keeps no pointer to it.
        let taken = self.call(|raw| unsafe {
            ffi::nghttp2_session_mem_recv2(raw, piece.as_ptr(), piece.len())
        });
        let paused = self.shared.arrived.get() > before;
        let arrived = self.shared.arrived.take();
        if arrived > 0 {
            // SAFETY: a living session. It fails for no memory, which the next call tells.
            self.call(|raw| unsafe { ffi::nghttp2_session_consume_connection(raw, arrived) });
        }
        let Ok(taken) = usize::try_from(taken) else {
            return Err(LibError(i32::try_from(taken).unwrap_or(lib_error::FATAL)));
        };
        self.framer.advance(input.get(..taken).unwrap_or_default());
        Ok(Received {
            taken,
            more: paused,
        })
    }

    /// Appends the next bytes to send to `target`; answers how many.
    pub fn send(&mut self, target: &mut Vec<u8>) -> Result<usize, LibError> {
        let mut data = std::ptr::null();
        // SAFETY: it writes the address of bytes that stay until the next call.
        let length = self.call(|raw| unsafe { ffi::nghttp2_session_mem_send2(raw, &raw mut data) });
        let Ok(length) = usize::try_from(length) else {
            return Err(LibError(i32::try_from(length).unwrap_or(lib_error::FATAL)));
        };
        if length > 0 && !data.is_null() {
            // SAFETY: nghttp2 answered that `data` has so many bytes; nothing was called since.
            target.extend_from_slice(unsafe { std::slice::from_raw_parts(data, length) });
        }
        Ok(length)
    }

    /// Whether there is something to send.
    pub fn wants_write(&self) -> bool {
        // SAFETY: a living session, only looked at.
        unsafe { ffi::nghttp2_session_want_write(self.raw.as_ptr()) != 0 }
    }

    /// Whether more input is wanted.
    pub fn wants_read(&self) -> bool {
        // SAFETY: a living session, only looked at.
        unsafe { ffi::nghttp2_session_want_read(self.raw.as_ptr()) != 0 }
    }

    // ---- frames ----------------------------------------------------------------------------------------------------

    /// A request; answers the stream's id.
    pub fn submit_request(
        &mut self,
        headers: &HeaderBlock,
        has_body: bool,
    ) -> Result<i32, LibError> {
        let fields = Fields::new(headers)?;
        let provider = provider::<H>();
        let provider = has_body.then_some(&raw const provider);
        // SAFETY: the fields are readable; nghttp2 copies them and the provider. Its priority may be null.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_request2(
                raw,
                std::ptr::null(),
                fields.as_ptr(),
                fields.len(),
                provider.unwrap_or(std::ptr::null()),
                std::ptr::null_mut(),
            )
        })
    }

    /// The head of a response.
    pub fn submit_response(
        &mut self,
        stream: i32,
        headers: &HeaderBlock,
        has_body: bool,
    ) -> Result<i32, LibError> {
        let fields = Fields::new(headers)?;
        let provider = provider::<H>();
        let provider = has_body.then_some(&raw const provider);
        // SAFETY: the fields are readable; nghttp2 copies them and the provider.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_response2(
                raw,
                stream,
                fields.as_ptr(),
                fields.len(),
                provider.unwrap_or(std::ptr::null()),
            )
        })
    }

    /// The head of an informational response.
    pub fn submit_info(&mut self, stream: i32, headers: &HeaderBlock) -> Result<i32, LibError> {
        let fields = Fields::new(headers)?;
        // SAFETY: the fields are readable and copied; priority and user data may be null.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_headers(
                raw,
                0,
                stream,
                std::ptr::null(),
                fields.as_ptr(),
                fields.len(),
                std::ptr::null_mut(),
            )
        })
    }

    /// Trailers.
    pub fn submit_trailers(&mut self, stream: i32, headers: &HeaderBlock) -> Result<i32, LibError> {
        let fields = Fields::new(headers)?;
        // SAFETY: the fields are readable and copied.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_trailer(raw, stream, fields.as_ptr(), fields.len())
        })
    }

    /// The last, empty DATA frame in place of trailers.
    pub fn submit_end(&mut self, stream: i32) -> Result<i32, LibError> {
        let provider = provider::<H>();
        // SAFETY: nghttp2 copies the provider.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_data2(raw, frame_flag::END_STREAM, stream, &raw const provider)
        })
    }

    /// A promise of a stream; answers its id.
    pub fn submit_push_promise(
        &mut self,
        stream: i32,
        headers: &HeaderBlock,
    ) -> Result<i32, LibError> {
        let fields = Fields::new(headers)?;
        // SAFETY: the fields are readable and copied; the user data may be null.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_push_promise(
                raw,
                0,
                stream,
                fields.as_ptr(),
                fields.len(),
                std::ptr::null_mut(),
            )
        })
    }

    /// Settings.
    pub fn submit_settings(&mut self, entries: &[(i32, u32)]) -> Result<i32, LibError> {
        let entries = settings_entries(entries);
        // SAFETY: the entries are readable and copied.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_settings(raw, 0, entries.as_ptr(), entries.len())
        })
    }

    /// A ping.
    pub fn submit_ping(&mut self, payload: [u8; 8]) -> Result<i32, LibError> {
        // SAFETY: eight bytes, copied.
        self.number(|raw| unsafe { ffi::nghttp2_submit_ping(raw, 0, payload.as_ptr()) })
    }

    /// Says that no stream after `last_stream` is served.
    pub fn submit_goaway(
        &mut self,
        last_stream: i32,
        code: u32,
        data: &[u8],
    ) -> Result<i32, LibError> {
        // SAFETY: the data are readable and copied.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_goaway(raw, 0, last_stream, code, data.as_ptr(), data.len())
        })
    }

    /// Another place where the origin is served.
    pub fn submit_altsvc(
        &mut self,
        stream: i32,
        origin: &[u8],
        value: &[u8],
    ) -> Result<i32, LibError> {
        // SAFETY: both are readable and copied.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_altsvc(
                raw,
                0,
                stream,
                origin.as_ptr(),
                origin.len(),
                value.as_ptr(),
                value.len(),
            )
        })
    }

    /// Origins that the connection serves.
    pub fn submit_origin(&mut self, origins: &[&[u8]]) -> Result<i32, LibError> {
        let entries: Vec<_> = origins
            .iter()
            .map(|origin| ffi::nghttp2_origin_entry {
                origin: origin.as_ptr().cast_mut(),
                origin_len: origin.len(),
            })
            .collect();
        // SAFETY: the entries are readable and copied; nghttp2 writes to none.
        self.number(|raw| unsafe {
            ffi::nghttp2_submit_origin(raw, 0, entries.as_ptr(), entries.len())
        })
    }

    /// Ends a stream.
    pub fn submit_rst_stream(&mut self, stream: i32, code: u32) -> Result<i32, LibError> {
        // SAFETY: a living session.
        self.number(|raw| unsafe { ffi::nghttp2_submit_rst_stream(raw, 0, stream, code) })
    }

    /// A PRIORITY frame.
    pub fn submit_priority(
        &mut self,
        stream: i32,
        parent: i32,
        weight: i32,
        exclusive: bool,
    ) -> Result<i32, LibError> {
        let spec = ffi::nghttp2_priority_spec {
            stream_id: parent,
            weight,
            exclusive: u8::from(exclusive),
        };
        // SAFETY: the priority is readable and copied.
        self.number(|raw| unsafe { ffi::nghttp2_submit_priority(raw, 0, stream, &raw const spec) })
    }

    /// Says goodbye; all streams are gone after that.
    pub fn terminate(&mut self, code: u32) -> Result<i32, LibError> {
        // SAFETY: a living session.
        self.number(|raw| unsafe { ffi::nghttp2_session_terminate_session(raw, code) })
    }

    /// There is more of a stream's body, or its end.
    pub fn resume_data(&mut self, stream: i32) {
        // SAFETY: a living session. It fails for streams that wait for nothing, and for no memory: the next call tells.
        self.call(|raw| unsafe { ffi::nghttp2_session_resume_data(raw, stream) });
    }

    /// So many bytes of a stream's body were consumed.
    pub fn consume_stream(&mut self, stream: i32, bytes: usize) {
        // SAFETY: a living session. It fails for streams that are gone.
        self.call(|raw| unsafe { ffi::nghttp2_session_consume_stream(raw, stream, bytes) });
    }

    /// Sets the id of the next stream.
    pub fn set_next_stream_id(&mut self, stream: i32) -> Result<i32, LibError> {
        // SAFETY: a living session.
        self.number(|raw| unsafe { ffi::nghttp2_session_set_next_stream_id(raw, stream) })
    }

    /// Sets the window of the whole connection.
    pub fn set_local_window_size(&mut self, size: i32) -> Result<i32, LibError> {
        // SAFETY: a living session.
        self.number(|raw| unsafe { ffi::nghttp2_session_set_local_window_size(raw, 0, 0, size) })
    }

    // ---- state -----------------------------------------------------------------------------------------------------

    /// A setting of this end's, as far as the peer has accepted it, or of the peer's.
    pub fn setting(&self, side: Side, id: u32) -> u32 {
        let raw = self.raw.as_ptr();
        let id = id as ffi::nghttp2_settings_id;
        // SAFETY: a living session, only looked at. Callers pass settings that nghttp2 knows, for others it would abort.
        unsafe {
            match side {
                Side::Local => ffi::nghttp2_session_get_local_settings(raw, id),
                Side::Remote => ffi::nghttp2_session_get_remote_settings(raw, id),
            }
        }
    }

    /// The session's numbers, in the order of `sessionState`.
    #[expect(
        clippy::cast_precision_loss,
        reason = "JavaScript's numbers are doubles"
    )]
    pub fn state(&self) -> [f64; 9] {
        let raw = self.raw.as_ptr();
        // SAFETY: a living session, only looked at.
        unsafe {
            [
                f64::from(ffi::nghttp2_session_get_effective_local_window_size(raw)),
                f64::from(ffi::nghttp2_session_get_effective_recv_data_length(raw)),
                f64::from(ffi::nghttp2_session_get_next_stream_id(raw)),
                f64::from(ffi::nghttp2_session_get_local_window_size(raw)),
                f64::from(ffi::nghttp2_session_get_last_proc_stream_id(raw)),
                f64::from(ffi::nghttp2_session_get_remote_window_size(raw)),
                ffi::nghttp2_session_get_outbound_queue_size(raw) as f64,
                ffi::nghttp2_session_get_hd_deflate_dynamic_table_size(raw) as f64,
                ffi::nghttp2_session_get_hd_inflate_dynamic_table_size(raw) as f64,
            ]
        }
    }

    /// The last stream that was handled.
    pub fn last_stream(&self) -> i32 {
        // SAFETY: a living session, only looked at.
        unsafe { ffi::nghttp2_session_get_last_proc_stream_id(self.raw.as_ptr()) }
    }

    /// A stream's numbers, in the order of `streamState`; nothing when there is no such stream.
    pub fn stream_state(&self, stream: i32) -> Option<[f64; 6]> {
        let raw = self.raw.as_ptr();
        // SAFETY: a living session, only looked at; the stream's address is used before anything can free it.
        unsafe {
            let found = ffi::nghttp2_session_find_stream(raw, stream);
            if found.is_null() {
                return None;
            }
            Some([
                f64::from(ffi::nghttp2_stream_get_state(found)),
                f64::from(ffi::nghttp2_stream_get_weight(found)),
                f64::from(ffi::nghttp2_stream_get_sum_dependency_weight(found)),
                f64::from(ffi::nghttp2_session_get_stream_local_close(raw, stream)),
                f64::from(ffi::nghttp2_session_get_stream_remote_close(raw, stream)),
                f64::from(ffi::nghttp2_session_get_stream_local_window_size(
                    raw, stream,
                )),
            ])
        }
    }
}

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Local,
    Remote,
}

/// What [`Session::receive`] did.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// How much of the input it took.
    pub taken: usize,
    /// Whether it stopped inside of what it took, and another call goes on even without input.
    pub more: bool,
}

/// As RFC 9113 recommends for an end that has not heard its peer yet.
const DEFAULT_PEER_MAX_CONCURRENT_STREAMS: u32 = 100;

/// The text of a library's error.
pub fn error_text(error: i32) -> &'static str {
    // SAFETY: answers a static C string for any number.
    let text = unsafe { std::ffi::CStr::from_ptr(ffi::nghttp2_strerror(error)) };
    text.to_str().unwrap_or_default()
}

/// The payload of a SETTINGS frame; nothing for values that are not allowed.
pub fn pack_settings(entries: &[(i32, u32)]) -> Option<Vec<u8>> {
    const ENTRY: usize = 6;
    let entries = settings_entries(entries);
    let mut payload = vec![0; entries.len() * ENTRY];
    // SAFETY: the buffer has the length that is given, and the entries are readable.
    let length = unsafe {
        ffi::nghttp2_pack_settings_payload2(
            payload.as_mut_ptr(),
            payload.len(),
            entries.as_ptr(),
            entries.len(),
        )
    };
    (length >= 0).then_some(payload)
}

/// Which bytes names and values may have.
pub mod valid {
    use libnghttp2_sys as ffi;

    macro_rules! check {
        ($(#[$text:meta])* $name:ident, $function:ident) => {
            $(#[$text])*
            pub fn $name(bytes: &[u8]) -> bool {
                // SAFETY: the bytes are readable for their length.
                unsafe { ffi::$function(bytes.as_ptr(), bytes.len()) != 0 }
            }
        };
    }

    check!(
        /// A field's name, in lower case.
        name,
        nghttp2_check_header_name
    );
    check!(
        /// A method.
        method,
        nghttp2_check_method
    );
    check!(
        /// A path.
        path,
        nghttp2_check_path
    );
    check!(
        /// A value without white space around it.
        strict_value,
        nghttp2_check_header_value_rfc9113
    );
    check!(
        /// A value.
        lenient_value,
        nghttp2_check_header_value
    );

    /// A value; `strict`: without white space around it.
    pub fn value(bytes: &[u8], strict: bool) -> bool {
        if strict {
            strict_value(bytes)
        } else {
            lenient_value(bytes)
        }
    }
}

fn settings_entries(entries: &[(i32, u32)]) -> Vec<ffi::nghttp2_settings_entry> {
    entries
        .iter()
        .map(|(id, value)| ffi::nghttp2_settings_entry {
            settings_id: *id,
            value: *value,
        })
        .collect()
}

/// Header fields as nghttp2 takes them; borrows the block.
struct Fields<'b>(Vec<ffi::nghttp2_nv>, PhantomData<&'b HeaderBlock>);

impl<'b> Fields<'b> {
    fn new(block: &'b HeaderBlock) -> Result<Self, LibError> {
        let mut rest = block.bytes.as_slice();
        let mut fields = Vec::with_capacity(block.fields.len());
        for (name, value, flags) in &block.fields {
            let split = rest
                .split_at_checked(*name)
                .and_then(|(name, rest)| Some((name, rest.split_at_checked(*value)?)));
            let Some((name, (value, after))) = split else {
                return Err(LibError(ffi::NGHTTP2_ERR_INVALID_ARGUMENT));
            };
            fields.push(ffi::nghttp2_nv {
                name: name.as_ptr().cast_mut(),
                value: value.as_ptr().cast_mut(),
                namelen: name.len(),
                valuelen: value.len(),
                flags: *flags,
            });
            rest = after;
        }
        Ok(Self(fields, PhantomData))
    }

    fn as_ptr(&self) -> *const ffi::nghttp2_nv {
        self.0.as_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

fn provider<H: Handler>() -> ffi::nghttp2_data_provider2 {
    ffi::nghttp2_data_provider2 {
        source: ffi::nghttp2_data_source {
            ptr: std::ptr::null_mut(),
        },
        read_callback: Some(read_body::<H>),
    }
}

// ---- where frames end ----------------------------------------------------------------------------------------------

/// Follows the frames of the input.
struct Framer {
    /// What is left of the client's preface.
    preface: usize,
    /// What is left of a frame's payload.
    payload: usize,
    /// The frame's header so far.
    header: Vec<u8>,
}

/// Length of a frame's header.
const FRAME_HEADER: usize = 9;
/// Length of what a client sends first.
const PREFACE: usize = 24;

impl Framer {
    fn new(role: Role) -> Self {
        Self {
            preface: if role == Role::Server { PREFACE } else { 0 },
            payload: 0,
            header: Vec::with_capacity(FRAME_HEADER),
        }
    }

    /// The length of a payload, from the start of a frame's header.
    fn payload_length(header: &[u8]) -> usize {
        header
            .iter()
            .take(3)
            .fold(0, |length, byte| length << 8 | usize::from(*byte))
    }

    /// How much of `input` belongs to what comes next: the preface, or a frame.
    fn room(&self, input: &[u8]) -> usize {
        let room = if self.preface > 0 {
            self.preface
        } else if self.payload > 0 {
            self.payload
        } else {
            let missing = FRAME_HEADER - self.header.len();
            let mut header = self.header.clone();
            header.extend(input.iter().take(missing));
            if header.len() < FRAME_HEADER {
                missing
            } else {
                missing + Self::payload_length(&header)
            }
        };
        room.min(input.len())
    }

    /// The library has taken `input`.
    fn advance(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            let taken = if self.preface > 0 {
                let taken = self.preface.min(input.len());
                self.preface -= taken;
                taken
            } else if self.payload > 0 {
                let taken = self.payload.min(input.len());
                self.payload -= taken;
                taken
            } else {
                let taken = (FRAME_HEADER - self.header.len()).min(input.len());
                self.header.extend(input.iter().take(taken));
                if self.header.len() == FRAME_HEADER {
                    self.payload = Self::payload_length(&self.header);
                    self.header.clear();
                }
                taken
            };
            input = input.get(taken..).unwrap_or_default();
        }
    }
}

// ---- callbacks -----------------------------------------------------------------------------------------------------

/// Runs `body` with the handler; a panic ends the call with `on_panic` and goes on in [`Session::call`].
///
/// # Safety
/// `user_data` is that of a living session of this `H`, and no other reference to its handler exists.
unsafe fn with_handler<H: Handler, R>(
    user_data: *mut c_void,
    on_panic: R,
    body: impl FnOnce(&mut H) -> R,
) -> R {
    // SAFETY: the session's box, see `Session::new`.
    let shared = unsafe { &*user_data.cast::<Shared<H>>() };
    // SAFETY: the session is borrowed mutably by whoever called the library, which calls one callback at a time.
    let handler = unsafe { &mut *shared.handler.get() };
    match catch_unwind(AssertUnwindSafe(|| body(handler))) {
        Ok(result) => result,
        Err(panic) => {
            shared.panic.set(Some(panic));
            on_panic
        }
    }
}

const ACCEPT: c_int = 0;
const FAIL: c_int = ffi::NGHTTP2_ERR_CALLBACK_FAILURE;

/// # Safety
/// `session` is the one that calls.
unsafe fn follow(session: *mut ffi::nghttp2_session, stream: i32, verdict: Verdict) -> c_int {
    match verdict {
        Verdict::Accept => ACCEPT,
        Verdict::Fail => FAIL,
        Verdict::Reset(code) => {
            // SAFETY: nghttp2 allows this inside of a callback. It fails for no memory, which the next call tells.
            unsafe { ffi::nghttp2_submit_rst_stream(session, 0, stream, code) };
            ffi::NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        }
    }
}

/// The stream that a frame is about: the promised one of a promise.
fn stream_of(frame: &ffi::nghttp2_frame) -> i32 {
    // SAFETY: every frame begins with its header, whose type says which member of the union it is.
    unsafe {
        if frame.hd.type_ == frame_type::PUSH_PROMISE {
            frame.push_promise.promised_stream_id
        } else {
            frame.hd.stream_id
        }
    }
}

unsafe extern "C" fn on_begin_headers<H: Handler>(
    session: *mut ffi::nghttp2_session,
    frame: *const ffi::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes its session, a frame of HEADERS or PUSH_PROMISE, and the session's user data.
    unsafe {
        let frame = &*frame;
        let stream = stream_of(frame);
        let category = if frame.hd.type_ == frame_type::HEADERS {
            frame.headers.cat
        } else {
            0
        };
        let limits = LocalLimits {
            max_concurrent_streams: ffi::nghttp2_session_get_local_settings(
                session,
                setting::MAX_CONCURRENT_STREAMS,
            ),
            max_header_list_size: ffi::nghttp2_session_get_local_settings(
                session,
                setting::MAX_HEADER_LIST_SIZE,
            ),
        };
        let verdict = with_handler(user_data, Verdict::Fail, |handler: &mut H| {
            handler.begin_headers(stream, category, limits)
        });
        follow(session, stream, verdict)
    }
}

/// Settings that nghttp2 knows.
pub mod setting {
    pub const HEADER_TABLE_SIZE: u32 = 1;
    pub const ENABLE_PUSH: u32 = 2;
    pub const MAX_CONCURRENT_STREAMS: u32 = 3;
    pub const INITIAL_WINDOW_SIZE: u32 = 4;
    pub const MAX_FRAME_SIZE: u32 = 5;
    pub const MAX_HEADER_LIST_SIZE: u32 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u32 = 8;
}

/// # Safety
/// `data` is readable for `length` bytes as long as the answer is used, unless that is 0.
unsafe fn slice<'a, T>(data: *const T, length: usize) -> &'a [T] {
    if data.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: see above.
    unsafe { std::slice::from_raw_parts(data, length) }
}

unsafe extern "C" fn on_header<H: Handler>(
    session: *mut ffi::nghttp2_session,
    frame: *const ffi::nghttp2_frame,
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
    flags: u8,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes its session, a frame, two strings with their lengths, and the session's user data.
    unsafe {
        let stream = stream_of(&*frame);
        let (name, value) = (slice(name, name_length), slice(value, value_length));
        let verdict = with_handler(user_data, Verdict::Fail, |handler: &mut H| {
            handler.header(stream, name, value, flags)
        });
        follow(session, stream, verdict)
    }
}

/// # Safety
/// `frame` was received by nghttp2, and lives as long as the answer.
unsafe fn received(frame: &ffi::nghttp2_frame) -> Frame<'_> {
    // SAFETY: the header's type says which member of the union the frame is; lengths are nghttp2's own.
    unsafe {
        let header = frame.hd;
        let stream = stream_of(frame);
        let ack = header.flags & frame_flag::ACK != 0;
        match header.type_ {
            frame_type::DATA => Frame::Data {
                stream,
                flags: header.flags,
                length: header.length,
            },
            frame_type::HEADERS | frame_type::PUSH_PROMISE => Frame::Headers {
                stream,
                flags: header.flags,
                is_promise: header.type_ == frame_type::PUSH_PROMISE,
            },
            frame_type::PRIORITY => Frame::Priority {
                stream,
                parent: frame.priority.pri_spec.stream_id,
                weight: frame.priority.pri_spec.weight,
                exclusive: frame.priority.pri_spec.exclusive != 0,
            },
            frame_type::SETTINGS => Frame::Settings {
                ack,
                entries: slice(frame.settings.iv, frame.settings.niv)
                    .iter()
                    .map(|entry| (entry.settings_id, entry.value))
                    .collect(),
            },
            frame_type::PING => Frame::Ping {
                ack,
                payload: frame.ping.opaque_data,
            },
            frame_type::GOAWAY => Frame::Goaway {
                code: frame.goaway.error_code,
                last_stream: frame.goaway.last_stream_id,
                data: slice(frame.goaway.opaque_data, frame.goaway.opaque_data_len),
            },
            frame_type::ALTSVC if !frame.ext.payload.is_null() => {
                let payload = &*frame.ext.payload.cast::<ffi::nghttp2_ext_altsvc>();
                Frame::AltSvc {
                    stream,
                    origin: slice(payload.origin, payload.origin_len),
                    value: slice(payload.field_value, payload.field_value_len),
                }
            }
            frame_type::ORIGIN if !frame.ext.payload.is_null() => {
                let payload = &*frame.ext.payload.cast::<ffi::nghttp2_ext_origin>();
                let origins = slice(payload.ov, payload.nov);
                Frame::Origin(
                    origins
                        .iter()
                        .map(|entry| slice(entry.origin, entry.origin_len))
                        .collect(),
                )
            }
            _ => Frame::Other,
        }
    }
}

unsafe extern "C" fn on_frame_received<H: Handler>(
    session: *mut ffi::nghttp2_session,
    frame: *const ffi::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes its session, a frame that lives during the call, and the session's user data.
    unsafe {
        let stream = stream_of(&*frame);
        let verdict = with_handler(user_data, Verdict::Fail, |handler: &mut H| {
            handler.frame_received(received(&*frame))
        });
        match follow(session, stream, verdict) {
            FAIL => FAIL,
            // Here a reset that was submitted is all.
            _ => ACCEPT,
        }
    }
}

unsafe extern "C" fn on_invalid_frame<H: Handler>(
    _session: *mut ffi::nghttp2_session,
    _frame: *const ffi::nghttp2_frame,
    error: c_int,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's user data.
    let verdict = unsafe {
        with_handler(user_data, Verdict::Fail, |handler: &mut H| {
            handler.invalid_frame(LibError(error))
        })
    };
    if verdict == Verdict::Accept {
        ACCEPT
    } else {
        FAIL
    }
}

unsafe extern "C" fn on_data<H: Handler>(
    session: *mut ffi::nghttp2_session,
    _flags: u8,
    stream: i32,
    data: *const u8,
    length: usize,
    user_data: *mut c_void,
) -> c_int {
    if length == 0 {
        return ACCEPT;
    }
    // SAFETY: nghttp2 passes its session, bytes with their length, and the session's user data.
    unsafe {
        let shared = &*user_data.cast::<Shared<H>>();
        shared.arrived.set(shared.arrived.get() + length);
        let verdict = with_handler(user_data, Verdict::Fail, |handler: &mut H| {
            handler.data(stream, slice(data, length))
        });
        match follow(session, stream, verdict) {
            FAIL => FAIL,
            _ => ffi::NGHTTP2_ERR_PAUSE,
        }
    }
}

unsafe extern "C" fn on_stream_closed<H: Handler>(
    _session: *mut ffi::nghttp2_session,
    stream: i32,
    code: u32,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's user data.
    unsafe {
        with_handler(user_data, FAIL, |handler: &mut H| {
            handler.stream_closed(stream, code);
            ACCEPT
        })
    }
}

unsafe extern "C" fn on_frame_sent<H: Handler>(
    _session: *mut ffi::nghttp2_session,
    frame: *const ffi::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes a frame, which begins with its header, and the session's user data.
    unsafe {
        let kind = (*frame).hd.type_;
        with_handler(user_data, FAIL, |handler: &mut H| {
            handler.frame_sent(kind);
            ACCEPT
        })
    }
}

unsafe extern "C" fn on_frame_not_sent<H: Handler>(
    _session: *mut ffi::nghttp2_session,
    frame: *const ffi::nghttp2_frame,
    error: c_int,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes a frame, which begins with its header, and the session's user data.
    unsafe {
        let (stream, kind) = ((*frame).hd.stream_id, (*frame).hd.type_);
        with_handler(user_data, FAIL, |handler: &mut H| {
            handler.frame_not_sent(stream, kind, LibError(error));
            ACCEPT
        })
    }
}

unsafe extern "C" fn on_error<H: Handler>(
    _session: *mut ffi::nghttp2_session,
    error: c_int,
    _text: *const std::ffi::c_char,
    _length: usize,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's user data.
    unsafe {
        with_handler(user_data, FAIL, |handler: &mut H| {
            handler.error(LibError(error));
            ACCEPT
        })
    }
}

unsafe extern "C" fn select_padding<H: Handler>(
    _session: *mut ffi::nghttp2_session,
    frame: *const ffi::nghttp2_frame,
    max: usize,
    user_data: *mut c_void,
) -> ffi::nghttp2_ssize {
    // SAFETY: nghttp2 passes a frame, which begins with its header, and the session's user data.
    let length = unsafe {
        let length = (*frame).hd.length;
        with_handler(user_data, length, |handler: &mut H| {
            // The library refuses anything outside of this range.
            handler
                .padded_length(length, max)
                .clamp(length, max.max(length))
        })
    };
    ffi::nghttp2_ssize::try_from(length).unwrap_or(FAIL as ffi::nghttp2_ssize)
}

unsafe extern "C" fn read_body<H: Handler>(
    _session: *mut ffi::nghttp2_session,
    stream: i32,
    target: *mut u8,
    length: usize,
    flags: *mut u32,
    _source: *mut ffi::nghttp2_data_source,
    user_data: *mut c_void,
) -> ffi::nghttp2_ssize {
    // SAFETY: nghttp2 passes a buffer of its own with its length, a place for flags, and the session's user data.
    unsafe {
        let target = if length == 0 {
            &mut []
        } else {
            std::slice::from_raw_parts_mut(target, length)
        };
        let room = target.len();
        let body = with_handler(user_data, None, |handler: &mut H| {
            Some(handler.body(stream, target))
        });
        let copied = match body {
            None => return FAIL as ffi::nghttp2_ssize,
            Some(Body::Deferred) => return ffi::NGHTTP2_ERR_DEFERRED as ffi::nghttp2_ssize,
            Some(Body::More(copied)) => copied,
            Some(Body::End(copied)) => {
                *flags |= ffi::NGHTTP2_DATA_FLAG_EOF;
                copied
            }
            Some(Body::EndBeforeTrailers(copied)) => {
                *flags |= ffi::NGHTTP2_DATA_FLAG_EOF | ffi::NGHTTP2_DATA_FLAG_NO_END_STREAM;
                copied
            }
        };
        ffi::nghttp2_ssize::try_from(copied.min(room)).unwrap_or(FAIL as ffi::nghttp2_ssize)
    }
}

// ---- memory --------------------------------------------------------------------------------------------------------

impl Memory {
    fn allocate(&self, bytes: usize) -> *mut c_void {
        let block = self.account.allocate(bytes);
        if !block.is_null() {
            self.used.set(self.used.get() + bytes);
        }
        block
    }

    /// # Safety
    /// `block` is null, or came from [`Self::allocate`] and was not freed.
    unsafe fn free(&self, block: *mut c_void) {
        if block.is_null() {
            return;
        }
        // SAFETY: see above.
        unsafe {
            let bytes = Account::size(block);
            self.used.set(self.used.get().saturating_sub(bytes));
            self.account.free(block);
        }
    }
}

unsafe extern "C" fn malloc(size: usize, memory: *mut c_void) -> *mut c_void {
    // SAFETY: the session's box, which outlives the session.
    unsafe { &*memory.cast::<Memory>() }.allocate(size)
}

unsafe extern "C" fn calloc(count: usize, size: usize, memory: *mut c_void) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the session's box, which outlives the session. Blocks are zeros.
        Some(bytes) => unsafe { &*memory.cast::<Memory>() }.allocate(bytes),
        None => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn free(block: *mut c_void, memory: *mut c_void) {
    // SAFETY: the session's box, which outlives the session; nghttp2 frees what it was given, once.
    unsafe { (*memory.cast::<Memory>()).free(block) };
}

unsafe extern "C" fn realloc(block: *mut c_void, size: usize, memory: *mut c_void) -> *mut c_void {
    // SAFETY: the session's box, which outlives the session.
    let memory = unsafe { &*memory.cast::<Memory>() };
    let grown = memory.allocate(size);
    if grown.is_null() || block.is_null() {
        return grown;
    }
    // SAFETY: both blocks are as long as they are told to be, and apart; the old one is nghttp2's and freed once.
    unsafe {
        let length = Account::size(block).min(size);
        std::ptr::copy_nonoverlapping(block.cast::<u8>(), grown.cast::<u8>(), length);
        memory.free(block);
    }
    grown
}
