//! Transform: takes out what should not be stored, and stores what repeats once.
//!
//! Key decision: redaction comes first, so that two logs that differ only in what is taken out count as the
//! same, and nothing that should not be stored can come back through a fold.

mod find;
mod fold;
mod redact;
mod stamp;

use sawpit_plugin::{Batch, Fields, Outputs, Plugin, Transform, export};
use serde::Deserialize;

use fold::Fold;
use redact::{Redacted, Redactor};

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// E-mail addresses.
    Email,
    /// IPv4 and IPv6 addresses.
    Ip,
    /// Payment card numbers.
    Card,
    /// Passwords, tokens and keys.
    Secret,
}

/// The `[config]` of `transform.toml`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to take out; all classes by default.
    pub redact: Vec<Class>,
    /// Names whose values are secrets, beside the built-in ones.
    pub secret_keys: Vec<String>,
    /// Repeats at most this many seconds after the first are folded into it; 0 folds nothing.
    pub fold_seconds: u32,
    /// Whether logs of different `log_data` can be repeats of each other: the later data is then gone.
    pub fold_ignores_data: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            redact: vec![Class::Email, Class::Ip, Class::Card, Class::Secret],
            secret_keys: Vec::new(),
            fold_seconds: 60,
            fold_ignores_data: false,
        }
    }
}

/// The plugin.
#[derive(Debug)]
pub struct Clean {
    redactor: Redactor,
    fold: Option<Fold>,
}

impl Plugin for Clean {
    const NAME: &'static str = "transform";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str = "Takes out personal data and secrets, folds repeats into one log";
    const READS: Fields = Fields::all();
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let fold = (config.fold_seconds > 0).then_some(Fold {
            window_us: i64::from(config.fold_seconds) * 1_000_000,
            ignores_data: config.fold_ignores_data,
        });
        Ok(Self { redactor: Redactor::new(&config.redact, &config.secret_keys)?, fold })
    }
}

impl Transform for Clean {
    fn transform(&self, batch: &Batch) -> Outputs {
        let redacted: Vec<Redacted<'_>> = batch.iter().map(|log| self.redactor.log(&log)).collect();
        let mut outputs = batch.outputs();
        for (index, log) in redacted.iter().enumerate() {
            log.write(&mut outputs, index);
        }
        if let Some(fold) = &self.fold {
            fold.apply(batch, &redacted, &mut outputs);
        }
        outputs
    }
}

export!(Clean: transform);

#[cfg(test)]
mod tests;
