//! A message in the hands of a consumer.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sawpit_model::{Entry, MessageId};

/// A message that this consumer is to settle. Dropped unsettled, it is delivered again.
#[derive(Debug)]
pub struct Delivery {
    /// Its id in the queue.
    pub id: MessageId,
    /// How often it was delivered, this time included.
    pub tries: u32,
    /// Whether it may have been settled in the store before: then the ledger must be asked.
    pub redelivered: bool,
    /// What it carries.
    pub body: Result<Entry, Corrupt>,
    pub(crate) hold: Hold,
}

/// What a message carries that is no entry. Bury it: trying again cannot help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Its fields; bytes that are not UTF-8 are replaced by U+FFFD.
    pub fields: Vec<(String, String)>,
    /// What is wrong with it.
    pub why: String,
}

/// Why a message is buried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadReason {
    /// The cause, for the operator.
    pub reason: String,
    /// The plugin that is at fault, if one is.
    pub plugin: Option<String>,
}

/// Messages taken over.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// The messages; all of them count as redelivered.
    pub deliveries: Vec<Delivery>,
    /// Who had them. Each may wake up and go on, so fence them in the store before anything else.
    pub former_owners: Vec<String>,
}

/// The ids that a consumer has in hand.
#[derive(Clone, Default)]
pub(crate) struct InHand {
    ids: Arc<Mutex<HashSet<MessageId>>>,
    /// Told of what was dropped unsettled.
    returned: Arc<Mutex<Vec<MessageId>>>,
}

/// Keeps an id in hand until it is settled or dropped.
pub(crate) struct Hold {
    id: MessageId,
    from: InHand,
    settled: bool,
}

impl Delivery {
    /// The fields to keep when it is buried.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        match &self.body {
            Ok(entry) => {
                entry.to_fields().map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
            }
            Err(corrupt) => corrupt.fields.clone(),
        }
    }
}

impl InHand {
    pub(crate) fn hold(&self, id: MessageId) -> Hold {
        lock(&self.ids).insert(id);
        Hold { id, from: self.clone(), settled: false }
    }

    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        lock(&self.ids).contains(id)
    }

    /// What was dropped unsettled since the last call, in order.
    pub(crate) fn take_returned(&self, most: usize) -> Vec<MessageId> {
        let mut returned = lock(&self.returned);
        returned.sort_unstable();
        let count = returned.len().min(most);
        returned.drain(..count).collect()
    }
}

impl Hold {
    /// The message is settled: it must not come again from here.
    pub(crate) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.from.ids).remove(&self.id);
        if !self.settled {
            lock(&self.from.returned).push(self.id);
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.id).finish()
    }
}

/// What these hold stays consistent after a panic: each operation is one insertion or removal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId { ms: 1, seq: 0 };

    #[test]
    fn what_is_dropped_is_returned_once_and_what_is_settled_never() {
        let hand = InHand::default();
        let hold = hand.hold(ID);
        assert!(hand.contains(&ID));
        drop(hold);
        assert!(!hand.contains(&ID));
        assert_eq!(hand.take_returned(10), [ID]);
        hand.hold(ID).settle();
        assert!(!hand.contains(&ID));
        assert!(hand.take_returned(10).is_empty());
    }
}
