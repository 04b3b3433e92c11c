//! Cases that run many times: each with dice of its own, their times taken together.

use crate::command::{Run, changed, kernel_or_skip, number, repository, run};

/// A2 so many times: each dial to the service has an even chance to be sent to the dead endpoint until it is removed.
fn repeated(times: u32, expect: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let a2 = repository("scenarios/incidents/a2-leader-election-h1.yaml");
    changed(
        &a2,
        &[
            ("\nnodes:", &format!("\nrepeat: {times}\n\nnodes:")),
            (
                "    cause: request_timeout\n",
                &format!("    cause: request_timeout\n    distribution: {expect}\n"),
            ),
        ],
    )
}

#[test]
fn the_dice_are_thrown_anew_each_time_and_quantiles_are_judged() {
    if kernel_or_skip().is_none() {
        return;
    }
    // The first dial that meets the live endpoint ends it: after the request timeout (10 s), the pause (3 s) and what is
    // left of the one under way; each dead dial before adds 13 s, until 40 s.
    let holds = "{ recovered: { min: { within: 17s }, p95: { between: [28s, 54s] } } }";
    let (_folder, scenario) = repeated(40, holds);
    let run = Run::of(&[&scenario], &["--clock", "virtual"]);
    run.outcome.assert(
        0,
        &["1 case: 1 passed", "recovered", "40 of 40", "(100.0 %,"],
    );
    let (all, each) = run.cases().split_last().expect("cases");
    assert_eq!(each.len(), 40);
    let spread = &all["distributions"][0]["recovered"];
    assert_eq!(spread["happened"], 40);
    let mut times: Vec<f64> = each
        .iter()
        .map(|case| {
            case["clients"][0]["recovered_after_s"]
                .as_f64()
                .expect("a time")
        })
        .collect();
    times.sort_by(f64::total_cmp);
    assert_eq!(spread["min_s"].as_f64(), Some(times[0]));
    assert_eq!(spread["median_s"].as_f64(), Some(times[19]));
    assert_eq!(spread["p95_s"].as_f64(), Some(times[37]));
    assert_eq!(spread["max_s"].as_f64(), Some(times[39]));
    // Half of all meet the live endpoint at once; 40 throws of a fair coin lie within these bounds but once in 10,000.
    let at_once = times.iter().filter(|time| **time < 17.0).count();
    assert!((8..=32).contains(&at_once), "{at_once} of 40: {times:?}");
    assert!(
        times[39] > 28.0,
        "no run met the dead endpoint twice: {times:?}"
    );
}

#[test]
fn a_quantile_that_does_not_hold_fails_and_its_line_is_shown() {
    if kernel_or_skip().is_none() {
        return;
    }
    let (_folder, scenario) = repeated(6, "{ recovered: { max: { within: 14s } } }");
    let run = Run::of(&[&scenario], &["--clock", "virtual"]);
    let line = "standby.distribution.recovered.max: within 14 s";
    run.outcome.assert(
        1,
        &["1 case: 0 passed, 1 failed", line, "within 14 s, actual"],
    );
    // Each by itself is as expected.
    assert!(
        run.cases()
            .iter()
            .rev()
            .skip(1)
            .all(|case| case["verdict"] == "pass")
    );
}

#[test]
fn repetitions_are_told_from_their_records_too() {
    if kernel_or_skip().is_none() {
        return;
    }
    let (folder, scenario) = repeated(6, "{ recovered: { p95: { within: 60s } } }");
    let records = folder.path().join("records");
    let records = records.to_str().expect("UTF-8");
    let first = Run::of(&[&scenario], &["--clock", "virtual", "--record", records]);
    first.outcome.assert(0, &["1 case: 1 passed"]);
    let again = run(["report", records]);
    again.assert(0, &["1 case: 1 passed"]);
    assert_eq!(first.outcome.stdout, again.stdout);
}

/// The power goes at 10 s, between two requests that are 4 s apart. On what the client is at is where chance decides.
#[test]
fn the_fault_meets_clients_anywhere_in_their_rhythm() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let scenario = folder.path().join("rhythm.yaml");
    let yaml = "name: rhythm\nrepeat: 40\nduration: 20s\nnodes: [n1, n2]\nservers: { s: { node: n2 } }\n\
                clients: { c: { node: n1, url: http://s/, profile: bare, workload: { poll: { every: 4s, timeout: 1s } } } }\n\
                faults: [{ at: 10s, fault: { power_loss: { node: n2 } } }]\n";
    std::fs::write(&scenario, yaml).expect("written");
    let run = Run::of(&[&scenario], &["--clock", "virtual"]);
    run.outcome.assert(0, &["1 case: 0 passed"]);
    let (_, each) = run.cases().split_last().expect("cases");
    let times = each
        .iter()
        .map(|case| number(&case["clients"][0]["detected_after_s"]));
    let times: Vec<f64> = times.collect();
    // A request timeout after the next request, which is at most a pause away: uniform from 1 s to 5 s.
    assert!(
        times.iter().all(|time| (1.0..5.1).contains(time)),
        "{times:?}"
    );
    // Where that is, is known beforehand, unless the fault comes while a request begins or ends.
    let foreseen = each.iter().map(|case| {
        let detection = &case["clients"][0]["predicted"]["detection"];
        (number(&detection["min_s"]), number(&detection["max_s"]))
    });
    let foreseen: Vec<(f64, f64)> = foreseen.collect();
    for ((min, max), time) in foreseen.iter().zip(&times) {
        assert!((min..=max).contains(&time), "{time} is not {min} to {max}");
    }
    let known = foreseen.iter().filter(|(min, max)| max - min < 1.0).count();
    assert!(known >= 30, "{known} of 40: {foreseen:?}");
    for quarter in 0..4 {
        let begins = 1.0 + f64::from(quarter);
        let here = times
            .iter()
            .filter(|time| (begins..begins + 1.0).contains(time))
            .count();
        // Ten of forty are to be expected; less than two once in 2,000.
        assert!(here >= 2, "{here} from {begins} s: {times:?}");
    }
}
