//! The network of a lab: a fabric (one bridge), nodes on it, pods behind their nodes.
//!
//! ```text
//!   pod ── eth0 ══ pod1 ── node ── eth0 ══ node1 ── fabric (bridge) ── node2 ══ eth0 ── node …
//! ```
//!
//! A middlebox stands between a node and the fabric: its `eth0` is what the fabric's port leads to, and its `inside` leads to the
//! node's `eth0`. It is a router without an address of its own.
//!
//! Pods are attached as CNI's point-to-point plugin does it: a /32 and a /128 of their own, the gateway on the node's
//! end of the veth, a route for each pod on its node, a route for each node's pod network on the others.

mod wiring;

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::LabError;
use crate::linux::LinuxError;
use crate::linux::link::{self, ETH0, LOOPBACK};
use crate::linux::namespace::Namespace;
use crate::linux::netlink::Channel;
use crate::linux::sysctl::{self, Drift};
use crate::plan::{LabPlan, Node, Place, Sysctl};
use crate::record::Observation;
use wiring::{
    INSIDE, Role, built_pod, mac, middlebox_requests, node_requests, pod_link, pod_link_index,
    pod_link_name, pod_requests, pods_of, port_name, uplink,
};
pub(super) use wiring::{node_mac, pod_routes, port_index};

const FABRIC: &str = "fabric";
/// Prefix lengths of a node's fabric and pod networks.
const NODE_PREFIX: (u8, u8) = (24, 64);

/// A built network. Its namespaces vanish with it, and with the process.
#[derive(Debug)]
pub struct Network {
    fabric: Rc<Namespace>,
    nodes: HashMap<String, BuiltNode>,
    pods: HashMap<String, BuiltPod>,
    /// By middlebox.
    middleboxes: HashMap<String, Rc<Namespace>>,
    observations: Vec<Observation>,
}

/// A node as built.
#[derive(Debug)]
pub(crate) struct BuiltNode {
    /// Its namespace.
    pub(crate) namespace: Rc<Namespace>,
    /// Name of its port on the fabric.
    pub(crate) port: String,
    /// Index of its port.
    pub(crate) port_index: u32,
    /// Names of its ends of the veth pairs to its pods.
    pub(crate) pod_links: Vec<String>,
    /// Its addresses on the fabric.
    pub(crate) addresses: [IpAddr; 2],
    /// The networks of its pods, with their prefix lengths.
    pub(crate) pod_networks: [(IpAddr, u8); 2],
}

/// A pod as built.
#[derive(Debug)]
pub(crate) struct BuiltPod {
    /// Its namespace.
    pub(crate) namespace: Rc<Namespace>,
    /// Its node.
    pub(crate) node: String,
    /// Name of its node's end of its link.
    pub(crate) link: String,
    /// Index of that.
    pub(crate) link_index: u32,
    /// Its addresses.
    pub(crate) addresses: [IpAddr; 2],
    /// The gateway's addresses, on its node's end.
    pub(crate) gateway: (IpAddr, IpAddr),
}

/// A namespace while the network is being built, with a netlink socket in it.
struct Site {
    namespace: Rc<Namespace>,
    channel: Channel,
}

/// The namespaces of a lab while its network is being built.
struct Sites {
    fabric: Site,
    nodes: Vec<Site>,
    pods: Vec<Site>,
    middleboxes: Vec<Site>,
}

impl Network {
    /// Builds the network of `plan`: namespaces, pinned sysctls, links, addresses, routes, and last the scenario's own
    /// sysctls. When it returns, everything is usable.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] for what this kernel lacks, [`LinuxError::Refused`] for a sysctl's value it does not take,
    /// [`LinuxError::Kernel`] for anything else it refuses.
    pub fn build(plan: &LabPlan) -> Result<Self, LabError> {
        let (fabric, drift) = Site::make(FABRIC, || {
            let drift = Drift::of_this_kernel();
            prepare_fabric().map(|()| drift)
        })?;
        let mut observations = drift.unpinnable().to_vec();
        let mut sites = Sites {
            fabric,
            nodes: Vec::with_capacity(plan.nodes.len()),
            pods: Vec::with_capacity(plan.pods.len()),
            middleboxes: Vec::with_capacity(plan.middleboxes.len()),
        };
        for node in &plan.nodes {
            let place = Place::Node(node.name.clone());
            let prepare = || {
                prepare_node()?;
                open_all_ports(plan, &place)?;
                Ok(drift.pin_before_links(&node.name))
            };
            let (site, pinned) = Site::make(&node.name, prepare)?;
            sites.nodes.push(site);
            observations.extend(pinned);
        }
        for pod in &plan.pods {
            let place = Place::Pod(pod.name.clone());
            let prepare = || {
                prepare_pod()?;
                open_all_ports(plan, &place)?;
                Ok(drift.pin_before_links(&pod.name))
            };
            let (site, pinned) = Site::make(&pod.name, prepare)?;
            sites.pods.push(site);
            observations.extend(pinned);
        }
        for middlebox in &plan.middleboxes {
            let prepare = || {
                prepare_node()?;
                Ok(drift.pin_before_links(&middlebox.name))
            };
            let (site, pinned) = Site::make(&middlebox.name, prepare)?;
            sites.middleboxes.push(site);
            observations.extend(pinned);
        }
        sites.connect(plan)?;
        for (node, site) in plan.nodes.iter().zip(&sites.nodes) {
            observations.extend(site.write_sysctls(&node.name, drift, &node.sysctls)?);
        }
        for (pod, site) in plan.pods.iter().zip(&sites.pods) {
            observations.extend(site.write_sysctls(&pod.name, drift, &pod.sysctls)?);
        }
        sites.settle(plan)?;
        Ok(sites.into_network(plan, observations))
    }

    /// The namespace of a node or a pod.
    ///
    /// # Panics
    /// If the place is not in the plan the network was built from.
    #[must_use]
    pub fn namespace(&self, place: &Place) -> Rc<Namespace> {
        match place {
            Place::Node(name) => self.nodes.get(name).map(|node| &node.namespace),
            Place::Pod(name) => self.pods.get(name).map(|pod| &pod.namespace),
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
    #[must_use]
    pub fn fabric(&self) -> &Rc<Namespace> {
        &self.fabric
    }

    /// A node as built.
    pub(crate) fn node(&self, name: &str) -> Result<&BuiltNode, LabError> {
        self.nodes.get(name).ok_or_else(|| LabError::Unknown {
            what: format!("node {name}"),
        })
    }

    /// The namespace of a middlebox.
    pub(crate) fn middlebox(&self, name: &str) -> Result<&Rc<Namespace>, LabError> {
        self.middleboxes.get(name).ok_or_else(|| LabError::Unknown {
            what: format!("middlebox {name}"),
        })
    }

    /// The namespaces in which something may have run.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Rc<Namespace>> {
        let nodes = self.nodes.values().map(|node| &node.namespace);
        nodes.chain(self.pods.values().map(|pod| &pod.namespace))
    }

    /// The namespaces of a node and its pods.
    pub(crate) fn namespaces_of(&self, node: &str) -> impl Iterator<Item = &Rc<Namespace>> {
        let own = self.nodes.get(node).map(|node| &node.namespace);
        let pods = self.pods.values().filter(move |pod| pod.node == node);
        own.into_iter().chain(pods.map(|pod| &pod.namespace))
    }

    /// A pod as built.
    pub(crate) fn pod(&self, name: &str) -> Result<&BuiltPod, LabError> {
        self.pods.get(name).ok_or_else(|| LabError::Unknown {
            what: format!("pod {name}"),
        })
    }

    /// The index of a node's uplink, a node's end of a pod's link, or a port of the fabric, by its name.
    pub(crate) fn link_index(
        &self,
        namespace: &Rc<Namespace>,
        link: &str,
    ) -> Result<u32, LabError> {
        if Rc::ptr_eq(namespace, &self.fabric) {
            let port = self.nodes.values().find(|node| node.port == link);
            if let Some(port) = port {
                return Ok(port.port_index);
            }
        } else if link == "eth0" {
            return Ok(ETH0);
        }
        let pods = self.pods.values().filter(|pod| pod.link == link);
        let mut own = pods.filter(|pod| {
            let node = self.nodes.get(&pod.node);
            node.is_some_and(|node| Rc::ptr_eq(&node.namespace, namespace))
        });
        own.next()
            .map(|pod| pod.link_index)
            .ok_or_else(|| LabError::Unknown {
                what: format!("link {link} in {}", namespace.name()),
            })
    }

    /// All nodes but `name`.
    pub(crate) fn other_nodes(&self, name: &str) -> impl Iterator<Item = &BuiltNode> {
        self.nodes
            .iter()
            .filter(move |(other, _)| *other != name)
            .map(|(_, node)| node)
    }
}

impl Site {
    /// Makes a namespace, and runs `prepare` in it before it has any links.
    fn make<T>(
        name: &str,
        prepare: impl FnOnce() -> Result<T, LinuxError>,
    ) -> Result<(Self, T), LinuxError> {
        let doing = || format!("making a network namespace for {name}");
        let (namespace, prepared) = Namespace::new_with(name, || {
            let channel = Channel::open_here(NETLINK_ROUTE).map_err(LinuxError::kernel(doing()))?;
            prepare().map(|prepared| (channel, prepared))
        })
        .map_err(LinuxError::kernel(doing()))?;
        let (channel, prepared) = prepared?;
        let site = Self {
            namespace: Rc::new(namespace),
            channel,
        };
        Ok((site, prepared))
    }

    fn write_sysctls(
        &self,
        place: &str,
        drift: &Drift,
        sysctls: &[Sysctl],
    ) -> Result<Vec<Observation>, LabError> {
        if sysctls.is_empty() && !drift.has_link_pins() {
            return Ok(Vec::new());
        }
        self.namespace
            .visit(|| {
                let mut observations = drift.pin_links(place);
                observations.extend(sysctl::write_all(place, sysctls)?);
                Ok(observations)
            })
            .map_err(LinuxError::kernel(format!(
                "entering the namespace of {place}"
            )))?
    }

    fn settle(&mut self, near_ends: &[u32]) -> Result<(), LinuxError> {
        link::wait_for_carrier(&mut self.channel, near_ends)
            .and_then(|()| link::wait_for_addresses(&mut self.channel))
            .map_err(LinuxError::kernel(format!(
                "waiting for the links of {} to come up",
                self.namespace.name()
            )))
    }
}

impl Sites {
    /// Links, addresses and routes: the fabric and its nodes, then each node with its pods' links, then the pods.
    fn connect(&mut self, plan: &LabPlan) -> Result<(), LabError> {
        let mut requests = vec![
            link::set_up(LOOPBACK),
            link::bridge(FABRIC, ETH0, mac(Role::Fabric, 0)),
        ];
        for (node, site) in plan.nodes.iter().zip(&self.nodes) {
            let before = plan.middleboxes.iter().zip(&self.middleboxes);
            let mut before = before.filter(|(middlebox, _)| middlebox.node == node.name);
            let far = before.next().map_or(site, |(_, middlebox)| middlebox);
            requests.push(uplink(plan, node, &far.namespace));
        }
        self.fabric.channel.execute(requests)?;
        for (middlebox, site) in plan.middleboxes.iter().zip(&mut self.middleboxes) {
            let nodes = plan.nodes.iter().zip(&self.nodes);
            for (node, own) in nodes.filter(|(node, _)| node.name == middlebox.node) {
                let requests = middlebox_requests(plan, node, &own.namespace);
                site.channel.execute(requests)?;
            }
        }
        for (n, node) in plan.nodes.iter().enumerate() {
            let mut requests = node_requests(plan, node);
            for (number, pod) in pods_of(plan, node) {
                let namespace = &self.pods[pod].namespace;
                requests.extend(pod_link(plan, node, &plan.pods[pod], number, namespace));
            }
            self.nodes[n].channel.execute(requests)?;
        }
        for (pod, site) in plan.pods.iter().zip(&mut self.pods) {
            site.channel.execute(pod_requests(plan, pod)?)?;
        }
        Ok(())
    }

    /// Waits until everything is usable. Only the near ends of veth pairs lag behind: the far ones came up second.
    fn settle(&mut self, plan: &LabPlan) -> Result<(), LabError> {
        let ports: Vec<_> = plan.nodes.iter().map(port_index).collect();
        self.fabric.settle(&ports)?;
        for (node, site) in plan.nodes.iter().zip(&mut self.nodes) {
            let links: Vec<_> = pods_of(plan, node)
                .map(|(number, _)| pod_link_index(number))
                .collect();
            site.settle(&links)?;
        }
        for site in &mut self.pods {
            site.settle(&[])?;
        }
        for site in &mut self.middleboxes {
            site.settle(&[INSIDE])?;
        }
        Ok(())
    }

    fn into_network(self, plan: &LabPlan, observations: Vec<Observation>) -> Network {
        let built = |(node, site): (&Node, Site)| {
            let built = BuiltNode {
                namespace: site.namespace,
                port: port_name(node),
                port_index: port_index(node),
                pod_links: pods_of(plan, node).map(|(n, _)| pod_link_name(n)).collect(),
                addresses: [node.address.into(), node.address6.into()],
                pod_networks: [
                    (node.pod_network.into(), NODE_PREFIX.0),
                    (node.pod_network6.into(), NODE_PREFIX.1),
                ],
            };
            (node.name.clone(), built)
        };
        let mut namespaces: Vec<_> = self
            .pods
            .into_iter()
            .map(|site| Some(site.namespace))
            .collect();
        let mut pods = HashMap::new();
        for node in &plan.nodes {
            for (number, n) in pods_of(plan, node) {
                let pod = &plan.pods[n];
                if let Some(namespace) = namespaces[n].take() {
                    pods.insert(pod.name.clone(), built_pod(node, pod, number, namespace));
                }
            }
        }
        Network {
            fabric: self.fabric.namespace,
            nodes: plan.nodes.iter().zip(self.nodes).map(built).collect(),
            pods,
            middleboxes: plan
                .middleboxes
                .iter()
                .zip(self.middleboxes)
                .map(|(middlebox, site)| (middlebox.name.clone(), site.namespace))
                .collect(),
            observations,
        }
    }
}

/// The fabric only bridges: no IPv6 of its own, and no detour of bridged packets through iptables.
fn prepare_fabric() -> Result<(), LinuxError> {
    write("net.ipv6.conf.default.disable_ipv6", "1")?;
    for key in ["iptables", "ip6tables", "arptables"] {
        let key = format!("net.bridge.bridge-nf-call-{key}");
        match sysctl::write(&key, "0") {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {} // br_netfilter is not loaded
            result => result.map_err(LinuxError::kernel(format!("writing {key}")))?,
        }
    }
    Ok(())
}

fn prepare_node() -> Result<(), LinuxError> {
    addresses_at_once()?;
    write("net.ipv4.ip_forward", "1")?;
    write("net.ipv6.conf.all.forwarding", "1")
}

/// A pod gets no link-local address, and with it no router solicitations and no listener reports: it needs none of
/// them, and each is a timer. (A node needs its own: it solicits neighbours for packets it forwards from there.)
fn prepare_pod() -> Result<(), LinuxError> {
    addresses_at_once()?;
    write("net.ipv6.conf.default.addr_gen_mode", "1")
}

/// Addresses are usable at once, and the multicast groups that come with them are told of while the lab is set up: by
/// default at some moment of the second after, among what is measured.
fn addresses_at_once() -> Result<(), LinuxError> {
    write(
        "net.ipv6.conf.default.mldv2_unsolicited_report_interval",
        "1",
    )?;
    write("net.ipv6.conf.all.accept_dad", "0")?;
    write("net.ipv6.conf.default.accept_dad", "0")
}

/// Writes a sysctl that the lab needs, in the namespace this thread is in.
pub(super) fn write(key: &str, value: &str) -> Result<(), LinuxError> {
    match sysctl::write(key, value) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(LinuxError::Missing {
            what: format!("the sysctl {key}"),
            location: None,
        }),
        Err(e) => Err(LinuxError::Kernel {
            doing: format!("writing {key} = {value} (is /proc/sys mounted read-only?)"),
            source: e,
        }),
    }
}

/// Where a program serves at `place`, the namespace this thread is in: it has no capability, and may listen on every port all
/// the same, as in containers (Docker's and containerd's default).
fn open_all_ports(plan: &LabPlan, place: &Place) -> Result<(), LinuxError> {
    let mut servers = plan.servers.iter();
    let program = servers.any(|server| server.program.is_some() && server.place == *place);
    match program {
        true => write("net.ipv4.ip_unprivileged_port_start", "0"),
        false => Ok(()),
    }
}
