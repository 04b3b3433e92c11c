//! Dials after the fault.

use super::{Kind, Metric, Needs, Reading, Value};

pub(super) const METRIC: Metric = Metric {
    name: "dials",
    kind: Kind::Count,
    needs: Needs::NOTHING,
    client: Reading {
        about: "Dials after the fault.",
        value: |client| Value::Count(client.dials),
    },
    workload: None,
};
