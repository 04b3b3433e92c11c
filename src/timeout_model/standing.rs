//! What follows for others from what becomes of a client: when its node is judged not ready and ready again, and when it leads.

use std::time::Duration;

use super::cycle::OVERHEAD;
use super::predict::of_heartbeats;
use super::window::SLACK;
use crate::plan::{
    Client, ForeseenStanding, LEASE_SHARE, LabPlan, Prediction, Trigger, Window, Workload,
};

/// A prediction with what follows from it for others.
pub(super) fn with(prediction: Prediction, client: &Client, plan: &LabPlan) -> Prediction {
    let heart = client.workloads.iter().find_map(|work| match work.kind {
        Workload::Heartbeat {
            every,
            grace,
            lease,
            ..
        } => Some((
            grace,
            lease.map_or(every, |lease| (lease / LEASE_SHARE).min(every)),
        )),
        Workload::Poll { .. }
        | Workload::Watch { .. }
        | Workload::Resync { .. }
        | Workload::LeaderElection { .. }
        | Workload::Download { .. }
        | Workload::Messages { .. }
        | Workload::Exec(_) => None,
    });
    let mut standing = match heart {
        Some((grace, period)) => {
            let own = of_heartbeats(client, plan);
            let own = own.as_ref().unwrap_or(&prediction);
            readiness(own, grace, period + plan.slowest(client), plan)
        }
        None => ForeseenStanding::default(),
    };
    standing.leads = leads(&prediction, client, plan);
    Prediction {
        standing,
        ..prediction
    }
}

/// Of a node whose last heartbeat came up to `period` before the fault, and the next one with the recovery.
fn readiness(
    prediction: &Prediction,
    grace: Duration,
    period: Duration,
    plan: &LabPlan,
) -> ForeseenStanding {
    let none = ForeseenStanding::default();
    let heard = Window::of(Duration::ZERO, period + plan.round_trip() + OVERHEAD);
    let due = Window::of(grace.saturating_sub(heard.max), grace + SLACK);
    match (prediction.recovery, prediction.detection) {
        // Nothing comes before the grace period is over.
        (Some(recovery), _) if recovery.min > due.max => ForeseenStanding {
            not_ready: Some(due),
            ready_again: Some(Window::of(
                prediction
                    .detection
                    .map_or(recovery.min, |d| d.min.min(recovery.min)),
                recovery.max,
            )),
            ..none
        },
        // It is not well again.
        (None, Some(detection))
            if detection.min > due.max && prediction.relapses_within.is_none() =>
        {
            ForeseenStanding {
                not_ready: Some(due),
                ..none
            }
        }
        _ => none,
    }
}

/// When the one candidate that lives leads: once the dead one's lease has expired, and it asks and can.
fn leads(prediction: &Prediction, client: &Client, plan: &LabPlan) -> Option<Window> {
    let lease_of = |client: &Client| {
        client.workloads.iter().find_map(|work| match work.kind {
            Workload::LeaderElection {
                every,
                lease,
                jitter,
                ..
            } => Some((every + jitter, lease)),
            Workload::Poll { .. }
            | Workload::Watch { .. }
            | Workload::Resync { .. }
            | Workload::Heartbeat { .. }
            | Workload::Download { .. }
            | Workload::Messages { .. }
            | Workload::Exec(_) => None,
        })
    };
    let same = |other: &&Client| {
        other.target.service == client.target.service && lease_of(other).is_some()
    };
    let candidates: Vec<&Client> = plan.clients.iter().filter(same).collect();
    let dies = |other: &Client| plan.faults.iter().find(|fault| fault.ends(other));
    let (dead, living): (Vec<&Client>, Vec<&Client>) = candidates
        .into_iter()
        .partition(|other| dies(other).is_some());
    let ([holder], [only]) = (&dead[..], &living[..]) else {
        return None;
    };
    // Who comes first takes the lock; by as much that both can't have come at once.
    if only.name != client.name
        || client.target.service.is_none()
        || holder.start + SLACK * 2 >= client.start
    {
        return None;
    }
    let Trigger::At(died) = dies(holder)?.trigger else {
        return None;
    };
    let fault = plan
        .faults
        .iter()
        .map(|fault| fault.trigger.times(plan).0)
        .min()?;
    if fault != died || plan.faults.len() > 1 {
        return None;
    }
    let (renews, lease) = lease_of(holder)?;
    let (tries, _) = lease_of(client)?;
    let work = plan.slowest(client) * 2 + plan.round_trip() * 2 + OVERHEAD * 2;
    let expires = Window::of(lease.saturating_sub(renews + work), lease + OVERHEAD);
    let well = match (prediction.unaffected, prediction.recovery) {
        (true, _) => Window::default(),
        (false, Some(recovery)) => recovery,
        (false, None) => return None,
    };
    Some(Window::of(
        expires.min.max(well.min),
        expires.max.max(well.max) + tries + work + SLACK,
    ))
}
