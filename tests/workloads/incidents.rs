//! The incidents that are made of these workloads: each holds as it is written, and fails where it is told the opposite.

use crate::command::{Run, changed, kernel_or_skip, repository};

#[test]
fn each_incident_holds_and_fails_where_it_is_told_the_opposite() {
    if kernel_or_skip().is_none() {
        return;
    }
    let wrong = [
        (
            "a1-leader-and-standby",
            "two_leaders: never",
            "two_leaders: { within: 900s }",
        ),
        (
            "a3-controller-h1",
            "cause: keepalive",
            "cause: retransmission_timeout",
        ),
        (
            "a7-request-timeout",
            "healthy_cuts: { exactly: 0 }",
            "healthy_cuts: { at_least: 1 }",
        ),
        (
            "b1-kubelet-h2",
            "not_ready: { between: [30s, 40s] }",
            "not_ready: never",
        ),
        (
            "b2-kubelet-h1",
            "not_ready: never",
            "not_ready: { within: 50s }",
        ),
        (
            "b3-kubelet-ping",
            "not_ready: never",
            "not_ready: { within: 50s }",
        ),
        (
            "b4-grpc-keepalive",
            "    recovered: never",
            "    recovered: { within: 900s }",
        ),
    ];
    for (name, right, instead) in wrong {
        let file = repository(&format!("scenarios/incidents/{name}.yaml"));
        let held = Run::of(&[&file], &["--clock", "virtual"]);
        held.outcome.assert(0, &["0 failed"]);
        let (_folder, file) = changed(&file, &[(right, instead)]);
        let failed = Run::of(&[&file], &["--clock", "virtual"]);
        failed.outcome.assert(1, &[instead.trim(), "^^^^^"]);
    }
}
