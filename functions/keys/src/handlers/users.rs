//! Users.

use keyturn_keys::manage::Slice;

use super::keys::few;
use super::{ok, pages, required};
use crate::routes::{Answer, Call};
use crate::types::users::{
    CreateUser, CreatedUser, ManyUsers, UpdateUser, UpdatedUser, UserInfoAnswer, UserList, UserPage, UserRow,
    WhichUser,
};
use crate::{input, query};

/// Make a user, with a key unless `auto_create_key` is false
#[utoipa::path(post, path = "/user/new", tag = "users", request_body = Option<CreateUser>,
    responses((status = 200, description = "The user and its key.", body = CreatedUser)))]
pub(crate) async fn create(call: Call<'_>) -> Answer {
    let new = input::read::<CreateUser>(call.body)?.into_new()?;
    let (user, key) = call.manager.new_user(call.caller()?, new).await?;
    Ok(ok(&CreatedUser::new(user, key)))
}

/// Change a user
///
/// What is left out stays, null clears.
#[utoipa::path(post, path = "/user/update", tag = "users", request_body = UpdateUser,
    responses((status = 200, description = "The user as it is now.", body = UpdatedUser)))]
pub(crate) async fn update(call: Call<'_>) -> Answer {
    let mut asked = input::read::<UpdateUser>(call.body)?;
    let user_id = required("user_id", asked.user_id.take())?;
    let info = call.manager.update_user(call.caller()?, &user_id, &asked.fields()).await?;
    Ok(ok(&UpdatedUser { user_id, data: info.into() }))
}

/// Show a user with its keys and teams
#[utoipa::path(get, path = "/user/info", tag = "users", params(WhichUser),
    responses((status = 200, description = "The user, its keys and its teams.", body = UserInfoAnswer)))]
pub(crate) async fn info(call: Call<'_>) -> Answer {
    let WhichUser { user_id } = query::read(call.query)?;
    let own = || call.who.key.as_ref().and_then(|key| key.user_id.clone());
    let user_id = required("user_id", query::text(user_id).or_else(own))?;
    let caller = call.caller()?;
    let user = call.manager.user(caller, &user_id).await?;
    let keys = call.manager.user_keys(caller, &user_id).await?;
    let teams = call.manager.teams_of(caller, &user_id).await?;
    Ok(ok(&UserInfoAnswer {
        user_id,
        user_info: user.into(),
        keys: keys.into_iter().map(Into::into).collect(),
        teams: teams.into_iter().map(Into::into).collect(),
    }))
}

/// List users, the youngest first
#[utoipa::path(get, path = "/user/list", tag = "users", params(UserList),
    responses((status = 200, description = "A page of users.", body = UserPage)))]
pub(crate) async fn list(call: Call<'_>) -> Answer {
    let UserList { page, page_size } = query::read(call.query)?;
    let slice = Slice { page: query::page(page)?, size: page_size, from: None };
    let found = call.manager.list_users(call.caller()?, &slice).await?;
    Ok(ok(&UserPage {
        users: found.items.into_iter().map(UserRow::from).collect(),
        total: found.total,
        page,
        page_size,
        total_pages: pages(found.total, page_size),
    }))
}

/// Delete users with all their keys and memberships
#[utoipa::path(post, path = "/user/delete", tag = "users", request_body = ManyUsers,
    responses((status = 200, description = "How many were deleted.", body = usize, content_type = "application/json")))]
pub(crate) async fn delete(call: Call<'_>) -> Answer {
    let ManyUsers { user_ids } = input::read(call.body)?;
    few("user_ids", user_ids.len())?;
    Ok(ok(&call.manager.delete_users(call.caller()?, &user_ids).await?))
}
