//! From a scenario's faults to the plan's.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::topology::Topology;
use super::{Direction, End, Fault, FaultKind, Location, Path, Place, Process, Trigger, Where};
use crate::scenario::model::{FaultKindSpec, FaultSpec, PathSpec, Scenario, Spanned};
use crate::scenario::{Span, given};

/// Before this a phase trigger does not fire: every client has its connection by then.
pub(crate) const PHASE_AFTER: Duration = Duration::from_secs(5);

/// When a fault with `jitter` fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draw {
    /// As late as it can: what holds then holds whatever chance says.
    Latest,
    /// As chance has it with this seed.
    Seed(u64),
}

impl Draw {
    /// What the `number`th fault waits of a `jitter`.
    fn of(self, jitter: Duration, number: usize) -> Duration {
        match self {
            Self::Latest => jitter,
            Self::Seed(seed) => {
                // Faults of one case, and of cases with neighbouring seeds, must not fire together.
                let number = u64::try_from(number).unwrap_or(u64::MAX);
                let own = seed.wrapping_mul(31).wrapping_add(number);
                jitter.mul_f64(StdRng::seed_from_u64(own).random::<f64>())
            }
        }
    }
}

/// Whether chance decides when a scenario's faults fire.
pub(super) fn by_chance(scenario: &Scenario) -> bool {
    let faults = scenario.faults.get().into_iter().flatten();
    let mut faults = faults.filter_map(Spanned::get);
    faults.any(|fault| fault.jitter.is_some())
}

/// The faults of a scenario in which nothing wrong was found.
pub(super) fn of(
    scenario: &Scenario,
    topology: &Topology,
    draw: Draw,
    locate: &dyn Fn(Span) -> Location,
) -> Vec<Fault> {
    let faults = scenario.faults.get().into_iter().flatten();
    faults
        .enumerate()
        .filter_map(|(number, fault)| {
            let spec = fault.get()?;
            let jitter = given(&spec.jitter).map_or(Duration::ZERO, |jitter| jitter.0);
            Some(Fault {
                trigger: trigger(spec, draw.of(jitter, number))?,
                kind: kind(spec.fault.get()?, topology)?,
                lasts: given(&spec.lasts).map(|time| time.0),
                location: locate(fault.span),
            })
        })
        .collect()
}

fn trigger(spec: &FaultSpec, later: Duration) -> Option<Trigger> {
    if let Some(at) = given(&spec.at) {
        return Some(Trigger::At(at.0 + later));
    }
    let when = spec.when.as_ref().and_then(Spanned::get)?;
    Some(Trigger::Phase {
        client: when.client.get()?.clone(),
        phase: *when.phase.get()?,
        after: given(&when.after).map_or(PHASE_AFTER, |after| after.0),
    })
}

fn kind(spec: &FaultKindSpec, topology: &Topology) -> Option<FaultKind> {
    Some(match spec {
        FaultKindSpec::PowerLoss(loss) => FaultKind::PowerLoss {
            node: loss.node.get()?.clone(),
            neighbour: given(&loss.neighbour).copied().unwrap_or_default(),
        },
        FaultKindSpec::PowerRestore(restore) => FaultKind::PowerRestore {
            node: restore.node.get()?.clone(),
        },
        FaultKindSpec::ProcessKill(kill) => FaultKind::ProcessKill {
            process: match given(&kill.server) {
                Some(server) => Process::Server(server.clone()),
                None => Process::Client(given(&kill.client)?.clone()),
            },
        },
        FaultKindSpec::Hang(hang) => FaultKind::Hang {
            server: hang.server.get()?.clone(),
        },
        FaultKindSpec::LinkDown(down) => match place(down.path(), topology)? {
            Where::At(behind) => FaultKind::LinkDown { behind },
            Where::Between(..) => return None,
        },
        FaultKindSpec::Loss(loss) => FaultKind::Loss {
            path: path(loss.path(), topology)?,
            percent: loss.percent.get()?.0,
        },
        FaultKindSpec::Delay(delay) => FaultKind::Delay {
            path: path(delay.path(), topology)?,
            delay: delay.delay.get()?.0,
            jitter: given(&delay.jitter).map_or(Duration::ZERO, |jitter| jitter.0),
        },
        FaultKindSpec::Reject(reject) => FaultKind::Reject {
            path: path(reject.path(), topology)?,
            with: *reject.with.get()?,
        },
        FaultKindSpec::SynDrop(drop) => FaultKind::SynDrop {
            path: path(drop.path(), topology)?,
        },
        FaultKindSpec::EndpointRemoved(endpoint) => FaultKind::EndpointRemoved {
            service: endpoint.service.get()?.clone(),
            server: endpoint.server.get()?.clone(),
        },
        FaultKindSpec::EndpointAdded(endpoint) => FaultKind::EndpointAdded {
            service: endpoint.service.get()?.clone(),
            server: endpoint.server.get()?.clone(),
        },
        FaultKindSpec::ConntrackDeleted(deleted) => FaultKind::ConntrackDeleted {
            service: deleted.service.get()?.clone(),
            server: given(&deleted.server).cloned(),
        },
        FaultKindSpec::SocketDestroyed(destroyed) => FaultKind::SocketDestroyed {
            client: destroyed.client.get()?.clone(),
            server: given(&destroyed.server).cloned(),
        },
    })
}

fn path(spec: PathSpec<'_>, topology: &Topology) -> Option<Path> {
    Some(Path {
        place: place(spec, topology)?,
        direction: spec
            .direction
            .and_then(Spanned::get)
            .map_or(Direction::Both, |direction| *direction),
    })
}

fn place(spec: PathSpec<'_>, topology: &Topology) -> Option<Where> {
    if let Some(ends) = spec.between {
        let [first, second] = &ends.get()?[..] else {
            return None;
        };
        return Some(Where::Between(
            end_of(first.get()?, topology)?,
            end_of(second.get()?, topology)?,
        ));
    }
    let named = spec.node.or(spec.server).or(spec.client)?;
    Some(Where::At(end_of(named.get()?, topology)?))
}

/// What a node's, a server's or a client's name stands for on a path.
pub(crate) fn end_of(name: &str, topology: &Topology) -> Option<End> {
    if topology.node(name).is_some() {
        return Some(End::Machine(name.to_owned()));
    }
    let server = topology.server(name).map(|server| &server.place);
    match server.or_else(|| topology.clients.get(name))? {
        Place::Pod(pod) => Some(End::Pod(pod.clone())),
        Place::Node(node) => Some(End::Host(node.clone())),
    }
}
