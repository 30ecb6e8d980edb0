//! How a worker behaves.

use std::time::Duration;

/// Every limit of a worker. [`WorkerSettings::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// This worker's name among the queue's consumers and in the store. Two workers that run at a time must
    /// not share a name: each would take the other's place again and again.
    pub name: String,
    /// Most batches in hand at once, at least 1. Reading stops while so many are unsettled, so this also
    /// limits what waits in memory while the store is away.
    pub in_flight: usize,
    /// Threads that run transform plugins; 0: one per core.
    pub threads: usize,
    /// Longest wait for the batches in hand after a request to end. Shorter than what the supervisor grants
    /// (10 s in Docker, 90 s in systemd).
    pub drain_deadline: Duration,
    /// Longest first wait before a commit or a read that failed is tried again; it doubles from try to try.
    pub retry_base: Duration,
    /// Longest wait between two tries.
    pub retry_max: Duration,
    /// How often a message may be delivered before it is buried. A message that ends its worker's process
    /// is delivered again and again; one that is refused or fails is buried at once.
    pub max_tries: u32,
    /// How often messages of workers that died are looked for. Half of the queue's `reclaim_idle` is right:
    /// then none waits longer than 1.5 times that.
    pub reclaim_every: Duration,
    /// How often the store makes partitions ahead and trims its ledger.
    pub maintain_every: Duration,
    /// How long the ledger remembers a batch of which nothing is left in the queue. What is in the queue it remembers in
    /// any case; a queue that loses what it was told, as a Redis whose replica takes over, delivers the rest again. More than
    /// twice the queue's `reclaim_idle`.
    pub ledger_keep: Duration,
    /// How long a worker that is given nothing, and has nothing in hand, stays among the queue's consumers.
    pub consumer_keep: Duration,
    /// How long batches may wait for the store before the worker says that it is not ready.
    pub unready_after: Duration,
    /// How long logs are kept, a day at least; none for ever.
    pub retention: Option<Duration>,
    /// How often the backlog is measured.
    pub backlog_every: Duration,
    /// How long a mark that a device's cached answers are stale lives: at least as long as those answers.
    pub cache_ttl: Duration,
    /// Breaks invariant 2 on purpose: acknowledges before the commit, so that a test can show that the loss is noticed.
    /// Release builds cannot.
    #[cfg(debug_assertions)]
    pub acknowledge_first: bool,
    /// Breaks invariant 1 on purpose: takes every message that is delivered again for one that was never committed, so that
    /// a test can show that the doubling is noticed. Release builds cannot.
    #[cfg(debug_assertions)]
    pub forget_committed: bool,
}

impl WorkerSettings {
    /// The defaults, for a worker of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            in_flight: 4,
            threads: 0,
            drain_deadline: Duration::from_secs(8),
            retry_base: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            max_tries: 10,
            reclaim_every: Duration::from_secs(30),
            maintain_every: Duration::from_secs(3_600),
            ledger_keep: Duration::from_secs(24 * 60 * 60),
            consumer_keep: Duration::from_secs(24 * 60 * 60),
            unready_after: Duration::from_secs(10),
            retention: None,
            backlog_every: Duration::from_secs(5),
            cache_ttl: Duration::from_secs(300),
            #[cfg(debug_assertions)]
            acknowledge_first: false,
            #[cfg(debug_assertions)]
            forget_committed: false,
        }
    }
}
