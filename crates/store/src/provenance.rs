//! Which plugins made a row: its chain's id, explained.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One plugin of a chain, in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainMember {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its wasm and manifest, 16 hexadecimal digits.
    pub hash: String,
    /// The share of the devices that it had as a canary. None: all of them, or all but a canary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

/// Which plugin a row's chain must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFilter {
    /// Its name.
    pub plugin: String,
    /// Its version; none for any.
    pub version: Option<String>,
}

/// A text that names no plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be NAME or NAME@VERSION, as /api/plugins shows them")]
pub struct ParsePluginFilterError;

/// `NAME` or `NAME@VERSION`.
impl FromStr for PluginFilter {
    type Err = ParsePluginFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plugin, version) = text.split_once('@').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let is_word =
            |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_word(plugin) || !version.is_none_or(is_word) {
            return Err(ParsePluginFilterError);
        }
        Ok(Self { plugin: plugin.to_owned(), version: version.map(str::to_owned) })
    }
}

impl fmt::Display for PluginFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plugin)?;
        self.version.iter().try_for_each(|version| write!(f, "@{version}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_name_or_a_name_and_a_version() {
        for text in ["geo", "geo@1.2.3", "geo@1.0.0-rc.1+build"] {
            assert_eq!(text.parse::<PluginFilter>().unwrap().to_string(), text);
        }
        for text in ["", "@1.0.0", "geo@", "geo ip", "geo@1 0", &"x".repeat(65)] {
            assert_eq!(text.parse::<PluginFilter>(), Err(ParsePluginFilterError), "{text:?}");
        }
    }
}
