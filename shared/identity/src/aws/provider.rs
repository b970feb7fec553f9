//! An identity in the shape that the AWS SDK wants.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Future;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_types::SdkConfig;
use keyturn_ambient::Life;
use keyturn_http::aws::{Caller, endpoint, settings};
use secrecy::ExposeSecret;

use super::{AccessKey, Aws, Source};
use crate::{Granted, IdentityError};

pub(super) fn sdk_config(aws: &Aws, service: &str) -> SdkConfig {
    let caller = |credentials| Caller {
        region: aws.0.region.clone(),
        endpoint: endpoint(&*aws.0.env, service),
        credentials: Some(credentials),
    };
    match &aws.0.source {
        Source::Key(key) => {
            let credentials = SharedCredentialsProvider::new(credentials(key.clone(), Life::ENDLESS));
            settings(&aws.0.http, caller(credentials))
        }
        Source::Wrong(_) | Source::WebIdentity(_) | Source::Container(_) | Source::Role(..) => {
            let credentials = SharedCredentialsProvider::new(SdkCredentials(aws.clone()));
            // The identity keeps its key and renews it. The SDK's own cache would hold one that was refused, and cut a
            // renewal off.
            let config = settings(&aws.0.http, caller(credentials)).into_builder();
            config.identity_cache(IdentityCache::no_cache()).build()
        }
    }
}

fn credentials(key: AccessKey, life: Life) -> Credentials {
    let session = key.session.map(|session| session.expose_secret().to_owned());
    let ends = (life != Life::ENDLESS).then(|| SystemTime::from(life.ends_at));
    Credentials::new(key.id, key.secret.expose_secret(), session, ends, "keyturn")
}

/// Gives the SDK the access key of an identity.
struct SdkCredentials(Aws);

impl fmt::Debug for SdkCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdkCredentials")
    }
}

impl ProvideCredentials for SdkCredentials {
    fn provide_credentials<'a>(&'a self) -> Future<'a>
    where
        Self: 'a,
    {
        Future::new(self.get())
    }
}

impl SdkCredentials {
    async fn get(&self) -> Result {
        let Granted { value, life } = self.0.granted().await.map_err(|error| match error {
            IdentityError::Setting { .. } => CredentialsError::not_loaded(error),
            IdentityError::Denied { .. } => CredentialsError::invalid_configuration(error),
            IdentityError::Unavailable { .. } => CredentialsError::provider_error(error),
        })?;
        Ok(credentials(value, life))
    }
}
