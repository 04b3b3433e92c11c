//! A path that is dead for a time and then well, and a node that has its power back after one: what decides is the next
//! sending after that.
//!
//! A connection that nobody gives up meanwhile works again with the next retransmission that gets through; where the node has
//! lost its power, that is answered with RST. One that is given up is dialled anew, and of the SYNs the first after the healing
//! is answered.

use std::time::Duration;

use super::dials::UNLUCKY;
use super::rhythm::{Idle, Seen};
use super::rto::Path;
use super::sendings::{Limit, Resending, Through, dials};
use super::situation::Situation;
use super::sysctls::TcpSysctls;
use super::window::{Candidate, SLACK, either};
use crate::plan::{
    Cause, Client, Direction, Effect, End, Fault, LabPlan, Neighbour, Packets, Phase, Ping,
    Prediction, Protocol, RetryOn, Server, Trigger, Where, Window, Workload,
};

/// How exactly a fault heals when it should, and how much later than planned a client does something.
const LATE: Duration = Duration::from_millis(10);
/// A program's timer is later than it should be by as much, once for each pause.
const TIMER: Duration = Duration::from_millis(3);
/// More dials than that in a row nobody reckons.
const DIALS: usize = 1_000;

/// What takes a client's way for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken<'a> {
    /// Packets vanish, both ways.
    Path(&'a Where),
    /// A node has no power.
    Power(&'a str),
}

impl<'a> Taken<'a> {
    /// `None` where a fault is anything else, or does not heal.
    fn by(fault: &'a Fault) -> Option<(Self, Duration)> {
        let lasts = fault.lasts?;
        let taken = match (fault.dead_node(), fault.effects.as_slice()) {
            (Some(node), effects) => {
                let own = effects.iter().all(|effect| is_loss_of(effect, node));
                own.then_some(Self::Power(node))?
            }
            (None, [effect]) => Self::Path(dead_path(effect)?),
            (None, _) => return None,
        };
        Some((taken, lasts))
    }

    fn takes(self, client: &Client, server: &Server, plan: &LabPlan) -> bool {
        match self {
            Self::Path(place) => place.is_crossed(plan, &client.place, &server.place),
            Self::Power(node) => server.node == node,
        }
    }
}

/// Whether an effect is part of a node's loss of power after which its link-layer address still resolves.
fn is_loss_of(effect: &Effect, dead: &str) -> bool {
    match effect {
        Effect::Silence {
            node,
            neighbour: Neighbour::Resolves,
        }
        | Effect::Stop { node } => node == dead,
        Effect::Silence {
            neighbour: Neighbour::Dead,
            ..
        }
        | Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. } => false,
    }
}

/// Where an effect makes all packets vanish, both ways.
fn dead_path(effect: &Effect) -> Option<&Where> {
    match effect {
        Effect::Drop {
            path,
            packets: Packets::All,
            percent,
        } if path.direction == Direction::Both && *percent >= 100.0 => Some(&path.place),
        Effect::Drop { .. }
        | Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. } => None,
    }
}

/// Whether a fault is one that heals, of those whose healing the model knows.
pub(super) fn heals(fault: &Fault) -> bool {
    Taken::by(fault).is_some()
}

/// Whether a fault leaves a client alone: all its servers and the ways to them are outside it.
pub(super) fn spares(fault: &Fault, client: &Client, plan: &LabPlan) -> bool {
    Taken::by(fault).is_some_and(|(taken, _)| {
        let power = taken == Taken::Power(&client.node);
        !power
            && !plan
                .servers_of(client)
                .any(|s| taken.takes(client, s, plan))
    })
}

/// What will become of a client that one fault strikes which heals; `None` where the model does not know.
pub(super) fn predict(
    client: &Client,
    plan: &LabPlan,
    fault: &Fault,
    seen: &Seen,
) -> Option<Prediction> {
    let (taken, lasts) = Taken::by(fault)?;
    let nothing = Prediction {
        client: client.name.clone(),
        detection: None,
        recovery: None,
        odds: Vec::new(),
        quantiles: Vec::new(),
        relapses_within: None,
        cause: Cause::Never,
        unaffected: false,
    };
    if taken == Taken::Power(&client.node) {
        return None;
    }
    let servers: Vec<&Server> = plan.servers_of(client).collect();
    let taken_servers: Vec<&Server> = servers
        .iter()
        .filter(|server| taken.takes(client, server, plan))
        .copied()
        .collect();
    let unaffected = Prediction {
        unaffected: true,
        ..nothing.clone()
    };
    let Some(server) = taken_servers.first() else {
        return Some(unaffected);
    };
    let situation = Situation::of(client, plan, fault, seen);
    if !is_known(client, plan, fault, &situation) {
        return None;
    }
    let service = client.target.service.as_ref();
    let service = service.and_then(|name| plan.services.iter().find(|s| s.name == *name));
    if taken_servers.len() < servers.len() {
        // Which one its connection goes to must be known.
        let pinned = service?.pin_first.as_ref()?;
        if !taken_servers.iter().any(|server| server.name == *pinned) {
            return Some(unaffected);
        }
    }
    let alike = |other: &&Server| plan.sysctls_at(&other.place) == plan.sysctls_at(&server.place);
    if !taken_servers.iter().all(alike) {
        return None;
    }
    let rtt = situation.cycle.rtt;
    let healed = Healed {
        taken,
        heals: Window::of(lasts.saturating_sub(rtt / 2 + TIMER), lasts + LATE),
        server_sysctls: TcpSysctls::with(plan.sysctls_at(&server.place)),
        removal: service.and_then(|service| service.removal),
        dead: taken_servers.len(),
        all: servers.len(),
        situation: &situation,
    };
    let prediction = match healed.outcome(seen)? {
        Outcome::Lives(recovery) => Prediction {
            recovery,
            ..nothing
        },
        Outcome::GivenUp((window, cause), recovery) => Prediction {
            detection: Some(window),
            recovery,
            cause,
            ..nothing
        },
        Outcome::Open(recovery) => Prediction {
            recovery,
            cause: Cause::Unknown,
            ..nothing
        },
    };
    Some(prediction)
}

/// Whether the model knows all that a client does meanwhile.
fn is_known(client: &Client, plan: &LabPlan, fault: &Fault, situation: &Situation<'_>) -> bool {
    let workload = match client.workloads.cycle() {
        Some(Workload::Poll { .. } | Workload::Resync { .. } | Workload::LeaderElection { .. }) => {
            true
        }
        Some(
            Workload::Heartbeat { .. }
            | Workload::Watch { .. }
            | Workload::Download { .. }
            | Workload::Messages { .. }
            | Workload::Exec(_),
        )
        | None => false,
    };
    let (earliest, latest) = fault.trigger.times(plan);
    let own = matches!(&fault.trigger, Trigger::Phase { client: name, .. } if *name == client.name);
    let begun = own || client.start < earliest;
    // A service's entry that is forgotten meanwhile is another story.
    let key = "net.netfilter.";
    let forgets = client.target.service.is_some()
        && plan
            .node(&client.node)
            .is_some_and(|node| node.sysctls.iter().any(|s| s.key.starts_with(key)));
    let rhythm = &situation.rhythm;
    workload
        && begun
        && latest.is_some()
        && !forgets
        && situation.reuses()
        && !situation.retires()
        && !rhythm.connecting
        && rhythm.opened.is_none()
        && plan.too_slow(client).count() == 0
}

/// What becomes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Its connection lives; when it is answered again.
    Lives(Option<Window>),
    /// Its connection is given up, and when the next one is answered.
    GivenUp(Candidate, Option<Window>),
    /// One or the other.
    Open(Option<Window>),
}

impl Outcome {
    fn recovery(self) -> Option<Window> {
        match self {
            Self::Lives(recovery) | Self::GivenUp(_, recovery) | Self::Open(recovery) => recovery,
        }
    }

    fn or(self, other: Self) -> Self {
        let both = self.recovery().zip(other.recovery());
        let recovery = both.map(|(a, b)| a.around(b));
        match (self, other) {
            (Self::Lives(_), Self::Lives(_)) => Self::Lives(recovery),
            (Self::GivenUp(a, _), Self::GivenUp(b, _)) => Self::GivenUp(either(a, b), recovery),
            (Self::Lives(_) | Self::GivenUp(..) | Self::Open(_), _) => Self::Open(recovery),
        }
    }

    /// All times this much earlier.
    fn earlier(self, by: Window) -> Self {
        let shift = |window: Window| Window::of(window.min.saturating_sub(by.max), window.max);
        match self {
            Self::Lives(recovery) => Self::Lives(recovery.map(shift)),
            Self::GivenUp((window, cause), recovery) => {
                Self::GivenUp((shift(window), cause), recovery.map(shift))
            }
            Self::Open(recovery) => Self::Open(recovery.map(shift)),
        }
    }
}

/// A client, and a fault that strikes it and heals.
struct Healed<'s, 'a> {
    taken: Taken<'a>,
    /// From the fault until what is sent gets through.
    heals: Window,
    server_sysctls: TcpSysctls,
    removal: Option<Duration>,
    /// Servers that are taken, of all.
    dead: usize,
    all: usize,
    situation: &'s Situation<'a>,
}

/// HTTP/2's health check on a connection that is dead.
#[derive(Debug, Clone, Copy)]
struct Pinged {
    ping: Ping,
    /// When its PING goes out.
    sent: Window,
}

/// A request, or what else is sent first, on a connection on which nothing is outstanding.
struct Sent {
    /// When the request goes out, after the fault.
    request: Window,
    /// When the first of all does.
    first: Window,
    limits: Vec<Limit>,
}

impl Healed<'_, '_> {
    fn is_power(&self) -> bool {
        match self.taken {
            Taken::Path(_) => false,
            Taken::Power(_) => true,
        }
    }

    fn outcome(&self, seen: &Seen) -> Option<Outcome> {
        let rhythm = &self.situation.rhythm;
        let mut all = Vec::new();
        if let Some(idle) = rhythm.idle {
            let outcome = self.idle(idle)?;
            // Of a response that was on its way the client hears at once.
            let at_once = match (seen.phase, rhythm.busy) {
                (_, Some(_)) => Some(Window::of(Duration::ZERO, idle.next.max)),
                (Some(phase), None) if phase != Phase::Idle => {
                    Some(Window::of(Duration::ZERO, self.situation.cycle.service.max))
                }
                (Some(_) | None, None) => None,
            };
            all.push(match (outcome, at_once) {
                (Outcome::Lives(Some(recovery)), Some(at_once)) => {
                    Outcome::Lives(Some(match rhythm.busy {
                        Some(_) => at_once.around(recovery),
                        None => at_once,
                    }))
                }
                (outcome, _) => outcome,
            });
        }
        if let Some(sent) = rhythm.busy {
            all.push(self.busy(sent)?);
        }
        all.into_iter().reduce(Outcome::or)
    }

    /// From a sending that gets through to the response.
    fn answer(&self) -> Window {
        let service = self.situation.cycle.service;
        Window::of(service.min, service.max + SLACK)
    }

    /// The health check of a request sent within `from`, if the last frame was read `rested` before the fault.
    fn pinged(&self, from: Window, rested: Window) -> Option<Pinged> {
        let pinged = self.situation.ping_when_unanswered(from, rested);
        pinged.map(|(ping, sent)| Pinged { ping, sent })
    }

    /// Nothing is outstanding at the fault.
    fn idle(&self, idle: Idle) -> Option<Outcome> {
        let s = self.situation;
        let pinged = self.pinged(idle.next, idle.rested);
        let request = || {
            let sent = self.sent(idle.next, pinged);
            self.of_request(&sent)
        };
        let keepalive = s
            .keepalive(idle.rested)
            .filter(|(window, _)| window.min < idle.next.max);
        let Some(keepalive) = keepalive else {
            return request();
        };
        if pinged.is_some_and(|p| p.ping.while_idle && p.sent.min < keepalive.0.max) {
            return None;
        }
        let probed = self.probed(keepalive)?;
        if keepalive.0.max + SLACK <= idle.next.min {
            return match probed {
                Outcome::Lives(_) => request(),
                Outcome::GivenUp(..) => Some(probed),
                Outcome::Open(_) => None,
            };
        }
        // The next request may come before, and then keepalive is no more asked.
        let probed = match probed {
            Outcome::Lives(_) => request()?,
            Outcome::GivenUp((window, cause), recovery) => {
                let window = Window::of(window.min, window.max.min(idle.next.max + SLACK));
                Outcome::GivenUp((window, cause), recovery)
            }
            Outcome::Open(recovery) => Outcome::Open(recovery),
        };
        Some(probed.or(request()?))
    }

    /// What keepalive makes of a connection on which nothing is outstanding, if it gave it up at `end` on a path that stays
    /// dead. [`Outcome::Lives`] says nothing of the recovery.
    fn probed(&self, end: Candidate) -> Option<Outcome> {
        let s = self.situation;
        let interval = s.transport.keepalive?.interval;
        let last = s.last_probe(Some(end))?;
        let late = interval / 7;
        let given_up = || {
            let (window, cause) = end;
            let end = (Window::of(window.min, window.max + SLACK), cause);
            Outcome::GivenUp(end, self.after(end))
        };
        let answered = || match self.taken {
            Taken::Path(_) => Outcome::Lives(None),
            Taken::Power(_) => {
                // The first probe of a node that is back; each comes an interval after the one before.
                let idle = s.transport.keepalive.map(|k| k.idle).unwrap_or_default();
                let first = (idle + idle / 7).max(interval + late);
                let at = Window::of(self.heals.min, self.heals.max.max(first) + interval + late);
                let at = Window::of(at.min, at.max.min(last.max.max(self.heals.max) + SLACK));
                let reset = (
                    at.then(Window::of(s.cycle.rtt, s.cycle.rtt + SLACK)),
                    Cause::Reset,
                );
                Outcome::GivenUp(reset, self.after(reset))
            }
        };
        Some(if last.max < self.heals.min {
            given_up()
        } else if last.min >= self.heals.max {
            answered()
        } else {
            match (given_up(), answered()) {
                (a, Outcome::Lives(_)) => Outcome::Open(a.recovery()),
                (a, b) => a.or(b),
            }
        })
    }

    /// What a request of `request` is sent with, and what limits it.
    fn sent(&self, request: Window, pinged: Option<Pinged>) -> Sent {
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
    fn ping_after(&self, request: Window, first: Window, pinged: Pinged) -> Window {
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

    fn resending(&self) -> Resending<'_> {
        let s = self.situation;
        Resending {
            sysctls: &s.sysctls,
            path: Path {
                rtt: s.cycle.rtt,
                exchanges: s.rhythm.exchanges,
            },
            user_timeout: s.transport.user_timeout,
            kernel: s.kernel,
        }
    }

    fn by_kernel(&self) -> Cause {
        match self.situation.transport.user_timeout {
            Some(_) => Cause::UserTimeout,
            None => Cause::RetransmissionTimeout,
        }
    }

    /// What becomes of a request, or what else is sent, on a connection that is dead until it heals.
    fn of_request(&self, sent: &Sent) -> Option<Outcome> {
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
    fn answered(&self, through: &Through, sent: &Sent) -> Window {
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
        let pause = s.cycle.pause;
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

    /// A request was sent within `sent` before the fault.
    fn busy(&self, sent: Window) -> Option<Outcome> {
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
    fn reach(&self) -> Duration {
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
    fn response(&self, sent: Window) -> Option<Option<Outcome>> {
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
                given_up => outcomes.push(given_up),
            }
        }
        // It may send its request again as well, and give it up.
        if s.rhythm.unacknowledged {
            let (window, _) = s.retransmission(Window::default(), Window::default());
            if window.earlier(sent).min <= arrives.max {
                return None;
            }
        }
        Some(outcomes.into_iter().reduce(Outcome::or))
    }

    /// Whether the health check may give up a connection whose response comes within `arrives`, to a request sent within `sent`
    /// before the fault; `None` if nobody knows.
    fn ends_by_ping(&self, sent: Window, arrives: Window) -> Option<bool> {
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
    fn after_the_reset(&self, reset: Window, arrives: Window) -> Option<Outcome> {
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
            latest + s.cycle.pause.max + behind * 2,
        );
        Some(Outcome::Lives(Some(recovery)))
    }

    /// The node has lost its power with a request that it had acknowledged.
    fn no_response(&self, sent: Window) -> Option<Outcome> {
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

    /// When the client is answered on a new connection after it gave up the old one.
    fn after(&self, (given_up, cause): Candidate) -> Option<Window> {
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
    fn dialled(&self, first: Window) -> Option<Window> {
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

fn around(all: Option<Window>, window: Window) -> Option<Window> {
    Some(all.map_or(window, |other| other.around(window)))
}

#[cfg(test)]
#[path = "healed_tests.rs"]
mod tests;
