//! This worker's standing in the database.
//!
//! Every commit names a lease. Who takes over a worker's messages first fences that worker, and a commit
//! under an older lease is refused: so a worker that stalled (SIGSTOP, a long pause, a network that healed)
//! and wakes up cannot store a second time what another has stored meanwhile.

use std::sync::Arc;

use sawpit_store::{Lease, Met, QueueServer, Store, StoreError};
use tokio::sync::Mutex;

/// The current lease, renewed when it was lost.
pub(crate) struct Leases {
    store: Store,
    owner: String,
    current: Mutex<Held>,
}

/// A lease, and the how-manieth it is.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) lease: Arc<Lease>,
    number: u64,
    generation: Generation,
}

/// Rises when another worker is seen to have fenced this one. What was delivered in an earlier generation may
/// by now be another's, so it must not be committed under a lease of a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// Whether a fence of our own came before a new lease.
#[derive(Clone, Copy)]
enum Fenced {
    ByNobody,
    ByUs,
}

impl Held {
    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }
}

impl Leases {
    /// The first lease. A former process of the same name loses its own.
    pub(crate) async fn take(store: Store, owner: &str) -> Result<Self, StoreError> {
        let lease = Arc::new(store.lease(owner).await?);
        let held = Held { lease, number: 0, generation: Generation(0) };
        Ok(Self { store, owner: owner.to_owned(), current: Mutex::new(held) })
    }

    /// The lease to commit under now.
    pub(crate) async fn current(&self) -> Held {
        self.current.lock().await.clone()
    }

    /// A new lease in place of `old`; nothing when another batch has renewed it already. Waits for commits
    /// under the old one, so that what the ledger says afterwards is final.
    pub(crate) async fn renew(&self, old: &Held) -> Result<(), StoreError> {
        let mut current = self.current.lock().await;
        if current.number == old.number {
            *current = self.next(old, Fenced::ByNobody).await?;
        }
        Ok(())
    }

    /// Takes over the messages of others, which may be this worker's own former ones.
    pub(crate) async fn fence(&self, owners: &[String]) -> Result<(), StoreError> {
        let mut current = self.current.lock().await;
        self.store.fence(owners).await?;
        if owners.contains(&self.owner) {
            *current = self.next(&current, Fenced::ByUs).await?;
        }
        Ok(())
    }

    /// Notes who serves the queue. When that is somebody new, all are fenced, this worker too: the generation that begins
    /// then; what was delivered in earlier ones is not to be stored.
    pub(crate) async fn meet(&self, servers: &[QueueServer]) -> Result<Option<Generation>, StoreError> {
        let mut current = self.current.lock().await;
        match self.store.meet(servers).await? {
            Met::Before => Ok(None),
            Met::Newly => {
                *current = self.next(&current, Fenced::ByNobody).await?;
                Ok(Some(current.generation))
            }
        }
    }

    async fn next(&self, old: &Held, fenced: Fenced) -> Result<Held, StoreError> {
        let lease = Arc::new(self.store.lease(&self.owner).await?);
        let own_steps = match fenced {
            Fenced::ByNobody => 1,
            Fenced::ByUs => 2,
        };
        // A call that was repeated because its answer was lost counts as a fence too: that costs a redelivery.
        let strange = lease.epoch() != old.lease.epoch().saturating_add(own_steps);
        let generation = Generation(old.generation.0 + u64::from(strange));
        Ok(Held { lease, number: old.number + 1, generation })
    }
}

#[cfg(test)]
mod tests {
    use sawpit_model::Timestamp;
    use sawpit_store::StoreSettings;

    use super::*;

    async fn leases() -> (Leases, Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("logs.db").display());
        let settings = StoreSettings { url, ..StoreSettings::default() };
        let store = Store::open(settings, Timestamp::from_micros(0)).await.unwrap();
        (Leases::take(store.clone(), "me").await.unwrap(), store, folder)
    }

    #[tokio::test]
    async fn a_fence_by_another_begins_a_generation() {
        let (leases, store, _folder) = leases().await;
        let first = leases.current().await;
        store.fence(&["me".to_owned()]).await.unwrap();
        leases.renew(&first).await.unwrap();
        let second = leases.current().await;
        assert_ne!(second.generation(), first.generation());
        // A batch that finds the same loss later renews nothing.
        leases.renew(&first).await.unwrap();
        assert_eq!(leases.current().await.number, second.number);
    }

    #[tokio::test]
    async fn a_fence_by_another_is_seen_behind_one_of_our_own() {
        let (leases, store, _folder) = leases().await;
        let first = leases.current().await;
        store.fence(&["me".to_owned()]).await.unwrap();
        leases.fence(&["me".to_owned()]).await.unwrap();
        assert_ne!(leases.current().await.generation(), first.generation());
    }

    #[tokio::test]
    async fn a_new_server_of_the_queue_begins_one_for_all_and_a_known_one_does_not() {
        let (leases, store, _folder) = leases().await;
        let other = store.lease("other").await.unwrap();
        let server =
            |incarnation: &str| QueueServer { stream: "s".to_owned(), incarnation: incarnation.to_owned() };
        let first = leases.current().await.generation();
        let second = leases.meet(&[server("a")]).await.unwrap().unwrap();
        assert_ne!(second, first);
        assert!(store.lease("other").await.unwrap().epoch() > other.epoch() + 1);
        assert_eq!(leases.meet(&[server("a")]).await.unwrap(), None);
        assert_eq!(leases.current().await.generation(), second);
        assert_ne!(leases.meet(&[server("b")]).await.unwrap(), None);
        // One that was deposed and is met again is as new as any.
        assert_ne!(leases.meet(&[server("a")]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn our_own_fences_and_renewals_begin_none() {
        let (leases, _store, _folder) = leases().await;
        let first = leases.current().await;
        leases.fence(&["me".to_owned(), "other".to_owned()]).await.unwrap();
        leases.fence(&["other".to_owned()]).await.unwrap();
        leases.renew(&leases.current().await).await.unwrap();
        assert_eq!(leases.current().await.generation(), first.generation());
    }
}
