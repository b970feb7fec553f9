//! The text of an error.

use std::error::Error;

/// An error and its causes on one line, outermost first, for the log.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layered(&'static str, Option<Box<Layered>>);

    impl fmt::Display for Layered {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layered {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &dyn Error)
        }
    }

    #[test]
    fn causes_follow_their_effects() {
        let inner = Layered("refused", None);
        let middle = Layered("no connection", Some(Box::new(inner)));
        let outer = Layered("no answer", Some(Box::new(middle)));
        assert_eq!(with_causes(&outer), "no answer: no connection: refused");
        assert_eq!(with_causes(&Layered("alone", None)), "alone");
    }
}
