use super::*;
use crate::usage::ServiceTier;

fn price(provider: &str, model: &str) -> Price {
    lookup(provider, model).unwrap_or_else(|| panic!("no price for {provider} {model}"))
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-12 * right.abs()
}

#[test]
fn every_line_is_found_and_readable() {
    let mut rows = 0;
    for line in TABLE.lines() {
        let (name, json) = line.split_once('\t').unwrap();
        assert_eq!(row(name), Some(json), "{name}");
        let price: Price = serde_json::from_str(json).unwrap();
        assert!(!price.provider.is_empty());
        rows += 1;
    }
    let table: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("../data/prices.json")).unwrap();
    assert_eq!(rows, table.len());
    for absent in ["", "!", "gpt-4o-minj", "zzzz", "gpt"] {
        assert_eq!(row(absent), None, "{absent}");
    }
}

#[test]
fn ten_and_five_tokens_of_a_small_model() {
    let usage = Usage { prompt_tokens: 10, completion_tokens: 5, ..Usage::default() };
    assert!(close(price("openai", "gpt-4o-mini").cost(&usage), 4.5e-6));
    assert_eq!(cost("openai", "no-such-model", &usage), None);
    let billed = Usage { cost: Some(0.25), ..usage };
    assert_eq!(cost("openrouter", "whatever", &billed), Some(0.25));
}

#[test]
fn names_as_litellm_finds_them() {
    for (provider, model) in [
        ("openai", "gpt-4o-mini"),
        ("openai", "openai/gpt-4o-mini"),
        ("openai", "GPT-4o-Mini"),
        ("openai", "gpt-4o-mini-2031-01-31"),
        ("azure", "gpt-4o"),
        ("azure", "gpt-4o-2031-01-31"),
        ("anthropic", "claude-sonnet-4-5"),
        ("azure_ai", "deepseek-v4-flash-0731"),
        ("bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("bedrock", "converse/us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("bedrock", "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ] {
        let found = price(provider, model);
        assert!(serves(provider, found.provider), "{provider} {model}");
    }
    assert!(lookup("anthropic", "gpt-4o-mini").is_none());
    assert!(lookup("openai", "claude-sonnet-4-5").is_none());
    assert!(lookup("openai", "").is_none());
    assert!(lookup("", "").is_none());
    assert_eq!(base_name("openai", "ft:gpt-4o-2024-08-06:org::id"), "ft:gpt-4o-2024-08-06");
    assert_eq!(base_name("openai", "gpt-4o-2024-8-6"), "gpt-4o-2024-8-6");
    assert_eq!(base_name("vertex_ai", "gemini-2.5-pro-001"), "gemini-2.5-pro");
    assert_eq!(base_name("vertex_ai", "gemini-"), "gemini-");
    assert_eq!(base_name("bedrock", "us-west-2/anthropic.claude-v1"), "anthropic.claude-v1");
}

#[test]
fn long_prompts_pay_the_highest_tier_they_cross() {
    let long = price("openai", "gpt-5.6");
    let cost = |prompt_tokens, service_tier| {
        long.cost(&Usage { prompt_tokens, completion_tokens: 100, service_tier, ..Usage::default() })
    };
    assert!(close(cost(272_000, None), 272_000.0 * 4e-6 + 100.0 * 2e-5));
    assert!(close(cost(272_001, None), 272_001.0 * 8e-6 + 100.0 * 3e-5));
    assert!(close(cost(272_001, Some(ServiceTier::Priority)), 272_001.0 * 1.6e-5 + 100.0 * 6e-5));
    assert!(close(cost(1000, Some(ServiceTier::Flex)), 1000.0 * 2e-6 + 100.0 * 1e-5));
    // No ultrafast rates here: the standard ones.
    assert!(close(cost(1000, Some(ServiceTier::Ultrafast)), 1000.0 * 4e-6 + 100.0 * 2e-5));
}

#[test]
fn rates_that_are_missing() {
    let rates = |json: &'static str| serde_json::from_str::<Price>(json).unwrap();
    let usage = Usage {
        prompt_tokens: 100,
        cached_tokens: 40,
        cache_write_tokens: 30,
        cache_write_1h_tokens: 10,
        completion_tokens: 50,
        reasoning_tokens: 20,
        ..Usage::default()
    };
    // Without cache rates everything is input; without a reasoning rate everything is output.
    let plain = rates(r#"{"input_cost_per_token":1,"output_cost_per_token":10}"#);
    assert!(close(plain.cost(&usage), 100.0 + 500.0));
    let reasoning = r#"{"input_cost_per_token":0,"output_cost_per_token":1,"output_cost_per_reasoning_token":3,
        "output_cost_per_token_flex":0.5}"#;
    assert!(close(rates(reasoning).cost(&usage), 30.0 + 60.0));
    // A tier with its own output rate bills reasoning at it.
    let flex = Usage { service_tier: Some(ServiceTier::Flex), ..usage.clone() };
    assert!(close(rates(reasoning).cost(&flex), 25.0));
    // No 1-hour rate: the plain write rate.
    let write = rates(r#"{"input_cost_per_token":1,"cache_creation_input_token_cost":2}"#);
    assert!(close(write.cost(&usage), 30.0 + 40.0 + 60.0));
}

#[test]
fn contradictory_counts_never_go_negative() {
    let usage = Usage {
        prompt_tokens: 1,
        cached_tokens: u64::MAX,
        cache_write_tokens: u64::MAX,
        cache_write_1h_tokens: u64::MAX,
        completion_tokens: 1,
        reasoning_tokens: u64::MAX,
        ..Usage::default()
    };
    let cost = price("anthropic", "claude-sonnet-4-5").cost(&usage);
    assert!(cost.is_finite() && cost >= 0.0);
}

#[test]
fn abilities_come_from_flags() {
    let adaptive = price("anthropic", "claude-opus-5-5").abilities;
    assert!(adaptive.adaptive_thinking && !adaptive.sampling_params && !adaptive.forced_tool_use);
    let budget = price("anthropic", "claude-sonnet-4-5");
    assert!(!budget.abilities.adaptive_thinking && budget.abilities.sampling_params);
    assert!(budget.abilities.forced_tool_use && budget.abilities.reasoning);
    assert_eq!(budget.max_output_tokens, Some(64_000));
}

#[test]
fn the_operators_rates_take_the_place_of_the_tables() {
    let usage = Usage { prompt_tokens: 1_000_000, completion_tokens: 1_000_000, ..Usage::default() };
    let listed = || lookup("openai", "gpt-4o-mini");
    let cost = |price: Price| price.cost_parts(&usage);
    assert_eq!(cost(Price::custom(listed(), Some(1e-6), None)).0, 1.0);
    assert_eq!(cost(Price::custom(listed(), Some(1e-6), None)).1, cost(listed().unwrap()).1);
    assert_eq!(cost(Price::custom(None, Some(1e-6), Some(2e-6))), (1.0, 2.0));
    assert_eq!(cost(Price::custom(None, None, None)), (0.0, 0.0));
}

#[test]
fn a_bare_name_has_the_provider_of_its_row() {
    assert_eq!(provider_of("gpt-4o-mini"), Some("openai"));
    assert_eq!(provider_of("claude-haiku-4-5"), Some("anthropic"));
    assert_eq!(provider_of("no-such-model"), None);
}
