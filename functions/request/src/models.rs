//! `/v1/models`: the model groups that the caller's key may use.

use http::{HeaderMap, Response};
use keyturn_entry::Presented;
use keyturn_keys::Identity;
use serde::Serialize;

use crate::answer::Body;
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
    pub(crate) async fn list_models(
        &self,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Response<Body>, GatewayError> {
        let key = self.key(headers, path).await?;
        let groups = self.router.groups().into_iter().filter(|group| may_use(key.as_ref(), group));
        Ok(encoded(&List { data: groups.map(Model::new).collect(), object: "list" }))
    }

    /// One model; a name that a wildcard covers is one too.
    pub(crate) async fn show_model(
        &self,
        headers: &HeaderMap,
        path: &str,
        id: &str,
    ) -> Result<Response<Body>, GatewayError> {
        let key = self.key(headers, path).await?;
        if may_use(key.as_ref(), id) && !self.router.candidates(self.router.group(id)).is_empty() {
            return Ok(encoded(&Model::new(id)));
        }
        Err(GatewayError::NoModel { model: id.to_owned() })
    }

    /// Whose virtual key it is; `None` is the master key.
    async fn key(&self, headers: &HeaderMap, path: &str) -> Result<Option<Identity>, GatewayError> {
        match self.presented(headers).await? {
            Presented::Master(_) => Ok(None),
            Presented::Virtual(hash) => self.known(&hash, path).await.map(Some),
        }
    }
}

fn may_use(key: Option<&Identity>, model: &str) -> bool {
    key.is_none_or(|key| key.allows(model))
}

fn encoded<T: Serialize>(value: &T) -> Response<Body> {
    json(serde_json::to_string(value).unwrap_or_default())
}
