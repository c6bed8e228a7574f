//! Settings and options: the arrays through which JavaScript gives and gets them.

use super::messaging::Rules;
use super::nghttp2::{Options, Session, Side, setting};
use super::wire::{Limits, Padding, Wire};
use crate::aliased_buffer::AliasedBuffer;

/// Settings that nghttp2 does not know, at most.
const MAX_CUSTOM: usize = 10;
/// Index of the flags behind the settings that it knows.
const FLAGS: usize = KNOWN.len();
/// Index of the number of further settings, which follow it, each with its id and its value.
const CUSTOM_COUNT: usize = FLAGS + 1;
/// Ids from here on are further settings.
const FIRST_CUSTOM: i32 = 7;

/// Ids of the settings in the order of the array, with their defaults.
const KNOWN: [(u32, u32); 7] = [
    (setting::HEADER_TABLE_SIZE, 4096),
    (setting::ENABLE_PUSH, 1),
    (setting::INITIAL_WINDOW_SIZE, 65_535),
    (setting::MAX_FRAME_SIZE, 16_384),
    (setting::MAX_CONCURRENT_STREAMS, u32::MAX),
    (setting::MAX_HEADER_LIST_SIZE, 65_535),
    (setting::ENABLE_CONNECT_PROTOCOL, 0),
];

/// Indexes of `optionsBuffer`.
mod option_field {
    pub const MAX_DEFLATE_DYNAMIC_TABLE_SIZE: usize = 0;
    pub const MAX_RESERVED_REMOTE_STREAMS: usize = 1;
    pub const MAX_SEND_HEADER_BLOCK_LENGTH: usize = 2;
    pub const PEER_MAX_CONCURRENT_STREAMS: usize = 3;
    pub const PADDING_STRATEGY: usize = 4;
    pub const MAX_HEADER_LIST_PAIRS: usize = 5;
    pub const MAX_OUTSTANDING_PINGS: usize = 6;
    pub const MAX_OUTSTANDING_SETTINGS: usize = 7;
    pub const MAX_SESSION_MEMORY: usize = 8;
    pub const MAX_SETTINGS: usize = 9;
    pub const STREAM_RESET_RATE: usize = 10;
    pub const STREAM_RESET_BURST: usize = 11;
    pub const STRICT_FIELD_WHITESPACE_VALIDATION: usize = 12;
    pub const FLAGS: usize = 13;
}

const DEFAULT_MAX_HEADER_PAIRS: u32 = 128;
const DEFAULT_MAX_OUTSTANDING: u32 = 10;
const DEFAULT_MAX_SESSION_MEMORY: u64 = 10_000_000;
/// The unit of `maxSessionMemory`.
const MEGABYTE: u64 = 1_000_000;
/// A request has no fewer fields.
const MIN_SERVER_PAIRS: u32 = 4;
/// A response has no fewer.
const MIN_CLIENT_PAIRS: u32 = 1;

/// Settings that nghttp2 does not know: those that this end sent, or those that it wants to know of the peer's.
#[derive(Debug, Default)]
pub struct CustomSettings(Vec<(u16, Option<u32>)>);

impl CustomSettings {
    /// The ids in the array, which have no values yet.
    pub fn wanted(buffer: &AliasedBuffer) -> Self {
        Self(custom_entries(buffer).map(|(id, _)| (id, None)).collect())
    }

    /// Notes settings that are sent.
    pub fn send(&mut self, entries: &[(i32, u32)]) {
        for (id, value) in custom(entries) {
            let has_room = self.0.len() < MAX_CUSTOM;
            match self.0.iter_mut().find(|(known, _)| *known == id) {
                Some(known) => known.1 = Some(value),
                None if has_room => self.0.push((id, Some(value))),
                None => {}
            }
        }
    }

    /// Notes settings that arrived, if they are wanted.
    pub fn receive(&mut self, entries: &[(i32, u32)]) {
        for (id, value) in custom(entries) {
            if let Some(known) = self.0.iter_mut().find(|(known, _)| *known == id) {
                known.1 = Some(value);
            }
        }
    }

    fn store(&self, buffer: &AliasedBuffer) {
        let known = self
            .0
            .iter()
            .filter_map(|(id, value)| Some((*id, (*value)?)));
        let mut count = 0_usize;
        for (id, value) in known.take(MAX_CUSTOM) {
            let at = CUSTOM_COUNT + 1 + count * 2;
            buffer.set(at, u32::from(id));
            buffer.set(at + 1, value);
            count += 1;
        }
        buffer.set(CUSTOM_COUNT, u32::try_from(count).unwrap_or_default());
    }
}

fn custom(entries: &[(i32, u32)]) -> impl Iterator<Item = (u16, u32)> {
    entries
        .iter()
        .filter(|(id, _)| *id >= FIRST_CUSTOM)
        .filter_map(|(id, value)| Some((u16::try_from(*id).ok()?, *value)))
}

fn custom_entries(buffer: &AliasedBuffer) -> impl Iterator<Item = (u16, u32)> {
    let count = (buffer.get::<u32>(CUSTOM_COUNT) as usize).min(MAX_CUSTOM);
    (0..count).filter_map(move |index| {
        let at = CUSTOM_COUNT + 1 + index * 2;
        let id = u16::try_from(buffer.get::<u32>(at)).ok()?;
        Some((id, buffer.get::<u32>(at + 1)))
    })
}

/// The settings that JavaScript has put into the array.
pub fn entries(buffer: &AliasedBuffer) -> Vec<(i32, u32)> {
    let flags = buffer.get::<u32>(FLAGS);
    let known = KNOWN
        .iter()
        .enumerate()
        .filter(|(index, _)| flags & (1 << index) != 0)
        .filter_map(|(index, (id, _))| Some((i32::try_from(*id).ok()?, buffer.get::<u32>(index))));
    let mut entries: Vec<_> = known.collect();
    entries.sort_unstable_by_key(|(id, _)| *id);
    entries.extend(custom_entries(buffer).map(|(id, value)| (i32::from(id), value)));
    entries
}

/// Whether these settings allow requests with `:protocol`.
pub fn allow_connect_protocol(entries: &[(i32, u32)]) -> bool {
    entries.iter().any(|(id, value)| {
        u32::try_from(*id) == Ok(setting::ENABLE_CONNECT_PROTOCOL) && *value == 1
    })
}

/// Puts the defaults into the array.
pub fn store_defaults(buffer: &AliasedBuffer) {
    for (index, (_, value)) in KNOWN.iter().enumerate() {
        buffer.set(index, *value);
    }
    buffer.set(FLAGS, (1_u32 << KNOWN.len()) - 1);
    buffer.set(CUSTOM_COUNT, 0_u32);
}

/// Puts a session's settings into the array.
pub fn store(buffer: &AliasedBuffer, library: &Session<Wire>, side: Side, custom: &CustomSettings) {
    for (index, (id, _)) in KNOWN.iter().enumerate() {
        buffer.set(index, library.setting(side, *id));
    }
    custom.store(buffer);
}

/// What JavaScript has put into the array of options: nghttp2's and ours.
pub fn options(buffer: &AliasedBuffer, is_server: bool) -> (Options, Limits) {
    let flags = buffer.get::<u32>(option_field::FLAGS);
    let value = |index: usize| (flags & (1 << index) != 0).then(|| buffer.get::<u32>(index));
    let size = |index: usize| value(index).map(|value| value as usize);
    let padding = match value(option_field::PADDING_STRATEGY) {
        Some(1) => Padding::Aligned,
        Some(2) => Padding::Max,
        _ => Padding::None,
    };
    let burst = value(option_field::STREAM_RESET_BURST);
    let rate = value(option_field::STREAM_RESET_RATE);
    let options = Options {
        max_deflate_dynamic_table_size: size(option_field::MAX_DEFLATE_DYNAMIC_TABLE_SIZE),
        max_reserved_remote_streams: value(option_field::MAX_RESERVED_REMOTE_STREAMS),
        max_send_header_block_length: size(option_field::MAX_SEND_HEADER_BLOCK_LENGTH),
        peer_max_concurrent_streams: value(option_field::PEER_MAX_CONCURRENT_STREAMS),
        max_settings: size(option_field::MAX_SETTINGS),
        stream_reset_limit: burst
            .zip(rate)
            .map(|(burst, rate)| (u64::from(burst), u64::from(rate))),
        pads: padding != Padding::None,
    };
    let min_pairs = if is_server {
        MIN_SERVER_PAIRS
    } else {
        MIN_CLIENT_PAIRS
    };
    let pairs = match value(option_field::MAX_HEADER_LIST_PAIRS) {
        Some(pairs) => pairs.max(min_pairs),
        None => DEFAULT_MAX_HEADER_PAIRS,
    };
    let outstanding = |index| value(index).unwrap_or(DEFAULT_MAX_OUTSTANDING) as usize;
    let limits = Limits {
        max_session_memory: value(option_field::MAX_SESSION_MEMORY)
            .map_or(DEFAULT_MAX_SESSION_MEMORY, |value| {
                u64::from(value) * MEGABYTE
            }),
        max_header_pairs: pairs as usize,
        max_outstanding_pings: outstanding(option_field::MAX_OUTSTANDING_PINGS),
        max_outstanding_settings: outstanding(option_field::MAX_OUTSTANDING_SETTINGS),
        padding,
        rules: Rules {
            is_server,
            connect_protocol: false,
            allow_surrounding_whitespace: value(option_field::STRICT_FIELD_WHITESPACE_VALIDATION)
                .is_some_and(|allowed| allowed != 0),
        },
    };
    (options, limits)
}
