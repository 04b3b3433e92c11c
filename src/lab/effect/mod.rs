//! Effects: how each is brought about in a lab, and undone. One file an effect.
//!
//! What an effect does to the network is undone when its `Guard` is dropped. What it does to all that runs in a lab is
//! undone by `Act::undo`.

mod answer;
mod carrier;
pub(in crate::lab) mod delay;
mod destroy;
mod drop;
mod forget;
mod hang;
mod kill;
mod lose_state;
mod path;
mod restore;
mod rules;
mod silence;
mod stop;

use std::rc::Rc;

use super::LabError;
use super::network::Network;
use super::run::Lab;
use crate::linux::LinuxError;
use crate::linux::nft::Table;
use crate::plan::{Effect, LabPlan};
use path::Way;
pub(in crate::lab) use rules::Change;

/// An effect on a lab.
///
/// The order is: [`Act::cut`] and [`Act::begin`], then [`Act::change`]; the fault is recorded; [`Act::follow`].
pub(in crate::lab) trait Act {
    /// Breaks something on the network. When it returns, it is broken: nothing here waits.
    fn cut(&self, _network: &Network, _plan: &LabPlan, _site: Site) -> Result<Guard, LabError> {
        Ok(Guard::default())
    }

    /// Changes what runs in the lab, before the fault is recorded.
    fn begin(&self, _lab: &Rc<Lab>) -> Result<(), LabError> {
        Ok(())
    }

    /// The change of a service's rules that it is. Whoever writes them takes time; the fault is in force when they are
    /// written.
    fn change(&self) -> Option<Change> {
        None
    }

    /// Ends what the effect ends, once the fault is recorded.
    fn follow(&self, _lab: &Rc<Lab>) {}

    /// Undoes what dropping the guard does not. The guard is dropped after this.
    fn undo(&self, _lab: &Rc<Lab>) -> Result<(), LabError> {
        Ok(())
    }

    /// Whether a server may not answer any more, so that nobody should be sent to it by a pin.
    fn silences(&self) -> bool;
}

/// What an effect is to a lab.
pub(in crate::lab) fn act(effect: &Effect) -> Box<dyn Act + '_> {
    match effect {
        Effect::Silence { node, neighbour } => Box::new(silence::Silence {
            node,
            neighbour: *neighbour,
        }),
        Effect::Stop { node } => Box::new(stop::Stop { node }),
        Effect::Restore { node } => Box::new(restore::Restore { node }),
        Effect::Kill { process } => Box::new(kill::Kill { process }),
        Effect::Hang { server } => Box::new(hang::Hang { server }),
        Effect::Carrier { behind } => Box::new(carrier::Carrier { behind }),
        Effect::Drop {
            path,
            packets,
            percent,
        } => Box::new(drop::Drop {
            path,
            packets: *packets,
            percent: *percent,
        }),
        Effect::Delay { path, .. } => Box::new(delay::Delay { path }),
        Effect::Answer { path, with } => Box::new(answer::Answer { path, with: *with }),
        Effect::Rules {
            service,
            server,
            out,
        } => Box::new(rules::Rules {
            service,
            server,
            out: *out,
        }),
        Effect::Forget { service, server } => Box::new(forget::Forget {
            service,
            server: server.as_deref(),
        }),
        Effect::LoseState { middlebox, idle_of } => Box::new(lose_state::LoseState {
            middlebox,
            by_itself: idle_of.is_some(),
        }),
        Effect::Destroy { client, server } => Box::new(destroy::Destroy {
            client,
            server: server.as_deref(),
        }),
    }
}

/// Which of a plan's effects: by its fault, and its place among the fault's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lab) struct Site {
    pub(in crate::lab) fault: usize,
    pub(in crate::lab) effect: usize,
}

impl Site {
    /// Name of the table with its rules. Several may be in force at one place: each has its own.
    fn table(self) -> String {
        format!("fault_{}_{}", self.fault, self.effect)
    }
}

/// What holds an effect on the network in force.
#[must_use = "an effect on the network ends when its guard is dropped"]
#[derive(Default)]
pub(in crate::lab) struct Guard {
    /// Rules on what passes between what is struck and the rest.
    outside: Option<Table>,
    /// Rules inside the namespace of what was cut off.
    inside: Option<Table>,
    /// Held for what its end does.
    _undo: Option<Undo>,
    /// How many connections or sockets it struck, if it is one that looks for them.
    found: Option<usize>,
}

impl Guard {
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

    fn found(number: usize) -> Self {
        Self {
            found: Some(number),
            ..Self::default()
        }
    }
}

/// What puts things back, once, when it is dropped.
struct Undo(Option<Box<dyn FnOnce()>>);

impl std::ops::Drop for Undo {
    fn drop(&mut self) {
        if let Some(undo) = self.0.take() {
            undo();
        }
    }
}

/// A fault in force: a guard for each of its effects, in their order, where it is not undone yet.
#[must_use = "a fault heals when it is dropped"]
pub struct InForce {
    pub(in crate::lab) guards: Vec<Option<Guard>>,
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

impl InForce {
    /// Packets that have vanished, or were answered or delayed, so far.
    ///
    /// # Errors
    /// If the kernel does not give its counters.
    pub fn vanished(&mut self) -> Result<Vanished, LabError> {
        fn count(table: &mut Option<Table>, way: Way) -> Result<u64, LinuxError> {
            match table {
                // A chain that is not there counts nothing.
                Some(table) => table.counted(way.chain()),
                None => Ok(0),
            }
        }
        let mut all = Vanished::default();
        for guard in self.guards.iter_mut().flatten() {
            all.from_node += count(&mut guard.outside, Way::Out)?;
            all.to_node += count(&mut guard.outside, Way::In)?;
            all.inside += count(&mut guard.inside, Way::In)?;
            all.inside += count(&mut guard.inside, Way::Out)?;
        }
        Ok(all)
    }

    /// Connections forgotten and sockets destroyed; `None` if the fault does neither.
    #[must_use]
    pub fn found(&self) -> Option<usize> {
        let guards = self.guards.iter().flatten();
        guards.filter_map(|guard| guard.found).reduce(|a, b| a + b)
    }
}

/// Breaks on the network what fault `number` of `plan` says. When this returns, it is broken: nothing here waits.
///
/// What becomes of tasks, processes and services' rules is the caller's. Effects on those alone do nothing here.
///
/// # Errors
/// [`LinuxError::Missing`] if this kernel can't do it, [`LinuxError::Kernel`] if it refuses.
pub fn inject(network: &Network, plan: &LabPlan, number: usize) -> Result<InForce, LabError> {
    let fault = plan.faults.get(number).ok_or_else(|| LabError::Unknown {
        what: format!("fault {number}"),
    })?;
    let mut guards = Vec::new();
    for (n, effect) in fault.effects.iter().enumerate() {
        let site = Site {
            fault: number,
            effect: n,
        };
        let guard = act(effect).cut(network, plan, site);
        guards.push(Some(guard.map_err(|error| error.of(&fault.location))?));
    }
    Ok(InForce { guards })
}
