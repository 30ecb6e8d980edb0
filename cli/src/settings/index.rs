//! What workers index for searching.

use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;
use sawpit_store::IndexSettings;

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new("text-index", "BOOL", "Index the words of messages, for q=; the same for all workers")
        .switch(),
    SettingSpec::new(
        "data-index",
        "BOOL",
        "Index the members of log_data, for data.KEY=; the same for all workers",
    )
    .switch(),
    TERMS,
];

/// How much of a log is indexed.
pub const TERMS: SettingSpec =
    SettingSpec::new("index-terms", "N", "Most words and members that are indexed of one log")
        .default("1000");

pub fn resolve(resolver: &mut Resolver) -> Option<IndexSettings> {
    let (text, data) = (resolver.get("text-index"), resolver.get("data-index"));
    let terms = terms(resolver);
    Some(IndexSettings { text: text?, data: data?, terms: terms? })
}

pub fn terms(resolver: &mut Resolver) -> Option<usize> {
    resolver.get_in("index-terms", 1..=10_000)
}
