//! Where tokens are asked for, and what is answered.

use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_http::call::{Answer, Call, CallError, is_local};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use crate::{Granted, IdentityError};

/// What Google is called in errors.
pub(super) const GOOGLE: &str = "Google's token service";
/// Errors that pass, whatever status they come with (RFC 6749, 4.1.2.1; `google-auth` tries these again).
const BRIEF: [&str; 3] = ["internal_failure", "server_error", "temporarily_unavailable"];

/// Reads an address out of credentials: Google's, or one on this machine. Anybody else would be given what proves who
/// we are.
pub(super) fn trusted(address: &str, setting: &'static str) -> Result<Url, IdentityError> {
    let wrong = || IdentityError::setting(setting, "is not an https address of googleapis.com");
    let url = Url::parse(address).map_err(|_| wrong())?;
    let host = url.host_str().unwrap_or_default();
    // Keys from before 2017 have the last one.
    let googles =
        host == "googleapis.com" || host.ends_with(".googleapis.com") || host == "accounts.google.com";
    let local = is_local(&url);
    let plain = url.username().is_empty() && url.password().is_none();
    let fits = match url.scheme() {
        "https" => googles || local,
        "http" => local,
        _ => false,
    };
    if fits && plain { Ok(url) } else { Err(wrong()) }
}

/// A call of a token service with a form.
pub(super) fn post<'a>(http: &'a reqwest::Client, url: Url, fields: &[(&str, &str)]) -> Call<'a> {
    Call::new(http, Method::POST, url).form(fields).within(crate::LIMIT)
}

/// Makes a call that is answered with a token.
pub(super) async fn granted(
    call: Call<'_>,
    who: &'static str,
    now: Timestamp,
) -> Result<Granted<SecretString>, IdentityError> {
    let answer = answered(call, who).await?;
    let token: Token = answer.read().map_err(|error| IdentityError::of_call(who, &error))?;
    let lasts = Duration::from_secs(token.expires_in);
    checked(token.access_token, Life::granted(now, lasts), who)
}

/// Makes a call that must succeed.
pub(super) async fn answered(call: Call<'_>, who: &'static str) -> Result<Answer, IdentityError> {
    let answer = call.answer().await.map_err(|error| IdentityError::of_call(who, &error))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    if answer.code().is_some_and(|code| BRIEF.contains(&code.as_str())) {
        return Err(IdentityError::Unavailable { who, told: answer.told() });
    }
    Err(IdentityError::of_answer(who, &answer))
}

/// A token, if it is one.
pub(super) fn checked(
    value: SecretString,
    life: Life,
    who: &'static str,
) -> Result<Granted<SecretString>, IdentityError> {
    if value.expose_secret().is_empty() {
        return Err(IdentityError::of_call(who, &CallError::Malformed("a token that is empty".to_owned())));
    }
    Ok(Granted { value, life })
}

/// A token (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Token {
    access_token: SecretString,
    #[serde(deserialize_with = "seconds")]
    expires_in: u64,
}

/// `google-auth` has met services that write it as a text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    match Seconds::deserialize(deserializer)? {
        Seconds::Number(seconds) => Ok(seconds),
        Seconds::Text(text) => text.parse().map_err(|_| serde::de::Error::custom("no number of seconds")),
    }
}
