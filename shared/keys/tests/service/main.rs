//! The service over a DynamoDB: the contract of all stores.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../contract/mod.rs"]
mod contract;
#[expect(dead_code, reason = "the store's own tests look closer at it")]
#[path = "../dynamo/server.rs"]
mod server;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use contract::{Fixture, suite};
use keyturn_ambient::ManualClock;
use keyturn_keys::{DynamoKeyStore, KeyStore};
use server::{Dynamo, TABLE, config};

/// An embedded DynamoDB.
struct OnDynamo {
    /// One database takes one request after the other, and a loaded machine takes its time: no timeouts.
    client: Client,
    clock: Arc<ManualClock>,
    _dynamo: Dynamo,
}

impl Fixture for OnDynamo {
    fn open(&self) -> Arc<dyn KeyStore> {
        Arc::new(DynamoKeyStore::new(self.client.clone(), TABLE.to_owned()))
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_keeps_the_contract() {
    let clock = Arc::new(ManualClock::at("2026-11-20T12:00:00Z".parse().unwrap()));
    let dynamo = Dynamo::start().await;
    let client =
        Client::from_conf(config(&dynamo.endpoint).timeout_config(TimeoutConfig::disabled()).build());
    suite(&OnDynamo { client, clock, _dynamo: dynamo }).await;
}
