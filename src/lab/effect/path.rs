//! Where on a lab's links the packets of a path pass, and the rules that pick them out there.
//!
//! Never a sender's own link: a packet that vanishes there is known to its TCP as not sent, and another timer rules.

use std::net::IpAddr;
use std::rc::Rc;

use crate::lab::LabError;
use crate::lab::network::{BuiltNode, BuiltPod, Network};
use crate::linux::namespace::Namespace;
use crate::linux::nft::{
    Chain, Direction, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fate, Match, Rule, Table,
};
use crate::plan::{self, End, Path, Where};

/// Name of a node's link to the fabric.
const UPLINK: &str = "eth0";

/// Offsets in an IPv6 packet without extension headers, as neighbour discovery is sent.
const IPV6_NEXT_HEADER: u32 = 6;
const IPV6_ICMP_TYPE: u32 = 40;
const ICMPV6: u8 = 58;
/// Router solicitation (133) to redirect (137): RFC 4861.
const NEIGHBOUR_DISCOVERY: (u8, u8) = (133, 137);

/// A way along a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Towards what is named (first).
    In,
    /// Away from it.
    Out,
}

impl Way {
    /// The name of the chain with the rules for this way.
    pub(super) fn chain(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// The ways of a path.
pub(super) fn ways(path: &Path) -> &'static [Way] {
    match path.direction {
        plan::Direction::In => &[Way::In],
        plan::Direction::Out => &[Way::Out],
        plan::Direction::Both => &[Way::In, Way::Out],
    }
}

/// Links that packets pass, and which of those that pass there are meant.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) namespace: Rc<Namespace>,
    pub(super) links: Vec<String>,
    hook: Direction,
    /// Only those from here; `None` = from anywhere.
    from: Option<Prefixes>,
    /// Only those to here; `None` = to anywhere.
    to: Option<Prefixes>,
}

/// Addresses that begin alike, with the bits in which they do.
type Prefixes = Vec<(IpAddr, u8)>;

/// Where all packets of a path and a way come in (ingress) or go out (egress) by a link.
pub(super) fn spot(
    network: &Network,
    place: &Where,
    way: Way,
    hook: Direction,
) -> Result<Spot, LabError> {
    match place {
        Where::At(End::Pod(pod)) => at_pod(network, pod, way, hook),
        Where::At(End::Machine(node) | End::Host(node)) => at_node(network, node, way, hook),
        Where::Between(first, second) => match way {
            Way::Out => between(network, first, second, hook),
            Way::In => between(network, second, first, hook),
        },
    }
}

fn at_node(network: &Network, name: &str, way: Way, hook: Direction) -> Result<Spot, LabError> {
    let node = network.node(name)?;
    let others = || network.other_nodes(name).map(|other| other.port.clone());
    let own = || vec![node.port.clone()];
    let (links, from, to) = match (way, hook) {
        (Way::In, Direction::Egress) | (Way::Out, Direction::Ingress) => (own(), None, None),
        (Way::In, Direction::Ingress) => (others().collect(), None, Some(of_machine(node))),
        (Way::Out, Direction::Egress) => (others().collect(), Some(of_machine(node)), None),
    };
    Ok(Spot {
        namespace: Rc::clone(network.fabric()),
        links,
        hook,
        from,
        to,
    })
}

fn at_pod(network: &Network, name: &str, way: Way, hook: Direction) -> Result<Spot, LabError> {
    let pod = network.pod(name)?;
    let node = network.node(&pod.node)?;
    let others = || {
        let links = node.pod_links.iter().filter(|link| **link != pod.link);
        links.cloned().chain([UPLINK.to_owned()]).collect()
    };
    let own = || vec![pod.link.clone()];
    let (links, from, to) = match (way, hook) {
        (Way::In, Direction::Egress) | (Way::Out, Direction::Ingress) => (own(), None, None),
        (Way::In, Direction::Ingress) => (others(), None, Some(of_pod(pod))),
        (Way::Out, Direction::Egress) => (others(), Some(of_pod(pod)), None),
    };
    Ok(Spot {
        namespace: Rc::clone(&node.namespace),
        links,
        hook,
        from,
        to,
    })
}

fn between(
    network: &Network,
    source: &End,
    destination: &End,
    hook: Direction,
) -> Result<Spot, LabError> {
    let nearest = match hook {
        Direction::Ingress => source,
        Direction::Egress => destination,
    };
    let (sender, receiver) = (machine(network, source)?, machine(network, destination)?);
    let (namespace, link) = match nearest {
        End::Pod(pod) if sender == receiver => {
            let namespace = &network.node(sender)?.namespace;
            (namespace, &network.pod(pod)?.link)
        }
        End::Pod(_) | End::Machine(_) | End::Host(_) => {
            let node = machine(network, nearest)?;
            (network.fabric(), &network.node(node)?.port)
        }
    };
    Ok(Spot {
        namespace: Rc::clone(namespace),
        links: vec![link.clone()],
        hook,
        from: Some(prefixes(network, source)?),
        to: Some(prefixes(network, destination)?),
    })
}

fn machine<'a>(network: &'a Network, end: &'a End) -> Result<&'a str, LabError> {
    match end {
        End::Machine(node) | End::Host(node) => Ok(node),
        End::Pod(pod) => Ok(&network.pod(pod)?.node),
    }
}

fn prefixes(network: &Network, end: &End) -> Result<Prefixes, LabError> {
    Ok(match end {
        End::Machine(node) => of_machine(network.node(node)?),
        End::Host(node) => whole(network.node(node)?.addresses),
        End::Pod(pod) => of_pod(network.pod(pod)?),
    })
}

fn of_machine(node: &BuiltNode) -> Prefixes {
    let mut prefixes = whole(node.addresses);
    prefixes.extend(node.pod_networks);
    prefixes
}

fn of_pod(pod: &BuiltPod) -> Prefixes {
    whole(pod.addresses)
}

fn whole(addresses: [IpAddr; 2]) -> Prefixes {
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    addresses.map(|address| (address, bits(address))).into()
}

impl Spot {
    /// A chain in which `fate` is that of the packets meant, of those for which `matches` hold as well.
    ///
    /// IPv4 and IPv6; ARP and neighbour discovery are let through.
    pub(super) fn chain(&self, way: Way, matches: &[Match], fate: Fate) -> Chain {
        let mut rules = vec![discovery()];
        let anywhere = [None];
        let list = |prefixes: &Option<Prefixes>| match prefixes {
            Some(prefixes) => prefixes.iter().copied().map(Some).collect(),
            None => anywhere.to_vec(),
        };
        let (sources, destinations): (Vec<_>, Vec<_>) = (list(&self.from), list(&self.to));
        for ipv6 in [false, true] {
            let of_family = |end: &&Option<(IpAddr, u8)>| {
                end.is_none_or(|(address, _)| address.is_ipv6() == ipv6)
            };
            for source in sources.iter().filter(of_family) {
                for destination in destinations.iter().filter(of_family) {
                    let mut all = vec![Match::EtherType(match ipv6 {
                        false => ETHERTYPE_IPV4,
                        true => ETHERTYPE_IPV6,
                    })];
                    all.extend(source.map(|(address, prefix)| Match::From(address, prefix)));
                    all.extend(destination.map(|(address, prefix)| Match::To(address, prefix)));
                    all.extend_from_slice(matches);
                    rules.push(Rule { matches: all, fate });
                }
            }
        }
        Chain {
            name: way.chain(),
            direction: self.hook,
            links: self.links.clone(),
            rules,
        }
    }
}

/// Neighbour discovery goes on.
pub(super) fn discovery() -> Rule {
    Rule {
        matches: vec![
            Match::EtherType(ETHERTYPE_IPV6),
            Match::NetworkByte(IPV6_NEXT_HEADER, ICMPV6),
            Match::NetworkByteBetween(IPV6_ICMP_TYPE, NEIGHBOUR_DISCOVERY.0, NEIGHBOUR_DISCOVERY.1),
        ],
        fate: Fate::Pass,
    }
}

/// Puts one chain for each way of `path` in force. All spots of a path lie in one namespace, so it is one instant.
pub(super) fn lay(
    network: &Network,
    table: &str,
    path: &Path,
    hook: impl Fn(Way) -> Direction,
    matches: &[Match],
    fate: Fate,
) -> Result<Table, LabError> {
    let mut chains = Vec::new();
    let mut namespace = network.fabric();
    let spots: Vec<(Way, Spot)> = ways(path)
        .iter()
        .map(|way| Ok((*way, spot(network, &path.place, *way, hook(*way))?)))
        .collect::<Result<_, LabError>>()?;
    for (way, spot) in &spots {
        namespace = &spot.namespace;
        // The only node of a fabric has no others.
        if !spot.links.is_empty() {
            chains.push(spot.chain(*way, matches, fate));
        }
    }
    Ok(Table::create(namespace, table, &chains)?)
}

/// Packets vanish as soon as they have left what is named, or as late as they can before they reach it.
pub(super) fn nearest(way: Way) -> Direction {
    match way {
        Way::In => Direction::Egress,
        Way::Out => Direction::Ingress,
    }
}
