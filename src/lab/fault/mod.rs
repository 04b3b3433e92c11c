//! Faults: what breaks, where on the path, in which direction. One file a kind; each returns a [`Cut`].

pub(in crate::lab) mod delay;
mod forgotten;
mod link_down;
mod loss;
mod path;
mod power_loss;
mod reject;
mod syn_drop;

use super::LabError;
use super::network::Network;
use super::nft::Table;
use crate::plan::{FaultKind, LabPlan};
use path::Way;

/// A fault in force. Dropping it heals what it broke.
#[must_use = "a cut heals when it is dropped"]
#[derive(Default)]
pub struct Cut {
    /// Rules on what passes between what is struck and the rest.
    outside: Option<Table>,
    /// Rules inside the namespace of what was cut off.
    inside: Option<Table>,
    /// Held for what its end does.
    _undo: Option<Undo>,
    done: usize,
}

/// Packets that a fault has struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vanished {
    /// On their way from what is named (first).
    pub from_node: u64,
    /// On their way to it.
    pub to_node: u64,
    /// Between a node without power, its pods, and its own processes.
    pub inside: u64,
}

impl Cut {
    fn outside(table: Table) -> Self {
        Self {
            outside: Some(table),
            ..Self::default()
        }
    }

    fn undone_by(undo: impl FnOnce() + 'static) -> Self {
        Self {
            _undo: Some(Undo(Some(Box::new(undo)))),
            ..Self::default()
        }
    }

    fn done(done: usize) -> Self {
        Self {
            done,
            ..Self::default()
        }
    }

    /// Packets that have vanished, or were answered or delayed, so far.
    ///
    /// # Errors
    /// If the kernel does not give its counters.
    pub fn vanished(&mut self) -> Result<Vanished, LabError> {
        fn count(table: &mut Option<Table>, way: Way) -> Result<u64, LabError> {
            match table {
                // A chain that is not there counts nothing.
                Some(table) => table.counted(way.chain()),
                None => Ok(0),
            }
        }
        Ok(Vanished {
            from_node: count(&mut self.outside, Way::Out)?,
            to_node: count(&mut self.outside, Way::In)?,
            inside: count(&mut self.inside, Way::In)? + count(&mut self.inside, Way::Out)?,
        })
    }

    /// Connections forgotten or sockets destroyed, by a fault that does that.
    #[must_use]
    pub fn forgotten(&self) -> usize {
        self.done
    }
}

/// What puts things back, once, when it is dropped.
struct Undo(Option<Box<dyn FnOnce()>>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(undo) = self.0.take() {
            undo();
        }
    }
}

/// Breaks on the network what fault `number` of `plan` says. When this returns, it is broken: nothing here waits.
///
/// What becomes of tasks, processes and services' rules is the caller's; of a fault that strikes only those nothing is
/// broken here.
///
/// # Errors
/// [`LabError::Missing`] if this kernel can't do it, [`LabError::Kernel`] if it refuses.
pub fn inject(network: &Network, plan: &LabPlan, number: usize) -> Result<Cut, LabError> {
    let fault = plan.faults.get(number).ok_or_else(|| LabError::Unknown {
        what: format!("fault {number}"),
    })?;
    // Several faults may be in force at one place: each has a table of its own.
    let table = format!("fault_{number}");
    let cut = match &fault.kind {
        FaultKind::PowerLoss { node, neighbour } => {
            power_loss::inject(network, &table, node, *neighbour)
        }
        FaultKind::LinkDown { behind } => link_down::inject(network, behind),
        FaultKind::Loss { path, percent } => loss::inject(network, &table, path, *percent),
        FaultKind::Delay { path, .. } => delay::inject(network, plan, number, &table, path),
        FaultKind::Reject { path, with } => reject::inject(network, &table, path, *with),
        FaultKind::SynDrop { path } => syn_drop::inject(network, &table, path),
        FaultKind::ConntrackDeleted { service, server } => {
            forgotten::conntrack(network, plan, service, server.as_deref())
        }
        FaultKind::SocketDestroyed { client, server } => {
            forgotten::sockets(network, plan, client, server.as_deref())
        }
        FaultKind::PowerRestore { .. }
        | FaultKind::ProcessKill { .. }
        | FaultKind::Hang { .. }
        | FaultKind::EndpointRemoved { .. }
        | FaultKind::EndpointAdded { .. } => Ok(Cut::default()),
    };
    cut.map_err(|error| match error {
        LabError::Missing {
            what,
            location: None,
        } => LabError::Missing {
            what,
            location: Some(fault.location.clone()),
        },
        other => other,
    })
}
