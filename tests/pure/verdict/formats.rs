//! What each format asks of a report, and whether it is so: JUnit's elements and attributes, CTRF's schema, the Trace Event
//! Format's events.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use halfopen::explain;
use halfopen::record::{ClockName, Event};
use halfopen::report::formats;
use halfopen::scenario::{PlanOptions, parse};
use halfopen::verdict::{CaseResult, Verdict, judge};
use serde_json::Value;

use super::stories;
use crate::command::repository;
use crate::needs;
use crate::stored::{events, path};

/// A report of this format.
pub(super) fn written(format: &str, results: &[CaseResult]) -> String {
    let format = formats().iter().find(|f| f.name == format);
    let mut out = Vec::new();
    let report = (format.expect("a format").new)();
    report.write(results, &mut out).expect("written to memory");
    String::from_utf8(out).expect("UTF-8")
}

/// A record's result with what happened by time.
pub(super) fn with_history(record: &[Event]) -> CaseResult {
    let result = judge(record);
    CaseResult {
        history: explain::history(record, &result).map(Box::new),
        ..result
    }
}

/// The shape of Jenkins' junit-10.xsd, with what is written beyond it: `skipped` of all suites, and of a test `file`, `line` and
/// `properties`.
pub(super) fn assert_junit(xml: &str) -> Vec<[String; 2]> {
    let document =
        roxmltree::Document::parse(xml).unwrap_or_else(|error| panic!("{error}: {xml:.2000}"));
    let mut names = Vec::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let parent = node
            .parent_element()
            .map_or("", |parent| parent.tag_name().name());
        let (below, attributes): (&[&str], &str) = match node.tag_name().name() {
            "testsuites" => (&[""], "name tests failures errors skipped time"),
            "testsuite" => (
                &["testsuites"],
                "name tests failures errors skipped time file",
            ),
            "testcase" => (&["testsuite"], "name classname time file line"),
            "properties" => (&["testcase"], ""),
            "property" => (&["properties"], "name value"),
            "failure" | "error" | "skipped" => (&["testcase"], "message type"),
            "system-out" => (&["testcase"], ""),
            other => panic!("no element of JUnit: {other}"),
        };
        assert!(below.contains(&parent), "{node:?} below {parent}");
        for attribute in node.attributes() {
            let mut known = attributes.split(' ');
            assert!(
                known.any(|known| known == attribute.name()),
                "{attribute:?}"
            );
        }
        if let Some(time) = node.attribute("time") {
            let (whole, part) = time.split_once('.').expect("a decimal");
            assert!(whole.parse::<u64>().is_ok() && part.len() == 3, "{time}");
        }
        if node.tag_name().name() == "testcase" {
            let outcomes = node
                .children()
                .filter(|child| matches!(child.tag_name().name(), "failure" | "error" | "skipped"));
            assert!(outcomes.count() <= 1, "{node:?}");
            let of = |name: &str| node.attribute(name).expect("a name").to_owned();
            names.push([of("classname"), of("name")]);
        }
        if node.tag_name().name() == "testsuite" {
            assert_counts(&node);
        }
    }
    let unique: HashSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "two tests of one name");
    names
}

/// A suite's counts are those of its tests.
fn assert_counts(suite: &roxmltree::Node) {
    let tests: Vec<_> = suite
        .children()
        .filter(|c| c.has_tag_name("testcase"))
        .collect();
    let with = |outcome: &str| {
        let has = |test: &&roxmltree::Node| test.children().any(|c| c.has_tag_name(outcome));
        tests.iter().filter(has).count()
    };
    let counts = [
        ("tests", tests.len()),
        ("failures", with("failure")),
        ("errors", with("error")),
        ("skipped", with("skipped")),
    ];
    for (name, count) in counts {
        assert_eq!(
            suite.attribute(name),
            Some(count.to_string().as_str()),
            "{name}"
        );
    }
}

/// Holds a report against fixtures/formats/ctrf.schema.json, by Python's jsonschema.
pub(super) fn assert_ctrf(json: &str) -> Value {
    let report: Value = serde_json::from_str(json).expect("JSON");
    let of = |status: &str| {
        let tests = report["results"]["tests"].as_array().expect("tests");
        tests.iter().filter(|test| test["status"] == status).count()
    };
    let summary = &report["results"]["summary"];
    for status in ["passed", "failed", "skipped", "pending", "other"] {
        assert_eq!(summary[status], of(status), "{status}");
    }
    let script = "import json, sys, jsonschema\n\
                  schema = json.load(open(sys.argv[1]))\n\
                  jsonschema.Draft7Validator.check_schema(schema)\n\
                  jsonschema.Draft7Validator(schema).validate(json.load(sys.stdin))\n";
    let has = |python: &&str| {
        let asked = Command::new(python)
            .args(["-c", "import jsonschema"])
            .output();
        asked.is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has) else {
        needs::skipped("Python has no jsonschema; `./ci/deps` installs it");
        return report;
    };
    let mut child = Command::new(python)
        .args(["-c", script])
        .arg(repository("fixtures/formats/ctrf.schema.json"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(json.as_bytes()).expect("it reads");
    drop(stdin);
    let ended = child.wait_with_output().expect("it ends");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    report
}

/// What viewers need of a trace: known events, with their fields; tracks and processes that have names; slices of one track that lie
/// in one another.
pub(super) fn assert_trace(json: &str) -> Vec<Value> {
    let mut trace: Value = serde_json::from_str(json).expect("JSON");
    let Value::Array(events) = trace["traceEvents"].take() else {
        panic!("no list of events: {json:.200}");
    };
    let mut named = BTreeSet::new();
    let mut open: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for event in &events {
        let number = |field: &str| {
            event[field]
                .as_u64()
                .unwrap_or_else(|| panic!("{field}: {event}"))
        };
        let track = (number("pid"), number("tid"));
        assert!(
            event["name"].is_string() && event["args"].is_object(),
            "{event}"
        );
        let (from, phase) = (number("ts"), event["ph"].as_str());
        match phase {
            Some("M") => {
                named.insert((track, event["name"].as_str()));
                continue;
            }
            Some("i") => assert_eq!(event["s"], "t", "{event}"),
            Some("X") => {
                let until = from + number("dur");
                let around = open.entry(track).or_default();
                around.retain(|end| *end > from);
                assert!(
                    around.iter().all(|end| until <= *end),
                    "{event} is not within its slice"
                );
                around.push(until);
            }
            other => panic!("an event of another kind, {other:?}: {event}"),
        }
        assert!(named.contains(&(track, Some("thread_name"))), "{event}");
        assert!(
            named.contains(&((track.0, 0), Some("process_name"))),
            "{event}"
        );
    }
    events
}

fn of_quickstart() -> CaseResult {
    with_history(&events(&path("quickstart")))
}

#[test]
fn a_trace_has_a_track_of_each_client_its_requests_and_its_connections() {
    let result = of_quickstart();
    let events = assert_trace(&written("trace", std::slice::from_ref(&result)));
    let of = |phase: &str| {
        let named = events.iter().filter(|e| e["ph"] == phase);
        named
            .map(|e| e["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    let tracks: Vec<_> = events
        .iter()
        .filter(|e| e["name"] == "thread_name")
        .collect();
    let tracks: Vec<_> = tracks
        .iter()
        .filter_map(|e| e["args"]["name"].as_str())
        .collect();
    for client in &result.clients {
        assert!(tracks.contains(&client.name.as_str()), "{tracks:?}");
        for track in ["requests", "connection 1"] {
            let name = format!("{}: {track}", client.name);
            assert!(tracks.contains(&name.as_str()), "{name}: {tracks:?}");
        }
    }
    let (slices, instants) = (of("X"), of("i"));
    let has = |all: &[String], text: &str| all.iter().any(|name| name.starts_with(text));
    for text in [
        "the case",
        "outage",
        "dead_connection",
        "request 4 fails",
        "connection 1 to web-1, ended by",
    ] {
        assert!(has(&slices, text), "{text}: {slices:?}");
    }
    for text in [
        "power_loss of node3",
        "web-1 leaves the rules",
        "rules of node1",
        "detection: ",
        "recovery",
        "sent again, time 1",
    ] {
        assert!(has(&instants, text), "{text}: {instants:?}");
    }
    let fault = events
        .iter()
        .find(|e| e["name"] == "power_loss of node3")
        .expect("the fault");
    assert_eq!(
        Some(fault["ts"].as_u64().expect("a time")),
        result.faults[0].at.map(|at| at.as_micros() as u64)
    );
}

#[test]
fn a_trace_without_history_has_what_the_result_has() {
    let events = assert_trace(&written("trace", &[judge(&stories::a1_expected().end())]));
    assert!(events.iter().any(|e| e["name"] == "outage"));
    assert!(!events.iter().any(|e| e["name"] == "request 1"));
}

/// What became of tests, by JUnit's element and CTRF's status.
#[test]
fn each_verdict_has_its_own_word() {
    let one = judge(&stories::a1_expected().end());
    let mut cases = Vec::new();
    for (verdict, judged) in [
        (Verdict::Pass, true),
        (Verdict::Fail, true),
        (Verdict::Error, false),
        (Verdict::Skipped, false),
        (Verdict::Measured, true),
    ] {
        let mut case = CaseResult {
            verdict,
            judged,
            case: verdict.to_string(),
            ..one.clone()
        };
        case.expectations.truncate(1);
        case.expectations[0].verdict = verdict;
        if verdict == Verdict::Measured {
            case.expectations.clear();
        }
        cases.push(case);
    }
    assert_junit(&written("junit", &cases));
    let xml = written("junit", &cases);
    let document = roxmltree::Document::parse(&xml).expect("XML");
    let outcome = |case: &str, runs: bool| {
        let class = format!("leader-election-h2 / {case} (real clock)");
        let mut tests = document
            .descendants()
            .filter(|node| node.attribute("classname") == Some(&class));
        let test = tests.find(|test| (test.attribute("name") == Some("the case runs")) == runs)?;
        let mut kinds = test.children().map(|child| child.tag_name().name());
        Some(
            kinds
                .find(|kind| ["failure", "error", "skipped"].contains(kind))
                .unwrap_or("passed"),
        )
    };
    let both = |case| [outcome(case, true), outcome(case, false)];
    assert_eq!(both("pass"), [Some("passed"), Some("passed")]);
    assert_eq!(both("fail"), [Some("passed"), Some("failure")]);
    assert_eq!(both("error"), [Some("error"), Some("skipped")]);
    assert_eq!(both("skipped"), [Some("skipped"), Some("skipped")]);
    assert_eq!(both("measured"), [Some("passed"), None]);
    assert!(
        xml.contains(r#"<property name="verdict" value="measured"/>"#),
        "{xml}"
    );
    let report = assert_ctrf(&written("ctrf", &cases));
    let tests = report["results"]["tests"].as_array().expect("tests");
    let statuses: Vec<_> = tests
        .iter()
        .map(|t| (t["rawStatus"].as_str(), t["status"].as_str()))
        .collect();
    for pair in [
        ("pass", "passed"),
        ("fail", "failed"),
        ("error", "other"),
        ("skipped", "skipped"),
        ("measured", "passed"),
    ] {
        assert!(
            statuses.contains(&(Some(pair.0), Some(pair.1))),
            "{pair:?}: {statuses:?}"
        );
    }
}

#[test]
fn a_test_keeps_its_name_when_what_is_wanted_changes() {
    let names = |within: &str, failed: u32, drops: u32| {
        let text = format!(
            "name: t\nduration: 1m\nnodes: [n1, n2]\nservers: {{ s: {{ node: n2 }} }}\n\
             clients:\n  c: {{ node: n1, url: 'http://s/', profile: bare, workload: {{ poll: {{ every: 5s }} }} }}\n\
             faults: [{{ at: 9s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n\
             expect:\n  c: {{ recovered: {{ within: {within} }}, requests_failed: {{ at_most: {failed} }}, \
             workloads: {{ poll: {{ detected: {{ within: {within} }} }} }} }}\n\
             expect_counters: {{ n1: {{ TcpExt.ListenDrops: {{ at_most: {drops} }} }} }}\n"
        );
        let cases = parse("t.yaml", &text, &PlanOptions::default()).expect("a right scenario");
        let results: Vec<_> = cases
            .iter()
            .map(|case| CaseResult::not_run(case, ClockName::Virtual, "no"))
            .collect();
        assert_junit(&written("junit", &results))
    };
    let (one, other) = (names("7s", 13, 17), names("43s", 29, 31));
    assert_eq!(one, other);
    let names: Vec<_> = one
        .iter()
        .map(|[class, name]| (class.as_str(), name.as_str()))
        .collect();
    let class = "t / default (virtual clock)";
    let expected = [
        "the case runs",
        "c.recovered",
        "c.requests_failed",
        "c.workloads.poll.detected",
        "n1 TcpExt.ListenDrops",
    ];
    assert_eq!(names, expected.map(|name| (class, name)));
}

#[test]
fn the_suites_of_junit_are_the_files() {
    let mut results = vec![
        of_quickstart(),
        judge(&events(&path("a1"))),
        of_quickstart(),
    ];
    results[2].case = String::from("again");
    let xml = written("junit", &results);
    assert_junit(&xml);
    let document = roxmltree::Document::parse(&xml).expect("XML");
    let suites = document
        .descendants()
        .filter(|node| node.has_tag_name("testsuite"));
    let suites: Vec<_> = suites.filter_map(|suite| suite.attribute("name")).collect();
    let files = [&results[0], &results[1]].map(|result| result.file.as_deref().expect("a file"));
    assert_eq!(suites, files);
    assert!(
        !xml.contains(" time="),
        "a record that is judged again has no wall time"
    );
}

#[test]
fn ctrf() {
    let results = [of_quickstart()];
    let json = written("ctrf", &results);
    assert_ctrf(&json);
    insta::assert_snapshot!(json);
}
