//! How long, and from which seed.

use std::time::Duration;

/// How the proof is run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How long rotations go on.
    pub(crate) time: Duration,
    /// What all choices follow from.
    pub(crate) seed: u64,
    /// The only credential to rotate, if one is named.
    pub(crate) only: Option<String>,
    /// Whether every call of the rotation function is printed.
    pub(crate) trace: bool,
    /// Whether the rotation function is told of too short an overlap: then the proof must fail.
    pub(crate) hasty: bool,
}

impl Options {
    /// The short form.
    pub(crate) fn short() -> Self {
        Self { time: Duration::from_secs(30), seed: 1, only: None, trace: false, hasty: false }
    }

    /// The long form: `PROVE_ARGS` holds `--minutes N`, `--seed N`, `--only NAME`, `--trace`, `--hasty`.
    pub(crate) fn read() -> Self {
        let mut options = Self { time: Duration::from_secs(300), ..Self::short() };
        #[expect(clippy::disallowed_methods, reason = "how the test itself is to run")]
        let text = std::env::var("PROVE_ARGS").unwrap_or_default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "--trace" => options.trace = true,
                "--hasty" => options.hasty = true,
                _ => {}
            }
            if matches!(word, "--trace" | "--hasty") {
                continue;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, words.next()),
            };
            let value = value.unwrap_or_else(|| panic!("{name} needs a value"));
            match name {
                "--minutes" => {
                    let minutes: f64 = value.parse().expect("--minutes takes a number");
                    options.time = Duration::from_secs_f64(minutes * 60.0);
                }
                "--seed" => options.seed = value.parse().expect("--seed takes a whole number"),
                "--only" => options.only = Some(value.to_owned()),
                _ => panic!("{name} is none of --minutes, --seed, --only, --trace, --hasty"),
            }
        }
        options
    }
}
