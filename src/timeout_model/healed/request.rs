//! A request, or what else is sent first, on a connection on which nothing is outstanding.

use std::time::Duration;

use super::super::sendings::{Limit, Through};
use super::super::window::{SLACK, either};
use super::outcome::Outcome;
use super::taken::Taken;
use super::{Healed, LATE, TIMER, around};
use crate::plan::{Cause, Ping, Protocol, Window};

/// HTTP/2's health check on a connection that is dead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pinged {
    pub(super) ping: Ping,
    /// When its PING goes out.
    pub(super) sent: Window,
}

/// A request, or what else is sent first, on a connection on which nothing is outstanding.
pub(super) struct Sent {
    /// When the request goes out, after the fault.
    pub(super) request: Window,
    /// When the first of all does.
    pub(super) first: Window,
    pub(super) limits: Vec<Limit>,
}

impl Healed<'_, '_> {
    /// The health check of a request sent within `from`, if the last frame was read `rested` before the fault.
    pub(super) fn pinged(&self, from: Window, rested: Window) -> Option<Pinged> {
        let pinged = self.situation.ping_when_unanswered(from, rested);
        pinged.map(|(ping, sent)| Pinged { ping, sent })
    }

    /// What a request of `request` is sent with, and what limits it.
    pub(super) fn sent(&self, request: Window, pinged: Option<Pinged>) -> Sent {
        let s = self.situation;
        let rtt = s.cycle.rtt;
        let first = match pinged.filter(|p| p.ping.while_idle) {
            Some(pinged) => request.or_sooner(pinged.sent),
            None => request,
        };
        let before = match first == request {
            true => Window::default(),
            false => Window::of(Duration::ZERO, request.max.saturating_sub(first.min)),
        };
        let answer = match (s.transport.protocol, self.is_power()) {
            (Protocol::H1, false) => Window::of(s.cycle.service.min, s.cycle.service.max + TIMER),
            // A PING alone is asked for there, or a RST.
            (Protocol::H1, true) | (Protocol::H2, _) => Window::of(rtt, rtt * 2 + LATE),
        };
        let own = s.limits(Window::default()).into_iter();
        let mut limits: Vec<Limit> = own
            .map(|(window, cause)| Limit {
                end: (before.then(window), cause),
                answer,
            })
            .collect();
        if let Some(pinged) = pinged {
            let later = match pinged.ping.while_idle && pinged.sent.max <= request.min {
                true => Window::default(),
                false => self.ping_after(request, first, pinged),
            };
            limits.push(Limit {
                end: (
                    later.then(Window::exactly(pinged.ping.timeout)),
                    Cause::PingTimeout,
                ),
                answer: Window::of(rtt, rtt * 2 + LATE),
            });
        }
        Sent {
            request,
            first,
            limits,
        }
    }

    /// From the first sending to the PING that counts.
    pub(super) fn ping_after(&self, request: Window, first: Window, pinged: Pinged) -> Window {
        let pause = self.situation.cycle.pause;
        let apart = match pinged.ping.while_idle {
            // Either may be the first.
            true => Window::of(Duration::ZERO, pinged.sent.max.saturating_sub(first.min)),
            // While the client paused nothing was read: what is left of the PING's time is no other than that.
            false if request.max > Duration::ZERO => {
                let left = Window::exactly(pinged.ping.idle).earlier(pause);
                let left = Window::of(left.min.saturating_sub(LATE), left.max + LATE);
                self.situation.while_a_request_is_open(left)
            }
            false => pinged.sent,
        };
        let absolute = Window::of(
            pinged.sent.min.saturating_sub(first.max),
            pinged.sent.max.saturating_sub(first.min),
        );
        Window::of(
            apart.min.max(absolute.min.min(apart.max)),
            apart.max.min(absolute.max.max(apart.min)),
        )
    }

    /// What becomes of a request, or what else is sent, on a connection that is dead until it heals.
    pub(super) fn of_request(&self, sent: &Sent) -> Option<Outcome> {
        let courses = self.resending().courses(self.heals.max);
        let s = self.situation;
        let (mut lives, mut reset, mut given_up) = (None, None, None);
        for course in &courses {
            let (met, end) = course.meets(&sent.limits, self.by_kernel(), sent.first, self.heals);
            for through in &met.through {
                match self.taken {
                    Taken::Path(_) => {
                        let recovery = self.answered(through, sent);
                        lives = around(lives, recovery);
                    }
                    Taken::Power(_) => {
                        let at = through.at(self.heals);
                        let answer = Window::of(s.cycle.rtt, s.cycle.rtt + SLACK);
                        reset = around(reset, at.then(answer));
                    }
                }
            }
            if let (Some(none), Some((window, cause))) = (met.none, end) {
                let window = none.then(window);
                let window = Window::of(window.min, window.max + SLACK);
                let found = (window, cause);
                given_up = Some(given_up.map_or(found, |other| either(other, found)));
            }
        }
        let lives = lives.map(|recovery| Outcome::Lives(Some(recovery)));
        let reset = reset.map(|window| {
            let end = (window, Cause::Reset);
            Outcome::GivenUp(end, self.after(end))
        });
        let given_up = given_up.map(|end| Outcome::GivenUp(end, self.after(end)));
        let all = lives.into_iter().chain(reset).chain(given_up);
        all.reduce(Outcome::or)
    }

    /// When the client is answered once a sending has got through.
    pub(super) fn answered(&self, through: &Through, sent: &Sent) -> Window {
        let s = self.situation;
        let at = through.at(self.heals);
        let t = s.transport;
        let limit = [t.request_timeout, t.read_timeout];
        let limit = limit.into_iter().flatten().min();
        // What waits behind the first segment follows a round trip later, and what waits behind that another one.
        let queue = s.cycle.rtt * 3;
        let answer = self.answer();
        let behind = Window::of(answer.min, answer.max + queue);
        let (Protocol::H2, Some(limit)) = (t.protocol, limit) else {
            let whole = at.then(match sent.first == sent.request {
                true => answer,
                false => behind,
            });
            // A PING may get through before there is a request.
            let least = sent.request.min + answer.min;
            let most = whole.max.max(sent.request.max + behind.max);
            return match sent.first == sent.request {
                true => whole,
                false => Window::of(whole.min.max(least), most),
            };
        };
        let pause = s.cycle.retry;
        // A request that ran out of time has failed, and the next one goes to the same connection after a pause.
        let any = Window::of(
            at.min + answer.min,
            at.max.max(sent.request.max) + pause.max + behind.max * 2,
        );
        if sent.first != sent.request || pause.min != pause.max {
            return any;
        }
        let cycle = limit + pause.max;
        let after = through.after;
        let number = |after: Duration| after.as_nanos() / cycle.as_nanos().max(1);
        let (first, last) = (number(after.min), number(after.max));
        let Ok(count) = u32::try_from(last) else {
            return any;
        };
        // Each pause and each limit is a timer of its own.
        let late = LATE + TIMER * 2 * (count + 1);
        let begun = cycle * count;
        if first != last {
            return any;
        }
        let needs = answer.max - SLACK + queue + late;
        let (into, until) = (after.min - begun, after.max - begun);
        if until + needs < limit {
            return at.then(behind);
        }
        if into > limit + late {
            // It pauses, and asks again when the path is well.
            let next = sent
                .request
                .then(Window::of(begun + cycle, begun + cycle + late));
            let next = Window::of(
                next.min.max(self.heals.min),
                next.max.min(at.max + pause.max + late),
            );
            return next.then(behind);
        }
        any
    }
}
