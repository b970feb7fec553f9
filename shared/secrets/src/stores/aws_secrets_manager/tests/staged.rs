//! Writing: what is sent, and what is made of the refusals that moto does not know.

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::{About, StagedStore};

const ID: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn id() -> VersionId {
    VersionId::new(ID)
}

fn other() -> VersionId {
    VersionId::new(OTHER)
}

/// The body of the only call of an operation.
fn sent(service: &Service, operation: &str) -> Value {
    let calls = service.calls.lock().unwrap();
    let mut found = calls.iter().filter(|(_, (called, _))| called == operation);
    let (_, (_, body)) = found.next().expect("a call");
    assert!(found.next().is_none(), "one call");
    body.clone()
}

fn ok(body: &Value) -> Answer {
    Some((200, body.to_string()))
}

fn value(version: &str, text: &str) -> Answer {
    ok(&json!({"Name": "a", "VersionId": version, "SecretString": text}))
}

fn refused(code: &str) -> Answer {
    Some((400, refusal(code)))
}

/// The answer to DescribeSecret: which version has which labels.
fn described(labels: &Value) -> Answer {
    ok(&json!({"Name": "a", "VersionIdsToStages": labels}))
}

async fn stage(store: &AwsSecretsManager, stage: &Stage) -> Result<(), SecretError> {
    let authority = SecretString::from("authority");
    store.stage("a", &id(), &"sk-canary".into(), stage, Some(&authority)).await
}

#[tokio::test]
async fn a_version_is_sent_with_its_id_its_label_and_the_authority() {
    let (store, service) =
        store(|_| ok(&json!({"Name": "a", "VersionId": ID, "VersionStages": ["AWSPENDING"]})));
    stage(&store, &Stage::Pending).await.unwrap();
    let expected = json!({
        "SecretId": "a", "ClientRequestToken": ID, "SecretString": "sk-canary",
        "VersionStages": ["AWSPENDING"], "RotationToken": "authority",
    });
    assert_eq!(sent(&service, "PutSecretValue"), expected);
    assert_eq!(operations(&service).len(), 1);
}

#[tokio::test]
async fn a_version_that_exists_is_compared() {
    for (there, conflict) in [("sk-canary", false), ("sk-other", true)] {
        let (store, _) = store(move |(operation, _)| match operation.as_str() {
            "PutSecretValue" => refused("ResourceExistsException"),
            "GetSecretValue" => value(ID, there),
            _ => described(&json!({ID: ["AWSPENDING"], OTHER: ["AWSCURRENT"]})),
        });
        let outcome = stage(&store, &Stage::Pending).await;
        match outcome {
            Err(error) => assert!(conflict && class(&error) == Class::Conflict, "{error:?}"),
            Ok(()) => assert!(!conflict),
        }
    }
}

#[tokio::test]
async fn a_version_that_lost_its_label_gets_it_back_unless_it_is_past() {
    for (labels, given, moved) in [
        (json!([]), Stage::Pending, Some(json!(OTHER))),
        (json!(["AWSPENDING"]), Stage::Pending, None),
        (json!(["AWSCURRENT"]), Stage::Pending, None),
        (json!(["AWSPREVIOUS"]), Stage::Pending, None),
        (json!(["AWSPENDING"]), Stage::Named("blue".to_owned()), Some(Value::Null)),
    ] {
        let answer = labels.clone();
        let (store, service) = store(move |(operation, _)| match operation.as_str() {
            "PutSecretValue" => ok(&json!({"Name": "a", "VersionId": ID, "VersionStages": answer})),
            "DescribeSecret" => described(&json!({OTHER: ["AWSPENDING"]})),
            _ => ok(&json!({})),
        });
        stage(&store, &given).await.unwrap();
        match moved {
            None => assert_eq!(operations(&service), ["PutSecretValue"], "{labels}"),
            Some(from) => {
                let way = sent(&service, "UpdateSecretVersionStage");
                assert_eq!((&way["RemoveFromVersionId"], &way["MoveToVersionId"]), (&from, &json!(ID)));
                assert_eq!(way["VersionStage"], given.label());
            }
        }
    }
}

#[tokio::test]
async fn a_promotion_that_is_refused_is_looked_into() {
    for (labels, expected) in [
        (json!({ID: ["AWSCURRENT"]}), None),
        (json!({"x": ["AWSCURRENT"], ID: ["AWSPENDING"]}), Some(Class::Conflict)),
        (json!({OTHER: ["AWSCURRENT"], ID: ["AWSPENDING"]}), Some(Class::NotFound)),
    ] {
        let there = labels.clone();
        let (store, service) = store(move |(operation, _)| match operation.as_str() {
            "GetSecretValue" => value(ID, "x"),
            "UpdateSecretVersionStage" => refused("InvalidParameterException"),
            _ => described(&there),
        });
        let outcome = store.promote("a", &id(), &other()).await;
        assert_eq!(outcome.as_ref().err().map(class), expected, "{labels}: {outcome:?}");
        let way = sent(&service, "UpdateSecretVersionStage");
        let expected = json!({
            "SecretId": "a", "VersionStage": "AWSCURRENT",
            "RemoveFromVersionId": OTHER, "MoveToVersionId": ID,
        });
        assert_eq!(way, expected);
    }
    let (store, service) = store(|(operation, _)| match operation.as_str() {
        "GetSecretValue" => value(ID, "x"),
        "UpdateSecretVersionStage" => refused("AccessDeniedException"),
        _ => described(&json!({})),
    });
    assert_eq!(class(&store.promote("a", &id(), &other()).await.unwrap_err()), Class::Denied);
    assert_eq!(operations(&service).last().unwrap(), "UpdateSecretVersionStage");
}

#[tokio::test]
async fn a_promotion_notes_first_that_the_time_is_not_known_yet() {
    let (store, service) = store(|(operation, _)| match operation.as_str() {
        "GetSecretValue" => value(ID, "x"),
        _ => ok(&json!({})),
    });
    store.promote("a", &id(), &other()).await.unwrap();
    assert_eq!(operations(&service), ["GetSecretValue", "TagResource", "UpdateSecretVersionStage"]);
    let tag = json!([{"Key": "keyturn:since", "Value": format!("{OTHER}@-")}]);
    assert_eq!(sent(&service, "TagResource")["Tags"], tag);
}

#[tokio::test]
async fn a_stage_that_was_not_there_was_not_taken_off() {
    for (labels, expected) in [
        (json!({ID: ["AWSCURRENT"], OTHER: ["AWSPREVIOUS"]}), Class::Conflict),
        (json!({ID: ["AWSPREVIOUS"], OTHER: ["AWSCURRENT"]}), Class::NotFound),
    ] {
        let there = labels.clone();
        let (store, _) = store(move |(operation, _)| match operation.as_str() {
            "UpdateSecretVersionStage" => refused("InvalidParameterException"),
            "GetSecretValue" => value(ID, "x"),
            _ => described(&there),
        });
        let error = store.unstage("a", &id(), &Stage::Previous).await.unwrap_err();
        assert_eq!(class(&error), expected, "{labels}: {error:?}");
    }
}

#[tokio::test]
async fn a_version_without_a_value_is_not_promoted() {
    let (store, service) = store(|_| refused("ResourceNotFoundException"));
    assert_eq!(class(&store.promote("a", &id(), &other()).await.unwrap_err()), Class::NotFound);
    assert_eq!(operations(&service), ["GetSecretValue"]);
}

#[tokio::test]
async fn a_rotation_under_way_is_gone_on_with_unless_it_is_over() {
    for (labels, expected) in [
        (json!({"x": ["AWSCURRENT"]}), ID),
        (json!({"x": ["AWSCURRENT"], OTHER: ["AWSPENDING"]}), OTHER),
        (json!({OTHER: ["AWSCURRENT", "AWSPENDING"]}), ID),
    ] {
        let (store, _) = store(move |_| described(&labels));
        let now = Timestamp::UNIX_EPOCH;
        let lease = crate::Lease { now, until: now };
        assert_eq!(store.begin("a", &id(), "me", lease).await.unwrap().as_str(), expected);
    }
}

#[tokio::test]
async fn a_description_has_what_the_service_tells() {
    let (store, _) = store(|_| {
        ok(&json!({
            "Name": "a", "RotationEnabled": true, "CreatedDate": 100.0, "LastChangedDate": 200.5,
            "LastRotatedDate": 150, "NextRotationDate": 300,
            "Tags": [{"Key": "k", "Value": "v"}, {"Key": "empty"},
                {"Key": "keyturn:since", "Value": format!("{ID}@1970-01-01T00:03:00Z")}],
            "VersionIdsToStages": {ID: ["AWSCURRENT", "blue"], OTHER: ["AWSPENDING"]},
        }))
    });
    let found = store.describe("arn:aws:secretsmanager:eu-west-1:1:secret:a-AbCdEf").await.unwrap();
    let at = |milliseconds| Some(Timestamp::from_millisecond(milliseconds).unwrap());
    assert_eq!((found.name.as_str(), found.rotation_enabled), ("a", Some(true)));
    assert_eq!((found.current_since, found.last_rotated), (at(180_000), at(150_000)));
    assert_eq!(found.next_rotation, at(300_000));
    assert_eq!((found.tags["empty"].as_str(), found.tags["k"].as_str()), ("", "v"));
    assert!(found.has(&id(), &Stage::Current) && found.has(&id(), &Stage::Named("blue".to_owned())));
    assert_eq!(found.at(&Stage::Pending), Some(&other()));
}

#[tokio::test]
async fn since_when_a_version_is_current_is_noted_and_not_taken_for_anothers() {
    let tagged = |tags: Value| {
        let (store, service) = store(move |(operation, _)| match operation.as_str() {
            "DescribeSecret" => {
                ok(&json!({"Name": "a", "Tags": tags, "VersionIdsToStages": {ID: ["AWSCURRENT"]}}))
            }
            "GetSecretValue" => {
                ok(&json!({"Name": "a", "VersionId": ID, "SecretString": "x", "CreatedDate": 100}))
            }
            _ => ok(&json!({})),
        });
        (store, service)
    };
    let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
    let (other_one, service) =
        tagged(json!([{"Key": "keyturn:since", "Value": format!("{OTHER}@1970-01-01T00:03:00Z")}]));
    assert_eq!(other_one.describe("a").await.unwrap().current_since, None);
    other_one.mark_current("a", &id(), Timestamp::from_second(200).unwrap()).await.unwrap();
    let expected = json!({"SecretId": "a",
        "Tags": [{"Key": "keyturn:since", "Value": format!("{ID}@1970-01-01T00:03:20Z")}]});
    assert_eq!(sent(&service, "TagResource"), expected);
    // Never marked: written by hand.
    let (fresh, _) = tagged(json!([]));
    assert_eq!(fresh.describe("a").await.unwrap().current_since, at(100));
}

#[tokio::test]
async fn what_is_made_is_described_tagged_and_encrypted() {
    let (store, service) = store(|_| ok(&json!({"Name": "a", "VersionId": ID})));
    let about = About {
        description: Some("for tests".to_owned()),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        kms_key: Some("alias/mine".to_owned()),
        replica_regions: vec!["eu-west-2".to_owned(), "us-east-1".to_owned()],
    };
    assert_eq!(store.write("a", &"x".into(), &about).await.unwrap(), id());
    let mut body = sent(&service, "CreateSecret");
    // The SDK's own: a try that is repeated makes no second one.
    assert!(body.as_object_mut().unwrap().remove("ClientRequestToken").is_some());
    let expected = json!({
        "Name": "a", "SecretString": "x", "Description": "for tests", "KmsKeyId": "alias/mine",
        "Tags": [{"Key": "k", "Value": "v"}],
        "AddReplicaRegions": [{"Region": "eu-west-2"}, {"Region": "us-east-1"}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_waits_for_its_deletion_is_restored_and_what_is_gone_by_then_is_tried_later() {
    let answer = |deleted: bool| {
        move |(operation, _): &Ask| match operation.as_str() {
            "CreateSecret" => refused("InvalidRequestException"),
            "DescribeSecret" if deleted => ok(&json!({"Name": "a", "DeletedDate": 100})),
            "DescribeSecret" => refused("ResourceNotFoundException"),
            "PutSecretValue" => ok(&json!({"Name": "a", "VersionId": ID})),
            _ => ok(&json!({})),
        }
    };
    let (waiting, service) = store(answer(true));
    assert_eq!(waiting.write("a", &"x".into(), &About::default()).await.unwrap(), id());
    let expected = ["CreateSecret", "DescribeSecret", "RestoreSecret", "PutSecretValue"];
    assert_eq!(operations(&service), expected);
    assert_eq!(class(&waiting.describe("a").await.unwrap_err()), Class::NotFound);
    let (gone, _) = store(answer(false));
    let error = gone.write("a", &"x".into(), &About::default()).await.unwrap_err();
    assert_eq!(class(&error), Class::Unavailable);
}

/// Whoever restored it may have been interrupted before it had its copies again.
#[tokio::test]
async fn copies_that_are_missing_are_made_again() {
    let about = |regions: [&str; 2]| About {
        replica_regions: regions.map(str::to_owned).into_iter().collect(),
        ..About::default()
    };
    let answer = |(operation, _): &Ask| match operation.as_str() {
        "CreateSecret" => refused("ResourceExistsException"),
        "DescribeSecret" => ok(&json!({"Name": "a", "ReplicationStatus": [{"Region": "eu-west-2"}]})),
        "PutSecretValue" => ok(&json!({"Name": "a", "VersionId": ID})),
        _ => ok(&json!({})),
    };
    let (there, service) = store(answer);
    assert_eq!(there.write("a", &"x".into(), &about(["eu-west-2", "us-east-1"])).await.unwrap(), id());
    let expected = json!({"SecretId": "a", "AddReplicaRegions": [{"Region": "us-east-1"}]});
    assert_eq!(sent(&service, "ReplicateSecretToRegions"), expected);
    let (whole, service) = store(answer);
    whole.write("a", &"x".into(), &about(["eu-west-2", "eu-west-2"])).await.unwrap();
    assert!(!operations(&service).iter().any(|name| name == "ReplicateSecretToRegions"));
}

#[tokio::test]
async fn deletion_leaves_the_name_free_and_may_be_repeated() {
    let (there, service) = store(|_| ok(&json!({"Name": "a"})));
    there.remove("a").await.unwrap();
    let expected = json!({"SecretId": "a", "ForceDeleteWithoutRecovery": true});
    assert_eq!(sent(&service, "DeleteSecret"), expected);
    let (gone, _) = store(|_| refused("ResourceNotFoundException"));
    gone.remove("a").await.unwrap();
    let (denied, _) = store(|_| refused("AccessDeniedException"));
    assert_eq!(class(&denied.remove("a").await.unwrap_err()), Class::Denied);
}

#[tokio::test]
async fn copies_are_taken_away_before_a_deletion_that_they_hinder() {
    for (code, copies) in [
        ("InvalidRequestException", json!([{"Region": "eu-west-2", "Status": "InSync"}])),
        ("InvalidParameterException", json!([{"Region": "eu-west-2", "Status": "InSync"}])),
        ("InvalidRequestException", json!([])),
    ] {
        let has_copies = copies != json!([]);
        let hindered = Mutex::new(true);
        let (store, service) = store(move |(operation, _)| match operation.as_str() {
            "DeleteSecret" if *hindered.lock().unwrap() => refused(code),
            "DescribeSecret" => ok(&json!({"Name": "a", "ReplicationStatus": copies})),
            "RemoveRegionsFromReplication" => {
                *hindered.lock().unwrap() = false;
                ok(&json!({}))
            }
            _ => ok(&json!({"Name": "a"})),
        });
        let removed = store.remove("a").await;
        if has_copies {
            removed.unwrap();
            let sent = sent(&service, "RemoveRegionsFromReplication");
            assert_eq!(sent, json!({"SecretId": "a", "RemoveReplicaRegions": ["eu-west-2"]}));
            assert_eq!(operations(&service).last().unwrap(), "DeleteSecret");
        } else {
            assert_eq!(class(&removed.unwrap_err()), Class::NotFound);
            assert_eq!(operations(&service), ["DeleteSecret", "DescribeSecret"]);
        }
    }
}

#[tokio::test]
async fn a_list_holds_what_begins_with_the_prefix() {
    let (store, service) = store(|_| {
        let entries = ["litellm/a", "other", "!litellm/b"];
        let entries: Vec<Value> = entries
            .iter()
            .map(|name| json!({"Name": name, "CreatedDate": 1, "LastChangedDate": 2, "Tags": [{"Key": "k"}]}))
            .collect();
        ok(&json!({"SecretList": entries, "NextToken": "more"}))
    });
    let page = store.list("litellm/", Some("from")).await.unwrap();
    let names: Vec<&str> = page.secrets.iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!((names, page.next.as_deref()), (vec!["litellm/a"], Some("more")));
    assert_eq!(page.secrets[0].changed.unwrap().as_second(), 2);
    assert!(page.secrets[0].tags.contains_key("k"));
    let expected = json!({
        "MaxResults": 100, "NextToken": "from", "Filters": [{"Key": "name", "Values": ["litellm/"]}],
    });
    assert_eq!(sent(&service, "ListSecrets"), expected);
    service.calls.lock().unwrap().clear();
    assert_eq!(store.list("!", None).await.unwrap().secrets[0].name, "!litellm/b");
    assert!(sent(&service, "ListSecrets").get("Filters").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_value_is_passed_on_only_where_it_is_about_the_caller() {
    for (status, code, said) in [
        (400, "ValidationException", false),
        (400, "InvalidParameterException", false),
        (500, "InternalServiceError", false),
        (400, "AccessDeniedException", true),
    ] {
        let body = json!({"__type": code, "message": "what was said"});
        let (store, _) = store(move |_| Some((status, body.to_string())));
        let staged = stage(&store, &Stage::Pending).await.unwrap_err();
        let written = store.write("a", &"sk-canary".into(), &About::default()).await.unwrap_err();
        for error in [staged, written] {
            let shown = format!("{error:?}");
            assert!(shown.contains(code) && shown.contains("what was said") == said, "{shown}");
        }
    }
}
