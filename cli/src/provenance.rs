//! Notes in the store what each chain of plugins was made of, so that a row's chain can be explained later.

use std::time::Duration;

use sawpit_plugins::{PastVersion, Registry};
use sawpit_store::{ChainMember, Store};

/// How often it is looked whether the chain changed, and how long to wait after a failure.
const LOOK: Duration = Duration::from_millis(500);

/// Notes every chain that serves, for a moment even, until it is dropped. What the database did not take is noted later; a
/// row may be stored before.
pub async fn note_chains(registry: Registry, store: Store) {
    let mut noted = None;
    loop {
        for chain in registry.chains_after(noted) {
            let members: Vec<_> = chain.versions.into_iter().map(member).collect();
            if let Err(error) = store.describe_chain(&chain.id, &members).await {
                tracing::warn!("the chain is not noted yet, trying again: {error}");
                break;
            }
            noted = Some(chain.number);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn member(PastVersion { plugin, version, hash, percent }: PastVersion) -> ChainMember {
    ChainMember { plugin, version, hash, percent }
}
