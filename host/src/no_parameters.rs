//! Routes without parameters refuse those that are sent: who hopes for a filter must not take the answer for filtered.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::problem::{FieldProblem, Kind, Problem};
use crate::query::pairs;

/// Is there when the request has no parameters.
pub(crate) struct NoParameters;

impl<S: Send + Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        let errors: Vec<FieldProblem> = pairs(text)
            .map(|pair| match pair {
                Ok((name, _)) => FieldProblem::unknown(&name, "is not a parameter; there are none here"),
                Err(problem) => problem,
            })
            .collect();
        if errors.is_empty() { Ok(Self) } else { Err(Problem::fields(Kind::BadQuery, errors)) }
    }
}
