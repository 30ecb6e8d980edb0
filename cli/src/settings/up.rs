//! `sawpit up`: all parts, with a folder for what host and worker are given by URL.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use sawpit_host::{HostSettings, ServeSettings};
use sawpit_service::settings::SettingsErrors;
use sawpit_service::{ProcessSettings, SettingSpec};
use sawpit_worker::WorkerSettings;

use super::access::{self, Doors};
use super::{host, index, plugins, queue, serve, store, tls, worker};
use crate::parts::PartSettings;

const SPECS: &[SettingSpec] = &[
    SettingSpec::new("listen", "ADDRESS", "Address to serve").default("127.0.0.1:8000"),
    access::ADMIN,
    SettingSpec::new("data", "DIR", "Folder of the queue, the database and the compiled plugins")
        .default("./sawpit-data"),
    SettingSpec::new("plugins", "DIR", "Folder of plugins, watched").default("./plugins.d"),
];

/// Everything that `up` needs.
pub struct Up {
    pub process: ProcessSettings,
    pub doors: Doors,
    /// The data folder.
    pub data: PathBuf,
    pub parts: PartSettings,
    pub host: HostSettings,
    pub serve: ServeSettings,
    pub worker: WorkerSettings,
}

pub fn specs() -> Vec<SettingSpec> {
    let parts = [
        queue::SPECS,
        store::SPECS,
        index::SPECS,
        plugins::SPECS,
        host::SPECS,
        serve::SPECS,
        worker::SPECS,
        tls::SPECS,
        access::SPECS,
    ]
    .concat();
    [super::traced_process_specs(), SPECS.to_vec(), parts].concat()
}

/// URL of the database in the data folder.
pub fn database(data: &Path) -> String {
    format!("sqlite:{}", data.join("sawpit.db").display())
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<Up, SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let process = super::traced_process(resolver, "sawpit");
        let doors = access::doors(resolver);
        let data = resolver.get::<PathBuf>("data");
        let inside = |name: &str| data.as_ref().map(|data| data.join(name));
        let queue = queue::resolve(resolver, inside("queue").map(|path| path.display().to_string()));
        let store = store::resolve(resolver, data.as_deref().map(database));
        let index = index::resolve(resolver);
        let limits = host::limits(resolver);
        let plugins = plugins::resolve(resolver, limits, inside("compiled"));
        let host = host::resolve(resolver, limits, queue.as_ref(), doors);
        let serve = serve::resolve(resolver);
        let shared = worker::Shared {
            drain_timeout: serve.as_ref().map(|serve| serve.drain_timeout),
            queue: queue.as_ref(),
            cache_ttl: host.as_ref().map(|host| host.cache_ttl),
        };
        let worker = worker::resolve(resolver, &shared);
        let cache = queue::cache(resolver, "memory:".to_owned());
        let host_threads = host.as_ref().map(|host| host.plugin_threads);
        let threads =
            host_threads.zip(worker.as_ref().map(worker::threads)).map(|(host, worker)| host + worker);
        let plugins =
            plugins::with_threads(resolver, plugins, threads, &["plugin-threads", "worker-threads"]);
        let parts =
            PartSettings { queue: queue?, store: index?.of(store?), cache: cache?, plugins: plugins? };
        let data = data?;
        Some(Up {
            process: process?,
            doors: doors?,
            data,
            parts,
            host: host?,
            serve: serve?,
            worker: worker?,
        })
    })
}
