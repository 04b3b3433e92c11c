//! Requests without a response.

use super::{Kind, Metric, Needs, Reading, Value};

pub(super) const METRIC: Metric = Metric {
    name: "requests_failed",
    kind: Kind::Count,
    needs: Needs {
        requests: true,
        ..Needs::NOTHING
    },
    client: Reading {
        about: "Requests after the fault that got no response.",
        value: |client| value(client.requests_failed),
    },
    workload: Some(Reading {
        about: "Its requests after the fault that got no response, or not the whole of it.",
        value: |workload| value(workload.requests_failed),
    }),
};

fn value(failed: Option<u32>) -> Value {
    failed.map_or(
        Value::Unknown("nobody saw all requests of a program"),
        Value::Count,
    )
}
