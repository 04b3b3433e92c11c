//! A path that is dead for a time and then well, and a node that has its power back after one: what decides is the next
//! sending after that.
//!
//! A connection that nobody gives up meanwhile works again with the next retransmission that gets through; where the node has
//! lost its power, that is answered with RST. One that is given up is dialled anew, and of the SYNs the first after the healing
//! is answered.

mod dialled;
mod idle;
mod outcome;
mod request;
mod taken;
mod waiting;

use std::time::Duration;

use super::rhythm::Seen;
use super::rto::Path;
use super::sendings::Resending;
use super::situation::Situation;
use super::sysctls::TcpSysctls;
use super::window::SLACK;
use crate::plan::{
    Cause, Client, Fault, ForeseenStanding, LabPlan, Phase, Prediction, Server, Trigger, Window,
    Workload,
};
use outcome::Outcome;
use taken::Taken;

pub(super) use taken::{heals, spares, takes};

/// How exactly a fault heals when it should, and how much later than planned a client does something.
const LATE: Duration = Duration::from_millis(10);
/// A program's timer is later than it should be by as much, once for each pause.
const TIMER: Duration = Duration::from_millis(3);

/// What will become of a client that one fault strikes which heals; `None` where the model does not know.
pub(super) fn predict(
    client: &Client,
    plan: &LabPlan,
    fault: &Fault,
    seen: &Seen,
) -> Option<Prediction> {
    let (taken, lasts) = Taken::by(fault)?;
    let nothing = Prediction {
        client: client.name.clone(),
        detection: None,
        recovery: None,
        odds: Vec::new(),
        quantiles: Vec::new(),
        relapses_within: None,
        cause: Cause::Never,
        unaffected: false,
        standing: ForeseenStanding::default(),
    };
    if taken == Taken::Power(&client.node) {
        return None;
    }
    let servers: Vec<&Server> = plan.servers_of(client).collect();
    let taken_servers: Vec<&Server> = servers
        .iter()
        .filter(|server| taken.takes(client, server, plan))
        .copied()
        .collect();
    let unaffected = Prediction {
        unaffected: true,
        ..nothing.clone()
    };
    let Some(server) = taken_servers.first() else {
        return Some(unaffected);
    };
    let situation = Situation::of(client, plan, fault, seen);
    if !is_known(client, plan, fault, &situation) || situation.servers.may_give_up_within(lasts) {
        return None;
    }
    let service = client.target.service.as_ref();
    let service = service.and_then(|name| plan.services.iter().find(|s| s.name == *name));
    if taken_servers.len() < servers.len() {
        // Which one its connection goes to must be known.
        let pinned = service?.pin_first.as_ref()?;
        if !taken_servers.iter().any(|server| server.name == *pinned) {
            return Some(unaffected);
        }
    }
    let alike = |other: &&Server| plan.sysctls_at(&other.place) == plan.sysctls_at(&server.place);
    if !taken_servers.iter().all(alike) {
        return None;
    }
    let rtt = situation.cycle.rtt;
    let healed = Healed {
        taken,
        heals: Window::of(lasts.saturating_sub(rtt / 2 + TIMER), lasts + LATE),
        server_sysctls: TcpSysctls::with(plan.sysctls_at(&server.place)),
        removal: service.and_then(|service| service.removal),
        dead: taken_servers.len(),
        all: servers.len(),
        situation: &situation,
    };
    let prediction = match healed.outcome(seen)? {
        Outcome::Lives(recovery) => Prediction {
            recovery,
            ..nothing
        },
        Outcome::GivenUp((window, cause), recovery) => Prediction {
            detection: Some(window),
            recovery,
            cause,
            ..nothing
        },
        Outcome::Open(recovery) => Prediction {
            recovery,
            cause: Cause::Unknown,
            ..nothing
        },
    };
    Some(prediction)
}

/// Whether the model knows all that a client does meanwhile.
fn is_known(client: &Client, plan: &LabPlan, fault: &Fault, situation: &Situation<'_>) -> bool {
    let workload = match client.workloads.cycle() {
        Some(Workload::Poll { .. } | Workload::Resync { .. } | Workload::LeaderElection { .. }) => {
            true
        }
        // When the tries of a beat that fails come is another matter than a cycle's.
        Some(
            Workload::Heartbeat { .. }
            | Workload::Watch { .. }
            | Workload::Download { .. }
            | Workload::Messages { .. }
            | Workload::Exec(_),
        )
        | None => false,
    };
    let (earliest, latest) = fault.trigger.times(plan);
    let own = matches!(&fault.trigger, Trigger::Phase { client: name, .. } if *name == client.name);
    let begun = own || client.start < earliest;
    // A service's entry that is forgotten meanwhile is another story.
    let key = "net.netfilter.";
    let forgets = client.target.service.is_some()
        && plan
            .node(&client.node)
            .is_some_and(|node| node.sysctls.iter().any(|s| s.key.starts_with(key)));
    let rhythm = &situation.rhythm;
    workload
        && begun
        && latest.is_some()
        && !forgets
        && situation.reuses()
        && !situation.retires()
        && !rhythm.connecting
        && rhythm.opened.is_none()
        && plan.too_slow(client).count() == 0
}

/// A client, and a fault that strikes it and heals.
struct Healed<'s, 'a> {
    taken: Taken<'a>,
    /// From the fault until what is sent gets through.
    heals: Window,
    server_sysctls: TcpSysctls,
    removal: Option<Duration>,
    /// Servers that are taken, of all.
    dead: usize,
    all: usize,
    situation: &'s Situation<'a>,
}

impl Healed<'_, '_> {
    fn is_power(&self) -> bool {
        match self.taken {
            Taken::Path(_) => false,
            Taken::Power(_) => true,
        }
    }

    fn outcome(&self, seen: &Seen) -> Option<Outcome> {
        let rhythm = &self.situation.rhythm;
        let mut all = Vec::new();
        if let Some(idle) = rhythm.idle {
            let outcome = self.idle(idle)?;
            // Of a response that was on its way the client hears at once.
            let in_flight = !self.situation.cycle.rtt.is_zero();
            let at_once = match (seen.phase, rhythm.busy) {
                (None, Some(_)) if !in_flight => None,
                (_, Some(_)) => Some(Window::of(Duration::ZERO, idle.next.max)),
                (Some(phase), None) if phase != Phase::Idle => {
                    Some(Window::of(Duration::ZERO, self.situation.cycle.service.max))
                }
                (Some(_) | None, None) => None,
            };
            all.push(match (outcome, at_once) {
                (Outcome::Lives(Some(recovery)), Some(at_once)) => {
                    Outcome::Lives(Some(match rhythm.busy {
                        Some(_) => at_once.around(recovery),
                        None => at_once,
                    }))
                }
                // If its connection lives nothing fails after that.
                (Outcome::Open(recovery), Some(at_once)) => {
                    Outcome::Open(recovery.map(|recovery| at_once.around(recovery)))
                }
                (outcome, _) => outcome,
            });
        }
        if let Some(sent) = rhythm.busy {
            all.push(self.busy(sent)?);
        }
        all.into_iter().reduce(Outcome::or)
    }

    /// From a sending that gets through to the response.
    fn answer(&self) -> Window {
        let service = self.situation.cycle.service;
        Window::of(service.min, service.max + SLACK)
    }

    fn resending(&self) -> Resending<'_> {
        let s = self.situation;
        Resending {
            sysctls: &s.sysctls,
            path: Path {
                rtt: s.cycle.rtt,
                exchanges: s.rhythm.exchanges,
            },
            user_timeout: s.transport.user_timeout,
            kernel: s.kernel,
        }
    }

    fn by_kernel(&self) -> Cause {
        match self.situation.transport.user_timeout {
            Some(_) => Cause::UserTimeout,
            None => Cause::RetransmissionTimeout,
        }
    }
}

fn around(all: Option<Window>, window: Window) -> Option<Window> {
    Some(all.map_or(window, |other| other.around(window)))
}

#[cfg(test)]
mod tests;
