//! Who may do what.

use keyturn_keys::manage::{
    Caller, KeyFields, ListKeys, NewBudget, NewKey, NewTeam, NewUser, Patch, Regenerate, Slice, TeamFields,
};
use keyturn_keys::{KeyType, Member, MemberRole};

use crate::bench::{Bench, admin, alias, by_value, generate, named, refusal};

fn owned(name: &str, user: &str) -> KeyFields {
    KeyFields { user_id: user.to_owned().into(), ..named(name) }
}

pub(crate) async fn users_manage_their_own_keys(bench: &Bench) {
    let manager = bench.manager();
    let me = Caller::user("me");
    let mine = manager.generate(&me, NewKey { key: None, fields: named("mine") }).await.unwrap();
    assert_eq!(mine.info.value.user_id.as_deref(), Some("me"));
    assert_eq!(mine.info.value.created_by.as_deref(), Some("me"));
    generate(&manager, owned("theirs", "you")).await;
    let theirs = alias("theirs");
    let other = NewKey { key: None, fields: owned("x", "you") };
    assert_eq!(refusal(manager.generate(&me, other).await), ("denied", "user_id"));
    let team = NewKey { key: None, fields: KeyFields { team_id: "t".to_owned().into(), ..named("x") } };
    assert_eq!(refusal(manager.generate(&me, team).await), ("denied", "team_id"));
    for refused in [
        refusal(manager.info(&me, &theirs).await),
        refusal(manager.update(&me, &theirs, &named("x")).await),
        refusal(manager.regenerate(&me, &theirs, &Regenerate::default()).await),
        refusal(manager.delete(&me, &[alias("mine"), theirs.clone()]).await),
    ] {
        assert_eq!(refused, ("denied", "key"));
    }
    // What would make a key mightier than its user.
    for (field, fields) in [
        ("user_id", KeyFields { user_id: Patch::Clear, ..KeyFields::default() }),
        ("user_id", owned("mine", "you")),
        ("key_type", KeyFields { key_type: KeyType::Management.into(), ..KeyFields::default() }),
        ("allowed_routes", KeyFields { allowed_routes: Patch::Clear, ..KeyFields::default() }),
        ("spend", KeyFields { spend: Some(0.0), ..KeyFields::default() }),
    ] {
        assert_eq!(refusal(manager.update(&me, &alias("mine"), &fields).await), ("denied", field));
        let how = Regenerate { fields, ..Regenerate::default() };
        assert_eq!(refusal(manager.regenerate(&me, &alias("mine"), &how).await), ("denied", field));
    }
    assert_eq!(refusal(manager.reset_spend(&me, &alias("mine"), 0.0).await), ("denied", "spend"));
    assert!(bench.opens(&mine.value).await);
    let page = manager.list(&me, &ListKeys::default()).await.unwrap();
    assert_eq!((page.total, page.keys[0].value.id), (1, mine.info.value.id));
    let others = ListKeys { user_id: Some("you".to_owned()), ..ListKeys::default() };
    assert_eq!(refusal(manager.list(&me, &others).await), ("denied", "user_id"));
    let hash = ListKeys { key_alias: Some("theirs".to_owned()), ..ListKeys::default() };
    assert_eq!(manager.list(&me, &hash).await.unwrap().total, 0);
    for refused in [
        refusal(manager.new_team(&me, NewTeam::default()).await),
        refusal(manager.list_teams(&me, &Slice::default()).await),
    ] {
        assert_eq!(refused, ("denied", "team"));
    }
    assert_eq!(refusal(manager.new_user(&me, NewUser::default()).await), ("denied", "user"));
    assert_eq!(refusal(manager.user(&me, "you").await), ("denied", "user"));
    assert_eq!(refusal(manager.new_budget(&me, NewBudget::default()).await), ("denied", "budget"));
    manager.delete(&me, &[by_value(&mine.value)]).await.unwrap();
}

pub(crate) async fn team_admins_manage_the_teams_keys(bench: &Bench) {
    let manager = bench.manager();
    let member = |user: &str, role| Member { user_id: Some(user.to_owned()), user_email: None, role };
    let members = vec![member("boss", MemberRole::Admin), member("me", MemberRole::User)];
    let team = NewTeam { team_id: Some("t".to_owned()), members, fields: TeamFields::default() };
    manager.new_team(&admin(), team).await.unwrap();
    let (boss, me) = (Caller::user("boss"), Caller::user("me"));
    let in_team = |name: &str| KeyFields { team_id: "t".to_owned().into(), ..named(name) };
    manager.generate(&me, NewKey { key: None, fields: in_team("mine") }).await.unwrap();
    generate(&manager, in_team("robot")).await;
    assert_eq!(refusal(manager.info(&me, &alias("robot")).await), ("denied", "key"));
    assert_eq!(manager.team_keys(&me, "t").await.unwrap().len(), 1);
    assert_eq!(manager.team_keys(&boss, "t").await.unwrap().len(), 2);
    for name in ["mine", "robot"] {
        manager.block(&boss, &alias(name), true).await.unwrap();
        manager.reset_spend(&boss, &alias(name), 0.0).await.unwrap();
    }
    // It stays the team's.
    let out = KeyFields { team_id: Patch::Clear, ..KeyFields::default() };
    assert_eq!(refusal(manager.update(&boss, &alias("mine"), &out).await), ("denied", "user_id"));
    manager.add_members(&boss, "t", &[member("you", MemberRole::User)]).await.unwrap();
    let more = [member("x", MemberRole::User)];
    assert_eq!(refusal(manager.add_members(&me, "t", &more).await), ("denied", "team"));
    let change = TeamFields::default();
    assert_eq!(refusal(manager.update_team(&boss, "t", &change).await), ("denied", "team"));
}
