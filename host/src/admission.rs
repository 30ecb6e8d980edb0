//! Who gets in: back-pressure by the queue's backlog and by the bytes of bodies held.
//!
//! The backlog is not asked for on each request, which would cost a round trip: it is polled, and what this host
//! appended since is added. Only the appends of other hosts within one poll can overshoot the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sawpit_queue::Queue;

use crate::come_back::ComeBack;

/// How often the queue is asked how much has left it.
const FLOW_POLL: Duration = Duration::from_secs(1);

/// What the backlog says to a request that wants to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Go on.
    Yes,
    /// Answer 503; so many messages wait.
    Full(u64),
}

/// An estimate of how many messages wait in the queue.
pub(crate) struct Backlog {
    limit: u64,
    estimate: AtomicU64,
}

impl Backlog {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, estimate: AtomicU64::new(0) })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn admit(&self) -> Admitted {
        match self.estimate.load(Ordering::Relaxed) {
            waiting if waiting >= self.limit => Admitted::Full(waiting),
            _ => Admitted::Yes,
        }
    }

    /// How many messages wait, by the estimate.
    pub(crate) fn waiting(&self) -> u64 {
        self.estimate.load(Ordering::Relaxed)
    }

    /// Counts messages that this host appended.
    pub(crate) fn appended(&self, messages: usize) {
        self.estimate.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// What the queue said.
    pub(crate) fn learned(&self, waiting: u64) {
        self.estimate.store(waiting, Ordering::Relaxed);
        metrics::gauge!("sawpit_queue_backlog").set(waiting as f64);
    }

    /// Polls the queue until the host is gone. A queue that cannot answer leaves the last estimate: its appends fail
    /// by themselves, and with the true cause.
    pub(crate) fn watch(self: &Arc<Self>, queue: Queue, every: Duration, come_back: Arc<ComeBack>) {
        let backlog = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut flow_due = Instant::now();
            while backlog.strong_count() > 0 {
                let answer = queue.backlog().await;
                let Some(backlog) = backlog.upgrade() else { break };
                match answer {
                    Ok(waiting) => backlog.learned(waiting),
                    Err(error) => tracing::debug!(%error, "backlog unknown"),
                }
                drop(backlog);
                if flow_due <= Instant::now() {
                    flow_due = Instant::now() + FLOW_POLL;
                    if let Ok(Some(left)) = queue.left().await {
                        come_back.saw(Instant::now(), left);
                    }
                }
                tokio::time::sleep(every).await;
            }
        });
    }
}

/// Counts the bytes of bodies that are being handled.
pub(crate) struct InFlight {
    limit: usize,
    used: AtomicUsize,
}

/// The in-flight bytes are at their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtLimit;

impl InFlight {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// Nothing held yet; grow it as bytes arrive. Bytes announced but not sent hold nothing, or a few idle
    /// connections could lock everybody out.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { in_flight: Arc::clone(self), bytes: 0 }
    }
}

/// Bytes held by one request, given back when it is dropped.
pub(crate) struct Held {
    in_flight: Arc<InFlight>,
    bytes: usize,
}

impl Held {
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), AtLimit> {
        let before = self.in_flight.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.in_flight.limit {
            self.in_flight.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(AtLimit);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.in_flight.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_full_at_its_limit_and_open_below() {
        let backlog = Backlog::new(10);
        backlog.learned(8);
        backlog.appended(1);
        assert_eq!(backlog.admit(), Admitted::Yes);
        backlog.appended(1);
        assert_eq!(backlog.admit(), Admitted::Full(10));
        backlog.learned(0);
        assert_eq!(backlog.admit(), Admitted::Yes);
    }

    #[test]
    fn bytes_are_held_up_to_the_limit_and_given_back() {
        let in_flight = InFlight::new(100);
        let mut one = in_flight.hold();
        one.grow(60).unwrap();
        let mut two = in_flight.hold();
        assert_eq!(two.grow(41), Err(AtLimit));
        two.grow(40).unwrap();
        drop(one);
        two.grow(60).unwrap();
        drop(two);
        assert_eq!(in_flight.used.load(Ordering::Relaxed), 0);
    }
}
