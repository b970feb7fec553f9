//! `/v1/models`: the model groups that the caller's key may use.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use serde::Serialize;

use crate::answer::Answer;
use crate::auth::Presented;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::routes::{json, refuse};

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
    pub(crate) async fn list_models(self: &Arc<Self>, request: &Request<Bytes>) -> Answer {
        match self.visible(request).await {
            Ok(groups) => {
                let data = groups.into_iter().map(Model::new).collect();
                encoded(&List { data, object: "list" })
            }
            Err(error) => refuse(error),
        }
    }

    pub(crate) async fn show_model(self: &Arc<Self>, request: &Request<Bytes>, id: &str) -> Answer {
        match self.visible(request).await {
            Ok(groups) if groups.contains(&id) => encoded(&Model::new(id)),
            Ok(_) => refuse(GatewayError::NoModel { model: id.to_owned() }),
            Err(error) => refuse(error),
        }
    }

    async fn visible(&self, request: &Request<Bytes>) -> Result<Vec<&str>, GatewayError> {
        let groups = self.router.groups();
        let Presented::Virtual(hash) = self.door.presented(request.headers())? else { return Ok(groups) };
        let key = self.known(&hash).await?;
        Ok(groups.into_iter().filter(|group| key.allows(group)).collect())
    }
}

fn encoded<T: Serialize>(value: &T) -> Answer {
    json(serde_json::to_string(value).unwrap_or_default())
}
