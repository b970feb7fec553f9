//! The services of workload identity federation: AWS's STS, which says who somebody is, and the token endpoints of
//! OpenAI, Anthropic and OpenRouter, which give tokens for its word. They hold who calls to their documentation
//! (`shared/secrets/src/stores/federation/` says where it stands).
//!
//! | path | what it is |
//! |---|---|
//! | `POST /` of [`Federation::sts`] | `GetWebIdentityToken` |
//! | `POST /openai`, `/anthropic`, `/openrouter` of [`Federation::endpoint`] | the token endpoints |
//!
//! A token that is brought must be one that STS issued, for this audience; Anthropic takes each once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::fake::{Answer, Asked, Fake, Mishap};
use crate::upstream::keyring::fresh;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// An id that no service knows has this in it.
const ABSENT: &str = "absent";

/// All of them, running.
pub struct Federation {
    sts: Fake,
    endpoints: Fake,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The tokens that say who somebody is: for whom, and for how many seconds.
    subjects: BTreeMap<String, (String, u64)>,
    /// Those that Anthropic has taken.
    taken: BTreeSet<String>,
    /// By an id in the request: what is issued.
    fixed: BTreeMap<String, String>,
    /// Every token that was issued.
    issued: Vec<String>,
    /// How long tokens last, in the place of what their service does.
    lasts: Option<u64>,
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federation").field("sts", &self.sts).field("endpoints", &self.endpoints).finish()
    }
}

impl Federation {
    /// Starts them.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (one, other) = (Arc::clone(&state), Arc::clone(&state));
        let sts = Fake::start(move |asked| identify(&mut lock(&one), asked)).await;
        let endpoints = Fake::start(move |asked| exchange(&mut lock(&other), asked)).await;
        Self { sts, endpoints, state }
    }

    /// The environment of who is to use them, with made-up AWS credentials.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI-EXAMPLEKEY".to_owned()),
            ("AWS_SESSION_TOKEN", "session-token".to_owned()),
            ("AWS_ENDPOINT_URL_STS", self.sts.url()),
            ("KEYTURN_FEDERATION_OPENAI_URL", self.endpoint("openai")),
            ("KEYTURN_FEDERATION_ANTHROPIC_URL", self.endpoint("anthropic")),
            ("KEYTURN_FEDERATION_OPENROUTER_URL", self.endpoint("openrouter")),
        ]
    }

    /// STS.
    #[must_use]
    pub fn sts(&self) -> &Fake {
        &self.sts
    }

    /// A service's token endpoint.
    #[must_use]
    pub fn endpoint(&self, service: &str) -> String {
        format!("{}/{service}", self.endpoints.url())
    }

    /// Every call of the token endpoints so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Asked> {
        self.endpoints.asked()
    }

    /// From now on the token endpoints fail like this; or they do not.
    pub fn fail(&self, mishap: Option<Mishap>) {
        self.endpoints.fail(mishap);
    }

    /// Issues this token from now on to requests that have this id.
    pub fn put(&self, id: &str, token: &str) {
        lock(&self.state).fixed.insert(id.to_owned(), token.to_owned());
    }

    /// From now on tokens last this many seconds.
    pub fn last(&self, seconds: u64) {
        lock(&self.state).lasts = Some(seconds);
    }

    /// Every token that was issued so far.
    #[must_use]
    pub fn issued(&self) -> Vec<String> {
        lock(&self.state).issued.clone()
    }

    /// A token that says who somebody is, as if from somebody else than STS.
    #[must_use]
    pub fn subject(&self, audience: &str) -> String {
        lock(&self.state).subject(audience, 600)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn subject(&mut self, audience: &str, seconds: u64) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({"alg": "RS256", "kid": "1", "typ": "JWT"}));
        let role = "arn:aws:iam::123456789012:role/keyturn";
        let claims =
            part(&json!({"iss": "https://1.tokens.sts.global.api.aws", "aud": audience, "sub": role}));
        // Nobody can make up what stands for the signature.
        let token = format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(fresh("")));
        self.subjects.insert(token.clone(), (audience.to_owned(), seconds));
        token
    }
}

/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html>
fn identify(state: &mut State, asked: &Asked) -> Answer {
    let fields = form(&asked.text());
    let field = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let refused = |status, code: &str| {
        let body = format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        Answer(status, "text/xml", body.into())
    };
    let scope = asked.header("authorization");
    if !scope.starts_with("AWS4-HMAC-SHA256 ") || !scope.contains("/sts/aws4_request") {
        return refused(403, "MissingAuthenticationToken");
    }
    if (field("Action"), field("Version")) != ("GetWebIdentityToken", "2011-06-15") {
        return refused(400, "InvalidAction");
    }
    let seconds = field("DurationSeconds").parse().unwrap_or(0);
    let (audience, algorithm) = (field("Audience.member.1"), field("SigningAlgorithm"));
    let fits = (60..=3600).contains(&seconds) && ["RS256", "ES384"].contains(&algorithm);
    if !fits || audience.is_empty() {
        return refused(400, "ValidationError");
    }
    let token = state.subject(audience, seconds);
    let body = format!(
        "<GetWebIdentityTokenResponse><GetWebIdentityTokenResult><WebIdentityToken>{token}</WebIdentityToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
    );
    Answer(200, "text/xml", body.into())
}

/// Fields that a service documents: those that must be there, and those that may.
struct Fields(&'static [&'static str], &'static [&'static str]);

fn exchange(state: &mut State, asked: &Asked) -> Answer {
    let (audience, subject, fields, kind) = match asked.path.as_str() {
        "/openai" => (
            "https://api.openai.com/v1",
            "subject_token",
            Fields(&["identity_provider_id", "service_account_id", "subject_token_type"], &[]),
            "application/json",
        ),
        "/anthropic" => (
            "https://api.anthropic.com",
            "assertion",
            Fields(&["federation_rule_id", "organization_id"], &["service_account_id", "workspace_id"]),
            "application/json",
        ),
        "/openrouter" => (
            "https://openrouter.ai",
            "subject_token",
            Fields(&["federation_policy_id", "subject_token_type"], &["requested_token_type", "scope"]),
            "application/x-www-form-urlencoded",
        ),
        _ => return Answer::text(404, "Not Found"),
    };
    let body = if kind == "application/json" {
        asked.json().as_object().cloned().unwrap_or_default()
    } else {
        form(&asked.text())
    };
    let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let anthropic = asked.path == "/anthropic";
    let betas: Vec<&str> = asked.header("anthropic-beta").split(',').collect();
    let beta = ["oauth-2025-04-20", "oidc-federation-2026-04-01"].iter().all(|beta| betas.contains(beta));
    let known = |name: &String| {
        let Fields(required, optional) = &fields;
        let also = ["grant_type", subject];
        required.iter().chain(*optional).chain(&also).any(|known| known == name)
    };
    let whole = fields.0.iter().all(|name| !field(name).is_empty()) && body.keys().all(known);
    // The services repeat what they were sent more than they should.
    let refused = |status, error: &str| {
        let description = format!("not good: {}", field(subject));
        Answer::json(status, &json!({"error": error, "error_description": description}))
    };
    if asked.method != "POST" || asked.header("content-type") != kind || !whole || (anthropic && !beta) {
        return refused(400, "invalid_request");
    }
    let grant = if anthropic { JWT_BEARER } else { TOKEN_EXCHANGE };
    if field("grant_type") != grant || (!anthropic && field("subject_token_type") != JWT) {
        return refused(400, "unsupported_grant_type");
    }
    let brought = field(subject).to_owned();
    let refusal = if asked.path == "/openrouter" { 400 } else { 401 };
    let Some((_, seconds)) = state.subjects.get(&brought).filter(|(whom, _)| whom == audience).cloned()
    else {
        return refused(refusal, "invalid_grant");
    };
    let ids = || fields.0.iter().chain(fields.1).map(|name| field(name));
    if ids().any(|id| id.contains(ABSENT)) || (anthropic && !state.taken.insert(brought.clone())) {
        return refused(refusal, "invalid_grant");
    }
    let fixed = ids().find_map(|id| state.fixed.get(id).cloned());
    let prefix = if anthropic { "sk-ant-oat01-" } else { "eyJ" };
    let token = fixed.unwrap_or_else(|| fresh(prefix));
    state.issued.push(token.clone());
    let lasts = state.lasts.unwrap_or(match asked.path.as_str() {
        "/anthropic" => (2 * seconds).clamp(60, 3600),
        "/openrouter" => seconds.min(900),
        _ => 3600,
    });
    let answer = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lasts,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    Answer::json(200, &answer)
}

/// A form's fields, as if they were JSON.
fn form(text: &str) -> Map<String, Value> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), Value::from(decoded(value)))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).expect("two hex digits")
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
