//! A message in the hands of a consumer.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sawpit_model::{Entry, MessageId};

use crate::redis::Part;

/// Most fields that are kept of a message that is no entry. Redis's scripts hand over some 8,000 texts at most.
const CORRUPT_FIELDS: usize = 1_000;

/// A message that this consumer is to settle. Dropped unsettled, it is delivered again.
#[derive(Debug)]
pub struct Delivery {
    /// Its id in the queue.
    pub id: MessageId,
    /// How often it was delivered, this time included.
    pub tries: u32,
    /// Whether it was delivered so often that it may be what ends those who take it: then nothing came with it, and
    /// nothing else should be in hand while it is worked on.
    pub suspect: bool,
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

impl Reclaimed {
    /// Whether it is a suspect, with which nothing else may come.
    pub(crate) fn has_suspect(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.suspect)
    }
}

/// The ids that consumers have in hand, and those that they dropped unsettled.
#[derive(Clone, Default)]
pub(crate) struct InHand(Arc<Mutex<Hand>>);

#[derive(Default)]
struct Hand {
    /// With the streams that they lie in, and which [`Hold`] it is: after a server lost what it was told, the same message
    /// may be delivered again while the first delivery is still in hand.
    held: HashMap<MessageId, (Part, u64)>,
    /// How many holds there were.
    holds: u64,
    /// Dropped unsettled.
    returned: BTreeMap<MessageId, Returned>,
}

/// A message that a consumer dropped unsettled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) id: MessageId,
    pub(crate) part: Part,
    /// Who dropped it.
    pub(crate) owner: Arc<str>,
    pub(crate) fault: Fault,
}

/// Whether a message may be to blame for it that it was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It may: its next delivery counts as a further one.
    Possible,
    /// It is not: the delivery that was dropped does not count.
    None,
}

/// Keeps an id in hand until it is settled or dropped.
pub(crate) struct Hold {
    id: MessageId,
    /// The stream that it lies in.
    part: Part,
    /// The consumer that it was delivered to.
    owner: Arc<str>,
    number: u64,
    from: InHand,
    end: End,
}

/// What becomes of a message when it leaves a hand.
#[derive(Clone, Copy)]
enum End {
    Settled,
    Returned(Fault),
}

impl Delivery {
    /// Leaves the message to be delivered again, for circumstances that are none of its fault: this delivery does not
    /// count among its tries.
    pub fn put_back(mut self) {
        self.hold.end = End::Returned(Fault::None);
    }

    /// The fields to keep when it is buried.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        match &self.body {
            // The failure is told beside the letter: once it is replayed, the log starts anew.
            Ok(entry) => {
                let entry = Entry { failure: None, ..entry.clone() };
                entry.to_fields().map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
            }
            Err(corrupt) => first_fields(&corrupt.fields),
        }
    }
}

/// What nobody of ours wrote may have any number of fields, and must be buried all the same.
fn first_fields(fields: &[(String, String)]) -> Vec<(String, String)> {
    let mut kept: Vec<_> = fields.iter().take(CORRUPT_FIELDS).cloned().collect();
    let more = fields.len().saturating_sub(CORRUPT_FIELDS);
    if more > 0 {
        kept.push(("left out".to_owned(), format!("{more} fields")));
    }
    kept
}

impl InHand {
    /// Takes an id in hand. What was noted of an earlier drop of it no longer holds.
    pub(crate) fn hold(&self, id: MessageId, part: Part, owner: &Arc<str>) -> Hold {
        let mut hand = lock(&self.0);
        hand.holds += 1;
        let number = hand.holds;
        hand.held.insert(id, (part, number));
        hand.returned.remove(&id);
        let end = End::Returned(Fault::Possible);
        Hold { id, part, owner: Arc::clone(owner), number, from: self.clone(), end }
    }

    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        lock(&self.0).held.contains_key(id)
    }

    /// Whether it is in hand, or was dropped unsettled: then it was delivered to this life of the consumer.
    pub(crate) fn knows(&self, id: &MessageId) -> bool {
        let hand = lock(&self.0);
        hand.held.contains_key(id) || hand.returned.contains_key(id)
    }

    /// What is in hand, by stream.
    pub(crate) fn held(&self) -> BTreeMap<Part, Vec<MessageId>> {
        let mut of_part: BTreeMap<Part, Vec<MessageId>> = BTreeMap::new();
        lock(&self.0).held.iter().for_each(|(id, (part, _))| of_part.entry(*part).or_default().push(*id));
        of_part
    }

    /// What was dropped unsettled since the last call, in order.
    pub(crate) fn take_returned(&self, most: usize) -> Vec<Returned> {
        let mut hand = lock(&self.0);
        std::iter::from_fn(|| hand.returned.pop_first()).map(|(_, returned)| returned).take(most).collect()
    }

    /// Undoes [`InHand::take_returned`] for what could not be delivered then.
    pub(crate) fn give_back(&self, returned: Vec<Returned>) {
        let mut hand = lock(&self.0);
        for one in returned {
            if !hand.held.contains_key(&one.id) {
                hand.returned.insert(one.id, one);
            }
        }
    }
}

impl Hold {
    /// The name of the consumer that it was delivered to.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub(crate) fn part(&self) -> Part {
        self.part
    }

    /// The message is settled: it must not come again from here.
    pub(crate) fn settle(mut self) {
        self.end = End::Settled;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut hand = lock(&self.from.0);
        if hand.held.get(&self.id).is_some_and(|(_, number)| *number != self.number) {
            // A later delivery is in hand, and what becomes of the message is for that one to say.
            return;
        }
        hand.held.remove(&self.id);
        if let End::Returned(fault) = self.end {
            let returned = Returned { id: self.id, part: self.part, owner: Arc::clone(&self.owner), fault };
            hand.returned.insert(self.id, returned);
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
        let (hand, me) = (InHand::default(), Arc::from("me"));
        let hold = hand.hold(ID, Part::PLAIN, &me);
        assert!(hand.contains(&ID));
        drop(hold);
        assert!(!hand.contains(&ID));
        let returned = Returned { id: ID, part: Part::PLAIN, owner: Arc::clone(&me), fault: Fault::Possible };
        assert_eq!(hand.take_returned(10), [returned]);
        hand.hold(ID, Part::PLAIN, &me).settle();
        assert!(!hand.contains(&ID));
        assert!(hand.take_returned(10).is_empty());
    }

    #[test]
    fn what_is_delivered_again_while_it_is_in_hand_is_held_until_the_later_delivery_ends() {
        let (hand, me) = (InHand::default(), Arc::from("me"));
        let (first, second) = (hand.hold(ID, Part::PLAIN, &me), hand.hold(ID, Part::PLAIN, &me));
        drop(first);
        assert!(hand.contains(&ID));
        assert!(hand.take_returned(10).is_empty(), "it would be in two batches");
        drop(second);
        assert!(!hand.contains(&ID));
        assert_eq!(hand.take_returned(10).len(), 1);
    }

    #[test]
    fn what_is_dropped_twice_is_returned_once_and_not_while_it_is_held() {
        let (hand, me) = (InHand::default(), Arc::from("me"));
        drop(hand.hold(ID, Part::PLAIN, &me));
        drop(hand.hold(ID, Part::PLAIN, &me));
        let returned = hand.take_returned(10);
        assert_eq!(returned.len(), 1);
        hand.give_back(returned);
        let hold = hand.hold(ID, Part::PLAIN, &me);
        assert!(hand.take_returned(10).is_empty());
        let owner = Arc::clone(&me);
        hand.give_back(vec![Returned { id: ID, part: Part::PLAIN, owner, fault: Fault::Possible }]);
        assert!(hand.take_returned(10).is_empty());
        hold.settle();
    }
}
