//! `http`: a credential of any service with an HTTP API, declared in the settings.
//!
//! The settings say how a credential is made, tried, listed and taken back, each as a call. They need the form of an
//! object in the secret (`keyturn:rotator`): tags cannot hold them.
//!
//! ```json
//! {"rotator": "http", "admin_key": "aws-secretsmanager:admin/example",
//!  "create": {"url": "https://api.example.com/v1/keys", "headers": {"authorization": "Bearer {admin}"},
//!             "body": {"name": "{name}", "ttl": "{expires_in}"}, "expect": [201],
//!             "answer": {"value": "/key/secret", "id": "/key/id"}},
//!  "verify": {"url": "https://api.example.com/v1/me", "headers": {"authorization": "Bearer {value}"}},
//!  "list":   {"url": "https://api.example.com/v1/keys?limit=100", "headers": {"authorization": "Bearer {admin}"},
//!             "answer": {"items": "/keys", "id": "/id", "name": "/name", "hint": "/redacted",
//!                        "created": "/created_at", "next": "/next_cursor", "next_query": "cursor"}},
//!  "retire": {"url": "https://api.example.com/v1/keys/{id}", "headers": {"authorization": "Bearer {admin}"}},
//!  "expires_in": "90d"}
//! ```
//!
//! | setting | |
//! |---|---|
//! | `create` | required: makes a credential; places `{name}` `{prefix}` `{token}` `{current}` `{expires_in}` `{expires_at}` |
//! | `verify` | required: proves that a credential works; place `{value}`. 401, 403 and the statuses in `refused` mean that it does not |
//! | `list` | lists what there is; place `{prefix}`. Without it and `retire`, nothing is ever taken back |
//! | `disable` | stops a credential so that it could be started again; place `{id}` |
//! | `retire` | deletes a credential, after the overlap and after `disable`; place `{id}`. 404 and 410 mean that it is gone |
//! | `admin_key` | a secret reference to what stands in the place `{admin}`, which all calls have |
//! | `expires_in` | the life of a new credential, at least one day: in seconds in `{expires_in}`, its end in `{expires_at}`. It must outlast the rotation's interval and the overlap |
//! | `keep_id` | keeps the id of a credential beside it in the secret, in the field that `id_field` names, to recognise it by |
//! | `dedicated` | everything in the list was issued for this secret, whatever its name is |
//!
//! A call:
//!
//! | | |
//! |---|---|
//! | `url` | required: the host is fixed |
//! | `method` | default `POST` for `create`, `PATCH` for `disable`, `DELETE` for `retire`, else `GET` |
//! | `headers` | by name |
//! | `body` | any JSON: it is sent as JSON; a text that is `{expires_in}` alone becomes a number |
//! | `form` | texts by name, instead of a body: sent as a form |
//! | `expect` | the statuses of a success; default: all from 200 to 299 |
//! | `refused` | further statuses that mean that the credential of the call is refused |
//! | `full` | statuses that mean that there is no room for another credential |
//! | `answer` | where in the answer something is, as JSON pointers |
//!
//! `answer` of `create`: `value`, and `id` with `keep_id`. `answer` of `list`: `items`, the array; and in each item
//! `id`; `name`, which must begin with the prefix; `hint`, what is shown of the value (`sk-ab...yz`), or its SHA-256;
//! `created` and `last_used` (RFC 3339, or seconds or milliseconds since 1970); `disabled` (true, or what
//! `disabled_is` says). Without `created`, one that was just issued and is not stored yet cannot be told from a lost one,
//! and may be taken back. `next` is where the answer has the cursor of the next page, `next_query` the parameter that
//! takes it.
//!
//! What stands in a place is escaped for where it stands: in JSON, in a form, in an address. The administrator's
//! credential needs the permission for the calls that are declared, and no other.

mod declared;
mod template;

use async_trait::async_trait;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderName;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::http_calls::{Answer, By, Meaning as _};
use super::{hints, lifetimes};
use crate::settings::{Settings, SettingsError};
use crate::{Ask, Created, Credential, Issued, Part, RotationError, Rotator, Tools};
use declared::{CallOf, Declared, Listed};
use template::{Place, Template, fill_json};

/// The most pages of a list.
const PAGES: usize = 1000;
/// What is not encoded in an address: the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

struct Http {
    tools: Tools,
    declared: Declared,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let declared: Declared = settings.read()?;
    declared.check()?;
    Ok(Box::new(Http { tools: tools.clone(), declared }))
}

/// What stands in the places of one call.
struct Values(Vec<(Place, SecretString)>);

impl Values {
    fn with(mut self, place: Place, value: &str) -> Self {
        self.0.push((place, value.into()));
        self
    }

    fn get(&self, place: Place) -> String {
        let found = self.0.iter().find(|(known, _)| *known == place);
        found.map(|(_, value)| value.expose_secret().to_owned()).unwrap_or_default()
    }
}

impl Http {
    /// The values that every call has.
    async fn values(&self) -> Result<Values, RotationError> {
        let admin = match &self.declared.admin_key {
            None => Vec::new(),
            Some(reference) => vec![(Place::Admin, self.tools.secret(reference).await?)],
        };
        Ok(Values(admin))
    }

    /// A call as it is declared, with its places filled. `more` goes to the query.
    async fn ask<A>(
        &self,
        call: &CallOf<A>,
        (method, by): (Method, By),
        values: &Values,
        more: Option<(&str, &str)>,
    ) -> Result<Answer, RotationError> {
        let fill = |text: &str| {
            let template = Template::parse(text).map_err(RotationError::Unfit)?;
            let is_secret = template.places().any(Place::is_secret);
            Ok::<_, RotationError>((template.fill(|place| values.get(place)), is_secret))
        };
        let method = call.method.as_ref().map_or(Ok(method), |method| Method::from_bytes(method.as_bytes()));
        let method = method.map_err(|_| RotationError::Unfit("a method is none".to_owned()))?;
        let mut request = by.calls(&self.tools, method, address(&call.url, values)?);
        if let Some((name, value)) = more {
            request = request.query(name, value);
        }
        if let Some(body) = &call.body {
            request =
                request.json(&fill_json(body, &|place| values.get(place)).map_err(RotationError::Unfit)?);
        }
        if let Some(form) = &call.form {
            let mut filled = Vec::with_capacity(form.len());
            for (name, value) in form {
                filled.push((name.as_str(), fill(value)?.0));
            }
            let fields: Vec<(&str, &str)> =
                filled.iter().map(|(name, value)| (*name, value.as_str())).collect();
            request = request.form(&fields);
        }
        for (name, value) in &call.headers {
            let (value, is_secret) = fill(value)?;
            request = match HeaderName::try_from(name.as_str()) {
                Ok(name) if is_secret => request.put_secret(name, &value),
                _ => request.header(name, &value),
            };
        }
        for (_, value) in values.0.iter().filter(|(place, _)| place.is_secret()) {
            request = request.hiding(value);
        }
        Ok(request.answer().await?)
    }

    /// A call on one credential, which may be gone.
    async fn take<A>(&self, call: &CallOf<A>, method: Method, issued: &Issued) -> Result<(), RotationError> {
        let values = self.values().await?.with(Place::Id, &issued.id);
        let answer = self.ask(call, (method, By::Admin), &values, None).await?;
        if matches!(answer.status().as_u16(), 404 | 410) {
            return Ok(());
        }
        judged(call, answer).map(|_| ())
    }
}

/// The answer, if it is a success.
fn judged<A>(call: &CallOf<A>, answer: Answer) -> Result<Answer, RotationError> {
    let status = answer.status().as_u16();
    let expected =
        if call.expect.is_empty() { (200..300).contains(&status) } else { call.expect.contains(&status) };
    if expected {
        return Ok(answer);
    }
    Err(if call.full.contains(&status) {
        RotationError::Full(answer.told())
    } else if call.refused.contains(&status) {
        answer.blame(answer.told())
    } else if answer.status().is_success() {
        RotationError::Malformed(answer.told())
    } else {
        answer.error()
    })
}

/// The address, with what stands in its places encoded.
fn address(url: &str, values: &Values) -> Result<Url, RotationError> {
    let template = Template::parse(url).map_err(RotationError::Unfit)?;
    // These would name another place than the one that is meant.
    if template.places().any(|place| matches!(values.get(place).as_str(), "" | "." | "..")) {
        return Err(RotationError::Malformed("an id that cannot stand in an address".to_owned()));
    }
    let filled = template.fill(|place| utf8_percent_encode(&values.get(place), ENCODED).to_string());
    Url::parse(&filled)
        .map_err(|_| RotationError::Unfit("an address cannot be made from the settings".to_owned()))
}

#[async_trait]
impl Rotator for Http {
    fn parts(&self) -> &'static [Part] {
        const VALUE: Part = Part { name: "value", field: None };
        const ID: Part = Part { name: "id", field: None };
        if self.declared.keep_id { &[VALUE, ID] } else { &[VALUE] }
    }

    async fn create(&self, ask: &Ask<'_>) -> Result<Created, RotationError> {
        let mut values = self.values().await?;
        values =
            values.with(Place::Name, &ask.name).with(Place::Prefix, ask.prefix).with(Place::Token, ask.token);
        if let Some(current) = ask.current.get("value") {
            values = values.with(Place::Current, current.expose_secret());
        }
        if let Some(span) = self.declared.expires_in {
            values = values.with(Place::ExpiresIn, &span.as_secs().to_string());
            values = values.with(Place::ExpiresAt, &lifetimes::end(ask.now, span).to_string());
        }
        let create = &self.declared.create;
        let answer = self.ask(create, (Method::POST, By::Admin), &values, None).await?;
        let made = judged(create, answer)?.value();
        let missing =
            |what: &str| RotationError::Malformed(format!("the answer has no {what} where it is declared"));
        let value = text(&made, Some(&create.answer.value)).ok_or_else(|| missing("value"))?;
        let mut credential = Credential::of(value.into());
        if self.declared.keep_id {
            let id = text(&made, create.answer.id.as_ref()).ok_or_else(|| missing("id"))?;
            credential = credential.with("id", id.into());
        }
        Ok(credential.into())
    }

    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let values = self.values().await?.with(Place::Value, credential.value()?.expose_secret());
        let answer = self.ask(&self.declared.verify, (Method::GET, By::Tested), &values, None).await?;
        judged(&self.declared.verify, answer).map(|_| ())
    }

    async fn issued(&self, prefix: &str, current: &Credential) -> Result<Vec<Issued>, RotationError> {
        let Some(list) = &self.declared.list else { return Ok(Vec::new()) };
        let places = &list.answer;
        let values = self.values().await?.with(Place::Prefix, prefix);
        // If it is not in the list, the ids there are not those that credentials are made with, and tell nothing.
        let mut must_be_there = current.get("id").map(ExposeSecret::expose_secret);
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let more = places.next_query.as_deref().zip(cursor.as_deref());
            let answer = self.ask(list, (Method::GET, By::Admin), &values, more).await?;
            let page = judged(list, answer)?.value();
            let items = page.pointer(&places.items).and_then(Value::as_array);
            let items =
                items.ok_or_else(|| RotationError::Malformed("no list where it is declared".to_owned()))?;
            for item in items {
                let is_ours = match &places.name {
                    None => true,
                    Some(name) => text(item, Some(name)).is_some_and(|name| name.starts_with(prefix)),
                };
                let one = issued(item, places)?;
                must_be_there = must_be_there.filter(|id| *id != one.id);
                if is_ours {
                    found.push(one);
                }
            }
            let next = text(&page, places.next.as_ref());
            if next.is_none() && must_be_there.is_some() {
                return Err(RotationError::Unfit(
                    "the current credential's id is not in the list: compare create.answer.id and list.answer.id"
                        .to_owned(),
                ));
            }
            if next.is_none() {
                return Ok(found);
            }
            if next == cursor {
                break;
            }
            cursor = next;
        }
        Err(RotationError::Malformed("a list without an end".to_owned()))
    }

    fn may_be(&self, issued: &Issued, credential: &Credential) -> bool {
        if let Some(id) = credential.get("id") {
            return id.expose_secret() == issued.id;
        }
        credential.get("value").is_none_or(|value| hints::may_be(issued.hint.as_deref(), value))
    }

    async fn disable(&self, issued: &Issued) -> Result<bool, RotationError> {
        let Some(disable) = &self.declared.disable else { return Ok(false) };
        self.take(disable, Method::PATCH, issued).await.map(|()| true)
    }

    async fn delete(&self, issued: &Issued) -> Result<(), RotationError> {
        let Some(retire) = &self.declared.retire else { return Ok(()) };
        self.take(retire, Method::DELETE, issued).await
    }
}

/// One item of the list.
fn issued(item: &Value, places: &Listed) -> Result<Issued, RotationError> {
    let id = text(item, Some(&places.id));
    let id = id.ok_or_else(|| {
        RotationError::Malformed("an item of the list has no id where it is declared".to_owned())
    })?;
    let disabled = places.disabled.as_ref().and_then(|at| item.pointer(at));
    Ok(Issued {
        id,
        hint: text(item, places.hint.as_ref()),
        created_at: time(item, places.created.as_ref())?,
        last_used_at: time(item, places.last_used.as_ref())?,
        disabled: disabled
            .is_some_and(|found| *found == *places.disabled_is.as_ref().unwrap_or(&Value::Bool(true))),
    })
}

/// A text or a number, if there is one.
fn text(value: &Value, pointer: Option<&String>) -> Option<String> {
    match value.pointer(pointer?)? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A time, if there is one.
fn time(item: &Value, pointer: Option<&String>) -> Result<Option<Timestamp>, RotationError> {
    /// What is above it is in milliseconds: it is the year 5138 in seconds, and March 1973 in milliseconds.
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    let Some(text) = text(item, pointer) else { return Ok(None) };
    let found = match text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "a part of a second does not matter")]
        Ok(number) => match number as i64 {
            0 => return Ok(None),
            number if number >= MILLISECONDS_FROM => Timestamp::from_millisecond(number).ok(),
            number => Timestamp::from_second(number).ok(),
        },
        Err(_) => text.parse().ok(),
    };
    found.map(Some).ok_or_else(|| {
        RotationError::Malformed("an item of the list has a time of an unknown form".to_owned())
    })
}
