//! Requests and tokens in a minute, and requests under way.

use std::time::Duration;

use keyturn_ambient::Clock;
use keyturn_keys::store::Kind;
use keyturn_keys::{Ask, Holder, KeyError, LimitType};
use serde_json::json;

use super::World;
use super::world::ask;

pub(super) async fn all(world: &World<'_>) {
    requests_in_a_minute(world).await;
    tokens_in_a_minute(world).await;
    rates_of_single_models(world).await;
    requests_under_way(world).await;
    headers_of_key_team_and_user(world).await;
}

async fn requests_in_a_minute(world: &World<'_>) {
    world.next(60);
    let processes = [world.process(), world.process()];
    let key = world.key(json!({"rpm_limit": 3})).await;
    for (process, left) in [(0, "2"), (1, "1"), (0, "0")] {
        let admission = processes[process].admit(&key, &ask(5, 0.0)).await;
        let expected = [
            ("x-ratelimit-api_key-limit-requests", "3".to_owned()),
            ("x-ratelimit-api_key-remaining-requests", left.to_owned()),
        ];
        assert_eq!(admission.rate_headers, expected);
        // A request that came to nothing was still a request.
        processes[process].settle(admission, 0, 0.0).await;
    }
    world.clock.advance(Duration::from_secs(59));
    for process in &processes {
        match process.refuse(&key, &ask(5, 0.0)).await {
            KeyError::RateLimited { holder, model, limit_type, limit, remaining, resets_at } => {
                assert_eq!((holder, model, limit_type), (Holder::Key, None, LimitType::Requests));
                assert_eq!((limit, remaining), (3, 0));
                assert_eq!(resets_at, Some(world.clock.now() + Duration::from_secs(1)));
            }
            other => panic!("{other}"),
        }
    }
    world.clock.advance(Duration::from_secs(1));
    for process in &processes {
        process.admit(&key, &ask(5, 0.0)).await;
    }

    let key = world.key(json!({"rpm_limit": 0})).await;
    let error = processes[0].refuse(&key, &ask(0, 0.0)).await;
    assert!(matches!(error, KeyError::RateLimited { limit: 0, remaining: 0, .. }), "{error}");
}

async fn tokens_in_a_minute(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let key = world.key(json!({"tpm_limit": 1_000})).await;
    let first = process.admit(&key, &ask(800, 0.0)).await;
    let expected = [
        ("x-ratelimit-api_key-limit-tokens", "1000".to_owned()),
        ("x-ratelimit-api_key-remaining-tokens", "200".to_owned()),
    ];
    assert_eq!(first.rate_headers, expected);
    match world.process().refuse(&key, &ask(201, 0.0)).await {
        KeyError::RateLimited { limit_type, limit, remaining, .. } => {
            assert_eq!((limit_type, limit, remaining), (LimitType::Tokens, 1_000, 200));
        }
        other => panic!("{other}"),
    }
    // What was not used is there again.
    process.settle(first, 100, 0.0).await;
    let second = process.admit(&key, &ask(900, 0.0)).await;
    assert!(matches!(process.refuse(&key, &ask(0, 0.0)).await, KeyError::RateLimited { .. }));
    // More than was reserved counts as well, but not in the next minute.
    world.clock.advance(Duration::from_secs(60));
    process.settle(second, 5_000, 0.0).await;
    let third = process.admit(&key, &ask(1_000, 0.0)).await;
    process.settle(third, u64::MAX, 0.0).await;
    let error = process.refuse(&key, &ask(1, 0.0)).await;
    assert!(matches!(error, KeyError::RateLimited { remaining: 0, .. }), "{error}");

    // What is more than a whole minute's worth never fits.
    world.clock.advance(Duration::from_secs(60));
    for tokens in [1_001, u64::MAX] {
        let error = process.refuse(&key, &ask(tokens, 0.0)).await;
        assert!(matches!(error, KeyError::RateLimited { remaining: 1_000, .. }), "{error}");
    }
}

async fn rates_of_single_models(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let fields = json!({
        "model_rpm_limit": {"gpt-4o": 1}, "model_tpm_limit": {"mine": 10}, "aliases": {"mine": "claude"},
    });
    let key = world.key(fields).await;
    let of = |model, tokens| Ask { model, ..ask(tokens, 0.0) };
    assert!(process.admit(&key, &of("gpt-4o", 50)).await.rate_headers.is_empty());
    let error = process.refuse(&key, &of("gpt-4o", 50)).await;
    assert!(
        matches!(&error, KeyError::RateLimited { model: Some(model), limit_type: LimitType::Requests, .. } if model == "gpt-4o"),
        "{error}"
    );
    process.admit(&key, &of("mine", 10)).await;
    let error = process.refuse(&key, &of("mine", 1)).await;
    assert!(
        matches!(error, KeyError::RateLimited { limit_type: LimitType::Tokens, limit: 10, .. }),
        "{error}"
    );
    process.admit(&key, &of("claude", 1_000)).await;
}

async fn requests_under_way(world: &World<'_>) {
    world.next(300);
    let process = world.process();
    let key = world.key(json!({"max_parallel_requests": 2})).await;
    let (one, two) = (process.admit(&key, &ask(1, 0.0)).await, process.admit(&key, &ask(1, 0.0)).await);
    match world.process().refuse(&key, &ask(1, 0.0)).await {
        KeyError::RateLimited { limit_type, limit, remaining, resets_at, .. } => {
            assert_eq!((limit_type, limit, remaining), (LimitType::Parallel, 2, 0));
            assert_eq!(resets_at, None);
        }
        other => panic!("{other}"),
    }
    // Also what came to nothing has ended.
    process.settle(one, 0, 0.0).await;
    let three = process.admit(&key, &ask(1, 0.0)).await;
    assert!(matches!(process.refuse(&key, &ask(1, 0.0)).await, KeyError::RateLimited { .. }));
    drop((two, three));
    world.clock.advance(Duration::from_secs(20 * 60));
    process.admit(&key, &ask(1, 0.0)).await;
}

async fn headers_of_key_team_and_user(world: &World<'_>) {
    world.next(60);
    let process = world.process();
    let team = world.owner(Kind::Team, json!({"tpm_limit": 100})).await;
    let user = world.owner(Kind::User, json!({"rpm_limit": 5})).await;
    let key = world.key(json!({"team_id": team, "user_id": user, "rpm_limit": 9, "max_budget": 1.0})).await;
    process.admit(&key, &ask(10, 0.0)).await;
    let expected = [
        ("x-ratelimit-api_key-limit-requests", "9"),
        ("x-ratelimit-api_key-remaining-requests", "7"),
        ("x-ratelimit-team-limit-tokens", "100"),
        ("x-ratelimit-team-remaining-tokens", "80"),
        ("x-ratelimit-user-limit-requests", "5"),
        ("x-ratelimit-user-remaining-requests", "3"),
    ];
    let admission = process.admit(&key, &ask(10, 0.0)).await;
    assert_eq!(admission.rate_headers, expected.map(|(name, value)| (name, value.to_owned())));
}
