//! A batch's message ids as the ledger keeps them: sorted, deltas in LEB128.
//!
//! Ids of a batch are neighbours, so most cost 2 or 3 bytes; the ledger is written with every batch, and what
//! it writes goes through the write-ahead log as well.

use sawpit_model::MessageId;

/// The ids of one batch, sorted, each once; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdList {
    ids: Vec<MessageId>,
    first: MessageId,
    last: MessageId,
}

impl IdList {
    /// `None` when there are no ids.
    pub(crate) fn new(ids: &[MessageId]) -> Option<Self> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let (first, last) = (*ids.first()?, *ids.last()?);
        Some(Self { ids, first, last })
    }

    pub(crate) fn first(&self) -> MessageId {
        self.first
    }

    pub(crate) fn last(&self) -> MessageId {
        self.last
    }

    /// `(Δms, seq)` for the first id of a millisecond, `(0, Δseq)` for the others.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.ids.len() * 3 + 12);
        let mut last = MessageId::default();
        for id in &self.ids {
            push(&mut out, id.ms.wrapping_sub(last.ms));
            push(&mut out, if id.ms == last.ms { id.seq.wrapping_sub(last.seq) } else { id.seq });
            last = *id;
        }
        out
    }
}

/// The ids in what [`IdList::encode`] wrote; `None` when it was not.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<MessageId>> {
    let mut ids = Vec::new();
    let mut last = MessageId::default();
    while !bytes.is_empty() {
        let step = pull(&mut bytes)?;
        let seq = pull(&mut bytes)?;
        last = match step {
            0 => MessageId { ms: last.ms, seq: last.seq.checked_add(seq)? },
            _ => MessageId { ms: last.ms.checked_add(step)?, seq },
        };
        ids.push(last);
    }
    Some(ids)
}

fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn pull(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> MessageId {
        MessageId { ms, seq }
    }

    #[test]
    fn gives_back_what_it_took() {
        for ids in [
            vec![id(0, 0)],
            vec![id(0, 1), id(0, 2), id(1, 0)],
            vec![id(1_760_000_000_000, 0), id(1_760_000_000_000, 1), id(1_760_000_000_003, 7)],
            vec![id(0, u64::MAX), id(u64::MAX, 0), id(u64::MAX, u64::MAX)],
        ] {
            let list = IdList::new(&ids).unwrap();
            assert_eq!(decode(&list.encode()).unwrap(), ids);
            assert_eq!((list.first(), list.last()), (ids[0], ids[ids.len() - 1]));
        }
    }

    #[test]
    fn sorts_and_keeps_each_once() {
        let list = IdList::new(&[id(2, 0), id(1, 5), id(2, 0)]).unwrap();
        assert_eq!(decode(&list.encode()).unwrap(), [id(1, 5), id(2, 0)]);
        assert_eq!(IdList::new(&[]), None);
    }

    #[test]
    fn a_batch_of_100_costs_about_200_bytes() {
        let ids: Vec<_> = (0..100).map(|i| id(1_760_000_000_000 + i / 4, i % 4)).collect();
        assert!(IdList::new(&ids).unwrap().encode().len() < 220);
    }

    #[test]
    fn broken_bytes_are_none() {
        for bytes in
            [&[0x80][..], &[1], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0]]
        {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
