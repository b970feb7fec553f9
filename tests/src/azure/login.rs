//! The token endpoint: client credentials, by the secret.

use super::{Answer, Asked, CLIENT_SECRET, State, fields, json};

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answer {
    let refused = |status: u16, error: &str, code: u64, description: &str| {
        let description = format!("AADSTS{code}: {description} Trace ID: 1 Correlation ID: 2");
        let body = json!({"error": error, "error_description": description, "error_codes": [code]});
        Answer::json(status, &body)
    };
    if (asked.method.as_str(), asked.path.as_str()) != ("POST", "/contoso/oauth2/v2.0/token") {
        return refused(400, "invalid_request", 90_002, "Tenant not found.");
    }
    if asked.header("content-type") != "application/x-www-form-urlencoded" {
        return refused(400, "invalid_request", 900_144, "The request body must be a form.");
    }
    let sent = fields(&asked.text());
    let is = |name: &str, value: &str| sent.get(name).is_some_and(|sent| sent == value);
    if !is("grant_type", "client_credentials") || !is("scope", "https://vault.azure.net/.default") {
        return refused(400, "invalid_scope", 70_011, "The provided value for scope is not valid.");
    }
    if !is("client_id", "the-application") {
        return refused(400, "unauthorized_client", 700_016, "Application was not found.");
    }
    if !is("client_secret", CLIENT_SECRET) {
        let secret = sent.get("client_secret").cloned().unwrap_or_default();
        return refused(401, "invalid_client", 7_000_215, &format!("Invalid client secret: {secret}."));
    }
    state.made += 1;
    let token = format!("eyJ0eXAi.{:032x}.c2ln", state.made);
    state.tokens.insert(token.clone());
    Answer::json(200, &json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}))
}
