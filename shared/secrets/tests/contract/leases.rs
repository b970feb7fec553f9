//! A Vault of leases by a clock that a test holds: AppRole logins, tokens that end and take their leases along, and an
//! engine that issues credentials with leases that can be renewed up to a longest life.
//!
//! <https://developer.hashicorp.com/vault/api-docs/system/leases>,
//! <https://developer.hashicorp.com/vault/docs/concepts/lease>. OpenBao gives the same answers, in
//! `vault_dynamic.rs`; its clock is the machine's.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Clock;
use keyturn_tests::fake::{Answer, Asked, Fake};
use serde_json::{Value, json};

/// How long things last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lives {
    pub(crate) lease: Duration,
    pub(crate) longest: Duration,
    pub(crate) token: Duration,
    pub(crate) longest_token: Duration,
}

/// The running server.
pub(crate) struct Leases {
    pub(crate) fake: Fake,
    pub(crate) state: Arc<Mutex<State>>,
}

/// What can end and be renewed.
#[derive(Debug, Clone)]
struct Span {
    made: Timestamp,
    ends: Timestamp,
}

pub(crate) struct State {
    clock: Arc<dyn Clock>,
    pub(crate) lives: Lives,
    tokens: HashMap<String, Span>,
    leases: BTreeMap<String, Issued>,
    /// By role: the value of its next credentials; `None` = one of their own each.
    roles: HashMap<String, Option<String>>,
    pub(crate) issues: usize,
    pub(crate) logins: usize,
    /// Whether engines cannot be reached by Vault.
    pub(crate) engine_is_down: bool,
}

struct Issued {
    role: String,
    token: String,
    value: String,
    span: Span,
}

fn refusal(status: u16, error: &str) -> Answer {
    Answer::json(status, &json!({"errors": [error]}))
}

impl State {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is left of a life that begins or is renewed now.
    fn grant(span: &mut Span, now: Timestamp, life: Duration, longest: Duration) -> u64 {
        span.ends = (now + life).min(span.made + longest);
        u64::try_from(span.ends.duration_since(now).as_secs()).unwrap()
    }

    /// Tokens end and take their leases along; leases end.
    fn bury(&mut self) {
        let now = self.now();
        self.tokens.retain(|_, span| now < span.ends);
        let tokens = &self.tokens;
        self.leases.retain(|_, issued| now < issued.span.ends && tokens.contains_key(&issued.token));
    }

    /// Whether a credential is good.
    pub(crate) fn is_good(&mut self, value: &str) -> bool {
        self.bury();
        self.leases.values().any(|issued| issued.value == value)
    }

    pub(crate) fn revoke_leases(&mut self, role: &str) {
        self.leases.retain(|_, issued| issued.role != role);
    }

    pub(crate) fn revoke_tokens(&mut self) {
        self.tokens.clear();
    }

    pub(crate) fn add(&mut self, role: &str, value: Option<&str>) {
        self.roles.insert(role.to_owned(), value.map(str::to_owned));
    }

    fn auth(&self, token: &str, seconds: u64) -> Answer {
        Answer::json(
            200,
            &json!({"auth": {
                "client_token": token, "accessor": "a", "policies": ["default"], "token_policies": ["default"],
                "metadata": {}, "lease_duration": seconds, "renewable": true, "entity_id": "", "token_type": "service",
                "orphan": true,
            }, "lease_id": "", "lease_duration": 0, "renewable": false, "request_id": "r", "data": null}),
        )
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        self.bury();
        let (now, lives) = (self.now(), self.lives);
        let path = asked.path.trim_start_matches("/v1/");
        if path == "auth/approle/login" {
            if asked.json()["role_id"] != "role" || asked.json()["secret_id"] != "secret" {
                return refusal(400, "invalid role or secret ID");
            }
            self.logins += 1;
            let token = format!("hvs.{}", self.logins);
            let mut span = Span { made: now, ends: now };
            let seconds = Self::grant(&mut span, now, lives.token, lives.longest_token);
            self.tokens.insert(token.clone(), span);
            return self.auth(&token, seconds);
        }
        let token = asked.header("x-vault-token").to_owned();
        let Some(span) = self.tokens.get_mut(&token) else { return refusal(403, "permission denied") };
        match (asked.method.as_str(), path) {
            ("POST", "auth/token/renew-self") => {
                let seconds = Self::grant(span, now, lives.token, lives.longest_token);
                self.auth(&token, seconds)
            }
            ("POST", "sys/leases/renew") => {
                let id = asked.json()["lease_id"].as_str().unwrap().to_owned();
                let Some(issued) = self.leases.get_mut(&id) else { return refusal(400, "lease not found") };
                if self.engine_is_down {
                    return refusal(500, "failed to renew entry");
                }
                let seconds = Self::grant(&mut issued.span, now, lives.lease, lives.longest);
                Self::leased(&id, seconds, &Value::Null)
            }
            ("GET", path) => match path.strip_prefix("engine/creds/") {
                Some(role) => self.issue(role, &token),
                None => refusal(404, "no handler for route"),
            },
            _ => refusal(404, "no handler for route"),
        }
    }

    fn issue(&mut self, role: &str, token: &str) -> Answer {
        let (now, lives) = (self.now(), self.lives);
        let Some(value) = self.roles.get(role).cloned() else {
            return refusal(400, &format!("unknown role: {role}"));
        };
        if self.engine_is_down {
            return refusal(500, "failed to create a credential");
        }
        self.issues += 1;
        let value = value.unwrap_or_else(|| format!("sk-{}", self.issues));
        let mut span = Span { made: now, ends: now };
        let seconds = Self::grant(&mut span, now, lives.lease, lives.longest);
        let id = format!("engine/creds/{role}/{}", self.issues);
        let answer = Self::leased(&id, seconds, &json!({"value": value}));
        self.leases.insert(id, Issued { role: role.to_owned(), token: token.to_owned(), value, span });
        answer
    }

    fn leased(id: &str, seconds: u64, data: &Value) -> Answer {
        Answer::json(
            200,
            &json!({"request_id": "r", "lease_id": id, "renewable": true, "lease_duration": seconds, "data": data,
                "wrap_info": null, "warnings": null, "auth": null}),
        )
    }
}

impl Leases {
    pub(crate) async fn start(clock: Arc<dyn Clock>, lives: Lives) -> Self {
        let state = Arc::new(Mutex::new(State {
            clock,
            lives,
            tokens: HashMap::new(),
            leases: BTreeMap::new(),
            roles: HashMap::new(),
            issues: 0,
            logins: 0,
            engine_is_down: false,
        }));
        let of_fake = Arc::clone(&state);
        let fake = Fake::start(move |asked| of_fake.lock().unwrap().answer(asked)).await;
        Self { fake, state }
    }

    /// How many calls were about credentials and their leases, failed ones too.
    pub(crate) fn reads(&self) -> usize {
        let asked = self.fake.asked();
        let is_about = |path: &str| path.contains("/creds/") || path.contains("/leases/");
        asked.iter().filter(|asked| is_about(&asked.path)).count()
    }

    /// What the environment says of it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HCP_VAULT_ADDR", self.fake.url()),
            ("HCP_VAULT_APPROLE_ROLE_ID", "role".to_owned()),
            ("HCP_VAULT_APPROLE_SECRET_ID", "secret".to_owned()),
        ]
    }
}
