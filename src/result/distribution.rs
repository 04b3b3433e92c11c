//! How a client's times are distributed over all repetitions of a case.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::plan::{Cause, Quantile};

/// A client's times over all repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Client.
    pub client: String,
    /// From the fault until it gave up the dead connection, or its connection was killed.
    pub detected: Spread,
    /// From the fault until it recovered.
    pub recovered: Spread,
    /// From one response, or part of one, to the next: the longest time after the fault. Of those who ask all the time only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_response: Option<Spread>,
    /// How often each cause ended the wait; `None` = it held no connection to what died.
    pub causes: Vec<(Option<Cause>, usize)>,
}

/// How a time is distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Repetitions.
    pub count: usize,
    /// Those in which it happened.
    pub happened: usize,
    /// The share of them, with the interval in which the true share lies with 95 % confidence (Wilson's score interval).
    pub share: [f64; 3],
    /// Shortest; `None` = never in any.
    #[serde(rename = "min_s", with = "seconds::option")]
    pub min: Option<Duration>,
    /// Half of all repetitions; `None` = it never happened in so many.
    #[serde(rename = "median_s", with = "seconds::option")]
    pub median: Option<Duration>,
    /// 95 of 100; `None` as above.
    #[serde(rename = "p95_s", with = "seconds::option")]
    pub p95: Option<Duration>,
    /// It is the same in every repetition, to the millisecond: one value, found many times, of which neither the share nor
    /// the quantiles tell more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_value: bool,
    /// Longest; `None` = there is one in which it never happened.
    #[serde(rename = "max_s", with = "seconds::option")]
    pub max: Option<Duration>,
}

impl Spread {
    /// Of times, `None` for one that never came.
    #[must_use]
    pub fn of(times: &[Option<Duration>]) -> Self {
        let mut happened: Vec<Duration> = times.iter().copied().flatten().collect();
        happened.sort_unstable();
        let quantile = |quantile| at(&happened, times.len(), quantile);
        Self {
            count: times.len(),
            happened: happened.len(),
            share: wilson(happened.len(), times.len()),
            min: quantile(Quantile::Min),
            median: quantile(Quantile::Median),
            p95: quantile(Quantile::P95),
            max: quantile(Quantile::Max),
            one_value: false,
        }
    }

    /// One of its quantiles.
    pub(crate) fn quantile(&self, quantile: Quantile) -> Option<Duration> {
        match quantile {
            Quantile::Min => self.min,
            Quantile::Median => self.median,
            Quantile::P95 => self.p95,
            Quantile::Max => self.max,
        }
    }
}

/// The smallest of `sorted` that at least the quantile's share of all `count` did not exceed.
fn at(sorted: &[Duration], count: usize, quantile: Quantile) -> Option<Duration> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small count"
    )]
    let rank = (quantile.share() * count as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// A share, and the bounds of its 95 % confidence interval (E. B. Wilson, 1927).
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn wilson(happened: usize, count: usize) -> [f64; 3] {
    /// Quantile 0.975 of the normal distribution.
    const Z: f64 = 1.959_964;
    if count == 0 {
        return [0.0, 0.0, 1.0];
    }
    let n = count as f64;
    let share = happened as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [share, (middle - half).max(0.0), (middle + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(all: &[u64]) -> Vec<Option<Duration>> {
        all.iter().map(|s| Some(Duration::from_secs(*s))).collect()
    }

    #[test]
    fn a_quantile_is_the_smallest_time_that_its_share_did_not_exceed() {
        let spread = Spread::of(&seconds(&(1..=20).rev().collect::<Vec<_>>()));
        let of = |quantile| spread.quantile(quantile).expect("a time").as_secs();
        let all = [
            Quantile::Min,
            Quantile::Median,
            Quantile::P95,
            Quantile::Max,
        ];
        assert_eq!(all.map(of), [1, 10, 19, 20]);
    }

    #[test]
    fn what_never_happened_is_later_than_all_else() {
        let mut times = seconds(&[3, 1]);
        times.extend([None, None]);
        let spread = Spread::of(&times);
        assert_eq!((spread.happened, spread.count), (2, 4));
        assert_eq!(spread.median, Some(Duration::from_secs(3)));
        assert_eq!((spread.p95, spread.max), (None, None));
    }

    /// Worked out by hand from the formula: 0 of 10, 5 of 10, 1 of 100.
    #[test]
    fn the_interval_is_wilson_s() {
        let close = |found: [f64; 3], expected: [f64; 3]| {
            for (a, b) in found.into_iter().zip(expected) {
                assert!((a - b).abs() < 5e-4, "{found:?} is not {expected:?}");
            }
        };
        close(wilson(0, 10), [0.0, 0.0, 0.2775]);
        close(wilson(5, 10), [0.5, 0.2366, 0.7634]);
        close(wilson(1, 100), [0.01, 0.0018, 0.0545]);
    }

    proptest! {
        #[test]
        fn quantiles_rise_and_the_interval_holds_its_share(
            times in prop::collection::vec(prop::option::of(0_u64..1000), 1..60),
        ) {
            let times: Vec<_> = times.into_iter().map(|t| t.map(Duration::from_secs)).collect();
            let spread = Spread::of(&times);
            let far = |time: Option<Duration>| time.unwrap_or(Duration::MAX);
            let all = [spread.min, spread.median, spread.p95, spread.max].map(far);
            prop_assert!(all.is_sorted(), "{all:?}");
            let [share, low, high] = spread.share;
            prop_assert!(low <= share + 1e-9 && share <= high + 1e-9 && low >= 0.0 && high <= 1.0);
        }
    }
}
