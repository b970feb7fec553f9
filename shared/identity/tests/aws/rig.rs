//! An STS that gives a new session at each call, by a clock that stands still.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::{Clock, Env, ManualClock};
use keyturn_identity::aws::Aws;
use keyturn_tests::fake::{Answer, Asked, Fake};

/// The role that is assumed.
pub(crate) const ROLE: &str = "arn:aws:iam::210987654321:role/reader";

/// The variables of an access key and a region.
pub(crate) const KEY: [(&str, &str); 3] =
    [("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "AKIDOWN"), ("AWS_SECRET_ACCESS_KEY", "secret-own")];

pub(crate) fn environment(variables: &[(&str, &str)]) -> Arc<dyn Env> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(variables.collect::<HashMap<_, _>>())
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at("2026-12-01T12:00:00Z".parse().unwrap()))
}

/// The environment's identity.
pub(crate) fn aws(variables: &[(&str, &str)]) -> Aws {
    let clock: Arc<dyn Clock> = clock();
    Aws::from_env(&environment(variables), &keyturn_http::client().unwrap(), &clock)
}

/// The identity that secrets are read with.
pub(crate) fn of_stores(variables: &[(&str, &str)]) -> Aws {
    let clock: Arc<dyn Clock> = clock();
    Aws::of_stores(&environment(variables), &keyturn_http::client().unwrap(), &clock)
}

/// Temporary credentials as STS writes them.
pub(crate) fn credentials(number: u32, ends: Timestamp) -> String {
    format!(
        "<Credentials>\n<AccessKeyId>ASIA{number}</AccessKeyId>\n<SecretAccessKey>secret/{number}</SecretAccessKey>\n\
         <SessionToken>session+{number}</SessionToken>\n<Expiration>{ends}</Expiration>\n</Credentials>"
    )
}

/// An answer of STS to an operation.
pub(crate) fn answer(operation: &str, result: &str) -> Answer {
    Answer(
        200,
        "text/xml",
        format!(
            "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <{operation}Result>\n\
             {result}\n<PackedPolicySize>6</PackedPolicySize></{operation}Result>\n  <ResponseMetadata>\n    \
             <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\n  </ResponseMetadata>\n\
             </{operation}Response>\n"
        )
        .into(),
    )
}

/// A refusal of STS's.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Answer {
    Answer(
        status,
        "text/xml",
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
             <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  <RequestId>1</RequestId>\n\
             </ErrorResponse>\n"
        )
        .into(),
    )
}

/// The operation that a call asks for.
pub(crate) fn operation(asked: &Asked) -> String {
    fields(asked).remove("Action").unwrap_or_default()
}

/// The fields of a form.
pub(crate) fn fields(asked: &Asked) -> HashMap<String, String> {
    form_urlencoded::parse(&asked.body).into_owned().collect()
}

/// The running STS.
pub(crate) struct Sts {
    pub(crate) fake: Fake,
    pub(crate) clock: Arc<ManualClock>,
    url: String,
}

impl Sts {
    /// Its sessions last for an hour, its tokens are `token.<number>.signature`.
    pub(crate) async fn start() -> Self {
        let clock = clock();
        let (now, given) = (Arc::clone(&clock), AtomicU32::new(0));
        let fake = Fake::start(move |asked| {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            let operation = operation(asked);
            let result = match operation.as_str() {
                "GetWebIdentityToken" => {
                    format!("<WebIdentityToken>token.{number}.signature</WebIdentityToken>")
                }
                _ => credentials(number, now.now() + SignedDuration::from_hours(1)),
            };
            answer(&operation, &result)
        })
        .await;
        let url = fake.url();
        Self { fake, clock, url }
    }

    /// The identity that secrets are read with, by this STS.
    pub(crate) fn of_stores(&self, more: &[(&str, &str)]) -> Aws {
        let variables = [&KEY[..], &[("AWS_ENDPOINT_URL_STS", &self.url)], more].concat();
        let clock: Arc<dyn Clock> = self.clock.clone();
        Aws::of_stores(&environment(&variables), &keyturn_http::client().unwrap(), &clock)
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// How many calls have come.
    pub(crate) fn calls(&self) -> usize {
        self.fake.asked().len()
    }
}
