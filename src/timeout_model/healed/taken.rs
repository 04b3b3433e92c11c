//! What takes a client's way for a time.

use std::time::Duration;

use super::super::other_faults::only_loses_power;
use crate::plan::{Client, Direction, Effect, Fault, LabPlan, Packets, Server, Where};

/// What takes a client's way for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// Packets vanish, both ways.
    Path(&'a Where),
    /// A node has no power.
    Power(&'a str),
}

impl<'a> Taken<'a> {
    /// `None` where a fault is anything else, or does not heal.
    pub(super) fn by(fault: &'a Fault) -> Option<(Self, Duration)> {
        let lasts = fault.lasts?;
        let taken = match (fault.dead_node(), fault.effects.as_slice()) {
            (Some(_), effects) => {
                // Of a node whose link-layer address dies too it is another matter when it is found again.
                let resolves = effects.iter().all(|e| e.dead_neighbour().is_none());
                Self::Power(only_loses_power(fault).filter(|_| resolves)?)
            }
            (None, [effect]) => Self::Path(dead_path(effect)?),
            (None, _) => return None,
        };
        Some((taken, lasts))
    }

    pub(super) fn takes(self, client: &Client, server: &Server, plan: &LabPlan) -> bool {
        match self {
            Self::Path(place) => place.is_crossed(plan, &client.place, &server.place),
            Self::Power(node) => server.node == node,
        }
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
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => None,
    }
}

/// Whether a fault is one that heals, of those whose healing the model knows.
pub(in crate::timeout_model) fn heals(fault: &Fault) -> bool {
    Taken::by(fault).is_some()
}

/// Whether a fault takes a server, or the way to it: one that heals, or a loss of power that lasts.
pub(in crate::timeout_model) fn takes(
    fault: &Fault,
    client: &Client,
    server: &Server,
    plan: &LabPlan,
) -> bool {
    let healing = Taken::by(fault).map(|(taken, _)| taken);
    let taken = healing.or(fault.dead_node().map(Taken::Power));
    taken.is_some_and(|taken| taken.takes(client, server, plan))
}

/// Whether a fault leaves a client alone: all its servers and the ways to them are outside it.
pub(in crate::timeout_model) fn spares(fault: &Fault, client: &Client, plan: &LabPlan) -> bool {
    Taken::by(fault).is_some_and(|(taken, _)| {
        let power = taken == Taken::Power(&client.node);
        !power
            && !plan
                .servers_of(client)
                .any(|s| taken.takes(client, s, plan))
    })
}
