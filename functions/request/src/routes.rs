//! Which path is which handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use keyturn_providers::Surface;
use percent_encoding::percent_decode_str;

use crate::answer::{Answer, Body};
use crate::completion::Completion;
use crate::error::GatewayError;
use crate::gateway::Gateway;

impl Gateway {
    /// Answers one request. The path is as the client sent it, without an API stage.
    pub async fn answer(self: &Arc<Self>, request: Request<Bytes>) -> Answer {
        // What the panic interrupted has written its record; its message may hold anything and is not repeated.
        AssertUnwindSafe(self.route(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Answer { response: GatewayError::Panic.into_response(None), aftermath: None })
    }

    async fn route(self: &Arc<Self>, request: Request<Bytes>) -> Answer {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let get = request.method() == Method::GET;
        match segments.as_slice() {
            ["v1", "chat", "completions"] | ["chat", "completions"] => {
                self.post(request, Surface::ChatCompletions, CHAT, None).await
            }
            // A model's name may hold slashes.
            ["openai", "deployments", model @ .., "chat", "completions"]
            | ["engines", model @ .., "chat", "completions"]
                if !model.is_empty() =>
            {
                self.post(request, Surface::ChatCompletions, CHAT, Some(decoded(model))).await
            }
            ["v1", "messages"] => self.post(request, Surface::Messages, "/v1/messages", None).await,
            ["v1", "models"] | ["models"] if get => {
                let open = self.open("/v1/models", request.headers());
                open.answer_with(self.list_models(request.headers()).await)
            }
            ["v1", "models", id @ ..] | ["models", id @ ..] if get => {
                let open = self.open("/v1/models/{id}", request.headers());
                open.answer_with(self.show_model(request.headers(), &decoded(id)).await)
            }
            ["health", "liveliness" | "liveness"] if get => unrecorded(r#""I'm alive!""#.to_owned()),
            ["health", "readiness"] if get => unrecorded(self.readiness()),
            ["v1", "models", ..] | ["models", ..] | ["health", "liveliness" | "liveness" | "readiness"] => {
                self.refuse(request.headers(), GatewayError::Method { allow: "GET" })
            }
            _ => self.refuse(request.headers(), GatewayError::NoRoute { path }),
        }
    }

    /// Refuses what no handler has seen.
    pub(crate) fn refuse(self: &Arc<Self>, headers: &HeaderMap, error: GatewayError) -> Answer {
        self.open("none", headers).answer_with(Err(error))
    }

    /// The answer to a body over [`crate::MAX_BODY_BYTES`], for servers that stop reading there.
    pub fn body_too_large(self: &Arc<Self>, headers: &HeaderMap) -> Answer {
        self.refuse(headers, GatewayError::BodyTooLarge)
    }

    /// The answer to a body that broke off or came too slowly.
    pub fn body_unreadable(self: &Arc<Self>, headers: &HeaderMap) -> Answer {
        self.refuse(headers, GatewayError::BodyUnreadable)
    }

    /// Refuses a request that brings no usable key, for servers that would rather not read its body first.
    pub fn refused_early(self: &Arc<Self>, method: &Method, headers: &HeaderMap) -> Option<Answer> {
        let refused = self.door.presented(headers).err().filter(|_| method == Method::POST)?;
        Some(self.refuse(headers, refused))
    }

    async fn post(
        self: &Arc<Self>,
        request: Request<Bytes>,
        surface: Surface,
        route: &'static str,
        model: Option<String>,
    ) -> Answer {
        if request.method() != Method::POST {
            return self.refuse(request.headers(), GatewayError::Method { allow: "POST" });
        }
        self.complete(Completion { surface, route, model }, request).await
    }

    /// Nothing is asked of anyone: a health check must not cost a read, and a process that got this far has its
    /// configuration.
    fn readiness(&self) -> String {
        let table = if self.keys.is_some() { "connected" } else { "Not connected" };
        serde_json::json!({"status": "healthy", "db": table, "keyturn_version": env!("CARGO_PKG_VERSION")})
            .to_string()
    }
}

/// LiteLLM names the route so in its messages, whichever way it was called.
const CHAT: &str = "/chat/completions";

fn decoded(segments: &[&str]) -> String {
    percent_decode_str(&segments.join("/")).decode_utf8_lossy().into_owned()
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
