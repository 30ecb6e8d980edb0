//! Applying a checked answer: logs are moved into their new places, and copied only where one was split.

use sawpit_model::{Log, RawObject};

use super::Change;
use crate::Output;

/// The outputs before a plugin and, as it is settled piece by piece, after it.
pub struct Next {
    before: Vec<Option<Output>>,
    /// With the place of the output that it continues.
    after: Vec<(usize, Output)>,
}

impl Next {
    pub fn new(outputs: Vec<Output>) -> Self {
        let after = Vec::with_capacity(outputs.len());
        Self { before: outputs.into_iter().map(Some).collect(), after }
    }

    pub fn log(&self, row: usize) -> Option<&Log> {
        self.before.get(row)?.as_ref().map(|output| &output.log)
    }

    /// The batch's inputs that these rows were made of.
    pub fn inputs(&self, rows: &[usize]) -> Vec<usize> {
        let before = rows.iter().filter_map(|&row| self.before.get(row)?.as_ref());
        before.flat_map(|output| output.sources.iter().copied()).collect()
    }

    /// Takes row `at` of a piece out of the batch.
    pub fn take_sources(&mut self, rows: &[usize], at: usize) -> Vec<usize> {
        let taken = rows.get(at).and_then(|&row| self.before.get_mut(row)).and_then(Option::take);
        taken.map(|output| output.sources).unwrap_or_default()
    }

    /// Puts the new outputs in the places of those that they continue. What is left of the piece then are
    /// the rows whose errors are passed over.
    pub fn apply(&mut self, rows: &[usize], change: Change) {
        let Change { changed, log_data } = change;
        let sources: Vec<Vec<usize>> = changed.sources.iter().map(|of| self.inputs_of(rows, of)).collect();
        let mut uses = vec![0_usize; rows.len()];
        for origin in changed.sources.iter().filter_map(|of| of.first()) {
            if let Some(uses) = uses.get_mut(*origin) {
                *uses += 1;
            }
        }
        let first = self.after.len();
        for ((of, sources), data) in changed.sources.iter().zip(sources).zip(log_data) {
            let output = self.continued(rows, of, sources, data, &mut uses);
            self.after.extend(output);
        }
        let made = self.after.get_mut(first..).unwrap_or_default();
        for (output, level) in changed.levels {
            if let Some((_, output)) = made.get_mut(output) {
                output.log.log_level = level;
            }
        }
        for (output, message) in changed.messages {
            if let Some((_, output)) = made.get_mut(output) {
                output.log.message = message;
            }
        }
        for &at in changed.sources.iter().flatten() {
            self.take_sources(rows, at);
        }
    }

    /// The batch's inputs behind some rows of a piece, none twice.
    fn inputs_of(&self, rows: &[usize], of: &[usize]) -> Vec<usize> {
        let mut all = Vec::with_capacity(of.len());
        let before = of.iter().filter_map(|at| self.before.get(*rows.get(*at)?)?.as_ref());
        for input in before.flat_map(|output| &output.sources) {
            if !all.contains(input) {
                all.push(*input);
            }
        }
        all
    }

    /// One new output. The log that it continues is moved where no other output continues it as well.
    fn continued(
        &mut self,
        rows: &[usize],
        of: &[usize],
        sources: Vec<usize>,
        data: Option<RawObject>,
        uses: &mut [usize],
    ) -> Option<(usize, Output)> {
        let at = *of.first()?;
        let (place, left) = (*rows.get(at)?, uses.get_mut(at)?);
        *left -= 1;
        let slot = self.before.get_mut(place)?;
        let mut log = if *left == 0 { slot.take()?.log } else { slot.as_ref()?.log.clone() };
        if let Some(data) = data {
            log.log_data = data;
        }
        Some((place, Output { log, sources }))
    }

    /// All outputs by place; parts of a split in the order in which the plugin gave them.
    pub fn finish(self) -> Vec<Output> {
        let untouched = self.before.into_iter().enumerate().filter_map(|(row, output)| Some((row, output?)));
        let mut all: Vec<(usize, Output)> = self.after.into_iter().chain(untouched).collect();
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, output)| output).collect()
    }
}
