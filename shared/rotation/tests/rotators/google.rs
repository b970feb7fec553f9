//! Google's service accounts as far as rotators meet them: keys, and the exchange of a signed JWT for a token
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#httprest>).

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::rig::{Arrived, Reply};

/// An access token.
pub(crate) const TOKEN: &str = "ya29.canary-token-7d21";
/// The administrator's address.
pub(crate) const ADMIN_ACCOUNT: &str = "rotator@project-1.iam.gserviceaccount.com";
/// The id of the administrator's key.
pub(crate) const ADMIN_KEY: &str = "00000000000000000000000000000000000000ad";
/// What the clock of a [`crate::rig::Rig`] says, in seconds.
const NOW: i64 = 1_772_600_767;

/// A key pair: its private half in PEM, and its public half.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) pem: String,
    public: Vec<u8>,
}

/// Some key pairs, which are slow to make: the administrator's is the first.
pub(crate) fn pair(at: usize) -> &'static Pair {
    static PAIRS: OnceLock<Vec<Pair>> = OnceLock::new();
    let make = || {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key pair");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("its encoding");
        let lines: Vec<String> = STANDARD
            .encode(der.as_ref())
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Pair { pem, public: pair.public_key().as_ref().to_vec() }
    };
    &PAIRS.get_or_init(|| std::iter::repeat_with(make).take(4).collect())[at]
}

/// A key file.
pub(crate) fn key_file(account: &str, id: &str, pem: &str) -> String {
    json!({
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": id,
        "private_key": pem,
        "client_email": account,
        "client_id": "103214567890123456789",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    })
    .to_string()
}

/// The administrator's key file.
pub(crate) fn admin_file() -> String {
    key_file(ADMIN_ACCOUNT, ADMIN_KEY, &pair(0).pem)
}

/// The error that Google's services answer with.
pub(crate) fn error(status: u16, name: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": status, "message": message, "status": name}}))
}

/// Answers a request for a token. `key_of` gives the key pair of an account's key that is there and not stopped.
pub(crate) fn token(
    arrived: &Arrived,
    url: &str,
    key_of: impl Fn(&str, &str) -> Option<&'static Pair>,
) -> Reply {
    let refuse = |error: &str, text: &str| {
        Reply::json(
            400,
            &json!({"error": error, "error_description": format!("{text} {:?}", arrived.form())}),
        )
    };
    let form = arrived.form();
    let names: Vec<&str> = form.keys().map(String::as_str).collect();
    if arrived.header("content-type") != "application/x-www-form-urlencoded"
        || names != ["assertion", "grant_type"]
    {
        return refuse("invalid_request", "Bad Request");
    }
    if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return refuse("unsupported_grant_type", "Invalid grant_type");
    }
    match claims(&form["assertion"], url, key_of) {
        Ok(()) => {
            Reply::json(200, &json!({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}))
        }
        Err(wrong) => refuse("invalid_grant", wrong),
    }
}

/// What is wrong with a JWT.
fn claims(
    jwt: &str,
    url: &str,
    key_of: impl Fn(&str, &str) -> Option<&'static Pair>,
) -> Result<(), &'static str> {
    let (signed, signature) = jwt.rsplit_once('.').ok_or("not a JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("not a JWT")?;
    let json =
        |piece: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(piece).ok()?).ok() };
    let (header, claims) = (json(header).ok_or("no header")?, json(claims).ok_or("no claims")?);
    let names: Vec<&str> = claims.as_object().ok_or("no claims")?.keys().map(String::as_str).collect();
    let (at, end) = (claims["iat"].as_i64().ok_or("no iat")?, claims["exp"].as_i64().ok_or("no exp")?);
    if header["alg"] != "RS256" || header["typ"] != "JWT" || names != ["aud", "exp", "iat", "iss", "scope"] {
        return Err("Invalid JWT");
    }
    if claims["aud"] != *url || claims["scope"] != "https://www.googleapis.com/auth/cloud-platform" {
        return Err("Invalid JWT: Failed audience check.");
    }
    if at != NOW || end <= at || end > at + 3600 {
        return Err("Invalid JWT: Token must be a short-lived token and in a reasonable timeframe.");
    }
    let (account, id) = (claims["iss"].as_str().ok_or("no iss")?, header["kid"].as_str().ok_or("no kid")?);
    let pair = key_of(account, id).ok_or("Invalid JWT Signature.")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "no signature")?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &pair.public)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "Invalid JWT Signature.")
}

/// A completion of a Gemini model: `gemini` answers, and no other is there.
pub(crate) fn completion(arrived: &Arrived, model: &str) -> Reply {
    let body = match arrived.object(&["contents", "generationConfig"]) {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let well_formed = body["generationConfig"] == json!({"maxOutputTokens": 1})
        && body["contents"][0]["role"] == "user"
        && body["contents"][0]["parts"][0]["text"].is_string();
    match model {
        _ if !well_formed => error(400, "INVALID_ARGUMENT", "Invalid JSON payload received."),
        "gemini" => Reply::json(200, &json!({"candidates": [{"finishReason": "MAX_TOKENS"}]})),
        _ => error(404, "NOT_FOUND", "The model is not found."),
    }
}
