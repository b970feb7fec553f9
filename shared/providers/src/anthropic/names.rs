//! Names and ids in the characters that Anthropic takes, without two becoming one.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::json::Text;
use crate::port::Call;

/// The longest tool name (`^[a-zA-Z0-9_-]{1,128}$`).
const MAX_NAME: usize = 128;
/// The longest ending that keeps two names apart: `_` and a `u32`.
const MAX_SUFFIX: usize = 11;

/// Gives each string its own valid one. A valid string keeps itself when it is registered first.
#[derive(Debug, Default)]
pub(super) struct Renames<'a> {
    given: HashMap<Cow<'a, str>, Cow<'a, str>>,
    taken: HashSet<Cow<'a, str>>,
    /// Stem → the number of its last ending. A stem leaves room for any ending, so that no two stems ever try
    /// the same name and each stem tries each number once: many clashes stay linear.
    last: HashMap<String, u32>,
}

impl<'a> Renames<'a> {
    /// The valid string for `name`; the same each time.
    pub(super) fn of(&mut self, name: &Cow<'a, str>) -> Cow<'a, str> {
        if let Some(given) = self.given.get(name) {
            return given.clone();
        }
        let base = if is_valid(name) { name.clone() } else { Cow::Owned(sanitise(name)) };
        let mut own = base.clone();
        while !self.taken.insert(own.clone()) {
            let stem = &base[..base.len().min(MAX_NAME - MAX_SUFFIX)];
            let count = self.last.entry(stem.to_owned()).or_insert(1);
            *count += 1;
            own = Cow::Owned(format!("{stem}_{count}"));
        }
        self.given.insert(name.clone(), own.clone());
        own
    }

    /// What is known as something else: valid string → original.
    fn into_changed(self) -> HashMap<String, String> {
        let changed = self.given.into_iter().filter(|(name, own)| name != own);
        changed.map(|(name, own)| (own.into_owned(), name.into_owned())).collect()
    }
}

pub(super) fn is_valid(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Every other character becomes `_`; too long is cut.
fn sanitise(name: &str) -> String {
    let clean = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    let clean: String = clean.take(MAX_NAME).collect();
    if clean.is_empty() { "_".to_owned() } else { clean }
}

/// The names of a request's tools: those that are valid keep theirs.
pub(super) fn of_tools<'a>(names: impl Iterator<Item = Cow<'a, str>> + Clone) -> Renames<'a> {
    let mut renames = Renames::default();
    for name in names.clone().filter(|name| is_valid(name)) {
        renames.of(&name);
    }
    for name in names {
        renames.of(&name);
    }
    renames
}

#[derive(Deserialize)]
struct NamedTool<'a> {
    #[serde(borrow)]
    function: Option<NamedFunction<'a>>,
}

#[derive(Deserialize)]
struct NamedFunction<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

/// From the names that Anthropic was given back to the client's: computed from the request, which is at hand
/// whenever its answer is.
#[derive(Debug, Default)]
pub(super) struct Originals(HashMap<String, String>);

impl Originals {
    pub(super) fn of(call: &Call<'_>) -> Self {
        let tools = call.facts.tools.clone().and_then(|span| call.body.get(span));
        let Some(Ok(tools)) = tools.map(serde_json::from_slice::<Vec<NamedTool<'_>>>) else {
            return Self::default();
        };
        let names = tools.iter().filter_map(|tool| Some(tool.function.as_ref()?.name.0.clone()));
        if names.clone().all(|name| is_valid(&name)) {
            return Self::default();
        }
        Self(of_tools(names).into_changed())
    }

    /// The client's name for a tool.
    pub(super) fn name<'n>(&'n self, name: &'n str) -> &'n str {
        self.0.get(name).map_or(name, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&'static str]) -> Vec<String> {
        let mut renames = of_tools(list.iter().map(|name| Cow::Borrowed(*name)));
        list.iter().map(|name| renames.of(&Cow::Borrowed(*name)).into_owned()).collect()
    }

    #[test]
    fn valid_names_keep_priority() {
        assert_eq!(names(&["ns/tool.x", "ns_tool_x"]), ["ns_tool_x_2", "ns_tool_x"]);
        assert_eq!(names(&["a.b", "a/b", "a_b_2", "a:b"]), ["a_b", "a_b_3", "a_b_2", "a_b_4"]);
        assert_eq!(names(&["", "é"]), ["_", "__2"]);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long: &'static str = "x".repeat(200).leak();
        let longer: &'static str = "x".repeat(201).leak();
        let cut = names(&[long, longer]);
        assert!(cut.iter().all(|name| is_valid(name)));
        assert_ne!(cut[0], cut[1]);
    }

    /// One of many characters that no name may have.
    fn other_char(n: u32) -> char {
        char::from_u32(0x4e00 + n).unwrap()
    }

    /// How many endings were tried for `names`, which must all come out apart.
    fn tries(names: &[String]) -> usize {
        let mut renames = of_tools(names.iter().map(|name| Cow::Borrowed(name.as_str())));
        let own: HashSet<_> = names.iter().map(|name| renames.of(&Cow::Borrowed(name.as_str()))).collect();
        assert_eq!(own.len(), names.len());
        assert!(own.iter().all(|name| is_valid(name)));
        renames.last.values().map(|last| *last as usize - 1).sum()
    }

    #[test]
    fn each_clash_tries_one_ending() {
        let short: Vec<String> = (0..3000).map(|n| other_char(n).to_string()).collect();
        assert_eq!(tries(&short), 2999);

        // Bases that differ only where an ending replaces them.
        let cut = |n: u32, last: char| format!("{}{n:04}{last}", "x".repeat(123));
        let long: Vec<String> = (0..3000).flat_map(|n| [cut(n, '.'), cut(n, '/')]).collect();
        assert_eq!(tries(&long), 3000);
    }

    #[test]
    fn an_ending_that_is_taken_is_tried_once() {
        let taken = (2..1002).map(|n| format!("a_b_{n}"));
        let names: Vec<String> = taken.chain((0..1000).map(|n| format!("a{}b", other_char(n)))).collect();
        assert_eq!(tries(&names), 1000 + 999);
    }
}
