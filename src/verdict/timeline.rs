//! A record in order of time, with what is asked of it most: its case, its faults, and who could answer when.

use std::time::Duration;

use crate::plan::{
    Case, Client, Fault, FaultKind, Location, Phase, Place, Process, Server, Sysctl,
};
use crate::record::{ClockName, Event, Observation};

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
    fn in_force(&self, at: Moment) -> bool {
        self.at <= at && self.until.is_none_or(|until| at < until)
    }
}

/// A record in order of time.
pub(super) struct Timeline<'a> {
    pub case: &'a Case,
    pub clock: ClockName,
    pub kernel: &'a str,
    pub hz: Option<u32>,
    pub events: Vec<(Moment, &'a Observation)>,
    pub faults: Vec<Injected<'a>>,
}

impl<'a> Timeline<'a> {
    /// Sorts a record; `None` if it does not say which case it is of.
    pub(super) fn new(record: &'a [Event]) -> Option<Self> {
        let (clock, kernel, hz, case) = record.iter().find_map(|event| match &event.what {
            Observation::CaseStarted {
                clock,
                kernel,
                hz,
                case,
                ..
            } => Some((*clock, kernel.as_str(), *hz, case.as_ref())),
            _ => None,
        })?;
        // Some events carry a time before that of their neighbours: a packet's own stamp.
        let mut sorted: Vec<&Event> = record.iter().collect();
        sorted.sort_by_key(|event| event.t_ns);
        let events: Vec<_> = sorted
            .iter()
            .enumerate()
            .map(|(order, event)| {
                let at = event.at();
                // 0 is START, which stands before every event.
                (
                    Moment {
                        at,
                        order: order + 1,
                    },
                    &event.what,
                )
            })
            .collect();
        let faults = injected(case, &events);
        Some(Self {
            case,
            clock,
            kernel,
            hz,
            events,
            faults,
        })
    }

    /// When a client was ended by a fault: its node's loss of power, or its own death.
    pub(super) fn ended_by_fault(&self, client: &Client) -> Option<&Injected<'a>> {
        self.faults.iter().find(|fault| match &fault.fault.kind {
            FaultKind::PowerLoss { node, .. } => *node == client.node,
            FaultKind::ProcessKill {
                process: Process::Client(name),
            } => *name == client.name,
            _ => false,
        })
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
        self.faults
            .iter()
            .filter(move |fault| match &fault.fault.kind {
                FaultKind::PowerLoss { node: dead, .. } => dead == node,
                FaultKind::ProcessKill {
                    process: Process::Server(name),
                }
                | FaultKind::Hang { server: name } => name == server,
                FaultKind::LinkDown { behind } => {
                    behind.holds(&self.case.lab, &self.place(node, server))
                }
                _ => false,
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

    /// The time of the last event.
    pub(super) fn last(&self) -> Duration {
        self.events
            .last()
            .map_or(Duration::ZERO, |(moment, _)| moment.at)
    }

    /// Whether the record goes on to the case's end.
    pub(super) fn is_whole(&self) -> bool {
        self.events
            .iter()
            .any(|(_, what)| matches!(what, Observation::CaseEnded {}))
    }

    /// Sysctls as the kernel returned them in the namespace `place`, in the order they were written.
    pub(super) fn sysctls(&self, place: &str) -> impl Iterator<Item = Sysctl> {
        self.events.iter().filter_map(move |(_, what)| match what {
            Observation::Sysctl {
                place: p,
                key,
                value,
            } if p == place => Some(Sysctl {
                key: key.clone(),
                value: value.clone(),
                location: Location::default(),
            }),
            _ => None,
        })
    }
}

fn injected<'a>(case: &'a Case, events: &[(Moment, &'a Observation)]) -> Vec<Injected<'a>> {
    let mut all: Vec<Injected<'a>> = Vec::new();
    for (at, what) in events {
        match what {
            Observation::FaultInjected { fault, phases } => {
                let index = *fault;
                let Some(fault) = case.lab.faults.get(index) else {
                    continue;
                };
                if let FaultKind::PowerRestore { node } = &fault.kind {
                    start_again(&mut all, case, *at, |server| server.node == *node);
                    end(&mut all, *at, |f| f.kind.dead_node() == Some(node));
                }
                all.push(Injected {
                    index,
                    fault,
                    at: *at,
                    until: None,
                    phases,
                });
            }
            Observation::FaultHealed { fault } => {
                let healed = case.lab.faults.get(*fault);
                match healed.map(|fault| &fault.kind) {
                    Some(FaultKind::PowerLoss { node, .. }) => {
                        start_again(&mut all, case, *at, |server| server.node == *node);
                    }
                    Some(FaultKind::ProcessKill {
                        process: Process::Server(name),
                    }) => start_again(&mut all, case, *at, |server| server.name == *name),
                    _ => {}
                }
                end(&mut all, *at, |f| {
                    healed.is_some_and(|healed| std::ptr::eq(f, healed))
                });
            }
            _ => {}
        }
    }
    all
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
        let again = match &earlier.fault.kind {
            FaultKind::ProcessKill {
                process: Process::Server(name),
            }
            | FaultKind::Hang { server: name } => names.contains(&name.as_str()),
            _ => false,
        };
        if again {
            earlier.until = earlier.until.or(Some(at));
        }
    }
}
