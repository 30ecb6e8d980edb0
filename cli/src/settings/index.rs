//! What workers index for searching.

use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;
use sawpit_store::{Index, IndexSettings, StoreSettings};

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new(
        "text-index",
        "BOOL",
        "Index the words of messages, for q=; where it is not said, as workers did before",
    )
    .switch(),
    SettingSpec::new(
        "data-index",
        "BOOL",
        "Index the members of log_data, for data.KEY=; where it is not said, as workers did before",
    )
    .switch(),
    TERMS,
];

/// What to index, and what nobody decided about.
pub struct Indexes {
    index: IndexSettings,
    undecided: Vec<Index>,
}

impl Indexes {
    /// The settings of a store that commits index so.
    pub fn of(self, store: StoreSettings) -> StoreSettings {
        StoreSettings { index: self.index, undecided: self.undecided, ..store }
    }
}

/// How much of a log is indexed.
pub const TERMS: SettingSpec =
    SettingSpec::new("index-terms", "N", "Most words and members that are indexed of one log")
        .default("1000");

pub fn resolve(resolver: &mut Resolver) -> Option<Indexes> {
    let (text, data) = (resolver.get("text-index"), resolver.get("data-index"));
    let terms = terms(resolver);
    let is_given = |index: &Index| resolver.is_given(index.setting().trim_start_matches('-'));
    let undecided = Index::ALL.into_iter().filter(|index| !is_given(index)).collect();
    Some(Indexes { index: IndexSettings { text: text?, data: data?, terms: terms? }, undecided })
}

pub fn terms(resolver: &mut Resolver) -> Option<usize> {
    resolver.get_in("index-terms", 1..=10_000)
}
