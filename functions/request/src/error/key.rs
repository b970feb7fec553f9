//! What is said of a key: LiteLLM's statuses, types and messages.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use keyturn_keys::{Holder, KeyError};

use super::{Told, auth, ours};

pub(super) fn name(error: &KeyError) -> &'static str {
    match error {
        KeyError::NotFound => "unknown_key",
        KeyError::Blocked => "key_blocked",
        KeyError::TeamBlocked { .. } => "team_blocked",
        KeyError::RouteDenied { .. } => "route_denied",
        KeyError::Expired { .. } => "key_expired",
        KeyError::ModelDenied { .. } => "model_denied",
        KeyError::BudgetExceeded { .. } => "budget_exceeded",
        KeyError::RateLimited { .. } => "rate_limited",
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
        KeyError::TeamBlocked { team_id } => auth(
            "auth_error",
            format!(
                "Authentication Error, Team={team_id} is blocked. Update via `/team/unblock` if your admin."
            ),
        ),
        KeyError::RouteDenied { route, allowed } => forbidden(
            "auth_error",
            None,
            format!(
                "Virtual key is not allowed to call this route. Only allowed to call routes: {allowed:?}. Tried to call route: {route}"
            ),
        ),
        KeyError::ModelDenied { holder, model, allowed } => {
            let kind = match &holder {
                Holder::Key => "key_model_access_denied",
                Holder::Team(_) => "team_model_access_denied",
                Holder::User(_) => "user_model_access_denied",
            };
            let word = holder.word();
            forbidden(
                kind,
                Some("model"),
                format!(
                    "{word} not allowed to access model. This {word} can only access models={allowed:?}. Tried to access {model}"
                ),
            )
        }
        KeyError::BudgetExceeded { holder, model, spend, max_budget, .. } => Told {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            kind: "budget_exceeded",
            code: Some("422".to_owned()),
            param: None,
            message: over_budget(&holder, model.as_deref(), spend, max_budget),
            headers: HeaderMap::new(),
        },
        KeyError::RateLimited { holder, model, limit_type, limit, remaining, resets_at } => {
            // A request under way may end at any time.
            let wait = resets_at.map_or(1, |at| at.duration_since(now).as_secs().max(1));
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from(wait));
            let reset = resets_at.map(|at| at.to_string());
            for (name, value) in
                [("rate_limit_type", Some(limit_type.to_string())), ("reset_at", reset.clone())]
            {
                if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                    headers.insert(name, value);
                }
            }
            let reset = reset.unwrap_or_else(|| "the end of a request under way".to_owned());
            let whose = whose(&holder, hash);
            let model = model.map(|model| format!(", model: {model}")).unwrap_or_default();
            Told {
                status: StatusCode::TOO_MANY_REQUESTS,
                kind: "rate_limit_error",
                code: Some("429".to_owned()),
                param: None,
                message: format!(
                    "Rate limit exceeded for {whose}{model}. Limit type: {limit_type}. Current limit: {limit}, Remaining: {remaining}. Limit resets at: {reset}"
                ),
                headers,
            }
        }
        KeyError::Unavailable(_) => ours("The gateway's key store is unavailable."),
    }
}

fn forbidden(kind: &'static str, param: Option<&str>, message: String) -> Told {
    Told {
        status: StatusCode::FORBIDDEN,
        kind,
        code: Some("403".to_owned()),
        param: param.map(str::to_owned),
        message,
        headers: HeaderMap::new(),
    }
}

/// Whose limit it is, as LiteLLM names it.
fn whose(holder: &Holder, hash: &str) -> String {
    match holder {
        Holder::Key => format!("api_key: {hash}"),
        Holder::Team(id) => format!("team: {id}"),
        Holder::User(id) => format!("user: {id}"),
    }
}

fn over_budget(holder: &Holder, model: Option<&str>, spend: f64, max_budget: f64) -> String {
    let cost = format!("Current cost: {spend}, Max budget: {max_budget}");
    let model = model.map(|model| format!(" Model={model}")).unwrap_or_default();
    match holder {
        Holder::Key => format!("Budget has been exceeded!{model} {cost}"),
        Holder::Team(id) => format!("Budget has been exceeded! Team={id}{model} {cost}"),
        Holder::User(id) => format!("Budget has been exceeded! User={id}{model} {cost}"),
    }
}

#[cfg(test)]
mod tests {
    use keyturn_keys::LimitType;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn tell(error: KeyError) -> Told {
        told("abc", error, now())
    }

    #[test]
    fn a_limit_is_told_with_its_holder_and_when_to_come_again() {
        let limited =
            |holder, model: Option<&str>, limit_type, resets_at: Option<&str>| KeyError::RateLimited {
                holder,
                model: model.map(str::to_owned),
                limit_type,
                limit: 5,
                remaining: 0,
                resets_at: resets_at.map(|at| at.parse().unwrap()),
            };
        let minute = Some("2026-11-20T12:00:30Z");
        for (error, whose, kind, reset, wait) in [
            (
                limited(Holder::Key, None, LimitType::Requests, minute),
                "api_key: abc",
                "requests",
                minute,
                "30",
            ),
            (
                limited(Holder::Team("blue".to_owned()), None, LimitType::Tokens, minute),
                "team: blue",
                "tokens",
                minute,
                "30",
            ),
            (
                limited(Holder::User("ann".to_owned()), Some("gpt-4o"), LimitType::Parallel, None),
                "user: ann, model: gpt-4o",
                "max_parallel_requests",
                None,
                "1",
            ),
        ] {
            let told = tell(error);
            assert_eq!((told.status, told.kind), (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"));
            let end = reset.unwrap_or("the end of a request under way");
            let expected = format!(
                "Rate limit exceeded for {whose}. Limit type: {kind}. Current limit: 5, Remaining: 0. Limit resets at: {end}"
            );
            assert_eq!(told.message, expected);
            assert_eq!(told.headers[RETRY_AFTER], wait);
            assert_eq!(told.headers["rate_limit_type"], kind);
            assert_eq!(told.headers.get("reset_at").map(|at| at.to_str().unwrap()), reset);
        }
    }

    #[test]
    fn refusals_name_the_team_or_the_user() {
        let team = || Holder::Team("blue".to_owned());
        let over = |holder, model: Option<&str>| KeyError::BudgetExceeded {
            holder,
            model: model.map(str::to_owned),
            spend: 1.5,
            max_budget: 1.0,
            resets_at: None,
        };
        let denied = |holder| KeyError::ModelDenied {
            holder,
            model: "o3".to_owned(),
            allowed: vec!["gpt-4o".to_owned()],
        };
        for (error, status, kind, message) in [
            (
                over(team(), None),
                422,
                "budget_exceeded",
                "Budget has been exceeded! Team=blue Current cost: 1.5, Max budget: 1",
            ),
            (
                over(Holder::Key, Some("o3")),
                422,
                "budget_exceeded",
                "Budget has been exceeded! Model=o3 Current cost: 1.5, Max budget: 1",
            ),
            (
                denied(team()),
                403,
                "team_model_access_denied",
                "team not allowed to access model. This team can only access models=[\"gpt-4o\"]. Tried to access o3",
            ),
            (
                denied(Holder::User("ann".to_owned())),
                403,
                "user_model_access_denied",
                "user not allowed to access model. This user can only access models=[\"gpt-4o\"]. Tried to access o3",
            ),
            (
                KeyError::TeamBlocked { team_id: "blue".to_owned() },
                401,
                "auth_error",
                "Authentication Error, Team=blue is blocked. Update via `/team/unblock` if your admin.",
            ),
        ] {
            let told = tell(error);
            assert_eq!((told.status.as_u16(), told.kind, told.message.as_str()), (status, kind, message));
            assert_eq!(told.code, Some(status.to_string()));
        }
    }
}
