//! Reads the secrets and asks the providers: side by side, a few at a time, each within its time.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use jiff::Timestamp;
use keyturn_ambient::{Clock, Env, with_causes};
use keyturn_config::{SecretRef, Value};
use keyturn_providers::{Call, Credential, Facts, ProviderError, Surface};
use keyturn_request::Upstream;
use keyturn_secrets::{CredentialCache, Secret, SecretError, StagedStore, stores};

use super::rows::Row;
use super::verdict::Verdict;

/// How many are asked at a time.
const AT_A_TIME: usize = 8;

/// The longest error of a provider that is read, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

/// What the secrets are read with.
pub(super) struct Surroundings {
    pub(super) env: Arc<dyn Env>,
    pub(super) http: reqwest::Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) credentials: CredentialCache,
    /// How long one question may take.
    pub(super) timeout: Duration,
}

/// What was seen of a row.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) verdict: Verdict,
    /// Why, where that is not plain.
    pub(super) why: Option<String>,
    pub(super) version: Option<String>,
    pub(super) age: Age,
}

/// How old a version is, or how long it is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Age {
    /// Nobody knows.
    #[default]
    Unknown,
    /// It has been current since then, as far as its store tells.
    Since(Timestamp),
    /// It ends by itself, then.
    Ends(Timestamp),
}

/// A secret that was read.
struct Read {
    secret: Secret,
    age: Age,
}

/// The stores that tell more of a secret than its value, by scheme.
type Staged = BTreeMap<String, Option<Arc<dyn StagedStore>>>;

type Reads = HashMap<SecretRef, Result<Read, SecretError>>;

/// Looks at every row.
pub(super) async fn look(
    rows: &[Row],
    upstreams: &[Upstream],
    found: &Surroundings,
    verify: bool,
) -> Vec<Seen> {
    let is_mock = |row: &Row| row.upstream.is_some_and(|at| upstreams[at].is_mock());
    let mut references: Vec<&SecretRef> = Vec::new();
    for reference in rows.iter().filter(|row| !is_mock(row)).filter_map(Row::reference) {
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    let reads = read(&references, found).await;
    let mut seen: Vec<Seen> =
        rows.iter().map(|row| if is_mock(row) { skipped() } else { of_read(row, &reads) }).collect();
    if verify {
        for (at, verdict, why) in prove(rows, upstreams, &reads, found).await {
            for (row, seen) in rows.iter().zip(&mut seen) {
                // A field that could not be read says more.
                if row.upstream == Some(at) && seen.verdict == Verdict::Ok {
                    (seen.verdict, seen.why) = (verdict, why.clone());
                }
            }
        }
    }
    seen
}

fn skipped() -> Seen {
    let why = Some("it answers by itself (mock_response)".to_owned());
    Seen { verdict: Verdict::Skipped, why, version: None, age: Age::Unknown }
}

fn of_read(row: &Row, reads: &Reads) -> Seen {
    let ok = Seen { verdict: Verdict::Ok, why: None, version: None, age: Age::Unknown };
    match row.reference().and_then(|reference| reads.get(reference)) {
        None => ok,
        Some(Ok(read)) => Seen { version: Some(read.secret.version.to_string()), age: read.age, ..ok },
        Some(Err(error)) => Seen { verdict: Verdict::of(error), why: Some(with_causes(error)), ..ok },
    }
}

/// Reads each reference.
async fn read(references: &[&SecretRef], found: &Surroundings) -> Reads {
    let staged = staged(references, found);
    let progress = Progress::of(references.len(), "secrets are read");
    let one = async |reference: SecretRef| {
        let secret = tokio::time::timeout(found.timeout, found.credentials.get(&reference)).await;
        let secret = secret.unwrap_or_else(|_| {
            Err(SecretError::unavailable(reference.to_string(), "the store took too long"))
        });
        let read = match secret {
            Ok(secret) => Ok(Read { age: age(&secret, &reference, &staged, found.timeout).await, secret }),
            Err(error) => Err(error),
        };
        progress.step();
        (reference, read)
    };
    let references: Vec<SecretRef> = references.iter().map(|reference| (*reference).clone()).collect();
    stream::iter(references).map(one).buffer_unordered(AT_A_TIME).collect().await
}

/// The stores that tell when a version became current: those that are written.
fn staged(references: &[&SecretRef], found: &Surroundings) -> BTreeMap<String, Option<Arc<dyn StagedStore>>> {
    let surroundings = stores::Surroundings {
        env: Arc::clone(&found.env),
        http: found.http.clone(),
        clock: Arc::clone(&found.clock),
    };
    let open = |scheme: &str| stores::open_staged(scheme, &surroundings);
    references.iter().map(|reference| (reference.scheme.clone(), open(&reference.scheme))).collect()
}

/// A store that does not let us ask leaves the age unknown: reading is all that requests need.
async fn age(secret: &Secret, reference: &SecretRef, staged: &Staged, timeout: Duration) -> Age {
    if let Some(life) = secret.life {
        return if life.ends_at == Timestamp::MAX { Age::Unknown } else { Age::Ends(life.ends_at) };
    }
    if reference.scheme == "file" {
        let modified = fs::metadata(&reference.name).and_then(|metadata| metadata.modified());
        let since = modified.ok().and_then(|modified| Timestamp::try_from(modified).ok());
        return since.map_or(Age::Unknown, Age::Since);
    }
    let store = staged.get(&reference.scheme).and_then(Option::as_ref);
    let Some(store) = store.filter(|_| reference.stage.is_none()) else { return Age::Unknown };
    match tokio::time::timeout(timeout, store.describe(&reference.name)).await {
        Ok(Ok(description)) => description.current_since.map_or(Age::Unknown, Age::Since),
        Ok(Err(_)) | Err(_) => Age::Unknown,
    }
}

/// Asks each deployment's provider for the cheapest proof; deployments whose question is the same share the answer.
async fn prove(
    rows: &[Row],
    upstreams: &[Upstream],
    reads: &Reads,
    found: &Surroundings,
) -> Vec<(usize, Verdict, Option<String>)> {
    let mut told = Vec::new();
    let mut questions: Vec<(http::Request<Bytes>, Vec<usize>)> = Vec::new();
    for (at, upstream) in upstreams.iter().enumerate().filter(|(_, upstream)| !upstream.is_mock()) {
        let Some(credential) = credential(at, rows, reads) else { continue };
        let now = found.clock.now().as_second();
        match upstream.provider().verify(upstream.target(), &credential, now) {
            Ok(question) => match questions.iter_mut().find(|(other, _)| is_same(other, &question)) {
                Some((_, who)) => who.push(at),
                None => questions.push((question, vec![at])),
            },
            Err(ProviderError::Misconfigured(what)) => {
                told.push((at, Verdict::Malformed, Some(what.to_owned())));
            }
            Err(ProviderError::BadRequest(_)) => {
                told.push((at, Verdict::Malformed, Some("it makes no request".to_owned())));
            }
        }
    }
    let progress = Progress::of(questions.len(), "providers are asked");
    let put = async |(question, who): (http::Request<Bytes>, Vec<usize>)| {
        let answer = tokio::time::timeout(found.timeout, ask(question, &upstreams[who[0]], found)).await;
        let late = || (Verdict::Unreachable, Some("the provider took too long".to_owned()));
        let (verdict, why) = answer.unwrap_or_else(|_| late());
        progress.step();
        who.into_iter().map(|at| (at, verdict, why.clone())).collect::<Vec<_>>()
    };
    let answers: Vec<_> = stream::iter(questions).map(put).buffer_unordered(AT_A_TIME).collect().await;
    told.extend(answers.into_iter().flatten());
    told
}

fn is_same(one: &http::Request<Bytes>, other: &http::Request<Bytes>) -> bool {
    one.method() == other.method()
        && one.uri() == other.uri()
        && one.headers() == other.headers()
        && one.body() == other.body()
}

/// The secret fields of a deployment; `None` when one of them could not be read.
fn credential(at: usize, rows: &[Row], reads: &Reads) -> Option<Credential> {
    let mut credential = Credential::new();
    for row in rows.iter().filter(|row| row.upstream == Some(at)) {
        let value = match &row.value {
            None => continue,
            Some(Value::Literal(secret)) => secret.clone(),
            Some(Value::Reference(reference)) => (*reads.get(reference)?.as_ref().ok()?.secret.value).clone(),
        };
        credential = credential.with(row.secret_field?, value);
    }
    Some(credential)
}

async fn ask(
    question: http::Request<Bytes>,
    upstream: &Upstream,
    found: &Surroundings,
) -> (Verdict, Option<String>) {
    let unreachable = |error: reqwest::Error| (Verdict::Unreachable, Some(with_causes(&error.without_url())));
    let Ok(question) = reqwest::Request::try_from(question) else {
        return (Verdict::Malformed, Some("it makes no request".to_owned()));
    };
    let answer = match found.http.execute(question).await {
        Ok(answer) => answer,
        Err(error) => return unreachable(error),
    };
    let (head, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
    if head.status.is_success() {
        return (Verdict::Ok, None);
    }
    let body = http_body_util::BodyExt::collect(http_body_util::Limited::new(body, MAX_ERROR_BYTES)).await;
    // A status says enough where the body breaks off.
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let provider = upstream.provider();
    let (facts, nothing, headers) = (Facts::default(), Bytes::new(), HeaderMap::new());
    let call = Call {
        surface: provider.surfaces().first().copied().unwrap_or(Surface::ChatCompletions),
        facts: &facts,
        body: &nothing,
        headers: &headers,
        target: upstream.target(),
        now: found.clock.now().as_second(),
    };
    let (verdict, why) = Verdict::of_answer(head.status, &provider.failure(&call, &head, &body));
    (verdict, Some(why))
}

/// What a person sees while it takes its time; a pipe sees nothing.
struct Progress {
    what: &'static str,
    all: usize,
    done: AtomicUsize,
    is_seen: bool,
}

impl Progress {
    fn of(all: usize, what: &'static str) -> Self {
        let progress = Self {
            what,
            all,
            done: AtomicUsize::new(0),
            is_seen: all > 0 && std::io::stderr().is_terminal(),
        };
        progress.show(0);
        progress
    }

    fn step(&self) {
        self.show(self.done.fetch_add(1, Ordering::Relaxed) + 1);
    }

    fn show(&self, done: usize) {
        if self.is_seen {
            anstream::eprint!("\r  … {}: {done} of {}\u{1b}[K", self.what, self.all);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_seen {
            anstream::eprint!("\r\u{1b}[K");
        }
    }
}
