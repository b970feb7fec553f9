//! Services that exchange somebody's token for one of their own, at an endpoint.

use std::time::Duration;

use async_trait::async_trait;
use keyturn_ambient::Life;
use keyturn_http::call::{Call, address, is_private};
use keyturn_identity::Granted;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Ask, Service, subject};
use crate::SecretError;
use crate::stores::answers;

/// RFC 8693: the grant, and what a JWT is called.
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// No token is kept for longer, whatever its service says: Anthropic's, which last longest, have a day at most.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A token endpoint.
pub(super) struct Exchange {
    /// The service's name, also in variables.
    pub(super) name: &'static str,
    pub(super) url: &'static str,
    /// Whom the token that we bring is for.
    pub(super) audience: &'static str,
    /// How long the token that we bring is good for.
    pub(super) lasts: Duration,
    /// Writes the request, save the token's hiding.
    pub(super) request: for<'a> fn(Call<'a>, &keyturn_config::Federation, &SecretString) -> Call<'a>,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Token {
    access_token: SecretString,
    /// Seconds.
    expires_in: f64,
    token_type: Option<String>,
}

#[async_trait]
impl Service for Exchange {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn grant(&self, ask: &Ask<'_>) -> Result<Granted<SecretString>, SecretError> {
        let url = self.endpoint(ask)?;
        let subject = subject::token(self, ask).await?;
        // Its life counts from before the exchange.
        let now = ask.found.clock.now();
        let call = Call::new(&ask.found.http, Method::POST, url).header("accept", "application/json");
        let call = (self.request)(call, ask.ids, &subject).hiding(&subject);
        let answer = answers::answer(ask.reference, call).await?;
        if !answer.status().is_success() {
            // An endpoint that is not there is a wrong address: there is no secret to be missing.
            return Err(match answer.status().as_u16() {
                404 | 410 => SecretError::denied(ask.reference, &answer.told()),
                _ => answers::refusal(ask.reference, &answer),
            });
        }
        let malformed = |what: &str| SecretError::malformed(ask.reference, what);
        let token: Token = answer.read().map_err(|error| malformed(&error.to_string()))?;
        if token.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(malformed("the token is no bearer token"));
        }
        if token.access_token.expose_secret().is_empty() {
            return Err(malformed("the token is empty"));
        }
        let lasts = Duration::try_from_secs_f64(token.expires_in).ok().filter(|lasts| !lasts.is_zero());
        let lasts = lasts.ok_or_else(|| malformed("the token is good for no time"))?;
        Ok(Granted { value: token.access_token, life: Life::granted(now, lasts.min(LONGEST)) })
    }
}

impl Exchange {
    /// A variable of the service's own: `KEYTURN_FEDERATION_OPENAI_…`.
    pub(super) fn variable(&self, what: &str) -> String {
        format!("KEYTURN_FEDERATION_{}_{what}", self.name.to_ascii_uppercase())
    }

    /// The endpoint. What goes there says who we are: over plain HTTP it does not leave this machine.
    fn endpoint(&self, ask: &Ask<'_>) -> Result<Url, SecretError> {
        let variable = self.variable("URL");
        let text = ask.found.env.var(&variable);
        let url = address(text.as_deref().unwrap_or(self.url));
        let url = url.ok_or_else(|| ask.setting(&variable, "is no address"))?;
        if is_private(&url) {
            return Ok(url);
        }
        Err(ask.setting(&variable, "must begin with https://, unless it is on this machine"))
    }
}
