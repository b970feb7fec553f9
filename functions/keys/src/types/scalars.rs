//! Values that many fields have: what the document says of them, and how they are read.

use std::collections::BTreeMap;
use std::fmt;

use keyturn_keys::manage::Patch;
use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// The most that a count can be: the largest whole number that every JSON reader keeps exact.
const MOST: u64 = 9_007_199_254_740_991;

/// A name: no control characters, and no `..` between slashes.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
#[expect(dead_code, reason = "it stands for text in the document")]
pub(crate) struct Name(String);

/// A whole number and a unit: `30s`, `5m`, `2h`, `7d`, `1w`, `1mo`; a hundred years at most.
#[derive(ToSchema)]
#[schema(
    pattern = "^0*([1-9][0-9]{0,8}s|[1-9][0-9]{0,6}m|[1-9][0-9]{0,4}h|[1-9][0-9]{0,3}d|[1-9][0-9]{0,2}w|[1-9][0-9]{0,2}mo)$",
    example = "30d"
)]
#[expect(dead_code, reason = "it stands for text in the document")]
pub(crate) struct Duration(String);

/// US dollars.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 1_000_000_000)]
#[expect(dead_code, reason = "it stands for a number in the document")]
pub(crate) struct Dollars(f64);

/// A whole number.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
#[expect(dead_code, reason = "it stands for a number in the document")]
pub(crate) struct Count(u64);

/// A value that the caller brings for a key: begins with `sk-`, 16 to 1,024 visible ASCII characters.
#[derive(ToSchema)]
#[schema(min_length = 16, max_length = 1024, pattern = "^sk-[!-~]{13,1021}$", format = Password)]
#[expect(dead_code, reason = "it stands for text in the document")]
pub(crate) struct KeyValue(String);

/// The budget of one model.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands for an object in the document")]
pub(crate) struct ModelLimit {
    /// US dollars in each window.
    budget_limit: Dollars,
    /// How long a window is.
    time_period: Duration,
}

/// What a key is for.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands for text in the document")]
pub(crate) enum KeyKind {
    /// Models, and reading about itself.
    Default,
    /// Models only.
    LlmApi,
    /// The management API only.
    Management,
    /// Reading of the management API only.
    ReadOnly,
}

/// A count as JSON has it: `1.0` is one, too.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 to 9,007,199,254,740,991")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                if number <= MOST {
                    return Ok(Whole(number));
                }
                Err(E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "whole, and in the range that both types keep exact"
            )]
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 && (0.0..=MOST as f64).contains(&number) {
                    return Ok(Whole(number as u64));
                }
                Err(E::invalid_value(Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// Reads a count.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Patch<u64>, D::Error> {
    Ok(Patch::<Whole>::deserialize(deserializer)?.map(|count| count.0))
}

/// Reads counts by model.
pub(crate) fn counts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Patch<BTreeMap<String, u64>>, D::Error> {
    let counts = Patch::<BTreeMap<String, Whole>>::deserialize(deserializer)?;
    Ok(counts.map(|counts| counts.into_iter().map(|(model, count)| (model, count.0)).collect()))
}

/// A key's value in the answer that shows it.
pub(crate) struct Shown(pub(crate) SecretString);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}
