//! The table: its names, its shape, and reading from it.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    KeysAndAttributes, Projection, ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
    TimeToLiveStatus,
};

use crate::hash::KeyHash;
use crate::port::{KeyError, StoreFailure};

/// An item: attribute name → value.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Partition key: what the item is about (`KEY#<hash>`, `ALIAS#<alias>`, `GENERATION`).
pub(super) const PK: &str = "pk";
/// Sort key: which item of it.
pub(super) const SK: &str = "sk";
/// Sort key of a key's record, and of a pointer to one.
pub(super) const SK_KEY: &str = "KEY";
/// Sort key of the item that keeps an alias unique.
pub(super) const SK_ALIAS: &str = "ALIAS";
/// Both keys of the item that counts finished rotations.
const GENERATION: &str = "GENERATION";
/// The count in that item.
const GENERATION_NUMBER: &str = "n";
/// What a pointer item holds: the id of the key that its hash opens.
const POINTS_TO: &str = "points_to";
/// Epoch seconds after which DynamoDB deletes an item; only items that are no longer needed have it.
const TTL: &str = "ttl";

/// The indexes that lists are read from: name, partition key, sort key. They hold keys only, so counting never
/// writes to them.
const INDEXES: [(&str, &str, &str); 4] = [
    ("all", "kind", "created_at"),
    ("alias", "kind", "key_alias"),
    ("team", "team_id", "created_at"),
    ("user", "user_id", "created_at"),
];

/// Every attribute that the table or an index has as a key; all are strings.
const KEY_ATTRIBUTES: [&str; 7] = [PK, SK, "kind", "created_at", "key_alias", "team_id", "user_id"];

/// The table.
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

/// What a look-up finds: the item, if there is one, and the generation, if it could be read.
pub(super) struct Found {
    pub(super) item: Option<Item>,
    pub(super) generation: Option<u64>,
}

impl Table {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// The item of a hash and the generation, in one round trip.
    pub(super) async fn look_up(&self, hash: &KeyHash) -> Result<Found, KeyError> {
        let pk = key_pk(hash);
        let keys = KeysAndAttributes::builder()
            .keys(primary_key(&pk, SK_KEY))
            .keys(primary_key(GENERATION, GENERATION))
            .consistent_read(true)
            .build()
            .map_err(|error| KeyError::Unavailable(StoreFailure::from_error(&error)))?;
        // DynamoDB may leave keys unread when it is throttled; that is not the same as finding nothing.
        for _ in 0..2 {
            let request = self.client.batch_get_item().request_items(&self.name, keys.clone());
            let reply = request.send().await.map_err(|error| unavailable(&error))?;
            let unread = reply.unprocessed_keys.unwrap_or_default();
            let unread = unread.get(&self.name).map(KeysAndAttributes::keys).unwrap_or_default();
            let left = |wanted: &str| unread.iter().any(|key| text(key, PK) == Some(wanted));
            if left(&pk) {
                continue;
            }
            let mut items = reply.responses.unwrap_or_default().remove(&self.name).unwrap_or_default();
            let mut take = |wanted: &str| {
                let at = items.iter().position(|item| text(item, PK) == Some(wanted))?;
                Some(items.swap_remove(at))
            };
            let item = take(&pk);
            let generation = take(GENERATION);
            let generation = if left(GENERATION) { None } else { Some(generation_of(generation.as_ref())?) };
            return Ok(Found { item, generation });
        }
        Err(KeyError::Unavailable(StoreFailure::new("DynamoDB left the key unread")))
    }

    /// The item of a hash.
    pub(super) async fn get(&self, hash: &KeyHash) -> Result<Option<Item>, KeyError> {
        self.get_item(&key_pk(hash), SK_KEY).await
    }

    /// The generation.
    pub(super) async fn generation(&self) -> Result<u64, KeyError> {
        generation_of(self.get_item(GENERATION, GENERATION).await?.as_ref())
    }

    async fn get_item(&self, pk: &str, sk: &str) -> Result<Option<Item>, KeyError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(primary_key(pk, sk)));
        Ok(request.consistent_read(true).send().await.map_err(|error| unavailable(&error))?.item)
    }

    /// Makes the table unless it is there. May be called again at any time.
    pub(super) async fn create(&self) -> Result<(), KeyError> {
        let build = |error| KeyError::Unavailable(StoreFailure::from_error(&error));
        let mut request =
            self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        for name in KEY_ATTRIBUTES {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            let attribute = attribute.attribute_type(ScalarAttributeType::S).build().map_err(build)?;
            request = request.attribute_definitions(attribute);
        }
        for element in key_schema(PK, SK).map_err(build)? {
            request = request.key_schema(element);
        }
        for (name, hash, range) in INDEXES {
            let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
            let index = GlobalSecondaryIndex::builder()
                .index_name(name)
                .set_key_schema(Some(key_schema(hash, range).map_err(build)?.into()))
                .projection(projection)
                .build()
                .map_err(build)?;
            request = request.global_secondary_indexes(index);
        }
        match request.send().await {
            Ok(_) => {}
            Err(error) => match error.as_service_error() {
                Some(CreateTableError::ResourceInUseException(_)) => {}
                _ => return Err(unavailable(&error)),
            },
        }
        self.enable_ttl().await
    }

    /// Turns expiry of items on, unless it is: DynamoDB refuses to do it twice.
    async fn enable_ttl(&self) -> Result<(), KeyError> {
        let state = self.client.describe_time_to_live().table_name(&self.name).send().await;
        let state = state.map_err(|error| unavailable(&error))?.time_to_live_description;
        let state = state.and_then(|description| description.time_to_live_status);
        if matches!(state, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        let ttl = TimeToLiveSpecification::builder().attribute_name(TTL).enabled(true).build();
        let ttl = ttl.map_err(|error| KeyError::Unavailable(StoreFailure::from_error(&error)))?;
        let request = self.client.update_time_to_live().table_name(&self.name);
        request.time_to_live_specification(ttl).send().await.map_err(|error| unavailable(&error))?;
        Ok(())
    }
}

/// A partition key and a sort key, both strings.
fn key_schema(hash: &str, range: &str) -> Result<[KeySchemaElement; 2], aws_sdk_dynamodb::error::BuildError> {
    let element = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    Ok([element(hash, KeyType::Hash)?, element(range, KeyType::Range)?])
}

/// The partition key of a hash's item.
pub(super) fn key_pk(hash: &KeyHash) -> String {
    format!("KEY#{hash}")
}

/// The partition key of an alias's item.
pub(super) fn alias_pk(alias: &str) -> String {
    format!("ALIAS#{alias}")
}

/// An item's key.
pub(super) fn primary_key(pk: &str, sk: &str) -> Item {
    HashMap::from([
        (PK.to_owned(), AttributeValue::S(pk.to_owned())),
        (SK.to_owned(), AttributeValue::S(sk.to_owned())),
    ])
}

/// The key that an item points to; `None` when the item is a key's record itself.
pub(super) fn points_to(item: &Item) -> Result<Option<KeyHash>, KeyError> {
    let Some(id) = item.get(POINTS_TO) else { return Ok(None) };
    let id = id.as_s().ok().and_then(|id| KeyHash::from_hex(id));
    id.map(Some).ok_or_else(|| malformed(POINTS_TO))
}

/// The generation in its item; 0 when there is none yet.
fn generation_of(item: Option<&Item>) -> Result<u64, KeyError> {
    let Some(item) = item else { return Ok(0) };
    let number = item.get(GENERATION_NUMBER).and_then(|number| number.as_n().ok());
    number.and_then(|number| number.parse().ok()).ok_or_else(|| malformed(GENERATION_NUMBER))
}

/// A string attribute.
fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The table holds what we did not write: an outage of ours.
pub(super) fn malformed(attribute: &str) -> KeyError {
    KeyError::Unavailable(StoreFailure::new(format!("malformed attribute {attribute} in the key table")))
}

/// Every failure of DynamoDB's that is not an answer: throttled, denied, no such table, no connection. The SDK
/// has retried what it was worth to retry.
pub(super) fn unavailable<E, R>(error: &SdkError<E, R>) -> KeyError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let failure = match error.as_service_error().map(ProvideErrorMetadata::meta) {
        Some(meta) => StoreFailure::new(format!("DynamoDB: {meta}")),
        None => StoreFailure::from_error(error),
    };
    KeyError::Unavailable(failure)
}
