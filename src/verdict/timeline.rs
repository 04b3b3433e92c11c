//! A case's faults as they came, and who could answer when.

use std::time::Duration;

use crate::plan::{Case, Client, Effect, Fault, Phase, Place, Server};

use super::connections::Connection;
use super::effects::{self, program, restored, starts_again};

/// From what a middlebox forgets to the fault that this is, at the most: the lab tells of both at once.
const JUST: Duration = Duration::from_secs(1);

/// A place in the record: its time, and its order among events of the same time (a virtual clock has many).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// From the case's start.
    pub at: Duration,
    order: usize,
}

impl Moment {
    /// Before everything.
    pub(super) const START: Self = Self {
        at: Duration::ZERO,
        order: 0,
    };
    /// After everything.
    pub(super) const END: Self = Self {
        at: Duration::MAX,
        order: usize::MAX,
    };

    /// The place of the event with this number, from 0, in order of time.
    pub(super) fn new(at: Duration, order: usize) -> Self {
        // 0 is START, which stands before every event.
        let order = order + 1;
        Self { at, order }
    }

    /// What the event tells of, where that carries a time of its own: a packet's stamp.
    pub(super) fn stamped(self, stamp: Duration) -> Self {
        Self { at: stamp, ..self }
    }

    /// Time from `earlier` until this moment.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.at.saturating_sub(earlier.at)
    }
}

/// A fault that was injected.
pub(super) struct Injected<'a> {
    pub index: usize,
    pub fault: &'a Fault,
    pub at: Moment,
    /// When it healed, or another fault undid it.
    pub until: Option<Moment>,
    pub phases: &'a [(String, Phase)],
}

impl Injected<'_> {
    /// Whether it is in force at a moment.
    pub(super) fn in_force(&self, at: Moment) -> bool {
        self.at <= at && self.until.is_none_or(|until| at < until)
    }
}

/// A case's faults as they came, and who could answer when.
pub(super) struct Timeline<'a> {
    pub case: &'a Case,
    pub faults: Vec<Injected<'a>>,
    /// Connections that middleboxes have forgotten, by the port that they come from.
    pub forgotten: Vec<(Moment, &'a str, u16)>,
}

impl<'a> Timeline<'a> {
    /// Of a case in which nothing has happened yet.
    pub(super) fn new(case: &'a Case) -> Self {
        Self {
            case,
            faults: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// Whether a middlebox has forgotten a connection just before a moment; of one whose port the record does not name, it may have.
    pub(super) fn has_forgotten(
        &self,
        middlebox: &str,
        connection: &Connection,
        by: Moment,
    ) -> bool {
        let just = |at: &Moment| *at <= by && by.since(*at) < JUST;
        connection.local.is_none_or(|local| {
            self.forgotten
                .iter()
                .any(|(at, name, port)| *name == middlebox && *port == local.port() && just(at))
        })
    }

    /// When anything was broken first; [`Moment::END`] if nothing was.
    pub(super) fn first_effect(&self) -> Moment {
        let faults = self.faults.iter().map(|fault| fault.at);
        faults.min().unwrap_or(Moment::END)
    }

    /// The effects that came about until a moment, each with when.
    pub(super) fn effects_until(&self, end: Moment) -> impl Iterator<Item = (Moment, &'a Effect)> {
        let faults = self.faults.iter().filter(move |fault| fault.at <= end);
        faults.flat_map(|fault| fault.fault.effects.iter().map(|effect| (fault.at, effect)))
    }

    /// When a client was ended by a fault: its node's loss of power, or its own death.
    pub(super) fn ended_by_fault(&self, client: &Client) -> Option<&Injected<'a>> {
        self.faults.iter().find(|fault| fault.fault.ends(client))
    }

    /// From when on what stands at an endpoint, a server or just an address, could not answer for the first time.
    pub(super) fn silent_from(&self, node: &str, server: &str) -> Option<Moment> {
        let mut silencing = self.silencing(node, server);
        silencing.next().map(|fault| fault.at)
    }

    /// Whether what stands at an endpoint, a server or just an address, could answer at a moment.
    pub(super) fn answers(&self, node: &str, server: &str, at: Moment) -> bool {
        self.silenced_by(node, server, at).is_none()
    }

    /// The fault by which what stands at an endpoint could not answer at a moment; `None` if it could.
    pub(super) fn silenced_by(
        &self,
        node: &str,
        server: &str,
        at: Moment,
    ) -> Option<&Injected<'a>> {
        let mut silencing = self.silencing(node, server);
        silencing.find(|fault| fault.in_force(at))
    }

    /// Whether a server could answer at a moment.
    pub(super) fn server_answers(&self, server: &str, at: Moment) -> bool {
        self.node_of_server(server)
            .is_some_and(|node| self.answers(node, server, at))
    }

    /// The faults while which an endpoint does not answer: it has no power, does not run or hangs, or its link is down.
    fn silencing(&self, node: &str, server: &str) -> impl Iterator<Item = &Injected<'a>> {
        self.faults.iter().filter(move |fault| {
            let place = || self.place(node, server);
            let mut effects = fault.fault.effects.iter();
            effects.any(|effect| effects::silences(effect, &self.case.lab, node, server, place))
        })
    }

    /// Where an endpoint is: its server's place, else its node.
    pub(super) fn place(&self, node: &str, server: &str) -> Place {
        let mut servers = self.case.lab.servers.iter();
        match servers.find(|s| s.name == server) {
            Some(server) => server.place.clone(),
            None => Place::Node(node.to_owned()),
        }
    }

    /// The node a server runs on.
    pub(super) fn node_of_server(&self, server: &str) -> Option<&'a str> {
        let servers = &self.case.lab.servers;
        servers
            .iter()
            .find(|s| s.name == server)
            .map(|s| s.node.as_str())
    }

    /// A fault came into force.
    pub(super) fn injected(&mut self, index: usize, at: Moment, phases: &'a [(String, Phase)]) {
        let case = self.case;
        let Some(fault) = case.lab.faults.get(index) else {
            return;
        };
        let all = &mut self.faults;
        for node in fault.effects.iter().filter_map(restored) {
            start_again(all, case, at, |server| server.node == node);
            end(all, at, |f| f.dead_node() == Some(node));
        }
        all.push(Injected {
            index,
            fault,
            at,
            until: None,
            phases,
        });
    }

    /// A fault's time was over.
    pub(super) fn healed(&mut self, index: usize, at: Moment) {
        let case = self.case;
        let Some(healed) = case.lab.faults.get(index) else {
            return;
        };
        let all = &mut self.faults;
        for effect in &healed.effects {
            start_again(all, case, at, |server| starts_again(effect, server));
        }
        end(all, at, |f| std::ptr::eq(f, healed));
    }
}

/// The chosen of the faults in force end.
fn end(all: &mut [Injected], at: Moment, chosen: impl Fn(&Fault) -> bool) {
    for earlier in all.iter_mut().filter(|earlier| chosen(earlier.fault)) {
        earlier.until = earlier.until.or(Some(at));
    }
}

/// The chosen servers are started again: they are neither killed nor hanging.
fn start_again(all: &mut [Injected], case: &Case, at: Moment, chosen: impl Fn(&Server) -> bool) {
    let servers = case.lab.servers.iter().filter(|server| chosen(server));
    let names: Vec<&str> = servers.map(|server| server.name.as_str()).collect();
    for earlier in all {
        let mut effects = earlier.fault.effects.iter();
        if effects.any(|effect| program(effect).is_some_and(|name| names.contains(&name))) {
            earlier.until = earlier.until.or(Some(at));
        }
    }
}
