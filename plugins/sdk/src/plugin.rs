//! What every plugin says of itself, whatever its stages are.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Fields;

/// A plugin: its description and how it is made from its settings.
pub trait Plugin: Sized + 'static {
    /// Lower-case letters, digits and hyphens, 1 to 64 bytes.
    const NAME: &'static str;
    /// A semantic version; `env!("CARGO_PKG_VERSION")` is the usual value.
    const VERSION: &'static str;
    /// One line for the operator.
    const HELP: &'static str;
    /// The columns that the plugin reads; the others are not sent. Two are joined by
    /// `Fields::MESSAGE.union(Fields::LOG_DATA)`.
    const READS: Fields;
    /// The `[config]` table of the plugin's `.toml`. With `#[serde(default, deny_unknown_fields)]` a missing
    /// table is fine and a misspelt key is told to the operator.
    type Config: DeserializeOwned;

    /// Makes the plugin, once for each instance.
    ///
    /// # Errors
    ///
    /// Says which setting is wrong and what it must be; the host then refuses the plugin and goes on with
    /// the version before.
    fn new(config: Self::Config) -> Result<Self, String>;
}

/// The settings of a plugin that has none: any key is refused.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Makes a plugin from its settings' JSON.
pub(crate) fn build<P: Plugin>(config: &str) -> Result<P, String> {
    let mut json = serde_json::Deserializer::from_str(config);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // The operator wrote TOML: a line and column of the JSON would send them astray.
        let (key, text) = (error.path().to_string(), error.inner().to_string());
        let cause = text.split(" at line ").next().unwrap_or(&text);
        // Without a path it is the whole table, and serde names an unknown field itself.
        if key == "." || cause.starts_with("unknown field") {
            return format!("wrong config: {cause}");
        }
        format!("wrong config: {key}: {cause}")
    })?;
    P::new(parsed)
}
