//! `GET /api/chains/{id}`: which plugins made a row.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use sawpit_store::ChainMember;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::no_parameters::NoParameters;
use crate::problem::{Kind, Problem};
use crate::query::store_problem;

/// Most chains that a row's id joins: the host's and the worker's.
const JOINED: usize = 2;
/// A chain without plugins.
const NONE: &str = "none";

/// What an id stands for.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChainAnswer {
    /// The id, as rows carry it.
    id: String,
    /// The chains that it joins: the host's and the worker's, or the one that both had.
    chains: Vec<OneChain>,
}

/// The plugins of one process's chain.
#[derive(Serialize, ToSchema)]
struct OneChain {
    /// Its digest.
    chain: String,
    /// In the order in which they ran.
    #[schema(value_type = Vec<crate::openapi::ChainPlugin>)]
    plugins: Vec<ChainMember>,
}

/// The plugins behind the id of a chain, also after they were replaced.
#[utoipa::path(
    get, path = "/api/chains/{id}", tag = "query",
    params(("id" = String, Path, description = "`chain` of a row or of /api/plugins")),
    responses(
        (status = 200, description = "The plugins", body = ChainAnswer),
        (status = 404, description = "No chain has this id", body = crate::problem::ProblemBody, content_type = "application/problem+json"),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_chain(
    _: NoParameters,
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ChainAnswer>, Problem> {
    let Path(id) = path.map_err(|_| Problem::new(Kind::BadPath, "the id must be UTF-8, percent-encoded."))?;
    let unknown =
        || Problem::new(Kind::UnknownChain, "Rows carry the id of their chain, /api/plugins that of now.");
    let names: Vec<&str> = id.split('+').collect();
    if names.len() > JOINED {
        return Err(unknown());
    }
    let mut chains = Vec::with_capacity(names.len());
    for name in names {
        let plugins = app.store.explain_chain(name).await.map_err(|error| store_problem(&app, error))?;
        if plugins.is_empty() && name != NONE {
            return Err(unknown());
        }
        chains.push(OneChain { chain: name.to_owned(), plugins });
    }
    Ok(Json(ChainAnswer { id, chains }))
}
