//! kube-proxy's iptables mode: rules of the shape it writes, in the nodes where clients are.
//!
//! `KUBE-SERVICES` (from PREROUTING for pods, from OUTPUT for the node's own processes) → `KUBE-SVC-x`, which throws the
//! dice → `KUBE-SEP-y`, which does the DNAT. Rules decide for new connections only: an established one keeps the
//! endpoint its conntrack entry names, whatever becomes of the rules.

mod render;

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};

use self::render::{Scope, render, saved, services_only};
use super::mode::{Mode, NodeRules};
use super::node_table::{Listing, NodeTable, read_all, tables};
use super::state::ServiceState;
use crate::lab::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables;
use crate::plan::LabPlan;

/// The rules of all nodes.
struct Iptables {
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
    let iptables = Iptables {
        tables: tables(network, plan, services)?,
        addresses: services.iter().map(|s| s.service.address).collect(),
    };
    iptables.load(services, |_| true, Scope::Whole)?;
    Ok(Box::new(iptables))
}

impl Mode for Iptables {
    fn update<'a>(
        &'a self,
        services: &'a [ServiceState],
        changed: &'a [bool],
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        let concerned = |table: &NodeTable| table.services.iter().any(|&n| changed[n]);
        ready(self.load(services, concerned, Scope::Update)).boxed_local()
    }

    fn settled(&self, services: &[ServiceState]) {
        for table in &self.tables {
            table.is_loaded(saved(&table.states(services)));
        }
    }

    fn read(&self, ask: bool) -> Result<Vec<NodeRules>, LinuxError> {
        read_all(&self.tables, ask, &self.addresses, |family| Listing {
            program: family.save(),
            arguments: &[],
            kept,
        })
    }
}

impl Iptables {
    /// Brings each table concerned to what `services` are to be.
    fn load(
        &self,
        services: &[ServiceState],
        concerned: impl Fn(&NodeTable) -> bool,
        scope: Scope,
    ) -> Result<(), LinuxError> {
        for table in self.tables.iter().filter(|table| concerned(table)) {
            let changes = render(&table.states(services), scope);
            iptables::load(
                &mut table.channel(),
                &table.namespace,
                table.family,
                &changes,
            )?;
        }
        Ok(())
    }
}

/// Of what iptables-save says: who says it, without the date, and the rules of services.
pub(super) fn kept(text: &str) -> Vec<String> {
    let program = text.lines().next().unwrap_or_default();
    let program = program.split(" on ").next().unwrap_or_default().to_owned();
    let rules = services_only(text.lines()).into_iter().map(str::to_owned);
    std::iter::once(program).chain(rules).collect()
}
