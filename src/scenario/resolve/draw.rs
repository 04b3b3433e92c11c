//! What chance decides of a case, and its repetitions, each with a seed of its own.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::plan::{Case, LabPlan, Prediction, Repetition, Trigger};
use crate::scenario::model::{Scenario, Spanned};
use crate::timeout_model;
use crate::yaml::given;

/// A case's repetitions, or the case alone. `latest` has every fault as late as it can come.
pub(super) fn all(scenario: &Scenario, latest: Case, times: Option<u32>) -> Vec<Case> {
    let faults = scenario.faults.get().into_iter().flatten();
    let jitter = faults.filter_map(Spanned::get).flat_map(|fault| {
        let own = given(&fault.jitter).map_or(Duration::ZERO, |time| time.0);
        std::iter::repeat_n(own, fault.count())
    });
    let jitters: Vec<Duration> = jitter.collect();
    let seed = latest.lab.seed;
    let Some(of) = times else {
        let mut case = latest;
        if draw(&mut case.lab, &jitters, seed) {
            case.predictions = predictions(&case.lab);
        }
        return vec![case];
    };
    // As wide as the last, so that their records stand in their order.
    let width = of.to_string().len();
    let each = (1..=of).map(|number| {
        let seed = seed.wrapping_add(u64::from(number) - 1);
        let mut case = latest.clone();
        draw(&mut case.lab, &jitters, seed);
        meet_elsewhere(&mut case.lab);
        case.predictions = predictions(&case.lab);
        let name = format!("{} #{number:0width$}", case.name);
        case.repetition = Some(Repetition {
            case: std::mem::replace(&mut case.name, name),
            number,
            of,
        });
        case
    });
    each.collect()
}

/// Makes of a lab whose faults are all as late as can be what chance has it with `seed`. Says whether that moved any.
fn draw(lab: &mut LabPlan, jitters: &[Duration], seed: u64) -> bool {
    lab.seed = seed;
    for (number, (fault, jitter)) in (0_u64..).zip(lab.faults.iter_mut().zip(jitters)) {
        // Faults of one case, and of cases with neighbouring seeds, must not fire together.
        let own = seed.wrapping_mul(31).wrapping_add(number);
        let later = jitter.mul_f64(StdRng::seed_from_u64(own).random::<f64>());
        if let Trigger::At(at) = &mut fault.trigger {
            *at = *at - *jitter + later;
        }
    }
    jitters.iter().any(|jitter| !jitter.is_zero())
}

/// Lets the first fault meet clients anywhere in their rhythm: all that start before it start later by the same time, up to
/// the longest of their pauses, or half of what is left until the fault.
fn meet_elsewhere(lab: &mut LabPlan) {
    let first_fault = lab.faults.iter().map(|fault| fault.trigger.not_before());
    let Some(first_fault) = first_fault.min() else {
        return;
    };
    let clients = lab.clients.iter_mut();
    let mut early: Vec<_> = clients.filter(|it| it.start < first_fault).collect();
    let works = early.iter().flat_map(|client| client.workloads.iter());
    let pause = works.map(|work| work.kind.longest_pause()).max();
    let room = early.iter().map(|it| (first_fault - it.start) / 2).min();
    let most = pause.unwrap_or_default().min(room.unwrap_or_default());
    let later = most.mul_f64(StdRng::seed_from_u64(!lab.seed).random::<f64>());
    for client in &mut early {
        client.start += later;
    }
}

/// What the timeout model says beforehand, by client.
pub(super) fn predictions(plan: &LabPlan) -> Vec<Prediction> {
    let clients = plan.clients.iter();
    let predictions = clients.filter_map(|client| timeout_model::foresee(client, plan));
    predictions.collect()
}
