//! kube-proxy's iptables mode: rules of the shape it writes, in the nodes where clients are.
//!
//! `KUBE-SERVICES` (from PREROUTING for pods, from OUTPUT for the node's own processes) → `KUBE-SVC-x`, which throws the
//! dice → `KUBE-SEP-y`, which does the DNAT. Rules decide for new connections only: an established one keeps the
//! endpoint its conntrack entry names, whatever becomes of the rules.

mod reading;
mod render;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use self::reading::RestoredRules;
use self::render::{Scope, render};
use super::mode::{Mode, NodeRules, has_client_on};
use super::state::ServiceState;
use crate::lab::network::Network;
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::linux::xtables::{find_program, finish, start};
use crate::plan::{LabPlan, Place};

/// Programs that write rules and show them, by address family.
const PROGRAMS: [(&str, &str, bool); 2] = [
    ("iptables-restore", "iptables-save", false),
    ("ip6tables-restore", "ip6tables-save", true),
];

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
    program: PathBuf,
    /// The program beside it that shows them.
    save: &'static str,
    restored: RestoredRules,
    /// Positions among the mode's services.
    services: Vec<usize>,
}

/// One restore a node and address family, side by side.
pub(super) async fn set_up(
    network: &Network,
    plan: &LabPlan,
    services: &[ServiceState],
) -> Result<Box<dyn Mode>, LinuxError> {
    let mut tables = Vec::new();
    for (program, save, ipv6) in PROGRAMS {
        let of_family = |state: &ServiceState| state.service.address.is_ipv6() == ipv6;
        if !services.iter().any(of_family) {
            continue;
        }
        let program = find_program(program)?;
        for node in &plan.nodes {
            let services: Vec<_> = (0..services.len())
                .filter(|&n| of_family(&services[n]))
                .filter(|&n| has_client_on(plan, &services[n].service.name, &node.name))
                .collect();
            if !services.is_empty() {
                let namespace = network.namespace(&Place::Node(node.name.clone()));
                tables.push(NodeTable {
                    node: node.name.clone(),
                    restored: RestoredRules::nothing(&namespace)?,
                    namespace,
                    program: program.clone(),
                    save,
                    services,
                });
            }
        }
    }
    let iptables = Iptables {
        tables,
        addresses: services.iter().map(|s| s.service.address).collect(),
    };
    iptables.restore(services, |_| true, Scope::Whole).await?;
    Ok(Box::new(iptables))
}

impl Mode for Iptables {
    fn update<'a>(
        &'a self,
        services: &'a [ServiceState],
        changed: &'a [bool],
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        let concerned = |table: &NodeTable| table.services.iter().any(|&n| changed[n]);
        self.restore(services, concerned, Scope::Update)
            .boxed_local()
    }

    fn read(&self, ask: bool) -> Result<Vec<NodeRules>, LinuxError> {
        self.read_all(ask)
    }
}

impl Iptables {
    /// Starts one restore for each table concerned, all at once, and waits for them. All tables' rules are those of
    /// `services` then.
    async fn restore(
        &self,
        services: &[ServiceState],
        concerned: impl Fn(&NodeTable) -> bool,
        scope: Scope,
    ) -> Result<(), LinuxError> {
        let mut running = Vec::new();
        for table in self.tables.iter().filter(|table| concerned(table)) {
            let text = render(&table.states(services), scope);
            running.push((table, start(&table.namespace, &table.program, &text)?));
        }
        for (table, child) in running {
            finish(&table.namespace, &table.program, child).await?;
        }
        for table in &self.tables {
            table.restored.now(&table.states(services));
        }
        Ok(())
    }
}

impl NodeTable {
    fn states<'a>(&self, all: &'a [ServiceState]) -> Vec<&'a ServiceState> {
        self.services.iter().map(|&n| &all[n]).collect()
    }
}
