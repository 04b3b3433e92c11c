//! When sockets are to be looked at: of thousands the next one is found at once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Tracked;

/// The looks that are planned, soonest first: one a connection at most.
#[derive(Debug, Default)]
pub(super) struct Agenda(BTreeSet<(Duration, u32)>);

impl Agenda {
    /// Plans the next look at a connection's socket; `None`: none.
    pub(super) fn plan(&mut self, tracked: &mut Tracked, at: Option<Duration>) {
        self.forget(tracked);
        tracked.planned_look = at;
        self.0.extend(at.map(|at| (at, tracked.id)));
    }

    /// A connection is no more.
    pub(super) fn forget(&mut self, tracked: &Tracked) {
        if let Some(at) = tracked.planned_look {
            self.0.remove(&(at, tracked.id));
        }
    }

    /// All are no more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many looks are planned.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The connections for which one is planned.
    pub(super) fn planned(&self) -> Vec<u32> {
        self.0.iter().map(|(_, id)| *id).collect()
    }

    /// When the next look is.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.first().map(|(at, _)| *at)
    }

    /// The connections to be looked at by `now`, in order of their numbers.
    pub(super) fn due(&self, now: Duration) -> Vec<u32> {
        let due = self.0.range(..=(now, u32::MAX));
        let mut due: Vec<_> = due.map(|(_, id)| *id).collect();
        due.sort_unstable();
        due
    }
}
