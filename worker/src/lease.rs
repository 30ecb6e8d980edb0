//! This worker's standing in the database.
//!
//! Every commit names a lease. Who takes over a worker's messages first fences that worker, and a commit
//! under an older lease is refused: so a worker that stalled (SIGSTOP, a long pause, a network that healed)
//! and wakes up cannot store a second time what another has stored meanwhile.

use std::sync::Arc;

use sawpit_store::{Lease, Store, StoreError};
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
}

impl Leases {
    /// The first lease. A former process of the same name loses its own.
    pub(crate) async fn take(store: Store, owner: &str) -> Result<Self, StoreError> {
        let lease = Arc::new(store.lease(owner).await?);
        Ok(Self { store, owner: owner.to_owned(), current: Mutex::new(Held { lease, number: 0 }) })
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
            *current = self.next(old.number).await?;
        }
        Ok(())
    }

    /// Takes over the messages of others, which may be this worker's own former ones.
    pub(crate) async fn fence(&self, owners: &[String]) -> Result<(), StoreError> {
        let mut current = self.current.lock().await;
        self.store.fence(owners).await?;
        if owners.contains(&self.owner) {
            *current = self.next(current.number).await?;
        }
        Ok(())
    }

    async fn next(&self, number: u64) -> Result<Held, StoreError> {
        Ok(Held { lease: Arc::new(self.store.lease(&self.owner).await?), number: number + 1 })
    }
}
