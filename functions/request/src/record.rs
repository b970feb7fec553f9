//! What is known of a request in the end: the log line, the cost, the settlement.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Response};
use jiff::Timestamp;
use keyturn_entry::{CALL_ID, Metric, call_id};
use keyturn_keys::{Admission, SettleError, Spent};
use keyturn_providers::{Surface, Usage};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::answer::{Answer, Body};
use crate::deployment::Deployment;
use crate::error::GatewayError;
use crate::estimate::prompt_tokens;
use crate::gateway::Gateway;
use crate::log::{Level, with_causes};
use crate::stream::Outcome;

/// Requests that were admitted though a soft budget is used up: all, and those of keys, teams and users.
const OVER_SOFT_BUDGET: Metric = Metric::count("SoftBudgetExceeded", &["soft_budget_exceeded"]);

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
    /// Whose soft budget is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) soft_budget_exceeded: Option<&'static str>,
    pub(crate) stream: bool,
    pub(crate) retries: u32,
    pub(crate) fallbacks: u32,
    /// Whether a refused credential was replaced on the way.
    pub(crate) healed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens: Option<u64>,
    /// Whether tokens and cost are guessed, because the upstream's figures never came.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) estimated: bool,
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

/// A record that is written, and an admission that is settled, however the request ends: also when the client
/// leaves before there is a response.
pub(crate) struct Open {
    gateway: Arc<Gateway>,
    record: Option<Record>,
    pub(crate) started: Timestamp,
    /// What has to be settled.
    pub(crate) admission: Option<Admission>,
    /// Whether it came with the master key, which has no account.
    pub(crate) is_master: bool,
    /// The request's own labels.
    pub(crate) tags: Vec<String>,
    pub(crate) way: Way,
}

/// What happens on the way to an answer.
#[derive(Default)]
pub(crate) struct Way {
    pub(crate) retries: u32,
    pub(crate) fallbacks: u32,
    /// The time spent waiting for upstreams.
    pub(crate) waited: Duration,
    /// The deployment that was asked last, and the group it was asked for.
    pub(crate) last: Option<(Arc<Deployment>, String)>,
    /// What an upstream is working at.
    pub(crate) asked: Option<ServedBy>,
}

impl Gateway {
    /// Begins the record of a request.
    pub(crate) fn open(self: &Arc<Self>, route: &'static str, headers: &HeaderMap) -> Open {
        let record = Record { call_id: call_id(headers), route, ..Record::default() };
        let (gateway, started) = (Arc::clone(self), self.now());
        let (admission, way) = (None, Way::default());
        Open { gateway, record: Some(record), started, admission, is_master: false, tags: Vec::new(), way }
    }
}

impl Open {
    /// Changes the record.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// Notes what happened up to now, and returns how long it took.
    pub(crate) fn note_way(&mut self) -> Duration {
        let head = self.gateway.since(self.started);
        if let Some(record) = &mut self.record {
            record.retries = self.way.retries;
            record.fallbacks = self.way.fallbacks;
            record.head_ms = milliseconds(head);
            record.upstream_ms = milliseconds(self.way.waited);
            if let Some((deployment, _)) = &self.way.last {
                record.deployment = Some(deployment.id.clone());
                record.provider = Some(deployment.provider.name());
            }
        }
        head
    }

    /// Notes what was used, and returns what is to be settled for it.
    fn note_usage(&mut self, by: Option<&ServedBy>, outcome: &Outcome) -> Spent {
        let guessed = by.filter(|_| outcome.usage.is_none()).map(|by| by.guess(outcome));
        let usage = outcome.usage.as_ref().or(guessed.as_ref());
        let cost = by.zip(usage).and_then(|(by, usage)| by.cost(usage));
        self.note(|record| {
            record.estimated = guessed.is_some();
            record.prompt_tokens = usage.map(|usage| usage.prompt_tokens);
            record.completion_tokens = usage.map(|usage| usage.completion_tokens);
            record.cost = cost;
        });
        Spent {
            prompt_tokens: usage.map_or(0, |usage| usage.prompt_tokens),
            completion_tokens: usage.map_or(0, |usage| usage.completion_tokens),
            cost: cost.unwrap_or_default(),
            model: self.way.last.as_ref().map(|(_, group)| group.clone()).unwrap_or_default(),
            tags: std::mem::take(&mut self.tags),
        }
    }

    /// The answer, with what every answer carries, and what is left to do after it.
    pub(crate) fn answer(
        mut self,
        mut response: Response<Body>,
        figures: Figures,
        served: Option<ServedBy>,
    ) -> Answer {
        let status = response.status().as_u16();
        self.note(|record| record.status = status);
        if let Some(record) = &self.record {
            set(response.headers_mut(), CALL_ID, &record.call_id);
        }
        Answer { response, aftermath: Some(Aftermath { open: self, figures, served }) }
    }

    /// The answer of a route that asks nothing of a provider.
    pub(crate) fn answer_with(
        mut self,
        surface: Option<Surface>,
        answer: Result<Response<Body>, GatewayError>,
    ) -> Answer {
        let response = answer.unwrap_or_else(|error| {
            self.note(|record| record.error = Some(error.name()));
            error.into_response(surface)
        });
        self.answer(response, Figures::Known(Outcome::default()), None)
    }

    fn write(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        record.duration_ms = milliseconds(self.gateway.since(self.started));
        let (log, now) = (self.gateway.log, self.gateway.now());
        if record.soft_budget_exceeded.is_some() {
            log.measure(Level::Info, now, "request", &record, OVER_SOFT_BUDGET, 1);
        } else {
            log.write(Level::Info, now, "request", &record);
        }
        self.gateway.numbers.write(&self.gateway.credentials, log, now);
    }

    fn settle(&mut self, spent: Spent) -> impl Future<Output = ()> + Send + use<> {
        let (admission, gateway) = (self.admission.take(), Arc::clone(&self.gateway));
        let is_master = self.is_master;
        async move {
            let settled = match (&gateway.keys, admission) {
                (Some(keys), Some(admission)) => keys.settle(admission, &spent).await,
                (Some(keys), None) if is_master => keys.settle_master(&spent).await,
                _ => Ok(()),
            };
            if let Err(error) = settled {
                let message = match &error {
                    SettleError::NotCounted(_) => "settlement failed",
                    SettleError::NotReported(_) => "usage not reported",
                };
                gateway.warn(message, &with_causes(&error));
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.record.is_none() {
            return;
        }
        let (status, error) = if std::thread::panicking() { (500, "panic") } else { (499, "client_gone") };
        self.note(|record| (record.status, record.error) = (status, Some(error)));
        self.note_way();
        // The upstream has the prompt, and bills it.
        let asked = self.way.asked.take();
        let spent = self.note_usage(asked.as_ref(), &Outcome::default());
        self.write();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // If the process ends first, the reservation ends by itself.
            runtime.spawn(self.settle(spent));
        }
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
    /// The client's request, which the prompt's tokens are guessed from when nobody tells.
    pub(crate) body: Bytes,
}

impl ServedBy {
    /// What this usage costs in US dollars, when the model has a price.
    pub(crate) fn cost(&self, usage: &Usage) -> Option<f64> {
        self.deployment.cost(&self.model, usage)
    }

    /// What was used when the upstream did not say: its last word, with the figures, never came.
    fn guess(&self, outcome: &Outcome) -> Usage {
        let (prompt_tokens, completion_tokens) = (prompt_tokens(&self.body), outcome.seen);
        Usage { prompt_tokens, completion_tokens, ..Usage::default() }
    }
}

/// What is left to do when the response has gone out: the log line and the settlement.
pub struct Aftermath {
    open: Open,
    figures: Figures,
    served: Option<ServedBy>,
}

impl Aftermath {
    /// Waits for the end of the response, settles the admission and writes the log line.
    pub async fn run(mut self) {
        let outcome = match self.figures {
            Figures::Known(outcome) => outcome,
            Figures::Coming(receiver) => receiver.await.unwrap_or_default(),
        };
        self.open.note(|record| record.error = record.error.or(outcome.error));
        let spent = self.open.note_usage(self.served.as_ref(), &outcome);
        self.open.write();
        self.open.settle(spent).await;
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are enough for a reader, and keep the line short.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Sets a header, unless the value cannot stand in one.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
