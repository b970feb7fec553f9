//! Which model groups come next when one has failed.

use keyturn_config::Fallback;
use keyturn_providers::Refusal;

use crate::error::GatewayError;

/// The lists of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Fallbacks {
    pub(crate) general: Vec<Fallback>,
    pub(crate) context_window: Vec<Fallback>,
    pub(crate) content_policy: Vec<Fallback>,
    pub(crate) default: Vec<String>,
    /// The most fallbacks of one request.
    pub(crate) max: usize,
}

impl Fallbacks {
    /// The groups to try after `group` has failed with `error`. A request that is wrong in itself has none: no
    /// model would do better.
    pub(crate) fn after(&self, group: &str, error: &GatewayError) -> &[String] {
        let special = match error {
            GatewayError::Upstream(failure) => match failure.refusal {
                Refusal::ContextWindow => Some(&self.context_window),
                Refusal::ContentPolicy => Some(&self.content_policy),
                Refusal::Request => return &[],
                Refusal::Credential | Refusal::RateLimited | Refusal::Unavailable => None,
            },
            other if other.is_retryable() => None,
            _ => return &[],
        };
        special.and_then(|list| of(list, group)).or_else(|| of(&self.general, group)).unwrap_or(&self.default)
    }
}

/// The targets for a group: its own entry before the one for `*`.
fn of<'l>(list: &'l [Fallback], group: &str) -> Option<&'l [String]> {
    let own = list.iter().find(|fallback| fallback.model == group);
    own.or_else(|| list.iter().find(|fallback| fallback.model == "*")).map(|fallback| fallback.to.as_slice())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use keyturn_providers::Failure;

    use super::*;

    fn lists() -> Fallbacks {
        let list =
            |model: &str, to: &str| vec![Fallback { model: model.to_owned(), to: vec![to.to_owned()] }];
        Fallbacks {
            general: [list("a", "b"), list("*", "any")].concat(),
            context_window: list("a", "long"),
            content_policy: list("a", "lenient"),
            default: vec!["default".to_owned()],
            max: 5,
        }
    }

    fn refused(refusal: Refusal) -> GatewayError {
        let (status, headers, body) = (StatusCode::BAD_REQUEST, HeaderMap::new(), Bytes::new());
        GatewayError::Upstream(Box::new(Failure { status, headers, body, refusal }))
    }

    #[test]
    fn each_refusal_has_its_list() {
        let lists = lists();
        for (group, error, expected) in [
            ("a", GatewayError::UpstreamTimeout, &["b"][..]),
            ("a", refused(Refusal::RateLimited), &["b"]),
            ("a", refused(Refusal::ContextWindow), &["long"]),
            ("a", refused(Refusal::ContentPolicy), &["lenient"]),
            ("a", refused(Refusal::Request), &[]),
            ("a", GatewayError::BodyTooLarge, &[]),
            ("other", refused(Refusal::ContextWindow), &["any"]),
            ("other", GatewayError::UpstreamUnreachable, &["any"]),
        ] {
            assert_eq!(lists.after(group, &error), expected, "{group} {}", error.name());
        }
    }

    #[test]
    fn the_default_comes_last() {
        let lists = Fallbacks { general: Vec::new(), ..lists() };
        assert_eq!(lists.after("other", &GatewayError::UpstreamTimeout), ["default"]);
    }
}
