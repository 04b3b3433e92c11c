//! A hundred cases side by side have the verdicts and the figures that each has alone.

use crate::command::{
    Run, changed, client, kernel_or_skip, number, on_real_clock_or_skip, repository, two_seconds,
};
use crate::machine;

const CASES: usize = 100;

#[test]
fn a_hundred_quickstarts_on_the_virtual_clock() {
    if kernel_or_skip().is_none() {
        return;
    }
    let _turn = machine::alone();
    // A hundred values of something that decides nothing: the same case under a hundred names.
    let values: Vec<String> = (0..CASES).map(|n| (600 + n).to_string()).collect();
    let key = "sysctls.net.ipv4.tcp_keepalive_time";
    let matrix = format!("matrix: {{ {key}: [{}] }}\nexpect:", values.join(", "));
    let sysctl = "net.ipv4.tcp_retries2: 5\n  net.ipv4.tcp_keepalive_time: 7200\n";
    let changes = [
        ("net.ipv4.tcp_retries2: 5\n", sysctl),
        ("\nexpect:", &format!("\n{matrix}")),
    ];
    let (_folder, file) = changed(&repository("scenarios/quickstart.yaml"), &changes);
    let alone = Run::of(
        &[&file],
        &["--clock", "virtual", "--filter", "keepalive_time=600"],
    );
    let run = Run::of(&[&file], &["--clock", "virtual"]);
    run.outcome.assert(0, &["100 cases: 100 passed"]);
    for case in run.cases() {
        for expected in alone.cases()[0]["clients"].as_array().expect("clients") {
            let name = expected["name"].as_str().expect("a name");
            let actual = client(case, name);
            assert_eq!(actual["cause"], expected["cause"], "{name}");
            assert_eq!(actual["dials"], expected["dials"], "{name}");
            // The same dice for all: the seed's.
            assert_eq!(
                actual["recovered_after_s"], expected["recovered_after_s"],
                "{name}"
            );
        }
    }
}

#[test]
fn a_hundred_cases_on_the_real_clock() {
    let scenario = two_seconds();
    let Some(run) = on_real_clock_or_skip(&vec![scenario.as_path(); CASES]) else {
        return;
    };
    // First what is wrong, which would be lost among what is not.
    for case in run.cases() {
        assert_eq!(case["verdict"], "pass", "{}: {case:#}", case["reason"]);
    }
    run.outcome.assert(0, &["100 cases: 100 passed"]);
    let recovered: Vec<f64> = run
        .cases()
        .iter()
        .map(|case| number(&client(case, "poller")["recovered_after_s"]))
        .collect();
    let worst = recovered.iter().copied().fold(0.0, f64::max);
    println!("worst recovery {worst} s, all in {:?}", run.took);
}
