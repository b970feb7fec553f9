//! What ends by itself: tokens, leases.

use jiff::SignedDuration;
use keyturn_ambient::Life;
use keyturn_secrets::SecretError;

use crate::rig::{Rig, reference, settle};

/// A rig whose secret `token` is due in 100 s and ends in 200 s.
fn rig() -> Rig {
    let rig = Rig::new();
    let now = rig.now();
    let life = Life {
        renew_at: now + SignedDuration::from_secs(100),
        ends_at: now + SignedDuration::from_secs(200),
    };
    rig.store.grant("token", "one", "v1", life);
    rig
}

#[tokio::test]
async fn its_own_life_counts_and_not_the_ttls() {
    let rig = rig();
    assert_eq!(rig.version("fake:token").await, "v1");
    rig.pass(99);
    rig.version("fake:token").await;
    settle().await;
    assert_eq!(rig.store.reads(), 1);
    rig.pass(1);
    assert_eq!(rig.version("fake:token").await, "v1", "due, and still served");
    settle().await;
    assert_eq!(rig.store.reads(), 2);
    rig.store.fail(Some(|name| SecretError::unavailable(name, "down")));
    rig.pass(100);
    rig.cache.get(&reference("fake:token")).await.unwrap_err();
}

#[tokio::test]
async fn a_rotation_elsewhere_does_not_concern_it() {
    let rig = rig();
    rig.version("fake:token").await;
    rig.cache.generation(1);
    rig.version("fake:token").await;
    settle().await;
    assert_eq!(rig.store.reads(), 1);
}

#[tokio::test]
async fn a_refused_one_is_no_answer_while_no_other_can_be_had() {
    let rig = rig();
    let refused = rig.cache.get(&reference("fake:token")).await.unwrap();
    rig.store.fail(Some(|name| SecretError::unavailable(name, "down")));
    for _ in 0..3 {
        let error = rig.cache.refused(&reference("fake:token"), &refused.version).await.unwrap_err();
        assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    }
    assert_eq!(rig.store.reads(), 2, "the cooldown");
}
