//! The ids of plugin chains, remembered in the process: a new chain appears only when a plugin changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most chains remembered; one more empties the memory, and the database is asked again.
const REMEMBERED: usize = 1_024;

/// What the database called the chains that were seen so far.
#[derive(Debug, Default)]
pub(crate) struct Chains(Mutex<HashMap<String, i32>>);

impl Chains {
    pub(crate) fn get(&self, name: &str) -> Option<i32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    pub(crate) fn set(&self, name: &str, id: i32) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(name.to_owned(), id);
    }
}
