//! What ended the wait.

use super::{Kind, Metric, Needs, Reading, Value};
use crate::plan;

pub(super) const METRIC: Metric = Metric {
    name: "cause",
    kind: Kind::Cause,
    needs: Needs {
        fault: true,
        struck: true,
        ..Needs::NOTHING
    },
    client: Reading {
        about: "What ended the wait on the dead connection: one, or one of a list.",
        value: |client| value(client.cause, client.evidence.as_ref()),
    },
    workload: Some(Reading {
        about: "What ended its wait on the dead connection: one, or one of a list.",
        value: |workload| value(workload.cause, workload.evidence.as_ref()),
    }),
};

fn value(cause: Option<plan::Cause>, evidence: Option<&String>) -> Value {
    let evidence = evidence.cloned().unwrap_or_default();
    Value::Cause(cause.unwrap_or(plan::Cause::Unknown), evidence)
}
