//! Responses that went on, and were cut while all was well.

use super::{Kind, Metric, Needs, Reading, Value, Workloads};

pub(super) const METRIC: Metric = Metric {
    name: "healthy_cuts",
    kind: Kind::Count,
    needs: Needs {
        workload: Some(Workloads {
            kinds: &["watch", "stream"],
            why: "watches and streams are cut",
        }),
        ..Needs::NOTHING
    },
    client: Reading {
        about: "Watches and streams that the client's own timeout cut after the fault though their server was well.",
        value: |client| Value::Count(client.healthy_cuts),
    },
    workload: Some(Reading {
        about: "Its watches or streams that the client's own timeout cut after the fault though their server was well.",
        value: |workload| Value::Count(workload.healthy_cuts),
    }),
};
