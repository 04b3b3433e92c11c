//! A node loses power: from one instant on, nothing it sends arrives and nothing reaches it, in silence.
//!
//! Packets vanish at the node's port on the fabric, never at a client: a packet dropped on a client's own egress is
//! known to its TCP as not sent, and another timer rules.

use netlink_sys::protocols::NETLINK_ROUTE;

use super::Cut;
use crate::lab::LabError;
use crate::lab::link::{self, ETH0};
use crate::lab::netlink::Channel;
use crate::lab::network::{BuiltNode, Network};
use crate::lab::nft::{Chain, Direction, Fate, Match, Rule, Table};
use crate::plan::Neighbour;

const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Offsets in an IPv6 packet without extension headers, as neighbour discovery is sent.
const IPV6_NEXT_HEADER: u32 = 6;
const IPV6_ICMP_TYPE: u32 = 40;
const ICMPV6: u8 = 58;
/// Router solicitation (133) to redirect (137): RFC 4861.
const NEIGHBOUR_DISCOVERY: (u8, u8) = (133, 137);

pub(super) fn inject(network: &Network, name: &str, neighbour: Neighbour) -> Result<Cut, LabError> {
    let node = network.node(name)?;
    let rules = match neighbour {
        Neighbour::Resolves => silent(),
        Neighbour::Dead => dark(),
    };
    // Several nodes may lose power: on the fabric each has a table of its own.
    let table = format!("power_loss_{}", node.port);
    // The fabric first: that is the instant of the fault.
    let fabric = Table::create(
        network.fabric(),
        &table,
        &chains(std::slice::from_ref(&node.port), &rules),
    )?;
    let inside = Table::create(
        &node.namespace,
        &table,
        &chains(&inside_links(node), &dark()),
    )?;
    if neighbour == Neighbour::Dead {
        forget(network, name, node)?;
    }
    Ok(Cut {
        fabric,
        inside: Some(inside),
    })
}

fn chains(links: &[String], rules: &[Rule]) -> Vec<Chain> {
    BOTH.map(|direction| Chain {
        direction,
        links: links.to_vec(),
        rules: rules.to_vec(),
    })
    .into()
}

/// The links by which the node, its pods and its own processes speak to each other.
fn inside_links(node: &BuiltNode) -> Vec<String> {
    let mut links = node.pod_links.clone();
    links.push("lo".to_owned());
    links
}

/// IPv4 and IPv6 vanish; ARP and neighbour discovery go on being answered.
fn silent() -> Vec<Rule> {
    let discovery = Rule {
        matches: vec![
            Match::EtherType(ETHERTYPE_IPV6),
            Match::NetworkByte(IPV6_NEXT_HEADER, ICMPV6),
            Match::NetworkByteBetween(IPV6_ICMP_TYPE, NEIGHBOUR_DISCOVERY.0, NEIGHBOUR_DISCOVERY.1),
        ],
        fate: Fate::Pass,
    };
    let vanish = |ethertype| Rule {
        matches: vec![Match::EtherType(ethertype)],
        fate: Fate::Drop,
    };
    vec![discovery, vanish(ETHERTYPE_IPV4), vanish(ETHERTYPE_IPV6)]
}

/// Everything vanishes.
fn dark() -> Vec<Rule> {
    vec![Rule {
        matches: Vec::new(),
        fate: Fate::Drop,
    }]
}

/// The other nodes forget the dead one's link-layer address: they would go on believing in it for a while.
fn forget(network: &Network, name: &str, node: &BuiltNode) -> Result<(), LabError> {
    for other in network.other_nodes(name) {
        let requests = node.addresses.map(|a| link::forget_neighbour(ETH0, a));
        Channel::open(&other.namespace, NETLINK_ROUTE)?.execute(requests.into())?;
    }
    Ok(())
}
