//! How a program ended.

use super::{Kind, Metric, Needs, Reading, Value, Workloads};

/// What shells add to a signal's number.
const BY_SIGNAL: i32 = 128;

pub(super) const METRIC: Metric = Metric {
    name: "exit_code",
    kind: Kind::Count,
    needs: Needs {
        workload: Some(Workloads {
            kinds: &["exec"],
            why: "only a program has an exit code",
        }),
        whole_case: true,
        ..Needs::NOTHING
    },
    client: Reading {
        about: "The exit code with which its program ended by itself (128 and the signal's number if a signal ended it); of \
                several runs, the last one's.",
        value: |client| {
            let program = client.program.as_ref();
            let code = program.and_then(|program| {
                let by_signal = program.signal.map(|signal| BY_SIGNAL + signal);
                u32::try_from(program.exit_code.or(by_signal)?).ok()
            });
            code.map_or(Value::Not("its program had not ended"), Value::Count)
        },
    },
    workload: None,
};
