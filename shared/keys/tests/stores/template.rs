//! The table that the code makes and the one that `template.yaml` declares are the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::dynamo::{Dynamo, TABLE};

#[tokio::test]
async fn the_template_declares_the_same_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml");
    let template = std::fs::read_to_string(path).unwrap();
    let template: Value = serde_saphyr::from_str(&template).unwrap();
    let declared = &template["Resources"]["KeyTable"]["Properties"];

    let dynamo = Dynamo::start().await;
    let made = dynamo.client.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap();
    let ttl = dynamo.client.describe_time_to_live().table_name(TABLE).send().await.unwrap();
    let ttl = ttl.time_to_live_description.unwrap();

    let billing = made.billing_mode_summary().and_then(|summary| summary.billing_mode()).unwrap();
    assert_eq!(declared["BillingMode"], billing.as_str());
    assert_eq!(
        declared["TimeToLiveSpecification"],
        json!({"AttributeName": ttl.attribute_name().unwrap(), "Enabled": true})
    );
    assert_eq!(ttl.time_to_live_status().unwrap().as_str(), "ENABLED");

    let attribute = |a: &aws_sdk_dynamodb::types::AttributeDefinition| json!({"AttributeName": a.attribute_name(), "AttributeType": a.attribute_type().as_str()});
    let schema = |elements: &[aws_sdk_dynamodb::types::KeySchemaElement]| -> Vec<Value> {
        let element = |e: &aws_sdk_dynamodb::types::KeySchemaElement| json!({"AttributeName": e.attribute_name(), "KeyType": e.key_type().as_str()});
        elements.iter().map(element).collect()
    };
    assert_eq!(declared["KeySchema"], Value::from(schema(made.key_schema())));
    assert_eq!(
        unordered(&declared["AttributeDefinitions"]),
        made.attribute_definitions().iter().map(|a| attribute(a).to_string()).collect()
    );
    let index = |i: &aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription| {
        let projection = i.projection().and_then(|p| p.projection_type()).unwrap();
        let value = json!({
            "IndexName": i.index_name().unwrap(),
            "KeySchema": schema(i.key_schema()),
            "Projection": {"ProjectionType": projection.as_str()},
        });
        value.to_string()
    };
    assert_eq!(
        unordered(&declared["GlobalSecondaryIndexes"]),
        made.global_secondary_indexes().iter().map(index).collect()
    );
}

/// The entries of a list, whatever their order.
fn unordered(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(ToString::to_string).collect()
}
