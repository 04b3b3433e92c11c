//! Until it gave up the dead connection.

use std::time::Duration;

use super::{Kind, Metric, Needs, Reading, Value};

pub(super) const METRIC: Metric = Metric {
    name: "detected",
    kind: Kind::Moment,
    needs: Needs {
        fault: true,
        foreseen: Some(|predicted| predicted.detection),
        struck: true,
        ..Needs::NOTHING
    },
    client: Reading {
        about: "The client gave up the dead connection.",
        value: |client| value(client.detection_unknown, client.detected_after),
    },
    workload: Some(Reading {
        about: "The client gave up the dead connection that this workload waited on.",
        value: |workload| value(workload.detection_unknown, workload.detected_after),
    }),
};

fn value(unknown: bool, after: Option<Duration>) -> Value {
    match unknown {
        true => Value::Unknown("the record does not say when the connection was given up"),
        false => Value::After(after),
    }
}
