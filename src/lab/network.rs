//! The network of a lab: a fabric (one bridge), nodes on it, pods behind their nodes.
//!
//! ```text
//!   pod ── eth0 ══ pod1 ── node ── eth0 ══ node1 ── fabric (bridge) ── node2 ══ eth0 ── node …
//! ```
//!
//! Pods are attached as CNI's point-to-point plugin does it: a /32 and a /128 of their own, the gateway on the node's
//! end of the veth, a route for each pod on its node, a route for each node's pod network on the others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::LabError;
use super::link::{self, ETH0, LOOPBACK, RouteRequest, VethEnd, Via};
use super::namespace::Namespace;
use super::netlink::Channel;
use super::sysctl::{self, Drift};
use crate::plan::{LabPlan, Node, Place, Pod};
use crate::record::Observation;

const FABRIC: &str = "fabric";
const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// Prefix lengths of a node's fabric and pod networks.
const NODE_PREFIX: (u8, u8) = (24, 64);

/// A built network. Its namespaces vanish with it, and with the process.
#[derive(Debug)]
pub struct Network {
    fabric: Rc<Namespace>,
    nodes: HashMap<String, BuiltNode>,
    pods: HashMap<String, Rc<Namespace>>,
    observations: Vec<Observation>,
}

/// A node as built.
#[derive(Debug)]
pub(crate) struct BuiltNode {
    /// Its namespace.
    pub(crate) namespace: Rc<Namespace>,
    /// Name of its port on the fabric.
    pub(crate) port: String,
    /// Names of its ends of the veth pairs to its pods.
    pub(crate) pod_links: Vec<String>,
    /// Its addresses on the fabric.
    pub(crate) addresses: [IpAddr; 2],
}

impl Network {
    /// Builds the network of `plan`: namespaces, pinned sysctls, links, addresses, routes, and last the scenario's own
    /// sysctls.
    ///
    /// # Errors
    /// [`LabError::Missing`] for what this kernel lacks, [`LabError::Refused`] for a sysctl's value it does not take,
    /// [`LabError::Kernel`] for anything else it refuses.
    pub fn build(plan: &LabPlan) -> Result<Self, LabError> {
        let (fabric, drift) = make_namespace(FABRIC, || {
            let drift = Drift::of_fresh_namespace();
            prepare_fabric().map(|()| drift)
        })?;
        let drift = drift?;
        let mut network = Self {
            fabric: Rc::new(fabric),
            nodes: HashMap::new(),
            pods: HashMap::new(),
            observations: Vec::new(),
        };
        network.make_namespaces(plan, &drift)?;
        network.build_fabric(plan)?;
        for node in &plan.nodes {
            network.build_node(plan, node, &drift)?;
        }
        for pod in &plan.pods {
            network.build_pod(plan, pod, &drift)?;
        }
        network.wait_for_carrier(plan)?;
        Ok(network)
    }

    /// The namespace of a node or a pod.
    ///
    /// # Panics
    /// If the place is not in the plan the network was built from.
    #[must_use]
    pub fn namespace(&self, place: &Place) -> Rc<Namespace> {
        match place {
            Place::Node(name) => self.nodes.get(name).map(|node| &node.namespace),
            Place::Pod(name) => self.pods.get(name),
        }
        .map(Rc::clone)
        .unwrap_or_else(|| panic!("the plan has {place:?}"))
    }

    /// What the set-up wrote and read back: [`Observation::Sysctl`] for every sysctl of the scenario and every pinned one
    /// that was not at its default, [`Observation::Warning`] for a pin that did not hold. Empty at the second call.
    pub fn take_observations(&mut self) -> Vec<Observation> {
        std::mem::take(&mut self.observations)
    }

    /// The namespace with the bridge.
    pub(crate) fn fabric(&self) -> &Rc<Namespace> {
        &self.fabric
    }

    /// A node as built.
    pub(crate) fn node(&self, name: &str) -> Result<&BuiltNode, LabError> {
        self.nodes.get(name).ok_or_else(|| LabError::Unknown {
            what: format!("node {name}"),
        })
    }

    /// All nodes but `name`.
    pub(crate) fn other_nodes(&self, name: &str) -> impl Iterator<Item = &BuiltNode> {
        self.nodes
            .iter()
            .filter(move |(other, _)| *other != name)
            .map(|(_, node)| node)
    }

    fn make_namespaces(&mut self, plan: &LabPlan, drift: &Drift) -> Result<(), LabError> {
        for node in &plan.nodes {
            let (namespace, prepared) = make_namespace(&node.name, || {
                prepare_node().map(|()| drift.pin_before_links(&node.name))
            })?;
            self.observations.extend(prepared?);
            let built = BuiltNode {
                namespace: Rc::new(namespace),
                port: format!("node{}", node.index),
                pod_links: Vec::new(),
                addresses: [node.address.into(), node.address6.into()],
            };
            self.nodes.insert(node.name.clone(), built);
        }
        for pod in &plan.pods {
            let (namespace, prepared) = make_namespace(&pod.name, || {
                prepare_pod().map(|()| drift.pin_before_links(&pod.name))
            })?;
            self.observations.extend(prepared?);
            self.pods.insert(pod.name.clone(), Rc::new(namespace));
        }
        Ok(())
    }

    fn build_fabric(&self, plan: &LabPlan) -> Result<(), LabError> {
        let mut requests = vec![
            link::set_up(LOOPBACK),
            link::bridge(FABRIC, ETH0, mac(Role::Fabric, 0)),
        ];
        for node in &plan.nodes {
            let built = self.node(&node.name)?;
            let number = u16::from(node.index);
            let port = VethEnd {
                name: &built.port,
                index: port_index(node),
                mac: mac(Role::Port, number),
            };
            let uplink = VethEnd {
                name: "eth0",
                index: ETH0,
                mac: mac(Role::Node, number),
            };
            requests.push(link::veth(&port, Some(ETH0), &uplink, built.namespace.fd()));
        }
        Channel::open(&self.fabric, NETLINK_ROUTE)?.execute(requests)
    }

    fn build_node(&mut self, plan: &LabPlan, node: &Node, drift: &Drift) -> Result<(), LabError> {
        let mut requests = vec![
            link::set_up(LOOPBACK),
            link::set_up(ETH0),
            link::address(ETH0, node.address.into(), NODE_PREFIX.0),
            link::address(ETH0, node.address6.into(), NODE_PREFIX.1),
            // Service addresses are nobody's: a host-network client needs a route to them before DNAT in OUTPUT.
            link::route(ANY4, 0, Via::Link, ETH0, Some(node.address.into())),
            link::route(ANY6, 0, Via::Link, ETH0, Some(node.address6.into())),
        ];
        for other in plan.nodes.iter().filter(|other| other.name != node.name) {
            requests.extend(routes_to_pods_of(other));
        }
        let mut pod_links = Vec::new();
        let pods = plan.pods.iter().filter(|pod| pod.node == node.name);
        for (number, pod) in (1_u16..).zip(pods) {
            let name = format!("pod{number}");
            requests.extend(self.pod_link(node, pod, number, &name));
            pod_links.push(name);
        }
        let namespace = Rc::clone(&self.node(&node.name)?.namespace);
        Channel::open(&namespace, NETLINK_ROUTE)?.execute(requests)?;
        self.write_sysctls(&node.name, &namespace, drift, &node.sysctls)?;
        if let Some(built) = self.nodes.get_mut(&node.name) {
            built.pod_links = pod_links;
        }
        Ok(())
    }

    /// A node's side of a pod's link: the veth pair, the gateway's addresses on it, and the routes to the pod.
    fn pod_link(&self, node: &Node, pod: &Pod, number: u16, name: &str) -> Vec<RouteRequest> {
        let index = ETH0 + u32::from(number);
        let number = u16::from(node.index) << 8 | number;
        let near = VethEnd {
            name,
            index,
            mac: mac(Role::PodLink, number),
        };
        let far = VethEnd {
            name: "eth0",
            index: ETH0,
            mac: mac(Role::Pod, number),
        };
        let gateway = gateway(node);
        vec![
            link::veth(&near, None, &far, self.pods[&pod.name].fd()),
            link::address(index, gateway.0, 32),
            link::address(index, gateway.1, 128),
            link::route(pod.address.into(), 32, Via::Link, index, None),
            link::route(pod.address6.into(), 128, Via::Link, index, None),
        ]
    }

    fn build_pod(&mut self, plan: &LabPlan, pod: &Pod, drift: &Drift) -> Result<(), LabError> {
        let node = plan.nodes.iter().find(|node| node.name == pod.node);
        let node = node.ok_or_else(|| LabError::Unknown {
            what: format!("node {}", pod.node),
        })?;
        let gateway = gateway(node);
        let requests = vec![
            link::set_up(LOOPBACK),
            link::set_up(ETH0),
            link::address(ETH0, pod.address.into(), 32),
            link::address(ETH0, pod.address6.into(), 128),
            link::route(gateway.0, 32, Via::Link, ETH0, None),
            link::route(gateway.1, 128, Via::Link, ETH0, None),
            link::route(ANY4, 0, Via::Router(gateway.0), ETH0, None),
            link::route(ANY6, 0, Via::Router(gateway.1), ETH0, None),
        ];
        let namespace = Rc::clone(&self.pods[&pod.name]);
        Channel::open(&namespace, NETLINK_ROUTE)?.execute(requests)?;
        self.write_sysctls(&pod.name, &namespace, drift, &pod.sysctls)
    }

    /// The near ends of all veth pairs: the far ones came up second, and are ready.
    fn wait_for_carrier(&self, plan: &LabPlan) -> Result<(), LabError> {
        let ports = plan.nodes.iter().map(|node| port_index(node)).collect();
        let mut places: Vec<(&Namespace, Vec<u32>)> = vec![(&self.fabric, ports)];
        for node in self.nodes.values() {
            let count = u32::try_from(node.pod_links.len()).unwrap_or(u32::MAX);
            places.push((&node.namespace, (1..=count).map(|n| ETH0 + n).collect()));
        }
        for (namespace, links) in places {
            if !links.is_empty() {
                let mut channel = Channel::open(namespace, NETLINK_ROUTE)?;
                link::wait_for_carrier(&mut channel, &links).map_err(LabError::kernel(format!(
                    "waiting for the links of {} to come up",
                    namespace.name()
                )))?;
            }
        }
        Ok(())
    }

    fn write_sysctls(
        &mut self,
        place: &str,
        namespace: &Namespace,
        drift: &Drift,
        sysctls: &[crate::plan::Sysctl],
    ) -> Result<(), LabError> {
        let written = namespace
            .visit(|| {
                let mut observations = drift.pin_links(place);
                observations.extend(sysctl::write_all(place, sysctls)?);
                Ok(observations)
            })
            .map_err(LabError::kernel(format!(
                "entering the namespace of {place}"
            )))?;
        self.observations.extend(written?);
        Ok(())
    }
}

/// Index of a node's port in the fabric, after `lo` and the bridge.
fn port_index(node: &Node) -> u32 {
    ETH0 + u32::from(node.index)
}

/// The pods' gateway: the first address of their node's pod networks.
fn gateway(node: &Node) -> (IpAddr, IpAddr) {
    (
        IpAddr::V4(Ipv4Addr::from_bits(node.pod_network.to_bits() | 1)),
        IpAddr::V6(Ipv6Addr::from_bits(node.pod_network6.to_bits() | 1)),
    )
}

fn routes_to_pods_of(node: &Node) -> [RouteRequest; 2] {
    let via = |address: IpAddr| Via::Router(address);
    [
        link::route(
            node.pod_network.into(),
            NODE_PREFIX.0,
            via(node.address.into()),
            ETH0,
            None,
        ),
        link::route(
            node.pod_network6.into(),
            NODE_PREFIX.1,
            via(node.address6.into()),
            ETH0,
            None,
        ),
    ]
}

/// What a link-layer address belongs to.
#[derive(Clone, Copy)]
enum Role {
    Fabric,
    Port,
    Node,
    PodLink,
    Pod,
}

/// A locally administered unicast address: the same on every run of a case.
fn mac(role: Role, number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [0x02, 0x00, 0x00, role as u8, high, low]
}

fn make_namespace<T>(name: &str, work: impl FnOnce() -> T) -> Result<(Namespace, T), LabError> {
    Namespace::new_with(name, work).map_err(LabError::kernel(format!(
        "making a network namespace for {name}"
    )))
}

/// The fabric only bridges: no IPv6 of its own, and no detour of bridged packets through iptables.
fn prepare_fabric() -> Result<(), LabError> {
    write("net.ipv6.conf.default.disable_ipv6", "1")?;
    for key in ["iptables", "ip6tables", "arptables"] {
        let key = format!("net.bridge.bridge-nf-call-{key}");
        match sysctl::write(&key, "0") {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {} // br_netfilter is not loaded
            result => result.map_err(LabError::kernel(format!("writing {key}")))?,
        }
    }
    Ok(())
}

fn prepare_node() -> Result<(), LabError> {
    no_address_detection()?;
    write("net.ipv4.ip_forward", "1")?;
    write("net.ipv6.conf.all.forwarding", "1")
}

/// A pod gets no link-local address, and with it no router solicitations and no listener reports: it needs none of
/// them, and each is a timer. (A node needs its own: it solicits neighbours for packets it forwards from there.)
fn prepare_pod() -> Result<(), LabError> {
    no_address_detection()?;
    write("net.ipv6.conf.default.addr_gen_mode", "1")
}

/// Addresses are usable at once.
fn no_address_detection() -> Result<(), LabError> {
    write("net.ipv6.conf.all.accept_dad", "0")?;
    write("net.ipv6.conf.default.accept_dad", "0")
}

fn write(key: &str, value: &str) -> Result<(), LabError> {
    match sysctl::write(key, value) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(LabError::Missing {
            what: format!("the sysctl {key}"),
            location: None,
        }),
        Err(e) => Err(LabError::Kernel {
            doing: format!("writing {key} = {value} (is /proc/sys mounted read-only?)"),
            source: e,
        }),
    }
}
