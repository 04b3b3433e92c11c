//! What a fault did to a client: whether it struck a connection that the client held, and which one its requests wait on.

use std::time::Duration;

use crate::plan::{Client, Effect, Packets, Phase, Process, Where};

use super::client_record::ClientRecord;
use super::connections::Connection;
use super::index::Index;
use super::requests::Requests;
use super::timeline::{Injected, Moment, Timeline};

/// What a fault did to a client's connections.
pub(super) struct Struck<'t, 'a> {
    pub fault: &'t Injected<'a>,
    /// Whether it struck one that the client held; `None` if the record does not say.
    pub affected: Option<bool>,
    /// The one that its requests wait on.
    pub dead: Option<&'t Connection<'a>>,
    /// The numbers of all that it struck, or that were dialled for what it took.
    pub taken: Vec<u32>,
}

/// What each fault did to the client, in order of time. `uses` says whether a connection matters at a fault.
pub(super) fn struck<'t, 'a>(
    record: &ClientRecord<'t, 'a>,
    uses: &dyn Fn(&Connection, Moment) -> bool,
) -> Vec<Struck<'t, 'a>> {
    let faults = record.index.timeline.faults.iter();
    let mut all: Vec<_> = faults.map(|fault| struck_by(fault, record, uses)).collect();
    // Who held nothing that a fault took may still need it: the first dial that nobody answers tells, unless another fault
    // had struck by then and is what it dials for.
    let strikes = all.iter().filter(|struck| struck.affected != Some(false));
    let first = strikes.map(|struck| struck.fault.at).min();
    for struck in all.iter_mut().filter(|s| s.affected == Some(false)) {
        let dial = needed(struck.fault, record, uses);
        let dial = dial.filter(|dial| first.is_none_or(|first| dial.dialled < Some(first)));
        if let Some(dial) = dial {
            struck.affected = Some(true);
            struck.dead = Some(dial);
            struck.taken = vec![dial.id];
        }
    }
    all
}

/// Of what faults did to a client, what the first one did that struck it: else that which ended it, else the first of all.
pub(super) fn first_of<'s, 't, 'a>(
    client: &Client,
    timeline: &Timeline,
    all: &'s [Struck<'t, 'a>],
) -> Option<&'s Struck<'t, 'a>> {
    let first = all.iter().find(|struck| struck.affected != Some(false));
    first.or_else(|| {
        let own = timeline.ended_by_fault(client);
        let own = own.and_then(|own| all.iter().find(|s| s.fault.index == own.index));
        own.or(all.first())
    })
}

fn struck_by<'t, 'a>(
    fault: &'t Injected<'a>,
    record: &ClientRecord<'t, 'a>,
    uses: &dyn Fn(&Connection, Moment) -> bool,
) -> Struck<'t, 'a> {
    let held = record.connections.iter();
    let held = held.filter(|c| c.held_at(fault.at) && uses(c, fault.at));
    let timeline = &record.index.timeline;
    let suspects: Vec<_> = held
        .filter(|connection| strikes(record.client, fault, timeline, connection))
        .collect();
    let dead = waited_on(&suspects, fault.at, record.requests);
    let taken = suspects.iter().map(|connection| connection.id).collect();
    Struck {
        taken,
        fault,
        affected: match dead {
            None => Some(false),
            Some(connection) => connection.endpoint.as_ref().map(|_| true),
        },
        dead,
    }
}

/// The first dial after a fault that came to nothing since the fault had taken what it led to, and was still in force.
fn needed<'t, 'a>(
    fault: &Injected,
    record: &ClientRecord<'t, 'a>,
    uses: &dyn Fn(&Connection, Moment) -> bool,
) -> Option<&'t Connection<'a>> {
    let timeline = &record.index.timeline;
    record.connections.iter().find(|connection| {
        let Some(dialled) = connection.dialled else {
            return false;
        };
        let vain =
            connection.opened.is_none() && connection.endpoint.is_some() && !connection.cut_short();
        let taken = || {
            let mut effects = fault.fault.effects.iter();
            effects.any(|effect| {
                outlasts(effect) && strikes_by(effect, record.client, fault, timeline, connection)
            })
        };
        vain && fault.in_force(dialled) && taken() && uses(connection, dialled)
    })
}

/// Whether an effect goes on for as long as its fault is in force, so that it meets those who come later.
fn outlasts(effect: &Effect) -> bool {
    match effect {
        Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. } => true,
        Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. }
        | Effect::Rules { .. }
        | Effect::Restore { .. } => false,
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
    let mut effects = fault.fault.effects.iter();
    effects.any(|effect| strikes_by(effect, client, fault, timeline, connection))
}

fn strikes_by(
    effect: &Effect,
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
    let there = |node: &str| to.is_none_or(|to| to.node == node);
    match effect {
        Effect::Stop { node } => there(node),
        // A client that the same fault ends is gone: it waits on nothing.
        Effect::Silence { node, .. } => {
            there(node) || (*node == client.node && !fault.fault.ends(client))
        }
        Effect::Kill {
            process: Process::Server(server),
        }
        | Effect::Hang { server } => leads_to(server),
        Effect::Carrier { behind } => crosses(&Where::At(behind.clone())),
        Effect::Drop {
            path,
            packets: Packets::All,
            ..
        }
        | Effect::Delay { path, .. }
        | Effect::Answer { path, .. } => crosses(&path.place),
        // Only one that is being opened has a SYN on the way.
        Effect::Drop {
            path,
            packets: Packets::Syn,
            ..
        } => {
            let dialling = connection.opened.is_none_or(|opened| opened > fault.at);
            dialling && crosses(&path.place)
        }
        Effect::Forget { service, server } => {
            client.target.service.as_ref() == Some(service)
                && server.as_deref().is_none_or(leads_to)
        }
        Effect::Destroy { client, server } => {
            of_client(client) && server.as_deref().is_none_or(leads_to)
        }
        Effect::LoseState { middlebox, idle_of } => {
            let lab = &timeline.case.lab;
            let known = lab.middleboxes.iter().find(|m| m.name == *middlebox);
            let passes = known.is_some_and(|middlebox| crosses(&middlebox.link()));
            passes
                && match idle_of {
                    None => true,
                    Some(of) => {
                        of_client(of) && timeline.has_forgotten(middlebox, connection, fault.at)
                    }
                }
        }
        // What is established stays with rules that change, and power that comes back finds nothing established.
        Effect::Rules { .. }
        | Effect::Restore { .. }
        | Effect::Kill {
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
    // They are in order of their numbers.
    let numbered = |id: u32| {
        let place = dead.binary_search_by_key(&id, |connection| connection.id);
        place.ok().map(|place| dead[place])
    };
    let sendings = &requests.sendings;
    let next = || {
        let after = sendings.partition_point(|(at, _)| *at <= fault);
        sendings[after..].iter().find_map(|(_, id)| numbered(*id))
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
pub(super) fn gone(client: &Client, index: &Index) -> Option<Duration> {
    let event = index.client(&client.name).and_then(|of| of.gone);
    let ended = || Some(index.timeline.ended_by_fault(client)?.at);
    event.or_else(ended).map(|at| at.at)
}
