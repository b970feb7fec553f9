//! Which path is which handler.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use keyturn_providers::Surface;
use percent_encoding::percent_decode_str;

use crate::answer::{Answer, Body};
use crate::completion::Completion;
use crate::error::GatewayError;
use crate::gateway::Gateway;

impl Gateway {
    /// Answers one request. The path is as the client sent it, without an API stage.
    pub async fn answer(self: &Arc<Self>, request: Request<Bytes>) -> Answer {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let method = request.method();
        match segments.as_slice() {
            ["v1", "chat", "completions"] | ["chat", "completions"] => {
                self.post(request, Surface::ChatCompletions, "/chat/completions", None).await
            }
            ["openai", "deployments", model, "chat", "completions"]
            | ["engines", model, "chat", "completions"] => {
                let model = percent_decode_str(model).decode_utf8_lossy().into_owned();
                self.post(request, Surface::ChatCompletions, "/chat/completions", Some(model)).await
            }
            ["v1", "messages"] => self.post(request, Surface::Messages, "/v1/messages", None).await,
            ["v1", "models"] | ["models"] if method == Method::GET => self.list_models(&request).await,
            ["v1", "models", rest @ ..] | ["models", rest @ ..] if method == Method::GET => {
                let id = percent_decode_str(&rest.join("/")).decode_utf8_lossy().into_owned();
                self.show_model(&request, &id).await
            }
            ["health", "liveliness" | "liveness"] if method == Method::GET => {
                json(r#""I'm alive!""#.to_owned())
            }
            ["health", "readiness"] if method == Method::GET => json(self.readiness()),
            ["v1", "models", ..] | ["models", ..] | ["health", "liveliness" | "liveness" | "readiness"] => {
                refuse(GatewayError::Method { allow: "GET" })
            }
            _ => refuse(GatewayError::NoRoute { path }),
        }
    }

    /// The answer to a body over [`crate::MAX_BODY_BYTES`], for servers that stop reading there.
    #[must_use]
    pub fn body_too_large() -> Answer {
        refuse(GatewayError::BodyTooLarge)
    }

    async fn post(
        self: &Arc<Self>,
        request: Request<Bytes>,
        surface: Surface,
        route: &'static str,
        model: Option<String>,
    ) -> Answer {
        if request.method() != Method::POST {
            return refuse(GatewayError::Method { allow: "POST" });
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

/// A refusal that needs no record.
pub(crate) fn refuse(error: GatewayError) -> Answer {
    Answer { response: error.into_response(None), aftermath: None }
}

/// A JSON answer that needs no record.
pub(crate) fn json(body: String) -> Answer {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Answer { response, aftermath: None }
}
