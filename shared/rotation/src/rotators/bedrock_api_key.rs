//! `bedrock_api_key`: the long-term API keys of Amazon Bedrock that belong to an IAM user.
//!
//! Prefer the role of what calls Bedrock: it has nothing to rotate. This is for clients that can only send a bearer
//! token.
//!
//! **Strategy.** Two keys. They have no names, so the user must be there for this secret alone: any Bedrock key of it
//! that no version holds is set inactive after the overlap, then deleted. A key begins with `ABSK` and holds, in
//! Base64, its public part, which IAM lists as its alias: so it is recognised. A user that has Bedrock keys, and not
//! the current one among them, or none that can be recognised, is taken for somebody else's: nothing is made or deleted
//! there. A user has at most two keys: one that was made and could not be stored leaves no room for a quarter of an
//! hour. When a key was used last is not told.
//!
//! `ResetServiceSpecificCredential` is never called: it ends the present key at once.
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `user` | the IAM user's name | required |
//! | `expires_in` | when IAM itself ends a new key, in whole days (`90d`): at least a day | never |
//! | `verify_models` | ids of models, or of inference profiles, that the key must get a token from | none |
//! | `region` | where the key is tried | `AWS_REGION` |
//! | `test_pause` | the wait between the five calls that must succeed in a row: a new key is not known everywhere | `1s` |
//! | `iam_base`, `bedrock_base`, `bedrock_runtime_base` | other addresses | AWS's |
//!
//! **Needs**, in the function's role, on `arn:aws:iam::ACCOUNT:user/USER`: `iam:CreateServiceSpecificCredential`,
//! `iam:ListServiceSpecificCredentials`, `iam:UpdateServiceSpecificCredential`, `iam:DeleteServiceSpecificCredential`.
//! The user needs `bedrock:CallWithBearerToken`, and `bedrock:InvokeModel` for `verify_models`.
//!
//! - <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceSpecificCredential.html>
//! - <https://docs.aws.amazon.com/IAM/latest/APIReference/API_ServiceSpecificCredentialMetadata.html>
//! - <https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-how.html>
//! - <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html>

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::aws::{Api, Aws, Members, Page, Shown, must_be_ours};
use super::lifetimes;
use crate::settings::{Settings, SettingsError, list, optional_duration};
use crate::{Ask, Created, Credential, Issued, RotationError, Rotator, Tools};

/// How many calls in a row must succeed before a key counts as known.
const SUCCESSES: u32 = 5;
/// The wait between them.
const USUAL_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// The longest life that IAM takes, in days.
const MOST_DAYS: i64 = 36_600;
const HOURS_OF_A_DAY: i64 = 24;
const IAM: (&str, &str) = ("Version", "2010-05-08");
const SERVICE: (&str, &str) = ("ServiceName", "bedrock.amazonaws.com");
/// What a long-term key begins with.
const MARK: &str = "ABSK";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    user: String,
    #[serde(default, deserialize_with = "optional_duration")]
    expires_in: Option<SignedDuration>,
    #[serde(default, deserialize_with = "list")]
    verify_models: Vec<String>,
    region: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    test_pause: Option<SignedDuration>,
    iam_base: Option<String>,
    bedrock_base: Option<String>,
    bedrock_runtime_base: Option<String>,
}

struct ApiKeys {
    user: String,
    days: Option<String>,
    models: Vec<String>,
    pause: Duration,
    iam: Api,
    bedrock: Api,
    runtime: Api,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let longest = SignedDuration::from_hours(MOST_DAYS * HOURS_OF_A_DAY);
    let expires_in = lifetimes::checked(own.expires_in, Some(longest))?;
    let days = expires_in.map(|span| {
        let day = HOURS_OF_A_DAY * 3_600;
        let days = span.as_secs() / day + i64::from(span.as_secs() % day > 0);
        days.to_string()
    });
    let aws = Aws::open(tools, own.region)?;
    Ok(Box::new(ApiKeys {
        user: own.user,
        days,
        models: own.verify_models,
        pause: own.test_pause.unwrap_or(USUAL_PAUSE).unsigned_abs(),
        iam: aws.api("iam", "IAM", ("iam_base", own.iam_base))?,
        bedrock: aws.api("bedrock", "BEDROCK", ("bedrock_base", own.bedrock_base))?,
        runtime: aws.api("bedrock", "BEDROCK_RUNTIME", ("bedrock_runtime_base", own.bedrock_runtime_base))?,
    }))
}

#[async_trait]
impl Rotator for ApiKeys {
    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        self.keys(ask.current).await?;
        let mut fields = vec![
            ("Action", "CreateServiceSpecificCredential"),
            IAM,
            ("UserName", self.user.as_str()),
            SERVICE,
        ];
        fields.extend(self.days.as_deref().map(|days| ("CredentialAgeDays", days)));
        match self.iam.ask::<CreateResponse>(&fields).await {
            Ok(CreateResponse { result: CreateResult { key } }) => Ok(Credential::of(key.secret).into()),
            Err(failure) if failure.is("LimitExceeded") => {
                Err(RotationError::Full("the IAM user has as many Bedrock keys as it can have".to_owned()))
            }
            Err(failure) => Err(failure.error),
        }
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let key = credential.value()?;
        for number in 0..SUCCESSES {
            if number > 0 {
                tokio::time::sleep(self.pause).await;
            }
            self.bedrock.try_api_key(key).await?;
        }
        self.runtime.prove(Shown::Bearer(key), &self.models).await
    }

    async fn issued(&self, _: &str, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        self.keys(current).await
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        match (credential.get("value").and_then(alias), &issued.hint) {
            (Some(alias), Some(hint)) => alias == *hint,
            _ => true,
        }
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        let fields = [
            ("Action", "UpdateServiceSpecificCredential"),
            IAM,
            ("UserName", self.user.as_str()),
            ("ServiceSpecificCredentialId", &issued.id),
            ("Status", "Inactive"),
        ];
        self.iam.tell(&fields).await.map(|()| true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let fields = [
            ("Action", "DeleteServiceSpecificCredential"),
            IAM,
            ("UserName", self.user.as_str()),
            ("ServiceSpecificCredentialId", &issued.id),
        ];
        self.iam.tell(&fields).await
    }
}

impl ApiKeys {
    /// The user's keys, which must be the secret's.
    async fn keys(&self, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let fields =
            [("Action", "ListServiceSpecificCredentials"), IAM, ("UserName", self.user.as_str()), SERVICE];
        let page = |ListResponse { result }| Page {
            items: result.keys.member,
            is_truncated: result.is_truncated,
            marker: result.marker,
        };
        let keys = self.iam.list(&fields, page).await?.into_iter().map(|key| Issued {
            id: key.id,
            hint: key.alias.filter(|alias| !alias.is_empty()),
            created_at: Some(key.created),
            last_used_at: None,
            disabled: key.status != "Active",
        });
        let keys: Vec<Issued> = keys.collect();
        // A current key that says nothing of itself could be anybody's.
        let is = |key: &Issued, current: &Credential| {
            current
                .get("value")
                .and_then(alias)
                .is_some_and(|alias| key.hint.as_ref().is_none_or(|hint| *hint == alias))
        };
        must_be_ours(&keys, current, is)?;
        Ok(keys)
    }
}

/// A key's public part: `ABSK` and the Base64 of `<alias>:<secret>`.
fn alias(key: &SecretString) -> Option<String> {
    let encoded = key.expose_secret().strip_prefix(MARK)?;
    let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let alias = std::str::from_utf8(decoded.get(..colon)?).ok()?;
    (!alias.is_empty()).then(|| alias.to_owned())
}

#[derive(Deserialize)]
struct CreateResponse {
    #[serde(rename = "CreateServiceSpecificCredentialResult")]
    result: CreateResult,
}

#[derive(Deserialize)]
struct CreateResult {
    #[serde(rename = "ServiceSpecificCredential")]
    key: NewKey,
}

#[derive(Deserialize)]
struct NewKey {
    #[serde(rename = "ServiceCredentialSecret")]
    secret: SecretString,
}

#[derive(Deserialize)]
struct ListResponse {
    #[serde(rename = "ListServiceSpecificCredentialsResult")]
    result: ListResult,
}

#[derive(Deserialize)]
struct ListResult {
    #[serde(rename = "ServiceSpecificCredentials", default)]
    keys: Members<Key>,
    #[serde(rename = "IsTruncated", default)]
    is_truncated: bool,
    #[serde(rename = "Marker")]
    marker: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(rename = "ServiceSpecificCredentialId")]
    id: String,
    #[serde(rename = "ServiceCredentialAlias")]
    alias: Option<String>,
    #[serde(rename = "Status")]
    status: String,
    #[serde(rename = "CreateDate")]
    created: Timestamp,
}
