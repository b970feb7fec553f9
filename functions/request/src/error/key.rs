//! What is said of a key: LiteLLM's statuses, types and messages.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use keyturn_keys::KeyError;

use super::{Told, auth, ours};

pub(super) fn name(error: &KeyError) -> &'static str {
    match error {
        KeyError::NotFound => "unknown_key",
        KeyError::Blocked => "key_blocked",
        KeyError::Expired { .. } => "key_expired",
        KeyError::ModelDenied { .. } => "model_denied",
        KeyError::BudgetExceeded { .. } => "budget_exceeded",
        KeyError::RateLimited { .. } => "rate_limited",
        KeyError::Duplicate { .. } => "duplicate_key",
        KeyError::Invalid { .. } => "invalid_key",
        KeyError::Unavailable(_) => "key_store_unavailable",
    }
}

fn unknown(hash: &str) -> Told {
    Told {
        param: Some("key".to_owned()),
        ..auth(
            "token_not_found_in_db",
            format!(
                "Authentication Error, Invalid proxy server token passed. Key Hash (Token) ={hash}. Unable to find token in cache or the key table."
            ),
        )
    }
}

pub(super) fn told(hash: &str, error: KeyError, now: Timestamp) -> Told {
    match error {
        KeyError::NotFound => unknown(hash),
        KeyError::Blocked => auth(
            "auth_error",
            "Authentication Error, Key is blocked. Update via `/key/unblock` if you are an admin.",
        ),
        KeyError::Expired { at } => Told {
            param: Some("key".to_owned()),
            ..auth("expired_key", format!("Authentication Error - Expired Key. Key Expiry time {at}."))
        },
        KeyError::ModelDenied { model, allowed } => Told {
            status: StatusCode::FORBIDDEN,
            kind: "key_model_access_denied",
            code: Some("403".to_owned()),
            param: Some("model".to_owned()),
            message: format!(
                "key not allowed to access model. This key can only access models={allowed:?}. Tried to access {model}"
            ),
            headers: HeaderMap::new(),
        },
        KeyError::BudgetExceeded { spend, max_budget } => Told {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            kind: "budget_exceeded",
            code: Some("422".to_owned()),
            param: None,
            message: format!("Budget has been exceeded! Current cost: {spend}, Max budget: {max_budget}"),
            headers: HeaderMap::new(),
        },
        KeyError::RateLimited { limit_type, limit, remaining, resets_at } => {
            let wait = resets_at.duration_since(now).as_secs().max(1);
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from(wait));
            for (name, value) in
                [("rate_limit_type", limit_type.to_string()), ("reset_at", resets_at.to_string())]
            {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(name, value);
                }
            }
            Told {
                status: StatusCode::TOO_MANY_REQUESTS,
                kind: "rate_limit_error",
                code: Some("429".to_owned()),
                param: None,
                message: format!(
                    "Rate limit exceeded for api_key: {hash}. Limit type: {limit_type}. Current limit: {limit}, Remaining: {remaining}. Limit resets at: {resets_at}"
                ),
                headers,
            }
        }
        // Only making a key can meet these, and no route here makes one.
        KeyError::Duplicate { .. } | KeyError::Invalid { .. } => ours("The key store refused the request."),
        KeyError::Unavailable(_) => ours("The gateway's key store is unavailable."),
    }
}
