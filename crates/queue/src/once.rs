//! Appending once what may be sent twice: a device that got no answer sends its request again, with the same key.
//!
//! The record of the first append is written in the very transaction that appends, in both backends, so there is never
//! one without the other, and of two that come at once one finds the other's record. All of it concerns one stream:
//! with several, each keeps the records of its own appends (on Redis Cluster: in its own slot).

use std::fmt::Write as _;
use std::str::FromStr;

use sawpit_model::MessageId;
use serde::{Deserialize, Serialize};

/// Which request this is. Two of the same `key` are one, if their fingerprints agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceKey {
    /// Names the request; whoever may choose it must not meet the keys of others, so put their scope before it.
    pub key: String,
    /// Digest of what was requested, to tell a repeat from another request under a key that was used before.
    pub fingerprint: [u8; 16],
}

/// What an append of a [`OnceKey`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// It is the first: appended, under these ids. Answer it.
    First(Vec<MessageId>),
    /// It is not; nothing was appended.
    Known(Known),
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The same request was appended before: answer what the first was answered.
    Same(Kept),
    /// Another request had this key: refuse.
    Other,
}

/// What was kept of the first append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What was given as its note.
    pub note: Vec<u8>,
    /// Its ids, in order.
    pub ids: Vec<MessageId>,
}

/// Ids in ascending order, as runs of neighbours: those of one append nearly always are one run, and a batch has up
/// to thousands. Written `ms-seq+count`, with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runs(Vec<(MessageId, u64)>);

/// Most ids that a text of runs may stand for; more than any batch has.
const RUN_IDS: u64 = 1_000_000;

impl Runs {
    pub(crate) fn of(ids: &[MessageId]) -> Self {
        let mut runs: Vec<(MessageId, u64)> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some((first, count))
                    if first.ms == id.ms && first.seq.checked_add(*count) == Some(id.seq) =>
                {
                    *count += 1;
                }
                _ => runs.push((*id, 1)),
            }
        }
        Self(runs)
    }

    pub(crate) fn ids(&self) -> Vec<MessageId> {
        let run = |(first, count): &(MessageId, u64)| {
            let MessageId { ms, seq } = *first;
            (0..*count).map(move |offset| MessageId { ms, seq: seq.saturating_add(offset) })
        };
        self.0.iter().flat_map(run).collect()
    }
}

impl FromStr for Runs {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let run = |run: &str| {
            let (first, count) = run.split_once('+')?;
            Some((first.parse().ok()?, count.parse().ok()?))
        };
        let runs: Vec<(MessageId, u64)> = text.split(',').map(run).collect::<Option<_>>().ok_or(())?;
        let ids = runs.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count));
        if ids.is_some_and(|ids| ids <= RUN_IDS) { Ok(Self(runs)) } else { Err(()) }
    }
}

/// In lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> MessageId {
        MessageId { ms, seq }
    }

    #[test]
    fn ids_are_kept_as_runs_and_come_back() {
        let lists = [
            vec![],
            vec![id(5, 0)],
            vec![id(5, 0), id(5, 1), id(5, 2)],
            vec![id(5, 7), id(6, 8), id(6, 9), id(6, 11)],
            vec![id(u64::MAX, u64::MAX)],
        ];
        let runs = [0, 1, 1, 3, 1];
        for (ids, runs) in lists.iter().zip(runs) {
            assert_eq!(&Runs::of(ids).ids(), ids);
            assert_eq!(Runs::of(ids).0.len(), runs);
        }
    }

    #[test]
    fn runs_are_read_and_what_is_none_is_refused() {
        let runs: Runs = "5-7+1,6-8+2".parse().unwrap();
        assert_eq!(runs.ids(), [id(5, 7), id(6, 8), id(6, 9)]);
        assert_eq!("".parse::<Runs>().unwrap(), Runs::default());
        for bad in
            ["5-7", "5+1", "5-7+", "5-7+1,", "5-7+-1", "x", "1-1+1000001", "1-1+18446744073709551615,2-1+9"]
        {
            assert!(bad.parse::<Runs>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_are_shown_in_hexadecimal() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
    }
}
