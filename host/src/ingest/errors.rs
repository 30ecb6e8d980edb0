//! What the parser's and the queue's errors are answered with.

use sawpit_model::{BodyError, FieldError};
use sawpit_queue::AppendError;

use crate::app::Shared;
use crate::problem::{FieldProblem, Kind, Problem};

/// Not JSON at all is 400; JSON that breaks a rule is 422.
pub(crate) fn of_body(error: BodyError) -> Problem {
    match error {
        BodyError::Fields(errors) => Problem::fields(Kind::InvalidLog, fields(errors)),
        BodyError::BatchSize { found, limit } => {
            let rule = format!("must hold 1 to {limit} logs, but has {found}");
            Problem::fields(Kind::InvalidBatch, vec![FieldProblem::new("logs", rule)])
        }
        BodyError::Syntax { line, column, .. } => {
            Problem::new(Kind::MalformedJson, error.to_string()).at(line, column)
        }
        BodyError::NotAnObject { .. } => Problem::new(Kind::InvalidLog, error.to_string()),
        BodyError::TooLarge { .. } => Problem::new(Kind::BodyTooLarge, error.to_string()),
        other => Problem::new(Kind::MalformedJson, other.to_string()),
    }
}

pub(crate) fn fields(errors: Vec<FieldError>) -> Vec<FieldProblem> {
    errors.into_iter().map(|error| FieldProblem::new(error.field, error.rule)).collect()
}

/// Whether the queue surely did not take it decides what the device is told.
pub(crate) fn of_append(app: &Shared, error: &AppendError) -> Problem {
    tracing::warn!(%error, "append failed");
    match error {
        AppendError::Full { limit } => app.come_back(
            Kind::BacklogFull,
            format!("The backlog is at its limit of {limit} messages; nothing was taken."),
        ),
        AppendError::Unknown { .. } => app.come_back(
            Kind::MaybeQueued,
            "The log may or may not have been stored; sending it again may store it twice.",
        ),
        _ => app.come_back(Kind::NotQueued, "Nothing was stored; send it again."),
    }
}
