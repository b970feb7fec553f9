//! Where a field stands in the file.
//!
//! The tree that is read has no lines. They are looked up when there is something to say of a field, by walking the
//! parser's events along its path.

use granit_parser::{Event, Parser};

/// The line, from 1, of the field of this path (`model_list[2].litellm_params.rpm`), or of the nearest one around it
/// that is there: a field that is missing has none, nor has one that an alias brings in. `None`: not even the first
/// part of the path is there.
#[must_use]
pub fn line_of(yaml: &str, path: &str) -> Option<u64> {
    let nodes = Parser::new_from_str(yaml).map_while(Result::ok).filter_map(|(event, span)| {
        let node = match event {
            Event::Scalar(text, ..) => Node::Scalar(text.into_owned()),
            Event::Alias(..) => Node::Alias,
            Event::MappingStart(..) => Node::Mapping,
            Event::SequenceStart(..) => Node::List,
            Event::MappingEnd | Event::SequenceEnd => Node::End,
            _ => return None,
        };
        Some((node, span.start.line() as u64))
    });
    let mut walk = Walk { nodes: Box::new(nodes) };
    let (mut here, _) = walk.nodes.next()?;
    let mut line = None;
    for step in path.split(['.', '[']) {
        let found = match step.strip_suffix(']') {
            Some(index) => walk.item(&here, index.parse().ok()?),
            None => walk.field(&here, step),
        };
        let Some((at, node)) = found else { break };
        line = Some(at);
        here = node;
    }
    line
}

/// An event of the parser, as far as it matters here.
enum Node {
    Scalar(String),
    Alias,
    Mapping,
    List,
    End,
}

struct Walk<'a> {
    nodes: Box<dyn Iterator<Item = (Node, u64)> + 'a>,
}

impl Walk<'_> {
    /// The line of a field's name, and the beginning of its value.
    fn field(&mut self, here: &Node, name: &str) -> Option<(u64, Node)> {
        if !matches!(here, Node::Mapping) {
            return None;
        }
        loop {
            let (key, line) = self.nodes.next()?;
            match &key {
                Node::End => return None,
                Node::Scalar(text) if text == name => return Some((line, self.nodes.next()?.0)),
                _ => self.skip(&key)?,
            }
            let (value, _) = self.nodes.next()?;
            self.skip(&value)?;
        }
    }

    /// The line of an item of a list, and its beginning.
    fn item(&mut self, here: &Node, index: usize) -> Option<(u64, Node)> {
        if !matches!(here, Node::List) {
            return None;
        }
        for _ in 0..index {
            match self.nodes.next()? {
                (Node::End, _) => return None,
                (item, _) => self.skip(&item)?,
            }
        }
        match self.nodes.next()? {
            (Node::End, _) => None,
            (item, line) => Some((line, item)),
        }
    }

    /// Goes to the end of what begins with this event.
    fn skip(&mut self, first: &Node) -> Option<()> {
        let mut depth = usize::from(matches!(first, Node::Mapping | Node::List));
        while depth > 0 {
            match self.nodes.next()?.0 {
                Node::Mapping | Node::List => depth += 1,
                Node::End => depth -= 1,
                Node::Scalar(_) | Node::Alias => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# A comment.
model_list:
  - model_name: a
    litellm_params: &a
      model: openai/a   # {not: a mapping}
      api_key: |
        rpm: 1
      rpm: 2

  - litellm_params: {model: b, 'tpm':
      3}
    model_name: b
  - model_name: c
    litellm_params:
      <<: *a
      tpm: 1
  - {model_name: d, litellm_params: *a}
? [a, b]
: {c: d}
general_settings:
  \"key_management_settings\":
    hosted_keys: [A,
      B]
";

    #[test]
    fn finds_fields() {
        for (path, expected) in [
            ("model_list", Some(2)),
            ("model_list[0]", Some(3)),
            ("model_list[0].model_name", Some(3)),
            ("model_list[0].litellm_params.rpm", Some(8)),
            ("model_list[1]", Some(10)),
            ("model_list[1].litellm_params.tpm", Some(10)),
            ("model_list[1].model_name", Some(12)),
            ("general_settings.key_management_settings.hosted_keys", Some(22)),
            ("general_settings.key_management_settings.hosted_keys[1]", Some(23)),
        ] {
            assert_eq!(line_of(FILE, path), expected, "{path}");
        }
    }

    #[test]
    fn goes_as_far_as_there_is_something() {
        for (path, expected) in [
            ("router_settings", None),
            ("", None),
            ("the file", None),
            ("model_list[4]", Some(2)),
            ("model_list.a", Some(2)),
            ("general_settings[0]", Some(20)),
            ("model_list[0].model_name.a", Some(3)),
            ("model_list[0].litellm_params.(a name that is not shown)", Some(4)),
            // What an alias brings in stands elsewhere.
            ("model_list[2].litellm_params.rpm", Some(14)),
            ("model_list[3].litellm_params.rpm", Some(17)),
        ] {
            assert_eq!(line_of(FILE, path), expected, "{path}");
        }
        for file in ["", "a", "[", "a: [1, 2\nb: 3\n"] {
            assert_eq!(line_of(file, "general_settings.a"), None, "{file}");
        }
        assert_eq!(line_of("a: 1\na: {b: [", "a.b"), Some(1));
    }
}
