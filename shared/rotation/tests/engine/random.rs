//! Every cut, and random histories.

use jiff::SignedDuration;
use keyturn_rotation::Step;
use keyturn_secrets::{Stage, VersionId};

use crate::provider::field;
use crate::store::NAME;
use crate::world::{OVERLAP, World};

/// More gates than any step has.
const GATES: i64 = 60;

/// Whatever happened: a rotation goes through, what is current works, and nothing is left behind.
async fn must_converge(world: &World, told: &str) {
    // The schedule sees what is current now.
    if let Err(error) = world.engine.retire(&*world.store, NAME).await {
        panic!("{told}: {error}");
    }
    world.pass(OVERLAP);
    let token = world.store.rotate();
    for step in Step::ALL {
        if let Err(error) = world.step(step, &token).await {
            panic!("{told}: {error}");
        }
    }
    let current = field(&world.store.at(&Stage::Current).unwrap());
    assert!(world.provider.accepts(&current), "{told}: the current credential does not work");
    world.settle().await;
    let kept: Vec<String> = world.provider.values().into_iter().filter(|value| value != "sk-1").collect();
    assert_eq!(kept, [current], "{told}: something is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_process_may_end_at_any_gate_of_any_step() {
    let mut cuts = 0;
    for most in [3, 9] {
        for victim in Step::ALL {
            for cut in 1..GATES {
                let told = format!("{victim}, gate {cut}");
                let world = World::new(cut.unsigned_abs(), most);
                world.rotate().await;
                world.pass(OVERLAP);
                let token = world.store.rotate();
                let mut was_cut = false;
                for step in Step::ALL {
                    if step == victim {
                        let ended = world.cuts.run(cut, world.step(step, &token)).await;
                        was_cut = ended.is_none();
                        // Secrets Manager tries again after a while.
                        world.pass(SignedDuration::from_mins(16));
                    }
                    world.step(step, &token).await.unwrap_or_else(|error| panic!("{told}: {error}"));
                }
                if !was_cut {
                    break;
                }
                cuts += 1;
                must_converge(&world, &told).await;
            }
        }
    }
    assert!(cuts > 40, "only {cuts} gates: the steps do less than they should");
}

#[tokio::test(start_paused = true)]
async fn a_process_may_end_at_any_gate_while_somebody_else_writes_the_secret() {
    for cut in 1..GATES {
        let told = format!("finishSecret, gate {cut}");
        let world = World::with_fields(cut.unsigned_abs());
        let token = world.store.rotate();
        for step in [Step::Create, Step::Set, Step::Test] {
            world.step(step, &token).await.unwrap();
        }
        world.store.put(r#"{"KEY": "sk-1", "OTHER": "two"}"#);
        let was_cut = world.cuts.run(cut, world.step(Step::Finish, &token)).await.is_none();
        // The repeat has the first token, whatever became of its stage.
        world.step(Step::Finish, &token).await.unwrap_or_else(|error| panic!("{told}: {error}"));
        let current = world.store.at(&Stage::Current).unwrap();
        assert!(current.contains("two") && field(&current) == "sk-2", "{told}: {current}");
        if !was_cut {
            return;
        }
        must_converge(&world, &told).await;
    }
    panic!("the step has more gates than {GATES}");
}

#[tokio::test(start_paused = true)]
async fn a_process_may_end_at_any_gate_of_a_retirement() {
    for cut in 1..GATES {
        let told = format!("gate {cut}");
        let world = World::new(cut.unsigned_abs(), 9);
        world.rotate().await;
        world.pass(OVERLAP);
        world.rotate().await;
        world.pass(OVERLAP);
        if world.cuts.run(cut, world.engine.retire(&*world.store, NAME)).await.is_some() {
            return;
        }
        must_converge(&world, &told).await;
    }
    panic!("a retirement has more gates than {GATES}");
}

/// One history: steps of one rotation or another in any order, twice at once, cut off; retirements between and at the
/// same time; people who write; time that passes.
async fn history(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let with_fields = rng.bool();
    let world = if with_fields { World::with_fields(seed) } else { World::new(seed, 20) };
    let mut tokens: Vec<VersionId> = Vec::new();
    for _ in 0..rng.usize(5..40) {
        match rng.u8(0..100) {
            0..15 => tokens.push(world.store.rotate()),
            15..60 => {
                let Some(token) = tokens.last().filter(|_| rng.u8(0..10) > 0).or_else(|| rng.choice(&tokens))
                else {
                    continue;
                };
                let step = Step::ALL[rng.usize(0..4)];
                let cut = if rng.u8(0..3) == 0 { rng.i64(1..20) } else { 0 };
                // Refusals are expected; what must hold is asserted in the models.
                let _ = world.cuts.run(cut, world.step(step, token)).await;
            }
            60..72 => {
                let Some(token) = tokens.last() else { continue };
                let (one, other) = (Step::ALL[rng.usize(0..4)], Step::ALL[rng.usize(0..4)]);
                let both = async { tokio::join!(world.step(one, token), world.step(other, token)) };
                let cut = if rng.bool() { rng.i64(1..30) } else { 0 };
                let _ = world.cuts.run(cut, both).await;
            }
            72..80 => {
                let Some(token) = tokens.last() else { continue };
                let step = Step::ALL[rng.usize(0..4)];
                let retire = world.engine.retire(&*world.store, NAME);
                let both = async { tokio::join!(world.step(step, token), retire) };
                let _ = world.cuts.run(0, both).await;
            }
            80..86 => {
                let cut = if rng.bool() { rng.i64(1..12) } else { 0 };
                let _ = world.cuts.run(cut, world.engine.retire(&*world.store, NAME)).await;
            }
            86..90 if with_fields => {
                // A person changes another field.
                let mut value: serde_json::Value =
                    serde_json::from_str(&world.store.at(&Stage::Current).unwrap()).unwrap();
                value["OTHER"] = serde_json::json!(rng.u32(..));
                world.store.put(&value.to_string());
            }
            _ => world.pass(SignedDuration::from_mins(rng.i64(1..120))),
        }
        // What every environment could have read by now works.
        let now = keyturn_ambient::Clock::now(&*world.clock);
        for held in world.store.current_since(now - OVERLAP) {
            assert!(world.provider.accepts(&field(&held)), "seed {seed}: {held} is held and does not work");
        }
    }
    world.pass(SignedDuration::from_mins(16));
    must_converge(&world, &format!("seed {seed}")).await;
}

#[tokio::test(start_paused = true)]
async fn no_history_takes_away_what_is_used_or_leaves_anything_behind() {
    for seed in 0..3000 {
        history(seed).await;
    }
}
