//! What will become of a client.

use std::time::Duration;

use super::dials::{Dials, UNLUCKY};
use super::healed;
use super::other_faults::healing;
use super::rhythm::Seen;
use super::side_by_side;
use super::situation::{Fate, Situation};
use super::streams::{self, Reading};
use crate::plan::{
    Cause, Client, Fault, ForeseenStanding, LabPlan, Odds, PredictedQuantile, Prediction, Server,
    Service, Trigger, Window,
};

/// What will become of `client` when the plan's faults fire. Times count from the fault that takes its server.
#[must_use]
pub fn predict(client: &Client, plan: &LabPlan) -> Prediction {
    predict_seen(client, plan, &Seen::default())
}

/// The same, given what a record says of the moment of the fault: what was left open before is narrower then.
#[must_use]
pub fn predict_seen(client: &Client, plan: &LabPlan, seen: &Seen) -> Prediction {
    let nothing = |cause| Prediction {
        client: client.name.clone(),
        detection: None,
        recovery: None,
        odds: Vec::new(),
        quantiles: Vec::new(),
        relapses_within: None,
        cause,
        unaffected: false,
        standing: ForeseenStanding::default(),
    };
    if let Some(fault) = healing(client, plan) {
        let healed = healed::predict(client, plan, fault, seen);
        return healed.unwrap_or_else(|| nothing(Cause::Unknown));
    }
    if loss_of(&client.node, plan).is_some() {
        return nothing(Cause::Unknown);
    }
    let Some(hit) = Hit::of(client, plan, seen) else {
        return Prediction {
            unaffected: true,
            ..nothing(Cause::Never)
        };
    };
    // A client that never had a response has no rhythm to tell its state from, and nothing to come back to.
    let servers = &client.target.servers;
    if plan.too_slow(client).count() == servers.len() {
        return nothing(Cause::Unknown);
    }
    let situation = Situation::of(client, plan, hit.fault, seen);
    if situation.conntrack_leaves_open() || situation.may_be_forgotten() {
        return nothing(Cause::Unknown);
    }
    let start = start_after(client, plan, hit.fault);
    if side_by_side::asks(client) {
        let each = side_by_side::each(client, plan, hit.fault);
        let each = each.and_then(|each| {
            let foretold = foretold(&each, plan, seen).collect();
            side_by_side::together(&each, foretold, plan)
        });
        return each.unwrap_or_else(|| nothing(Cause::Unknown));
    }
    if streams::reads(client, plan) {
        let reading = match start {
            Start::Before => Reading::of(client, plan, hit.fault, seen),
            Start::After(_) | Start::Perhaps(_) => None,
        };
        let unknown = nothing(Cause::Unknown);
        return match reading {
            Some(reading) => {
                let can_recover = hit.can_succeed(client, plan);
                of_reading(&hit, &situation, &reading, can_recover, unknown)
            }
            None => unknown,
        };
    }
    let fate = match start {
        Start::Before => situation.fate(),
        Start::After(_) => Fate::NoConnection,
        Start::Perhaps(_) => match situation.fate() {
            Fate::GivenUp((window, _)) => Fate::Unsure(Some(window)),
            Fate::Kept | Fate::PerhapsKept | Fate::NoConnection | Fate::Unsure(_) => {
                Fate::Unsure(None)
            }
        },
    };
    let can_recover = hit.can_succeed(client, plan);
    let first_dial = match (start, situation.first_dial(fate)) {
        (Start::After(start), _) => Some(start),
        (Start::Perhaps(start), Some(dial)) => Some(Window {
            min: Duration::ZERO,
            max: dial.max.max(start.max),
        }),
        (_, dial) => dial,
    };
    let again = first_dial.filter(|_| can_recover);
    let again = again.and_then(|dial| hit.recovery(&situation, dial));
    let Again {
        recovery,
        odds,
        relapses_within,
    } = again.unwrap_or_default();
    let quantiles = quantiles(&odds);
    let again_for_sure = recovery.is_some() && odds.is_empty();
    let nothing = |cause| Prediction {
        relapses_within,
        ..nothing(cause)
    };
    match fate {
        Fate::GivenUp((window, cause)) if hit.certain => Prediction {
            detection: Some(window),
            recovery,
            odds: by_dead_dials(odds),
            quantiles,
            ..nothing(cause)
        },
        Fate::Kept if hit.certain => nothing(Cause::Never),
        // It dials only: its first dial is what it loses, if it has no other endpoint to dial.
        Fate::NoConnection => {
            let dial = first_dial.filter(|_| hit.nobody_answers());
            let given_up = dial.and_then(|dial| situation.dead_dial(dial));
            Prediction {
                detection: given_up.map(|(window, _)| window),
                recovery,
                odds: by_dead_dials(odds),
                quantiles,
                ..nothing(match given_up {
                    Some((_, cause)) => cause,
                    // Where the rules name no lost endpoint any more, no dial is in vain.
                    None if again_for_sure => Cause::Never,
                    None => Cause::Unknown,
                })
            }
        }
        // It may as well be connected to a server that lives on, or have no connection at all at the time.
        Fate::GivenUp(_) | Fate::Kept | Fate::PerhapsKept | Fate::Unsure(_) => Prediction {
            recovery: recovery.map(|r| Window {
                min: Duration::ZERO,
                ..r
            }),
            ..nothing(Cause::Unknown)
        },
    }
}

/// What will become of a client's heartbeats; `None` where it sends none, or they are all that it does.
pub(super) fn of_heartbeats(client: &Client, plan: &LabPlan) -> Option<Prediction> {
    if !side_by_side::asks(client) {
        return None;
    }
    let hit = Hit::of(client, plan, &Seen::default())?;
    let mut each = side_by_side::each(client, plan, hit.fault)?;
    each.retain(side_by_side::beats);
    // Its status and its lease both say that it is well: whichever comes first does.
    foretold(&each, plan, &Seen::default()).reduce(|all, one| {
        let recovery = all.recovery.zip(one.recovery);
        Prediction {
            recovery: recovery.map(|(a, b)| a.or_sooner(b)),
            ..all
        }
    })
}

/// What will become of each thing that a client does. What it was doing is seen of all of it together alone.
fn foretold(each: &[Client], plan: &LabPlan, seen: &Seen) -> impl Iterator<Item = Prediction> {
    let seen = Seen {
        kernel: seen.kernel,
        ..Seen::default()
    };
    each.iter().map(move |one| predict_seen(one, plan, &seen))
}

/// What will become of a client that reads a response which goes on; `unknown` where the model can't say.
fn of_reading(
    hit: &Hit,
    situation: &Situation,
    reading: &Reading,
    can_recover: bool,
    unknown: Prediction,
) -> Prediction {
    if !hit.certain || (reading.is_anew() && !hit.nobody_answers()) {
        return unknown;
    }
    let (window, cause) = match situation.fate_of_reading(reading) {
        Some(Fate::GivenUp(by)) => by,
        Some(Fate::Kept | Fate::PerhapsKept | Fate::NoConnection | Fate::Unsure(_)) => {
            let cause = Cause::Never;
            return Prediction { cause, ..unknown };
        }
        None => return unknown,
    };
    let again = can_recover.then(|| hit.recovery(situation, reading.redial(window)));
    let again = again.flatten().unwrap_or_default();
    let speaks = |window: Window| window.then(reading.speaks());
    let odds = again.odds.into_iter().map(|odds| Odds {
        recovery: speaks(odds.recovery),
        ..odds
    });
    let odds: Vec<Odds> = odds.collect();
    Prediction {
        detection: Some(window),
        recovery: again.recovery.map(speaks),
        quantiles: quantiles(&odds),
        odds: by_dead_dials(odds),
        relapses_within: again.relapses_within,
        cause,
        ..unknown
    }
}

/// When a client starts, counted from a fault.
#[derive(Clone, Copy)]
enum Start {
    /// Before it.
    Before,
    /// After it: its first request dials.
    After(Window),
    /// Nobody knows when the fault fires.
    Perhaps(Window),
}

fn start_after(client: &Client, plan: &LabPlan, fault: &Fault) -> Start {
    let (earliest, latest) = fault.trigger.times(plan);
    let own = matches!(&fault.trigger, Trigger::Phase { client: name, .. } if *name == client.name);
    if own || client.start < earliest {
        return Start::Before;
    }
    let from_fault = Window {
        min: latest.map_or(Duration::ZERO, |at| client.start.saturating_sub(at)),
        max: client.start - earliest,
    };
    match latest {
        Some(latest) if client.start >= latest => Start::After(from_fault),
        _ => Start::Perhaps(from_fault),
    }
}

/// The fault that takes a client's server, and what is left to dial.
struct Hit<'a> {
    fault: &'a Fault,
    /// Whether the client's connection goes to a server that dies, not only perhaps.
    certain: bool,
    service: Option<&'a Service>,
    /// From the fault until each server dies, of those that do.
    losses: Vec<Duration>,
    /// All servers.
    all: usize,
}

impl<'a> Hit<'a> {
    /// `None` where the client keeps its server.
    fn of(client: &Client, plan: &'a LabPlan, seen: &Seen) -> Option<Self> {
        let loss = |server: &str| loss_of(&plan.server(server)?.node, plan);
        let servers = &client.target.servers;
        let time = |fault: &Fault| fault.trigger.times(plan).0;
        let losses: Vec<&Fault> = servers.iter().filter_map(|s| loss(s)).collect();
        let first: &Fault = losses.iter().min_by_key(|fault| time(fault))?;
        let service = client.target.service.as_ref();
        let service: Option<&Service> =
            service.and_then(|name| plan.services.iter().find(|s| s.name == *name));
        let pinned = service.and_then(|s| s.pin_first.as_deref());
        // The pin holds for the first connections only.
        let pinned = pinned.filter(|_| Situation::of(client, plan, first, seen).reuses());
        let fault = pinned.map_or(Some(first), loss)?;
        let losses: Vec<Duration> = losses
            .iter()
            .map(|other| time(other).saturating_sub(time(fault)))
            .collect();
        let at_once = losses.iter().filter(|after| after.is_zero()).count();
        Some(Self {
            fault,
            certain: pinned.is_some() || at_once == servers.len(),
            service,
            losses,
            all: servers.len(),
        })
    }

    /// Whether a request can be answered in time by a server that is not lost with the fault.
    fn can_succeed(&self, client: &Client, plan: &LabPlan) -> bool {
        let time = |fault: &Fault| fault.trigger.times(plan).0;
        let lives = |server: &&Server| {
            let loss = loss_of(&server.node, plan);
            loss.is_none_or(|loss| time(loss) > time(self.fault))
        };
        let living = plan.servers_of(client).filter(lives).count();
        living == 0 || plan.too_slow(client).filter(lives).count() < living
    }

    /// Whether all servers are lost with the fault.
    fn nobody_answers(&self) -> bool {
        self.losses.len() == self.all && self.losses.iter().all(Duration::is_zero)
    }

    /// When the client has a response again: a server that dies before that is no help.
    fn recovery(&self, situation: &Situation, first_dial: Window) -> Option<Again> {
        let mut by = Duration::ZERO;
        loop {
            let dead = self.losses.iter().filter(|after| **after <= by).count();
            let dials = Dials {
                service: self.service,
                live: self.all - dead,
                all: self.all,
            };
            let recovery = situation.recovery(first_dial, &dials)?;
            let next = self.losses.iter().copied();
            match next
                .filter(|after| *after > by && *after <= recovery.max)
                .min()
            {
                Some(next) => by = next,
                None => {
                    let odds = situation.odds(first_dial, &dials);
                    let relapses_within = situation.relapses_within(&dials);
                    // What it recovers by is lost again, and chance alone says when it is so for the last time.
                    return Some(match relapses_within {
                        Some(_) => Again {
                            relapses_within,
                            ..Again::default()
                        },
                        None => Again {
                            recovery: Some(all_of(&odds).unwrap_or(recovery)),
                            odds,
                            relapses_within,
                        },
                    });
                }
            }
        }
    }
}

/// How a client is well again.
#[derive(Default)]
struct Again {
    recovery: Option<Window>,
    odds: Vec<Odds>,
    /// It is not so for good.
    relapses_within: Option<Duration>,
}

/// Shares of all runs that are told by when they have recovered.
const SHARES: [f64; 2] = [0.5, 0.95];

/// Where the quantiles of the recovery lie that chance decides.
fn quantiles(odds: &[Odds]) -> Vec<PredictedQuantile> {
    let by = |share: f64, time: fn(&Window) -> Duration| {
        let mut all: Vec<_> = odds
            .iter()
            .map(|o| (time(&o.recovery), o.probability))
            .collect();
        all.sort_by_key(|(time, _)| *time);
        let mut sum = 0.0;
        let found = all.iter().find(|(_, probability)| {
            sum += probability;
            // A sum of binary fractions may miss its last digit.
            sum >= share - UNLUCKY
        });
        found.map(|(time, _)| *time)
    };
    let each = SHARES.map(|share| {
        let time = Window {
            min: by(share, |window| window.min)?,
            max: by(share, |window| window.max)?,
        };
        Some(PredictedQuantile { share, time })
    });
    each.into_iter().flatten().collect()
}

/// One of each number of dead dials.
fn by_dead_dials(odds: Vec<Odds>) -> Vec<Odds> {
    let mut all: Vec<Odds> = Vec::new();
    for one in odds {
        match all
            .iter_mut()
            .find(|known| known.dead_dials == one.dead_dials)
        {
            Some(known) => {
                known.probability += one.probability;
                known.recovery = known.recovery.around(one.recovery);
            }
            None => all.push(one),
        }
    }
    all
}

/// The window of all recoveries that are likely at all, where each is told.
fn all_of(odds: &[Odds]) -> Option<Window> {
    let told: f64 = odds.iter().map(|odds| odds.probability).sum();
    let windows = odds.iter().map(|odds| odds.recovery);
    windows
        .reduce(Window::around)
        .filter(|_| told >= 1.0 - UNLUCKY)
}

/// The first fault that takes a node.
fn loss_of<'a>(node: &str, plan: &'a LabPlan) -> Option<&'a Fault> {
    plan.faults
        .iter()
        .filter(|fault| fault.dead_node() == Some(node))
        .min_by_key(|fault| fault.trigger.times(plan).0)
}

#[cfg(test)]
#[path = "predict_tests.rs"]
mod tests;
