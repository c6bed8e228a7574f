//! However the input is cut, the same text comes out.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails should say so"
)]

use secure_exec_http_parser::{Code, Event, Kind, Lenient, Parser, Text};

/// A text, or what lies between two.
type Seen = (Option<Text>, Vec<u8>);

/// The texts, joined, with what lies between them; and why the parser stopped.
fn read(kind: Kind, pieces: &[&[u8]]) -> (Vec<Seen>, Option<Code>) {
    let mut parser = Parser::new(kind, Lenient::default());
    let mut seen: Vec<Seen> = Vec::new();
    for piece in pieces {
        if let Err(failure) = parser.begin() {
            return (seen, Some(failure.code));
        }
        loop {
            match parser.next(piece) {
                Event::End => break,
                Event::Stopped(failure) => return (seen, Some(failure.code)),
                Event::Text(text, bytes) => match seen.last_mut() {
                    Some((Some(last), sofar)) if *last == text => sofar.extend_from_slice(bytes),
                    _ => seen.push((Some(text), bytes.to_vec())),
                },
                Event::HeadersComplete => {
                    seen.push((None, b"headers".to_vec()));
                    parser.reply(0).expect("0 is an answer");
                }
                event => seen.push((None, format!("{event:?}").into_bytes())),
            }
        }
    }
    (seen, None)
}

#[test]
fn cuts_change_nothing() {
    let messages: &[(Kind, &[u8])] = &[
        (
            Kind::Request,
            b"GET_PARAMETER rtsp://a/b?c#d RTSP/1.0\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        ),
        (
            Kind::Request,
            b"POST /upload?x=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
              5;name=\"v\\\"w\"\r\nhello\r\n0\r\nTrailer: yes\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ),
        (
            Kind::Response,
            b"HTTP/1.1 200 All is well\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.0 204 X\r\n\r\n",
        ),
    ];
    for (kind, message) in messages {
        let whole = read(*kind, &[message]);
        assert_eq!(whole.1, None, "{:?}", String::from_utf8_lossy(message));
        for first in 0..message.len() {
            for second in first..message.len() {
                let pieces = [
                    &message[..first],
                    &message[first..second],
                    &message[second..],
                ];
                assert_eq!(read(*kind, &pieces), whole, "cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    for (head, code) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            Code::InvalidTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            Code::InvalidContentLength,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6",
            Code::UnexpectedContentLength,
        ),
        (
            "Transfer-Encoding: chunked, identity",
            Code::InvalidTransferEncoding,
        ),
        ("Transfer-Encoding: xchunked", Code::InvalidTransferEncoding),
        ("Content-Length: +5", Code::InvalidContentLength),
        (
            "Content-Length: 99999999999999999999",
            Code::InvalidContentLength,
        ),
        ("Host: a\nX: b", Code::CrExpected),
        ("Host : a", Code::InvalidHeaderToken),
        ("Host: a\r\n folded", Code::InvalidHeaderToken),
    ] {
        let request = format!("POST / HTTP/1.1\r\n{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(
            read(Kind::Request, &[request.as_bytes()]).1,
            Some(code),
            "{head}"
        );
    }
}
