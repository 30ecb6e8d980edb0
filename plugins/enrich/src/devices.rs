//! What is known of devices.

use std::collections::BTreeMap;

use sawpit_plugin::Glob;
use sawpit_plugin::json::Kind;
use sawpit_plugin::serde_json::value::RawValue;
use serde::{Deserialize, Deserializer, de::Error};

/// Tables by pattern, the most telling pattern first. They stay JSON text, ready to be set.
#[derive(Debug, Default)]
pub struct Devices(Vec<(Glob, Box<RawValue>)>);

impl Devices {
    /// The JSON object of the most telling pattern that the device fits.
    pub(crate) fn of(&self, device_id: &str) -> Option<&str> {
        self.0.iter().find(|(glob, _)| glob.matches(device_id)).map(|(_, known)| known.get())
    }
}

impl<'de> Deserialize<'de> for Devices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A table of TOML has no order that could decide which pattern comes first.
        let tables = BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)?;
        if let Some((pattern, _)) =
            tables.iter().find(|(_, known)| Kind::of(known.get()) != Some(Kind::Object))
        {
            return Err(D::Error::custom(format!("devices.{pattern:?} must be a table of what is known")));
        }
        let mut devices: Vec<_> =
            tables.into_iter().map(|(pattern, known)| (Glob::new(pattern), known)).collect();
        devices.sort_by_key(|(glob, _)| std::cmp::Reverse(glob.literals()));
        Ok(Self(devices))
    }
}
