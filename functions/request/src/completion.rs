//! A completion from key to settlement: admission, deployments, retries, fallbacks, the response's head.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response};
use keyturn_entry::Presented;
use keyturn_keys::Holder;
use keyturn_providers::{BadRequest, Facts, Refusal, Surface, inspect};
use tokio::sync::oneshot;

use crate::answer::{Answer, Body, MAX_BODY_BYTES};
use crate::attempt::{Ask, Reached, UpstreamAnswer};
use crate::error::GatewayError;
use crate::estimate::prompt_tokens;
use crate::gateway::{Deadline, Gateway};
use crate::record::{Figures, Open, ServedBy, Way, milliseconds, set};
use crate::router::Candidate;
use crate::stream::Outcome;

/// The first pause before the same deployment is asked again; it doubles with each retry. Short, because the
/// wait is billed time: LiteLLM holds a client for seconds here.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest name of a model, in bytes. A longer one is not a name, and does not belong into a log line.
const MAX_MODEL_NAME: usize = 256;

/// The tokens that an answer is taken to have, for the reservation, when the request sets no maximum.
const ASSUMED_COMPLETION_TOKENS: u64 = 1024;

/// The most labels that a request may bring; more are left out.
const MAX_TAGS: usize = 16;
/// The longest label, in bytes; a longer one is left out.
const MAX_TAG: usize = 128;
/// The headers that an answer gets from us, those of rate limits not counted.
const OWN_HEADERS: usize = 8;

/// A route that completes.
pub(crate) struct Completion {
    pub(crate) surface: Surface,
    /// The route as it stands in messages and logs.
    pub(crate) route: &'static str,
    /// The model that the path names; it wins over the body's.
    pub(crate) model: Option<String>,
}

impl Gateway {
    pub(crate) async fn complete(
        self: &Arc<Self>,
        completion: Completion,
        request: Request<Bytes>,
    ) -> Answer {
        let mut open = self.open(completion.route, request.headers());
        let outcome = self.serve(&completion, &request, &mut open).await;

        let head = open.note_way();
        let asked = open.way.asked.take();
        let (mut response, figures, served) = match outcome {
            Ok(reached) => {
                let (response, figures) = respond(reached, asked.as_ref(), &completion, &mut open);
                (response, figures, asked)
            }
            Err(error) => {
                open.note(|record| record.error = Some(error.name()));
                (error.into_response(Some(completion.surface)), Figures::Known(Outcome::default()), None)
            }
        };
        let (way, headers) = (&open.way, response.headers_mut());
        // What is set here and when the record closes: the map grows once.
        headers.reserve(OWN_HEADERS);
        if let Some((deployment, group)) = &way.last {
            set(headers, "x-litellm-model-id", &deployment.id);
            set(headers, "x-litellm-model-group", group);
        }
        headers.insert("x-litellm-attempted-retries", way.retries.into());
        headers.insert("x-litellm-attempted-fallbacks", way.fallbacks.into());
        for (name, value) in open.admission.iter().flat_map(|admission| &admission.rate_headers) {
            set(headers, name, value);
        }
        let over = open.admission.as_ref().and_then(|admission| admission.over_soft_budget.as_ref());
        if let Some(holder) = over {
            set(headers, "x-keyturn-soft-budget-exceeded", holder.word());
        }
        let overhead = milliseconds(head.saturating_sub(way.waited));
        set(headers, "x-litellm-overhead-duration-ms", &overhead.to_string());
        open.answer(response, figures, served)
    }

    /// Everything up to the upstream's answer.
    async fn serve(
        &self,
        completion: &Completion,
        request: &Request<Bytes>,
        open: &mut Open,
    ) -> Result<Reached, GatewayError> {
        let headers = request.headers();
        let presented = self.presented(headers).await?;
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
        if asked.len() > MAX_MODEL_NAME {
            let message = format!("model: a name has at most {MAX_MODEL_NAME} bytes");
            let param = Some("model".to_owned());
            return Err(GatewayError::BadRequest(BadRequest { message, param, code: None }));
        }
        let mut group = self.router.group(asked).to_owned();
        open.tags = tags(headers);
        open.is_master = matches!(presented, Presented::Master(_));
        if let Presented::Virtual(hash) = presented {
            open.note(|record| record.key_id = Some(hash.to_string()));
            let asked_for = self.estimate(request.uri().path(), &group, &facts, body);
            let admission = self.admit(&hash, &asked_for).await?;
            // The key's stable id, which is not the hash of its value any more once it was regenerated.
            open.note(|record| {
                if admission.key.id != hash {
                    record.key_id = Some(admission.key.id.to_string());
                }
                record.soft_budget_exceeded = admission.over_soft_budget.as_ref().map(Holder::word);
            });
            if let Some(meant) = admission.key.aliases.get(asked) {
                group = self.router.group(meant).to_owned();
            }
            open.admission = Some(admission);
        }
        // A name goes into the log only when its caller is known.
        open.note(|record| {
            record.model = Some(asked.to_owned());
            record.stream = facts.stream;
        });
        let end = request.extensions().get::<Deadline>().map(|deadline| self.end(*deadline));
        let ask = Ask { surface: completion.surface, facts: &facts, body, headers, end };
        self.with_fallbacks(&ask, group, completion.route, &mut open.way).await
    }

    /// What a request is about to use: the budget is reserved by it. The dearest deployment counts; a fallback, or a
    /// model behind a key's own alias, may be dearer still, and an answer longer: settlement sets it right.
    fn estimate<'f>(
        &self,
        route: &'f str,
        group: &str,
        facts: &'f Facts,
        body: &Bytes,
    ) -> keyturn_keys::Ask<'f> {
        let prompt = prompt_tokens(body);
        let completion = facts.max_tokens.unwrap_or(ASSUMED_COMPLETION_TOKENS).saturating_mul(facts.choices);
        let costs = self.router.candidates(group).into_iter().map(|candidate| {
            let target = candidate.deployment.target(candidate.wildcard.as_deref());
            candidate.deployment.estimate(&target.model, prompt, completion)
        });
        let cost = costs.fold(0.0, f64::max);
        keyturn_keys::Ask { route, model: &facts.model, tokens: prompt.saturating_add(completion), cost }
    }

    /// The group that was asked for, then its fallbacks, as long as they may do better.
    async fn with_fallbacks(
        &self,
        ask: &Ask<'_>,
        group: String,
        route: &'static str,
        way: &mut Way,
    ) -> Result<Reached, GatewayError> {
        let mut seen = vec![group.clone()];
        let mut queue = VecDeque::from([group]);
        let mut last = GatewayError::UnknownModel { model: ask.facts.model.clone(), route };
        let mut falls_back = false;
        while let Some(group) = queue.pop_front() {
            let Some(candidates) = self.candidates(&group) else { continue };
            way.fallbacks += u32::from(std::mem::replace(&mut falls_back, true));
            let error = match self.with_retries(ask, &group, candidates, way).await {
                Ok(reached) => return Ok(reached),
                Err(error) => error,
            };
            if ask.is_out_of_time() {
                return Err(error);
            }
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

    /// The deployments of a group; `None` when there is no such group.
    fn candidates(&self, group: &str) -> Option<Vec<Candidate>> {
        let candidates = self.router.candidates(self.router.group(group));
        (!candidates.is_empty()).then_some(candidates)
    }

    /// One model group: another deployment after each failure that another may not have.
    async fn with_retries(
        &self,
        ask: &Ask<'_>,
        group: &str,
        mut candidates: Vec<Candidate>,
        way: &mut Way,
    ) -> Result<Reached, GatewayError> {
        candidates.retain(|one| one.deployment.serves(ask.surface));
        if candidates.is_empty() {
            return Err(GatewayError::SurfaceUnsupported { model: group.to_owned() });
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
                    let model = group.to_owned();
                    return Err(last.unwrap_or(GatewayError::CoolingDown { model, retry_after }));
                }
            };
            let deployment = &candidate.deployment;
            if let Some(error) = last {
                if retries == deployment.num_retries.unwrap_or(self.num_retries) {
                    return Err(error);
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
            way.last = Some((Arc::clone(deployment), group.to_owned()));
            let target = deployment.target(candidate.wildcard.as_deref());
            way.asked = Some(ServedBy {
                deployment: Arc::clone(deployment),
                model: target.model.clone(),
                body: ask.body.clone(),
            });
            let attempt = match &deployment.mock_response {
                Some(text) => self.mocked(ask, &target, text),
                None => self.attempt(ask, deployment, &target, &mut way.waited).await,
            };
            let error = match attempt {
                Ok(reached) => return Ok(reached),
                Err(error) => error,
            };
            // Running out of the invocation's time says nothing about the deployment.
            if !error.is_retryable() || ask.is_out_of_time() {
                return Err(error);
            }
            self.router.note_failure(deployment, self.now(), rest(&error));
            last = Some(error);
        }
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

/// A missing content type is taken for JSON: some clients leave it out.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii();
    media_type.eq_ignore_ascii_case(b"application/json")
        || (media_type.len() > 5 && media_type[media_type.len() - 5..].eq_ignore_ascii_case(b"+json"))
}

/// The request's own labels for reports of usage, from LiteLLM's header: a list with commas. Each set of labels is a
/// line of the report, so there is an end to them.
fn tags(headers: &HeaderMap) -> Vec<String> {
    let list = headers.get("x-litellm-tags").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let tags = list.split(',').map(str::trim).filter(|tag| (1..=MAX_TAG).contains(&tag.len()));
    tags.take(MAX_TAGS).map(str::to_owned).collect()
}

fn streams(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// The response's head and body, and where its figures will come from.
fn respond(
    reached: Reached,
    by: Option<&ServedBy>,
    completion: &Completion,
    open: &mut Open,
) -> (Response<Body>, Figures) {
    open.note(|record| {
        record.secret_version = reached.version.as_ref().map(ToString::to_string);
        record.healed = reached.healed;
    });
    let mut headers = reached.headers;
    let (body, figures) = match reached.answer {
        UpstreamAnswer::Whole(reply) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(cost) = by.zip(reply.usage.as_ref()).and_then(|(by, usage)| by.cost(usage)) {
                set(&mut headers, "x-litellm-response-cost", &cost.to_string());
            }
            let outcome = Outcome { usage: reply.usage, ..Outcome::seen(reply.body.len() / 4) };
            (Body::from(reply.body), Figures::Known(outcome))
        }
        UpstreamAnswer::Mock(stream) => {
            streams(&mut headers);
            let outcome = Outcome { usage: Some(stream.usage), ..Outcome::default() };
            (Body::Stream(Box::pin(futures_util::stream::iter(stream.events))), Figures::Known(outcome))
        }
        UpstreamAnswer::Stream(upstream) => {
            streams(&mut headers);
            let (over, figures) = oneshot::channel();
            (Body::Stream(Box::pin(upstream.into_client(completion.surface, over))), Figures::Coming(figures))
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    (response, figures)
}
