//! Sets of characters, one bit each in a table.

/// RFC 9110's `token`.
pub const TOKEN: u8 = 1;
/// What a URL may hold in its path, query and fragment.
pub const URL: u8 = 1 << 1;
/// What the authority of a URL may hold besides `@`, `/` and `?`.
pub const USERINFO: u8 = 1 << 2;
/// What a header's value may hold: HTAB, SP, VCHAR, obs-text.
pub const FIELD: u8 = 1 << 3;
/// [`FIELD`] without the comma.
pub const LIST_ITEM: u8 = 1 << 4;
/// RFC 9110's `qdtext`.
pub const QDTEXT: u8 = 1 << 5;
/// ASCII letters.
pub const ALPHA: u8 = 1 << 6;

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut rest = set;
    while let [first, tail @ ..] = rest {
        if *first == byte {
            return true;
        }
        rest = tail;
    }
    false
}

const fn classes(byte: u8) -> u8 {
    let mut class = 0;
    let alphanumeric = byte.is_ascii_alphanumeric();
    if byte.is_ascii_alphabetic() {
        class |= ALPHA;
    }
    if alphanumeric || contains(b"!#$%&'*+-.^_`|~", byte) {
        class |= TOKEN;
    }
    if alphanumeric || contains(b"!\"$%&'()*+,-./:;<=>@[\\]^_`{|}~", byte) {
        class |= URL;
    }
    if alphanumeric || contains(b"-_.!~*'()%;:&=+$,[]", byte) {
        class |= USERINFO;
    }
    if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
        class |= FIELD;
        if byte != b',' {
            class |= LIST_ITEM;
        }
        if byte != b'"' && byte != b'\\' {
            class |= QDTEXT;
        }
    }
    class
}

static TABLE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    let mut rest: &mut [u8] = &mut table;
    while let [first, tail @ ..] = rest {
        *first = classes(byte);
        byte = byte.wrapping_add(1);
        rest = tail;
    }
    table
};

/// Whether `byte` is in the set `class`.
pub fn is(byte: u8, class: u8) -> bool {
    TABLE
        .get(usize::from(byte))
        .is_some_and(|classes| classes & class != 0)
}
