//! The batch side: read up to 100 messages, run the transform plugins over them, store them in one
//! transaction, acknowledge.
//!
//! The key decision: **a message is acknowledged only after the transaction that holds its rows has
//! committed**, and whatever cannot be decided is left unacknowledged, because the queue delivers it again
//! and the store's ledger knows what was committed. So every crash, time-out and stall ends in "again", and
//! "again" ends in exactly one row.
//!
//! - [`run`] is the loop: it takes deliveries and keeps a limited number of batches in flight;
//! - `intake` sorts deliveries (new, known to the ledger, corrupt, tried too often);
//! - [`step`] turns a batch's logs into rows, without I/O, on the CPU pool;
//! - `batch` takes one batch to its end, `commit` tries the store, `settle` decides what follows each outcome;
//! - `traced` tells of each batch in the traces that its messages come from;
//! - `lease` holds the worker's standing in the database, by which a stalled worker is fenced off;
//! - `waiting` tells the worker's health when no batch can be stored;
//! - `upkeep` makes partitions ahead and measures the backlog; `retention` forgets what is too old, and does not trust
//!   a clock that went forward.

mod batch;
mod commit;
mod intake;
mod lease;
mod report;
mod retention;
mod settings;
mod settle;
mod stale;
pub mod step;
mod traced;
mod upkeep;
mod waiting;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sawpit_plugins::Registry;
use sawpit_queue::{Cache, Queue, QueueError};
use sawpit_service::{Backoff, Clock, Door, Health, Random, Shutdown, Tracer};
use sawpit_store::{Store, StoreError};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use settings::WorkerSettings;

/// What a worker works with.
#[derive(Clone)]
pub struct WorkerParts {
    /// Where the messages are.
    pub queue: Queue,
    /// Where the rows go.
    pub store: Store,
    /// The plugins; each batch takes one version of the whole chain.
    pub registry: Registry,
    /// The hosts' cache, so that answers about the devices of a batch become stale at once; without it
    /// they do so when they expire.
    pub cache: Option<Cache>,
    /// Tells when a batch was committed.
    pub clock: Clock,
    /// Told when no batch can be stored.
    pub health: Health,
    /// Makes the spans of batches, where they are traced.
    pub tracer: Tracer,
    /// How the worker behaves.
    pub settings: WorkerSettings,
}

/// Why a worker could not start. Once it runs, it outlasts its queue and its store being away.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The CPU pool did not start.
    #[error(transparent)]
    Door(#[from] sawpit_service::door::DoorOpenError),
    /// The queue refused a consumer.
    #[error("could not start reading from the queue; check that it is up and that --queue names it")]
    Queue(#[source] QueueError),
    /// The store refused a lease.
    #[error("could not register with the store; check that it is up and that --store names it")]
    Store(#[source] StoreError),
}

/// Runs a worker until `shutdown` is requested; then no more is read, the batches in hand are committed and
/// acknowledged within the drain deadline, and what is left stays in the queue for another worker.
///
/// # Errors
/// When the worker could not start.
pub fn run(
    parts: WorkerParts,
    shutdown: Shutdown,
) -> impl Future<Output = Result<(), WorkerError>> + Send + 'static {
    // At once, so that nobody who asks sees a process as ready whose worker has yet to start.
    let started = watch_start(&parts.health);
    work(parts, shutdown, started)
}

async fn work(parts: WorkerParts, shutdown: Shutdown, started: Arc<AtomicBool>) -> Result<(), WorkerError> {
    let name = parts.settings.name.clone();
    let consumer = parts.queue.consumer(&name).await.map_err(WorkerError::Queue)?.guarded();
    let lease = lease::Leases::take(parts.store.clone(), &name).await.map_err(WorkerError::Store)?;
    note_indexes(&parts, &shutdown).await;
    started.store(true, Ordering::Relaxed);
    let in_flight = parts.settings.in_flight.max(1);
    let shared = Arc::new(work::Shared {
        door: Door::new(parts.settings.threads, in_flight)?,
        settler: consumer.settler(),
        keeper: consumer.keeper(),
        lease,
        waiting: Arc::default(),
        marks: stale::Marks::default(),
        look_again: AtomicBool::new(false),
        believed: Mutex::default(),
        parts,
    });
    watch_commits(&shared);
    let mut beside = JoinSet::new();
    beside.spawn(upkeep::measure(Arc::clone(&shared)));
    beside.spawn(upkeep::keep(Arc::clone(&shared)));
    tracing::info!(worker = name, in_flight, "worker started");
    work::Loop::new(shared, consumer, shutdown).await.run().await;
    tracing::info!(worker = name, "worker stopped");
    Ok(())
}

/// Before the first commit, so that what is found by search is never said to be more than it is. A store that is away is
/// waited for.
async fn note_indexes(parts: &WorkerParts, shutdown: &Shutdown) {
    let mut backoff = Backoff::new(parts.settings.retry_base, parts.settings.retry_max);
    let mut random = Random::from_entropy();
    while let Err(error) = parts.store.note_indexes(parts.clock.now()).await {
        let after = backoff.next(random.unit());
        tracing::warn!(%error, ?after, "the store is away, trying again");
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(after) => {}
        }
    }
}

/// The worker is not ready before it reads: until then a search may be refused whose index it is about to note.
fn watch_start(health: &Health) -> Arc<AtomicBool> {
    let started = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&started);
    health.register("worker", move || {
        let has_started = flag.load(Ordering::Relaxed);
        async move { if has_started { Ok(()) } else { Err("the worker is starting".to_owned()) } }
    });
    started
}

/// The worker is not ready while the database refuses what it must do: that is tried for ever, and somebody should know.
fn watch_commits(shared: &Arc<work::Shared>) {
    let (waiting, patience) = (Arc::clone(&shared.waiting), shared.parts.settings.unready_after);
    shared.parts.health.register("commits", move || {
        let state = waiting.check(patience, Instant::now());
        async move { state }
    });
}
