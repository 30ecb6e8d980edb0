//! The loop: take deliveries while there is room, hand each batch to a task of its own, drain at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sawpit_queue::{Consumer, Delivery, Keeper, ReadError, Reclaimed, Settler, Stranger};
use sawpit_service::{Backoff, Door, Random, Shutdown};
use sawpit_store::{QueueServer, StoreError};
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};

use crate::lease::{Generation, Leases};
use crate::retention::Believed;
use crate::stale::Marks;
use crate::waiting::Waiting;
use crate::{WorkerParts, batch, report, upkeep};

/// What all batches of a worker share.
pub(crate) struct Shared {
    pub(crate) parts: WorkerParts,
    pub(crate) settler: Settler,
    pub(crate) keeper: Keeper,
    pub(crate) lease: Leases,
    pub(crate) door: Door,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) marks: Marks,
    /// Whether to look at once for messages that nobody has in hand, and not only when it is time: set when some were put
    /// back, and when a look found some, as there may be more. Cleared when what was found cannot be settled now, which
    /// must not keep the worker from all others.
    pub(crate) look_again: AtomicBool,
    /// The time to forget old logs by; nothing before the first turn.
    pub(crate) believed: Mutex<Option<Believed>>,
}

/// Deliveries taken together.
pub(crate) struct Arrival {
    pub(crate) deliveries: Vec<Delivery>,
    /// Whom they were taken over from.
    pub(crate) former_owners: Vec<String>,
    /// The generation of leases in which they were asked for.
    pub(crate) generation: Generation,
}

/// Why nothing was taken. Wait, and try again.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Queue(#[from] ReadError),
    #[error("the store could not be told who serves the queue: {0}")]
    Store(#[from] StoreError),
}

/// Takes deliveries until the process is asked to end.
pub(crate) struct Loop {
    shared: Arc<Shared>,
    consumer: Consumer,
    /// The generation in which the consumer's servers were let in.
    met_in: Generation,
    shutdown: Shutdown,
    batches: JoinSet<()>,
    maintenance: JoinSet<()>,
    reclaim_at: Instant,
    maintain_at: Instant,
    backoff: Backoff,
    random: Random,
}

impl Loop {
    pub(crate) async fn new(shared: Arc<Shared>, consumer: Consumer, shutdown: Shutdown) -> Self {
        let settings = &shared.parts.settings;
        let backoff = Backoff::new(settings.retry_base, settings.retry_max);
        // The first look is at once: what workers left when the system stopped is waiting.
        let now = Instant::now();
        let (batches, maintenance, random) = (JoinSet::new(), JoinSet::new(), Random::from_entropy());
        let met_in = shared.lease.current().await.generation();
        Self {
            shared,
            consumer,
            met_in,
            shutdown,
            batches,
            maintenance,
            reclaim_at: now,
            maintain_at: now,
            backoff,
            random,
        }
    }

    /// Runs to the end, draining included.
    pub(crate) async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                () = self.turn() => {}
            }
        }
        self.drain().await;
    }

    /// Waits for room, takes deliveries, starts their batch. May be dropped at any point: a delivery that
    /// was taken and not started is delivered again.
    async fn turn(&mut self) {
        while self.batches.len() >= self.shared.parts.settings.in_flight.max(1) {
            note(self.batches.join_next().await);
        }
        while let Some(ended) = self.batches.try_join_next() {
            note(Some(ended));
        }
        match self.take().await {
            Ok(arrival) => self.start(arrival).await,
            Err(error) => self.wait_out(&error).await,
        }
    }

    async fn start(&mut self, arrival: Arrival) {
        self.backoff.reset();
        // If it ends the process, it does so alone.
        let suspicious = arrival.deliveries.iter().any(|delivery| delivery.suspect);
        if suspicious {
            self.finish_all().await;
        }
        if !arrival.deliveries.is_empty() {
            self.batches.spawn(batch::run(Arc::clone(&self.shared), arrival));
        }
        if suspicious {
            self.finish_all().await;
        }
    }

    /// Nothing is in hand then that could end with a message that ends the process.
    async fn finish_all(&mut self) {
        while let Some(ended) = self.batches.join_next().await {
            note(Some(ended));
        }
    }

    async fn wait_out(&mut self, error: &TakeError) {
        let after = self.backoff.next(self.random.unit());
        match error {
            TakeError::Queue(error) => {
                metrics::counter!("sawpit_worker_read_errors_total").increment(1);
                tracing::warn!(%error, ?after, "could not read from the queue, trying again");
            }
            TakeError::Store(_) => report::retry(&self.shared, &error.to_string(), after),
        }
        tokio::time::sleep(after).await;
    }

    /// Deliveries of dead workers when it is time to look for them, else new ones.
    async fn take(&mut self) -> Result<Arrival, TakeError> {
        // Noted before asking: a fence that comes in between must count against what is delivered.
        let generation = self.meet().await?;
        self.maintain();
        if self.shared.look_again.load(Ordering::Relaxed) || Instant::now() >= self.reclaim_at {
            // Before the look, so that what is put back meanwhile is not forgotten.
            self.shared.look_again.store(false, Ordering::Relaxed);
            let found = self.reclaim(generation).await;
            let found = found.inspect_err(|_| self.shared.look_again.store(true, Ordering::Relaxed))?;
            self.reclaim_at = Instant::now() + self.shared.parts.settings.reclaim_every;
            if let Some(arrival) = found {
                self.shared.look_again.store(true, Ordering::Relaxed);
                return Ok(arrival);
            }
        }
        Ok(Arrival { deliveries: self.consumer.read().await?, former_owners: Vec::new(), generation })
    }

    /// Lets the queue's servers in. One that nobody met before may give us what another worker has in hand, as a replica
    /// does that took over too early; so all are fenced first. Were we fenced ourselves, it may be for a server
    /// that we do not know of, while ours was deposed: so it is met anew.
    async fn meet(&mut self) -> Result<Generation, TakeError> {
        let now = self.shared.lease.current().await.generation();
        if now != self.met_in {
            self.consumer.disconnect();
            self.met_in = now;
        }
        let strangers = self.consumer.strangers().await?;
        if !strangers.is_empty() {
            let servers: Vec<_> = strangers.iter().map(server).collect();
            if let Some(generation) = self.shared.lease.meet(&servers).await? {
                self.met_in = generation;
                tracing::info!(
                    ?servers,
                    "met a server of the queue that is new: all workers are fenced once"
                );
            }
            self.shared.waiting.is_over();
            self.consumer.let_in(strangers);
        }
        Ok(self.met_in)
    }

    /// Starts the store's maintenance when it is due.
    fn maintain(&mut self) {
        while self.maintenance.try_join_next().is_some() {}
        if Instant::now() >= self.maintain_at && self.maintenance.is_empty() {
            self.maintain_at = Instant::now() + self.shared.parts.settings.maintain_every;
            self.maintenance.spawn(upkeep::maintain(Arc::clone(&self.shared)));
        }
    }

    /// Takes over what is idle too long, but not while the store is away: then messages are idle because no
    /// worker can settle them, and each taking over counts as a try of a message that is not at fault.
    async fn reclaim(&mut self, generation: Generation) -> Result<Option<Arrival>, ReadError> {
        if self.shared.waiting.is_on() {
            return Ok(None);
        }
        if let Err(error) = self.shared.parts.store.ping().await {
            tracing::warn!(%error, "the store is away, not looking for messages of other workers");
            return Ok(None);
        }
        let silent = self.consumer.silent().await?;
        if !silent.owners().is_empty() {
            // Before they are taken: were we to die in between, nobody would know whom we took them from.
            if let Err(error) = self.shared.lease.fence(silent.owners()).await {
                tracing::warn!(%error, "could not fence silent workers, looking for their messages later");
                return Ok(None);
            }
        }
        let reclaimed = self.consumer.take_over(silent).await?;
        if !reclaimed.deliveries.is_empty() {
            let count = reclaimed.deliveries.len();
            metrics::counter!("sawpit_worker_reclaimed_total").increment(count as u64);
            tracing::info!(count, from = ?reclaimed.former_owners, "took over messages of other workers");
        }
        let Reclaimed { deliveries, former_owners, .. } = reclaimed;
        Ok((!deliveries.is_empty()).then_some(Arrival { deliveries, former_owners, generation }))
    }

    async fn drain(mut self) {
        let deadline = self.shared.parts.settings.drain_deadline;
        if tokio::time::timeout(deadline, self.finish_all()).await.is_err() {
            let left = self.batches.len();
            tracing::warn!(left, ?deadline, "batches were not settled in time; they will be delivered again");
            self.batches.shutdown().await;
        }
    }
}

fn server(stranger: &Stranger) -> QueueServer {
    QueueServer { stream: stranger.stream().to_owned(), incarnation: stranger.incarnation().to_owned() }
}

/// A batch that panicked is a defect; its deliveries were dropped unsettled and come again.
fn note(ended: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = ended {
        report::batch("panicked");
        tracing::error!(%error, "a batch broke, its messages will be delivered again; please report this");
    }
}
