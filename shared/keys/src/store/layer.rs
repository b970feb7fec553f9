//! A store in front of another one.

use async_trait::async_trait;

use super::{
    AdmissionStore, Charge, Charged, Edit, EditError, Filter, KeyStore, Listing, Opened, Page, Row, RowId,
    StoreFailure, UsageLine, UsageQuery,
};
use crate::hash::KeyHash;
use crate::ledger::Counters;

/// [`Layer`] and the [`KeyStore`] that every layer is, from one list of the ports' methods.
macro_rules! layer {
    ($($port:ident { $($name:ident($($argument:ident: $kind:ty),*) -> $outcome:ty;)* })*) => {
        /// A key store that changes some of what another one does. What it does not say itself goes to the other one.
        #[async_trait]
        pub trait Layer: Send + Sync {
            /// The store behind it.
            fn inner(&self) -> &dyn KeyStore;

            /// As [`AdmissionStore::shares`].
            fn shares(&self) -> bool {
                self.inner().shares()
            }

            $($(
                #[doc = concat!("As [`", stringify!($port), "::", stringify!($name), "`].")]
                async fn $name(&self, $($argument: $kind),*) -> $outcome {
                    self.inner().$name($($argument),*).await
                }
            )*)*
        }

        $(
            #[async_trait]
            impl<L: Layer> $port for L {
                layer!(@shares $port);

                $(
                    async fn $name(&self, $($argument: $kind),*) -> $outcome {
                        Layer::$name(self, $($argument),*).await
                    }
                )*
            }
        )*
    };
    (@shares AdmissionStore) => {
        fn shares(&self) -> bool {
            Layer::shares(self)
        }
    };
    (@shares KeyStore) => {};
}

layer! {
    AdmissionStore {
        open(hash: &KeyHash) -> Result<Opened, StoreFailure>;
        read(ids: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure>;
        read_shares(id: &RowId, shares: u16) -> Result<Vec<Counters>, StoreFailure>;
        charge(charges: &[Charge]) -> Result<Charged, StoreFailure>;
        generation() -> Result<u64, StoreFailure>;
        log_usage(line: &UsageLine, shares: u16) -> Result<(), StoreFailure>;
    }
    KeyStore {
        edit(edits: &[Edit]) -> Result<(), EditError>;
        aliased(alias: &str) -> Result<Option<KeyHash>, StoreFailure>;
        list(listing: &Listing) -> Result<Page, StoreFailure>;
        count(filter: &Filter) -> Result<u64, StoreFailure>;
        next_generation() -> Result<u64, StoreFailure>;
        usage(query: &UsageQuery) -> Result<Vec<UsageLine>, StoreFailure>;
    }
}
