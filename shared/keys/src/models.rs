//! A key's model allow-list, with LiteLLM's meaning (`litellm/proxy/auth/auth_checks.py`).

/// The entry that allows every model the gateway serves.
const ALL_PROXY_MODELS: &str = "all-proxy-models";

/// The entry of a key that leaves the choice to its team's list.
pub(crate) const ALL_TEAM_MODELS: &str = "all-team-models";
/// The only entry of a user who may use models through teams alone.
pub(crate) const NO_DEFAULT_MODELS: &str = "no-default-models";

/// Whether `allowed` lets `model` through. An empty list allows every model, and so does `all-proxy-models`;
/// an entry is a model's name, or a pattern in which `*` stands for any text (`openai/*`, `*`).
pub(crate) fn allows(allowed: &[String], model: &str) -> bool {
    allowed.is_empty()
        || allowed.iter().any(|entry| entry == ALL_PROXY_MODELS || entry == model || matches(entry, model))
}

/// Whether `text` has the form of `pattern`. Each literal part is searched for once, from where the one before
/// ended, so the time grows with the text and not with the number of ways to match.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(prefix) else { return false };
    let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &[&str], model: &str) -> bool {
        allows(&list.iter().map(ToString::to_string).collect::<Vec<_>>(), model)
    }

    #[test]
    fn an_empty_list_and_the_two_words_for_all_allow_every_model() {
        for list in [&[][..], &["all-proxy-models"], &["*"], &["other", "*"]] {
            assert!(allowed(list, "openai/gpt-4o"), "{list:?}");
        }
    }

    #[test]
    fn a_name_allows_itself_only() {
        assert!(allowed(&["a", "gpt-4o"], "gpt-4o"));
        for model in ["gpt-4", "gpt-4o-mini", "openai/gpt-4o", "", "GPT-4o"] {
            assert!(!allowed(&["gpt-4o"], model), "{model}");
        }
        // A dot is a dot, not "any character".
        assert!(!allowed(&["gpt-4.*"], "gpt-4x1"));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, model, yes) in [
            ("openai/*", "openai/gpt-4o", true),
            ("openai/*", "openai/", true),
            ("openai/*", "azure/openai/gpt", false),
            ("bedrock/us.*", "bedrock/us.amazon.nova", true),
            ("bedrock/us.*", "bedrock/eu.amazon.nova", false),
            ("*-mini", "gpt-4o-mini", true),
            ("*-mini", "gpt-4o-mini-high", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
            ("*é*", "caféine", true),
        ] {
            assert_eq!(allowed(&[pattern], model), yes, "{pattern} {model}");
        }
    }
}
