//! How a client comes back: its dials after the detection, of which chance sends some to the dead endpoint.

use std::time::Duration;

use super::kernel;
use super::situation::{Fate, Situation};
use super::window::{Candidate, SLACK, earliest, of_one_sending};
use crate::plan::{Cause, IdleCheck, LONGEST_CASE, Odds, Protocol, RetryOn, Service, Window};

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
    /// Whether chance alone decides where one goes.
    fn by_dice(&self) -> bool {
        self.service.is_none_or(Service::throws_dice)
    }

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
            Fate::GivenUp((closed, Cause::IdleTimeout)) => Some(self.after_the_pool(closed)),
            Fate::GivenUp((given_up, cause)) => Some(self.redial(given_up, cause)),
            Fate::Kept | Fate::PerhapsKept => None,
            // With no connection to give up, the next request dials.
            Fate::NoConnection | Fate::Unsure(None) => Some(next),
            Fate::Unsure(Some(given_up)) => {
                Some(next.around(self.redial(given_up, Cause::Unknown)))
            }
        }
    }

    /// When the next request goes out after the pool closed an idle connection: a pause after its last use.
    fn after_the_pool(&self, closed: Window) -> Window {
        let pool = self.transport.idle_timeout.unwrap_or_default();
        if self.retires() {
            // Out of use since its request ran out of time, and then closed as an idle one.
            let out_of_use = Window::of(
                closed.min.saturating_sub(pool),
                closed.max.saturating_sub(pool + self.until_noticed().max),
            );
            return out_of_use.then(self.cycle.retry);
        }
        if self.transport.idle_check == IdleCheck::NextRequest {
            return closed;
        }
        let left = self.cycle.pause.earlier(Window::exactly(pool));
        let dial = closed.then(left);
        match self
            .rhythm
            .idle
            .filter(|idle| self.rhythm.busy.is_none() && closed.max <= idle.next.min)
        {
            // Nothing was outstanding: that is known more exactly.
            Some(idle) => idle.next,
            None => dial,
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
                max: self.cycle.any_pause().max + self.cycle.delay.max,
            }),
        };
        idle.into_iter()
            .chain(busy)
            .reduce(Window::around)
            .unwrap_or_default()
    }

    /// How long a dial of a dead endpoint takes.
    pub(super) fn connect_limit(&self) -> Window {
        let limits = self.dial_limits();
        limits
            .into_iter()
            .map(|(limit, _)| limit)
            .reduce(Window::or_sooner)
            .unwrap_or_default()
    }

    /// When a dial of a dead endpoint that begins within `dial` is given up, and by what.
    pub(super) fn dead_dial(&self, dial: Window) -> Option<Candidate> {
        let (window, cause) = earliest(of_one_sending(self.dial_limits(), dial))?;
        // A dial may have begun before the fault.
        let connecting = self.rhythm.idle.is_none() && self.rhythm.busy.is_none();
        let early = if connecting { SLACK } else { Duration::ZERO };
        let window = Window::of(window.min.saturating_sub(early), window.max + SLACK);
        Some((window, cause))
    }

    /// All that limits a dial, counted from its beginning.
    fn dial_limits(&self) -> Vec<Candidate> {
        let t = self.transport;
        let kernel = (
            kernel::connect(&self.sysctls, t.user_timeout, self.kernel),
            Cause::DialTimeout,
        );
        let unresolved = self.unresolved.map(|of| (of.dial(), Cause::Unreachable));
        let own = [
            (t.dial_timeout, Cause::DialTimeout),
            (t.request_timeout, Cause::RequestTimeout),
        ];
        let own = own.into_iter();
        own.filter_map(|(limit, cause)| Some((Window::exactly(limit?), cause)))
            .chain([kernel])
            .chain(unresolved)
            .collect()
    }

    /// Between a dial that failed and the next one: the transport's own back-off, or the workload's pause.
    pub(super) fn between_dials(&self) -> Window {
        let retry = &self.transport.retry;
        match retry.attempts > 0 && retry.on.contains(&RetryOn::DialFailed) {
            true => Window::of(
                retry.backoff.min(self.cycle.retry.min),
                self.cycle.retry.max + retry.backoff,
            ),
            false => self.cycle.retry,
        }
    }

    /// From a dial that meets a live endpoint to the first response.
    pub(super) fn served(&self) -> Window {
        let handshake = self.cycle.rtt;
        Window::of(
            handshake + self.cycle.service.min,
            handshake * 4 + self.cycle.service.max + SLACK,
        )
    }

    /// When the client has a response again after which it stays well, if it begins to dial within `first_dial`.
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
            Some(removal) => {
                let latest = first_dial.max.max(removal + vain);
                // Who keeps a connection that works need not dial again.
                match self.reuses() && dials.by_dice() {
                    true => latest.min(dice.max(first_dial.max)),
                    false => latest,
                }
            }
            None => dice,
        };
        Some(Window::of(first_dial.min, latest).then(self.served()))
    }

    /// The same where chance decides: how likely each number of dead dials is, and the recovery with it. Empty where
    /// chance has no part in it.
    pub(super) fn odds(&self, first_dial: Window, dials: &Dials<'_>) -> Vec<Odds> {
        let in_play = dials.live > 0 && dials.live < dials.all && dials.by_dice();
        let (Some(service), true) = (dials.service, in_play) else {
            return Vec::new();
        };
        if !self.reuses() {
            let removal = service.removal;
            return removal.map_or_else(Vec::new, |by| self.odds_of_each(first_dial, dials, by));
        }
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

    /// The same of a client that dials for each request: it is well for good after the last dead dial, whatever was answered
    /// before that. Several of one number of dead dials lie apart by how many were answered meanwhile.
    fn odds_of_each(&self, first_dial: Window, dials: &Dials<'_>, removal: Duration) -> Vec<Odds> {
        let answered = self.served().then(self.cycle.pause);
        let in_vain = self.connect_limit().then(self.between_dials());
        let by_then = |each: Duration| {
            let left = removal.saturating_sub(first_dial.min).as_nanos();
            usize::try_from(left / each.as_nanos().max(1)).unwrap_or(usize::MAX)
        };
        let (most_answered, most_dead) = (by_then(answered.min), by_then(in_vain.min));
        if most_answered > TOLD * 10 || most_dead > TOLD {
            return Vec::new();
        }
        let times = |window: Window, n: usize| {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            Window::of(window.min * n, window.max * n)
        };
        let dial = |good: usize, dead: usize| {
            first_dial
                .then(times(answered, good))
                .then(times(in_vain, dead))
        };
        let alive = |good, dead| match dial(good, dead).min >= removal {
            true => 1.0,
            false => 1.0 - dials.dead(),
        };
        let columns = most_answered + 2;
        // How likely a dial comes after so many answered and dead ones, and how likely just after a dead one.
        let mut reached = vec![(0.0, 0.0); columns];
        reached[0] = (1.0, 1.0);
        let mut odds = Vec::new();
        for dead in 0..most_dead + 2 {
            let mut next = vec![(0.0, 0.0); columns];
            for good in 0..columns {
                let (here, after_dead) = reached[good];
                let chance = alive(good, dead);
                if good + 1 < columns && chance < 1.0 {
                    reached[good + 1].0 += here * chance;
                }
                let lost = here * (1.0 - chance);
                next[good] = (lost, lost);
                let stays: f64 = (good..columns).map(|later| alive(later, dead)).product();
                if after_dead * stays > 0.0 {
                    odds.push(Odds {
                        dead_dials: u32::try_from(dead).unwrap_or(u32::MAX),
                        probability: after_dead * stays,
                        recovery: dial(good, dead).then(self.served()),
                    });
                }
            }
            reached = next;
        }
        match odds.len() {
            0 | 1 => Vec::new(),
            _ => odds,
        }
    }

    /// For how long a client that had a response stays well at the most, where what it does next may fail again; `None` where
    /// it stays well for good. Longer only by a luck of one in a million.
    pub(super) fn relapses_within(&self, dials: &Dials<'_>) -> Option<Duration> {
        let service = dials.service?;
        let cycle = self.served().max + self.cycle.pause.max;
        let failing = |probability: f64| {
            let lucky = (UNLUCKY.ln() / (1.0 - probability).ln()).ceil().max(1.0) as u32;
            cycle * lucky + self.connect_limit().max
        };
        let stays_in_the_rules = service.removal.is_none() && dials.live < dials.all;
        let in_the_rules = match stays_in_the_rules {
            true => dials.all,
            false => dials.live,
        };
        if dials.live > 0 && stays_in_the_rules && !self.reuses() {
            let each = self.transport.idle_timeout < Some(self.cycle.pause.min);
            return Some(if each {
                failing(dials.dead())
            } else {
                LONGEST_CASE
            });
        }
        let conntrack = self.conntrack.filter(|_| self.reuses())?;
        conntrack
            .loses_the_healthy(self.silence(self.cycle.pause), in_the_rules)
            .map(|chance| match chance {
                // Nobody knows when.
                None => LONGEST_CASE,
                // Its connection is as good as dead with each pause.
                Some(1.0..) => cycle + self.longest_wait(),
                Some(chance) => failing(chance),
            })
    }

    /// When the first dial after giving up begins.
    pub(super) fn redial(&self, given_up: Window, cause: Cause) -> Window {
        let t = self.transport;
        let retry = &t.retry;
        let again = retry.attempts > 0
            && retry
                .on
                .iter()
                .any(|on| matches!(on, RetryOn::ReusedConnectionLost | RetryOn::ConnectionLost));
        let streams_end_alone =
            t.protocol == Protocol::H2 && (t.request_timeout.is_some() || t.read_timeout.is_some());
        if let Some(idle) = self.rhythm.idle.filter(|_| self.rhythm.busy.is_none()) {
            // Gone before anybody asked for it: the next request dials.
            if given_up.max <= idle.next.min {
                return idle.next;
            }
        }
        // A request that ran out of time has failed: nothing sends it again, and the workload pauses.
        let own_limit = matches!(cause, Cause::RequestTimeout | Cause::ReadTimeout);
        if own_limit && t.protocol == Protocol::H1 {
            return given_up.then(self.cycle.after_failures(1));
        }
        if cause == Cause::HeartbeatFailure {
            return given_up.then(self.cycle.after_failures(2));
        }
        // The connection was out of use before, if a request ran out of time on it.
        if self.retires() {
            return Window::of(Duration::ZERO, given_up.max + self.cycle.any_pause().max);
        }
        // The next request may come as soon as an idle connection is gone.
        let tested_idle = t.keepalive.is_some()
            || (t.protocol == Protocol::H2 && t.ping.is_some_and(|ping| ping.while_idle));
        let ends_idle = self
            .rhythm
            .idle
            .is_some_and(|idle| given_up.min < idle.next.max)
            && (tested_idle || !self.reuses());
        let failed = match streams_end_alone {
            // Between two tries, the next one may come at once.
            true => Window::of(Duration::ZERO, self.cycle.retry.max),
            false => self.cycle.after_failures(1),
        };
        let least = match again {
            true => retry.backoff.min(self.cycle.retry.min),
            false => failed.min,
        };
        let latest = match ends_idle {
            true => self.cycle.any_pause().max,
            false => failed.max,
        };
        Window {
            min: given_up.min + if ends_idle { Duration::ZERO } else { least },
            max: given_up.max + latest.max(retry.backoff),
        }
    }
}

#[cfg(test)]
#[path = "dials_tests.rs"]
mod tests;
