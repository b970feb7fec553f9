//! The request function: the data plane.
//!
//! One pipeline without AWS types: key → admission → deployment → credential → upstream → bytes to the client →
//! settlement. [`Gateway::answer`] is that pipeline; [`lambda`] puts it behind the Lambda Runtime API, and the
//! `keyturn` binary behind plain HTTP.
//!
//! | file | what it knows |
//! |---|---|
//! | `gateway` | what a process holds, and how it is put together from configuration |
//! | `loaded` | a configuration that was read, for the gateway and for who only looks at it |
//! | `routes` | which path is which handler |
//! | `completion` | a completion from key to settlement: retries and fallbacks |
//! | `router` | which deployment serves a model; weights and cooldowns |
//! | `fallbacks` | which model groups come next when one has failed |
//! | `attempt` | one request to one deployment: credential, refusal, refresh, replay |
//! | `stream` | upstream bytes → decoder → client bytes |
//! | `redact` | takes our credentials out of what an upstream says of them |
//! | `record` | what is known of a request in the end: the log line, the cost, the settlement |
//! | `credential_numbers` | what the secret stores were asked, as metrics |
//! | `warm_up` | connections that are open before the first request |
//! | `estimate` | how many tokens a prompt may have, without a tokenizer |
//! | `error` | every refusal, its status and its body |

mod answer;
mod attempt;
mod completion;
mod credential_numbers;
mod deployment;
mod error;
mod estimate;
mod fallbacks;
mod gateway;
pub mod lambda;
mod loaded;
mod models;
mod record;
mod redact;
mod router;
mod routes;
mod stream;
mod warm_up;

pub use answer::{Answer, Body, MAX_BODY_BYTES};
pub use keyturn_entry::log;

pub use deployment::provider_of;
pub use gateway::{Gateway, LoadError, Options};
pub use loaded::{Loaded, Source, Upstream};
