//! What a failed call means for the caller. Codes:
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html#API_GetSecretValue_Errors>,
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html>.

use std::error::Error;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use keyturn_identity::IdentityError;

use crate::stores::answers::unidentified;
use crate::{Cause, SecretError};

/// Codes that say: not there, not under this name, or scheduled for deletion.
const ABSENT: &[&str] =
    &["ResourceNotFoundException", "InvalidRequestException", "InvalidParameterException"];

/// Codes that say: not for you.
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "DecryptionFailure",
    "EncryptionFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Those of them that say: the access key is none, or is none any more.
const NO_KEY: &[&str] =
    &["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"];

/// Whether the access key was not taken.
pub(super) fn refuses_key<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code.is_some_and(|code| NO_KEY.contains(&code))
}

/// Why we could not say who we are, if that is what went wrong: the SDK wraps it several times.
fn identity<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a IdentityError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What the failure is called and what was said about it, without the raw response: that may hold a secret.
pub(super) fn classify<E>(reference: String, error: &SdkError<E, HttpResponse>) -> SecretError
where
    E: ProvideErrorMetadata,
{
    sort(reference, error, true)
}

/// The same for a call that carries a value: what was said is left out, since it may repeat the call, unless it is about
/// who may call.
pub(super) fn classify_silently<E>(reference: String, error: &SdkError<E, HttpResponse>) -> SecretError
where
    E: ProvideErrorMetadata,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    sort(reference, error, code.is_some_and(|code| DENIED.contains(&code)))
}

fn sort<E>(reference: String, error: &SdkError<E, HttpResponse>, aloud: bool) -> SecretError
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::ServiceError(refusal) => {
            let (code, message) = (refusal.err().code(), refusal.err().message());
            let message = message.filter(|_| aloud).unwrap_or("no message");
            let cause = format!("{}: {message}", code.unwrap_or("no error code"));
            let status = refusal.raw().status().as_u16();
            match code {
                Some(code) if ABSENT.contains(&code) => SecretError::not_found(reference, &cause),
                Some(code) if DENIED.contains(&code) => SecretError::denied(reference, &cause),
                _ if matches!(status, 401 | 403) => SecretError::denied(reference, &cause),
                _ => SecretError::unavailable(reference, &format!("HTTP {status}, {cause}")),
            }
        }
        SdkError::ConstructionFailure(_) => SecretError::denied(reference, "the call could not be built"),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(error) if let Some(cause) = identity(error) => unidentified(&reference, cause),
            Some(error) if error.is_io() || error.is_timeout() => {
                SecretError::Unavailable { reference, cause: Cause::of(error) }
            }
            // It never left: no region, no credentials, a malformed endpoint.
            Some(error) => SecretError::Denied { reference, cause: Cause::of(error) },
            None => SecretError::denied(reference, "the call could not be sent"),
        },
        SdkError::TimeoutError(_) => SecretError::unavailable(reference, "no answer in time"),
        _ => SecretError::unavailable(reference, "an answer that cannot be read"),
    }
}

/// Whether the service as a whole does not answer now.
pub(super) fn is_outage<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(classify(String::new(), error), SecretError::Unavailable { .. })
}
