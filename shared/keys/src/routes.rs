//! Which routes a key may call: its `allowed_routes`, or what its type stands for, with LiteLLM's meaning
//! (`litellm/proxy/auth/route_checks.py`).

use crate::models::matches;
use crate::virtual_key::{KeyType, VirtualKey};

/// Everything that calls a model.
const LLM_API_ROUTES: &str = "llm_api_routes";
/// The management API.
const MANAGEMENT_ROUTES: &str = "management_routes";
/// The part of it that only reads.
const INFO_ROUTES: &str = "info_routes";

/// The first segments of the management API's paths.
const MANAGEMENT: [&str; 6] = ["key", "team", "user", "budget", "spend", "global"];

/// What only reads.
const INFO: [&str; 17] = [
    "/key/info",
    "/v2/key/info",
    "/key/list",
    "/key/aliases",
    "/key/health",
    "/team/info",
    "/team/list",
    "/user/info",
    "/user/list",
    "/budget/info",
    "/budget/list",
    "/spend/keys",
    "/spend/logs",
    "/spend/tags",
    "/global/spend/report",
    "/v1/models",
    "/models",
];

impl VirtualKey {
    /// The routes that the key may call: what it lists, or the groups that its type stands for.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        if !self.allowed_routes.is_empty() {
            return self.allowed_routes.clone();
        }
        self.groups().iter().map(ToString::to_string).collect()
    }

    /// Whether the key may call the route with this path.
    #[must_use]
    pub fn may_call(&self, path: &str) -> bool {
        let path = normal(path);
        if self.allowed_routes.is_empty() {
            return self.groups().iter().any(|group| is_in(group, &path));
        }
        self.allowed_routes
            .iter()
            .any(|entry| is_in(entry, &path) || is_at_or_under(&path, entry) || matches(entry, &path))
    }

    fn groups(&self) -> &'static [&'static str] {
        match self.key_type {
            KeyType::Default => &[LLM_API_ROUTES, INFO_ROUTES],
            KeyType::LlmApi => &[LLM_API_ROUTES],
            KeyType::Management => &[MANAGEMENT_ROUTES],
            KeyType::ReadOnly => &[INFO_ROUTES],
        }
    }
}

/// Whether a path belongs to a group; a name that is none has no paths.
fn is_in(group: &str, path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let management = match segments.next() {
        Some("v2") => segments.next() == Some("key"),
        first => first.is_some_and(|first| MANAGEMENT.contains(&first)),
    };
    match group {
        LLM_API_ROUTES => !management,
        MANAGEMENT_ROUTES => management,
        INFO_ROUTES => INFO.iter().any(|route| is_at_or_under(path, route)),
        _ => false,
    }
}

fn is_at_or_under(path: &str, route: &str) -> bool {
    !route.is_empty() && path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path without empty segments, as the gateway reads it.
fn normal(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use secrecy::SecretString;

    use crate::hash::KeyHash;

    use super::*;

    fn key(key_type: &str, allowed_routes: &[&str]) -> VirtualKey {
        serde_json::from_value(serde_json::json!({
            "id": KeyHash::of(&SecretString::from("sk-1")), "key_name": "sk-...sk-1", "hashes": {},
            "key_type": key_type, "allowed_routes": allowed_routes,
            "created_at": Timestamp::UNIX_EPOCH, "updated_at": Timestamp::UNIX_EPOCH,
        }))
        .unwrap()
    }

    #[test]
    fn a_type_stands_for_groups() {
        const ROUTES: [&str; 5] =
            ["/v1/chat/completions", "/v1/models", "/key/info", "/key/generate", "/v2/key/info"];
        for (key_type, expected) in [
            ("default", [true, true, true, false, true]),
            ("llm_api", [true, true, false, false, false]),
            ("management", [false, false, true, true, true]),
            ("read_only", [false, true, true, false, true]),
        ] {
            assert_eq!(ROUTES.map(|route| key(key_type, &[]).may_call(route)), expected, "{key_type}");
        }
    }

    #[test]
    fn a_list_counts_instead_of_the_type() {
        for (entry, route, yes) in [
            ("/v1/chat/completions", "/v1/chat/completions", true),
            ("/v1/chat/completions", "//v1/chat//completions/", true),
            ("/v1/chat/completions", "/v1/chat/completionsx", false),
            ("/v1/chat", "/v1/chat/completions", true),
            ("/v1/chat/completions", "/chat/completions", false),
            ("/v1/*", "/v1/messages", true),
            ("/v1/*", "/v2/key/info", false),
            ("llm_api_routes", "/engines/a/b/chat/completions", true),
            ("llm_api_routes", "/key/generate", false),
            ("management_routes", "/team/new", true),
            ("info_routes", "/v1/models/gpt-4o", true),
            ("nonsense", "/v1/messages", false),
            ("", "/v1/messages", false),
            ("/", "/v1/messages", false),
        ] {
            assert_eq!(key("llm_api", &[entry]).may_call(route), yes, "{entry} {route}");
        }
        assert_eq!(key("management", &["/v1/*"]).routes(), ["/v1/*"]);
        assert_eq!(key("management", &[]).routes(), ["management_routes"]);
    }
}
