//! Until its node was judged not ready.

use super::{Kind, Metric, Needs, Reading, Value, Workloads};

pub(super) const METRIC: Metric = Metric {
    name: "not_ready",
    kind: Kind::Moment,
    needs: Needs {
        workload: Some(Workloads {
            kinds: &["heartbeat"],
            why: "only a client with heartbeats is judged ready or not",
        }),
        ..Needs::NOTHING
    },
    client: Reading {
        about: "The servers judged its node not ready.",
        value: |client| Value::After(client.not_ready_after),
    },
    workload: None,
};
