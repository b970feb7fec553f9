//! Who is not let in, apart from limits.

use std::time::Duration;

use keyturn_ambient::Clock;
use keyturn_keys::store::{Edit, Kind, RowId};
use keyturn_keys::{Ask, Holder, KeyError};
use serde_json::json;

use super::World;
use super::world::{ask, hash};

pub(super) async fn all(world: &World<'_>) {
    blocked_expired_and_denied(world).await;
    the_team_and_the_user_have_lists_too(world).await;
    a_team_can_be_blocked(world).await;
    routes(world).await;
    authentication_asks_nothing_of_the_limits(world).await;
    both_values_open_a_regenerated_key_during_the_grace(world).await;
    a_pointer_alone_opens_nothing(world).await;
    nonsense_is_our_fault_and_not_shown(world).await;
}

fn of(model: &str) -> Ask<'_> {
    Ask { model, ..ask(1, 0.0) }
}

async fn blocked_expired_and_denied(world: &World<'_>) {
    let process = world.process();
    let unknown = hash("sk-nobody-has-this-one");
    assert!(matches!(process.refuse(&unknown, &ask(1, 0.0)).await, KeyError::NotFound));
    // With a limit and without: the two ways a key can be served.
    for rpm_limit in [json!(null), json!(100)] {
        let key = world.key(json!({"blocked": true, "rpm_limit": rpm_limit})).await;
        assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::Blocked));

        let end = world.clock.now() + Duration::from_secs(5);
        let key = world.key(json!({"expires": end, "rpm_limit": rpm_limit})).await;
        process.admit(&key, &ask(1, 0.0)).await;
        world.clock.advance(Duration::from_secs(5));
        let error = process.refuse(&key, &ask(1, 0.0)).await;
        assert!(matches!(error, KeyError::Expired { at } if at == end), "{error}");

        let models = ["openai/*", "claude"];
        let fields = json!({"models": models, "aliases": {"mine": "claude"}, "rpm_limit": rpm_limit});
        let key = world.key(fields).await;
        for model in ["openai/o3", "claude", "mine"] {
            process.admit(&key, &of(model)).await;
        }
        match process.refuse(&key, &of("gemini")).await {
            KeyError::ModelDenied { holder, model, allowed } => {
                assert_eq!((holder, model.as_str()), (Holder::Key, "gemini"));
                assert_eq!(allowed, models);
            }
            other => panic!("{other}"),
        }
    }
}

async fn the_team_and_the_user_have_lists_too(world: &World<'_>) {
    let process = world.process();
    let team = world.owner(Kind::Team, json!({"models": ["gpt-*", "claude"]})).await;
    let user = world.owner(Kind::User, json!({"models": ["gpt-4o", "claude", "gemini"]})).await;
    let aliases = json!({"mine": "claude", "yours": "gemini"});
    for rpm_limit in [json!(null), json!(100)] {
        let key = world
            .key(json!({"team_id": team, "user_id": user, "aliases": aliases, "rpm_limit": rpm_limit}))
            .await;
        for model in ["gpt-4o", "claude", "mine"] {
            process.admit(&key, &of(model)).await;
        }
        for (model, expected) in [
            ("gemini", Holder::Team(team.clone())),
            ("yours", Holder::Team(team.clone())),
            ("gpt-5", Holder::User(user.clone())),
        ] {
            match process.refuse(&key, &of(model)).await {
                KeyError::ModelDenied { holder, .. } => assert_eq!(holder, expected, "{model}"),
                other => panic!("{other}"),
            }
        }
    }

    // A team's key can leave it to the team; a user without models of its own uses those of the team.
    let user = world.owner(Kind::User, json!({"models": ["no-default-models"]})).await;
    let key = world.key(json!({"team_id": team, "user_id": user, "models": ["all-team-models"]})).await;
    process.admit(&key, &of("claude")).await;
    assert!(matches!(
        process.refuse(&key, &of("gemini")).await,
        KeyError::ModelDenied { holder: Holder::Team(_), .. }
    ));
    let key = world.key(json!({"user_id": user})).await;
    assert!(matches!(
        process.refuse(&key, &of("claude")).await,
        KeyError::ModelDenied { holder: Holder::User(_), .. }
    ));
    let identity = process.keys.authenticate(&key).await.unwrap();
    assert!(!identity.allows("claude") && identity.user.unwrap().user_id == user);
}

async fn a_team_can_be_blocked(world: &World<'_>) {
    let process = world.process();
    let team = world.owner(Kind::Team, json!({})).await;
    let row = RowId::named(Kind::Team, &team);
    for rpm_limit in [json!(null), json!(100)] {
        let key = world.key(json!({"team_id": team, "rpm_limit": rpm_limit})).await;
        process.admit(&key, &ask(1, 0.0)).await;
        world.change(&row, json!({"blocked": true})).await;
        // A team without limits is trusted for the cache life.
        world.clock.advance(super::world::CACHE_LIFE);
        for process in [&process, &world.process()] {
            let error = process.refuse(&key, &ask(1, 0.0)).await;
            assert!(matches!(&error, KeyError::TeamBlocked { team_id } if *team_id == team), "{error}");
            assert!(matches!(process.keys.authenticate(&key).await, Err(KeyError::TeamBlocked { .. })));
        }
        world.change(&row, json!({"blocked": false})).await;
        world.clock.advance(super::world::CACHE_LIFE);
        process.admit(&key, &ask(1, 0.0)).await;
    }
}

async fn routes(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({"key_type": "management"})).await;
    match process.refuse(&key, &ask(1, 0.0)).await {
        KeyError::RouteDenied { route, allowed } => {
            assert_eq!(
                (route.as_str(), allowed),
                ("/v1/chat/completions", vec!["management_routes".to_owned()])
            );
        }
        other => panic!("{other}"),
    }
    let identity = process.keys.authenticate(&key).await.unwrap();
    identity.check_route("/key/generate").unwrap();
    assert!(matches!(identity.check_route("/v1/models"), Err(KeyError::RouteDenied { .. })));

    let key = world.key(json!({"allowed_routes": ["/v1/messages", "/v1/chat/*"], "rpm_limit": 10})).await;
    process.admit(&key, &ask(1, 0.0)).await;
    process.admit(&key, &Ask { route: "/v1/messages", ..ask(1, 0.0) }).await;
    let error = process.refuse(&key, &Ask { route: "/chat/completions", ..ask(1, 0.0) }).await;
    assert!(matches!(error, KeyError::RouteDenied { .. }), "{error}");
}

async fn authentication_asks_nothing_of_the_limits(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({"rpm_limit": 0, "max_budget": 0.0, "models": ["claude"]})).await;
    for _ in 0..3 {
        assert_eq!(process.keys.authenticate(&key).await.unwrap().key.id, key);
    }
    let unknown = hash("sk-nobody-has-this-one-either");
    assert!(matches!(process.keys.authenticate(&unknown).await, Err(KeyError::NotFound)));
    let blocked = world.key(json!({"blocked": true})).await;
    assert!(matches!(process.keys.authenticate(&blocked).await, Err(KeyError::Blocked)));
    let expired = world.key(json!({"expires": world.clock.now() + Duration::from_secs(5)})).await;
    process.keys.authenticate(&expired).await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    assert!(matches!(process.keys.authenticate(&expired).await, Err(KeyError::Expired { .. })));
}

async fn both_values_open_a_regenerated_key_during_the_grace(world: &World<'_>) {
    for rpm_limit in [json!(null), json!(1_000)] {
        let process = world.process();
        let key = world.key(json!({"rpm_limit": rpm_limit})).await;
        process.admit(&key, &ask(1, 0.0)).await;
        let new = hash(&world.name("sk-second-value"));
        let until = world.clock.now() + Duration::from_secs(60);
        world.store.edit(&[Edit::Point { hash: new, id: key, until: None }]).await.unwrap();
        let hashes = json!({ key.to_string(): until, new.to_string(): null });
        world.change(&RowId::key(&key), json!({"hashes": hashes})).await;
        if rpm_limit.is_null() {
            // The process has not heard of the second value before: it reads the key.
            assert_eq!(process.admit(&new, &ask(1, 0.0)).await.key.id, key);
        }
        for hash in [key, new] {
            // Spend is the key's, whichever value was shown.
            assert_eq!(process.request(&hash, &ask(1, 0.5)).await.id, key);
        }
        world.clock.advance(Duration::from_secs(59));
        process.admit(&key, &ask(1, 0.0)).await;
        world.clock.advance(Duration::from_secs(1));
        for process in [&process, &world.process()] {
            assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::NotFound));
            process.admit(&new, &ask(1, 0.0)).await;
        }
        assert_eq!(world.spent(&RowId::key(&key)).await, 1_000_000_000);
    }
}

async fn a_pointer_alone_opens_nothing(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({})).await;
    // The key does not list this hash.
    let stranger = hash(&world.name("sk-stranger"));
    world.store.edit(&[Edit::Point { hash: stranger, id: key, until: None }]).await.unwrap();
    assert!(matches!(process.refuse(&stranger, &ask(1, 0.0)).await, KeyError::NotFound));
    process.admit(&key, &ask(1, 0.0)).await;
    assert!(matches!(process.refuse(&stranger, &ask(1, 0.0)).await, KeyError::NotFound));
}

async fn nonsense_is_our_fault_and_not_shown(world: &World<'_>) {
    let process = world.process();
    let key = world.key(json!({"rpm_limit": "a-value-that-is-not-for-the-log"})).await;
    match process.keys.admit(&key, &ask(1, 0.0)).await {
        Err(KeyError::Unavailable(cause)) => {
            let cause = cause.to_string();
            assert!(cause.contains(&key.to_string()) && !cause.contains("a-value"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}
