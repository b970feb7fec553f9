//! Signature Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sigv4};
use aws_sigv4::sign::v4;
use http::HeaderName;
use jiff::Timestamp;
use keyturn_http::call::Call;
use secrecy::{ExposeSecret, SecretString};

use super::AccessKey;

/// Signs a call that is otherwise complete: nothing may be added to it afterwards.
pub fn sign<'a, Mark>(
    call: Call<'a, Mark>,
    key: &AccessKey,
    service: &str,
    region: &str,
    now: Timestamp,
) -> Call<'a, Mark> {
    let Some(headers) = signature(&call, key, service, region, now) else {
        return call.unfit("a call of AWS cannot be signed with the key");
    };
    let signed = headers.into_iter().fold(call, |call, (name, value)| call.put_secret(name, &value));
    let signed = signed.hiding(&key.secret).hiding(&SecretString::from(key.id.as_str()));
    key.session.iter().fold(signed, Call::hiding)
}

/// The headers that make a call a signed one.
fn signature<Mark>(
    call: &Call<'_, Mark>,
    key: &AccessKey,
    service: &str,
    region: &str,
    now: Timestamp,
) -> Option<Vec<(HeaderName, String)>> {
    let (method, url, headers, body) = call.parts();
    let host = url.host_str()?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut texts = vec![("host", host.as_str())];
    for (name, value) in headers {
        texts.push((name.as_str(), value.to_str().ok()?));
    }
    let request = (method.as_str(), url.as_str(), &*texts, body);
    let added = signed_headers(request, key, service, region, now)?;
    added.into_iter().map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value))).collect()
}

/// The headers that a signature adds to a request, which is a method, an address, headers (`host` among them) and a
/// body: for whoever has the request sent by somebody else. `None`: it cannot be signed.
#[must_use]
pub fn signed_headers(
    (method, url, headers, body): (&str, &str, &[(&str, &str)], &[u8]),
    key: &AccessKey,
    service: &str,
    region: &str,
    now: Timestamp,
) -> Option<Vec<(String, String)>> {
    let session = key.session.as_ref().map(|session| session.expose_secret().to_owned());
    let secret = key.secret.expose_secret();
    let identity = Credentials::new(key.id.as_str(), secret, session, None, "keyturn").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let request = SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body));
    let (signed, _) = sigv4(request.ok()?, &parameters).ok()?.into_parts();
    Some(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
