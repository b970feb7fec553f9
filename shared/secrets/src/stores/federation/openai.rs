//! OpenAI: a token exchange (RFC 8693) in JSON.
//!
//! Endpoint, request and answer are those of OpenAI's SDK (`openai` for Python 3.57, `auth/_workload.py`) and of
//! <https://developers.openai.com/api/reference/workload-identity-federation>; it refuses with 400, 401 or 403 and
//! `{"error": "invalid_grant" | "invalid_subject_token", …}`. The audience is what the provider is set up with:
//! <https://developers.openai.com/api/docs/guides/workload-identity-federation/aws> has it so, with tokens of 300
//! seconds. How long an access token lasts is not documented; the answer says.

use std::time::Duration;

use keyturn_config::Federation;
use keyturn_http::call::Call;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::exchange::{Exchange, JWT, TOKEN_EXCHANGE};

pub(super) static OPENAI: Exchange = Exchange {
    name: "openai",
    url: "https://auth.openai.com/oauth/token",
    audience: "https://api.openai.com/v1",
    lasts: Duration::from_secs(300),
    request,
};

fn request<'a>(call: Call<'a>, ids: &Federation, subject: &SecretString) -> Call<'a> {
    call.json(&json!({
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject.expose_secret(),
        "subject_token_type": JWT,
        "identity_provider_id": ids.id("identity_provider_id"),
        "service_account_id": ids.id("service_account_id"),
    }))
}
