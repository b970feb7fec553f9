//! Lists and reports.

use jiff::civil::date;
use keyturn_keys::KeyHash;
use keyturn_keys::manage::{GroupBy, KeyFields, ListKeys, ReportQuery, Slice, SortBy};
use keyturn_keys::store::{Usage, UsageLine};

use crate::bench::{Bench, admin, generate, named, refusal};

fn slice(page: usize, size: usize) -> Slice {
    Slice { page, size, from: None }
}

/// The aliases on a page.
fn aliases(page: &keyturn_keys::manage::KeyPage) -> Vec<&str> {
    page.keys.iter().map(|key| key.value.key_alias.as_deref().unwrap_or("-")).collect()
}

/// Five keys, a second apart: `a1` and `a2` of a user in a team, `b1` of the user, `b2` of the team, one without
/// anything.
async fn five(bench: &Bench) -> KeyHash {
    let manager = bench.manager();
    let owned = |name: &str, user: bool, team: bool| KeyFields {
        user_id: if user { "u".to_owned().into() } else { Default::default() },
        team_id: if team { "t".to_owned().into() } else { Default::default() },
        ..named(name)
    };
    for fields in
        [owned("a1", true, true), owned("a2", true, true), owned("b1", true, false), owned("b2", false, true)]
    {
        generate(&manager, fields).await;
        bench.pass(1);
    }
    generate(&manager, KeyFields::default()).await.info.value.id
}

pub(crate) async fn keys_come_in_pages(bench: &Bench) {
    five(bench).await;
    let manager = bench.manager();
    let list = async |what: ListKeys| manager.list(&admin(), &what).await.unwrap();
    let first = list(ListKeys { slice: slice(1, 2), ..ListKeys::default() }).await;
    assert_eq!((aliases(&first), first.total), (vec!["-", "b2"], 5));
    let second = list(ListKeys { slice: slice(2, 2), ..ListKeys::default() }).await;
    assert_eq!(aliases(&second), ["b1", "a2"]);
    let on = Slice { page: 1, size: 2, from: first.next };
    let same = list(ListKeys { slice: on, ..ListKeys::default() }).await;
    assert_eq!(same.keys, second.keys);
    let last = list(ListKeys { slice: slice(3, 2), ..ListKeys::default() }).await;
    assert_eq!((aliases(&last), &last.next), (vec!["a1"], &None));
    let beyond = list(ListKeys { slice: slice(4, 2), ..ListKeys::default() }).await;
    assert_eq!((beyond.keys.len(), beyond.total), (0, 5));
    let oldest = ListKeys { ascending: true, slice: slice(1, 1), ..ListKeys::default() };
    assert_eq!(aliases(&list(oldest).await), ["a1"]);
    for (field, slice) in [("page", slice(0, 1)), ("size", slice(1, 0)), ("size", slice(1, 101))] {
        let refused = manager.list(&admin(), &ListKeys { slice, ..ListKeys::default() }).await;
        assert_eq!(refusal(refused), ("invalid", field));
    }
    let page = manager.aliases(&admin(), "", &slice(2, 3)).await.unwrap();
    assert_eq!((page.aliases, page.total), (vec!["b2".to_owned()], 4));
    let page = manager.aliases(&admin(), "a", &slice(1, 3)).await.unwrap();
    assert_eq!((page.aliases, page.total), (vec!["a1".to_owned(), "a2".to_owned()], 2));
}

pub(crate) async fn filters_find_what_they_say(bench: &Bench) {
    let unnamed = five(bench).await;
    let manager = bench.manager();
    let user = || Some("u".to_owned());
    let team = || Some("t".to_owned());
    let some = ListKeys { slice: slice(1, 10), ..ListKeys::default() };
    for (what, expected) in [
        (ListKeys { user_id: user(), ..some.clone() }, vec!["b1", "a2", "a1"]),
        (ListKeys { team_id: team(), ..some.clone() }, vec!["b2", "a2", "a1"]),
        (ListKeys { user_id: user(), team_id: team(), ..some.clone() }, vec!["a2", "a1"]),
        (ListKeys { user_id: user(), team_id: team(), slice: slice(2, 1), ..some.clone() }, vec!["a1"]),
        (ListKeys { key_hash: Some(unnamed), ..some.clone() }, vec!["-"]),
        (ListKeys { key_hash: Some(unnamed), user_id: user(), ..some.clone() }, vec![]),
        (ListKeys { key_alias: Some("b1".to_owned()), ..some.clone() }, vec!["b1"]),
        (ListKeys { key_alias: Some("nobody".to_owned()), ..some.clone() }, vec![]),
        (ListKeys { search: Some("b".to_owned()), ..some.clone() }, vec!["b1", "b2"]),
        (
            ListKeys { search: Some("b".to_owned()), sort_by: Some(SortBy::KeyAlias), ..some.clone() },
            vec!["b2", "b1"],
        ),
    ] {
        let page = manager.list(&admin(), &what).await.unwrap();
        assert_eq!(aliases(&page), expected, "{what:?}");
    }
    let by_age = Some(SortBy::CreatedAt);
    for (what, field) in [
        (ListKeys { search: user(), sort_by: by_age, ..some.clone() }, "sort_by"),
        (ListKeys { search: user(), user_id: user(), ..some.clone() }, "user_id"),
        (ListKeys { sort_by: Some(SortBy::KeyAlias), ..some.clone() }, "sort_by"),
    ] {
        assert_eq!(refusal(manager.list(&admin(), &what).await), ("invalid", field));
    }
}

pub(crate) async fn reports_add_usage_up(bench: &Bench) {
    let key = generate(&bench.manager(), named("a")).await.info.value.id;
    let line = |day, key, model: &str, tags: &[&str], cost| UsageLine {
        day: date(2026, 11, day),
        key,
        team_id: key.map(|_| "t".to_owned()),
        user_id: key.map(|_| "u".to_owned()),
        model: model.to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
        usage: Usage { requests: 1, prompt_tokens: 2, completion_tokens: 3, cost },
    };
    for line in [
        line(1, Some(key), "gpt", &["x", "y"], 10),
        line(1, Some(key), "gpt", &["x", "y"], 10),
        line(1, None, "gpt", &[], 5),
        line(2, Some(key), "claude", &["x"], 7),
        line(4, Some(key), "claude", &["x"], 100),
    ] {
        bench.store.log_usage(&line, 0).await.unwrap();
    }
    let manager = bench.manager();
    let query = ReportQuery {
        from: date(2026, 11, 1),
        to: date(2026, 11, 3),
        key: None,
        team_id: None,
        user_id: None,
    };
    let days = manager.spend_by_day(&admin(), &query).await.unwrap();
    assert_eq!(days.iter().map(|day| day.usage.cost).collect::<Vec<_>>(), [25, 7]);
    assert_eq!(days[0].keys, [(None, 5), (Some(key), 20)].into());
    assert_eq!(days[0].users, [(None, 5), (Some("u".to_owned()), 20)].into());
    assert_eq!((days[0].models["gpt"], days[0].usage.requests), (25, 3));
    let tags = manager.spend_by_tag(&admin(), &query).await.unwrap();
    let tags: Vec<_> = tags.iter().map(|tag| (tag.tag.as_str(), tag.usage.cost)).collect();
    assert_eq!(tags, [("x", 27), ("y", 20)]);
    let report = manager.spend_report(&admin(), &query, GroupBy::Team).await.unwrap();
    let groups = &report[0].groups;
    assert_eq!(groups.len(), 2);
    assert_eq!((groups[0].name.as_deref(), groups[0].usage.cost), (None, 5));
    assert_eq!((groups[1].name.as_deref(), groups[1].usage.cost), (Some("t"), 20));
    assert_eq!(groups[1].parts[0].0, "gpt");
    let theirs = ReportQuery { team_id: Some("t".to_owned()), ..query.clone() };
    let report = manager.spend_report(&admin(), &theirs, GroupBy::Model).await.unwrap();
    assert_eq!(report[1].groups[0].name.as_deref(), Some("claude"));
    assert_eq!(report[0].groups[0].usage.cost, 20);
    let backwards = ReportQuery { to: date(2026, 10, 1), ..query };
    assert_eq!(refusal(manager.spend_by_day(&admin(), &backwards).await), ("invalid", "end_date"));
}
