//! A high dynamic range histogram with the same results as the C library in Node, over a sparse set of buckets.
//!
//! Buckets of equal relative width: a value keeps `figures` significant decimal digits. The C library keeps an array of
//! every bucket, which a guest could multiply at will; here a bucket exists when it was hit.

use std::collections::BTreeMap;

/// What a bucket costs, roughly.
const BUCKET_BYTES: usize = 32;
/// Buckets that one histogram may have.
const MAX_BUCKETS: usize = 1 << 17;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Histogram {
    unit_magnitude: u32,
    half_count_magnitude: u32,
    mask: i64,
    index_count: i64,
    counts: BTreeMap<i64, u64>,
    total: u64,
    min: i64,
    max: i64,
    count: u64,
    exceeds: u64,
    previous: Option<u64>,
}

impl Histogram {
    /// For values from `lowest` to `highest`, kept to `figures` digits; `None` when the three do not go together.
    pub fn new(lowest: i64, highest: i64, figures: u32) -> Option<Self> {
        const MAX_MAGNITUDE: u32 = 61;
        if lowest < 1 || !(1..=5).contains(&figures) || highest < lowest.checked_mul(2)? {
            return None;
        }
        let unit_magnitude = lowest.ilog2();
        let resolution = 2 * 10_u64.pow(figures);
        let half_count_magnitude = resolution.next_power_of_two().ilog2().max(1) - 1;
        if unit_magnitude + half_count_magnitude > MAX_MAGNITUDE {
            return None;
        }
        let sub_buckets = 1_i64 << (half_count_magnitude + 1);
        let mut buckets = 1;
        let mut untrackable = sub_buckets
            .checked_shl(unit_magnitude)
            .filter(|value| *value > 0)?;
        while untrackable <= highest {
            buckets += 1;
            if untrackable > i64::MAX / 2 {
                break;
            }
            untrackable <<= 1;
        }
        Some(Self {
            unit_magnitude,
            half_count_magnitude,
            mask: (sub_buckets - 1) << unit_magnitude,
            index_count: (buckets + 1) * (sub_buckets / 2),
            counts: BTreeMap::new(),
            total: 0,
            min: i64::MAX,
            max: 0,
            count: 0,
            exceeds: 0,
            previous: None,
        })
    }

    fn half_count(&self) -> i64 {
        1 << self.half_count_magnitude
    }

    /// Bucket of `value` and its place in it.
    fn place(&self, value: i64) -> (u32, i64) {
        let ceiling = i64::BITS - (value | self.mask).leading_zeros();
        let bucket = ceiling - self.unit_magnitude - (self.half_count_magnitude + 1);
        (bucket, value >> (bucket + self.unit_magnitude))
    }

    fn index_of(&self, value: i64) -> i64 {
        let (bucket, sub) = self.place(value);
        (i64::from(bucket + 1) << self.half_count_magnitude) + sub - self.half_count()
    }

    fn value_at(&self, index: i64) -> i64 {
        let bucket = (index >> self.half_count_magnitude) - 1;
        let sub = (index & (self.half_count() - 1)) + self.half_count();
        let (bucket, sub) = if bucket < 0 {
            (0, sub - self.half_count())
        } else {
            (bucket, sub)
        };
        sub.wrapping_shl(u32::try_from(bucket).unwrap_or(0) + self.unit_magnitude)
    }

    /// The lowest value of `value`'s bucket and the bucket's width.
    fn range(&self, value: i64) -> (i64, i64) {
        let (bucket, sub) = self.place(value);
        let widened = if sub >= 2 * self.half_count() {
            bucket + 1
        } else {
            bucket
        };
        (
            sub.wrapping_shl(bucket + self.unit_magnitude),
            1_i64.wrapping_shl(self.unit_magnitude + widened),
        )
    }

    fn highest_equivalent(&self, value: i64) -> i64 {
        let (lowest, width) = self.range(value);
        lowest.wrapping_add(width).wrapping_sub(1)
    }

    fn median_equivalent(&self, value: i64) -> i64 {
        let (lowest, width) = self.range(value);
        lowest.wrapping_add(width >> 1)
    }

    fn insert(&mut self, value: i64, times: u64) -> bool {
        if value < 0 {
            return false;
        }
        let index = self.index_of(value);
        let full = self.counts.len() >= MAX_BUCKETS && !self.counts.contains_key(&index);
        if index < 0 || index >= self.index_count || full {
            return false;
        }
        let count = self.counts.entry(index).or_default();
        *count = count.saturating_add(times);
        self.total = self.total.saturating_add(times);
        if value != 0 {
            self.min = self.min.min(value);
        }
        self.max = self.max.max(value);
        true
    }

    /// Records `value`.
    pub fn record(&mut self, value: i64) {
        if self.insert(value, 1) {
            self.count += 1;
        } else {
            self.exceeds += 1;
        }
    }

    /// Records the nanoseconds since the last call.
    pub fn record_delta(&mut self, now: u64) {
        if let Some(previous) = self.previous.replace(now) {
            self.record(i64::try_from(now.saturating_sub(previous)).unwrap_or(i64::MAX));
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.counts.clear();
        (self.total, self.min, self.max) = (0, i64::MAX, 0);
        (self.count, self.exceeds, self.previous) = (0, 0, None);
    }

    /// Adds what `other` recorded; answers how many values did not fit.
    pub fn add(&mut self, other: &Self) -> u64 {
        self.count = self.count.saturating_add(other.count);
        self.exceeds = self.exceeds.saturating_add(other.exceeds);
        self.previous = self.previous.max(other.previous);
        let mut dropped = 0;
        for (index, count) in &other.counts {
            if !self.insert(other.value_at(*index), *count) {
                dropped += count;
            }
        }
        dropped
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Values that were too large.
    pub fn exceeds(&self) -> u64 {
        self.exceeds
    }

    /// The lowest value; the largest integer when there is none.
    pub fn min(&self) -> i64 {
        if self.counts.get(&0).is_some_and(|count| *count > 0) {
            return 0;
        }
        if self.min == i64::MAX {
            i64::MAX
        } else {
            self.range(self.min).0
        }
    }

    /// The highest value; 0 when there is none.
    pub fn max(&self) -> i64 {
        self.highest_equivalent(self.max)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the C library computes in doubles, too"
    )]
    fn medians(&self) -> impl Iterator<Item = (f64, f64)> {
        self.counts.iter().map(|(index, count)| {
            (
                self.median_equivalent(self.value_at(*index)) as f64,
                *count as f64,
            )
        })
    }

    /// The mean; not a number when there is no value.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the C library computes in doubles, too"
    )]
    pub fn mean(&self) -> f64 {
        self.medians()
            .map(|(value, count)| value * count)
            .sum::<f64>()
            / self.total as f64
    }

    /// The standard deviation; not a number when there is no value.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the C library computes in doubles, too"
    )]
    pub fn stddev(&self) -> f64 {
        let mean = self.mean();
        let squares = self
            .medians()
            .map(|(value, count)| (value - mean).powi(2) * count)
            .sum::<f64>();
        (squares / self.total as f64).sqrt()
    }

    /// The value below which `percentile` per cent lie.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the C library computes in doubles, too, and rounds so"
    )]
    pub fn percentile(&self, percentile: f64) -> i64 {
        let wanted = (percentile.min(100.0) / 100.0 * self.total as f64 + 0.5) as u64;
        let wanted = wanted.max(1);
        let mut seen = 0_u64;
        for (index, count) in &self.counts {
            seen = seen.saturating_add(*count);
            if seen >= wanted {
                return self.highest_equivalent(self.value_at(*index));
            }
        }
        0
    }

    /// Percentiles with their values, finer towards 100.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the C library computes in doubles, too"
    )]
    pub fn percentiles(&self) -> Vec<(f64, i64)> {
        let mut result = Vec::new();
        let (mut percentile, mut seen, mut value) = (0.0_f64, 0_u64, 0);
        for (index, count) in &self.counts {
            seen = seen.saturating_add(*count);
            value = self.value_at(*index);
            let current = 100.0 * seen as f64 / self.total as f64;
            while percentile <= current {
                result.push((percentile, value));
                let halvings = ((100.0 / (100.0 - percentile)).ln() / 2.0_f64.ln()) as i64 + 1;
                percentile += 100.0 / 2.0_f64.powi(i32::try_from(halvings).unwrap_or(i32::MAX));
                if seen >= self.total {
                    break;
                }
            }
        }
        result.push((100.0, value));
        result
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.counts.len() * BUCKET_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(values: &[i64]) -> Histogram {
        let mut histogram = Histogram::new(1, (1 << 53) - 1, 3).unwrap();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    #[test]
    fn an_empty_histogram_is_as_in_node() {
        let histogram = recorded(&[]);
        assert_eq!(
            (histogram.min(), histogram.max(), histogram.count()),
            (i64::MAX, 0, 0)
        );
        assert!(histogram.mean().is_nan() && histogram.stddev().is_nan());
        assert_eq!(histogram.percentiles(), [(100.0, 0)]);
        assert_eq!(histogram.percentile(50.0), 0);
    }

    #[test]
    fn one_value_gives_the_first_and_the_last_percentile() {
        let histogram = recorded(&[1]);
        assert_eq!(histogram.percentiles(), [(0.0, 1), (100.0, 1)]);
        assert_eq!(
            (histogram.min(), histogram.max(), histogram.mean()),
            (1, 1, 1.0)
        );
    }

    #[test]
    fn large_values_keep_three_digits() {
        let histogram = recorded(&[1_000_000_007]);
        assert!((histogram.min() - 1_000_000_007).abs() < 1_000_000);
        assert!(histogram.min() <= 1_000_000_007 && histogram.max() >= 1_000_000_007);
        assert_eq!(recorded(&[i64::MAX]).exceeds(), 1);
    }
}
