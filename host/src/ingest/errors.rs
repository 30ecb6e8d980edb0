//! What the parser's and the queue's errors are answered with.

use sawpit_model::{BodyError, FieldError};
use sawpit_queue::{AppendError, QueueError};

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
            "It may or may not have been stored. Send it again with the same Idempotency-Key; without one it may be \
             stored twice.",
        ),
        _ => app.come_back(Kind::NotQueued, "Nothing was stored; send it again."),
    }
}

/// Whether it was stored before is not known, so it is not stored now.
pub(crate) fn of_recall(app: &Shared, error: &QueueError) -> Problem {
    tracing::warn!(%error, "idempotency key not looked up");
    match error {
        QueueError::Unconfirmed { .. } => app.come_back(
            Kind::MaybeQueued,
            "It was queued before, and too few replicas have it yet. Send it again with the same Idempotency-Key.",
        ),
        _ => app.come_back(
            Kind::NotQueued,
            "The queue did not answer, so nothing was stored this time; send it again with the same Idempotency-Key.",
        ),
    }
}
