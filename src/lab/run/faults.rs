//! Faults of a running lab: when they come into force, what becomes of what runs, and how they heal.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use netlink_packet_sock_diag::inet::StateFlags;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Lab;
use crate::lab::gate::Gate;
use crate::lab::{LabError, conntrack, fault, orphans};
use crate::plan::{self, FaultKind, LabPlan, Phase, Place, Process, Trigger};
use crate::record::{Observation, Stage};

/// An open gate for every server.
pub(super) fn gates(plan: &LabPlan) -> HashMap<String, Rc<Gate>> {
    let servers = plan.servers.iter();
    servers
        .map(|server| (server.name.clone(), Rc::default()))
        .collect()
}

impl Lab {
    pub(super) fn arm(self: &Rc<Self>, index: usize, trigger: &Trigger) {
        let lab = Rc::clone(self);
        match trigger {
            Trigger::At(at) => {
                let wait = at.saturating_sub(self.recorder.now());
                spawn_local(async move {
                    sleep(wait).await;
                    lab.inject(index);
                });
            }
            Trigger::Phase {
                client,
                phase,
                after,
            } => {
                self.commons
                    .phases
                    .on(client, *phase, *after, Box::new(move || lab.inject(index)));
            }
        }
    }

    /// Lets a fault happen, now: nothing else in the lab runs until it is done. (Only rules of services take their
    /// writer's time, and the fault is in force when they are written.)
    fn inject(self: &Rc<Self>, index: usize) {
        let phases = self.commons.phases.phases();
        let kind = &self.plan.faults[index].kind;
        if let FaultKind::EndpointRemoved { service, server }
        | FaultKind::EndpointAdded { service, server } = kind
        {
            let out = matches!(kind, FaultKind::EndpointRemoved { .. });
            let (lab, service, server) = (Rc::clone(self), service.clone(), server.clone());
            spawn_local(async move {
                if lab.change_endpoints(&service, &[server], out).await {
                    lab.in_force(index, phases);
                }
            });
            return;
        }
        let done = match kind {
            FaultKind::PowerRestore { node } => self.restore_power(node),
            _ => fault::inject(&self.network, &self.plan, index).map(|cut| {
                self.cuts.borrow_mut().insert(index, cut);
            }),
        };
        match done {
            Ok(()) => self.in_force(index, phases),
            Err(error) => self.break_by(error.into_observation()),
        }
    }

    /// A fault is in force on the network: it is recorded, and ends what it ends.
    fn in_force(self: &Rc<Self>, index: usize, phases: Vec<(String, Phase)>) {
        let fault = &self.plan.faults[index];
        self.recorder.emit(Observation::FaultInjected {
            fault: index,
            phases,
        });
        self.look(&Stage::Fault(index));
        match &fault.kind {
            FaultKind::PowerLoss { node, .. } => self.end_node(node),
            FaultKind::ProcessKill { process } => self.kill(process),
            FaultKind::Hang { server } => {
                if let Some(gate) = self.gates.get(server) {
                    gate.shut();
                }
            }
            FaultKind::ConntrackDeleted { .. } | FaultKind::SocketDestroyed { .. } => {
                self.warn_of_nothing(index);
            }
            _ => {}
        }
        if silences(&fault.kind) {
            self.release_late_pins(&fault.kind);
        }
        // What rules from now on, and by the time it has, the socket is gone.
        for program in &self.programs {
            program.note_options();
        }
        if let Some(lasts) = fault.lasts {
            let lab = Rc::clone(self);
            spawn_local(async move {
                sleep(lasts).await;
                lab.heal(index).await;
            });
        }
    }

    /// A fault's time is over.
    async fn heal(self: &Rc<Self>, index: usize) {
        if *self.stop.borrow() {
            return;
        }
        let healed = match &self.plan.faults[index].kind {
            // A node that has its power back already.
            FaultKind::PowerLoss { .. } if !self.cuts.borrow().contains_key(&index) => return,
            FaultKind::PowerLoss { node, .. } => self.restore_power(node),
            FaultKind::ProcessKill {
                process: Process::Server(server),
            } => self.start_again(|s| s.name == *server),
            FaultKind::Hang { server } => {
                if let Some(gate) = self.gates.get(server) {
                    gate.open();
                }
                Ok(())
            }
            kind @ (FaultKind::EndpointRemoved { service, server }
            | FaultKind::EndpointAdded { service, server }) => {
                let out = matches!(kind, FaultKind::EndpointAdded { .. });
                if !self
                    .change_endpoints(service, std::slice::from_ref(server), out)
                    .await
                {
                    return;
                }
                Ok(())
            }
            _ => {
                self.cuts.borrow_mut().remove(&index);
                Ok(())
            }
        };
        match healed {
            Ok(()) => self
                .recorder
                .emit(Observation::FaultHealed { fault: index }),
            Err(error) => self.break_by(error.into_observation()),
        }
    }

    /// Everything on `node` is gone; its endpoints leave the rules when the cluster notices.
    fn end_node(self: &Rc<Self>, node: &str) {
        self.end(|_, home| home == node);
        self.probes.end_node(node);
        for service in &self.plan.services {
            let lost = |e: &&plan::Endpoint| {
                let mut servers = self.plan.servers.iter();
                servers.any(|s| s.name == e.server && s.node == node)
            };
            let lost: Vec<String> = service
                .endpoints
                .iter()
                .filter(lost)
                .map(|e| e.server.clone())
                .collect();
            if let (Some(removal), false) = (service.removal, lost.is_empty()) {
                let work = Rc::clone(self).remove_endpoints(removal, service.name.clone(), lost);
                let removal = spawn_local(work).abort_handle();
                let mut removals = self.removals.borrow_mut();
                removals.entry(node.to_owned()).or_default().push(removal);
            }
        }
    }

    fn kill(&self, process: &Process) {
        let (Process::Server(killed) | Process::Client(killed)) = process;
        self.end(|name, _| name == killed);
    }

    /// Ends at once what runs under a name on a node, of those that are chosen, with its sockets.
    fn end(&self, chosen: impl Fn(&str, &str) -> bool) {
        self.inhabitants.borrow_mut().retain(|inhabitant| {
            let home = inhabitant.home.as_ref();
            let ends = home.is_some_and(|(name, node)| chosen(name, node));
            if ends {
                inhabitant.work.abort();
            }
            !ends
        });
        for program in &self.programs {
            if chosen(program.name(), program.node()) {
                program.lose_power();
            }
        }
        for client in &self.plan.clients {
            if chosen(&client.name, &client.node) {
                self.recorder.emit(Observation::ClientGone {
                    client: client.name.clone(),
                });
            }
        }
    }

    /// A node has its power back: it knows of no connection, and its servers listen.
    fn restore_power(self: &Rc<Self>, node: &str) -> Result<(), LabError> {
        let mut faults = self.plan.faults.iter().enumerate();
        let lost = faults.find(|(index, fault)| {
            fault.kind.dead_node() == Some(node) && self.cuts.borrow().contains_key(index)
        });
        let Some((index, _)) = lost else {
            let text = format!("power_restore of {node}, which has its power");
            return Err(LabError::Setup(text));
        };
        for removal in self.removals.borrow_mut().remove(node).unwrap_or_default() {
            removal.abort();
        }
        // While nothing gets out yet: a machine that starts has nothing to send on old connections.
        for namespace in self.network.namespaces_of(node) {
            let all = StateFlags::all() - StateFlags::LISTEN;
            orphans::destroy_where(namespace, all, |_, _| true)?;
        }
        let own = self.network.namespace(&Place::Node(node.to_owned()));
        conntrack::delete(&own, |_| true)?;
        self.probes.node_is_back(node);
        let cut = self.cuts.borrow_mut().remove(&index);
        self.start_again(|server| server.node == node)?;
        drop(cut);
        Ok(())
    }

    /// Starts those of the chosen servers that do not run, where there is power.
    fn start_again(
        self: &Rc<Self>,
        chosen: impl Fn(&plan::Server) -> bool,
    ) -> Result<(), LabError> {
        for server in self.plan.servers.iter().filter(|server| chosen(server)) {
            let runs = self.inhabitants.borrow().iter().any(|inhabitant| {
                let home = inhabitant.home.as_ref();
                home.is_some_and(|(name, _)| *name == server.name)
            });
            let dark = self
                .cuts
                .borrow()
                .keys()
                .any(|index| self.plan.faults[*index].kind.dead_node() == Some(&server.node));
            if runs || dark {
                continue;
            }
            let bound = self.bind(server)?;
            self.start_server(server, bound);
        }
        Ok(())
    }

    /// Before anything else is dialled, the dice have to be free: who was pinned may not answer any more.
    fn release_late_pins(self: &Rc<Self>, kind: &FaultKind) {
        if self.pins_released.get() || self.clients_of_pinned().next().is_none() {
            return;
        }
        let text = format!(
            "{} of {} came before every client of a service with `pin_first` had its first response: the pin is \
             released only now",
            kind.name(),
            kind.target()
        );
        self.recorder.emit(Observation::Warning { text });
        self.release_pins();
    }

    fn warn_of_nothing(&self, index: usize) {
        let kind = &self.plan.faults[index].kind;
        let cuts = self.cuts.borrow();
        if cuts.get(&index).is_some_and(|cut| cut.forgotten() == 0) {
            let text = format!("{} of {} found no connection", kind.name(), kind.target());
            self.recorder.emit(Observation::Warning { text });
        }
    }

    async fn remove_endpoints(
        self: Rc<Self>,
        removal: Duration,
        service: String,
        lost: Vec<String>,
    ) {
        sleep(removal).await;
        self.change_endpoints(&service, &lost, true).await;
    }

    /// Takes endpoints out of a service's rules, or puts them back. False if that failed, and the rig is broken.
    async fn change_endpoints(&self, service: &str, servers: &[String], out: bool) -> bool {
        let names: Vec<&str> = servers.iter().map(String::as_str).collect();
        let changed = match out {
            true => self.services.remove_endpoints(service, &names).await,
            false => self.services.add_endpoints(service, &names).await,
        };
        if let Err(error) = changed {
            self.break_by(error.into_observation());
            return false;
        }
        for endpoint in servers.iter().cloned() {
            let service = service.to_owned();
            if out {
                self.recorder.emit(Observation::EndpointRemoved {
                    service,
                    endpoint: endpoint.clone(),
                });
                self.look(&Stage::EndpointRemoved(endpoint));
            } else {
                self.recorder
                    .emit(Observation::EndpointAdded { service, endpoint });
            }
        }
        true
    }
}

/// Whether a server may not answer any more, so that nobody should be sent to it by a pin.
fn silences(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::PowerLoss { .. }
            | FaultKind::ProcessKill { .. }
            | FaultKind::Hang { .. }
            | FaultKind::LinkDown { .. }
            | FaultKind::Reject { .. }
    )
}
