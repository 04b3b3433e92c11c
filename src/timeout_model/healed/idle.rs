//! Nothing is outstanding at the fault: the next request, or a probe of keepalive, finds out.

use super::super::rhythm::Idle;
use super::super::window::{Candidate, SLACK};
use super::Healed;
use super::outcome::Outcome;
use super::taken::Taken;
use crate::plan::{Cause, Window};

impl Healed<'_, '_> {
    /// Nothing is outstanding at the fault.
    pub(super) fn idle(&self, idle: Idle) -> Option<Outcome> {
        let s = self.situation;
        let pinged = self.pinged(idle.next, idle.rested);
        let request = || {
            let sent = self.sent(idle.next, pinged);
            self.of_request(&sent)
        };
        let keepalive = s
            .keepalive(idle.rested)
            .filter(|(window, _)| window.min < idle.next.max);
        let Some(keepalive) = keepalive else {
            return request();
        };
        if pinged.is_some_and(|p| p.ping.while_idle && p.sent.min < keepalive.0.max) {
            return None;
        }
        let probed = self.probed(keepalive)?;
        if keepalive.0.max + SLACK <= idle.next.min {
            return match probed {
                Outcome::Lives(_) => request(),
                Outcome::GivenUp(..) => Some(probed),
                Outcome::Open(_) => None,
            };
        }
        // The next request may come before, and then keepalive is no more asked.
        let probed = match probed {
            Outcome::Lives(_) => request()?,
            Outcome::GivenUp((window, cause), recovery) => {
                let window = Window::of(window.min, window.max.min(idle.next.max + SLACK));
                Outcome::GivenUp((window, cause), recovery)
            }
            Outcome::Open(recovery) => Outcome::Open(recovery),
        };
        Some(probed.or(request()?))
    }

    /// What keepalive makes of a connection on which nothing is outstanding, if it gave it up at `end` on a path that stays
    /// dead. [`Outcome::Lives`] says nothing of the recovery.
    pub(super) fn probed(&self, end: Candidate) -> Option<Outcome> {
        let s = self.situation;
        let interval = s.transport.keepalive?.interval;
        let last = s.last_probe(Some(end))?;
        let late = interval / 7;
        let given_up = || {
            let (window, cause) = end;
            let end = (Window::of(window.min, window.max + SLACK), cause);
            Outcome::GivenUp(end, self.after(end))
        };
        let answered = || match self.taken {
            Taken::Path(_) => Outcome::Lives(None),
            Taken::Power(_) => {
                // The first probe of a node that is back; each comes an interval after the one before.
                let idle = s.transport.keepalive.map(|k| k.idle).unwrap_or_default();
                let first = (idle + idle / 7).max(interval + late);
                let at = Window::of(self.heals.min, self.heals.max.max(first) + interval + late);
                let at = Window::of(at.min, at.max.min(last.max.max(self.heals.max) + SLACK));
                let reset = (
                    at.then(Window::of(s.cycle.rtt, s.cycle.rtt + SLACK)),
                    Cause::Reset,
                );
                Outcome::GivenUp(reset, self.after(reset))
            }
        };
        Some(if last.max < self.heals.min {
            given_up()
        } else if last.min >= self.heals.max {
            answered()
        } else {
            match (given_up(), answered()) {
                (a, Outcome::Lives(_)) => Outcome::Open(a.recovery()),
                (a, b) => a.or(b),
            }
        })
    }
}
