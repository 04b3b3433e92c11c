//! Clients whose responses go on: watches, downloads, streams of messages. On a watch or a download the client has nothing to send, so
//! that nothing is unacknowledged when its server dies; a stream's next message is. And clients of HTTP/2 that do several things at
//! once on one connection, which is never idle then: whoever asks next has the first data that nobody acknowledges.

use std::time::Duration;

use super::cycle::OVERHEAD;
use super::rhythm::{Seen, is_first};
use super::side_by_side::{self, closes};
use super::situation::{Fate, Situation};
use super::window::{Candidate, SLACK, earliest, either};
use crate::plan::{
    Cause, Client, CloseOnFailure, Fault, LabPlan, Phase, Protocol, Trigger, Window, Work, Workload,
};

/// Whether a client reads responses that go on, or does several things at once on one connection, and the model knows what becomes
/// of it.
pub(super) fn reads(client: &Client, plan: &LabPlan) -> bool {
    streaming(client).is_some() || shares_one_connection(client, plan)
}

/// The one workload of a client, if its responses go on.
fn streaming(client: &Client) -> Option<&Workload> {
    match client.workloads.0.as_slice() {
        [work] => Some(&work.kind).filter(|kind| kind.streams()),
        _ => None,
    }
}

/// Whether a client does several things at once on a connection that nothing closes as idle: one of them always waits on it, or it
/// rests for too short a time.
fn shares_one_connection(client: &Client, plan: &LabPlan) -> bool {
    let endless =
        |work: &Work| matches!(work.kind, Workload::Watch { .. }) && work.request_timeout.is_none();
    let works = side_by_side::works(client);
    let rests = works.iter().map(|work| work.kind.pause_after_response().1);
    let rests = rests.min().unwrap_or_default() + OVERHEAD;
    let servers = plan.servers_of(client);
    let servers = servers.filter_map(|server| server.limits.idle_timeout);
    let mut idle = client.transport.idle_timeout.into_iter().chain(servers);
    let closes = |which| works.iter().any(|work| closes(work, which));
    let stays = idle.all(|limit| limit > rests) && !closes(CloseOnFailure::Idle);
    client.transport.protocol == Protocol::H2
        && client.workloads.at_once()
        && (stays || works.iter().any(endless))
        && !closes(CloseOnFailure::All)
}

/// What a client is reading when a fault strikes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// How long before the fault its request went out.
    began: Window,
    /// How long before the fault it received something last.
    heard: Window,
    /// From the fault until it sends its next message, if it sends any.
    next: Option<Window>,
    /// The limit on the whole response. Of several workloads none counts: who has one asks again and again, and what it asks is sent
    /// before its limit resets it.
    limit: Option<Duration>,
    /// Between a response's end and the next request.
    every: Duration,
    /// How long a new response takes to say something.
    speaks: Window,
    /// It is on another connection than the client's first.
    anew: bool,
}

impl Reading {
    /// What `client` is reading when `fault` strikes; `None` where nobody knows that it is reading at all.
    pub(super) fn of(client: &Client, plan: &LabPlan, fault: &Fault, seen: &Seen) -> Option<Self> {
        let Some(work) = streaming(client) else {
            return Self::of_several(client, plan, fault);
        };
        if seen.phase.is_some_and(|phase| phase != Phase::Streaming) {
            return None;
        }
        let asked = Asked::of(client, plan, fault, work)?;
        let spoken = asked.spoken;
        let (heard, next, speaks) = match work.part_every() {
            None => (spoken, None, Window::default()),
            Some(part) => {
                let whole = Window::of(Duration::ZERO, part + OVERHEAD);
                let heard = into(spoken, part).unwrap_or(whole);
                let sends = matches!(work, Workload::Messages { .. });
                let next = sends.then_some(whole);
                (heard, next, Window::of(Duration::ZERO, part))
            }
        };
        let one_way = plan.round_trip() / 2;
        Some(Self {
            began: asked.began,
            // What was on its way still comes, where the path is long.
            heard: Window::of(heard.min.saturating_sub(one_way), heard.max),
            next,
            limit: work_limit(client),
            every: work.longest_pause(),
            speaks,
            anew: asked.anew,
        })
    }

    /// Of several workloads on one connection: what any of them reads was heard, and who asks next is the first to send.
    fn of_several(client: &Client, plan: &LabPlan, fault: &Fault) -> Option<Self> {
        let began = since_start(client, plan, fault)?;
        let most = plan.slowest(client) + plan.round_trip() + OVERHEAD;
        // Who asks again and again is answered as often, and whose response goes on reads its parts.
        let asks =
            |work: &Work| (!work.kind.streams()).then(|| work.kind.pause_after_response().1 + most);
        let asks = side_by_side::works(client).iter().filter_map(asks).min();
        let messages = |work: &Work| match work.kind {
            Workload::Messages { interval, .. } => Some(interval + OVERHEAD),
            Workload::Watch { .. }
            | Workload::Download { .. }
            | Workload::Poll { .. }
            | Workload::Resync { .. }
            | Workload::LeaderElection { .. }
            | Workload::Heartbeat { .. }
            | Workload::Exec(_) => None,
        };
        let messages = client.workloads.iter().filter_map(messages).min();
        let sends = [asks, messages].into_iter().flatten().min();
        let parts = client
            .workloads
            .iter()
            .filter_map(|work| work.kind.part_every())
            .min();
        let heard = [sends, parts].into_iter().flatten().min();
        let heard = heard.map_or(began, |every| Window::of(Duration::ZERO, every));
        let speaks = parts.map_or(Window::default(), |part| Window::of(Duration::ZERO, part));
        Some(Self {
            began,
            heard,
            next: sends.map(|every| Window::of(Duration::ZERO, every)),
            limit: None,
            every: client.workloads.longest_pause(),
            speaks,
            anew: false,
        })
    }

    /// Whether its connection is not the client's first, which alone is led where the scenario says.
    pub(super) fn is_anew(&self) -> bool {
        self.anew
    }

    /// When the next dial begins, of a connection that was given up in `given_up`: at its end the response fails, and a pause begins;
    /// one that had failed before may be in its pause then.
    pub(super) fn redial(&self, given_up: Window) -> Window {
        Window::of(given_up.min, given_up.max + self.every + SLACK)
    }

    /// From a new response's beginning until it says something.
    pub(super) fn speaks(&self) -> Window {
        self.speaks
    }
}

/// The response that a client reads when a fault strikes it.
struct Asked {
    /// How long before the fault it was asked for.
    began: Window,
    /// How long before the fault it began to come.
    spoken: Window,
    /// It is on another connection than the client's first.
    anew: bool,
}

impl Asked {
    /// `None` where the fault may come while nothing is read.
    fn of(client: &Client, plan: &LabPlan, fault: &Fault, work: &Workload) -> Option<Self> {
        let (t, rtt) = (&client.transport, plan.round_trip());
        let first = since_start(client, plan, fault)?;
        let opening = Window::of(rtt, rtt * 4 + SLACK);
        let delays = || plan.servers_of(client).map(|server| server.response_delay);
        let answer = Window::of(
            delays().min().unwrap_or_default(),
            plan.slowest(client) + OVERHEAD,
        );
        // A limit on a request cuts it; one on reading too, where a server is silent for longer.
        let reading = t.read_timeout.filter(|limit| {
            work.part_every()
                .is_none_or(|part| *limit <= part + OVERHEAD)
        });
        let own = work_limit(client);
        let duration = match work {
            Workload::Download { duration, .. } => Some(*duration),
            Workload::Watch { .. }
            | Workload::Messages { .. }
            | Workload::Poll { .. }
            | Workload::Resync { .. }
            | Workload::LeaderElection { .. }
            | Workload::Heartbeat { .. }
            | Workload::Exec(_) => None,
        };
        let every = Window::exactly(work.longest_pause());
        let to_speak = opening.then(answer);
        let until = [
            own.map(|limit| (Window::exactly(limit), true)),
            reading.map(|limit| (to_speak.then(Window::exactly(limit)), true)),
            duration.map(|lasts| (to_speak.then(Window::exactly(lasts)), false)),
        ];
        let until = until.into_iter().flatten();
        let Some((lasts, cut)) = until.min_by_key(|(lasts, _)| lasts.max) else {
            return Some(Self {
                began: first,
                spoken: first.earlier(to_speak),
                anew: false,
            });
        };
        // Only the first one dials, where connections are kept.
        let dials = cut && t.protocol == Protocol::H1;
        let late = Window::of(Duration::ZERO, OVERHEAD);
        let (mut began, mut number) = (first, 0_u32);
        while began.min >= lasts.min + every.min {
            let saved = match number > 0 && !dials && own != Some(lasts.min) {
                true => Window::of(rtt, opening.max),
                false => Window::default(),
            };
            let cycle = lasts.earlier(saved).then(every).then(late);
            began = Window::of(
                began.min.checked_sub(cycle.max)?,
                began.max.checked_sub(cycle.min)?,
            );
            number += 1;
        }
        if began.max + OVERHEAD >= lasts.min {
            return None;
        }
        let spoken = match number == 0 || dials {
            true => to_speak,
            false => Window::of(rtt, rtt + OVERHEAD).then(answer),
        };
        (began.min > spoken.max).then(|| Self {
            began,
            spoken: began.earlier(spoken),
            anew: dials && number > 0,
        })
    }
}

/// The limit on the requests of a client with one workload.
fn work_limit(client: &Client) -> Option<Duration> {
    let mut works = client.workloads.iter();
    works.find_map(|work| work.request_timeout)
}

/// How long before the fault a client first asked; `None` where nobody knows, or the fault may come before it reads.
fn since_start(client: &Client, plan: &LabPlan, fault: &Fault) -> Option<Window> {
    let rtt = plan.round_trip();
    let at = match &fault.trigger {
        Trigger::At(at) => *at,
        // If it reads then, it is then.
        Trigger::Phase {
            client: name,
            phase: Phase::Streaming,
            after,
        } if *name == client.name => *after,
        Trigger::Phase { .. } | Trigger::Forgotten { .. } => return None,
    };
    let opened = client.start + rtt * 4 + SLACK + plan.slowest(client) + OVERHEAD;
    (at > opened).then(|| {
        let since = at - client.start;
        // After another fault it may have asked anew at any time.
        let latest = match is_first(fault, plan) {
            true => since.saturating_sub(OVERHEAD),
            false => Duration::ZERO,
        };
        Window::of(latest, since)
    })
}

/// How far into a period the fault comes; `None` where a period may end meanwhile.
fn into(spoken: Window, period: Duration) -> Option<Window> {
    let number = |time: Duration| time.as_nanos() / period.as_nanos().max(1);
    let whole = number(spoken.min);
    if whole != number(spoken.max) || whole == 0 {
        return None;
    }
    let begun = period * u32::try_from(whole).ok()?;
    Some(Window::of(
        spoken.min - begun,
        spoken.max - begun + OVERHEAD,
    ))
}

impl Situation<'_> {
    /// What becomes of the connection on which a client reads, or exchanges messages; `None` where the model does not know.
    pub(super) fn fate_of_reading(&self, reading: &Reading) -> Option<Fate> {
        let t = self.transport;
        let h2 = t.protocol == Protocol::H2;
        let limits = [
            (reading.limit, reading.began, Cause::RequestTimeout),
            (t.read_timeout, reading.heard, Cause::ReadTimeout),
        ];
        let limits = limits.into_iter().filter_map(|(limit, since, cause)| {
            Some((Window::exactly(limit?).earlier(since), cause))
        });
        let limits: Vec<Candidate> = limits.collect();
        // What is asked then on the same connection, and what its own limits make of that.
        let retires = self.retires() || t.ping_after_timeout.is_some() || t.idle_timeout.is_some();
        let limited = !limits.is_empty() || t.request_timeout.is_some();
        if h2 && limited && retires {
            return None;
        }
        let mut all: Vec<Candidate> = Vec::new();
        // A stream's reset, a PING, and a message are data that nobody acknowledges.
        let mut sent: Vec<Window> = reading.next.into_iter().collect();
        match h2 {
            true => sent.extend(limits.iter().map(|(window, _)| *window)),
            false => all.extend(limits.iter().copied()),
        }
        if let Some(ping) = t.ping.filter(|_| h2) {
            let heard = self.since_heard(reading.heard);
            let silent = match heard.max <= ping.idle {
                true => heard,
                false => Window::of(Duration::ZERO, ping.idle),
            };
            let mut pinged = Window::exactly(ping.idle).earlier(silent);
            // Without a request none goes out: a response that was cut is asked for again after a pause.
            let cut = limits.iter().map(|(window, _)| window.min).min();
            if !ping.while_idle && cut.is_some_and(|cut| pinged.max >= cut) {
                pinged.max += reading.every + SLACK;
            }
            all.push((
                pinged.then(Window::exactly(ping.timeout)),
                Cause::PingTimeout,
            ));
            sent.push(pinged);
        }
        let first = sent.iter().copied().reduce(Window::or_sooner);
        all.extend(first.map(|first| self.retransmission(first, first)));
        let kept_alive = self.keepalive_after(reading.heard, reading.began.max);
        let by = match (kept_alive, first, earliest(all.clone())) {
            // Keepalive counts until something is sent, and never again.
            (Some(kept_alive), Some(first), other) if kept_alive.0.max <= first.min => {
                earliest([Some(kept_alive), other].into_iter().flatten().collect())
            }
            (Some(kept_alive), Some(first), Some(other)) if kept_alive.0.min < first.max => {
                Some(either(kept_alive, other))
            }
            (Some(kept_alive), None, other) => {
                earliest([Some(kept_alive), other].into_iter().flatten().collect())
            }
            (_, _, other) => other,
        };
        Some(by.map_or(Fate::Kept, |(window, cause)| {
            let max = window.max + SLACK;
            Fate::GivenUp((Window { max, ..window }, cause))
        }))
    }
}
