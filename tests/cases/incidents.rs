//! The incidents of the field: each scenario holds as it is written, and fails, with the line underlined, where it is told
//! something else.

use std::collections::BTreeSet;
use std::fs;

use crate::command::{Run, changed, kernel_or_skip, number, repository};

/// For each scenario of scenarios/incidents a line that is right, and what would be wrong in its place.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "a1-leader-and-standby",
        "two_leaders: never",
        "two_leaders: { within: 900s }",
    ),
    (
        "a1-leader-election-h2",
        "cause: retransmission_timeout",
        "cause: request_timeout",
    ),
    (
        "a1-mitigations",
        "recovered: { between: [102200ms, 120s] }",
        "recovered: { within: 60s }",
    ),
    (
        "a2-dice",
        "max: { between: [39s, 55s] }",
        "max: { within: 30s }",
    ),
    (
        "a2-leader-election-h1",
        "detected: { between: [9s, 14s] }",
        "detected: never",
    ),
    (
        "a3-controller-h1",
        "cause: keepalive",
        "cause: retransmission_timeout",
    ),
    (
        "a4-httptest-h1",
        "recovered: never",
        "recovered: { within: 940s }",
    ),
    (
        "a5-retries2-9",
        "recovered: { between: [204600ms, 226s] }",
        "recovered: { within: 204s }",
    ),
    (
        "a5p-sysctl-in-the-pod",
        "in-a-pod: { detected: { between: [924s, 1050s] }",
        "in-a-pod: { detected: { within: 25s }",
    ),
    (
        "a6-keepalive-push",
        "detected: { between: [178s, 187s] }",
        "detected: { within: 100s }",
    ),
    (
        "a7-request-timeout",
        "healthy_cuts: { exactly: 0 }",
        "healthy_cuts: { at_least: 1 }",
    ),
    (
        "a8-http2-ping",
        "cause: ping_timeout",
        "cause: retransmission_timeout",
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
    (
        "b5-kubelet-sysctls",
        "not_ready: never",
        "not_ready: { within: 50s }",
    ),
];

/// Those whose opposite stands with the tests of what they show.
const ELSEWHERE: &[&str] = &[
    // Needs a program that is not always there.
    "a4-httptest-go",
    "c1-ping-kills-living-connection",
    "c2-sick-path",
    "c3-lost-streams",
    "d1-tw-recycle",
    "d2-accept-queue",
];

#[test]
fn every_incident_has_its_opposite() {
    let folder = fs::read_dir(repository("scenarios/incidents")).expect("the folder is there");
    let files: BTreeSet<String> = folder
        .map(|entry| entry.expect("it can be read").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let told = WRONG
        .iter()
        .map(|(name, ..)| *name)
        .chain(ELSEWHERE.iter().copied());
    let told: BTreeSet<String> = told.map(str::to_owned).collect();
    assert_eq!(files, told);
}

#[test]
fn each_holds() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = fs::read_dir(repository("scenarios/incidents")).expect("the folder is there");
    let files = folder.map(|entry| entry.expect("it can be read").path());
    // The Go program is not in PATH here; what it does is held elsewhere.
    let files: Vec<_> = files
        .filter(|path| !path.ends_with("a4-httptest-go.yaml"))
        .collect();
    let files: Vec<&std::path::Path> = files.iter().map(|path| path.as_path()).collect();
    let run = Run::of(&files, &["--clock", "virtual"]);
    run.outcome.assert(0, &[" 0 failed"]);
    let broken = run
        .verdicts()
        .into_iter()
        .filter(|verdict| *verdict == "error");
    assert_eq!(broken.count(), 0, "{}", run.outcome);
    for case in run.cases() {
        for client in case["clients"].as_array().expect("clients") {
            let place = format!("{} {}", case["scenario"], client["name"]);
            // Programs' own pauses are not known; and where a path loses some packets, waiting on what lives is no part.
            let lossy = case["faults"]
                .as_array()
                .is_some_and(|all| all.iter().any(|fault| fault["kind"] == "loss"));
            if let Some(unexplained) = client["unexplained_s"].as_f64()
                && client["requests_failed"].is_u64()
                && !lossy
            {
                assert!(unexplained <= 0.001, "{place}: {unexplained} s unexplained");
            }
            assert_eq!(client["outside_prediction"], false, "{place}");
        }
    }
}

#[test]
fn each_fails_where_it_is_told_something_else() {
    if kernel_or_skip().is_none() {
        return;
    }
    for (name, right, instead) in WRONG {
        let file = repository(&format!("scenarios/incidents/{name}.yaml"));
        let (_folder, file) = changed(&file, &[(right, instead)]);
        // One bad repetition of a few is as bad as one of a hundred.
        let text = fs::read_to_string(&file).expect("text");
        let fewer = text.replace("repeat: 100\n", "repeat: 20\n");
        fs::write(&file, fewer).expect("written");
        let failed = Run::of(&[&file], &["--clock", "virtual"]);
        failed.outcome.assert(1, &[instead.trim(), "╰── expected"]);
    }
}

/// As the file lists them: what helps most comes first.
#[test]
fn mitigations_recover_in_their_order() {
    if kernel_or_skip().is_none() {
        return;
    }
    let file = repository("scenarios/incidents/a1-mitigations.yaml");
    let run = Run::of(&[&file], &["--clock", "virtual"]);
    let clients = run.cases()[0]["clients"].as_array().expect("clients");
    // The dice decide which of the first three is first.
    let later = clients.iter().skip(3);
    let times: Vec<f64> = later.map(|c| number(&c["recovered_after_s"])).collect();
    assert!(times.is_sorted(), "{times:?}");
}
