//! The steps, one at a time.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;
use keyturn_rotation::{Retired, RotationError, Step};
use keyturn_secrets::{Stage, StagedStore};
use serde_json::Value;

use crate::provider::field;
use crate::store::NAME;
use crate::world::{OVERLAP, World};

#[tokio::test(start_paused = true)]
async fn four_steps_replace_the_credential_and_the_former_one_goes_after_the_overlap() {
    let world = World::new(1, 9);
    world.rotate().await;
    let second = world.store.at(&Stage::Current).unwrap();
    assert_eq!(second, "sk-2");
    assert_eq!(world.store.at(&Stage::Previous).as_deref(), Some("sk-1"));
    world.pass(OVERLAP);
    world.rotate().await;
    assert_eq!(world.store.at(&Stage::Current).as_deref(), Some("sk-3"));
    // sk-2 is ours, and goes in two stages; sk-1 was made by hand, and is a person's to delete.
    assert!(world.engine.retire(&*world.store, NAME).await.unwrap().is_empty(), "the overlap has not passed");
    world.pass(OVERLAP);
    let retired = world.engine.retire(&*world.store, NAME).await.unwrap();
    assert!(matches!(&retired[..], [Retired::Disabled { id }] if id == "sk-2"), "{retired:?}");
    assert_eq!(world.store.at(&Stage::Previous), None, "no stage names what is gone");
    world.pass(OVERLAP);
    let retired = world.engine.retire(&*world.store, NAME).await.unwrap();
    assert!(matches!(&retired[..], [Retired::Deleted { id }] if id == "sk-2"), "{retired:?}");
    assert_eq!(world.provider.values(), ["sk-1", "sk-3"]);
    assert!(world.engine.retire(&*world.store, NAME).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_step_may_be_called_again_and_late() {
    let world = World::new(1, 9);
    let token = world.store.rotate();
    for step in Step::ALL {
        for _ in 0..3 {
            world.step(step, &token).await.unwrap();
        }
    }
    for step in Step::ALL {
        assert_eq!(world.step(step, &token).await.unwrap().did, "the version is the current one already");
    }
    assert_eq!(world.provider.values(), ["sk-1", "sk-2"]);
    assert_eq!(world.store.at(&Stage::Current).as_deref(), Some("sk-2"));
}

#[tokio::test(start_paused = true)]
async fn a_next_rotation_waits_until_nobody_can_hold_the_previous_credential() {
    let world = World::new(1, 9);
    world.rotate().await;
    let token = world.store.rotate();
    let told = world.step(Step::Create, &token).await.unwrap_err().to_string();
    assert!(told.contains("too fresh") && told.contains("keyturn:overlap"), "{told}");
    assert_eq!(world.provider.values().len(), 2, "nothing was issued");
    world.pass(OVERLAP);
    for step in Step::ALL {
        world.step(step, &token).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_step_makes_room() {
    // Two keys at most, as an IAM user has: each rotation has to take the former one back first.
    let world = World::new(1, 2);
    world.rotate().await;
    world.provider.keys.lock().unwrap().retain(|key| key.name != "by hand");
    for _ in 0..5 {
        world.pass(OVERLAP);
        world.rotate().await;
        assert_eq!(world.provider.values().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_guards_hold() {
    let world = World::new(1, 9);
    let unknown = keyturn_secrets::VersionId::new("0b6d1c1e-0d3b-4b0e-9f43-0e9a1c6c8a11");
    let told = world.step(Step::Create, &unknown).await.unwrap_err().to_string();
    assert!(told.contains("model:prod/key: createSecret: the version to rotate to is not known"), "{told}");

    let token = world.store.rotate();
    world.step(Step::Create, &token).await.unwrap();
    world.store.unstage(NAME, &token, &Stage::Pending).await.unwrap();
    let gone = world.step(Step::Set, &token).await.unwrap_err().to_string();
    assert!(gone.contains("not known") && gone.contains("Next: start a new rotation"), "{gone}");

    // The stage was moved to another version under our feet.
    let token = world.store.rotate();
    world.store.stage(NAME, &unknown, &"sk-x".into(), &Stage::Pending, None).await.unwrap();
    assert!(world.step(Step::Finish, &token).await.is_err());
    assert_eq!(world.store.at(&Stage::Current).as_deref(), Some("sk-1"));
}

#[tokio::test(start_paused = true)]
async fn an_empty_version_never_becomes_the_current_one() {
    let world = World::new(1, 9);
    let token = world.store.rotate();
    for step in [Step::Set, Step::Finish] {
        assert!(world.step(step, &token).await.is_err());
    }
    // `RotateImmediately=false`: the current version is tried.
    assert_eq!(
        world.step(Step::Test, &token).await.unwrap().did,
        "the current version works; nothing is rotated"
    );
    world.provider.keys.lock().unwrap().clear();
    assert!(world.step(Step::Test, &token).await.is_err());
    assert_eq!(world.store.at(&Stage::Current).as_deref(), Some("sk-1"));
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_not_known_everywhere_yet_is_waited_for() {
    let world = World::new(1, 9);
    let token = world.store.rotate();
    world.step(Step::Create, &token).await.unwrap();
    *world.provider.slow.lock().unwrap() = 3;
    world.step(Step::Test, &token).await.unwrap();
    *world.provider.slow.lock().unwrap() = 99;
    let told = world.step(Step::Test, &token).await.unwrap_err().to_string();
    assert!(told.contains("refuses the credential") && told.contains("keyturn rotation abandon"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_can_never_work_is_given_up_for_another() {
    let world = World::new(1, 9);
    let token = world.store.rotate();
    world.step(Step::Create, &token).await.unwrap();
    // Another one took its place at the service.
    world.provider.keys.lock().unwrap().retain(|key| key.value == "sk-1");
    let told = world.step(Step::Test, &token).await.unwrap_err().to_string();
    assert!(told.contains("the rotation is abandoned"), "{told}");
    assert_eq!(world.store.at(&Stage::Pending), None);
    assert_eq!(world.store.at(&Stage::Current).as_deref(), Some("sk-1"));
    world.rotate().await;
    assert!(world.provider.accepts(&world.store.at(&Stage::Current).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_a_new_credential_takes_the_place_of_has_no_stage_any_more() {
    let world = World::new(1, 9);
    world.provider.two_slots.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        world.rotate().await;
        assert!(world.provider.accepts(&world.store.at(&Stage::Previous).unwrap()));
        world.pass(OVERLAP);
        // The provider itself sees to it that what it replaces is free; here it is seen when that happened.
        let token = world.store.rotate();
        world.step(Step::Create, &token).await.unwrap();
        assert_eq!(world.store.at(&Stage::Previous), None);
        for step in Step::ALL {
            world.step(step, &token).await.unwrap();
        }
        world.pass(OVERLAP);
    }
    assert_eq!(world.provider.values().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_replaces_nothing() {
    for gate in 1..60 {
        let world = World::new(1, 9);
        world.provider.two_slots.store(true, Ordering::Relaxed);
        world.rotate().await;
        world.pass(OVERLAP);
        let token = world.store.rotate();
        // One process is held up in the first step while another goes through the whole rotation.
        let mut late = Box::pin(world.step(Step::Create, &token));
        if world.cuts.run(gate, late.as_mut()).await.is_some() {
            assert!(gate > 5, "only {gate} gates: the step does less than it should");
            return;
        }
        let mut ended = true;
        for step in Step::ALL {
            ended &= world.step(step, &token).await.is_ok();
        }
        let current = |world: &World| world.store.at(&Stage::Current).unwrap();
        assert!(ended && world.provider.accepts(&current(&world)), "gate {gate}");
        world.cuts.go_on();
        let _ = late.await;
        assert!(world.provider.accepts(&current(&world)), "gate {gate}");
    }
    panic!("the step has more gates than there are");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_still_uses_stays_and_is_reported() {
    let world = World::new(1, 9);
    world.rotate().await;
    world.pass(OVERLAP);
    world.rotate().await;
    world.pass(OVERLAP);
    let used = keyturn_ambient::Clock::now(&*world.clock) - SignedDuration::from_mins(1);
    world.provider.used("sk-2", used);
    let retired = world.engine.retire(&*world.store, NAME).await.unwrap();
    assert!(matches!(&retired[..], [Retired::StillUsed { id }] if id == "sk-2"), "{retired:?}");
    assert!(world.provider.accepts("sk-2"));
    world.pass(OVERLAP);
    assert!(matches!(
        &world.engine.retire(&*world.store, NAME).await.unwrap()[..],
        [Retired::Disabled { .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_retirement_that_fails_is_told_and_tried_again() {
    let world = World::new(1, 9);
    world.rotate().await;
    world.pass(OVERLAP);
    world.rotate().await;
    world.pass(OVERLAP);
    world.engine.retire(&*world.store, NAME).await.unwrap();
    world.pass(OVERLAP);
    *world.provider.fault.lock().unwrap() = Some(RotationError::Unavailable("HTTP 503".to_owned()));
    let retired = world.engine.retire(&*world.store, NAME).await.unwrap();
    assert!(matches!(&retired[..], [Retired::Failed { id: Some(_), .. }]), "{retired:?}");
    assert!(matches!(
        &world.engine.retire(&*world.store, NAME).await.unwrap()[..],
        [Retired::Deleted { .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_somebody_else_writes_meanwhile_is_not_lost() {
    for written_before in [Step::Set, Step::Test, Step::Finish] {
        let world = World::with_fields(1);
        let token = world.store.rotate();
        for step in Step::ALL {
            if step == written_before {
                world.store.put(r#"{"KEY": "sk-1", "OTHER": "two", "NEW": [1]}"#);
            }
            world.step(step, &token).await.unwrap();
        }
        let current: Value = serde_json::from_str(&world.store.at(&Stage::Current).unwrap()).unwrap();
        assert_eq!(
            (current["KEY"].as_str(), current["OTHER"].as_str()),
            (Some("sk-2"), Some("two")),
            "{written_before}"
        );
        assert_eq!(current["NEW"], serde_json::json!([1]));
        // A repeat finds it done, and a next rotation works.
        assert_eq!(
            world.step(Step::Finish, &token).await.unwrap().did,
            "the version is the current one already"
        );
        world.pass(OVERLAP);
        world.rotate().await;
        assert_eq!(field(&world.store.at(&Stage::Current).unwrap()), "sk-3");
    }
}

#[tokio::test(start_paused = true)]
async fn several_fields_take_turns() {
    let settings = serde_json::json!({"A": {"rotator": "keys"}, "B": {"rotator": "keys"}});
    let world = World::with_tags(1, 9, &[]);
    let (a, b) = (world.provider.issue("by hand"), world.provider.issue("by hand"));
    world.store.put(&serde_json::json!({"A": a, "B": b, "keyturn:rotator": settings}).to_string());
    world.pass(OVERLAP);
    for expected in [("sk-3", "sk-2"), ("sk-3", "sk-4"), ("sk-5", "sk-4")] {
        world.rotate().await;
        let current: Value = serde_json::from_str(&world.store.at(&Stage::Current).unwrap()).unwrap();
        assert_eq!((current["A"].as_str().unwrap(), current["B"].as_str().unwrap()), expected);
        world.pass(OVERLAP);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_without_secrets_manager_goes_through_all_steps_and_on_with_a_broken_one() {
    let world = World::new(1, 9);
    let mut told = Vec::new();
    let mut tell = |step: Step, outcome: &keyturn_rotation::Outcome| told.push((step, outcome.did));
    let version = world.engine.rotate(&*world.store, NAME, None, "me", &mut tell).await.unwrap();
    assert_eq!(told.iter().map(|(step, _)| *step).collect::<Vec<_>>(), Step::ALL);
    assert_eq!(world.store.version_at(&Stage::Current), Some(version));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_without_secrets_manager_that_fails_ends_its_turn() {
    let world = World::new(1, 9);
    *world.provider.fault.lock().unwrap() = Some(RotationError::Unavailable("HTTP 503".to_owned()));
    world.engine.rotate(&*world.store, NAME, None, "me", &mut |_, _| {}).await.unwrap_err();
    assert_eq!(world.store.turn(), None);
    world.engine.rotate(&*world.store, NAME, None, "another", &mut |_, _| {}).await.unwrap();
    assert_eq!(world.store.at(&Stage::Current).as_deref(), Some("sk-2"));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_not_rotated_is_not_mistaken_for_the_one_that_is() {
    let world = World::with_fields(1);
    let told = world.engine.rotate(&*world.store, NAME, Some("OTHER"), "me", &mut |_, _| {}).await;
    let told = told.unwrap_err().to_string();
    assert!(told.contains("no setting names that field"), "{told}");
    assert_eq!(world.provider.values(), ["sk-1"]);
    world.engine.rotate(&*world.store, NAME, Some("KEY"), "me", &mut |_, _| {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_back_while_the_settings_do_not_fit_the_value() {
    let world = World::new(1, 9);
    world.rotate().await;
    world.pass(OVERLAP);
    // A person makes the text an object, and does not say which field is rotated.
    world.store.put(r#"{"KEY": "sk-2"}"#);
    for _ in 0..3 {
        let retired = world.engine.retire(&*world.store, NAME).await.unwrap();
        assert!(retired.iter().all(|one| matches!(one, Retired::Failed { id: None, .. })), "{retired:?}");
        world.pass(OVERLAP);
    }
    assert!(world.provider.accepts("sk-2"));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_over_is_not_gone_on_with() {
    let world = World::new(1, 9);
    world.rotate().await;
    assert_eq!(world.store.at(&Stage::Pending), None);
    // A person writes another key; the next rotation replaces that one.
    let by_hand = world.provider.issue("by hand");
    world.store.put(&by_hand);
    world.step(Step::Finish, &world.store.rotate()).await.unwrap_err();
    assert_eq!(world.store.at(&Stage::Current), Some(by_hand.clone()));
    world.pass(OVERLAP);
    world.engine.retire(&*world.store, NAME).await.unwrap();
    world.pass(OVERLAP);
    world.rotate().await;
    assert_eq!(world.store.at(&Stage::Current).as_deref(), Some("sk-4"));
    assert_eq!(world.store.at(&Stage::Previous), Some(by_hand));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_broke_off_at_its_end_is_ended_by_a_repeat() {
    for cut in 1..60 {
        let world = World::with_fields(1);
        let token = world.store.rotate();
        for step in [Step::Create, Step::Set, Step::Test] {
            world.step(step, &token).await.unwrap();
        }
        if world.cuts.run(cut, world.step(Step::Finish, &token)).await.is_some() {
            assert!(cut > 5, "only {cut} gates: the step does less than it should");
            return;
        }
        // Somebody changes another field of what is there now.
        let mut current: Value = serde_json::from_str(&world.store.at(&Stage::Current).unwrap()).unwrap();
        current["OTHER"] = "two".into();
        world.store.put(&current.to_string());
        for step in Step::ALL {
            world.step(step, &token).await.unwrap();
        }
        assert_eq!(world.store.at(&Stage::Pending), None, "cut {cut}");
        let current: Value = serde_json::from_str(&world.store.at(&Stage::Current).unwrap()).unwrap();
        assert_eq!((current["KEY"].as_str(), current["OTHER"].as_str()), (Some("sk-2"), Some("two")));
    }
    panic!("the step has more gates than there are");
}

#[tokio::test(start_paused = true)]
async fn what_became_the_current_version_again_is_not_taken_back() {
    for gate in 1..60 {
        let world = World::new(1, 9);
        world.rotate().await;
        world.pass(OVERLAP);
        world.rotate().await;
        world.pass(OVERLAP);
        // While what was the current version before is about to be taken back, a person goes back to it.
        let mut late = Box::pin(world.engine.retire(&*world.store, NAME));
        let ended = world.cuts.run(gate, late.as_mut()).await.is_some();
        let taken = world.store.version_at(&Stage::Previous).is_none();
        if ended || taken {
            assert!(gate > 3, "only {gate} gates: the call does less than it should");
            return;
        }
        let (current, previous) = (Stage::Current, Stage::Previous);
        let (from, to) = (world.store.version_at(&current), world.store.version_at(&previous));
        world.store.go_back(&from.unwrap(), &to.unwrap());
        world.cuts.go_on();
        let _ = late.await;
        assert!(world.provider.accepts(&world.store.at(&current).unwrap()), "gate {gate}");
    }
    panic!("the call has more gates than there are");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_named() {
    let world = World::with_tags(1, 9, &[]);
    world.store.put("sk-0");
    let token = world.store.register();
    let told = world.step(Step::Create, &token).await.unwrap_err().to_string();
    assert!(told.contains("nothing says how it is rotated"), "{told}");

    let world = World::with_tags(1, 9, &[("keyturn:rotator", "keys"), ("keyturn:field", "KEY")]);
    world.store.put("sk-secret");
    let token = world.store.register();
    let told = world.step(Step::Create, &token).await.unwrap_err().to_string();
    assert!(told.contains("is no JSON object") && !told.contains("sk-secret"), "{told}");
    assert!(world.provider.values().is_empty(), "nothing was issued");
}
