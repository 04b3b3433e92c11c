//! How often it was out.

use super::{Kind, Metric, Needs, Reading, Value};

pub(super) const METRIC: Metric = Metric {
    name: "outages",
    kind: Kind::Count,
    needs: Needs {
        fault: true,
        whole_case: true,
        ..Needs::NOTHING
    },
    client: Reading {
        about: "How often it was out in the whole case: a fault that strikes it while it is out already is no outage of its own.",
        value: |client| {
            let times = u32::try_from(client.times_out()).unwrap_or(u32::MAX);
            Value::Count(times)
        },
    },
    workload: None,
};
