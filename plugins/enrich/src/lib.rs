//! Enrich: adds what a log does not say of itself: its severity as a number, the thresholds that it
//! crossed, and where its device stands.
//!
//! Key decision: all of it is decided from the log and the settings, so a host needs no look-up elsewhere.

mod alert;
mod devices;
mod severity;

use sawpit_plugin::{Enrich, Fields, Log, Patch, Plugin, export};
use serde::Deserialize;

use alert::Alert;
use devices::Devices;

/// The `[config]` of `enrich.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Thresholds; the names of those that a log crosses are set as `alerts`.
    pub alerts: Vec<Alert>,
    /// What is known of devices, by pattern; set as `device`.
    pub devices: Devices,
}

/// The plugin.
#[derive(Debug)]
pub struct Context {
    config: Config,
}

impl Plugin for Context {
    const NAME: &'static str = "enrich";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str =
        "Adds the severity number, alerts on thresholds and what is known of the device";
    const READS: Fields = Fields::DEVICE_ID.union(Fields::LOG_LEVEL).union(Fields::LOG_DATA);
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        for (index, alert) in config.alerts.iter().enumerate() {
            alert.check().map_err(|error| format!("alerts[{index}]: {error}"))?;
        }
        Ok(Self { config })
    }
}

impl Enrich for Context {
    fn enrich(&self, log: &Log<'_>) -> Result<Patch, String> {
        let mut patch = Patch::new()
            .set("severity_number", severity::number(log.level()))
            .set("severity_text", log.level().as_str());
        let alerts: Vec<&str> = self.config.alerts.iter().filter_map(|alert| alert.raised_by(log)).collect();
        if !alerts.is_empty() {
            patch.put("alerts", alerts);
        }
        if let Some(known) = self.config.devices.of(log.device_id()) {
            patch.put_raw("device", known);
        }
        Ok(patch)
    }
}

export!(Context: enrich);

#[cfg(test)]
mod tests {
    use sawpit_plugin::Level;
    use sawpit_plugin::serde_json::{Value, json};
    use sawpit_plugin::testing::{self, Sample};

    use super::*;

    const CONFIG: &str = r#"{
        "alerts": [
            {"name": "hot", "field": "temperature", "above": 80},
            {"name": "odd", "field": "temperature", "below": 0, "above": 50, "device": "sensor-*"}
        ],
        "devices": {
            "*": {"site": "unknown"},
            "sensor-*": {"site": "Kiel", "room": 4},
            "sensor-1": {"site": "Ulm", "tags": ["a", {"b": null}]}
        }
    }"#;

    fn patch(config: &str, device: &str, level: Level, data: &str) -> Value {
        testing::enrich::<Context>(config, &[Sample::new(device, level, "m", data)]).remove(0).unwrap()
    }

    #[test]
    fn severity_is_always_added() {
        for (level, number) in Level::ALL.into_iter().zip([5, 9, 13, 17, 21]) {
            let expected = json!({"severity_number": number, "severity_text": level.as_str()});
            assert_eq!(patch("{}", "pump-1", level, "{}"), expected);
        }
    }

    #[test]
    fn thresholds_raise_alerts() {
        let alerts = |device, data| patch(CONFIG, device, Level::Info, data).get("alerts").cloned();
        assert_eq!(alerts("sensor-1", r#"{"temperature": 80.5}"#), Some(json!(["hot", "odd"])));
        assert_eq!(alerts("pump-1", r#"{"temperature": 81}"#), Some(json!(["hot"])));
        assert_eq!(alerts("sensor-1", r#"{"temperature": -1}"#), Some(json!(["odd"])));
        assert_eq!(alerts("pump-1", r#"{"temperature": 80}"#), None, "above means above");
        assert_eq!(alerts("pump-1", r#"{"temperature": "90"}"#), None, "a text is not a number");
        assert_eq!(alerts("pump-1", "{}"), None);
    }

    #[test]
    fn the_most_telling_pattern_says_what_is_known_of_a_device() {
        let device = |id| patch(CONFIG, id, Level::Info, "{}")["device"].clone();
        assert_eq!(device("sensor-1"), json!({"site": "Ulm", "tags": ["a", {"b": null}]}));
        assert_eq!(device("sensor-2"), json!({"site": "Kiel", "room": 4}));
        assert_eq!(device("pump"), json!({"site": "unknown"}));
        assert_eq!(patch("{}", "pump", Level::Info, "{}").get("device"), None);
    }

    #[test]
    fn wrong_settings_are_told() {
        for (config, part) in [
            (r#"{"alerts": [{"field": "a", "above": 1}]}"#, "missing field `name`"),
            (r#"{"alerts": [{"name": "n", "field": "a"}]}"#, "alerts[0]: give `above`, `below` or both"),
            (r#"{"alerts": [{"name": "", "field": "a", "above": 1}]}"#, "alerts[0]: name is empty"),
            (r#"{"device": {}}"#, "unknown field `device`"),
            (r#"{"devices": {"a": 1}}"#, "devices"),
        ] {
            let error = testing::configure::<Context>(config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        }
    }
}
