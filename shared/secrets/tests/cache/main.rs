//! The credential cache over a store that the tests hold in their hands.
#![cfg(test)]

mod ages;
mod fake;
mod fields;
mod flights;
mod fresh;
mod generations;
mod lives;
mod prefetches;
mod previous;
mod refusals;
mod rig;
mod soft_ttls;
mod stats;
