//! Anthropic: an assertion (RFC 7523) in JSON.
//!
//! Endpoint, headers, request and answer are those of Anthropic's SDK (`anthropic` for Python 2.14,
//! `lib/credentials/_workload.py`) and of <https://platform.claude.com/docs/en/manage-claude/wif-reference>. The scope
//! is the rule's. An assertion is taken once, by its `jti`, unless the issuer is set up otherwise. A token lasts as long
//! as the rule says, an hour by default, and at most twice as long as is left to the assertion (the SDK's
//! `FederationRule.token_lifetime_seconds`): hence half an hour for that, within the hour that an issuer allows by
//! default. The audience is what Anthropic expects where the rule names none; that it is this one was found in public
//! set-ups, and in no documentation that could be read: name it in the rule.

use std::time::Duration;

use keyturn_config::Federation;
use keyturn_http::call::Call;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::exchange::Exchange;

pub(super) static ANTHROPIC: Exchange = Exchange {
    name: "anthropic",
    url: "https://api.anthropic.com/v1/oauth/token",
    audience: "https://api.anthropic.com",
    lasts: Duration::from_secs(1800),
    request,
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn request<'a>(call: Call<'a>, ids: &Federation, subject: &SecretString) -> Call<'a> {
    let grant = [("grant_type", GRANT), ("assertion", subject.expose_secret())];
    let fields = grant.into_iter().chain(ids.ids());
    let body: Map<String, Value> = fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
    call.header("anthropic-beta", "oauth-2025-04-20,oidc-federation-2026-04-01").json(&body)
}
