//! What the rotators of Google share: access tokens, and the key files of service accounts.
//!
//! The administrator is a service account: `admin_credentials`, a reference to its key file (the whole JSON); or whoever
//! is behind an access token that somebody else keeps fresh: `admin_token`, a reference to it. One of the two.
//!
//! A key file is exchanged for an access token with a JWT that its private key signs:
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use keyturn_config::SecretRef;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::http_calls::{By, Meaning as _, Service};
use crate::settings::{OURS, SettingsError};
use crate::{RotationError, Tools};

/// Where tokens are had: the setting `token_url` where it is not this.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// What tokens are for: all that the service account's roles allow.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a JWT is good for at most, in seconds.
const ASSERTION_LIFE: i64 = 3600;
/// What the token service says when it refuses the key rather than the request (RFC 6749, 5.2).
const OF_THE_CLIENT: [&str; 3] = ["invalid_grant", "invalid_client", "unauthorized_client"];

/// The service that exchanges JWTs for tokens.
#[derive(Clone)]
pub(super) struct Tokens {
    service: Service,
    url: String,
}

impl Tokens {
    /// The service at the address in the setting `token_url`, or Google's.
    ///
    /// # Errors
    ///
    /// It is no address.
    pub(super) fn open(tools: &Tools, url: Option<&str>) -> Result<Self, SettingsError> {
        let service = Service::open(tools, "token_url", url, TOKEN_URL)?;
        Ok(Self { service, url: url.unwrap_or(TOKEN_URL).to_owned() })
    }

    /// Has a key exchanged for an access token.
    ///
    /// # Errors
    ///
    /// [`RotationError::Denied`] or [`RotationError::Refused`]: the key is gone, stopped, or not known yet.
    pub(super) async fn token(
        &self,
        by: By,
        key: &KeyFile,
        now: Timestamp,
    ) -> Result<SecretString, RotationError> {
        #[derive(Deserialize)]
        struct Token {
            access_token: SecretString,
        }
        let assertion = self.assertion(key, now).ok_or_else(unfit)?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.expose_secret()),
        ];
        let call = self.service.post(by, &[]).form(&form).hiding(&assertion).hiding(&key.private_key);
        let answer = call.answer().await?;
        if answer.status() == 400
            && let Some(name) = answer.code_among(&OF_THE_CLIENT)
        {
            return Err(answer.blame(format!("HTTP 400 {name}")));
        }
        answer.success::<Token>().map(|token| token.access_token)
    }

    /// A JWT that says who asks, signed with RS256 (RFC 7515, RFC 7523).
    fn assertion(&self, key: &KeyFile, now: Timestamp) -> Option<SecretString> {
        let at = now.as_second();
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": key.private_key_id});
        let claims = json!({
            "iss": key.client_email,
            "scope": SCOPE,
            "aud": self.url,
            "iat": at,
            "exp": at + ASSERTION_LIFE,
        });
        let piece = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", piece(&header), piece(&claims));
        let private = PrivateKeyDer::from_pem_slice(key.private_key.expose_secret().as_bytes()).ok()?;
        let signer =
            any_supported_type(&private).ok()?.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])?;
        let signature = signer.sign(signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

/// What of a service account's key file matters.
#[derive(Deserialize)]
pub(super) struct KeyFile {
    /// Whose key it is.
    pub(super) client_email: String,
    /// Which of its keys.
    pub(super) private_key_id: String,
    /// The key, in PEM.
    pub(super) private_key: SecretString,
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// [`RotationError::Unfit`].
    pub(super) fn parse(text: &SecretString) -> Result<Self, RotationError> {
        serde_json::from_str(text.expose_secret()).map_err(|_| unfit())
    }
}

fn unfit() -> RotationError {
    RotationError::Unfit("a credential is not the key file of a service account".to_owned())
}

/// An administrator.
pub(super) struct Admin {
    tools: Tools,
    tokens: Tokens,
    login: Login,
    /// Its token. A rotator lives for one step, and a token for an hour.
    kept: OnceCell<SecretString>,
}

enum Login {
    Token(SecretRef),
    KeyFile(SecretRef),
}

impl Admin {
    /// The administrator of the settings `admin_credentials` and `admin_token`.
    ///
    /// # Errors
    ///
    /// There is none, or there are two.
    pub(super) fn open(
        tools: &Tools,
        tokens: Tokens,
        credentials: Option<SecretRef>,
        token: Option<SecretRef>,
    ) -> Result<Self, SettingsError> {
        let wrong = |name: &str, problem: &str| Err(SettingsError::new(format!("{OURS}{name}"), problem));
        let login = match (credentials, token) {
            (Some(credentials), None) => Login::KeyFile(credentials),
            (None, Some(token)) => Login::Token(token),
            (Some(_), Some(_)) => return wrong("admin_token", "takes the place of admin_credentials"),
            (None, None) => return wrong("admin_credentials", "or keyturn:admin_token is required"),
        };
        Ok(Self { tools: tools.clone(), tokens, login, kept: OnceCell::new() })
    }

    /// Its access token.
    ///
    /// # Errors
    ///
    /// [`RotationError::Denied`]: its credential is wrong; see [`RotationError`].
    pub(super) async fn token(&self) -> Result<&SecretString, RotationError> {
        self.kept
            .get_or_try_init(async || match &self.login {
                Login::Token(reference) => self.tools.secret(reference).await,
                Login::KeyFile(reference) => {
                    let key = KeyFile::parse(&self.tools.secret(reference).await?)?;
                    self.tokens.token(By::Admin, &key, self.tools.now()).await
                }
            })
            .await
    }
}

/// The body of a call that has a Gemini model write one token.
pub(super) fn one_token() -> Value {
    json!({
        "contents": [{"role": "user", "parts": [{"text": "."}]}],
        "generationConfig": {"maxOutputTokens": 1},
    })
}
