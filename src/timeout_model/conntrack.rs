//! A service's conntrack entry that runs out: the next packet of its connection is translated by the rules as they are then,
//! or not at all.
//!
//! Each packet that passes gives the entry a new lease: `nf_conntrack_tcp_timeout_established`, or less while something is
//! unacknowledged (`…_unacknowledged`) or was sent again (`…_max_retrans`), whichever is shorter (nf_conntrack_tcp_packet()).
//! A packet in the middle of a connection for which there is no entry is a new connection for conntrack with
//! `nf_conntrack_tcp_loose`=1: it meets whatever endpoint the rules choose, and one that knows of no such connection answers
//! with RST. With 0 it is invalid, and goes to the service's own address, which no node has.

use std::time::Duration;

use super::neighbour::Limit;
use super::rto;
use super::series::{Series, in_jiffies_up};
use super::timer::Rounding;
use super::window::SLACK;
use crate::plan::{Client, Fault, LabPlan, Service, Window, sysctl_number};

/// Of a sending and of an entry's end that lie as close, nobody knows which is first.
pub(super) const CLOSE: Duration = Duration::from_millis(250);

/// What a client's node knows of a service's connections, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conntrack<'a> {
    established: Duration,
    unacknowledged: Duration,
    retransmitted: Duration,
    max_retrans: usize,
    pub(super) loose: bool,
    pub(super) service: &'a Service,
    /// Endpoints whose nodes the fault takes, of all in the rules.
    dead: usize,
}

/// Whether an entry outlives a time without packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Kept,
    Forgotten,
    /// Nobody knows which.
    Perhaps,
}

/// What becomes of a connection whose entry was forgotten, with its next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// An endpoint that lives answers with RST.
    Reset,
    /// It goes to the dead endpoint, as before.
    Dead,
    /// To one or the other, or to none.
    Either,
    /// It goes to the service's own address.
    Untranslated,
}

impl<'a> Conntrack<'a> {
    /// Of a client that asks a service whose connections are where conntrack's entries say.
    pub(super) fn of(client: &Client, plan: &'a LabPlan, fault: &Fault) -> Option<Self> {
        let name = client.target.service.as_ref()?;
        let service = plan.services.iter().find(|s| s.name == *name)?;
        service.throws_dice().then_some(())?;
        let node = plan.node(&client.node)?;
        let sysctl = |name: &str, default: u64| {
            let key = format!("net.netfilter.nf_conntrack_tcp_{name}");
            sysctl_number(&node.sysctls, &key).unwrap_or(default)
        };
        let time = |name, default| Duration::from_secs(sysctl(name, default));
        let dead = service.endpoints.iter().filter(|endpoint| {
            let server = plan.server(&endpoint.server);
            server.is_some_and(|server| fault.dead_node() == Some(server.node.as_str()))
        });
        Some(Self {
            established: time("timeout_established", 432_000),
            unacknowledged: time("timeout_unacknowledged", 300),
            retransmitted: time("timeout_max_retrans", 300),
            max_retrans: usize::try_from(sysctl("max_retrans", 3)).unwrap_or(usize::MAX),
            loose: sysctl("loose", 1) != 0,
            dead: dead.count(),
            service,
        })
    }

    /// Whether the entry is there still after a time in which nothing passed on an idle connection.
    pub(super) fn after(&self, quiet: Window) -> Entry {
        match (
            quiet.max + CLOSE < self.established,
            quiet.min > self.established + CLOSE,
        ) {
            (true, _) => Entry::Kept,
            (_, true) => Entry::Forgotten,
            (false, false) => Entry::Perhaps,
        }
    }

    /// The same after a time in which nothing passed but what one of both ends sent, the same again and again, and the other
    /// may not have answered: probes.
    pub(super) fn after_probe(&self, quiet: Window) -> Entry {
        let retransmitted = self.established.min(self.retransmitted);
        match quiet.max + CLOSE < retransmitted {
            true => Entry::Kept,
            false if self.after(quiet) == Entry::Kept => Entry::Perhaps,
            false => self.after(quiet),
        }
    }

    /// What becomes of a packet without an entry that goes out within `at` after the fault.
    pub(super) fn next(&self, at: Window) -> Next {
        let live = self.service.endpoints.len() - self.dead;
        let removed = match self.service.removal {
            Some(removal) if removal + SLACK < at.min => Some(true),
            Some(removal) if removal <= at.max + SLACK => None,
            Some(_) | None => Some(false),
        };
        match (self.loose, live, removed) {
            (false, ..) => Next::Untranslated,
            (true, 1.., Some(true)) => Next::Reset,
            (true, 0, Some(false)) => Next::Dead,
            (true, ..) => Next::Either,
        }
    }

    /// How long the entry lasts after the n-th retransmission, from 0.
    fn lease(&self, retransmission: usize) -> Duration {
        // Each one more of the same segment counts.
        if retransmission >= self.max_retrans && self.retransmitted < self.established {
            self.retransmitted
        } else {
            self.established.min(self.unacknowledged)
        }
    }

    /// The first retransmission of a series that ends at `bound` which finds no entry any more; counted from the first.
    fn forgotten_in(&self, series: Series, bound: Duration) -> Option<Duration> {
        let mut last = Duration::ZERO;
        for (n, fires) in series.fires().enumerate() {
            if fires >= bound {
                return None;
            }
            if fires - last > self.lease(n) {
                return Some(fires);
            }
            last = fires;
        }
        None
    }

    /// The same of every series that a connection may have, and whether it is so of each; `None` if of none.
    pub(super) fn forgotten_within(&self, limit: &Limit) -> Option<(Window, bool)> {
        let rto = rto::first_rto(limit.path, limit.sysctls);
        let rto_max = Duration::from_millis(limit.sysctls.rto_max_ms);
        let shortest = self.established.min(self.unacknowledged);
        // The wheel lengthens a timer by an eighth at most.
        if shortest.min(self.retransmitted) > rto_max + rto_max / 7 + CLOSE {
            return None;
        }
        let longest = rto_max.min(limit.least + rto.max * 2);
        let (mut each, mut found): (bool, Option<Window>) = (true, None);
        for (hz, start) in limit.kernel.moments(longest) {
            let (low, high) = (
                in_jiffies_up(rto.min, hz).max(1),
                in_jiffies_up(rto.max, hz),
            );
            let step = usize::try_from(((high - low.min(high)) / 4).max(1)).unwrap_or(1);
            for first_rto in (low..=high).step_by(step).chain([high.max(1)]) {
                let series = Series {
                    hz,
                    rounding: Rounding::Wheel,
                    start,
                    first_rto,
                    rto_max: in_jiffies_up(rto_max, hz),
                    linear: limit.sysctls.linear_retransmissions(),
                };
                match self.forgotten_in(series, limit.least) {
                    Some(at) => {
                        let at = Window::of(at.saturating_sub(CLOSE), at + CLOSE);
                        found = Some(found.map_or(at, |known| known.around(at)));
                    }
                    None => each = false,
                }
            }
        }
        found.map(|window| (window, each))
    }

    /// How likely each pause between two requests costs a healthy client its connection, with so many endpoints in the rules;
    /// `None` if no pause does, and no number where only some pauses may be long enough.
    pub(super) fn loses_the_healthy(&self, pause: Window, endpoints: usize) -> Option<Option<f64>> {
        let chance = match (self.loose, endpoints) {
            (false, _) => 1.0,
            (true, 0 | 1) => return None,
            // Its own endpoint is as likely as any other.
            (true, _) => (endpoints - 1) as f64 / endpoints as f64,
        };
        match self.after(pause) {
            Entry::Kept => None,
            Entry::Perhaps => Some(None),
            Entry::Forgotten => Some(Some(chance)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Cause, Endpoint, Proxy};
    use crate::timeout_model::{Kernel, Path, TcpSysctls};

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn exactly(time: f64) -> Window {
        Window::exactly(seconds(time))
    }

    /// Of two endpoints, which leave the rules 40 s after the loss of their node.
    fn service() -> Service {
        let address = "192.168.255.1:80".parse().expect("an address");
        let endpoint = |server: &str| Endpoint {
            server: server.to_owned(),
            address,
        };
        Service {
            name: "web".to_owned(),
            address,
            proxy: Proxy::Iptables,
            endpoints: vec![endpoint("s1"), endpoint("s2")],
            pin_first: None,
            affinity: None,
            removal: Some(seconds(40.0)),
            readiness: None,
        }
    }

    /// The node of one of the endpoints is lost.
    fn conntrack(service: &Service) -> Conntrack<'_> {
        Conntrack {
            established: seconds(100.0),
            unacknowledged: seconds(30.0),
            retransmitted: seconds(10.0),
            max_retrans: 3,
            loose: true,
            service,
            dead: 1,
        }
    }

    #[test]
    fn of_a_pause_about_as_long_as_an_entry_lasts_nobody_knows() {
        let service = service();
        let after = |quiet: Window| conntrack(&service).after(quiet);
        assert_eq!(after(exactly(99.7)), Entry::Kept);
        for close in [99.75, 100.0, 100.25] {
            assert_eq!(after(exactly(close)), Entry::Perhaps, "{close} s");
        }
        assert_eq!(after(exactly(100.3)), Entry::Forgotten);
        assert_eq!(
            after(Window::of(seconds(1.0), seconds(200.0))),
            Entry::Perhaps
        );
    }

    #[test]
    fn a_packet_without_an_entry_goes_where_the_rules_lead_by_then() {
        let service = service();
        let one_lives = conntrack(&service);
        assert_eq!(one_lives.next(exactly(40.3)), Next::Reset);
        // About as the dead endpoint leaves the rules, and before that, it may be chosen.
        for at in [40.25, 39.75, 10.0] {
            assert_eq!(one_lives.next(exactly(at)), Next::Either, "{at} s");
        }
        let none_lives = Conntrack {
            dead: 2,
            ..one_lives
        };
        assert_eq!(none_lives.next(exactly(39.7)), Next::Dead);
        assert_eq!(none_lives.next(exactly(39.75)), Next::Either);
        let strict = Conntrack {
            loose: false,
            ..one_lives
        };
        assert_eq!(strict.next(exactly(40.3)), Next::Untranslated);
    }

    /// nf_conntrack_tcp_packet(): `retrans >= max_retrans` takes the time for that, if it is the shorter one.
    #[test]
    fn an_entry_lasts_by_what_was_sent_again() {
        let service = service();
        let usual = conntrack(&service);
        let leases = |of: Conntrack| [0, 2, 3, 4].map(|n| of.lease(n).as_secs());
        assert_eq!(leases(usual), [30, 30, 10, 10]);
        let short = Conntrack {
            established: seconds(5.0),
            ..usual
        };
        assert_eq!(leases(short), [5, 5, 5, 5]);
    }

    #[test]
    fn the_first_gap_between_retransmissions_that_is_too_long_forgets_them() {
        let service = service();
        let conntrack = conntrack(&service);
        let series = Series {
            hz: 1000,
            rounding: Rounding::Wheel,
            start: 0,
            first_rto: 200,
            rto_max: 120_000,
            linear: 0,
        };
        // Gaps of 0.4, 0.8, 1.6, 3.2, 6.4 and 12.8 s; the wheel makes them a little longer.
        let sixth = series.fires().nth(5);
        assert_eq!(conntrack.forgotten_in(series, seconds(900.0)), sixth);
        assert_eq!(conntrack.forgotten_in(series, seconds(20.0)), None);
        let sysctls = TcpSysctls::default();
        let within = |least: f64| {
            conntrack.forgotten_within(&Limit {
                least: seconds(least),
                ordinary: exactly(least),
                cause: Cause::RetransmissionTimeout,
                sysctls: &sysctls,
                path: Path::default(),
                kernel: Kernel::of("7.3", Some(250)),
            })
        };
        // The first RTO lies between 0.2 s and 0.3 s, so the gap is the fifth or the sixth.
        let (window, each) = within(900.0).expect("each is forgotten");
        let (min, max) = (window.min.as_secs_f64(), window.max.as_secs_f64());
        assert!(each, "{min} to {max}");
        assert!(
            (18.0..26.0).contains(&min) && (25.0..42.0).contains(&max),
            "{min} to {max}"
        );
        assert_eq!(within(12.0), None, "the connection is given up before");
    }

    #[test]
    fn a_healthy_connection_is_lost_to_the_dice_of_the_rules() {
        let service = service();
        let usual = conntrack(&service);
        let strict = Conntrack {
            loose: false,
            ..usual
        };
        assert_eq!(usual.loses_the_healthy(exactly(200.0), 2), Some(Some(0.5)));
        assert_eq!(usual.loses_the_healthy(exactly(200.0), 4), Some(Some(0.75)));
        assert_eq!(usual.loses_the_healthy(exactly(200.0), 1), None);
        assert_eq!(strict.loses_the_healthy(exactly(200.0), 1), Some(Some(1.0)));
        assert_eq!(usual.loses_the_healthy(exactly(100.0), 2), Some(None));
        assert_eq!(usual.loses_the_healthy(exactly(10.0), 2), None);
    }
}
