//! What the function is called with.
//!
//! | event | from |
//! |---|---|
//! | `{"Step": "createSecret", "SecretId": …, "ClientRequestToken": …, "RotationToken": …}` | Secrets Manager, four times a rotation (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>) |
//! | `{"action": "rotate", "secret": "vault:secret/providers#OPENAI_API_KEY"}` | a schedule, for stores that lead no rotations |
//! | `{"action": "retire"}`, with or without `secret` | a schedule: takes back what nobody holds any more |
//! | `{"action": "keys"}` | a schedule: virtual keys with `auto_rotate` |

use keyturn_config::SecretRef;
use keyturn_rotation::Step;
use keyturn_secrets::VersionId;
use keyturn_secrets::stores::staged_schemes;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

/// What the function is asked to do.
#[derive(Debug)]
pub enum Event {
    /// One step of a rotation that Secrets Manager leads.
    Step {
        /// Which one.
        step: Step,
        /// The secret's ARN, or its name.
        secret: String,
        /// The version to make.
        token: VersionId,
        /// What lets a rotation write over accounts and roles.
        authority: Option<SecretString>,
    },
    /// A whole rotation.
    Rotate {
        /// The secret; its field is the credential to rotate.
        secret: SecretRef,
    },
    /// What is left over from former rotations.
    Retire {
        /// The secret; `None` = all.
        secret: Option<SecretRef>,
    },
    /// The virtual keys that are due.
    Keys,
}

/// The event is none of those: what is wrong with it, without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEvent {
    /// No event of ours.
    #[error("the event has neither Step nor action")]
    Unknown,
    /// A step that there is not.
    #[error("the event's Step is none of createSecret, setSecret, testSecret, finishSecret")]
    Step,
    /// A token that no version can have
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>).
    #[error("the event's ClientRequestToken is not 32 to 64 characters")]
    Token,
    /// A field that is missing or of the wrong kind.
    #[error("the event's SecretId, ClientRequestToken or RotationToken is missing or no text")]
    Field,
    /// An action that there is not.
    #[error("the event's action is none of rotate, retire, keys")]
    Action,
    /// No reference.
    #[error(
        "the event's secret is missing, or no reference such as vault:secret/providers#OPENAI_API_KEY to a store that can be written"
    )]
    Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StepEvent {
    step: String,
    secret_id: String,
    client_request_token: String,
    rotation_token: Option<SecretString>,
}

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// [`NotAnEvent`].
    pub fn read(event: &Value) -> Result<Self, NotAnEvent> {
        if event.get("Step").is_some() {
            let event = StepEvent::deserialize(event).map_err(|_| NotAnEvent::Field)?;
            let step = Step::of(&event.step).ok_or(NotAnEvent::Step)?;
            if !(32..=64).contains(&event.client_request_token.len()) {
                return Err(NotAnEvent::Token);
            }
            let token = VersionId::new(&event.client_request_token);
            return Ok(Self::Step { step, secret: event.secret_id, token, authority: event.rotation_token });
        }
        let secret = match event.get("secret") {
            None | Some(Value::Null) => None,
            Some(text) => {
                let explicit = |text| SecretRef::explicit(text).ok().flatten();
                let reference = text.as_str().and_then(explicit);
                // A rotation makes versions: a stage of a former one makes no sense. Without its store, it may be a
                // key that only begins like a reference, and must not be told.
                let fits = |found: &SecretRef| {
                    found.stage.is_none() && staged_schemes().contains(&found.scheme.as_str())
                };
                Some(reference.filter(fits).ok_or(NotAnEvent::Secret)?)
            }
        };
        match event.get("action").map(Value::as_str) {
            None => Err(NotAnEvent::Unknown),
            Some(Some("rotate")) => Ok(Self::Rotate { secret: secret.ok_or(NotAnEvent::Secret)? }),
            Some(Some("retire")) => Ok(Self::Retire { secret }),
            Some(Some("keys")) => Ok(Self::Keys),
            Some(_) => Err(NotAnEvent::Action),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "0b6d1c1e-0d3b-4b0e-9f43-0e9a1c6c8a11";

    #[test]
    fn reads_the_steps_of_secrets_manager_in_both_spellings() {
        for (text, expected) in [("createSecret", Step::Create), ("finish_secret", Step::Finish)] {
            let event = json!({"Step": text, "SecretId": "arn:x", "ClientRequestToken": TOKEN,
                "RotationToken": "r".repeat(36), "Later": "fields are welcome"});
            let Ok(Event::Step { step, secret, token, authority }) = Event::read(&event) else {
                panic!("{text}")
            };
            assert_eq!((step, secret.as_str(), token.as_str()), (expected, "arn:x", TOKEN));
            assert!(authority.is_some());
        }
    }

    #[test]
    fn reads_actions() {
        let rotate = json!({"action": "rotate", "secret": "vault:secret/providers#A"});
        let Ok(Event::Rotate { secret }) = Event::read(&rotate) else { panic!() };
        assert_eq!((secret.name.as_str(), secret.field.as_deref()), ("secret/providers", Some("A")));
        assert!(matches!(Event::read(&json!({"action": "retire"})), Ok(Event::Retire { secret: None })));
        assert!(matches!(Event::read(&json!({"action": "keys"})), Ok(Event::Keys)));
    }

    #[test]
    fn says_what_is_wrong() {
        let step =
            |step: &str, token: &str| json!({"Step": step, "SecretId": "a", "ClientRequestToken": token});
        for (event, wrong) in [
            (json!({}), NotAnEvent::Unknown),
            (json!("text"), NotAnEvent::Unknown),
            (step("deleteSecret", TOKEN), NotAnEvent::Step),
            (step("createSecret", "short"), NotAnEvent::Token),
            (json!({"Step": "createSecret"}), NotAnEvent::Field),
            (json!({"action": "rotate"}), NotAnEvent::Secret),
            (json!({"action": "rotate", "secret": "sk-1"}), NotAnEvent::Secret),
            (json!({"action": "rotate", "secret": "sk-1:a"}), NotAnEvent::Secret),
            (json!({"action": "rotate", "secret": "user:password"}), NotAnEvent::Secret),
            (json!({"action": "retire", "secret": "env:A"}), NotAnEvent::Secret),
            (json!({"action": "rotate", "secret": "vault:a?stage=AWSPREVIOUS"}), NotAnEvent::Secret),
            (json!({"action": "dance"}), NotAnEvent::Action),
            (json!({"action": 1}), NotAnEvent::Action),
        ] {
            assert_eq!(Event::read(&event).unwrap_err(), wrong, "{event}");
        }
    }
}
