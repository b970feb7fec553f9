//! Rows in one DynamoDB table; `docs/adr/0001-key-table.md` explains its design.
//!
//! | file | what |
//! |---|---|
//! | `schema.rs` | the table's shape |
//! | `item.rs` | names and contents of items |
//! | `table.rs` | reads, failures, and what is tried again |
//! | `expression.rs` | a change of counters as DynamoDB wants it written |
//! | `charge.rs`, `edit.rs`, `list.rs`, `usage.rs` | the port's calls |
//!
//! IAM actions, on the table:
//!
//! | calls | actions |
//! |---|---|
//! | `open`, `read`, `read_shares` | `dynamodb:BatchGetItem`, `dynamodb:GetItem` |
//! | `charge` | `dynamodb:BatchGetItem`, `dynamodb:ConditionCheckItem`, `dynamodb:UpdateItem` |
//! | `log_usage`, `next_generation` | `dynamodb:UpdateItem` |
//! | `aliased`, `generation` | `dynamodb:GetItem` |
//! | `edit` | `dynamodb:DeleteItem`, `dynamodb:PutItem`, `dynamodb:UpdateItem` |
//! | `list`, `count`, `usage` | `dynamodb:BatchGetItem`, and `dynamodb:Query` on the table's indexes |
//!
//! A transaction has no action of its own: it needs those of its parts.

mod charge;
mod edit;
mod expression;
mod item;
mod list;
mod schema;
mod table;
mod usage;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use jiff::SignedDuration;

use crate::hash::KeyHash;
use crate::ledger::Counters;
use crate::store::{
    AdmissionStore, Charge, Charged, Edit, EditError, Filter, KeyStore, Listing, Opened, Page, Row, RowId,
    StoreFailure, UsageLine, UsageQuery,
};
use table::Table;

/// A [`KeyStore`] on DynamoDB.
pub struct DynamoKeyStore {
    table: Table,
    /// How long lines of usage are kept after their day; `None` = for ever.
    usage_life: Option<SignedDuration>,
}

impl DynamoKeyStore {
    /// A store on the table named `table`, which keeps lines of usage for ever.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { table: Table { client, name: table }, usage_life: None }
    }

    /// Lets DynamoDB delete lines of usage when their day is over for so long.
    #[must_use]
    pub fn forget_usage_after(self, life: Duration) -> Self {
        Self { usage_life: Some(SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX)), ..self }
    }

    /// Makes the table unless it is there: for the local gateway and for tests. `template.yaml` has the same
    /// table for AWS.
    ///
    /// # Errors
    ///
    /// DynamoDB refuses or does not answer.
    pub async fn create_table(&self) -> Result<(), StoreFailure> {
        schema::create(&self.table).await
    }
}

#[async_trait]
impl AdmissionStore for DynamoKeyStore {
    fn shares(&self) -> bool {
        true
    }

    async fn open(&self, hash: &KeyHash) -> Result<Opened, StoreFailure> {
        self.table.open(hash).await
    }

    async fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        self.table.rows(ids).await
    }

    async fn read_shares(&self, id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure> {
        self.table.shares(id, shares).await
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        charge::charge(&self.table, charges).await
    }

    async fn generation(&self) -> Result<u64, StoreFailure> {
        self.table.generation().await
    }

    async fn log_usage(&self, line: &UsageLine, shares: u16) -> Result<(), StoreFailure> {
        usage::log(&self.table, line, shares, self.usage_life).await
    }
}

#[async_trait]
impl KeyStore for DynamoKeyStore {
    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        edit::edit(&self.table, edits).await
    }

    async fn aliased(&self, alias: &str) -> Result<Option<KeyHash>, StoreFailure> {
        self.table.aliased(alias).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreFailure> {
        list::list(&self.table, listing).await
    }

    async fn count(&self, filter: &Filter) -> Result<u64, StoreFailure> {
        list::count(&self.table, filter).await
    }

    async fn next_generation(&self) -> Result<u64, StoreFailure> {
        self.table.next_generation().await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
        usage::read(&self.table, query).await
    }
}
