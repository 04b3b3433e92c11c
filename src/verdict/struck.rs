//! What a fault did to a client: whether it struck a connection that the client held, and which one its requests wait on.

use std::time::Duration;

use crate::plan::{Client, FaultKind, Phase, Process, Where};
use crate::record::Observation;

use super::connections::Connection;
use super::requests::Requests;
use super::timeline::{Injected, Moment, Timeline};

/// What a fault did to a client's connections.
pub(super) struct Struck<'t, 'a> {
    pub fault: Option<&'t Injected<'a>>,
    pub affected: Option<bool>,
    /// The connection its requests wait on.
    pub dead: Option<&'t Connection<'a>>,
}

/// The first fault that struck the client, else the first of all.
pub(super) fn struck<'t, 'a>(
    client: &Client,
    timeline: &'t Timeline<'a>,
    connections: &'t [Connection<'a>],
    requests: &Requests,
) -> Struck<'t, 'a> {
    let by = |fault| struck_by(client, fault, timeline, connections, requests);
    let own = timeline.ended_by_fault(client);
    let strikes = timeline.faults.iter().map(by);
    let first = strikes
        .into_iter()
        .find(|struck| struck.affected != Some(false));
    first
        .or_else(|| own.or(timeline.faults.first()).map(by))
        .unwrap_or(Struck {
            fault: None,
            affected: Some(false),
            dead: None,
        })
}

fn struck_by<'t, 'a>(
    client: &Client,
    fault: &'t Injected<'a>,
    timeline: &Timeline<'a>,
    connections: &'t [Connection<'a>],
    requests: &Requests,
) -> Struck<'t, 'a> {
    let held = connections
        .iter()
        .filter(|connection| connection.held_at(fault.at));
    let suspects = held.filter(|connection| strikes(client, fault, timeline, connection));
    let suspects: Vec<_> = suspects.collect();
    let dead = waited_on(&suspects, fault.at, requests);
    Struck {
        fault: Some(fault),
        affected: match dead {
            None => Some(false),
            Some(connection) => connection.endpoint.as_ref().map(|_| true),
        },
        dead,
    }
}

/// Whether a fault strikes a connection that the client holds when it comes. Of one whose endpoint the record does not
/// name, it may.
fn strikes(
    client: &Client,
    fault: &Injected,
    timeline: &Timeline,
    connection: &Connection,
) -> bool {
    let to = connection.endpoint.as_ref();
    let leads_to = |server: &str| to.is_none_or(|to| to.name == server);
    let of_client = |name: &str| name == client.name;
    let crosses = |place: &Where| {
        to.is_none_or(|to| {
            let end = timeline.place(to.node, &to.name);
            place.is_crossed(&timeline.case.lab, &client.place, &end)
        })
    };
    match &fault.fault.kind {
        FaultKind::PowerLoss { node, .. } => to.is_none_or(|to| to.node == node),
        FaultKind::ProcessKill {
            process: Process::Server(server),
        }
        | FaultKind::Hang { server } => leads_to(server),
        FaultKind::LinkDown { behind } => crosses(&Where::At(behind.clone())),
        FaultKind::Loss { path, .. }
        | FaultKind::Delay { path, .. }
        | FaultKind::Reject { path, .. } => crosses(&path.place),
        // Only one that is being opened has a SYN on the way.
        FaultKind::SynDrop { path } => {
            let dialling = connection.opened.is_none_or(|opened| opened > fault.at);
            dialling && crosses(&path.place)
        }
        FaultKind::ConntrackDeleted { service, server } => {
            client.target.service.as_ref() == Some(service)
                && server.as_deref().is_none_or(leads_to)
        }
        FaultKind::SocketDestroyed { client, server } => {
            of_client(client) && server.as_deref().is_none_or(leads_to)
        }
        // What is established stays with rules that change, and power that comes back finds nothing established.
        FaultKind::EndpointRemoved { .. }
        | FaultKind::EndpointAdded { .. }
        | FaultKind::PowerRestore { .. }
        | FaultKind::ProcessKill {
            process: Process::Client(_),
        } => false,
    }
}

/// Which of the dead connections the client's requests wait on: that of the request under way, else the one the next
/// request goes to, else the one being dialled, else the one used last.
fn waited_on<'t, 'a>(
    dead: &[&'t Connection<'a>],
    fault: Moment,
    requests: &Requests,
) -> Option<&'t Connection<'a>> {
    let numbered = |id: u32| dead.iter().find(|connection| connection.id == id).copied();
    let sendings = requests.sendings();
    let next = || {
        sendings
            .iter()
            .filter(|(at, _)| *at > fault)
            .find_map(|(_, id)| numbered(*id))
    };
    let dialling = || {
        dead.iter()
            .find(|connection| connection.opened.is_none_or(|at| at > fault))
            .copied()
    };
    let last = || sendings.iter().rev().find_map(|(_, id)| numbered(*id));
    let waiting = requests.waiting_on(fault).and_then(numbered);
    waiting
        .or_else(next)
        .or_else(dialling)
        .or_else(last)
        .or_else(|| dead.last().copied())
}

/// Whether a connection's endpoint could not answer when it was dialled.
pub(super) fn led_to_dead(connection: &Connection, dialled: Moment, timeline: &Timeline) -> bool {
    let endpoint = connection.endpoint.as_ref();
    endpoint.is_some_and(|endpoint| !timeline.answers(endpoint.node, &endpoint.name, dialled))
}

/// What a client was doing at a fault.
pub(super) fn phase(client: &str, fault: &Injected) -> Option<Phase> {
    let phase = fault.phases.iter().find(|(name, _)| name == client);
    phase.map(|(_, phase)| *phase)
}

/// When the client was no more: by its own event, else by the fault that ended it.
pub(super) fn gone(client: &Client, timeline: &Timeline) -> Option<Duration> {
    let event = timeline.events.iter().find_map(|(at, what)| match what {
        Observation::ClientGone { client: c } if *c == client.name => Some(at.at),
        _ => None,
    });
    event.or_else(|| timeline.ended_by_fault(client).map(|fault| fault.at.at))
}
