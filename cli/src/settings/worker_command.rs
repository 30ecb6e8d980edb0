//! `sawpit worker`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ArgMatches;
use sawpit_host::ServeSettings;
use sawpit_service::settings::SettingsErrors;
use sawpit_service::{ProcessSettings, SettingSpec};
use sawpit_worker::WorkerSettings;

use super::access::{self, Door};
use super::index::Indexes;
use super::{host, host_command, index, plugins, queue, store, tls, worker};
use crate::parts::PartSettings;

const SPECS: &[SettingSpec] = &[
    SettingSpec::new("listen", "ADDRESS", "Address of health and metrics; none is served unless given"),
    SettingSpec::new("plugins", "DIR", "Folder of plugins, watched").default("./plugins.d"),
    SettingSpec::new("plugin-cache", "DIR", "Folder of compiled plugins, which only this user may write"),
    SettingSpec::new("drain-timeout", "TIME", "How long work in hand may take after SIGTERM").default("30s"),
];

/// Everything that `worker` needs.
pub struct WorkerCommand {
    pub process: ProcessSettings,
    pub door: Option<Door>,
    /// How the door is served.
    pub serve: ServeSettings,
    /// How often tokens are read.
    pub token_refresh: Duration,
    pub parts: PartSettings,
    pub worker: WorkerSettings,
}

pub fn specs() -> Vec<SettingSpec> {
    let urls = [queue::QUEUE, queue::CACHE, store::STORE];
    // The limits on logs hold for what plugins make of them, too.
    let parts =
        [queue::SPECS, store::SPECS, plugins::SPECS, worker::SPECS, index::SPECS, tls::SPECS, access::SPECS]
            .concat();
    let of_hosts = [host::limit_specs(), vec![host::CACHE_TTL]].concat();
    [super::traced_process_specs(), SPECS.to_vec(), urls.to_vec(), of_hosts, parts].concat()
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<WorkerCommand, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let process = super::traced_process(resolver, "sawpit-worker");
        let rule = access::Rule::resolve(resolver);
        let listen = resolver.optional::<SocketAddr>("listen");
        let limits = host::limits(resolver);
        let parts = host_command::parts(resolver, limits);
        let tls = tls::resolve(resolver);
        let shared = worker::Shared {
            drain_timeout: resolver.get_time("drain-timeout", super::TIMES),
            queue: parts.as_ref().map(|parts| &parts.queue),
            cache_ttl: host::cache_ttl(resolver),
        };
        let worker = worker::resolve(resolver, &shared);
        let index = index::resolve(resolver);
        let threads = worker.as_ref().map(worker::threads);
        let parts = host_command::parts_with_threads(resolver, parts, threads, "worker-threads");
        let (rule, listen) = (rule?, listen?);
        let door = listen.map(|address| rule.door(address));
        Some(WorkerCommand {
            process: process?,
            door,
            serve: ServeSettings { tls: tls?, ..ServeSettings::default() },
            token_refresh: rule.refresh,
            parts: with_index(parts?, index?),
            worker: worker?,
        })
    })
}

/// Only who commits indexes.
fn with_index(parts: PartSettings, indexes: Indexes) -> PartSettings {
    PartSettings { store: indexes.of(parts.store), ..parts }
}
