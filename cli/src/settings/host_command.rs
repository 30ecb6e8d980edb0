//! `sawpit host`.

use std::path::PathBuf;

use clap::ArgMatches;
use sawpit_host::{HostSettings, ServeSettings};
use sawpit_queue::is_redis;
use sawpit_service::settings::{Resolver, SettingsErrors};
use sawpit_service::{ProcessSettings, SettingSpec};

use super::access::{self, Doors};
use super::{host, plugins, queue, serve, store, tls};
use crate::parts::PartSettings;

const SPECS: &[SettingSpec] = &[
    SettingSpec::new("listen", "ADDRESS", "Address to serve").default("127.0.0.1:8000"),
    access::ADMIN,
    SettingSpec::new("plugins", "DIR", "Folder of plugins, watched").default("./plugins.d"),
    SettingSpec::new("plugin-cache", "DIR", "Folder of compiled plugins, which only this user may write"),
];

/// Everything that `host` needs.
pub struct HostCommand {
    pub process: ProcessSettings,
    pub doors: Doors,
    pub parts: PartSettings,
    pub host: HostSettings,
    pub serve: ServeSettings,
}

pub fn specs() -> Vec<SettingSpec> {
    let urls = [queue::QUEUE, queue::CACHE, store::STORE];
    let parts =
        [queue::SPECS, store::SPECS, plugins::SPECS, host::SPECS, serve::SPECS, tls::SPECS, access::SPECS]
            .concat();
    [super::traced_process_specs(), SPECS.to_vec(), urls.to_vec(), parts].concat()
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<HostCommand, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let process = super::traced_process(resolver, "sawpit-host");
        let doors = access::doors(resolver);
        let limits = host::limits(resolver);
        let parts = parts(resolver, limits);
        let host = host::resolve(resolver, limits, parts.as_ref().map(|parts| &parts.queue), doors);
        let serve = serve::resolve(resolver);
        let threads = host.as_ref().map(|host| host.plugin_threads);
        let parts = parts_with_threads(resolver, parts, threads, "plugin-threads");
        Some(HostCommand { process: process?, doors: doors?, parts: parts?, host: host?, serve: serve? })
    })
}

/// The cache as it is given. One of this process alone would answer what a worker made stale, until it expires, and who
/// follows new logs would hear of none.
fn cache(resolver: &mut Resolver) -> Option<Option<String>> {
    let cache = resolver.optional::<String>("cache");
    if let Some(Some(url)) = &cache {
        let rule = "must be shared by hosts and workers: memory: is for `sawpit up`";
        resolver.check(url != "memory:", &["cache"], rule);
    }
    cache
}

/// The same where so many threads call plugins, as the setting `name` says.
pub fn parts_with_threads(
    resolver: &mut Resolver,
    parts: Option<PartSettings>,
    threads: Option<usize>,
    name: &str,
) -> Option<PartSettings> {
    let parts = parts?;
    let plugins = plugins::with_threads(resolver, Some(parts.plugins), threads, &[name])?;
    Some(PartSettings { plugins, ..parts })
}

/// The parts of a process that shares queue and store with others.
pub fn parts(resolver: &mut Resolver, limits: Option<sawpit_model::Limits>) -> Option<PartSettings> {
    let queue_url = resolver.get::<String>("queue");
    let queue = queue::resolve(resolver, queue_url.clone());
    let store_url = resolver.get("store");
    let store = store::resolve(resolver, store_url);
    let cache = cache(resolver);
    let compiled = resolver.optional::<PathBuf>("plugin-cache");
    let plugins = plugins::resolve(resolver, limits, compiled.clone().flatten());
    let of_queue = || queue_url.filter(|url| is_redis(url)).unwrap_or_else(|| "memory:".to_owned());
    let cache = cache.and_then(|given| queue::cache(resolver, given.unwrap_or_else(of_queue)));
    compiled?;
    Some(PartSettings { queue: queue?, store: store?, cache: cache?, plugins: plugins? })
}
