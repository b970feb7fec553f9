//! Messages that pass by unchanged: only their usage is read.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::errors;
use super::response::Message;
use crate::json::Text;
use crate::passthrough::{Meter, Verdict};
use crate::port::{Failure, Reply, Surface};
use crate::upstream;
use crate::usage::{AnthropicUsage, Usage};

const SURFACE: Surface = Surface::Messages;

/// A whole message.
pub(super) fn whole(body: Bytes) -> Result<Reply, Failure> {
    let unreadable = || upstream::unreadable(SURFACE, "The upstream's answer is not a message.");
    let message: Message<'_> = serde_json::from_slice(&body).map_err(|_| unreadable())?;
    if message.r#type.as_ref().is_some_and(|kind| kind.0 == "error") {
        return Err(errors::inside(SURFACE, &body));
    }
    if message.content.is_none() {
        return Err(unreadable());
    }
    let mut usage = AnthropicUsage::default();
    let metered = message.usage.is_some_and(|raw| usage.overlay(raw.get()));
    Ok(Reply { usage: metered.then(|| usage.to_usage()), body })
}

/// What matters of a stream event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    message: Option<Start<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Meters a stream that ends with `message_stop`.
#[derive(Debug, Default)]
pub(super) struct MessagesMeter {
    running: AnthropicUsage,
    usage: Option<Usage>,
}

impl MessagesMeter {
    fn count(&mut self, usage: Option<&RawValue>) {
        if usage.is_some_and(|usage| self.running.overlay(usage.get())) {
            self.usage = Some(self.running.to_usage());
        }
    }
}

impl Meter for MessagesMeter {
    fn see(&mut self, data: &[u8]) -> Result<Verdict, Failure> {
        let event: Event<'_> = serde_json::from_slice(data)
            .map_err(|_| upstream::unreadable(SURFACE, "The upstream sent an unreadable stream event."))?;
        match &*event.r#type.0 {
            "error" => return Err(errors::inside(SURFACE, data)),
            "message_start" => self.count(event.message.and_then(|message| message.usage)),
            "message_delta" => self.count(event.usage),
            "message_stop" => return Ok(Verdict::Last),
            "ping" => return Ok(Verdict::Hold),
            _ => {}
        }
        Ok(Verdict::Forward)
    }

    fn not_a_stream(&self, body: &[u8]) -> Option<Failure> {
        let answer: Event<'_> = serde_json::from_slice(body).ok()?;
        (answer.r#type.0 == "error").then(|| errors::inside(SURFACE, body))
    }

    fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }
}
