//! A node is silent: from one instant on, nothing it sends arrives and nothing reaches it.
//!
//! Packets vanish at the node's port on the fabric, never at a client: a packet dropped on a client's own egress is
//! known to its TCP as not sent, and another timer rules.

use netlink_sys::protocols::NETLINK_ROUTE;

use super::path::{Way, discovery};
use super::{Act, Guard, Site};
use crate::lab::LabError;
use crate::lab::network::{BuiltNode, Network};
use crate::linux::link::{self, ETH0};
use crate::linux::netlink::Channel;
use crate::linux::nft::{
    Chain, Direction, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fate, Match, Rule, Table,
};
use crate::plan::{LabPlan, Neighbour};

/// [`crate::plan::Effect::Silence`].
pub(super) struct Silence<'a> {
    pub(super) node: &'a str,
    pub(super) neighbour: Neighbour,
}

impl Act for Silence<'_> {
    fn cut(&self, network: &Network, _: &LabPlan, site: Site) -> Result<Guard, LabError> {
        let node = network.node(self.node)?;
        let table = site.table();
        let rules = match self.neighbour {
            Neighbour::Resolves => silent(),
            Neighbour::Dead => dark(),
        };
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
        match self.neighbour {
            Neighbour::Resolves => {}
            Neighbour::Dead => forget(network, self.node, node)?,
        }
        Ok(Guard {
            outside: Some(fabric),
            inside: Some(inside),
            ..Guard::default()
        })
    }

    fn silences(&self) -> bool {
        true
    }
}

fn chains(links: &[String], rules: &[Rule]) -> Vec<Chain> {
    [(Way::Out, Direction::Ingress), (Way::In, Direction::Egress)]
        .map(|(way, direction)| Chain {
            name: way.chain(),
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
    let vanish = |ethertype| Rule {
        matches: vec![Match::EtherType(ethertype)],
        fate: Fate::Drop,
    };
    vec![discovery(), vanish(ETHERTYPE_IPV4), vanish(ETHERTYPE_IPV6)]
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
