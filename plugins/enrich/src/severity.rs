//! Levels as numbers.

use sawpit_plugin::Level;

/// The level in OpenTelemetry's log data model, section "Field: SeverityNumber"
/// (<https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>): the first number of
/// the ranges DEBUG, INFO, WARN, ERROR and FATAL.
///
/// `severity_text` beside it is, by the same page, the name that the source uses, so `WARNING` and not `WARN`.
pub(crate) const fn number(level: Level) -> u8 {
    match level {
        Level::Debug => 5,
        Level::Info => 9,
        Level::Warning => 13,
        Level::Error => 17,
        Level::Critical => 21,
    }
}
