//! A dead node whose link-layer address does not resolve: what the client's own node says of it, and when.
//!
//! The first packet to it starts a resolution: `mcast_solicit` solicitations, one every `retrans_time_ms`, and then the entry
//! has failed (neigh_timer_handler()). Every packet that waited for it is answered with ICMP, and the next packet starts
//! anew. A dial ends with that. An established connection goes on, but remembers it as its error, and over IPv4 each such
//! answer undoes a step of the back-off (RFC 6069, tcp_ld_RTO_revert()): the timer is cut to what is left of the shorter RTO,
//! or fires at once. Over IPv6 only "no route" does that, and an address that does not resolve is another answer
//! (tcp_v6_err()). A keepalive probe lies outside the window of sequence numbers, so an answer to it is not heard at all.

use std::cell::Cell;
use std::time::Duration;

use super::kernel::{Kernel, hull, timers};
use super::rto::{self, Path};
use super::series::{Series, in_jiffies_up};
use super::sysctls::TcpSysctls;
use super::timer::Rounding;
use super::window::Candidate;
use crate::plan::{Cause, Client, LabPlan, Place, Window, sysctl_number};

/// Moments of the failure that are tried, where it may come at any.
const MOMENTS: u32 = 16;

/// A neighbour that does not resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unresolved {
    /// From a packet that starts a resolution until that has failed.
    pub(super) fails: Window,
    /// Whether something else of the node may have started one before.
    pub(super) begun: bool,
    /// Whether ICMP undoes the back-off of an established connection.
    reverts: bool,
    /// Whether others at the client's address may use up the ICMP errors that its node sends it: one a second, and a burst of
    /// six (`icmp_ratelimit`).
    shared: bool,
    /// Whether packets wait in the client's own kernel: what is there still is not sent again, and the limit counts from its
    /// first sending (skb_still_in_host_queue(); `retrans_stamp` is that of the last sending).
    own_kernel: bool,
}

/// What ends a series of retransmissions, and on which connection.
pub(super) struct Limit<'a> {
    /// The least that it lasts, from the first retransmission.
    pub(super) least: Duration,
    /// How the kernel's own timers would end it, from the first retransmission.
    pub(super) ordinary: Window,
    /// What that is called. A TCP_USER_TIMEOUT cuts the last timer short.
    pub(super) cause: Cause,
    pub(super) sysctls: &'a TcpSysctls,
    pub(super) path: Path,
    pub(super) kernel: Kernel,
}

impl Unresolved {
    pub(super) fn of(client: &Client, plan: &LabPlan, kernel: Kernel) -> Self {
        let family = match client.target.address.is_ipv4() {
            true => "ipv4",
            false => "ipv6",
        };
        let node = plan.node(&client.node);
        let sysctl = |name: &str, default: u64| {
            let key = format!("net.{family}.neigh.eth0.{name}");
            let own = node.and_then(|node| sysctl_number(&node.sysctls, &key));
            own.unwrap_or(default)
        };
        let every = Duration::from_millis(sysctl("retrans_time_ms", 1000));
        // Beyond what any kernel takes seriously.
        let solicitations = usize::try_from(sysctl("mcast_solicit", 3).min(1000)).unwrap_or(1000);
        let others = |same: &dyn Fn(&Client) -> bool| {
            let mut others = plan.clients.iter().filter(|c| c.name != client.name);
            others.any(same)
        };
        let probes = client.transport.keepalive.is_some() || client.transport.ping.is_some();
        let several = client.workloads.0.len() > 1;
        Self {
            fails: timers(&vec![every; solicitations], kernel),
            begun: probes || several || others(&|other| other.node == client.node),
            reverts: client.target.address.is_ipv4(),
            shared: several || others(&|other| other.place == client.place),
            own_kernel: matches!(client.place, Place::Node(_)),
        }
    }

    /// How long a dial takes to fail with it.
    pub(super) fn dial(&self) -> Window {
        let most = if self.shared { 2 } else { 1 };
        Window::of(self.first().min, self.fails.max * most)
    }

    /// From a packet until its resolution has failed.
    fn first(&self) -> Window {
        match self.begun {
            true => Window::of(Duration::ZERO, self.fails.max),
            false => self.fails,
        }
    }

    /// What ends the wait for an acknowledgement of a segment, counted from its sending; `first` is when it is sent again for
    /// the first time.
    pub(super) fn retransmission(&self, first: Window, limit: &Limit) -> Candidate {
        let told = self.first();
        let first = match self.own_kernel {
            true => Window::of(Duration::ZERO, first.max),
            false => first,
        };
        if !self.reverts {
            let mut window = first.then(limit.ordinary);
            if self.own_kernel {
                window.min = limit.least;
            }
            // The error is what the kernel remembers from the failure on.
            let cause = match (window.max < told.min, window.min > told.max) {
                (true, _) => limit.cause,
                (_, true) => Cause::Unreachable,
                (false, false) => Cause::Unknown,
            };
            return (window, cause);
        }
        let rto = rto::first_rto(limit.path, limit.sysctls);
        // A resolution fails within that time of any retransmission, and then back-off is undone until the RTO is shorter than
        // the time since the last one; a first RTO alone is never cut.
        let longest = timers(&[rto.max], limit.kernel).max.max(self.fails.max);
        let late = Window::of(limit.least, limit.least + longest);
        let late = match self.shared {
            true => late.around(limit.ordinary),
            false => late,
        };
        let late = first.then(late);
        match (late.min > told.max, self.own_kernel) {
            (true, _) => (late, Cause::Unreachable),
            (false, true) => (late, Cause::Unknown),
            (false, false) => self.early(first, late, rto, limit),
        }
    }

    /// The same where the limit may be passed before the first failure: who gives up at that moment has not heard of it yet.
    /// `late` is when it ends otherwise.
    fn early(&self, first: Window, late: Window, rto: Window, limit: &Limit) -> Candidate {
        let told = self.first();
        let rto_max = Duration::from_millis(limit.sysctls.rto_max_ms);
        let (sooner, later) = (Cell::new(false), Cell::new(false));
        let window = limit.kernel.around(told.max, |hz, start| {
            let mut ends = Vec::new();
            for (first, first_rto) in [(first.min, rto.min), (first.max, rto.max)] {
                let series = Series {
                    hz,
                    rounding: Rounding::Wheel,
                    start,
                    first_rto: in_jiffies_up(first_rto, hz).max(1),
                    rto_max: in_jiffies_up(rto_max, hz),
                    linear: limit.sysctls.linear_retransmissions(),
                };
                let moments = (0..=MOMENTS).map(|n| told.min + (told.max - told.min) * n / MOMENTS);
                for failed in moments {
                    match ends_by(series, first, failed, limit) {
                        Some(end) => {
                            sooner.set(true);
                            ends.push(first + end);
                        }
                        None => {
                            later.set(true);
                            ends.extend([late.min, late.max]);
                        }
                    }
                }
            }
            hull(ends.into_iter())
        });
        let cause = match (sooner.get(), later.get()) {
            (true, false) => limit.cause,
            (false, _) => Cause::Unreachable,
            (true, true) => Cause::Unknown,
        };
        (Window::of(window.min.max(late.min), window.max), cause)
    }
}

/// When a series that begins `first` after its segment is over, if that is no later than the failure of the segment's
/// neighbour `failed` after the sending.
fn ends_by(series: Series, first: Duration, failed: Duration, limit: &Limit) -> Option<Duration> {
    let failed = failed.checked_sub(first)?;
    let cut = match limit.cause == Cause::UserTimeout {
        true => series.gives_up_by_user_timeout(limit.least),
        false => Duration::MAX,
    };
    let mut last = Duration::ZERO;
    for unclamped in series.fires() {
        let fires = unclamped.min(cut);
        if fires > failed {
            // The first answer undoes one step, and the timer fires now if that RTO is over.
            let over = (failed - last) * 2 >= unclamped - last;
            return (over && failed >= limit.least).then_some(failed);
        }
        if fires >= limit.least {
            return Some(fires);
        }
        last = fires;
    }
    None
}
