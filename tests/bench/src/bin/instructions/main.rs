//! `make instructions`: how many instructions the request function executes in the init phase and for a warm request,
//! against the record in `tests/bench/instructions.json`.
//!
//! Unlike a time, a count is the same on a busy machine and on an idle one, so a change of a few per cent shows.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program for a terminal, which stops with a message when it cannot do its work"
)]

mod record;
mod scenarios;
mod valgrind;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use keyturn_bench::stage::Stage;
use keyturn_tests::binaries::workspace;

use record::{Counts, Record, Verdict};
use valgrind::Valgrind;

/// Counts the instructions of the request function and compares them with the record.
#[derive(Parser)]
struct Arguments {
    /// Write what was counted into the record.
    #[arg(long)]
    record: bool,
    /// Count only the scenarios whose name begins so.
    #[arg(long, default_value = "")]
    only: String,
    /// The request function, as `make build` built it.
    #[arg(default_value_os_t = workspace().join("target/lambda/request/bootstrap"))]
    bootstrap: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(valgrind) = Valgrind::find() else {
        println!("valgrind is not installed (apt-get install valgrind)");
        return ExitCode::FAILURE;
    };
    let bootstrap = arguments.bootstrap.canonicalize();
    let bootstrap = bootstrap.unwrap_or_else(|error| panic!("{}: {error}", arguments.bootstrap.display()));
    let path = workspace().join("tests/bench/instructions.json");
    let mut file = Record::read(&path);
    let recorded = file.of(std::env::consts::ARCH);

    let stage = Stage::start().await;
    let (mut counts, mut above, mut below) = (BTreeMap::new(), 0, 0);
    for scenario in scenarios::all().iter().filter(|scenario| scenario.name.starts_with(&arguments.only)) {
        for (name, count) in scenario.count(&stage, &valgrind, &bootstrap).await {
            let verdict = recorded.judge(&name, count);
            println!("{name:<52} {:>12}{}", grouped(count), told(verdict, count));
            above += u32::from(matches!(verdict, Verdict::Above(_)));
            below += u32::from(matches!(verdict, Verdict::Below(_) | Verdict::New));
            counts.insert(name, count);
        }
    }
    let with = vec![rustc(), valgrind.version];
    if arguments.record {
        file.set(std::env::consts::ARCH, Counts { with, counts }, !arguments.only.is_empty());
        file.write(&path);
        return ExitCode::SUCCESS;
    }
    if above + below > 0 && with != recorded.with {
        println!("recorded with {}; this is {}", recorded.with.join(", "), with.join(", "));
    }
    if above > 0 {
        println!(
            "{above} above the record by more than 5 %: find out why, or `make instructions ARGS=--record`"
        );
        return ExitCode::FAILURE;
    }
    if below > 0 {
        println!("new, or better than the record by more than 5 %: `make instructions ARGS=--record`");
    }
    ExitCode::SUCCESS
}

/// The record beside the count, where they differ.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn told(verdict: Verdict, count: u64) -> String {
    let strayed = |word: &str, recorded: u64| {
        let change = 100.0 * (count as f64 / recorded as f64 - 1.0).abs();
        let change = if recorded == 0 { String::new() } else { format!(" by {change:.1} %") };
        format!("  {word} {}{change}", grouped(recorded))
    };
    match verdict {
        Verdict::Same => String::new(),
        Verdict::New => "  not recorded".to_owned(),
        Verdict::Above(recorded) => strayed("ABOVE", recorded),
        Verdict::Below(recorded) => strayed("below", recorded),
    }
}

/// 1234567 as 1,234,567.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The compiler, as it names itself: `rustc 1.95.0 (59807616e 2026-04-14)`.
fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(
        |_| "rustc".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_in_groups_of_three() {
        assert_eq!([0, 12, 123, 1_234, 1_234_567].map(grouped), ["0", "12", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn a_change_is_told_with_the_record() {
        assert_eq!(told(Verdict::Above(1_000), 1_100), "  ABOVE 1,000 by 10.0 %");
        assert_eq!(told(Verdict::Below(1_000), 900), "  below 1,000 by 10.0 %");
        assert_eq!(told(Verdict::Above(0), 1), "  ABOVE 0");
    }
}
