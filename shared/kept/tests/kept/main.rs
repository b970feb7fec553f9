//! Virtual keys in secret managers: one suite on a manager in memory, on AWS Secrets Manager (moto) and on Vault
//! (OpenBao).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws;
mod bench;
mod memory;
mod pages;
mod scenarios;
mod vault;

/// Makes a test of each scenario on one manager, which `start` starts.
macro_rules! suite {
    ($start:path) => {
        crate::suite!($start: a_secret_lives_as_long_as_its_key, every_key_has_a_secret_of_its_own,
            names_are_fit_for_the_manager, a_secret_tells_whose_it_is, what_a_dead_process_leaves_is_tidied_up,
            what_is_not_ours_is_left_alone, an_outage_is_told_without_the_key,);
    };
    ($start:path: $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::scenarios::$name(&$start().await).await;
            }
        )*
    };
}

pub(crate) use suite;
