//! What a session's peer did and what goes to it: the part of a session that nghttp2 calls. No JavaScript runs here;
//! what JavaScript is to hear of becomes an [`Event`].

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::messaging::{FieldVerdict, Message, Rules};
use super::nghttp2::{
    Body, Frame, Handler, LibError, LocalLimits, Verdict, error_code, frame_flag, frame_type,
    lib_error,
};
use super::stream::Http2Stream;
use crate::aliased_buffer::AliasedBuffer;
use crate::bindings::stream_base::Pending;
use crate::env::Env;
use crate::memory::NativeCharge;

/// A header field that arrived.
pub struct Field {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    pub flags: u8,
}

/// What JavaScript hears of, in the order in which it happened.
pub enum Event {
    Headers {
        stream: i32,
        category: u32,
        flags: u8,
        fields: Vec<Field>,
    },
    Priority {
        stream: i32,
        parent: i32,
        weight: i32,
        exclusive: bool,
    },
    Settings {
        entries: Vec<(i32, u32)>,
    },
    SettingsAck,
    Ping([u8; 8]),
    PingAck([u8; 8]),
    Goaway {
        code: u32,
        last_stream: i32,
        data: Vec<u8>,
    },
    AltSvc {
        stream: i32,
        origin: Vec<u8>,
        value: Vec<u8>,
    },
    Origin(Vec<Vec<u8>>),
    Data {
        stream: i32,
        bytes: Vec<u8>,
    },
    End {
        stream: i32,
    },
    Closed {
        stream: i32,
        code: u32,
    },
    FrameError {
        stream: i32,
        kind: u8,
        code: u32,
    },
    Error(i32),
    /// A stream's body is sent and its trailers may follow.
    Trailers {
        stream: i32,
    },
    /// A stream would send so much now.
    WantsWrite {
        stream: i32,
        size: usize,
    },
}

/// A piece of a body that waits to be sent.
pub struct Outgoing {
    pub bytes: Vec<u8>,
    pub sent: usize,
    /// Whom to tell when it was taken.
    pub pending: Option<(Rc<Http2Stream>, Pending)>,
    pub _charge: Option<NativeCharge>,
}

/// Times and sizes of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamStatistics {
    pub id: i32,
    pub start: Duration,
    pub end: Duration,
    pub first_header: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub first_byte_sent: Option<Duration>,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

/// Times and sizes of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionStatistics {
    pub start: Duration,
    pub end: Duration,
    pub ping_rtt: Duration,
    pub data_sent: u64,
    pub data_received: u64,
    pub frame_count: u64,
    pub frame_sent: u64,
    pub stream_count: u64,
    pub max_concurrent_streams: usize,
    pub stream_average_duration: f64,
}

/// A stream of the connection.
pub struct WireStream {
    category: u32,
    pub message: Message,
    fields: Vec<Field>,
    fields_length: usize,
    max_fields_length: usize,
    /// What the process is charged for fields.
    field_charges: Vec<NativeCharge>,
    pub outgoing: VecDeque<Outgoing>,
    pub available: usize,
    pub writable: bool,
    pub trailers: bool,
    pub destroyed: bool,
    pub reading: bool,
    /// What was handed to JavaScript while it did not read.
    pub consumed_while_paused: usize,
    pub statistics: StreamStatistics,
}

/// Options of a session that are ours, not nghttp2's.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_session_memory: u64,
    pub max_header_pairs: usize,
    pub max_outstanding_pings: usize,
    pub max_outstanding_settings: usize,
    pub padding: Padding,
    pub rules: Rules,
}

/// How much padding frames get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    None,
    /// To a multiple of eight bytes.
    Aligned,
    Max,
}

/// See the module's text.
pub struct Wire {
    pub events: VecDeque<Event>,
    pub streams: HashMap<i32, WireStream>,
    /// Writes whose bytes go out with the next write to the connection.
    pub taken: Vec<Outgoing>,
    /// What is counted for `maxSessionMemory`, beside the library's own memory.
    pub memory: u64,
    pub library_memory: Rc<Cell<usize>>,
    pub limits: Limits,
    pub statistics: SessionStatistics,
    /// `ERR_*` of what stopped the input.
    pub input_error: Option<&'static str>,
    pub closing: bool,
    /// Whether this end has said goodbye, or is about to.
    pub says_goodbye: bool,
    /// The library has said goodbye by itself: the peer broke the protocol.
    pub gave_up: bool,
    fields: AliasedBuffer,
    rejected_streams: u32,
    invalid_frames: u32,
    env: Weak<Env>,
}

/// What one stream is counted for.
const STREAM_BYTES: u64 = 640;
/// What a session is counted for.
const SESSION_BYTES: u64 = 1024;
/// What a field is counted for beside its text.
const FIELD_BYTES: usize = 32;
/// Fields are charged to the process in steps of this size.
const CHARGE_STEP: usize = 16 << 10;
/// No header list may be longer.
const MAX_HEADER_LIST_SIZE: u32 = 0xff_ffff;
/// Index of `maxSessionInvalidFrames` among the 32-bit words of a session's fields.
const MAX_INVALID_FRAMES: usize = 1;
/// Index of `maxSessionRejectedStreams`.
const MAX_REJECTED_STREAMS: usize = 2;
const TOO_MANY_INVALID_FRAMES: &str = "ERR_HTTP2_TOO_MANY_INVALID_FRAMES";
/// Bytes of a frame's header.
const FRAME_HEADER: usize = 9;

impl Wire {
    /// A session's wire without streams.
    pub fn new(
        limits: Limits,
        fields: AliasedBuffer,
        library_memory: Rc<Cell<usize>>,
        env: &Rc<Env>,
    ) -> Self {
        let statistics = SessionStatistics {
            start: env.clock().elapsed(),
            ..SessionStatistics::default()
        };
        Self {
            events: VecDeque::new(),
            streams: HashMap::new(),
            taken: Vec::new(),
            memory: 0,
            library_memory,
            limits,
            statistics,
            input_error: None,
            closing: false,
            says_goodbye: false,
            gave_up: false,
            fields,
            rejected_streams: 0,
            invalid_frames: 0,
            env: Rc::downgrade(env),
        }
    }

    /// The time, as statistics have it.
    pub fn now(&self) -> Duration {
        self.env
            .upgrade()
            .map_or(Duration::ZERO, |env| env.clock().elapsed())
    }

    fn has_memory(&self, bytes: u64) -> bool {
        let used = self.memory + self.library_memory.get() as u64 + SESSION_BYTES;
        used.saturating_add(bytes) <= self.limits.max_session_memory
    }

    fn can_add_stream(&self, max_concurrent: u32) -> bool {
        self.streams.len() < max_concurrent as usize && self.has_memory(STREAM_BYTES)
    }

    /// Adds a stream.
    pub fn add_stream(&mut self, id: i32, category: u32, max_header_list_size: u32) {
        let start = self.now();
        let stream = WireStream {
            category,
            message: Message::default(),
            fields: Vec::new(),
            fields_length: 0,
            field_charges: Vec::new(),
            max_fields_length: max_header_list_size.min(MAX_HEADER_LIST_SIZE) as usize,
            outgoing: VecDeque::new(),
            available: 0,
            writable: true,
            trailers: false,
            destroyed: false,
            reading: false,
            consumed_while_paused: 0,
            statistics: StreamStatistics {
                id,
                start,
                ..StreamStatistics::default()
            },
        };
        self.streams.insert(id, stream);
        self.memory += STREAM_BYTES;
        let count = &mut self.statistics;
        count.stream_count += 1;
        count.max_concurrent_streams = count.max_concurrent_streams.max(self.streams.len());
    }

    /// Takes a stream away.
    pub fn remove_stream(&mut self, id: i32) -> Option<WireStream> {
        let stream = self.streams.remove(&id)?;
        let held = STREAM_BYTES + (stream.fields_length + stream.available) as u64;
        self.memory = self.memory.saturating_sub(held);
        Some(stream)
    }

    /// A stream that was not destroyed.
    pub fn stream(&mut self, id: i32) -> Option<&mut WireStream> {
        self.streams.get_mut(&id).filter(|stream| !stream.destroyed)
    }

    /// Queues a piece of a stream's body.
    pub fn push_outgoing(&mut self, id: i32, outgoing: Outgoing) {
        let length = outgoing.bytes.len();
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.available += length;
            stream.outgoing.push_back(outgoing);
            self.memory += length as u64;
        }
    }

    /// One more frame that no well-behaved peer sends.
    fn count_invalid_frame(&mut self) -> Verdict {
        let count = self.invalid_frames;
        self.invalid_frames = count.saturating_add(1);
        if count > self.fields.get::<u32>(MAX_INVALID_FRAMES) {
            self.input_error = Some(TOO_MANY_INVALID_FRAMES);
            return Verdict::Fail;
        }
        Verdict::Accept
    }

    /// What a peer sent is no message: its stream is reset.
    fn refuse_message(&mut self) -> Verdict {
        match self.count_invalid_frame() {
            Verdict::Accept => Verdict::Reset(error_code::PROTOCOL_ERROR),
            verdict => verdict,
        }
    }

    /// A header block is complete.
    fn end_of_headers(&mut self, id: i32, flags: u8, is_promise: bool) -> Verdict {
        let rules = self.limits.rules;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Verdict::Accept;
        };
        let category = stream.category;
        let block = stream.message.block(rules, category);
        let is_complete = if is_promise {
            stream.message.end_promise()
        } else {
            let ends_stream = flags & frame_flag::END_STREAM != 0;
            stream.message.end_block(block, ends_stream)
        };
        if !is_complete {
            self.drop_fields(id);
            return self.refuse_message();
        }
        if self.stream(id).is_some() {
            let fields = self.drop_fields(id);
            self.events.push_back(Event::Headers {
                stream: id,
                category,
                flags,
                fields,
            });
        }
        Verdict::Accept
    }

    /// Forgets the fields of a header block.
    fn drop_fields(&mut self, id: i32) -> Vec<Field> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Vec::new();
        };
        self.memory = self.memory.saturating_sub(stream.fields_length as u64);
        stream.fields_length = 0;
        stream.field_charges.clear();
        std::mem::take(&mut stream.fields)
    }

    fn end_of_data(&mut self, stream: i32, flags: u8, length: usize) -> Verdict {
        let ends = flags & frame_flag::END_STREAM != 0;
        if ends
            && let Some(known) = self.streams.get(&stream)
            && !known.message.end()
        {
            return self.refuse_message();
        }
        if ends && self.stream(stream).is_some() {
            self.events.push_back(Event::End { stream });
            return Verdict::Accept;
        }
        if length == 0 {
            // A flood of nothing.
            return self.count_invalid_frame();
        }
        Verdict::Accept
    }
}

/// The code that tells the peer of a library's error.
fn wire_code(error: LibError) -> u32 {
    match error.0 {
        lib_error::STREAM_CLOSED => error_code::STREAM_CLOSED,
        lib_error::HEADER_COMP => error_code::COMPRESSION_ERROR,
        lib_error::FRAME_SIZE => error_code::FRAME_SIZE_ERROR,
        lib_error::FLOW_CONTROL => error_code::FLOW_CONTROL_ERROR,
        lib_error::REFUSED_STREAM => error_code::REFUSED_STREAM,
        lib_error::PROTO | lib_error::HTTP_HEADER | lib_error::HTTP_MESSAGING => {
            error_code::PROTOCOL_ERROR
        }
        _ => error_code::INTERNAL_ERROR,
    }
}

impl Handler for Wire {
    fn begin_headers(&mut self, id: i32, category: u32, limits: LocalLimits) -> Verdict {
        if let Some(stream) = self.streams.get_mut(&id) {
            if !stream.destroyed {
                stream.category = category;
                self.drop_fields(id);
            }
            return Verdict::Accept;
        }
        if self.closing {
            return Verdict::Reset(error_code::REFUSED_STREAM);
        }
        if !self.can_add_stream(limits.max_concurrent_streams) {
            let count = self.rejected_streams;
            self.rejected_streams = count.saturating_add(1);
            if count > self.fields.get::<u32>(MAX_REJECTED_STREAMS) {
                return Verdict::Fail;
            }
            return Verdict::Reset(error_code::ENHANCE_YOUR_CALM);
        }
        self.rejected_streams = 0;
        self.add_stream(id, category, limits.max_header_list_size);
        Verdict::Accept
    }

    fn header(&mut self, id: i32, name: &[u8], value: &[u8], flags: u8) -> Verdict {
        let now = self.now();
        let length = name.len() + value.len() + FIELD_BYTES;
        let has_memory = self.has_memory(length as u64);
        let (max_pairs, rules) = (self.limits.max_header_pairs, self.limits.rules);
        let Some(stream) = self.streams.get_mut(&id) else {
            // It was closed while its headers arrived.
            return Verdict::Reset(error_code::INTERNAL_ERROR);
        };
        if stream.destroyed || name.is_empty() {
            return Verdict::Accept;
        }
        let block = stream.message.block(rules, stream.category);
        match stream.message.field(rules, block, name, value) {
            FieldVerdict::Keep => {}
            FieldVerdict::Ignore => return Verdict::Accept,
            FieldVerdict::Malformed => return self.refuse_message(),
        }
        if !has_memory
            || stream.fields.len() >= max_pairs
            || stream.fields_length + length > stream.max_fields_length
        {
            return Verdict::Reset(error_code::ENHANCE_YOUR_CALM);
        }
        stream.statistics.first_header.get_or_insert(now);
        stream.fields_length += length;
        while stream.fields_length > CHARGE_STEP * (stream.field_charges.len() + 1) {
            let budget = self.env.upgrade().and_then(|env| env.memory_account());
            match budget.map(|budget| budget.charge_native(CHARGE_STEP)) {
                Some(Ok(charge)) => stream.field_charges.push(charge),
                Some(Err(_)) => return Verdict::Fail,
                None => break,
            }
        }
        stream.fields.push(Field {
            name: name.to_vec(),
            value: value.to_vec(),
            flags,
        });
        self.memory += length as u64;
        Verdict::Accept
    }

    fn frame_received(&mut self, frame: Frame<'_>) -> Verdict {
        self.statistics.frame_count += 1;
        let event = match frame {
            Frame::Data {
                stream,
                flags,
                length,
            } => return self.end_of_data(stream, flags, length),
            Frame::Headers {
                stream,
                flags,
                is_promise,
            } => return self.end_of_headers(stream, flags, is_promise),
            Frame::Priority {
                stream,
                parent,
                weight,
                exclusive,
            } => Event::Priority {
                stream,
                parent,
                weight,
                exclusive,
            },
            Frame::Settings { ack: true, .. } => Event::SettingsAck,
            Frame::Settings { entries, .. } => Event::Settings { entries },
            Frame::Ping { ack: true, payload } => Event::PingAck(payload),
            Frame::Ping { payload, .. } => Event::Ping(payload),
            Frame::Goaway {
                code,
                last_stream,
                data,
            } => Event::Goaway {
                code,
                last_stream,
                data: data.to_vec(),
            },
            Frame::AltSvc {
                stream,
                origin,
                value,
            } => Event::AltSvc {
                stream,
                origin: origin.to_vec(),
                value: value.to_vec(),
            },
            Frame::Origin(origins) => {
                Event::Origin(origins.into_iter().map(<[u8]>::to_vec).collect())
            }
            Frame::Other => return Verdict::Accept,
        };
        self.events.push_back(event);
        Verdict::Accept
    }

    fn invalid_frame(&mut self, error: LibError) -> Verdict {
        let verdict = self.count_invalid_frame();
        if verdict == Verdict::Accept
            && (error.0 < lib_error::FATAL
                || matches!(
                    error.0,
                    lib_error::STREAM_CLOSED | lib_error::FLOW_CONTROL | lib_error::PROTO
                ))
        {
            self.events.push_back(Event::Error(error.0));
        }
        verdict
    }

    fn data(&mut self, id: i32, bytes: &[u8]) -> Verdict {
        let now = self.now();
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.message.data(bytes.len())
        {
            return self.refuse_message();
        }
        if let Some(stream) = self.stream(id) {
            stream.statistics.received_bytes += bytes.len() as u64;
            stream.statistics.first_byte.get_or_insert(now);
            self.events.push_back(Event::Data {
                stream: id,
                bytes: bytes.to_vec(),
            });
        }
        Verdict::Accept
    }

    fn stream_closed(&mut self, stream: i32, code: u32) {
        if self.stream(stream).is_some() {
            self.events.push_back(Event::Closed { stream, code });
        }
    }

    fn frame_sent(&mut self, kind: u8) {
        self.statistics.frame_sent += 1;
        if kind == frame_type::GOAWAY && !self.says_goodbye {
            self.gave_up = true;
        }
    }

    fn frame_not_sent(&mut self, stream: i32, kind: u8, error: LibError) {
        if matches!(
            error.0,
            lib_error::SESSION_CLOSING | lib_error::STREAM_CLOSED | lib_error::STREAM_CLOSING
        ) {
            self.drop_fields(stream);
            // A goodbye that cannot be said is told: nothing else would end the session.
            if kind != frame_type::GOAWAY {
                return;
            }
        }
        self.events.push_back(Event::FrameError {
            stream,
            kind,
            code: wire_code(error),
        });
    }

    fn error(&mut self, error: LibError) {
        if error.0 == lib_error::SETTINGS_EXPECTED {
            // The peer does not speak HTTP/2.
            self.events.push_back(Event::Error(lib_error::PROTO));
        }
    }

    fn body(&mut self, id: i32, target: &mut [u8]) -> Body {
        let now = self.now();
        let Some(stream) = self.streams.get_mut(&id) else {
            return Body::More(0);
        };
        stream.statistics.first_byte_sent.get_or_insert(now);
        let mut copied = 0;
        while let Some(front) = stream.outgoing.front_mut() {
            let rest = front.bytes.get(front.sent..).unwrap_or_default();
            let room = target.get_mut(copied..).unwrap_or_default();
            let length = rest.len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..length), rest.get(..length)) {
                to.copy_from_slice(from);
            }
            copied += length;
            front.sent += length;
            if front.sent < front.bytes.len() {
                break;
            }
            front.bytes = Vec::new();
            self.taken.extend(stream.outgoing.pop_front());
        }
        stream.available = stream.available.saturating_sub(copied);
        self.memory = self.memory.saturating_sub(copied as u64);
        stream.statistics.sent_bytes += copied as u64;
        if copied == 0 && stream.writable {
            self.events.push_back(Event::WantsWrite {
                stream: id,
                size: target.len(),
            });
            return Body::Deferred;
        }
        if stream.available > 0 || stream.writable {
            return Body::More(copied);
        }
        if stream.trailers {
            stream.trailers = false;
            if !stream.destroyed {
                self.events.push_back(Event::Trailers { stream: id });
            }
            return Body::EndBeforeTrailers(copied);
        }
        Body::End(copied)
    }

    fn padded_length(&mut self, length: usize, max: usize) -> usize {
        match self.limits.padding {
            Padding::None => length,
            Padding::Max => max,
            Padding::Aligned => match (length + FRAME_HEADER) % 8 {
                0 => length,
                over => max.min(length + 8 - over),
            },
        }
    }
}
