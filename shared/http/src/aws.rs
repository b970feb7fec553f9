//! The AWS SDK's settings: our HTTP client as its connector.
//!
//! | variable | meaning |
//! |---|---|
//! | `AWS_REGION`, `AWS_DEFAULT_REGION` | the region; Lambda sets the first |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | the role's credentials; Lambda sets them |
//! | `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>` | another endpoint: a local server, a VPC endpoint |
//!
//! An identity that is no access key of the environment's is `keyturn_identity::aws::Aws`, which has these settings too.
//!
//! `aws-config` is left out on purpose: with its profile, SSO and IMDS sources it costs 4 MB of binary and
//! several milliseconds of every cold start, for sources that a Lambda function does not have.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use bytes::Bytes;
use keyturn_ambient::Env;

/// How long one attempt of an AWS call may take. These calls stand in a request's way; a healthy one takes
/// milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call may take with its retries.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// Attempts in all, the first included.
const MAX_ATTEMPTS: u32 = 3;

/// Whose calls they are, and where they go.
pub struct Caller {
    /// The region.
    pub region: Option<String>,
    /// Another endpoint than the region's.
    pub endpoint: Option<String>,
    /// What they are signed with.
    pub credentials: Option<SharedCredentialsProvider>,
}

/// The endpoint that the environment has for a service, where it has one. `service` is what the AWS CLI calls it
/// (`AWS_ENDPOINT_URL_<SERVICE>`, e.g. `DYNAMODB`, `SECRETS_MANAGER`).
#[must_use]
pub fn endpoint(env: &dyn Env, service: &str) -> Option<String> {
    env.var(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| env.var("AWS_ENDPOINT_URL"))
}

/// The settings for the AWS service clients of a caller.
#[must_use]
pub fn settings(client: &reqwest::Client, caller: Caller) -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(caller.region.map(Region::new))
        .http_client(SharedHttpClient::new(Connector(client.clone())))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        );
    config.set_credentials_provider(caller.credentials);
    config.set_endpoint_url(caller.endpoint);
    config.build()
}

/// The settings for one service, with the environment's region, endpoint and access key alone: for what needs no other
/// identity.
#[must_use]
pub fn sdk_config(env: &dyn Env, client: &reqwest::Client, service: &str) -> SdkConfig {
    let key = env.var("AWS_ACCESS_KEY_ID").zip(env.var("AWS_SECRET_ACCESS_KEY"));
    let credentials = key.map(|(id, secret)| {
        let credentials = Credentials::new(id, secret, env.var("AWS_SESSION_TOKEN"), None, "environment");
        SharedCredentialsProvider::new(credentials)
    });
    let region = env.var("AWS_REGION").or_else(|| env.var("AWS_DEFAULT_REGION"));
    settings(client, Caller { region, endpoint: endpoint(env, service), credentials })
}

/// Our client in the shape the AWS SDK wants.
#[derive(Debug, Clone)]
struct Connector(reqwest::Client);

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (head, body) = request.into_parts();
            // The calls we make are JSON documents in memory; a streamed body would be a new kind of call.
            let body = body.bytes().map(Bytes::copy_from_slice);
            let body = body.ok_or_else(|| ConnectorError::user("a streamed request body".into()))?;
            let request = http::Request::from_parts(head, body);
            let request: reqwest::Request =
                request.try_into().map_err(|error: reqwest::Error| ConnectorError::user(error.into()))?;
            let response = client.execute(request).await.map_err(connector_error)?;
            let response = http::Response::<reqwest::Body>::from(response).map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Sorts a failure into the classes that the SDK's retries know.
fn connector_error(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
}
