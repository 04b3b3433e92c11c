//! Faults other than a loss of power that lasts: what the model knows of them, and that it knows no more.

use super::predict::predict;
use crate::plan::{Client, Fault, FaultKind, LabPlan, Prediction};

/// What will become of `client` when the plan's faults fire; `None` where the model does not know.
///
/// It knows of nodes that lose their power and stay without. Everything else that happens meanwhile would change what
/// comes after it, and a window that leaves it out would be wrong.
#[must_use]
pub fn foresee(client: &Client, plan: &LabPlan) -> Option<Prediction> {
    let known =
        |fault: &Fault| fault.lasts.is_none() && matches!(fault.kind, FaultKind::PowerLoss { .. });
    plan.faults.iter().all(known).then(|| predict(client, plan))
}
