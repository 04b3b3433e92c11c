//! An address that moves, as keepalived has it by VRRP: one node holds it, the first endpoint's, and what is sent there meets
//! that node's own sockets. When its endpoint leaves, the next one's node takes the address, and says so by a gratuitous ARP.
//! Nothing is translated and nobody remembers connections: what was established with the old holder is unknown to the new
//! one, which answers with RST.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::mode::{Mode, NodeRules, has_client_on};
use super::state::ServiceState;
use crate::lab::network::{Network, node_mac};
use crate::linux::link::ETH0;
use crate::linux::namespace::Namespace;
use crate::linux::netlink::Channel;
use crate::linux::{LinuxError, arp, link, sysctl};
use crate::plan::{LabPlan, Place};

/// Programs listen on an address that is not there yet.
const NONLOCAL_BIND: &str = "net.ipv4.ip_nonlocal_bind";

/// The addresses of all services.
struct Addresses {
    nodes: BTreeMap<String, Holder>,
    /// The node of each endpoint's server.
    node_of: BTreeMap<String, String>,
    /// Who has each service's address, in the mode's order.
    held: RefCell<Vec<Option<String>>>,
    /// Nodes with clients, and the services that they ask.
    asked: Vec<(String, Vec<IpAddr>)>,
}

/// A node that has, or may get, an address, or asks for one.
struct Holder {
    namespace: Rc<Namespace>,
    mac: [u8; 6],
}

/// Each address goes to its first endpoint's node.
pub(super) async fn set_up(
    network: &Network,
    plan: &LabPlan,
    services: &[ServiceState],
) -> Result<Box<dyn Mode>, LinuxError> {
    let endpoints = services.iter().flat_map(|s| &s.service.endpoints);
    let servers = endpoints.filter_map(|e| plan.server(&e.server));
    let node_of: BTreeMap<_, _> = servers
        .map(|server| (server.name.clone(), server.node.clone()))
        .collect();
    let mut nodes = BTreeMap::new();
    for node in &plan.nodes {
        let namespace = network.namespace(&Place::Node(node.name.clone()));
        if node_of.values().any(|name| *name == node.name) {
            namespace
                .enter(|| sysctl::write(NONLOCAL_BIND, "1"))
                .map_err(LinuxError::kernel(format!(
                    "writing {NONLOCAL_BIND} = 1 on {}",
                    node.name
                )))?;
        }
        let mac = node_mac(node);
        nodes.insert(node.name.clone(), Holder { namespace, mac });
    }
    let asked = plan.nodes.iter().map(|node| {
        let own = services
            .iter()
            .filter(|s| has_client_on(plan, &s.service.name, &node.name));
        let addresses = own.map(|s| s.service.address.ip()).collect();
        (node.name.clone(), addresses)
    });
    let addresses = Addresses {
        nodes,
        node_of,
        held: RefCell::new(vec![None; services.len()]),
        asked: asked
            .filter(|(_, addresses): &(_, Vec<_>)| !addresses.is_empty())
            .collect(),
    };
    for (n, state) in services.iter().enumerate() {
        addresses.follow(n, state)?;
    }
    Ok(Box::new(addresses))
}

impl Mode for Addresses {
    fn update<'a>(
        &'a self,
        services: &'a [ServiceState],
        changed: &'a [bool],
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        let concerned = services.iter().enumerate().filter(|(n, _)| changed[*n]);
        let followed = concerned
            .into_iter()
            .try_for_each(|(n, state)| self.follow(n, state));
        ready(followed).boxed_local()
    }

    fn settled(&self, _: &[ServiceState]) {}

    fn read(&self, _: bool) -> Result<Vec<NodeRules>, LinuxError> {
        self.asked
            .iter()
            .map(|(node, addresses)| self.neighbours(node, addresses))
            .collect()
    }
}

impl Addresses {
    /// Moves an address to where `state` says it is to be.
    fn follow(&self, n: usize, state: &ServiceState) -> Result<(), LinuxError> {
        let chosen = state.chosen();
        let first = chosen.first().and_then(|(number, _)| {
            let endpoint = state.service.endpoints.get(number - 1)?;
            self.node_of.get(&endpoint.server)
        });
        let before = std::mem::replace(&mut self.held.borrow_mut()[n], first.cloned());
        if before.as_ref() == first {
            return Ok(());
        }
        let address = state.service.address.ip();
        if let Some(holder) = before.and_then(|name| self.nodes.get(&name)) {
            let gone = link::no_address(ETH0, address, 32);
            Channel::open(&holder.namespace, NETLINK_ROUTE)?.execute(vec![gone])?;
        }
        let Some(holder) = first.and_then(|name| self.nodes.get(name)) else {
            return Ok(());
        };
        let there = link::address(ETH0, address, 32);
        Channel::open(&holder.namespace, NETLINK_ROUTE)?.execute(vec![there])?;
        match address {
            IpAddr::V4(address) => arp::announce(&holder.namespace, ETH0, holder.mac, address),
            IpAddr::V6(_) => Ok(()),
        }
    }

    /// Who has the addresses, as a node's neighbour table has it.
    fn neighbours(&self, node: &str, addresses: &[IpAddr]) -> Result<NodeRules, LinuxError> {
        let mut rules = vec!["# Neighbours, as the kernel lists them".to_owned()];
        if let Some(Holder { namespace, .. }) = self.nodes.get(node) {
            let known = Channel::open(namespace, NETLINK_ROUTE)
                .and_then(|mut channel| list(&mut channel, namespace))?;
            let asked = known.into_iter().filter(|(ip, _)| addresses.contains(ip));
            rules.extend(asked.map(|(ip, mac)| self.shown(ip, &mac)));
        }
        Ok(NodeRules {
            node: node.to_owned(),
            rules,
            flows: Vec::new(),
        })
    }

    /// As `ip neighbour` shows it, but for its state, and whose it is.
    fn shown(&self, ip: IpAddr, mac: &[u8]) -> String {
        let mut nodes = self.nodes.iter();
        let whose = nodes.find(|(_, holder)| holder.mac == mac);
        let whose = whose.map_or("nobody", |(name, _)| name);
        let mac: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{ip} dev eth0 lladdr {} ({whose})", mac.join(":"))
    }
}

fn list(
    channel: &mut Channel,
    namespace: &Namespace,
) -> Result<Vec<(IpAddr, Vec<u8>)>, LinuxError> {
    let mut known = link::neighbours(channel, ETH0).map_err(LinuxError::kernel(format!(
        "listing the neighbours of {}",
        namespace.name()
    )))?;
    known.sort_unstable();
    Ok(known)
}
