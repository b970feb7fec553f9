//! Whose secrets are read: the settings of LiteLLM's `key_management_settings`, as variables.

use std::sync::Arc;

use keyturn_ambient::{Clock, Env};

use super::{Aws, Role, Source};
use crate::IdentityError;

/// The role, without which the settings of a role mean nothing.
const ROLE: &str = "KEYTURN_AWS_ROLE_NAME";
const TOKEN: &str = "KEYTURN_AWS_WEB_IDENTITY_TOKEN";
const EXTERNAL_ID: &str = "KEYTURN_AWS_EXTERNAL_ID";

impl Aws {
    /// The identity that secrets are read and written with: the environment's, unless a role is named.
    ///
    /// | variable | LiteLLM's setting | meaning |
    /// |---|---|---|
    /// | `KEYTURN_AWS_REGION_NAME`, then LiteLLM's own `AWS_REGION_NAME` | `aws_region_name` | the region, before `AWS_REGION` and `AWS_DEFAULT_REGION` |
    /// | `KEYTURN_AWS_ROLE_NAME` | `aws_role_name` | the ARN of a role to assume, of another account for example |
    /// | `KEYTURN_AWS_SESSION_NAME` | `aws_session_name` | what its session is called in logs; default `keyturn` |
    /// | `KEYTURN_AWS_EXTERNAL_ID` | `aws_external_id` | what its trust policy asks for |
    /// | `KEYTURN_AWS_WEB_IDENTITY_TOKEN` | `aws_web_identity_token` | what opens it instead of our own identity: [`Role::web_identity_token`] |
    /// | `KEYTURN_AWS_STS_ENDPOINT` | `aws_sts_endpoint` | where STS is; default the region's |
    #[must_use]
    pub fn of_stores(env: &Arc<dyn Env>, http: &reqwest::Client, clock: &Arc<dyn Clock>) -> Self {
        let var = |name| env.var(name);
        let mut aws = Self::from_env(env, http, clock);
        if let Some(region) = var("KEYTURN_AWS_REGION_NAME").or_else(|| var("AWS_REGION_NAME")) {
            aws = aws.in_region(&region);
        }
        let (external_id, web_identity_token) = (var(EXTERNAL_ID), var(TOKEN));
        let lonely = |variable| {
            aws.from(Source::Wrong(IdentityError::setting(variable, "needs a role: KEYTURN_AWS_ROLE_NAME")))
        };
        match var(ROLE) {
            Some(arn) => aws.assuming(Role {
                arn,
                session_name: var("KEYTURN_AWS_SESSION_NAME"),
                external_id,
                web_identity_token,
                sts_endpoint: var("KEYTURN_AWS_STS_ENDPOINT"),
            }),
            None if web_identity_token.is_some() => lonely(TOKEN),
            None if external_id.is_some() => lonely(EXTERNAL_ID),
            None => aws,
        }
    }
}
