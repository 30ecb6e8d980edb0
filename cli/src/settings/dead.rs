//! `sawpit dead`: where the letters are.

use std::path::PathBuf;

use clap::ArgMatches;
use sawpit_service::SettingSpec;
use sawpit_service::settings::{CONFIG, SettingsErrors};

use super::queue::QUEUE;

const DATA: SettingSpec =
    SettingSpec::new("data", "DIR", "Folder of `sawpit up`, running or not; used unless --queue is given")
        .default("./sawpit-data");

/// Where the letters are.
pub struct Place {
    /// URL or folder of the queue, if one was given.
    pub queue: Option<String>,
    /// Folder of `sawpit up`.
    pub data: PathBuf,
}

pub fn specs() -> Vec<SettingSpec> {
    vec![CONFIG, QUEUE, DATA]
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<Place, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let queue = resolver.optional::<String>("queue");
        let data = resolver.get::<PathBuf>("data");
        Some(Place { queue: queue?, data: data? })
    })
}
