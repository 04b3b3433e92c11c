//! The probes of a lab: opened when its network stands, run beside its clients and servers.

use std::io;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::LabError;
use super::network::Network;
use crate::plan::{LabPlan, Node, Place};
use crate::probe::packets::PacketProbe;
use crate::record::{Recorder, Stage};

/// A lab's probes.
pub(super) struct Probes {
    packets: Vec<Rc<PacketProbe>>,
}

/// A probe's work until reading fails, and what it does in words for error messages.
pub(super) type Watching = (&'static str, LocalBoxFuture<'static, io::Result<()>>);

impl Probes {
    /// Opens the probes that `plan` asks for. They see what happens from now on.
    ///
    /// # Errors
    /// [`LabError::Missing`] if this kernel lacks what one needs, [`LabError::Kernel`] if it refuses it.
    pub(super) fn open(plan: &LabPlan, network: &Network) -> Result<Self, LabError> {
        Ok(Self {
            packets: packets(plan, network)?,
        })
    }

    /// The work of each probe that waits for something to read. To be polled from the case's start until its end.
    pub(super) fn watch(&self, recorder: &Recorder) -> Vec<Watching> {
        let packets = self.packets.iter().map(|probe| {
            let (probe, recorder) = (Rc::clone(probe), recorder.clone());
            let work = async move { probe.run(&recorder).await }.boxed_local();
            ("reading packets", work)
        });
        packets.collect()
    }

    /// A stage of the case is reached: records what is looked at only then.
    ///
    /// # Errors
    /// [`LabError::Kernel`] if the kernel does not say it.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "no probe looks at stages yet"
    )]
    pub(super) fn look(&self, _stage: &Stage, _recorder: &Recorder) -> Result<(), LabError> {
        Ok(())
    }
}

/// A probe on the uplink of every node that has clients.
fn packets(plan: &LabPlan, network: &Network) -> Result<Vec<Rc<PacketProbe>>, LabError> {
    let has_client = |node: &&Node| plan.clients.iter().any(|c| c.node == node.name);
    let nodes = plan.nodes.iter().filter(has_client);
    nodes
        .map(|node| {
            let namespace = network.namespace(&Place::Node(node.name.clone()));
            PacketProbe::open(&node.name, &namespace).map(Rc::new)
        })
        .collect()
}
