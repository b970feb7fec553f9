//! Which path is which handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use keyturn_providers::Surface;
use percent_encoding::percent_decode_str;

use crate::answer::{Answer, Body};
use crate::completion::Completion;
use crate::error::GatewayError;
use crate::gateway::Gateway;

/// What a path asks for.
enum Route {
    Completion(Completion),
    Models,
    Model(String),
    Liveness,
    Readiness,
    Unknown,
}

/// LiteLLM names the route so in its messages, whichever way it was called.
const CHAT: &str = "/chat/completions";

impl Route {
    fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let completion = |surface, route, model| Self::Completion(Completion { surface, route, model });
        match segments.as_slice() {
            ["v1", "chat", "completions"] | ["chat", "completions"] => {
                completion(Surface::ChatCompletions, CHAT, None)
            }
            // A model's name may hold slashes.
            ["openai", "deployments", model @ .., "chat", "completions"]
            | ["engines", model @ .., "chat", "completions"]
                if !model.is_empty() =>
            {
                completion(Surface::ChatCompletions, CHAT, Some(decoded(model)))
            }
            ["v1", "messages"] => completion(Surface::Messages, "/v1/messages", None),
            ["v1", "models"] | ["models"] => Self::Models,
            ["v1", "models", id @ ..] | ["models", id @ ..] => Self::Model(decoded(id)),
            ["health", "liveliness" | "liveness"] => Self::Liveness,
            ["health", "readiness"] => Self::Readiness,
            _ => Self::Unknown,
        }
    }

    /// The route as it stands in the log.
    fn name(&self) -> &'static str {
        match self {
            Self::Completion(completion) => completion.route,
            Self::Models => "/v1/models",
            Self::Model(_) => "/v1/models/{id}",
            Self::Liveness => "/health/liveness",
            Self::Readiness => "/health/readiness",
            Self::Unknown => "none",
        }
    }

    /// The format of its errors.
    fn surface(&self) -> Option<Surface> {
        match self {
            Self::Completion(completion) => Some(completion.surface),
            Self::Models | Self::Model(_) | Self::Liveness | Self::Readiness | Self::Unknown => None,
        }
    }

    /// Refuses a method that the route does not have.
    fn check(&self, method: &Method) -> Result<(), GatewayError> {
        let allow = match self {
            Self::Completion(_) => "POST",
            Self::Models | Self::Model(_) | Self::Liveness | Self::Readiness => "GET, HEAD",
            Self::Unknown => return Ok(()),
        };
        if allow.split(", ").any(|allowed| allowed == method.as_str()) {
            Ok(())
        } else {
            Err(GatewayError::Method { allow })
        }
    }
}

fn decoded(segments: &[&str]) -> String {
    percent_decode_str(&segments.join("/")).decode_utf8_lossy().into_owned()
}

impl Gateway {
    /// Answers one request. The path is as the client sent it, without an API stage.
    pub async fn answer(self: &Arc<Self>, request: Request<Bytes>) -> Answer {
        let route = Route::of(request.uri().path());
        let surface = route.surface();
        // What the panic interrupted has written its record; its message may hold anything and is not repeated.
        AssertUnwindSafe(self.take(route, request)).catch_unwind().await.unwrap_or_else(|_| Answer {
            response: GatewayError::Panic.into_response(surface),
            aftermath: None,
        })
    }

    async fn take(self: &Arc<Self>, route: Route, request: Request<Bytes>) -> Answer {
        if let Err(error) = route.check(request.method()) {
            return self.refuse(&route, request.headers(), error);
        }
        let open = || self.open(route.name(), request.headers());
        let path = request.uri().path();
        match route {
            Route::Models => open().answer_with(None, self.list_models(request.headers(), path).await),
            Route::Model(ref id) => {
                open().answer_with(None, self.show_model(request.headers(), path, id).await)
            }
            Route::Liveness => unrecorded(r#""I'm alive!""#.to_owned()),
            Route::Readiness => unrecorded(self.readiness()),
            Route::Unknown => {
                let path = path.to_owned();
                self.refuse(&route, request.headers(), GatewayError::NoRoute { path })
            }
            Route::Completion(completion) => self.complete(completion, request).await,
        }
    }

    fn refuse(self: &Arc<Self>, route: &Route, headers: &HeaderMap, error: GatewayError) -> Answer {
        self.open(route.name(), headers).answer_with(route.surface(), Err(error))
    }

    /// The answer to an event that is no HTTP request.
    pub(crate) fn malformed_event(self: &Arc<Self>) -> Answer {
        self.refuse(&Route::Unknown, &HeaderMap::new(), GatewayError::MalformedEvent)
    }

    /// The answer to a body over [`crate::MAX_BODY_BYTES`], for servers that stop reading there.
    pub fn body_too_large(self: &Arc<Self>, head: &Parts) -> Answer {
        self.refuse(&Route::of(head.uri.path()), &head.headers, GatewayError::BodyTooLarge)
    }

    /// The answer to a body that broke off or came too slowly.
    pub fn body_unreadable(self: &Arc<Self>, head: &Parts) -> Answer {
        self.refuse(&Route::of(head.uri.path()), &head.headers, GatewayError::BodyUnreadable)
    }

    /// Refuses a completion that brings no usable key, for servers that would rather not read its body first.
    pub fn refused_early(self: &Arc<Self>, head: &Parts) -> Option<Answer> {
        let route = Route::of(head.uri.path());
        let completes = matches!(route, Route::Completion(_)) && head.method == Method::POST;
        let refused = self.door.presented(&head.headers).err().filter(|_| completes)?;
        Some(self.refuse(&route, &head.headers, refused.into()))
    }

    /// Nothing is asked of anyone: a health check must not cost a read, and a process that got this far has its
    /// configuration.
    fn readiness(&self) -> String {
        let table = if self.keys.is_some() { "connected" } else { "Not connected" };
        serde_json::json!({"status": "healthy", "db": table, "keyturn_version": env!("CARGO_PKG_VERSION")})
            .to_string()
    }
}

/// A JSON document.
pub(crate) fn json(body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer to a health check: a load balancer asks every few seconds, and nobody wants to read of it.
fn unrecorded(body: String) -> Answer {
    Answer { response: json(body), aftermath: None }
}
