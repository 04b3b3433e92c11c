//! Clients whose responses go on: watches, downloads, streams of messages. On a watch or a download the client has nothing to send, so
//! that nothing is unacknowledged when its server dies; a stream's next message is. And clients of HTTP/2 that do several things at
//! once on one connection, which is never idle then: whoever asks next has the first data that nobody acknowledges.

use std::time::Duration;

use super::cycle::OVERHEAD;
use super::keepalive;
use super::rhythm::Seen;
use super::situation::{Fate, Situation};
use super::window::{Candidate, SLACK, earliest, either};
use crate::plan::{
    Cause, Client, CloseOnFailure, Fault, LabPlan, Phase, Protocol, Trigger, Window, Work, Workload,
};

/// Whether a client reads responses that go on, and the model knows what becomes of it.
pub(super) fn reads(client: &Client) -> bool {
    streaming(client).is_some() || shares_one_connection(client)
}

/// The one workload of a client, if its responses go on.
fn streaming(client: &Client) -> Option<&Workload> {
    match client.workloads.0.as_slice() {
        [work] => Some(&work.kind).filter(|kind| kind.streams()),
        _ => None,
    }
}

/// Whether several workloads share a connection that one of them always waits on, so that nothing closes it as idle.
fn shares_one_connection(client: &Client) -> bool {
    let endless =
        |work: &Work| matches!(work.kind, Workload::Watch { .. }) && work.request_timeout.is_none();
    let closes_all = |work: &Work| {
        let Workload::Heartbeat {
            close_on_failure, ..
        } = &work.kind
        else {
            return false;
        };
        *close_on_failure == Some(CloseOnFailure::All)
    };
    client.transport.protocol == Protocol::H2
        && client.workloads.several()
        && client.workloads.iter().any(endless)
        && !client.workloads.iter().any(closes_all)
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
        let limit = client
            .workloads
            .iter()
            .find_map(|work| work.request_timeout);
        let lasts = match work {
            Workload::Download { duration, .. } => Some(*duration),
            _ => None,
        };
        let lasts = [lasts, limit].into_iter().flatten().min();
        let every = work.longest_pause();
        let since = since_start(client, plan, fault)?;
        // On HTTP/1.1 a response that is cut takes its connection with it.
        let cut = limit.is_some_and(|limit| lasts == Some(limit));
        let anew = cut
            && client.transport.protocol == Protocol::H1
            && since.is_none_or(|since| since.max + OVERHEAD >= lasts.unwrap_or_default());
        let began = match (since, lasts) {
            (Some(since), None) => since,
            (Some(since), Some(lasts)) => within(since, lasts, every)?,
            // It waits until something is read, whenever that begins.
            (None, None) => Window::of(Duration::ZERO, plan.duration),
            (None, Some(lasts)) => Window::of(Duration::ZERO, lasts),
        };
        let one_way = plan.round_trip() / 2;
        let (heard, next, speaks) = match work.part_every() {
            None => (began, None, Window::default()),
            Some(part) => {
                let whole = Window::of(Duration::ZERO, part + OVERHEAD);
                let heard = into(began, part).filter(|_| since.is_some());
                let sends = matches!(work, Workload::Messages { .. });
                let next = sends.then_some(whole);
                (
                    heard.unwrap_or(whole),
                    next,
                    Window::of(Duration::ZERO, part),
                )
            }
        };
        Some(Self {
            began,
            // What was on its way still comes, where the path is long.
            heard: Window::of(heard.min.saturating_sub(one_way), heard.max),
            next,
            every,
            speaks,
            anew,
        })
    }

    /// Of several workloads on one connection: what any of them reads was heard, and who asks next is the first to send.
    fn of_several(client: &Client, plan: &LabPlan, fault: &Fault) -> Option<Self> {
        let began = since_start(client, plan, fault)??;
        let most = plan.slowest(client) + plan.round_trip() + OVERHEAD;
        // Who asks again and again is answered as often, and whose response goes on reads its parts.
        let asks = |work: &Work| (!work.kind.streams()).then(|| work.kind.longest_pause() + most);
        let asks = client.workloads.iter().filter_map(asks).min();
        let messages = |work: &Work| match work.kind {
            Workload::Messages { interval, .. } => Some(interval + OVERHEAD),
            _ => None,
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

/// How long before the fault a client's first request went out; `Some(None)` where the fault waits for a response to be read, `None`
/// where it may come before one.
fn since_start(client: &Client, plan: &LabPlan, fault: &Fault) -> Option<Option<Window>> {
    let rtt = plan.round_trip();
    match &fault.trigger {
        Trigger::Phase {
            client: name,
            phase: Phase::Streaming,
            ..
        } if *name == client.name => Some(None),
        Trigger::At(at) => {
            let opening = Window::of(rtt, rtt * 4 + SLACK);
            let opened = client.start + opening.max + plan.slowest(client) + OVERHEAD;
            (*at > opened).then(|| Some(Window::exactly(*at - client.start).earlier(opening)))
        }
        Trigger::Phase { .. } | Trigger::Forgotten { .. } => None,
    }
}

/// How far into a response the fault comes, of those that last so long each and follow each other after a pause; `None` where it may
/// come in a pause.
fn within(since: Window, lasts: Duration, every: Duration) -> Option<Window> {
    let cycle = lasts + every;
    let number = u32::try_from(since.min.as_nanos() / cycle.as_nanos().max(1)).ok()?;
    let begun = cycle * number;
    // Each is a little late.
    let late = OVERHEAD * number;
    let (min, max) = (
        since.min.checked_sub(begun)?.checked_sub(late)?,
        since.max - begun,
    );
    (max + OVERHEAD < lasts).then_some(Window::of(min, max))
}

/// How far into a period the fault comes; `None` where a period may end meanwhile.
fn into(began: Window, period: Duration) -> Option<Window> {
    let of = |time: Duration| time.as_nanos() / period.as_nanos().max(1);
    let whole = of(began.min);
    if whole != of(began.max) || whole == 0 {
        return None;
    }
    let begun = period * u32::try_from(whole).ok()?;
    let late = OVERHEAD * u32::try_from(whole).ok()?;
    let min = (began.min - begun).saturating_sub(late);
    Some(Window::of(min, began.max - begun))
}

impl Situation<'_> {
    /// What becomes of the connection on which a client reads, or exchanges messages; `None` where the model does not know.
    pub(super) fn fate_of_reading(&self, reading: &Reading) -> Option<Fate> {
        let t = self.transport;
        let h2 = t.protocol == Protocol::H2;
        let limits = [
            (t.request_timeout, reading.began, Cause::RequestTimeout),
            (t.read_timeout, reading.heard, Cause::ReadTimeout),
        ];
        let limits = limits.into_iter().filter_map(|(limit, since, cause)| {
            Some((Window::exactly(limit?).earlier(since), cause))
        });
        let limits: Vec<Candidate> = limits.collect();
        // What is asked then on the same connection, and what its own limits make of that.
        let retires = self.retires() || t.ping_after_timeout.is_some() || t.idle_timeout.is_some();
        if h2 && !limits.is_empty() && retires {
            return None;
        }
        let mut all: Vec<Candidate> = Vec::new();
        // A stream's reset, a PING, and a message are data that nobody acknowledges.
        let mut sent: Vec<Window> = reading.next.into_iter().collect();
        match h2 {
            true => sent.extend(limits.iter().map(|(window, _)| *window)),
            false => all.extend(limits),
        }
        if let Some(ping) = t.ping.filter(|_| h2) {
            let heard = self.since_heard(reading.heard);
            let silent = match heard.max <= ping.idle {
                true => heard,
                false => Window::of(Duration::ZERO, ping.idle),
            };
            let pinged = Window::exactly(ping.idle).earlier(silent);
            all.push((
                pinged.then(Window::exactly(ping.timeout)),
                Cause::PingTimeout,
            ));
            sent.push(pinged);
        }
        let first = sent.iter().copied().reduce(Window::or_sooner);
        all.extend(first.map(|first| self.retransmission(first, first)));
        let kept_alive = self.keepalive_of_reading(reading);
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

    /// When keepalive ends it, if nothing is sent before.
    fn keepalive_of_reading(&self, reading: &Reading) -> Option<Candidate> {
        let keepalive = self.transport.keepalive?;
        let user_timeout = self.transport.user_timeout;
        let window = keepalive::keepalive(
            &keepalive,
            user_timeout,
            self.cycle.rtt,
            self.since_heard(reading.heard),
            reading.began.max > keepalive.idle,
            self.kernel,
        );
        let cause = match user_timeout {
            Some(_) => Cause::UserTimeout,
            None => Cause::Keepalive,
        };
        Some((window, cause))
    }
}
