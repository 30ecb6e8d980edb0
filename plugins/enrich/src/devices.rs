//! What is known of devices.

use std::collections::BTreeMap;

use sawpit_plugin::Glob;
use sawpit_plugin::serde_json::{Map, Value};
use serde::{Deserialize, Deserializer};

/// Tables by pattern, the most telling pattern first. They are kept as JSON text, ready to be set.
#[derive(Debug, Default)]
pub struct Devices(Vec<(Glob, String)>);

impl Devices {
    /// The JSON object of the most telling pattern that the device fits.
    pub(crate) fn of(&self, device_id: &str) -> Option<&str> {
        self.0.iter().find(|(glob, _)| glob.matches(device_id)).map(|(_, known)| known.as_str())
    }
}

impl<'de> Deserialize<'de> for Devices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A table of TOML has no order that could decide which pattern comes first.
        let tables = BTreeMap::<String, Map<String, Value>>::deserialize(deserializer)
            .map_err(|error| serde::de::Error::custom(format!("devices: {error}")))?;
        let mut devices: Vec<_> = tables
            .into_iter()
            .map(|(pattern, known)| (Glob::new(pattern), Value::Object(known).to_string()))
            .collect();
        devices.sort_by_key(|(glob, _)| std::cmp::Reverse(glob.literals()));
        Ok(Self(devices))
    }
}
