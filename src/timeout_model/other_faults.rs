//! Faults other than a loss of power that lasts: what the model knows of them, and that it knows no more.

use super::predict::predict;
use crate::plan::{Client, Fault, FaultKind, LabPlan, Prediction};

/// What will become of `client` when the plan's faults fire; `None` where the model does not know.
///
/// It knows of nodes that lose their power and stay without. Everything else that happens to the client meanwhile would
/// change what comes after it, and a window that leaves it out would be wrong.
#[must_use]
pub fn foresee(client: &Client, plan: &LabPlan) -> Option<Prediction> {
    let known =
        |fault: &Fault| fault.lasts.is_none() && matches!(fault.kind, FaultKind::PowerLoss { .. });
    let harmless = |fault: &Fault| known(fault) || !may_concern(&fault.kind, client);
    plan.faults
        .iter()
        .all(harmless)
        .then(|| predict(client, plan))
}

/// Whether a fault may change anything for a client: of those that name whom they strike, only if it is this one.
fn may_concern(fault: &FaultKind, client: &Client) -> bool {
    match fault {
        FaultKind::ConntrackDeleted { service, .. }
        | FaultKind::EndpointRemoved { service, .. }
        | FaultKind::EndpointAdded { service, .. } => {
            client.target.service.as_ref() == Some(service)
        }
        FaultKind::SocketDestroyed { client: name, .. } => *name == client.name,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{PlanOptions, cases};
    use crate::scenario::parse;

    /// Clients of a scenario that a prediction is made for.
    fn foreseen(fault: &str) -> Vec<String> {
        let text = format!(
            "name: t\nduration: 1h\nnodes: [n1, n2, n3]\n\
             servers:\n  s1: {{ node: n1 }}\n  s2: {{ node: n2 }}\n\
             service:\n  one: {{ address: '192.168.255.1:80', endpoints: [s1, s2], pin_first: s1 }}\n\
             \x20 two: {{ address: '192.168.255.2:80', endpoints: [s1, s2], pin_first: s1 }}\n\
             clients:\n  a: &a {{ node: n3, url: 'http://one/', profile: java, workload: {{ poll: {{ every: 3s }} }} }}\n\
             \x20 b: {{ node: n3, url: 'http://two/', profile: java, workload: {{ poll: {{ every: 3s }} }} }}\n\
             faults:\n  - {{ at: 10s, fault: {{ power_loss: {{ node: n1 }} }} }}\n\
             \x20 - {{ at: 50s, fault: {fault} }}\n"
        );
        let loaded = parse("t.yaml", &text).expect("a right scenario");
        let cases = cases(&loaded, &PlanOptions::default()).expect("a right scenario");
        let predictions = cases[0].predictions.iter();
        predictions.map(|p| p.client.clone()).collect()
    }

    #[test]
    fn a_fault_leaves_alone_whom_it_does_not_name() {
        assert_eq!(foreseen("{ conntrack_deleted: { service: two } }"), ["a"]);
        assert_eq!(foreseen("{ socket_destroyed: { client: a } }"), ["b"]);
        assert_eq!(foreseen("{ power_loss: { node: n2 } }"), ["a", "b"]);
        assert!(foreseen("{ loss: { node: n3, percent: 5 } }").is_empty());
    }
}
