//! From parts to a router.

use axum::Router;
use sawpit_plugins::Registry;
use sawpit_queue::{Cache, Queue};
use sawpit_service::door::DoorOpenError;
use sawpit_service::{Clock, Shutdown};
use sawpit_store::Store;

use crate::app::Shared;
use crate::routes;
use crate::settings::HostSettings;

/// What the host works with; all of it is opened by the caller.
pub struct HostParts {
    /// Where logs are appended.
    pub queue: Queue,
    /// Where rows are read.
    pub store: Store,
    /// Where answers are cached.
    pub cache: Cache,
    /// The plugins that are loaded.
    pub registry: Registry,
    /// Stamps `received_at`.
    pub clock: Clock,
    /// Ends the answers that have no end of their own, so that a drain need not wait for them.
    pub shutdown: Shutdown,
    /// `/health/live`, `/health/ready` and `/metrics`, as the service crate makes them; empty for none.
    pub ops: Router,
    /// Limits and times.
    pub settings: HostSettings,
}

/// Why there is no router.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The operating system gave no threads.
    #[error(transparent)]
    Threads(#[from] DoorOpenError),
}

/// The HTTP side.
pub struct Host;

impl Host {
    /// The router of all routes. Must be called within a tokio runtime: it starts the task that watches the backlog,
    /// which ends when the router is dropped.
    ///
    /// # Errors
    /// When the plugin threads cannot be started.
    pub fn router(parts: HostParts) -> Result<Router, HostError> {
        let ops = parts.ops.clone();
        Ok(routes::routes(Shared::new(parts)?, ops))
    }
}
