//! Until it was well again.

use super::{Kind, Metric, Needs, Reading, Value};

pub(super) const METRIC: Metric = Metric {
    name: "recovered",
    kind: Kind::Moment,
    needs: Needs {
        fault: true,
        foreseen: Some(|predicted| predicted.recovery),
        ..Needs::NOTHING
    },
    client: Reading {
        about: "First response from a live server after which the client stays well.",
        value: |client| Value::After(client.recovered_after),
    },
    workload: Some(Reading {
        about: "First response from a live server after which it stays well; of a stream, the first bytes.",
        value: |workload| Value::After(workload.recovered_after),
    }),
};
