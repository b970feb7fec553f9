//! The SDK's settings.

use aws_credential_types::provider::ProvideCredentials;
use futures_util::FutureExt;
use keyturn_ambient::Clock;
use keyturn_tests::fake::Mishap;
use serde_json::json;

use crate::rig::{KEY, ROLE, Sts, aws};

#[tokio::test]
async fn a_key_of_the_environment_s_is_there_at_once_and_does_not_end() {
    let more = [("AWS_SESSION_TOKEN", "session"), ("AWS_ENDPOINT_URL_DYNAMODB", "http://localhost:1")];
    let config = aws(&[&KEY[..], &more].concat()).sdk_config("DYNAMODB");
    assert_eq!(config.region().unwrap().as_ref(), "eu-west-1");
    assert_eq!(config.endpoint_url(), Some("http://localhost:1"));
    let provider = config.credentials_provider().unwrap();
    // It is not waited for.
    let key = provider.provide_credentials().now_or_never().unwrap().unwrap();
    assert_eq!((key.access_key_id(), key.secret_access_key()), ("AKIDOWN", "secret-own"));
    assert_eq!((key.session_token(), key.expiry()), (Some("session"), None));
    assert!(config.identity_cache().is_none(), "the SDK's own");
}

#[tokio::test]
async fn a_role_s_session_comes_with_its_end() {
    let sts = Sts::start().await;
    let config = sts.of_stores(&[("KEYTURN_AWS_ROLE_NAME", ROLE)]).sdk_config("SECRETS_MANAGER");
    let provider = config.credentials_provider().unwrap();
    assert_eq!(sts.calls(), 0);
    let key = provider.provide_credentials().await.unwrap();
    assert_eq!((key.access_key_id(), key.session_token()), ("ASIA1", Some("session+1")));
    let ends = key.expiry().unwrap().duration_since(sts.clock.now().into()).unwrap();
    assert_eq!(ends.as_secs(), 3570);
    assert_eq!(provider.provide_credentials().await.unwrap().access_key_id(), "ASIA1");
    assert_eq!(sts.calls(), 1);
    assert!(config.identity_cache().is_some(), "none");
    assert!(!format!("{config:?} {key:?} {provider:?}").contains("secret/1"));
}

#[tokio::test]
async fn what_is_missing_is_told_when_it_is_needed() {
    let provider = aws(&[]).sdk_config("DYNAMODB").credentials_provider().unwrap();
    let error = provider.provide_credentials().await.unwrap_err();
    assert!(keyturn_ambient::with_causes(&error).contains("AWS_ACCESS_KEY_ID is not set"), "{error:?}");
    let sts = Sts::start().await;
    sts.fake.fail(Some(Mishap::Status(503, json!({}))));
    let config = sts.of_stores(&[("KEYTURN_AWS_ROLE_NAME", ROLE)]).sdk_config("SECRETS_MANAGER");
    let error = config.credentials_provider().unwrap().provide_credentials().await.unwrap_err();
    assert!(keyturn_ambient::with_causes(&error).contains("AWS STS does not answer: HTTP 503"), "{error:?}");
}
