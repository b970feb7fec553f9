//! A secret's value: one text, or a JSON object with fields.

use std::fmt;

use keyturn_secrets::SecretValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroize;

/// A secret's value, to be read and changed field by field. It is wiped when it goes; its `Debug` shows nothing.
#[derive(Clone)]
pub struct Document(Shape);

#[derive(Clone)]
enum Shape {
    Text(SecretString),
    Fields(Map<String, Value>),
}

/// The value begins like a JSON object and is none, or a field is needed of a value that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotADocument {
    /// It begins with `{` and cannot be read.
    #[error("the value begins with a brace and is no JSON object")]
    Json,
    /// It is one text.
    #[error("the value is one text and has no fields: it must be a JSON object")]
    NoFields,
}

impl Document {
    /// Reads a value. What begins with `{` must be a JSON object; everything else is one text.
    ///
    /// # Errors
    ///
    /// [`NotADocument::Json`].
    pub fn parse(value: &SecretValue) -> Result<Self, NotADocument> {
        let text = value.expose();
        if !text.trim_start().starts_with('{') {
            return Ok(Self(Shape::Text(SecretString::from(text))));
        }
        serde_json::from_str(text).map(|fields| Self(Shape::Fields(fields))).map_err(|_| NotADocument::Json)
    }

    /// The text of a field, or the whole where no field is named. `None`: it is not there, is empty, or is no text.
    #[must_use]
    pub fn text(&self, field: Option<&str>) -> Option<SecretString> {
        let text = match (&self.0, field) {
            (Shape::Text(text), None) => text.expose_secret(),
            (Shape::Fields(fields), Some(field)) => fields.get(field)?.as_str()?,
            (Shape::Text(_), Some(_)) | (Shape::Fields(_), None) => return None,
        };
        (!text.is_empty()).then(|| SecretString::from(text))
    }

    /// Sets the text of a field, or of the whole where no field is named.
    ///
    /// # Errors
    ///
    /// [`NotADocument::NoFields`]: a field of one text, or one text in the place of fields.
    pub fn set_text(&mut self, field: Option<&str>, text: &SecretString) -> Result<(), NotADocument> {
        match (&mut self.0, field) {
            (Shape::Text(whole), None) => *whole = text.clone(),
            (Shape::Fields(_), Some(field)) => {
                return self.set_json(field, Some(Value::String(text.expose_secret().to_owned())));
            }
            (Shape::Text(_), Some(_)) | (Shape::Fields(_), None) => return Err(NotADocument::NoFields),
        }
        Ok(())
    }

    /// A field as JSON.
    #[must_use]
    pub fn json(&self, field: &str) -> Option<&Value> {
        self.fields()?.get(field)
    }

    /// Sets a field, or removes it.
    ///
    /// # Errors
    ///
    /// [`NotADocument::NoFields`].
    pub fn set_json(&mut self, field: &str, value: Option<Value>) -> Result<(), NotADocument> {
        let Shape::Fields(fields) = &mut self.0 else { return Err(NotADocument::NoFields) };
        let former = match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
        if let Some(mut former) = former {
            wipe(&mut former);
        }
        Ok(())
    }

    /// The fields, if it has any.
    #[must_use]
    pub fn fields(&self) -> Option<&Map<String, Value>> {
        match &self.0 {
            Shape::Text(_) => None,
            Shape::Fields(fields) => Some(fields),
        }
    }

    /// The value as a store keeps it.
    #[must_use]
    pub fn to_secret(&self) -> SecretString {
        match &self.0 {
            Shape::Text(text) => text.clone(),
            // A map of JSON values always has a text.
            Shape::Fields(fields) => serde_json::to_string(fields).unwrap_or_default().into(),
        }
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        if let Shape::Fields(fields) = &mut self.0 {
            fields.values_mut().for_each(wipe);
        }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document([redacted])")
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(&SecretValue::from(text.to_owned())).unwrap()
    }

    fn text(found: Option<SecretString>) -> Option<String> {
        found.map(|text| text.expose_secret().to_owned())
    }

    #[test]
    fn one_text_is_read_and_replaced_as_a_whole() {
        let mut found = document("sk-one");
        assert_eq!(text(found.text(None)).as_deref(), Some("sk-one"));
        assert_eq!(text(found.text(Some("A"))), None);
        found.set_text(None, &"sk-two".into()).unwrap();
        assert_eq!(found.to_secret().expose_secret(), "sk-two");
        assert_eq!(found.set_text(Some("A"), &"x".into()), Err(NotADocument::NoFields));
    }

    #[test]
    fn a_field_changes_and_the_others_stay_as_they_are() {
        let mut found = document(r#" {"A":"one","N":1.50,"O":{"x":[null]}}"#);
        assert_eq!(text(found.text(Some("A"))).as_deref(), Some("one"));
        assert_eq!(text(found.text(Some("N"))), None, "no text");
        assert_eq!(text(found.text(None)), None);
        found.set_text(Some("A"), &"two".into()).unwrap();
        found.set_json("B", Some(Value::Bool(true))).unwrap();
        let read: Value = serde_json::from_str(found.to_secret().expose_secret()).unwrap();
        assert_eq!(read, serde_json::json!({"A": "two", "B": true, "N": 1.5, "O": {"x": [null]}}));
        assert_eq!(found.set_text(None, &"x".into()), Err(NotADocument::NoFields));
    }

    #[test]
    fn what_only_begins_like_an_object_is_refused() {
        let broken = SecretValue::from(r#"{"A": "one""#.to_owned());
        assert_eq!(Document::parse(&broken).unwrap_err(), NotADocument::Json);
        assert_eq!(format!("{:?}", document("sk-one")), "Document([redacted])");
    }
}
