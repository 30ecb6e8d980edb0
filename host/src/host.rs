//! From parts to a router.

use axum::Router;
use sawpit_plugins::Registry;
use sawpit_queue::{Cache, Queue};
use sawpit_service::door::DoorOpenError;
use sawpit_service::{Clock, Shutdown, Tracer};
use sawpit_store::Store;

use crate::access::{Access, Guard};
use crate::app::Shared;
use crate::routes::{self, Routers};
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
    /// Makes the spans of requests, where they are traced.
    pub tracer: Tracer,
    /// What the service crate makes.
    pub ops: Ops,
    /// Limits and times.
    pub settings: HostSettings,
}

/// The pages that every process has.
#[derive(Clone, Default)]
pub struct Ops {
    /// `/health/live` and `/health/ready`.
    pub health: Router,
    /// `/metrics`.
    pub metrics: Router,
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
    /// The routers of all routes. Must be called within a tokio runtime: it starts the tasks that watch the backlog and
    /// read the tokens, which end when the routers are dropped.
    ///
    /// # Errors
    /// When the plugin threads cannot be started.
    pub fn routers(parts: HostParts) -> Result<Routers, HostError> {
        let ops = parts.ops.clone();
        let (access, admin) = (parts.settings.access, parts.settings.admin);
        // One book for both listeners, which is read when either asks for tokens.
        let strictest = if admin == Some(Access::Tokens) { Access::Tokens } else { access };
        let guard =
            Guard::new(strictest, parts.store.clone(), parts.clock.clone(), parts.settings.token_refresh);
        Ok(routes::routes(&Shared::new(parts)?, ops, &guard.with(access), guard))
    }
}
