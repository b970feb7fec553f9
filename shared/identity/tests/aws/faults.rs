//! What STS may answer instead of what was asked for.

use keyturn_ambient::Clock;
use keyturn_identity::IdentityError;
use keyturn_tests::fake::{Answer, Fake, Mishap};

use crate::rig::{KEY, ROLE, answer, clock, credentials, of_stores, refusal};

/// The error that an identity without anything kept has from this STS.
async fn error_at(sts: &Fake, token: Option<&str>) -> IdentityError {
    let url = sts.url();
    let role = [("KEYTURN_AWS_ROLE_NAME", ROLE), ("KEYTURN_AWS_STS_ENDPOINT", &url), ("T", "jwt-canary")];
    let token = token.map(|token| ("KEYTURN_AWS_WEB_IDENTITY_TOKEN", token));
    let variables = [&KEY[..], &role, token.as_slice()].concat();
    of_stores(&variables).access_key().await.unwrap_err()
}

#[tokio::test]
async fn a_refusal_is_told_by_its_name_and_passes_or_does_not() {
    for (status, code, passes) in [
        (403, "AccessDenied", false),
        (403, "InvalidClientTokenId", false),
        (403, "SignatureDoesNotMatch", false),
        (403, "ExpiredToken", false),
        (403, "RegionDisabledException", false),
        (400, "ExpiredTokenException", false),
        (400, "InvalidIdentityToken", false),
        (403, "IDPRejectedClaim", false),
        (400, "ValidationError", false),
        (400, "IDPCommunicationError", true),
        (400, "Throttling", true),
        (409, "EntityTemporarilyUnmodifiable", true),
        (429, "TooManyRequests", true),
        (500, "InternalFailure", true),
        (503, "ServiceUnavailable", true),
    ] {
        let sts = Fake::start(move |_| refusal(status, code, "jwt-canary is not authorized")).await;
        for token in [None, Some("oidc/env/T")] {
            let error = error_at(&sts, token).await;
            let told = if passes { "does not answer" } else { "refuses us" };
            assert_eq!(error.to_string(), format!("AWS STS {told}: HTTP {status} {code}"));
            assert!(!format!("{error:?}").contains("canary"));
            assert_eq!(matches!(error, IdentityError::Unavailable { .. }), passes, "{code}");
            assert_eq!(matches!(error, IdentityError::Denied { .. }), !passes, "{code}");
        }
    }
}

#[tokio::test]
async fn a_name_that_repeats_what_was_sent_counts_and_is_not_told() {
    for (code, passes) in [("jwt-canary", false), ("canary", false)] {
        let sts = Fake::start(move |_| refusal(400, code, "")).await;
        let error = error_at(&sts, Some("oidc/env/T")).await;
        assert_eq!(error.to_string(), "AWS STS refuses us: HTTP 400");
        assert_eq!(matches!(error, IdentityError::Unavailable { .. }), passes);
    }
    // The session token has a piece of the error's name in it; the class stays what it is.
    let sts = Fake::start(|_| refusal(400, "Throttling", "")).await;
    let url = sts.url();
    let variables = [
        &KEY[..],
        &[("KEYTURN_AWS_ROLE_NAME", ROLE), ("AWS_ENDPOINT_URL", &url), ("AWS_SESSION_TOKEN", "xThrotx")],
    ];
    let error = of_stores(&variables.concat()).access_key().await.unwrap_err();
    assert_eq!(error.to_string(), "AWS STS does not answer: HTTP 400");
}

#[tokio::test]
async fn what_is_no_answer_is_unavailable() {
    let ended = credentials(1, clock().now());
    for (body, said) in [
        (String::new(), "HTTP 200, its body is not as documented"),
        ("<html><body>secret-canary</body></html>".to_owned(), "HTTP 200, its body is not as documented"),
        (
            "<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>".to_owned(),
            "HTTP 200, its body is not as documented",
        ),
        (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>secret-canary".to_owned(),
            "HTTP 200, its body is not as documented",
        ),
        (
            String::from_utf8(answer("AssumeRole", &ended).2.to_vec()).unwrap(),
            "its credentials have already expired, or our clock is wrong",
        ),
    ] {
        let sts = Fake::start(move |_| Answer::text(200, body.clone())).await;
        let error = error_at(&sts, None).await;
        assert_eq!(error.to_string(), format!("AWS STS does not answer: {said}"));
        assert!(
            matches!(error, IdentityError::Unavailable { .. }) && !format!("{error:?}").contains("canary")
        );
    }
    let sts = Fake::start(|_| Answer::text(200, "")).await;
    for (mishap, said) in [
        (Mishap::Broken, "the connection broke"),
        (Mishap::Garbage, "HTTP 200, its body is not as documented"),
        (Mishap::Status(502, serde_json::json!({"error": "bad_gateway"})), "HTTP 502"),
    ] {
        sts.fail(Some(mishap));
        let error = error_at(&sts, None).await;
        assert!(error.to_string().starts_with(&format!("AWS STS does not answer: {said}")), "{error}");
    }
    drop(sts);
}
