//! Faults: what breaks, where on the path, in which direction. One file a kind; each returns a [`Cut`].

mod power_loss;

use super::LabError;
use super::network::Network;
use super::nft::{Direction, Table};
use crate::plan::FaultKind;

/// A fault in force. Dropping it heals what it broke.
#[must_use = "a cut heals when it is dropped"]
pub struct Cut {
    fabric: Table,
    /// Rules inside the namespace of what was cut off.
    inside: Option<Table>,
}

/// Packets that vanished in a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vanished {
    /// On their way from the cut-off node to the fabric.
    pub from_node: u64,
    /// On their way from the fabric to the cut-off node.
    pub to_node: u64,
    /// Between the node, its pods, and its own processes.
    pub inside: u64,
}

impl Cut {
    /// Packets that have vanished so far.
    ///
    /// # Errors
    /// If the kernel does not give its counters.
    pub fn vanished(&mut self) -> Result<Vanished, LabError> {
        let mut inside = 0;
        if let Some(table) = &mut self.inside {
            inside = table.dropped(Direction::Ingress)? + table.dropped(Direction::Egress)?;
        }
        Ok(Vanished {
            from_node: self.fabric.dropped(Direction::Ingress)?,
            to_node: self.fabric.dropped(Direction::Egress)?,
            inside,
        })
    }
}

/// Breaks what `kind` says. When this returns, it is broken: nothing here waits.
///
/// Tasks and processes on a node that loses power are the caller's to end, after this.
///
/// # Errors
/// [`LabError::Missing`] if this kernel can't do it, [`LabError::Kernel`] if it refuses.
pub fn inject(network: &Network, kind: &FaultKind) -> Result<Cut, LabError> {
    match kind {
        FaultKind::PowerLoss { node, neighbour } => power_loss::inject(network, node, *neighbour),
    }
}
