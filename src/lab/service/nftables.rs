//! kube-proxy's nftables mode: a table of the shape it writes, in the nodes where clients are.
//!
//! `services` (from the nat hooks, for pods and for the node's own processes) looks destination, protocol and port up in
//! `service-ips` → `service-x`, which throws the dice by `numgen` → `endpoint-y`, which does the DNAT. A service without
//! endpoints is in `no-endpoint-services` instead and answers with "port unreachable". What holds of iptables' rules holds
//! of these: they decide for new connections only, and an established one keeps the endpoint its conntrack entry names.

mod render;

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};

use self::render::{gone, table};
use super::mode::{Mode, NodeRules};
use super::node_table::{Listing, NodeTable, read_all, tables};
use super::state::ServiceState;
use crate::lab::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables::Family;
use crate::linux::nftables;
use crate::plan::LabPlan;

/// The tables of all nodes.
struct Nftables {
    tables: Vec<NodeTable>,
    /// Of all services.
    addresses: Vec<SocketAddr>,
}

/// One transaction a node and address family.
pub(super) async fn set_up(
    network: &Network,
    plan: &LabPlan,
    services: &[ServiceState],
) -> Result<Box<dyn Mode>, LinuxError> {
    let nftables = Nftables {
        tables: tables(network, plan, services)?,
        addresses: services.iter().map(|s| s.service.address).collect(),
    };
    nftables.load(services, |_| true)?;
    Ok(Box::new(nftables))
}

impl Mode for Nftables {
    fn update<'a>(
        &'a self,
        services: &'a [ServiceState],
        changed: &'a [bool],
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        let concerned = |table: &NodeTable| table.services.iter().any(|&n| changed[n]);
        ready(self.load(services, concerned)).boxed_local()
    }

    fn settled(&self, services: &[ServiceState]) {
        for of_node in &self.tables {
            let table = table(of_node.family, &of_node.states(services));
            of_node.is_loaded(table.listed());
        }
    }

    fn read(&self, ask: bool) -> Result<Vec<NodeRules>, LinuxError> {
        read_all(&self.tables, ask, &self.addresses, |family| Listing {
            program: "nft",
            arguments: match family {
                Family::Ipv4 => &["list", "table", "ip", render::TABLE],
                Family::Ipv6 => &["list", "table", "ip6", render::TABLE],
            },
            kept,
        })
    }
}

impl Nftables {
    /// Brings each table concerned to what `services` are to be.
    fn load(
        &self,
        services: &[ServiceState],
        concerned: impl Fn(&NodeTable) -> bool,
    ) -> Result<(), LinuxError> {
        for of_node in self.tables.iter().filter(|table| concerned(table)) {
            let states = of_node.states(services);
            let (table, gone) = (table(of_node.family, &states), gone(&states));
            nftables::load(&mut of_node.channel(), &of_node.namespace, &table, &gone)?;
        }
        Ok(())
    }
}

/// What nft says, without the blank lines between what is in the table.
fn kept(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let said = std::iter::once("# As nft lists them");
    said.chain(lines).map(str::to_owned).collect()
}
