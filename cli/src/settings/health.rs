//! `sawpit health`.

use clap::ArgMatches;
use sawpit_service::SettingSpec;
use sawpit_service::settings::SettingsErrors;

const URL: SettingSpec =
    SettingSpec::new("url", "URL", "The address to ask").default("http://127.0.0.1:8000/health/ready");

pub fn specs() -> Vec<SettingSpec> {
    vec![URL]
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<String, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        resolver.get_if("url", |url: &String| url.starts_with("http"), "must be http://HOST:PORT/PATH")
    })
}
