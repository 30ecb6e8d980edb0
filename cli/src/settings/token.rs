//! `sawpit token`: where the tokens are.

use std::path::PathBuf;

use clap::ArgMatches;
use sawpit_service::SettingSpec;
use sawpit_service::settings::{CONFIG, Resolver, SettingsErrors};
use sawpit_store::StoreSettings;

use super::store;

const DATA: SettingSpec =
    SettingSpec::new("data", "DIR", "Folder of `sawpit up`, running or not; used unless --store is given")
        .default("./sawpit-data");

pub fn specs() -> Vec<SettingSpec> {
    [&[CONFIG, store::STORE, DATA], store::SPECS].concat()
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<StoreSettings, SettingsErrors> {
    super::resolve(&specs(), flags, store)
}

/// The database of --store, or else the one in the folder.
pub fn store(resolver: &mut Resolver) -> Option<StoreSettings> {
    let url = resolver.optional::<String>("store");
    let data = resolver.get::<PathBuf>("data");
    let database = data.map(|data| super::up::database(&data));
    store::resolve(resolver, url?.or(database))
}
