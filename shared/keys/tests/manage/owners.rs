//! Teams, users and budgets.

use keyturn_keys::manage::{
    KeyFields, LimitFields, MemberRef, NewBudget, NewTeam, NewUser, Patch, Slice, TeamFields, UserFields,
};
use keyturn_keys::{Member, MemberRole, UserRole};

use crate::bench::{Bench, admin, alias, by_value, generate, named, refusal};

fn member(user_id: &str, role: MemberRole) -> Member {
    Member { user_id: Some(user_id.to_owned()), user_email: None, role }
}

fn team(id: &str, members: Vec<Member>) -> NewTeam {
    NewTeam { team_id: Some(id.to_owned()), members, fields: TeamFields::default() }
}

fn key_of(name: &str, team: &str, user: &str) -> KeyFields {
    KeyFields { team_id: team.to_owned().into(), user_id: user.to_owned().into(), ..named(name) }
}

pub(crate) async fn a_team_and_its_members(bench: &Bench) {
    let manager = bench.manager();
    let made = manager.new_team(&admin(), team("t", vec![member("u1", MemberRole::Admin)])).await.unwrap();
    assert_eq!(made.value.members_with_roles, [member("u1", MemberRole::Admin)]);
    assert_eq!(refusal(manager.new_team(&admin(), team("t", vec![])).await), ("duplicate", "team_id"));
    let user = manager.user(&admin(), "u1").await.unwrap().value;
    assert_eq!((user.teams, user.user_role), (vec!["t".to_owned()], UserRole::InternalUser));

    // By mail address: a user that is there, and one that is not yet.
    let email = |address: &str| Member {
        user_id: None,
        user_email: Some(address.to_owned()),
        role: MemberRole::User,
    };
    let fields = UserFields { user_email: "a@x.org".to_owned().into(), ..UserFields::default() };
    let new = NewUser { user_id: Some("u2".to_owned()), fields, ..NewUser::default() };
    manager.new_user(&admin(), new).await.unwrap();
    let members = [email("a@x.org"), email("b@x.org"), member("u1", MemberRole::User)];
    let made = manager.add_members(&admin(), "t", &members).await.unwrap().value;
    let ids: Vec<_> = made.members_with_roles.iter().map(|member| member.user_id.clone().unwrap()).collect();
    assert_eq!((ids.len(), ids[0].as_str(), ids[1].as_str()), (3, "u1", "u2"));
    assert_eq!(manager.user(&admin(), &ids[2]).await.unwrap().value.user_email.as_deref(), Some("b@x.org"));
    let again = manager.add_members(&admin(), "t", &[member("u2", MemberRole::User)]).await;
    assert_eq!(refusal(again), ("duplicate", "member"));

    let by_email = MemberRef::Email("a@x.org".to_owned());
    let made = manager.update_member(&admin(), "t", &by_email, MemberRole::Admin).await.unwrap().value;
    assert_eq!(made.members_with_roles[1].role, MemberRole::Admin);
    generate(&manager, key_of("in", "t", "u2")).await;
    generate(&manager, key_of("out", "t2", "u2")).await;
    let made = manager.delete_member(&admin(), "t", &by_email).await.unwrap().value;
    assert_eq!(made.members_with_roles.len(), 2);
    assert!(manager.user(&admin(), "u2").await.unwrap().value.teams.is_empty());
    assert_eq!(refusal(manager.info(&admin(), &alias("in")).await), ("not found", "key"));
    assert!(manager.info(&admin(), &alias("out")).await.is_ok());
    assert_eq!(refusal(manager.delete_member(&admin(), "t", &by_email).await), ("not found", "member"));

    let models = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let made = manager.add_team_models(&admin(), "t", &models(&["a", "b"])).await.unwrap().value;
    assert_eq!(made.models, ["a", "b"]);
    let made = manager.remove_team_models(&admin(), "t", &models(&["a"])).await.unwrap().value;
    assert_eq!(made.models, ["b"]);
    let none = manager.remove_team_models(&admin(), "t", &models(&["b"])).await;
    assert_eq!(refusal(none), ("invalid", "models"));
}

pub(crate) async fn deleted_teams_take_their_keys_along(bench: &Bench) {
    let manager = bench.manager();
    let limits = LimitFields { max_budget: 1.0.into(), ..LimitFields::default() };
    let mut new = team("t", vec![member("u", MemberRole::User)]);
    new.fields.limits = limits;
    manager.new_team(&admin(), new).await.unwrap();
    let key = generate(&manager, key_of("a", "t", "u")).await;
    generate(&manager, named("other")).await;
    bench.request(&key.value, 0.75).await.unwrap();
    assert!(bench.request(&key.value, 0.5).await.is_err());
    assert!((manager.team(&admin(), "t").await.unwrap().spend.spend - 0.75).abs() < 1e-9);
    let more = LimitFields { max_budget: 2.0.into(), ..LimitFields::default() };
    let more = TeamFields { limits: more, team_alias: "Team".to_owned().into(), ..TeamFields::default() };
    manager.update_team(&admin(), "t", &more).await.unwrap();
    bench.request(&key.value, 0.5).await.unwrap();
    manager.block_team(&admin(), "t", true).await.unwrap();
    assert!(bench.request(&key.value, 0.1).await.is_err());
    assert_eq!(manager.team_keys(&admin(), "t").await.unwrap().len(), 1);
    assert_eq!(manager.teams_of(&admin(), "u").await.unwrap()[0].value.team_alias.as_deref(), Some("Team"));
    assert_eq!(manager.list_teams(&admin(), &Slice::default()).await.unwrap().total, 1);

    let both = ["t".to_owned(), "none".to_owned()];
    assert_eq!(refusal(manager.delete_teams(&admin(), &both).await), ("not found", "team"));
    manager.delete_teams(&admin(), &both[..1]).await.unwrap();
    assert_eq!(refusal(manager.team(&admin(), "t").await), ("not found", "team"));
    assert_eq!(refusal(manager.info(&admin(), &by_value(&key.value)).await), ("not found", "key"));
    assert!(manager.info(&admin(), &alias("other")).await.is_ok());
    assert!(manager.user(&admin(), "u").await.unwrap().value.teams.is_empty());
}

pub(crate) async fn a_user_comes_with_a_key(bench: &Bench) {
    let manager = bench.manager();
    manager.new_team(&admin(), team("t", vec![])).await.unwrap();
    let new = |name: &str, teams: &[&str]| NewUser {
        user_id: Some("u".to_owned()),
        teams: teams.iter().map(ToString::to_string).collect(),
        fields: UserFields { user_role: UserRole::ProxyAdminViewer.into(), ..UserFields::default() },
        key: Some(named(name)),
    };
    let unknown = manager.new_user(&admin(), new("a", &["none"])).await;
    assert_eq!(refusal(unknown), ("invalid", "teams"));
    let (user, key) = manager.new_user(&admin(), new("a", &["t"])).await.unwrap();
    let key = key.unwrap();
    assert_eq!(user.value.teams, ["t"]);
    assert_eq!(key.info.value.user_id.as_deref(), Some("u"));
    assert_eq!(manager.team(&admin(), "t").await.unwrap().value.members_with_roles.len(), 1);
    // Both or none.
    assert_eq!(refusal(manager.new_user(&admin(), new("b", &[])).await), ("duplicate", "user_id"));
    assert_eq!(refusal(manager.info(&admin(), &alias("b")).await), ("not found", "key"));
    let other = NewUser { user_id: Some("u2".to_owned()), ..new("a", &[]) };
    assert_eq!(refusal(manager.new_user(&admin(), other).await), ("duplicate", "key_alias"));
    assert_eq!(refusal(manager.user(&admin(), "u2").await), ("not found", "user"));

    bench.request(&key.value, 1.5).await.unwrap();
    assert!((manager.user(&admin(), "u").await.unwrap().spend.spend - 1.5).abs() < 1e-9);
    let change = UserFields { user_role: Patch::Clear, spend: Some(0.5), ..UserFields::default() };
    let user = manager.update_user(&admin(), "u", &change).await.unwrap();
    assert_eq!(user.value.user_role, UserRole::InternalUser);
    assert!((user.spend.spend - 0.5).abs() < 1e-9);
    assert_eq!(manager.user_keys(&admin(), "u").await.unwrap().len(), 1);
    assert_eq!(manager.list_users(&admin(), &Slice::default()).await.unwrap().items.len(), 1);
    assert_eq!(manager.delete_users(&admin(), &["u".to_owned()]).await.unwrap(), 1);
    assert!(!bench.opens(&key.value).await);
    assert!(manager.team(&admin(), "t").await.unwrap().value.members_with_roles.is_empty());
    assert_eq!(refusal(manager.delete_users(&admin(), &["u".to_owned()]).await), ("not found", "user"));
}

pub(crate) async fn a_budget_gives_limits(bench: &Bench) {
    let manager = bench.manager();
    let limits = LimitFields {
        max_budget: 1.0.into(),
        budget_duration: Patch::Set("1d".parse().unwrap()),
        ..LimitFields::default()
    };
    let new = || NewBudget { budget_id: Some("b".to_owned()), limits: limits.clone() };
    let start = bench.now();
    manager.new_budget(&admin(), new()).await.unwrap();
    bench.pass(1);
    assert_eq!(refusal(manager.new_budget(&admin(), new()).await), ("duplicate", "budget_id"));
    let fields = KeyFields { budget_id: "b".to_owned().into(), ..KeyFields::default() };
    let key = generate(&manager, fields).await;
    // Windows are counted from when the key was made.
    assert_eq!(key.info.spend.budget_reset_at, Some("2026-11-21T12:00:01Z".parse().unwrap()));
    bench.request(&key.value, 0.75).await.unwrap();
    assert!(bench.request(&key.value, 0.5).await.is_err());
    let more = LimitFields { max_budget: 2.0.into(), ..LimitFields::default() };
    let budget = manager.update_budget(&admin(), "b", &more).await.unwrap();
    assert_eq!(budget.limits.budget_anchor, Some(start));
    bench.request(&key.value, 0.5).await.unwrap();
    let ids = ["none".to_owned(), "b".to_owned()];
    assert_eq!(manager.budgets(&admin(), &ids).await.unwrap(), std::slice::from_ref(&budget));
    assert_eq!(manager.list_budgets(&admin(), &Slice::default()).await.unwrap().items, [budget]);
    manager.delete_budget(&admin(), "b").await.unwrap();
    assert_eq!(refusal(manager.delete_budget(&admin(), "b").await), ("not found", "budget"));
    // The key can still be changed.
    manager.update(&admin(), &by_value(&key.value), &named("a")).await.unwrap();
}
