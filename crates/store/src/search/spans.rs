//! Where a search looks first.

use std::time::Duration;

use sawpit_model::Timestamp;

/// One span, and what may be spent on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// First and last moment, both included.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// Longest time; more than none.
    pub(crate) time: Duration,
    /// Bytes of rows after which one more is enough.
    pub(crate) bytes: u64,
}

/// The first span: a minute, in microseconds.
const FIRST: i64 = 60_000_000;

/// How much longer each span is than the one before.
const GROWTH: i64 = 8;

/// After so many spans (a minute to half a year) the last one is all that is left.
const MOST: u32 = 7;

/// Spans of time that go back from the newest row, each longer than the one before.
///
/// The newest rows with a word that many have are found in the first span, without collecting all others; a word that
/// few have is not in the first spans, which costs next to nothing to see. So a page costs about the same at any number
/// of rows.
#[derive(Debug)]
pub(crate) struct Spans {
    /// The first and the last microsecond that are still to be looked at.
    left: Option<(i64, i64)>,
    length: i64,
    turn: u32,
}

impl Spans {
    /// From `last` back to `first`, both included.
    pub(crate) fn new(first: i64, last: i64) -> Self {
        Self { left: (first <= last).then_some((first, last)), length: FIRST, turn: 0 }
    }
}

/// First and last microsecond, both included; newest first.
impl Iterator for Spans {
    type Item = (i64, i64);

    fn next(&mut self) -> Option<Self::Item> {
        let (first, last) = self.left.take()?;
        self.turn += 1;
        let start = last.saturating_sub(self.length - 1);
        if self.turn >= MOST || start <= first {
            return Some((first, last));
        }
        self.length = self.length.saturating_mul(GROWTH);
        self.left = Some((first, start - 1));
        Some((start, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_cover_everything_once() {
        for (first, last) in
            [(0, 0), (0, FIRST - 1), (0, FIRST), (-5, 100 * FIRST), (i64::MIN, 7), (0, i64::MAX)]
        {
            let spans: Vec<_> = Spans::new(first, last).collect();
            assert_eq!(spans.first().unwrap().1, last);
            assert_eq!(spans.last().unwrap().0, first);
            for pair in spans.windows(2) {
                assert_eq!(pair[1].1, pair[0].0 - 1, "{spans:?}");
            }
            assert!(spans.len() <= MOST as usize && spans.iter().all(|(first, last)| first <= last));
        }
    }

    #[test]
    fn they_grow() {
        let spans: Vec<_> = Spans::new(0, 1_000 * FIRST - 1).collect();
        let minutes: Vec<_> = spans.iter().map(|(first, last)| (last - first + 1) / FIRST).collect();
        assert_eq!(minutes, [1, 8, 64, 512, 415]);
    }

    #[test]
    fn nothing_is_left_where_the_end_is_before_the_beginning() {
        assert_eq!(Spans::new(1, 0).next(), None);
    }
}
