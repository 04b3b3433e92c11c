//! Rules that programs of the lab set, such as kube-proxy: none is the lab's. They are read as the kernel has them, whenever it
//! says that they have changed.

mod ruleset;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready, try_join_all};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use self::ruleset::endpoints;
use super::iptables::kept;
use super::mode::{Changed, Mode, NodeRules, has_client_on};
use super::node_table::{find_program, output_of};
use super::state::ServiceState;
use crate::lab::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables::Family;
use crate::linux::namespace::Namespace;
use crate::linux::netlink::{Channel, had_no_room};
use crate::plan::{LabPlan, Place, Service};
use crate::probe::rules::flows;

/// `NFNLGRP_NFTABLES`: whatever changes in a namespace's nf_tables, which iptables' rules are as well.
const CHANGES: u32 = 7;

/// What kube-proxy calls its tables in its nftables mode.
const TABLE: &str = "kube-proxy";

/// The nodes where such services have clients.
struct Programs {
    nodes: Vec<Node>,
    /// Of all services.
    addresses: Vec<SocketAddr>,
}

struct Node {
    name: String,
    namespace: Rc<Namespace>,
    channel: RefCell<Channel>,
}

pub(super) async fn set_up(
    network: &Network,
    plan: &LabPlan,
    services: &[ServiceState],
) -> Result<Box<dyn Mode>, LinuxError> {
    let mut nodes = Vec::new();
    for node in &plan.nodes {
        let mut services = services.iter();
        if services.any(|state| has_client_on(plan, &state.service.name, &node.name)) {
            let namespace = network.namespace(&Place::Node(node.name.clone()));
            nodes.push(Node {
                name: node.name.clone(),
                channel: RefCell::new(Channel::open(&namespace, NETLINK_NETFILTER)?),
                namespace,
            });
        }
    }
    Ok(Box::new(Programs {
        nodes,
        addresses: services.iter().map(|s| s.service.address).collect(),
    }))
}

impl Mode for Programs {
    fn update<'a>(
        &'a self,
        _: &'a [ServiceState],
        _: &'a [bool],
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        // They decide for themselves.
        ready(Ok(())).boxed_local()
    }

    fn settled(&self, _: &[ServiceState]) {}

    fn read(&self, _: bool) -> Result<Vec<NodeRules>, LinuxError> {
        let read = |node: &Node| {
            let flows = flows(&mut node.channel.borrow_mut(), &self.addresses);
            let doing = format!("reading the connections that {} tracks", node.name);
            Ok(NodeRules {
                node: node.name.clone(),
                rules: node.rules()?,
                flows: flows.map_err(LinuxError::kernel(doing))?,
            })
        };
        self.nodes.iter().map(read).collect()
    }

    fn watch<'a>(
        &'a self,
        services: Vec<Service>,
        told: &'a dyn Fn(Changed),
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        let watching = async move {
            let each = self.nodes.iter().map(|node| node.watch(&services, told));
            try_join_all(each).await.map(|_| ())
        };
        watching.boxed_local()
    }
}

impl Node {
    /// The services' rules, by iptables or nft, whichever set them.
    fn rules(&self) -> Result<Vec<String>, LinuxError> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            if let Some(program) = find_program(family.save()) {
                let saved = kept(&output_of(&self.namespace, Command::new(&program))?);
                // The first line says which program it was.
                rules.extend(
                    Some(saved)
                        .filter(|saved| saved.len() > 1)
                        .into_iter()
                        .flatten(),
                );
            }
        }
        if let Some(program) = find_program("nft") {
            for family in ["ip", "ip6"] {
                let mut command = Command::new(&program);
                command.args(["list", "table", family, TABLE]);
                // Where there is no such table it fails.
                if let Ok(listed) = output_of(&self.namespace, command) {
                    rules.extend(listed.lines().map(str::to_owned));
                }
            }
        }
        Ok(rules)
    }

    /// Tells of each endpoint that leaves the node's rules, or is in them again, for ever.
    async fn watch(&self, services: &[Service], told: &dyn Fn(Changed)) -> Result<(), LinuxError> {
        let doing = || LinuxError::kernel(format!("watching the rules of {}", self.name));
        let changes = self.namespace.enter(listen).map_err(doing())?;
        let mut before = self.behind(services)?;
        loop {
            next(&changes).await.map_err(doing())?;
            let now = self.behind(services)?;
            for (service, (before, now)) in services.iter().zip(before.iter().zip(&now)) {
                let changed = |endpoint: &str, out| Changed {
                    node: self.name.clone(),
                    service: service.name.clone(),
                    endpoint: endpoint.to_owned(),
                    out,
                };
                let gone = before.iter().filter(|server| !now.contains(server));
                gone.for_each(|server| told(changed(server, true)));
                let come = now.iter().filter(|server| !before.contains(server));
                come.for_each(|server| told(changed(server, false)));
            }
            before = now;
        }
    }

    /// The servers to which the node's rules lead connections to each service.
    fn behind(&self, services: &[Service]) -> Result<Vec<Vec<String>>, LinuxError> {
        let rules = self.rules()?;
        let of = |service: &Service| {
            let found = endpoints(&rules, service.address);
            let known = service
                .endpoints
                .iter()
                .filter(|e| found.contains(&e.address));
            known.map(|endpoint| endpoint.server.clone()).collect()
        };
        Ok(services.iter().map(of).collect())
    }
}

/// Has the kernel tell of changes in the rules of the namespace this thread is in.
fn listen() -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.add_membership(CHANGES)?;
    socket.set_non_blocking(true)?;
    // SAFETY: the socket owns its descriptor, and stays inside the AsyncFd until both are dropped.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
}

/// Waits for changes, and takes all that there are.
async fn next(changes: &AsyncFd<Socket>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut any = false;
    loop {
        let mut ready = changes.readable().await?;
        loop {
            match changes.get_ref().recv(&mut &mut buffer[..], 0) {
                Ok(_) => any = true,
                // Having missed some counts as one.
                Err(error) if had_no_room(&error) => any = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        ready.clear_ready();
        if any {
            return Ok(());
        }
    }
}
