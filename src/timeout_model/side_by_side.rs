//! Clients that do several things at once over HTTP/1.1, where a connection has room for one request at a time: each of these
//! things has a connection of its own, and is foretold as a client that does nothing else. The client's outage is that of the
//! one that is well again last.

use super::cycle::OVERHEAD;
use super::window::SLACK;
use crate::plan::{
    Cause, Client, CloseOnFailure, Fault, LEASE_SHARE, LabPlan, Prediction, Protocol, Trigger,
    Window, Work, Workload, Workloads,
};

/// All that a client does, as things of which each asks, is answered, and pauses, or reads a response that goes on: renewals of a
/// node's lease go out beside its status.
pub(super) fn works(client: &Client) -> Vec<Work> {
    let mut all = Vec::new();
    for work in client.workloads.iter() {
        let Workload::Heartbeat {
            every,
            grace,
            lease: Some(lease),
            attempts,
            close_on_failure,
        } = work.kind
        else {
            all.push(work.clone());
            continue;
        };
        let beats = |every| Work {
            kind: Workload::Heartbeat {
                every,
                grace,
                lease: None,
                attempts,
                close_on_failure,
            },
            ..work.clone()
        };
        all.extend([beats(every), beats(lease / LEASE_SHARE)]);
    }
    all
}

/// The client that does nothing but this.
fn alone(client: &Client, work: Work) -> Client {
    let mut alone = client.clone();
    alone.transport.request_timeout = work.request_timeout;
    alone.workloads = Workloads(vec![work]);
    alone
}

/// Whether a client does several things at once, each on a connection of its own.
pub(super) fn asks(client: &Client) -> bool {
    client.transport.protocol == Protocol::H1 && client.workloads.at_once()
}

/// Each thing that it does, as a client of its own; `None` where nobody knows which connection is whose when `fault` strikes.
pub(super) fn each(client: &Client, plan: &LabPlan, fault: &Fault) -> Option<Vec<Client>> {
    let works = works(client);
    // Which of them a fault waits for is open.
    let waits =
        matches!(&fault.trigger, Trigger::Phase { client: name, .. } if *name == client.name);
    let reading = |work: &&Work| work.kind.streams();
    let cut = |work: &Work| {
        let part = work.kind.part_every();
        let read = client.transport.read_timeout;
        let silent = read.is_some_and(|limit| part.is_none_or(|part| limit <= part + OVERHEAD));
        work.request_timeout.is_some() || silent || !matches!(work.kind, Workload::Watch { .. })
    };
    let closes_all = works.len() > 1 && works.iter().any(|work| closes(work, CloseOnFailure::All));
    // Who asks next takes the connection of a response that was cut, or that has ended.
    if waits || closes_all || works.iter().filter(reading).any(cut) {
        return None;
    }
    let asking = works.iter().filter(|work| !work.kind.streams()).count();
    let apart = asking <= 1 || keep_apart(client, &works, plan);
    apart.then(|| works.into_iter().map(|work| alone(client, work)).collect())
}

/// Whether it is a heartbeat that closes these connections when it fails.
pub(super) fn closes(work: &Work, which: CloseOnFailure) -> bool {
    matches!(work.kind, Workload::Heartbeat { close_on_failure, .. } if close_on_failure == Some(which))
}

/// Whether of several that ask each takes one connection that is dead. Those that ask at the same times need all of them each time.
/// Of others nobody knows which connection rests for how long; it makes no difference if none is closed as idle meanwhile, and
/// nobody asks twice before another has asked once.
fn keep_apart(client: &Client, works: &[Work], plan: &LabPlan) -> bool {
    if works.iter().any(|work| closes(work, CloseOnFailure::Idle)) {
        return false;
    }
    let asking = || works.iter().filter(|work| !work.kind.streams());
    let pauses: Vec<_> = asking()
        .map(|work| work.kind.pause_after_response())
        .collect();
    let together = pauses
        .iter()
        .all(|(min, max)| min == max && (*min, *max) == pauses[0]);
    if together {
        return true;
    }
    let t = &client.transport;
    let mut servers = plan.servers_of(client);
    let closed = servers.any(|server| server.limits.idle_timeout.is_some());
    if t.idle_timeout.is_some() || t.keepalive.is_some() || closed {
        return false;
    }
    let longest = pauses.iter().map(|(_, max)| *max).max();
    let longest = longest.unwrap_or_default() + plan.slowest(client) + plan.round_trip() + OVERHEAD;
    let limits = asking().filter_map(|work| work.request_timeout);
    limits.chain(t.read_timeout).all(|limit| limit > longest)
}

/// Of what is foretold of each, what that is of the client; `None` where a response that goes on may end before another has asked for
/// the first time, and be asked for again on that one's dead connection.
pub(super) fn together(
    each: &[Client],
    foretold: Vec<Prediction>,
    plan: &LabPlan,
) -> Option<Prediction> {
    let asks = |client: &&Client| client.workloads.cycle().is_some();
    let asked = each.iter().filter(asks).map(|client| {
        client.workloads.longest_pause() + plan.slowest(client) + plan.round_trip() + SLACK
    });
    let asked = asked.max().unwrap_or_default();
    let too_soon = |(client, one): (&Client, &Prediction)| {
        let again = one
            .detection
            .map(|ends| ends.min + client.workloads.longest_pause());
        !asks(&client) && again.is_some_and(|again| again <= asked)
    };
    if each.iter().zip(&foretold).any(too_soon) {
        return None;
    }
    let name = |client: &Client| client.workloads.iter().map(|work| work.name.clone()).next();
    let mut of_workloads: Vec<(Option<String>, Prediction)> = Vec::new();
    for (client, one) in each.iter().zip(foretold) {
        match of_workloads
            .iter_mut()
            .find(|(known, _)| *known == name(client))
        {
            Some((_, status)) => *status = of_both(status, &one),
            None => of_workloads.push((name(client), one)),
        }
    }
    let mut all = worst(of_workloads.into_iter().map(|(_, one)| one).collect())?;
    // Who is well again last may find a connection that another has opened.
    if let Some(recovery) = all.recovery.as_mut().filter(|_| each.len() > 1) {
        recovery.min = recovery.min.saturating_sub(plan.round_trip());
    }
    Some(all)
}

/// Of a node's status and its lease, which are one workload: it is well with the first good response after the last failure, whichever
/// of both it is of.
fn of_both(status: &Prediction, lease: &Prediction) -> Prediction {
    let found = worst(vec![status.clone(), lease.clone()]);
    let unknown = Prediction {
        cause: Cause::Unknown,
        detection: None,
        recovery: None,
        ..status.clone()
    };
    let mut both = found.unwrap_or(unknown);
    if let (Some(all), Some(a), Some(b)) = (&mut both.recovery, status.recovery, lease.recovery) {
        let failed = [status, lease]
            .into_iter()
            .filter_map(|one| Some(one.detection?.min));
        let soonest = failed.max().unwrap_or_default();
        all.min = a.min.min(b.min).max(soonest);
    }
    // Of which of its two connections it is told when it was given up is open.
    both.detection = status
        .detection
        .zip(lease.detection)
        .map(|(a, b)| a.around(b));
    if status.cause != lease.cause {
        both.cause = Cause::Unknown;
    }
    both
}

/// Of workloads the one that is well again last.
fn worst(each: Vec<Prediction>) -> Option<Prediction> {
    let struck = || each.iter().filter(|one| !one.unaffected);
    if struck().next().is_none() {
        return each.into_iter().next();
    }
    // Chance alone may say for the last time when one of them is well, or nobody knows.
    let open = |one: &Prediction| {
        one.cause == Cause::Unknown && one.detection.is_none() || one.relapses_within.is_some()
    };
    if struck().any(open) {
        return None;
    }
    // The first that is never well again.
    if let Some(lost) = struck().find(|one| one.recovery.is_none()) {
        return Some(lost.clone());
    }
    let recoveries = struck().filter_map(|one| one.recovery);
    let last = recoveries.reduce(|a, b| Window::of(a.min.max(b.min), a.max.max(b.max)))?;
    let mut worst = struck().filter(|one| one.recovery.is_some_and(|own| own.max >= last.min));
    let first = worst.next()?.clone();
    let mut alone = true;
    let together = worst.fold(first, |mut all, one| {
        alone = false;
        all.detection = all.detection.zip(one.detection).map(|(a, b)| a.around(b));
        if all.cause != one.cause {
            all.cause = Cause::Unknown;
        }
        all
    });
    Some(match alone {
        true => together,
        // Of several throws the last good one counts.
        false => Prediction {
            odds: Vec::new(),
            quantiles: Vec::new(),
            recovery: Some(last),
            ..together
        },
    })
}

/// Whether a client sends heartbeats.
pub(super) fn beats(client: &Client) -> bool {
    let mut works = client.workloads.iter();
    works.any(|work| matches!(work.kind, Workload::Heartbeat { .. }))
}
