//! When payload reached programs.

use std::net::SocketAddr;
use std::time::Duration;

use super::look_up::filed;
use super::{Endpoint, Filed, Moment, STAMP_SLACK, canonical};

/// Arrivals by the program's own address.
#[derive(Default)]
pub(super) struct Arrivals {
    all: Filed<Endpoint, Moment>,
    /// When some of it was taken out of its segment on the way.
    withheld: Filed<Endpoint, Duration>,
}

impl Arrivals {
    pub(super) fn came(&mut self, local: SocketAddr, at: Moment) {
        self.all.entry(canonical(local)).or_default().push(at);
    }

    pub(super) fn withheld(&mut self, local: SocketAddr, at: Moment) {
        let of_local = self.withheld.entry(canonical(local));
        of_local.or_default().push(at.at);
    }

    /// What was withheld did not arrive, though the link has seen it.
    pub(super) fn settle(&mut self) {
        for (end, times) in std::mem::take(&mut self.withheld) {
            let Some(arrivals) = self.all.get_mut(&end) else {
                continue;
            };
            for time in times {
                let apart = |at: &Moment| at.at.abs_diff(time);
                let nearest = (0..arrivals.len()).min_by_key(|place| apart(&arrivals[*place]));
                if let Some(place) = nearest.filter(|place| apart(&arrivals[*place]) <= STAMP_SLACK)
                {
                    arrivals.remove(place);
                }
            }
        }
    }

    pub(super) fn of(&self, local: SocketAddr) -> &[Moment] {
        filed(&self.all, &canonical(local))
    }
}
