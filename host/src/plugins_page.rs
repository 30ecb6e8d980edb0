//! `GET /api/plugins`, which a worker answers as well: each process has a chain of its own.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use sawpit_plugins::{Difference, PluginStatus, Registry};
use serde::Serialize;

use crate::no_parameters::NoParameters;
use crate::problem::{Kind, Problem};
use crate::routes::{DIFFERENCES, PLUGINS};

/// The plugins of this host.
#[derive(Serialize)]
pub(crate) struct PluginsAnswer {
    /// Id of the chain that serves now, as rows carry it.
    chain: String,
    /// In the order they run.
    plugins: Vec<PluginStatus>,
}

/// The pages about a process's plugins.
pub(crate) fn plugin_routes(registry: Registry) -> Router {
    Router::new()
        .route(PLUGINS, get(get_plugins))
        .route(DIFFERENCES, get(get_differences))
        .with_state(registry)
}

/// What a plugin in shadow mode would have done.
#[derive(Serialize)]
pub(crate) struct DifferencesAnswer {
    /// The plugin's file.
    file: String,
    /// The last ones, oldest first.
    differences: Vec<Difference>,
}

/// The last logs that a plugin in shadow mode would have treated otherwise than the chain without it did.
#[utoipa::path(
    get, path = "/api/plugins/{file}/differences", tag = "operation",
    params(("file" = String, Path, description = "`file` of /api/plugins")),
    responses(
        (status = 200, description = "The differences", body = crate::openapi::DifferencesPage),
        (status = 404, description = "No plugin serves from this file", body = crate::problem::ProblemBody, content_type = "application/problem+json"),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_differences(
    _: NoParameters,
    State(registry): State<Registry>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<DifferencesAnswer>, Problem> {
    let Path(file) =
        path.map_err(|_| Problem::new(Kind::BadPath, "the file must be UTF-8, percent-encoded."))?;
    let unknown =
        || Problem::new(Kind::UnknownPlugin, "/api/plugins lists the files and which of them serve.");
    let differences = registry.differences(&file).ok_or_else(unknown)?;
    Ok(Json(DifferencesAnswer { file, differences }))
}

/// The chain in order, with the state and cost of each plugin.
#[utoipa::path(
    get, path = "/api/plugins", tag = "operation",
    responses(
        (status = 200, description = "The plugins", body = crate::openapi::PluginsPage),
        (status = 400, description = "There are no parameters", body = crate::problem::ProblemBody, content_type = "application/problem+json"),
        crate::openapi::OperatorErrors,
    ),
)]
pub(crate) async fn get_plugins(_: NoParameters, State(registry): State<Registry>) -> Json<PluginsAnswer> {
    Json(PluginsAnswer { chain: registry.chain().id().to_owned(), plugins: registry.status() })
}
