//! The tries of one batch against a store that may be away: it is waited for, as long as that takes.

use std::collections::HashSet;
use std::time::Instant;

use sawpit_model::MessageId;
use sawpit_service::{Backoff, Random};
use sawpit_store::{Batch, CommitError, Outcome, StoreError};

use crate::lease::{Generation, Held};
use crate::report;
use crate::settle::{Decision, decide};
use crate::work::Shared;

/// Tries, and waits between them.
pub(crate) struct Tries<'a> {
    shared: &'a Shared,
    /// When the batch's messages were delivered.
    generation: Generation,
    backoff: Backoff,
    random: Random,
}

impl<'a> Tries<'a> {
    /// For messages that were asked for in this generation of the worker's leases.
    pub(crate) fn new(shared: &'a Shared, generation: Generation) -> Self {
        let settings = &shared.parts.settings;
        let backoff = Backoff::new(settings.retry_base, settings.retry_max);
        Self { shared, generation, backoff, random: Random::from_entropy() }
    }

    /// Commits a batch of so many messages. Never answers [`Decision::Retry`]. When it answers
    /// [`Decision::Abandon`], [`Decision::Compare`] or [`Decision::Recheck`], a new lease was taken.
    pub(crate) async fn commit(&mut self, batch: &Batch, messages: usize) -> Decision {
        let mut unsure = false;
        loop {
            let held = self.shared.lease.current().await;
            if held.generation() != self.generation {
                // Another worker fenced this one since: what it was delivered before is that one's now.
                return Decision::Abandon;
            }
            let started = Instant::now();
            let result = self.shared.parts.store.commit(&held.lease, batch).await;
            unsure |= matches!(&result, Err(CommitError::Unavailable { outcome: Outcome::Unknown, .. }));
            let wait = self.backoff.next(self.random.unit());
            match decide(result, messages, wait) {
                Decision::Retry { after, cause } => {
                    report::retry(self.shared, &cause, after);
                    tokio::time::sleep(after).await;
                }
                Decision::Ack => {
                    self.backoff.reset();
                    self.shared.waiting.is_over();
                    report::committed_in(started.elapsed());
                    return Decision::Ack;
                }
                // A fence of our own, for other messages, leaves this batch its own; the next turn tells.
                Decision::Abandon => self.renew(&held).await,
                Decision::Compare => {
                    self.renew(&held).await;
                    return Decision::Compare;
                }
                Decision::Bisect | Decision::Bury { .. } if unsure => {
                    self.renew(&held).await;
                    return Decision::Recheck;
                }
                decision => return decision,
            }
        }
    }

    /// Which of `ids` are committed already, once `owners` can commit no more.
    pub(crate) async fn ledger(&mut self, owners: &[String], ids: &[MessageId]) -> HashSet<MessageId> {
        loop {
            match self.ask(owners, ids).await {
                Ok(known) => {
                    self.shared.waiting.is_over();
                    return known;
                }
                Err(error) => self.wait(&error).await,
            }
        }
    }

    async fn ask(&self, owners: &[String], ids: &[MessageId]) -> Result<HashSet<MessageId>, StoreError> {
        if !owners.is_empty() {
            self.shared.lease.fence(owners).await?;
        }
        if ids.is_empty() { Ok(HashSet::new()) } else { self.shared.parts.store.committed(ids).await }
    }

    async fn renew(&mut self, lost: &Held) {
        while let Err(error) = self.shared.lease.renew(lost).await {
            self.wait(&error).await;
        }
    }

    async fn wait(&mut self, error: &StoreError) {
        let after = self.backoff.next(self.random.unit());
        report::retry(self.shared, &error.to_string(), after);
        tokio::time::sleep(after).await;
    }
}
