//! Making a key.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use jiff::Timestamp;
use secrecy::SecretString;

use crate::hash::KeyHash;
use crate::new_key::{NewKey, generate, key_name};
use crate::port::{KeyError, StoreFailure};
use crate::virtual_key::VirtualKey;

use super::DynamoKeyStore;
use super::record::new_item;
use super::table::{Item, PK, SK_ALIAS, alias_pk, primary_key, unavailable};

impl DynamoKeyStore {
    /// A transaction even for a key without an alias: DynamoDB recognises a repeated transaction by its token,
    /// so a retry after a lost answer does not find the key it has just made and call it a duplicate.
    pub(super) async fn create_key(&self, new: NewKey) -> Result<(SecretString, VirtualKey), KeyError> {
        new.check()?;
        let (value, key) = self.named(new)?;
        let mut request =
            self.table.client.transact_write_items().transact_items(self.put_new(new_item(&key))?);
        if let Some(alias) = &key.key_alias {
            let mut guard = primary_key(&alias_pk(alias), SK_ALIAS);
            guard.insert("id".to_owned(), AttributeValue::S(key.id.to_string()));
            request = request.transact_items(self.put_new(guard)?);
        }
        if let Err(error) = request.send().await {
            let taken = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => canceled
                    .cancellation_reasons()
                    .iter()
                    .position(|reason| reason.code() == Some("ConditionalCheckFailed")),
                _ => None,
            };
            return Err(match taken {
                Some(0) => KeyError::Duplicate { field: "key" },
                Some(_) => KeyError::Duplicate { field: "key_alias" },
                None => unavailable(&error),
            });
        }
        // What is remembered of this value, unknown or of a deleted key, is no longer so.
        self.unknown.remove(&key.id);
        self.known.remove(&key.id);
        Ok((value, key))
    }

    /// The key's value, and the key as it will be read.
    fn named(&self, new: NewKey) -> Result<(SecretString, VirtualKey), KeyError> {
        let now = self.clock.now();
        let value = match new.key {
            Some(value) => value,
            None => generate()?,
        };
        let key = VirtualKey {
            id: KeyHash::of(&value),
            key_name: key_name(&value),
            key_alias: new.key_alias,
            team_id: new.team_id,
            user_id: new.user_id,
            models: new.models,
            aliases: new.aliases,
            metadata: new.metadata.unwrap_or_else(|| "{}".to_owned()),
            tags: new.tags,
            max_budget: new.max_budget,
            rpm_limit: new.rpm_limit,
            tpm_limit: new.tpm_limit,
            blocked: new.blocked,
            expires: new.expires,
            created_at: Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now),
            spend: 0.0,
        };
        Ok((value, key))
    }

    /// Puts an item whose key must be free.
    fn put_new(&self, item: Item) -> Result<TransactWriteItem, KeyError> {
        let put = Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(item))
            .condition_expression(format!("attribute_not_exists({PK})"))
            .build()
            .map_err(|error| KeyError::Unavailable(StoreFailure::from_error(&error)))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}
