//! What effects mean for who holds a connection, and for who answers. No `_` here: a new effect must say what it means.

use crate::plan::{Client, Effect, LabPlan, Packets, Place, Process, Server, Where};

/// Whether what stands at an endpoint (a server, or just an address on a node) answers nobody while an effect is in force.
/// Packets that vanish or are answered on a path leave it able to answer others. `place` says where it stands.
pub(super) fn silences(
    effect: &Effect,
    lab: &LabPlan,
    node: &str,
    server: &str,
    place: impl Fn() -> Place,
) -> bool {
    match effect {
        Effect::Silence { node: dead, .. } | Effect::Stop { node: dead } => dead == node,
        Effect::Kill {
            process: Process::Server(name),
        }
        | Effect::Hang { server: name } => name == server,
        Effect::Carrier { behind } => behind.holds(lab, &place()),
        Effect::Kill {
            process: Process::Client(_),
        }
        | Effect::Restore { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => false,
    }
}

/// Whether an effect makes some packets vanish on the way from a client to a place, and not all.
pub(super) fn loses_some(effect: &Effect, lab: &LabPlan, client: &Client, to: &Place) -> bool {
    match effect {
        Effect::Drop {
            path,
            packets: Packets::All,
            percent,
        } => *percent < 100.0 && path.place.is_crossed(lab, &client.place, to),
        // What is established loses nothing.
        Effect::Drop {
            packets: Packets::Syn,
            ..
        }
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
        | Effect::LoseState { .. } => false,
    }
}

/// Whether an effect leaves somebody on the way from a client to a place without a neighbour.
pub(super) fn no_neighbour(effect: &Effect, lab: &LabPlan, client: &Client, to: &Place) -> bool {
    match effect {
        Effect::Silence { .. } => neighbour_dies(effect, lab, to),
        Effect::Carrier { behind } => {
            let link = Where::At(behind.clone());
            link.is_crossed(lab, &client.place, to)
        }
        Effect::Stop { .. }
        | Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => false,
    }
}

/// Whether the link-layer address of a place's node resolves no more by an effect, and who asks for it is told so.
pub(super) fn neighbour_dies(effect: &Effect, lab: &LabPlan, to: &Place) -> bool {
    let dead = effect.dead_neighbour();
    dead.is_some() && dead == lab.node_of(to)
}

/// Whether chance decides by an effect what becomes of packets.
pub(super) fn throws_dice(effect: &Effect) -> bool {
    match effect {
        Effect::Drop { percent, .. } => *percent < 100.0,
        Effect::Delay { jitter, .. } => !jitter.is_zero(),
        Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => false,
    }
}

/// Whether an effect destroys a client's sockets.
pub(super) fn destroys(effect: &Effect, client: &Client) -> bool {
    match effect {
        Effect::Destroy { client: name, .. } => *name == client.name,
        Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::LoseState { .. } => false,
    }
}

/// The node that has its power back by an effect.
pub(super) fn restored(effect: &Effect) -> Option<&str> {
    match effect {
        Effect::Restore { node } => Some(node),
        Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => None,
    }
}

/// Whether a server is started again when an effect is undone.
pub(super) fn starts_again(effect: &Effect, server: &Server) -> bool {
    match effect {
        Effect::Stop { node } => server.node == *node,
        Effect::Kill {
            process: Process::Server(name),
        } => server.name == *name,
        Effect::Kill {
            process: Process::Client(_),
        }
        | Effect::Silence { .. }
        | Effect::Restore { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => false,
    }
}

/// The server whose program an effect strikes, and nothing else: who starts it anew mends it.
pub(super) fn program(effect: &Effect) -> Option<&str> {
    match effect {
        Effect::Kill {
            process: Process::Server(name),
        }
        | Effect::Hang { server: name } => Some(name),
        Effect::Kill {
            process: Process::Client(_),
        }
        | Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Restore { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{Direction, End, Path};

    #[test]
    fn chance_decides_where_some_packets_pass_or_take_longer_than_others() {
        let path = || Path {
            place: Where::At(End::Machine("n1".to_owned())),
            direction: Direction::Both,
        };
        let lost = |percent| Effect::Drop {
            path: path(),
            packets: Packets::All,
            percent,
        };
        let late = |jitter| Effect::Delay {
            path: path(),
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(jitter),
        };
        assert!(throws_dice(&lost(0.5)) && throws_dice(&lost(99.9)));
        assert!(!throws_dice(&lost(100.0)));
        assert!(throws_dice(&late(5)) && !throws_dice(&late(0)));
    }
}
