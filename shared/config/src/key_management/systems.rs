//! The key management systems there are: one entry each.
//!
//! The names and what each of them reads are LiteLLM's (`litellm/types/secret_managers/main.py`,
//! `litellm/secret_managers/main.py`).

use std::fmt;

use crate::reference::{SecretRef, is_variable};

/// A key management system.
pub struct System {
    /// What LiteLLM calls it.
    pub name: &'static str,
    /// The scheme of its store.
    pub scheme: &'static str,
    /// Whether the values of created keys can be written to it.
    pub writes: bool,
    /// What comes before a hosted name in the name of its secret.
    before: &'static str,
    /// The field of that secret.
    field: Option<&'static str>,
    /// Whether a text can be a name there.
    is_name: fn(&str) -> bool,
    /// The settings that it does not share with every other one.
    pub(super) settings: &'static [&'static str],
}

/// Whose secrets are read, and where.
const IDENTITY: &[&str] = &[
    "aws_region_name",
    "aws_role_name",
    "aws_session_name",
    "aws_external_id",
    "aws_web_identity_token",
    "aws_sts_endpoint",
];

/// Every system. A name that is hosted is read from the store of the scheme: as `before` and the name, in `field`.
pub(super) static SYSTEMS: &[System] = &[
    System {
        name: "aws_secret_manager",
        scheme: "aws-secretsmanager",
        writes: true,
        before: "",
        field: None,
        is_name: is_aws_name,
        settings: &[
            "primary_secret_name",
            "description",
            "kms_key_id",
            "replica_regions",
            "aws_region_name",
            "aws_role_name",
            "aws_session_name",
            "aws_external_id",
            "aws_web_identity_token",
            "aws_sts_endpoint",
        ],
    },
    System {
        name: "aws_kms",
        scheme: "aws-kms",
        writes: false,
        before: "env/",
        field: None,
        is_name: is_variable,
        settings: IDENTITY,
    },
    System {
        name: "hashicorp_vault",
        scheme: "vault",
        writes: true,
        before: "",
        // The field that LiteLLM reads and writes.
        field: Some("key"),
        is_name: is_path,
        settings: &[],
    },
    System {
        name: "azure_key_vault",
        scheme: "azure-keyvault",
        writes: false,
        before: "",
        field: None,
        is_name: is_path,
        settings: &[],
    },
    System {
        name: "google_secret_manager",
        scheme: "google-secretmanager",
        writes: false,
        before: "",
        field: None,
        is_name: is_path,
        settings: &[],
    },
    System {
        name: "google_kms",
        scheme: "google-kms",
        writes: false,
        before: "env/",
        field: None,
        is_name: is_variable,
        settings: &[],
    },
    System {
        name: "cyberark",
        scheme: "cyberark",
        writes: false,
        before: "",
        field: None,
        is_name: is_path,
        settings: &[],
    },
    System {
        name: "custom",
        scheme: "custom",
        writes: false,
        before: "",
        field: None,
        is_name: is_path,
        settings: &["custom_secret_manager", "custom_secret_manager_token"],
    },
];

impl System {
    /// The system that LiteLLM calls so.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        SYSTEMS.iter().find(|system| system.name == name)
    }

    /// The names of some, for a message: `a, b or c`.
    pub(super) fn names(which: impl Fn(&Self) -> bool, more: &[&str]) -> String {
        let names = SYSTEMS.iter().filter(|system| which(system)).map(|system| system.name);
        let names: Vec<&str> = names.chain(more.iter().copied()).collect();
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => names.concat(),
        }
    }

    /// The secret that a hosted name is: a secret of its own under `root`, or a field of the one that holds all.
    /// `None`: nothing there can have this name.
    pub(crate) fn hosted(&self, name: &str, root: &str, primary: Option<&str>) -> Option<SecretRef> {
        if !(self.is_name)(name) {
            return None;
        }
        let (secret, field) = match primary {
            Some(primary) => (primary.to_owned(), Some(name)),
            None => (format!("{root}{}{name}", self.before), self.field),
        };
        let field = field.map(str::to_owned);
        Some(SecretRef { scheme: self.scheme.to_owned(), name: secret, field, stage: None })
    }
}

impl PartialEq for System {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for System {}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The characters that AWS allows in a secret's name, and how many
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>).
pub(crate) fn is_aws_name(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|byte| is_plain(byte) || byte == b'/')
}

/// Whether a text is a path of the characters that AWS allows in a secret's name, and each part of it names something.
pub(super) fn is_path(text: &str) -> bool {
    text.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=.@-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_system_stands_once_and_has_settings_that_there_are() {
        let names: BTreeSet<_> = SYSTEMS.iter().map(|system| system.name).collect();
        assert_eq!(names.len(), SYSTEMS.len());
        for system in SYSTEMS {
            assert!(format!("{}:x", system.scheme).parse::<SecretRef>().is_ok(), "{system:?}");
            for setting in system.settings {
                assert!(super::super::TABLE.supported.contains(setting), "{setting}");
            }
        }
        let aws = System::find("aws_secret_manager").unwrap();
        assert!(IDENTITY.iter().all(|setting| aws.settings.contains(setting)));
    }

    #[test]
    fn names_are_listed_for_people() {
        assert_eq!(System::names(|system| system.writes, &[]), "aws_secret_manager or hashicorp_vault");
        assert_eq!(System::names(|system| system.name == "custom", &[]), "custom");
        assert!(System::names(|_| true, &["local"]).ends_with("cyberark, custom or local"));
    }
}
