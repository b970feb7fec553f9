//! The agent of a container's host, which hands out the credentials of the container's role: ECS, EKS Pod Identity.
//!
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>

use std::fs;

use jiff::Timestamp;
use keyturn_ambient::Env;
use keyturn_http::call::{Call, is_private};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};

use super::AccessKey;
use super::answers::Credentials;
use crate::{Granted, IdentityError};

/// What the agent is called in errors.
const AGENT: &str = "the container's credentials agent";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
/// The agents' own addresses, besides the loopback: ECS's, EKS's.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// Where the agent is.
#[derive(Clone)]
pub(super) struct Container {
    variable: &'static str,
    url: String,
    token: Option<SecretString>,
    token_file: Option<String>,
}

impl Container {
    pub(super) fn from_env(env: &dyn Env) -> Option<Self> {
        let relative = env.var(RELATIVE).map(|path| (RELATIVE, format!("http://169.254.170.2{path}")));
        let (variable, url) = relative.or_else(|| Some((FULL, env.var(FULL)?)))?;
        Some(Self {
            variable,
            url,
            token: env.var("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(SecretString::from),
            token_file: env.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        })
    }

    pub(super) async fn fetch(
        &self,
        http: &reqwest::Client,
        now: Timestamp,
    ) -> Result<Granted<AccessKey>, IdentityError> {
        let url = self.url()?;
        let call = Call::new(http, Method::GET, url).within(crate::LIMIT);
        let token = match &self.token_file {
            None => self.token.clone(),
            Some(path) => {
                let setting = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
                let text = fs::read_to_string(path);
                let text =
                    text.map_err(|_| IdentityError::setting(setting, "names a file that cannot be read"))?;
                Some(SecretString::from(text.trim()))
            }
        };
        let call = match &token {
            None => call,
            Some(token) => call.put_secret(http::header::AUTHORIZATION, token.expose_secret()).hiding(token),
        };
        let answer = call.answer().await.map_err(|error| IdentityError::of_call(AGENT, &error))?;
        if !answer.status().is_success() {
            return Err(IdentityError::of_answer(AGENT, &answer));
        }
        let credentials: Credentials =
            answer.read().map_err(|error| IdentityError::of_call(AGENT, &error))?;
        credentials.granted(AGENT, now)
    }

    /// The address. Over plain HTTP credentials are taken from this machine and from the agents only.
    fn url(&self) -> Result<Url, IdentityError> {
        let wrong = |problem| IdentityError::setting(self.variable, problem);
        let url = Url::parse(&self.url).map_err(|_| wrong("is no address"))?;
        let host = url.host_str().unwrap_or_default();
        if is_private(&url) || url.scheme() == "http" && AGENTS.contains(&host) {
            return Ok(url);
        }
        Err(wrong("must begin with https://, unless it is on this machine or an agent's"))
    }
}
