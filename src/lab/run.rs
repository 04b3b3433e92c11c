//! One lab from its first namespace to its last event.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::fault::Cut;
use super::network::Network;
use super::service::Rules;
use super::{LabError, sysctl};
use crate::client::{self, PhaseBoard, Stop};
use crate::plan::{self, FaultKind, LabPlan, Place, Trigger};
use crate::probe::packets;
use crate::record::{Event, Observation, Recorder, monotonic};
use crate::server::{self, Identity, Store};

/// Builds the lab that `plan` describes, plays it, and records what is seen. What goes wrong is recorded too.
pub async fn run(plan: LabPlan, recorder: Recorder) {
    let begun = monotonic();
    match Lab::build(plan, recorder.clone()).await {
        Ok(lab) => Rc::new(lab).play(begun).await,
        Err(error) => recorder.emit(error.into_observation()),
    }
}

/// A built lab.
struct Lab {
    plan: LabPlan,
    recorder: Recorder,
    network: Network,
    services: Vec<Rc<Rules>>,
    phases: Rc<PhaseBoard>,
    identity: Identity,
    stop: Stop,
    /// What runs on each node, its pods' included.
    inhabitants: RefCell<HashMap<String, Vec<AbortHandle>>>,
    dead: RefCell<HashSet<String>>,
    cuts: RefCell<Vec<Cut>>,
    broken: Notify,
    is_broken: Cell<bool>,
}

impl Lab {
    async fn build(plan: LabPlan, recorder: Recorder) -> Result<Self, LabError> {
        let network = Network::build(&plan).await?;
        for observation in sysctl::apply(&network, &plan)? {
            recorder.emit(observation);
        }
        let mut services = Vec::new();
        for service in &plan.services {
            services.push(Rc::new(Rules::load(&network, &plan, service).await?));
        }
        let identity = Identity::new(&plan).map_err(|e| LabError::rig("make certificates", e))?;
        Ok(Self {
            recorder,
            network,
            services,
            phases: Rc::new(PhaseBoard::new()),
            identity,
            stop: Stop::new(),
            inhabitants: RefCell::default(),
            dead: RefCell::default(),
            cuts: RefCell::default(),
            broken: Notify::new(),
            is_broken: Cell::new(false),
            plan,
        })
    }

    async fn play(self: Rc<Self>, begun: Duration) {
        if let Err(error) = self.start(begun) {
            self.recorder.emit(error.into_observation());
            return;
        }
        let case = async {
            sleep(self.plan.duration).await;
            self.stop.stop();
            self.stop.drained(self.plan.drain).await;
        };
        tokio::select! {
            () = case => {}
            () = self.broken.notified() => {}
        }
        for handles in self.inhabitants.borrow().values() {
            handles.iter().for_each(AbortHandle::abort);
        }
        if !self.is_broken.get() {
            self.recorder.emit(Observation::CaseEnded {});
        }
    }

    /// Binds the servers, starts the case's clock, and sets everything going.
    fn start(self: &Rc<Self>, begun: Duration) -> Result<(), LabError> {
        let mut stores: HashMap<String, Store> = HashMap::new();
        let mut bound = Vec::new();
        for server in &self.plan.servers {
            let store = stores.entry(server.store.clone()).or_insert_with(|| {
                Store::new(&server.store, self.recorder.clone())
            });
            let namespace = self.network.namespace(&server.place);
            let server_bound = server::bind(server, &namespace, &self.recorder, &self.identity, store, &self.phases)
                .map_err(|e| LabError::rig(&format!("bind server {}", server.name), e))?;
            bound.push((server, server_bound));
        }
        self.recorder.start_clock();
        let began = Instant::now();
        for handle in packets::watch(&self.network, &self.plan, &self.recorder)? {
            self.watch_over("the packet probe", None, handle);
        }
        let setup_us = u64::try_from((monotonic() - begun).as_micros()).unwrap_or(u64::MAX);
        self.recorder.emit(Observation::LabReady { setup_us });
        self.release_pins_when_connected();
        for (server, bound) in bound {
            self.watch_over(&format!("server {}", server.name), Some(&server.node), bound.serve());
        }
        for client in self.plan.clients.clone() {
            self.start_client(client, began);
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            self.arm(index, &fault.trigger, began);
        }
        Ok(())
    }

    fn start_client(self: &Rc<Self>, client: plan::Client, began: Instant) {
        let namespace = self.network.namespace(&client.place);
        let (name, node) = (format!("client {}", client.name), client.node.clone());
        let lab = Rc::clone(self);
        self.watch_over(&name, Some(&node), async move {
            sleep_until(began + client.start).await;
            let context = client::Context {
                namespace,
                recorder: lab.recorder.clone(),
                trust: lab.identity.client_trust(),
                phases: Rc::clone(&lab.phases),
                stop: lab.stop.clone(),
                seed: lab.plan.seed,
            };
            client::run(client, context).await;
        });
    }

    /// Runs `work`; a panic in it breaks the rig, and it ends with its node.
    fn watch_over(
        self: &Rc<Self>,
        what: &str,
        node: Option<&str>,
        work: impl Future<Output = ()> + 'static,
    ) {
        let task = spawn_local(work);
        let abort = task.abort_handle();
        self.inhabitants.borrow_mut().entry(node.unwrap_or_default().to_owned()).or_default().push(abort);
        let (lab, what) = (Rc::clone(self), what.to_owned());
        spawn_local(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                let panic = error.into_panic();
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no message");
                lab.break_with(format!("{what} panicked: {text}"));
            }
        });
    }

    /// The rig is broken: what was observed so far stays, but the case has no verdict.
    fn break_with(&self, text: String) {
        self.is_broken.set(true);
        self.recorder.emit(Observation::RigError { text, location: None });
        self.broken.notify_one();
    }

    /// Frees a service's first endpoint from its pin once every client of it has had a response.
    fn release_pins_when_connected(self: &Rc<Self>) {
        for rules in self.services.iter().filter(|r| r.is_pinned()) {
            let clients = self.plan.clients.iter();
            let waited_for = clients.filter(|c| c.target.service.as_deref() == Some(rules.service()));
            let waiting: RefCell<HashSet<String>> = RefCell::new(waited_for.map(|c| c.name.clone()).collect());
            let (lab, rules) = (Rc::downgrade(self), Rc::clone(rules));
            self.recorder.listen(move |event: &Event| {
                let Observation::Response { request, .. } = &event.what else { return };
                let last = waiting.borrow_mut().remove(&request.client) && waiting.borrow().is_empty();
                if let (true, Some(lab)) = (last, lab.upgrade()) {
                    let rules = Rc::clone(&rules);
                    spawn_local(async move {
                        if let Err(error) = rules.unpin(&lab.network).await {
                            lab.recorder.emit(error.into_observation());
                            lab.is_broken.set(true);
                            lab.broken.notify_one();
                        }
                    });
                }
            });
        }
    }

    fn arm(self: &Rc<Self>, index: usize, trigger: &Trigger, began: Instant) {
        let lab = Rc::clone(self);
        match trigger {
            Trigger::At(at) => {
                let at = began + *at;
                spawn_local(async move {
                    sleep_until(at).await;
                    lab.inject(index);
                });
            }
            Trigger::Phase { client, phase, after } => {
                let after = began + *after;
                self.phases.on(client, *phase, after, Box::new(move || lab.inject(index)));
            }
        }
    }

    /// Lets a fault happen, now: nothing else in the lab runs until it is done.
    fn inject(self: &Rc<Self>, index: usize) {
        let phases = self.phases.phases();
        match &self.plan.faults[index].kind {
            FaultKind::PowerLoss { node, neighbour } => {
                match Cut::power(&self.network, &self.plan, node, *neighbour) {
                    Ok(cut) => self.cuts.borrow_mut().push(cut),
                    Err(error) => return self.break_with(format!("failed to cut {node}'s power: {error}")),
                }
                self.recorder.emit(Observation::FaultInjected { fault: index, phases });
                self.end_node(node);
            }
        }
    }

    /// Everything on `node` is gone; its endpoints leave the rules when the cluster notices.
    fn end_node(self: &Rc<Self>, node: &str) {
        self.dead.borrow_mut().insert(node.to_owned());
        for handle in self.inhabitants.borrow_mut().remove(node).unwrap_or_default() {
            handle.abort();
        }
        for client in self.plan.clients.iter().filter(|c| c.node == node) {
            self.stop.forget(&client.name);
            self.recorder.emit(Observation::ClientGone { client: client.name.clone() });
        }
        for rules in &self.services {
            let endpoints: Vec<String> = rules.endpoints_on(&self.plan, node);
            if rules.is_pinned() {
                let text = format!(
                    "the power of {node} was cut before every client of {} had its first response: its rules are \
                     still pinned to {}",
                    rules.service(),
                    rules.pinned().unwrap_or_default(),
                );
                self.recorder.emit(Observation::Warning { text });
            }
            let Some(removal) = rules.removal().filter(|_| !endpoints.is_empty()) else { continue };
            let (lab, rules) = (Rc::clone(self), Rc::clone(rules));
            spawn_local(async move {
                sleep(removal).await;
                match rules.remove(&lab.network, &endpoints).await {
                    Ok(()) => {
                        for endpoint in endpoints {
                            let service = rules.service().to_owned();
                            lab.recorder.emit(Observation::EndpointRemoved { service, endpoint });
                        }
                    }
                    Err(error) => lab.break_with(error.to_string()),
                }
            });
        }
    }
}

/// The place's name, for messages.
#[must_use]
pub fn place_name(place: &Place) -> &str {
    match place {
        Place::Node(name) | Place::Pod(name) => name,
    }
}
