//! One field of a change: kept as it is, cleared, or set.

use serde::{Deserialize, Deserializer};

/// What a change does to a field. In JSON (with `#[serde(default)]` on the field): left out, `null`, or a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field stays.
    #[default]
    Keep,
    /// The field becomes empty, or what it is by default.
    Clear,
    /// The field becomes this.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field stays.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// What the field becomes, if anything.
    pub fn set(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// The same for what `make` makes of the value.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(make(value)),
        }
    }
}

impl<T: Clone> Patch<T> {
    /// Changes a field that may be empty.
    pub(crate) fn optional(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value.clone()),
        }
    }
}

impl<T: Clone + Default> Patch<T> {
    /// Changes a field that has a default.
    pub(crate) fn plain(&self, field: &mut T) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = T::default(),
            Self::Set(value) => field.clone_from(value),
        }
    }
}

impl<T> From<T> for Patch<T> {
    fn from(value: T) -> Self {
        Self::Set(value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        budget: Patch<f64>,
    }

    #[test]
    fn json_says_keep_clear_or_set() {
        for (json, expected) in
            [("{}", Patch::Keep), (r#"{"budget":null}"#, Patch::Clear), (r#"{"budget":2}"#, Patch::Set(2.0))]
        {
            assert_eq!(serde_json::from_str::<Body>(json).unwrap().budget, expected, "{json}");
        }
        assert!(serde_json::from_str::<Body>(r#"{"budget":"2"}"#).is_err());
    }

    #[test]
    fn a_patch_changes_its_field() {
        let mut field = Some(1);
        Patch::Keep.optional(&mut field);
        assert_eq!(field, Some(1));
        Patch::Set(2).optional(&mut field);
        assert_eq!(field, Some(2));
        Patch::Clear.optional(&mut field);
        assert_eq!(field, None);

        let mut list = vec![1];
        Patch::Keep.plain(&mut list);
        assert_eq!(list, [1]);
        Patch::Set(vec![2, 3]).plain(&mut list);
        assert_eq!(list, [2, 3]);
        Patch::Clear.plain(&mut list);
        assert_eq!(list, [0_i32; 0]);
    }
}
