//! What is told of a rotation that did not work: the secret, the step, and the next move. Never a value.

use std::error::Error;
use std::fmt;

use keyturn_ambient::with_causes;

use crate::Step;

/// Why a step of a rotation failed. It names the secret, the step and the next move, and holds no value.
#[derive(Debug)]
pub struct Diagnostic {
    /// The secret, as it was asked for: `aws-secretsmanager:prod/providers`.
    pub secret: String,
    /// The step; `None` outside of the four.
    pub step: Option<Step>,
    /// Which credential of the secret, where it has several.
    pub field: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub next: String,
    /// What is behind it.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Diagnostic {
    /// What is wrong, and what is behind it.
    #[must_use]
    pub fn reason(&self) -> String {
        match &self.source {
            None => self.problem.clone(),
            Some(source) => format!("{}: {}", self.problem, with_causes(&**source)),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.secret)?;
        if let Some(field) = &self.field {
            write!(f, "#{field}")?;
        }
        if let Some(step) = self.step {
            write!(f, ": {step}")?;
        }
        write!(f, ": {}. Next: {}", self.reason(), self.next)
    }
}

/// Its text has the causes in it.
impl Error for Diagnostic {}
