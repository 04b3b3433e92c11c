//! A connection was given up: the client dials until it is answered.

use super::super::dials::UNLUCKY;
use super::super::sendings::{Limit, dials};
use super::super::window::Candidate;
use super::{Healed, LATE, TIMER, around};
use crate::plan::{Cause, RetryOn, Window};

/// More dials than that in a row nobody reckons.
const DIALS: usize = 1_000;

impl Healed<'_, '_> {
    /// When the client is answered on a new connection after it gave up the old one.
    pub(super) fn after(&self, (given_up, cause): Candidate) -> Option<Window> {
        let s = self.situation;
        let t = s.transport;
        let mut dial = s.redial(given_up, cause);
        let lost = [RetryOn::ReusedConnectionLost, RetryOn::ConnectionLost];
        let sent_again = t.retry.attempts > 0 && t.retry.on.iter().any(|on| lost.contains(on));
        let own = matches!(cause, Cause::RequestTimeout | Cause::ReadTimeout);
        if sent_again && t.request_timeout.is_some() && !own {
            // What is left of the request's time nobody knows.
            if dial.min < self.heals.max {
                return None;
            }
            dial.max += s.served().max;
        }
        self.dialled(dial)
    }

    /// The same from the first dial on.
    pub(super) fn dialled(&self, first: Window) -> Option<Window> {
        let s = self.situation;
        let live = self.all - self.dead;
        let removal = self.removal.filter(|_| self.is_power());
        let removal = removal.filter(|removal| *removal < self.heals.max);
        if removal.is_some() && live == 0 {
            // For some time there is no endpoint at all.
            return None;
        }
        let rtt = s.cycle.rtt;
        let t = s.transport;
        let courses = dials(&s.sysctls, t.user_timeout, rtt, s.kernel);
        let mut limits = Vec::new();
        if let Some(limit) = t.dial_timeout {
            limits.push(Limit {
                end: (Window::exactly(limit), Cause::DialTimeout),
                answer: Window::of(rtt, rtt + LATE),
            });
        }
        if let Some(limit) = t.request_timeout {
            let served = s.served();
            limits.push(Limit {
                end: (Window::exactly(limit), Cause::RequestTimeout),
                answer: Window::of(served.min, served.max),
            });
        }
        let between = s.between_dials();
        let between = Window::of(between.min, between.max + TIMER * 2);
        // A client that meets a dead endpoint each time has bad luck, as long as it is likely at all.
        let most = match live {
            0 => DIALS,
            _ => {
                let dead = self.dead as f64 / self.all as f64;
                (UNLUCKY.ln() / dead.ln()).ceil().max(1.0) as usize
            }
        };
        let (mut answered, mut dial) = (None, first);
        for number in 0.. {
            if live > 0 {
                answered = around(answered, dial);
            }
            if number >= most {
                // So many dials in a row nobody reckons, or the luck is too bad.
                return answered.filter(|_| live > 0).map(|at| at.then(s.served()));
            }
            let mut dead = dial;
            if let Some(removal) = removal {
                if dead.max >= removal {
                    answered = around(answered, Window::of(dead.min.max(removal), dead.max));
                }
                if dead.min > removal + LATE * 2 {
                    break;
                }
                // Rules take a moment to be written.
                dead.max = dead.max.min(removal + LATE * 2);
            }
            let mut next = None;
            for course in &courses {
                let (met, end) = course.meets(&limits, Cause::DialTimeout, dead, self.heals);
                for through in &met.through {
                    answered = around(answered, through.at(self.heals));
                }
                if let (Some(none), Some((window, _))) = (met.none, end) {
                    next = around(next, none.then(window).then(between));
                }
            }
            match next {
                Some(next) => dial = next,
                None => break,
            }
        }
        answered.map(|at| at.then(s.served()))
    }
}
