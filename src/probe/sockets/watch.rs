//! When to look at a program's socket that waits in vain: for an answer to its SYN, or for an acknowledgement of its data.
//!
//! The wire is silent then, and the kernel tells only of sockets that are destroyed. Two things happen without a word: the
//! program closes the socket (the FIN waits behind the data), or the kernel gives it up while the program keeps the
//! descriptor. The second happens when the socket's timer fires, which the socket itself shows beforehand. The first comes
//! as a rule after a round time since the wait began, since a timeout of the program's ended it: there the looks lie close
//! on both sides. In between they are a hundredth of the time waited apart. And a program that gives something up writes a line
//! of it or connects anew, as a rule: so the sockets are looked at then as well.

use std::time::Duration;

/// How close the looks round a round time lie to it: timers of programs and of the kernel's ticks stay within.
const CLOSE: Duration = Duration::from_millis(3);
/// A timer's tick of the slowest kernel (HZ=100): by then what a timer does is done.
const TICK: Duration = Duration::from_millis(10);
/// Least and longest time between two looks.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(5);

/// A socket that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    /// When what it waits for an answer to was first sent.
    pub(super) since: Duration,
    /// When its timer fires, as it was last seen.
    pub(super) due: Option<Duration>,
}

impl Watch {
    /// The next look after `now`.
    pub(super) fn next(&self, now: Duration) -> Duration {
        let waited = now.saturating_sub(self.since);
        let by_and_by = now + (waited / 100).clamp(SOONEST, LATEST);
        let round = self.since + round_after(waited);
        let fired = self.due.map(|due| due + TICK).filter(|at| *at > now);
        fired.unwrap_or(Duration::MAX).min(by_and_by).min(round)
    }

    /// Whether its timer has fired at `now`, as far as it was seen.
    pub(super) fn has_fired(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| now + TICK >= due)
    }
}

/// The first time after `waited` that lies [`CLOSE`] to a round one.
fn round_after(waited: Duration) -> Duration {
    // Timeouts of minutes are whole seconds.
    let grid = match waited.as_secs() {
        0..60 => Duration::from_millis(500),
        60..300 => Duration::from_secs(1),
        _ => Duration::from_secs(5),
    };
    let passed = waited.as_nanos() / grid.as_nanos();
    let nearest = |number: u128| grid.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
    let edges = [passed, passed + 1, passed + 2].map(nearest);
    let looks = edges
        .into_iter()
        .flat_map(|edge| [edge.saturating_sub(CLOSE), edge + CLOSE]);
    looks
        .into_iter()
        .find(|look| *look > waited)
        .unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn looks(watch: Watch, until: Duration) -> Vec<Duration> {
        let mut looks = vec![watch.since];
        while looks[looks.len() - 1] < until {
            looks.push(watch.next(looks[looks.len() - 1]));
        }
        looks
    }

    #[test]
    fn a_long_wait_costs_hundreds_of_looks_and_not_thousands() {
        let watch = Watch {
            since: ms(7_123),
            due: None,
        };
        let looks = looks(watch, ms(947_123));
        assert!((500..1_500).contains(&looks.len()), "{}", looks.len());
    }

    #[test]
    fn a_timeout_of_a_round_time_is_known_to_some_milliseconds() {
        let watch = Watch {
            since: ms(1_234),
            due: None,
        };
        let looks = looks(watch, ms(200_000));
        for timeout in [500, 1_000, 2_000, 3_500, 10_000, 30_000, 60_000, 120_000] {
            let end = watch.since + ms(timeout);
            let before = looks.iter().rev().find(|look| **look < end).expect("one");
            let after = looks.iter().find(|look| **look >= end).expect("one");
            assert!(
                *after - *before <= CLOSE * 2,
                "{timeout}: {before:?} {after:?}"
            );
        }
    }

    #[test]
    fn a_timer_that_fires_is_looked_at_a_tick_later() {
        let watch = Watch {
            since: ms(0),
            due: Some(ms(6_789)),
        };
        assert!(looks(watch, ms(10_000)).contains(&ms(6_799)));
        assert!(!watch.has_fired(ms(6_700)) && watch.has_fired(ms(6_789)));
    }
}
