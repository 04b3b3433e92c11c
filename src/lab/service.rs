//! Services: virtual addresses that a node's kernel spreads over endpoints, by rules of the shape kube-proxy writes in
//! iptables mode.
//!
//! `KUBE-SERVICES` (from PREROUTING for pods, from OUTPUT for the node's own processes) → `KUBE-SVC-x`, which throws the
//! dice → `KUBE-SEP-y`, which does the DNAT. Rules decide for new connections only: an established one keeps the
//! endpoint its conntrack entry names, whatever becomes of the rules.

mod restore;
mod rules;

use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::Mutex;

use super::LabError;
use super::namespace::Namespace;
use super::network::Network;
use crate::plan::{LabPlan, Place};
use restore::restore;
pub(crate) use restore::{find_program, try_rules};
use rules::{Load, ServiceState, render};

/// The services of a lab, as loaded in the nodes where their clients run.
pub struct Services {
    /// Held while rules are being written, so that an older state never overwrites a newer one.
    state: Mutex<Vec<ServiceState>>,
    tables: Vec<NodeTable>,
}

/// The rules of one address family on one node.
struct NodeTable {
    namespace: Rc<Namespace>,
    program: PathBuf,
    /// Positions in [`Services::state`].
    services: Vec<usize>,
}

impl Services {
    /// Loads every service's rules in the nodes where its clients run: one restore a node and address family, side by
    /// side. A service with `pin_first` is pinned.
    ///
    /// # Errors
    /// [`LabError::NoProgram`] without iptables, [`LabError::Program`] with its own words if it fails.
    pub async fn load(network: &Network, plan: &LabPlan) -> Result<Self, LabError> {
        let state: Vec<_> = plan
            .services
            .iter()
            .enumerate()
            .map(|(n, service)| ServiceState::new(n + 1, service))
            .collect();
        let mut tables = Vec::new();
        for (program, ipv6) in [("iptables-restore", false), ("ip6tables-restore", true)] {
            if !plan.services.iter().any(|s| s.address.is_ipv6() == ipv6) {
                continue;
            }
            let program = find_program(program)?;
            for node in &plan.nodes {
                let services: Vec<_> = (0..state.len())
                    .filter(|&n| plan.services[n].address.is_ipv6() == ipv6)
                    .filter(|&n| has_client_on(plan, &plan.services[n].name, &node.name))
                    .collect();
                if !services.is_empty() {
                    tables.push(NodeTable {
                        namespace: network.namespace(&Place::Node(node.name.clone())),
                        program: program.clone(),
                        services,
                    });
                }
            }
        }
        restore(tables.iter().map(|table| {
            let text = render(&table.states(&state), Load::Whole);
            (table, text)
        }))
        .await?;
        Ok(Self {
            state: Mutex::new(state),
            tables,
        })
    }

    /// Lets the dice choose among all endpoints of every pinned service, for connections from now on.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn unpin(&self) -> Result<(), LabError> {
        self.change(|state| state.pinned.take().is_some()).await
    }

    /// Takes endpoints, by their servers' names, out of a service's rules. Established connections to them stay. When
    /// none is left, new connections are rejected, as kube-proxy does it.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn remove_endpoints(&self, service: &str, servers: &[&str]) -> Result<(), LabError> {
        self.change(|state| {
            if state.service.name != service {
                return false;
            }
            let before = state.removed.len();
            for server in servers {
                let known = state.service.endpoints.iter().any(|e| e.server == *server);
                if known && !state.removed.iter().any(|removed| removed == server) {
                    state.removed.push((*server).to_owned());
                }
            }
            state.removed.len() > before
        })
        .await
    }

    /// Puts endpoints that were taken out of a service's rules back into them, for connections from now on.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn add_endpoints(&self, service: &str, servers: &[&str]) -> Result<(), LabError> {
        self.change(|state| {
            if state.service.name != service {
                return false;
            }
            let back = |server: &String| servers.contains(&server.as_str());
            state.returning = state.removed.iter().filter(|s| back(s)).cloned().collect();
            state.removed.retain(|server| !back(server));
            !state.returning.is_empty()
        })
        .await
    }

    /// Applies `change` to every service (it says whether it changed that one) and rewrites the nodes concerned.
    async fn change(
        &self,
        mut change: impl FnMut(&mut ServiceState) -> bool,
    ) -> Result<(), LabError> {
        let mut state = self.state.lock().await;
        for service in state.iter_mut() {
            service.returning.clear();
        }
        let changed: Vec<bool> = state.iter_mut().map(&mut change).collect();
        let tables = self
            .tables
            .iter()
            .filter(|table| table.services.iter().any(|&n| changed[n]));
        restore(tables.map(|table| (table, render(&table.states(&state), Load::Update)))).await
    }
}

impl NodeTable {
    fn states<'a>(&self, all: &'a [ServiceState]) -> Vec<&'a ServiceState> {
        self.services.iter().map(|&n| &all[n]).collect()
    }
}

fn has_client_on(plan: &LabPlan, service: &str, node: &str) -> bool {
    plan.clients
        .iter()
        .any(|client| client.node == node && client.target.service.as_deref() == Some(service))
}
