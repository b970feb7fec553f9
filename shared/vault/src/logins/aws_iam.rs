//! AWS IAM: a signed `sts:GetCallerIdentity`, which Vault sends to AWS to learn whose it is.
//!
//! `HCP_VAULT_AWS_ROLE` (Vault's role), `HCP_VAULT_AWS_SERVER_ID` (`X-Vault-AWS-IAM-Server-ID`, signed along, so that
//! another server cannot use the request), `HCP_VAULT_AWS_REGION` (the region of STS; default the global endpoint, as
//! Vault's own default is), `HCP_VAULT_AWS_MOUNT_PATH` (`aws`). The credentials are the function's role, from
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
//!
//! <https://developer.hashicorp.com/vault/api-docs/auth/aws#login>

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyturn_ambient::Env;
use keyturn_identity::aws::{AccessKey, signed_headers};
use serde_json::{Map, Value, json};

use super::{Grant, Login, grant, mount, needed};
use crate::caller::Desk;
use crate::error::{Outage, SetupError, VaultError};

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";

struct AwsIam {
    mount: String,
    role: String,
    server_id: Option<String>,
    /// Of STS.
    host: String,
    region: String,
    key: AccessKey,
}

pub(super) fn from_env(env: &dyn Env) -> Result<Option<Box<dyn Login>>, SetupError> {
    let Some(role) = env.var("HCP_VAULT_AWS_ROLE") else { return Ok(None) };
    let region = env.var("HCP_VAULT_AWS_REGION");
    let key = AccessKey {
        id: needed(env, KEY_ID, "is needed with HCP_VAULT_AWS_ROLE")?,
        secret: needed(env, SECRET_KEY, "is needed with HCP_VAULT_AWS_ROLE")?.into(),
        session: env.var("AWS_SESSION_TOKEN").map(Into::into),
    };
    Ok(Some(Box::new(AwsIam {
        mount: mount(env, "HCP_VAULT_AWS_MOUNT_PATH", "aws")?,
        role,
        server_id: env.var("HCP_VAULT_AWS_SERVER_ID"),
        host: match &region {
            None => "sts.amazonaws.com".to_owned(),
            Some(region) if region.starts_with("cn-") => format!("sts.{region}.amazonaws.com.cn"),
            Some(region) => format!("sts.{region}.amazonaws.com"),
        },
        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
        key,
    })))
}

#[async_trait]
impl Login for AwsIam {
    fn name(&self) -> &'static str {
        "AWS IAM login"
    }

    async fn log_in(&self, desk: &Desk<'_>) -> Result<Grant, VaultError> {
        let headers = self.headers(desk.clock.now()).ok_or(UNSIGNED)?;
        let url = STANDARD.encode(format!("https://{}/", self.host));
        let headers = STANDARD.encode(Value::Object(headers).to_string());
        let body = STANDARD.encode(BODY);
        let role = Some(self.role.as_str());
        let call =
            vaultrs::auth::aws::iam_login(desk.caller, &self.mount, "POST", &url, &headers, &body, role);
        grant(self.name(), call).await
    }
}

const UNSIGNED: VaultError = VaultError::Unavailable(Outage::Login("the AWS IAM login cannot be signed"));

impl AwsIam {
    /// The headers of the signed request; `None` when it cannot be signed.
    fn headers(&self, now: Timestamp) -> Option<Map<String, Value>> {
        let mut headers = vec![
            ("host", self.host.as_str()),
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ];
        headers.extend(self.server_id.as_deref().map(|id| ("x-vault-aws-iam-server-id", id)));
        let url = format!("https://{}/", self.host);
        let request = ("POST", url.as_str(), &*headers, BODY.as_bytes());
        let added = signed_headers(request, &self.key, "sts", &self.region, now)?;
        let given = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Some(given.chain(added).map(|(name, value)| (name, json!([value]))).collect())
    }
}
