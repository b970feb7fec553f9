//! Makes the price table small enough to embed: one line per model, sorted by lower-case name, `name TAB json`,
//! keeping only the fields that `src/prices.rs` reads.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

/// The rates per token; each may be followed by `_above_{N}k_tokens` and a service tier.
const RATES: &[&str] = &[
    "input_cost_per_token",
    "output_cost_per_token",
    "output_cost_per_reasoning_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "cache_creation_input_token_cost",
];

const OTHERS: &[&str] = &[
    "litellm_provider",
    "max_input_tokens",
    "max_output_tokens",
    "supports_adaptive_thinking",
    "supports_sampling_params",
    "supports_forced_tool_use",
    "supports_native_structured_output",
    "supports_reasoning",
    "supports_mid_conversation_system",
    "supports_xhigh_reasoning_effort",
    "supports_max_reasoning_effort",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=data/prices.json");
    println!("cargo::rerun-if-changed=build.rs");
    let table: Map<String, Value> = serde_json::from_str(&std::fs::read_to_string("data/prices.json")?)?;
    let mut rows: Vec<(String, &Value)> =
        table.iter().map(|(name, row)| (name.to_lowercase(), row)).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    if rows.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("two models differ only in case: look-up is by lower-case name".into());
    }
    let mut out = String::new();
    for (name, row) in rows {
        let row = row.as_object().ok_or("a row is not an object")?;
        let kept: Map<String, Value> = row
            .iter()
            .filter(|(field, value)| !value.is_null() && (OTHERS.contains(&field.as_str()) || is_rate(field)))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        writeln!(out, "{name}\t{}", Value::Object(kept))?;
    }
    let target = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    std::fs::write(Path::new(&target).join("prices.txt"), out)?;
    Ok(())
}

fn is_rate(field: &str) -> bool {
    let Some(rest) = RATES.iter().find_map(|rate| field.strip_prefix(rate)) else { return false };
    let tiers = ["", "_priority", "_flex", "_ultrafast"];
    match rest.strip_prefix("_above_").and_then(|rest| rest.split_once("k_tokens")) {
        Some((size, tier)) => size.parse::<u64>().is_ok() && tiers.contains(&tier),
        None => tiers.contains(&rest),
    }
}
