//! `GET /openapi.json`, made from the types that are answered, and from the limits of this host.

#![allow(dead_code, reason = "some functions here only describe")]

mod types;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::problem::{FieldProblem, ProblemBody, Rejected};
use crate::settings::HostSettings;
use crate::{chain_page, ingest, plugins_page, query, stats, tail};

pub(crate) use types::{
    BatchBody, Cached, ChainPlugin, DifferencesPage, IdempotencyKey, Known, LogBody, Members, PluginsPage,
    Resumed, Row, StatsAnswer,
};

/// The errors of `POST`.
pub(crate) struct IngestErrors;

impl IntoResponses for IngestErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("400", "The body is not valid JSON, or broke off, or the Idempotency-Key is not valid"),
            ("408", "The body took too long to arrive"),
            ("401", "There is no valid token"),
            ("403", "The token does not cover this, or not this device"),
            ("413", "The body is too large"),
            ("415", "The body is not declared as JSON, or compressed otherwise than Accept-Encoding says"),
            (
                "422",
                "A rule is broken, a filter refused, or the Idempotency-Key was used for another request",
            ),
            ("429", "The token was used too often; see Retry-After"),
            ("500", "The host failed"),
            (
                "503",
                "The backlog or the host is at its limit, a plugin failed, or the queue did not take it; see Retry-After",
            ),
        ])
    }
}

/// The errors of `GET`.
pub(crate) struct QueryErrors;

impl IntoResponses for QueryErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("400", "A parameter or the path is not valid"),
            ("401", "There is no valid token"),
            ("403", "The token does not cover this"),
            ("429", "The token was used too often; see Retry-After"),
            ("500", "The host failed"),
            ("503", "The database did not answer; see Retry-After"),
        ])
    }
}

/// The errors of what is for operators.
pub(crate) struct OperatorErrors;

impl IntoResponses for OperatorErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("401", "There is no valid token"),
            ("403", "The token does not cover this"),
            ("429", "The token was used too often; see Retry-After"),
            ("500", "The process failed"),
            ("503", "The process is at its limit, or does not know the tokens yet; see Retry-After"),
        ])
    }
}

fn problems(list: &[(&str, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let one = |description: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
        ResponseBuilder::new().description(description).content("application/problem+json", content).build()
    };
    list.iter().map(|(status, description)| ((*status).to_owned(), RefOr::T(one(description)))).collect()
}

#[utoipa::path(get, path = "/health/live", tag = "operation",
    responses((status = 200, description = "The process runs")))]
fn live() {}

#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses((status = 200, description = "Ready for requests"), (status = 503, description = "Not ready; says why")))]
fn ready() {}

#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain"), OperatorErrors))]
fn metrics_page() {}

#[derive(OpenApi)]
#[openapi(
    info(title = "Sawpit", description = "Log ingest with WebAssembly plugins."),
    paths(
        ingest::single::post_log,
        ingest::batch::post_batch,
        query::get_logs,
        query::get_all_logs,
        tail::get_tail,
        stats::get_stats,
        plugins_page::get_plugins,
        plugins_page::get_differences,
        chain_page::get_chain,
        live,
        ready,
        metrics_page,
    ),
    components(schemas(ProblemBody, FieldProblem, Rejected)),
    modifiers(&Tokens)
)]
struct Api;

/// Tokens may be asked for; by default they are not on a loopback address.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        const NAME: &str = "token";
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("As `sawpit token create` shows it. Only where tokens are asked for."));
        api.components
            .get_or_insert_default()
            .add_security_scheme(NAME, SecurityScheme::Http(scheme.build()));
        api.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new(NAME, [""; 0])]);
    }
}

/// The description of the API of a host with these limits.
pub(crate) fn document(settings: &HostSettings) -> Bytes {
    let mut api = serde_json::to_value(Api::openapi()).unwrap_or_default();
    close(&mut api);
    let limits = settings.limits;
    for (schema, property, keyword, limit) in [
        ("LogBody", "device_id", "maxLength", limits.device_id_bytes),
        ("LogBody", "message", "maxLength", limits.message_bytes),
        ("BatchBody", "logs", "maxItems", limits.batch_logs),
    ] {
        let property = api.pointer_mut(&format!("/components/schemas/{schema}/properties/{property}"));
        if let Some(property) = property.and_then(Value::as_object_mut) {
            property.insert(keyword.to_owned(), json!(limit));
        }
    }
    named(settings).iter().fold(format!("{api:#}"), |text, (name, limit)| text.replace(name, limit)).into()
}

/// What stands for a limit in a description, and the limit.
fn named(settings: &HostSettings) -> [(&'static str, String); 7] {
    let limits = settings.limits;
    [
        ("%device-id-bytes%", limits.device_id_bytes.to_string()),
        ("%message-bytes%", limits.message_bytes.to_string()),
        ("%log-data-bytes%", limits.log_data_bytes.to_string()),
        ("%batch-logs%", limits.batch_logs.to_string()),
        ("%idempotency-key-bytes%", settings.idempotency_key_bytes.to_string()),
        ("%query-limit-default%", settings.query_limit_default.to_string()),
        ("%query-limit-max%", settings.query_limit_max.to_string()),
    ]
}

/// Objects have the properties that are described, and no others: so a test of an answer can fail.
fn close(api: &mut Value) {
    let schemas = api.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for schema in schemas.into_iter().flat_map(|schemas| schemas.values_mut()) {
        if let Some(schema) = schema.as_object_mut().filter(|schema| schema.contains_key("properties")) {
            schema.entry("additionalProperties").or_insert(json!(false));
        }
    }
}

/// The description of the API.
pub(crate) async fn get_openapi(State(document): State<Bytes>) -> Response {
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}
