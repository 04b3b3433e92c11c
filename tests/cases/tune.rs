//! `halfopen tune`: what it says is survived against what servers saw of silences written by hand, and what it runs of all.

use std::fs;

use halfopen::record::{Event, Observation};
use serde_json::Value;

use crate::command::{Run, halfopen, kernel_or_skip};

const PHASES: [&str; 3] = ["idle", "request_unacknowledged", "waiting_for_response"];

/// A client of one server, which asks every two seconds.
fn scenario(client: &str, fault: &str) -> String {
    format!(
        "name: tuned\nnodes: [n1, n2]\nservers: {{ s: {{ node: n2 }} }}\n\
         clients:\n  c: {{ node: n1, url: 'http://s/', profile: bare, workload: {{ poll: {{ every: 2s }} }}{client} }}\n\
         faults:\n  - {fault}\n"
    )
}

fn tuned(text: &str, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tuned.yaml");
    fs::write(&file, text).expect("written");
    let json = folder.path().join("tuned.json");
    let (file, to) = (file.to_str().expect("UTF-8"), json.to_str().expect("UTF-8"));
    let words = ["tune", file, "--json", to].into_iter();
    let output = halfopen(words.chain(arguments.iter().copied()))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_str(&fs::read_to_string(&json).expect("written")).expect("JSON")
}

/// Whether no server took a connection after a silence of so many seconds began, in any phase.
fn survived(client: &str, seconds: u64) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let files = PHASES.map(|phase| {
        let fault = format!(
            "{{ when: {{ client: c, phase: {phase}, after: 10s }}, for: {seconds}s, fault: {{ loss: {{ node: n2, percent: 100 }} }} }}"
        );
        let text = format!("duration: 300s\n{}", scenario(client, &fault));
        let file = folder.path().join(format!("{phase}.yaml"));
        fs::write(&file, text).expect("written");
        file
    });
    let records = folder.path().join("records");
    let record = records.to_str().expect("UTF-8");
    let files: Vec<&_> = files.iter().map(|file| file.as_path()).collect();
    Run::of(&files, &["--clock", "virtual", "--record", record]);
    let names = fs::read_dir(&records).expect("records");
    let paths = names.map(|entry| entry.expect("a file").path());
    let dials: Vec<usize> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "ndjson"))
        .map(|path| {
            let text = fs::read_to_string(path).expect("readable");
            let lines = text.lines();
            let events = lines.map(|line| serde_json::from_str(line).expect("an event"));
            let accepted = |event: &Event| matches!(event.what, Observation::ServerAccepted { .. });
            events.filter(accepted).count()
        })
        .collect();
    assert_eq!(dials.len(), PHASES.len());
    dials.iter().all(|dials| *dials == 1)
}

/// Each of them a knob of another kind: retransmissions, keepalive, a user timeout and the client's own limit.
const SETTINGS: [(&str, &str); 4] = [
    ("tcp_retries2=5", ", sysctls: { net.ipv4.tcp_retries2: 5 }"),
    (
        "keepalive=5/1x3",
        ", transport: { keepalive: { idle: 5s, interval: 1s, count: 3 } }",
    ),
    ("user_timeout=9s", ", transport: { user_timeout: 9s }"),
    ("request_timeout=7s", ", transport: { request_timeout: 7s }"),
];

#[test]
fn what_is_survived_is_what_servers_saw_to_the_second() {
    if kernel_or_skip().is_none() {
        return;
    }
    for (setting, client) in SETTINGS {
        let text = scenario("", "{ at: 10s, fault: { power_loss: { node: n2 } } }");
        let vary = ["--vary", setting, "--run-all", "--loss-runs", "0"];
        let result = tuned(&text, &vary);
        let of = &result["clients"][0];
        assert_eq!(of["findings"], Value::Array(Vec::new()), "{setting}");
        let points = of["points"].as_array().expect("points");
        let point = points
            .iter()
            .find(|point| point["setting"] == setting)
            .expect("it is there");
        assert_eq!(point["by"], "run", "{setting}");
        let seconds = point["survives_s"].as_f64().expect("a time") as u64;
        assert!(
            seconds == 0 || survived(client, seconds),
            "{setting}: {seconds} s"
        );
        assert!(
            !survived(client, seconds + 1),
            "{setting}: {} s",
            seconds + 1
        );
    }
}

#[test]
fn what_the_model_is_sure_of_is_run_by_samples_and_none_contradicts_it() {
    if kernel_or_skip().is_none() {
        return;
    }
    // Keepalive, for one that waits for its response has nothing to send again.
    let client = ", transport: { keepalive: { idle: 10s, interval: 5s, count: 3 } }";
    let text = scenario(client, "{ at: 10s, fault: { power_loss: { node: n2 } } }");
    let vary = [
        "--vary",
        "tcp_retries2=3,4,5,6,7,8,9,10",
        "--vary",
        "tcp_rto_max_ms=1000,5000,120000",
        "--loss-runs",
        "1",
        "--recover-within",
        "60s",
        "--survive-blip",
        "10s",
    ];
    let result = tuned(&text, &vary);
    assert_eq!(result["settings"], 25);
    let of = &result["clients"][0];
    assert_eq!(of["findings"], Value::Array(Vec::new()));
    let points = of["points"].as_array().expect("points");
    let (run, by_model): (Vec<&Value>, Vec<&Value>) =
        points.iter().partition(|point| point["by"] == "run");
    let runs = result["runs"].as_u64().expect("a number");
    assert!(
        run.len() >= 8 && !by_model.is_empty(),
        "{} of {}",
        run.len(),
        points.len()
    );
    assert!(runs < 25 * 15, "{runs}");
    // What was not run has no figure that only a run can give.
    for point in by_model.iter().filter(|point| point["by"] == "model") {
        assert_eq!(point["packets_per_hour"], Value::Null);
        assert_eq!(point["works_again_after_s"], Value::Null);
        assert_eq!(point["killed"], Value::Array(Vec::new()));
    }
    let answers = of["answers"].as_array().expect("answers");
    assert!(!answers.is_empty());
    for answer in answers {
        let point = &points[answer.as_u64().expect("a place") as usize];
        assert_ne!(point["by"], "model", "{point}");
        assert!(point["survives_s"].as_f64() >= Some(10.0), "{point}");
        assert!(point["recovery_worst_s"].as_f64() <= Some(60.0), "{point}");
    }
    let sentence = of["sentence"].as_str().expect("a sentence");
    assert!(
        sentence.starts_with("For recovery within 60 s and a blip of 10 s survived, "),
        "{sentence}"
    );
    assert!(
        of["write"][0]
            .as_str()
            .is_some_and(|line| line.starts_with("net.ipv4.tcp_"))
    );
}

/// A connection that lies idle costs two packets a keepalive probe, and none without.
#[test]
fn an_hour_of_an_idle_connection_costs_its_probes() {
    if kernel_or_skip().is_none() {
        return;
    }
    let text = scenario("", "{ at: 10s, fault: { power_loss: { node: n2 } } }");
    let result = tuned(
        &text,
        &[
            "--vary",
            "keepalive=60/5x3,off",
            "--loss-runs",
            "0",
            "--run-all",
        ],
    );
    let points = result["clients"][0]["points"].as_array().expect("points");
    let cost = |setting: &str| {
        let point = points
            .iter()
            .find(|point| point["setting"] == setting)
            .expect("it is there");
        point["packets_per_hour"].as_u64().expect("a number")
    };
    assert_eq!(cost("keepalive=off"), 0);
    // The timer of 60 s takes up to 61.44 s on the wheel at HZ=250.
    let probes = cost("keepalive=60/5x3");
    assert!((2 * 58..=2 * 60).contains(&probes), "{probes}");
}
