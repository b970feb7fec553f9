//! What is known of the secrets that are rotated: a table for people, JSON for scripts.

use std::sync::Arc;

use comfy_table::Table;
use jiff::Timestamp;
use keyturn_config::SecretRef;
use keyturn_rotation::engine::Status;
use keyturn_rotation_function::Handler;
use keyturn_secrets::{Description, Stage, StagedStore, VersionId};
use serde_json::{Value, json};

use super::{RotationCommandError, red};
use crate::look::{RULED, age, short};

/// Prints it.
pub(super) async fn status(
    handler: &Handler,
    store: impl Fn(&str) -> Result<Arc<dyn StagedStore>, RotationCommandError>,
    secrets: &[SecretRef],
    json: bool,
    now: Timestamp,
) -> Result<(), RotationCommandError> {
    let mut found = Vec::new();
    for secret in secrets {
        let result = match store(&secret.scheme) {
            Ok(store) => {
                handler.engine.status(&*store, &secret.name).await.map_err(|wrong| wrong.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        found.push((format!("{}:{}", secret.scheme, secret.name), result));
    }
    let failed = found.iter().filter(|(_, result)| result.is_err()).count();
    if json {
        let rows: Vec<Value> = found.iter().map(|(name, result)| as_json(name, result)).collect();
        anstream::println!("{}", Value::Array(rows));
    } else if found.is_empty() {
        anstream::println!("No secret is rotated: none has the tag keyturn:rotator.");
    } else {
        table(&found, now);
    }
    if failed > 0 { Err(RotationCommandError::Some(failed)) } else { Ok(()) }
}

fn as_json(name: &str, result: &Result<Status, String>) -> Value {
    let status = match result {
        Err(error) => return json!({"secret": name, "error": error}),
        Ok(status) => status,
    };
    let stage = |stage: &Stage| status.description.at(stage).map(VersionId::as_str);
    json!({
        "secret": name,
        "current": stage(&Stage::Current),
        "pending": pending(&status.description).map(VersionId::as_str),
        "previous": stage(&Stage::Previous),
        "current_since": status.description.current_since,
        "last_rotated": status.description.last_rotated,
        "next_rotation": status.description.next_rotation,
        "credentials": status.targets.iter().map(|target| json!({
            "field": target.field,
            "rotator": target.rotator,
            "replaced_at": target.replaced_at,
            "retires_at": target.retires_at,
        })).collect::<Vec<_>>(),
    })
}

fn table(found: &[(String, Result<Status, String>)], now: Timestamp) {
    let mut table = Table::new();
    table.load_style(RULED);
    table.set_header([
        "secret",
        "credential",
        "rotator",
        "current",
        "age",
        "rotated",
        "pending",
        "to retire",
    ]);
    let mut wrong = Vec::new();
    for (name, result) in found {
        let status = match result {
            Err(error) => {
                wrong.push(error.clone());
                continue;
            }
            Ok(status) => status,
        };
        let description = &status.description;
        let version = |stage: &Stage| description.at(stage).map(|version| short(version.as_str()));
        let pending = pending(description);
        // A secret that is one text keeps no record: what took another version's place did so when it became current.
        // Of several fields, each has its own.
        let replaced = description.current_since.filter(|_| description.at(&Stage::Previous).is_some());
        if status.targets.is_empty() {
            wrong.push(format!("{name} is not rotated: it has no keyturn:rotator"));
        }
        for (at, target) in status.targets.iter().enumerate() {
            let of_all = description.last_rotated.or(replaced).filter(|_| target.field.is_none());
            let rotated = target.replaced_at.or(of_all);
            table.add_row([
                if at == 0 { name.clone() } else { String::new() },
                target.field.clone().unwrap_or_else(|| "(all of it)".to_owned()),
                target.rotator.clone(),
                version(&Stage::Current).unwrap_or_default(),
                description.current_since.map_or_else(|| "?".to_owned(), |since| age(since, now)),
                rotated.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(at, now))),
                pending.map_or_else(String::new, |pending| short(pending.as_str())),
                match (target.retires_at, version(&Stage::Previous)) {
                    (Some(at), Some(version)) if at > now => format!("{version} in {}", age(now, at)),
                    (_, Some(version)) => format!("{version} now"),
                    (_, None) => String::new(),
                },
            ]);
        }
    }
    for line in table.to_string().lines() {
        anstream::println!("{}", line.trim_end());
    }
    for error in wrong {
        anstream::println!("{}", red(&error));
    }
}

/// The version of a rotation that is under way; the stage may stay where it is when one is over.
fn pending(description: &Description) -> Option<&VersionId> {
    description.at(&Stage::Pending).filter(|pending| !description.has(pending, &Stage::Current))
}
