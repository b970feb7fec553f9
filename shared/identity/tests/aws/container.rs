//! The credentials agent of a container's host.

use std::sync::Arc;

use jiff::SignedDuration;
use keyturn_ambient::Clock;
use keyturn_identity::IdentityError;
use keyturn_identity::aws::Aws;
use keyturn_tests::fake::{Answer, Asked, Fake, Mishap};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::rig::{aws, clock, environment};

/// Gives keys that end in an hour to who sends the token.
async fn agent(clock: Arc<dyn Clock>) -> Fake {
    Fake::start(move |asked: &Asked| {
        let number = asked.header("authorization");
        if !number.starts_with("pod-token") {
            return Answer::json(403, &json!({"code": "InvalidAuthorizationToken", "message": "pod-token"}));
        }
        let ends = clock.now() + SignedDuration::from_hours(1);
        Answer::json(
            200,
            &json!({
                "AccessKeyId": format!("ASIA-{number}"), "SecretAccessKey": "secret", "Token": "session",
                "AccountId": "123456789012", "Expiration": ends, "RoleArn": "TASK_ROLE_ARN",
            }),
        )
    })
    .await
}

#[tokio::test]
async fn the_agent_gives_the_container_s_role_to_who_has_the_token() {
    let clock = clock();
    let agent = agent(clock.clone()).await;
    let url = format!("{}/v1/credentials?a=b", agent.url());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let file = path.to_string_lossy().into_owned();
    let given =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token-1")];
    let by_file = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &*file),
    ];
    let http = keyturn_http::client().unwrap();
    for (variables, expected) in [(&given[..], "ASIA-pod-token-1"), (&by_file[..], "ASIA-pod-token-2")] {
        std::fs::write(&path, "pod-token-2\n").unwrap();
        let time: Arc<dyn Clock> = clock.clone();
        let aws = Aws::from_env(&environment(variables), &http, &time);
        let key = aws.access_key().await.unwrap();
        assert_eq!((&*key.id, key.session.unwrap().expose_secret()), (expected, "session"));
        let calls = agent.asked().len();
        aws.access_key().await.unwrap();
        assert_eq!(agent.asked().len(), calls, "it is kept");
        clock.advance(std::time::Duration::from_secs(3300));
        std::fs::write(&path, "pod-token-3").unwrap();
        let renewed = aws.access_key().await.unwrap().id;
        assert_eq!(renewed, expected.replace("-2", "-3"));
        assert_eq!(agent.asked().len(), calls + 1);
    }
    let asked = agent.asked();
    assert_eq!(
        (asked[0].method.as_str(), &*asked[0].path, &*asked[0].query),
        ("GET", "/v1/credentials", "a=b")
    );
}

#[tokio::test]
async fn what_the_agent_says_instead_is_told_without_the_token() {
    let agent = agent(clock()).await;
    let url = agent.url();
    let with = |token| {
        aws(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token)])
    };
    let who = "the container's credentials agent";
    let error = with("canary").access_key().await.unwrap_err();
    assert_eq!(error.to_string(), format!("{who} refuses us: HTTP 403 InvalidAuthorizationToken"));
    for (mishap, said) in [
        (Mishap::Status(429, json!({"code": "slow"})), "HTTP 429 slow"),
        (Mishap::Status(500, json!({"code": "canary"})), "HTTP 500"),
        (Mishap::Status(200, json!({"AccessKeyId": "canary"})), "HTTP 200, its body is not as documented"),
        (Mishap::Garbage, "HTTP 200, its body is not as documented"),
        (Mishap::Broken, "the connection broke"),
    ] {
        agent.fail(Some(mishap));
        let error = with("canary").access_key().await.unwrap_err();
        assert!(matches!(error, IdentityError::Unavailable { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("{who} does not answer: {said}"));
    }
}

#[tokio::test]
async fn over_plain_http_only_this_machine_and_the_agents_are_asked() {
    let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    for (variables, said) in [
        (&[(full, "http://credentials.example.com/")][..], "must begin with https://"),
        (&[(full, "http://10.0.0.1/")], "must begin with https://"),
        (&[(full, "http://127.0.0.1.example.com/")], "must begin with https://"),
        (&[(full, "http://169.254.169.254/")], "must begin with https://"),
        (&[(full, "file:///etc/passwd")], "must begin with https://"),
        (&[(full, "credentials")], "is no address"),
        (
            &[(full, "http://localhost/"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent/token")],
            "names a file that cannot be read",
        ),
        // It is put after the address of ECS's agent, and must not become another one's.
        (&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ".example.com/")], "must begin with https://"),
        (&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/")], "must begin with https://"),
    ] {
        let error = aws(variables).access_key().await.unwrap_err();
        assert!(matches!(error, IdentityError::Setting { .. }), "{variables:?}: {error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_is_given_up_before_a_read_of_a_secret_is() {
    // Connections to it are made, and never answered.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}/role", silent.local_addr().unwrap());
    let aws = aws(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &address)]);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(6), aws.access_key()).await;
    let error = answer.expect("it is waited for too long").unwrap_err();
    assert!(matches!(error, IdentityError::Unavailable { .. }), "{error:?}");
}
