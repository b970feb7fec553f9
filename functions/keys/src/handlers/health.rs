//! Whether the caller's key works.

use super::ok;
use crate::input;
use crate::routes::{Answer, Call};
use crate::types::key_row::KeyHealth;
use crate::types::keys::Nothing;

/// Whether the caller's key works
#[utoipa::path(post, path = "/key/health", tag = "keys", request_body = Option<Nothing>,
    responses((status = 200, description = "It does.", body = KeyHealth)))]
pub(crate) async fn health(call: Call<'_>) -> Answer {
    input::read::<Nothing>(call.body)?;
    Ok(ok(&KeyHealth { key: "healthy", logging_callbacks: None }))
}
