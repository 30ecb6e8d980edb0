//! Notes in the store what each chain of plugins was made of, so that a row's chain can be explained later.

use std::time::Duration;

use sawpit_plugins::{Chain, Registry};
use sawpit_store::{ChainMember, Store};

/// How often it is looked whether the chain changed, and how long to wait after a failure.
const LOOK: Duration = Duration::from_millis(500);

/// Notes every chain that it sees, until it is dropped. What the database did not take is noted later; a row may be
/// stored before.
pub async fn note_chains(registry: Registry, store: Store) {
    let mut noted = String::new();
    loop {
        let chain = registry.chain();
        if chain.id() != noted {
            match store.describe_chain(chain.id(), &members(&chain)).await {
                Ok(()) => chain.id().clone_into(&mut noted),
                Err(error) => tracing::warn!("the chain is not noted yet, trying again: {error}"),
            }
        }
        drop(chain);
        tokio::time::sleep(LOOK).await;
    }
}

fn members(chain: &Chain) -> Vec<ChainMember> {
    let member = |(plugin, percent): (&sawpit_plugins::Plugin, _)| ChainMember {
        plugin: plugin.description().name.clone(),
        version: plugin.description().version.clone(),
        hash: plugin.hash().to_owned(),
        percent,
    };
    chain.versions().map(member).collect()
}
