//! What ends the wait on a dead connection: every mechanism, with its window.

use std::time::Duration;

use super::keepalive;
use super::kernel;
use super::rto::Path;
use super::situation::Situation;
use super::window::{Candidate, earliest, either, of_one_sending};
use crate::plan::{Cause, Neighbour, Ping, Protocol, Window};

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
            None => of_request.push(self.retransmission(Window::default())),
            // A PING while idle is unacknowledged data too, and may come before the request.
            Some((_, sent)) => all.push(self.retransmission(from.or_sooner(sent))),
        }
        all.extend(of_one_sending(of_request, from));
        if let Some((ping, sent)) = ping {
            all.push((sent.then(Window::exactly(ping.timeout)), Cause::PingTimeout));
        }
        all
    }

    /// The health check, and when its PING goes out to a peer that is dead.
    fn ping_when_unanswered(&self, from: Window, rested: Window) -> Option<(Ping, Window)> {
        let ping = self
            .transport
            .ping
            .filter(|_| self.transport.protocol == Protocol::H2)?;
        let silent = match ping.while_idle {
            // The PINGs of a longer pause were answered.
            true => heard_at_least_every(ping.idle, rested),
            false => rested,
        };
        let due = Window::exactly(ping.idle).earlier(silent);
        let sent = match ping.while_idle {
            true => due,
            // Only while a request is open.
            false => Window::of(due.min.max(from.min), due.max.max(from.max)),
        };
        Some((ping, sent))
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
                all.push(self.retransmission(reset));
                frames.push(reset);
            }
            if let Some(ping) = t.ping {
                let silent = Window::of(sent.min, sent.max + self.cycle.pause.max);
                let silent = heard_at_least_every(ping.idle, silent);
                let pinged = Window::exactly(ping.idle).earlier(silent);
                let of_ping = vec![
                    (Window::exactly(ping.timeout), Cause::PingTimeout),
                    self.retransmission(Window::default()),
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
        let keepalive = self.transport.keepalive?;
        let user_timeout = self.transport.user_timeout;
        let longest = self.cycle.pause.max.max(self.cycle.delay.max);
        let window = keepalive::keepalive(
            &keepalive,
            user_timeout,
            self.cycle.rtt,
            silent,
            longest > keepalive.idle && self.rhythm.may_have_rested,
            self.kernel,
        );
        // Probes fail before the neighbour entry does: measured with a dead neighbour too.
        let cause = match user_timeout {
            Some(_) => Cause::UserTimeout,
            None => Cause::Keepalive,
        };
        Some((window, cause))
    }

    /// Data sent within `sent` is retransmitted until the kernel has enough.
    fn retransmission(&self, sent: Window) -> Candidate {
        let user_timeout = self.transport.user_timeout;
        let path = Path {
            rtt: self.cycle.rtt,
            exchanges: self.rhythm.exchanges,
        };
        let window = kernel::retransmission(&self.sysctls, path, user_timeout, self.kernel);
        let cause = match (self.neighbour, user_timeout) {
            (Neighbour::Dead, _) => Cause::Unreachable,
            (Neighbour::Resolves, Some(_)) => Cause::UserTimeout,
            (Neighbour::Resolves, None) => Cause::RetransmissionTimeout,
        };
        (sent.then(window), cause)
    }

    /// The client's own limits on a request sent within `sent`, as far as they end the connection.
    fn limits(&self, sent: Window) -> Vec<Candidate> {
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
            // On HTTP/2 a limit ends the stream alone; the connection goes if a PING says so.
            (Protocol::H2, Some(answer)) => limits
                .map(|(limit, _)| (after(limit + answer), Cause::PingTimeout))
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
