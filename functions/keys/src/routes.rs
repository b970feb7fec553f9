//! Which path is which handler.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Response};
use keyturn_keys::manage::{Caller, Manager};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::error::Refusal;
use crate::handlers::{budgets, health, keys, lists, regenerate, spend, teams, users};
use crate::who::Who;

/// What a handler answers.
pub(crate) type Answer = Result<Response<Bytes>, Refusal>;

/// Who may call a route, as `who` explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Changes something.
    Write,
    /// Reads.
    Read,
    /// Reads, and every key may ask for itself.
    Own,
}

/// A request on its way to its handler.
pub(crate) struct Call<'a> {
    pub(crate) manager: &'a Manager,
    pub(crate) door: &'a keyturn_entry::Door,
    pub(crate) now: jiff::Timestamp,
    pub(crate) who: Who,
    /// As whom the manager is asked; `None` = only about the key itself, which routes with [`Access::Own`] allow.
    pub(crate) caller: Option<Caller>,
    /// The key that the path names.
    pub(crate) path_key: Option<SecretString>,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    /// As whom the manager is asked.
    pub(crate) fn caller(&self) -> Result<&Caller, Refusal> {
        self.caller.as_ref().ok_or(Refusal::Denied)
    }
}

type Handler = for<'a> fn(Call<'a>) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// An endpoint.
pub(crate) struct Route {
    /// `GET` or `POST`.
    pub(crate) method: &'static str,
    /// The path; a segment `{key}` stands for any.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) handler: Handler,
}

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $handler:path;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            access: Access::$access,
            handler: |call| Box::pin($handler(call)),
        },)*]
    };
}

/// Every endpoint but `/openapi.json`, which needs no key.
pub(crate) static ROUTES: &[Route] = routes! {
    POST "/key/generate" Write keys::generate;
    POST "/key/service-account/generate" Write keys::generate_service_account;
    POST "/key/update" Write keys::update;
    POST "/key/bulk_update" Write keys::bulk_update;
    POST "/key/delete" Write keys::delete;
    GET "/key/info" Own keys::info;
    POST "/v2/key/info" Read keys::infos;
    GET "/key/list" Read lists::keys;
    GET "/key/aliases" Read lists::aliases;
    POST "/key/block" Write keys::block;
    POST "/key/unblock" Write keys::unblock;
    POST "/key/regenerate" Write regenerate::regenerate;
    POST "/key/{key}/regenerate" Write regenerate::regenerate_named;
    POST "/key/{key}/reset_spend" Write keys::reset_spend;
    POST "/key/health" Own health::health;
    POST "/team/new" Write teams::create;
    POST "/team/update" Write teams::update;
    GET "/team/info" Read teams::info;
    GET "/team/list" Read teams::list;
    POST "/team/delete" Write teams::delete;
    POST "/team/block" Write teams::block;
    POST "/team/unblock" Write teams::unblock;
    POST "/team/member_add" Write teams::add_members;
    POST "/team/member_delete" Write teams::delete_member;
    POST "/team/member_update" Write teams::update_member;
    POST "/team/model/add" Write teams::add_models;
    POST "/team/model/delete" Write teams::remove_models;
    POST "/user/new" Write users::create;
    GET "/user/info" Read users::info;
    POST "/user/update" Write users::update;
    GET "/user/list" Read users::list;
    POST "/user/delete" Write users::delete;
    POST "/budget/new" Write budgets::create;
    POST "/budget/update" Write budgets::update;
    POST "/budget/info" Read budgets::info;
    GET "/budget/list" Read budgets::list;
    POST "/budget/delete" Write budgets::delete;
    GET "/spend/keys" Read spend::keys;
    GET "/spend/logs" Read spend::logs;
    GET "/spend/tags" Read spend::tags;
    GET "/global/spend/report" Read spend::report;
};

/// Where the document is.
pub(crate) const DOCUMENT: &str = "/openapi.json";

/// What a path asks for.
pub(crate) enum Found {
    Route(&'static Route, Option<SecretString>),
    Document,
    /// The path has other methods.
    Method(&'static str),
    Unknown,
}

/// Finds the route of a request. Empty segments do not count, as in the gateway.
pub(crate) fn find(method: &str, path: &str) -> Found {
    let segments = segments(path);
    if segments == [&DOCUMENT[1..]] {
        return if method == "GET" { Found::Document } else { Found::Method("GET") };
    }
    let mut allow = None;
    for route in ROUTES {
        if let Some(key) = matched(route.path, &segments) {
            if route.method == method {
                return Found::Route(route, key);
            }
            // A path spelled out goes before one with a name in it.
            allow = allow.or(Some(route.method));
        }
    }
    allow.map_or(Found::Unknown, Found::Method)
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// Whether the segments are those of the pattern, and the key in them.
fn matched(pattern: &str, segments: &[&str]) -> Option<Option<SecretString>> {
    let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
    if pattern.len() != segments.len() {
        return None;
    }
    let mut key = None;
    for (wanted, segment) in pattern.iter().zip(segments) {
        if wanted.starts_with('{') {
            key = Some(SecretString::from(percent_decode_str(segment).decode_utf8_lossy().into_owned()));
        } else if wanted != segment {
            return None;
        }
    }
    Some(key)
}

/// Whether a path is this function's, also when it has no such route.
#[must_use]
pub fn serves(path: &str) -> bool {
    match segments(path).as_slice() {
        ["key" | "team" | "user" | "budget" | "spend" | "global", ..] | ["v2", "key", ..] => true,
        [only] => *only == &DOCUMENT[1..],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn paths_find_their_routes() {
        let path = |method, path| match find(method, path) {
            Found::Route(route, key) => {
                let key = key.map(|key| key.expose_secret().to_owned());
                format!("{} {}", route.path, key.unwrap_or_default())
            }
            Found::Document => "document".to_owned(),
            Found::Method(allow) => format!("only {allow}"),
            Found::Unknown => "unknown".to_owned(),
        };
        for (method, called, expected) in [
            ("POST", "/key/generate", "/key/generate "),
            ("POST", "//key//generate/", "/key/generate "),
            ("POST", "/key/sk-1%2F2/regenerate", "/key/{key}/regenerate sk-1/2"),
            ("POST", "/key/service-account/generate", "/key/service-account/generate "),
            ("GET", "/key/generate", "only POST"),
            ("POST", "/key/info", "only GET"),
            ("GET", "/openapi.json", "document"),
            ("HEAD", "/openapi.json", "only GET"),
            ("GET", "/key", "unknown"),
            ("GET", "/v1/models", "unknown"),
        ] {
            assert_eq!(path(method, called), expected, "{method} {called}");
        }
    }

    #[test]
    fn the_gateways_own_paths_are_left_alone() {
        for path in ["/key/nonsense", "/v2/key/info", "/global/x", "/openapi.json", "//team/new"] {
            assert!(serves(path), "{path}");
        }
        for path in ["/", "/v1/models", "/v2/x", "/keys", "/openapi.json/x", "/v1/chat/completions"] {
            assert!(!serves(path), "{path}");
        }
    }
}
