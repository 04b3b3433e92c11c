//! Until it held the lock.

use super::{Kind, Metric, Needs, Reading, Tested, Value, Workloads};

pub(super) const METRIC: Metric = Metric {
    name: "leads",
    kind: Kind::Moment,
    needs: Needs {
        // Whoever takes over from another need not be struck itself.
        tested: Tested::Any,
        workload: Some(Workloads {
            kinds: &["leader_election", "exec"],
            why: "only a leader election has leaders, and a program that says so",
        }),
        ..Needs::NOTHING
    },
    client: Reading {
        about: "The lock's store says that the client holds it; of a program: it says that it leads (`output: { leads: … }`).",
        value: |client| Value::After(client.leads_after),
    },
    workload: None,
};
