//! That the faults passed it by.

use super::{Kind, Metric, Needs, Reading, Tested, Value};
use crate::result::Passing;

pub(super) const METRIC: Metric = Metric {
    name: "not_affected",
    kind: Kind::Fact,
    needs: Needs {
        fault: true,
        tested: Tested::Nobody,
        ..Needs::NOTHING
    },
    client: Reading {
        about: "The faults passed it by: they struck nothing that it held or needed, and every request was answered. Of such a client nothing else can be expected.",
        value: |client| value(client.passing()),
    },
    workload: Some(Reading {
        about: "The faults passed it by: they struck nothing that it held or needed, and every request of its was answered.",
        value: |workload| value(workload.passing()),
    }),
};

fn value(passing: Passing) -> Value {
    match passing {
        Passing::By => Value::Fact(true, String::from("every request was answered")),
        Passing::Struck(how) => Value::Fact(false, how),
        Passing::Unknown => Value::Unknown("the record does not say where its connection led"),
    }
}
