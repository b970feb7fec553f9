//! A stream whose format the client speaks: its bytes go on unchanged, event by event, while a meter reads along.
//!
//! Whole events, not whole reads: an event can only be dropped, or become a failure, before its first byte has
//! gone out. Neighbouring events of one read leave as one slice of it.

use bytes::Bytes;

use crate::port::{Decoder, Failure, Surface};
use crate::sse::{Event, Splitter};
use crate::upstream;
use crate::usage::Usage;

/// Comments and the like that come before the first event are held back, up to this many bytes, so that a first
/// event that is an error can still become a status. What exceeds it is dropped: comments mean nothing.
const MAX_HELD: usize = 64 * 1024;

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Forward,
    /// Forward it with the next event: by itself it must not commit the status.
    Hold,
    Drop,
    /// Forward it; nothing follows.
    Last,
}

/// Reads the events that pass.
pub(crate) trait Meter: Send {
    /// Looks at one event's data.
    fn see(&mut self, data: &[u8]) -> Result<Verdict, Failure>;

    /// The upstream sent no event stream but this: the error in it, if it is one.
    fn not_a_stream(&self, body: &[u8]) -> Option<Failure>;

    fn usage(&self) -> Option<&Usage>;
}

/// The decoder of such streams.
pub(crate) struct Passthrough<M> {
    meter: M,
    surface: Surface,
    splitter: Splitter,
    held: Vec<Bytes>,
    held_bytes: usize,
    begun: bool,
    over: bool,
}

impl<M: Meter> Passthrough<M> {
    pub(crate) fn new(surface: Surface, meter: M) -> Self {
        Self {
            meter,
            surface,
            splitter: Splitter::new(),
            held: Vec::new(),
            held_bytes: 0,
            begun: false,
            over: false,
        }
    }

    fn drive(&mut self, out: &mut Run<'_>) -> Result<(), Failure> {
        while !self.over {
            let event = self
                .splitter
                .next_event()
                .map_err(|_| upstream::unreadable(self.surface, "The upstream sent an event without end."))?;
            let Some(event) = event else { return Ok(()) };
            self.take(event, out)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event, out: &mut Run<'_>) -> Result<(), Failure> {
        let Some(data) = &event.data else {
            if event.foreign && !self.begun {
                return Err(self.no_stream(&event.raw));
            }
            self.forward_or_hold(event.raw, out);
            return Ok(());
        };
        match self.meter.see(data)? {
            Verdict::Drop => {}
            Verdict::Hold => self.forward_or_hold(event.raw, out),
            verdict @ (Verdict::Forward | Verdict::Last) => {
                self.begun = true;
                for held in self.held.drain(..) {
                    out.add(held);
                }
                out.add(event.raw);
                self.over = verdict == Verdict::Last;
            }
        }
        Ok(())
    }

    fn forward_or_hold(&mut self, raw: Bytes, out: &mut Run<'_>) {
        if self.begun {
            out.add(raw);
        } else if self.held_bytes + raw.len() <= MAX_HELD {
            self.held_bytes += raw.len();
            self.held.push(raw);
        }
    }

    fn no_stream(&self, body: &[u8]) -> Failure {
        self.meter.not_a_stream(body).unwrap_or_else(|| {
            upstream::unreadable(self.surface, "The upstream did not send an event stream.")
        })
    }

    fn end(&mut self, run: &mut Run<'_>) -> Result<(), Failure> {
        if self.over {
            return Ok(());
        }
        if let Some(event) = self.splitter.finish() {
            // Half an event is a stream cut short, not an unreadable one.
            let data = event.data.as_deref().filter(|data| is_whole(data));
            if let Some(data) = data
                && self.meter.see(data)? == Verdict::Last
            {
                for held in self.held.drain(..) {
                    run.add(held);
                }
                run.add(event.raw);
                run.add(Bytes::from_static(b"\n\n")); // the client's parser needs the blank line
                return Ok(());
            }
            if event.foreign && !self.begun {
                return Err(self.no_stream(&event.raw));
            }
        }
        Err(upstream::truncated(self.surface))
    }
}

/// Is this a whole JSON value, or OpenAI's terminal word?
fn is_whole(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

impl<M: Meter> Decoder for Passthrough<M> {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        if self.over {
            return Ok(());
        }
        let mut run = Run { read: chunk.clone(), from: 0, to: 0, out };
        self.splitter.push(chunk);
        let result = self.drive(&mut run);
        run.flush();
        self.over |= result.is_err();
        result
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let mut run = Run { read: Bytes::new(), from: 0, to: 0, out };
        let result = self.end(&mut run);
        run.flush();
        self.over = true;
        result
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn usage(&self) -> Option<&Usage> {
        self.meter.usage()
    }
}

/// Output in which neighbouring slices of one read become one slice again.
struct Run<'o> {
    read: Bytes,
    from: usize,
    to: usize,
    out: &'o mut Vec<Bytes>,
}

impl Run<'_> {
    fn add(&mut self, part: Bytes) {
        let base = self.read.as_ptr() as usize;
        let start = (part.as_ptr() as usize).wrapping_sub(base);
        let within = start.checked_add(part.len()).is_some_and(|end| end <= self.read.len());
        if !within {
            self.flush();
            if !part.is_empty() {
                self.out.push(part);
            }
            return;
        }
        if start != self.to {
            self.flush();
            self.from = start;
        }
        self.to = start + part.len();
    }

    fn flush(&mut self) {
        if self.from < self.to {
            self.out.push(self.read.slice(self.from..self.to));
        }
        self.from = self.to;
    }
}
