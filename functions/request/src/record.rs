//! What is known of a request in the end: the log line, the cost, the settlement.

use std::sync::Arc;

use jiff::Timestamp;
use keyturn_keys::{Admission, Spent};
use keyturn_providers::Usage;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::deployment::Deployment;
use crate::gateway::Gateway;
use crate::log::Level;
use crate::stream::Outcome;

/// One log line. Names, numbers and hashes only: there is no field that a body or a key could stand in.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Record {
    pub(crate) call_id: String,
    pub(crate) route: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deployment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_version: Option<String>,
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'static str>,
    pub(crate) stream: bool,
    pub(crate) retries: u32,
    pub(crate) fallbacks: u32,
    /// Whether a refused credential was replaced on the way.
    pub(crate) healed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens: Option<u64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<f64>,
    /// Milliseconds from the request to the last byte.
    pub(crate) duration_ms: f64,
    /// Milliseconds from the request to the response's head.
    pub(crate) head_ms: f64,
    /// Milliseconds of `head_ms` that were spent waiting for upstreams.
    pub(crate) upstream_ms: f64,
}

/// A record that is written however the request ends: also when the client leaves before there is a response.
pub(crate) struct Open {
    gateway: Arc<Gateway>,
    record: Option<Record>,
    pub(crate) started: Timestamp,
}

impl Open {
    pub(crate) fn new(gateway: Arc<Gateway>, record: Record) -> Self {
        let started = gateway.now();
        Self { gateway, record: Some(record), started }
    }

    /// Changes the record.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    fn write(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        record.duration_ms = milliseconds(self.gateway.since(self.started));
        self.gateway.log.write(Level::Info, self.gateway.now(), "request", &record);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.note(|record| {
            record.status = 499;
            record.error = Some("client_gone");
        });
        self.write();
    }
}

/// Where the figures of the answer come from.
pub(crate) enum Figures {
    /// They are known.
    Known(Outcome),
    /// The stream tells when it is over.
    Coming(oneshot::Receiver<Outcome>),
}

/// Who answered.
pub(crate) struct ServedBy {
    pub(crate) deployment: Arc<Deployment>,
    /// The provider's model name.
    pub(crate) model: String,
}

/// What is left to do when the response has gone out: the log line and the settlement.
pub struct Aftermath {
    open: Open,
    figures: Figures,
    admission: Option<Admission>,
    served: Option<ServedBy>,
}

impl Aftermath {
    pub(crate) fn new(
        open: Open,
        figures: Figures,
        admission: Option<Admission>,
        served: Option<ServedBy>,
    ) -> Self {
        Self { open, figures, admission, served }
    }

    /// Waits for the end of the response, settles the admission and writes the log line.
    pub async fn run(mut self) {
        let outcome = match self.figures {
            Figures::Known(outcome) => outcome,
            Figures::Coming(receiver) => receiver.await.unwrap_or_default(),
        };
        let usage = outcome.usage.unwrap_or_default();
        let cost = self.served.as_ref().and_then(|by| by.deployment.cost(&by.model, &usage));
        let gateway = Arc::clone(&self.open.gateway);
        self.open.note(|record| {
            record.error = record.error.or(outcome.error);
            if usage != Usage::default() {
                record.prompt_tokens = Some(usage.prompt_tokens);
                record.completion_tokens = Some(usage.completion_tokens);
                record.cost = cost;
            }
        });
        self.open.write();
        if let (Some(admission), Some(keys)) = (self.admission, &gateway.keys) {
            let tokens = usage.prompt_tokens + usage.completion_tokens;
            let spent = Spent { tokens, cost: cost.unwrap_or_default() };
            if let Err(error) = keys.settle(admission, &spent).await {
                gateway.warn("settlement failed", &error.to_string());
            }
        }
    }
}

pub(crate) fn milliseconds(duration: std::time::Duration) -> f64 {
    // Microseconds are enough for a reader, and keep the line short.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
