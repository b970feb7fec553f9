//! The OpenAPI document, made of the types of requests and answers.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, HeaderBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _, ToSchema};

use crate::error::{ErrorBody, ErrorDetail};
use crate::handlers::{budgets, health, keys, lists, regenerate, spend, teams, users};
use crate::types::limits::LimitsRow;

/// Why a request may be refused, whichever it is.
const REFUSALS: [(&str, &str); 8] = [
    ("400", "A field or a parameter cannot be accepted; `param` names it."),
    ("401", "There is no key, or none that works."),
    ("403", "The key may not do this."),
    ("404", "What is named is not there."),
    ("409", "Others are changing the same thing; try again."),
    ("413", "The body is larger than 1 MB."),
    ("415", "The body is no JSON."),
    ("503", "The key store or the secret store is unavailable; try again."),
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Keyturn: virtual keys",
        description = "LiteLLM's management API: keys, teams, users, budgets and spend. Amounts are US dollars, times RFC 3339 in UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        keys::generate, keys::generate_service_account, keys::update, keys::bulk_update, keys::delete, keys::info,
        keys::infos, lists::keys, lists::aliases, keys::block, keys::unblock, regenerate::regenerate,
        regenerate::regenerate_named, keys::reset_spend, health::health,
        teams::create, teams::update, teams::info, teams::list, teams::delete, teams::block, teams::unblock,
        teams::add_members, teams::delete_member, teams::update_member, teams::add_models, teams::remove_models,
        users::create, users::info, users::update, users::list, users::delete,
        budgets::create, budgets::update, budgets::info, budgets::list, budgets::delete,
        spend::keys, spend::logs, spend::tags, spend::report,
    ),
    components(schemas(ErrorBody, ErrorDetail)),
    security(("bearer" = [])),
    modifiers(&Everywhere),
)]
struct Document;

/// What every operation has.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                for (status, description) in REFUSALS {
                    let responses = &mut operation.responses.responses;
                    responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(refusal(description)));
                }
            }
        }
        let requests = requests(document);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "The master key, or a virtual key whose type or whose user's role allows the call.",
        ));
        let components = document.components.get_or_insert_default();
        show_limits(&mut components.schemas);
        for name in requests {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(&name) {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    }
}

/// The limits of an answer stand among its other fields: they do in the document, too.
fn show_limits(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let name = LimitsRow::name();
    let Some(RefOr::T(Schema::Object(limits))) = schemas.remove(&*name) else { return };
    for schema in schemas.values_mut() {
        let RefOr::T(Schema::AllOf(row)) = schema else { continue };
        let [part, RefOr::T(Schema::Object(own))] = &mut row.items[..] else { continue };
        if referred(part) != [&*name] {
            continue;
        }
        own.properties.extend(limits.properties.clone());
        own.required.extend(limits.required.clone());
        own.description = row.description.take();
        *schema = RefOr::T(Schema::Object(own.clone()));
    }
}

/// The schemas that bodies have, which take no other fields.
fn requests(document: &OpenApi) -> Vec<String> {
    let operations = document.paths.paths.values().filter_map(|item| item.post.as_ref());
    let bodies = operations.filter_map(|operation| match operation.request_body.as_ref()? {
        RefOr::T(body) => match body.content.get("application/json")? {
            RefOr::T(content) => content.schema.as_ref(),
            RefOr::Ref(_) => None,
        },
        RefOr::Ref(_) => None,
    });
    bodies.flat_map(referred).collect()
}

/// The names of the schemas that a schema refers to.
fn referred(schema: &RefOr<Schema>) -> Vec<String> {
    match schema {
        RefOr::Ref(reference) => {
            reference.ref_location.rsplit('/').next().map(str::to_owned).into_iter().collect()
        }
        RefOr::T(Schema::OneOf(either)) => either.items.iter().flat_map(referred).collect(),
        RefOr::T(_) => Vec::new(),
    }
}

fn refusal(description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("ErrorBody")));
    let id = HeaderBuilder::new().description(Some("The id that the request has in the log.")).build();
    ResponseBuilder::new()
        .description(description)
        .header(keyturn_entry::CALL_ID, id)
        .content("application/json", content)
        .build()
}

/// The document.
#[must_use]
pub fn document() -> OpenApi {
    Document::openapi()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let documented: BTreeSet<(String, String)> = document()
            .paths
            .paths
            .into_iter()
            .flat_map(|(path, item)| {
                let methods = [("GET", item.get.is_some()), ("POST", item.post.is_some())];
                let methods = methods.into_iter().filter(|(_, there)| *there);
                methods.map(move |(method, _)| (method.to_owned(), path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let served: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        assert_eq!(documented, served);
    }

    #[test]
    fn the_limits_of_an_answer_are_documented_as_its_fields() {
        let json = serde_json::to_value(document()).unwrap();
        for name in ["BudgetRow", "KeyRow", "TeamRow", "UserRow"] {
            let schema = &json["components"]["schemas"][name];
            assert_eq!(schema["type"], "object", "{name}");
            for field in ["created_at", "rpm_limit", "model_max_budget"] {
                assert!(schema["properties"].get(field).is_some(), "{name}.{field}");
            }
            let required = schema["required"].as_array().unwrap();
            assert!(required.contains(&"model_max_budget".into()), "{name}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_refusal_is_said() {
        let json = serde_json::to_value(document()).unwrap();
        assert_eq!(json["openapi"], "3.1.0");
        let text = json.to_string();
        for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(json["components"]["schemas"].get(name).is_some(), "{name} is missing");
        }
        for item in json["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                for (status, _) in REFUSALS {
                    let schema = &operation["responses"][status]["content"]["application/json"]["schema"];
                    assert_eq!(schema["$ref"], "#/components/schemas/ErrorBody", "{operation}");
                }
            }
        }
    }
}
