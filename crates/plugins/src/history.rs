//! The chains that served lately: who notes in the background what they were made of misses none that served for a
//! moment only.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Chain;

/// Chains that are remembered. A folder makes a handful a second at most.
const REMEMBERED: usize = 256;

/// A chain that serves or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastChain {
    /// One more than that of the chain before it.
    pub number: u64,
    /// What rows carry of it.
    pub id: String,
    /// Its plugins, in order.
    pub versions: Vec<PastVersion>,
}

/// One plugin of such a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastVersion {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its wasm and manifest, 16 hexadecimal digits.
    pub hash: String,
    /// The percentage of the devices that it had as a canary. None: all of them, or all but a canary's.
    pub percent: Option<u8>,
}

#[derive(Default)]
pub(crate) struct History(Mutex<VecDeque<PastChain>>);

impl History {
    /// Remembers a chain before it serves.
    pub fn add(&self, chain: &Chain) {
        let mut past = self.lock();
        let number = past.back().map_or(0, |last| last.number + 1);
        if past.len() >= REMEMBERED {
            past.pop_front();
        }
        past.push_back(PastChain { number, id: chain.id().to_owned(), versions: versions(chain) });
    }

    /// Those after this one, oldest first; all that are remembered for none.
    pub fn after(&self, number: Option<u64>) -> Vec<PastChain> {
        self.lock()
            .iter()
            .filter(|chain| number.is_none_or(|number| chain.number > number))
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PastChain>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn versions(chain: &Chain) -> Vec<PastVersion> {
    let version = |(plugin, percent): (&crate::Plugin, _)| PastVersion {
        plugin: plugin.description().name.clone(),
        version: plugin.description().version.clone(),
        hash: plugin.hash().to_owned(),
        percent,
    };
    chain.versions().map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chain_is_told_once_and_so_many_are_remembered() {
        let history = History::default();
        (0..3).for_each(|_| history.add(&Chain::empty()));
        let numbers = |after| history.after(after).into_iter().map(|chain| chain.number).collect::<Vec<_>>();
        assert_eq!(numbers(None), [0, 1, 2]);
        assert_eq!(numbers(Some(1)), [2]);
        assert!(numbers(Some(2)).is_empty());
        (3..300).for_each(|_| history.add(&Chain::empty()));
        assert_eq!((numbers(None).len(), numbers(None)[0]), (REMEMBERED, 300 - REMEMBERED as u64));
    }
}
