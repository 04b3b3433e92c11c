//! A time over all runs of a case, and whether it is another one now.

use std::time::Duration;

use crate::result::Spread;

/// What counts as no change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Up to this much…
    pub absolute: Duration,
    /// …or this share of the old time, whichever is more.
    pub relative: f64,
}

/// Which way a time changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It takes longer now, or never comes.
    Slower,
    /// It takes less time, or comes at all.
    Faster,
}

/// The times of all runs, in order; one that never came is longer than any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times(Vec<Option<Duration>>);

/// With fewer runs than this on one side they have to lie wholly apart.
const FEW: usize = 5;
/// Two-sided: a difference that chance alone makes in one of a hundred comparisons is none.
const SIGNIFICANT: f64 = 2.576;

impl Times {
    /// In any order; `None` for one that never came.
    #[must_use]
    pub fn of(mut times: Vec<Option<Duration>>) -> Self {
        times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
        Self(times)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that half of all runs kept; `None` = it never came in so many.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        Spread::of(&self.0).median
    }

    /// The time that 95 of 100 kept.
    #[must_use]
    pub fn p95(&self) -> Option<Duration> {
        Spread::of(&self.0).p95
    }

    /// Which way it has changed, if it has: by more than `tolerance`, in the median or in the 95 of 100, and by more than
    /// chance makes of as many runs (the rank-sum test of Mann and Whitney, 1947, two-sided at 1 %).
    #[must_use]
    pub fn changed_to(&self, new: &Self, tolerance: Tolerance) -> Option<Direction> {
        if self.0.is_empty() || new.0.is_empty() || !self.is_apart(new) {
            return None;
        }
        let changes = [(self.median(), new.median()), (self.p95(), new.p95())];
        let changes = changes.map(|(old, new)| changed(old, new, tolerance));
        [Direction::Slower, Direction::Faster]
            .into_iter()
            .find(|direction| changes.contains(&Some(*direction)))
    }

    /// Whether chance alone would hardly make such a difference.
    fn is_apart(&self, other: &Self) -> bool {
        if self.0.len() == 1 && other.0.len() == 1 {
            return true;
        }
        let key = |time: &Option<Duration>| time.unwrap_or(Duration::MAX);
        if self.0.len() < FEW || other.0.len() < FEW {
            let ends = |times: &Self| Some((key(times.0.first()?), key(times.0.last()?)));
            return match (ends(self), ends(other)) {
                (Some(own), Some(others)) => own.1 < others.0 || others.1 < own.0,
                _ => false,
            };
        }
        z_of_rank_sum(&self.0, &other.0).is_some_and(|z| z.abs() >= SIGNIFICANT)
    }
}

fn changed(
    old: Option<Duration>,
    new: Option<Duration>,
    tolerance: Tolerance,
) -> Option<Direction> {
    match (old, new) {
        (None, None) => None,
        (Some(_), None) => Some(Direction::Slower),
        (None, Some(_)) => Some(Direction::Faster),
        (Some(old), Some(new)) => {
            let share = Duration::try_from_secs_f64(old.as_secs_f64() * tolerance.relative);
            let allowed = tolerance.absolute.max(share.unwrap_or(Duration::MAX));
            match new.abs_diff(old) > allowed {
                true if new > old => Some(Direction::Slower),
                true => Some(Direction::Faster),
                false => None,
            }
        }
    }
}

/// How far the rank sum of `one` lies from what it would be by chance, in its standard deviations, with the correction for
/// ties and the normal approximation; `None` where all are the same.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn z_of_rank_sum(one: &[Option<Duration>], other: &[Option<Duration>]) -> Option<f64> {
    let key = |time: &Option<Duration>| time.unwrap_or(Duration::MAX);
    let mut all: Vec<(Duration, bool)> = one.iter().map(|time| (key(time), true)).collect();
    all.extend(other.iter().map(|time| (key(time), false)));
    all.sort();
    let (n, m) = (one.len() as f64, other.len() as f64);
    let total = n + m;
    let (mut rank_sum, mut ties, mut begin) = (0.0, 0.0, 0);
    while begin < all.len() {
        let same = all[begin..].iter().take_while(|(t, _)| *t == all[begin].0);
        let length = same.count();
        let own = all[begin..begin + length].iter().filter(|(_, own)| *own);
        // All that are the same have the middle of their ranks.
        let rank = begin as f64 + (length as f64 + 1.0) / 2.0;
        rank_sum += rank * own.count() as f64;
        let length_f = length as f64;
        ties += length_f.powi(3) - length_f;
        begin += length;
    }
    let expected = n * (total + 1.0) / 2.0;
    let variance = n * m / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)));
    (variance > 0.0).then(|| (rank_sum - expected) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLERANCE: Tolerance = Tolerance {
        absolute: Duration::from_millis(100),
        relative: 0.02,
    };

    fn times(seconds: &[f64]) -> Times {
        let time = |s: &f64| s.is_finite().then(|| Duration::from_secs_f64(*s));
        Times::of(seconds.iter().map(time).collect())
    }

    fn changed(old: &[f64], new: &[f64]) -> Option<Direction> {
        times(old).changed_to(&times(new), TOLERANCE)
    }

    #[test]
    fn one_run_each_is_compared_with_the_larger_of_both_tolerances() {
        let never = f64::INFINITY;
        let slower = Some(Direction::Slower);
        assert_eq!(
            (changed(&[1.0], &[1.1]), changed(&[1.0], &[1.101])),
            (None, slower)
        );
        assert_eq!(
            (changed(&[100.0], &[102.0]), changed(&[100.0], &[102.1])),
            (None, slower)
        );
        assert_eq!(changed(&[5.0], &[4.8]), Some(Direction::Faster));
        assert_eq!(changed(&[5.0], &[never]), slower);
        assert_eq!(changed(&[never], &[5.0]), Some(Direction::Faster));
        assert_eq!(
            (changed(&[never], &[never]), changed(&[], &[1.0])),
            (None, None)
        );
    }

    #[test]
    fn a_few_runs_have_to_lie_apart() {
        assert_eq!(changed(&[1.0, 2.0, 3.0], &[2.5, 9.0, 9.0]), None);
        let apart = changed(&[1.0, 2.0, 3.0], &[4.0, 9.0, 9.0]);
        assert_eq!(apart, Some(Direction::Slower));
    }

    #[test]
    fn of_many_runs_chance_is_ruled_out_by_their_ranks() {
        let spread = |from: f64| (0..20).map(|n| from + f64::from(n)).collect::<Vec<_>>();
        // The medians lie a second apart, which twenty runs from 0 to 19 s do by chance.
        assert_eq!(changed(&spread(0.0), &spread(1.0)), None);
        assert_eq!(changed(&spread(0.0), &spread(8.0)), Some(Direction::Slower));
        assert_eq!(changed(&spread(8.0), &spread(0.0)), Some(Direction::Faster));
        let same = vec![5.0; 20];
        assert_eq!(changed(&same, &same), None);
        // Always the same then, and always the same now.
        assert_eq!(changed(&same, &[5.5; 20]), Some(Direction::Slower));
    }

    /// By hand: ranks of 1, 2, 4 among 1 to 6 make 7, expected are 10.5, and the variance is 5.25.
    #[test]
    fn the_rank_sum_is_that_of_the_textbook() {
        let (one, other) = (times(&[1.0, 2.0, 4.0]), times(&[3.0, 5.0, 6.0]));
        let z = z_of_rank_sum(&one.0, &other.0).expect("some differ");
        assert!((z - -3.5 / 5.25_f64.sqrt()).abs() < 1e-9, "{z}");
        let ties = times(&[1.0, 1.0]);
        assert_eq!(z_of_rank_sum(&ties.0, &ties.0), None);
    }

    proptest! {
        #[test]
        fn what_is_slower_one_way_is_faster_the_other_way(
            old in prop::collection::vec(1u32..1000, 1..12),
            new in prop::collection::vec(1u32..1000, 1..12),
        ) {
            let of = |all: &[u32]| Times::of(all.iter().map(|s| Some(Duration::from_secs((*s).into()))).collect());
            let (old, new) = (of(&old), of(&new));
            let exact = Tolerance { absolute: Duration::ZERO, relative: 0.0 };
            let (there, back) = (old.changed_to(&new, exact), new.changed_to(&old, exact));
            // Median and the 95 of 100 may part ways: then both are for the worse.
            match there {
                None => prop_assert_eq!(back, None),
                Some(Direction::Faster) => prop_assert_eq!(back, Some(Direction::Slower)),
                Some(Direction::Slower) => prop_assert!(back.is_some()),
            }
            prop_assert_eq!(old.changed_to(&old, exact), None);
        }
    }
}
