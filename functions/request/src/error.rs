//! Every way a request can be refused, and the one place that gives each its status and its body.
//!
//! 4xx is the caller's, and names the field; 503 is ours; an upstream's fault keeps its own status or is 502.
//! Messages of ours follow LiteLLM's where its clients may look at them.

mod key;

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use keyturn_entry::KeyFault;
use keyturn_keys::KeyError;
use keyturn_providers::{BadRequest, Failure, Surface, error_body};

use crate::answer::Body;

/// Why a request was refused.
#[derive(Debug)]
pub(crate) enum GatewayError {
    /// No header holds a usable key.
    NoKey(KeyFault),
    /// The key store's refusal of the key with this hash.
    Key { hash: String, error: Box<KeyError>, now: Timestamp },
    /// The body is not what the route takes.
    BadRequest(BadRequest),
    /// Not JSON by its own header.
    UnsupportedMediaType,
    /// Over [`crate::MAX_BODY_BYTES`].
    BodyTooLarge,
    /// The client's body broke off, or came too slowly.
    BodyUnreadable,
    /// HTTP does not allow what stands in the event: a header with a newline, a broken base64 body.
    MalformedEvent,
    /// No such route.
    NoRoute { path: String },
    /// The route has other methods.
    Method { allow: &'static str },
    /// No deployment has this model name.
    UnknownModel { model: String, route: &'static str },
    /// No model of this id is there for the caller.
    NoModel { model: String },
    /// The model's provider does not speak this surface.
    SurfaceUnsupported { model: String },
    /// A secret store is down, or a reference does not resolve.
    CredentialUnavailable,
    /// The deployment cannot make a request.
    DeploymentMisconfigured,
    /// Every deployment is cooling down.
    CoolingDown { model: String, retry_after: Duration },
    /// The upstream's own refusal, already in the client's format.
    Upstream(Box<Failure>),
    /// The upstream refuses our credential, refreshed and previous alike.
    UpstreamAuth,
    /// The upstream could not be reached or broke off.
    UpstreamUnreachable,
    /// The upstream took longer than its timeout.
    UpstreamTimeout,
    /// The upstream answered a request for a stream with a whole document.
    UpstreamDoesNotStream,
    /// The upstream's answer is longer than any real one.
    UpstreamTooLong,
    /// The gateway panicked.
    Panic,
}

/// The parts of an error that both formats are made from.
struct Told {
    status: StatusCode,
    kind: &'static str,
    code: Option<String>,
    param: Option<String>,
    message: String,
    headers: HeaderMap,
}

impl GatewayError {
    /// A fault of the service behind us for which another deployment may do better.
    pub(crate) fn is_retryable(&self) -> bool {
        use keyturn_providers::Refusal::{
            ContentPolicy, ContextWindow, Credential, RateLimited, Request, Unavailable,
        };
        match self {
            Self::Upstream(failure) => match failure.refusal {
                RateLimited | Unavailable | Credential => true,
                ContextWindow | ContentPolicy | Request => false,
            },
            Self::UpstreamAuth
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout
            | Self::UpstreamDoesNotStream
            | Self::CredentialUnavailable
            | Self::DeploymentMisconfigured
            | Self::CoolingDown { .. } => true,
            Self::NoKey(_)
            | Self::Key { .. }
            | Self::BadRequest(_)
            | Self::UnsupportedMediaType
            | Self::BodyTooLarge
            | Self::MalformedEvent
            | Self::NoRoute { .. }
            | Self::Method { .. }
            | Self::UnknownModel { .. }
            | Self::NoModel { .. }
            | Self::SurfaceUnsupported { .. }
            | Self::UpstreamTooLong
            | Self::BodyUnreadable
            | Self::Panic => false,
        }
    }

    /// Whether the same deployment may be asked again at once: a fault that passes, and no word to wait.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Upstream(failure) => {
                failure.refusal == keyturn_providers::Refusal::Unavailable
                    && !failure.headers.contains_key(RETRY_AFTER)
            }
            Self::UpstreamUnreachable => true,
            _ => false,
        }
    }

    /// The name that the log line carries.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NoKey(KeyFault::NoKey) => "no_key",
            Self::NoKey(KeyFault::MalformedBearer) => "malformed_bearer",
            Self::NoKey(KeyFault::NotAVirtualKey { .. }) => "not_a_virtual_key",
            Self::Key { error, .. } => key::name(error),
            Self::BadRequest(_) => "bad_request",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTooLarge => "body_too_large",
            Self::MalformedEvent => "malformed_event",
            Self::NoRoute { .. } => "no_route",
            Self::Method { .. } => "method_not_allowed",
            Self::UnknownModel { .. } | Self::NoModel { .. } => "unknown_model",
            Self::SurfaceUnsupported { .. } => "surface_unsupported",
            Self::CredentialUnavailable => "credential_unavailable",
            Self::DeploymentMisconfigured => "deployment_misconfigured",
            Self::CoolingDown { .. } => "cooling_down",
            Self::Upstream(_) => "upstream_error",
            Self::UpstreamAuth => "upstream_auth_error",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamDoesNotStream => "upstream_does_not_stream",
            Self::UpstreamTooLong => "upstream_too_long",
            Self::BodyUnreadable => "body_unreadable",
            Self::Panic => "panic",
        }
    }

    /// The response, in the client's format. LiteLLM's authentication errors are OpenAI-shaped on every surface.
    pub(crate) fn into_response(self, surface: Option<Surface>) -> Response<Body> {
        let anthropic = surface == Some(Surface::Messages) && !self.is_about_the_key();
        let is_our_credential = matches!(self, Self::UpstreamAuth);
        let told = match self {
            Self::Upstream(failure) => {
                return respond(failure.status, failure.headers, failure.body.into());
            }
            other => other.tell(),
        };
        let body = if anthropic {
            // Anthropic has no word for a gateway's credential.
            let kind = if is_our_credential { told.kind } else { error_body::anthropic_kind(told.status) };
            error_body::anthropic(kind, &told.message)
        } else {
            error_body::openai(&told.message, told.kind, told.param.as_deref(), told.code.as_deref())
        };
        respond(told.status, told.headers, body.into())
    }

    fn is_about_the_key(&self) -> bool {
        matches!(self, Self::NoKey(_) | Self::Key { .. })
    }

    fn tell(self) -> Told {
        match self {
            Self::NoKey(fault) => auth("auth_error", fault.to_string()),
            Self::Key { hash, error, now } => key::told(&hash, *error, now),
            Self::BadRequest(error) => Told {
                param: error.param,
                code: error.code.map(str::to_owned),
                ..invalid(StatusCode::BAD_REQUEST, error.message)
            },
            Self::UnsupportedMediaType => Told {
                param: Some("content-type".to_owned()),
                ..invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The request body must be application/json.")
            },
            Self::BodyTooLarge => Told {
                param: Some("request_body".to_owned()),
                ..invalid(StatusCode::PAYLOAD_TOO_LARGE, "The request body is larger than 6 MB.")
            },
            Self::MalformedEvent => Told {
                param: Some("request".to_owned()),
                ..invalid(
                    StatusCode::BAD_REQUEST,
                    "A header, the path or the body of the request has characters that HTTP does not allow.",
                )
            },
            Self::NoRoute { path } => invalid(StatusCode::NOT_FOUND, format!("No such route: {path}")),
            Self::Method { allow } => {
                let mut told =
                    invalid(StatusCode::METHOD_NOT_ALLOWED, format!("This route takes {allow} only."));
                told.headers.insert(http::header::ALLOW, HeaderValue::from_static(allow));
                told
            }
            Self::UnknownModel { model, route } => Told {
                param: Some("model".to_owned()),
                ..invalid(
                    StatusCode::BAD_REQUEST,
                    format!(
                        "{route}: Invalid model name passed in model={model}. Call `/v1/models` to view available models for your key."
                    ),
                )
            },
            Self::NoModel { model } => Told {
                param: Some("model".to_owned()),
                code: Some("model_not_found".to_owned()),
                ..invalid(
                    StatusCode::NOT_FOUND,
                    format!("The model `{model}` does not exist or your key has no access to it."),
                )
            },
            Self::SurfaceUnsupported { model } => Told {
                param: Some("model".to_owned()),
                ..invalid(
                    StatusCode::BAD_REQUEST,
                    format!("model={model} is not served on this route; use /v1/chat/completions."),
                )
            },
            Self::CredentialUnavailable => ours("The gateway's provider credential is unavailable."),
            Self::DeploymentMisconfigured => ours("The gateway's deployment of this model is misconfigured."),
            Self::CoolingDown { model, retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                let mut told = Told {
                    status: StatusCode::TOO_MANY_REQUESTS,
                    kind: "rate_limit_error",
                    code: Some("429".to_owned()),
                    param: Some("model".to_owned()),
                    message: format!(
                        "No deployments available for selected model={model}. Try again in {seconds} seconds."
                    ),
                    headers: HeaderMap::new(),
                };
                told.headers
                    .insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
                told
            }
            Self::UpstreamAuth => upstream(
                StatusCode::BAD_GATEWAY,
                "upstream_auth_error",
                "The provider refused the gateway's credential.",
            ),
            Self::UpstreamUnreachable => upstream(
                StatusCode::BAD_GATEWAY,
                "upstream_error",
                "The provider could not be reached or broke off the connection.",
            ),
            Self::UpstreamTimeout => upstream(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "The provider did not answer in time.",
            ),
            Self::Upstream(_) => upstream(StatusCode::BAD_GATEWAY, "upstream_error", "The provider failed."),
            Self::UpstreamDoesNotStream => upstream(
                StatusCode::BAD_GATEWAY,
                "upstream_error",
                "The provider did not answer with a stream.",
            ),
            Self::UpstreamTooLong => {
                upstream(StatusCode::BAD_GATEWAY, "upstream_error", "The provider's answer is too long.")
            }
            Self::BodyUnreadable => Told {
                param: Some("request_body".to_owned()),
                ..invalid(StatusCode::BAD_REQUEST, "The request body broke off or came too slowly.")
            },
            Self::Panic => Told {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                kind: "internal_server_error",
                code: Some("500".to_owned()),
                ..ours("The gateway failed.")
            },
        }
    }
}

fn auth(kind: &'static str, message: impl Into<String>) -> Told {
    Told {
        status: StatusCode::UNAUTHORIZED,
        kind,
        code: Some("401".to_owned()),
        param: None,
        message: message.into(),
        headers: HeaderMap::new(),
    }
}

fn invalid(status: StatusCode, message: impl Into<String>) -> Told {
    Told {
        status,
        kind: "invalid_request_error",
        code: Some(status.as_str().to_owned()),
        param: None,
        message: message.into(),
        headers: HeaderMap::new(),
    }
}

fn ours(message: &'static str) -> Told {
    Told {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "service_unavailable",
        code: Some("503".to_owned()),
        param: None,
        message: message.to_owned(),
        headers: HeaderMap::new(),
    }
}

fn upstream(status: StatusCode, kind: &'static str, message: &'static str) -> Told {
    Told {
        status,
        kind,
        code: Some(kind.to_owned()),
        param: None,
        message: message.to_owned(),
        headers: HeaderMap::new(),
    }
}

fn respond(status: StatusCode, mut headers: HeaderMap, body: Body) -> Response<Body> {
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

impl From<KeyFault> for GatewayError {
    fn from(fault: KeyFault) -> Self {
        Self::NoKey(fault)
    }
}
