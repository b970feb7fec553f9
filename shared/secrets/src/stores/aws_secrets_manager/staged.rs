//! Writing. The service leads rotations itself, so there are no leases; a version id is the `ClientRequestToken` that
//! the version is made with, 32–64 characters, and so a call that is repeated makes no second version.
//!
//! The service does not tell since when a version has been the current one (a rotation that only begins changes
//! `LastChangedDate` already). So it is noted in the tag `keyturn:since`, `<version>@<time>`; a secret that has no such
//! tag yet was last written by hand, and its current version is as old as it is. A promotion notes that the time is not
//! known before it moves the label: it may end before the time is noted, and then what the tag says of the former
//! version must not count again when somebody moves the label back.
//!
//! A secret that is made with replica regions is copied there by the service. It cannot be deleted while it has copies:
//! [`StagedStore::remove`] takes them away first.
//!
//! Permissions: on the secret `secretsmanager:DescribeSecret`, `GetSecretValue`, `PutSecretValue`,
//! `UpdateSecretVersionStage`, `TagResource`; for [`StagedStore::write`] `DescribeSecret`, `CreateSecret`, `PutSecretValue`,
//! `RestoreSecret`, `TagResource`, with replica regions `ReplicateSecretToRegions`; for [`StagedStore::remove`]
//! `DeleteSecret`, with replicas `DescribeSecret` and `RemoveRegionsFromReplication`; on `*` `ListSecrets`. With a key of
//! the customer's `kms:Decrypt` and `kms:GenerateDataKey`.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>,
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html>

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::delete_secret::DeleteSecretError;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use aws_sdk_secretsmanager::primitives::DateTime;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, ReplicaRegionType, Tag};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{AwsSecretsManager, failure, reference, secret};
use crate::{About, Description, Lease, Listed, Page, Secret, SecretError, Stage, StagedStore, VersionId};

/// The tag that tells since when a version has been the current one.
const SINCE: &str = "keyturn:since";

/// How many secrets a page of a list has; the most that ListSecrets gives.
const PAGE: i32 = 100;

/// What a label moves from and to.
#[derive(Clone, Copy, Default)]
struct Move<'a> {
    from: Option<&'a VersionId>,
    to: Option<&'a VersionId>,
}

/// A call that failed: what that means, and whether the service understood the call and refused it.
struct Failed {
    error: SecretError,
    refused: bool,
}

impl Failed {
    fn new<E: ProvideErrorMetadata>(name: &str, error: &SdkError<E, HttpResponse>) -> Self {
        let error = failure::classify(reference(name), error);
        // Not there, not under this name, not in this state.
        let refused = matches!(error, SecretError::NotFound { .. });
        Self { error, refused }
    }
}

impl AwsSecretsManager {
    async fn look(&self, name: &str) -> Result<DescribeSecretOutput, SecretError> {
        let call = self.client(name).describe_secret().secret_id(name);
        Box::pin(call.send()).await.map_err(|error| failure::classify(reference(name), &error))
    }

    async fn move_label(&self, name: &str, stage: &Stage, way: Move<'_>) -> Result<(), Failed> {
        let text = |version: &VersionId| version.as_str().to_owned();
        let call = self.client(name).update_secret_version_stage().secret_id(name);
        let call = call.version_stage(stage.label());
        let call =
            call.set_remove_from_version_id(way.from.map(text)).set_move_to_version_id(way.to.map(text));
        Box::pin(call.send()).await.map(drop).map_err(|error| Failed::new(name, &error))
    }

    /// Since when a version has been the current one. `None`: another one was, when somebody last looked.
    async fn since(
        &self,
        name: &str,
        version: &VersionId,
        tag: Option<&String>,
    ) -> Result<Option<Timestamp>, SecretError> {
        if let Some((marked, time)) = tag.and_then(|tag| tag.split_once('@')) {
            return Ok(time.parse().ok().filter(|_| marked == version.as_str()));
        }
        let call = self.client(name).get_secret_value().secret_id(name).version_id(version.as_str());
        let answer = call.send().await.map_err(|error| failure::classify(reference(name), &error))?;
        Ok(time(answer.created_date))
    }

    async fn note_since(&self, name: &str, version: &VersionId, time: &str) -> Result<(), SecretError> {
        let tag = Tag::builder().key(SINCE).value(format!("{version}@{time}")).build();
        let call = self.client(name).tag_resource().secret_id(name).tags(tag);
        Box::pin(call.send()).await.map(drop).map_err(|error| failure::classify(reference(name), &error))
    }

    /// Makes a version that the service names.
    async fn put(&self, name: &str, value: &SecretString) -> Result<VersionId, SecretError> {
        let call = self.client(name).put_secret_value().secret_id(name).secret_string(value.expose_secret());
        let answer = Box::pin(call.send()).await;
        let answer = answer.map_err(|error| failure::classify_silently(reference(name), &error))?;
        named(name, answer.version_id)
    }

    /// Takes the copies in other regions away; `false`: there are none.
    async fn remove_replicas(&self, name: &str) -> Result<bool, SecretError> {
        let there = self.look(name).await?.replication_status.into_iter().flatten();
        let regions: Vec<String> = there.filter_map(|replica| replica.region).collect();
        if regions.is_empty() {
            return Ok(false);
        }
        let call = self.client(name).remove_regions_from_replication().secret_id(name);
        let call = call.set_remove_replica_regions(Some(regions));
        Box::pin(call.send()).await.map_err(|error| failure::classify(reference(name), &error))?;
        Ok(true)
    }

    /// Writes a secret that is there, or was until lately.
    async fn write_over(
        &self,
        name: &str,
        value: &SecretString,
        about: &About,
    ) -> Result<VersionId, SecretError> {
        let tags = &about.tags;
        let there = self.look(name).await?;
        let client = self.client(name);
        if there.deleted_date.is_some() {
            let call = client.restore_secret().secret_id(name);
            Box::pin(call.send()).await.map_err(|error| failure::classify(reference(name), &error))?;
        }
        let version = self.put(name, value).await?;
        // It had to lose its copies to be deleted, and whoever restored it may have been interrupted before this.
        let copies: Vec<String> =
            there.replication_status.into_iter().flatten().filter_map(|replica| replica.region).collect();
        let missing = about.replica_regions.iter().filter(|region| !copies.contains(region));
        if let Some(replicas) = replicas(missing) {
            let call = client.replicate_secret_to_regions().secret_id(name);
            let call = call.set_add_replica_regions(Some(replicas));
            Box::pin(call.send()).await.map_err(|error| failure::classify(reference(name), &error))?;
        }
        let known = tags_of(there.tags);
        if tags.iter().any(|(name, value)| known.get(name) != Some(value)) {
            let call = client.tag_resource().secret_id(name).set_tags(Some(tags_for(tags)));
            Box::pin(call.send()).await.map_err(|error| failure::classify(reference(name), &error))?;
        }
        Ok(version)
    }
}

#[async_trait]
impl StagedStore for AwsSecretsManager {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn describe(&self, name: &str) -> Result<Description, SecretError> {
        let found = self.look(name).await?;
        if found.deleted_date.is_some() {
            return Err(SecretError::not_found(reference(name), "scheduled for deletion"));
        }
        let versions = found.version_ids_to_stages.into_iter().flatten().map(|(version, labels)| {
            (VersionId::new(&version), labels.iter().map(|label| Stage::of(Some(label))).collect())
        });
        let versions: BTreeMap<VersionId, Vec<Stage>> = versions.collect();
        let tags = tags_of(found.tags);
        let current = versions.iter().find(|(_, stages)| stages.contains(&Stage::Current));
        let current_since = match current {
            Some((version, _)) => self.since(name, version, tags.get(SINCE)).await?,
            None => None,
        };
        Ok(Description {
            name: found.name.unwrap_or_else(|| name.to_owned()),
            versions,
            current_since,
            rotation_enabled: Some(found.rotation_enabled.unwrap_or_default()),
            last_rotated: time(found.last_rotated_date),
            next_rotation: time(found.next_rotation_date),
            tags,
        })
    }

    async fn version(&self, name: &str, version: &VersionId) -> Result<Secret, SecretError> {
        let call = self.client(name).get_secret_value().secret_id(name).version_id(version.as_str());
        let answer = call.send().await.map_err(|error| failure::classify(reference(name), &error))?;
        secret(name, answer.secret_string, answer.secret_binary, answer.version_id.as_deref())
    }

    async fn mark_current(
        &self,
        name: &str,
        version: &VersionId,
        seen: Timestamp,
    ) -> Result<(), SecretError> {
        self.note_since(name, version, &seen.to_string()).await
    }

    async fn begin(
        &self,
        name: &str,
        proposed: &VersionId,
        _: &str,
        _: Lease,
    ) -> Result<VersionId, SecretError> {
        let description = StagedStore::describe(self, name).await?;
        let pending = description.at(&Stage::Pending);
        // When a rotation is over, the label may stay where it is.
        let open = pending.filter(|version| !description.has(version, &Stage::Current));
        Ok(open.unwrap_or(proposed).clone())
    }

    async fn stage(
        &self,
        name: &str,
        version: &VersionId,
        value: &SecretString,
        stage: &Stage,
        authority: Option<&SecretString>,
    ) -> Result<(), SecretError> {
        let call = self.client(name).put_secret_value().secret_id(name);
        let call = call.client_request_token(version.as_str()).secret_string(value.expose_secret());
        let call = call.version_stages(stage.label());
        let call = call.set_rotation_token(authority.map(|token| token.expose_secret().to_owned()));
        let labels = match Box::pin(call.send()).await {
            Ok(answer) => answer.version_stages.unwrap_or_default(),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutSecretValueError::is_resource_exists_exception) =>
            {
                if self.version(name, version).await?.value.expose() != value.expose_secret() {
                    return Err(SecretError::conflict(reference(name), "the version has another value"));
                }
                let description = StagedStore::describe(self, name).await?;
                let stages = description.versions.get(version).map(Vec::as_slice).unwrap_or_default();
                stages.iter().map(|stage| stage.label().to_owned()).collect()
            }
            Err(error) => return Err(failure::classify_silently(reference(name), &error)),
        };
        let has = |stage: &Stage| labels.iter().any(|label| label == stage.label());
        // A version that had this value before keeps the labels it has; a pending one that is current by now, or was,
        // is not made pending again.
        let past = *stage == Stage::Pending && (has(&Stage::Current) || has(&Stage::Previous));
        if has(stage) || past {
            return Ok(());
        }
        let description = StagedStore::describe(self, name).await?;
        let way = Move { from: description.at(stage), to: Some(version) };
        self.move_label(name, stage, way).await.map_err(|failed| failed.error)
    }

    /// A version without a value is not made current, though the service would do it.
    async fn promote(&self, name: &str, version: &VersionId, from: &VersionId) -> Result<(), SecretError> {
        self.version(name, version).await?;
        self.note_since(name, from, "-").await?;
        let way = Move { from: Some(from), to: Some(version) };
        let Err(Failed { error, refused }) = self.move_label(name, &Stage::Current, way).await else {
            return Ok(());
        };
        if !refused {
            return Err(error);
        }
        let description = StagedStore::describe(self, name).await?;
        if description.has(version, &Stage::Current) {
            Ok(())
        } else if description.has(from, &Stage::Current) {
            Err(error)
        } else {
            Err(SecretError::conflict(reference(name), "another version is current"))
        }
    }

    async fn unstage(&self, name: &str, version: &VersionId, stage: &Stage) -> Result<(), SecretError> {
        if *stage == Stage::Current {
            return Err(SecretError::denied(reference(name), "there is always a current version"));
        }
        let way = Move { from: Some(version), to: None };
        let Err(Failed { error, refused }) = self.move_label(name, stage, way).await else { return Ok(()) };
        if refused && !StagedStore::describe(self, name).await?.has(version, stage) {
            return Err(SecretError::conflict(reference(name), "the version does not have this stage"));
        }
        Err(error)
    }

    /// Description and key are given to a secret that is made; one that is there keeps its own, and its other tags.
    /// Replica regions that it lacks are added.
    async fn write(&self, name: &str, value: &SecretString, about: &About) -> Result<VersionId, SecretError> {
        // Nothing can be made by its ARN.
        if name.starts_with("arn:") {
            return self.write_over(name, value, about).await;
        }
        let call = self.client(name).create_secret().name(name).secret_string(value.expose_secret());
        let call = call.set_description(about.description.clone()).set_kms_key_id(about.kms_key.clone());
        let tags = (!about.tags.is_empty()).then(|| tags_for(&about.tags));
        let call = call.set_tags(tags).set_add_replica_regions(replicas(&about.replica_regions));
        let error = match Box::pin(call.send()).await {
            Ok(answer) => return named(name, answer.version_id),
            Err(error) => error,
        };
        // It is there, or scheduled for deletion.
        let there = error.as_service_error().is_some_and(|error| {
            error.is_resource_exists_exception() || error.is_invalid_request_exception()
        });
        if !there {
            return Err(failure::classify_silently(reference(name), &error));
        }
        match self.write_over(name, value, about).await {
            Err(SecretError::NotFound { .. }) => {
                Err(SecretError::unavailable(reference(name), "a secret of this name is just being deleted"))
            }
            other => other,
        }
    }

    async fn remove(&self, name: &str) -> Result<(), SecretError> {
        let call = self.client(name).delete_secret().secret_id(name).force_delete_without_recovery(true);
        let answer = match Box::pin(call.clone().send()).await {
            Err(error)
                if error.as_service_error().is_some_and(keeps_replicas)
                    && self.remove_replicas(name).await? =>
            {
                Box::pin(call.send()).await
            }
            answer => answer,
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteSecretError::is_resource_not_found_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(failure::classify(reference(name), &error)),
        }
    }

    /// Secrets that are scheduled for deletion are not among them.
    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, SecretError> {
        let mut call =
            self.client("").list_secrets().max_results(PAGE).set_next_token(from.map(str::to_owned));
        // A `!` in front would ask for all others.
        if !prefix.is_empty() && !prefix.starts_with('!') {
            call = call.filters(Filter::builder().key(FilterNameStringType::Name).values(prefix).build());
        }
        let answer = Box::pin(call.send()).await;
        let answer = answer.map_err(|error| failure::classify(reference(prefix), &error))?;
        let secrets = answer.secret_list.into_iter().flatten().filter_map(|entry| {
            let name = entry.name.filter(|name| name.starts_with(prefix))?;
            let changed = time(entry.last_changed_date).max(time(entry.created_date));
            Some(Listed { name, changed, tags: tags_of(entry.tags) })
        });
        Ok(Page { secrets: secrets.collect(), next: answer.next_token.filter(|token| !token.is_empty()) })
    }
}

fn replicas<'a>(regions: impl IntoIterator<Item = &'a String>) -> Option<Vec<ReplicaRegionType>> {
    let replica = |region| ReplicaRegionType::builder().region(region).build();
    let replicas: Vec<_> = regions.into_iter().map(replica).collect();
    Some(replicas).filter(|replicas| !replicas.is_empty())
}

/// Whether a deletion was refused as one of a secret with replicas is, among others. Which of the two codes that is, AWS
/// does not document; moto has the second one.
fn keeps_replicas(error: &DeleteSecretError) -> bool {
    error.is_invalid_request_exception() || error.is_invalid_parameter_exception()
}

fn named(name: &str, version: Option<String>) -> Result<VersionId, SecretError> {
    let version =
        version.ok_or_else(|| SecretError::malformed(reference(name), "the answer names no version"))?;
    Ok(VersionId::new(&version))
}

fn time(time: Option<DateTime>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

fn tags_of(tags: Option<Vec<Tag>>) -> BTreeMap<String, String> {
    tags.into_iter().flatten().filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

fn tags_for(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}
