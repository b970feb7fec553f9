//! The key store on Vault, against a real server: OpenBao.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod contention;
#[path = "../contract/mod.rs"]
mod contract;
mod faults;
mod policy;
#[path = "../dynamo/port/mod.rs"]
mod port;
mod remains;
mod rig;
mod round_trips;

use std::sync::Arc;

use keyturn_ambient::ManualClock;
use keyturn_keys::KeyStore;

use rig::Rig;

impl contract::Fixture for Rig {
    fn open(&self) -> Arc<dyn KeyStore> {
        self.store()
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_keeps_the_port() {
    port::suite(Rig::start().await.store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_keeps_the_contract() {
    let rig = Rig::start_at("2026-11-20T12:00:00Z").await;
    contract::suite(&rig).await;
}
