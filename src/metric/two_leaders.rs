//! Until two led.

use super::{Kind, Metric, Needs, Reading, Tested, Value, Workloads};

pub(super) const METRIC: Metric = Metric {
    name: "two_leaders",
    kind: Kind::Moment,
    needs: Needs {
        // Whoever takes over from another need not be struck itself.
        tested: Tested::Any,
        workload: Some(Workloads {
            kinds: &["leader_election"],
            why: "only a leader election has leaders",
        }),
        ..Needs::NOTHING
    },
    client: Reading {
        about: "One that believed to lead while the lock's store named another, and this client was one of the two.",
        value: |client| Value::After(client.two_leaders_after),
    },
    workload: None,
};
