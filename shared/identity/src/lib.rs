//! Who we are to others: credentials and short-lived tokens of the function's own, for stores and providers that ask
//! for no key of ours.
//!
//! | module | who we are to |
//! |---|---|
//! | [`aws`] | AWS: the function's role, a role that it assumes; and the token that says so to others |
//! | [`entra`] | Azure: an application, or a managed identity |
//! | [`google`] | Google: a service account, by its key, by the machine or by federation; or a person |
//!
//! Everything here ends by itself and is replaced before it does ([`Renewed`]): at a call, since a Lambda function is
//! frozen between two of them and no timer runs.

pub mod aws;
pub mod entra;
mod error;
pub mod google;
mod renewed;

/// The longest that a call for a credential may take. It is well below what the cache of secrets gives a read, so that
/// an endpoint which is silent leaves time to say so.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(4);

pub use error::IdentityError;
pub use renewed::{Granted, Renewed};
