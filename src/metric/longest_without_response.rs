//! The longest silence after the fault, from one response to the next.

use std::time::Duration;

use super::{Kind, Metric, Needs, Reading, Value};

pub(super) const METRIC: Metric = Metric {
    name: "longest_without_response",
    kind: Kind::Length,
    needs: Needs::NOTHING,
    client: Reading {
        about: "The longest time after the fault from one response, or part of one, to the next or to the case's end.",
        value: |client| value(client.longest_without_response),
    },
    workload: Some(Reading {
        about: "The longest time after the fault from one of its responses, or part of one, to the next or to the case's end.",
        value: |workload| value(workload.longest_without_response),
    }),
};

fn value(longest: Option<Duration>) -> Value {
    longest.map_or(
        Value::Unknown("no response came, or it need not have any all the time"),
        Value::Lasts,
    )
}
