//! `halfopen tune`: what it refuses, and what would be right.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{halfopen, kernel_or_skip, repository};

const A1: &str = "scenarios/incidents/a1-leader-election-h2.yaml";
const A2: &str = "scenarios/incidents/a2-leader-election-h1.yaml";

fn refused(scenario: &str, arguments: &[&str]) -> String {
    let words = ["tune", scenario]
        .into_iter()
        .chain(arguments.iter().copied());
    let output = halfopen(words)
        .current_dir(repository(""))
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    format!(
        "$ tune {} {}\n{}",
        scenario,
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn what_can_t_be_varied_is_told_with_its_place_and_what_would_be_right() {
    let vary = |value: &str| refused(A1, &["--vary", value]);
    let mut all: Vec<String> = [
        "tcp_retrie2=5",
        "retries=5",
        "tcp_retries2=",
        "tcp_retries2",
        "tcp_retries2=5,many",
        "tcp_rto_max_ms=500",
        "user_timeout=20",
        "user_timeout=5s,5s",
        "keepalive=30/60",
        "ping=5s",
        "tcp_keepalive=30/60x9",
        "clients.stanby.transport.user_timeout=5s",
        "service.ab.removal=5s",
    ]
    .iter()
    .map(|value| vary(value))
    .collect();
    all.push(refused(A2, &["--vary", "ping=5s+5s"]));
    // Each value with each.
    let many = |knob: &str| {
        let values: Vec<String> = (1..=150).map(|n| format!("{n}s")).collect();
        format!("{knob}={}", values.join(","))
    };
    let (timeouts, dials) = (many("user_timeout"), many("dial_timeout"));
    all.push(refused(A1, &["--vary", &timeouts, "--vary", &dials]));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_scenario_must_have_one_case_the_client_and_a_loss_of_power() {
    let mut all = vec![
        refused("scenarios/incidents/d2-accept-queue.yaml", &[]),
        refused("scenarios/servers/postgresql.yaml", &[]),
        refused(
            "scenarios/servers/postgresql.yaml",
            &["--filter", "no such case"],
        ),
        refused(A1, &["--client", "stanby"]),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("program.yaml");
    fs::write(
        &file,
        "name: t\nduration: 1m\nnodes: [n1, n2]\nservers: { s: { node: n2 } }\n\
         clients:\n  a: { node: n1, url: 'http://s/', profile: bare, workload: { poll: { every: 2s } } }\n\
         \x20 b: { node: n1, url: 'http://s/', workload: { exec: { command: [sleep, '60'] } } }\n\
         faults: [{ at: 9s, fault: { power_loss: { node: n2 } } }]\n",
    )
    .expect("written");
    let name = file.to_str().expect("UTF-8");
    let unreached = refused(name, &["--vary", "user_timeout=5s"]);
    let shown = folder.path().to_str().expect("UTF-8");
    all.push(unreached.replace(shown, "FOLDER"));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn an_interrupted_one_tells_what_it_had_measured() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let records = folder.path().join("records");
    // Eleven settings with some 22 runs each, four of which are measured at a time.
    let mut command = halfopen([
        "tune",
        A1,
        "--vary",
        "tcp_retries2=2,3,4,5,6,7,8,9,10,11",
        "--client",
        "standby",
        "--run-all",
        "--all",
        "--loss-runs",
        "0",
        "--draws",
        "1",
        "--jobs",
        "1",
        "--record",
    ]);
    command.arg(&records).current_dir(repository(""));
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = command.spawn().expect("it runs");
    let begun = Instant::now();
    let is_record = |file: &fs::DirEntry| file.path().extension().is_some_and(|e| e == "ndjson");
    let recorded =
        || fs::read_dir(&records).map_or(0, |files| files.flatten().filter(is_record).count());
    while recorded() < 120 {
        assert!(begun.elapsed() < Duration::from_secs(300), "{}", recorded());
        sleep(Duration::from_millis(50));
    }
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT).expect("a signal");
    let output = running.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}{complaints}");
    assert!(said.starts_with("interrupted: "), "{said}{complaints}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = |figures: &str| words.matches(figures).count();
    assert!(rows("figures run") >= 4, "{said}");
    assert!(rows("figures model") >= 3, "{said}");
}
