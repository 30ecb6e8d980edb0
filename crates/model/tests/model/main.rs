//! What devices may post and what becomes of it, through the public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod batch;
mod fuzz;
mod log;
mod log_data;
mod patch;
mod properties;
mod scalars;
mod wire;

use sawpit_model::{FieldError, Limits, Timestamp};

/// When the logs of all tests are taken.
pub const NOW: Timestamp = Timestamp::from_micros(1_763_859_723_456_789);

/// Small limits, so that the tests can be read.
pub fn limits() -> Limits {
    Limits {
        device_id_bytes: 8,
        message_bytes: 10,
        log_data_bytes: 40,
        log_data_depth: 4,
        number_bytes: 12,
        batch_logs: 3,
        body_bytes: 400,
    }
}

/// As `field: rule` lines.
pub fn lines(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {}", error.field, error.rule)).collect()
}
