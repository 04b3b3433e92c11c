//! One lab from its first namespace to its last event.

mod faults;
mod programs;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::effect::{self, InForce};
use super::gate::{Gate, behind};
use super::lateness::Lateness;
use super::neighbour_table::NeighbourTables;
use super::network::Network;
use super::probes::Probes;
use super::process::Align;
use super::program::{ProgramClient, ProgramServer};
use super::service::{Changed, Services};
use super::tw_recycle::TwRecycle;
use super::{LabError, latency, masquerade, middlebox};
use crate::client::{self, Surroundings};
use crate::contract::phase::PhaseBoard;
use crate::contract::tls::Authority;
use crate::linux::LinuxError;
use crate::linux::orphans;
use crate::plan::{self, LabPlan};
use crate::record::{Event, Observation, Recorder, Stage, monotonic};
use crate::server::{self, BoundServer, Commons};
use faults::gates;
use programs::programs;

/// Builds the lab that `plan` describes, plays it, and records what is seen. What goes wrong is recorded too.
///
/// The case begins at once, or when the kernel's clock is next where `align` says.
pub async fn run(plan: LabPlan, recorder: Recorder, align: Option<Align>) {
    let begun = monotonic();
    match Lab::build(plan, recorder.clone(), align.is_some()).await {
        Ok(lab) => {
            let built = monotonic();
            let lab = Rc::new(lab);
            lab.start_programs().await;
            if let Some(Align { period, later }) = align {
                sleep(until_multiple(monotonic(), period) + later).await;
            }
            lab.watch_machine();
            Rc::clone(&lab).play(begun + (monotonic() - built)).await;
            if align.is_none() {
                lab.clear().await;
            }
        }
        Err(error) => recorder.emit(error.into_observation()),
    }
}

/// From `now` until the next whole multiple of `period`.
fn until_multiple(now: Duration, period: Duration) -> Duration {
    let into = now.as_nanos() % period.as_nanos().max(1);
    period.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)))
}

/// A client's own addresses.
fn addresses(client: &plan::Client, plan: &LabPlan) -> Vec<IpAddr> {
    plan.addresses(&client.place)
        .map(Vec::from)
        .unwrap_or_default()
}

/// Something that runs in a lab.
pub(super) struct Inhabitant {
    /// What it is called in the scenario, and its node; `None` for what is the lab's own.
    pub(super) home: Option<(String, String)>,
    work: AbortHandle,
}

/// A built lab.
pub(super) struct Lab {
    pub(super) plan: LabPlan,
    pub(super) recorder: Recorder,
    pub(super) network: Network,
    pub(super) services: Services,
    pub(super) probes: Probes,
    commons: Rc<Commons>,
    stop: watch::Sender<bool>,
    /// What runs, where.
    pub(super) inhabitants: RefCell<Vec<Inhabitant>>,
    /// Each server's program, for it to hang.
    pub(super) gates: HashMap<String, Rc<Gate>>,
    programs: Vec<Rc<ProgramClient>>,
    program_servers: Vec<Rc<ProgramServer>>,
    /// The faults in force, by their index.
    in_force: RefCell<BTreeMap<usize, InForce>>,
    /// What takes the endpoints of a node without power out of the rules, or puts them back when it has it again, by node.
    pub(super) rule_changes: RefCell<HashMap<String, Vec<AbortHandle>>>,
    pins_released: Cell<bool>,
    broken: Notify,
    is_broken: Cell<bool>,
    /// What others do to the machine; a guest has it to itself, and time there waits for nobody.
    machine: Option<Machine>,
}

/// What of the machine a lab shares with others.
struct Machine {
    lateness: Lateness,
    neighbours: RefCell<NeighbourTables>,
}

impl Lab {
    async fn build(plan: LabPlan, recorder: Recorder, in_guest: bool) -> Result<Self, LabError> {
        let machine = match in_guest {
            true => None,
            false => Some(Machine {
                lateness: Lateness::default(),
                neighbours: RefCell::new(NeighbourTables::watch()?),
            }),
        };
        let mut network = Network::build(&plan)?;
        latency::add(&network, &plan, in_guest)?;
        effect::delay::prepare(&network, &plan, in_guest)?;
        for observation in network.take_observations() {
            recorder.emit(observation);
        }
        let services = Services::load(&network, &plan).await?;
        masquerade::load(&network, &plan)?;
        middlebox::load(&network, &plan)?;
        let emulations = TwRecycle::load(&network, &plan)?;
        let probes = Probes::open(&plan, &network, emulations, &recorder, in_guest)?;
        let authority = Authority::new().map_err(|e| LabError::Setup(e.to_string()))?;
        let phases = PhaseBoard::new(recorder.clone());
        let (programs, program_servers) =
            programs(&plan, &network, &authority, &recorder, &phases, in_guest)?;
        let commons = Commons::new(recorder.clone(), authority, phases);
        Ok(Self {
            recorder,
            network,
            services,
            probes,
            commons: Rc::new(commons),
            stop: watch::Sender::new(false),
            inhabitants: RefCell::default(),
            gates: gates(&plan),
            programs,
            program_servers,
            in_force: RefCell::default(),
            rule_changes: RefCell::default(),
            pins_released: Cell::new(false),
            broken: Notify::new(),
            is_broken: Cell::new(false),
            machine,
            plan,
        })
    }

    /// `begun` is when set-up began; waiting is not part of it.
    async fn play(self: Rc<Self>, begun: Duration) {
        let clients = match self.is_broken.get() {
            true => Vec::new(),
            false => self.start(begun).unwrap_or_else(|error| {
                self.break_by(error.into_observation());
                Vec::new()
            }),
        };
        let case = async {
            sleep(self.plan.duration).await;
            self.stop.send_replace(true);
            let all = futures_util::future::join_all(clients);
            let _ = timeout(self.plan.longest_end() + Duration::from_secs(1), all).await;
        };
        tokio::select! {
            () = case => {}
            () = self.broken.notified() => {}
        }
        for inhabitant in &*self.inhabitants.borrow() {
            inhabitant.work.abort();
        }
        if !self.is_broken.get() {
            self.look(&Stage::End);
        }
        if !self.is_broken.get() {
            self.tell_of_machine();
        }
        if !self.is_broken.get() {
            self.recorder.emit(Observation::CaseEnded {});
        }
    }

    /// Lets everything go, and with it its sockets. Nothing is observed any more.
    async fn clear(&self) {
        // What was aborted is dropped when its turn comes.
        tokio::task::yield_now().await;
        for namespace in self.network.namespaces() {
            // Where the kernel can't, the namespaces stay until it gives the sockets up.
            let _ = orphans::destroy(namespace);
        }
    }

    /// Binds the servers, starts the case's clock, and sets everything going. Returns the clients' tasks.
    fn start(self: &Rc<Self>, begun: Duration) -> Result<Vec<JoinHandle<()>>, LabError> {
        let mut servers = Vec::new();
        let built_in = self.plan.servers.iter().filter(|s| s.program.is_none());
        for server in built_in {
            servers.push((server, self.bind(server)?));
        }
        self.recorder.start_clock();
        let setup_us = u64::try_from((monotonic() - begun).as_micros()).unwrap_or(u64::MAX);
        self.recorder.emit(Observation::LabReady { setup_us });
        for (doing, work) in self.probes.watch() {
            let lab = Rc::clone(self);
            self.watch_over(doing, None, async move {
                if let Err(error) = work.await {
                    lab.break_by(
                        LabError::from(LinuxError::kernel(doing)(error)).into_observation(),
                    );
                }
            });
        }
        self.look(&Stage::Start);
        self.watch_rules();
        self.watch_phases();
        self.release_pins_when_connected();
        for (server, bound) in servers {
            self.start_server(server, bound);
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            self.arm(index, &fault.trigger);
        }
        self.watch_middleboxes();
        Ok(self
            .plan
            .clients
            .iter()
            .map(|client| self.start_client(client))
            .collect())
    }

    /// Starts a server that does not run.
    pub(super) fn start_again_one(self: &Rc<Self>, server: &plan::Server) -> Result<(), LabError> {
        match self.program_server(&server.name) {
            Some(program) => self.start_program(program),
            None => self.start_server(server, self.bind(server)?),
        }
        Ok(())
    }

    fn bind(&self, server: &plan::Server) -> Result<BoundServer, LabError> {
        let namespace = self.network.namespace(&server.place);
        server::bind(server, &namespace, &self.commons)
            .map_err(|e| LabError::Setup(format!("failed to bind server {}: {e}", server.name)))
    }

    fn start_server(self: &Rc<Self>, server: &plan::Server, bound: BoundServer) {
        let what = format!("server {}", server.name);
        let home = Some((server.name.as_str(), server.node.as_str()));
        match self.gates.get(&server.name) {
            Some(gate) => {
                gate.open();
                self.watch_over(&what, home, behind(Rc::clone(gate), bound.serve()));
            }
            None => {
                self.watch_over(&what, home, bound.serve());
            }
        }
    }

    /// Has the probes look that look at stages of the case.
    pub(super) fn look(&self, stage: &Stage) {
        if let Err(error) = self.probes.look(stage, &self.services) {
            self.break_by(error.into_observation());
        }
    }

    fn start_client(self: &Rc<Self>, client: &plan::Client) -> JoinHandle<()> {
        if let Some(program) = self
            .programs
            .iter()
            .find(|program| program.name() == client.name)
        {
            let (lab, work) = (
                Rc::clone(self),
                Rc::clone(program).run(self.stop.subscribe()),
            );
            return self.watch_over(
                &format!("program {}", client.name),
                Some((&client.name, &client.node)),
                async move {
                    if let Err(error) = work.await {
                        lab.break_by(error.into_observation());
                    }
                },
            );
        }
        let around = Surroundings {
            namespace: self.network.namespace(&client.place),
            recorder: self.recorder.clone(),
            trust: self.commons.authority.trust(),
            phases: Rc::clone(&self.commons.phases),
            stop: self.stop.subscribe(),
            drain: self.plan.drain,
            seed: self.plan.seed,
        };
        let work = client::run(client.clone(), around);
        let home = Some((client.name.as_str(), client.node.as_str()));
        self.watch_over(&format!("client {}", client.name), home, work)
    }

    /// Notices what programs change in the rules of services.
    fn watch_rules(self: &Rc<Self>) {
        let lab = Rc::clone(self);
        self.watch_over("the watch over rules", None, async move {
            let watched = lab.services.watch(|changed| lab.tell_change(changed)).await;
            if let Err(error) = watched {
                lab.break_by(LabError::from(error).into_observation());
            }
        });
    }

    fn tell_change(&self, changed: Changed) {
        let Changed {
            node,
            service,
            endpoint,
            out,
        } = changed;
        let node = Some(node);
        if !out {
            self.recorder.emit(Observation::EndpointAdded {
                service,
                endpoint,
                node,
            });
            return;
        }
        self.recorder.emit(Observation::EndpointRemoved {
            service,
            endpoint: endpoint.clone(),
            node,
        });
        self.look(&Stage::EndpointRemoved(endpoint));
    }

    /// Notices a client that is already in a phase when the time for it comes.
    fn watch_phases(self: &Rc<Self>) {
        let phases = Rc::clone(&self.commons.phases);
        self.watch_over("the phase board", None, async move {
            match phases.watch().await {}
        });
    }

    /// Ends the case when this machine is too busy for it: what it would measure is the machine.
    fn watch_machine(self: &Rc<Self>) {
        if self.machine.is_none() {
            return;
        }
        let lab = Rc::clone(self);
        // Not when its turn comes for the first time: that may be late already.
        let started = Instant::now();
        self.watch_over("the watch over the machine", None, async move {
            let Some(machine) = &lab.machine else { return };
            let waited = machine.lateness.too_long(started).await;
            lab.tell_lateness(waited);
            lab.break_with(format!(
                "this machine is overloaded: the lab waited {:.1} s for its turn on the processor. Run fewer cases at once (--jobs), or on the virtual clock",
                waited.as_secs_f64()
            ));
        });
    }

    /// What the machine did to the lab while the case lasted.
    fn tell_of_machine(&self) {
        let Some(machine) = &self.machine else { return };
        let overflowed = machine.neighbours.borrow_mut().overflowed();
        match overflowed {
            Ok(None) => {}
            Ok(Some(text)) => return self.break_with(text),
            Err(error) => {
                let text = format!("failed to look at the machine's neighbour tables: {error}");
                return self.break_with(text);
            }
        }
        if let Some(longest) = machine.lateness.told() {
            self.tell_lateness(longest);
        }
    }

    fn tell_lateness(&self, longest: Duration) {
        let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        self.recorder.emit(Observation::Lateness { longest_us });
    }

    /// Runs `work`; a panic in it breaks the rig. It ends with what it is (its name and node), if it is of the scenario.
    pub(super) fn watch_over(
        self: &Rc<Self>,
        what: &str,
        home: Option<(&str, &str)>,
        work: impl Future<Output = ()> + 'static,
    ) -> JoinHandle<()> {
        let task = spawn_local(work);
        self.inhabitants.borrow_mut().push(Inhabitant {
            home: home.map(|(name, node)| (name.to_owned(), node.to_owned())),
            work: task.abort_handle(),
        });
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
        })
    }

    /// The rig is broken: what was observed so far stays, but the case has no verdict.
    fn break_with(&self, text: String) {
        self.break_by(Observation::RigError {
            text,
            location: None,
        });
    }

    pub(super) fn break_by(&self, observation: Observation) {
        self.is_broken.set(true);
        self.recorder.emit(observation);
        self.broken.notify_one();
    }

    /// Frees the first connections' pin once every client of a pinned service that starts before the first fault has had
    /// a response. (At the fault it is freed in any case.)
    fn release_pins_when_connected(self: &Rc<Self>) {
        let faults = self.plan.faults.iter();
        let first_fault = faults.map(|fault| fault.trigger.not_before());
        let first_fault = first_fault.min().unwrap_or(Duration::MAX);
        let early = self.clients_of_pinned().filter(|c| c.start < first_fault);
        // Each workload of a client may open a connection of its own.
        let waiting: HashSet<_> = early
            .flat_map(|c| c.workloads.request_names(&c.name))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let (lab, waiting) = (Rc::downgrade(self), RefCell::new(waiting));
        self.recorder.listen(move |event: &Event| {
            let served = if let Observation::Response { request, .. }
            | Observation::ResponseBegan { request, .. } = &event.what
            {
                (request.client.clone(), request.workload.clone())
            } else if let Observation::ServerResponse { peer, .. } = &event.what
                && let Some(program) = lab.upgrade().and_then(|lab| lab.program_at(peer.ip()))
            {
                // A program does not say when it has one.
                (program, None)
            } else {
                return;
            };
            let last = waiting.borrow_mut().remove(&served) && waiting.borrow().is_empty();
            if let (true, Some(lab)) = (last, lab.upgrade()) {
                lab.release_pins();
            }
        });
    }

    /// Lets the dice decide on connections from now on.
    fn release_pins(self: &Rc<Self>) {
        if self.pins_released.replace(true) {
            return;
        }
        let lab = Rc::clone(self);
        spawn_local(async move {
            if let Err(error) = lab.services.unpin().await {
                lab.break_by(LabError::from(error).into_observation());
            }
        });
    }

    /// The program with this address, by its client's name.
    fn program_at(&self, address: IpAddr) -> Option<String> {
        let own = |client: &&plan::Client| {
            client.program().is_some() && addresses(client, &self.plan).contains(&address)
        };
        self.plan
            .clients
            .iter()
            .find(own)
            .map(|client| client.name.clone())
    }

    fn clients_of_pinned(&self) -> impl Iterator<Item = &plan::Client> {
        let is_pinned = |name: &String| {
            self.plan
                .services
                .iter()
                .any(|s| s.name == *name && s.pin_first.is_some())
        };
        self.plan
            .clients
            .iter()
            .filter(move |c| c.target.service.as_ref().is_some_and(is_pinned))
    }
}
