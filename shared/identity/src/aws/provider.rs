//! An identity in the shape that the AWS SDK wants.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Future;
use aws_credential_types::provider::{ProvideCredentials, Result};
use secrecy::ExposeSecret;

use super::Aws;
use crate::IdentityError;

/// Gives the SDK the access key of an identity.
pub struct SdkCredentials(pub Aws);

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
        let granted = self.0.granted().await.map_err(|error| match error {
            IdentityError::Setting { .. } => CredentialsError::not_loaded(error),
            IdentityError::Denied { .. } => CredentialsError::invalid_configuration(error),
            IdentityError::Unavailable { .. } => CredentialsError::provider_error(error),
        })?;
        let key = granted.value;
        let session = key.session.map(|session| session.expose_secret().to_owned());
        let ends = SystemTime::from(granted.life.renew_at);
        let ends = (granted.life != keyturn_ambient::Life::ENDLESS).then_some(ends);
        Ok(Credentials::new(key.id, key.secret.expose_secret(), session, ends, "keyturn"))
    }
}
