//! What a guest writes and counts, for who looks on at single calls of it: [`crate::Chain::explain`].
//!
//! Beside the log and the metrics, not in their place, and bounded as they are: a guest may write and count without end.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sawpit_model::Level;
use serde::Serialize;

use crate::convert;

/// Most names of counters that are listed.
const NAMES: usize = 128;
/// A name that no counter may have is cut to this many bytes.
const NAME_BYTES: usize = 128;

/// What a guest wrote and counted in a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// The lines for the log, in order: no more than a call may write.
    pub lines: Vec<Line>,
    /// How many more there were, which a call may not write.
    pub lines_left_out: u64,
    /// What it counted, in the order of its first calls.
    pub counters: Vec<Counted>,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// The line.
    pub text: String,
    /// Whether it reaches the log of a host or worker; without the grant `log` it does not.
    pub written: bool,
}

/// What was added to a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The counter, as the guest called it.
    pub name: String,
    /// By how much in all.
    pub by: u64,
    /// The rule against it; none: it counts.
    pub refused: Option<String>,
}

/// Where a guest is heard, while somebody listens.
#[derive(Default)]
pub(crate) struct Ears {
    open: AtomicBool,
    heard: Mutex<Heard>,
}

impl Ears {
    /// Listens from now on.
    pub fn open(&self) {
        *self.lock() = Heard::default();
        self.open.store(true, Relaxed);
    }

    /// What was heard since; nobody listens any more.
    pub fn close(&self) -> Heard {
        self.open.store(false, Relaxed);
        std::mem::take(&mut self.lock())
    }

    /// The guest wrote a line.
    pub fn line(&self, level: Level, text: &str, written: bool) {
        if self.open.load(Relaxed) {
            self.lock().lines.push(Line { level, text: text.to_owned(), written });
        }
    }

    /// The guest wrote a line more than it may.
    pub fn line_left_out(&self) {
        if self.open.load(Relaxed) {
            let mut heard = self.lock();
            heard.lines_left_out = heard.lines_left_out.saturating_add(1);
        }
    }

    /// The guest added to a counter.
    pub fn counted(&self, name: &str, by: u64, refused: Option<String>) {
        if !self.open.load(Relaxed) {
            return;
        }
        let mut name = name.to_owned();
        convert::cut(&mut name, NAME_BYTES);
        let mut heard = self.lock();
        if let Some(known) = heard.counters.iter_mut().find(|known| known.name == name) {
            known.by = known.by.saturating_add(by);
        } else if heard.counters.len() < NAMES {
            heard.counters.push(Counted { name, by, refused });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_heard_only_while_somebody_listens() {
        let ears = Ears::default();
        let speak = || {
            ears.line(Level::Info, "a", true);
            ears.line_left_out();
            ears.counted("c", 2, None);
            ears.counted("c", 3, None);
        };
        speak();
        assert_eq!(ears.close(), Heard::default());
        ears.open();
        speak();
        let heard = ears.close();
        assert_eq!(heard.lines, [Line { level: Level::Info, text: "a".to_owned(), written: true }]);
        assert_eq!(heard.lines_left_out, 1);
        assert_eq!(heard.counters, [Counted { name: "c".to_owned(), by: 5, refused: None }]);
        speak();
        ears.open();
        assert_eq!(ears.close(), Heard::default());
    }

    #[test]
    fn what_is_kept_of_a_guest_is_bounded() {
        let ears = Ears::default();
        ears.open();
        for number in 0..=NAMES {
            ears.counted(&format!("{number}{}", "x".repeat(1_000)), 1, None);
        }
        let heard = ears.close();
        assert_eq!(heard.counters.len(), NAMES);
        assert!(heard.counters.iter().all(|counted| counted.name.len() < NAME_BYTES + 4));
    }
}
