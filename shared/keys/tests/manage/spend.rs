//! What was spent is set, set back and taken over.

use keyturn_keys::manage::{KeyFields, LimitFields, ManagerOptions, Patch};

use crate::bench::{Bench, admin, by_value, generate, refusal};

fn close(spent: f64, expected: f64) {
    assert!((spent - expected).abs() < 1e-9, "{spent} instead of {expected}");
}

fn windows(period: &str) -> KeyFields {
    let limits = LimitFields {
        max_budget: 10.0.into(),
        budget_duration: Patch::Set(period.parse().unwrap()),
        ..LimitFields::default()
    };
    KeyFields { limits, ..KeyFields::default() }
}

pub(crate) async fn spend_is_set_and_what_is_settled_meanwhile_stays(bench: &Bench) {
    let manager = bench.manager();
    let limits = LimitFields { max_budget: 10.0.into(), ..LimitFields::default() };
    let created = generate(&manager, KeyFields { limits, spend: Some(9.0), ..KeyFields::default() }).await;
    let key = by_value(&created.value);
    close(created.info.spend.spend, 9.0);
    // What counts as spent is no longer there to be spent.
    assert!(bench.request(&created.value, 2.0).await.is_err());
    bench.request(&created.value, 1.0).await.unwrap();
    let too_much = manager.reset_spend(&admin(), &key, 10.5).await;
    assert_eq!(refusal(too_much), ("invalid", "reset_to"));
    let (info, previous) = manager.reset_spend(&admin(), &key, 4.0).await.unwrap();
    close(previous, 10.0);
    close(info.spend.spend, 4.0);
    bench.request(&created.value, 6.0).await.unwrap();
    assert!(bench.request(&created.value, 0.1).await.is_err());
    let zero = KeyFields { spend: Some(0.0), ..KeyFields::default() };
    close(manager.update(&admin(), &key, &zero).await.unwrap().spend.spend, 0.0);
    let caller = admin();
    let (spent, reset) =
        tokio::join!(bench.request(&created.value, 3.0), manager.update(&caller, &key, &zero));
    spent.unwrap();
    reset.unwrap();
    let spent = manager.info(&admin(), &key).await.unwrap().spend.spend;
    assert!(spent.abs() < 1e-9 || (spent - 3.0).abs() < 1e-9, "{spent}");
    // The budget and what is shown agree.
    bench.request(&created.value, 10.0 - spent).await.unwrap();
    assert!(bench.request(&created.value, 0.1).await.is_err());
}

pub(crate) async fn two_resets_at_once_are_one(bench: &Bench) {
    let manager = bench.manager();
    let created = generate(&manager, KeyFields::default()).await;
    bench.request(&created.value, 5.0).await.unwrap();
    let key = by_value(&created.value);
    let change = KeyFields { spend: Some(1.0), ..KeyFields::default() };
    let admin = admin();
    let manager = bench.crossing(0, 3, ManagerOptions::default());
    let resets = (0..3).map(|_| manager.update(&admin, &key, &change));
    for reset in futures_util::future::join_all(resets).await {
        reset.unwrap();
    }
    close(manager.info(&admin, &key).await.unwrap().spend.spend, 1.0);
}

pub(crate) async fn a_new_window_takes_spend_over(bench: &Bench) {
    let manager = bench.manager();
    let limits = LimitFields { max_budget: 10.0.into(), ..LimitFields::default() };
    let created = generate(&manager, KeyFields { limits, ..KeyFields::default() }).await;
    let key = by_value(&created.value);
    bench.request(&created.value, 8.0).await.unwrap();
    bench.pass(60);
    let info = manager.update(&admin(), &key, &windows("1d")).await.unwrap();
    close(info.spend.spend, 8.0);
    close(info.spend.total, 8.0);
    assert!(bench.request(&created.value, 3.0).await.is_err());
    bench.pass(3_600);
    // The same length again goes on with the same window; another begins one.
    let same = manager.update(&admin(), &key, &windows("1d")).await.unwrap();
    assert_eq!(same.spend, info.spend);
    let longer = manager.update(&admin(), &key, &windows("2d")).await.unwrap();
    close(longer.spend.spend, 8.0);
    assert_eq!(longer.spend.budget_reset_at, Some("2026-11-22T13:01:00Z".parse().unwrap()));
    bench.pass(2 * 86_400);
    let over = manager.info(&admin(), &key).await.unwrap();
    close(over.spend.spend, 0.0);
    close(over.spend.total, 8.0);
    bench.request(&created.value, 10.0).await.unwrap();
}
