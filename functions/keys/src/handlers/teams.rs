//! Teams.

use keyturn_keys::Member;
use keyturn_keys::manage::{MemberRef, Slice};

use super::keys::few;
use super::{ok, required};
use crate::error::Refusal;
use crate::routes::{Answer, Call};
use crate::types::teams::{
    AddMembers, CreateTeam, DeletedTeams, ManyTeams, OneOrMore, OneTeam, TeamInfoAnswer, TeamList,
    TeamModels, TeamRow, UpdateMember, UpdateTeam, UpdatedMember, UpdatedTeam, WhichMember, WhichTeam,
};
use crate::{input, query};

/// Make a team
#[utoipa::path(post, path = "/team/new", tag = "teams", request_body = Option<CreateTeam>,
    responses((status = 200, description = "The team.", body = TeamRow)))]
pub(crate) async fn create(call: Call<'_>) -> Answer {
    let new = input::read::<CreateTeam>(call.body)?.into_new();
    Ok(ok(&TeamRow::from(call.manager.new_team(call.caller()?, new).await?)))
}

/// Change a team
///
/// What is left out stays, null clears.
#[utoipa::path(post, path = "/team/update", tag = "teams", request_body = UpdateTeam,
    responses((status = 200, description = "The team as it is now.", body = UpdatedTeam)))]
pub(crate) async fn update(call: Call<'_>) -> Answer {
    let mut asked = input::read::<UpdateTeam>(call.body)?;
    let team_id = required("team_id", asked.team_id.take())?;
    let info = call.manager.update_team(call.caller()?, &team_id, &asked.fields()).await?;
    Ok(ok(&UpdatedTeam { team_id, data: info.into() }))
}

/// Show a team and its keys
#[utoipa::path(get, path = "/team/info", tag = "teams", params(WhichTeam),
    responses((status = 200, description = "The team and its keys.", body = TeamInfoAnswer)))]
pub(crate) async fn info(call: Call<'_>) -> Answer {
    let WhichTeam { team_id } = query::read(call.query)?;
    let team_id = required("team_id", team_id)?;
    let team = call.manager.team(call.caller()?, &team_id).await?;
    let keys = call.manager.team_keys(call.caller()?, &team_id).await?;
    Ok(ok(&TeamInfoAnswer {
        team_id,
        team_info: team.into(),
        keys: keys.into_iter().map(Into::into).collect(),
        team_memberships: [],
    }))
}

/// List teams, the youngest first
#[utoipa::path(get, path = "/team/list", tag = "teams", params(TeamList),
    responses((status = 200, description = "All teams, or a user's.", body = Vec<TeamRow>)))]
pub(crate) async fn list(call: Call<'_>) -> Answer {
    let TeamList { user_id } = query::read(call.query)?;
    let caller = call.caller()?;
    let teams = match query::text(user_id).or_else(|| caller.only_user.clone()) {
        Some(user_id) => call.manager.teams_of(caller, &user_id).await?,
        None => {
            let mut all = Vec::new();
            let mut slice = Slice { page: 1, size: 100, from: None };
            loop {
                let page = call.manager.list_teams(caller, &slice).await?;
                all.extend(page.items);
                slice.from = page.next;
                if slice.from.is_none() {
                    break all;
                }
            }
        }
    };
    Ok(ok(&teams.into_iter().map(TeamRow::from).collect::<Vec<_>>()))
}

/// Delete teams and all their keys
#[utoipa::path(post, path = "/team/delete", tag = "teams", request_body = ManyTeams,
    responses((status = 200, description = "What was deleted.", body = DeletedTeams)))]
pub(crate) async fn delete(call: Call<'_>) -> Answer {
    let ManyTeams { team_ids } = input::read(call.body)?;
    few("team_ids", team_ids.len())?;
    call.manager.delete_teams(call.caller()?, &team_ids).await?;
    Ok(ok(&DeletedTeams { deleted_teams: team_ids }))
}

/// Refuse the requests of a team's keys
#[utoipa::path(post, path = "/team/block", tag = "teams", request_body = OneTeam,
    responses((status = 200, description = "The team as it is now.", body = TeamRow)))]
pub(crate) async fn block(call: Call<'_>) -> Answer {
    let OneTeam { team_id } = input::read(call.body)?;
    Ok(ok(&TeamRow::from(call.manager.block_team(call.caller()?, &team_id, true).await?)))
}

/// Refuse the requests of a team's keys no longer
#[utoipa::path(post, path = "/team/unblock", tag = "teams", request_body = OneTeam,
    responses((status = 200, description = "The team as it is now.", body = TeamRow)))]
pub(crate) async fn unblock(call: Call<'_>) -> Answer {
    let OneTeam { team_id } = input::read(call.body)?;
    Ok(ok(&TeamRow::from(call.manager.block_team(call.caller()?, &team_id, false).await?)))
}

/// Add members to a team
///
/// Who is no user yet becomes one.
#[utoipa::path(post, path = "/team/member_add", tag = "teams", request_body = AddMembers,
    responses((status = 200, description = "The team as it is now.", body = TeamRow)))]
pub(crate) async fn add_members(call: Call<'_>) -> Answer {
    let AddMembers { team_id, member } = input::read(call.body)?;
    let members: Vec<Member> = match member {
        OneOrMore::One(member) => vec![member.into()],
        OneOrMore::More(members) => members.into_iter().map(Member::from).collect(),
    };
    Ok(ok(&TeamRow::from(call.manager.add_members(call.caller()?, &team_id, &members).await?)))
}

/// Take somebody out of a team, with the keys that they have in it
#[utoipa::path(post, path = "/team/member_delete", tag = "teams", request_body = WhichMember,
    responses((status = 200, description = "The team as it is now.", body = TeamRow)))]
pub(crate) async fn delete_member(call: Call<'_>) -> Answer {
    let WhichMember { team_id, user_id, user_email } = input::read(call.body)?;
    let who = member(user_id.as_ref(), user_email.as_ref())?;
    Ok(ok(&TeamRow::from(call.manager.delete_member(call.caller()?, &team_id, &who).await?)))
}

/// Change what somebody is in a team
#[utoipa::path(post, path = "/team/member_update", tag = "teams", request_body = UpdateMember,
    responses((status = 200, description = "What they are now.", body = UpdatedMember)))]
pub(crate) async fn update_member(call: Call<'_>) -> Answer {
    let UpdateMember { team_id, user_id, user_email, role } = input::read(call.body)?;
    let who = member(user_id.as_ref(), user_email.as_ref())?;
    call.manager.update_member(call.caller()?, &team_id, &who, role.into()).await?;
    Ok(ok(&UpdatedMember { team_id, user_id, user_email, role }))
}

fn member(user_id: Option<&String>, user_email: Option<&String>) -> Result<MemberRef, Refusal> {
    match (user_id, user_email) {
        (Some(id), _) => Ok(MemberRef::Id(id.clone())),
        (None, Some(email)) => Ok(MemberRef::Email(email.clone())),
        (None, None) => Err(Refusal::field("user_id", "or user_email is required")),
    }
}

/// Add models to those that a team's keys may call
#[utoipa::path(post, path = "/team/model/add", tag = "teams", request_body = TeamModels,
    responses((status = 200, description = "The team as it is now.", body = TeamRow)))]
pub(crate) async fn add_models(call: Call<'_>) -> Answer {
    let TeamModels { team_id, models } = input::read(call.body)?;
    Ok(ok(&TeamRow::from(call.manager.add_team_models(call.caller()?, &team_id, &models).await?)))
}

/// Take models from those that a team's keys may call
#[utoipa::path(post, path = "/team/model/delete", tag = "teams", request_body = TeamModels,
    responses((status = 200, description = "The team as it is now.", body = TeamRow)))]
pub(crate) async fn remove_models(call: Call<'_>) -> Answer {
    let TeamModels { team_id, models } = input::read(call.body)?;
    Ok(ok(&TeamRow::from(call.manager.remove_team_models(call.caller()?, &team_id, &models).await?)))
}
