//! One question for many who ask the same at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

use crate::cached::OpenObject;
use crate::problem::Problem;

/// The questions that are being asked, by key.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<String, Weak<OnceCell<OpenObject>>>>);

impl Flights {
    /// The answer of `ask`, asked by the first of those who want this key at the same time. When it fails, or the
    /// first goes away, the next of them asks.
    ///
    /// The key must say all that the answer depends on: who comes later than a change must not find an answer from
    /// before it, unless an answer as old as the question takes will do.
    pub(crate) async fn share<F>(&self, key: String, ask: impl FnOnce() -> F) -> Result<OpenObject, Problem>
    where
        F: Future<Output = Result<OpenObject, Problem>>,
    {
        let seat = Seat { flights: self, cell: self.join(&key), key };
        seat.cell.get_or_try_init(ask).await.cloned()
    }

    fn join(&self, key: &str) -> Arc<OnceCell<OpenObject>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = flights.get(key).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::default();
        flights.insert(key.to_owned(), Arc::downgrade(&cell));
        cell
    }
}

/// A place among those who wait for a key; the last one to leave forgets it.
struct Seat<'a> {
    flights: &'a Flights,
    key: String,
    cell: Arc<OnceCell<OpenObject>>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that of two who leave at once one is the last.
        drop(std::mem::take(&mut self.cell));
        if flights.get(&self.key).is_some_and(|cell| cell.strong_count() == 0) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn ask(flights: &Flights, asked: &AtomicUsize, key: &str) -> Result<OpenObject, Problem> {
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            OpenObject::of(&serde_json::json!({"a": 1}))
        };
        flights.share(key.to_owned(), ask).await
    }

    #[tokio::test]
    async fn who_asks_the_same_at_once_shares_one_question() {
        let (flights, asked) = (Flights::default(), AtomicUsize::new(0));
        let same = (0..20).map(|_| ask(&flights, &asked, "k"));
        let (answers, other) = tokio::join!(futures_util::future::join_all(same), ask(&flights, &asked, "l"));
        assert!(answers.iter().all(Result::is_ok) && other.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert!(flights.0.lock().unwrap().is_empty());
        ask(&flights, &asked, "k").await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 3, "a later one asks anew");
    }

    #[tokio::test]
    async fn when_the_first_fails_or_leaves_the_next_one_asks() {
        let flights = Flights::default();
        let fail = || async { Err(Problem::internal("broken")) };
        let asked = AtomicUsize::new(0);
        let (failed, answered) =
            tokio::join!(flights.share("k".to_owned(), fail), ask(&flights, &asked, "k"));
        assert!(failed.is_err() && answered.is_ok());
        let mut leaves = Box::pin(flights.share("k".to_owned(), std::future::pending));
        assert!(futures_util::poll!(leaves.as_mut()).is_pending());
        let mut stays = Box::pin(ask(&flights, &asked, "k"));
        assert!(futures_util::poll!(stays.as_mut()).is_pending());
        drop(leaves);
        assert!(stays.await.is_ok());
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
