//! Marks in the hosts' cache that a device's answers are stale. A host compares the mark with the one under which it cached,
//! so any other value will do.
//!
//! A cache that does not answer in time is no error, but a mark that is lost would leave an old page standing for as long
//! as pages live: so it is set again with the next ones, and now and then.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sawpit_model::MessageId;
use sawpit_queue::{Cache, Delivery, Set};

/// Devices whose marks are remembered while the cache is away. Beyond it the pages of some are stale until they expire.
const MOST_DEVICES: usize = 100_000;

/// The newest message of each device.
pub(crate) type Newest = BTreeMap<String, MessageId>;

/// Marks that are to be set.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<Newest>);

/// Notes a message of a device.
pub(crate) fn note(newest: &mut Newest, device_id: &str, id: MessageId) {
    match newest.get_mut(device_id) {
        Some(seen) => *seen = id.max(*seen),
        None => drop(newest.insert(device_id.to_owned(), id)),
    }
}

/// The devices of messages.
pub(crate) fn of(deliveries: &[Delivery]) -> Newest {
    let mut newest = Newest::new();
    for delivery in deliveries {
        if let Ok(entry) = &delivery.body {
            note(&mut newest, &entry.log.device_id, delivery.id);
        }
    }
    newest
}

impl Marks {
    /// Sets the marks of these devices, and those that could not be set before.
    pub(crate) async fn set(&self, cache: &Cache, devices: Newest, ttl: Duration) {
        let all = self.with_pending(devices);
        if all.is_empty() {
            return;
        }
        let mark =
            |(device, id): (&String, &MessageId)| (format!("cache:gen:{device}"), id.to_string().into());
        if cache.set_many(all.iter().map(mark).collect(), ttl).await == Set::Unsure {
            self.put_back(all);
        }
    }

    fn with_pending(&self, devices: Newest) -> Newest {
        let mut all = std::mem::take(&mut *self.pending());
        devices.into_iter().for_each(|(device, id)| note(&mut all, &device, id));
        all
    }

    fn put_back(&self, devices: Newest) {
        let mut pending = self.pending();
        for (device, id) in devices {
            if pending.len() < MOST_DEVICES || pending.contains_key(&device) {
                note(&mut pending, &device, id);
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(seq: u64) -> MessageId {
        MessageId { ms: 1, seq }
    }

    fn some(count: usize) -> Newest {
        (0..count).map(|n| (format!("d{n}"), id(1))).collect()
    }

    #[test]
    fn what_could_not_be_set_comes_again_and_the_newest_counts() {
        let marks = Marks::default();
        marks.put_back([("a".to_owned(), id(5)), ("b".to_owned(), id(1))].into());
        marks.put_back([("a".to_owned(), id(3))].into());
        let all = marks.with_pending([("b".to_owned(), id(2))].into());
        assert_eq!(all, [("a".to_owned(), id(5)), ("b".to_owned(), id(2))].into());
        assert!(marks.with_pending(Newest::new()).is_empty());
    }

    #[test]
    fn so_many_devices_are_remembered_and_no_more() {
        let marks = Marks::default();
        marks.put_back(some(MOST_DEVICES));
        assert_eq!(marks.pending().len(), MOST_DEVICES);
        marks.put_back([("d0".to_owned(), id(9)), ("one more".to_owned(), id(1))].into());
        assert_eq!(marks.pending().len(), MOST_DEVICES);
        assert_eq!(marks.pending().get("d0"), Some(&id(9)));
    }
}
