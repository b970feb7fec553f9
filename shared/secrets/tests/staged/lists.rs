//! The promises about lists.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use crate::promises::Subject;

/// More than fit a page.
const MANY: usize = 103;

pub(crate) async fn keeps_its_promises(subject: &dyn Subject) {
    let all = subject.name("listed/");
    assert!(names(subject, &all).await.is_empty());
    let mut expected = BTreeSet::new();
    let plain: Vec<String> = (0..MANY).map(|number| format!("listed/many-{number:03}")).collect();
    let others = ["listed/deep/er/one", "listed/deep/two", "listed/ten", "listed-not"].map(str::to_owned);
    let numbers: Vec<&String> = plain.iter().chain(&others).collect();
    for some in numbers.chunks(10) {
        let made = join_all(some.iter().map(|name| subject.made(name, "x"))).await;
        expected.extend(made.into_iter().map(|(name, _)| name).filter(|name| name.starts_with(&all)));
    }
    assert_eq!(expected.len(), MANY + 3);
    assert_eq!(names(subject, &all).await, expected);
    // A prefix may end in a name.
    let of = |prefix: &str| expected.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
    for prefix in
        ["listed/many-01", "listed/many-001", "listed/de", "listed/deep/", "listed/deep/er/o", "listed/x"]
    {
        let prefix = subject.name(prefix);
        assert_eq!(names(subject, &prefix).await, of(&prefix), "{prefix}");
    }
    let removed = subject.name("listed/ten");
    subject.store().remove(&removed).await.unwrap();
    assert!(!names(subject, &all).await.contains(&removed));
}

/// All pages; a name comes once.
async fn names(subject: &dyn Subject, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut from = None;
    loop {
        let page = subject.store().list(prefix, from.as_deref()).await.unwrap();
        for listed in page.secrets {
            assert!(names.insert(listed.name));
        }
        from = page.next;
        if from.is_none() {
            return names;
        }
    }
}
