//! `sawpit health`.

use std::path::PathBuf;

use clap::ArgMatches;
use sawpit_service::SettingSpec;
use sawpit_service::settings::SettingsErrors;

const URL: SettingSpec =
    SettingSpec::new("url", "URL", "The address to ask").default("http://127.0.0.1:8000/health/ready");

/// Whom to trust with https.
pub const CA: SettingSpec = SettingSpec::new(
    "ca",
    "FILE",
    "With https: trust only servers that these certificates vouch for (PEM), and not whom the system trusts",
);

/// What to ask.
pub struct Health {
    pub url: String,
    pub ca: Option<PathBuf>,
}

pub fn specs() -> Vec<SettingSpec> {
    vec![URL, CA]
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<Health, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let url = resolver.get_if(
            "url",
            |url: &String| url.starts_with("http://") || url.starts_with("https://"),
            "must be http://HOST:PORT/PATH, or https:",
        );
        let ca = resolver.optional("ca");
        Some(Health { url: url?, ca: ca? })
    })
}
