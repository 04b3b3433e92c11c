//! How much of the time it was served.

use super::{Kind, Metric, Needs, Reading, Value};

pub(super) const METRIC: Metric = Metric {
    name: "availability",
    kind: Kind::Share,
    needs: Needs {
        fault: true,
        whole_case: true,
        ..Needs::NOTHING
    },
    client: Reading {
        about: "The share of time, from its first response to the case's end, in which a request would have been answered.",
        value: |client| {
            let unknown = "it had no response, or need not have any all the time";
            client
                .availability
                .map_or(Value::Unknown(unknown), Value::Share)
        },
    },
    workload: None,
};
