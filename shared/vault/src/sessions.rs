//! Tokens: got when the first call is made, renewed in time, got anew when they are no good any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Clock;

use crate::caller::{Caller, Desk, Server, answer};
use crate::error::VaultError;
use crate::logins::{Grant, Login};

/// How long before its end a token is not used any more, so that no call arrives after it; a tenth of a shorter life.
const MARGIN: Duration = Duration::from_secs(5);

/// A token in use.
pub(crate) struct Session {
    /// Calls about documents.
    pub(crate) caller: Caller,
    /// Calls about the token, which may be another namespace's.
    own: Caller,
    /// What it was good for when it was got; zero = for ever.
    lease: Duration,
    renewable: bool,
    /// When to renew it and when to use it no more; `None` = never.
    times: Mutex<Option<(Timestamp, Timestamp)>>,
}

/// What is to be done about a token.
enum State {
    Good,
    Due,
    Over,
}

impl Session {
    fn state(&self, now: Timestamp) -> State {
        match *self.times.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((_, end)) if now >= end => State::Over,
            Some((renewal, _)) if now >= renewal => State::Due,
            Some(_) | None => State::Good,
        }
    }

    /// How long its token can still be used; `None` = for ever.
    pub(crate) fn left(&self, now: Timestamp) -> Option<Duration> {
        let (_, end) = (*self.times.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
    }

    /// Whether its token is the other's: a login may give the same one again.
    pub(crate) fn has_token_of(&self, other: &Self) -> bool {
        self.caller.has_token_of(&other.caller)
    }

    /// It is good for `lease` from `now` on.
    fn last(&self, now: Timestamp, lease: Duration) {
        let times = (!lease.is_zero()).then(|| {
            let end = now + lease.saturating_sub(MARGIN.min(lease / 10));
            ((now + lease * 2 / 3).min(end), end)
        });
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }
}

/// The tokens of one login.
pub(crate) struct Sessions {
    pub(crate) server: Server,
    pub(crate) login: Box<dyn Login>,
    pub(crate) login_namespace: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) current: Mutex<Option<Arc<Session>>>,
    /// Held by whoever logs in or renews.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Sessions {
    /// A session to make a call with.
    pub(crate) async fn get(&self) -> Result<Arc<Session>, VaultError> {
        let now = self.clock.now();
        if let Some(session) = self.current() {
            match session.state(now) {
                State::Good => return Ok(session),
                // Somebody else is at it, and the token is still good.
                State::Due => match self.turn.try_lock() {
                    Ok(_turn) => return Ok(self.prolong(session).await),
                    Err(_) => return Ok(session),
                },
                State::Over => {}
            }
        }
        let _turn = self.turn.lock().await;
        match self.current() {
            Some(session) if !matches!(session.state(now), State::Over) => Ok(session),
            _ => self.log_in().await,
        }
    }

    /// What to do after `session` was refused: another session to try again with; `None` when its token is good and
    /// it is the policy that refuses.
    pub(crate) async fn after_refusal(
        &self,
        session: &Arc<Session>,
    ) -> Result<Option<Arc<Session>>, VaultError> {
        let _turn = self.turn.lock().await;
        if let Some(current) = self.current()
            && !Arc::ptr_eq(&current, session)
        {
            return Ok(Some(current));
        }
        match answer("token", vaultrs::token::lookup_self(&session.own)).await {
            Ok(_) => Ok(None),
            Err(VaultError::Denied(_)) => self.log_in().await.map(Some),
            Err(error) => Err(error),
        }
    }

    fn current(&self) -> Option<Arc<Session>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews the session, or replaces it; if neither can be done, it serves to its end.
    async fn prolong(&self, session: Arc<Session>) -> Arc<Session> {
        // It may have been done between the look and the turn.
        if !matches!(session.state(self.clock.now()), State::Due) {
            return self.current().unwrap_or(session);
        }
        if session.renewable {
            let now = self.clock.now();
            if let Ok(auth) = answer("token", vaultrs::token::renew_self(&session.own, None)).await {
                let lease = Duration::from_secs(auth.lease_duration);
                // Near the end of the longest life that Vault allows, a renewal gives less and less.
                if lease.is_zero() || lease > session.lease / 3 {
                    session.last(now, lease);
                    return session;
                }
            }
        }
        self.log_in().await.unwrap_or(session)
    }

    /// Logs in. The turn is held.
    async fn log_in(&self) -> Result<Arc<Session>, VaultError> {
        // The life is counted from before the call: too short rather than too long.
        let now = self.clock.now();
        let login_namespace = self.login_namespace.as_deref();
        let caller = self.server.caller(login_namespace, self.login.token())?;
        let desk = Desk { caller: &caller, clock: &*self.clock };
        let Grant { token, lease, renewable } = self.login.log_in(&desk).await?;
        let session = Arc::new(Session {
            caller: self.server.caller(self.namespace.as_deref(), Some(&token))?,
            own: self.server.caller(login_namespace, Some(&token))?,
            lease,
            renewable,
            times: Mutex::default(),
        });
        session.last(now, lease);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        Ok(session)
    }
}
