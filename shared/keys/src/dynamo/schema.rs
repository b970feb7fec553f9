//! The table's shape, the same as in `template.yaml`.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification, TimeToLiveStatus,
};

use crate::store::StoreFailure;

use super::item::{CREATED_AT, KEY_ALIAS, KIND, PK, SK, TEAM_ID, TTL, USER_ID};
use super::table::{Table, failure, incomplete};

/// An index: its name, partition key and sort key. It holds keys only, so counting never writes to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index {
    pub(super) name: &'static str,
    pub(super) hash: &'static str,
    pub(super) range: &'static str,
}

/// Everything with a kind by age, and the lines of usage by day.
pub(super) const ALL: Index = Index { name: "all", hash: KIND, range: CREATED_AT };
/// Keys by alias.
pub(super) const ALIAS: Index = Index { name: "alias", hash: KIND, range: KEY_ALIAS };
/// A team's keys by age.
pub(super) const TEAM: Index = Index { name: "team", hash: TEAM_ID, range: CREATED_AT };
/// A user's keys by age.
pub(super) const USER: Index = Index { name: "user", hash: USER_ID, range: CREATED_AT };

/// Every attribute that the table or an index has as a key; all are strings.
const KEY_ATTRIBUTES: [&str; 7] = [PK, SK, KIND, CREATED_AT, KEY_ALIAS, TEAM_ID, USER_ID];

/// Makes the table unless it is there. May be called again at any time.
pub(super) async fn create(table: &Table) -> Result<(), StoreFailure> {
    let mut request =
        table.client.create_table().table_name(&table.name).billing_mode(BillingMode::PayPerRequest);
    for name in KEY_ATTRIBUTES {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        let attribute = attribute.attribute_type(ScalarAttributeType::S).build().map_err(incomplete)?;
        request = request.attribute_definitions(attribute);
    }
    for element in key_schema(PK, SK).map_err(incomplete)? {
        request = request.key_schema(element);
    }
    for Index { name, hash, range } in [ALL, ALIAS, TEAM, USER] {
        let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(name)
            .set_key_schema(Some(key_schema(hash, range).map_err(incomplete)?.into()))
            .projection(projection)
            .build()
            .map_err(incomplete)?;
        request = request.global_secondary_indexes(index);
    }
    match request.send().await {
        Ok(_) => {}
        Err(error) => match error.as_service_error() {
            Some(CreateTableError::ResourceInUseException(_)) => {}
            _ => return Err(failure(&error)),
        },
    }
    enable_ttl(table).await
}

/// Turns expiry of items on, unless it is: DynamoDB refuses to do it twice.
async fn enable_ttl(table: &Table) -> Result<(), StoreFailure> {
    let state = table.client.describe_time_to_live().table_name(&table.name).send().await;
    let state = state.map_err(|error| failure(&error))?.time_to_live_description;
    let state = state.and_then(|description| description.time_to_live_status);
    if matches!(state, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let ttl = TimeToLiveSpecification::builder().attribute_name(TTL).enabled(true);
    let ttl = ttl.build().map_err(incomplete)?;
    let request = table.client.update_time_to_live().table_name(&table.name);
    request.time_to_live_specification(ttl).send().await.map_err(|error| failure(&error))?;
    Ok(())
}

/// A partition key and a sort key, both strings.
fn key_schema(hash: &str, range: &str) -> Result<[KeySchemaElement; 2], BuildError> {
    let element = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    Ok([element(hash, KeyType::Hash)?, element(range, KeyType::Range)?])
}
