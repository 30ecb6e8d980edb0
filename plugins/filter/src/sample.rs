//! Which share of logs is kept.
//!
//! Key decision: by a hash of the log, not by a counter or a random number, so that hosts need not agree
//! on anything, no instance remembers anything, and a test can tell what will be kept.

/// Whether a log is in the share to keep, `share` from 0.0 to 1.0.
pub(crate) fn keeps(share: f64, device_id: &str, message: &str, received_at: i64) -> bool {
    let mut hash = Fnv::new();
    hash.write(device_id.as_bytes());
    // A byte that UTF-8 does not have, so that no two pairs of texts join to the same bytes.
    hash.write(&[0xff]);
    hash.write(message.as_bytes());
    hash.write(&received_at.to_le_bytes());
    // The top 53 bits as a number from 0 to 1, as precise as a double is.
    (hash.finish() >> 11) as f64 / ((1_u64 << 53) as f64) < share
}

/// FNV-1a, 64 bits, with the last mixing step of MurmurHash3: FNV alone leaves the top bits of short
/// texts alike. Constants from draft-eastlake-fnv and from Appleby's fmix64.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_range_keep_nothing_and_all() {
        for n in 0..1_000 {
            assert!(!keeps(0.0, "d", "m", n));
            assert!(keeps(1.0, "d", "m", n));
        }
    }

    #[test]
    fn each_part_of_the_log_counts() {
        let kept = |device: &str, message: &str, at: i64| -> Vec<bool> {
            (0..64).map(|n| keeps(0.5, &format!("{device}{n}"), message, at)).collect()
        };
        let base = kept("d", "m", 0);
        assert_ne!(base, kept("e", "m", 0));
        assert_ne!(base, kept("d", "n", 0));
        assert_ne!(base, kept("d", "m", 1));
    }
}
