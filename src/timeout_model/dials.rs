//! How a client comes back: its dials after the detection, of which chance sends some to the dead endpoint.

use std::time::Duration;

use super::kernel;
use super::situation::{Fate, SLACK, Situation};
use crate::plan::{Cause, Neighbour, Odds, Protocol, RetryOn, Service, Window};

/// Neighbour discovery gives up after three tries of a second, and connect() with it.
const NEIGHBOUR_FAILS: Window = Window {
    min: Duration::from_secs(1),
    max: Duration::from_secs(5),
};
/// Dials of which one in a million is as unlucky as this says nothing against the model.
pub(super) const UNLUCKY: f64 = 1e-6;
/// As many numbers of dead dials are told apart.
const TOLD: usize = 32;

/// What the dials after the detection meet.
pub(super) struct Dials<'a> {
    pub(super) service: Option<&'a Service>,
    /// Endpoints that live on.
    pub(super) live: usize,
    /// All endpoints.
    pub(super) all: usize,
}

impl Dials<'_> {
    /// The probability that a dial meets a dead endpoint: the rules choose among all with equal chances.
    fn dead(&self) -> f64 {
        (self.all - self.live) as f64 / self.all as f64
    }
}

impl Situation<'_> {
    /// When the client dials for the first time after the fault; `None` = never.
    pub(super) fn first_dial(&self, fate: Fate) -> Option<Window> {
        let next = self.next_sending();
        match fate {
            Fate::GivenUp((given_up, Cause::IdleTimeout)) => Some(Window {
                min: given_up.min,
                ..next
            }),
            Fate::GivenUp((given_up, cause)) => Some(self.redial(given_up, cause)),
            Fate::Kept | Fate::PerhapsKept => None,
            // With no connection to give up, the next request dials.
            Fate::NoConnection | Fate::Unsure(None) => Some(next),
            Fate::Unsure(Some(given_up)) => {
                Some(next.around(self.redial(given_up, Cause::Unknown)))
            }
        }
    }

    /// When the client's next request goes out, if nothing holds it.
    fn next_sending(&self) -> Window {
        let idle = self.rhythm.idle.map(|idle| idle.next);
        let busy = match self.rhythm.busy {
            None if idle.is_some() => None,
            // Connecting too: the dial may be over at once.
            _ => Some(Window {
                min: Duration::ZERO,
                max: self.cycle.pause.max + self.cycle.delay.max,
            }),
        };
        idle.into_iter()
            .chain(busy)
            .reduce(Window::around)
            .unwrap_or_default()
    }

    /// How long a dial of a dead endpoint takes.
    fn connect_limit(&self) -> Window {
        let own = [self.transport.dial_timeout, self.transport.request_timeout];
        let own = own.into_iter().flatten().min();
        let limit = match self.neighbour {
            Neighbour::Dead => NEIGHBOUR_FAILS,
            Neighbour::Resolves => {
                kernel::connect(&self.sysctls, self.transport.user_timeout, self.kernel)
            }
        };
        own.map_or(limit, |own| limit.or_sooner(Window::exactly(own)))
    }

    /// Between a dial that failed and the next one: the transport's own back-off, or the workload's pause.
    fn between_dials(&self) -> Window {
        let retry = &self.transport.retry;
        match retry.attempts > 0 && retry.on.contains(&RetryOn::DialFailed) {
            true => Window::of(
                retry.backoff.min(self.cycle.pause.min),
                self.cycle.pause.max + retry.backoff,
            ),
            false => self.cycle.pause,
        }
    }

    /// From a dial that meets a live endpoint to the first response.
    fn served(&self) -> Window {
        let handshake = self.cycle.rtt;
        Window::of(
            handshake + self.cycle.service.min,
            handshake * 4 + self.cycle.service.max + SLACK,
        )
    }

    /// When the client has a response again, if it begins to dial within `first_dial`.
    pub(super) fn recovery(&self, first_dial: Window, dials: &Dials<'_>) -> Option<Window> {
        if dials.live == 0 {
            return None;
        }
        let removal = dials.service?.removal;
        let vain = self.connect_limit().max + self.between_dials().max;
        // A client that keeps meeting the dead endpoint.
        let unlucky = (UNLUCKY.ln() / dials.dead().ln()).ceil().max(1.0) as u32;
        let dice = first_dial.max + vain * unlucky;
        let latest = match removal {
            Some(removal) if removal <= first_dial.min => first_dial.max,
            // The last dial that can still go wrong begins just before the removal.
            Some(removal) => first_dial
                .max
                .max(removal + vain)
                .min(dice.max(first_dial.max)),
            None => dice,
        };
        Some(Window::of(first_dial.min, latest).then(self.served()))
    }

    /// The same where chance decides: how likely each number of dead dials is, and the recovery with it. Empty where
    /// chance has no part in it.
    pub(super) fn odds(&self, first_dial: Window, dials: &Dials<'_>) -> Vec<Odds> {
        let (Some(service), true) = (dials.service, dials.live > 0 && dials.live < dials.all)
        else {
            return Vec::new();
        };
        let (limit, between) = (self.connect_limit(), self.between_dials());
        let (mut odds, mut dial, mut left) = (Vec::new(), first_dial, 1.0);
        for dead_dials in 0..u32::try_from(TOLD).unwrap_or(u32::MAX) {
            let removed = service.removal.is_some_and(|removal| dial.min >= removal);
            let alive = if removed { 1.0 } else { 1.0 - dials.dead() };
            odds.push(Odds {
                dead_dials,
                probability: left * alive,
                recovery: dial.then(self.served()),
            });
            left *= 1.0 - alive;
            if left < UNLUCKY {
                break;
            }
            dial = dial.then(limit).then(between);
        }
        match odds.len() {
            // The first dial finds the rules without the dead endpoint.
            1 => Vec::new(),
            _ => odds,
        }
    }

    /// When the first dial after giving up begins.
    fn redial(&self, given_up: Window, cause: Cause) -> Window {
        let t = self.transport;
        let retry = &t.retry;
        let again = retry.attempts > 0
            && retry
                .on
                .iter()
                .any(|on| matches!(on, RetryOn::ReusedConnectionLost | RetryOn::ConnectionLost));
        let streams_end_alone =
            t.protocol == Protocol::H2 && (t.request_timeout.is_some() || t.read_timeout.is_some());
        let pause = self.cycle.pause;
        if let Some(idle) = self.rhythm.idle.filter(|_| self.rhythm.busy.is_none()) {
            // Gone before anybody asked for it: the next request dials.
            if given_up.max <= idle.next.min {
                return idle.next;
            }
        }
        // A request that ran out of time has failed: nothing sends it again, and the workload pauses.
        let own_limit = matches!(cause, Cause::RequestTimeout | Cause::ReadTimeout);
        if own_limit && t.protocol == Protocol::H1 {
            return given_up.then(pause);
        }
        // The next request may come as soon as an idle connection is gone.
        let tested_idle = t.keepalive.is_some()
            || (t.protocol == Protocol::H2 && t.ping.is_some_and(|ping| ping.while_idle));
        let ends_idle = self
            .rhythm
            .idle
            .is_some_and(|idle| given_up.min < idle.next.max)
            && (tested_idle || !self.reuses());
        let least = match again {
            true => retry.backoff.min(pause.min),
            // Between two tries, the next one may come at once.
            false if streams_end_alone => Duration::ZERO,
            false => pause.min,
        };
        Window {
            min: given_up.min + if ends_idle { Duration::ZERO } else { least },
            max: given_up.max + pause.max.max(retry.backoff),
        }
    }
}
