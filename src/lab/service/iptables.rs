//! kube-proxy's iptables mode: rules of the shape it writes, in the nodes where clients are.
//!
//! `KUBE-SERVICES` (from PREROUTING for pods, from OUTPUT for the node's own processes) → `KUBE-SVC-x`, which throws the
//! dice → `KUBE-SEP-y`, which does the DNAT. Rules decide for new connections only: an established one keeps the
//! endpoint its conntrack entry names, whatever becomes of the rules.

pub(super) mod reading;
mod render;

use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};

use self::reading::LoadedRules;
use self::render::{Scope, render};
use super::mode::{Mode, NodeRules, has_client_on};
use super::state::ServiceState;
use crate::lab::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables::Family;
use crate::linux::namespace::Namespace;
use crate::plan::{LabPlan, Place};

/// The rules of all nodes.
struct Iptables {
    tables: Vec<NodeTable>,
    /// Of all services.
    addresses: Vec<SocketAddr>,
}

/// The rules of one address family on one node.
struct NodeTable {
    node: String,
    namespace: Rc<Namespace>,
    family: Family,
    loaded: LoadedRules,
    /// Positions among the mode's services.
    services: Vec<usize>,
}

/// One transaction a node and address family.
pub(super) async fn set_up(
    network: &Network,
    plan: &LabPlan,
    services: &[ServiceState],
) -> Result<Box<dyn Mode>, LinuxError> {
    let mut tables = Vec::new();
    for family in Family::ALL {
        let of_family = |state: &ServiceState| Family::of(state.service.address.ip()) == family;
        for node in &plan.nodes {
            let services: Vec<_> = (0..services.len())
                .filter(|&n| of_family(&services[n]))
                .filter(|&n| has_client_on(plan, &services[n].service.name, &node.name))
                .collect();
            if !services.is_empty() {
                let namespace = network.namespace(&Place::Node(node.name.clone()));
                tables.push(NodeTable {
                    node: node.name.clone(),
                    loaded: LoadedRules::nothing(&namespace)?,
                    namespace,
                    family,
                    services,
                });
            }
        }
    }
    let iptables = Iptables {
        tables,
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

    fn read(&self, ask: bool) -> Result<Vec<NodeRules>, LinuxError> {
        self.read_all(ask)
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
            let loaded = &table.loaded;
            loaded.load(&table.namespace, table.family, &changes)?;
        }
        for table in &self.tables {
            table.loaded.now(&table.states(services));
        }
        Ok(())
    }
}

impl NodeTable {
    fn states<'a>(&self, all: &'a [ServiceState]) -> Vec<&'a ServiceState> {
        self.services.iter().map(|&n| &all[n]).collect()
    }
}
