//! What a failed call means for the caller. Codes:
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html#API_GetSecretValue_Errors>,
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html>.

use std::error::Error;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use crate::SecretError;

/// Codes that say: not there, not under this name, or scheduled for deletion.
const ABSENT: &[&str] =
    &["ResourceNotFoundException", "InvalidRequestException", "InvalidParameterException"];

/// Codes that say: not for you.
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "DecryptionFailure",
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

/// What the failure is called and what was said about it, without the raw response: that may hold a secret.
pub(super) fn classify<E>(reference: String, error: &SdkError<E, HttpResponse>) -> SecretError
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::ServiceError(refusal) => {
            let (code, message) = (refusal.err().code(), refusal.err().message());
            let cause = format!("{}: {}", code.unwrap_or("no error code"), message.unwrap_or("no message"));
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
            Some(error) if error.is_io() || error.is_timeout() => {
                SecretError::unavailable(reference, &words(error))
            }
            // It never left: no region, no credentials, a malformed endpoint.
            Some(error) => SecretError::denied(reference, &words(error)),
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

/// An error and what it comes from.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words.push_str(": ");
        words.push_str(&error.to_string());
        source = error.source();
    }
    words
}
