//! Which deployment serves a model: exact names, wildcards, weights, cooldowns.
//!
//! The state (failures, cooldowns) is this process's own: every warm Lambda environment learns for itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::deployment::Deployment;

/// How failures take a deployment out of the rotation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cooldown {
    /// Failures within a minute that are let pass.
    pub(crate) allowed_fails: u32,
    /// How long a deployment then rests; zero: it never does.
    pub(crate) time: Duration,
}

/// The deployments, by the names that clients use.
pub(crate) struct Router {
    exact: HashMap<String, Vec<Arc<Deployment>>>,
    /// The most specific pattern first.
    wildcards: Vec<(Wildcard, Arc<Deployment>)>,
    aliases: HashMap<String, String>,
    cooldown: Cooldown,
}

/// A deployment and the provider's model name for this request.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) deployment: Arc<Deployment>,
    /// What `*` stood for, when the model name is a pattern.
    pub(crate) wildcard: Option<String>,
}

struct Wildcard {
    prefix: String,
    suffix: String,
}

impl Wildcard {
    fn parse(pattern: &str) -> Option<Self> {
        let (prefix, suffix) = pattern.split_once('*')?;
        Some(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }

    fn capture<'m>(&self, model: &'m str) -> Option<&'m str> {
        model.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())
    }
}

impl Router {
    pub(crate) fn new(
        deployments: &[Arc<Deployment>],
        aliases: HashMap<String, String>,
        cooldown: Cooldown,
    ) -> Self {
        let mut exact: HashMap<String, Vec<Arc<Deployment>>> = HashMap::new();
        let mut wildcards = Vec::new();
        for deployment in deployments {
            match Wildcard::parse(&deployment.group) {
                Some(pattern) => wildcards.push((pattern, Arc::clone(deployment))),
                None => exact.entry(deployment.group.clone()).or_default().push(Arc::clone(deployment)),
            }
        }
        wildcards.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.prefix.len() + pattern.suffix.len()));
        Self { exact, wildcards, aliases, cooldown }
    }

    /// The model group that a name stands for.
    pub(crate) fn group<'n>(&'n self, model: &'n str) -> &'n str {
        self.aliases.get(model).map_or(model, String::as_str)
    }

    /// Every deployment of a model group; empty when the name is unknown.
    pub(crate) fn candidates(&self, group: &str) -> Vec<Candidate> {
        if let Some(deployments) = self.exact.get(group) {
            let named = |deployment: &Arc<Deployment>| Candidate {
                deployment: Arc::clone(deployment),
                wildcard: None,
            };
            return deployments.iter().map(named).collect();
        }
        let mut matching = self.wildcards.iter().filter_map(|(pattern, deployment)| {
            pattern.capture(group).map(|captured| (captured, deployment))
        });
        let Some(first) = matching.next() else { return Vec::new() };
        // Only the deployments that share the most specific pattern.
        let same_group = matching.filter(|(_, deployment)| deployment.group == first.1.group);
        std::iter::once(first)
            .chain(same_group)
            .map(|(captured, deployment)| Candidate {
                deployment: Arc::clone(deployment),
                wildcard: Some(captured.to_owned()),
            })
            .collect()
    }

    /// Picks one of the candidates: none that is cooling down, one not tried yet before one that was.
    /// `again`: whether one that was tried may be picked at all.
    ///
    /// # Errors
    ///
    /// How long until the first is back, when none can be picked; zero when none is cooling down.
    pub(crate) fn pick<'c>(
        &self,
        candidates: &'c [Candidate],
        tried: &[String],
        again: bool,
        now: Timestamp,
    ) -> Result<&'c Candidate, Duration> {
        // A lone deployment never cools down: there is nothing better to send its requests to.
        let lone = candidates.len() == 1;
        let ready: Vec<&Candidate> =
            candidates.iter().filter(|one| lone || one.deployment.cooled_until() <= now).collect();
        let fresh: Vec<&Candidate> =
            ready.iter().copied().filter(|one| !tried.contains(&one.deployment.id)).collect();
        let choice = if fresh.is_empty() && again { weighted(&ready) } else { weighted(&fresh) };
        choice.ok_or_else(|| {
            let back = candidates.iter().map(|one| one.deployment.cooled_until()).min().unwrap_or(now);
            Duration::try_from(back.duration_since(now)).unwrap_or_default()
        })
    }

    /// Notes a failure that counts towards a cooldown.
    pub(crate) fn note_failure(&self, deployment: &Deployment, now: Timestamp, rest: Option<Duration>) {
        deployment.note_failure(now, self.cooldown, rest);
    }

    /// The model groups, in the order of their names; wildcards as they are written.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.exact.keys().map(String::as_str).collect();
        names.extend(self.wildcards.iter().map(|(_, deployment)| deployment.group.as_str()));
        names.extend(self.aliases.keys().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// LiteLLM's simple-shuffle: by `weight`, else by `rpm`, else by `tpm`, whichever the first deployment has;
/// a deployment without the figure counts as 1; evenly when none has one.
fn weighted<'c>(candidates: &[&'c Candidate]) -> Option<&'c Candidate> {
    let first = candidates.first()?;
    if candidates.len() == 1 {
        return Some(first);
    }
    let weights: Vec<f64> = candidates.iter().map(|one| one.deployment.share(&first.deployment)).collect();
    let mut point = fastrand::f64() * weights.iter().sum::<f64>();
    for (candidate, weight) in candidates.iter().zip(&weights) {
        if point < *weight {
            return Some(candidate);
        }
        point -= weight;
    }
    candidates
        .iter()
        .zip(&weights)
        .rev()
        .find(|(_, weight)| **weight > 0.0)
        .map(|(one, _)| *one)
        .or(Some(first))
}

#[cfg(test)]
mod tests {
    use keyturn_config::Lookup;

    use super::*;

    fn deployment(group: &str, model: &str, id: &str, weight: Option<f64>) -> Arc<Deployment> {
        let entry = keyturn_config::Deployment {
            id: id.to_owned(),
            model_name: group.to_owned(),
            model: model.to_owned(),
            weight,
            ..keyturn_config::Deployment::default()
        };
        Arc::new(Deployment::new(entry, &Lookup::default(), &HashMap::new(), false).unwrap())
    }

    fn router(deployments: &[Arc<Deployment>]) -> Router {
        let aliases = [("nick".to_owned(), "gpt".to_owned())].into();
        Router::new(deployments, aliases, Cooldown { allowed_fails: 1, time: Duration::from_secs(5) })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn an_exact_name_comes_before_patterns_and_a_longer_pattern_before_a_shorter() {
        let all = [
            deployment("*", "openai/*", "any", None),
            deployment("openai/*", "openai/*", "openai", None),
            deployment("openai/gpt-*", "openai/gpt-*", "gpt", None),
            deployment("openai/gpt-x", "openai/fixed", "exact", None),
        ];
        let router = router(&all);
        for (model, id, upstream) in [
            ("openai/gpt-x", "exact", "fixed"),
            ("openai/gpt-4o", "gpt", "gpt-4o"),
            ("openai/o3", "openai", "o3"),
            ("llama", "any", "llama"),
        ] {
            let candidates = router.candidates(model);
            let [candidate] = candidates.as_slice() else { panic!("{model}: {}", candidates.len()) };
            assert_eq!(candidate.deployment.id, id, "{model}");
            assert_eq!(candidate.deployment.target(candidate.wildcard.as_deref()).model, upstream, "{model}");
        }
    }

    #[test]
    fn an_unknown_model_has_no_candidates_and_an_alias_has_its_groups() {
        let router = router(&[deployment("gpt", "openai/gpt", "1", None)]);
        assert!(router.candidates("gpt-4").is_empty());
        assert_eq!(router.candidates(router.group("nick")).len(), 1);
        assert_eq!(router.groups(), ["gpt", "nick"]);
    }

    #[test]
    fn weights_decide_the_shares() {
        let router = router(&[
            deployment("gpt", "openai/a", "a", Some(9.0)),
            deployment("gpt", "openai/b", "b", Some(1.0)),
            deployment("gpt", "openai/c", "c", Some(0.0)),
        ]);
        fastrand::seed(7);
        let candidates = router.candidates("gpt");
        let mut counts = HashMap::new();
        for _ in 0..10_000 {
            let picked = router.pick(&candidates, &[], true, at(0)).map(|one| one.deployment.id.clone());
            *counts.entry(picked.unwrap()).or_insert(0) += 1;
        }
        assert!((8_800..9_200).contains(&counts["a"]), "{counts:?}");
        assert!(!counts.contains_key("c"), "{counts:?}");
    }

    #[test]
    fn one_that_was_tried_is_picked_only_when_it_may_be_and_nothing_else_is_left() {
        let router =
            router(&[deployment("gpt", "openai/a", "a", None), deployment("gpt", "openai/b", "b", None)]);
        let candidates = router.candidates("gpt");
        let tried = ["a".to_owned()];
        for _ in 0..50 {
            assert_eq!(router.pick(&candidates, &tried, true, at(0)).map(|one| &*one.deployment.id), Ok("b"));
        }
        let both = ["a".to_owned(), "b".to_owned()];
        assert!(router.pick(&candidates, &both, true, at(0)).is_ok());
        assert_eq!(router.pick(&candidates, &both, false, at(0)).err(), Some(Duration::ZERO));
    }

    #[test]
    fn failures_over_the_allowance_cool_a_deployment_down_for_a_while() {
        let all = [deployment("gpt", "openai/a", "a", None), deployment("gpt", "openai/b", "b", None)];
        let router = router(&all);
        let candidates = router.candidates("gpt");
        let serves_a =
            |now| (0..200).any(|_| router.pick(&candidates, &[], true, now).unwrap().deployment.id == "a");
        router.note_failure(&all[0], at(0), None);
        assert!(serves_a(at(0)), "one failure is allowed");
        router.note_failure(&all[0], at(1), None);
        assert!(!serves_a(at(1)));
        assert!(!serves_a(at(5)));
        assert!(serves_a(at(6)));
        // Failures of another minute do not add up.
        router.note_failure(&all[0], at(100), None);
        router.note_failure(&all[0], at(161), None);
        assert!(serves_a(at(161)));
    }

    #[test]
    fn an_upstream_that_asks_for_rest_gets_it_at_once() {
        let all = [deployment("gpt", "openai/a", "a", None), deployment("gpt", "openai/b", "b", None)];
        let router = router(&all);
        let candidates = router.candidates("gpt");
        for deployment in &all {
            router.note_failure(deployment, at(0), Some(Duration::from_secs(20)));
        }
        assert_eq!(router.pick(&candidates, &[], true, at(5)).err(), Some(Duration::from_secs(15)));
    }

    #[test]
    fn a_lone_deployment_never_cools_down() {
        let all = [deployment("gpt", "openai/a", "a", None)];
        let router = router(&all);
        for _ in 0..10 {
            router.note_failure(&all[0], at(0), None);
        }
        assert!(router.pick(&router.candidates("gpt"), &[], true, at(0)).is_ok());
    }
}
