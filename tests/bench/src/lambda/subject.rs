//! A function under measurement.

use std::path::{Path, PathBuf};

use keyturn_tests::environment::Environment;
use serde_json::Value;

use crate::samples::Samples;

/// How to start one.
#[derive(Debug)]
pub(super) struct Subject {
    bootstrap: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Subject {
    pub(super) fn new(bootstrap: &Path, environment: Vec<(&'static str, String)>) -> Self {
        Self { bootstrap: bootstrap.to_owned(), environment }
    }

    /// The same with this in its environment.
    pub(super) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut environment = self.environment.clone();
        environment.push((name, value.to_owned()));
        Self { bootstrap: self.bootstrap.clone(), environment }
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Under a Runtime API that acknowledges at once, so that nothing stalls: lambda_http, as the limit has it, loses
    /// 40 ms otherwise (`docs/adr/0002-lambda-responses.md`).
    pub(super) async fn start(&self) -> Environment {
        Environment::start_acknowledging(&self.bootstrap, &self.environment()).await
    }

    /// Under a Runtime API that acknowledges as the system likes.
    pub(super) async fn start_lazily(&self) -> Environment {
        Environment::start(&self.bootstrap, &self.environment()).await
    }
}

/// What one function took for requests of one kind.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// From the event to the first byte of the answer's body.
    pub(super) first_byte: Samples,
    /// From the event to the last byte.
    pub(super) whole: Samples,
    /// From the event until the next is asked for.
    pub(super) billed: Samples,
    /// CPU of one request, the mean of a batch.
    pub(super) cpu: Samples,
}

impl Figures {
    /// Measures a batch of requests, one after the other.
    pub(super) async fn batch(&mut self, function: &Environment, event: &Value, times: u32) {
        function.idle().await;
        let _ = function.take_billed();
        let before = function.process().cpu_time();
        for _ in 0..times {
            let answer = function.call(event).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.error.is_none(), "{:?}", answer.error);
            let (first, last) = (answer.chunks.first(), answer.chunks.last());
            self.first_byte.extend(first.map(|chunk| chunk.after));
            self.whole.extend(last.map(|chunk| chunk.after));
        }
        function.idle().await;
        if let (Some(before), Some(after)) = (before, function.process().cpu_time()) {
            self.cpu.push((after - before) / times);
        }
        self.billed.extend(function.take_billed());
    }
}
