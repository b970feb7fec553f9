//! Keys are made, changed and deleted.

use keyturn_keys::manage::{
    KeyFields, KeyRef, LimitFields, ListKeys, ManagerOptions, NewKey, NewTeam, Patch, Regenerate,
};
use keyturn_keys::store::RowId;
use keyturn_keys::{KeyHash, KeyType};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::bench::{Bench, admin, alias, by_value, generate, named, refusal};

pub(crate) async fn a_key_is_what_was_asked_for(bench: &Bench) {
    let manager = bench.manager();
    let fields = KeyFields {
        key_alias: "prod/web".to_owned().into(),
        team_id: "t1".to_owned().into(),
        user_id: "u1".to_owned().into(),
        models: vec!["gpt".to_owned()].into(),
        aliases: Patch::Set([("a".to_owned(), "gpt".to_owned())].into()),
        allowed_routes: vec!["/v1/*".to_owned()].into(),
        key_type: KeyType::LlmApi.into(),
        metadata: Patch::Set(json!({"owner": "me"}).as_object().unwrap().clone()),
        tags: vec!["x".to_owned()].into(),
        limits: LimitFields {
            max_budget: 3.0.into(),
            soft_budget: 2.0.into(),
            budget_duration: Patch::Set("1d".parse().unwrap()),
            rpm_limit: 10.into(),
            max_parallel_requests: 4.into(),
            ..LimitFields::default()
        },
        duration: Patch::Set("1h".parse().unwrap()),
        ..KeyFields::default()
    };
    let created = generate(&manager, fields).await;
    let key = &created.info.value;
    assert_eq!(key.id, KeyHash::of(&created.value));
    assert_eq!(key.key_name, format!("sk-...{}", &created.value.expose_secret()[21..]));
    assert_eq!(key.expires, Some("2026-11-20T13:00:00Z".parse().unwrap()));
    assert_eq!(key.limits.budget_anchor, Some(bench.now()));
    assert_eq!((key.created_by.as_deref(), key.created_at), (Some("admin"), bench.now()));
    assert_eq!(created.info.spend.budget_reset_at, Some("2026-11-21T12:00:00Z".parse().unwrap()));
    for found in [by_value(&created.value), KeyRef::Hash(key.id), alias("prod/web")] {
        assert_eq!(manager.info(&admin(), &found).await.unwrap(), created.info);
    }
    assert!(bench.opens(&created.value).await);
    let blocked = manager.block(&admin(), &alias("prod/web"), true).await.unwrap();
    assert!(blocked.value.blocked);
    assert!(!bench.opens(&created.value).await);
    manager.block(&admin(), &KeyRef::Hash(key.id), false).await.unwrap();
    assert!(bench.opens(&created.value).await);
    bench.pass(3_600);
    assert!(!bench.opens(&created.value).await);
    let unknown = KeyRef::Hash(KeyHash::of(&SecretString::from("sk-unknown")));
    assert_eq!(refusal(manager.info(&admin(), &unknown).await), ("not found", "key"));
}

pub(crate) async fn nothing_is_left_of_a_duplicate(bench: &Bench) {
    let manager = bench.manager();
    let own = |value: &str, fields| NewKey { key: Some(SecretString::from(value)), fields };
    manager.generate(&admin(), own("sk-0123456789abcdef", named("first"))).await.unwrap();
    let again = manager.generate(&admin(), own("sk-0123456789abcdef", named("second"))).await;
    assert_eq!(refusal(again), ("duplicate", "key"));
    assert_eq!(refusal(manager.info(&admin(), &alias("second")).await), ("not found", "key"));
    let taken = SecretString::from("sk-fedcba9876543210");
    let again = manager.generate(&admin(), own("sk-fedcba9876543210", named("first"))).await;
    assert_eq!(refusal(again), ("duplicate", "key_alias"));
    assert_eq!(refusal(manager.info(&admin(), &by_value(&taken)).await), ("not found", "key"));
    assert_eq!(manager.list(&admin(), &ListKeys::default()).await.unwrap().total, 1);
}

pub(crate) async fn fields_that_make_no_sense_are_refused(bench: &Bench) {
    let manager = bench.manager();
    let some = || Patch::Set("1d".parse().unwrap());
    let limits = |limits| KeyFields { limits, ..KeyFields::default() };
    for (field, fields) in [
        ("key_alias", named("a/../b")),
        ("max_budget", limits(LimitFields { max_budget: (-1.0).into(), ..LimitFields::default() })),
        ("budget_id", KeyFields { budget_id: "none".to_owned().into(), ..KeyFields::default() }),
        ("temp_budget_expiry", KeyFields { temp_budget_increase: 1.0.into(), ..KeyFields::default() }),
        (
            "temp_budget_increase",
            KeyFields { temp_budget_expiry: bench.now().into(), ..KeyFields::default() },
        ),
        ("rotation_interval", KeyFields { auto_rotate: true.into(), ..KeyFields::default() }),
        // Nobody would learn the new values.
        (
            "auto_rotate",
            KeyFields { auto_rotate: true.into(), rotation_interval: some(), ..KeyFields::default() },
        ),
        ("spend", KeyFields { spend: Some(-1.0), ..KeyFields::default() }),
        ("tags", KeyFields { tags: vec!["x".repeat(70_000)].into(), ..KeyFields::default() }),
    ] {
        let refused = manager.generate(&admin(), NewKey { key: None, fields }).await;
        assert_eq!(refusal(refused), ("invalid", field));
    }
    let key = Some(SecretString::from("pk-0123456789abcdef"));
    let refused = manager.generate(&admin(), NewKey { key, fields: KeyFields::default() }).await;
    assert_eq!(refusal(refused), ("invalid", "key"));
    assert_eq!(manager.list(&admin(), &ListKeys::default()).await.unwrap().total, 0);
}

pub(crate) async fn an_update_changes_what_it_names(bench: &Bench) {
    let manager = bench.manager();
    let limits = LimitFields { max_budget: 1.0.into(), rpm_limit: 5.into(), ..LimitFields::default() };
    let created = generate(&manager, KeyFields { limits, ..named("a") }).await;
    bench.pass(1);
    let limits = LimitFields { max_budget: Patch::Clear, tpm_limit: 7.into(), ..LimitFields::default() };
    let change = KeyFields { limits, ..KeyFields::default() };
    let changed = manager.update(&admin(), &alias("a"), &change).await.unwrap().value;
    let limits = &changed.limits;
    assert_eq!((limits.max_budget, limits.rpm_limit, limits.tpm_limit), (None, Some(5), Some(7)));
    assert_eq!((changed.created_at, changed.updated_at), (created.info.value.created_at, bench.now()));
    // Repeating it changes nothing, not even the time of the last change.
    bench.pass(1);
    let again = manager.update(&admin(), &alias("a"), &change).await.unwrap().value;
    assert_eq!(again, changed);
    assert_eq!(refusal(manager.update(&admin(), &alias("b"), &change).await), ("not found", "key"));
    // One bad change does not keep the other from being made.
    let bad = KeyFields { temp_budget_increase: 1.0.into(), ..KeyFields::default() };
    let both = [(alias("a"), bad), (by_value(&created.value), named("b"))];
    let results = manager.bulk_update(&admin(), &both).await;
    let [first, second] = <[_; 2]>::try_from(results).unwrap();
    assert_eq!(refusal(first), ("invalid", "temp_budget_expiry"));
    assert_eq!(second.unwrap().value.key_alias.as_deref(), Some("b"));
}

pub(crate) async fn aliases_are_claimed_and_given_back(bench: &Bench) {
    let manager = bench.manager();
    let one = generate(&manager, named("one")).await;
    let two = generate(&manager, named("two")).await;
    let taken = manager.update(&admin(), &by_value(&two.value), &named("one")).await;
    assert_eq!(refusal(taken), ("duplicate", "key_alias"));
    manager.update(&admin(), &by_value(&one.value), &named("three")).await.unwrap();
    manager.update(&admin(), &by_value(&two.value), &named("one")).await.unwrap();
    let id = |info: keyturn_keys::manage::KeyInfo| info.value.id;
    assert_eq!(manager.info(&admin(), &alias("one")).await.map(id).unwrap(), two.info.value.id);
    assert_eq!(manager.info(&admin(), &alias("three")).await.map(id).unwrap(), one.info.value.id);
    let none = KeyFields { key_alias: Patch::Clear, ..KeyFields::default() };
    manager.update(&admin(), &alias("one"), &none).await.unwrap();
    assert_eq!(refusal(manager.info(&admin(), &alias("one")).await), ("not found", "key"));
    generate(&manager, named("one")).await;
}

pub(crate) async fn updates_at_once_are_all_made(bench: &Bench) {
    let manager = bench.manager();
    let created = generate(&manager, KeyFields::default()).await;
    let key = by_value(&created.value);
    let limits = |limits| KeyFields { limits, ..KeyFields::default() };
    let changes = [
        named("a"),
        limits(LimitFields { rpm_limit: 5.into(), ..LimitFields::default() }),
        limits(LimitFields { tpm_limit: 6.into(), ..LimitFields::default() }),
        limits(LimitFields { max_budget: 7.0.into(), ..LimitFields::default() }),
    ];
    let admin = admin();
    let manager = bench.crossing(changes.len(), 0, ManagerOptions::default());
    let updates = changes.iter().map(|change| manager.update(&admin, &key, change));
    for result in futures_util::future::join_all(updates).await {
        result.unwrap();
    }
    let key = manager.info(&admin, &key).await.unwrap().value;
    let limits = &key.limits;
    assert_eq!((limits.rpm_limit, limits.tpm_limit, limits.max_budget), (Some(5), Some(6), Some(7.0)));
    assert_eq!(key.key_alias.as_deref(), Some("a"));
}

pub(crate) async fn deleted_keys_are_gone(bench: &Bench) {
    let manager = bench.manager();
    let one = generate(&manager, named("one")).await;
    let two = generate(&manager, named("two")).await;
    let how = Regenerate { grace: Patch::Set("1d".parse().unwrap()), ..Default::default() };
    let later = manager.regenerate(&admin(), &alias("one"), &how).await.unwrap().value.unwrap();
    let deleted = manager.delete(&admin(), &[alias("nobody"), by_value(&later), alias("two")]).await.unwrap();
    assert_eq!(deleted, [None, Some(one.info.value.id), Some(two.info.value.id)]);
    for value in [&one.value, &later, &two.value] {
        assert!(!bench.opens(value).await);
        assert_eq!(refusal(manager.info(&admin(), &by_value(value)).await), ("not found", "key"));
    }
    assert_eq!(refusal(manager.delete(&admin(), &[alias("one")]).await), ("not found", "key"));
    // All names are free again, that of the later value too.
    let new = NewKey { key: Some(later), fields: named("one") };
    manager.generate(&admin(), new).await.unwrap();
}

pub(crate) async fn a_service_account_belongs_to_a_team(bench: &Bench) {
    let manager = bench.manager();
    let new = |team: &str| NewKey {
        key: None,
        fields: KeyFields {
            team_id: team.to_owned().into(),
            user_id: "u".to_owned().into(),
            ..named("robot")
        },
    };
    let none = manager.generate_service_account(&admin(), NewKey::default()).await;
    assert_eq!(refusal(none), ("invalid", "team_id"));
    let unknown = manager.generate_service_account(&admin(), new("t")).await;
    assert_eq!(refusal(unknown), ("invalid", "team_id"));
    let team = NewTeam { team_id: Some("t".to_owned()), ..NewTeam::default() };
    manager.new_team(&admin(), team).await.unwrap();
    let made = manager.generate_service_account(&admin(), new("t")).await.unwrap().info.value;
    assert_eq!((made.user_id, made.team_id.as_deref()), (None, Some("t")));
    assert_eq!(made.metadata["service_account_id"], "robot");
}

pub(crate) async fn busy_keys_get_shares(bench: &Bench) {
    let manager = bench.manager();
    let rpm = |rpm: u64| KeyFields {
        limits: LimitFields { rpm_limit: rpm.into(), ..LimitFields::default() },
        ..KeyFields::default()
    };
    let created = generate(&manager, rpm(60)).await;
    let id = RowId::key(&created.info.value.id);
    let shares =
        async || bench.store.read(std::slice::from_ref(&id)).await.unwrap()[0].clone().unwrap().shares;
    assert_eq!(shares().await, 0);
    manager.update(&admin(), &by_value(&created.value), &rpm(60_000)).await.unwrap();
    let spread = if bench.store.shares() { 8 } else { 0 };
    assert_eq!(shares().await, spread);
    manager.update(&admin(), &by_value(&created.value), &rpm(60)).await.unwrap();
    assert_eq!(shares().await, spread);
    // What was spent on shares is the key's.
    for _ in 0..4 {
        bench.request(&created.value, 0.25).await.unwrap();
    }
    let info = manager.info(&admin(), &by_value(&created.value)).await.unwrap();
    assert!((info.spend.spend - 1.0).abs() < 1e-9, "{:?}", info.spend);
}
