//! The table that the code makes and the one that `template.yaml` declares are the same, and the template allows what
//! the code calls.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeDefinition, GlobalSecondaryIndexDescription, KeySchemaElement};
use keyturn_keys::AdmissionStore;
use keyturn_keys::KeyStore;
use keyturn_keys::store::Edit;
use serde_json::{Value, json};

use crate::port::{hash, key};
use crate::server::{Dynamo, TABLE};

fn template() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_template_declares_the_same_table() {
    let template = template();
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

    let attribute = |a: &AttributeDefinition| json!({"AttributeName": a.attribute_name(), "AttributeType": a.attribute_type().as_str()});
    let schema = |elements: &[KeySchemaElement]| -> Vec<Value> {
        let element = |e: &KeySchemaElement| json!({"AttributeName": e.attribute_name(), "KeyType": e.key_type().as_str()});
        elements.iter().map(element).collect()
    };
    assert_eq!(declared["KeySchema"], Value::from(schema(made.key_schema())));
    assert_eq!(
        unordered(&declared["AttributeDefinitions"]),
        made.attribute_definitions().iter().map(|a| attribute(a).to_string()).collect()
    );
    let index = |i: &GlobalSecondaryIndexDescription| {
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

#[tokio::test]
async fn making_the_table_again_changes_nothing() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    let id = hash("table");
    store.edit(&[Edit::Create(key(&id, 1))]).await.unwrap();
    store.create_table().await.unwrap();
    assert!(store.open(&id).await.unwrap().row.is_some());
}

/// A transaction needs the actions of its parts: updates, and conditions on what is not changed. The request function can
/// make no key and delete none.
#[test]
fn the_request_function_may_read_and_count() {
    let template = template();
    let statements = &template["Resources"]["RequestRole"]["Properties"]["Policies"][0]["PolicyDocument"];
    let statements = statements["Statement"].as_array().unwrap();
    let keys = statements.iter().find(|statement| statement["Sid"] == "Keys").unwrap();
    let actions = ["BatchGetItem", "ConditionCheckItem", "GetItem", "UpdateItem"];
    let actions = Value::from(actions.map(|action| format!("dynamodb:{action}")).to_vec());
    assert_eq!(unordered(&keys["Action"]), unordered(&actions));
}

/// The keys function makes, changes, deletes and lists keys; it reads no secret but the master key.
#[test]
fn the_keys_function_may_manage_keys() {
    let template = template();
    let statements = &template["Resources"]["KeysRole"]["Properties"]["Policies"][0]["PolicyDocument"];
    let statements = statements["Statement"].as_array().unwrap();
    let of = |sid: &str| statements.iter().find(|statement| statement["Sid"] == sid).unwrap();
    let actions = ["BatchGetItem", "ConditionCheckItem", "DeleteItem", "GetItem", "PutItem", "UpdateItem"];
    let actions = Value::from(actions.map(|action| format!("dynamodb:{action}")).to_vec());
    assert_eq!(unordered(&of("Keys")["Action"]), unordered(&actions));
    assert_eq!(of("Lists")["Action"], "dynamodb:Query");
    assert!(of("Secrets")["Resource"].to_string().contains("MasterKey"));
    assert!(!of("Secrets")["Resource"].to_string().contains("ProviderSecret"));
}

/// The entries of a list, whatever their order.
fn unordered(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(ToString::to_string).collect()
}
