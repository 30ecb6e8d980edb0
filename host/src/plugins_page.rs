//! `GET /api/plugins`.

use axum::Json;
use axum::extract::State;
use sawpit_plugins::PluginStatus;
use serde::Serialize;

use crate::app::App;

/// The plugins of this host.
#[derive(Serialize)]
pub(crate) struct PluginsAnswer {
    /// Id of the chain that serves now, as rows carry it.
    chain: String,
    /// In the order they run.
    plugins: Vec<PluginStatus>,
}

/// The chain in order, with the state and cost of each plugin.
#[utoipa::path(
    get, path = "/api/plugins", tag = "operation",
    responses((status = 200, description = "The plugins", body = crate::openapi::PluginsPage)),
)]
pub(crate) async fn get_plugins(State(app): State<App>) -> Json<PluginsAnswer> {
    Json(PluginsAnswer { chain: app.registry.chain().id().to_owned(), plugins: app.registry.status() })
}
