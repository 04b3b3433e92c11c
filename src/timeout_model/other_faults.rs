//! Faults other than a loss of power that lasts: what the model knows of them, and that it knows no more.

use crate::plan::{Cause, Client, FaultKind, LabPlan, Prediction};

/// The prediction for `client` where a plan has such faults; `None` where it has none of them.
pub(super) fn predict(client: &Client, plan: &LabPlan) -> Option<Prediction> {
    let lasting = |fault: &crate::plan::Fault| {
        fault.lasts.is_none() && matches!(fault.kind, FaultKind::PowerLoss { .. })
    };
    if plan.faults.iter().all(lasting) {
        return None;
    }
    Some(Prediction {
        client: client.name.clone(),
        detection: None,
        recovery: None,
        cause: Cause::Unknown,
    })
}
