//! Reading: what is new by the cursor, what came back by its id.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use redb::ReadableDatabase;
use sawpit_model::MessageId;

use super::file::{MESSAGES, TRIES, decode, id, key};
use super::{Embedded, Shared};
use crate::delivery::{Fault, Returned};
use crate::redis::Part;
use crate::{Corrupt, Delivery, ReadError, Reclaimed};

/// Reads under one name.
#[derive(Debug)]
pub(crate) struct Consumer {
    queue: Arc<Embedded>,
    name: Arc<str>,
}

/// A message as it was found, before its delivery is counted.
struct Found {
    delivery: Delivery,
    count: Option<u32>,
    /// Who dropped it, if somebody did.
    former: Option<Arc<str>>,
}

/// How often a message was delivered, this time included.
#[derive(Clone, Copy)]
struct Times {
    tries: u32,
    redelivered: bool,
}

/// Finds messages for the reader of this name, so many at most.
type Read = fn(&Shared, usize, &Arc<str>) -> Result<Vec<Found>, redb::Error>;

impl Consumer {
    pub(crate) fn new(queue: Arc<Embedded>, name: &str) -> Self {
        Self { queue, name: Arc::from(name) }
    }

    pub(crate) fn queue(&self) -> Arc<Embedded> {
        Arc::clone(&self.queue)
    }

    pub(crate) async fn read(&mut self) -> Result<Vec<Delivery>, ReadError> {
        let deadline = Instant::now() + self.queue.settings.block;
        loop {
            let shared = Arc::clone(&self.queue.shared);
            // Before looking, so that what arrives in between wakes us.
            let arrived = shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let deliveries: Vec<_> = deliveries(self.take(Shared::read_new).await?);
            if !deliveries.is_empty() || tokio::time::timeout_at(deadline.into(), arrived).await.is_err() {
                return Ok(deliveries);
            }
        }
    }

    /// What was dropped unsettled in this process. Who dropped it may still have a commit of it under way.
    pub(crate) async fn reclaim(&mut self) -> Result<Reclaimed, ReadError> {
        let found = self.take(Shared::read_returned).await?;
        let mut former_owners: Vec<_> =
            found.iter().filter_map(|found| Some(found.former.as_deref()?.to_owned())).collect();
        former_owners.sort_unstable();
        former_owners.dedup();
        Ok(Reclaimed { deliveries: deliveries(found), former_owners })
    }

    /// Reads off the async threads, then notes further deliveries on disk before anybody works on them, so that
    /// a message that ends the process is counted.
    async fn take(&self, read: Read) -> Result<Vec<Found>, ReadError> {
        let (shared, batch) = (Arc::clone(&self.queue.shared), self.queue.settings.batch.max(1));
        let name = Arc::clone(&self.name);
        let found = tokio::task::spawn_blocking(move || read(&shared, batch, &name)).await;
        let found = found.map_err(ReadError::new)?.map_err(ReadError::new)?;
        let tries: Vec<_> =
            found.iter().filter_map(|found| Some((found.delivery.id, found.count?))).collect();
        if !tries.is_empty() {
            self.queue.count_tries(tries).await.map_err(ReadError::new)?;
        }
        Ok(found)
    }
}

fn deliveries(found: Vec<Found>) -> Vec<Delivery> {
    found.into_iter().map(|found| found.delivery).collect()
}

impl Shared {
    /// The next messages after the cursor.
    fn read_new(&self, most: usize, reader: &Arc<str>) -> Result<Vec<Found>, redb::Error> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let database = self.database()?;
        let transaction = database.begin_read()?;
        let (messages, tries) = (transaction.open_table(MESSAGES)?, transaction.open_table(TRIES)?);
        let mut found = Vec::new();
        for message in messages.range(key(cursor.next())..)?.take(most) {
            let (at, bytes) = message?;
            let id = id(at.value());
            let known = tries.get(key(id))?.map(|count| count.value());
            // What was there when the file was opened may have been delivered before.
            let is_old = id <= self.boundary;
            let before = if is_old { known.unwrap_or(1) } else { 0 };
            let times = Times { tries: before.saturating_add(1), redelivered: is_old };
            let suspect = self.is_suspect(times.tries);
            if suspect && !found.is_empty() {
                break;
            }
            found.push(self.found(id, bytes.value(), times, reader));
            *cursor = id;
            if suspect {
                break;
            }
        }
        Ok(found)
    }

    /// Messages that were dropped unsettled.
    fn read_returned(&self, most: usize, reader: &Arc<str>) -> Result<Vec<Found>, redb::Error> {
        let returned = self.in_hand.take_returned(most);
        let found = self.find(&returned, reader);
        if found.is_err() {
            self.in_hand.give_back(returned);
        }
        found
    }

    /// Whether a message that was delivered this often comes alone.
    const fn is_suspect(&self, tries: u32) -> bool {
        tries >= self.isolate_tries
    }

    /// One that is gone from the file was settled by somebody.
    fn find(&self, returned: &[Returned], reader: &Arc<str>) -> Result<Vec<Found>, redb::Error> {
        let database = self.database()?;
        let transaction = database.begin_read()?;
        let (messages, tries) = (transaction.open_table(MESSAGES)?, transaction.open_table(TRIES)?);
        let (mut found, mut left) = (Vec::new(), Vec::new());
        for one in returned {
            let Some(bytes) = messages.get(key(one.id))? else { continue };
            let delivered = tries.get(key(one.id))?.map_or(1, |count| count.value());
            let tries = delivered.saturating_add(u32::from(one.fault == Fault::Possible));
            let times = Times { tries, redelivered: true };
            if self.is_suspect(tries) {
                left.push((times, one.clone(), bytes.value().to_vec()));
            } else {
                let former = Some(Arc::clone(&one.owner));
                found.push(Found { former, ..self.found(one.id, bytes.value(), times, reader) });
            }
        }
        // The least tried first: one that ends its workers thus falls behind those that merely came with it.
        let first = (0..left.len()).min_by_key(|at| left.get(*at).map(|(times, ..)| times.tries));
        if let Some(first) = first.filter(|_| found.is_empty()) {
            let (times, one, bytes) = left.swap_remove(first);
            found.push(Found { former: Some(one.owner), ..self.found(one.id, &bytes, times, reader) });
        }
        self.in_hand.give_back(left.into_iter().map(|(_, one, _)| one).collect());
        Ok(found)
    }

    fn found(&self, id: MessageId, bytes: &[u8], times: Times, reader: &Arc<str>) -> Found {
        let shown = || vec![("raw".to_owned(), String::from_utf8_lossy(bytes).into_owned())];
        let body = decode(bytes).map_err(|why| Corrupt { fields: shown(), why });
        let Times { tries, redelivered } = times;
        let hold = self.in_hand.hold(id, Part::PLAIN, reader);
        let delivery = Delivery { id, tries, suspect: self.is_suspect(tries), redelivered, body, hold };
        Found { delivery, count: redelivered.then_some(tries), former: None }
    }
}
