//! How often a program is answered: of one that does several things at once, answers alone do not say that all of it is well.

use std::time::Duration;

use super::timeline::Moment;

/// The share of a program's usual answers that is as good as all of them: an answer in several pieces counts as several, and a
/// pause after an error costs one.
const KEPT: f64 = 0.85;
/// Of fewer answers that were to come no share can be told.
const FEW: f64 = 3.0;

/// How often a program was answered before anything was broken.
pub(super) struct Pace<'m> {
    /// When it was answered, in order of time.
    answers: &'m [Moment],
    /// Those of them that came before anything was broken.
    before: &'m [Moment],
    broken: Moment,
}

impl<'m> Pace<'m> {
    pub(super) fn of(answers: &'m [Moment], broken: Moment) -> Self {
        let before = &answers[..answers.partition_point(|at| *at < broken)];
        Self {
            answers,
            before,
            broken,
        }
    }

    /// The longest time from one answer to the next.
    pub(super) fn longest_pause(&self) -> Option<Duration> {
        let pauses = self.before.windows(2).map(|pair| pair[1].since(pair[0]));
        pauses.max()
    }

    /// Whether as many answers came within a time as usual; nothing where that can't be told.
    pub(super) fn is_kept(&self, from: Moment, to: Duration) -> Option<bool> {
        let first = self.before.first()?;
        let usual = (self.before.len() - 1) as f64 / self.broken.since(*first).as_secs_f64();
        let expected = usual * to.saturating_sub(from.at).as_secs_f64();
        if expected < FEW {
            return None;
        }
        let place = |at: Duration| self.answers.partition_point(|answer| answer.at < at);
        let came = place(to).saturating_sub(place(from.at));
        // One more may be on its way.
        Some(came as f64 + 1.0 >= expected * KEPT)
    }
}

/// Failures that come again and again; of fewer nobody knows.
const AGAIN: usize = 3;

/// Whether a time without failures, at the end of a case, is too short to say that there will be none: they came again and again,
/// with pauses as long as that.
pub(super) fn may_come_again(failures: &mut [Duration], well_for: Duration) -> bool {
    failures.sort_unstable();
    let pauses = failures.windows(2).map(|pair| pair[1] - pair[0]);
    failures.len() >= AGAIN && pauses.max().is_some_and(|longest| well_for < longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_again_and_again_is_not_over_before_it_could_have_failed_once_more() {
        let again = |all: &[u64], well: u64| {
            let mut all: Vec<_> = all.iter().copied().map(Duration::from_secs).collect();
            may_come_again(&mut all, Duration::from_secs(well))
        };
        assert!(again(&[10, 22, 15], 6) && !again(&[10, 15, 22], 7) && !again(&[10, 60], 1));
    }

    #[test]
    fn one_of_three_that_waits_is_missed_and_a_late_answer_is_not() {
        let at = |seconds: f64| Moment::new(Duration::from_secs_f64(seconds), 0);
        // Three a second, and from 10 s on two.
        let two = (0..40).flat_map(|n| {
            (0..3)
                .filter(move |k| n < 10 || *k > 0)
                .map(move |_| f64::from(n))
        });
        let two: Vec<_> = two.map(at).collect();
        let pace = Pace::of(&two, at(10.0));
        assert_eq!(pace.is_kept(at(12.0), Duration::from_secs(30)), Some(false));
        assert_eq!(pace.is_kept(at(12.0), Duration::from_millis(12_500)), None);
        let all: Vec<_> = (0..40).map(f64::from).map(at).collect();
        let pace = Pace::of(&all, at(10.0));
        assert_eq!(pace.is_kept(at(12.5), Duration::from_secs(20)), Some(true));
        assert_eq!(pace.longest_pause(), Some(Duration::from_secs(1)));
        assert_eq!(
            Pace::of(&[], at(1.0)).is_kept(at(2.0), Duration::from_secs(9)),
            None
        );
    }
}
