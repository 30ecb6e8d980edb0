//! Thresholds.

use sawpit_plugin::{Glob, Log};
use serde::Deserialize;

/// A threshold on one field of `log_data`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// What is added to `alerts`.
    pub name: String,
    /// Whose logs are watched; all without it.
    #[serde(default)]
    pub device: Glob,
    /// The field; `a.b` is the member `b` of the object `a`. A value that is no number raises nothing.
    pub field: String,
    /// A number above this raises the alert.
    pub above: Option<f64>,
    /// A number below this raises the alert.
    pub below: Option<f64>,
}

impl Alert {
    /// Whether the alert makes sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("name is empty, say what to call the alert".to_owned());
        }
        if self.above.is_none() && self.below.is_none() {
            return Err("give `above`, `below` or both".to_owned());
        }
        Ok(())
    }

    /// The alert's name, if the log raises it.
    pub(crate) fn raised_by(&self, log: &Log<'_>) -> Option<&str> {
        if !self.device.matches(log.device_id()) {
            return None;
        }
        let value = log.number(&self.field)?;
        let crossed =
            self.above.is_some_and(|above| value > above) || self.below.is_some_and(|below| value < below);
        crossed.then_some(&self.name)
    }
}
