//! Links, addresses and routes of a network, by the plan: what each namespace is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use super::BuiltPod;
use crate::lab::LabError;
use crate::linux::link::{self, ETH0, LOOPBACK, RouteRequest, VethEnd, Via};
use crate::linux::namespace::Namespace;
use crate::plan::{Effect, End, LabPlan, Node, Pod};

/// Index of a middlebox's link to its node; that to the fabric is its `eth0`.
pub(super) const INSIDE: u32 = ETH0 + 1;

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A node's pods: their number on the node, from 1, and their position in the plan.
pub(super) fn pods_of<'a>(
    plan: &'a LabPlan,
    node: &'a Node,
) -> impl Iterator<Item = (u16, usize)> + 'a {
    let pods = plan.pods.iter().enumerate();
    let pods = pods.filter(|(_, pod)| pod.node == node.name);
    (1..).zip(pods.map(|(n, _)| n))
}

/// The veth pair between the fabric and a node, or the middlebox before it.
pub(super) fn uplink(plan: &LabPlan, node: &Node, namespace: &Namespace) -> RouteRequest {
    let number = u16::from(node.index);
    let port = VethEnd {
        name: &port_name(node),
        index: port_index(node),
        mac: mac(Role::Port, number),
    };
    let eth0 = VethEnd {
        name: "eth0",
        index: ETH0,
        mac: link_address(plan, node),
    };
    link::veth(&port, Some(ETH0), &eth0, namespace.fd())
}

/// The middlebox before a node: its link to the node, which is held by `namespace`, and where everybody is.
pub(super) fn middlebox_requests(
    plan: &LabPlan,
    node: &Node,
    namespace: &Namespace,
) -> Vec<RouteRequest> {
    let number = u16::from(node.index);
    let inside = VethEnd {
        name: "inside",
        index: INSIDE,
        mac: mac(Role::MiddleboxInside, number),
    };
    let eth0 = VethEnd {
        name: "eth0",
        index: ETH0,
        mac: node_mac(node),
    };
    let mut requests = vec![
        link::set_up(LOOPBACK),
        link::set_up(ETH0),
        link::veth(&inside, None, &eth0, namespace.fd()),
    ];
    for other in &plan.nodes {
        let (index, address) = match other.name == node.name {
            true => (INSIDE, eth0.mac),
            false => (ETH0, link_address(plan, other)),
        };
        let addresses = [IpAddr::from(other.address), other.address6.into()];
        for own in addresses {
            let whole = if own.is_ipv4() { 32 } else { 128 };
            requests.push(link::route(own, whole, Via::Link, index));
            requests.push(link::neighbour(index, own, address));
        }
        requests.extend(pod_network_routes(other, index));
    }
    requests
}

/// The link-layer address under which the fabric knows a node.
fn link_address(plan: &LabPlan, node: &Node) -> [u8; 6] {
    match plan.middlebox_of(&node.name) {
        Some(_) => mac(Role::MiddleboxOutside, u16::from(node.index)),
        None => node_mac(node),
    }
}

/// The routes to a node's pods.
fn pod_network_routes(node: &Node, index: u32) -> [RouteRequest; 2] {
    let routes = [
        (
            IpAddr::from(node.pod_network),
            super::NODE_PREFIX.0,
            node.address.into(),
        ),
        (
            node.pod_network6.into(),
            super::NODE_PREFIX.1,
            node.address6.into(),
        ),
    ];
    routes.map(|(network, prefix, router)| link::route(network, prefix, Via::Router(router), index))
}

pub(super) fn built_pod(node: &Node, pod: &Pod, number: u16, namespace: Rc<Namespace>) -> BuiltPod {
    BuiltPod {
        namespace,
        node: node.name.clone(),
        link: pod_link_name(number),
        link_index: pod_link_index(number),
        addresses: [pod.address.into(), pod.address6.into()],
        gateway: gateway(node),
    }
}

/// A node's side of a pod's link: the veth pair, the gateway's addresses on it, the routes to the pod, and who it is.
pub(super) fn pod_link(
    plan: &LabPlan,
    node: &Node,
    pod: &Pod,
    number: u16,
    namespace: &Namespace,
) -> Vec<RouteRequest> {
    let index = pod_link_index(number);
    let unique = unique(node, number);
    let near = VethEnd {
        name: &pod_link_name(number),
        index,
        mac: mac(Role::PodLink, unique),
    };
    let eth0 = VethEnd {
        name: "eth0",
        index: ETH0,
        mac: mac(Role::Pod, unique),
    };
    let mut requests = vec![link::veth(&near, None, &eth0, namespace.fd())];
    let addresses = [pod.address.into(), pod.address6.into()];
    requests.extend(pod_routes(index, gateway(node), addresses));
    if is_known_by_heart(plan, &[&End::Pod(pod.name.clone())]) {
        requests.extend(addresses.map(|address| link::neighbour(index, address, eth0.mac)));
    }
    requests
}

/// Whether neighbours across the links of `ends` are permanent entries: the lab knows all link-layer addresses.
///
/// The neighbour table is the whole machine's (`net.ipv4.neigh.default.gc_thresh3`, 1024 by default), and since Linux 5.0
/// permanent entries don't count in it. Where a fault takes a link's carrier away, how neighbours are forgotten is part
/// of what is measured: there they are found as usual.
fn is_known_by_heart(plan: &LabPlan, ends: &[&End]) -> bool {
    let mut effects = plan.faults.iter().flat_map(|fault| &fault.effects);
    !effects.any(|effect| match effect {
        Effect::Carrier { behind } => ends.contains(&behind),
        Effect::Silence { .. }
        | Effect::Stop { .. }
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
    })
}

/// The ends behind a node's uplink.
fn behind_uplink(node: &Node) -> [End; 2] {
    [
        End::Machine(node.name.clone()),
        End::Host(node.name.clone()),
    ]
}

/// What a node's end of a pod's link needs when it is up: the gateway's addresses, and the routes to the pod.
pub(in crate::lab) fn pod_routes(
    index: u32,
    gateway: (IpAddr, IpAddr),
    pod: [IpAddr; 2],
) -> [RouteRequest; 4] {
    [
        link::address(index, gateway.0, 32),
        link::address(index, gateway.1, 128),
        link::route(pod[0], 32, Via::Link, index),
        link::route(pod[1], 128, Via::Link, index),
    ]
}

pub(super) fn node_requests(plan: &LabPlan, node: &Node) -> Vec<RouteRequest> {
    let mut requests = vec![
        link::set_up(LOOPBACK),
        link::set_up(ETH0),
        link::address(ETH0, node.address.into(), super::NODE_PREFIX.0),
        link::address(ETH0, node.address6.into(), super::NODE_PREFIX.1),
        // Service addresses are nobody's: a host-network client needs a route to them before DNAT in OUTPUT.
        link::route(ANY4, 0, Via::Link, ETH0),
        link::route(ANY6, 0, Via::Link, ETH0),
    ];
    let own = behind_uplink(node);
    for other in plan.nodes.iter().filter(|other| other.name != node.name) {
        let others = behind_uplink(other);
        let ends = [&own[0], &own[1], &others[0], &others[1]];
        // A middlebox has no address, and answers nobody who asks for one.
        let middlebox = plan.middlebox_of(&node.name);
        let beyond = middlebox.or_else(|| plan.middlebox_of(&other.name));
        if beyond.is_some() || is_known_by_heart(plan, &ends) {
            let address = match middlebox {
                Some(_) => mac(Role::MiddleboxInside, u16::from(node.index)),
                None => link_address(plan, other),
            };
            let addresses = [IpAddr::from(other.address), other.address6.into()];
            requests.extend(addresses.map(|a| link::neighbour(ETH0, a, address)));
        }
        requests.extend(pod_network_routes(other, ETH0));
    }
    requests
}

pub(super) fn pod_requests(plan: &LabPlan, pod: &Pod) -> Result<Vec<RouteRequest>, LabError> {
    let node = plan.nodes.iter().find(|node| node.name == pod.node);
    let node = node.ok_or_else(|| LabError::Unknown {
        what: format!("node {}", pod.node),
    })?;
    let mut own = pods_of(plan, node).filter(|(_, n)| plan.pods[*n].name == pod.name);
    let number = own.next().map_or(0, |(number, _)| number);
    let gateway = gateway(node);
    let mut requests = vec![
        link::set_up(LOOPBACK),
        link::set_up(ETH0),
        link::address(ETH0, pod.address.into(), 32),
        link::address(ETH0, pod.address6.into(), 128),
        link::route(gateway.0, 32, Via::Link, ETH0),
        link::route(gateway.1, 128, Via::Link, ETH0),
        link::route(ANY4, 0, Via::Router(gateway.0), ETH0),
        link::route(ANY6, 0, Via::Router(gateway.1), ETH0),
    ];
    if is_known_by_heart(plan, &[&End::Pod(pod.name.clone())]) {
        let near = mac(Role::PodLink, unique(node, number));
        requests.extend([gateway.0, gateway.1].map(|a| link::neighbour(ETH0, a, near)));
    }
    Ok(requests)
}

/// A number for a node's pod that no other pod has.
fn unique(node: &Node, number: u16) -> u16 {
    u16::from(node.index) << 8 | number
}

pub(super) fn port_name(node: &Node) -> String {
    format!("node{}", node.index)
}

pub(super) fn pod_link_name(number: u16) -> String {
    format!("pod{number}")
}

/// Index of a pod's link on its node, after `lo` and `eth0`.
pub(super) fn pod_link_index(number: u16) -> u32 {
    ETH0 + u32::from(number)
}

/// The link-layer address of a node's uplink.
pub(in crate::lab) fn node_mac(node: &Node) -> [u8; 6] {
    mac(Role::Node, u16::from(node.index))
}

/// Index of a node's port in the fabric, after `lo` and the bridge.
pub(in crate::lab) fn port_index(node: &Node) -> u32 {
    ETH0 + u32::from(node.index)
}

/// The pods' gateway: the first address of their node's pod networks.
fn gateway(node: &Node) -> (IpAddr, IpAddr) {
    (
        IpAddr::V4(Ipv4Addr::from_bits(node.pod_network.to_bits() | 1)),
        IpAddr::V6(Ipv6Addr::from_bits(node.pod_network6.to_bits() | 1)),
    )
}

/// What a link-layer address belongs to.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Fabric,
    Port,
    Node,
    PodLink,
    Pod,
    MiddleboxInside,
    MiddleboxOutside,
}

/// A locally administered unicast address: the same on every run of a case.
pub(super) fn mac(role: Role, number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [0x02, 0x00, 0x00, role as u8, high, low]
}
