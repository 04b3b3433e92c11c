//! Faults of a running lab: when they come into force, what becomes of what runs, and how they heal.

use std::collections::HashMap;
use std::rc::Rc;

use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Lab;
use crate::lab::LabError;
use crate::lab::effect::{self, Guard, InForce};
use crate::lab::gate::Gate;
use crate::plan::{Effect, Fault, LabPlan, Phase, Trigger};
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
            // Who watches the middlebox lets it happen.
            Trigger::Forgotten { .. } => {}
        }
    }

    /// Whether a fault that never heals has happened.
    pub(in crate::lab) fn has_happened(&self, index: usize) -> bool {
        self.in_force.borrow().contains_key(&index)
    }

    /// Lets a fault happen, now: nothing else in the lab runs until it is done. (Only rules of services take their
    /// writer's time, and the fault is in force when they are written.)
    pub(in crate::lab) fn inject(self: &Rc<Self>, index: usize) {
        let phases = self.commons.phases.phases();
        let fault = &self.plan.faults[index];
        if let Err(error) = self.begin(index) {
            return self.break_by(error.of(&fault.location).into_observation());
        }
        let changes = fault.effects.iter().filter_map(|e| effect::act(e).change());
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            return self.in_force(index, phases);
        }
        let lab = Rc::clone(self);
        spawn_local(async move {
            for change in changes {
                if let Err(error) = lab.change_rules(&change).await {
                    return lab.break_by(error.into_observation());
                }
            }
            lab.in_force(index, phases);
        });
    }

    /// Brings a fault's effects about, but for those that take time.
    fn begin(self: &Rc<Self>, index: usize) -> Result<(), LabError> {
        let in_force = effect::inject(&self.network, &self.plan, index)?;
        self.in_force.borrow_mut().insert(index, in_force);
        for effect in &self.plan.faults[index].effects {
            effect::act(effect).begin(self)?;
        }
        Ok(())
    }

    /// A fault is in force: it is recorded, and ends what it ends.
    fn in_force(self: &Rc<Self>, index: usize, phases: Vec<(String, Phase)>) {
        let fault = &self.plan.faults[index];
        self.recorder.emit(Observation::FaultInjected {
            fault: index,
            phases,
        });
        self.look(&Stage::Fault(index));
        let acts: Vec<_> = fault.effects.iter().map(effect::act).collect();
        for act in &acts {
            act.follow(self);
        }
        self.warn_of_nothing(index);
        if acts.iter().any(|act| act.silences()) {
            self.release_late_pins(fault);
        }
        // What rules from now on, and by the time it has, the socket is gone.
        for program in &self.programs {
            program.note_options();
        }
        for server in &self.plan.probes.servers {
            if let Some(program) = self.program_server(server) {
                program.note_options();
            }
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
        let in_force = self.in_force.borrow_mut().remove(&index);
        // It may be undone already: a node has its power back.
        let Some(in_force) = in_force else { return };
        match self.undo(index, in_force).await {
            Ok(()) => self
                .recorder
                .emit(Observation::FaultHealed { fault: index }),
            Err(error) => self.break_by(error.into_observation()),
        }
    }

    /// Undoes the effects of a fault, the last one first.
    async fn undo(self: &Rc<Self>, index: usize, in_force: InForce) -> Result<(), LabError> {
        let effects = self.plan.faults[index].effects.iter();
        for (effect, guard) in effects.zip(in_force.guards).rev() {
            let Some(guard) = guard else { continue };
            let act = effect::act(effect);
            act.undo(self)?;
            if let Some(change) = act.change() {
                self.change_rules(&change.back()).await?;
            }
            drop(guard);
        }
        Ok(())
    }

    /// Takes effects out of what is in force, for another effect to undo.
    pub(in crate::lab) fn take(&self, chosen: impl Fn(&Effect) -> bool) -> Vec<(Effect, Guard)> {
        let mut taken = Vec::new();
        let mut all = self.in_force.borrow_mut();
        for (index, in_force) in all.iter_mut() {
            let effects = &self.plan.faults[*index].effects;
            for (effect, guard) in effects.iter().zip(&mut in_force.guards) {
                if chosen(effect) {
                    taken.extend(guard.take().map(|guard| (effect.clone(), guard)));
                }
            }
        }
        all.retain(|_, in_force| in_force.guards.iter().any(Option::is_some));
        taken
    }

    /// Whether one of the chosen effects is in force.
    pub(in crate::lab) fn is_in_force(&self, chosen: impl Fn(&Effect) -> bool) -> bool {
        self.in_force.borrow().iter().any(|(index, in_force)| {
            let effects = self.plan.faults[*index].effects.iter();
            let mut guards = effects.zip(&in_force.guards);
            guards.any(|(effect, guard)| guard.is_some() && chosen(effect))
        })
    }

    /// Ends at once what runs under a name on a node, of those that are chosen, with its sockets.
    pub(in crate::lab) fn end(&self, chosen: impl Fn(&str, &str) -> bool) {
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
        for program in &self.program_servers {
            if chosen(program.name(), program.node()) {
                program.end();
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

    /// Before anything else is dialled, the dice have to be free: who was pinned may not answer any more.
    fn release_late_pins(self: &Rc<Self>, fault: &Fault) {
        if self.pins_released.get() || self.clients_of_pinned().next().is_none() {
            return;
        }
        let text = format!(
            "{fault} came before every client of a service with `pin_first` had its first response: the pin is \
             released only now"
        );
        self.recorder.emit(Observation::Warning { text });
        self.release_pins();
    }

    fn warn_of_nothing(&self, index: usize) {
        let in_force = self.in_force.borrow();
        if in_force.get(&index).and_then(InForce::found) == Some(0) {
            let text = format!("{} found no connection", self.plan.faults[index]);
            self.recorder.emit(Observation::Warning { text });
        }
    }
}
