//! A completion from key to settlement: admission, deployments, retries, fallbacks, the response's head.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response};
use keyturn_keys::Admission;
use keyturn_providers::{Facts, Refusal, Surface, inspect};
use tokio::sync::oneshot;

use crate::answer::{Answer, Body, MAX_BODY_BYTES};
use crate::attempt::{Ask, Reached, UpstreamAnswer};
use crate::auth::Presented;
use crate::error::GatewayError;
use crate::gateway::{Deadline, Gateway};
use crate::record::{Aftermath, Figures, Open, Record, ServedBy, milliseconds};
use crate::stream::Outcome;

/// The first pause before the same deployment is asked again; it doubles with each retry. Short, because the
/// wait is billed time: LiteLLM holds a client for seconds here.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The tokens that an answer is taken to have, for the reservation, when the request sets no maximum.
const ASSUMED_COMPLETION_TOKENS: u64 = 1024;

/// A route that completes.
pub(crate) struct Completion {
    pub(crate) surface: Surface,
    /// The route as it stands in messages and logs.
    pub(crate) route: &'static str,
    /// The model that the path names; it wins over the body's.
    pub(crate) model: Option<String>,
}

/// A request that a deployment has answered.
struct Served {
    reached: Reached,
    by: ServedBy,
}

/// What happens on the way, success or not.
#[derive(Default)]
struct Way {
    retries: u32,
    fallbacks: u32,
    waited: Duration,
}

impl Gateway {
    pub(crate) async fn complete(
        self: &Arc<Self>,
        completion: Completion,
        request: Request<Bytes>,
    ) -> Answer {
        let call_id = call_id(request.headers());
        let record = Record { call_id: call_id.clone(), route: completion.route, ..Record::default() };
        let mut open = Open::new(Arc::clone(self), record);
        let mut admission = None;
        let mut way = Way::default();
        let outcome = self.serve(&completion, &request, &mut open, &mut admission, &mut way).await;

        let (mut response, figures, served) = match outcome {
            Ok(served) => self.respond(served, &completion, &mut open),
            Err(error) => {
                open.note(|record| record.error = Some(error.name()));
                (error.into_response(Some(completion.surface)), Figures::Known(Outcome::default()), None)
            }
        };
        let head = self.since(open.started);
        let headers = response.headers_mut();
        set(headers, "x-litellm-call-id", &call_id);
        set(headers, "x-litellm-attempted-retries", &way.retries.to_string());
        set(headers, "x-litellm-attempted-fallbacks", &way.fallbacks.to_string());
        for (name, value) in admission.iter().flat_map(|admission| &admission.rate_headers) {
            set(headers, name, value);
        }
        let overhead = milliseconds(head.saturating_sub(way.waited));
        set(headers, "x-litellm-overhead-duration-ms", &overhead.to_string());
        let status = response.status().as_u16();
        open.note(|record| {
            record.status = status;
            record.retries = way.retries;
            record.fallbacks = way.fallbacks;
            record.head_ms = milliseconds(head);
            record.upstream_ms = milliseconds(way.waited);
        });
        Answer { response, aftermath: Some(Aftermath::new(open, figures, admission, served)) }
    }

    /// Everything up to the upstream's answer.
    async fn serve(
        &self,
        completion: &Completion,
        request: &Request<Bytes>,
        open: &mut Open,
        admission: &mut Option<Admission>,
        way: &mut Way,
    ) -> Result<Served, GatewayError> {
        let headers = request.headers();
        let presented = self.door.presented(headers)?;
        let body = request.body();
        if body.len() > MAX_BODY_BYTES {
            return Err(GatewayError::BodyTooLarge);
        }
        if !is_json(headers) {
            return Err(GatewayError::UnsupportedMediaType);
        }
        let facts = match &completion.model {
            Some(model) => inspect::inspect_for(completion.surface, body, model),
            None => inspect::inspect(completion.surface, body),
        };
        let facts = facts.map_err(GatewayError::BadRequest)?;
        let asked = facts.model.as_str();
        let mut group = self.router.group(asked);
        open.note(|record| {
            record.model = Some(asked.to_owned());
            record.stream = facts.stream;
        });
        if let Presented::Virtual(hash) = presented {
            let admitted = self.admit(&hash, &self.estimate(group, &facts)).await?;
            open.note(|record| record.key_id = Some(admitted.key.id.to_string()));
            let admitted = admission.insert(admitted);
            if let Some(meant) = admitted.key.aliases.get(asked) {
                group = self.router.group(meant);
            }
        }
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        let ask = Ask { surface: completion.surface, facts: &facts, body, headers, deadline };
        self.with_fallbacks(&ask, asked, group, completion.route, way).await
    }

    /// What a request is about to use, from above: the budget is reserved by it.
    fn estimate<'f>(&self, group: &str, facts: &'f Facts) -> keyturn_keys::Ask<'f> {
        let prompt = facts.estimated_prompt_tokens();
        let completion = facts.max_tokens.unwrap_or(ASSUMED_COMPLETION_TOKENS).saturating_mul(facts.choices);
        let candidates = self.router.candidates(group);
        let cost = candidates.first().map_or(0.0, |candidate| {
            let target = candidate.deployment.target(candidate.wildcard.as_deref());
            candidate.deployment.estimate(&target.model, prompt, completion)
        });
        keyturn_keys::Ask { model: &facts.model, tokens: prompt.saturating_add(completion), cost }
    }

    /// The group that was asked for, then its fallbacks, as long as they may do better.
    async fn with_fallbacks(
        &self,
        ask: &Ask<'_>,
        asked: &str,
        group: &str,
        route: &'static str,
        way: &mut Way,
    ) -> Result<Served, GatewayError> {
        let mut queue = VecDeque::from([group.to_owned()]);
        let mut seen = vec![group.to_owned()];
        let mut last = GatewayError::UnknownModel { model: asked.to_owned(), route };
        let mut first = true;
        while let Some(group) = queue.pop_front() {
            if !std::mem::take(&mut first) {
                way.fallbacks += 1;
            }
            let error = match self.with_retries(ask, &group, way).await {
                Ok(served) => return Ok(served),
                Err(Some(error)) => error,
                Err(None) => continue,
            };
            for next in self.fallbacks.after(&group, &error) {
                if !seen.contains(next) && seen.len() <= self.fallbacks.max {
                    seen.push(next.clone());
                    queue.push_back(next.clone());
                }
            }
            last = error;
        }
        Err(last)
    }

    /// One model group: another deployment after each failure that another may not have. `Err(None)`: there is
    /// no such group.
    async fn with_retries(
        &self,
        ask: &Ask<'_>,
        group: &str,
        way: &mut Way,
    ) -> Result<Served, Option<GatewayError>> {
        let mut candidates = self.router.candidates(self.router.group(group));
        if candidates.is_empty() {
            return Err(None);
        }
        candidates.retain(|one| one.deployment.serves(ask.surface));
        if candidates.is_empty() {
            return Err(Some(GatewayError::SurfaceUnsupported { model: group.to_owned() }));
        }
        let mut tried = Vec::new();
        let mut last: Option<GatewayError> = None;
        let mut pause = FIRST_PAUSE;
        let mut retries = 0;
        loop {
            let again = last.as_ref().is_none_or(GatewayError::may_pass);
            let candidate = match self.router.pick(&candidates, &tried, again, self.now()) {
                Ok(candidate) => candidate,
                Err(retry_after) => {
                    return Err(Some(
                        last.unwrap_or(GatewayError::CoolingDown { model: group.to_owned(), retry_after }),
                    ));
                }
            };
            let deployment = &candidate.deployment;
            if last.is_some() {
                if retries == deployment.num_retries.unwrap_or(self.num_retries) {
                    return Err(last);
                }
                retries += 1;
                way.retries += 1;
            }
            if tried.contains(&deployment.id) {
                tokio::time::sleep(pause).await;
                pause *= 2;
            } else {
                tried.push(deployment.id.clone());
            }
            let target = deployment.target(candidate.wildcard.as_deref());
            let attempt = match &deployment.mock_response {
                Some(text) => self.mocked(ask, &target, text),
                None => self.attempt(ask, deployment, &target, &mut way.waited).await,
            };
            let error = match attempt {
                Ok(reached) => {
                    let model = target.into_owned().model;
                    return Ok(Served {
                        reached,
                        by: ServedBy { deployment: Arc::clone(deployment), model },
                    });
                }
                Err(error) => error,
            };
            if !error.is_retryable() {
                return Err(Some(error));
            }
            self.router.note_failure(deployment, self.now(), rest(&error));
            last = Some(error);
        }
    }

    /// The response's head and body, and where its figures will come from.
    fn respond(
        &self,
        served: Served,
        completion: &Completion,
        open: &mut Open,
    ) -> (Response<Body>, Figures, Option<ServedBy>) {
        let Served { reached, by } = served;
        let deployment = &by.deployment;
        open.note(|record| {
            record.deployment = Some(deployment.id.clone());
            record.provider = Some(deployment.provider.name());
            record.secret_version = reached.version.as_ref().map(ToString::to_string);
            record.healed = reached.healed;
        });
        let mut headers = reached.headers;
        let (body, figures) = match reached.answer {
            UpstreamAnswer::Whole(reply) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                if let Some(cost) = reply.usage.as_ref().and_then(|usage| deployment.cost(&by.model, usage)) {
                    set(&mut headers, "x-litellm-response-cost", &cost.to_string());
                }
                (Body::from(reply.body), Figures::Known(Outcome { usage: reply.usage, error: None }))
            }
            UpstreamAnswer::Mock(stream) => {
                streams(&mut headers);
                let outcome = Outcome { usage: Some(stream.usage), error: None };
                (Body::Stream(Box::pin(futures_util::stream::iter(stream.events))), Figures::Known(outcome))
            }
            UpstreamAnswer::Stream(upstream) => {
                streams(&mut headers);
                let (over, figures) = oneshot::channel();
                (
                    Body::Stream(Box::pin(upstream.into_client(completion.surface, over))),
                    Figures::Coming(figures),
                )
            }
        };
        set(&mut headers, "x-litellm-model-id", &deployment.id);
        set(&mut headers, "x-litellm-model-group", &deployment.group);
        let mut response = Response::new(body);
        *response.headers_mut() = headers;
        (response, figures, Some(by))
    }
}

/// How long the upstream asked to be left alone.
fn rest(error: &GatewayError) -> Option<Duration> {
    match error {
        GatewayError::Upstream(failure) if failure.refusal == Refusal::RateLimited => {
            let seconds = failure.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
            Some(Duration::from_secs(seconds))
        }
        _ => None,
    }
}

/// The caller's own call id, if it is a plain one, else a new one.
fn call_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-litellm-call-id").and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    given.filter(plain).map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

/// A missing content type is taken for JSON: some clients leave it out.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii();
    media_type.eq_ignore_ascii_case(b"application/json")
        || (media_type.len() > 5 && media_type[media_type.len() - 5..].eq_ignore_ascii_case(b"+json"))
}

fn streams(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// Sets a header, unless the value cannot stand in one.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
