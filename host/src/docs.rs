//! `GET /docs/`: a page to read the API and try it, which is Swagger UI. All of it is in the program, so it works
//! without the internet.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa_swagger_ui::Config;

use crate::problem::{Kind, Problem};

/// The page runs its own scripts and asks its own host, nothing else. Swagger UI sets styles in its elements.
const RULES: [(HeaderName, HeaderValue); 2] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
];

/// The address of the description is relative to the page, so that both may be behind a prefix of a proxy.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("../openapi.json").try_it_out_enabled(true).deep_linking(true)));

/// To where the page's own files are beside it.
pub(crate) async fn go_to_page() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "docs/")]).into_response()
}

pub(crate) async fn get_page() -> Result<Response, Problem> {
    file("index.html")
}

pub(crate) async fn get_file(path: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) =
        path.map_err(|_| Problem::new(Kind::BadPath, "the name must be UTF-8, percent-encoded."))?;
    file(&name)
}

fn file(name: &str) -> Result<Response, Problem> {
    match utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => {
            Ok((RULES, [(CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response())
        }
        Ok(None) => Err(Problem::new(Kind::UnknownRoute, "This is no file of the page /docs/.")),
        Err(error) => Err(Problem::internal(error)),
    }
}
