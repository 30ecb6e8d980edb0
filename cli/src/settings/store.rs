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
    SettingSpec::new("store-statement-timeout", "TIME", "Longest time of one statement").default("30s"),
];

pub fn resolve(resolver: &mut Resolver, url: Option<String>) -> Option<StoreSettings> {
    let pool = resolver.get_in("store-pool", 1..=10_000);
    let pool_extra = resolver.get_in("store-pool-extra", 0..=10_000);
    let connect_timeout = resolver.get_time("store-connect-timeout", super::TIMES);
    let statement_timeout = resolver.get_time("store-statement-timeout", super::TIMES);
    Some(StoreSettings {
        url: url?,
        pool: pool?,
        pool_extra: pool_extra?,
        connect_timeout: connect_timeout?,
        statement_timeout: statement_timeout?,
        ..StoreSettings::default()
    })
}
