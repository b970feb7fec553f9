//! Lists and sums.

use jiff::civil::date;
use keyturn_keys::store::{Edit, Filter, Kind, Listing, Page, Row, RowId, Usage, UsageLine, UsageQuery};
use keyturn_keys::{KeyHash, KeyStore};

use super::{hash, key};

/// All pages of a list, and how many rows each had.
async fn pages(store: &dyn KeyStore, listing: &Listing) -> (Vec<Row>, Vec<usize>) {
    let mut listing = listing.clone();
    let (mut rows, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let Page { rows: page, next } = store.list(&listing).await.unwrap();
        sizes.push(page.len());
        rows.extend(page);
        if next.is_none() {
            return (rows, sizes);
        }
        listing = Listing { from: next, skip: 0, ..listing };
    }
}

pub(super) async fn rows_are_listed_by_age_and_alias(store: &dyn KeyStore) {
    let alias = |number: i64| format!("list/{}/{number}", if number < 4 { "a" } else { "b" });
    for number in 0..7 {
        let mut definition = key(&hash(&format!("list-{number}")), 1_000 - number);
        definition.index.alias = Some(alias(number));
        definition.index.team_id = Some("list-team".to_owned());
        definition.index.user_id = (number % 2 == 0).then(|| "list-user".to_owned());
        store.edit(&[Edit::Create(definition)]).await.unwrap();
    }
    let listing = |filter: &Filter, limit, descending, skip| Listing {
        filter: filter.clone(),
        descending,
        limit,
        skip,
        from: None,
    };
    let revs = |rows: &[Row]| rows.iter().map(|row| row.rev).collect::<Vec<_>>();
    let cases: [(Filter, &[i64]); 6] = [
        (Filter::Team("list-team".to_owned()), &[994, 995, 996, 997, 998, 999, 1_000]),
        (Filter::User("list-user".to_owned()), &[994, 996, 998, 1_000]),
        (Filter::Alias("list/".to_owned()), &[1_000, 999, 998, 997, 996, 995, 994]),
        (Filter::Alias("list/b/".to_owned()), &[996, 995, 994]),
        (Filter::Team("nobody".to_owned()), &[]),
        (Filter::User(String::new()), &[]),
    ];
    for (filter, expected) in cases {
        assert_eq!(store.count(&filter).await.unwrap(), expected.len() as u64, "{filter:?}");
        let reversed: Vec<_> = expected.iter().rev().copied().collect();
        for (descending, expected) in [(false, expected), (true, &reversed[..])] {
            for limit in [1, 2, 3, 7, 100] {
                let (rows, sizes) = pages(store, &listing(&filter, limit, descending, 0)).await;
                assert_eq!(revs(&rows), expected, "{filter:?}");
                // No page is empty but that of an empty list.
                let full = expected.len().div_ceil(limit).max(1);
                assert_eq!(sizes.len(), full, "{filter:?} {limit}");
                for skip in [1, 3, 6, 7, 8] {
                    let page = store.list(&listing(&filter, limit, descending, skip)).await.unwrap();
                    let rest = &expected[skip.min(expected.len())..];
                    assert_eq!(revs(&page.rows), rest[..limit.min(rest.len())], "{filter:?} {limit} {skip}");
                    assert_eq!(page.next.is_some(), rest.len() > limit);
                }
            }
            assert!(store.list(&listing(&filter, 0, descending, 0)).await.unwrap().rows.is_empty());
        }
    }

    // A row moves when what it is found by changes, and goes when it is deleted.
    let mut moved = key(&hash("list-0"), 1_001);
    moved.index.team_id = Some("list-other".to_owned());
    store.edit(&[Edit::Replace { from: 1_000, to: moved }]).await.unwrap();
    let gone = Edit::Delete { id: RowId::key(&hash("list-1")), rev: 999, shares: 0 };
    store.edit(&[gone]).await.unwrap();
    let count = async |filter| store.count(&filter).await.unwrap();
    assert_eq!(count(Filter::Team("list-team".to_owned())).await, 5);
    assert_eq!(count(Filter::Team("list-other".to_owned())).await, 1);
    assert_eq!(count(Filter::User("list-user".to_owned())).await, 3);
    assert_eq!(count(Filter::Alias("list/".to_owned())).await, 5);
    for kind in [Kind::Key, Kind::Team, Kind::User, Kind::Budget] {
        let (rows, _) = pages(store, &listing(&Filter::All(kind), 4, true, 0)).await;
        assert_eq!(count(Filter::All(kind)).await, rows.len() as u64);
        assert!(rows.iter().all(|row| row.id.kind == kind));
    }
}

pub(super) async fn usage_adds_up(store: &dyn KeyStore) {
    let line = |day, key: Option<KeyHash>, tags: &[&str], cost| UsageLine {
        day,
        key,
        team_id: Some("team".to_owned()),
        user_id: None,
        model: "gpt-4o".to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        usage: Usage { requests: 1, prompt_tokens: 10, completion_tokens: 20, cost },
    };
    let [first, second, third] = [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)];
    let [one, two] = [Some(hash("usage-1")), Some(hash("usage-2"))];
    let lines = [
        (line(first, one, &[], 1), 0),
        (line(second, one, &[], 2), 0),
        (line(second, one, &[], 3), 0),
        (line(second, one, &["a", "b"], 4), 0),
        (line(second, two, &[], 5), 8),
        (line(second, two, &[], 6), 8),
        (line(second, two, &[], 7), 8),
        (line(third, None, &[], 8), 0),
        (line(third, None, &[], 9), 0),
    ];
    for (line, shares) in &lines {
        store.log_usage(line, *shares).await.unwrap();
    }
    let costs = async |from, to, key| {
        let query = UsageQuery { from, to, key };
        let mut lines = store.usage(&query).await.unwrap();
        lines.sort_by_key(|line| line.usage.cost);
        lines
    };
    let all = costs(first, third, None).await;
    let expected = [
        (first, one, 1, 1),
        (second, one, 1, 4),
        (second, one, 2, 5),
        (third, None, 2, 17),
        (second, two, 3, 18),
    ];
    let seen: Vec<_> =
        all.iter().map(|line| (line.day, line.key, line.usage.requests, line.usage.cost)).collect();
    assert_eq!(seen, expected);
    assert_eq!((all[1].tags.join(","), all[1].team_id.as_deref()), ("a,b".to_owned(), Some("team")));
    let sum = &all[4];
    assert_eq!((sum.usage.prompt_tokens, sum.usage.completion_tokens), (30, 60));
    assert_eq!((sum.model.as_str(), sum.user_id.as_deref()), ("gpt-4o", None));
    assert_eq!(costs(second, second, one).await, all[1..3]);
    assert_eq!(costs(third, third, None).await, all[3..4]);
    assert!(costs(third, first, None).await.is_empty());
    assert!(costs(third, third, one).await.is_empty());
}
