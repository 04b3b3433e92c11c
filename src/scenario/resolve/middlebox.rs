//! Middleboxes, and the faults that they are by themselves.

use std::time::Duration;

use super::fault::Found;
use crate::plan::units;
use crate::plan::{Client, Effect, End, Fault, Middlebox, Server, Trigger};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{MiddleboxSpec, Named, Spanned};
use crate::scenario::topology::Topology;
use crate::yaml::{Problem, given};

/// A client's connections are forgotten as often at most; what comes after belongs to the last time.
const MOST_TIMES: u32 = 16;

/// The middleboxes, in the file's order.
pub(super) fn resolve(cx: &mut Cx<'_>) {
    let middleboxes = given(&cx.scenario.middleboxes);
    let mut taken: Vec<&Spanned<String>> = Vec::new();
    let middleboxes = cx.each("middlebox", middleboxes, |cx, name, spec| {
        let before = taken.iter().find(|node| node.get() == spec.node.get());
        if let (Some(node), Some(before)) = (spec.node.get(), before) {
            let message = format!("node `{node}` has a middlebox already");
            let problem = Problem::new(spec.node.span, message).also(before.span, "the other one");
            cx.push(problem.help("put this one before another node"));
        }
        taken.push(&spec.node);
        middlebox(cx, name, spec)
    });
    cx.topology.middleboxes = middleboxes;
}

fn middlebox(cx: &mut Cx<'_>, name: &Spanned<String>, spec: &MiddleboxSpec) -> Option<Middlebox> {
    let node = cx.existing(Kind::Node, &spec.node)?.to_owned();
    let nodes = cx.names(Kind::Node).map_or(0, |names| names.len());
    if nodes < 2 {
        let message = format!("nothing passes a middlebox before `{node}`: it is the only node");
        cx.push(Problem::new(spec.node.span, message).help("add a node"));
    }
    if let Some(field) = spec.idle_timeout.as_ref()
        && let Some(time) = field.get()
        && (time.0.subsec_nanos() != 0 || time.0.is_zero())
    {
        let problem = Problem::new(field.span, "a middlebox counts whole seconds, at least one");
        cx.push(problem.help("write e.g. `350s`; without it connections are known for ever"));
    }
    Some(Middlebox {
        name: name.get()?.clone(),
        node,
        kind: given(&spec.kind).copied().unwrap_or_default(),
        idle_timeout: given(&spec.idle_timeout).map(|time| time.0),
        unknown: given(&spec.unknown).copied().unwrap_or_default(),
        location: cx.locate(name.span),
    })
}

/// Faults that a middlebox stands in the way of: who asks for a neighbour's address asks for its own, which does not die.
pub(super) fn check(cx: &mut Cx<'_>, faults: &[Found]) {
    let moving = given(&cx.scenario.service)
        .into_iter()
        .flat_map(Named::iter);
    let moving = moving.filter_map(|(_, _, service)| service.proxy.as_ref());
    let mut moving = moving.filter(|proxy| proxy.get().is_some_and(|proxy| proxy.moves()));
    if let (Some(proxy), Some(middlebox)) = (moving.next(), cx.topology.middleboxes.first()) {
        let message = format!(
            "an address that moves is announced by ARP, and with a middlebox (`{}`) all neighbour entries are permanent",
            middlebox.name
        );
        let problem = Problem::new(proxy.span, message);
        cx.push(problem.help("take another `proxy`, or leave the middlebox out"));
    }
    for found in faults {
        for effect in &found.fault.effects {
            let dead = effect.dead_neighbour();
            if let (Some(node), Some(other)) = (dead, cx.topology.middleboxes.first()) {
                let message = format!(
                    "the neighbour entries of `{node}` can't die: with a middlebox (`{}`) all of them are permanent",
                    other.name
                );
                let problem = Problem::new(found.struck, message);
                cx.push(problem.help("leave `neighbour: dead` out, or the middlebox"));
            }
            if let Effect::Carrier {
                behind: End::Machine(node) | End::Host(node),
            } = effect
                && let Some(before) = cx.topology.middleboxes.iter().find(|m| m.node == *node)
            {
                let message = format!(
                    "the uplink of `{node}` leads to the middlebox `{}`, and can't be taken down by itself",
                    before.name
                );
                let problem = Problem::new(found.struck, message);
                cx.push(problem.help(format!(
                    "write e.g. `loss: {{ node: {node}, percent: 100 }}`"
                )));
            }
        }
    }
}

/// What each client whose connections pass a middlebox may meet there: that one is forgotten, as often as that can be within
/// `duration`.
pub(super) fn faults(
    topology: &Topology,
    clients: &[Client],
    duration: Option<Duration>,
) -> Vec<Fault> {
    let mut all = Vec::new();
    for middlebox in &topology.middleboxes {
        let Some(idle_timeout) = middlebox.idle_timeout else {
            continue;
        };
        let passing = clients
            .iter()
            .filter(|client| passes(topology, client, middlebox));
        let times = duration.map_or(1, |all| all.as_secs() / idle_timeout.as_secs().max(1));
        let times = u32::try_from(times)
            .unwrap_or(u32::MAX)
            .clamp(1, MOST_TIMES);
        all.extend(passing.flat_map(|client| {
            (1..=times).map(|time| idle(middlebox, client, idle_timeout, time))
        }));
    }
    all
}

fn idle(middlebox: &Middlebox, client: &Client, idle_timeout: Duration, time: u32) -> Fault {
    Fault {
        name: None,
        kind: "idle_timeout".to_owned(),
        target: middlebox.name.clone(),
        detail: Some(format!(
            "{} idle for {}",
            client.name,
            units::exact(idle_timeout)
        )),
        trigger: Trigger::Forgotten {
            middlebox: middlebox.name.clone(),
            client: client.name.clone(),
            after: client.start + idle_timeout * time,
        },
        effects: vec![Effect::LoseState {
            middlebox: middlebox.name.clone(),
            idle_of: Some(client.name.clone()),
        }],
        lasts: None,
        location: middlebox.location.clone(),
    }
}

/// Whether a client's connections can pass a middlebox.
fn passes(topology: &Topology, client: &Client, middlebox: &Middlebox) -> bool {
    let of_client = |server: &&Server| client.target.servers.contains(&server.name);
    let mut servers = topology.servers.iter().filter(of_client);
    let is_before = |node: &str| node == middlebox.node;
    servers.any(|server| is_before(&server.node) != is_before(&client.node))
}
