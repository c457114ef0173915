//! How long things take, as counts in buckets: what a monitoring system adds up over machines and time.

use std::time::Duration;

/// The upper bounds of the buckets, in seconds; one more bucket holds what took longer. They reach from one commit to the longest retry.
pub const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0];

/// Times that were seen since the start.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum += seconds;
    }

    /// How many took at most so long: each bound with its count, the last one without a bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<f64>, u64)> + '_ {
        let bounds = BOUNDS.iter().map(|bound| Some(*bound)).chain([None]);
        bounds.zip(self.buckets.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        }))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::default();
        for milliseconds in [0, 1, 2, 10_000, 3_600_000, 3_600_001] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let counts: Vec<_> = histogram.cumulative().collect();
        assert_eq!(counts[0], (Some(0.001), 2));
        assert_eq!(counts[1], (Some(0.0025), 3));
        assert_eq!(counts[11], (Some(10.0), 4));
        assert_eq!(counts[14], (Some(3600.0), 5));
        assert_eq!(counts[15], (None, 6));
        assert_eq!(histogram.count(), 6);
        assert!((histogram.sum() - 7210.004).abs() < 1e-6, "{}", histogram.sum());
    }
}
