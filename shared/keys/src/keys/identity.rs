//! A key with its team, its user and the budgets that they refer to.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::admission::{Ask, Holder, KeyError};
use crate::hash::KeyHash;
use crate::ledger::plan::{Plan, Terms, Wanted};
use crate::limits::Limits;
use crate::models::{NO_DEFAULT_MODELS, allows};
use crate::money::{count, nanos};
use crate::owners::{Budget, Team, User};
use crate::store::{Kind, RowId};
use crate::virtual_key::VirtualKey;

use super::Keys;
use super::rows::{Definition, Found};

/// Who has shown a key.
#[derive(Debug)]
pub struct Identity {
    /// The key.
    pub key: Arc<VirtualKey>,
    /// Its team, if there is one.
    pub team: Option<Arc<Team>>,
    /// Its user, if there is one.
    pub user: Option<Arc<User>>,
    /// The budgets that key, team and user refer to.
    budgets: [Option<Arc<Budget>>; 3],
    /// Every row that this was made of: the key's first, then those of [`Identity::OWNERS`] that are named.
    pub(super) papers: Vec<Paper>,
}

/// A row that an identity was made of.
#[derive(Debug, Clone)]
pub(super) struct Paper {
    pub(super) id: RowId,
    pub(super) rev: i64,
    pub(super) shares: u16,
    pub(super) read_at: Timestamp,
    /// Whether it was read for this very request.
    pub(super) is_new: bool,
    pub(super) is_missing: bool,
}

/// An account that a request is counted in.
pub(super) struct Entry<'a> {
    pub(super) paper: &'a Paper,
    pub(super) holder: Holder,
    pub(super) limits: Cow<'a, Limits>,
    pub(super) created_at: Timestamp,
    pub(super) plan: Plan,
}

impl Keys {
    /// Who shows `hash`. `anew`: not from memory, unless it is fresh.
    pub(super) async fn identity(
        &self,
        hash: &KeyHash,
        now: Timestamp,
        anew: bool,
    ) -> Result<Identity, KeyError> {
        let found = self.key_row(hash, now, anew).await?;
        let Definition::Key(key) = &found.seen.definition else { return Err(KeyError::NotFound) };
        let key = Arc::clone(key);
        let named = |kind, id: &Option<String>| id.as_deref().map(|id| RowId::named(kind, id));
        let wanted = [
            named(Kind::Team, &key.team_id),
            named(Kind::User, &key.user_id),
            named(Kind::Budget, &key.budget_id),
        ];
        let mut identity = Identity {
            key: Arc::clone(&key),
            team: None,
            user: None,
            budgets: [None, None, None],
            papers: vec![Paper::new(&found)],
        };
        if wanted.iter().all(Option::is_none) {
            return Ok(identity);
        }
        for found in self.rows(wanted.into_iter().flatten().collect(), now, anew).await? {
            identity.take(&found, 0);
        }
        // Budgets of team and user, which are known only now.
        let of_team = identity.team.as_ref().and_then(|team| team.budget_id.clone());
        let of_user = identity.user.as_ref().and_then(|user| user.budget_id.clone());
        let places: Vec<_> = [(1, of_team), (2, of_user)]
            .into_iter()
            .filter_map(|(place, id)| Some((place, named(Kind::Budget, &id)?)))
            .collect();
        if !places.is_empty() {
            let ids = places.iter().map(|(_, id)| id.clone()).collect();
            let rows = self.rows(ids, now, anew).await?;
            for ((place, _), found) in places.into_iter().zip(rows) {
                identity.take(&found, place);
            }
        }
        Ok(identity)
    }
}

impl Identity {
    /// Takes in one of the rows that the key belongs to; `place` is that of a budget.
    fn take(&mut self, found: &Found, place: usize) {
        match &found.seen.definition {
            Definition::Team(team) => self.team = Some(Arc::clone(team)),
            Definition::User(user) => self.user = Some(Arc::clone(user)),
            Definition::Budget(budget) => self.budgets[place] = Some(Arc::clone(budget)),
            Definition::Key(_) | Definition::Missing => {}
        }
        if !self.papers.iter().any(|paper| paper.id == found.id) {
            self.papers.push(Paper::new(found));
        }
    }

    /// Whether `hash` opens the key now.
    pub(super) fn check(&self, hash: &KeyHash, now: Timestamp) -> Result<(), KeyError> {
        match self.key.hashes.get(hash) {
            Some(None) => {}
            Some(Some(until)) if now < *until => {}
            _ => return Err(KeyError::NotFound),
        }
        if self.key.blocked {
            return Err(KeyError::Blocked);
        }
        if let Some(at) = self.key.expires.filter(|at| *at <= now) {
            return Err(KeyError::Expired { at });
        }
        match &self.team {
            Some(team) if team.blocked => Err(KeyError::TeamBlocked { team_id: team.team_id.clone() }),
            _ => Ok(()),
        }
    }

    /// Whether route and model are allowed.
    pub(super) fn check_ask(&self, ask: &Ask<'_>) -> Result<(), KeyError> {
        self.check_route(ask.route)?;
        match self.denies(ask.model) {
            None => Ok(()),
            Some((holder, allowed)) => {
                Err(KeyError::ModelDenied { holder, model: ask.model.to_owned(), allowed: allowed.to_vec() })
            }
        }
    }

    /// Refuses a route that the key may not call.
    ///
    /// # Errors
    ///
    /// [`KeyError::RouteDenied`].
    pub fn check_route(&self, path: &str) -> Result<(), KeyError> {
        if self.key.may_call(path) {
            return Ok(());
        }
        Err(KeyError::RouteDenied { route: path.to_owned(), allowed: self.key.routes() })
    }

    /// Whether key, team and user all allow the model.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        self.denies(model).is_none()
    }

    /// Whose list does not have the model, and the list.
    fn denies(&self, model: &str) -> Option<(Holder, &[String])> {
        if !self.key.allows(model) {
            return Some((Holder::Key, &self.key.models));
        }
        let meant = self.meant(model);
        let has = |list: &[String]| allows(list, model) || allows(list, meant);
        if let Some(team) = self.team.as_ref().filter(|team| !has(&team.models)) {
            return Some((Holder::Team(team.team_id.clone()), &team.models));
        }
        // Such a user has no models of its own, and uses those of its teams.
        let through_team = |user: &User| {
            self.key.team_id.is_some() && user.models.iter().all(|entry| entry == NO_DEFAULT_MODELS)
        };
        let user = self.user.as_ref().filter(|user| !through_team(user) && !has(&user.models))?;
        Some((Holder::User(user.user_id.clone()), &user.models))
    }

    /// How many shares the key has.
    pub(super) fn shares(&self) -> u16 {
        self.papers.first().map_or(0, |paper| paper.shares)
    }

    /// The model that a name means to this key.
    fn meant<'a>(&'a self, model: &'a str) -> &'a str {
        self.key.aliases.get(model).map_or(model, String::as_str)
    }

    /// What the request changes in the accounts of the key, the team and the user.
    pub(super) fn plans(&self, ask: &Ask<'_>, now: Timestamp) -> Vec<Entry<'_>> {
        let wanted = Wanted {
            models: [ask.model, self.meant(ask.model)],
            tokens: count(ask.tokens),
            cost: nanos(ask.cost),
            now,
        };
        let team = self.team.as_ref();
        let user = self.user.as_ref();
        let accounts = [
            Some((Kind::Key, Holder::Key, &self.key.limits, self.key.created_at)),
            team.map(|t| (Kind::Team, Holder::Team(t.team_id.clone()), &t.limits, t.created_at)),
            user.map(|u| (Kind::User, Holder::User(u.user_id.clone()), &u.limits, u.created_at)),
        ];
        let entry = |((kind, holder, limits, created_at), budget): (_, &'_ Option<Arc<Budget>>)| {
            let paper = self.papers.iter().find(|paper| paper.id.kind == kind)?;
            let limits = with_budget(limits, budget.as_deref());
            let more = if kind == Kind::Key { extra_budget(&self.key, now) } else { 0.0 };
            let terms = Terms {
                holder: Holder::clone(&holder),
                rev: paper.rev,
                limits: limits.as_ref(),
                max_budget: limits.max_budget.map(|budget| budget + more),
                created_at,
            };
            let plan = Plan::new(terms, &wanted);
            Some(Entry { paper, holder, limits, created_at, plan })
        };
        let accounts = accounts.into_iter().zip(&self.budgets);
        accounts.filter_map(|(account, budget)| entry((account?, budget))).collect()
    }
}

impl Paper {
    fn new(found: &Found) -> Self {
        let Found { id, seen, is_new } = found;
        let is_missing = matches!(seen.definition, Definition::Missing);
        let read_at = seen.read_at;
        Self { id: id.clone(), rev: seen.rev, shares: seen.shares, read_at, is_new: *is_new, is_missing }
    }
}

/// Limits, and what they leave open from a budget.
fn with_budget<'a>(limits: &'a Limits, budget: Option<&Budget>) -> Cow<'a, Limits> {
    budget.map_or(Cow::Borrowed(limits), |budget| Cow::Owned(limits.or(&budget.limits)))
}

/// US dollars on top of the key's budget at this time.
fn extra_budget(key: &VirtualKey, now: Timestamp) -> f64 {
    match (key.temp_budget_increase, key.temp_budget_expiry) {
        (Some(more), Some(until)) if now < until => more,
        _ => 0.0,
    }
}
