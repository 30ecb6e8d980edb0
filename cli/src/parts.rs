//! Opening what a process works with.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use sawpit_plugins::{Registry, RegistrySettings, Runtime, RuntimeSettings, Scopes};
use sawpit_queue::{Cache, CacheSettings, Queue, QueueSettings};
use sawpit_service::{Clock, Health, Metrics};
use sawpit_store::{Store, StoreSettings};

use crate::provenance::note_chains;

/// How to open each part.
pub struct PartSettings {
    pub queue: QueueSettings,
    pub store: StoreSettings,
    pub cache: CachePart,
    pub plugins: PluginSettings,
}

/// Where answers are kept for a while, and how.
pub struct CachePart {
    pub url: String,
    pub settings: CacheSettings,
}

/// The plugin runtime and its folder.
pub struct PluginSettings {
    pub folder: std::path::PathBuf,
    pub runtime: RuntimeSettings,
    pub registry: RegistrySettings,
}

/// What every process that handles logs has open.
#[derive(Clone)]
pub struct Parts {
    pub queue: Queue,
    pub store: Store,
    pub cache: Cache,
    pub registry: Registry,
}

/// Opens all parts, the quickest to fail first, and adds their readiness checks.
///
/// # Errors
/// The first part that cannot be opened, saying what to do.
pub async fn open(settings: PartSettings, clock: &Clock, health: &Health) -> Result<Parts> {
    let found = plugin_folder(&settings.plugins.folder)?;
    let queue = Queue::open(settings.queue, clock.reader()).await.context("the queue cannot be opened")?;
    let store = Store::open(settings.store, clock.now()).await.context("the store cannot be opened")?;
    let CachePart { url, settings: cache } = settings.cache;
    let cache = Cache::open(&url, cache).await.context("the cache cannot be opened")?;
    let registry = registry(settings.plugins).await?;
    if found == Folder::Found {
        tell_of_none(&registry);
    }
    tokio::spawn(note_chains(registry.clone(), store.clone()));
    let (checked_queue, checked_store) = (queue.clone(), store.clone());
    health.register("queue", move || {
        let queue = checked_queue.clone();
        async move { queue.ping().await.map_err(|error| error.to_string()) }
    });
    health.register("store", move || {
        let store = checked_store.clone();
        async move { store.ping().await.map_err(|error| error.to_string()) }
    });
    Ok(Parts { queue, store, cache, registry })
}

/// Whether the plugin folder was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folder {
    Found,
    /// It was told that no plugin serves.
    Made,
}

/// Makes the plugin folder where it is missing, and says so: nothing else tells of a name that is mistyped.
fn plugin_folder(folder: &Path) -> Result<Folder> {
    let found = if folder.exists() { Folder::Found } else { Folder::Made };
    let shown = folder.display();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the plugin folder {shown}"))?;
    if found == Folder::Made {
        tracing::warn!(
            folder = %shown,
            "the plugin folder did not exist and was made; no plugin serves until one is dropped into it"
        );
    }
    Ok(found)
}

/// Says where logs will pass by all plugins because none serves.
fn tell_of_none(registry: &Registry) {
    let (folder, plugins) = (registry.folder().display(), registry.status());
    if plugins.is_empty() {
        tracing::info!(%folder, "the plugin folder is empty; no plugin serves until one is dropped into it");
    } else if plugins.iter().all(|plugin| !plugin.serving && plugin.refusal.is_some()) {
        tracing::warn!(%folder, files = plugins.len(), "no plugin of the folder serves; /api/plugins says why");
    }
}

/// Compiling what is in the folder takes a while and a whole core, so it is not done on an async thread.
async fn registry(settings: PluginSettings) -> Result<Registry> {
    let open = move || {
        let metrics = Metrics::install()?;
        let scopes: Scopes = Arc::new(move |version| metrics.scope(version));
        let runtime = RuntimeSettings { scopes: Some(scopes), ..settings.runtime };
        let runtime = Runtime::new(runtime).context("the plugin runtime cannot start")?;
        Registry::open(runtime, settings.folder, settings.registry)
            .context("the plugin folder cannot be watched")
    };
    tokio::task::spawn_blocking(open).await?
}
