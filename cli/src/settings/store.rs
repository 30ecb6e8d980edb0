//! The database.

use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;
use sawpit_store::StoreSettings;

pub const STORE: SettingSpec =
    SettingSpec::new("store", "URL", "postgres://USER:PASSWORD@HOST/DATABASE, or sqlite:FILE");

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new("store-pool", "N", "Connections to the database that are kept").default("10"),
    SettingSpec::new("store-pool-extra", "N", "Connections beyond those, while there is need").default("5"),
    SettingSpec::new("store-connect-timeout", "TIME", "Longest wait for a connection").default("5s"),
    SettingSpec::new("store-idle-timeout", "TIME", "How long a connection beyond --store-pool may be idle")
        .default("60s"),
    SettingSpec::new("store-statement-timeout", "TIME", "Longest time of one statement").default("30s"),
];

pub fn resolve(resolver: &mut Resolver, url: Option<String>) -> Option<StoreSettings> {
    let pool = resolver.get_in("store-pool", 1..=10_000);
    let pool_extra = resolver.get_in("store-pool-extra", 0..=10_000);
    let mut time = |name| resolver.get_time(name, super::TIMES);
    let (connect_timeout, idle_timeout) = (time("store-connect-timeout"), time("store-idle-timeout"));
    let statement_timeout = time("store-statement-timeout");
    Some(StoreSettings {
        url: url?,
        pool: pool?,
        pool_extra: pool_extra?,
        connect_timeout: connect_timeout?,
        idle_timeout: idle_timeout?,
        statement_timeout: statement_timeout?,
        ..StoreSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Command;
    use sawpit_service::settings::{SettingsErrors, args};

    use super::*;

    fn resolved(name: &str, value: &str) -> Result<StoreSettings, SettingsErrors> {
        let flags = Command::new("test").args(args(SPECS)).get_matches_from(["test"]);
        let env = |asked: &str| (asked == name).then(|| value.to_owned());
        let mut resolver = Resolver::new(SPECS, &[], &flags, env);
        let settings = resolve(&mut resolver, Some("sqlite:x".to_owned()));
        resolver.finish(settings)
    }

    #[test]
    fn times_are_a_millisecond_to_a_day() {
        for name in ["CONNECT", "IDLE", "STATEMENT"] {
            let taken = |value| resolved(&format!("SAWPIT_STORE_{name}_TIMEOUT"), value).is_ok();
            assert!(taken("1ms") && taken("24h"), "{name}");
            assert!(!taken("0s") && !taken("25h"), "{name}");
        }
        let settings = resolved("SAWPIT_STORE_IDLE_TIMEOUT", "7s").unwrap();
        assert_eq!(settings.idle_timeout, Duration::from_secs(7));
    }
}
