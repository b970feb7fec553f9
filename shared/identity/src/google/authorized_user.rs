//! A person, by the refresh token that `gcloud auth application-default login` leaves on a laptop.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::answers::{GOOGLE, granted, post, trusted};
use crate::{Granted, IdentityError};

/// What of the file matters.
#[derive(Deserialize)]
pub(super) struct AuthorizedUser {
    client_id: String,
    client_secret: SecretString,
    refresh_token: SecretString,
    #[serde(default = "token_uri")]
    token_uri: String,
    pub(super) quota_project_id: Option<String>,
}

fn token_uri() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

impl AuthorizedUser {
    /// RFC 6749, 6.
    pub(super) async fn token(
        &self,
        http: &reqwest::Client,
        now: Timestamp,
    ) -> Result<Granted<SecretString>, IdentityError> {
        let url = trusted(&self.token_uri, "token_uri")?;
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &*self.client_id),
            ("client_secret", self.client_secret.expose_secret()),
            ("refresh_token", self.refresh_token.expose_secret()),
        ];
        let call = post(http, url, &form).hiding(&self.client_secret).hiding(&self.refresh_token);
        granted(call, GOOGLE, now).await
    }
}
