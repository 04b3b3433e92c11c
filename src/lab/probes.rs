//! The probes of a lab: opened when its network stands, run beside its clients and servers.

use std::io;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::LabError;
use super::network::Network;
use super::service::Services;
use super::tw_recycle::TwRecycle;
use crate::linux::LinuxError;
use crate::plan::{LabPlan, Node, Place};
use crate::probe::counters::CounterProbe;
use crate::probe::packets::PacketProbe;
use crate::probe::sockets::SocketProbe;
use crate::record::{Observation, Recorder, Stage};

/// A lab's probes.
pub(super) struct Probes {
    recorder: Recorder,
    packets: Vec<Rc<PacketProbe>>,
    sockets: Option<Rc<SocketProbe>>,
    counters: Option<CounterProbe>,
    /// Emulations that count, and have to be at work as long as the case lasts.
    emulations: Vec<Rc<TwRecycle>>,
    rules: bool,
    /// A program may be run at the case's end, when nobody waits any more.
    programs: bool,
}

/// A probe's work until reading fails, and what it does in words for error messages.
pub(super) type Watching = (&'static str, LocalBoxFuture<'static, io::Result<()>>);

impl Probes {
    /// Opens the probes that `plan` asks for. They see what happens from now on.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this kernel lacks what one needs, [`LinuxError::Kernel`] if it refuses it.
    pub(super) fn open(
        plan: &LabPlan,
        network: &Network,
        emulations: Vec<TwRecycle>,
        recorder: &Recorder,
        in_guest: bool,
    ) -> Result<Self, LabError> {
        let packets = packets(plan, network, recorder)?;
        let namespace = |place: &Place| network.namespace(place);
        let sockets = match plan.probes.sockets {
            true => SocketProbe::open(plan, namespace, recorder)?,
            false => None,
        };
        let counters = match plan.probes.counters {
            true => Some(CounterProbe::open(plan, namespace)?),
            false => None,
        };
        if let Some(sockets) = &sockets {
            for probe in &packets {
                let sockets = Rc::clone(sockets);
                probe.listen(move |segment, at, telling| {
                    sockets.heard_segment(segment, at, telling);
                });
            }
        }
        Ok(Self {
            recorder: recorder.clone(),
            packets,
            sockets,
            counters,
            emulations: emulations.into_iter().map(Rc::new).collect(),
            rules: plan.probes.rules,
            programs: !in_guest,
        })
    }

    /// The work of each probe that waits for something to read. To be polled from the case's start until its end.
    pub(super) fn watch(&self) -> Vec<Watching> {
        let packets = self.packets.iter().map(|probe| {
            let (probe, recorder) = (Rc::clone(probe), self.recorder.clone());
            let work = async move { probe.run(&recorder).await }.boxed_local();
            ("reading packets", work)
        });
        let sockets = self.sockets.iter().map(|probe| {
            let probe = Rc::clone(probe);
            let work = async move { probe.run().await }.boxed_local();
            ("looking at sockets", work)
        });
        let emulations = self.emulations.iter().map(|emulation| {
            let emulation = Rc::clone(emulation);
            let work = async move { emulation.run().await }.boxed_local();
            ("judging SYNs", work)
        });
        packets.chain(sockets).chain(emulations).collect()
    }

    /// A stage of the case is reached: records what is looked at only then, and whatever is not in the record yet.
    ///
    /// # Errors
    /// [`LinuxError::Kernel`] if the kernel does not say it.
    pub(super) fn look(&self, stage: &Stage, services: &Services) -> Result<(), LabError> {
        for probe in &self.packets {
            let drained = probe.drain(&self.recorder);
            drained.map_err(LinuxError::kernel("reading packets"))?;
        }
        if let Some(sockets) = &self.sockets {
            let looked = sockets.look();
            looked.map_err(LinuxError::kernel("looking at sockets"))?;
            if let Stage::Fault(_) = stage {
                sockets.doubt();
            }
        }
        let counted = matches!(stage, Stage::Start | Stage::Fault(_) | Stage::End);
        if let Some(counters) = self.counters.as_ref().filter(|_| counted) {
            let looked = counters.look(stage, &self.recorder);
            looked.map_err(LinuxError::kernel("reading counters"))?;
            for emulation in &self.emulations {
                emulation.look(stage, &self.recorder);
            }
        }
        if self.rules {
            for read in services.read(self.programs && *stage == Stage::End)? {
                self.recorder.emit(Observation::Rules {
                    node: read.node,
                    stage: stage.clone(),
                    rules: read.rules,
                    flows: read.flows,
                });
            }
        }
        Ok(())
    }

    /// `node` has its power back: what is there is seen again.
    pub(super) fn node_is_back(&self, node: &str) {
        if let Some(sockets) = &self.sockets {
            sockets.node_is_back(node);
        }
        if let Some(counters) = &self.counters {
            counters.node_is_back(node);
        }
        for emulation in &self.emulations {
            emulation.node_is_back(node);
        }
    }

    /// `node` has lost its power: of what was there nothing more is seen.
    pub(super) fn end_node(&self, node: &str) {
        if let Some(sockets) = &self.sockets {
            sockets.end_node(node);
        }
        if let Some(counters) = &self.counters {
            counters.end_node(node);
        }
        for emulation in &self.emulations {
            emulation.end_node(node);
        }
    }
}

/// A probe on the uplink of every node that has clients, on the link of every client's pod and of every server of whose
/// connections something is expected, on `lo` of every node that clients share, and on every link whose packets are kept.
fn packets(
    plan: &LabPlan,
    network: &Network,
    recorder: &Recorder,
) -> Result<Vec<Rc<PacketProbe>>, LabError> {
    let has_client = |name: &str| plan.clients.iter().any(|c| c.node == name);
    let nodes = plan.nodes.iter().map(|node| node.name.as_str());
    let pods = plan.pods.iter().map(|pod| pod.name.as_str());
    let pods = pods.filter(|name| plan.clients.iter().any(|c| c.place.name() == *name));
    let mut told: Vec<&str> = nodes.filter(|name| has_client(name)).chain(pods).collect();
    for server in &plan.probes.servers {
        let link = plan.server(server).map(|server| server.place.name());
        told.extend(link.filter(|link| !told.contains(link)));
    }
    let kept = plan.probes.packets.iter().map(String::as_str);
    let only_kept = kept.filter(|name| !told.contains(name));
    let mut probes = Vec::new();
    for name in told.iter().copied().chain(only_kept) {
        let place = match plan.node(name) {
            Some(_) => Place::Node(name.to_owned()),
            None => Place::Pod(name.to_owned()),
        };
        let namespace = network.namespace(&place);
        let probe = if plan.probes.packets.iter().any(|kept| kept == name) {
            let limit = plan.probes.packet_limit;
            PacketProbe::keep(name, &namespace, told.contains(&name), limit, recorder)?
        } else {
            PacketProbe::open(name, &namespace)?
        };
        probes.push(Rc::new(probe));
    }
    let on_itself = |node: &&Node| {
        let place = Place::Node(node.name.clone());
        plan.clients.iter().any(|client| client.place == place)
    };
    for node in plan.nodes.iter().filter(on_itself) {
        let namespace = network.namespace(&Place::Node(node.name.clone()));
        let probe = PacketProbe::open_own_errors(&node.name, &namespace)?;
        probes.push(Rc::new(probe));
    }
    Ok(probes)
}
