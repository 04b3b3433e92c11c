//! Several faults, one after the other: what each does to a client that it strikes, and that was well again before it.
//!
//! That is what the fault would do alone, to a client whose connection leads where it strikes: after an earlier outage chance has
//! decided that. What is left of earlier faults must be known: they are over, or their endpoints have left the rules.

use std::time::Duration;

use super::healed;
use super::other_faults::{concerns, foresee, only_loses_power};
use super::predict::predict_seen;
use super::rhythm::Seen;
use super::window::SLACK;
use crate::plan::{
    Cause, Client, Effect, Fault, ForeseenStanding, LabPlan, Prediction, Service, Trigger, Window,
};

/// What will become of a client that one of several faults strikes.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeseenOutage {
    /// The fault: its place in the plan, from 0.
    pub fault: usize,
    /// What it does, counted from it.
    pub prediction: Prediction,
}

/// What each of the plan's faults will do to `client`, if it strikes it, as far as the model knows; nothing where there is but one.
#[must_use]
pub fn foresee_outages(client: &Client, plan: &LabPlan) -> Vec<ForeseenOutage> {
    if plan.faults.len() < 2 {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut well_since = Some(client.start);
    for (index, fault) in in_order(plan) {
        if !concerns(fault, client, plan) {
            continue;
        }
        let Some(since) = well_since else { break };
        let found = foresee_outage(client, plan, index, since, None);
        let latest = fault.trigger.times(plan).1;
        well_since = found
            .as_ref()
            .and_then(|found| match (found.unaffected, found.recovery) {
                (true, _) => Some(since),
                (false, Some(recovery)) => Some(latest? + recovery.max),
                (false, None) => None,
            });
        all.extend(found.map(|prediction| ForeseenOutage {
            fault: index,
            prediction,
        }));
    }
    all
}

/// What the fault at `index` does to a client that it strikes and that was well `since` a time of the case; with `seen`, given what a
/// record says of its moment. `None` where the model does not know.
#[must_use]
pub fn foresee_outage(
    client: &Client,
    plan: &LabPlan,
    index: usize,
    since: Duration,
    seen: Option<&Seen>,
) -> Option<Prediction> {
    let fault = plan.faults.get(index)?;
    let from = fault.trigger.times(plan).0;
    if since >= from || !fault.can_strike() {
        return None;
    }
    let plan = alone(client, plan, index, since)?;
    let own = plan.client(&client.name)?;
    let beforehand = foresee(own, &plan)?;
    let prediction = seen.map_or(beforehand, |seen| predict_seen(own, &plan, seen));
    let others = plan.faults.iter().filter(|other| other.effects.is_empty());
    let after = others.map(|other| other.trigger.times(&plan).0);
    let until = after.filter(|at| *at > from).min();
    Some(match until {
        Some(until) => before(prediction, until - from),
        None => prediction,
    })
}

/// The plan's faults, in order of time.
fn in_order(plan: &LabPlan) -> Vec<(usize, &Fault)> {
    let mut all: Vec<_> = plan.faults.iter().enumerate().collect();
    all.sort_by_key(|(_, fault)| fault.trigger.times(plan).0);
    all
}

/// What of a prediction holds where another fault comes after `until`.
fn before(prediction: Prediction, until: Duration) -> Prediction {
    let in_time = |window: &Window| window.max < until;
    let detection = prediction.detection.filter(in_time);
    let recovery = prediction.recovery.filter(in_time);
    if (detection, recovery) == (prediction.detection, prediction.recovery) && recovery.is_some() {
        return prediction;
    }
    Prediction {
        cause: match detection {
            Some(_) => prediction.cause,
            None => Cause::Unknown,
        },
        detection,
        recovery,
        odds: Vec::new(),
        quantiles: Vec::new(),
        relapses_within: None,
        standing: ForeseenStanding::default(),
        ..prediction
    }
}

/// The plan, with the client, as the fault at `index` meets them. Other faults keep their place and do nothing: what the client was doing
/// is no matter of arithmetic after the first.
fn alone(client: &Client, plan: &LabPlan, index: usize, since: Duration) -> Option<LabPlan> {
    let fault = &plan.faults[index];
    let from = fault.trigger.times(plan).0;
    let (mut client, mut alone) = (client.clone(), plan.clone());
    let name = client.target.service.clone();
    let service = plan
        .services
        .iter()
        .find(|s| Some(&s.name) == name.as_ref());
    let mut out = Vec::new();
    for (n, other) in plan.faults.iter().enumerate().filter(|(n, _)| *n != index) {
        let (earliest, latest) = other.trigger.times(plan);
        let concerned = concerns(other, &client, plan);
        if concerned && earliest <= from {
            match left_by(other, latest?, from, service)? {
                Left::Nothing => {}
                Left::Without(node) => {
                    let gone = plan.servers.iter().filter(|server| server.node == node);
                    out.extend(gone.map(|server| server.name.clone()));
                }
            }
        }
        alone.faults[n].effects.clear();
        if !concerned {
            // It changes no rhythm, and bounds nothing.
            alone.faults[n].trigger = Trigger::At(Duration::MAX);
        }
    }
    client.target.servers.retain(|server| !out.contains(server));
    // Since then it has its connection, at the least.
    client.start = client.start.max(since);
    if let Some(service) = alone
        .services
        .iter_mut()
        .find(|s| Some(&s.name) == name.as_ref())
    {
        service.endpoints.retain(|of| !out.contains(&of.server));
        let struck = |server: &&String| {
            let server = plan.server(server);
            server.is_some_and(|server| healed::takes(fault, &client, server, plan))
        };
        let pinned = client.target.servers.iter().find(struck)?;
        service.pin_first = Some(pinned.clone());
    }
    if client.target.servers.is_empty() {
        return None;
    }
    if let Some(own) = alone.clients.iter_mut().find(|own| own.name == client.name) {
        *own = client;
    }
    Some(alone)
}

/// What an earlier fault leaves behind.
enum Left<'a> {
    Nothing,
    /// The endpoints on this node are out of the rules.
    Without(&'a str),
}

/// `None` where nobody knows, or where it is not over when the next fault strikes.
fn left_by<'a>(
    fault: &'a Fault,
    latest: Duration,
    next: Duration,
    service: Option<&Service>,
) -> Option<Left<'a>> {
    let by = |after: Duration| latest + after + SLACK < next;
    if let Some(node) = only_loses_power(fault) {
        let removal = service.and_then(|service| service.removal);
        return match (fault.lasts, removal) {
            (None, Some(removal)) => by(removal).then_some(Left::Without(node)),
            (None, None) => None,
            // It stays in the rules, if there are any.
            (Some(lasts), None) => by(lasts).then_some(Left::Nothing),
            (Some(lasts), Some(removal)) if removal + SLACK < lasts => {
                match service.and_then(|service| service.readiness) {
                    Some(readiness) => by(lasts + readiness).then_some(Left::Nothing),
                    None => by(lasts).then_some(Left::Without(node)),
                }
            }
            (Some(_), Some(_)) => None,
        };
    }
    let passes = fault.effects.iter().all(|effect| match effect {
        Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. } => fault.lasts.is_some(),
        Effect::Forget { .. } | Effect::Destroy { .. } | Effect::LoseState { .. } => true,
        Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Rules { .. } => false,
    });
    (passes && by(fault.lasts.unwrap_or_default())).then_some(Left::Nothing)
}
