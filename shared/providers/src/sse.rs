//! Server-sent events (WHATWG HTML §9.2), split without changing a byte.
//!
//! Lines end with LF, CR or CRLF and with nothing else: U+2028 and U+0085 are text. Bytes are buffered as bytes;
//! whoever reads an event's data decodes it. An event that lies within one transport read is a slice of it.

use bytes::{Bytes, BytesMut};

/// The most bytes one event may have. No provider's event comes near it; more is an attack or no event stream.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// An event is longer than [`MAX_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT} bytes")]
pub struct TooLong;

/// One event, or a stretch of comments and blank lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its bytes as they came, line ends included.
    pub raw: Bytes,
    /// The `event` field; empty when there is none.
    pub name: Bytes,
    /// The `data` lines, joined with LF; `None` without any.
    pub data: Option<Bytes>,
    /// Had it a line that is neither a comment nor a field of the format? Then this is hardly an event stream.
    pub foreign: bool,
}

/// What the lines of the current event have said so far. Offsets are into the unread bytes.
#[derive(Debug, Default)]
struct Fields {
    name: Option<(usize, usize)>,
    data: Data,
    foreign: bool,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(usize, usize),
    Many(Vec<u8>),
}

/// Splits a byte stream into events. Feed it with [`Splitter::push`], then take events until there are none.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The transport read being split, while nothing is left over from earlier ones.
    read: Bytes,
    /// What earlier reads left over, and what was read since. One of the two is empty.
    rest: BytesMut,
    scanned: usize,
    line: usize,
    after_cr: bool,
    /// The last line ended with CRLF.
    crlf: bool,
    started: bool,
    fields: Fields,
}

impl Splitter {
    /// A splitter at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        if !self.read.is_empty() {
            self.rest.extend_from_slice(&self.read);
            self.read.clear();
        }
        if self.rest.is_empty() {
            self.read = chunk;
        } else {
            self.rest.extend_from_slice(&chunk);
        }
    }

    /// The next complete event.
    ///
    /// # Errors
    ///
    /// [`TooLong`]; the stream cannot be read further.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLong> {
        let Some(end) = self.scan() else {
            if self.unread().len() > MAX_EVENT {
                return Err(TooLong);
            }
            if !self.read.is_empty() {
                self.rest.extend_from_slice(&self.read);
                self.read.clear();
            }
            return Ok(None);
        };
        if end > MAX_EVENT {
            return Err(TooLong);
        }
        Ok(Some(self.cut(end)))
    }

    /// The stream has ended: what was left without a closing blank line.
    pub fn finish(&mut self) -> Option<Event> {
        let end = self.unread().len();
        if end == 0 {
            return None;
        }
        self.take_line(end);
        Some(self.cut(end))
    }

    fn unread(&self) -> &[u8] {
        if self.rest.is_empty() { &self.read } else { &self.rest }
    }

    /// Where the current event ends, if its end is there.
    fn scan(&mut self) -> Option<usize> {
        loop {
            let found = memchr::memchr2(b'\n', b'\r', self.unread().get(self.scanned..)?);
            let Some(found) = found else {
                self.after_cr &= self.scanned == self.unread().len();
                self.scanned = self.unread().len();
                return None;
            };
            let at = self.scanned + found;
            let byte = self.unread().get(at).copied();
            let after_cr = std::mem::take(&mut self.after_cr);
            self.scanned = at + 1;
            if after_cr && found == 0 && byte == Some(b'\n') {
                self.line = self.scanned; // the LF of a CRLF
                self.crlf = true;
                continue;
            }
            self.after_cr = byte == Some(b'\r');
            if at != self.line {
                self.crlf &= self.after_cr;
                self.take_line(at);
                self.line = self.scanned;
                continue;
            }
            // Take the LF of a closing CRLF along, so that the event leaves with its own line ends. It is worth
            // waiting for only where lines end with CRLF.
            if self.after_cr {
                match self.unread().get(self.scanned) {
                    Some(b'\n') => {
                        self.scanned += 1;
                        self.after_cr = false;
                    }
                    None if self.crlf => {
                        self.scanned = at;
                        self.after_cr = false;
                        return None;
                    }
                    _ => {}
                }
            }
            return Some(self.scanned);
        }
    }

    /// Reads the line from `self.line` to `end`.
    fn take_line(&mut self, end: usize) {
        let bytes = if self.rest.is_empty() { &self.read[..] } else { &self.rest[..] };
        let mut start = self.line;
        if !std::mem::replace(&mut self.started, true)
            && bytes.get(start..end).is_some_and(|line| line.starts_with(b"\xef\xbb\xbf"))
        {
            start += 3;
        }
        let Some(line) = bytes.get(start..end).filter(|line| !matches!(*line, b"" | b"\r")) else { return };
        let colon = memchr::memchr(b':', line);
        let (name, mut value) = line.split_at(colon.unwrap_or(line.len()));
        value = value.strip_prefix(b":").unwrap_or(value);
        value = value.strip_prefix(b" ").unwrap_or(value);
        let from = end - value.len();
        match name {
            b"data" => {
                let data = std::mem::take(&mut self.fields.data);
                self.fields.data = match data {
                    Data::None => Data::One(from, end),
                    Data::One(first, last) => {
                        Data::Many([bytes.get(first..last).unwrap_or_default(), b"\n", value].concat())
                    }
                    Data::Many(mut all) => {
                        all.push(b'\n');
                        all.extend_from_slice(value);
                        Data::Many(all)
                    }
                };
            }
            b"event" => self.fields.name = Some((from, end)),
            b"id" | b"retry" => {}
            b"" => self.fields.foreign |= colon.is_none(),
            _ => self.fields.foreign = true,
        }
    }

    /// Takes the event that ends at `end` off the unread bytes.
    fn cut(&mut self, end: usize) -> Event {
        let raw =
            if self.rest.is_empty() { self.read.split_to(end) } else { self.rest.split_to(end).freeze() };
        self.scanned = 0;
        self.line = 0;
        self.started = true;
        let fields = std::mem::take(&mut self.fields);
        Event {
            name: fields.name.map(|(from, to)| raw.slice(from..to)).unwrap_or_default(),
            data: match fields.data {
                Data::None => None,
                Data::One(from, to) => Some(raw.slice(from..to)),
                Data::Many(all) => Some(all.into()),
            },
            foreign: fields.foreign,
            raw,
        }
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
