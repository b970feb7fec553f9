//! Texts with places in them: `Bearer {admin}`.

use serde_json::Value;

/// What may stand in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The administrator's credential.
    Admin,
    /// The credential that is current when a new one is made.
    Current,
    /// When the new credential ends.
    ExpiresAt,
    /// In how many seconds.
    ExpiresIn,
    /// The service's id of the credential.
    Id,
    /// The name of the new credential.
    Name,
    /// What all names begin with.
    Prefix,
    /// The rotation's token.
    Token,
    /// The credential that is tried.
    Value,
}

impl Place {
    const ALL: [(&'static str, Self); 9] = [
        ("admin", Self::Admin),
        ("current", Self::Current),
        ("expires_at", Self::ExpiresAt),
        ("expires_in", Self::ExpiresIn),
        ("id", Self::Id),
        ("name", Self::Name),
        ("prefix", Self::Prefix),
        ("token", Self::Token),
        ("value", Self::Value),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    }

    /// Whether what stands here is secret.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Admin | Self::Current | Self::Value)
    }
}

enum Piece {
    Text(String),
    Place(Place),
}

/// A text with places in it.
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads a text; `{{` and `}}` are braces.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let place = after.split_once('}').filter(|_| brace == "{");
            let Some((name, after)) = place else { return Err("has a brace without its pair".to_owned()) };
            let Some(place) = Place::named(name) else {
                let known: Vec<&str> = Place::ALL.iter().map(|(name, _)| *name).collect();
                return Err(format!("has an unknown place in braces: expected one of {}", known.join(", ")));
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Place(place));
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    /// The places in it.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Place(place) => Some(*place),
        })
    }

    /// The text in front of the first place; all of it where there is none.
    pub(super) fn start(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// The one place that is all of it.
    fn only(&self) -> Option<Place> {
        let is_empty = |piece: &Piece| matches!(piece, Piece::Text(text) if text.is_empty());
        let mut pieces = self.0.iter().filter(|piece| !is_empty(piece));
        match (pieces.next(), pieces.next()) {
            (Some(Piece::Place(place)), None) => Some(*place),
            _ => None,
        }
    }

    /// The text, with what `value` says in the places.
    pub(super) fn fill(&self, value: impl Fn(Place) -> String) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(place) => value(*place),
        });
        pieces.collect()
    }
}

/// Every text in a JSON value, with where it stands.
pub(super) fn texts<'a>(at: &str, value: &'a Value, see: &mut dyn FnMut(&str, &'a str)) {
    match value {
        Value::String(text) => see(at, text),
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                texts(&format!("{at}.{number}"), value, see);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                texts(&format!("{at}.{name}"), value, see);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A JSON value, with what `value` says in the places of its texts. The number of seconds is a number where it stands
/// alone.
pub(super) fn fill_json(template: &Value, value: &impl Fn(Place) -> String) -> Result<Value, String> {
    Ok(match template {
        Value::String(text) => {
            let text = Template::parse(text)?;
            let filled = text.fill(value);
            match text.only() {
                Some(Place::ExpiresIn) => filled.parse::<i64>().map_or(Value::String(filled), Value::from),
                _ => Value::String(filled),
            }
        }
        Value::Array(values) => {
            Value::Array(values.iter().map(|one| fill_json(one, value)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, one)| Ok((name.clone(), fill_json(one, value)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(place: Place) -> String {
        match place {
            Place::ExpiresIn => "3600".to_owned(),
            place => format!("<{place:?}\"\\>"),
        }
    }

    #[test]
    fn places_are_filled_and_braces_can_be_written() {
        let template = Template::parse("a {{b}} {name}{value}c").unwrap();
        assert_eq!(template.fill(said), r#"a {b} <Name"\><Value"\>c"#);
        assert_eq!(template.places().collect::<Vec<_>>(), [Place::Name, Place::Value]);
        assert_eq!(template.start(), "a {b} ");
        assert_eq!(Template::parse("plain").unwrap().start(), "plain");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for wrong in ["{", "}", "{name", "name}", "{{name}", "{nonesuch}", "{}", "{ name }"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_is_filled_text_by_text() {
        let template =
            json!({"{name}": ["{value}", 1, null, {"in": "{expires_in}", "for": "{expires_in}s"}]});
        let filled = fill_json(&template, &said).unwrap();
        assert_eq!(filled, json!({"{name}": ["<Value\"\\>", 1, null, {"in": 3600, "for": "3600s"}]}));
        let mut seen = Vec::new();
        texts("body", &template, &mut |at, text| seen.push(format!("{at}={text}")));
        assert_eq!(seen.len(), 3);
        assert!(seen.contains(&"body.{name}.0={value}".to_owned()), "{seen:?}");
    }
}
