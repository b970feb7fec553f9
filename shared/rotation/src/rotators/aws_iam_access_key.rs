//! `aws_iam_access_key`: the access keys of an IAM user.
//!
//! Prefer a role wherever there can be one: it has nothing to rotate. This is for what cannot have one.
//!
//! **Strategy.** Two keys. Access keys have no names, so the user must be there for this secret alone: all its keys
//! are the secret's, and any that no version holds is set inactive after the overlap, then deleted. A user that has
//! keys, and not the current one among them, is taken for somebody else's: nothing is made or deleted there. A user
//! has at most two keys: one that was made and could not be stored leaves no room for a quarter of an hour.
//!
//! The credential has two parts, so the secret must be a JSON object: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`,
//! unless `keyturn:field` and `keyturn:secret_access_key_field` say otherwise.
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `user` | the user's name | required |
//! | `verify_models` | ids of Bedrock's models, or of inference profiles, that the key must get a token from | none |
//! | `region` | where the key is tried | `AWS_REGION` |
//! | `test_pause` | the wait between the five calls that must succeed in a row: a new key is not known everywhere | `1s` |
//! | `iam_base`, `sts_base`, `bedrock_runtime_base` | other addresses | AWS's |
//!
//! **Needs**, in the function's role, on `arn:aws:iam::ACCOUNT:user/USER` (with the user's path):
//! `iam:CreateAccessKey`, `iam:ListAccessKeys`, `iam:UpdateAccessKey`, `iam:DeleteAccessKey`,
//! `iam:GetAccessKeyLastUsed`. The user needs nothing for the test, and `bedrock:InvokeModel` for `verify_models`.
//!
//! - <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateAccessKey.html>
//! - <https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccessKeyLastUsed.html>
//! - <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
//! - <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::aws::{AccessKey, Api, Aws, Members, Page, Shown, must_be_ours};
use super::http_calls::By;
use crate::settings::{Settings, SettingsError, list, optional_duration};
use crate::{Ask, Created, Credential, Issued, Part, RotationError, Rotator, Tools};

const ID: &str = "access_key_id";
const SECRET: &str = "secret_access_key";
static PARTS: [Part; 2] = [
    Part { name: ID, field: Some("AWS_ACCESS_KEY_ID") },
    Part { name: SECRET, field: Some("AWS_SECRET_ACCESS_KEY") },
];

/// How many calls in a row must succeed before a key counts as known.
const SUCCESSES: u32 = 5;
/// The wait between them.
const USUAL_PAUSE: SignedDuration = SignedDuration::from_secs(1);
const IAM: (&str, &str) = ("Version", "2010-05-08");
const STS: (&str, &str) = ("Version", "2011-06-15");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    user: String,
    #[serde(default, deserialize_with = "list")]
    verify_models: Vec<String>,
    region: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    test_pause: Option<SignedDuration>,
    iam_base: Option<String>,
    sts_base: Option<String>,
    bedrock_runtime_base: Option<String>,
}

struct AccessKeys {
    user: String,
    models: Vec<String>,
    pause: Duration,
    iam: Api,
    sts: Api,
    bedrock: Api,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let aws = Aws::open(tools, own.region)?;
    Ok(Box::new(AccessKeys {
        user: own.user,
        models: own.verify_models,
        pause: own.test_pause.unwrap_or(USUAL_PAUSE).unsigned_abs(),
        iam: aws.api("iam", "IAM", ("iam_base", own.iam_base))?,
        sts: aws.api("sts", "STS", ("sts_base", own.sts_base))?,
        bedrock: aws.api("bedrock", "BEDROCK_RUNTIME", ("bedrock_runtime_base", own.bedrock_runtime_base))?,
    }))
}

#[async_trait]
impl Rotator for AccessKeys {
    fn parts(&self) -> &'static [Part] {
        &PARTS
    }

    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        self.keys(ask.current).await?;
        let fields = [("Action", "CreateAccessKey"), IAM, ("UserName", &self.user)];
        match self.iam.ask::<CreateAccessKeyResponse>(&fields).await {
            Ok(CreateAccessKeyResponse { result: CreateAccessKeyResult { key } }) => {
                let credential = Credential::default().with(ID, key.id.into()).with(SECRET, key.secret);
                Ok(credential.into())
            }
            Err(failure) if failure.is("LimitExceeded") => {
                Err(RotationError::Full("the IAM user has as many access keys as it can have".to_owned()))
            }
            Err(failure) => Err(failure.error),
        }
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let id = credential.part(ID)?.expose_secret().to_owned();
        let key = AccessKey { id, secret: credential.part(SECRET)?.clone(), session: None };
        for number in 0..SUCCESSES {
            if number > 0 {
                tokio::time::sleep(self.pause).await;
            }
            let fields = [("Action", "GetCallerIdentity"), STS];
            let who: GetCallerIdentityResponse = self.sts.query(By::Tested, &key, &fields).await?;
            // `arn:aws:iam::123456789012:user/division/Bob`; case matters not for IAM.
            let (_, name) = who.result.arn.rsplit_once('/').unwrap_or_default();
            if !name.eq_ignore_ascii_case(&self.user) || !who.result.arn.contains(":user/") {
                return Err(RotationError::Unfit(
                    "the access key is not the user's that the settings name".to_owned(),
                ));
            }
        }
        self.bedrock.prove(Shown::Key(&key), &self.models).await
    }

    async fn issued(&self, _: &str, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let mut keys = self.keys(current).await?;
        for key in &mut keys {
            let fields = [("Action", "GetAccessKeyLastUsed"), IAM, ("AccessKeyId", &key.id)];
            match self.iam.ask::<GetAccessKeyLastUsedResponse>(&fields).await {
                Ok(found) => key.last_used_at = found.result.used.date,
                // Gone between the two calls.
                Err(failure) if failure.is("NoSuchEntity") => {}
                Err(failure) => return Err(failure.error),
            }
        }
        Ok(keys)
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        credential.get(ID).is_none_or(|id| id.expose_secret() == issued.id)
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        let fields = [
            ("Action", "UpdateAccessKey"),
            IAM,
            ("UserName", self.user.as_str()),
            ("AccessKeyId", &issued.id),
            ("Status", "Inactive"),
        ];
        self.iam.tell(&fields).await.map(|()| true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let fields = [
            ("Action", "DeleteAccessKey"),
            IAM,
            ("UserName", self.user.as_str()),
            ("AccessKeyId", &issued.id),
        ];
        self.iam.tell(&fields).await
    }
}

impl AccessKeys {
    /// The user's keys, which must be the secret's.
    async fn keys(&self, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let fields = [("Action", "ListAccessKeys"), IAM, ("UserName", self.user.as_str())];
        let page = |ListAccessKeysResponse { result }| Page {
            items: result.keys.member,
            is_truncated: result.is_truncated,
            marker: result.marker,
        };
        let keys = self.iam.list(&fields, page).await?.into_iter().map(|key| Issued {
            id: key.id,
            created_at: key.created,
            disabled: key.status == "Inactive",
            ..Issued::default()
        });
        let keys: Vec<Issued> = keys.collect();
        let is = |key: &Issued, current: &Credential| {
            current.get(ID).is_some_and(|id| id.expose_secret() == key.id)
        };
        must_be_ours(&keys, current, is)?;
        Ok(keys)
    }
}

#[derive(Deserialize)]
struct CreateAccessKeyResponse {
    #[serde(rename = "CreateAccessKeyResult")]
    result: CreateAccessKeyResult,
}

#[derive(Deserialize)]
struct CreateAccessKeyResult {
    #[serde(rename = "AccessKey")]
    key: NewKey,
}

#[derive(Deserialize)]
struct NewKey {
    #[serde(rename = "AccessKeyId")]
    id: String,
    #[serde(rename = "SecretAccessKey")]
    secret: SecretString,
}

#[derive(Deserialize)]
struct ListAccessKeysResponse {
    #[serde(rename = "ListAccessKeysResult")]
    result: ListAccessKeysResult,
}

#[derive(Deserialize)]
struct ListAccessKeysResult {
    #[serde(rename = "AccessKeyMetadata")]
    keys: Members<KeyMetadata>,
    #[serde(rename = "IsTruncated", default)]
    is_truncated: bool,
    #[serde(rename = "Marker")]
    marker: Option<String>,
}

#[derive(Deserialize)]
struct KeyMetadata {
    #[serde(rename = "AccessKeyId")]
    id: String,
    #[serde(rename = "Status")]
    status: String,
    #[serde(rename = "CreateDate")]
    created: Option<Timestamp>,
}

#[derive(Deserialize)]
struct GetAccessKeyLastUsedResponse {
    #[serde(rename = "GetAccessKeyLastUsedResult")]
    result: GetAccessKeyLastUsedResult,
}

#[derive(Deserialize)]
struct GetAccessKeyLastUsedResult {
    #[serde(rename = "AccessKeyLastUsed")]
    used: LastUsed,
}

#[derive(Deserialize)]
struct LastUsed {
    #[serde(rename = "LastUsedDate")]
    date: Option<Timestamp>,
}

#[derive(Deserialize)]
struct GetCallerIdentityResponse {
    #[serde(rename = "GetCallerIdentityResult")]
    result: GetCallerIdentityResult,
}

#[derive(Deserialize)]
struct GetCallerIdentityResult {
    #[serde(rename = "Arn")]
    arn: String,
}
