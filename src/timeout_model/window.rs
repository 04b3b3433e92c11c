//! Windows of time, and mechanisms that compete for being the first.

use std::time::Duration;

use crate::plan::{Cause, Window};

/// A mechanism that would end the wait, and when, counted from the fault.
pub(super) type Candidate = (Window, Cause);

/// Scheduling, and what else makes a timer of a program late.
pub(super) const SLACK: Duration = Duration::from_millis(250);

/// Timers of one sending that lie further apart keep their order.
pub(super) const TICK: Duration = Duration::from_millis(100);

impl Default for Window {
    /// No time at all.
    fn default() -> Self {
        Self::of(Duration::ZERO, Duration::ZERO)
    }
}

impl Window {
    /// From `min` to `max`.
    #[must_use]
    pub(super) const fn of(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// Just this time.
    pub(super) const fn exactly(time: Duration) -> Self {
        Self::of(time, time)
    }

    /// Both times pass, one after the other.
    pub(super) fn then(self, next: Self) -> Self {
        Self::of(self.min + next.min, self.max + next.max)
    }

    /// As much earlier as `by` says; nothing is before the beginning.
    pub(super) fn earlier(self, by: Self) -> Self {
        Self::of(
            self.min.saturating_sub(by.max),
            self.max.saturating_sub(by.min),
        )
    }

    /// The smallest window around both.
    pub(super) fn around(self, other: Self) -> Self {
        Self::of(self.min.min(other.min), self.max.max(other.max))
    }

    /// The earlier of both.
    pub(super) fn or_sooner(self, other: Self) -> Self {
        Self::of(self.min.min(other.min), self.max.min(other.max))
    }
}

/// Of mechanisms that all count from one sending within `sent`, those that may be the first; their windows count from
/// the sending.
pub(super) fn of_one_sending(candidates: Vec<Candidate>, sent: Window) -> Vec<Candidate> {
    let first = candidates.iter().map(|(w, _)| w.max).min();
    let first = first.unwrap_or_default() + TICK;
    let early = candidates.into_iter().filter(|(w, _)| w.min <= first);
    early.map(|(w, cause)| (sent.then(w), cause)).collect()
}

/// The first mechanism to fire rules. Of two that may be the first, nobody knows which.
pub(super) fn earliest(candidates: Vec<Candidate>) -> Option<Candidate> {
    let (first, cause) = *candidates.iter().min_by_key(|(w, _)| w.min + w.max)?;
    let window = candidates
        .iter()
        .map(|(w, _)| *w)
        .reduce(Window::or_sooner)?;
    let rivals = candidates
        .iter()
        .any(|(w, other)| *other != cause && w.min < first.max);
    let cause = if rivals { Cause::Unknown } else { cause };
    Some((window, cause))
}

/// Either may come to pass.
pub(super) fn either(a: Candidate, b: Candidate) -> Candidate {
    (
        a.0.around(b.0),
        if a.1 == b.1 { a.1 } else { Cause::Unknown },
    )
}
