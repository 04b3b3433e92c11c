//! What becomes of the connection that a client has at a fault, given what it is doing then.

use std::time::Duration;

use super::conntrack::Conntrack;
use super::cycle::{Cycle, OVERHEAD};
use super::kernel::Kernel;
use super::neighbour::Unresolved;
use super::rhythm::{Idle, Rhythm, Seen};
use super::server_side::{Has, ServerSide};
use super::sysctls::TcpSysctls;
use super::window::{Candidate, SLACK, earliest, either};
use crate::plan::{
    Cause, Client, Fault, IdleCheck, LabPlan, Proxy, Transport, Window, sysctl_number,
};

/// What becomes of the connection that a client has at the fault.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It is given up.
    GivenUp(Candidate),
    /// It is waited on for ever.
    Kept,
    /// It may be waited on for ever, by what the client was doing.
    PerhapsKept,
    /// There is none.
    NoConnection,
    /// There may be one; the window is that of its end.
    Unsure(Option<Window>),
}

impl Fate {
    /// One of the two, nobody knows which.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::GivenUp(a), Self::GivenUp(b)) => Self::GivenUp(either(a, b)),
            (Self::Kept, Self::Kept) => Self::Kept,
            (Self::Kept | Self::PerhapsKept, _) | (_, Self::Kept | Self::PerhapsKept) => {
                Self::PerhapsKept
            }
            (Self::NoConnection, Self::NoConnection) => Self::NoConnection,
            (a, b) => Self::Unsure(a.end().into_iter().chain(b.end()).reduce(Window::around)),
        }
    }

    fn end(self) -> Option<Window> {
        match self {
            Self::GivenUp((window, _)) => Some(window),
            Self::Unsure(window) => window,
            Self::Kept | Self::PerhapsKept | Self::NoConnection => None,
        }
    }
}

/// Seconds for which IPVS remembers an established connection.
const IPVS: u64 = 900;
/// Those for which conntrack remembers one with something unacknowledged, or sent again: its shortest, by default.
const CONNTRACK: u64 = 300;

/// All that decides how long a client waits.
#[derive(Clone)]
pub(super) struct Situation<'a> {
    pub(super) transport: &'a Transport,
    pub(super) sysctls: TcpSysctls,
    /// Of a node whose link-layer address does not resolve any more.
    pub(super) unresolved: Option<Unresolved>,
    /// The same of a service's own address.
    pub(super) nobody: Unresolved,
    /// Of a client that asks a service.
    pub(super) conntrack: Option<Conntrack<'a>>,
    /// How long a connection of which nothing passes is remembered at least, where what comes of it then is not foretold.
    pub(super) remembered: Option<Duration>,
    pub(super) kernel: Kernel,
    pub(super) cycle: Cycle,
    pub(super) rhythm: Rhythm,
    pub(super) servers: ServerSide,
}

impl<'a> Situation<'a> {
    pub(super) fn of(client: &'a Client, plan: &'a LabPlan, fault: &Fault, seen: &Seen) -> Self {
        let cycle = Cycle::of(client, plan);
        let unresolved = Unresolved::of(client, plan, seen.kernel);
        let mut effects = fault.effects.iter();
        let neighbour_dies = effects.any(|effect| effect.dead_neighbour().is_some());
        Self {
            transport: &client.transport,
            sysctls: TcpSysctls::with(plan.sysctls_at(&client.place)),
            unresolved: neighbour_dies.then_some(unresolved),
            nobody: unresolved,
            conntrack: Conntrack::of(client, plan, fault),
            remembered: remembered(client, plan),
            kernel: seen.kernel,
            servers: ServerSide::of(client, plan),
            rhythm: Rhythm::of(client, plan, fault, seen, &cycle),
            cycle,
        }
    }

    /// What becomes of the connection to the dead server.
    pub(super) fn fate(&self) -> Fate {
        let rhythm = &self.rhythm;
        let idle = rhythm.idle.map(|idle| self.idle(idle));
        let unacknowledged = rhythm.busy.filter(|_| rhythm.unacknowledged).map(|sent| {
            let in_flight = Window::of(sent.min, sent.max.min(self.cycle.rtt + SLACK));
            // A client's own timer wakes it a little late, and on a busy machine later.
            let pause = self.cycle.pause;
            let pause = Window::of(pause.min, pause.max + OVERHEAD);
            let rested = Window::then(pause, in_flight);
            let ends = self.next_request(Window::default(), rested);
            let ends = ends
                .into_iter()
                .map(|(w, cause)| (w.earlier(in_flight), cause));
            given_up(earliest(ends.collect()))
        });
        let acknowledged = rhythm
            .busy
            .filter(|_| rhythm.acknowledged)
            .map(|sent| given_up(earliest(self.waiting(sent))));
        let connecting = rhythm.connecting.then_some(Fate::NoConnection);
        let opened = rhythm.opened.map(|sent| {
            let ends = self.next_request(sent, Window::default());
            given_up(earliest(ends))
        });
        [idle, unacknowledged, acknowledged, connecting, opened]
            .into_iter()
            .flatten()
            .reduce(Fate::or)
            .unwrap_or(Fate::NoConnection)
    }

    /// Whether a connection survives every pause between two requests.
    pub(super) fn reuses(&self) -> bool {
        let limits = [self.transport.idle_timeout, self.servers.idle_timeout];
        let mut limits = limits.into_iter().flatten();
        limits.all(|limit| limit > self.cycle.pause.max)
    }

    /// Whether it closes itself what has rested for a pause.
    pub(super) fn closes_what_rests(&self) -> bool {
        self.transport
            .idle_timeout
            .is_some_and(|limit| limit <= self.cycle.pause.max)
    }

    /// Nothing is outstanding at the fault; the next request follows within a pause.
    fn idle(&self, idle: Idle) -> Fate {
        match self.servers.left(idle.rested) {
            Has::Yes => self.idle_unless_closed(idle),
            Has::No => Fate::NoConnection,
            Has::Perhaps => self.idle_unless_closed(idle).or(Fate::NoConnection),
        }
    }

    /// The same where no server has closed it before.
    fn idle_unless_closed(&self, idle: Idle) -> Fate {
        let closes = |_: &Duration| self.closes_what_rests();
        let Some(limit) = self.transport.idle_timeout.filter(closes) else {
            let whole = idle.rested.then(idle.next);
            let pause = self.cycle.pause;
            let quiet = Window::of(whole.min.max(pause.min), whole.max.min(pause.max + SLACK));
            let by = self.by_conntrack(quiet, idle.next, |of| of.idle_in_use(idle));
            return given_up(by);
        };
        let found_by_request = self.transport.idle_check == IdleCheck::NextRequest;
        if limit >= self.cycle.pause.min {
            // Some pauses it survives.
            let used = self.idle_in_use(idle).map(|(window, _)| window);
            let latest = if found_by_request {
                idle.next.max
            } else {
                limit
            };
            let closed = Window::of(Duration::ZERO, latest);
            return Fate::Unsure(used.map(|used| used.around(closed)));
        }
        if found_by_request {
            // Too old or not, it is there until then.
            let mut all = vec![(idle.next, Cause::IdleTimeout)];
            all.extend(self.keepalive(idle.rested));
            return given_up(earliest(all));
        }
        if idle.rested.min > limit + SLACK {
            return Fate::NoConnection;
        }
        let left = Window::exactly(limit).earlier(idle.rested);
        if !idle.rested.max.is_zero() && idle.rested.max + SLACK > limit {
            return Fate::Unsure(Some(left));
        }
        let mut all = vec![(left, Cause::IdleTimeout)];
        all.extend(self.keepalive(idle.rested));
        given_up(earliest(all))
    }

    /// Nothing is outstanding at the fault, and the next request will go to the dead connection.
    fn idle_in_use(&self, idle: Idle) -> Option<Candidate> {
        let of_request = self.next_request(idle.next, idle.rested);
        let after_request = earliest(of_request.clone())?;
        // Keepalive counts until the next request goes out, and never again.
        match self.keepalive(idle.rested) {
            Some(keepalive) if keepalive.0.max + SLACK <= idle.next.min => {
                let mut all = of_request;
                all.push(keepalive);
                earliest(all)
            }
            Some((window, cause)) if window.min < idle.next.max => {
                let window = Window::of(window.min, window.max.min(idle.next.max));
                Some(either((window, cause), after_request))
            }
            _ => Some(after_request),
        }
    }
}

/// For a client whose service does not throw dice. IPVS has 900 s for an established connection (`tcp_timeouts` in
/// ip_vs_proto_tcp.c), conntrack what its sysctls say, of which the shortest is taken.
fn remembered(client: &Client, plan: &LabPlan) -> Option<Duration> {
    let name = client.target.service.as_ref()?;
    let service = plan.services.iter().find(|s| s.name == *name)?;
    if service.throws_dice() {
        return None;
    }
    let node = plan.node(&client.node)?;
    let sysctl = |name: &str| {
        let key = format!("net.netfilter.nf_conntrack_tcp_timeout_{name}");
        sysctl_number(&node.sysctls, &key).unwrap_or(CONNTRACK)
    };
    let seconds = match service.proxy {
        Proxy::Ipvs => IPVS,
        // Whoever has the address next knows of nothing.
        Proxy::Vip => 0,
        Proxy::Iptables | Proxy::Nftables | Proxy::Programs => {
            ["established", "unacknowledged", "max_retrans"]
                .map(sysctl)
                .into_iter()
                .fold(CONNTRACK, u64::min)
        }
    };
    Some(Duration::from_secs(seconds))
}

/// Ticks and scheduling make every timer late.
fn given_up(by: Option<Candidate>) -> Fate {
    by.map_or(Fate::Kept, |(window, cause)| {
        let max = window.max + SLACK;
        Fate::GivenUp((Window { max, ..window }, cause))
    })
}
