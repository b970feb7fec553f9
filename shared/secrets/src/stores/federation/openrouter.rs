//! OpenRouter: a token exchange (RFC 8693) as a form.
//!
//! Endpoint, request and answer are those of OpenRouter's SDK (`openrouter` for Python 1.3.84, `oauth.py`) and of
//! <https://openrouter.ai/docs/guides/overview/auth/workload-identity-federation>; errors are RFC 6749's, with 400, 429,
//! 500 or 503. A token lasts 15 minutes at most, and never longer than the token that was brought. The audience is the
//! operator's choice; it has to stand in the federation policy.

use std::time::Duration;

use keyturn_config::Federation;
use keyturn_http::call::Call;
use secrecy::{ExposeSecret, SecretString};

use super::exchange::{Exchange, JWT, TOKEN_EXCHANGE};

pub(super) static OPENROUTER: Exchange = Exchange {
    name: "openrouter",
    url: "https://openrouter.ai/api/v1/oauth/token",
    audience: "https://openrouter.ai",
    lasts: Duration::from_secs(900),
    request,
};

fn request<'a>(call: Call<'a>, ids: &Federation, subject: &SecretString) -> Call<'a> {
    call.form(&[
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject.expose_secret()),
        ("subject_token_type", JWT),
        ("federation_policy_id", ids.id("federation_policy_id").unwrap_or_default()),
    ])
}
