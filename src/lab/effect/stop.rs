//! Everything that runs on a node ends at once, and what stood there leaves the rules of services when the cluster
//! notices.

use std::rc::Rc;
use std::time::Duration;

use netlink_packet_sock_diag::inet::StateFlags;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::rules::Change;
use super::{Act, LabError};
use crate::lab::run::Lab;
use crate::linux::{conntrack, orphans};
use crate::plan::{self, Effect, Place};

/// [`Effect::Stop`].
pub(super) struct Stop<'a> {
    pub(super) node: &'a str,
}

impl Act for Stop<'_> {
    fn follow(&self, lab: &Rc<Lab>) {
        lab.end(|_, home| home == self.node);
        lab.probes.end_node(self.node);
        lab.remove_lost_endpoints(self.node);
    }

    /// The node knows of no connection, and its servers listen.
    fn undo(&self, lab: &Rc<Lab>) -> Result<(), LabError> {
        lab.abort_changes(self.node);
        // While nothing gets out yet: a machine that starts has nothing to send on old connections.
        for namespace in lab.network.namespaces_of(self.node) {
            let all = StateFlags::all() - StateFlags::LISTEN;
            orphans::destroy_where(namespace, all, |_, _| true)?;
        }
        let own = lab.network.namespace(&Place::Node(self.node.to_owned()));
        conntrack::delete(&own, |_| true)?;
        lab.probes.node_is_back(self.node);
        lab.start_again(|server| server.node == self.node)?;
        lab.return_endpoints(self.node);
        Ok(())
    }

    fn silences(&self) -> bool {
        true
    }
}

impl Lab {
    /// The endpoints on a node that is lost leave the rules of their services when the cluster notices.
    fn remove_lost_endpoints(self: &Rc<Self>, node: &str) {
        self.abort_changes(node);
        for service in &self.plan.services {
            let Some(removal) = service.removal else {
                continue;
            };
            let lost = Change {
                service: service.name.clone(),
                servers: self.endpoints_on(service, node),
                out: true,
            };
            self.change_in(node, removal, lost);
        }
    }

    /// The endpoints on a node that is back are in the rules of their services when they are ready, if the node's loss is
    /// why they are not, and no fault of the plan puts them back.
    fn return_endpoints(self: &Rc<Self>, node: &str) {
        for service in &self.plan.services {
            let Some(readiness) = service.readiness else {
                continue;
            };
            let mut servers = self.endpoints_on(service, node);
            servers.retain(|server| !service.is_put_back(server, &self.plan.faults));
            let back = Change {
                service: service.name.clone(),
                servers,
                out: false,
            };
            self.change_in(node, readiness, back);
        }
    }

    /// The endpoints of a service that are on a node, by server.
    fn endpoints_on(&self, service: &plan::Service, node: &str) -> Vec<String> {
        let is_there = |e: &&plan::Endpoint| {
            let mut servers = self.plan.servers.iter();
            servers.any(|s| s.name == e.server && s.node == node)
        };
        let endpoints = service.endpoints.iter().filter(is_there);
        endpoints.map(|e| e.server.clone()).collect()
    }

    /// Changes rules after some time, where they are not so already, unless the node's power changes before.
    fn change_in(self: &Rc<Self>, node: &str, wait: Duration, mut change: Change) {
        if change.servers.is_empty() {
            return;
        }
        let lab = Rc::clone(self);
        let work = async move {
            sleep(wait).await;
            let removed = lab.services.removed(&change.service).await;
            let out = change.out;
            change.servers.retain(|server| {
                removed.contains(server) != out
                    && (out || !lab.is_kept_out(&change.service, server))
            });
            if let Err(error) = lab.change_rules(&change).await {
                lab.break_by(error.into_observation());
            }
        };
        let work = spawn_local(work).abort_handle();
        let mut changes = self.rule_changes.borrow_mut();
        changes.entry(node.to_owned()).or_default().push(work);
    }

    /// Whether a fault keeps an endpoint out of a service's rules.
    fn is_kept_out(&self, kept_from: &str, endpoint: &str) -> bool {
        self.is_in_force(|effect| {
            matches!(effect, Effect::Rules { service, server, out: true }
                if service == kept_from && server == endpoint)
        })
    }

    /// What the cluster was about to notice of a node is no more so.
    fn abort_changes(&self, node: &str) {
        let changes = self.rule_changes.borrow_mut().remove(node);
        for change in changes.unwrap_or_default() {
            change.abort();
        }
    }

    /// Starts those of the chosen servers that do not run, on nodes that are not stopped.
    pub(super) fn start_again(
        self: &Rc<Self>,
        chosen: impl Fn(&plan::Server) -> bool,
    ) -> Result<(), LabError> {
        for server in self.plan.servers.iter().filter(|server| chosen(server)) {
            let runs = self.inhabitants.borrow().iter().any(|inhabitant| {
                let home = inhabitant.home.as_ref();
                home.is_some_and(|(name, _)| *name == server.name)
            });
            let stopped = self.is_in_force(
                |effect| matches!(effect, Effect::Stop { node } if *node == server.node),
            );
            if runs || stopped {
                continue;
            }
            self.start_again_one(server)?;
        }
        Ok(())
    }
}
