//! Every way a request can be refused, and the one place that gives each its status and its body.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use keyturn_entry::KeyFault;
use keyturn_keys::{KeyError, KeyHash, ManageError};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No usable key.
    NoKey(KeyFault),
    /// The key opens nothing.
    Key(KeyHash, Box<KeyError>),
    /// The key may not do this.
    Denied,
    /// A field or a parameter cannot be accepted; the message says why, to be read after the name.
    Field { param: String, reason: String },
    /// Longer than [`crate::MAX_BODY_BYTES`].
    TooLarge,
    /// The client's body broke off, or came too slowly.
    Unreadable,
    /// Not JSON by its own header.
    MediaType,
    /// No such route.
    NoRoute,
    /// The route has other methods.
    Method { allow: &'static str },
    /// What the manager says.
    Manage(ManageError),
    /// The function failed.
    Panic,
}

/// How LiteLLM words errors.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

/// What was wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// For people.
    message: String,
    /// For programs.
    r#type: String,
    /// The field or parameter that it is about.
    param: Option<String>,
    /// The status.
    code: String,
}

struct Told {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
}

impl Refusal {
    /// A field or a parameter cannot be accepted.
    pub(crate) fn field(param: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { param: param.into(), reason: reason.into() }
    }

    /// What goes wrong behind this function, for the operator.
    pub(crate) fn failure(&self) -> Option<String> {
        match self {
            Self::Manage(ManageError::Unavailable(failure) | ManageError::KeptUnavailable(failure)) => {
                Some(failure.to_string())
            }
            Self::Key(_, error) => match error.as_ref() {
                KeyError::Unavailable(failure) => Some(failure.to_string()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The name that the log line carries.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NoKey(KeyFault::NoKey) => "no_key",
            Self::NoKey(KeyFault::MalformedBearer) => "malformed_bearer",
            Self::NoKey(KeyFault::NotAVirtualKey { .. }) => "not_a_virtual_key",
            Self::Key(_, error) if matches!(**error, KeyError::Unavailable(_)) => "key_store_unavailable",
            Self::Key(..) => "key_refused",
            Self::Denied => "denied",
            Self::Field { .. } => "bad_request",
            Self::TooLarge => "body_too_large",
            Self::Unreadable => "body_unreadable",
            Self::MediaType => "unsupported_media_type",
            Self::NoRoute => "no_route",
            Self::Method { .. } => "method_not_allowed",
            Self::Manage(error) => match error {
                ManageError::Invalid { .. } => "invalid",
                ManageError::Duplicate { .. } => "duplicate",
                ManageError::NotFound { .. } => "not_found",
                ManageError::Denied { .. } => "denied",
                ManageError::Conflict => "conflict",
                ManageError::Unavailable(_) => "key_store_unavailable",
                ManageError::KeptUnavailable(_) => "secret_store_unavailable",
            },
            Self::Panic => "panic",
        }
    }

    /// The response.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let allow = match &self {
            Self::Method { allow } => Some(*allow),
            _ => None,
        };
        let Told { status, kind, message, param } = self.told();
        let code = status.as_str().to_owned();
        let body = ErrorBody { error: ErrorDetail { message, r#type: kind.to_owned(), param, code } };
        let mut response = json(status, &body);
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    fn told(self) -> Told {
        match self {
            Self::NoKey(fault) => told(StatusCode::UNAUTHORIZED, "auth_error", fault.to_string()),
            Self::Key(hash, error) => about_key(&hash, &error),
            Self::Denied => denied("This key may not call this route."),
            Self::Field { param, reason } => {
                Told { param: Some(param.clone()), ..bad(format!("{param} {reason}")) }
            }
            Self::TooLarge => Told {
                param: Some("request_body".to_owned()),
                status: StatusCode::PAYLOAD_TOO_LARGE,
                ..bad("The request body is larger than 1 MB.".to_owned())
            },
            Self::Unreadable => Told {
                param: Some("request_body".to_owned()),
                ..bad("The request body broke off or came too slowly.".to_owned())
            },
            Self::MediaType => Told {
                param: Some("content-type".to_owned()),
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ..bad("The request body must be application/json.".to_owned())
            },
            Self::NoRoute => told(StatusCode::NOT_FOUND, "not_found_error", "No such route.".to_owned()),
            Self::Method { allow } => {
                let message = format!("This route takes {allow} only.");
                told(StatusCode::METHOD_NOT_ALLOWED, "bad_request_error", message)
            }
            Self::Manage(error) => managed(&error),
            Self::Panic => told(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_server_error",
                "The gateway failed.".to_owned(),
            ),
        }
    }
}

fn managed(error: &ManageError) -> Told {
    match *error {
        ManageError::Invalid { field, reason } => {
            Told { param: Some(field.to_owned()), ..bad(format!("{field} {reason}")) }
        }
        ManageError::Duplicate { field } => Told {
            param: Some(field.to_owned()),
            kind: if field == "member" { "team_member_already_in_team" } else { "bad_request_error" },
            ..bad(format!("{field} is taken already."))
        },
        ManageError::NotFound { what } => Told {
            param: Some(what.to_owned()),
            ..told(StatusCode::NOT_FOUND, "not_found_error", format!("There is no such {what}."))
        },
        ManageError::Denied { field } => {
            Told { param: Some(field.to_owned()), ..denied("This key may not see or change this.") }
        }
        ManageError::Conflict => told(
            StatusCode::CONFLICT,
            "conflict_error",
            "Others are changing the same thing; try again.".to_owned(),
        ),
        ManageError::Unavailable(_) => ours("The gateway's key store is unavailable."),
        ManageError::KeptUnavailable(_) => ours("The secret store for virtual keys is unavailable."),
    }
}

fn about_key(hash: &KeyHash, error: &KeyError) -> Told {
    let refused = |kind, message| told(StatusCode::UNAUTHORIZED, kind, message);
    match error {
        KeyError::Unavailable(_) => ours("The gateway's key store is unavailable."),
        KeyError::Expired { at } => Told {
            param: Some("key".to_owned()),
            ..refused("expired_key", format!("Authentication Error - Expired Key. Key Expiry time {at}."))
        },
        KeyError::Blocked => refused(
            "auth_error",
            "Authentication Error, Key is blocked. Update via `/key/unblock` if you are an admin.".to_owned(),
        ),
        KeyError::TeamBlocked { .. } => refused(
            "auth_error",
            "Authentication Error, Team is blocked. Update via `/team/unblock` if you are an admin."
                .to_owned(),
        ),
        // What remains of the others cannot be said of a key that is only shown.
        KeyError::NotFound
        | KeyError::RouteDenied { .. }
        | KeyError::ModelDenied { .. }
        | KeyError::BudgetExceeded { .. }
        | KeyError::RateLimited { .. } => Told {
            param: Some("key".to_owned()),
            ..refused(
                "token_not_found_in_db",
                format!(
                    "Authentication Error, Invalid proxy server token passed. Key Hash (Token) ={hash}. Unable to find token in cache or the key table."
                ),
            )
        },
    }
}

fn told(status: StatusCode, kind: &'static str, message: String) -> Told {
    Told { status, kind, message, param: None }
}

fn bad(message: String) -> Told {
    told(StatusCode::BAD_REQUEST, "bad_request_error", message)
}

fn denied(message: &'static str) -> Told {
    told(StatusCode::FORBIDDEN, "auth_error", message.to_owned())
}

fn ours(message: &'static str) -> Told {
    told(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", message.to_owned())
}

/// A JSON document.
pub(crate) fn json<T: Serialize>(status: StatusCode, document: &T) -> Response<Bytes> {
    // Every map of ours has text for keys, so there is nothing that cannot be written.
    let body = serde_json::to_vec(document).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl From<ManageError> for Refusal {
    fn from(error: ManageError) -> Self {
        Self::Manage(error)
    }
}
