//! Lists of keys and aliases.

use keyturn_keys::KeyHash;
use keyturn_keys::manage::{ListKeys, Slice, SortBy};

use super::{ok, pages};
use crate::error::Refusal;
use crate::query::{self, text};
use crate::routes::{Answer, Call};
use crate::types::key_row::{AliasPageAnswer, KeyPageAnswer, ListedKey};
use crate::types::keys::{AliasList, KeyList};

/// List keys, the youngest first
#[utoipa::path(get, path = "/key/list", tag = "keys", params(KeyList),
    responses((status = 200, description = "A page of keys.", body = KeyPageAnswer)))]
pub(crate) async fn keys(call: Call<'_>) -> Answer {
    let asked: KeyList = query::read(call.query)?;
    let hash = match &asked.key_hash {
        None => None,
        Some(text) => Some(
            KeyHash::from_hex(text)
                .ok_or_else(|| Refusal::field("key_hash", "must be 64 hexadecimal digits"))?,
        ),
    };
    let sort_by = match asked.sort_by.as_deref() {
        None => None,
        Some("created_at") => Some(SortBy::CreatedAt),
        Some("key_alias") => Some(SortBy::KeyAlias),
        Some(_) => return Err(Refusal::field("sort_by", "must be created_at or key_alias")),
    };
    let ascending = match asked.sort_order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Refusal::field("sort_order", "must be asc or desc")),
    };
    let slice = Slice { page: query::page(asked.page)?, size: asked.size, from: text(asked.from) };
    match asked.status.as_deref() {
        None => {}
        // LiteLLM keeps deleted keys in a table of their own.
        Some("deleted") => return Ok(ok(&page(Vec::new(), 0, None, &slice))),
        Some(_) => return Err(Refusal::field("status", "must be deleted")),
    }
    let what = ListKeys {
        user_id: text(asked.user_id),
        team_id: text(asked.team_id),
        key_hash: hash,
        key_alias: text(asked.key_alias),
        search: text(asked.search),
        sort_by,
        ascending,
        slice: slice.clone(),
    };
    let found = call.manager.list(call.caller()?, &what).await?;
    let whole = asked.return_full_object;
    let keys = found.keys.into_iter().map(|info| match whole {
        true => ListedKey::Whole(Box::new(info.into())),
        false => ListedKey::Hash(info.value.id.to_string()),
    });
    Ok(ok(&page(keys.collect(), found.total, found.next, &slice)))
}

fn page(keys: Vec<ListedKey>, total: u64, next: Option<String>, slice: &Slice) -> KeyPageAnswer {
    KeyPageAnswer {
        keys,
        total_count: total,
        current_page: slice.page,
        total_pages: pages(total, slice.size),
        next,
    }
}

/// List aliases of keys
#[utoipa::path(get, path = "/key/aliases", tag = "keys", params(AliasList),
    responses((status = 200, description = "A page of aliases, in their order.", body = AliasPageAnswer)))]
pub(crate) async fn aliases(call: Call<'_>) -> Answer {
    let AliasList { page, size, search } = query::read(call.query)?;
    let slice = Slice { page: query::page(page)?, size, from: None };
    let found = call.manager.aliases(call.caller()?, &search.unwrap_or_default(), &slice).await?;
    Ok(ok(&AliasPageAnswer {
        aliases: found.aliases,
        total_count: found.total,
        current_page: page,
        total_pages: pages(found.total, size),
        size,
    }))
}
