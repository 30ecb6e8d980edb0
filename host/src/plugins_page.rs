//! `GET /api/plugins`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use sawpit_plugins::{Difference, PluginStatus};
use serde::Serialize;

use crate::app::App;
use crate::problem::{Kind, Problem};

/// The plugins of this host.
#[derive(Serialize)]
pub(crate) struct PluginsAnswer {
    /// Id of the chain that serves now, as rows carry it.
    chain: String,
    /// In the order they run.
    plugins: Vec<PluginStatus>,
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
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<DifferencesAnswer>, Problem> {
    let Path(file) =
        path.map_err(|_| Problem::new(Kind::BadPath, "the file must be UTF-8, percent-encoded."))?;
    let unknown =
        || Problem::new(Kind::UnknownPlugin, "/api/plugins lists the files and which of them serve.");
    let differences = app.registry.differences(&file).ok_or_else(unknown)?;
    Ok(Json(DifferencesAnswer { file, differences }))
}

/// The chain in order, with the state and cost of each plugin.
#[utoipa::path(
    get, path = "/api/plugins", tag = "operation",
    responses((status = 200, description = "The plugins", body = crate::openapi::PluginsPage)),
)]
pub(crate) async fn get_plugins(State(app): State<App>) -> Json<PluginsAnswer> {
    Json(PluginsAnswer { chain: app.registry.chain().id().to_owned(), plugins: app.registry.status() })
}
