//! A key store that tells the gateway in this process what has changed, so that it need not wait for the end of a
//! cache life.

use std::sync::Arc;

use async_trait::async_trait;
use keyturn_keys::store::{Edit, EditError, Layer, StoreFailure, UsageLine, UsageQuery};
use keyturn_keys::{KeyStore, Keys};
use keyturn_request::Gateway;

/// The store of the management API.
pub(crate) struct Told {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) gateway: Arc<Gateway>,
}

impl Told {
    /// Also after a failure: the change may have been made.
    fn forget(&self, edits: &[Edit]) {
        let Some(keys) = self.gateway.keys() else { return };
        for edit in edits {
            forget(keys, edit);
        }
    }
}

fn forget(keys: &Keys, edit: &Edit) {
    match edit {
        Edit::Create(definition) | Edit::Replace { to: definition, .. } => keys.forget_row(&definition.id),
        Edit::Delete { id, .. } => keys.forget_row(id),
        Edit::Point { hash, .. } | Edit::Unpoint { hash } => keys.forget(hash),
        // An alias opens nothing.
        Edit::Claim { .. } | Edit::Release { .. } => {}
    }
}

#[async_trait]
impl Layer for Told {
    fn inner(&self) -> &dyn KeyStore {
        &*self.store
    }

    async fn edit(&self, edits: &[Edit]) -> Result<(), EditError> {
        let edited = self.store.edit(edits).await;
        self.forget(edits);
        edited
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure> {
        if let Some(keys) = self.gateway.keys() {
            keys.write_usage().await?;
        }
        self.store.usage(query).await
    }
}
