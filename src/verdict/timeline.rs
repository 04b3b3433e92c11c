//! A record in order of time, with what is asked of it most: its case, its faults, and which nodes had power when.

use std::time::Duration;

use crate::plan::{Case, Fault, Location, Phase, Sysctl};
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
    pub phases: &'a [(String, Phase)],
}

impl Injected<'_> {
    /// The node that lost its power by this fault.
    pub(super) fn dead_node(&self) -> Option<&str> {
        self.fault.kind.dead_node()
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

    /// When a node lost its power.
    pub(super) fn power_lost(&self, node: &str) -> Option<Moment> {
        self.faults
            .iter()
            .find(|fault| fault.dead_node() == Some(node))
            .map(|fault| fault.at)
    }

    /// Whether a node had power at a moment.
    pub(super) fn alive(&self, node: &str, at: Moment) -> bool {
        self.power_lost(node).is_none_or(|lost| at < lost)
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
    let injected = events.iter().filter_map(|(at, what)| match what {
        Observation::FaultInjected { fault, phases } => {
            let index = *fault;
            let fault = case.lab.faults.get(index)?;
            Some(Injected {
                index,
                fault,
                at: *at,
                phases,
            })
        }
        _ => None,
    });
    injected.collect()
}
