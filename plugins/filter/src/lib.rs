//! Filter: refuses logs whose fields break a rule, and thins out DEBUG logs.
//!
//! Key decision: a rule speaks of one field of the devices that fit one pattern, so that a reason can name
//! exactly what to mend. Both parts are off until they are configured.

mod rule;
mod sample;

use sawpit_plugin::{Fields, Filter, Level, Log, Plugin, Verdict, export};
use serde::Deserialize;

use rule::Rule;

/// The `[config]` of `filter.toml`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The share of DEBUG logs to keep, from 0.0 (none) to 1.0 (all, the default).
    pub debug_keep: f64,
    /// The rules, tried in order; the first that is broken refuses the log.
    pub rules: Vec<Rule>,
}

impl Default for Config {
    fn default() -> Self {
        Self { debug_keep: 1.0, rules: Vec::new() }
    }
}

/// The plugin.
#[derive(Debug)]
pub struct Fieldcheck {
    config: Config,
}

impl Plugin for Fieldcheck {
    const NAME: &'static str = "filter";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str = "Refuses logs that break a rule on a field, keeps a share of DEBUG logs";
    const READS: Fields = Fields::all();
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&config.debug_keep) {
            return Err(format!("debug_keep is {}, it must be from 0.0 to 1.0", config.debug_keep));
        }
        for (index, rule) in config.rules.iter().enumerate() {
            rule.check().map_err(|error| format!("rules[{index}]: {error}"))?;
        }
        Ok(Self { config })
    }
}

impl Filter for Fieldcheck {
    fn filter(&self, log: &Log<'_>) -> Result<Verdict, String> {
        let broken = self.config.rules.iter().find_map(|rule| rule.broken_by(log));
        Ok(match broken {
            Some(reason) => Verdict::reject(reason),
            None if self.thinned_out(log) => Verdict::drop("sampled"),
            None => Verdict::Accept,
        })
    }
}

impl Fieldcheck {
    fn thinned_out(&self, log: &Log<'_>) -> bool {
        self.config.debug_keep < 1.0
            && log.level() == Level::Debug
            && !sample::keeps(self.config.debug_keep, log.device_id(), log.message(), log.received_at())
    }
}

export!(Fieldcheck: filter);

#[cfg(test)]
mod tests {
    use sawpit_plugin::testing::{self, Sample};

    use super::*;

    const RULES: &str = r#"{"rules": [
        {"device": "sensor-*", "field": "temperature", "type": "number", "min": -50, "max": 150, "required": true},
        {"field": "unit.name", "type": "string", "min": 1, "max": 3},
        {"field": "count", "type": "integer", "min": 0},
        {"field": "ok", "type": "boolean"},
        {"field": "tags", "type": "array"},
        {"field": "where", "type": "object"}
    ]}"#;

    fn verdict(config: &str, device: &str, data: &str) -> Verdict {
        let sample = Sample::new(device, Level::Info, "m", data);
        testing::filter::<Fieldcheck>(config, &[sample]).remove(0).unwrap()
    }

    fn refusal(device: &str, data: &str) -> String {
        match verdict(RULES, device, data) {
            Verdict::Reject(reason) => reason.into_owned(),
            other => panic!("{data} must be refused, not {other:?}"),
        }
    }

    #[test]
    fn without_config_all_is_taken() {
        assert_eq!(verdict("{}", "sensor-1", "{}"), Verdict::Accept);
    }

    #[test]
    fn logs_that_keep_the_rules_are_taken() {
        for data in [
            r#"{"temperature": 21.5}"#,
            r#"{"temperature": -50, "unit": {"name": "°C"}, "count": 0, "ok": false, "tags": [], "where": {}}"#,
            r#"{"temperature": 1.5e2, "unit.name": "K", "count": 3.0}"#,
        ] {
            assert_eq!(verdict(RULES, "sensor-1", data), Verdict::Accept, "{data}");
        }
        assert_eq!(verdict(RULES, "pump-1", "{}"), Verdict::Accept, "the rule is for sensors");
    }

    #[test]
    fn a_reason_names_the_field_and_the_rule() {
        let missing = refusal("sensor-1", "{}");
        assert_eq!(missing, r#"log_data.temperature is required (rule for devices "sensor-*")"#);
        let range = refusal("sensor-1", r#"{"temperature": 150.5}"#);
        assert_eq!(
            range,
            r#"log_data.temperature must be a number from -50 to 150, is 150.5 (rule for devices "sensor-*")"#
        );
        let kind = refusal("sensor-1", r#"{"temperature": "21"}"#);
        assert!(
            kind.starts_with("log_data.temperature must be a number from -50 to 150, is a string"),
            "{kind}"
        );
    }

    #[test]
    fn each_type_is_checked() {
        for (data, part) in [
            (r#"{"unit": {"name": "long"}}"#, "unit.name must be a string of 1 to 3 characters, has 4"),
            (r#"{"unit": {"name": ""}}"#, "has 0"),
            (r#"{"count": 1.5}"#, "count must be an integer of at least 0, is 1.5"),
            (r#"{"count": -1}"#, "is -1"),
            (r#"{"ok": 1}"#, "ok must be a boolean, is a number"),
            (r#"{"ok": null}"#, "is null"),
            (r#"{"tags": {}}"#, "tags must be an array, is an object"),
            (r#"{"where": []}"#, "where must be an object, is an array"),
        ] {
            let reason = refusal("pump-1", data);
            assert!(reason.contains(part), "{data}: {reason}");
        }
    }

    #[test]
    fn null_counts_as_missing_only_where_it_is_not_the_type() {
        assert!(refusal("sensor-1", r#"{"temperature": null}"#).contains("is null"));
    }

    #[test]
    fn wrong_settings_are_told() {
        for (config, part) in [
            (r#"{"debug_keep": 1.5}"#, "debug_keep is 1.5"),
            (r#"{"debug_kep": 1}"#, "unknown field `debug_kep`"),
            (r#"{"rules": [{"type": "number"}]}"#, "missing field `field`"),
            (r#"{"rules": [{"field": "", "type": "number"}]}"#, "rules[0]: field is empty"),
            (r#"{"rules": [{"field": "a", "type": "nummer"}]}"#, "unknown variant `nummer`"),
            (
                r#"{"rules": [{"field": "a", "type": "number", "min": 2, "max": 1}]}"#,
                "rules[0]: min is above max",
            ),
            (r#"{"rules": [{"field": "a", "type": "boolean", "min": 2}]}"#, "no range"),
        ] {
            let error = testing::configure::<Fieldcheck>(config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        }
    }

    #[test]
    fn a_share_of_debug_is_kept_and_it_is_the_same_share_each_time() {
        let samples: Vec<Sample> = (0..2_000)
            .map(|n| Sample::new("d", Level::Debug, "tick", "{}").at(1_767_225_600_000_000 + n * 1_000))
            .collect();
        let config = r#"{"debug_keep": 0.1}"#;
        let first = testing::filter::<Fieldcheck>(config, &samples);
        let kept = first.iter().filter(|verdict| **verdict == Ok(Verdict::Accept)).count();
        assert!((140..=260).contains(&kept), "{kept} of 2,000 kept");
        assert!(first.contains(&Ok(Verdict::drop("sampled"))));
        assert_eq!(first, testing::filter::<Fieldcheck>(config, &samples));
    }

    #[test]
    fn only_debug_is_thinned_out() {
        for level in [Level::Info, Level::Warning, Level::Error, Level::Critical] {
            let sample = Sample::new("d", level, "m", "{}");
            let verdicts = testing::filter::<Fieldcheck>(r#"{"debug_keep": 0}"#, &[sample]);
            assert_eq!(verdicts, [Ok(Verdict::Accept)]);
        }
    }
}
