//! The JSON of requests and answers, with LiteLLM's names. The OpenAPI document is made of these types.

pub(crate) mod budgets;
pub(crate) mod key_row;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod scalars;
pub(crate) mod spend;
pub(crate) mod teams;
pub(crate) mod users;
