//! The key of a service account: a JWT that it signs is exchanged for an access token.
//!
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::SCOPE;
use super::answers::{GOOGLE, granted, post, trusted};
use crate::{Granted, IdentityError};

/// How long a JWT is good for, in seconds; the most that there is.
const ASSERTION_LIFE: i64 = 3600;

/// What of a key file matters.
#[derive(Deserialize)]
pub(super) struct ServiceAccount {
    /// Whose key it is.
    client_email: String,
    /// Which of its keys.
    private_key_id: Option<String>,
    /// The key, in PEM.
    private_key: SecretString,
    token_uri: String,
    pub(super) project_id: Option<String>,
}

impl ServiceAccount {
    pub(super) async fn token(
        &self,
        http: &reqwest::Client,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        let url = trusted(&self.token_uri, "token_uri")?;
        let assertion = self
            .assertion(now)
            .ok_or_else(|| IdentityError::setting("private_key", "is not an RSA key in PEM that can sign"))?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.expose_secret()),
        ];
        let call = post(http, url, &form).hiding(&assertion).hiding(&self.private_key);
        granted(call, GOOGLE, now).await
    }

    /// A JWT that says who asks, signed with RS256 (RFC 7515, RFC 7523).
    fn assertion(&self, now: Timestamp) -> Option<SecretString> {
        let at = now.as_second();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.private_key_id {
            header["kid"] = json!(id);
        }
        let claims = json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": at,
            "exp": at + ASSERTION_LIFE,
        });
        let piece = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", piece(&header), piece(&claims));
        let private = PrivateKeyDer::from_pem_slice(self.private_key.expose_secret().as_bytes()).ok()?;
        let signer =
            any_supported_type(&private).ok()?.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])?;
        let signature = signer.sign(signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}
