//! Times in log-linear buckets: no lock, 8 KiB, percentiles to within 6 %.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sub-buckets per power of two, as a power of two.
const SUB_BITS: u32 = 4;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB as usize;

/// Counts values of a `u64`, mostly nanoseconds.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    count: AtomicU64,
    sum: AtomicU64,
}

impl Histogram {
    pub fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts `value`, `times` times.
    pub fn record(&self, value: u64, times: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(times, Relaxed);
        }
        self.count.fetch_add(times, Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
    }

    /// The mean; 0 when nothing was counted.
    pub fn mean(&self) -> f64 {
        match self.count.load(Relaxed) {
            0 => 0.0,
            count => self.sum.load(Relaxed) as f64 / count as f64,
        }
    }

    /// The value that the share `quantile` (0 to 1) of all values does not exceed, to within a bucket.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let rank = (total as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in counts.into_iter().enumerate() {
            seen += count;
            if count > 0 && seen >= rank {
                return middle_of(bucket);
            }
        }
        0
    }
}

fn bucket_of(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - SUB_BITS;
    let sub = (value >> shift) - SUB;
    ((u64::from(shift) + 1) * SUB + sub) as usize
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    let low = (SUB + bucket % SUB) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_within_six_percent() {
        for value in (0..64).map(|bits| 1_u64 << bits).chain([0, 3, 17, 1_000, 999_999, u64::MAX]) {
            let bucket = bucket_of(value);
            assert!(bucket < BUCKETS, "{value}");
            let off = middle_of(bucket).abs_diff(value) as f64;
            assert!(off <= value as f64 * 0.06 + 1.0, "{value} is off by {off}");
        }
    }

    #[test]
    fn percentiles_and_mean() {
        let times = Histogram::new();
        assert_eq!((times.quantile(0.99), times.mean()), (0, 0.0));
        times.record(100, 98);
        times.record(10_000, 2);
        assert!((90..=110).contains(&times.quantile(0.5)));
        assert!((9_400..=10_600).contains(&times.quantile(0.99)));
        assert!((times.mean() - 298.0).abs() < 0.01);
    }
}
