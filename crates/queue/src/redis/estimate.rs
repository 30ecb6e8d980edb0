//! The backlog as a producer counts it between two looks at the stream's length.
//!
//! A look takes time, and appends of this process are under way meanwhile: of each nobody can say whether the
//! length counts it. So all that had not ended when the look began count on top. Near the limit that refuses
//! a little early, and never lets this process past it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Messages, of this process and as last seen.
#[derive(Default)]
pub(super) struct Estimate(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// As last seen, and let in since.
    waiting: u64,
    /// Ever let in.
    let_in: u64,
    /// Of these, those whose append has ended.
    ended: u64,
}

/// A look that has begun.
pub(super) struct Look {
    ended: u64,
}

/// Messages that were let in and whose append is under way until this is dropped.
pub(super) struct UnderWay<'a> {
    estimate: &'a Estimate,
    messages: u64,
}

impl Estimate {
    /// Counts the messages in, if they fit under the limit.
    pub(super) fn let_in(&self, messages: u64, limit: u64) -> Option<UnderWay<'_>> {
        let mut counts = self.lock();
        let waiting = counts.waiting.saturating_add(messages);
        if waiting > limit {
            return None;
        }
        counts.waiting = waiting;
        counts.let_in += messages;
        Some(UnderWay { estimate: self, messages })
    }

    /// To be called before the length is asked for.
    pub(super) fn look(&self) -> Look {
        Look { ended: self.lock().ended }
    }

    /// The length that a look found.
    pub(super) fn found(&self, look: &Look, length: u64) {
        let mut counts = self.lock();
        counts.waiting = length.saturating_add(counts.let_in - look.ended);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing in here panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.estimate.lock().ended += self.messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_during_a_look_counts_on_top() {
        let estimate = Estimate::default();
        drop(estimate.let_in(3, 10));
        let under_way = estimate.let_in(2, 10);
        let look = estimate.look();
        drop(under_way);
        let since = estimate.let_in(1, 10);
        // The three have ended; of the two and the one nobody knows whether they are among the three found.
        estimate.found(&look, 3);
        assert!(estimate.let_in(5, 10).is_none());
        assert!(estimate.let_in(4, 10).is_some());
        drop(since);
    }

    #[test]
    fn the_limit_is_obeyed_and_violated() {
        let estimate = Estimate::default();
        assert!(estimate.let_in(11, 10).is_none());
        drop(estimate.let_in(10, 10).expect("they fit"));
        assert!(estimate.let_in(1, 10).is_none());
        estimate.found(&estimate.look(), 9);
        assert!(estimate.let_in(1, 10).is_some());
    }
}
