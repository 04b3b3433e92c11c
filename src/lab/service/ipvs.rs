//! kube-proxy's ipvs mode: the kernel's own load balancer, in the nodes where clients are.
//!
//! A service's address is the node's own, on `kube-ipvs0`, so that its packets reach IPVS, which goes round the destinations
//! (`rr`) and remembers each connection: 900 s after its last packet it is forgotten, and what comes then meets a node that
//! has the address and knows of no connection: RST. An endpoint that leaves is deleted if it has no connections; else it gets
//! weight 0, and is looked at every minute until it has none.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use super::mode::{Mode, NodeRules, has_client_on};
use super::state::ServiceState;
use crate::lab::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables::{self, Chain, Change, Family, Match, Rule, Table, Target};
use crate::linux::ipvs::{Connection, Ipvs, VirtualService};
use crate::linux::link;
use crate::linux::namespace::Namespace;
use crate::linux::netlink::Channel;
use crate::linux::sysctl;
use crate::plan::{LabPlan, Node, Place};
use crate::record::Flow;

/// kube-proxy's link for services' addresses.
const LINK: &str = "kube-ipvs0";
/// Its index: before those of a node's own links.
const LINK_INDEX: u32 = link::ETH0 - 1;
/// Where masquerading is decided on: a chain that other modes don't have.
const CHAIN: &str = "KUBE-IPVS-POSTROUTING";
/// How often kube-proxy looks whether an endpoint that left has connections still (`rsCheckDeleteInterval`).
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What kube-proxy writes, where a scenario does not say otherwise. (On Linux 5.9 and later it leaves `conn_reuse_mode` be.)
const SYSCTLS: [(&str, &str); 3] = [
    ("net.ipv4.vs.conntrack", "1"),
    ("net.ipv4.vs.expire_nodest_conn", "1"),
    ("net.ipv4.vs.expire_quiescent_template", "1"),
];

/// IPVS of all nodes.
struct Balancers {
    nodes: Rc<[Balancer]>,
    /// Looks at endpoints that left.
    looks: AbortHandle,
}

/// IPVS of one node.
struct Balancer {
    node: String,
    ipvs: RefCell<Ipvs>,
    /// Positions among the mode's services.
    services: Vec<usize>,
    /// Service and destination that get no new connections, and have old ones.
    leaving: RefCell<Vec<(SocketAddr, SocketAddr)>>,
    /// What went wrong when nobody asked.
    failed: RefCell<Option<LinuxError>>,
}

/// A service and its destinations at once.
pub(super) async fn set_up(
    network: &Network,
    plan: &LabPlan,
    services: &[ServiceState],
) -> Result<Box<dyn Mode>, LinuxError> {
    let mut nodes = Vec::new();
    for node in &plan.nodes {
        let own: Vec<_> = (0..services.len())
            .filter(|&n| has_client_on(plan, &services[n].service.name, &node.name))
            .collect();
        if !own.is_empty() {
            let namespace = network.namespace(&Place::Node(node.name.clone()));
            nodes.push(Balancer::set_up(node, &namespace, own, services)?);
        }
    }
    let nodes: Rc<[Balancer]> = nodes.into();
    let seen = Rc::clone(&nodes);
    let looks = spawn_local(async move {
        loop {
            sleep(LOOK_EVERY).await;
            for node in &*seen {
                node.look();
            }
        }
    });
    Ok(Box::new(Balancers {
        nodes,
        looks: looks.abort_handle(),
    }))
}

impl Drop for Balancers {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

impl Mode for Balancers {
    fn update<'a>(
        &'a self,
        services: &'a [ServiceState],
        changed: &'a [bool],
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        let follow = |node: &Balancer| {
            let own = node.services.iter().filter(|&&n| changed[n]);
            own.into_iter().try_for_each(|&n| node.follow(&services[n]))
        };
        ready(self.nodes.iter().try_for_each(follow)).boxed_local()
    }

    fn settled(&self, _: &[ServiceState]) {}

    fn read(&self, _: bool) -> Result<Vec<NodeRules>, LinuxError> {
        self.nodes.iter().map(Balancer::read).collect()
    }
}

impl Balancer {
    fn set_up(
        node: &Node,
        namespace: &Rc<Namespace>,
        own: Vec<usize>,
        services: &[ServiceState],
    ) -> Result<Self, LinuxError> {
        let mut ipvs = Ipvs::open(namespace)?;
        write_sysctls(node, namespace)?;
        let states: Vec<_> = own.iter().map(|&n| &services[n]).collect();
        let mut requests = vec![link::dummy(LINK, LINK_INDEX)];
        let mut addresses: Vec<_> = states.iter().map(|s| s.service.address.ip()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        requests.extend(addresses.into_iter().map(|address| {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            link::address(LINK_INDEX, address, prefix)
        }));
        Channel::open(namespace, NETLINK_ROUTE)?.execute(requests)?;
        masquerade(namespace, &states)?;
        for state in &states {
            let address = state.service.address;
            ipvs.add_service(&VirtualService {
                address,
                persistent: state.service.affinity,
            })?;
            for (_, to) in state.chosen() {
                ipvs.add(address, to)?;
            }
        }
        Ok(Self {
            node: node.name.clone(),
            ipvs: RefCell::new(ipvs),
            services: own,
            leaving: RefCell::default(),
            failed: RefCell::default(),
        })
    }

    /// Has new connections go where `state` says.
    fn follow(&self, state: &ServiceState) -> Result<(), LinuxError> {
        let mut ipvs = self.ipvs.borrow_mut();
        let mut leaving = self.leaving.borrow_mut();
        let service = state.service.address;
        let wanted: Vec<SocketAddr> = state.chosen().into_iter().map(|(_, to)| to).collect();
        let there = ipvs.destinations(service)?;
        for to in &wanted {
            let known = there.iter().find(|known| known.address == *to);
            match known.map(|known| known.weight) {
                Some(1..) => continue,
                // One that was about to leave begins anew, as kube-proxy has it.
                Some(0) => ipvs.delete(service, *to)?,
                None => {}
            }
            leaving.retain(|left| *left != (service, *to));
            ipvs.add(service, *to)?;
        }
        for known in there
            .iter()
            .filter(|known| !wanted.contains(&known.address))
        {
            match known.connections {
                0 => ipvs.delete(service, known.address)?,
                _ if known.weight == 0 => {}
                _ => {
                    ipvs.quiesce(service, known.address)?;
                    leaving.push((service, known.address));
                }
            }
        }
        Ok(())
    }

    /// Deletes destinations that left and have no connections any more.
    fn look(&self) {
        let deleted = self.delete_what_left();
        if let Err(error) = deleted {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }

    fn delete_what_left(&self) -> Result<(), LinuxError> {
        let mut ipvs = self.ipvs.borrow_mut();
        let all = self.leaving.take();
        for (service, to) in all {
            let there = ipvs.destinations(service)?;
            let known = there.iter().find(|known| known.address == to);
            match known.map(|known| known.connections) {
                Some(0) => ipvs.delete(service, to)?,
                Some(_) => self.leaving.borrow_mut().push((service, to)),
                None => {}
            }
        }
        Ok(())
    }

    /// What the kernel has, as `ipvsadm --save --numeric` would write it, and the connections that it remembers.
    fn read(&self) -> Result<NodeRules, LinuxError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut ipvs = self.ipvs.borrow_mut();
        let mut rules = vec!["# As the kernel lists them".to_owned()];
        for service in ipvs.services()? {
            rules.push(service.to_string());
            for to in ipvs.destinations(service.address)? {
                rules.push(format!(
                    "-a -t {} -r {} -m -w {}",
                    service.address, to.address, to.weight
                ));
            }
        }
        let flows = ipvs.connections()?.into_iter().map(flow);
        Ok(NodeRules {
            node: self.node.clone(),
            rules,
            flows: flows.collect(),
        })
    }
}

fn flow(connection: Connection) -> Flow {
    Flow {
        from: connection.from,
        to: connection.to,
        endpoint: connection.destination,
        state: connection.state,
        timeout_s: connection.expires_s,
        assured: false,
    }
}

fn write_sysctls(node: &Node, namespace: &Namespace) -> Result<(), LinuxError> {
    let unsaid = SYSCTLS
        .iter()
        .filter(|(key, _)| node.sysctls.iter().all(|own| own.key != *key));
    for (key, value) in unsaid {
        namespace
            .enter(|| sysctl::write(key, value))
            .map_err(LinuxError::kernel(format!(
                "writing {key} = {value} on {}",
                node.name
            )))?;
    }
    Ok(())
}

/// What a node sends to a service's address comes from that address, as it is its own, and what an endpoint sends to itself
/// by its service would come back past the node: both get the node's address, as kube-proxy has it.
fn masquerade(namespace: &Namespace, states: &[&ServiceState]) -> Result<(), LinuxError> {
    let mut channel = Channel::open(namespace, NETLINK_NETFILTER)?;
    for family in Family::ALL {
        let of_family = |state: &&&ServiceState| Family::of(state.service.address.ip()) == family;
        let mut rules = vec![Rule::first(
            Chain::Postrouting,
            Vec::new(),
            Target::Jump(CHAIN.to_owned()),
        )];
        let whole = |address: SocketAddr| match address {
            SocketAddr::V4(_) => 32,
            SocketAddr::V6(_) => 128,
        };
        for state in states.iter().filter(of_family) {
            let service = state.service.address;
            let from = Match::Source(service.ip(), whole(service));
            let endpoints = state.service.endpoints.iter().map(|e| e.address);
            for to in endpoints {
                let to_it = Match::Destination(to.ip(), whole(to));
                let itself = Match::Source(to.ip(), whole(to));
                rules.extend([from.clone(), itself].map(|source| {
                    Rule::last(
                        Chain::Own(CHAIN.to_owned()),
                        vec![source, to_it.clone()],
                        Target::Masquerade { random: true },
                    )
                }));
            }
        }
        if rules.len() > 1 {
            let chains = vec![CHAIN.to_owned()];
            let change = Change::more(Table::Nat, chains, rules);
            iptables::load(&mut channel, namespace, family, &[change])?;
        }
    }
    Ok(())
}
