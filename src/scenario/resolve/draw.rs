//! What chance decides of a case, and its repetitions, each with a seed of its own.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::plan::{Case, LabPlan, Prediction, Repetition, Trigger};
use crate::scenario::model::Scenario;
use crate::timeout_model;
use crate::yaml::given;

/// A case's repetitions, or the case alone. `latest` has every fault as late as it can come.
pub(super) fn all(scenario: &Scenario, latest: Case, times: Option<u32>) -> Vec<Case> {
    let faults = scenario.faults.get().into_iter().flatten();
    let jitter = faults.map(|fault| given(&fault.get()?.jitter).map(|time| time.0));
    let jitters: Vec<Duration> = jitter.map(Option::unwrap_or_default).collect();
    let seed = latest.lab.seed;
    let Some(of) = times else {
        return vec![drawn(latest, &jitters, seed)];
    };
    // As wide as the last, so that their records stand in their order.
    let width = of.to_string().len();
    let each = (1..=of).map(|number| {
        let seed = seed.wrapping_add(u64::from(number) - 1);
        let mut case = drawn(latest.clone(), &jitters, seed);
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

/// The case as chance has it with `seed`.
fn drawn(latest: Case, jitters: &[Duration], seed: u64) -> Case {
    let mut case = latest;
    case.lab.seed = seed;
    if jitters.iter().all(Duration::is_zero) {
        return case;
    }
    for (number, (fault, jitter)) in (0_u64..).zip(case.lab.faults.iter_mut().zip(jitters)) {
        // Faults of one case, and of cases with neighbouring seeds, must not fire together.
        let own = seed.wrapping_mul(31).wrapping_add(number);
        let later = jitter.mul_f64(StdRng::seed_from_u64(own).random::<f64>());
        if let Trigger::At(at) = &mut fault.trigger {
            *at = *at - *jitter + later;
        }
    }
    case.predictions = predictions(&case.lab);
    case
}

/// What the timeout model says beforehand, by client.
pub(super) fn predictions(plan: &LabPlan) -> Vec<Prediction> {
    let clients = plan.clients.iter();
    let predictions = clients.filter_map(|client| timeout_model::foresee(client, plan));
    predictions.collect()
}
