//! A terminal: what the host types goes through a line discipline to whoever reads; what is written goes to a screen.
//!
//! ```text
//!   host: type_in --> [ canonical: a line that is edited and echoed, ^C and its like ] --> read
//!                     [ raw: as it comes                                             ]
//!   write --> "\n" as "\r\n" --> the screen (an OutputSink)
//! ```
//! There is no job control: one group, that of the terminal's first process, gets the signals. Nothing blocks, and no
//! lock is held while the screen, a wake or the signals' receiver is called.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::pipe::Wake;
use crate::signal::{SIGHUP, SIGINT, SIGQUIT, SIGWINCH};
use crate::stdio::{OutputChannel, OutputSink};

/// The longest line that can be edited, as on Linux; what is typed beyond it is lost.
const MAX_LINE: usize = 4095;
/// Bytes that wait to be read.
const MAX_INPUT: usize = 64 << 10;

mod key {
    pub const INTERRUPT: u8 = 0x03;
    pub const END: u8 = 0x04;
    pub const BACKSPACE: u8 = 0x08;
    pub const KILL_LINE: u8 = 0x15;
    pub const ERASE_WORD: u8 = 0x17;
    pub const QUIT: u8 = 0x1c;
    pub const ERASE: u8 = 0x7f;
}

/// What it shows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters of a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Default for WindowSize {
    fn default() -> Self {
        WindowSize {
            columns: 80,
            rows: 24,
        }
    }
}

/// Takes the signals that keys make.
pub type OnSignal = Arc<dyn Fn(i32) + Send + Sync>;

#[derive(Default)]
struct State {
    size: WindowSize,
    raw: bool,
    /// The line that is being typed.
    line: Vec<u8>,
    input: VecDeque<u8>,
    /// How much of `input` is there when a `^D` ends a read; in order.
    ends: VecDeque<usize>,
    hung_up: bool,
    screen: Option<Arc<dyn OutputSink>>,
    on_signal: Option<OnSignal>,
    on_readable: Vec<Wake>,
    on_room: Vec<Wake>,
}

/// See the module's text.
#[derive(Default)]
pub struct Terminal(Mutex<State>);

/// What is done after the state's lock.
#[derive(Default)]
struct After {
    echo: Vec<u8>,
    signals: Vec<i32>,
    wakes: Vec<Wake>,
}

impl State {
    /// Makes what was typed readable.
    fn deliver(&mut self, bytes: &[u8], after: &mut After) {
        self.input.extend(bytes);
        after.wakes.append(&mut self.on_readable);
    }

    fn end_line(&mut self, after: &mut After) {
        let line = std::mem::take(&mut self.line);
        self.deliver(&line, after);
    }

    fn erase(&mut self, after: &mut After) -> bool {
        // A character of UTF-8 goes as a whole; a control character was echoed as two.
        let Some(mut last) = self.line.pop() else {
            return false;
        };
        while last & 0xc0 == 0x80 {
            let Some(before) = self.line.pop() else { break };
            last = before;
        }
        let width = if last < 0x20 { 2 } else { 1 };
        after.echo.extend(b"\x08 \x08".repeat(width));
        true
    }

    fn type_byte(&mut self, byte: u8, after: &mut After) {
        match byte {
            key::INTERRUPT | key::QUIT => {
                self.line.clear();
                self.input.clear();
                self.ends.clear();
                after.echo.extend([b'^', byte | 0x40]);
                after.signals.push(if byte == key::INTERRUPT {
                    SIGINT
                } else {
                    SIGQUIT
                });
            }
            key::END => {
                self.end_line(after);
                self.ends.push_back(self.input.len());
            }
            key::ERASE | key::BACKSPACE => {
                self.erase(after);
            }
            key::KILL_LINE => while self.erase(after) {},
            key::ERASE_WORD => {
                while self.line.last() == Some(&b' ') && self.erase(after) {}
                while self.line.last().is_some_and(|last| *last != b' ') && self.erase(after) {}
            }
            b'\r' | b'\n' => {
                self.line.push(b'\n');
                after.echo.extend(b"\r\n");
                self.end_line(after);
            }
            _ if self.line.len() >= MAX_LINE => {}
            _ => {
                self.line.push(byte);
                match byte {
                    b'\t' => after.echo.push(byte),
                    0..0x20 => after.echo.extend([b'^', byte | 0x40]),
                    _ => after.echo.push(byte),
                }
            }
        }
    }
}

impl Terminal {
    /// A terminal of this size, without a screen yet.
    #[must_use]
    pub fn new(size: WindowSize) -> Arc<Terminal> {
        Arc::new(Terminal(Mutex::new(State {
            size,
            ..State::default()
        })))
    }

    /// Gives it a screen, and who gets its signals.
    pub fn connect(&self, screen: Arc<dyn OutputSink>, on_signal: OnSignal) {
        let mut state = self.0.lock();
        state.screen = Some(screen);
        state.on_signal = Some(on_signal);
    }

    /// Does what was decided under the lock.
    fn finish(&self, after: After) {
        let (screen, on_signal) = {
            let state = self.0.lock();
            (state.screen.clone(), state.on_signal.clone())
        };
        if let (Some(screen), false) = (screen, after.echo.is_empty()) {
            // A screen that takes nothing shows no echo.
            let _ = screen.write(OutputChannel::Stdout, &after.echo);
        }
        for wake in after.wakes {
            wake();
        }
        if let Some(on_signal) = on_signal {
            for signal in after.signals {
                on_signal(signal);
            }
        }
    }

    /// What the host types. Answers how much was taken; `EAGAIN` while nobody reads what is there.
    pub fn type_in(&self, bytes: &[u8]) -> Result<usize> {
        let mut after = After::default();
        let taken = {
            let mut state = self.0.lock();
            if state.hung_up {
                return Err(Errno::EIO);
            }
            if state.raw {
                let room = MAX_INPUT.saturating_sub(state.input.len());
                let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
                if !taken.is_empty() {
                    state.deliver(taken, &mut after);
                }
                taken.len()
            } else {
                let mut taken = 0;
                for byte in bytes {
                    // Keys that make signals are heard even when there is no room.
                    let is_signal = matches!(*byte, key::INTERRUPT | key::QUIT);
                    if state.input.len() + MAX_LINE > MAX_INPUT && !is_signal {
                        break;
                    }
                    state.type_byte(*byte, &mut after);
                    taken += 1;
                }
                taken
            }
        };
        self.finish(after);
        if taken == 0 && !bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        Ok(taken)
    }

    /// Calls back once when [`Self::type_in`] would not say `EAGAIN`; at once if that is so now.
    pub fn on_room(&self, wake: Wake) {
        let mut state = self.0.lock();
        if !state.hung_up && state.input.len() + MAX_LINE > MAX_INPUT {
            state.on_room.push(wake);
            return;
        }
        drop(state);
        wake();
    }

    /// The host's end is gone: reads come to an end, and its processes hear of it.
    pub fn hang_up(&self) {
        let mut after = After::default();
        {
            let mut state = self.0.lock();
            if std::mem::replace(&mut state.hung_up, true) {
                return;
            }
            after.wakes.append(&mut state.on_readable);
            after.wakes.append(&mut state.on_room);
            after.signals.push(SIGHUP);
        }
        self.finish(after);
    }

    /// Takes what is there; 0 at an end, `EAGAIN` when more may come.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let (count, wakes) = {
            let mut state = self.0.lock();
            if state.ends.front() == Some(&0) {
                state.ends.pop_front();
                return Ok(0);
            }
            if state.input.is_empty() {
                return if state.hung_up {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let mut room = state.input.len().min(buf.len());
            if let Some(end) = state.ends.front() {
                room = room.min(*end);
            }
            if !state.raw {
                // One line at a time.
                let line = state
                    .input
                    .iter()
                    .take(room)
                    .position(|byte| *byte == b'\n');
                room = line.map_or(room, |at| at + 1);
            }
            for (to, from) in buf.iter_mut().zip(state.input.drain(..room)) {
                *to = from;
            }
            for end in &mut state.ends {
                *end -= room;
            }
            // A line that `^D` ended is read as it is; only an empty one is an end.
            if state.ends.front() == Some(&0) {
                state.ends.pop_front();
            }
            (room, std::mem::take(&mut state.on_room))
        };
        for wake in wakes {
            wake();
        }
        Ok(count)
    }

    /// Whether `read` would not say `EAGAIN`.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let state = self.0.lock();
        !state.input.is_empty() || !state.ends.is_empty() || state.hung_up
    }

    /// Bytes that are there.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.lock().input.len()
    }

    /// Calls back once when `read` would not say `EAGAIN`; at once if that is so now.
    pub fn on_readable(&self, wake: Wake) {
        let mut state = self.0.lock();
        if state.input.is_empty() && state.ends.is_empty() && !state.hung_up {
            state.on_readable.push(wake);
            return;
        }
        drop(state);
        wake();
    }

    /// Shows bytes.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        let screen = {
            let state = self.0.lock();
            if state.hung_up {
                return Err(Errno::EIO);
            }
            state.screen.clone().ok_or(Errno::EIO)?
        };
        let mut shown = Vec::with_capacity(data.len());
        for byte in data {
            if *byte == b'\n' {
                shown.push(b'\r');
            }
            shown.push(*byte);
        }
        screen.write(OutputChannel::Stdout, &shown)?;
        Ok(data.len())
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> WindowSize {
        self.0.lock().size
    }

    /// Changes its size, and tells its processes if it is another.
    pub fn resize(&self, size: WindowSize) {
        let changed = std::mem::replace(&mut self.0.lock().size, size) != size;
        if changed {
            self.finish(After {
                signals: vec![SIGWINCH],
                ..After::default()
            });
        }
    }

    /// Whether keys are read as they come.
    pub fn is_raw(&self) -> bool {
        self.0.lock().raw
    }

    /// Raw: keys are read as they come, without lines, echo and signals.
    pub fn set_raw(&self, raw: bool) {
        let mut after = After::default();
        {
            let mut state = self.0.lock();
            state.raw = raw;
            if raw {
                state.ends.clear();
                let line = std::mem::take(&mut state.line);
                if !line.is_empty() {
                    state.deliver(&line, &mut after);
                }
            }
        }
        self.finish(after);
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::stdio::CaptureSink;

    fn connected() -> (Arc<Terminal>, Arc<CaptureSink>, Arc<Mutex<Vec<i32>>>) {
        let terminal = Terminal::new(WindowSize::default());
        let (screen, signals) = (Arc::new(CaptureSink::new(1 << 16)), Arc::default());
        let heard: Arc<Mutex<Vec<i32>>> = signals;
        let tell = heard.clone();
        terminal.connect(
            screen.clone(),
            Arc::new(move |signal| tell.lock().push(signal)),
        );
        (terminal, screen, heard)
    }

    fn shown(screen: &CaptureSink) -> String {
        String::from_utf8(screen.take(OutputChannel::Stdout).bytes).unwrap()
    }

    fn read(terminal: &Terminal) -> Result<String> {
        let mut buf = [0; 64];
        let count = terminal.read(&mut buf)?;
        Ok(String::from_utf8(buf[..count].to_vec()).unwrap())
    }

    #[test]
    fn lines_are_edited_echoed_and_read_one_by_one() {
        let (terminal, screen, _) = connected();
        assert_eq!(read(&terminal), Err(Errno::EAGAIN));
        terminal.type_in("caf\u{e9}\x7fe\r".as_bytes()).unwrap();
        assert_eq!(shown(&screen), "caf\u{e9}\x08 \x08e\r\n");
        terminal.type_in(b"one two\x17x\ny\x15z").unwrap();
        assert_eq!(read(&terminal), Ok("cafe\n".to_owned()));
        assert_eq!(read(&terminal), Ok("one x\n".to_owned()));
        assert_eq!(read(&terminal), Err(Errno::EAGAIN));
        terminal.type_in(b"\x04").unwrap();
        assert_eq!(read(&terminal), Ok("z".to_owned()));
        terminal.type_in(b"\x04").unwrap();
        assert_eq!(read(&terminal), Ok(String::new()));
        assert_eq!(read(&terminal), Err(Errno::EAGAIN));
    }

    #[test]
    fn keys_make_signals_unless_raw() {
        let (terminal, screen, signals) = connected();
        terminal.type_in(b"lost\x03").unwrap();
        assert_eq!(*signals.lock(), [SIGINT]);
        assert_eq!(shown(&screen), "lost^C");
        terminal.set_raw(true);
        terminal.type_in(b"\x03\r").unwrap();
        assert_eq!(read(&terminal), Ok("\x03\r".to_owned()));
        assert_eq!(shown(&screen), "");
        terminal.write(b"a\n").unwrap();
        assert_eq!(shown(&screen), "a\r\n");
        let size = WindowSize {
            columns: 100,
            rows: 30,
        };
        terminal.resize(size);
        terminal.resize(size);
        assert_eq!(*signals.lock(), [SIGINT, SIGWINCH]);
        assert_eq!(terminal.size(), size);
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_a_hang_up_ends_it() {
        let (terminal, _, signals) = connected();
        terminal.set_raw(true);
        let many = vec![b'x'; MAX_INPUT + 1];
        assert_eq!(terminal.type_in(&many), Ok(MAX_INPUT));
        assert_eq!(terminal.type_in(b"x"), Err(Errno::EAGAIN));
        let mut all = vec![0; MAX_INPUT];
        assert_eq!(terminal.read(&mut all), Ok(MAX_INPUT));
        terminal.hang_up();
        assert_eq!(read(&terminal), Ok(String::new()));
        assert_eq!(terminal.write(b"x"), Err(Errno::EIO));
        assert_eq!(*signals.lock(), [SIGHUP]);
    }
}
