//! A request is under way at the fault.

use std::time::Duration;

use super::super::sendings::Resending;
use super::super::window::{Candidate, SLACK, either};
use super::outcome::Outcome;
use super::taken::Taken;
use super::{Healed, LATE, TIMER, around};
use crate::plan::{Cause, End, Protocol, Where, Window};

impl Healed<'_, '_> {
    /// A request was sent within `sent` before the fault.
    pub(super) fn busy(&self, sent: Window) -> Option<Outcome> {
        let s = self.situation;
        let reach = self.reach();
        let mut all = Vec::new();
        let unacknowledged = s.rhythm.unacknowledged;
        let not_arrived = unacknowledged && sent.min <= reach + TIMER;
        // Without power there is nobody to answer, and nothing is acknowledged.
        if not_arrived || (unacknowledged && self.is_power()) {
            let in_flight = Window::of(sent.min, sent.max.min(s.cycle.rtt + SLACK));
            let rested = Window::then(s.cycle.pause, in_flight);
            let pinged = self.pinged(Window::default(), rested);
            let request = self.sent(Window::default(), pinged);
            let before = match self.is_power() {
                true => in_flight,
                false => Window::of(Duration::ZERO, sent.max.min(reach + TIMER)),
            };
            all.push(self.of_request(&request)?.earlier(before));
        }
        let arrived = s.rhythm.acknowledged || (unacknowledged && sent.max > Duration::ZERO);
        if arrived {
            match self.taken {
                Taken::Path(_) => all.extend(self.response(sent)?),
                Taken::Power(_) if s.rhythm.acknowledged => all.push(self.no_response(sent)?),
                Taken::Power(_) => {}
            }
        }
        all.into_iter().reduce(Outcome::or)
    }

    /// From a packet's sending until it is past the place where it would vanish.
    pub(super) fn reach(&self) -> Duration {
        let rtt = self.situation.cycle.rtt;
        match self.taken {
            Taken::Path(Where::At(End::Machine(_) | End::Host(_)) | Where::Between(..)) => {
                Duration::ZERO
            }
            Taken::Path(Where::At(End::Pod(_))) => rtt / 2,
            Taken::Power(_) => Duration::ZERO,
        }
    }

    /// The server has a request that was sent within `sent` before the fault, and its response vanishes, or is sent when the path
    /// is well. `None` inside where it was on its way.
    #[expect(clippy::option_option, reason = "not known, and nothing to say")]
    pub(super) fn response(&self, sent: Window) -> Option<Option<Outcome>> {
        let s = self.situation;
        let (rtt, delay) = (s.cycle.rtt, s.cycle.delay);
        let due = Window::of(delay.min + rtt / 2, delay.max + rtt / 2 + LATE * 2);
        if due.max < sent.min {
            return Some(None);
        }
        let leaves = due.earlier(sent);
        let theirs = Resending {
            sysctls: &self.server_sysctls,
            user_timeout: None,
            ..self.resending()
        };
        let mut arrives = None;
        for course in &theirs.courses(self.heals.max) {
            let by_kernel = Cause::RetransmissionTimeout;
            let (met, _) = course.meets(&[], by_kernel, leaves, self.heals);
            // A server that has given up answers with RST, and nobody knows when.
            if met.none.is_some() {
                return None;
            }
            for through in &met.through {
                arrives = around(arrives, through.at(self.heals));
            }
        }
        let one_way = Window::of(rtt / 2, rtt / 2 + SLACK);
        let arrives = arrives?.then(one_way);
        let t = s.transport;
        let limits = [t.request_timeout, t.read_timeout];
        let limit = limits.into_iter().flatten().min();
        let out_of_time = limit.map(|limit| Window::exactly(limit).earlier(sent));
        let lives = Outcome::Lives(Some(arrives));
        if self.ends_by_ping(sent, arrives)? {
            return None;
        }
        let mut outcomes = match (t.protocol, out_of_time) {
            (_, None) => vec![lives],
            (_, Some(end)) if arrives.max < end.min => vec![lives],
            (Protocol::H1, Some(end)) => {
                let own = s.limits(Window::default()).into_iter();
                let cause = own
                    .min_by_key(|(window, _)| window.min)
                    .map(|(_, cause)| cause);
                let end = (Window::of(end.min, end.max + SLACK), cause?);
                let given_up = Outcome::GivenUp(end, self.after(end));
                match end.0.max < arrives.min {
                    true => vec![given_up],
                    false => vec![given_up, lives],
                }
            }
            // The reset of its stream must get through too, and then the next request is answered.
            (Protocol::H2, Some(reset)) => vec![self.after_the_reset(reset, arrives)?],
        };
        let acknowledged = Window::of(
            sent.min.saturating_sub(rtt + LATE * 6),
            sent.max.saturating_sub(rtt),
        );
        if let Some(end) = s.keepalive(acknowledged)
            && end.0.min < arrives.max
        {
            match self.probed(end)? {
                Outcome::Lives(_) => {}
                probed @ (Outcome::GivenUp(..) | Outcome::Open(_)) => outcomes.push(probed),
            }
        }
        if s.rhythm.unacknowledged {
            match self.given_up_meanwhile(sent, arrives)? {
                // It does not live, but its own limit may be over before.
                Some((given_up, true)) => {
                    outcomes.retain(|own| own.ends_before(given_up) != Some(false));
                    if !outcomes
                        .iter()
                        .any(|own| own.ends_before(given_up) == Some(true))
                    {
                        outcomes.push(given_up);
                    }
                }
                Some((given_up, false)) => outcomes.push(given_up),
                None => {}
            }
        }
        Some(outcomes.into_iter().reduce(Outcome::or))
    }

    /// A request whose acknowledgement vanished is sent again too: what becomes of its connection if that is given up before it
    /// gets through, and before a response comes within `arrives`, and whether it is so for sure. `None` inside where it can't be.
    #[expect(clippy::option_option, reason = "not known, and nothing to say")]
    pub(super) fn given_up_meanwhile(
        &self,
        sent: Window,
        arrives: Window,
    ) -> Option<Option<(Outcome, bool)>> {
        let begun = Window::of(Duration::ZERO, sent.max);
        let (mut all, mut certain): (Option<Candidate>, _) = (None, true);
        for course in &self.resending().courses(self.heals.max) {
            let first = Window::default();
            let (met, end) = course.meets(&[], self.by_kernel(), first, self.heals);
            certain &= met.through.is_empty();
            if let (Some(_), Some((window, cause))) = (met.none, end) {
                let window = window.earlier(begun);
                let end = (Window::of(window.min, window.max + SLACK), cause);
                all = Some(all.map_or(end, |other| either(other, end)));
            }
        }
        let Some(end) = all.filter(|(window, _)| window.min <= arrives.max) else {
            return Some(None);
        };
        let given_up = Outcome::GivenUp(end, self.after(end));
        Some(Some((given_up, certain && end.0.max < arrives.min)))
    }

    /// Whether the health check may give up a connection whose response comes within `arrives`, to a request sent within `sent`
    /// before the fault; `None` if nobody knows.
    pub(super) fn ends_by_ping(&self, sent: Window, arrives: Window) -> Option<bool> {
        let t = self.situation.transport;
        let Some(ping) = t.ping.filter(|_| t.protocol == Protocol::H2) else {
            return Some(false);
        };
        let silent = Window::of(sent.min, sent.max + self.situation.cycle.pause.max);
        let silent = match silent.max <= ping.idle {
            true => silent,
            false => Window::of(Duration::ZERO, ping.idle),
        };
        let pinged = Window::exactly(ping.idle).earlier(silent);
        let end = pinged.then(Window::exactly(ping.timeout));
        (arrives.max < end.min).then_some(false)
    }

    /// A request ran out of time on HTTP/2 before its response came: the reset of its stream must get through too, and behind it
    /// the next request, whose response waits behind the old one.
    pub(super) fn after_the_reset(&self, reset: Window, arrives: Window) -> Option<Outcome> {
        let s = self.situation;
        if s.transport.ping_after_timeout.is_some() {
            return None;
        }
        let mut latest = arrives.max;
        for course in &self.resending().courses(self.heals.max) {
            let (met, _) = course.meets(&[], self.by_kernel(), reset, self.heals);
            if met.none.is_some() {
                return None;
            }
            for through in &met.through {
                latest = latest.max(through.at(self.heals).max);
            }
        }
        let behind = self.answer().max + s.cycle.rtt * 3;
        let recovery = Window::of(
            arrives.min.min(self.heals.min),
            latest + s.cycle.retry.max + behind * 2,
        );
        Some(Outcome::Lives(Some(recovery)))
    }

    /// The node has lost its power with a request that it had acknowledged.
    pub(super) fn no_response(&self, sent: Window) -> Option<Outcome> {
        let s = self.situation;
        let t = s.transport;
        if t.protocol == Protocol::H2
            && (t.ping.is_some() || t.request_timeout.is_some() || t.read_timeout.is_some())
        {
            return None;
        }
        let acknowledged = Window::of(
            sent.min.saturating_sub(s.cycle.rtt + LATE * 6),
            sent.max.saturating_sub(s.cycle.rtt),
        );
        let own = s.limits(Window::default()).into_iter();
        let own = own.min_by_key(|(window, _)| window.min);
        let own = own.map(|(window, cause)| {
            let window = window.earlier(sent);
            let end = (Window::of(window.min, window.max + SLACK), cause);
            (end, Outcome::GivenUp(end, self.after(end)))
        });
        let probed = match s.keepalive(acknowledged) {
            Some(end) => Some(self.probed(end)?),
            None => None,
        };
        match (own, probed) {
            // Nobody tells it.
            (None, None) => Some(Outcome::Lives(None)),
            (None, Some(probed)) => Some(probed),
            (Some((_, own)), None) => Some(own),
            (Some(((own, _), given_up)), Some(probed)) => match probed {
                Outcome::GivenUp((probed, _), _) if own.max < probed.min => Some(given_up),
                Outcome::GivenUp((at, _), _) if at.max < own.min => Some(probed),
                Outcome::Lives(_) | Outcome::Open(_) | Outcome::GivenUp(..) => None,
            },
        }
    }
}
