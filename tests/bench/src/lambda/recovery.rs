//! A provider's key is revoked: the request that meets the 401, reads the new key and is sent again.

use super::{Bench, provider_secret};
use crate::report::{Row, Table, Unit};
use crate::samples::Samples;
use crate::stage::{MASTER_KEY, OPENAI, chat, event};

const SECRET: &str = "rotated";

pub(super) async fn measure(bench: &Bench<'_>) -> Table {
    let (stage, moto) = (&bench.stage, &bench.moto);
    let subject = bench.keyturn_with_stores.with("KEYTURN_PROVIDER_SECRET", "aws-secretsmanager:rotated");
    let event = event("/v1/chat/completions", MASTER_KEY, &chat(OPENAI, 0));
    let key = |number: u32| format!("sk-bench-rotated-key-{number}");
    moto.create_secret(SECRET, &provider_secret(&key(0))).await;
    stage.upstream.allow(&key(0));
    let (mut usual, mut healed, mut reading) = <(Samples, Samples, Samples)>::default();
    let (mut reads, mut refused) = (0, 0);
    for number in 1..=bench.plan.recoveries {
        bench.progress.say(&format!("Revoked keys, {number} of {}", bench.plan.recoveries));
        // A fresh one each time: refused credentials cause at most one read in ten seconds.
        let function = subject.start().await;
        let ask = async || {
            let answer = function.call(&event).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.chunks.last().map(|chunk| chunk.after)
        };
        let _ = ask().await;
        usual.extend(ask().await);
        stage.upstream.allow(&key(number));
        moto.put_secret(SECRET, &provider_secret(&key(number)), &["AWSCURRENT"]).await;
        stage.upstream.revoke(&key(number - 1));
        let start = tokio::time::Instant::now();
        moto.read_secret(SECRET).await;
        reading.push(start.elapsed());
        let before = (moto.reads(), stage.upstream.refused());
        healed.extend(ask().await);
        reads += moto.reads() - before.0;
        refused += stage.upstream.refused() - before.1;
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of calls")]
    let each = |count: u64| Some(count as f64 / f64::from(bench.plan.recoveries));
    Table {
        title: "A revoked provider key".to_owned(),
        columns: vec!["keyturn".to_owned()],
        rows: vec![
            Row::new("the request that recovers, event to last byte", Unit::Milliseconds, vec![healed.median()]),
            Row::new("the request before it", Unit::Milliseconds, vec![usual.median()]),
            Row::new("one read of the secret by the benchmark itself", Unit::Milliseconds, vec![reading.median()]),
            Row::new("reads of the secret", Unit::Count, vec![each(reads)]),
            Row::new("refusals by the upstream", Unit::Count, vec![each(refused)]),
        ],
        notes: vec![
            "The client gets its answer in every case. Most of the time goes to the Secrets Manager, here an emulator in \
             Python."
                .to_owned(),
        ],
    }
}
