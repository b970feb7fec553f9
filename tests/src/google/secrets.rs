//! Secret Manager: <https://cloud.google.com/secret-manager/docs/reference/rest>.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::{bytes, crc32c, error, pairs};
use crate::fake::{Answer, Asked};

/// The most secrets in a page, however many are asked for.
const PAGE: usize = 40;
/// The longest payload, in bytes.
const LONGEST: usize = 65_536;

/// A version.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its payload.
    pub data: Vec<u8>,
    /// `ENABLED`, `DISABLED` or `DESTROYED`.
    pub state: &'static str,
    created: Timestamp,
}

/// A secret.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Its fields, as they were given.
    pub fields: Map<String, Value>,
    /// Its versions; the first is number 1.
    pub versions: Vec<Version>,
    etag: u64,
    made: u64,
}

/// How a wrong etag is answered: nobody documents it for this service.
#[derive(Debug, Clone, Copy, Default)]
pub enum Mismatch {
    /// 409 ABORTED.
    #[default]
    Aborted,
    /// 400 FAILED_PRECONDITION.
    FailedPrecondition,
    /// 412.
    PreconditionFailed,
}

/// The secrets by their whole names.
#[derive(Debug, Default)]
pub struct Secrets {
    all: BTreeMap<String, Secret>,
    etags: u64,
    /// How a wrong etag is answered.
    pub mismatch: Mismatch,
    /// The next so many accesses have a wrong checksum.
    pub damaged: u32,
    /// How many versions were accessed, in vain too.
    pub accesses: u64,
    /// `latest` is what it was so many versions ago: the service is eventually consistent.
    pub lag: usize,
}

type Refused = Answer;

impl Secrets {
    /// A secret.
    ///
    /// # Panics
    ///
    /// There is none.
    pub fn secret(&mut self, name: &str) -> &mut Secret {
        self.all.get_mut(name).unwrap_or_else(|| panic!("no secret {name}"))
    }

    /// Whether there is a secret.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Adds a version by hand, and the secret if it is not there.
    pub fn add(&mut self, name: &str, data: &[u8]) {
        self.etags += 1;
        let etag = self.etags;
        let new = || Secret { fields: Map::new(), versions: Vec::new(), etag, made: etag };
        self.all.entry(name.to_owned()).or_insert_with(new).add(data);
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Answer {
        let path = percent_decode_str(&asked.path).decode_utf8_lossy().into_owned();
        self.call(asked, &path).unwrap_or_else(|refused| refused)
    }

    fn call(&mut self, asked: &Asked, path: &str) -> Result<Answer, Refused> {
        let path = path.strip_prefix("/v1/").ok_or_else(not_found)?;
        let segments: Vec<&str> = path.split('/').collect();
        let (parent, rest) = match segments.as_slice() {
            ["projects", _, "locations", _, "secrets", rest @ ..] => (segments[..4].join("/"), rest),
            ["projects", _, "secrets", rest @ ..] => (segments[..2].join("/"), rest),
            _ => return Err(not_found()),
        };
        let (get, post) = (asked.method == Method::GET, asked.method == Method::POST);
        match *rest {
            [] if get => self.list(&parent, &pairs(asked.query.as_bytes())),
            [] if post => self.create(&parent, asked),
            [name] => match (asked.method.as_str(), name.split_once(':')) {
                ("POST", Some((name, "addVersion"))) => self.add_version(&key(&parent, name), asked),
                ("GET", None) => {
                    self.find(&key(&parent, name)).map(|secret| secret.shown(&key(&parent, name)))
                }
                ("PATCH", None) => self.patch(&key(&parent, name), asked),
                ("DELETE", None) => {
                    self.find(&key(&parent, name))?;
                    self.all.remove(&key(&parent, name));
                    Ok(json!({}))
                }
                _ => Err(not_found()),
            },
            [name, "versions", version] => match version.split_once(':') {
                None if get => self.show(&key(&parent, name), version),
                Some((version, "access")) if get => self.access(&key(&parent, name), version),
                Some((version, verb)) if post => self.turn(&key(&parent, name), version, verb),
                _ => Err(not_found()),
            },
            _ => Err(not_found()),
        }
        .map(|body| Answer::json(200, &body))
    }

    fn find(&mut self, name: &str) -> Result<&mut Secret, Refused> {
        let told = format!("Secret [{name}] not found or has no versions.");
        self.all.get_mut(name).ok_or_else(|| error(404, "NOT_FOUND", &told))
    }

    fn list(&self, parent: &str, query: &BTreeMap<String, String>) -> Result<Value, Refused> {
        let filter = match query.get("filter") {
            None => String::new(),
            Some(filter) => {
                let text =
                    filter.strip_prefix("name:").filter(|text| !text.is_empty() && !text.contains(' '));
                text.ok_or_else(|| invalid("Invalid filter"))?.to_lowercase()
            }
        };
        let number = |name: &str| query.get(name).map(|text| text.parse::<usize>());
        let size = number("pageSize").transpose().map_err(|_| invalid("pageSize"))?.unwrap_or(PAGE).min(PAGE);
        let from = number("pageToken").transpose().map_err(|_| invalid("Invalid page token"))?.unwrap_or(0);
        let prefix = format!("{parent}/secrets/");
        let mut found: Vec<(&String, &Secret)> = self
            .all
            .iter()
            .filter(|(name, _)| {
                name.strip_prefix(&prefix).is_some_and(|name| name.to_lowercase().contains(&filter))
            })
            .collect();
        found.sort_by_key(|(_, secret)| std::cmp::Reverse(secret.made));
        let page: Vec<Value> =
            found.iter().skip(from).take(size).map(|(name, secret)| secret.shown(name)).collect();
        let mut answer = json!({"totalSize": found.len()});
        if !page.is_empty() {
            answer["secrets"] = Value::Array(page);
        }
        if from + size < found.len() {
            answer["nextPageToken"] = json!((from + size).to_string());
        }
        Ok(answer)
    }

    fn create(&mut self, parent: &str, asked: &Asked) -> Result<Value, Refused> {
        let query = pairs(asked.query.as_bytes());
        let id = query.get("secretId").ok_or_else(|| invalid("secretId"))?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if id.is_empty() || id.len() > 255 || !id.bytes().all(fits) {
            return Err(invalid("secretId"));
        }
        let Value::Object(fields) = asked.json() else {
            return Err(invalid("Invalid JSON payload received."));
        };
        let regional = parent.contains("/locations/");
        if regional == fields.contains_key("replication") {
            return Err(invalid("replication"));
        }
        check(&fields, 0)?;
        let name = key(parent, id);
        if self.has(&name) {
            return Err(error(409, "ALREADY_EXISTS", &format!("Secret [{name}] already exists.")));
        }
        self.etags += 1;
        let secret = Secret { fields, versions: Vec::new(), etag: self.etags, made: self.etags };
        let shown = secret.shown(&name);
        self.all.insert(name, secret);
        Ok(shown)
    }

    fn patch(&mut self, name: &str, asked: &Asked) -> Result<Value, Refused> {
        let Value::Object(body) = asked.json() else { return Err(invalid("Invalid JSON payload received.")) };
        let query = pairs(asked.query.as_bytes());
        let mask = query.get("updateMask").ok_or_else(|| invalid("updateMask"))?;
        let mismatch = self.mismatch;
        self.etags += 1;
        let etags = self.etags;
        let secret = self.find(name)?;
        if body.get("etag").is_some_and(|etag| *etag != secret.etag()) {
            let told = "The etag provided does not match the current etag.";
            return Err(match mismatch {
                Mismatch::Aborted => error(409, "ABORTED", told),
                Mismatch::FailedPrecondition => error(400, "FAILED_PRECONDITION", told),
                Mismatch::PreconditionFailed => error(412, "FAILED_PRECONDITION", told),
            });
        }
        let mut fields = secret.fields.clone();
        for field in mask.split(',') {
            if !["annotations", "labels", "versionAliases"].contains(&field) {
                return Err(invalid("updateMask"));
            }
            match body.get(field) {
                Some(value) => _ = fields.insert(field.to_owned(), value.clone()),
                None => _ = fields.remove(field),
            }
        }
        check(&fields, secret.versions.len())?;
        secret.fields = fields;
        secret.etag = etags;
        Ok(secret.shown(name))
    }

    fn add_version(&mut self, name: &str, asked: &Asked) -> Result<Value, Refused> {
        let data = bytes(&asked.json()["payload"], "data", "dataCrc32c")?;
        if data.is_empty() || data.len() > LONGEST {
            return Err(invalid(&format!("The payload has {} bytes: {}", data.len(), asked.text())));
        }
        let secret = self.find(name)?;
        secret.add(&data);
        secret.version(name, secret.versions.len())
    }

    fn show(&mut self, name: &str, version: &str) -> Result<Value, Refused> {
        let lag = self.lag;
        let secret = self.find(name)?;
        let number = secret.number(version, lag)?;
        secret.version(name, number)
    }

    fn access(&mut self, name: &str, version: &str) -> Result<Value, Refused> {
        self.accesses += 1;
        let (damage, lag) = (u32::from(self.damaged > 0), self.lag);
        self.damaged -= damage;
        let secret = self.find(name)?;
        let number = secret.number(version, lag)?;
        let Version { data, state, .. } = &secret.versions[number - 1];
        if *state != "ENABLED" {
            let told = format!("Secret Version [{name}/versions/{number}] is in {state} state.");
            return Err(error(400, "FAILED_PRECONDITION", &told));
        }
        let payload =
            json!({"data": STANDARD.encode(data), "dataCrc32c": (crc32c(data) ^ damage).to_string()});
        // The project's number stands there, not its id.
        let name = name.replacen("projects/project-1/", "projects/123/", 1);
        Ok(json!({"name": format!("{name}/versions/{number}"), "payload": payload}))
    }

    fn turn(&mut self, name: &str, version: &str, verb: &str) -> Result<Value, Refused> {
        let secret = self.find(name)?;
        let number = secret.number(version, 0)?;
        let version = &mut secret.versions[number - 1];
        if version.state == "DESTROYED" {
            return Err(error(400, "FAILED_PRECONDITION", "The version is in DESTROYED state."));
        }
        version.state = match verb {
            "enable" => "ENABLED",
            "disable" => "DISABLED",
            "destroy" => {
                version.data.clear();
                "DESTROYED"
            }
            _ => return Err(not_found()),
        };
        secret.version(name, number)
    }
}

impl Secret {
    /// Its etag, as the service shows it.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{:x}\"", 0x0006_0000_0000_0000 + self.etag)
    }

    fn add(&mut self, data: &[u8]) {
        let created = Timestamp::now();
        self.versions.push(Version { data: data.to_vec(), state: "ENABLED", created });
    }

    fn shown(&self, name: &str) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("name".to_owned(), json!(name));
        fields.insert("etag".to_owned(), json!(self.etag()));
        Value::Object(fields)
    }

    fn version(&self, name: &str, number: usize) -> Result<Value, Refused> {
        let version = &self.versions[number - 1];
        Ok(json!({
            "name": format!("{name}/versions/{number}"),
            "createTime": version.created.to_string(),
            "state": version.state,
        }))
    }

    fn number(&self, version: &str, lag: usize) -> Result<usize, Refused> {
        let number = match version {
            "latest" => Some(self.versions.len().saturating_sub(lag).max(1)),
            alias if alias.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                let alias = self.fields.get("versionAliases").and_then(|aliases| aliases.get(alias));
                alias.and_then(Value::as_str).and_then(|number| number.parse().ok())
            }
            number => number.parse().ok(),
        };
        let there = number.filter(|number| (1..=self.versions.len()).contains(number));
        there.ok_or_else(|| error(404, "NOT_FOUND", "Secret Version not found."))
    }
}

/// Holds the fields of a secret to what is documented.
fn check(fields: &Map<String, Value>, versions: usize) -> Result<(), Refused> {
    let known = [
        "annotations",
        "customerManagedEncryption",
        "etag",
        "labels",
        "name",
        "replication",
        "versionAliases",
    ];
    if fields.keys().any(|name| !known.contains(&name.as_str())) {
        return Err(invalid("Unknown name"));
    }
    let object = |name: &str| fields.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let within = |byte: u8, more: &[u8]| byte.is_ascii_alphanumeric() || more.contains(&byte);
    let mut total = 0;
    for (name, value) in &object("annotations") {
        let value = value.as_str().ok_or_else(|| invalid("annotations"))?;
        let ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !ends || name.len() > 63 || !name.bytes().all(|byte| within(byte, b"-_.")) {
            return Err(invalid("annotations"));
        }
        total += name.len() + value.len();
    }
    if total >= 16 * 1024 {
        return Err(invalid("annotations are too long"));
    }
    for (alias, number) in &object("versionAliases") {
        let number: usize =
            number.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| invalid(alias))?;
        let begins = alias.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || alias == "latest" || alias.len() > 63 || !alias.bytes().all(|byte| within(byte, b"-_"))
        {
            return Err(invalid("versionAliases"));
        }
        if number == 0 || number > versions {
            return Err(error(400, "FAILED_PRECONDITION", "An alias names a version that is not there."));
        }
    }
    Ok(())
}

fn key(parent: &str, name: &str) -> String {
    format!("{parent}/secrets/{name}")
}

fn not_found() -> Answer {
    error(404, "NOT_FOUND", "The requested URL was not found on this server.")
}

fn invalid(what: &str) -> Answer {
    error(400, "INVALID_ARGUMENT", what)
}
