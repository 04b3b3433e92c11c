//! What a client is doing when a fault strikes: by its workload's rhythm and the fault's time, or by what was seen.

use std::time::Duration;

use super::cycle::Cycle;
use super::kernel::Kernel;
use crate::plan::{Client, Fault, LabPlan, Phase, Trigger, Window};

/// A fault that waits for a response to be waited for holds that response back until the request is acknowledged, which it
/// looks for in steps of this.
const HELD_STEP: Duration = Duration::from_millis(50);
/// The longest delayed acknowledgement (TCP_DELACK_MAX).
const HELD: Duration = Duration::from_millis(200);
/// The shortest (TCP_DELACK_MIN), and a tick.
const DELAYED: Duration = Duration::from_millis(50);
/// How exactly a record says when a client began what it does, and a client kept its pause.
const SEEN: Duration = Duration::from_millis(20);

/// What a record says of the moment at which a fault struck a client. By default nothing, as before a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The kernel.
    pub kernel: Kernel,
    /// What the client was doing.
    pub phase: Option<Phase>,
    /// How long it had been at that: since its last response if it was idle, since its request went out if it waited for a
    /// response, since its SYN did if it was connecting.
    pub since: Option<Duration>,
}

/// What a client may be doing at the fault. Both are possible where nobody can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rhythm {
    /// It pauses.
    pub(super) idle: Option<Idle>,
    /// It waits for a response; when it sent its request, before the fault.
    pub(super) busy: Option<Window>,
    /// Of the request it waits for: whether it can be unacknowledged, and whether it can be acknowledged.
    pub(super) unacknowledged: bool,
    pub(super) acknowledged: bool,
    /// It dials, and has no connection.
    pub(super) connecting: bool,
    /// It dials, and what answers it was on its way: when its request goes out, after the fault.
    pub(super) opened: Option<Window>,
    /// Requests that were answered on the connection before, at the least.
    pub(super) exchanges: u32,
    /// Whether the connection may have rested before, for a whole pause or for a server's delay.
    pub(super) may_have_rested: bool,
}

/// A pause in which a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idle {
    /// From the fault to the next request.
    pub(super) next: Window,
    /// From the last response to the fault.
    pub(super) rested: Window,
}

impl Rhythm {
    pub(super) fn of(
        client: &Client,
        plan: &LabPlan,
        fault: &Fault,
        seen: &Seen,
        cycle: &Cycle,
    ) -> Self {
        let mut rhythm = Self::without_past(client, plan, fault, seen, cycle);
        let (earliest, latest) = fault.trigger.times(plan);
        rhythm.exchanges = cycle.answered_by(earliest, client.start);
        let least = Window::then(cycle.pause, cycle.work()).min;
        rhythm.may_have_rested = latest.is_none_or(|at| at >= client.start + least);
        rhythm
    }

    fn without_past(
        client: &Client,
        plan: &LabPlan,
        fault: &Fault,
        seen: &Seen,
        cycle: &Cycle,
    ) -> Self {
        let own =
            matches!(&fault.trigger, Trigger::Phase { client: name, .. } if *name == client.name);
        match (&fault.trigger, seen.phase) {
            // The lab held the client where it is: that is exact.
            (Trigger::Phase { phase, after, .. }, _)
                if own && (seen.since.is_none() || is_held_back(*phase)) =>
            {
                Self::waited_for(*phase, *after, client, plan, fault, cycle)
            }
            (_, Some(phase)) => Self::seen(phase, seen.since, cycle),
            (Trigger::At(at), None) if is_first(fault, plan) => Self::at(*at, client.start, cycle),
            (Trigger::At(_) | Trigger::Phase { .. } | Trigger::Forgotten { .. }, None) => {
                Self::anytime(cycle)
            }
        }
    }

    /// A fault that waits for a phase of this client.
    fn waited_for(
        phase: Phase,
        after: Duration,
        client: &Client,
        plan: &LabPlan,
        fault: &Fault,
        cycle: &Cycle,
    ) -> Self {
        // It may be there already when the time for it comes.
        let when = match is_first(fault, plan) {
            true => Self::at(after, client.start, cycle),
            false => Self::anytime(cycle),
        };
        match phase {
            Phase::Connecting => Self {
                connecting: true,
                opened: when.opened,
                ..Self::default()
            },
            Phase::RequestUnacknowledged => {
                let already = when.busy.filter(|_| when.unacknowledged);
                let longest = match cycle.rtt.is_zero() && cycle.delay.max.is_zero() {
                    true => Duration::ZERO,
                    false => cycle.rtt + DELAYED,
                };
                let sent = already.map_or(Duration::ZERO, |sent| sent.max.min(longest));
                let sent = Window::of(Duration::ZERO, sent);
                Self {
                    unacknowledged: true,
                    ..Self::busy_within(None, sent, cycle)
                }
            }
            // Nothing of a streaming client's is outstanding on TCP's level either.
            Phase::WaitingForResponse | Phase::Streaming => Self {
                // The response that the lab holds back is not on its way, that of one who waited already may be.
                idle: when.busy.and_then(|sent| cycle.answered(sent)),
                busy: Some(Window {
                    min: HELD_STEP,
                    max: cycle.service.max + HELD + HELD_STEP,
                }),
                acknowledged: true,
                ..Self::default()
            },
            Phase::Idle => {
                let begun = Idle {
                    next: cycle.pause,
                    rested: Window::default(),
                };
                let idle = match when {
                    Self {
                        idle: Some(already),
                        busy: None,
                        ..
                    } => already,
                    Self {
                        idle: Some(already),
                        ..
                    } => already.or(begun),
                    _ => begun,
                };
                Self {
                    idle: Some(idle),
                    ..Self::default()
                }
            }
        }
    }

    /// What a record says of a client that nothing waited for.
    fn seen(phase: Phase, since: Option<Duration>, cycle: &Cycle) -> Self {
        let about = |since: Duration| Window::of(since.saturating_sub(SEEN), since + SEEN);
        let began = |longest| since.map_or(Window::of(Duration::ZERO, longest), about);
        let busy = |unacknowledged| {
            let sent = began(match unacknowledged {
                true => cycle.rtt + DELAYED,
                false => cycle.service.max,
            });
            // All of its response was on its way.
            let answered = sent.min > cycle.service.max.saturating_sub(cycle.rtt / 2);
            let idle = cycle.answered(sent);
            // An acknowledgement may be on its way as well.
            let within = Self::busy_within(idle, sent, cycle);
            Self {
                busy: Some(sent).filter(|_| !answered || idle.is_none()),
                unacknowledged: unacknowledged && within.unacknowledged,
                acknowledged: !unacknowledged || within.acknowledged,
                ..within
            }
        };
        match phase {
            Phase::Connecting => {
                let dialled = began(Duration::MAX);
                let opened = cycle.opened(dialled);
                // TLS needs more than that one answer.
                let for_sure = !cycle.tls && dialled.min >= cycle.rtt / 2;
                Self {
                    connecting: opened.is_none() || !for_sure,
                    opened,
                    ..Self::default()
                }
            }
            Phase::RequestUnacknowledged => busy(true),
            Phase::WaitingForResponse | Phase::Streaming => busy(false),
            Phase::Idle => {
                let anytime = Idle::anytime(cycle);
                let exact = since
                    .filter(|rested| *rested <= cycle.pause.max)
                    .map(|rested| {
                        let next = cycle.pause.earlier(Window::exactly(rested));
                        Idle {
                            next: Window::of(next.min.saturating_sub(SEEN), next.max + SEEN),
                            rested: about(rested),
                        }
                    });
                Self {
                    idle: Some(exact.unwrap_or(anytime)),
                    ..Self::default()
                }
            }
        }
    }

    /// Nobody knows.
    fn anytime(cycle: &Cycle) -> Self {
        let busy = Self::busy_within(
            Some(Idle::anytime(cycle)),
            Window::of(Duration::ZERO, cycle.service.max),
            cycle,
        );
        let opened = cycle.opening.and_then(|opening| cycle.opened(opening));
        Self {
            connecting: opened.is_some(),
            opened,
            ..busy
        }
    }

    /// At a time of the case, of a client that began at `start`.
    fn at(at: Duration, start: Duration, cycle: &Cycle) -> Self {
        let since = at.saturating_sub(start);
        let whole = Window::then(cycle.pause, cycle.work());
        let handshake = cycle.handshake();
        let begin = |n: u32| match n {
            0 => Window::default(),
            // The first dial is no part of a cycle.
            n => {
                let before = handshake.then(cycle.pause).then(cycle.requests());
                Window::of(
                    before.min + whole.min * (n - 1),
                    before.max + whole.max * (n - 1),
                )
            }
        };
        let cycles = |least: Duration| since.as_nanos() / least.as_nanos().max(1);
        let (first, last) = (
            since.saturating_sub(handshake.max).as_nanos() / whole.max.as_nanos().max(1),
            cycles(whole.min),
        );
        // Where any of many cycles may be under way, anything may be.
        let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else {
            return Self::anytime(cycle);
        };
        if last > first + 1 {
            return Self::anytime(cycle);
        }
        let (mut idle, mut busy): (Option<Idle>, Option<Window>) = (None, None);
        let mut opened = None;
        for n in first..=last {
            let (began, next) = (begin(n), begin(n + 1));
            let dials = if n == 0 {
                Some(handshake)
            } else {
                cycle.opening
            };
            let opening = dials.unwrap_or_default();
            if dials.is_some() && since >= began.min && since <= began.max + opening.max {
                opened = opened.or(cycle.opened(opening));
            }
            let work = opening.then(cycle.requests());
            if since >= began.min && since <= began.max + work.max {
                let sent = Window::of(
                    since.saturating_sub(began.max + work.max - cycle.service.max),
                    since.saturating_sub(began.min).min(cycle.service.max),
                );
                let sent = Window::of(sent.min.min(sent.max), sent.max);
                busy = Some(busy.map_or(sent, |other| other.around(sent)));
            }
            if since >= began.min + work.min && since <= next.max {
                let next = Window::of(
                    next.min.saturating_sub(since),
                    next.max.saturating_sub(since).min(cycle.pause.max),
                );
                let now = Idle {
                    next: Window::of(next.min.min(next.max), next.max),
                    rested: cycle.pause.earlier(next),
                };
                idle = Some(idle.map_or(now, |other| other.or(now)));
            }
        }
        let at = match busy {
            Some(sent) => Self::busy_within(idle, sent, cycle),
            None => Self {
                idle,
                ..Self::default()
            },
        };
        Self {
            connecting: opened.is_some(),
            opened,
            ..at
        }
    }

    /// A client that may wait for a response to a request sent within `sent` before the fault.
    fn busy_within(idle: Option<Idle>, sent: Window, cycle: &Cycle) -> Self {
        let one_way = cycle.rtt / 2;
        let delayed = !cycle.delay.max.is_zero();
        Self {
            idle: [idle, cycle.answered(sent)]
                .into_iter()
                .flatten()
                .reduce(Idle::or),
            busy: Some(sent),
            unacknowledged: sent.min <= one_way + DELAYED,
            acknowledged: delayed && sent.max >= one_way,
            ..Self::default()
        }
    }
}

impl Idle {
    fn or(self, other: Self) -> Self {
        Self {
            next: self.next.around(other.next),
            rested: self.rested.around(other.rested),
        }
    }

    fn anytime(cycle: &Cycle) -> Self {
        let somewhere = Window::of(Duration::ZERO, cycle.pause.max);
        Self {
            next: somewhere,
            rested: somewhere,
        }
    }
}

/// Whether a fault that waits for a client's phase holds back what would end it.
fn is_held_back(phase: Phase) -> bool {
    match phase {
        Phase::WaitingForResponse | Phase::Streaming => true,
        Phase::Connecting | Phase::RequestUnacknowledged | Phase::Idle => false,
    }
}

/// Whether no fault before this one can have changed a client's rhythm.
pub(super) fn is_first(fault: &Fault, plan: &LabPlan) -> bool {
    let (earliest, latest) = fault.trigger.times(plan);
    let latest = latest.unwrap_or(earliest);
    plan.faults
        .iter()
        .all(|other| std::ptr::eq(other, fault) || other.trigger.times(plan).0 >= latest)
}

#[cfg(test)]
#[path = "rhythm_tests.rs"]
mod tests;
