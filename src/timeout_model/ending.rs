//! What ends the wait on a dead connection: every mechanism, with its window.

use std::time::Duration;

use super::keepalive;
use super::kernel;
use super::neighbour::Limit;
use super::rto::Path;
use super::situation::Situation;
use super::window::{Candidate, TICK, earliest, either, of_one_sending};
use crate::plan::{Cause, IdleCheck, Ping, Protocol, TimeoutEnds, Window};

/// From a request's sending to its acknowledgement, on top of the round trip: it may be delayed (TCP_DELACK_MIN), and a
/// tick.
const DELAYED: Duration = Duration::from_millis(60);

impl Situation<'_> {
    /// What ends a request sent within `from`: nothing of it is acknowledged. `rested`: since the last frame was read.
    pub(super) fn next_request(&self, from: Window, rested: Window) -> Vec<Candidate> {
        let mut of_request = self.limits(Window::default());
        let mut all = Vec::new();
        let ping = self.ping_when_unanswered(from, rested);
        match ping.filter(|(ping, _)| ping.while_idle) {
            None => of_request.push(self.retransmission(Window::default(), from)),
            // A PING while idle is unacknowledged data too, and may come before the request.
            Some((_, sent)) => {
                let sent = from.or_sooner(sent);
                all.push(self.retransmission(sent, sent));
            }
        }
        all.extend(of_one_sending(of_request, from));
        if let Some((ping, sent)) = ping {
            all.push((sent.then(Window::exactly(ping.timeout)), Cause::PingTimeout));
        }
        let closed = self.closed_by_heartbeats();
        all.extend(closed.map(|(after, cause)| (from.then(after), cause)));
        self.or_by_the_pool(all, |after| from.then(after))
    }

    /// The same with the pool of a client of HTTP/2: a request that ran out of time leaves its connection idle there, and
    /// the pool closes it before the next request where the pause is longer than its idle timeout. `since_fault` is from a time after the sending.
    fn or_by_the_pool(
        &self,
        mut others: Vec<Candidate>,
        since_fault: impl Fn(Window) -> Window,
    ) -> Vec<Candidate> {
        let t = self.transport;
        let request = [t.request_timeout, t.read_timeout].into_iter().flatten();
        if let (true, Some(request), Some(pool)) =
            (self.retires(), request.clone().min(), t.idle_timeout)
        {
            let closed = Window::exactly(request + pool).then(self.until_noticed());
            others.push((since_fault(closed), Cause::IdleTimeout));
            return others;
        }
        let retry = self.cycle.retry;
        let pool = t.idle_timeout.filter(|pool| *pool <= retry.max);
        let (Protocol::H2, Some(request), Some(pool)) = (t.protocol, request.min(), pool) else {
            return others;
        };
        let closed = match t.idle_check {
            IdleCheck::Timer => Window::exactly(request + pool),
            IdleCheck::NextRequest => Window::exactly(request).then(retry),
        };
        let closed = since_fault(closed);
        let closed = (closed, Cause::IdleTimeout);
        if pool < retry.min {
            others.push(closed);
            return others;
        }
        // Some pauses the connection survives.
        match earliest(others.clone()) {
            Some(other) if other.0.max > closed.0.min => vec![either(closed, other)],
            _ => others,
        }
    }

    /// When heartbeats that fail close a connection of HTTP/2, counted from the first of them: the second has failed by then, one right
    /// after the other. (Over HTTP/1.1 the first has closed it.)
    fn closed_by_heartbeats(&self) -> Option<Candidate> {
        let t = self.transport;
        let stays = t.protocol == Protocol::H2 && !self.retires() && t.ping_after_timeout.is_none();
        let limits = [t.request_timeout, t.read_timeout].into_iter().flatten();
        let limit = limits
            .min()
            .filter(|_| stays && self.cycle.closes_on_failure)?;
        Some((Window::exactly(limit * 2), Cause::HeartbeatFailure))
    }

    /// Whether a request that runs out of time takes its connection out of use on HTTP/2.
    pub(super) fn retires(&self) -> bool {
        self.transport.protocol == Protocol::H2
            && self.transport.timeout_ends == TimeoutEnds::Connection
    }

    /// From the moment at which a connection out of use has been idle for too long to its end: the next request may have to
    /// wait for one that dials in vain.
    pub(super) fn until_noticed(&self) -> Window {
        match self.transport.idle_check {
            IdleCheck::Timer => Window::default(),
            IdleCheck::NextRequest => Window::of(
                Duration::ZERO,
                self.cycle.any_pause().max + self.connect_limit().max,
            ),
        }
    }

    /// The health check, and when its PING goes out to a peer that is dead.
    pub(super) fn ping_when_unanswered(
        &self,
        from: Window,
        rested: Window,
    ) -> Option<(Ping, Window)> {
        let ping = self
            .transport
            .ping
            .filter(|_| self.transport.protocol == Protocol::H2)?;
        let rested = self.since_heard(rested);
        let silent = match ping.while_idle {
            // The PINGs of a longer pause were answered.
            true => heard_at_least_every(ping.idle, rested),
            false => rested,
        };
        let due = Window::exactly(ping.idle).earlier(silent);
        let sent = match ping.while_idle {
            true => due,
            // Only while a request is open.
            false => {
                let due = Window::of(due.min.max(from.min), due.max.max(from.max));
                let after = Window::of(
                    due.min.saturating_sub(from.max),
                    due.max.saturating_sub(from.min),
                );
                let open = from.then(self.while_a_request_is_open(after));
                Window::of(
                    due.min.max(open.min),
                    due.max.max(open.max.min(due.max + self.cycle.retry.max)),
                )
            }
        };
        Some((ping, sent))
    }

    /// The first moment from `after` on at which a request is open, counted from one that has no answer: if it runs out of time, the
    /// next one follows after a pause.
    pub(super) fn while_a_request_is_open(&self, after: Window) -> Window {
        let limits = [self.transport.request_timeout, self.transport.read_timeout];
        let Some(limit) = limits.into_iter().flatten().min() else {
            return after;
        };
        let next = |after: Duration, pause: Duration, open: Duration| {
            let cycle = (limit + pause).max(TICK);
            let into = after.as_nanos() % cycle.as_nanos();
            let into = Duration::from_nanos(u64::try_from(into).unwrap_or(u64::MAX));
            match into <= open {
                true => after,
                false => after + (cycle - into),
            }
        };
        let pause = self.cycle.retry;
        // A timer is late by a little.
        let (shortest, longest) = (limit.saturating_sub(TICK), limit + TICK);
        if pause.min != pause.max && after.max > shortest {
            // Which of several pauses it may be in nobody knows.
            return Window::of(after.min, after.max + pause.max);
        }
        let each = [pause.min, pause.max];
        let soonest = each.map(|pause| next(after.min, pause, longest));
        let latest = each.map(|pause| next(after.max, pause, shortest));
        Window::of(soonest[0].min(soonest[1]), latest[0].max(latest[1]))
    }

    /// What ends a request that was acknowledged and waits for its response: nothing is outstanding on TCP's level.
    /// `sent` is how long before the fault it went out.
    pub(super) fn waiting(&self, sent: Window) -> Vec<Candidate> {
        let t = self.transport;
        let mut all: Vec<Candidate> = self
            .limits(Window::default())
            .into_iter()
            .map(|(w, cause)| (w.earlier(sent), cause))
            .collect();
        let mut frames = Vec::new();
        if t.protocol == Protocol::H2 {
            // A reset stream and a PING are frames that nobody acknowledges.
            for limit in [t.request_timeout, t.read_timeout].into_iter().flatten() {
                let reset = Window::exactly(limit).earlier(sent);
                all.push(self.retransmission(reset, reset));
                frames.push(reset);
            }
            if let Some(ping) = t.ping {
                let silent = Window::of(sent.min, sent.max + self.cycle.pause.max);
                let silent = heard_at_least_every(ping.idle, self.since_heard(silent));
                let pinged = Window::exactly(ping.idle).earlier(silent);
                let of_ping = vec![
                    (Window::exactly(ping.timeout), Cause::PingTimeout),
                    self.retransmission(Window::default(), pinged),
                ];
                all.extend(of_one_sending(of_ping, pinged));
                frames.push(pinged);
            }
        }
        // Keepalive counts until such a frame goes out. The acknowledgement was the last it heard.
        let acknowledged = Window::of(
            sent.min.saturating_sub(self.cycle.rtt + DELAYED),
            sent.max.saturating_sub(self.cycle.rtt),
        );
        let closed = self.closed_by_heartbeats();
        all.extend(closed.map(|(after, cause)| (after.earlier(sent), cause)));
        all = self.or_by_the_pool(all, |after| after.earlier(sent));
        let keepalive = self.keepalive(acknowledged).filter(|(window, _)| {
            let first = frames.iter().map(|sent| sent.max).min();
            first.is_none_or(|sent| window.min < sent)
        });
        match (keepalive, earliest(all.clone())) {
            (Some(keepalive), Some(other))
                if frames.iter().any(|sent| sent.min < keepalive.0.max) =>
            {
                vec![either(keepalive, other)]
            }
            (keepalive, _) => {
                all.extend(keepalive);
                all
            }
        }
    }

    /// When keepalive ends a connection on which nothing is outstanding; the peer was last heard `silent` before the
    /// fault.
    pub(super) fn keepalive(&self, silent: Window) -> Option<Candidate> {
        let longest = self.cycle.pause.max.max(self.cycle.delay.max);
        let rested = self.rhythm.may_have_rested.then_some(longest);
        self.keepalive_after(silent, rested.unwrap_or_default())
    }

    /// The same of one whose longest silence before was `rested`.
    pub(super) fn keepalive_after(&self, silent: Window, rested: Duration) -> Option<Candidate> {
        let keepalive = self.transport.keepalive?;
        let user_timeout = self.transport.user_timeout;
        let window = keepalive::keepalive(
            &keepalive,
            user_timeout,
            self.cycle.rtt,
            self.since_heard(silent),
            rested > keepalive.idle,
            self.kernel,
        );
        // With a dead neighbour too: what its node says of a probe is not heard.
        let cause = match user_timeout {
            Some(_) => Cause::UserTimeout,
            None => Cause::Keepalive,
        };
        Some((window, cause))
    }

    /// Since when nothing was read at the fault, by a client that was asked nothing but a server's PINGs since `rested`.
    pub(super) fn since_heard(&self, rested: Window) -> Window {
        let pinged = self.servers.pings_every;
        match pinged.filter(|_| self.transport.protocol == Protocol::H2) {
            Some(every) => heard_at_least_every(every, rested),
            None => rested,
        }
    }

    /// Data sent within `sent` is retransmitted until the kernel has enough. `since_fault` is when that is.
    pub(super) fn retransmission(&self, sent: Window, since_fault: Window) -> Candidate {
        let user_timeout = self.transport.user_timeout;
        let path = Path {
            rtt: self.cycle.rtt,
            exchanges: self.rhythm.exchanges,
        };
        let cause = match user_timeout {
            Some(_) => Cause::UserTimeout,
            None => Cause::RetransmissionTimeout,
        };
        let (first, ordinary) =
            kernel::first_and_series(&self.sysctls, path, user_timeout, self.kernel);
        let limit = Limit {
            least: user_timeout.unwrap_or(self.sysctls.retransmission_bound()),
            ordinary,
            cause,
            sysctls: &self.sysctls,
            path,
            kernel: self.kernel,
        };
        let (window, cause) = match &self.unresolved {
            Some(unresolved) => unresolved.retransmission(first, &limit),
            None => {
                let ordinary = (first.then(ordinary), cause);
                self.resent_by_conntrack(since_fault, first, ordinary, &limit)
            }
        };
        (sent.then(window), cause)
    }

    /// How long a request to nobody takes to end, at the most.
    pub(super) fn longest_wait(&self) -> Duration {
        let mut all = self.limits(Window::default());
        all.push(self.retransmission(Window::default(), Window::default()));
        let longest = all.iter().map(|(window, _)| window.max).min();
        longest.unwrap_or_default()
    }

    /// The client's own limits on a request sent within `sent`, as far as they end the connection.
    pub(super) fn limits(&self, sent: Window) -> Vec<Candidate> {
        let t = self.transport;
        let limits = [
            (t.request_timeout, Cause::RequestTimeout),
            (t.read_timeout, Cause::ReadTimeout),
        ];
        let limits = limits
            .into_iter()
            .filter_map(|(limit, cause)| Some((limit?, cause)));
        let after = |limit| sent.then(Window::exactly(limit));
        match (t.protocol, t.ping_after_timeout) {
            (Protocol::H1, _) => limits.map(|(limit, cause)| (after(limit), cause)).collect(),
            (Protocol::H2, _) if self.retires() && t.idle_timeout.is_none() => {
                limits.map(|(limit, cause)| (after(limit), cause)).collect()
            }
            // On HTTP/2 a limit ends the stream alone; the connection goes if a PING says so to the next request.
            (Protocol::H2, Some(answer)) => limits
                .map(|(limit, _)| {
                    let pause = self.cycle.retry;
                    let noticed = match pause.min >= answer {
                        true => pause,
                        // That one may come too early, and run out of time as well.
                        false => Window::of(answer, answer.max(pause.max * 2 + limit)),
                    };
                    (after(limit).then(noticed), Cause::PingTimeout)
                })
                .collect(),
            (Protocol::H2, None) => Vec::new(),
        }
    }
}

/// A silence of a peer that is asked, and answers, after every `limit` of it.
fn heard_at_least_every(limit: Duration, silent: Window) -> Window {
    match silent.max <= limit {
        true => silent,
        false => Window::of(Duration::ZERO, limit),
    }
}
