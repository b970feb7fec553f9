//! Whoever gives tokens: the OAuth service (RFC 7523 and 6749), the Security Token Service (RFC 8693), the credentials
//! service of IAM, and the metadata server.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};

use super::{error, pairs};
use crate::fake::{Answer, Asked};

/// Whose the key is.
pub const ACCOUNT: &str = "gateway@project-1.iam.gserviceaccount.com";
/// The id of its key.
pub const KEY_ID: &str = "00000000000000000000000000000000000000ad";
/// The provider in the pool.
pub const PROVIDER: &str =
    "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool/providers/aws";
/// A person's refresh token, and the client's secret that goes with it.
pub const REFRESH_TOKEN: &str = "1//refresh-canary-51d";
/// The secret of the client.
pub const CLIENT_SECRET: &str = "GOCSPX-canary-77a";
/// What tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A key pair: its private half in PEM, and its public half.
struct Pair {
    pem: String,
    public: Vec<u8>,
}

/// It is slow to make.
fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key pair");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("its encoding");
        let encoded = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Pair { pem, public: pair.public_key().as_ref().to_vec() }
    })
}

/// The key file of the service account, for the services at an address.
#[must_use]
pub fn key_file(url: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": KEY_ID,
        "private_key": pair().pem,
        "client_email": ACCOUNT,
        "client_id": "103214567890123456789",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": format!("{}/token", url.trim_end_matches('/')),
        "universe_domain": "googleapis.com",
    })
}

/// The tokens that are live, and how they are given.
#[derive(Debug, Default)]
pub struct Tokens {
    live: Vec<String>,
    given: u32,
    /// The time by which JWTs are judged, in seconds; none: by any.
    pub now: Option<i64>,
    /// When tokens of service accounts end that are asked of IAM, in the format of RFC 3339.
    pub expire_time: String,
    /// The subject token of the last exchange, and its type.
    pub subject: Option<(String, String)>,
    /// The life of what was asked of IAM last.
    pub lifetime: Option<String>,
}

impl Tokens {
    /// Whether a token is good.
    #[must_use]
    pub fn is_live(&self, token: &str) -> bool {
        self.live.iter().any(|live| live == token)
    }

    /// Every token is good no more.
    pub fn revoke(&mut self) {
        self.live.clear();
    }

    /// How many tokens were given.
    #[must_use]
    pub fn given(&self) -> u32 {
        self.given
    }

    fn give(&mut self) -> String {
        self.given += 1;
        let token = format!("ya29.canary-4f1d9b-{}", self.given);
        self.live.push(token.clone());
        token
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        const METADATA: &str = "/computeMetadata/v1/";
        let path = asked.path.as_str();
        if let Some(path) = path.strip_prefix(METADATA) {
            return Some(self.metadata(asked, path));
        }
        if path == "/token" || path == "/v1/token" {
            let form = pairs(&asked.body);
            let is_form = asked.header("content-type") == "application/x-www-form-urlencoded";
            let given = match (asked.method == Method::POST && is_form, path) {
                (false, _) => Err(("invalid_request", "Bad Request")),
                (true, "/token") => self.oauth(asked, &form),
                (true, _) => self.exchange(&form),
            };
            return Some(match given {
                Ok(answer) => Answer::json(200, &answer),
                Err((error, text)) => {
                    let text = format!("{text} {form:?}");
                    Answer::json(400, &json!({"error": error, "error_description": text}))
                }
            });
        }
        let account =
            path.strip_prefix("/v1/projects/-/serviceAccounts/")?.strip_suffix(":generateAccessToken")?;
        Some(self.impersonate(asked, account))
    }

    fn metadata(&mut self, asked: &Asked, path: &str) -> Answer {
        if asked.method != Method::GET || asked.header("metadata-flavor") != "Google" {
            return Answer::text(403, "Missing Metadata-Flavor:Google header.");
        }
        match path {
            "instance/service-accounts/default/token" => Answer::json(
                200,
                &json!({"access_token": self.give(), "expires_in": 3599, "token_type": "Bearer"}),
            ),
            "project/project-id" => Answer::text(200, "project-1"),
            _ => Answer::text(404, "Not Found"),
        }
    }

    fn oauth(
        &mut self,
        asked: &Asked,
        form: &BTreeMap<String, String>,
    ) -> Result<Value, (&'static str, &'static str)> {
        let names: Vec<&str> = form.keys().map(String::as_str).collect();
        match (form.get("grant_type").map(String::as_str), names.as_slice()) {
            (Some("urn:ietf:params:oauth:grant-type:jwt-bearer"), ["assertion", "grant_type"]) => {
                let audience = format!("http://{}/token", asked.header("host"));
                self.verify(&form["assertion"], &audience).map_err(|wrong| ("invalid_grant", wrong))?;
            }
            (Some("refresh_token"), ["client_id", "client_secret", "grant_type", "refresh_token"]) => {
                if form["client_secret"] != CLIENT_SECRET {
                    return Err(("invalid_client", "Unauthorized"));
                }
                if form["refresh_token"] != REFRESH_TOKEN {
                    return Err(("invalid_grant", "Token has been expired or revoked."));
                }
            }
            _ => return Err(("unsupported_grant_type", "Invalid grant_type")),
        }
        Ok(json!({"access_token": self.give(), "expires_in": 3599, "token_type": "Bearer"}))
    }

    /// What is wrong with a JWT.
    fn verify(&self, jwt: &str, audience: &str) -> Result<(), &'static str> {
        let (signed, signature) = jwt.rsplit_once('.').ok_or("not a JWT")?;
        let (header, claims) = signed.split_once('.').ok_or("not a JWT")?;
        let json = |piece: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(piece).ok()?).ok()
        };
        let (header, claims) = (json(header).ok_or("no header")?, json(claims).ok_or("no claims")?);
        if header != json!({"alg": "RS256", "typ": "JWT", "kid": KEY_ID}) {
            return Err("Invalid JWT header");
        }
        let names: Vec<&str> = claims.as_object().ok_or("no claims")?.keys().map(String::as_str).collect();
        if names != ["aud", "exp", "iat", "iss", "scope"]
            || claims["scope"] != SCOPE
            || claims["iss"] != ACCOUNT
        {
            return Err("Invalid JWT");
        }
        if claims["aud"] != *audience {
            return Err("Invalid JWT: Failed audience check.");
        }
        let (at, end) = (claims["iat"].as_i64().ok_or("no iat")?, claims["exp"].as_i64().ok_or("no exp")?);
        if end <= at || end > at + 3600 || self.now.is_some_and(|now| at > now || end <= now) {
            return Err("Invalid JWT: Token must be a short-lived token and in a reasonable timeframe.");
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "no signature")?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &pair().public)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| "Invalid JWT Signature.")
    }

    fn exchange(&mut self, form: &BTreeMap<String, String>) -> Result<Value, (&'static str, &'static str)> {
        let names: Vec<&str> = form.keys().map(String::as_str).collect();
        let wanted = [
            "audience",
            "grant_type",
            "requested_token_type",
            "scope",
            "subject_token",
            "subject_token_type",
        ];
        if names != wanted
            || form["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange"
            || form["requested_token_type"] != ACCESS_TOKEN
            || form["scope"] != SCOPE
        {
            return Err(("invalid_request", "Bad Request"));
        }
        if form["audience"] != PROVIDER {
            return Err((
                "invalid_target",
                "The target service indicated by the \"audience\" parameters is invalid.",
            ));
        }
        self.subject = Some((form["subject_token"].clone(), form["subject_token_type"].clone()));
        // As a text, which some services do.
        Ok(json!({
            "access_token": self.give(),
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": "3599",
        }))
    }

    fn impersonate(&mut self, asked: &Asked, account: &str) -> Answer {
        let bearer = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if !self.is_live(bearer) {
            return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
        }
        let body = asked.json();
        if account != ACCOUNT || asked.method != Method::POST {
            return error(
                403,
                "PERMISSION_DENIED",
                "Permission 'iam.serviceAccounts.getAccessToken' denied.",
            );
        }
        if body["scope"] != json!([SCOPE]) {
            return error(400, "INVALID_ARGUMENT", "Scope required.");
        }
        self.lifetime = body["lifetime"].as_str().map(str::to_owned);
        Answer::json(200, &json!({"accessToken": self.give(), "expireTime": self.expire_time}))
    }
}
