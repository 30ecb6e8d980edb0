//! The loop: take deliveries while there is room, hand each batch to a task of its own, drain at the end.

use std::sync::Arc;
use std::time::Instant;

use sawpit_queue::{Consumer, Delivery, ReadError, Reclaimed, Settler};
use sawpit_service::{Backoff, Door, Random, Shutdown};
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};

use crate::lease::{Generation, Leases};
use crate::retention::Believed;
use crate::waiting::Waiting;
use crate::{WorkerParts, batch, report, upkeep};

/// What all batches of a worker share.
pub(crate) struct Shared {
    pub(crate) parts: WorkerParts,
    pub(crate) settler: Settler,
    pub(crate) lease: Leases,
    pub(crate) door: Door,
    pub(crate) waiting: Arc<Waiting>,
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

/// What a look for messages of dead workers found.
enum Sweep {
    /// These: process them.
    Found(Arrival),
    /// None: nothing of a dead worker is left.
    Clean,
    /// It was not done; look again later.
    PutOff,
}

/// Takes deliveries until the process is asked to end.
pub(crate) struct Loop {
    shared: Arc<Shared>,
    consumer: Consumer,
    shutdown: Shutdown,
    batches: JoinSet<()>,
    maintenance: JoinSet<()>,
    reclaim_at: Instant,
    maintain_at: Instant,
    backoff: Backoff,
    random: Random,
}

impl Loop {
    pub(crate) fn new(shared: Arc<Shared>, consumer: Consumer, shutdown: Shutdown) -> Self {
        let settings = &shared.parts.settings;
        let backoff = Backoff::new(settings.retry_base, settings.retry_max);
        // The first look is at once: what workers left when the system stopped is waiting.
        let (reclaim_at, maintain_at) = (Instant::now(), Instant::now());
        let (batches, maintenance, random) = (JoinSet::new(), JoinSet::new(), Random::from_entropy());
        Self { shared, consumer, shutdown, batches, maintenance, reclaim_at, maintain_at, backoff, random }
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
            Ok(arrival) => self.start(arrival),
            Err(error) => self.wait_out(&error).await,
        }
    }

    fn start(&mut self, arrival: Arrival) {
        self.backoff.reset();
        if !arrival.deliveries.is_empty() {
            self.batches.spawn(batch::run(Arc::clone(&self.shared), arrival));
        }
    }

    async fn wait_out(&mut self, error: &ReadError) {
        let after = self.backoff.next(self.random.unit());
        metrics::counter!("sawpit_worker_read_errors_total").increment(1);
        tracing::warn!(%error, ?after, "could not read from the queue, trying again");
        tokio::time::sleep(after).await;
    }

    /// Deliveries of dead workers when it is time to look for them, else new ones.
    async fn take(&mut self) -> Result<Arrival, ReadError> {
        // Noted before asking: a fence that comes in between must count against what is delivered.
        let generation = self.shared.lease.current().await.generation();
        if Instant::now() >= self.reclaim_at {
            match self.reclaim(generation).await? {
                // There may be more: the next turn looks again.
                Sweep::Found(arrival) => return Ok(arrival),
                Sweep::Clean => self.maintain(),
                Sweep::PutOff => {}
            }
            self.reclaim_at = Instant::now() + self.shared.parts.settings.reclaim_every;
        }
        Ok(Arrival { deliveries: self.consumer.read().await?, former_owners: Vec::new(), generation })
    }

    /// Starts the store's maintenance when it is due. Only called when no message waits to be taken over,
    /// because it trims the ledger, which those messages would be looked up in.
    fn maintain(&mut self) {
        while self.maintenance.try_join_next().is_some() {}
        if Instant::now() >= self.maintain_at && self.maintenance.is_empty() {
            self.maintain_at = Instant::now() + self.shared.parts.settings.maintain_every;
            self.maintenance.spawn(upkeep::maintain(Arc::clone(&self.shared)));
        }
    }

    /// Takes over what is idle too long, but not while the store is away: then messages are idle because no
    /// worker can settle them, and each taking over counts as a try of a message that is not at fault.
    async fn reclaim(&mut self, generation: Generation) -> Result<Sweep, ReadError> {
        if let Err(error) = self.shared.parts.store.ping().await {
            tracing::warn!(%error, "the store is away, not looking for messages of other workers");
            return Ok(Sweep::PutOff);
        }
        let silent = self.consumer.silent().await?;
        let found = !silent.owners().is_empty();
        let complete = silent.is_complete();
        if found {
            // Before they are taken: were we to die in between, nobody would know whom we took them from.
            if let Err(error) = self.shared.lease.fence(silent.owners()).await {
                tracing::warn!(%error, "could not fence silent workers, looking for their messages later");
                return Ok(Sweep::PutOff);
            }
        }
        let reclaimed = self.consumer.take_over(silent).await?;
        if !reclaimed.deliveries.is_empty() {
            let count = reclaimed.deliveries.len();
            metrics::counter!("sawpit_worker_reclaimed_total").increment(count as u64);
            tracing::info!(count, from = ?reclaimed.former_owners, "took over messages of other workers");
        }
        let Reclaimed { deliveries, former_owners, .. } = reclaimed;
        if !deliveries.is_empty() {
            return Ok(Sweep::Found(Arrival { deliveries, former_owners, generation }));
        }
        // Else another worker was faster, and there may be more behind; or a server is away, and nobody knows.
        Ok(if complete && !found { Sweep::Clean } else { Sweep::PutOff })
    }

    async fn drain(mut self) {
        let deadline = self.shared.parts.settings.drain_deadline;
        let all = async {
            while let Some(ended) = self.batches.join_next().await {
                note(Some(ended));
            }
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            let left = self.batches.len();
            tracing::warn!(left, ?deadline, "batches were not settled in time; they will be delivered again");
            self.batches.shutdown().await;
        }
    }
}

/// A batch that panicked is a defect; its deliveries were dropped unsettled and come again.
fn note(ended: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = ended {
        report::batch("panicked");
        tracing::error!(%error, "a batch broke, its messages will be delivered again; please report this");
    }
}
