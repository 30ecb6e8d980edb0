//! `sawpit index`.

use clap::ArgMatches;
use sawpit_service::SettingSpec;
use sawpit_service::settings::SettingsErrors;
use sawpit_store::StoreSettings;

use super::{index, token};

const SPECS: &[SettingSpec] = &[
    index::TERMS,
    SettingSpec::new("rate", "N", "Most rows a second; as fast as it goes unless given"),
    SettingSpec::new("step", "N", "Rows of one transaction").default("1000"),
];

/// What to index, and how.
pub struct IndexCommand {
    pub store: StoreSettings,
    /// Most terms of a row.
    pub terms: usize,
    /// Most rows a second.
    pub rate: Option<u32>,
    /// Rows of one transaction.
    pub step: u32,
}

pub fn specs() -> Vec<SettingSpec> {
    [token::specs(), SPECS.to_vec()].concat()
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<IndexCommand, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let store = token::store(resolver);
        let terms = index::terms(resolver);
        let rate = resolver.optional::<u32>("rate");
        if let Some(Some(rate)) = rate {
            resolver.check(rate > 0, &["rate"], "must be 1 at least");
        }
        let step = resolver.get_in("step", 1..=10_000);
        Some(IndexCommand { store: store?, terms: terms?, rate: rate?, step: step? })
    })
}
