//! What is looked at besides what verdicts need.

use serde::{Deserialize, Serialize};

use super::topology::Topology;
use super::{Client, CounterExpectation, Location, Place, counters};
use crate::scenario::given;
use crate::scenario::model::{OffOr, Scenario, Spanned, Switch};

/// Bytes of packets kept of a link where the scenario does not say: some 4,000 of them.
const PACKET_LIMIT: u64 = 1 << 20;

/// What is looked at in a lab besides what verdicts need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Every client's and server's sockets through time.
    pub sockets: bool,
    /// Counters of every namespace.
    pub counters: bool,
    /// Counters that must be there, with where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_counters: Vec<(String, Location)>,
    /// The services' rules and connections.
    pub rules: bool,
    /// Nodes and pods whose link's packets are kept.
    pub packets: Vec<String>,
    /// Bytes of packets kept of each of these links, the newest.
    #[serde(default = "packet_limit")]
    pub packet_limit: u64,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            sockets: true,
            counters: true,
            named_counters: Vec::new(),
            rules: true,
            packets: Vec::new(),
            packet_limit: PACKET_LIMIT,
        }
    }
}

fn packet_limit() -> u64 {
    PACKET_LIMIT
}

/// The probes of a scenario. Packets are kept where records are: see [`crate::runner::run`].
pub(super) fn of(
    scenario: &Scenario,
    topology: &Topology,
    clients: &[Client],
    expected: &[CounterExpectation],
) -> Probes {
    let spec = given(&scenario.probes).cloned().unwrap_or_default();
    let on = |switch: &Option<Spanned<Switch>>| given(switch) != Some(&Switch::Off);
    let mut packets = match given(&spec.packets) {
        None => clients.iter().map(|c| c.node.clone()).collect(),
        Some(OffOr::Off) => Vec::new(),
        Some(OffOr::On(links)) => links
            .iter()
            .filter_map(Spanned::get)
            .map(|name| link_of(name, topology))
            .collect(),
    };
    let mut seen = std::collections::HashSet::new();
    packets.retain(|link: &String| seen.insert(link.clone()));
    Probes {
        sockets: on(&spec.sockets),
        counters: on(&spec.counters),
        named_counters: counters::named(expected),
        rules: on(&spec.rules),
        packets,
        packet_limit: given(&spec.packet_limit).map_or(PACKET_LIMIT, |size| size.0),
    }
}

/// The node or pod whose link carries what `name` sends.
fn link_of(name: &str, topology: &Topology) -> String {
    let place = topology
        .server(name)
        .map(|server| &server.place)
        .or_else(|| topology.clients.get(name));
    match place {
        Some(Place::Node(place) | Place::Pod(place)) => place.clone(),
        None => name.to_owned(),
    }
}
