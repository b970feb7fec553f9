//! `/v1/models`: the model groups that the caller's key may use.

use std::sync::Arc;

use http::{HeaderMap, Response};
use keyturn_keys::VirtualKey;
use serde::Serialize;

use crate::answer::Body;
use crate::auth::Presented;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::routes::json;

/// OpenAI's model object. LiteLLM gives every model this creation time.
#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct List<'a> {
    data: Vec<Model<'a>>,
    object: &'static str,
}

impl<'a> Model<'a> {
    fn new(id: &'a str) -> Self {
        Self { id, object: "model", created: 1_677_610_602, owned_by: "openai" }
    }
}

impl Gateway {
    pub(crate) async fn list_models(&self, headers: &HeaderMap) -> Result<Response<Body>, GatewayError> {
        let key = self.key(headers).await?;
        let groups = self.router.groups().into_iter().filter(|group| may_use(key.as_deref(), group));
        Ok(encoded(&List { data: groups.map(Model::new).collect(), object: "list" }))
    }

    /// One model; a name that a wildcard covers is one too.
    pub(crate) async fn show_model(
        &self,
        headers: &HeaderMap,
        id: &str,
    ) -> Result<Response<Body>, GatewayError> {
        let key = self.key(headers).await?;
        if may_use(key.as_deref(), id) && !self.router.candidates(self.router.group(id)).is_empty() {
            return Ok(encoded(&Model::new(id)));
        }
        Err(GatewayError::NoModel { model: id.to_owned() })
    }

    /// The caller's virtual key; `None` is the master key.
    async fn key(&self, headers: &HeaderMap) -> Result<Option<Arc<VirtualKey>>, GatewayError> {
        match self.door.presented(headers)? {
            Presented::Master => Ok(None),
            Presented::Virtual(hash) => self.known(&hash).await.map(Some),
        }
    }
}

fn may_use(key: Option<&VirtualKey>, model: &str) -> bool {
    key.is_none_or(|key| key.allows(model))
}

fn encoded<T: Serialize>(value: &T) -> Response<Body> {
    json(serde_json::to_string(value).unwrap_or_default())
}
