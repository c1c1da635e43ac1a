//! What a series of samples comes to.

use serde::Serialize;

/// A series of samples in nanoseconds per operation. The median and the quartiles stand for it: a machine that did
/// something else for a moment moves the mean, not these.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Half of the samples are below it.
    pub median: f64,
    /// A quarter of the samples is below it.
    pub lower_quartile: f64,
    /// A quarter of the samples is above it.
    pub upper_quartile: f64,
    /// The least.
    pub minimum: f64,
    /// How many samples there are.
    pub samples: usize,
}

impl Summary {
    /// Of these samples; `None` without any.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let minimum = *sorted.first()?;
        Some(Summary {
            median: quantile(&sorted, 0.5),
            lower_quartile: quantile(&sorted, 0.25),
            upper_quartile: quantile(&sorted, 0.75),
            minimum,
            samples: sorted.len(),
        })
    }

    /// Half of the distance between the quartiles, as a share of the median: 0.02 is ±2 %.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { (self.upper_quartile - self.lower_quartile) / 2.0 / self.median } else { 0.0 }
    }
}

/// Between two samples, their weighted mean.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_the_sorted_samples() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!((summary.lower_quartile, summary.median, summary.upper_quartile), (2.0, 3.0, 4.0));
        assert_eq!((summary.minimum, summary.samples), (1.0, 5));
        assert!((summary.spread() - 1.0 / 3.0).abs() < 1e-12);
        let two = Summary::of(&[1.0, 2.0]).unwrap();
        assert_eq!((two.lower_quartile, two.median), (1.25, 1.5));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_slow_sample_moves_neither_median_nor_spread() {
        let quiet = [10.0; 20];
        let mut noisy = quiet;
        noisy[7] = 10_000.0;
        assert_eq!(Summary::of(&quiet).unwrap().median, Summary::of(&noisy).unwrap().median);
        assert_eq!(Summary::of(&noisy).unwrap().spread(), 0.0);
    }
}
