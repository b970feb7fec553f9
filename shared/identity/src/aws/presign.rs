//! Signature Version 4 in an address: it says by itself who asks, for as long as it is good for.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign as sigv4,
};
use aws_sigv4::sign::v4;
use jiff::Timestamp;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};

use super::AccessKey;

/// The parameter that stands last.
const SIGNATURE: &str = "X-Amz-Signature";

/// Signs the address of a call without a body; `None` if the key or the address cannot be signed with. Who has the
/// result can make the call, so it is a secret. AWS allows at most seven days, and a temporary key's end is its end
/// too.
#[must_use]
pub fn presign(
    method: &Method,
    url: &Url,
    key: &AccessKey,
    (service, region): (&str, &str),
    (now, lasts): (Timestamp, Duration),
) -> Option<SecretString> {
    let session = key.session.as_ref().map(|session| session.expose_secret().to_owned());
    let secret = key.secret.expose_secret();
    let identity = Credentials::new(key.id.as_str(), secret, session, None, "keyturn").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(lasts);
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::from(now))
        .settings(settings)
        .build()
        .ok()?
        .into();
    let host = url.host_str()?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let headers = std::iter::once(("host", host.as_str()));
    let request = SignableRequest::new(method.as_str(), url.as_str(), headers, SignableBody::Bytes(&[]));
    let (signed, _) = sigv4(request.ok()?, &parameters).ok()?.into_parts();
    let mut url = url.clone();
    // The order is that of AWS's own SDKs, with the signature last.
    let (last, first): (Vec<_>, Vec<_>) = signed.params().iter().partition(|(name, _)| *name == SIGNATURE);
    url.query_pairs_mut().extend_pairs(first.into_iter().chain(last));
    Some(SecretString::from(String::from(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_sdk_for_python_signs() {
        let key = AccessKey {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session: Some("IQoJb3JpZ2luX2VjEXAMPLE/+token==".into()),
        };
        let url: Url = "https://bedrock.amazonaws.com/?Action=CallWithBearerToken".parse().unwrap();
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let of = |key: &AccessKey, lasts| {
            let time = (now, Duration::from_secs(lasts));
            presign(&Method::POST, &url, key, ("bedrock", "eu-west-1"), time).unwrap()
        };
        // botocore 1.44.8: SigV4QueryAuth with these keys at this time.
        let expected = "https://bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261130%2Feu-west-1%2Fbedrock%2Faws4_request\
            &X-Amz-Date=20261130T120000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host\
            &X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2Btoken%3D%3D\
            &X-Amz-Signature=550cc9ed67e0ab03fb9c7a41dbde053a3e5b0798748a1d1552a80e1d031b8271";
        assert_eq!(of(&key, 3600).expose_secret(), expected);
        assert_ne!(of(&key, 3599).expose_secret(), expected);
    }
}
