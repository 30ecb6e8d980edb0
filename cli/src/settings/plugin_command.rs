//! `sawpit plugin …`: the runtime as a host or worker here would set it up.

use std::path::PathBuf;

use clap::ArgMatches;
use sawpit_plugins::RuntimeSettings;
use sawpit_service::SettingSpec;
use sawpit_service::settings::{CONFIG, SettingsErrors};

use super::{host, plugins};

const CACHE: SettingSpec =
    SettingSpec::new("plugin-cache", "DIR", "Folder of compiled plugins, which only this user may write");

/// What is watched and polled is of no use to a command that looks once.
pub fn specs() -> Vec<SettingSpec> {
    let watching = ["plugin-watch", "plugin-poll", "plugin-settle", "plugin-files", "plugin-proving"];
    let runtime = plugins::SPECS.iter().filter(|spec| !watching.contains(&spec.name)).copied().collect();
    [vec![CONFIG, CACHE], host::limit_specs(), runtime].concat()
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<RuntimeSettings, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let limits = host::limits(resolver);
        let compiled = resolver.optional::<PathBuf>("plugin-cache");
        plugins::runtime(resolver, limits, compiled.clone().flatten()).filter(|_| compiled.is_some())
    })
}
