//! Roles: what is asked for them, and how long their sessions are kept.

use futures_util::future::join_all;
use keyturn_identity::IdentityError;
use keyturn_identity::aws::Role;
use keyturn_tests::fake::Mishap;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::rig::{ROLE, Sts, fields, of_stores};

#[tokio::test]
async fn a_role_is_asked_for_with_its_settings_by_the_key_that_we_have() {
    let sts = Sts::start().await;
    let aws = sts.of_stores(&[
        ("KEYTURN_AWS_ROLE_NAME", ROLE),
        ("KEYTURN_AWS_SESSION_NAME", "gateway"),
        ("KEYTURN_AWS_EXTERNAL_ID", "outside"),
    ]);
    assert_eq!(sts.calls(), 0, "nothing is asked before it is needed");
    let key = aws.access_key().await.unwrap();
    assert_eq!((&*key.id, key.secret.expose_secret()), ("ASIA1", "secret/1"));
    assert_eq!(key.session.unwrap().expose_secret(), "session+1");
    let asked = &sts.fake.asked()[0];
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
    assert!(asked.header("authorization").contains("Credential=AKIDOWN/20261201/eu-west-1/sts/aws4_request"));
    let fields = fields(asked);
    for (name, value) in [
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "gateway"),
        ("ExternalId", "outside"),
    ] {
        assert_eq!(fields[name], value);
    }
    assert_eq!(fields.len(), 5);
}

#[tokio::test]
async fn a_token_opens_a_role_without_a_key_and_is_read_anew_each_time() {
    let sts = Sts::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let file = path.to_string_lossy().into_owned();
    let litellms = format!("oidc/file/{file}");
    let without =
        [("AWS_ACCESS_KEY_ID", ""), ("KEYTURN_AWS_ROLE_NAME", ROLE), ("FILE", &file), ("T", "in-env")];
    for (number, (token, expected)) in [
        (file.as_str(), "token-0"),
        (litellms.as_str(), "token-1"),
        ("oidc/env_path/FILE", "token-2"),
        ("oidc/env/T", "in-env"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&path, format!("token-{number}\n")).unwrap();
        let aws = sts.of_stores(&[&without[..], &[("KEYTURN_AWS_WEB_IDENTITY_TOKEN", token)]].concat());
        aws.access_key().await.unwrap();
        let asked = sts.fake.asked().pop().unwrap();
        assert_eq!(asked.header("authorization"), "", "{token}");
        let fields = fields(&asked);
        for (name, value) in [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", ROLE),
            ("RoleSessionName", "keyturn"),
            ("WebIdentityToken", expected),
        ] {
            assert_eq!(fields[name], value, "{token}");
        }
    }
    // The same by the variables that Kubernetes sets.
    let irsa = [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &*file),
        ("AWS_ROLE_SESSION_NAME", "pod"),
    ];
    let aws = sts.of_stores(&irsa);
    for token in ["one", "two"] {
        std::fs::write(&path, token).unwrap();
        aws.access_key().await.unwrap();
        let fields = fields(&sts.fake.asked().pop().unwrap());
        assert_eq!((&*fields["WebIdentityToken"], &*fields["RoleSessionName"]), (token, "pod"));
        sts.pass(3600);
    }
}

#[tokio::test]
async fn one_role_may_lead_to_another() {
    let sts = Sts::start().await;
    let aws = sts.of_stores(&[("KEYTURN_AWS_ROLE_NAME", ROLE)]);
    let next = aws.assuming(Role { arn: format!("{ROLE}-of-theirs"), ..Role::default() });
    assert_eq!(next.access_key().await.unwrap().id, "ASIA2");
    let asked = sts.fake.asked();
    assert!(asked[1].header("authorization").contains("Credential=ASIA1/"));
    assert_eq!(asked[1].header("x-amz-security-token"), "session+1");
}

#[tokio::test]
async fn a_session_is_kept_in_every_region_and_renewed_before_its_end() {
    let sts = Sts::start().await;
    let aws = sts.of_stores(&[("KEYTURN_AWS_ROLE_NAME", ROLE)]);
    let id = async || aws.access_key().await.map(|key| key.id);
    assert_eq!(id().await.unwrap(), "ASIA1");
    assert_eq!(aws.in_region("us-east-1").access_key().await.unwrap().id, "ASIA1");
    sts.pass(3000);
    assert_eq!(id().await.unwrap(), "ASIA1");
    // Five and a half minutes before the hour is over.
    sts.pass(270);
    assert_eq!(id().await.unwrap(), "ASIA2");
    assert_eq!(sts.calls(), 2);
    // While it cannot be renewed it serves to its end.
    sts.pass(3300);
    sts.fake.fail(Some(Mishap::Status(503, json!({}))));
    assert_eq!(id().await.unwrap(), "ASIA2");
    sts.pass(300);
    assert!(matches!(id().await, Err(IdentityError::Unavailable { .. })));
    sts.fake.fail(None);
    assert_eq!(id().await.unwrap(), "ASIA3");
}

#[tokio::test]
async fn a_crowd_asks_once() {
    let sts = Sts::start().await;
    let aws = sts.of_stores(&[("KEYTURN_AWS_ROLE_NAME", ROLE)]);
    let crowd = async || join_all((0..200).map(|_| aws.access_key())).await;
    assert!(crowd().await.into_iter().all(|key| key.unwrap().id == "ASIA1"));
    assert_eq!(sts.calls(), 1);
    sts.pass(3300);
    for key in crowd().await {
        assert!(["ASIA1", "ASIA2"].contains(&&*key.unwrap().id));
    }
    assert_eq!(sts.calls(), 2);
}

#[tokio::test]
async fn a_session_that_was_refused_is_forgotten_and_no_other_one() {
    let sts = Sts::start().await;
    let aws = sts.of_stores(&[("KEYTURN_AWS_ROLE_NAME", ROLE)]);
    let id = async || aws.access_key().await.unwrap().id;
    assert_eq!(id().await, "ASIA1");
    assert!(aws.refused(Some("ASIA0")));
    assert_eq!(id().await, "ASIA1");
    assert!(aws.refused(Some("ASIA1")));
    assert_eq!(id().await, "ASIA2");
    assert!(aws.refused(None));
    assert_eq!(id().await, "ASIA3");
    let own = sts.of_stores(&[]);
    assert!(!own.refused(Some("AKIDOWN")) && !own.refused(None));
    assert_eq!(own.access_key().await.unwrap().id, "AKIDOWN");
}

#[tokio::test]
async fn settings_that_are_wrong_are_named() {
    let role = ("KEYTURN_AWS_ROLE_NAME", ROLE);
    let token = |text| ("KEYTURN_AWS_WEB_IDENTITY_TOKEN", text);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("empty"), "\n").unwrap();
    let empty = directory.path().join("empty").to_string_lossy().into_owned();
    for (variables, said) in [
        (&[][..], "AWS_ACCESS_KEY_ID is not set, and no other AWS credentials are"),
        (&[token("/t")], "KEYTURN_AWS_WEB_IDENTITY_TOKEN needs a role: KEYTURN_AWS_ROLE_NAME"),
        (&[("KEYTURN_AWS_EXTERNAL_ID", "x")], "KEYTURN_AWS_EXTERNAL_ID needs a role: KEYTURN_AWS_ROLE_NAME"),
        (&[role, token("/nonexistent/t")], "aws_web_identity_token names a file that cannot be read"),
        (&[role, token(&empty)], "aws_web_identity_token names a token that is empty"),
        (&[role, token("oidc/env/UNSET")], "aws_web_identity_token names a variable that is not set"),
        (
            &[role, token("oidc/google/aud")],
            "aws_web_identity_token must be a file, or begin with oidc/file/, oidc/env_path/ or oidc/env/",
        ),
        (
            &[role, token("/t"), ("KEYTURN_AWS_EXTERNAL_ID", "x")],
            "aws_external_id has no place where a token opens the role: aws_web_identity_token",
        ),
        (
            &[
                role,
                ("KEYTURN_AWS_STS_ENDPOINT", "sts"),
                ("AWS_ACCESS_KEY_ID", "a"),
                ("AWS_SECRET_ACCESS_KEY", "b"),
            ],
            "aws_sts_endpoint is not the address of a service",
        ),
    ] {
        let error = of_stores(variables).access_key().await.unwrap_err();
        assert!(matches!(error, IdentityError::Setting { .. }), "{error:?}");
        assert_eq!(error.to_string(), said);
    }
}
