//! AWS's access keys: a moto server that authenticates, and clients that sign with the pair in the secret.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use keyturn_tests::http::{Answer, Client};
use keyturn_tests::moto::{Moto, REGION};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fleet::{Fleet, Held};
use crate::lane::{Lane, Secret};

/// The secret.
pub(crate) const NAME: &str = "prove/aws";
/// The user whose keys are rotated.
const USER: &str = "bedrock";
/// The calls below that come before anybody has a key.
const WITHOUT_KEY: &str = "5";
/// A client's pause: the server is one interpreter, and everything else waits for it too.
const PAUSE: Duration = Duration::from_millis(40);

/// An access key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// IAM and STS, and their administrator.
pub(crate) struct Accounts {
    pub(crate) moto: Moto,
    pub(crate) admin: Pair,
    first: Pair,
}

/// A call of the query protocol.
async fn ask(url: &str, service: &str, pair: &Pair, fields: &[(&str, &str)]) -> Answer {
    let version = if service == "iam" { "2010-05-08" } else { "2011-06-15" };
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let body = format!("Version={version}&{}", fields.join("&"));
    let url = format!("{url}/");
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let kind = "application/x-www-form-urlencoded";
    let identity = Credentials::new(&pair.id, &pair.secret, None, None, "test").into();
    #[expect(clippy::disallowed_methods, reason = "signatures have the time of day")]
    let now = SystemTime::now();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let headers = [("host", host), ("content-type", kind)];
    let request =
        SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
            .unwrap();
    let (signed, _) = sign(request, &parameters).unwrap().into_parts();
    let mut headers = headers.to_vec();
    headers.extend(signed.headers());
    Client::default().send(http::Method::POST, &url, &headers, body.clone()).await
}

/// The text of an element of XML.
fn element<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let after = xml.split(open.as_str()).skip(1);
    after.filter_map(|rest| rest.split(close.as_str()).next()).collect()
}

impl Accounts {
    pub(crate) async fn start() -> Self {
        let moto =
            Moto::start_leading("http://127.0.0.1:9", &[("INITIAL_NO_AUTH_ACTION_COUNT", WITHOUT_KEY)]).await;
        let nobody = Pair { id: "AKIANOBODY".to_owned(), secret: "none".to_owned() };
        let url = moto.direct_url().to_owned();
        let iam = async |fields: &[(&str, &str)]| {
            let answer = ask(&url, "iam", &nobody, fields).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.text()
        };
        let key = async |user: &str| {
            let made = iam(&[("Action", "CreateAccessKey"), ("UserName", user)]).await;
            let one = |name: &str| element(&made, name)[0].to_owned();
            Pair { id: one("AccessKeyId"), secret: one("SecretAccessKey") }
        };
        iam(&[("Action", "CreateUser"), ("UserName", "admin")]).await;
        let all = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
                   %22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", "admin"),
            ("PolicyName", "all"),
            ("PolicyDocument", all),
        ])
        .await;
        let admin = key("admin").await;
        iam(&[("Action", "CreateUser"), ("UserName", USER)]).await;
        let first = key(USER).await;
        Self { moto, admin, first }
    }

    /// What the secret holds at first. Rotation goes through a proxy at `base`.
    pub(crate) fn secret(&self, base: &str) -> Value {
        json!({"AWS_ACCESS_KEY_ID": self.first.id, "AWS_SECRET_ACCESS_KEY": self.first.secret,
            "keyturn:rotator": "aws_iam_access_key", "keyturn:user": USER, "keyturn:test_pause": "20ms",
            "keyturn:iam_base": base, "keyturn:sts_base": base})
    }

    /// Asserts that the user has the current key alone, and that it works.
    pub(crate) async fn must_be_settled(&self, secrets: &Moto) {
        let current = pair(&secrets.read_secret(NAME).await);
        let url = self.moto.direct_url();
        let fields = [("Action", "ListAccessKeys"), ("UserName", USER)];
        let listed = ask(url, "iam", &self.admin, &fields).await.text();
        assert_eq!(element(&listed, "AccessKeyId"), [current.id.as_str()], "access keys are left behind");
        assert_eq!(element(&listed, "Status"), ["Active"]);
        assert_eq!(who(url, &current).await.status, 200, "the current access key does not work");
        let former = who(url, &self.first).await;
        assert_eq!(former.status, 403, "the server authenticates nobody: {}", former.text());
    }
}

fn pair(secret: &str) -> Pair {
    let secret: Value = serde_json::from_str(secret).unwrap();
    let text = |name: &str| secret[name].as_str().unwrap().to_owned();
    Pair { id: text("AWS_ACCESS_KEY_ID"), secret: text("AWS_SECRET_ACCESS_KEY") }
}

async fn who(url: &str, pair: &Pair) -> Answer {
    ask(url, "sts", pair, &[("Action", "GetCallerIdentity")]).await
}

/// A client that asks who it is, again and again.
pub(crate) async fn client(accounts: &Accounts, lane: &Lane, fleet: &Fleet) {
    assert_eq!(lane.secret, Secret::Led(NAME.to_owned()));
    let mut held = Held::new(NAME);
    while !fleet.stop.load(Ordering::Relaxed) {
        let pair = pair(&held.value(&fleet.moto).await);
        let (phase, began) = (lane.phase(), Instant::now());
        let answer = who(accounts.moto.direct_url(), &pair).await;
        let time = began.elapsed();
        lane.tally.note(|counts| match answer.status {
            200 => counts.times.entry(phase).or_default().push(time),
            status => counts.failed.push(format!("{status} {}", answer.text())),
        });
        tokio::time::sleep(PAUSE).await;
    }
}
