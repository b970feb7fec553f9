//! vaultrs' client over our own HTTP client. What of vaultrs' may show a token in its `Debug` stays in here.

use std::time::Duration;

use keyturn_ambient::Clock;
use reqwest::Url;
use reqwest::header::HeaderValue;
use rustify::clients::reqwest::Client as RestClient;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{Client, VaultClientSettings};
use vaultrs::error::ClientError;

use crate::error::{Outage, VaultError, classify};

/// How long a call may take. It stands in a request's way; a healthy one takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long an engine may take to issue a credential: nearly as long as the credential cache waits.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a list may take: Vault sends all names at once, however many there are.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the server is and how it is reached.
pub(crate) struct Server {
    pub(crate) address: Url,
    pub(crate) http: reqwest::Client,
}

impl Server {
    /// Makes calls in a namespace, with a token or without one.
    pub(crate) fn caller(
        &self,
        namespace: Option<&str>,
        token: Option<&SecretString>,
    ) -> Result<Caller, VaultError> {
        let token = token.map_or("", |token| token.expose_secret());
        // vaultrs would panic at it.
        if HeaderValue::from_str(token).is_err() {
            return Err(VaultError::Unavailable(Outage::Login("the token cannot be sent in a header")));
        }
        let address = self.address.clone();
        Ok(Caller {
            http: RestClient::new(address.as_str(), self.http.clone()),
            middle: EndpointMiddleware {
                token: token.to_owned(),
                version: "v1".to_owned(),
                wrap: None,
                namespace: namespace.map(str::to_owned),
            },
            settings: VaultClientSettings {
                address,
                ca_certs: Vec::new(),
                identity: None,
                timeout: None,
                token: String::new(),
                verify: true,
                version: 1,
                wrapping: false,
                namespace: None,
                proxy: None,
            },
        })
    }
}

/// One token's calls.
pub(crate) struct Caller {
    http: RestClient,
    middle: EndpointMiddleware,
    /// Only because the trait wants them; they hold no token.
    settings: VaultClientSettings,
}

impl Caller {
    /// Whether the other's calls are made with the same token.
    pub(crate) fn has_token_of(&self, other: &Self) -> bool {
        self.middle.token == other.middle.token
    }
}

impl Client for Caller {
    fn http(&self) -> &RestClient {
        &self.http
    }

    fn middle(&self) -> &EndpointMiddleware {
        &self.middle
    }

    fn settings(&self) -> &VaultClientSettings {
        &self.settings
    }

    fn set_token(&mut self, token: &str) {
        token.clone_into(&mut self.middle.token);
    }
}

/// Awaits a call of vaultrs', for as long as a call may take. `what` was denied, if it was.
pub(crate) async fn answer<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, VaultError> {
    within(TIMEOUT, what, call).await
}

/// The same for a list.
pub(crate) async fn answer_of_list<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, VaultError> {
    within(LIST_TIMEOUT, what, call).await
}

/// The same for a credential that is issued: an engine makes it elsewhere, and one whose answer is not waited for is there
/// all the same, for as long as its lease.
pub(crate) async fn answer_of_issue<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, VaultError> {
    within(ISSUE_TIMEOUT, what, call).await
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, VaultError> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| classify(&error, what)),
        Err(_) => Err(VaultError::Unavailable(Outage::TimedOut)),
    }
}

/// What a login is given to work with.
pub struct Desk<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) clock: &'a dyn Clock,
}
