use jiff::SignedDuration;

use super::super::settle::Used;
use super::super::spread::{Spread, sum};
use super::*;
use crate::store::RowId;

const REV: i64 = 7;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn start() -> Timestamp {
    at("2026-11-20T12:00:00Z")
}

fn limits(json: serde_json::Value) -> Limits {
    serde_json::from_value(json).unwrap()
}

fn account(share: u16) -> Account {
    Account { row: RowId { kind: crate::store::Kind::Team, id: "t".to_owned() }, share }
}

fn plan(limits: &Limits, tokens: i64, cost: i64, now: Timestamp) -> Plan {
    plan_for(["gpt-4o", "gpt-4o"], limits, tokens, cost, now)
}

fn plan_for(models: [&str; 2], limits: &Limits, tokens: i64, cost: i64, now: Timestamp) -> Plan {
    let (holder, max_budget) = (Holder::Key, limits.max_budget);
    let terms = Terms { holder, rev: REV, limits, max_budget, created_at: at("2026-01-01T00:00:00Z") };
    Plan::new(terms, &Wanted { models, tokens, cost, now })
}

/// Makes a change as a store does.
fn charge(change: &Change, counters: &mut Counters) -> bool {
    let fits = change.fits(REV, counters);
    if fits {
        for (name, _) in &change.add {
            assert!(!change.remove.contains(name), "{name} is added to and removed");
        }
        change.apply(counters);
    }
    fits
}

fn settle(held: &Held, used: Used, now: Timestamp, counters: &mut Counters) {
    let change = held.change(used, now, None);
    if !charge(&change, counters) {
        let seen = counters.clone();
        assert!(charge(&held.change(used, now, Some(&seen)), counters), "{held:?} {counters:?}");
    }
}

/// What is committed of a pool is what is settled and what is reserved.
fn assert_adds_up(counters: &Counters, pool: &str, settled: i64) {
    let reserved: i64 = counters
        .with_prefix("rs@")
        .filter(|(rest, _)| rest.split_once('@').is_some_and(|(_, of)| of == pool))
        .map(|(_, amount)| amount)
        .sum();
    assert_eq!(counters.get(&committed(pool)), settled + reserved, "{pool} {counters:?}");
}

#[test]
fn a_request_is_reserved_under_every_limit() {
    let limits = limits(serde_json::json!({
        "max_budget": 1.0, "budget_duration": "1d", "rpm_limit": 10, "tpm_limit": 100, "max_parallel_requests": 2,
        "model_max_budget": {"gpt-4o": {"budget_limit": 0.5, "time_period": "1h"}, "other": {"budget_limit": 0, "time_period": "1h"}},
        "model_rpm_limit": {"mine": 5, "other": 0}, "model_tpm_limit": {"other": 0},
    }));
    let plan = plan_for(["mine", "gpt-4o"], &limits, 30, 1_000, start());
    let (day, hour) = (at("2026-11-20T00:00:00Z").as_second(), start().as_second());
    let (slot, minute) = (start().as_second() / 300, start().as_second() / 60);
    let change = plan.change(&Counters::default());
    let at_most = |name: String, most| Require::AtMost(name, most);
    assert_eq!(
        change.require,
        [
            Require::Rev(REV),
            at_most(format!("cm@{day}"), 999_999_000),
            at_most(format!("cm@{hour}#gpt-4o"), 499_999_000),
            at_most(format!("rq@{minute}"), 9),
            at_most(format!("rq@{minute}#mine"), 4),
            at_most(format!("tk@{minute}"), 70),
            at_most("cm@parallel".to_owned(), 1),
        ]
    );
    let mut counters = Counters::default();
    assert!(charge(&change, &mut counters));
    for (name, amount) in [
        (format!("cm@{day}"), 1_000),
        (format!("rs@{slot}@{day}"), 1_000),
        (format!("cm@{hour}#gpt-4o"), 1_000),
        (format!("rs@{slot}@{hour}#gpt-4o"), 1_000),
        (format!("rq@{minute}"), 1),
        (format!("rq@{minute}#mine"), 1),
        (format!("tk@{minute}"), 30),
        ("cm@parallel".to_owned(), 1),
        (format!("rs@{slot}@parallel"), 1),
    ] {
        assert_eq!(counters.get(&name), amount, "{name}");
    }
    assert_eq!(counters.iter().count(), 9);
    settle(
        &plan.held(account(0), &Counters::default()),
        Used { cost: 400, tokens: 10 },
        start(),
        &mut counters,
    );
    for (name, amount) in [
        ("spend".to_owned(), 400),
        ("cm@0".to_owned(), 400),
        (format!("cm@{day}"), 400),
        (format!("cm@{hour}#gpt-4o"), 400),
        (format!("tk@{minute}"), 10),
        (format!("rq@{minute}"), 1),
        ("cm@parallel".to_owned(), 0),
    ] {
        assert_eq!(counters.get(&name), amount, "{name}");
    }
}

#[test]
fn the_first_limit_that_is_reached_is_named() {
    let now = start() + SignedDuration::from_secs(5);
    let minute = start().as_second() / 60;
    let all = limits(serde_json::json!({
        "max_budget": 1.0, "budget_duration": "1d", "rpm_limit": 10, "tpm_limit": 100, "max_parallel_requests": 2,
        "model_max_budget": {"gpt-4o": {"budget_limit": 0.5, "time_period": "1h"}},
        "model_rpm_limit": {"gpt-4o": 5},
    }));
    let (day, hour) = (at("2026-11-20T00:00:00Z").as_second(), start().as_second());
    let end = at("2026-11-20T12:01:00Z");
    for (counter, amount, expected) in [
        (format!("cm@{day}"), 999_999_991, "None 0.999999991 of 1 2026-11-21T00:00:00Z".to_owned()),
        (
            format!("cm@{hour}#gpt-4o"),
            600_000_000,
            "Some(\"gpt-4o\") 0.6 of 0.5 2026-11-20T13:00:00Z".to_owned(),
        ),
        (format!("rq@{minute}"), 10, format!("None requests 0 of 10 Some({end})")),
        (format!("rq@{minute}#gpt-4o"), 6, format!("Some(\"gpt-4o\") requests 0 of 5 Some({end})")),
        (format!("tk@{minute}"), 80, format!("None tokens 20 of 100 Some({end})")),
        ("cm@parallel".to_owned(), 2, "None max_parallel_requests 0 of 2 None".to_owned()),
    ] {
        let counters: Counters = [(counter.clone(), amount)].into_iter().collect();
        let plan = plan(&all, 21, 10, now);
        assert!(!plan.change(&counters).fits(REV, &counters), "{counter}");
        let told = match plan.refusal(&counters).unwrap() {
            KeyError::BudgetExceeded { model, spend, max_budget, resets_at, .. } => {
                format!("{model:?} {spend} of {max_budget} {}", resets_at.unwrap())
            }
            KeyError::RateLimited { model, limit_type, limit, remaining, resets_at, .. } => {
                format!("{model:?} {limit_type} {remaining} of {limit} {resets_at:?}")
            }
            other => panic!("{other}"),
        };
        assert_eq!(told, expected);
        assert!(plan.refusal(&Counters::default()).is_none());
    }
}

#[test]
fn headers_tell_the_accounts_own_limits() {
    let limits =
        limits(serde_json::json!({"rpm_limit": 3, "tpm_limit": 10, "model_rpm_limit": {"gpt-4o": 1}}));
    let mut team = plan(&limits, 12, 0, start());
    team.holder = Holder::Team("t".to_owned());
    let mut counters = Counters::default();
    charge(&team.change(&counters), &mut counters);
    let minute = start().as_second() / 60;
    let used: Counters = [(format!("rq@{minute}"), 1), (format!("tk@{minute}"), 12)].into_iter().collect();
    let expected = [
        ("x-ratelimit-team-limit-requests", "3"),
        ("x-ratelimit-team-remaining-requests", "2"),
        ("x-ratelimit-team-limit-tokens", "10"),
        ("x-ratelimit-team-remaining-tokens", "0"),
    ];
    assert_eq!(
        team.headers(|counter| used.get(counter)),
        expected.map(|(name, value)| (name, value.to_owned()))
    );
}

#[test]
fn what_is_used_up_admits_nothing_of_unknown_size() {
    let limits = limits(serde_json::json!({"max_budget": 0.0, "tpm_limit": 0}));
    let plan = plan(&limits, 0, 0, start());
    assert!(!plan.change(&Counters::default()).fits(REV, &Counters::default()));
    assert!(matches!(plan.refusal(&Counters::default()), Some(KeyError::BudgetExceeded { .. })));
}

#[test]
fn what_is_over_is_given_back_and_forgotten() {
    let limits = limits(serde_json::json!({
        "max_budget": 1.0, "budget_duration": "1d", "rpm_limit": 100,
        "model_max_budget": {"gpt-4o": {"budget_limit": 1.0, "time_period": "1h"}},
    }));
    let mut counters = Counters::default();
    let first = plan(&limits, 0, 600_000_000, start());
    assert!(charge(&first.change(&counters), &mut counters));
    let held = first.held(account(0), &counters);

    // A request may last for 15 minutes, and the grain of time is five.
    let before = start() + SignedDuration::from_secs(20 * 60 - 1);
    assert!(matches!(
        plan(&limits, 0, 600_000_000, before).refusal(&counters),
        Some(KeyError::BudgetExceeded { .. })
    ));
    let now = start() + SignedDuration::from_secs(20 * 60);
    let next = plan(&limits, 0, 1_000_000_000, now);
    assert!(next.refusal(&counters).is_none());
    assert!(charge(&next.change(&counters), &mut counters));
    let day = at("2026-11-20T00:00:00Z").as_second();
    assert_adds_up(&counters, &day.to_string(), 0);
    // Late, but alive: its spend counts, and nothing is given back twice.
    settle(&held, Used { cost: 300_000_000, tokens: 0 }, now, &mut counters);
    assert_adds_up(&counters, &day.to_string(), 300_000_000);

    // Two days later: one change more than gives everything back, the next forgets the pools.
    let now = start() + SignedDuration::from_hours(48) + SignedDuration::from_mins(5);
    for _ in 0..2 {
        let plan = plan(&limits, 0, 0, now);
        let change = plan.change(&counters);
        assert!(charge(&change, &mut counters));
    }
    let names: Vec<_> = counters.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["cm@0".to_owned(), format!("rq@{}", now.as_second() / 60), "spend".to_owned()]);
}

#[test]
fn a_window_that_has_just_ended_is_left_alone() {
    let limits = limits(serde_json::json!({"max_budget": 1.0, "budget_duration": "1d", "rpm_limit": 9}));
    let yesterday = at("2026-11-19T00:00:00Z").as_second();
    let counters: Counters = [(format!("cm@{yesterday}"), 5), ("cm@0".to_owned(), 5)].into_iter().collect();
    let removed = |now| plan(&limits, 0, 0, at(now)).change(&counters).remove;
    assert!(removed("2026-11-20T00:00:59Z").is_empty());
    assert_eq!(removed("2026-11-20T00:01:00Z"), [format!("cm@{yesterday}")]);
    // An account without a limit forgets it when it is settled.
    let unlimited = self::limits(serde_json::json!({"budget_duration": "1d"}));
    let now = at("2026-11-20T00:01:00Z");
    let held = plan(&unlimited, 0, 0, now).held(account(0), &counters);
    let change = held.change(Used { cost: 1, tokens: 0 }, now, None);
    assert_eq!(change.remove, [format!("cm@{yesterday}")]);
    assert!(held.change(Used { cost: 0, tokens: 0 }, now, None).is_empty());
}

/// Processes that see the account as it was some time ago reserve, settle and die in any order: no budget is ever
/// exceeded, and in the end everything is given back.
#[test]
fn no_interleaving_exceeds_a_limit() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let limits = limits(serde_json::json!({
            "max_budget": 1e-6, "budget_duration": (seed % 2 == 0).then_some("7m"), "max_parallel_requests": 5,
            "model_max_budget": {"gpt-4o": {"budget_limit": 8e-7, "time_period": "11m"}},
            "rpm_limit": 20, "tpm_limit": 500,
        }));
        let (mut now, mut counters, mut seen) = (start(), Counters::default(), vec![Counters::default(); 3]);
        let (mut running, mut spend, mut admitted, mut refused) = (Vec::new(), 0, 0, 0);
        for _ in 0..400 {
            let process = random.usize(..seen.len());
            match random.u8(..10) {
                0..5 => {
                    let (tokens, cost) = (random.i64(0..100), random.i64(0..300));
                    let model = random.choice(["gpt-4o", "other"]).unwrap();
                    let plan = plan_for([model, "x"], &limits, tokens, cost, now);
                    let mut done = charge(&plan.change(&seen[process]), &mut counters);
                    if !done {
                        seen[process] = counters.clone();
                        let fits = plan.refusal(&counters).is_none();
                        done = charge(&plan.change(&counters), &mut counters);
                        assert_eq!(done, fits, "seed {seed}");
                    }
                    if done {
                        admitted += 1;
                        for bound in plan.bounds() {
                            assert!(counters.get(&bound.counter) <= bound.limit, "seed {seed}: {bound:?}");
                        }
                        running.push((plan.held(account(0), &counters), tokens, cost));
                    } else {
                        refused += 1;
                    }
                }
                5..8 if !running.is_empty() => {
                    let (held, tokens, cost) = running.swap_remove(random.usize(..running.len()));
                    let used = Used { cost: random.i64(0..=cost), tokens: random.i64(0..=tokens) };
                    settle(&held, used, now, &mut counters);
                    spend += used.cost;
                }
                8 if !running.is_empty() => drop(running.swap_remove(random.usize(..running.len()))),
                _ => now += SignedDuration::from_secs(random.i64(0..90)),
            }
            if random.bool() {
                seen[process] = counters.clone();
            }
            assert_adds_up(&counters, "0", spend);
        }
        assert!(admitted > 10 && refused > 10, "seed {seed}: {admitted} {refused}");
        // Everybody who still runs is dead. The budget may be spent to the last.
        let limits = Limits { max_budget: Some(1.0), ..limits };
        now += SignedDuration::from_hours(1);
        for _ in 0..3 {
            assert!(charge(&plan(&limits, 0, 0, now).change(&counters), &mut counters), "seed {seed}");
        }
        assert_eq!(counters.get(&committed(PARALLEL)), 3, "seed {seed}: only the last three");
        let open: Vec<_> = counters
            .with_prefix("rs@")
            .filter(|(rest, _)| !rest.ends_with(PARALLEL))
            .filter(|(_, amount)| *amount != 0)
            .collect();
        assert!(open.is_empty(), "seed {seed}: {open:?}");
        assert_adds_up(&counters, "0", spend);
    }
}

/// The same for a busy account.
#[test]
fn shares_admit_exactly_the_limit() {
    for (shares, seed) in [(2, 1), (8, 2), (8, 3), (64, 4)] {
        let limits = limits(serde_json::json!({
            "max_budget": 1e-6, "max_parallel_requests": 700, "rpm_limit": 1_000, "tpm_limit": 9_999_999,
        }));
        let random = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
        let pick = |count: usize| random.borrow_mut().usize(..count);
        // Budget for 600 of 1 nano-dollar.
        let mut places = vec![Counters::default(); usize::from(shares) + 1];
        places[0].add("cm@0", 400);
        let (mut admitted, mut moved) = (0, 0);
        for _ in 0..900 {
            let whole = plan(&limits, 3, 1, start());
            let mut share = random.borrow_mut().u16(1..=shares);
            for attempt in 0.. {
                assert!(attempt < 5, "no end");
                let here = usize::from(share);
                let seen = places[here].clone();
                if charge(&whole.on_share(share, shares).change(&seen), &mut places[here]) {
                    admitted += 1;
                    break;
                }
                match whole.spread(&places[0], &places[1..], share, pick) {
                    Err(KeyError::BudgetExceeded { .. }) => break,
                    Err(other) => panic!("{other}"),
                    Ok(Spread::Fits(next)) => share = next,
                    Ok(Spread::After(next, moves)) => {
                        moved += 1;
                        for (place, change) in moves {
                            assert!(charge(&change, &mut places[usize::from(place)]), "{change:?}");
                        }
                        share = next;
                    }
                }
            }
            assert!(sum(&places).get("cm@0") <= 1_000);
        }
        assert_eq!(admitted, 600);
        assert_eq!(sum(&places).get("cm@parallel"), 600);
        assert!(places[0].get("cm@0") <= 1_000 && moved < admitted, "{moved}");
    }
}

#[test]
fn room_in_pieces_is_put_together() {
    let limits = limits(serde_json::json!({"tpm_limit": 801}));
    let shares = 8;
    let mut places = vec![Counters::default(); 9];
    // No share has 500 tokens; all together have them.
    let whole = plan(&limits, 500, 0, start());
    assert_eq!(whole.on_share(1, shares).bounds()[0].limit, 101);
    assert_eq!(whole.on_share(8, shares).bounds()[0].limit, 100);
    let Ok(Spread::After(share, moves)) = whole.spread(&places[0], &places[1..], 1, |_| 0) else {
        panic!("it fits nowhere");
    };
    for (place, change) in moves {
        assert!(charge(&change, &mut places[usize::from(place)]), "{change:?}");
    }
    let here = usize::from(share);
    let change = whole.on_share(share, shares).change(&places[here]);
    assert!(charge(&change, &mut places[here]));
    assert!(matches!(
        plan(&limits, 302, 0, start()).spread(&places[0], &places[1..], 1, |_| 0),
        Err(KeyError::RateLimited { remaining: 301, .. })
    ));
    assert!(plan(&limits, 301, 0, start()).spread(&places[0], &places[1..], 1, |_| 0).is_ok());
}

#[test]
fn the_row_gives_to_all_shares_that_are_short_and_the_request_stays() {
    let limits = limits(serde_json::json!({"max_parallel_requests": 4_000}));
    let mut places = vec![Counters::default(); 9];
    // Share 3 has room for more than half of what the others get.
    places[3].add("cm@parallel", -60);
    places[0].add("cm@parallel", 60);
    let whole = plan(&limits, 0, 0, start());
    let Ok(Spread::After(5, moves)) = whole.spread(&places[0], &places[1..], 5, |_| 0) else {
        panic!("it goes elsewhere");
    };
    for (place, change) in moves {
        assert!(charge(&change, &mut places[usize::from(place)]), "{change:?}");
    }
    let rooms: Vec<_> = places.iter().map(|counters| counters.get("cm@parallel")).collect();
    assert_eq!(rooms, [760, -100, -100, -60, -100, -100, -100, -100, -100]);
}

#[test]
fn next_to_nothing_is_nothing_where_much_is_allowed() {
    let limits = limits(serde_json::json!({"max_parallel_requests": 2_000, "rpm_limit": 2_000}));
    let whole = plan(&limits, 0, 0, start());
    let here = whole.on_share(1, 4);
    let used = |number| [("cm@parallel".to_owned(), number)].into_iter().collect::<Counters>();
    // The share is full; 9 of 2,000 are free, then 10.
    let full = used(0);
    assert!(matches!(
        whole.nearly_reached(&here, &full, &used(1_991)),
        Some(KeyError::RateLimited { limit_type: LimitType::Parallel, remaining: 9, .. })
    ));
    assert!(whole.nearly_reached(&here, &full, &used(1_990)).is_none());
    // A share with room is not asked; requests in a minute are exact.
    assert!(whole.nearly_reached(&here, &used(-1), &used(1_999)).is_none());
    let minute = format!("rq@{}", minute(start()));
    let requests = |number| [(minute.clone(), number)].into_iter().collect::<Counters>();
    let here = whole.on_share(1, 4);
    let mut at_limit = requests(500);
    at_limit.add("cm@parallel", -1);
    assert!(whole.nearly_reached(&here, &at_limit, &requests(1_999)).is_none());
}
