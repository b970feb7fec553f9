//! The settings: what a user declares, and what of it cannot be meant.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use keyturn_config::SecretRef;
use reqwest::header::HeaderName;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::template::{Place, Template, texts};
use crate::rotators::lifetimes;
use crate::settings::{self, OURS, SettingsError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    #[serde(default, deserialize_with = "optional_reference")]
    pub(super) admin_key: Option<SecretRef>,
    #[serde(default, deserialize_with = "settings::optional_duration")]
    pub(super) expires_in: Option<SignedDuration>,
    #[serde(default)]
    pub(super) keep_id: bool,
    #[serde(default)]
    pub(super) dedicated: bool,
    pub(super) create: CallOf<Made>,
    pub(super) verify: CallOf<Nothing>,
    pub(super) list: Option<CallOf<Listed>>,
    pub(super) disable: Option<CallOf<Nothing>>,
    pub(super) retire: Option<CallOf<Nothing>>,
}

/// A call, and where in its answer something is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallOf<A> {
    pub(super) method: Option<String>,
    pub(super) url: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<Value>,
    pub(super) form: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) expect: Vec<u16>,
    #[serde(default)]
    pub(super) refused: Vec<u16>,
    #[serde(default)]
    pub(super) full: Vec<u16>,
    pub(super) answer: A,
}

/// No value has this type.
#[derive(Deserialize)]
pub(super) enum Never {}

/// Nothing in the answer is of interest, and nothing is declared of it.
pub(super) type Nothing = Option<Never>;

/// Where the new credential is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    pub(super) value: String,
    pub(super) id: Option<String>,
}

/// Where the list is, and what is where in each of its items.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) items: String,
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) hint: Option<String>,
    pub(super) created: Option<String>,
    pub(super) last_used: Option<String>,
    pub(super) disabled: Option<String>,
    pub(super) disabled_is: Option<Value>,
    pub(super) next: Option<String>,
    pub(super) next_query: Option<String>,
}

fn optional_reference<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretRef>, D::Error> {
    settings::reference(deserializer).map(Some)
}

fn wrong(setting: &str, problem: impl Into<String>) -> SettingsError {
    SettingsError::new(format!("{OURS}{setting}"), problem)
}

impl Declared {
    /// Looks for what cannot be meant.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        use Place::{Admin, Current, ExpiresAt, ExpiresIn, Id, Name, Prefix, Token, Value};
        lifetimes::checked(self.expires_in, None)?;
        let making = [Admin, Current, ExpiresAt, ExpiresIn, Name, Prefix, Token];
        self.check_call("create", &self.create, &making)?;
        self.check_call("verify", &self.verify, &[Admin, Value])?;
        pointers(
            "create",
            [("value", Some(&self.create.answer.value)), ("id", self.create.answer.id.as_ref())],
        )?;
        if self.keep_id && self.create.answer.id.is_none() {
            return Err(wrong("keep_id", "needs create.answer.id"));
        }
        if let Some(disable) = &self.disable {
            self.check_call("disable", disable, &[Admin, Id])?;
        }
        if let Some(retire) = &self.retire {
            self.check_call("retire", retire, &[Admin, Id])?;
        }
        let Some(list) = &self.list else {
            return match (&self.retire, &self.disable) {
                (None, None) => Ok(()),
                _ => Err(wrong("list", "is required where there is a call that takes credentials back")),
            };
        };
        if self.retire.is_none() {
            return Err(wrong("retire", "is required where there is keyturn:list"));
        }
        self.check_call("list", list, &[Admin, Prefix])?;
        self.check_listed(&list.answer)
    }

    fn check_listed(&self, listed: &Listed) -> Result<(), SettingsError> {
        pointers(
            "list",
            [
                ("items", Some(&listed.items)),
                ("id", Some(&listed.id)),
                ("name", listed.name.as_ref()),
                ("hint", listed.hint.as_ref()),
                ("created", listed.created.as_ref()),
                ("last_used", listed.last_used.as_ref()),
                ("disabled", listed.disabled.as_ref()),
                ("next", listed.next.as_ref()),
            ],
        )?;
        if listed.name.is_none() && !self.dedicated {
            return Err(wrong(
                "list.answer.name",
                "is required, unless keyturn:dedicated says that everything in the list is this secret's",
            ));
        }
        if listed.hint.is_none() && !self.keep_id {
            return Err(wrong(
                "list.answer.hint",
                "or keyturn:keep_id is required: credentials must be recognised",
            ));
        }
        if self.disable.is_some() && listed.disabled.is_none() {
            return Err(wrong("list.answer.disabled", "is required where there is keyturn:disable"));
        }
        if listed.disabled_is.is_some() && listed.disabled.is_none() {
            return Err(wrong("list.answer.disabled_is", "needs list.answer.disabled"));
        }
        if listed.next.is_some() != listed.next_query.is_some() {
            return Err(wrong("list.answer.next", "and list.answer.next_query belong together"));
        }
        Ok(())
    }

    fn check_call<A>(&self, name: &str, call: &CallOf<A>, allowed: &[Place]) -> Result<(), SettingsError> {
        let at = |part: &str| format!("{name}.{part}");
        let check = |part: &str, text: &str| -> Result<Template, SettingsError> {
            let template = Template::parse(text).map_err(|problem| wrong(&at(part), problem))?;
            for place in template.places() {
                if !allowed.contains(&place) {
                    return Err(wrong(&at(part), "has a place in braces that this call has no value for"));
                }
                if place == Place::Admin && self.admin_key.is_none() {
                    return Err(wrong("admin_key", "is required"));
                }
                if matches!(place, Place::ExpiresAt | Place::ExpiresIn) && self.expires_in.is_none() {
                    return Err(wrong("expires_in", "is required"));
                }
            }
            Ok(template)
        };
        let url = check("url", &call.url)?;
        if !is_address(&url) {
            return Err(wrong(&at("url"), "is not an address with a fixed host"));
        }
        if call.method.as_ref().is_some_and(|method| Method::from_bytes(method.as_bytes()).is_err()) {
            return Err(wrong(&at("method"), "is not an HTTP method"));
        }
        for (header, value) in &call.headers {
            if HeaderName::try_from(header.as_str()).is_err() {
                return Err(wrong(&at("headers"), "has a name that headers cannot have"));
            }
            check(&format!("headers.{header}"), value)?;
        }
        if call.body.is_some() && call.form.is_some() {
            return Err(wrong(&at("form"), "and a body exclude each other"));
        }
        for (field, value) in call.form.iter().flatten() {
            check(&format!("form.{field}"), value)?;
        }
        let mut first = Ok(());
        if let Some(body) = &call.body {
            texts("body", body, &mut |part, text| {
                if first.is_ok() {
                    first = check(part, text).map(|_| ());
                }
            });
        }
        first
    }
}

/// Whether it is an address whatever stands in its places, and none stands in the host.
fn is_address(template: &Template) -> bool {
    let start = template.start();
    let Some((scheme, rest)) = start.split_once("://") else { return false };
    let has_places = template.places().next().is_some();
    let host_is_whole = !has_places || rest.contains(['/', '?']);
    let url = Url::parse(&template.fill(|_| "x".to_owned()));
    let is_plain = url.is_ok_and(|url| {
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none() && url.has_host()
    });
    matches!(scheme, "http" | "https") && host_is_whole && is_plain
}

/// Whether each is a JSON pointer (RFC 6901).
fn pointers<const N: usize>(call: &str, found: [(&str, Option<&String>); N]) -> Result<(), SettingsError> {
    for (name, pointer) in found {
        if pointer.is_some_and(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            return Err(wrong(&format!("{call}.answer.{name}"), "is not a JSON pointer, such as /data/key"));
        }
    }
    Ok(())
}
