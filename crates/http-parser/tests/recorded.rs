//! What Node 22.23.3 made of some hundred messages, most of them broken, and what this parser makes of them.
//!
//! `recorded.json` is a list of `[type, input, cuts, lenient, reply, log]`: `cuts` are the offsets where the input was
//! cut into pieces, or `"each"`; `log` is what Node's `HTTPParser` called and answered.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails should say so"
)]

use secure_exec_http_parser::{Code, Event, Failure, Kind, Lenient, Parser, Text};
use serde_json::{Value, json};

/// Latin-1, as the recording has it.
fn bytes(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(u32::from(char)).expect("Latin-1"))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What Node's binding makes of the events.
#[derive(Default)]
struct Recorder {
    log: Vec<Value>,
    headers: Vec<String>,
    url: String,
    status: String,
    flushed: bool,
    reply: i64,
}

impl Recorder {
    fn pairs(&mut self) -> Vec<String> {
        let trim = |(index, text): (usize, String)| match index % 2 {
            1 => text.trim_end_matches([' ', '\t']).to_owned(),
            _ => text,
        };
        let mut headers = std::mem::take(&mut self.headers);
        headers.truncate(headers.len() / 2 * 2);
        headers.into_iter().enumerate().map(trim).collect()
    }

    fn piece(&mut self, value: bool, bytes: &[u8]) {
        if (self.headers.len() % 2 == 1) == value {
            self.headers.push(String::new());
        }
        self.headers
            .last_mut()
            .expect("begun")
            .push_str(&text(bytes));
    }

    fn flush(&mut self) {
        let pairs = self.pairs();
        self.log
            .push(json!(["headers", pairs, std::mem::take(&mut self.url)]));
        self.flushed = true;
    }

    fn on(&mut self, parser: &mut Parser, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::MessageBegin => {
                self.headers.clear();
                self.url.clear();
                self.status.clear();
                self.log.push(json!("begin"));
            }
            Event::Text(Text::Url, bytes) => self.url.push_str(&text(bytes)),
            Event::Text(Text::Status, bytes) => self.status.push_str(&text(bytes)),
            Event::Text(Text::HeaderField, bytes) => self.piece(false, bytes),
            Event::Text(Text::HeaderValue, bytes) => self.piece(true, bytes),
            Event::Text(Text::Body, bytes) => self.log.push(json!(["body", text(bytes)])),
            Event::HeadersComplete => {
                let (major, minor) = parser.version();
                let request = parser.kind() == Kind::Request;
                let (mut headers, mut url) = (Value::Null, Value::Null);
                if self.flushed {
                    self.flush();
                } else {
                    headers = json!(self.pairs());
                    if request {
                        url = json!(self.url);
                    }
                }
                self.log.push(json!([
                    "complete",
                    major,
                    minor,
                    headers,
                    request.then(|| parser.method()),
                    url,
                    (!request).then(|| parser.status_code()),
                    (!request).then_some(&self.status),
                    parser.is_upgrade(),
                    parser.should_keep_alive(),
                ]));
                return parser.reply(self.reply);
            }
            Event::MessageComplete => {
                if !self.headers.is_empty() {
                    self.flush();
                }
                self.log.push(json!("done"));
            }
            _ => {}
        }
        Ok(())
    }

    fn run(&mut self, parser: &mut Parser, input: &[u8]) -> Result<(), Failure> {
        parser.begin()?;
        loop {
            match parser.next(input) {
                Event::End => return Ok(()),
                Event::Stopped(failure) => return Err(failure),
                event => self.on(parser, event)?,
            }
        }
    }
}

#[test]
fn agrees_with_node() {
    let cases: Vec<(u8, String, Value, u16, i64, Vec<Value>)> =
        serde_json::from_str(include_str!("recorded.json")).expect("recorded.json");
    assert!(cases.len() > 300, "too few cases");
    for (kind, input, cuts, lenient, reply, expected) in cases {
        let kind = if kind == 1 {
            Kind::Request
        } else {
            Kind::Response
        };
        let mut parser = Parser::new(kind, Lenient(lenient));
        let mut recorder = Recorder {
            reply,
            ..Recorder::default()
        };
        let whole = bytes(&input);
        let mut ends: Vec<usize> = match cuts.as_array() {
            Some(cuts) => cuts
                .iter()
                .filter_map(Value::as_u64)
                .map(|cut| cut as usize)
                .collect(),
            None => (1..whole.len()).collect(),
        };
        ends.push(whole.len());
        let mut start = 0;
        for end in ends {
            if end <= start && end != whole.len() {
                continue;
            }
            let piece = &whole[start..end];
            start = end;
            let outcome = recorder.run(&mut parser, piece);
            parser.resume_after_upgrade();
            match outcome {
                Ok(()) => recorder.log.push(json!(piece.len())),
                Err(failure) if parser.is_upgrade() || failure.code == Code::PausedUpgrade => {
                    recorder.log.push(json!(failure.position));
                    if failure.position != piece.len() {
                        break;
                    }
                }
                Err(Failure {
                    code,
                    reason,
                    position,
                }) => {
                    recorder
                        .log
                        .push(json!(["err", code.name(), reason, position, "Parse Error"]));
                    break;
                }
            }
        }
        let end = match parser.finish() {
            Event::Stopped(failure) if !parser.is_upgrade() => {
                json!(["fin", failure.code.name(), failure.reason])
            }
            event => {
                recorder.on(&mut parser, event).expect("completes");
                Value::Null
            }
        };
        recorder.log.push(end);
        assert_eq!(
            json!(recorder.log),
            json!(expected),
            "{input:?} cut at {cuts}, lenient {lenient}"
        );
    }
}
