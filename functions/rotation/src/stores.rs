//! The stores that rotations write to, each opened when it is first needed and kept: with its connections and its
//! login.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use keyturn_secrets::stores::{Surroundings, open_staged, staged_schemes};
use keyturn_secrets::{SecretError, StagedStore};

/// The stores by scheme.
pub struct StagedStores {
    found: Surroundings,
    open: Mutex<BTreeMap<String, Arc<dyn StagedStore>>>,
}

impl StagedStores {
    /// None is open yet.
    pub(crate) fn new(found: Surroundings) -> Self {
        Self { found, open: Mutex::default() }
    }

    /// The store of a scheme.
    ///
    /// # Errors
    ///
    /// [`SecretError::UnknownScheme`]: there is none that can be written.
    pub fn find(&self, scheme: &str) -> Result<Arc<dyn StagedStore>, SecretError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(scheme) {
            return Ok(Arc::clone(store));
        }
        let store = open_staged(scheme, &self.found);
        let store = store.ok_or_else(|| SecretError::unknown_scheme(&staged_schemes()))?;
        open.insert(scheme.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}
