//! Connections that are open before the first request: TCP and TLS to an upstream cost it tens of milliseconds.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use tokio::task::JoinSet;

use crate::gateway::Gateway;

/// The most upstreams that are connected to: each open connection costs about 1.1 MB and 1 ms of CPU.
const UPSTREAMS: usize = 2;

/// How long a connection may take; one that takes longer is the first request's own affair.
const PATIENCE: Duration = Duration::from_secs(2);

impl Gateway {
    /// Begins to connect to the first upstreams of the configuration whose credentials are there, and does not
    /// wait: what is not done when the first event comes goes on beside it.
    pub(crate) fn warm_up(self: &Arc<Self>) {
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            let mut connecting = JoinSet::new();
            for origin in gateway.first_origins().await {
                // No credential goes along, and no answer matters.
                let request = gateway.http.head(origin).timeout(PATIENCE).send();
                connecting.spawn(request);
            }
            connecting.join_all().await;
        });
    }

    async fn first_origins(&self) -> Vec<String> {
        let mut origins = Vec::new();
        for deployment in self.deployments.iter().filter(|one| one.mock_response.is_none()) {
            let Ok(held) = self.credential(deployment).await else { continue };
            let target = deployment.target(None);
            let Ok(request) = deployment.provider.verify(&target, &held.credential, self.now().as_second())
            else {
                continue;
            };
            if let Some(origin) = origin(request.uri())
                && !origins.contains(&origin)
            {
                origins.push(origin);
            }
            if origins.len() == UPSTREAMS {
                break;
            }
        }
        origins
    }
}

/// Scheme and host of an HTTPS address; plain HTTP has nothing to save.
fn origin(uri: &Uri) -> Option<String> {
    let authority = uri.authority().filter(|_| uri.scheme() == Some(&Scheme::HTTPS))?;
    Some(format!("https://{authority}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_worth_it_and_no_path_goes_along() {
        for (uri, expected) in [
            ("https://api.openai.com/v1/models", Some("https://api.openai.com/")),
            ("https://llm.example:8443/v1/models", Some("https://llm.example:8443/")),
            ("http://127.0.0.1:8080/v1/models", None),
        ] {
            assert_eq!(origin(&uri.parse().unwrap()).as_deref(), expected, "{uri}");
        }
    }
}
