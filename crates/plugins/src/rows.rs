//! A list on its way through the host's stages: how far each of its logs has come, and whose it is.

use std::ops::Range;

use sawpit_model::Log;

use crate::Ingested;
use crate::ingest::Step;
use crate::shadow::Aside;

/// The logs of a list.
#[derive(Debug, Default)]
pub struct Rows {
    pub items: Vec<Ingested>,
    /// The request, or the device, that each is of.
    owners: Vec<usize>,
    /// How many steps of the chain each is through.
    steps: Vec<usize>,
    /// Each as it came; empty where no plugin may ask for that.
    originals: Vec<Log>,
    /// Copies for the plugins in shadow mode, which run when all this is over.
    pub asides: Vec<Aside>,
}

impl Rows {
    /// At the beginning of their way. `owners` has one entry per log.
    pub fn new(logs: Vec<Log>, owners: Vec<usize>, keep_originals: bool) -> Self {
        let originals = if keep_originals { logs.clone() } else { Vec::new() };
        let steps = vec![0; logs.len()];
        let items = logs.into_iter().map(Ingested::Accepted).collect();
        Self { items, owners, steps, originals, asides: Vec::new() }
    }

    pub fn owner(&self, row: usize) -> usize {
        self.owners.get(row).copied().unwrap_or_default()
    }

    /// The owner of all these rows.
    pub fn one_owner(&self, rows: &[usize]) -> Option<usize> {
        let (&first, others) = rows.split_first()?;
        let owner = self.owner(first);
        others.iter().all(|&row| self.owner(row) == owner).then_some(owner)
    }

    /// Whether there are several owners.
    pub fn is_shared(&self) -> bool {
        self.owners.first() != self.owners.last()
    }

    /// The rows that the step is still to run over.
    pub fn before(&self, step: &Step<'_>) -> Vec<usize> {
        let wanted = |row: &usize| {
            self.steps.get(*row).is_some_and(|done| *done <= step.number)
                && matches!(self.items.get(*row), Some(Ingested::Accepted(log)) if step.member.takes(log))
        };
        (0..self.items.len()).filter(wanted).collect()
    }

    pub fn logs(&self, rows: &[usize]) -> Vec<&Log> {
        let log = |&row: &usize| match self.items.get(row) {
            Some(Ingested::Accepted(log)) => Some(log),
            _ => None,
        };
        rows.iter().filter_map(log).collect()
    }

    /// The logs that are still on their way.
    pub fn accepted(&self) -> impl Iterator<Item = &Log> {
        self.items.iter().filter_map(|item| match item {
            Ingested::Accepted(log) => Some(log),
            _ => None,
        })
    }

    /// Notes that these rows are through the step.
    pub fn through(&mut self, step: &Step<'_>, rows: &[usize]) {
        for row in rows {
            if let Some(done) = self.steps.get_mut(*row) {
                *done = step.number + 1;
            }
        }
    }

    /// Notes that no row needs the step any more.
    pub fn all_through(&mut self, step: &Step<'_>) {
        for done in &mut self.steps {
            *done = (*done).max(step.number + 1);
        }
    }

    /// Copies what a shadow would get at this step.
    pub fn set_aside(&mut self, step: &Step<'_>) {
        for row in self.before(step) {
            if let Some(Ingested::Accepted(log)) = self.items.get(row) {
                let owner = self.owner(row);
                self.asides.push(Aside { step: step.number, row, owner, log: log.clone() });
            }
        }
        self.all_through(step);
    }

    /// The ranges of rows of one owner each, in order.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let range = |chunk: &[usize]| {
            let range = start..start + chunk.len();
            start = range.end;
            range
        };
        self.owners.chunk_by(|one, next| one == next).map(range).collect()
    }

    /// Takes the rows apart at each change of the owner.
    pub fn split(mut self) -> Vec<Self> {
        let mut parts = Vec::new();
        for range in self.ranges().into_iter().rev() {
            let start = range.start;
            let (asides, others): (Vec<_>, Vec<_>) =
                self.asides.drain(..).partition(|aside| aside.row >= start);
            self.asides = others;
            let rebased = |aside: Aside| Aside { row: aside.row - start, ..aside };
            let from = |list: &mut Vec<Log>| if list.is_empty() { Vec::new() } else { list.split_off(start) };
            parts.push(Self {
                items: self.items.split_off(start),
                owners: self.owners.split_off(start),
                steps: self.steps.split_off(start),
                originals: from(&mut self.originals),
                asides: asides.into_iter().map(rebased).collect(),
            });
        }
        parts.reverse();
        parts
    }

    /// What became of each log; one that is kept among the dead letters is kept as it came.
    pub fn finish(&mut self) -> Vec<Ingested> {
        let mut items = std::mem::take(&mut self.items);
        for (item, original) in items.iter_mut().zip(std::mem::take(&mut self.originals)) {
            if let Ingested::Quarantined { log, .. } = item {
                *log = original;
            }
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use sawpit_model::{Level, RawObject, Timestamp};

    use super::*;

    fn log(message: &str) -> Log {
        Log {
            device_id: "d".to_owned(),
            log_level: Level::Info,
            message: message.to_owned(),
            log_data: RawObject::default(),
            received_at: Timestamp::default(),
        }
    }

    #[test]
    fn a_list_is_taken_apart_by_its_owners() {
        let logs = ["a", "b", "c"].map(log).to_vec();
        let mut rows = Rows::new(logs, vec![7, 7, 9], true);
        rows.asides = vec![
            Aside { step: 0, row: 1, owner: 7, log: log("b") },
            Aside { step: 0, row: 2, owner: 9, log: log("c") },
        ];
        assert_eq!(
            (rows.one_owner(&[0, 1]), rows.one_owner(&[1, 2]), rows.one_owner(&[])),
            (Some(7), None, None)
        );
        let parts = rows.split();
        let shape: Vec<_> = parts
            .iter()
            .map(|part| {
                (part.items.len(), part.originals.len(), part.asides.iter().map(|it| it.row).collect())
            })
            .collect();
        assert_eq!(shape, [(2, 2, vec![1]), (1, 1, vec![0])]);
    }
}
