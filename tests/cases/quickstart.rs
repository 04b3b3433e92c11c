//! The quickstart's verdicts hold on every run, and the wrong ones on none.

use crate::command::{Run, changed, kernel_or_skip, repository};

const RUNS: u64 = 20;

/// Two clients that differ in the HTTP version only, and so in everything that is measured.
const H1: &str = "h1-timeout: { recovered: { between: [4s, 8s] }, cause: request_timeout }";
const H2: &str =
    "h2-timeout: { recovered: { between: [12s, 20s] }, cause: retransmission_timeout }";

#[test]
fn holds_on_20_runs_of_20() {
    if kernel_or_skip().is_none() {
        return;
    }
    let scenario = repository("scenarios/quickstart.yaml");
    for seed in 0..RUNS {
        let run = Run::of(
            &[&scenario],
            &["--clock", "virtual", "--seed", &seed.to_string()],
        );
        assert_eq!(run.outcome.code, Some(0), "seed {seed}: {}", run.outcome);
        let case = &run.cases()[0];
        for client in case["clients"].as_array().expect("clients") {
            assert_eq!(
                client["outside_prediction"], false,
                "seed {seed}: {client:#}"
            );
        }
    }
}

#[test]
fn with_two_clients_expectations_swapped_it_holds_on_no_run() {
    if kernel_or_skip().is_none() {
        return;
    }
    let swapped = [
        (H1, H2.replace("h2-timeout", "h1-timeout")),
        (H2, H1.replace("h1-timeout", "h2-timeout")),
    ];
    // By way of a mark: the first change must not make the second one's text appear twice.
    let changes = [
        (H1, "FIRST"),
        (H2, swapped[1].1.as_str()),
        ("FIRST", swapped[0].1.as_str()),
    ];
    let (_folder, file) = changed(&repository("scenarios/quickstart.yaml"), &changes);
    for seed in 0..RUNS {
        let run = Run::of(
            &[&file],
            &["--clock", "virtual", "--seed", &seed.to_string()],
        );
        assert_eq!(run.outcome.code, Some(1), "seed {seed}: {}", run.outcome);
        let expectations = run.cases()[0]["expectations"].as_array().expect("them");
        let failed: Vec<_> = expectations
            .iter()
            .filter(|expectation| expectation["verdict"] == "fail")
            .map(|expectation| expectation["text"].as_str().unwrap_or_default())
            .collect();
        // Both clients, in both respects; the other two as before.
        assert_eq!(failed.len(), 4, "seed {seed}: {failed:?}");
        assert!(failed.iter().all(|text| text.contains("-timeout.")));
    }
}
