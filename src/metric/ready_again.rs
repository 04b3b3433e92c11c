//! Until its node was judged ready again.

use super::{Kind, Metric, Needs, Reading, Value, Workloads};

pub(super) const METRIC: Metric = Metric {
    name: "ready_again",
    kind: Kind::Moment,
    needs: Needs {
        workload: Some(Workloads {
            kinds: &["heartbeat"],
            why: "only a client with heartbeats is judged ready or not",
        }),
        ..Needs::NOTHING
    },
    client: Reading {
        about: "The servers judged its node ready again, and it stayed so.",
        value: |client| Value::After(client.ready_again_after),
    },
    workload: None,
};
