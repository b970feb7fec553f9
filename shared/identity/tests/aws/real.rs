//! The moto server as STS: whom the sessions that it gives are taken for.

use std::sync::Arc;

use keyturn_ambient::{Clock, SystemClock};
use keyturn_identity::aws::{Aws, sign};
use keyturn_tests::moto::Moto;
use reqwest::Method;

use crate::rig::{KEY, ROLE, environment};

/// Who the server says that we are: an ARN.
async fn caller(aws: &Aws) -> String {
    let key = aws.access_key().await.unwrap();
    let service = aws.service("sts", "STS").unwrap();
    let call = service.call(Method::POST, &[]);
    let call = call.form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);
    let answer = sign(call, &key, "sts", aws.region().unwrap(), aws.now()).answer().await.unwrap();
    let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
    let (_, rest) = text.split_once("<Arn>").unwrap_or_else(|| panic!("{text}"));
    rest.split_once("</Arn>").unwrap().0.to_owned()
}

#[tokio::test]
async fn a_session_is_the_role_s() {
    let moto = Moto::start().await;
    let url = moto.url();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln").unwrap();
    let file = path.to_string_lossy().into_owned();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let http = keyturn_http::client().unwrap();
    let session = |name| format!("arn:aws:sts::210987654321:assumed-role/reader/{name}");
    let role = ("KEYTURN_AWS_ROLE_NAME", ROLE);
    let named = ("KEYTURN_AWS_SESSION_NAME", "gateway");
    let token = ("KEYTURN_AWS_WEB_IDENTITY_TOKEN", &*file);
    let no_key = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let irsa = [no_key[0], no_key[1], ("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", &*file)];
    for (more, expected) in [
        (&[][..], "arn:aws:sts::123456789012:user/moto".to_owned()),
        (&[role], session("keyturn")),
        (&[role, named], session("gateway")),
        (&[role, token, no_key[0], no_key[1]], session("keyturn")),
        (&irsa, session("keyturn")),
    ] {
        let variables = [&KEY[..], &[("AWS_ENDPOINT_URL", &url)], more].concat();
        let aws = Aws::of_stores(&environment(&variables), &http, &clock);
        assert_eq!(caller(&aws).await, expected);
    }
}
