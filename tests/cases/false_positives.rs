//! Connections whose both ends live, and who gives them up all the same.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{self, Run, changed, kernel_or_skip, number, repository};

const VIRTUAL: [&str; 2] = ["--clock", "virtual"];

/// A scenario of the family with fewer repetitions.
fn fewer(name: &str, repetitions: u32) -> (TempDir, PathBuf) {
    let scenario = repository(&format!("scenarios/false-positives/{name}.yaml"));
    let text = std::fs::read_to_string(&scenario).expect("the scenario");
    let mut lines = text.lines();
    let repeat = lines.find(|line| line.starts_with("repeat: "));
    let repeat = repeat.expect("it is repeated").to_owned();
    changed(&scenario, &[(&repeat, &format!("repeat: {repetitions}"))])
}

fn single(run: &Run) -> impl Iterator<Item = &Value> {
    run.cases()
        .iter()
        .filter(|case| !case["repetition"].is_null())
}

/// What ended the connections of a client that it held at the fault, over all single runs.
fn causes<'a>(run: &'a Run, client: &str) -> BTreeSet<&'a str> {
    single(run)
        .filter_map(|case| command::client(case, client)["cause"].as_str())
        .collect()
}

#[test]
fn every_expectation_on_blips_holds_whatever_the_moment() {
    if kernel_or_skip().is_none() {
        return;
    }
    let files: Vec<_> = ["idle", "poll", "stream"]
        .map(|traffic| fewer(&format!("blips-{traffic}"), 3))
        .into();
    let paths: Vec<_> = files.iter().map(|(_, path)| path.as_path()).collect();
    let run = Run::of(&paths, &VIRTUAL);
    run.outcome.assert(0, &["15 cases: 15 passed"]);
    // Each repetition has a moment of its own, the same for every length and traffic.
    let moments: BTreeSet<u64> = single(&run)
        .map(|case| {
            (number(&case["faults"][0]["at_s"]) * 10.0)
                .round()
                .to_bits()
        })
        .collect();
    assert_eq!(moments.len(), 3);
    for moment in moments.into_iter().map(|bits| f64::from_bits(bits) / 10.0) {
        assert!((60.0..=90.0).contains(&moment), "{moment}");
    }
    // Whoever was killed was killed by a limit of its own, and it is known by which.
    let own = |client| {
        let mut all = causes(&run, client);
        all.remove("never");
        Vec::from_iter(all)
    };
    assert_eq!(own("nothing"), [""; 0]);
    assert_eq!(own("retries2-5"), ["retransmission_timeout"]);
    assert_eq!(own("go-http1"), ["request_timeout"]);
    assert_eq!(own("client-go"), ["ping_timeout"]);
    assert_eq!(own("reqwest"), ["user_timeout"]);
    assert_eq!(own("node-http"), ["keepalive"]);
}

/// A published trap, and the default of a library: one lost probe is enough.
#[test]
fn with_a_user_timeout_over_keepalive_one_lost_probe_kills() {
    if kernel_or_skip().is_none() {
        return;
    }
    let (_folder, scenario) = fewer("blips-idle", 12);
    let run = Run::of(
        &[&scenario],
        &[&VIRTUAL[..], &["--filter", "for=5s"]].concat(),
    );
    run.outcome.assert(0, &["1 case: 1 passed"]);
    for client in ["reqwest", "user-timeout-20s"] {
        for case in single(&run) {
            let client = command::client(case, client);
            let fault = number(&case["faults"][0]["at_s"]);
            let connection = &client["connections"][0];
            // Probes go out every 15.104 s: 15 s, and the timer wheel's rounding. So one falls into the blip, or none.
            let opened = number(&connection["opened_at_s"]);
            let since = (fault - opened) % 15.104;
            let hit = since > 15.104 - 5.0;
            let near = [0.0, 10.104, 15.104]
                .iter()
                .any(|edge| (since - edge).abs() < 0.25);
            let killed = !client["detected_after_s"].is_null();
            assert!(near || hit == killed, "{since} s after a probe: {client}");
        }
    }
    assert_eq!(
        causes(&run, "reqwest"),
        BTreeSet::from(["never", "user_timeout"])
    );
}

#[test]
fn what_is_expected_of_lossy_paths_holds_and_no_two_repetitions_are_alike() {
    if kernel_or_skip().is_none() {
        return;
    }
    let files: Vec<_> = ["idle", "poll", "stream"]
        .map(|traffic| fewer(&format!("loss-{traffic}"), 4))
        .into();
    let paths: Vec<_> = files.iter().map(|(_, path)| path.as_path()).collect();
    // Each repetition has dice of its own.
    let run = Run::of(
        &paths,
        &[&VIRTUAL[..], &["--filter", "percent=30", "--jobs", "12"]].concat(),
    );
    run.outcome.assert(0, &["3 cases: 3 passed"]);
    for scenario in ["loss-poll", "loss-stream"] {
        let own = single(&run).filter(|case| case["scenario"] == scenario);
        let waits: BTreeSet<String> = own
            .map(|case| {
                let clients = case["clients"].as_array().expect("clients").iter();
                let waits = clients.map(|client| client["longest_without_response_s"].to_string());
                waits.collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(waits.len(), 4, "{scenario}: {waits:?}");
    }
    for case in single(&run) {
        for client in case["clients"].as_array().expect("clients") {
            assert_ne!(client["cause"], "unknown", "{client}");
        }
    }
}

#[test]
fn a_connection_that_lived_and_was_closed_when_idle_was_not_killed() {
    if kernel_or_skip().is_none() {
        return;
    }
    // Two clients with a pool that closes after 15 s; one asks again every 20 s, and the other's response is under way.
    let folder = tempfile::tempdir().expect("a folder");
    for (name, fault, delay) in [
        (
            "healed",
            "at: 25s, for: 2s, fault: { loss: { between: [node1, node2], percent: 100 } }",
            "0ms",
        ),
        (
            "lossy",
            "at: 23s, fault: { loss: { between: [node1, node2], percent: 1 } }",
            "2s",
        ),
    ] {
        let delay = match delay {
            "0ms" => String::new(),
            delay => format!(", response_delay: {delay}"),
        };
        let path = folder.path().join(format!("{name}.yaml"));
        let text = format!(
            "name: {name}\nduration: 60s\nnodes: [node1, node2]\nservers: {{ server: {{ node: node2, tls: true{delay} }} }}\n\
             clients:\n  asks: {{ node: node1, url: https://server/, profile: bare-h2, transport: {{ idle_timeout: 15s }}, \
             workload: {{ poll: {{ every: 20s }} }} }}\nfaults: [{{ {fault} }}]\n\
             expect: {{ asks: {{ detected: never, cause: never, requests_failed: {{ exactly: 0 }} }} }}\n"
        );
        std::fs::write(&path, text).expect("written");
        let run = Run::of(&[&path], &VIRTUAL);
        run.outcome.assert(0, &["1 case: 1 passed"]);
        let client = command::client(&run.cases()[0], "asks");
        let evidence = client["evidence"].as_str().expect("evidence");
        assert!(evidence.contains("lived through the fault"), "{evidence}");
    }
}

/// That they hold as they are written stands with the other incidents.
#[test]
fn the_incidents_of_lossy_paths_fail_where_told_the_opposite() {
    if kernel_or_skip().is_none() {
        return;
    }
    let c = |name: &str, changes: &[(&str, &str)]| {
        changed(
            &repository(&format!("scenarios/incidents/{name}.yaml")),
            changes,
        )
    };
    let changes = [
        c(
            "c1-ping-kills-living-connection",
            &[
                ("cause: [ping_timeout, never]", "cause: never"),
                ("repeat: 20", "repeat: 5"),
            ],
        ),
        c(
            "c2-sick-path",
            &[(
                "node-to-lb: { requests_failed: { at_least: 5 }",
                "node-to-lb: { requests_failed: { exactly: 0 }",
            )],
        ),
        c(
            "c3-lost-streams",
            &[
                ("leads: { within: 10m }", "leads: never"),
                ("repeat: 10", "repeat: 3"),
            ],
        ),
    ];
    let paths: Vec<_> = changes.iter().map(|(_, path)| path.as_path()).collect();
    let run = Run::of(&paths, &VIRTUAL);
    run.outcome.assert(
        1,
        &[
            "3 cases: 0 passed, 3 failed",
            "cause: never",
            "exactly: 0",
            "leads: never",
        ],
    );
}
