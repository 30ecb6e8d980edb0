//! Partitions: which stream a device's logs go to, what it is called, and which ids it gives.
//!
//! With one partition there is the one stream of the settings, and Redis numbers its messages. With more there is one
//! stream for each, `NAME:{p}`, with its dead letters `DEAD:{p}`: the braces are a hash tag, so a Redis Cluster keeps
//! both in one slot and may move a message between them in one step.
//!
//! Redis makes ids unique within a stream only, and everything behind the queue (ledger, rows, `sawpit dead`) takes
//! them for unique. So a partition's messages are numbered by the script that appends them, which writes the
//! partition into the sequence: it is always `BASE + n × STRIDE + p`. What Redis numbers itself would have to be the
//! millionth message of its millisecond to look like it.

use std::fmt;

use sawpit_model::MessageId;

/// Most partitions.
pub(crate) const MOST: u16 = 1_024;
/// Distance of two sequences of one partition; all others lie in between.
pub(super) const STRIDE: u64 = MOST as u64;
/// Where the sequences of partitions begin; a multiple of [`STRIDE`].
pub(super) const BASE: u64 = 1 << 20;
/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// One stream of the queue: the only one, or one of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part(Option<u16>);

impl Part {
    /// The only one, or what is left of it since there are more.
    pub(crate) const PLAIN: Self = Self(None);

    pub(crate) const fn numbered(number: u16) -> Self {
        Self(Some(number))
    }

    /// Where a device's logs go, among this many. The same in every process and version: FNV-1a, 64 bits.
    pub(super) fn of_device(device_id: &str, count: u16) -> Self {
        let hash = device_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // The low bits of FNV alone know little of the last bytes' high bits.
        let number = (hash ^ (hash >> 32)) % u64::from(count.max(1));
        Self(u16::try_from(number).ok())
    }

    /// Whose id this is, when one of our scripts gave it.
    pub(super) fn of_id(id: MessageId) -> Self {
        let number = u16::try_from(id.seq % STRIDE).ok();
        if id.seq < BASE { Self::PLAIN } else { Self(number) }
    }

    /// The stream `name` of this partition.
    pub(super) fn key(self, name: &str) -> String {
        match self.0 {
            None => name.to_owned(),
            Some(number) => format!("{name}:{{{number}}}"),
        }
    }

    /// As the scripts take it: below zero, Redis gives the ids.
    pub(super) fn argument(self) -> i32 {
        self.0.map_or(-1, i32::from)
    }

    pub(super) fn is_plain(self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("the only partition"),
            Some(number) => write!(f, "partition {number}"),
        }
    }
}

/// The slot of a key in a Redis Cluster: CRC16 (XMODEM) of its hash tag, or of all of it.
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = || {
        let (_, rest) = split_at_byte(key, b'{')?;
        let (tag, _) = split_at_byte(rest, b'}')?;
        (!tag.is_empty()).then_some(tag)
    };
    crc16(tag().unwrap_or(key)) % SLOTS
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|one| *one == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hash_tags_and_the_only_stream_keeps_its_name() {
        assert_eq!(Part::PLAIN.key("logs:stream"), "logs:stream");
        assert_eq!(Part::numbered(3).key("logs:stream"), "logs:stream:{3}");
        assert_eq!(slot(b"logs:stream:{3}"), slot(b"logs:dead:{3}"));
        assert_ne!(slot(b"logs:stream"), slot(b"logs:dead"));
    }

    /// As Redis itself says (CLUSTER KEYSLOT).
    #[test]
    fn slots_are_those_of_redis() {
        for (key, wanted) in [("123456789", 12739), ("0", 13907), ("{3}", 1584), ("a{}b", slot(b"a{}b"))] {
            assert_eq!(slot(key.as_bytes()), wanted, "{key}");
        }
        assert_eq!(slot(b"foo{3}bar{4}"), 1584);
        assert_ne!(slot(b"a{}b"), slot(b""));
    }

    #[test]
    fn devices_are_spread_evenly_and_always_alike() {
        for count in [2_u16, 3, 16] {
            let mut found = vec![0_u32; usize::from(count)];
            for number in 0..16_000 {
                let part = Part::of_device(&format!("sensor-{number}"), count);
                found[usize::from(part.0.unwrap())] += 1;
            }
            let fair = 16_000 / u32::from(count);
            assert!(found.iter().all(|one| one.abs_diff(fair) < fair / 5), "{count}: {found:?}");
        }
        // Written down, so that a change of the hash, which would part a device from its earlier logs, is seen.
        let numbers = ["", "sensor-7", "a"].map(|device| Part::of_device(device, 16).argument());
        assert_eq!(numbers, [1, 9, 0]);
    }

    #[test]
    fn an_id_tells_its_partition() {
        let id = |seq| MessageId { ms: 1, seq };
        assert_eq!(Part::of_id(id(0)), Part::PLAIN);
        assert_eq!(Part::of_id(id(BASE - 1)), Part::PLAIN);
        assert_eq!(Part::of_id(id(BASE)), Part::numbered(0));
        assert_eq!(Part::of_id(id(BASE + 999 * STRIDE + 5)), Part::numbered(5));
    }
}
