//! Microsoft Entra's token service, as far as the client credentials grant goes:
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

use serde_json::json;

use crate::rig::{Arrived, Reply};

/// The directory.
pub(crate) const TENANT: &str = "11111111-aaaa-4bbb-8ccc-222222222222";
/// The administrator's client id; its secret is [`crate::rig::ADMIN`].
pub(crate) const ADMIN_CLIENT: &str = "aaaaaaaa-0000-4000-8000-000000000001";
/// An access token.
pub(crate) const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.canary-token-5f0e";

/// Where tokens are had.
pub(crate) fn token_path() -> String {
    format!("/{TENANT}/oauth2/v2.0/token")
}

/// Answers a request for a token. `knows` says whether a client's secret is right; `scope` is the one there is.
pub(crate) fn token(arrived: &Arrived, scope: &str, knows: impl Fn(&str, &str) -> bool) -> Reply {
    let refuse = |status: u16, error: &str, code: u32, text: &str| {
        Reply::json(
            status,
            &json!({
                "error": error,
                "error_description": format!("AADSTS{code}: {text} Trace ID: 0 Correlation ID: 0"),
                "error_codes": [code],
                "timestamp": "2026-03-04 05:06:07Z",
            }),
        )
    };
    let form = arrived.form();
    let names: Vec<&str> = form.keys().map(String::as_str).collect();
    if arrived.header("content-type") != "application/x-www-form-urlencoded"
        || names != ["client_id", "client_secret", "grant_type", "scope"]
        || form["grant_type"] != "client_credentials"
    {
        return refuse(400, "invalid_request", 900_144, "The request body is wrong.");
    }
    if form["scope"] != scope {
        return refuse(400, "invalid_scope", 70011, "The provided value for scope is not valid.");
    }
    if !knows(&form["client_id"], &form["client_secret"]) {
        let text = format!("Invalid client secret provided. {}", form["client_secret"]);
        return refuse(401, "invalid_client", 7_000_215, &text);
    }
    let token =
        json!({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": TOKEN});
    Reply::json(200, &token)
}

/// The error that Azure's services answer with.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": code, "message": message}}))
}

/// A chat completion of a deployment: `gpt` chats, `o-thinking` needs more than one token, and no other is there.
pub(crate) fn completion(arrived: &Arrived) -> Reply {
    let body = match arrived.object(&["model", "messages", "max_completion_tokens"]) {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let well_formed = body["max_completion_tokens"].as_u64() == Some(1)
        && body["messages"][0]["role"] == "user"
        && body["messages"][0]["content"].as_str().is_some_and(|text| !text.is_empty());
    if !well_formed {
        return error(400, "BadRequest", "The request is wrong.");
    }
    match body["model"].as_str() {
        Some("gpt") => {
            Reply::json(200, &json!({"choices": [{"message": {"role": "assistant", "content": "."}}]}))
        }
        Some("o-thinking") => error(
            400,
            "invalid_request_error",
            "Could not finish the message because max_tokens or model output limit was reached.",
        ),
        _ => error(404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
    }
}
